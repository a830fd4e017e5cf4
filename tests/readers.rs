//! Many readers and one writer: a snapshot stays what it was when it was opened, however often the index is updated, in this
//! process and in others; generations never go back; what readers have let go of is not kept. Two writers: the second is
//! told who the first is, or waits for it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests; what was covered")]

#[path = "support/crash.rs"]
mod crash;
mod support;

use crash::Victim;
use leindex_engine::{Engine, OpenError, Query, RunError, Snapshot};
use leindex_fallback::{Backend, Dir, ThreadBackend, Worker, WorkerOptions};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{At, Place, Random, Vocabulary};

const CHILD: &str = "LEINDEX_READERS_CHILD";
/// What the child does.
const TASK: &str = "LEINDEX_READERS_TASK";
const SEED: u64 = 20_260_108;
const DIRS: usize = 40;
const FILES: usize = 4000;
const UPDATES: u64 = 30;
const READERS: u64 = 4;
/// Snapshots that a reader keeps at the same time.
const KEPT: usize = 3;
/// And for how many generations at least before it lets go of one. Pages of the metadata that a snapshot may see are not
/// used again, and its file never shrinks: what was needed once for all of these generations stays.
const GENERATIONS_KEPT: u64 = 4;
/// What a waiting run may take to notice: it asks every 20 ms, on a machine that has other things to do as well.
const SOON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// In files that are never changed.
const STEADFAST: &str = "steadfast";
/// In files that were changed.
const FLEETING: &str = "fleeting";

/// Not a test but the other process.
#[test]
fn child_process() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let place = Path::new(&place);
    match &std::env::var(TASK).unwrap()[..] {
        "read" => read_aloud(place),
        "hold" => {
            let _held = crash::engine_of(place, |builder| builder).snapshot().unwrap();
            crash::say_begun();
            std::thread::sleep(PATIENCE);
        }
        _ => {
            let gate = Arc::new(Gate(place.join("go")));
            crash::run_aloud(&crash::engine_of(place, |builder| builder.own_backend(gate)));
        }
    }
}

fn start(place: &Place, task: &str) -> Victim {
    let mut command: Command = support::child("child_process", CHILD, place.dir());
    command.env(TASK, task);
    Victim::start(command)
}

/// Opens the root only when a file is there: whoever runs with it holds the writer's lock meanwhile, and says so.
#[derive(Debug)]
struct Gate(PathBuf);

impl Backend for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn open_root(&self, path: &Path) -> io::Result<Dir> {
        println!("locked");
        eventually("the gate opens", || self.0.exists());
        ThreadBackend::new().open_root(path)
    }

    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>> {
        ThreadBackend::new().worker(options)
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The files of a generation: path and size.
type Files = BTreeMap<String, u64>;

fn digest(files: &Files) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

/// A snapshot and what it said when it was opened.
struct Kept {
    snapshot: Snapshot,
    generation: u64,
    files: Files,
    steadfast: Vec<At>,
}

impl Kept {
    fn open(engine: &Engine) -> Kept {
        let snapshot = engine.snapshot().unwrap();
        let (generation, files, steadfast) = Kept::answers(&snapshot);
        Kept { snapshot, generation, files, steadfast }
    }

    fn answers(snapshot: &Snapshot) -> (u64, Files, Vec<At>) {
        let mut files = Files::new();
        let each = |path: &[u8], meta: &leindex_engine::record::FileMeta| {
            let path = String::from_utf8(path.to_vec()).unwrap();
            assert!(files.insert(path, meta.size).is_none(), "a file is there twice");
        };
        snapshot.for_each_file(each).unwrap();
        let steadfast = support::hits(snapshot, &Query::substring(STEADFAST)).into_iter().collect();
        (snapshot.generation(), files, steadfast)
    }

    /// Panics unless it still says the same.
    fn check(&self) {
        let (generation, files, steadfast) = Kept::answers(&self.snapshot);
        assert_eq!((generation, &steadfast), (self.generation, &self.steadfast));
        assert!(files == self.files, "generation {generation}: the files of a snapshot have changed");
        // What was changed on the disk since may be missing, but nothing may be found that this generation does not have.
        for (path, ..) in support::hits(&self.snapshot, &Query::substring(FLEETING)) {
            assert!(self.files.contains_key(path.to_str().unwrap()), "{}: not of this generation", path.display());
        }
    }
}

/// Opens snapshots until told to stop, and keeps some of them. `opened` is told of each.
/// Returns for how many generations one was kept.
fn read(engine: &Engine, seed: u64, stop: impl Fn() -> bool, mut opened: impl FnMut(&Kept)) -> u64 {
    let mut random = Random(seed);
    let mut kept: VecDeque<Kept> = VecDeque::new();
    let (mut last, mut spans, mut count) = (0, 0, 0);
    while !stop() {
        let next = Kept::open(engine);
        assert!(next.generation >= last, "{} after {last}: the generation went back", next.generation);
        last = next.generation;
        count += 1;
        opened(&next);
        if kept.back().is_none_or(|newest| newest.generation < last) || random.one_in(4) {
            kept.push_back(next);
        }
        if let Some(old) = kept.get(random.below(kept.len())) {
            old.check();
            spans = spans.max(last - old.generation);
        }
        let is_old = kept.front().is_some_and(|oldest| oldest.generation + GENERATIONS_KEPT <= last);
        if is_old || kept.len() > KEPT {
            let at = if is_old { 0 } else { random.below(kept.len()) };
            kept.remove(at).unwrap().check();
        }
    }
    kept.iter().for_each(Kept::check);
    println!("\nopened {count} snapshots, kept some for {spans} generations");
    spans
}

/// In the child: reads until the file `stop` is there; says what each generation looks like.
fn read_aloud(place: &Path) {
    let engine = crash::engine_of(place, |builder| builder);
    crash::say_begun();
    read(
        &engine,
        SEED,
        || place.join("stop").exists(),
        |kept| println!("seen {} {}", kept.generation, digest(&kept.files)),
    );
    println!("ended");
}

fn path(n: usize) -> String {
    format!("d{}/f{n}.c", n % DIRS)
}

/// A tree of which the files of the first half are never changed.
fn tree(vocabulary: &Vocabulary, random: &mut Random) -> Place {
    let place = Place::new();
    for n in 0..FILES {
        let word = if n < FILES / 2 && n % 100 == 0 { STEADFAST } else { "" };
        place.write(path(n), format!("{word}\n{}", vocabulary.text(random, 200)));
    }
    support::settle(&place.root());
    place
}

/// Changes some files of one directory, all of them in the second half.
fn edit(place: &Place, update: usize, vocabulary: &Vocabulary, random: &mut Random) {
    let dir = update % DIRS;
    for n in (FILES / 2..FILES).filter(|n| n % DIRS == dir) {
        match random.below(8) {
            0 => place.write(path(n), format!("{FLEETING}\n{}", vocabulary.text(random, 180))),
            1 if random.one_in(4) => drop(fs::remove_file(place.root().join(path(n)))),
            _ => {}
        }
    }
    place.write(format!("d{dir}/new{update}.c"), format!("{FLEETING}\n{}", vocabulary.text(random, 200)));
}

/// The files of the tree as they are.
fn files_of(place: &Place) -> Files {
    let root = place.root();
    let files = support::walk(&root).into_iter().filter(|path| path.is_file());
    files
        .map(|path| {
            let size = fs::metadata(&path).unwrap().len();
            (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), size)
        })
        .collect()
}

/// Bytes of an index, once a run has told of them.
fn bytes(engine: &Engine) -> u64 {
    engine.snapshot().unwrap().status().unwrap().index_bytes
}

#[test]
fn snapshots_stay_as_they_are_while_a_writer_publishes() {
    let (vocabulary, mut random) = (Vocabulary::new(1000), Random(SEED));
    let place = tree(&vocabulary, &mut random);
    let engine = place.engine();
    let first = support::run(&engine).generation;
    let history = Mutex::new(BTreeMap::from([(first, digest(&files_of(&place)))]));
    let seen = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let spans = AtomicU64::new(0);
    let mut child = start(&place, "read");
    std::thread::scope(|scope| {
        let _stop = support::SetOnDrop(&done);
        for reader in 0..READERS {
            let (engine, seen, done, spans) = (engine.clone(), &seen, &done, &spans);
            scope.spawn(move || {
                let note = |kept: &Kept| seen.lock().unwrap().push((kept.generation, digest(&kept.files)));
                spans.fetch_max(read(&engine, reader, || done.load(Relaxed), note), Relaxed);
            });
        }
        for update in 0..UPDATES {
            edit(&place, update as usize, &vocabulary, &mut random);
            let report = support::run(&engine);
            assert_eq!((report.publications, report.generation), (1, first + update + 1));
            history.lock().unwrap().insert(report.generation, digest(&files_of(&place)));
            // At the pace of the readers: however slow they are, they see most generations, and hold up few.
            let count = || seen.lock().unwrap().len();
            let enough = count() + READERS as usize;
            eventually("every reader reads", || count() >= enough);
        }
    });
    fs::write(place.dir().join("stop"), "").unwrap();
    let mut seen = seen.into_inner().unwrap();
    let of_threads = seen.len();
    while let Some(line) = child.next_line() {
        if let Some((generation, digest)) = line.strip_prefix("seen ").and_then(|seen| seen.split_once(' ')) {
            seen.push((generation.parse().unwrap(), digest.parse().unwrap()));
        }
    }
    child.told();
    let history = history.into_inner().unwrap();
    for (generation, digest) in &seen {
        assert_eq!(history.get(generation), Some(digest), "generation {generation} is not the tree as it was then");
    }
    let spans = spans.into_inner();
    println!(
        "{of_threads} snapshots of threads, {} of a process; some kept for {spans} generations",
        seen.len() - of_threads
    );
    assert!(of_threads > 20 && seen.len() > of_threads + 5 && spans >= 2, "hardly anything was read");
    // Nobody reads any more: what was kept for readers is free again.
    edit(&place, 0, &vocabulary, &mut random);
    support::run(&engine);
    let fresh = support::fresh(&place.root());
    let ratio = bytes(&engine) as f64 / bytes(&fresh.engine) as f64;
    println!("the index has {ratio:.2} times the bytes of a fresh one");
    assert!(ratio <= 1.5, "{ratio:.2} times the bytes of a fresh index");
    support::assert_same(&engine, &fresh.engine, &vocabulary.quick_queries(&mut random, 30), "after many readers");
}

/// A reader that was killed does not keep old pages from being used again, in a process that has the index open for good.
#[test]
fn a_reader_that_was_killed_keeps_nothing() {
    let (vocabulary, mut random) = (Vocabulary::new(1000), Random(SEED));
    let place = tree(&vocabulary, &mut random);
    let engine = place.engine();
    support::run(&engine);
    let mut update = |count: usize| {
        for n in 0..count {
            edit(&place, n, &vocabulary, &mut random);
            support::run(&engine);
        }
        fs::metadata(place.index().join("meta/data.mdb")).unwrap().len()
    };
    update(3);
    let mut child = start(&place, "hold");
    child.kill();
    assert!(child.told().killed);
    let (before, after) = (update(5), update(30));
    println!("{before} bytes of metadata, and {after} after 30 updates");
    assert!(after as f64 <= before as f64 * 1.5, "{before} bytes of metadata have become {after}");
}

fn small() -> Place {
    let place = Place::new();
    (0..50).for_each(|n| place.write(format!("d{}/f{n}.c", n % 5), format!("word{n}\n")));
    place
}

/// A process that is in the middle of a run, and its pid.
fn writer(place: &Place) -> (Victim, u32) {
    let mut child = start(place, "write");
    while child.next_line().unwrap() != "locked" {}
    let pid = child.pid();
    (child, pid)
}

#[test]
fn a_second_writer_is_told_of_the_first_or_waits() {
    let place = small();
    let (child, pid) = writer(&place);
    let busy = |error: &OpenError| matches!(error, OpenError::Busy { pid: found, .. } if *found == pid);
    let engine = place.engine();
    match engine.index().wait() {
        Err(RunError::Open(error)) => assert!(busy(&error) && error.to_string().contains(&pid.to_string()), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(busy(&engine.reset().unwrap_err()) && busy(&engine.repair().unwrap_err()));
    let waiting = place.engine_with(|builder| builder.wait_for_writer(true));
    // One that is cancelled while it waits.
    let run = waiting.index();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!run.is_finished(), "it has not waited");
    let cancelled = Instant::now();
    run.canceller().cancel();
    match run.wait() {
        Err(RunError::Open(error)) => assert!(busy(&error), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(cancelled.elapsed() < SOON);
    // One that is dropped.
    drop(waiting.index());
    // And one that waits until it can run.
    let run = waiting.index();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!run.is_finished(), "it has not waited");
    place.write("d0/late.c", "late\n");
    fs::write(place.dir().join("go"), "").unwrap();
    let told = child.told();
    assert!(told.ended && told.announced > 0, "{told:?}");
    let report = run.wait().unwrap();
    assert!(report.generation >= told.announced);
    support::assert_as_fresh(&waiting, &[Query::substring("late"), Query::substring("word4")], "after waiting");
}

#[test]
fn the_lock_of_a_writer_that_was_killed_is_free() {
    let place = small();
    for waits in [false, true] {
        let (mut child, pid) = writer(&place);
        let engine = place.engine_with(|builder| builder.wait_for_writer(waits));
        let begun = if waits {
            let run = engine.index();
            std::thread::sleep(Duration::from_millis(100));
            assert!(!run.is_finished(), "it has not waited");
            child.kill();
            assert!(child.told().killed);
            run
        } else {
            child.kill();
            assert!(child.told().killed);
            assert_eq!(fs::read_to_string(place.index().join("lock")).unwrap().trim(), pid.to_string());
            engine.index()
        };
        let killed = Instant::now();
        begun.wait().unwrap();
        assert!(killed.elapsed() < SOON);
        support::assert_as_fresh(&engine, &[Query::substring("word1")], "after a killed writer");
        drop(engine);
        fs::remove_dir_all(place.index()).unwrap();
    }
}
