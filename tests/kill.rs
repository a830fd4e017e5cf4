//! The kill test: a process that indexes is killed with SIGKILL at random moments, on first runs and on updates. Nothing
//! that was published may be lost, the index must be sound after every kill, and the next run must end exactly where an
//! index built from nothing does.
//!
//! 50 kills by default, `LEINDEX_KILLS=1000` for more, `LEINDEX_KILL_SEED` to begin from a seed that a failure printed.
//! The tree and its index are in memory where the system has a place for that: a killed process loses nothing that it has
//! written to a file, wherever the file is. `LEINDEX_KILL_DIR` names another place, where writing takes longer.
//! The moments are drawn over the measured length of a run, and the child publishes every few milliseconds, so that the
//! kills hit the scan, the writing of segments, and every step of a publication.
#![cfg(unix)]
// What was covered belongs to the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::{Engine, EngineBuilder, Event, OpenError, Outcome, Query, QueryError, Shards};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Known, Place, Random, Vocabulary};

const CHILD: &str = "LEINDEX_KILL_CHILD";
const KILLS: u64 = 50;
const SEED: u64 = 20_260_101;
const DIRS: usize = 150;
const FILES: usize = 3000;
const WORDS_PER_FILE: usize = 40;
const QUERIES: usize = 100;
const SIGKILL: i32 = 9;
/// With fewer kills than this, chance alone may let all of them come too late.
const KILLS_TELLING: u64 = 20;

/// Publishes as often as the engine can be made to.
fn hasty(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::from_millis(20)).batch_files(100).inverter_bytes(1 << 20).shards(Shards::Count(3))
}

/// Not a test but the process that is killed: indexes the place that it is told of, and says on its standard output what
/// it has published.
#[test]
fn child_process() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let place = Path::new(&place);
    let engine = hasty(Engine::builder().index_dir(place.join("index"))).open(place.join("tree")).unwrap();
    println!("\nbegun");
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

/// What became of a child.
struct Killed {
    /// The last generation that it said it had published.
    announced: u64,
    /// It was killed before its run had ended.
    in_time: bool,
    /// From the beginning of its run to its end.
    length: Duration,
}

/// Runs a child, and kills it this long after its run has begun.
fn run_child(place: &Place, kill_after: Option<Duration>) -> Killed {
    let mut child = support::child("child_process", CHILD, place.dir()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line == "begun"), "the child has not begun: {:?}", child.wait());
    let begun = Instant::now();
    if let Some(after) = kill_after {
        std::thread::sleep(after);
        child.kill().unwrap();
    }
    let mut killed = Killed { announced: 0, in_time: true, length: Duration::ZERO };
    for line in lines {
        if let Some(generation) = line.strip_prefix("published ") {
            killed.announced = generation.parse().unwrap();
        } else if line == "ended" {
            killed.in_time = false;
            killed.length = begun.elapsed();
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(SIGKILL), "the child has failed: {status:?}");
    assert!(kill_after.is_some() || !killed.in_time, "nobody killed the child, and yet its run has not ended");
    killed
}

/// The tree, and everything that is drawn at random.
struct Session {
    place: Place,
    random: Random,
    vocabulary: Vocabulary,
    queries: Vec<Query>,
    /// Names that were never used are numbered.
    made: usize,
}

impl Session {
    fn new(seed: u64) -> Session {
        // On a real disk, where writes take the time that they take.
        let place = Place::within(tempfile::tempdir().unwrap());
        let mut random = Random(seed);
        let vocabulary = Vocabulary::new(10_000);
        let queries = vocabulary.queries(&mut random, QUERIES);
        let mut session = Session { place, random, vocabulary, queries, made: 0 };
        for dir in 0..DIRS {
            for _ in 0..FILES / DIRS {
                session.make_file(&format!("d{}/s{}", dir % 10, dir / 10));
            }
        }
        session
    }

    fn content(&mut self) -> String {
        let words = 1 + self.random.below(2 * WORDS_PER_FILE);
        self.vocabulary.text(&mut self.random, words)
    }

    fn make_file(&mut self, dir: &str) {
        let content = self.content();
        self.place.write(format!("{dir}/file{}.c", self.made), content);
        self.made += 1;
    }

    /// Changes something of everything: contents, names of files and of a directory, files that come and go.
    fn edit(&mut self) {
        let root = self.place.root();
        let files: Vec<_> = support::walk(&root).into_iter().filter(|path| path.is_file()).collect();
        for file in &files {
            match self.random.below(40) {
                0..=2 => fs::write(file, self.content()).unwrap(),
                3 => fs::write(file, fs::read_to_string(file).unwrap() + &self.content()).unwrap(),
                4 => fs::remove_file(file).unwrap(),
                5 => {
                    fs::rename(file, file.with_file_name(format!("renamed{}.c", self.made))).unwrap();
                    self.made += 1;
                }
                _ => {}
            }
        }
        let dirs: Vec<_> = support::walk(&root).into_iter().filter(|path| path.is_dir()).collect();
        let (from, gone) = (self.random.pick(&dirs).clone(), self.random.pick(&dirs).clone());
        fs::remove_dir_all(&gone).unwrap();
        if from.exists() {
            fs::rename(&from, from.with_file_name(format!("moved{}", self.made))).unwrap();
        }
        let left = support::walk(&root).into_iter().filter(|path| path.is_file()).count();
        for n in left..FILES {
            self.make_file(&format!("d{}/s{}", n % 10, n % 17));
        }
    }

    /// What is published: the generation, and the files. Nothing, when nothing was published yet.
    fn published(&self) -> (u64, BTreeMap<Vec<u8>, Known>) {
        match self.place.engine().snapshot() {
            Ok(snapshot) => (snapshot.generation(), support::contents(&snapshot)),
            Err(QueryError::Open(OpenError::NoIndex { .. })) => (0, BTreeMap::new()),
            Err(error) => panic!("after a kill the index does not open: {error}"),
        }
    }

    /// Kills a run, and checks that nothing of what was published is lost.
    fn kill(&mut self, length: Duration) -> Killed {
        let (generation, files) = self.published();
        let after = length.mul_f64(self.random.below(1 << 20) as f64 / f64::from(1 << 20));
        let killed = run_child(&self.place, Some(after));
        let engine = self.place.engine();
        let least = generation.max(killed.announced);
        match engine.verify() {
            Ok(found) => {
                assert!(found.is_sound(), "killed after {after:?}: {found:#?}");
                assert!(found.generation >= least, "killed after {after:?}: {} < {least}", found.generation);
            }
            Err(QueryError::Open(OpenError::NoIndex { .. })) => {
                assert_eq!(least, 0, "killed after {after:?}: a published index is gone");
            }
            Err(error) => panic!("killed after {after:?}: {error}"),
        }
        drop(engine);
        let (_, left) = self.published();
        for (path, known) in &files {
            let on_disk = self.place.root().join(OsStr::from_bytes(path));
            let untouched = fs::symlink_metadata(&on_disk).is_ok_and(|metadata| {
                let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
                (metadata.len(), mtime_ns, metadata.ino()) == (known.size, known.mtime_ns, known.inode)
            });
            if untouched {
                assert_eq!(left.get(path), Some(known), "{}: was lost by a kill", path.escape_ascii());
            }
        }
        killed
    }

    /// Runs to the end and compares with an index built from nothing.
    fn finish(&mut self, context: &str) {
        // Mostly with ordinary settings, which take less time; what the child has left is the same.
        let hastily = self.random.one_in(4);
        let engine = self.place.engine_with(|builder| if hastily { hasty(builder) } else { builder });
        let before = engine.snapshot().map_or(0, |snapshot| snapshot.generation());
        let report = support::run(&engine);
        assert!(report.generation >= before, "{context}: the generation went back");
        let found = support::assert_as_fresh(&engine, &self.queries, context);
        assert!(found > QUERIES, "{context}: the queries find next to nothing");
    }

    fn remove_index(&self) {
        match fs::remove_dir_all(self.place.index()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }

    /// The length of a first run and of an update.
    fn lengths(&mut self) -> [Duration; 2] {
        self.remove_index();
        let first = run_child(&self.place, None).length;
        self.edit();
        let update = run_child(&self.place, None).length;
        [first, update]
    }
}

#[test]
fn nothing_published_is_lost_and_the_next_run_completes() {
    let kills = support::number("LEINDEX_KILLS", KILLS);
    let seed = support::number("LEINDEX_KILL_SEED", SEED);
    println!("{kills} kills, seed {seed}");
    let mut session = Session::new(seed);
    let lengths = session.lengths();
    println!("a first run takes {:?}, an update {:?}", lengths[0], lengths[1]);
    let (mut done, mut in_time, mut published) = (0, 0, 0);
    while done < kills {
        let update = done % 2 == 1;
        let context = format!("seed {seed}, kill {done}, {}", if update { "update" } else { "first run" });
        if update {
            session.edit();
        } else {
            session.remove_index();
        }
        loop {
            let killed = session.kill(lengths[usize::from(update)]);
            done += 1;
            in_time += u64::from(killed.in_time);
            published += u64::from(killed.in_time && killed.announced > 0);
            // One in four is killed again before it may recover.
            if done >= kills || !session.random.one_in(4) {
                break;
            }
            session.edit();
        }
        session.finish(&context);
    }
    println!("{in_time} of {kills} came before the end of the run, {published} of them after a publication");
    if kills >= KILLS_TELLING {
        assert!(in_time * 2 > kills, "most kills came too late to test anything");
        assert!(published * 4 > kills, "hardly a kill came between the first publication and the end");
    }
}
