//! This program again, as a child process: it goes one way once, and answers with one line of JSON.
//!
//! A process of its own begins without threads, rings, buffers or open directories that another way has left behind.

use super::work::{Done, Mode, Unavailable};
use super::{Failure, machine, ways};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The first argument of a child.
const CHILD: &str = "child";
/// Longer than any measurement is expected to take: a way that hangs must not keep the others from being measured.
const PATIENCE: Duration = Duration::from_secs(900);

/// What came of a child.
#[derive(Debug)]
pub(super) enum Ended {
    Done(Done),
    /// It cannot be done here, for this reason.
    Skipped(String),
}

impl Ended {
    /// The same from a result: a way that is not available has not failed.
    pub(super) fn from_result(result: Result<Done, Failure>) -> Result<Ended, Failure> {
        match result {
            Ok(done) => Ok(Ended::Done(done)),
            Err(error) => error.downcast::<Unavailable>().map(|reason| Ended::Skipped(reason.0)),
        }
    }
}

/// Measures a way of this program's own.
pub(super) fn ask(name: &str, mode: Mode, tree: &Path) -> Result<Ended, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, name, mode.name()]).arg(tree).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("the child ended with {}", output.status).into());
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    match answer["skipped"].as_str() {
        Some(reason) => Ok(Ended::Skipped(reason.to_owned())),
        None => Ok(Ended::Done(Done::from_json(&answer)?)),
    }
}

/// The child's side: `None` when this process is none.
pub(super) fn answer(arguments: &[String]) -> Option<Result<Value, Failure>> {
    match arguments {
        [first, name, mode, tree] if first == CHILD => Some(measure(name, mode, Path::new(tree))),
        [first, ..] if first == CHILD => Some(Err("a child takes NAME MODE TREE".into())),
        _ => None,
    }
}

fn measure(name: &str, mode: &str, tree: &Path) -> Result<Value, Failure> {
    let mode = Mode::parse(mode).ok_or("the mode is stat or read")?;
    let ways = ways::all(machine::cores());
    let way = ways.into_iter().find(|way| way.name == name).ok_or("there is no such way")?;
    // Descriptors are not what is compared: every way may have as many as it likes.
    leindex_fallback::raise_open_file_limit()?;
    end_in_time();
    let ended = Ended::from_result(way.run(mode, tree))?;
    Ok(match ended {
        Ended::Done(done) => done.to_json(),
        Ended::Skipped(reason) => json!({ "skipped": reason }),
    })
}

/// Ends the process when its time is up.
fn end_in_time() {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("still not done after {} s", PATIENCE.as_secs());
        std::process::exit(1)
    });
}
