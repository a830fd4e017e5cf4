//! Operations that fail: nothing that was published is lost, and the next run ends as if nothing had been.

use crate::content::Content;
use crate::disk::{Disk, Fault, Mounted};
use crate::state::{Chance, Tree};
use crate::support::{self, Fresh, Known};
use crate::{INDEX, assert_published, engine, verified};
use fuser::Errno;
use leindex_engine::{Engine, EngineBuilder, Event, Outcome, Run, RunError, Shards};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

const CHILD: &str = "LEINDEX_WRITE_FAULT_CHILD";
const TREE: &str = "LEINDEX_WRITE_FAULT_TREE";
/// Set when the process is to run again after a failure, once the disk is well.
const AGAIN: &str = "LEINDEX_WRITE_FAULT_AGAIN";
const TRIALS: u64 = 48;
const SEED: u64 = 20_260_202;
/// More than the segments that are allowed to pile up, so that an update merges some.
const DIRS: usize = 14;
const FILES: usize = 12;
/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);
const ERRORS: [(&str, Errno); 2] = [("ENOSPC", Errno::ENOSPC), ("EIO", Errno::EIO)];

/// Nothing depends on time, so that an operation has nearly the same number in every run.
fn steady(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::from_secs(3600)).shards(Shards::Count(1))
}

fn say(line: &str) {
    println!("\n{line}");
}

/// Waits for a run, and says what it publishes.
fn finish(run: Run) -> Result<(), RunError> {
    while let Some(Event::Published(generation)) = run.next_event(PATIENCE) {
        say(&format!("published {generation}"));
    }
    run.wait().map(|report| assert_eq!(report.outcome, Outcome::Done))
}

/// Three publications.
fn update(engine: &Engine) -> Result<(), RunError> {
    finish(engine.update(&["d0"]))?;
    finish(engine.update(&["d1", "d2"]))?;
    finish(engine.index())
}

/// Not a test but the process that indexes onto a disk that fails.
#[test]
fn indexing_process() {
    let Some(disk) = std::env::var_os(CHILD) else { return };
    let engine = engine(&Path::new(&disk).join(INDEX), Path::new(&std::env::var_os(TREE).unwrap()), steady);
    match update(&engine) {
        Ok(()) => say("done"),
        Err(RunError::Panicked { detail }) => panic!("{detail}"),
        Err(error) => say(&format!("failed: {error}").replace('\n', " ")),
    }
    std::io::stdin().lines().next();
    if std::env::var_os(AGAIN).is_some() {
        verified(&engine, "in the process whose run has failed");
        finish(engine.index()).expect("the next run of the same process");
        assert!(verified(&engine, "after the next run of the same process").is_some());
    }
}

/// The process, and what it says.
struct Indexing {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Indexing {
    fn start(mounted: &Mounted, tree: &Path, again: bool) -> Indexing {
        let mut command = support::child("faults::indexing_process", CHILD, mounted.path());
        command.env(TREE, tree).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if again {
            command.env(AGAIN, "1");
        }
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Indexing { child, input, lines }
    }

    /// Waits until the run has ended. Returns the last generation that was published, and what has failed.
    fn wait_for_run(&mut self, context: &str) -> (u64, Option<String>) {
        let mut published = 0;
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => self.hangs(context),
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{context}: it died: {}", self.complaint()),
            };
            if let Some(generation) = line.strip_prefix("published ") {
                published = generation.parse().unwrap();
            } else if line == "done" {
                return (published, None);
            } else if let Some(error) = line.strip_prefix("failed: ") {
                return (published, Some(error.to_owned()));
            }
        }
    }

    /// Lets it go on, and waits for its end.
    fn end(mut self, context: &str) {
        self.input.write_all(b"\n").unwrap();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => self.hangs(context),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let complaint = self.complaint();
        let status = self.child.wait().unwrap();
        assert!(status.success() && !complaint.contains("panicked at"), "{context}: {status:?}: {complaint}");
    }

    fn hangs(&mut self, context: &str) -> ! {
        let _ = self.child.kill();
        panic!("{context}: it hangs");
    }

    fn complaint(&mut self) -> String {
        let mut complaint = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        complaint
    }
}

type Files = BTreeMap<Vec<u8>, Known>;

/// What is indexed, and from what.
struct Scenario {
    name: &'static str,
    content: Content,
    /// The index before, and the files of it.
    begin: Tree,
    generation: u64,
    files: Files,
    fresh: Fresh,
}

fn files(engine: &Engine) -> Files {
    engine.snapshot().map_or_else(|_| Files::new(), |snapshot| support::contents(&snapshot))
}

impl Scenario {
    fn first_run() -> Scenario {
        let content = Content::new(SEED, DIRS, FILES);
        let fresh = support::fresh(&content.place.root());
        let begin = Tree::Dir(BTreeMap::new());
        Scenario { name: "first run", content, begin, generation: 0, files: Files::new(), fresh }
    }

    fn update() -> Scenario {
        let mut content = Content::new(SEED, DIRS, FILES);
        let (generation, files) = {
            let engine = content.place.engine_with(steady);
            for dir in 0..DIRS {
                engine.update(&[format!("d{dir}")]).wait().unwrap();
            }
            let generation = support::run(&engine).generation;
            (generation, files(&engine))
        };
        let begin = Tree::Dir(BTreeMap::from([(INDEX.into(), Tree::read_from(&content.place.index()))]));
        content.edit();
        let fresh = support::fresh(&content.place.root());
        Scenario { name: "update", content, begin, generation, files, fresh }
    }

    fn start(&self, mounted: &Mounted, again: bool) -> Indexing {
        Indexing::start(mounted, &self.content.place.root(), again)
    }

    /// How many operations there are without a fault. Says why not where no disk can be mounted.
    fn operations(&self) -> Result<usize, String> {
        let disk = Disk::new(&self.begin, None);
        let mounted = disk.mount()?;
        let mut indexing = self.start(&mounted, false);
        let (published, failure) = indexing.wait_for_run(self.name);
        assert_eq!((published, failure), (self.generation + 3, None));
        let count = disk.count();
        indexing.end(self.name);
        Ok(count)
    }

    /// An engine on what `tree` has of the index, written to `dir`.
    fn engine(&self, tree: &Tree, dir: &Path) -> Engine {
        let disk = dir.join("disk");
        tree.write_to(&disk);
        engine(&disk.join(INDEX), &self.content.place.root(), |builder| builder)
    }

    /// Has one operation fail, and perhaps all that follow. Returns whether the run has failed.
    fn try_fault(&self, fault: Fault, again: bool, context: &str) -> bool {
        let disk = Disk::new(&self.begin, Some(fault));
        let mounted = disk.mount().unwrap();
        let mut indexing = self.start(&mounted, again);
        let (published, failure) = indexing.wait_for_run(context);
        let failed = disk.lift_fault();
        let context = format!("{context} ({:?}): {failure:?}", failed.first().map(|op| op.to_string()));
        let least = published.max(self.generation);
        self.check_published(&disk.state().current(), least, &context);
        self.check_published(&disk.state().after_power_cut(Chance::none()), least, &format!("{context}, power cut"));
        indexing.end(&context);
        drop(mounted);
        let scratch = support::scratch();
        let engine = self.engine(&disk.state().current(), scratch.path());
        assert_published(&engine, least, &context);
        let report = engine.index().wait().unwrap_or_else(|error| panic!("{context}: the next run: {error}"));
        assert_eq!(report.outcome, Outcome::Done, "{context}");
        support::assert_same(&engine, &self.fresh.engine, &self.content.queries, &context);
        failure.is_some()
    }

    /// Nothing of what was published is missing from `disk`.
    fn check_published(&self, disk: &Tree, least: u64, context: &str) {
        let scratch = support::scratch();
        let engine = self.engine(disk, scratch.path());
        let generation = assert_published(&engine, least, context);
        let left = files(&engine);
        if generation == self.generation {
            assert!(left == self.files, "{context}: the files of generation {generation} are not what they were");
        }
        let fresh = files(&self.fresh.engine);
        for (path, known) in &self.files {
            // What has not changed since is in every generation.
            if fresh.get(path) == Some(known) {
                assert_eq!(left.get(path), Some(known), "{context}: {} is lost", path.escape_ascii());
            }
        }
    }

    /// Tries `count` faults: evenly over the operations, and all ways to fail in turn.
    fn try_faults(&self, count: usize) -> Result<(), String> {
        let operations = self.operations()?;
        let ways = ERRORS.len() * 2 * 2;
        let all = operations * ways;
        let only = std::env::var_os("LEINDEX_WRITE_FAULT_AT").map(|_| support::number("LEINDEX_WRITE_FAULT_AT", 0));
        let (mut tried, mut failed) = (0, 0);
        for n in 0..count.min(all) {
            let (at, way) = if count < all { (n * operations / count, n) } else { (n / ways, n % ways) };
            if only.is_some_and(|only| only != at as u64) {
                continue;
            }
            let (name, error) = ERRORS[way % 2];
            let (lasting, again) = (way / 2 % 2 == 1, way / 4 % 2 == 1);
            let from = if lasting { "from" } else { "only" };
            let context = format!("{}: {name} {from} operation {at}, again in the same process: {again}", self.name);
            tried += 1;
            failed += usize::from(self.try_fault(Fault { at, lasting, error }, again, &context));
        }
        println!("{}: {tried} faults in {operations} operations, {failed} runs failed", self.name);
        Ok(())
    }
}

/// Tries faults in `share` parts of three.
fn try_faults(scenario: fn() -> Scenario, share: usize) {
    let trials = support::number("LEINDEX_WRITE_FAULTS", TRIALS) as usize;
    if let Err(why) = scenario().try_faults(trials * share / 3) {
        eprintln!("SKIPPED: {why}");
    }
}

#[test]
fn a_write_of_an_update_that_fails_loses_nothing_published() {
    try_faults(Scenario::update, 2);
}

#[test]
fn a_write_of_a_first_run_that_fails_loses_nothing_published() {
    try_faults(Scenario::first_run, 1);
}
