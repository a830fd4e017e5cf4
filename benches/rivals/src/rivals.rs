//! The program.
//!
//! | file | owns |
//! |---|---|
//! | `options.rs` | the command line |
//! | `ways.rs` | the list of ways: names, what they are, where they are measured |
//! | `work.rs` | the words: mode, cache state, what was counted |
//! | `queue.rs` | directories that wait for a thread |
//! | `walk.rs` | a parallel walk over whatever opens, lists and reads: the engine's contract and the plain loops |
//! | `contract.rs` | hands for `walk.rs`: a worker of one of the engine's backends |
//! | `blocking.rs` | hands for `walk.rs`: system calls, one after the other |
//! | `naive.rs` | what one would write first, with the standard library |
//! | `walkers.rs` | `ignore`, `jwalk`, `walkdir` |
//! | `rings.rs` | `tokio-uring`, `glommio` |
//! | `programs.rs` | `find`, `bfs`, `fd`, `rg`, timed as processes |
//! | `child.rs` | this program again as a child process, which measures one way once |
//! | `machine.rs` | what the machine is; its page cache, its disk's counters, its cores |
//! | `measure.rs` | rounds in which all ways take turns |
//! | `agree.rs` | whether all have done the same work |
//! | `figures.rs` | ratios and what was asked of them |
//! | `report.rs` | what is printed and written |
//! | `tree.rs` | the generated tree of `--smoke` |
//!
//! Times are compared only within one invocation, where all ways take turns. A missed ratio is printed and is no error;
//! a way that did other work than the rest is one.

mod agree;
mod blocking;
mod child;
mod contract;
mod figures;
mod machine;
mod measure;
mod naive;
mod options;
mod programs;
mod queue;
mod report;
mod rings;
mod tree;
mod walk;
mod walkers;
mod ways;
mod work;

use measure::Bench;
use options::Options;
use report::Report;
use std::error::Error;
use std::process::ExitCode;
use work::{Cache, Mode};

/// Whatever kept a measurement from being made.
type Failure = Box<dyn Error + Send + Sync>;

pub(super) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(result) = child::answer(&arguments) {
        return match result {
            Ok(answer) => {
                println!("{answer}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("leindex-rivals {}: {error}", arguments.join(" "));
                ExitCode::FAILURE
            }
        };
    }
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    if options.list {
        for way in ways::all(machine::cores()) {
            println!("{:22} {}", way.name, way.what);
        }
        return ExitCode::SUCCESS;
    }
    match measure(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("leindex-rivals: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything; whether all of it could be run and all ways have done the same work.
fn measure(options: Options) -> Result<bool, Failure> {
    let scratch = tempfile::tempdir()?;
    let (tree, expected) = match &options.tree {
        Some(tree) => (tree.canonicalize().map_err(|error| format!("{}: {error}", tree.display()))?, None),
        None => {
            let tree = scratch.path().canonicalize()?.join("tree");
            let expected = tree::generate(&tree)?;
            (tree, Some(expected))
        }
    };
    let ways = ways::chosen(machine::cores(), &options.only)?;
    let mut report = Report::new();
    machine::describe(&mut report, &options, &tree);
    let mut bench = Bench::new(&options, &tree, ways, report);
    let warm_stat = bench.section(Cache::Warm, Mode::Stat, options.runs);
    let warm_read = bench.section(Cache::Warm, Mode::Read, options.runs);
    let cold_read = bench.cold(options.cold_runs);
    let sections = [warm_stat, warm_read, cold_read];
    let agreed = agree::check(&mut bench.report, &bench.ways, &sections, expected);
    for section in &sections {
        bench.report.section(&bench.ways, section, &agreed);
    }
    bench.report.names(&bench.ways);
    figures::tell(&mut bench.report, &bench.ways, &sections);
    let whole = bench.finish(agreed.is_complete());
    if let Some(out) = &options.out {
        bench.report.write(out)?;
    }
    Ok(whole)
}
