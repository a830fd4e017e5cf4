//! Runs one part a number of times, for a counter of instructions around the whole process: `leindex-parts NAME TIMES`.
//!
//! The instructions of one round are those of a process that runs it six times, less those of one that runs it once, by
//! five: setting up costs both the same. `scripts/instructions` does that.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [list] if list == "--list" => {
            leindex_parts::COUNTED.iter().for_each(|name| println!("{name}"));
            ExitCode::SUCCESS
        }
        [name, times] => match (leindex_parts::part(name), times.parse::<u64>()) {
            (Some(mut round), Ok(times)) => {
                let sum = (0..times).fold(0u64, |sum, _| sum.wrapping_add(round()));
                println!("{sum}");
                ExitCode::SUCCESS
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: leindex-parts NAME TIMES, or --list for the names");
    ExitCode::from(2)
}
