//! The kill test: a process that indexes is killed with SIGKILL at random moments, on first runs, on updates, and while it
//! watches a tree that is being changed. Nothing that was published may be lost, the index must be sound after every kill,
//! and the next run must end exactly where an index built from nothing does.
//!
//! 50 kills by default, `LEINDEX_KILLS=1000` for more, `LEINDEX_KILL_SEED` to begin from a seed that a failure printed.
//! The tree and its index are in memory where the system has a place for that: a killed process loses nothing that it has
//! written to a file, wherever the file is. `LEINDEX_KILL_DIR` names another place, where writes take the time that they take.
//! The moments are drawn over the measured length of a run, and the child publishes every few milliseconds, so that the
//! kills hit the scan, the writing of segments, and every step of a publication. `tests/failpoints.rs` hits each step once
//! more, by name.
#![cfg(unix)]
// What was covered belongs to the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "support/crash.rs"]
mod crash;
mod support;

use crash::{Told, Victim, assert_survived, hasty, published};
use leindex_engine::{Query, WatchEvent, WatchOptions, WatchState};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Place, Random, Vocabulary};

const CHILD: &str = "LEINDEX_KILL_CHILD";
/// Set for a child that watches.
const WATCHES: &str = "LEINDEX_KILL_WATCHES";
const KILLS: u64 = 50;
const SEED: u64 = 20_260_101;
const DIRS: usize = 100;
const FILES: usize = 1500;
const WORDS_PER_FILE: usize = 40;
const QUERIES: usize = 60;
/// With fewer kills than this, chance alone may let all of them come too late.
const KILLS_TELLING: u64 = 20;
/// Beyond the length of a first run, a watcher is killed within this time: while it waits, or updates.
const WATCHED: Duration = Duration::from_millis(400);
/// Between two changes of a tree that is watched.
const BREATH: Duration = Duration::from_millis(5);

/// Not a test but the process that is killed: indexes the place that it is told of, or watches it, and says on its standard
/// output what it has published.
#[test]
fn child_process() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let engine = crash::engine_of(Path::new(&place), hasty);
    if std::env::var_os(WATCHES).is_none() {
        return crash::run_aloud(&engine);
    }
    let mut options = WatchOptions::default();
    (options.settle, options.settle_max) = (Duration::from_millis(2), Duration::from_millis(20));
    crash::say_begun();
    let watch = engine.watch(options).unwrap();
    loop {
        match watch.next_event(Duration::from_secs(60)) {
            Some(WatchEvent::Updated(report)) if report.publications > 0 => println!("published {}", report.generation),
            Some(WatchEvent::Updated(_) | WatchEvent::Rescan(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    First,
    Update,
    Watch,
}

/// The tree, and everything that is drawn at random.
struct Session {
    place: Place,
    random: Random,
    vocabulary: Vocabulary,
    queries: Vec<Query>,
    /// Names that were never used are numbered.
    made: usize,
    /// Of a first run, and of an update.
    lengths: [Duration; 2],
}

impl Session {
    fn new(seed: u64) -> Session {
        let disk = std::env::var_os("LEINDEX_KILL_DIR").map(|dir| tempfile::tempdir_in(dir).unwrap());
        let place = Place::within(disk.unwrap_or_else(support::scratch));
        let mut random = Random(seed);
        let vocabulary = Vocabulary::new(10_000);
        let queries = vocabulary.quick_queries(&mut random, QUERIES);
        let mut session = Session { place, random, vocabulary, queries, made: 0, lengths: [Duration::ZERO; 2] };
        for dir in 0..DIRS {
            for _ in 0..FILES / DIRS {
                session.make_file(&format!("d{}/s{}", dir % 10, dir / 10));
            }
        }
        session.lengths[0] = session.length();
        session.edit();
        session.lengths[1] = session.length();
        session
    }

    /// A new name beside `path`.
    fn new_name(&mut self, path: &Path, name: &str) -> PathBuf {
        self.made += 1;
        path.with_file_name(format!("{name}{}", self.made))
    }

    fn content(&mut self) -> String {
        let words = 1 + self.random.below(2 * WORDS_PER_FILE);
        self.vocabulary.text(&mut self.random, words)
    }

    /// Makes a file and the directories above it, in the place of whatever else has their names.
    fn make_file(&mut self, dir: &str) {
        let mut path = self.place.root();
        for name in Path::new(dir) {
            path.push(name);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
                fs::remove_file(&path).unwrap();
            }
        }
        let (path, content) = (self.new_name(&path.join("file"), "file").with_extension("c"), self.content());
        support::write(&path, content);
    }

    /// Files and directories of the tree as it is now; links are neither.
    fn entries(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let kind = |path: &PathBuf| fs::symlink_metadata(path).unwrap().file_type();
        let entries = support::walk(&self.place.root()).into_iter().filter(|path| !kind(path).is_symlink());
        entries.partition(|path| kind(path).is_file())
    }

    /// Changes something of everything: contents, names of files and of a directory, files that come and go, and entries
    /// of one kind in the place of another.
    fn edit(&mut self) {
        let (files, dirs) = self.entries();
        for file in &files {
            self.change_file(file, 40);
        }
        let (from, gone) = (self.random.pick(&dirs).clone(), self.random.pick(&dirs).clone());
        fs::remove_dir_all(&gone).unwrap();
        if from.exists() {
            let to = self.new_name(&from, "moved");
            fs::rename(&from, to).unwrap();
        }
        for _ in 0..4 {
            self.swap_kinds();
        }
        self.fill_up();
    }

    /// Changes a file, or leaves it alone, more often the larger `of` is.
    fn change_file(&mut self, file: &Path, of: usize) {
        match self.random.below(of) {
            0..=2 => fs::write(file, self.content()).unwrap(),
            3 => fs::write(file, fs::read_to_string(file).unwrap() + &self.content()).unwrap(),
            4 => fs::remove_file(file).unwrap(),
            5 => {
                let to = self.new_name(file, "renamed").with_extension("c");
                fs::rename(file, to).unwrap();
            }
            _ => {}
        }
    }

    /// A file becomes a directory, a directory becomes a file or a link to where it was moved.
    fn swap_kinds(&mut self) {
        let (files, dirs) = self.entries();
        let (file, dir) = (self.random.pick(&files).clone(), self.random.pick(&dirs).clone());
        match self.random.below(3) {
            0 => {
                fs::remove_file(&file).unwrap();
                for n in 0..3 {
                    let content = self.content();
                    support::write(&file.join(format!("within{n}.c")), content);
                }
            }
            1 => {
                fs::remove_dir_all(&dir).unwrap();
                fs::write(&dir, self.content()).unwrap();
            }
            _ => {
                let to = self.new_name(&dir, "linked");
                fs::rename(&dir, &to).unwrap();
                std::os::unix::fs::symlink(&to, &dir).unwrap();
            }
        }
    }

    /// Makes files until there are as many as there were in the beginning.
    fn fill_up(&mut self) {
        for n in self.entries().0.len()..FILES {
            self.make_file(&format!("d{}/s{}", n % 10, n % 17));
        }
    }

    /// A few changes, so small that many of them are made while a watcher lives.
    fn edit_a_little(&mut self) {
        let (files, dirs) = self.entries();
        for _ in 0..5 {
            let file = self.random.pick(&files).clone();
            if file.exists() {
                self.change_file(&file, 6);
            }
        }
        match self.random.below(8) {
            0 => self.swap_kinds(),
            1 => {
                let dir = self.random.pick(&dirs).clone();
                let to = self.new_name(&dir, "moved");
                fs::rename(&dir, to).unwrap();
            }
            n => self.make_file(&format!("d{n}/s{n}")),
        }
    }

    fn start(&self, sort: Sort) -> Victim {
        let mut command = support::child("child_process", CHILD, self.place.dir());
        if sort == Sort::Watch {
            command.env(WATCHES, "1");
        }
        Victim::start(command)
    }

    /// How long a run takes now.
    fn length(&self) -> Duration {
        let victim = self.start(Sort::Update);
        let begun = Instant::now();
        assert!(victim.told().ended, "nobody killed the child, and yet its run has not ended");
        begun.elapsed()
    }

    /// Kills a run or a watcher, and checks that nothing of what was published is lost.
    fn kill(&mut self, sort: Sort, context: &str) -> Told {
        let before = published(&self.place, context);
        let longest = match sort {
            Sort::First => self.lengths[0],
            Sort::Update => self.lengths[1],
            Sort::Watch => self.lengths[1] + WATCHED,
        };
        let after = longest.mul_f64(self.random.below(1 << 20) as f64 / f64::from(1 << 20));
        let mut victim = self.start(sort);
        let begun = Instant::now();
        while sort == Sort::Watch && begun.elapsed() + BREATH < after {
            self.edit_a_little();
            std::thread::sleep(BREATH);
        }
        std::thread::sleep(after.saturating_sub(begun.elapsed()));
        victim.kill();
        let told = victim.told();
        let context = format!("{context}, killed after {after:?}");
        assert_survived(&self.place, &before, told.announced, &context);
        assert_eq!(self.place.engine().freshness().state, WatchState::Unwatched, "{context}");
        told
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
}

#[test]
fn nothing_published_is_lost_and_the_next_run_completes() {
    let kills = support::number("LEINDEX_KILLS", KILLS);
    let seed = support::number("LEINDEX_KILL_SEED", SEED);
    println!("{kills} kills, seed {seed}");
    let mut session = Session::new(seed);
    println!("a first run takes {:?}, an update {:?}", session.lengths[0], session.lengths[1]);
    let (mut done, mut in_time, mut published) = (0, 0, 0);
    let mut of_each = [0; 3];
    for sort in [Sort::First, Sort::Update, Sort::Watch].into_iter().cycle() {
        let context = format!("seed {seed}, kill {done}, {sort:?}");
        match sort {
            Sort::First => session.remove_index(),
            Sort::Update => session.edit(),
            // It has to catch up with the tree, or to look for changes first.
            Sort::Watch if session.random.one_in(2) => session.edit(),
            Sort::Watch => {}
        }
        loop {
            let told = session.kill(sort, &context);
            done += 1;
            of_each[sort as usize] += 1;
            in_time += u64::from(!told.ended);
            published += u64::from(!told.ended && told.announced > 0);
            // One in four is killed again before it may recover.
            if done >= kills || !session.random.one_in(4) {
                break;
            }
            session.edit();
        }
        session.fill_up();
        session.finish(&context);
        if done >= kills {
            break;
        }
    }
    let [first, updates, watches] = of_each;
    println!("{first} first runs, {updates} updates and {watches} watchers were killed");
    println!("{in_time} of {kills} came before the end of the run, {published} of them after a publication");
    if kills >= KILLS_TELLING {
        assert!(in_time * 2 > kills, "most kills came too late to test anything");
        assert!(published * 4 > kills, "hardly a kill came between the first publication and the end");
    }
}
