//! How the command ends: exit codes, and errors as one line on stderr.

use leindex_engine::{Error, OpenError, QueryError, RunError};
use std::io;
use std::process::ExitCode;

/// The exit codes, named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Done = 0,
    /// Nothing could be done.
    Fatal = 1,
    /// The command line, a config file or a pattern is wrong.
    Usage = 2,
    /// Done, but some files could not be read.
    Skips = 3,
    /// Stopped by a signal, after a clean end.
    Interrupted = 130,
    /// `check-ignore` has failed: the code of git.
    Git = 128,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why the command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// [`Exit::Usage`], with what is wrong and what to do.
    Usage(String),
    /// [`Exit::Fatal`], with what is wrong and what to do.
    Fatal(String),
    /// [`Exit::Git`], with what is wrong.
    Git(String),
    /// Stdout could not be written. Not a failure when the reader has gone away.
    Output(io::Error),
}

impl Failure {
    /// The exit code, and the message if there is one.
    pub(crate) fn into_exit(self) -> (Exit, Option<String>) {
        match self {
            Failure::Usage(message) => (Exit::Usage, Some(message)),
            Failure::Fatal(message) => (Exit::Fatal, Some(message)),
            Failure::Git(message) => (Exit::Git, Some(message)),
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => (Exit::Done, None),
            Failure::Output(error) => {
                (Exit::Fatal, Some(format!("stdout: {error}: the output is incomplete; write it somewhere else")))
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Setting { setting, .. } if !matches!(setting, "backend" | "open") => {
                Failure::Usage(error.to_string())
            }
            other => Failure::Fatal(other.to_string()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Open(error) => error.into(),
            other => Failure::Fatal(other.to_string()),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Open(error) => error.into(),
            QueryError::Pattern { detail } => Failure::Usage(pattern_message(&detail)),
            QueryError::File { .. } => Failure::Fatal(error.to_string()),
            QueryError::Filter { .. } => Failure::Usage(error.to_string()),
            other => Failure::Fatal(other.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Open(error) => error.into(),
            Error::Run(error) => error.into(),
            Error::Query(error) => error.into(),
            other => Failure::Fatal(other.to_string()),
        }
    }
}

/// The errors of the regex parser are several lines with a drawing; the last one says what is wrong.
fn pattern_message(detail: &str) -> String {
    let last = detail.lines().last().unwrap_or(detail).trim();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    format!("QUERY is no regular expression: {reason}: correct it, or search for it as it is with -F")
}
