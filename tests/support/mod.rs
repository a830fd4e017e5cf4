//! What the tests of whole runs share: trees that are made deterministically, and the comparison of an index with one
//! that was built from nothing.

// Every test binary compiles this module and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use leindex_engine::record::{FileMeta, Flags};
use leindex_engine::{Engine, EngineBuilder, Outcome, Query, Report, Snapshot, Verification};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Differences that a failure shows of each kind.
const SHOWN_MAX: usize = 10;

/// Longer than the engine's rule for racy files allows for, on any system.
const SETTLED: Duration = Duration::from_secs(10);

/// More than the engine takes for the granularity of the clock that stamps files.
pub const CLOCK_TICK: Duration = Duration::from_millis(30);

/// A deterministic generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A number from the environment, or `default`.
pub fn number(name: &str, default: u64) -> u64 {
    let Some(value) = std::env::var_os(name) else { return default };
    let parsed = value.to_str().and_then(|value| value.parse().ok());
    parsed.unwrap_or_else(|| panic!("{name}={}: give a number", value.display()))
}

/// A temporary directory: in memory where the system has a place for that, which takes a tenth of the time.
pub fn scratch() -> TempDir {
    let make = |dir: &Path| tempfile::Builder::new().prefix("leindex-test-").tempdir_in(dir);
    make(Path::new("/dev/shm")).or_else(|_| make(&std::env::temp_dir())).expect("a temporary directory")
}

/// A tree to index, and places for indexes of it outside of the tree.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// An empty tree.
    pub fn new() -> Place {
        Place::within(scratch())
    }

    /// An empty tree in `dir`.
    pub fn within(dir: TempDir) -> Place {
        fs::create_dir(dir.path().join("tree")).expect("the tree");
        Place { dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The tree.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// An index directory.
    pub fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    /// Writes a file of the tree and the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        write(&self.root().join(path), content);
    }

    /// An engine whose index is [`Place::index`].
    pub fn engine(&self) -> Engine {
        self.engine_with(|builder| builder)
    }

    /// As [`Place::engine`], with further settings.
    pub fn engine_with(&self, settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
        let builder = settings(Engine::builder().index_dir(self.index()));
        builder.open(self.root()).expect("the engine opens")
    }
}

/// Writes a file and the directories above it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("the directories above a file");
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Sets the times of every file in `root` back, so that no file is racy: modified so short a time before it was read
/// that the next run has to read it once more.
pub fn settle(root: &Path) {
    let then = SystemTime::now() - SETTLED;
    for path in walk(root) {
        let kind = fs::symlink_metadata(&path).expect("an entry of the tree").file_type();
        if kind.is_file() {
            let file = match fs::File::open(&path) {
                // Only root reads what nobody may.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
                file => file.expect("a file of the tree"),
            };
            file.set_times(fs::FileTimes::new().set_modified(then)).expect("times that can be set");
        }
    }
    // Setting a time is a change too, and its time is now.
    std::thread::sleep(CLOCK_TICK);
}

/// Every entry below `root`, directories before what is in them, sorted.
pub fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let mut entries: Vec<_> = fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("entry")).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if entry.file_type().expect("a kind").is_dir() {
                dirs.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// Runs to the end, which must be a good one.
pub fn run(engine: &Engine) -> Report {
    let report = engine.index().wait().unwrap_or_else(|error| panic!("the run failed: {error}"));
    assert_eq!(report.outcome, Outcome::Done);
    assert_partition(&report);
    report
}

/// The counts of a report add up.
pub fn assert_partition(report: &Report) {
    let files = &report.files;
    let parts = [files.ignored, files.indexed, files.unchanged, files.binary, files.too_large, files.skipped];
    assert_eq!(files.seen, parts.iter().sum::<u64>(), "the counts do not partition what was seen: {report:#?}");
    assert!(files.failed <= files.skipped, "{files:?}");
}

/// An index built from nothing, in a place of its own.
#[derive(Debug)]
pub struct Fresh {
    pub engine: Engine,
    _index: TempDir,
}

/// Indexes `root` from nothing.
pub fn fresh(root: &Path) -> Fresh {
    fresh_with(root, |builder| builder)
}

/// As [`fresh`], with further settings.
pub fn fresh_with(root: &Path, settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Fresh {
    let index = scratch();
    let builder = settings(Engine::builder().index_dir(index.path().join("index")));
    let engine = builder.open(root).expect("the engine opens");
    run(&engine);
    Fresh { engine, _index: index }
}

/// What an index says about a file, without what differs between two indexes of the same tree: the id, and whether the
/// file has to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub size: u64,
    pub mtime_ns: i64,
    pub inode: u64,
    pub flags: Flags,
    pub encoding: u8,
    pub language: u16,
}

/// Every file of the index.
pub fn contents(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, Known> {
    let mut files = BTreeMap::new();
    let each = |path: &[u8], meta: &FileMeta| {
        let flags = Flags(meta.flags.0 & !Flags::DIRTY.0);
        let &FileMeta { size, mtime_ns, inode, encoding, language, .. } = meta;
        let before = files.insert(path.to_vec(), Known { size, mtime_ns, inode, flags, encoding, language });
        assert!(before.is_none(), "{}: is in the index twice", path.escape_ascii());
    };
    snapshot.for_each_file(each).expect("the files of the index");
    files
}

/// Path, line and column of a hit.
pub type At = (PathBuf, u64, u64);

/// All hits of a query.
pub fn hits(snapshot: &Snapshot, query: &Query) -> BTreeSet<At> {
    let result = snapshot.search(&query.clone().limit(0)).unwrap_or_else(|error| panic!("{query:?}: {error}"));
    assert!(!result.truncated, "{query:?}: no limit was set");
    assert_eq!(result.generation, snapshot.generation());
    let count = result.hits.len();
    let hits: BTreeSet<At> = result.hits.into_iter().map(|hit| (hit.path, hit.line, hit.column)).collect();
    assert_eq!(hits.len(), count, "{query:?}: a hit is reported twice");
    hits
}

/// Panics unless `engine` knows the same files and gives the same answers as an index built from nothing of the same
/// tree, and both are sound. Returns how many hits the queries had, so that a test can tell whether it tests anything.
pub fn assert_as_fresh(engine: &Engine, queries: &[Query], context: &str) -> usize {
    let fresh = fresh(engine.root());
    assert_same(engine, &fresh.engine, queries, context)
}

/// Panics unless both engines know the same files and give the same answers. Returns how many hits the queries had.
pub fn assert_same(engine: &Engine, fresh: &Engine, queries: &[Query], context: &str) -> usize {
    let (ours, theirs) = (assert_sound(engine, context), assert_sound(fresh, context));
    assert_eq!(ours.documents, theirs.documents, "{context}: verify finds other documents");
    let (ours, theirs) = (engine.snapshot().expect("a snapshot"), fresh.snapshot().expect("a snapshot"));
    let status = |snapshot: &Snapshot| {
        let status = snapshot.status().expect("a status");
        assert!(status.complete, "{context}: the index is not complete");
        (status.indexed, status.binary, status.too_large, status.content_bytes, status.dirs, status.languages)
    };
    let (our_files, their_files) = (contents(&ours), contents(&theirs));
    assert_equal_maps(&our_files, &their_files, context);
    assert_eq!(status(&ours), status(&theirs), "{context}: files are equal, but the status is not");
    let mut total = 0;
    for query in queries {
        let (found, expected) = (hits(&ours, query), hits(&theirs, query));
        total += expected.len();
        assert_equal_sets(&found, &expected, &format!("{context}: {query:?}"));
    }
    total
}

/// Panics unless nothing is wrong with the index.
pub fn assert_sound(engine: &Engine, context: &str) -> Verification {
    let found = engine.verify().unwrap_or_else(|error| panic!("{context}: verify: {error}"));
    assert!(found.is_sound(), "{context}: {found:#?}");
    found
}

fn assert_equal_maps(found: &BTreeMap<Vec<u8>, Known>, expected: &BTreeMap<Vec<u8>, Known>, context: &str) {
    let show = |path: &[u8], known: &Known| format!("{} {known:?}", path.escape_ascii());
    let set = |map: &BTreeMap<Vec<u8>, Known>| map.iter().map(|(path, known)| show(path, known)).collect();
    // The common case is that they are equal; text is only made of them when they are not.
    if found != expected {
        assert_equal_sets::<String>(&set(found), &set(expected), &format!("{context}: files"));
    }
}

/// Panics with the first differences unless both sets are equal.
pub fn assert_equal_sets<T: Ord + Debug>(found: &BTreeSet<T>, expected: &BTreeSet<T>, context: &str) {
    if found == expected {
        return;
    }
    let (missing, extra): (Vec<_>, Vec<_>) =
        (expected.difference(found).collect(), found.difference(expected).collect());
    let first = |list: &[&T]| list.iter().take(SHOWN_MAX).map(|item| format!("\n    {item:?}")).collect::<String>();
    let counts = format!("{} found, {} expected", found.len(), expected.len());
    let missing = format!("{} missing:{}", missing.len(), first(&missing));
    panic!("{context}: {counts}\n  {missing}\n  {} too many:{}", extra.len(), first(&extra));
}

/// Of twelve queries, those from this one on are regexes.
const REGEXES_FROM: usize = 7;

/// Words of which content and queries are made.
#[derive(Debug)]
pub struct Vocabulary(Vec<String>);

impl Vocabulary {
    /// `count` distinct words, some of them with capitals or digits.
    pub fn new(count: usize) -> Vocabulary {
        const SYLLABLES: [&str; 16] =
            ["al", "ber", "co", "dra", "en", "fi", "gol", "ha", "ir", "jun", "kel", "lo", "mi", "nor", "ost", "pra"];
        let word = |n: usize| {
            let (mut rest, mut word) = (n, String::new());
            loop {
                word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
                rest /= SYLLABLES.len();
                if rest == 0 {
                    break;
                }
            }
            match n % 7 {
                0 => word[..1].to_uppercase() + &word[1..],
                1 => format!("{word}{}", n % 100),
                2 => format!("{word}_lock"),
                _ => word,
            }
        };
        Vocabulary((0..count).map(word).collect())
    }

    pub fn word(&self, random: &mut Random) -> &str {
        &self.0[random.below(self.0.len())]
    }

    /// The longest of some words: those are rare in vocabularies that are large.
    fn long_word(&self, random: &mut Random) -> &str {
        let words = [(); 4].map(|()| self.word(random));
        words.into_iter().max_by_key(|word| word.len()).unwrap_or_default()
    }

    /// Lines of words, with punctuation as in source code.
    pub fn text(&self, random: &mut Random, words: usize) -> String {
        const BETWEEN: [&str; 10] = [" ", " ", " ", " ", "\n", "(", ");\n", ", ", "->", "\n\n    "];
        let mut text = String::new();
        for _ in 0..words {
            text.push_str(self.word(random));
            text.push_str(BETWEEN[random.below(BETWEEN.len())]);
        }
        text.push('\n');
        text
    }

    /// `count` queries of every kind; most of them find something in text of these words.
    pub fn queries(&self, random: &mut Random, count: usize) -> Vec<Query> {
        (0..count).map(|n| self.query(random, n)).collect()
    }

    /// As [`Vocabulary::queries`], but nearly all of them are words and substrings: a regex takes a debug build longer
    /// than twenty of those.
    pub fn quick_queries(&self, random: &mut Random, count: usize) -> Vec<Query> {
        (0..).filter(|n| n % 12 < REGEXES_FROM || n % 120 == 119).take(count).map(|n| self.query(random, n)).collect()
    }

    fn query(&self, random: &mut Random, n: usize) -> Query {
        let (one, two) = (self.long_word(random).to_owned(), self.long_word(random).to_owned());
        // The words are ASCII, so that any part of one can be cut out.
        let part = &one[one.len() / 4..];
        match n % 12 {
            0 => Query::text(&one),
            1 => Query::text(format!("{one} {two}")),
            2 => Query::text(format!("{}*", &one[..one.len().min(6)])),
            3 => Query::text(format!("\"{one} {two}\"")),
            4 => Query::substring(&one),
            5 => Query::substring(part),
            6 => Query::substring(part.to_uppercase()).case_insensitive(true),
            7 => Query::regex(format!(r"\b{one}\b")),
            8 => Query::regex(format!("{one}|{two}")),
            9 => Query::regex(format!(r"^\s*{one}\W")),
            10 => Query::regex(format!(r"{}\w*\(", &one[..one.len().min(6)])).case_insensitive(true),
            _ => Query::regex(format!(r"{part}.{{0,20}}{}", &two[..2])),
        }
    }
}

/// git, free of the settings of whoever runs the tests; gives what it has printed.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let done = run_git(dir, args);
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// The same where git may refuse; whether it has not.
pub fn git_allowed(dir: &Path, args: &[&str]) -> bool {
    run_git(dir, args).status.success()
}

fn run_git(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent");
    let settings = ["user.name=a", "user.email=b", "protocol.file.allow=always", "init.defaultBranch=main"];
    command.args(settings.iter().flat_map(|setting| ["-c", setting])).args(args).current_dir(dir);
    command.output().expect("these tests need git, which must be installed and on the PATH")
}

/// Sets the permissions; whether that could be done.
#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).is_ok()
}

#[cfg(not(unix))]
pub fn set_mode(_: &Path, _: u32) -> bool {
    false
}

/// Makes a symbolic link; whether that could be done.
#[cfg(unix)]
pub fn symlink(to: &Path, path: &Path) -> bool {
    std::os::unix::fs::symlink(to, path).is_ok()
}

#[cfg(not(unix))]
pub fn symlink(_: &Path, _: &Path) -> bool {
    false
}

/// Sets a flag when it goes out of scope: a test that fails must not leave other threads running for ever.
#[derive(Debug)]
pub struct SetOnDrop<'f>(pub &'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// This very test program again, to run the one test `name` in a process of its own, told by `variable` that it is the
/// child.
pub fn child(name: &str, variable: &str, value: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]).env(variable, value);
    command
}
