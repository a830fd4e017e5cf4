//! `completions` and `man`: made from the definition of the command line, so that they are never out of date.

use super::args::Cli;
use super::exit::{Exit, Failure};
use super::output;
use clap::CommandFactory;
use std::io::Write;

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "leindex-engine", &mut script);
    print(&script)
}

/// Prints the manual page of the command, or of one of its subcommands.
pub(crate) fn man(subcommand: Option<&str>) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    let command = match subcommand {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone().version(env!("CARGO_PKG_VERSION")),
            None => return Err(Failure::Usage(format!("man: {name:?} is no subcommand: see leindex-engine --help"))),
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    print(&page)
}

fn print(text: &[u8]) -> Result<Exit, Failure> {
    let mut out = output::stdout();
    out.write_all(text)?;
    out.flush()?;
    Ok(Exit::Done)
}
