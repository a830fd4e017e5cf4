//! The command: parses the command line, runs a subcommand, and turns what comes of it into an exit code.
//!
//! * `args`, `options`, `config_file`, `git_config`, `root`, `scope`: from what was typed to a tree and an engine for it.
//! * `index`, `search`, `files`, `check_ignore`, `explain`, `outline`, `symbols`, `embed`, `status`, `verify`, `watch`, `doctor`,
//!   `generate`: one subcommand each.
//! * `mcp`: what the server for agents is to be started with. `main` starts it, for `cli` and `mcp` do not know each other.
//! * `progress`, `interrupt`: what goes on while a run does.
//! * `output`, `json`, `summary`, `hits`, `fit`, `hyperlink`, `advice`, `log`: everything that is printed. Nothing else
//!   writes to stdout or stderr.
//! * `system`: what `doctor` asks the system.
//! * `allocator`: how memory is given back.
//! * `exit`: exit codes and failures.

mod advice;
mod allocator;
mod args;
#[cfg(unix)]
mod check_ignore;
mod config_file;
mod doctor;
mod embed;
mod exit;
mod explain;
mod files;
mod fit;
mod generate;
mod git_config;
mod hits;
mod hyperlink;
mod index;
mod interrupt;
mod json;
mod log;
#[cfg(feature = "mcp")]
mod mcp;
mod options;
mod outline;
mod output;
mod progress;
mod root;
mod scope;
mod search;
mod status;
mod summary;
mod symbols;
mod system;
mod verify;
mod watch;

use args::{Cli, Command};
use exit::{Exit, Failure};
use std::process::ExitCode;

/// What comes of a command line.
pub(crate) enum Next {
    /// It was run.
    Exit(ExitCode),
    /// A server is to be started.
    #[cfg(feature = "mcp")]
    Serve(mcp::Serve),
}

/// Runs the command line of this process, as far as that can be done here.
pub(crate) fn main() -> Next {
    allocator::give_large_buffers_back();
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. Whether anyone reads them makes no difference.
            let _ = error.print();
            return Next::Exit(if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() });
        }
    };
    #[cfg(feature = "mcp")]
    let cli = match cli {
        Cli { command: Some(Command::Mcp(args)), common, .. } => {
            return match mcp::prepare(args, &common) {
                Ok(serve) => Next::Serve(serve),
                Err(failure) => Next::Exit(ended(Err(failure))),
            };
        }
        other => other,
    };
    Next::Exit(ended(run(cli)))
}

/// The exit code of what was run; says why it has failed, if it has.
fn ended(result: Result<Exit, Failure>) -> ExitCode {
    log::finish();
    let exit = result.unwrap_or_else(|failure| {
        let (exit, message) = failure.into_exit();
        if let Some(message) = message {
            output::error(&message);
        }
        exit
    });
    exit.into()
}

/// The exit code of a server.
#[cfg(feature = "mcp")]
pub(crate) fn served(result: Result<(), String>) -> ExitCode {
    ended(result.map(|()| Exit::Done).map_err(Failure::Fatal))
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { common, index, command } = cli;
    match command {
        None => index::run(index, &common),
        Some(Command::Index(args)) => index::run(args, &common),
        Some(Command::Search(args)) => search::run(args, &common),
        Some(Command::Files(args)) => files::run(args, &common),
        #[cfg(unix)]
        Some(Command::CheckIgnore(args)) => check_ignore::run(args, &common),
        Some(Command::Explain(args)) => explain::run(args, &common),
        Some(Command::Outline(args)) => outline::run(args, &common),
        Some(Command::Symbols(args)) => symbols::run(args, &common),
        Some(Command::Embed(args)) => embed::run(args, &common),
        Some(Command::Status(args)) => status::run(args, &common),
        Some(Command::Verify(args)) => verify::run(args, &common),
        Some(Command::Watch(args)) => watch::run(args, &common),
        // It is not run here.
        #[cfg(feature = "mcp")]
        Some(Command::Mcp(_)) => Ok(Exit::Done),
        Some(Command::Doctor(args)) => doctor::run(args, &common),
        Some(Command::Completions { shell }) => generate::completions(shell),
        Some(Command::Man { subcommand }) => generate::man(subcommand.as_deref()),
    }
}
