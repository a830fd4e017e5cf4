//! The command as it is used: the real binary on trees made for the purpose.
//!
//! Nothing here measures time. Where a test needs a run that is still going on, it gives the run a thousand times more
//! to do than it will be left to do.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests, which clippy does not take for tests")]

#[path = "cli/index.rs"]
mod index;
#[path = "cli/options.rs"]
mod options;
#[path = "cli/other_commands.rs"]
mod other_commands;
#[path = "cli/search.rs"]
mod search;
#[path = "cli/show.rs"]
mod show;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/support.rs"]
mod support;
#[cfg(feature = "symbols")]
#[path = "cli/symbols.rs"]
mod symbols;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/watch.rs"]
mod watch;
