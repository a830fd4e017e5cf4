//! Walks a tree, stats every file and reads every file in many ways: the engine's backends, plain loops, other crates,
//! other programs. Equal work, which the counts beside the times show; warm and cold apart; one table each.
//!
//! ```text
//! cargo run --release -p leindex-rivals -- --tree DIR [--runs N] [--cold N] [--only NAME,NAME] [--out DIR]
//! cargo run --release -p leindex-rivals -- --list
//! cargo run --release -p leindex-rivals -- --smoke
//! ```
//!
//! Linux only: half of the rivals are. `rivals.rs` has the map of the source.

// A program whose results go to the terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod rivals;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    rivals::main()
}

/// Elsewhere there is nothing to compare with.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("leindex-rivals measures Linux only");
    ExitCode::FAILURE
}
