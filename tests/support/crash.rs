//! What the tests share that kill a process in the middle of its work: what the process says while it lives, and what must
//! hold when it is dead.

// Every test binary compiles this module and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use crate::support::{self, Known, Place};
use leindex_engine::{Engine, EngineBuilder, Event, OpenError, Outcome, QueryError, Shards};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const SIGKILL: i32 = 9;

/// Publishes as often as the engine can be made to.
pub fn hasty(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::from_millis(20)).batch_files(100).inverter_bytes(1 << 20).shards(Shards::Count(3))
}

/// The engine of a child whose place is `place`.
pub fn engine_of(place: &Path, settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    settings(Engine::builder().index_dir(place.join("index"))).open(place.join("tree")).unwrap()
}

/// In the child: says that it begins. The line before is not its own.
pub fn say_begun() {
    println!("\nbegun");
}

/// In the child: a run, with what it has published on the standard output.
pub fn run_aloud(engine: &Engine) {
    say_begun();
    let run = engine.index();
    loop {
        match run.next_event(Duration::from_secs(60)) {
            Some(Event::Published(generation)) => println!("published {generation}"),
            Some(Event::Ended) => break,
            other => panic!("{other:?}"),
        }
    }
    let report = run.wait().unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    println!("ended");
}

/// A process that is to be killed.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Told {
    /// The last generation that it said it had published.
    pub announced: u64,
    /// It has come to the end of its work.
    pub ended: bool,
    /// It was killed.
    pub killed: bool,
    /// Whatever else it said.
    pub lines: Vec<String>,
}

impl Victim {
    /// Starts it, and waits until it has begun.
    pub fn start(mut command: Command) -> Victim {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.any(|line| line.unwrap() == "begun");
        assert!(begun, "the child has not begun: {:?}", child.wait());
        Victim { child, lines }
    }

    /// What it says next; nothing when it is dead.
    pub fn next_line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.unwrap())
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it. It may have ended before.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end.
    pub fn told(mut self) -> Told {
        let mut told = Told::default();
        for line in &mut self.lines {
            let line = line.unwrap();
            if let Some(generation) = line.strip_prefix("published ") {
                told.announced = generation.parse().unwrap();
            } else if line == "ended" {
                told.ended = true;
            } else {
                told.lines.push(line);
            }
        }
        let status = self.child.wait().unwrap();
        told.killed = status.signal() == Some(SIGKILL);
        assert!(status.success() || told.killed, "the child has failed: {status:?}");
        told
    }
}

impl Drop for Victim {
    /// A test that fails leaves nobody behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is published: the generation, and the files.
#[derive(Debug, Default)]
pub struct Published {
    pub generation: u64,
    pub files: BTreeMap<Vec<u8>, Known>,
}

/// What is published. Nothing, when nothing was published yet.
pub fn published(place: &Place, context: &str) -> Published {
    match place.engine().snapshot() {
        Ok(snapshot) => Published { generation: snapshot.generation(), files: support::contents(&snapshot) },
        Err(QueryError::Open(OpenError::NoIndex { .. })) => Published::default(),
        Err(error) => panic!("{context}: the index does not open: {error}"),
    }
}

/// Panics unless the index is as it has to be after a kill, before any other run: it opens, it is sound, nothing is lost
/// of what was published `before` and has not changed since, and the generation is `least` or a later one. Returns what is
/// published.
pub fn assert_survived(place: &Place, before: &Published, least: u64, context: &str) -> Published {
    let engine = place.engine();
    let least = least.max(before.generation);
    match engine.verify() {
        Ok(found) => {
            assert!(found.is_sound(), "{context}: {found:#?}");
            assert!(found.generation >= least, "{context}: {} < {least}", found.generation);
        }
        Err(QueryError::Open(OpenError::NoIndex { .. })) => {
            assert_eq!(least, 0, "{context}: a published index is gone");
        }
        Err(error) => panic!("{context}: {error}"),
    }
    drop(engine);
    let left = published(place, context);
    let root = place.root().canonicalize().unwrap();
    for (path, known) in &before.files {
        if is_untouched(&root, path, known) {
            assert_eq!(left.files.get(path), Some(known), "{context}: {}: was lost by a kill", path.escape_ascii());
        }
    }
    left
}

/// Whether the file is still the one that is known, and is reached through directories only.
fn is_untouched(root: &Path, path: &[u8], known: &Known) -> bool {
    let path = root.join(OsStr::from_bytes(path));
    let Ok(metadata) = fs::symlink_metadata(&path) else { return false };
    let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
    let is_same = (metadata.len(), mtime_ns, metadata.ino()) == (known.size, known.mtime_ns, known.inode);
    let dir = path.parent().unwrap();
    is_same && metadata.is_file() && dir.canonicalize().is_ok_and(|real| real == dir)
}
