//! Kills at every step of the generation protocol: a process ends itself with SIGKILL at the k-th time that it comes to a
//! failpoint, in first runs, in updates, in the recovery after such a kill, and in repairs. What was published is there,
//! exactly; the index is sound; and the next run ends where an index built from nothing does.
//!
//! One shard publishes after every batch: each time, a run comes to the same points. A point that no kill has hit fails the
//! test, so that none of them rots. The random moments between the points belong to `tests/kill.rs`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests; what was covered")]

#[path = "support/crash.rs"]
mod crash;
mod support;

use crash::{Published, Told, Victim, assert_survived, published};
use leindex_engine::{Engine, EngineBuilder, Mode, Query, Shards, failpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use support::{Fresh, Place, Random, Vocabulary};

const CHILD: &str = "LEINDEX_FAILPOINTS_CHILD";
/// What the child is to do, and where it is to end: a point, and how often it comes to it.
const TASK: &str = "LEINDEX_FAILPOINTS_TASK";
const AT: &str = "LEINDEX_FAILPOINTS_AT";
const FILES: usize = 300;
const SEED: u64 = 20_260_107;
/// The last point of opening an index for writing.
const OPEN: &str = "after-sweep";
/// A generation is published once this is reached.
const PUBLISHED: &str = "after-publication";

/// A publication a batch, in the same order each time.
fn steady(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::ZERO).batch_files(20).shards(Shards::Count(1))
}

/// Not a test but the process that is killed.
#[test]
fn child_process() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let at = std::env::var(AT).unwrap();
    let (point, times) = at.split_once('/').map_or((String::new(), 0), |(at, n)| (at.into(), n.parse().unwrap()));
    let seen = AtomicUsize::new(0);
    failpoint::at_each(move |name| {
        println!("reached {name}");
        if name == point && seen.fetch_add(1, Relaxed) + 1 == times {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    });
    let engine = crash::engine_of(Path::new(&place), steady);
    match &std::env::var(TASK).unwrap()[..] {
        "run" => crash::run_aloud(&engine),
        task => {
            crash::say_begun();
            match task {
                "embed" => drop(engine.embed().wait().unwrap()),
                _ => drop(engine.repair().unwrap()),
            }
            println!("ended");
        }
    }
}

/// A tree, an index of it, and what both were at some time before.
struct Stage {
    place: Place,
    vocabulary: Vocabulary,
    random: Random,
    queries: Vec<Query>,
    /// An index built from nothing of the tree as it is now.
    fresh: Option<Fresh>,
    /// The points at which a process was killed.
    hit: BTreeSet<String>,
    kills: usize,
}

impl Stage {
    fn new() -> Stage {
        let (vocabulary, mut random) = (Vocabulary::new(300), Random(SEED));
        let queries = vocabulary.quick_queries(&mut random, 12);
        let place = Place::new();
        let mut stage = Stage { place, vocabulary, random, queries, fresh: None, hit: BTreeSet::new(), kills: 0 };
        (0..FILES).for_each(|n| stage.write(n));
        stage
    }

    fn write(&mut self, n: usize) {
        let content = self.vocabulary.text(&mut self.random, 12);
        self.place.write(format!("d{}/e{}/file{n}.c", n % 6, n % 5), content);
        self.fresh = None;
    }

    /// A stage with an index of many segments, and a tree that has changed since.
    fn indexed() -> Stage {
        let mut stage = Stage::new();
        assert!(stage.child("run", None).ended);
        stage.edit();
        stage.save("indexed");
        stage
    }

    /// Files that change, go, come and move; more of them than a few batches hold.
    fn edit(&mut self) {
        for n in 0..FILES + 60 {
            let path = self.place.root().join(format!("d{}/e{}/file{n}.c", n % 6, n % 5));
            match self.random.below(6) {
                0 | 1 => self.write(n),
                2 if path.exists() => fs::remove_file(path).unwrap(),
                _ => {}
            }
        }
        let dir = self.place.root().join(format!("d{}/e{}", self.random.below(6), self.random.below(5)));
        if dir.exists() {
            fs::rename(&dir, dir.with_file_name(format!("moved{}", self.kills))).unwrap();
        }
        self.fresh = None;
    }

    fn saved(&self, name: &str) -> PathBuf {
        self.place.dir().join(format!("saved-{name}"))
    }

    fn save(&self, name: &str) {
        copy(&self.place.index(), &self.saved(name));
    }

    /// Puts an index back that was saved; none if none was.
    fn restore(&self, name: &str) {
        copy(&self.saved(name), &self.place.index());
    }

    /// Runs a child, to be killed when it comes to a point for the given time.
    fn child(&mut self, task: &str, at: Option<(&str, usize)>) -> Told {
        let mut command = support::child("child_process", CHILD, self.place.dir());
        command.env(TASK, task).env(AT, at.map_or(String::new(), |(point, times)| format!("{point}/{times}")));
        let told = Victim::start(command).told();
        if let Some((point, _)) = at.filter(|_| told.killed) {
            self.hit.insert(point.to_owned());
            self.kills += 1;
        }
        told
    }

    /// Kills a run at a point, and checks what is left. `None` when the run has ended before.
    fn kill(&mut self, at: (&str, usize), context: &str) -> Option<Told> {
        let context = format!("{context}, killed at {}, time {}", at.0, at.1);
        let before = published(&self.place, &context);
        let told = self.child("run", Some(at));
        self.assert_left(&before, &told, &context);
        told.killed.then_some(told)
    }

    fn assert_left(&self, before: &Published, told: &Told, context: &str) {
        let left = assert_survived(&self.place, before, told.announced, context);
        // Not only no less, but exactly that.
        let count = points(told).iter().filter(|point| *point == PUBLISHED).count() as u64;
        assert_eq!(left.generation, before.generation + count, "{context}: {told:?}");
    }

    /// Runs to the end, and compares with an index built from nothing.
    fn finish(&mut self, context: &str) {
        // Mostly as other runs are.
        let engine = match self.kills % 4 {
            0 => self.place.engine_with(steady),
            _ => self.place.engine(),
        };
        let before = engine.snapshot().map_or(0, |snapshot| snapshot.generation());
        let report = support::run(&engine);
        assert!(report.generation >= before, "{context}: the generation went back");
        let fresh = self.fresh.get_or_insert_with(|| support::fresh(&self.place.root()));
        let found = support::assert_same(&engine, &fresh.engine, &self.queries, context);
        assert!(found > self.queries.len(), "{context}: the queries find next to nothing");
    }

    /// Kills a run from the index `saved` on at each point that it comes to: the first time, the last, and one between.
    fn kill_everywhere(&mut self, saved: &str) {
        self.restore(saved);
        let all = points(&self.child("run", None));
        let publications = all.iter().filter(|point| *point == PUBLISHED).count();
        assert!(publications >= 3, "{saved}: {publications} publications");
        for (point, count) in counts(&all) {
            for times in BTreeSet::from([1, count.div_ceil(2), count]) {
                // How the batches of an update fall depends on the order in which reads complete.
                let hit = (1..=times).rev().any(|times| {
                    self.restore(saved);
                    self.kill((&point, times), saved).is_some()
                });
                assert!(hit, "{saved}: {point} is not reached again");
                self.finish(&format!("{saved}, after a kill at {point}, time {times}"));
            }
        }
    }
}

/// Puts a copy of a directory in the place of another; only takes that away when there is nothing to copy.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    if !from.exists() {
        return;
    }
    for path in support::walk(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&path, target).unwrap();
        }
    }
}

/// The points that a child has come to, in order.
fn points(told: &Told) -> Vec<String> {
    told.lines.iter().filter_map(|line| line.strip_prefix("reached ")).map(str::to_owned).collect()
}

fn counts(points: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    points.iter().for_each(|point| *counts.entry(point.clone()).or_default() += 1);
    counts
}

/// The points up to the last one of opening the index, each once.
fn opening(points: &[String]) -> Vec<String> {
    let end = points.iter().position(|point| point == OPEN).unwrap() + 1;
    let mut seen = BTreeSet::new();
    points[..end].iter().filter(|point| seen.insert(*point)).cloned().collect()
}

fn first_runs() -> Stage {
    let mut stage = Stage::new();
    stage.kill_everywhere("nothing");
    stage
}

fn updates() -> Stage {
    let mut stage = Stage::indexed();
    stage.kill_everywhere("indexed");
    stage
}

/// How the next run deals with an intent that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    None,
    Dropped,
    Completed,
}

/// Where an update is killed, and what the next run makes of it: the table in docs/architecture.md.
const STATES: [(&str, Intent); 13] = [
    ("in-segment", Intent::None),
    ("after-segment", Intent::None),
    ("after-intent-file", Intent::None),
    ("after-intent-record", Intent::Dropped),
    ("after-text-segments", Intent::Dropped),
    ("before-meta-json", Intent::Dropped),
    ("after-meta-json", Intent::Completed),
    ("after-rewrite", Intent::Completed),
    ("before-merge", Intent::Completed),
    ("after-merge", Intent::Completed),
    ("in-publication", Intent::Completed),
    ("after-publication", Intent::None),
    ("after-intent-file-removed", Intent::None),
];

fn recoveries() -> Stage {
    let mut stage = Stage::indexed();
    for (state, intent) in STATES {
        stage.restore("indexed");
        assert!(stage.kill((state, 1), "update").is_some(), "{state} is not reached");
        stage.save(state);
        recover(&mut stage, state, intent);
    }
    // An intent that cannot be read: the text index goes back to the generation before.
    stage.restore("indexed");
    assert!(stage.kill(("before-publication", 1), "update").is_some());
    let intent = fs::File::options().write(true).open(stage.place.index().join("meta/intent")).unwrap();
    intent.set_len(intent.metadata().unwrap().len() / 2).unwrap();
    stage.save("torn intent");
    let seen = recover(&mut stage, "torn intent", Intent::Dropped);
    assert!(seen.iter().any(|point| point == "after-meta-json-put-back"), "{seen:?}");
    stage
}

/// Kills the recovery from a saved state at each of its points, alone and one after the other. Returns those points.
fn recover(stage: &mut Stage, state: &str, intent: Intent) -> Vec<String> {
    let context = format!("recovery from {state}");
    stage.restore(state);
    let seen = opening(&points(&stage.child("run", None)));
    let has = |point: &str| seen.iter().any(|seen| seen == point);
    let expected = match intent {
        Intent::None => (false, false),
        Intent::Dropped => (true, false),
        Intent::Completed => (false, true),
    };
    assert_eq!((has("after-dropping"), has("after-completing")), expected, "{context}: {seen:?}");
    for point in &seen {
        stage.restore(state);
        assert!(stage.kill((point, 1), &context).is_some(), "{context}: {point} is not reached again");
        stage.finish(&format!("{context}, after a kill at {point}"));
    }
    stage.restore(state);
    for point in &seen {
        stage.kill((point, 1), &format!("{context}, again"));
    }
    stage.finish(&format!("{context}, after many kills"));
    seen
}

/// Two runs that are killed one after the other, with changes between them.
fn two_in_a_row() -> Stage {
    let mut stage = Stage::indexed();
    let places: Vec<&str> = STATES.iter().map(|(point, _)| *point).collect();
    for (n, first) in places.iter().enumerate() {
        let second = places[(n * 5 + 3) % places.len()];
        let context = format!("killed at {first} and then at {second}");
        assert!(stage.kill((first, 1), &context).is_some(), "{context}");
        stage.edit();
        assert!(stage.kill((second, 1), &context).is_some(), "{context}");
        stage.edit();
        stage.finish(&context);
        // Of many segments once more, so that there is something to merge.
        stage.restore("indexed");
    }
    stage
}

/// A file of a segment is lost: every file is read again. There is no index to search until something is published.
fn lost_segments() -> Stage {
    let mut stage = Stage::indexed();
    fs::remove_file(segment_file(&stage)).unwrap();
    stage.save("lost");
    let all = points(&stage.child("run", None));
    assert!(all.iter().any(|point| point == "after-forgetting-files"), "{all:?}");
    for point in counts(&all).into_keys() {
        stage.restore("lost");
        assert!(stage.child("run", Some((&point, 1))).killed);
        stage.finish(&format!("a segment was lost, and a run killed at {point}"));
    }
    stage
}

/// A file of the text index.
fn segment_file(stage: &Stage) -> PathBuf {
    let files = support::walk(&stage.place.index().join("text"));
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "term")).unwrap()
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 16].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(path, bytes).unwrap();
}

fn repairs() -> Stage {
    let mut stage = Stage::indexed();
    // Killed between the commit of the text and its publication, so that there is an intent too.
    assert!(stage.kill(("before-publication", 1), "update").is_some());
    stage.save("indexed");
    for damaged in ["segment", "metadata"] {
        stage.restore("indexed");
        let data = stage.place.index().join("meta/data.mdb");
        damage(&if damaged == "segment" { segment_file(&stage) } else { data });
        stage.save("damaged");
        let context = format!("damaged {damaged}");
        let told = stage.child("repair", None);
        assert!(told.ended);
        stage.save("repaired");
        let seen = points(&told);
        for point in &seen {
            stage.restore("damaged");
            assert!(stage.child("repair", Some((point, 1))).killed, "{context}: {point} is not reached again");
            // What is in place need not be repaired again.
            let is_done = seen.iter().position(|seen| seen == "after-new-data-file")
                <= seen.iter().position(|seen| seen == point);
            if !is_done {
                stage.place.engine().repair().unwrap();
            }
            stage.finish(&format!("{context}, a repair killed at {point}"));
        }
        stage.restore("repaired");
        for point in opening(&points(&stage.child("run", None))) {
            stage.restore("repaired");
            assert!(stage.child("run", Some((&point, 1))).killed, "{context}: {point} is not reached again");
            stage.finish(&format!("{context}, the run after the repair killed at {point}"));
        }
    }
    stage
}

/// What a search by meaning finds: paths, lines and scores, in an order that does not depend on ids.
fn found(engine: &Engine, question: &str) -> Vec<(PathBuf, u64, f32)> {
    let query = Query::new(Mode::Semantic, question).limit(10 * FILES);
    let result = engine.snapshot().unwrap().search(&query).unwrap();
    assert_eq!((result.not_embedded, result.unreadable, result.truncated), (0, 0, false));
    let mut hits: Vec<_> = result.hits.into_iter().map(|hit| (hit.path, hit.line, hit.score)).collect();
    hits.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
    hits
}

/// Embeddings that are killed: the text stays as it is, and the next one ends where one of an index built from nothing does.
fn embeddings() -> Stage {
    let mut stage = Stage::new();
    assert!(stage.child("run", None).ended);
    stage.save("nothing embedded");
    // Twice, so that there are parts of similar size to merge.
    for _ in 0..2 {
        assert!(stage.child("embed", None).ended);
        stage.edit();
        assert!(stage.child("run", None).ended);
    }
    stage.save("embedded");
    let question = stage.vocabulary.text(&mut stage.random, 1);
    for saved in ["nothing embedded", "embedded"] {
        stage.restore(saved);
        if saved == "nothing embedded" {
            // Of the tree as it is now.
            assert!(stage.child("run", None).ended);
            stage.save(saved);
        }
        for (point, count) in counts(&points(&stage.child("embed", None))) {
            let context = format!("{saved}, an embedding killed at {point}");
            for times in 1..=count {
                stage.restore(saved);
                let before = published(&stage.place, &context);
                let told = stage.child("embed", Some((&point, times)));
                assert!(told.killed, "{context}");
                stage.assert_left(&before, &told, &context);
                let engine = stage.place.engine();
                engine.embed().wait().unwrap();
                assert!(engine.verify().unwrap().is_sound(), "{context}");
                let fresh = stage.fresh.get_or_insert_with(|| support::fresh(&stage.place.root()));
                fresh.engine.embed().wait().unwrap();
                let hits = found(&engine, &question);
                assert!(hits.len() > FILES / 2, "{context}: {} hits", hits.len());
                assert_eq!(hits, found(&fresh.engine, &question), "{context}");
            }
        }
    }
    stage
}

#[test]
fn a_kill_at_any_step_loses_nothing() {
    type Scenario = fn() -> Stage;
    let scenarios: [(&str, Scenario); 7] = [
        ("first runs", first_runs),
        ("updates", updates),
        ("recoveries", recoveries),
        ("two in a row", two_in_a_row),
        ("lost segments", lost_segments),
        ("repairs", repairs),
        ("embeddings", embeddings),
    ];
    let mut hit = BTreeSet::new();
    std::thread::scope(|scope| {
        let all = scenarios.map(|(name, scenario)| (name, scope.spawn(scenario)));
        for (name, scenario) in all {
            let stage = scenario.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
            println!("{name}: {} kills at {} points", stage.kills, stage.hit.len());
            hit.extend(stage.hit);
        }
    });
    let missed: Vec<_> = failpoint::POINTS.iter().filter(|point| !hit.contains(**point)).collect();
    assert!(missed.is_empty(), "no kill has hit {missed:?}");
}
