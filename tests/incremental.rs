//! Updates against rebuilds: whatever is done to a tree between two runs, the updated index equals one that is built from
//! nothing, in its files and in its answers.
//!
//! 200 random histories by default; `PROPTEST_CASES=5000` for more, `PROPTEST_RNG_SEED=7` for other ones (the seed in use
//! is printed). The edits follow the runs without a pause, so that many a file is modified within the same tick of the
//! file system's clock in which it was read.

// The seed and what was covered belong to the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::{BackendChoice, EngineBuilder, Query, Report};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::cell::Cell;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use support::{Place, Random, Vocabulary};

const CASES: u32 = 200;
/// A file that was changed so long before a run is not racy.
const LATER: Duration = Duration::from_millis(15);
const QUERIES: usize = 200;
/// Few names, so that files and directories often take the place of each other.
const NAMES: [&str; 5] = ["a", "b", "c.rs", "x.log", "é"];
const DEPTH: usize = 3;
/// The size limit in these tests: some files exceed it.
const FILE_BYTES_MAX: u64 = 400;

/// Rules of which one tells another to keep what the first ignores.
const RULES: [&str; 8] =
    ["*.log\n", "/a\n", "a/\n!a/c.rs\n", "*\n!*.rs\n!*/\n", "b/**/c.rs\n", "!x.log\n", "é\n", "# nothing\n"];

/// One change of the tree. The numbers say which paths and what content; what does not apply is no change.
#[derive(Clone, Copy, Debug)]
struct Edit {
    kind: Kind,
    path: usize,
    other: usize,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Write,
    Append,
    Truncate,
    /// New content of the same length.
    Overwrite,
    /// The same, with the modification time put back: only the change time tells.
    OverwriteQuietly,
    Rename,
    Delete,
    FileToDir,
    DirToFile,
    Ignore,
    LiftIgnore,
    Touch,
    Chmod,
    /// Replaced by a link to something else, be it a file or a directory.
    Link,
    /// Replaced by a file that was made elsewhere, with the times of the old one.
    Replace,
    /// From now on git tracks it, or all of it, ignored or not.
    Track,
    Untrack,
    /// What is not ignored is committed, and another branch checked out.
    Switch,
}

const KINDS: [Kind; 24] = [
    Kind::Write,
    Kind::Write,
    Kind::Write,
    Kind::Write,
    Kind::Append,
    Kind::Truncate,
    Kind::Overwrite,
    Kind::OverwriteQuietly,
    Kind::Rename,
    Kind::Rename,
    Kind::Rename,
    Kind::Delete,
    Kind::Delete,
    Kind::FileToDir,
    Kind::DirToFile,
    Kind::Ignore,
    Kind::LiftIgnore,
    Kind::Touch,
    Kind::Chmod,
    Kind::Link,
    Kind::Replace,
    Kind::Track,
    Kind::Untrack,
    Kind::Switch,
];

/// What happens before one run.
#[derive(Clone, Debug)]
struct Round {
    edits: Vec<Edit>,
    /// The run is told which paths have changed, instead of going over the whole tree.
    told: bool,
    /// It comes so late that nothing was changed within the same tick of the clock.
    later: bool,
}

fn any_edit() -> impl Strategy<Value = Edit> {
    edit(prop::sample::select(&KINDS[..]))
}

/// Of those that make a tree: most write files, and some rules for them.
fn first_edit() -> impl Strategy<Value = Edit> {
    use prop::sample::select;
    edit(prop_oneof![
        14 => Just(Kind::Write),
        2 => Just(Kind::Ignore),
        1 => Just(Kind::Track),
        3 => select(&KINDS[..]),
    ])
}

fn edit(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Edit> {
    (kind, any::<usize>(), any::<usize>(), any::<u64>()).prop_map(|(kind, path, other, seed)| Edit {
        kind,
        path,
        other,
        seed,
    })
}

/// The edits before the first run, what comes after it, and whether no file is racy in the first run.
fn any_history() -> impl Strategy<Value = (Vec<Edit>, Vec<Round>, bool)> {
    let edits = prop::collection::vec(any_edit(), 0..8);
    let round = (edits, any::<bool>(), prop::bool::weighted(0.75)).prop_map(|(edits, told, later)| Round {
        edits,
        told,
        later,
    });
    (prop::collection::vec(first_edit(), 20..50), prop::collection::vec(round, 1..5), any::<bool>())
}

/// The path of a number, relative to the root.
fn path_of(mut number: usize) -> PathBuf {
    let mut path = PathBuf::new();
    for _ in 0..1 + number % DEPTH {
        number /= DEPTH;
        path.push(NAMES[number % NAMES.len()]);
        number /= NAMES.len();
    }
    path
}

fn content(vocabulary: &Vocabulary, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let words = 1 + random.below(20);
    let mut content = vocabulary.text(&mut random, words).into_bytes();
    match seed % 16 {
        0 => content.push(0),
        1 => content.extend("Größe: é\n".chars().map(|c| c as u8)),
        2 => content.extend_from_slice("Größe: é\n".as_bytes()),
        3 => content.resize(FILE_BYTES_MAX as usize + 1, b'z'),
        4 => content.clear(),
        _ => {}
    }
    content
}

/// Makes edits in a tree, and notes which paths they have changed.
struct Editor<'v> {
    root: PathBuf,
    vocabulary: &'v Vocabulary,
    changed: Vec<PathBuf>,
}

impl Editor<'_> {
    /// Does the edit if it can be done.
    fn apply(&mut self, edit: &Edit) {
        let relative = path_of(edit.path);
        let path = self.root.join(&relative);
        let is_file = path.is_file();
        // What is written through a link changes a file under another path than the one that is noted.
        let is_about_names = matches!(edit.kind, Kind::Delete | Kind::Rename);
        let goes_through = |path: &Path| path.ancestors().skip(1).any(|dir| self.root.join(dir).is_symlink());
        if goes_through(&relative) || goes_through(&path_of(edit.other)) || path.is_symlink() && !is_about_names {
            return;
        }
        match edit.kind {
            Kind::Write => self.write(&relative, &content(self.vocabulary, edit.seed)),
            Kind::Append if is_file => {
                if let Some(before) = permitted(fs::read(&path)) {
                    self.write(&relative, &[before, content(self.vocabulary, edit.seed)].concat());
                }
            }
            Kind::Truncate if is_file => {
                if let Some(file) = permitted(File::options().write(true).open(&path)) {
                    file.set_len(edit.seed % (1 + file.metadata().unwrap().len())).unwrap();
                    self.changed.push(relative);
                }
            }
            Kind::Overwrite if is_file => self.overwrite(&relative, edit.seed),
            Kind::OverwriteQuietly if is_file => {
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                self.overwrite(&relative, edit.seed);
                set_modified(&path, modified);
            }
            Kind::Rename => self.rename(&relative, &path_of(edit.other)),
            Kind::Delete => self.delete(&relative),
            Kind::FileToDir if is_file => {
                self.delete(&relative);
                self.write(&relative.join(NAMES[edit.other % NAMES.len()]), &content(self.vocabulary, edit.seed));
                self.changed.push(relative);
            }
            Kind::DirToFile if path.is_dir() => {
                self.delete(&relative);
                self.write(&relative, &content(self.vocabulary, edit.seed));
            }
            Kind::Ignore => self.ignore(&relative, Some(RULES[edit.other % RULES.len()])),
            Kind::LiftIgnore => self.ignore(&relative, None),
            Kind::Touch if is_file => {
                set_modified(&path, SystemTime::now() - Duration::from_secs(edit.seed % 100));
                self.changed.push(relative);
            }
            Kind::Chmod => self.chmod(&relative, edit.seed),
            Kind::Link => self.link(&relative, &path_of(edit.other)),
            Kind::Replace if is_file => self.replace(&relative, edit.seed),
            Kind::Track if path.exists() => self.git(&["add", "--force", "--"], &relative),
            Kind::Untrack => {
                self.git(&["rm", "-r", "--cached", "--force", "--quiet", "--ignore-unmatch", "--"], &relative)
            }
            Kind::Switch => self.switch(edit.seed),
            _ => {}
        }
    }

    /// What git does not want is no change.
    fn git(&mut self, args: &[&str], path: &Path) {
        if support::git_allowed(&self.root, &[args, &[path.to_str().unwrap()]].concat()) {
            self.changed.push(".git/index".into());
        }
    }

    fn switch(&mut self, seed: u64) {
        let branch = format!("branch{}", seed % 3);
        for args in [&["add", "--all", "."][..], &["commit", "--quiet", "--allow-empty", "--message=all"]] {
            support::git_allowed(&self.root, args);
        }
        let is_there = support::git_allowed(&self.root, &["checkout", "--quiet", "--force", &branch]);
        if !is_there {
            support::git_allowed(&self.root, &["checkout", "--quiet", "-b", &branch]);
        }
        self.changed.push(".git".into());
    }

    fn chmod(&mut self, relative: &Path, seed: u64) {
        // What keeps its owner out keeps a fresh index out as well, unless the tests run as root.
        let mode = [0o000, 0o400, 0o644, 0o755, 0o700][(seed % 5) as usize];
        if support::set_mode(&self.root.join(relative), mode) {
            self.changed.push(relative.to_path_buf());
        }
    }

    fn link(&mut self, relative: &Path, to: &Path) {
        if self.root.join(relative).symlink_metadata().is_ok() {
            self.delete(relative);
            if support::symlink(&self.root.join(to), &self.root.join(relative)) {
                self.changed.push(relative.to_path_buf());
            }
        }
    }

    fn replace(&mut self, relative: &Path, seed: u64) {
        let (path, made) = (self.root.join(relative), self.root.join("made elsewhere"));
        let metadata = fs::metadata(&path).unwrap();
        let mut after = content(self.vocabulary, seed);
        after.resize(metadata.len() as usize, b'r');
        fs::write(&made, after).unwrap();
        set_modified(&made, metadata.modified().unwrap());
        fs::rename(&made, &path).unwrap();
        self.changed.push(relative.to_path_buf());
    }

    fn write(&mut self, relative: &Path, content: &[u8]) {
        let path = self.root.join(relative);
        // A file may be in the way of a directory, or a directory in the way of the file.
        if fs::create_dir_all(path.parent().unwrap()).is_ok() && fs::write(&path, content).is_ok() {
            self.changed.push(relative.to_path_buf());
        }
    }

    fn overwrite(&mut self, relative: &Path, seed: u64) {
        let Some(before) = permitted(fs::read(self.root.join(relative))) else { return };
        let mut after = content(self.vocabulary, seed);
        after.resize(before.len(), b'o');
        self.write(relative, &after);
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if fs::rename(self.root.join(from), self.root.join(to)).is_ok() {
            self.changed.extend([from.to_path_buf(), to.to_path_buf()]);
        }
    }

    fn delete(&mut self, relative: &Path) {
        let path = self.root.join(relative);
        if fs::remove_file(&path).is_ok() || fs::remove_dir_all(&path).is_ok() {
            self.changed.push(relative.to_path_buf());
        }
    }

    /// Writes or removes the rules of the directory that holds `relative`: everything below it may have changed.
    fn ignore(&mut self, relative: &Path, rules: Option<&str>) {
        let dir = relative.parent().unwrap();
        let path = self.root.join(dir).join(".gitignore");
        let done = match rules {
            Some(rules) => fs::write(path, rules),
            None => fs::remove_file(path),
        };
        if done.is_ok() {
            match dir.as_os_str().is_empty() {
                true => self.changed.extend(NAMES.iter().chain(&[".gitignore"]).map(PathBuf::from)),
                false => self.changed.push(dir.to_path_buf()),
            }
        }
    }
}

/// `None` when permissions are in the way of an edit, which they are for all but root.
fn permitted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        result => Some(result.unwrap()),
    }
}

fn set_modified(path: &Path, time: SystemTime) {
    if let Some(file) = permitted(File::options().write(true).open(path)) {
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
}

fn settings(builder: EngineBuilder) -> EngineBuilder {
    builder.file_bytes_max(FILE_BYTES_MAX)
}

/// One history in two takes each backend, where there is a choice.
fn backend(history: &[Edit]) -> BackendChoice {
    if history.len().is_multiple_of(2) { BackendChoice::Auto } else { BackendChoice::Threads }
}

/// A runner with a fixed seed, unless the environment gives one, and `cases` cases, unless the environment says how many.
fn runner(cases: u32) -> TestRunner {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(20_260_102);
    }
    println!("{} cases, seed {:?}", config.cases, config.rng_seed);
    TestRunner::new(config)
}

/// What happened in all histories together, so that the test cannot become vacuous unnoticed.
#[derive(Default)]
struct Tally {
    changed: Cell<usize>,
    hits: Cell<usize>,
    ignored: Cell<u64>,
    unchanged: Cell<u64>,
    told: Cell<usize>,
    /// Runs over the whole tree that have not read all of its rule files.
    stood: Cell<usize>,
}

fn count<T: Copy + std::ops::Add<Output = T>>(cell: &Cell<T>, more: T) {
    cell.set(cell.get() + more);
}

fn check(first: &[Edit], rounds: &[Round], settled: bool, vocabulary: &Vocabulary, queries: &[Query], tally: &Tally) {
    let place = Place::new();
    support::git(&place.root(), &["init", "--quiet", "--template="]);
    let engine = place.engine_with(|builder| settings(builder).backend(backend(first)));
    let mut editor = Editor { root: place.root(), vocabulary, changed: Vec::new() };
    first.iter().for_each(|edit| editor.apply(edit));
    if settled {
        support::settle(&place.root());
    }
    support::run(&engine);
    for (number, round) in rounds.iter().enumerate() {
        editor.changed.clear();
        round.edits.iter().for_each(|edit| editor.apply(edit));
        if round.later {
            std::thread::sleep(LATER);
        }
        let run = if round.told { engine.update(&editor.changed) } else { engine.index() };
        let report = run.wait().unwrap();
        support::assert_partition(&report);
        count(&tally.changed, editor.changed.len());
        count(&tally.told, usize::from(round.told));
        count(&tally.ignored, report.files.ignored);
        count(&tally.unchanged, report.files.unchanged);
        let known = support::contents(&engine.snapshot().unwrap());
        let rule_files = known.keys().filter(|path| path.ends_with(b".gitignore")).count() as u64;
        count(&tally.stood, usize::from(!round.told && rules_read(&report) < rule_files));
        let fresh = support::fresh_with(&place.root(), settings);
        let how = if round.told { "update" } else { "index" };
        let context = format!("round {number}, {how}, changed {:?}", editor.changed);
        // All questions are asked at the end of a history, a few of them after each of its runs.
        let asked = if number + 1 == rounds.len() { queries } else { &queries[number % 4 * 20..][..20] };
        count(&tally.hits, support::assert_same(&engine, &fresh.engine, asked, &context));
    }
}

#[test]
fn an_updated_index_equals_one_built_from_nothing() {
    let vocabulary = Vocabulary::new(60);
    let queries = vocabulary.quick_queries(&mut Random(5), QUERIES);
    let tally = Tally::default();
    let result = runner(CASES).run(&any_history(), |(first, rounds, settled)| {
        check(&first, &rounds, settled, &vocabulary, &queries, &tally);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let Tally { changed, hits, ignored, unchanged, told, stood } = &tally;
    println!(
        "{} paths changed, {} runs were told, {} hits, {} ignored, {} unchanged, {} left rules unread",
        changed.get(),
        told.get(),
        hits.get(),
        ignored.get(),
        unchanged.get(),
        stood.get()
    );
    assert!(changed.get() > 100 && hits.get() > 1000 && ignored.get() > 10 && unchanged.get() > 100 && told.get() > 10);
    assert!(stood.get() > 10);
}

/// A tree of some directories and 200 files, none of them racy.
fn settled_tree() -> Place {
    let place = Place::new();
    let (vocabulary, mut random) = (Vocabulary::new(300), Random(3));
    fs::create_dir(place.root().join(".git")).unwrap();
    place.write(".gitignore", "*.log\n");
    for n in 0..200 {
        let extension = if n % 20 == 0 { "log" } else { "c" };
        place.write(format!("d{}/e{}/f{n}.{extension}", n % 5, n % 3), vocabulary.text(&mut random, 30));
    }
    place.write("binary", b"a\0b");
    place.write("large", vec![b'x'; 1000]);
    support::settle(&place.root());
    place
}

#[test]
fn a_run_without_changes_reads_nothing() {
    let place = settled_tree();
    let settings = |builder: EngineBuilder| builder.file_bytes_max(900);
    // Every second time with the index opened anew.
    let mut engine = place.engine_with(settings);
    let first = support::run(&engine);
    let accepted = first.files.indexed + first.files.binary + first.files.too_large;
    assert_eq!((accepted, first.files.binary, first.files.too_large, first.files.ignored), (193, 1, 1, 10));
    assert_eq!((first.files.reads, first.files.stat_calls, first.files.hashes), (192, 193, 0));
    assert!(first.publications > 0);
    for round in 0..4 {
        if round % 2 == 1 {
            drop(engine);
            engine = place.engine_with(settings);
        }
        let report = support::run(&engine);
        assert_eq!(report.files.unchanged, accepted, "{report:#?}");
        assert_eq!(report.files.stat_calls, accepted, "one stat a file: {report:#?}");
        assert_eq!((report.files.reads, report.files.hashes, report.files.bytes_read), (0, 0, 0), "{report:#?}");
        assert_eq!((report.publications, report.generation), (0, first.generation), "{report:#?}");
        assert_eq!(report.files.removed, 0);
    }
}

#[test]
fn a_run_reads_what_has_changed_and_nothing_else() {
    let place = settled_tree();
    let engine = place.engine();
    support::run(&engine);
    let at = |n: usize| place.root().join(format!("d{}/e{}/f{n}.c", n % 5, n % 3));
    fs::write(at(1), "replaced").unwrap();
    fs::remove_file(at(2)).unwrap();
    fs::rename(at(3), at(3).with_file_name("renamed.c")).unwrap();
    place.write("d9/new.c", "new");
    support::settle(&place.root().join("d9"));
    set_modified(&at(1), SystemTime::now() - Duration::from_secs(5));
    let report = support::run(&engine);
    assert_eq!((report.files.indexed, report.files.reads, report.files.removed), (3, 3, 2), "{report:#?}");
    assert_eq!(report.publications, 1);
    support::assert_as_fresh(&engine, &[Query::text("replaced"), Query::text("new")], "three changes");
}

#[test]
fn a_racy_file_is_read_once_more() {
    let place = settled_tree();
    let engine = place.engine();
    support::run(&engine);
    // A time that has not come yet is as close to the time of the read as any.
    let racy = place.root().join("d0/e0/racy.c");
    fs::write(&racy, "first").unwrap();
    set_modified(&racy, SystemTime::now() + Duration::from_secs(3600));
    for round in 0..3 {
        let report = support::run(&engine);
        assert_eq!(report.files.reads, 1, "round {round}: {report:#?}");
    }
    set_modified(&racy, SystemTime::now() - Duration::from_secs(3600));
    std::thread::sleep(support::CLOCK_TICK);
    assert_eq!(support::run(&engine).files.reads, 1);
    assert_eq!(support::run(&engine).files.reads, 0);
}

#[test]
fn an_update_looks_at_nothing_but_the_paths_it_is_told() {
    let place = settled_tree();
    let engine = place.engine();
    let all = support::run(&engine).files.stat_calls;
    let paths = [PathBuf::from("d1"), engine.root().join("d2/e2"), PathBuf::from("nowhere/x"), "/outside".into()];
    let report = engine.update(&paths).wait().unwrap();
    assert!(report.files.unchanged > 0 && report.files.stat_calls < all / 2, "{report:#?}");
    assert_eq!((report.files.reads, report.publications), (0, 0));
    let nothing = engine.update::<PathBuf>(&[]).wait().unwrap();
    assert_eq!((nothing.files.seen, nothing.publications), (0, 0));
}

/// The ways in which a caller may write a path that has changed.
#[test]
fn an_update_understands_paths_however_they_are_written() {
    type Write = fn(&Path, &str) -> PathBuf;
    let ways: [(&str, Write); 7] = [
        ("relative", |_, path| path.into()),
        ("absolute", |root, path| root.join(path)),
        ("with a dot", |_, path| Path::new(".").join(path)),
        ("absolute with a dot", |root, path| root.join(".").join(path)),
        ("with a slash too many", |_, path| path.replace('/', "//").into()),
        ("the directory, with a slash", |_, path| format!("{}/", Path::new(path).parent().unwrap().display()).into()),
        ("the root", |root, _| root.to_path_buf()),
    ];
    for (way, write) in ways {
        let place = settled_tree();
        let engine = place.engine();
        support::run(&engine);
        place.write("d1/e1/new.c", "brandnew");
        let path = write(engine.root(), "d1/e1/new.c");
        let report = engine.update(&[&path]).wait().unwrap();
        assert_eq!(report.files.indexed, 1, "{way}: {}", path.display());
        let found = support::assert_as_fresh(&engine, &[Query::text("brandnew")], way);
        assert_eq!(found, 1);
    }
}

#[test]
fn a_touched_file_is_not_indexed_again_once_its_hash_is_known() {
    let place = settled_tree();
    let engine = place.engine();
    let first = support::run(&engine);
    assert_eq!(first.files.hashes, 0);
    let all = first.files.indexed + first.files.binary;
    let paths = [place.root().join("d1/e1/f1.c"), place.root().join("binary")];
    let touch = |seconds: u64| {
        paths.iter().for_each(|path| set_modified(path, SystemTime::now() - Duration::from_secs(seconds)));
        // Setting a time is a change too, and its time is now.
        std::thread::sleep(support::CLOCK_TICK);
        support::run(&engine).files
    };
    // Whether the content is the same cannot be known yet: nobody has computed a hash of it.
    let files = touch(500);
    assert_eq!((files.reads, files.hashes, files.indexed, files.binary), (2, 2, 1, 1), "{files:?}");
    let document = engine.snapshot().unwrap().lookup("d1/e1/f1.c").unwrap().unwrap();
    for round in 0..3 {
        let files = touch(400 - round);
        assert_eq!((files.reads, files.hashes, files.unchanged), (2, 2, all), "round {round}: {files:?}");
        let touched = engine.snapshot().unwrap().lookup("d1/e1/f1.c").unwrap().unwrap();
        assert_eq!(touched.id, document.id, "the document is the same, only the times are not");
        assert_ne!(touched.mtime_ns, document.mtime_ns);
        assert_eq!(support::run(&engine).files.reads, 0, "the new times are known now");
    }
    // The same size, another content.
    let old = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], old.iter().map(|byte| if *byte == b'a' { b'e' } else { *byte }).collect::<Vec<_>>()).unwrap();
    let files = touch(300);
    assert_eq!((files.reads, files.hashes, files.indexed, files.unchanged), (2, 2, 1, all - 1), "{files:?}");
    // Another size: there is nothing to find out.
    fs::write(&paths[0], b"longer or shorter").unwrap();
    let files = touch(200);
    assert_eq!((files.reads, files.hashes, files.indexed), (2, 1, 1), "{files:?}");
    support::assert_as_fresh(&engine, &[Query::text("longer")], "touches and edits");
}

/// A repository whose branches differ in contents, names, kinds and rules.
#[test]
fn a_checkout_of_another_branch_is_followed() {
    const BRANCHES: usize = 4;
    const SWITCHES: usize = 24;
    let place = Place::new();
    let root = place.root();
    let (vocabulary, mut random) = (Vocabulary::new(60), Random(9));
    let queries = vocabulary.quick_queries(&mut Random(6), QUERIES);
    support::git(&root, &["init", "-q"]);
    let edits: Vec<Kind> = KINDS.into_iter().filter(|kind| !matches!(kind, Kind::Switch)).collect();
    for branch in 0..BRANCHES {
        let name = format!("b{branch}");
        support::git(&root, &["checkout", "-q", "-b", &name]);
        let mut editor = Editor { root: root.clone(), vocabulary: &vocabulary, changed: Vec::new() };
        for _ in 0..60 {
            let kind = *random.pick(&edits);
            editor.apply(&Edit {
                kind,
                path: random.below(1 << 20),
                other: random.below(1 << 20),
                seed: random.next(),
            });
        }
        for path in support::walk(&root).iter().filter(|path| !path.starts_with(root.join(".git"))) {
            support::set_mode(path, if path.is_dir() { 0o755 } else { 0o644 });
        }
        support::git(&root, &["add", "-A", "-f", "."]);
        support::git(&root, &["commit", "-q", "--allow-empty", "-m", &name]);
    }
    let engine = place.engine();
    let mut changed = 0;
    for switch in 0..SWITCHES {
        let (before, branch) = (support::git(&root, &["rev-parse", "HEAD"]), format!("b{}", random.below(BRANCHES)));
        support::git(&root, &["checkout", "-q", "-f", &branch]);
        let listed = support::git(&root, &["diff", "--name-only", "--no-renames", "-z", before.trim(), "HEAD"]);
        let paths: Vec<PathBuf> = listed.split_terminator('\0').map(PathBuf::from).collect();
        changed += paths.len();
        // A daemon that asks git knows what has changed, but for what a change of rules or of the git index changes.
        let told = switch > 0 && random.one_in(2);
        let run = if told { engine.update(&[paths, vec![".git/index".into()]].concat()) } else { engine.index() };
        support::assert_partition(&run.wait().unwrap());
        support::assert_as_fresh(&engine, &queries, &format!("switch {switch} to {branch}, told: {told}"));
    }
    assert!(changed > 5 * SWITCHES, "the branches hardly differ: {changed}");
}

/// How many rule files a run has read: what it has opened beside files of content.
fn rules_read(report: &Report) -> u64 {
    report.io.opens - report.files.reads
}

/// Rule files are read for names that have to be judged, and no others.
#[test]
fn rules_are_read_where_something_is_new() {
    let place = Place::new();
    support::git(&place.root(), &["init", "--quiet"]);
    for n in 0..20 {
        place.write(format!("d{n}/.gitignore"), "*.log\n");
        place.write(format!("d{n}/sub/.ignore"), "*.tmp\n");
        place.write(format!("d{n}/sub/file.c"), "word");
    }
    support::settle(&place.root());
    let engine = place.engine();
    let rules_read = || rules_read(&support::run(&engine));
    assert_eq!(rules_read(), 40);
    assert_eq!((rules_read(), rules_read()), (0, 0), "nothing is new");
    place.write("d7/sub/new.c", "word");
    assert_eq!(rules_read(), 2, "something new below two rule files");
    place.write("d8/sub/new.log", "word");
    place.write("d8/sub/new.tmp", "word");
    std::thread::sleep(support::CLOCK_TICK);
    assert_eq!((rules_read(), rules_read()), (2, 2), "what is ignored is looked at in each run");
    fs::write(place.root().join("d9/.gitignore"), "*.c\n").unwrap();
    std::thread::sleep(support::CLOCK_TICK);
    assert_eq!(rules_read(), 4, "rules have changed, and all below is judged");
    assert_eq!(rules_read(), 4, "of what is ignored now too");
    fs::write(place.root().join("d3/sub/file.c"), "another word").unwrap();
    engine.update(&["d3/sub/file.c"]).wait().unwrap();
    assert_eq!(rules_read(), 4, "an update leaves verdicts standing");
    support::assert_as_fresh(&engine, &[Query::text("word")], "rules were hardly read");
}

/// Whatever decides about names is changed, one thing after the other, when verdicts stand; most of it takes names away.
#[test]
fn verdicts_fall_with_whatever_they_were_made_by() {
    type Change = fn(&Place);
    let changes: [(&str, Change); 12] = [
        ("a rule file", |place| place.write("a/.gitignore", "*.c\n")),
        ("a new rule file", |place| place.write("a/b/.ignore", "*.c\n")),
        ("a rule file is gone", |place| fs::remove_file(place.root().join("a/.gitignore")).unwrap()),
        ("a rule file that is ignored is gone", |place| fs::remove_file(place.root().join("c/.ignore")).unwrap()),
        ("a rule file becomes a directory", |place| {
            fs::remove_file(place.root().join("a/.gitignore")).unwrap();
            place.write("a/.gitignore/x", "word");
        }),
        ("a rule file with its old time and size", |place| {
            let path = place.root().join("a/.gitignore");
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "*.cc\n\n\n").unwrap();
            set_modified(&path, modified);
        }),
        ("git's own rules", |place| place.write(".git/info/exclude", "*.c\n")),
        ("rules above the root", |place| support::write(&place.dir().join("global"), "*.c\n")),
        ("no longer tracked", |place| {
            drop(support::git(&place.root(), &["rm", "--cached", "--quiet", "a/tracked.log"]))
        }),
        ("a repository within", |place| drop(support::git(&place.root().join("a"), &["init", "--quiet"]))),
        ("no repository any more", |place| fs::remove_dir_all(place.root().join(".git")).unwrap()),
        ("directories change places", |place| {
            let at = |name: &str| place.root().join(name);
            fs::rename(at("a"), at("d")).unwrap();
            fs::rename(at("c"), at("a")).unwrap();
            fs::rename(at("d"), at("c")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let place = Place::new();
        support::git(&place.root(), &["init", "--quiet"]);
        place.write(".gitignore", "*.log\n");
        place.write("a/.gitignore", "!x.log\n");
        support::write(&place.dir().join("global"), "*.swp\n");
        for path in
            ["a/b/x.c", "a/b/x.cc", "a/x.log", "a/tracked.log", "c/x.c", "c/x.log", "c/b/x.c", "e/y.c", "x.swp", "x.c"]
        {
            place.write(path, "word");
        }
        place.write("e/.gitignore", "*.tmp\n");
        // Nothing tells of a rule file that is not in the index itself.
        let hides = what.contains("that is ignored");
        if hides {
            place.write("c/.ignore", ".ignore\n!x.log\n");
        }
        support::git(&place.root(), &["add", "--force", "a/tracked.log"]);
        support::settle(&place.root());
        let global_file = Some(place.dir().join("global"));
        let rules = leindex_engine::RulesConfig { global_file, ..Default::default() };
        let engine = place.engine_with(|builder| builder.rules(rules.clone()));
        (0..2).for_each(|_| drop(support::run(&engine)));
        let read = rules_read(&support::run(&engine));
        assert_eq!(read, if hides { 4 } else { 1 }, "{what}: rule files that were read with nothing changed");
        change(&place);
        std::thread::sleep(support::CLOCK_TICK);
        for run in 0..2 {
            support::run(&engine);
            let fresh = support::fresh_with(&place.root(), |builder| builder.rules(rules.clone()));
            support::assert_same(&engine, &fresh.engine, &[Query::text("word")], &format!("{what}, run {run}"));
        }
    }
}

/// A run that is held to some paths has gone by rules that are not published, and nobody will miss them.
#[test]
fn verdicts_do_not_outlive_rules_that_only_an_update_has_seen() {
    let place = Place::new();
    support::git(&place.root(), &["init", "--quiet"]);
    place.write(".gitignore", "*.log\n");
    place.write("a/x.c", "word");
    support::settle(&place.root());
    let engine = place.engine();
    (0..2).for_each(|_| drop(support::run(&engine)));
    place.write("a/.gitignore", "!keep.log\n");
    place.write("a/keep.log", "word");
    engine.update(&["a/keep.log"]).wait().unwrap();
    assert_eq!(support::hits(&engine.snapshot().unwrap(), &Query::text("word")).len(), 2);
    fs::remove_file(place.root().join("a/.gitignore")).unwrap();
    support::run(&engine);
    assert_eq!(support::assert_as_fresh(&engine, &[Query::text("word")], "the rules are gone"), 1);
}

/// Rule files of directories within each other: so many are not left for later, but read at once, and those above for them.
#[test]
fn directories_are_not_held_open_without_end() {
    const DEPTH: u64 = 100;
    let place = Place::new();
    support::git(&place.root(), &["init", "--quiet"]);
    let mut dir = PathBuf::new();
    for _ in 0..DEPTH {
        dir.push("d");
        place.write(dir.join(".gitignore"), "*.log\n");
    }
    support::settle(&place.root());
    let engine = place.engine();
    support::run(&engine);
    let rules_read = || rules_read(&support::run(&engine));
    assert_eq!(rules_read(), DEPTH, "though nothing is new");
    place.write(dir.join("new.log"), "word");
    place.write(dir.join("new.c"), "word");
    assert_eq!(rules_read(), DEPTH);
    assert_eq!(support::assert_as_fresh(&engine, &[Query::text("word")], "something new at the bottom"), 1);
}

/// A repository within is not in the index, so nothing there tells that it has gone: rules from outside hold again then.
#[test]
fn verdicts_do_not_outlive_a_repository_within() {
    let place = Place::new();
    support::git(&place.root(), &["init", "--quiet"]);
    place.write(".gitignore", "*.log\n");
    for path in ["within/x.log", "within/x.c"] {
        place.write(path, "word");
    }
    support::git(&place.root().join("within"), &["init", "--quiet"]);
    support::settle(&place.root());
    let engine = place.engine();
    (0..3).for_each(|_| drop(support::run(&engine)));
    let queries = [Query::text("word")];
    assert_eq!(support::assert_as_fresh(&engine, &queries, "a repository within"), 2);
    fs::remove_dir_all(place.root().join("within/.git")).unwrap();
    support::run(&engine);
    assert_eq!(support::assert_as_fresh(&engine, &queries, "no repository within"), 1);
}

/// Patterns and settings of another caller hold for what others have indexed.
#[test]
fn verdicts_are_those_of_the_settings_of_the_run() {
    let place = Place::new();
    for path in ["a.c", ".hidden", "dir/b.c", "dir/c.rs"] {
        place.write(path, "word");
    }
    support::settle(&place.root());
    let default = leindex_engine::RulesConfig::default();
    let other = [
        leindex_engine::RulesConfig { patterns: vec!["*.c".into()], ..default.clone() },
        leindex_engine::RulesConfig { hidden: false, ..default.clone() },
        leindex_engine::RulesConfig { patterns: vec!["!*.c".into(), "*.rs".into()], ..default.clone() },
    ];
    for rules in other.into_iter().flat_map(|rules| [rules, default.clone()]) {
        for _ in 0..2 {
            let engine = place.engine_with(|builder| builder.rules(rules.clone()));
            support::run(&engine);
            let fresh = support::fresh_with(&place.root(), |builder| builder.rules(rules.clone()));
            support::assert_same(&engine, &fresh.engine, &[Query::text("word")], &format!("{rules:?}"));
        }
    }
}

/// Versions that were replaced are not kept for ever.
#[test]
fn an_index_does_not_grow_with_the_number_of_updates() {
    const FILES: usize = 3000;
    let place = Place::new();
    let (vocabulary, mut random) = (Vocabulary::new(10_000), Random(11));
    let path = |n: usize| format!("d{}/f{n}.c", n % 30);
    for n in 0..FILES {
        place.write(path(n), vocabulary.text(&mut random, 200));
    }
    let engine = place.engine();
    support::run(&engine);
    let mut most = 0.0f64;
    for round in 0..100 {
        let changed: Vec<String> = (0..40).map(|_| path(random.below(FILES))).collect();
        changed.iter().for_each(|path| place.write(path, vocabulary.text(&mut random, 200)));
        let report = engine.update(&changed).wait().unwrap();
        if round % 20 == 19 {
            let fresh = support::fresh(&place.root());
            let bytes = fresh.engine.snapshot().unwrap().status().unwrap().index_bytes;
            most = most.max(report.index_bytes as f64 / bytes as f64);
        }
    }
    println!("at most {most:.2} times a fresh index");
    assert!(most < 1.5, "{most:.2} times a fresh index");
    support::assert_as_fresh(&engine, &vocabulary.quick_queries(&mut Random(12), 50), "after 100 updates");
}
