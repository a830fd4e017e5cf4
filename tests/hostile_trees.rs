//! What no tree and no disk should do to an indexer, and what they do all the same: odd names, files that change while
//! they are read, FIFOs and loops of links, great depth and width, what may not be read, indexes that are half deleted,
//! damaged, of another format, or written by two processes, and disks that are full.
//!
//! Some of it takes privileges: skips say what was not tested, and why. `LEINDEX_MUTATION_ROUNDS=1000` for more rounds
//! against a tree that changes.
#![cfg(unix)]
// Skips say why on the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::{Engine, EngineBuilder, OpenError, Outcome, Query, QueryError, Report, RunError};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use support::{Place, Random, Vocabulary};

const MUTATION_ROUNDS: u64 = 40;
const UNPRIVILEGED: &str = "LEINDEX_UNPRIVILEGED_CHILD";
const OTHER_WRITER: &str = "LEINDEX_OTHER_WRITER";
/// The user and group that own nothing.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn queries() -> Vec<Query> {
    let mut queries = Vocabulary::new(300).queries(&mut Random(31), 24);
    queries.extend([Query::text("everywhere"), Query::substring("everywhere"), Query::regex("^every")]);
    queries
}

/// Files of words, each with the word "everywhere" in it.
fn make_files(place: &Place, files: usize, seed: u64) {
    let (vocabulary, mut random) = (Vocabulary::new(300), Random(seed));
    for n in 0..files {
        place.write(format!("d{}/f{n}.c", n % 10), vocabulary.text(&mut random, 25) + "\neverywhere\n");
    }
}

fn paths(snapshot: &leindex_engine::Snapshot) -> BTreeSet<Vec<u8>> {
    support::contents(snapshot).into_keys().collect()
}

/// Whether a skip of `path` is reported, for a reason that holds `reason`, as a failure or not.
fn has_skip(report: &Report, path: &str, reason: &str, failure: bool) -> bool {
    let is = |skip: &leindex_engine::Skip| {
        skip.path == path.as_bytes() && skip.reason.contains(reason) && skip.failure == failure
    };
    report.skips.iter().any(is)
}

// Names.

#[test]
fn names_are_bytes() {
    let place = Place::new();
    let long = "n".repeat(255);
    let names: [&[u8]; 22] = [
        b"caf\xe9.c",
        b"\xff",
        b"\xff\xfe\x80",
        b"two\nlines.c",
        b"\n",
        b" ",
        b"  blanks  ",
        b"\t\r\x01\x7f",
        b"-rf",
        b"--help",
        b"back\\slash.c",
        b"quote\"'`$(x).c",
        b"*?[a]{b}",
        b"!negated",
        b"#comment",
        b"...",
        b"..a",
        b"CON",
        "日本語.rs".as_bytes(),
        "🦀.rs".as_bytes(),
        "e\u{301}.rs".as_bytes(),
        long.as_bytes(),
    ];
    let mut made = BTreeSet::new();
    for (n, name) in names.iter().enumerate() {
        let dir = place.root().join(OsStr::from_bytes(&[b"dir".as_slice(), &name[..name.len().min(200)]].concat()));
        for path in [place.root().join(OsStr::from_bytes(name)), dir.join(OsStr::from_bytes(name))] {
            let content = format!("everywhere number{n}\n");
            match fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(&path, content)) {
                Ok(()) => drop(made.insert((path.strip_prefix(place.root()).unwrap().to_path_buf(), n))),
                Err(error) => println!("SKIPPED: {}: {error}", path.display()),
            }
        }
    }
    let engine = place.engine();
    let report = support::run(&engine);
    assert_eq!((report.files.indexed, report.files.skipped), (made.len() as u64, 0), "{report:#?}");
    let snapshot = engine.snapshot().unwrap();
    for n in 0..names.len() {
        let expected = made.iter().filter(|(_, number)| *number == n).map(|(path, _)| (path.clone(), 1, 12));
        for query in [Query::substring(format!("number{n}\n").trim_end()), Query::text(format!("number{n}"))] {
            let mut found = support::hits(&snapshot, &query);
            found.retain(|(path, ..)| {
                fs::read_to_string(place.root().join(path)).unwrap().ends_with(&format!("r{n}\n"))
            });
            assert_eq!(found, expected.clone().collect(), "{query:?}");
        }
    }
    for (path, _) in &made {
        assert!(snapshot.lookup(path).unwrap().is_some(), "{}", path.display());
    }
    // Paths reach an update as they are.
    for (path, _) in made.iter().take(10) {
        fs::write(place.root().join(path), "changed").unwrap();
    }
    let changed: Vec<_> = made.iter().take(10).map(|(path, _)| path.clone()).collect();
    assert_eq!(engine.update(&changed).wait().unwrap().files.indexed, 10);
    assert_eq!(support::assert_as_fresh(&engine, &[Query::text("changed")], "odd names"), 10);
}

// Files that change while they are read.

/// One random change of one of the files of [`make_files`]; directories come and go too if `dirs`.
fn mutate(root: &Path, random: &mut Random, vocabulary: &Vocabulary, dirs: bool) {
    let dir = root.join(format!("d{}", random.below(10)));
    let path = dir.join(format!("f{}.c", random.below(200)));
    let words = random.below(3000);
    // Whatever of it fails, because there is no such file: that is one more history.
    let _ = match random.below(if dirs { 12 } else { 9 }) {
        0 | 1 => fs::write(&path, vocabulary.text(random, words)),
        2 => fs::write(&path, "everywhere"),
        3 => File::options()
            .append(true)
            .open(&path)
            .and_then(|mut file| (0..20).try_for_each(|_| file.write_all(vocabulary.text(random, 40).as_bytes()))),
        4 => File::options().write(true).open(&path).and_then(|file| file.set_len(random.next() % 400)),
        5 => fs::remove_file(&path),
        6 => fs::rename(&path, root.join(format!("d{}/f{}.c", random.below(10), random.below(200)))),
        7 => File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"OVERWRITTEN", 3)),
        8 => fs::rename(&path, dir.join("aside")).and_then(|()| fs::write(&path, "came in between")),
        9 => fs::rename(&dir, root.join(format!("moved{}", random.below(3)))),
        10 => fs::remove_dir_all(&dir),
        _ => fs::create_dir_all(&dir),
    };
}

/// Runs again and again while another thread changes the tree. Every run must be a good one, and the first one in peace
/// must end where an index built from nothing does.
fn run_against_changes(dirs: bool) {
    let rounds = support::number("LEINDEX_MUTATION_ROUNDS", MUTATION_ROUNDS);
    let place = Place::new();
    make_files(&place, 200, 1);
    let engine = place.engine_with(|builder| builder.batch_files(20));
    let (over, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut torn, mut vanished) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (vocabulary, mut random) = (Vocabulary::new(300), Random(2));
            while !over.load(Relaxed) {
                mutate(&place.root(), &mut random, &vocabulary, dirs);
                changes.fetch_add(1, Relaxed);
            }
        });
        let _over = support::SetOnDrop(&over);
        for round in 0..rounds {
            let report = engine.index().wait().unwrap();
            assert_eq!(report.outcome, Outcome::Done);
            support::assert_partition(&report);
            assert_eq!(report.files.failed, 0, "what vanishes is no failure: {report:#?}");
            vanished += report.files.skipped;
            torn += report.files.reads;
            support::assert_sound(&engine, &format!("round {round}"));
            let snapshot = engine.snapshot().unwrap();
            for query in queries().iter().take(6) {
                snapshot.search(query).unwrap();
            }
        }
    });
    println!("{} changes during {rounds} runs: {torn} reads, {vanished} vanished", changes.into_inner());
    make_files(&place, 50, 3);
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "in peace");
}

#[test]
fn files_may_change_while_they_are_read() {
    run_against_changes(false);
}

#[test]
fn directories_may_come_and_go_during_a_run() {
    run_against_changes(true);
}

#[test]
fn a_file_that_never_stops_growing_is_indexed_in_the_end() {
    let place = Place::new();
    place.write("log.c", "everywhere\n");
    let engine = place.engine();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(place.root().join("log.c")).unwrap();
            while !over.load(Relaxed) {
                file.write_all(b"one more line\n").unwrap();
            }
        });
        let _over = support::SetOnDrop(&over);
        for _ in 0..10 {
            assert_eq!(support::run(&engine).files.seen, 1);
        }
    });
    place.write("log.c", "everywhere\nthe end\n");
    support::run(&engine);
    assert_eq!(support::assert_as_fresh(&engine, &[Query::text("end"), Query::text("more")], "a log"), 1);
}

// What is no regular file.

/// Makes a special file; says why not.
fn make_special(path: &Path, kind: FileType) -> Option<String> {
    // The null device: 1, 3.
    rustix::fs::mknodat(CWD, path, kind, Mode::from(0o600), rustix::fs::makedev(1, 3))
        .err()
        .map(|error| error.to_string())
}

#[test]
fn special_files_and_links_are_passed_over() {
    let place = Place::new();
    place.write("dir/file.c", "everywhere");
    support::settle(&place.root());
    let at = |name: &str| place.root().join(name);
    let mut expected = Vec::new();
    for (name, kind, reason) in [
        ("fifo", FileType::Fifo, "FIFO"),
        ("character-device", FileType::CharacterDevice, "device"),
        ("block-device", FileType::BlockDevice, "device"),
    ] {
        match make_special(&at(name), kind) {
            None => expected.push((name, reason)),
            Some(error) => println!("SKIPPED: {name}: {error}"),
        }
    }
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    expected.push(("socket", "socket"));
    for (name, target) in [
        ("link-to-file", "dir/file.c"),
        ("link-to-dir", "dir"),
        ("link-to-nothing", "nowhere"),
        ("link-to-itself", "link-to-itself"),
        ("link-there", "link-back"),
        ("link-back", "link-there"),
        ("dir/link-up", ".."),
        ("dir/link-to-root", "/"),
        ("link-to-zeros", "/dev/zero"),
    ] {
        symlink(target, at(name)).unwrap();
        expected.push((name, "symbolic link"));
    }
    let engine = place.engine();
    for _ in 0..2 {
        let report = support::run(&engine);
        for (name, reason) in &expected {
            assert!(has_skip(&report, name, reason, false), "{name}: {:#?}", report.skips);
        }
        assert_eq!((report.files.skipped, report.files.failed), (expected.len() as u64, 0));
        assert_eq!(report.files.stat_calls, 1, "the listing says what is no regular file");
    }
    // They become regular files, and a regular file becomes something else.
    for (name, _) in &expected {
        fs::remove_file(at(name)).unwrap();
        place.write(name, "everywhere");
    }
    let report = support::run(&engine);
    assert_eq!((report.files.indexed as usize, report.files.skipped), (expected.len(), 0));
    let before = engine.snapshot().unwrap();
    fs::remove_file(at("fifo")).unwrap();
    assert_eq!(make_special(&at("fifo"), FileType::Fifo), None);
    fs::remove_file(at("socket")).unwrap();
    symlink("dir/file.c", at("socket")).unwrap();
    // Neither is the FIFO waited for, nor the link followed.
    let found = support::hits(&before, &Query::substring("everywhere"));
    assert_eq!(found.len(), expected.len() + 1 - 2);
    drop(before);
    assert_eq!(support::run(&engine).files.removed, 2);
    support::assert_as_fresh(&engine, &[Query::text("everywhere")], "special files");
}

#[test]
fn a_huge_sparse_file_is_not_read() {
    let place = Place::new();
    make_files(&place, 3, 1);
    File::create(place.root().join("sparse")).unwrap().set_len(1 << 40).unwrap();
    let engine = place.engine();
    let report = support::run(&engine);
    assert_eq!((report.files.too_large, report.files.reads), (1, 3));
    // Zeros that are read are no text.
    File::create(place.root().join("sparse")).unwrap().set_len(3 << 20).unwrap();
    assert_eq!(support::run(&engine).files.binary, 1);
    support::assert_as_fresh(&engine, &queries(), "a sparse file");
}

// Depth and width.

#[test]
fn a_deep_tree_is_walked_to_its_end() {
    let place = Place::new();
    let deep = "d/".repeat(300) + "file.c";
    place.write(&deep, "everywhere");
    let engine = place.engine();
    assert_eq!(support::run(&engine).files.indexed, 1);
    let found = support::hits(&engine.snapshot().unwrap(), &Query::substring("everywhere"));
    assert_eq!(found, BTreeSet::from([(PathBuf::from(&deep), 1, 1)]));
    place.write("d/".repeat(150) + "another.c", "everywhere");
    support::run(&engine);
    assert_eq!(support::assert_as_fresh(&engine, &[Query::text("everywhere")], "depth"), 2);
}

/// A path that no system call takes as a whole.
#[test]
fn a_path_longer_than_the_system_allows_is_walked() {
    let place = Place::new();
    place.write("file.c", "everywhere");
    let name = "n".repeat(200);
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(place.root(), flags, Mode::empty()).unwrap();
    for _ in 0..40 {
        rustix::fs::mkdirat(&dir, &name, Mode::from(0o700)).unwrap();
        dir = rustix::fs::openat(&dir, &name, flags, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&dir, "file.c", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o600)).unwrap();
    File::from(file).write_all(b"everywhere").unwrap();
    let engine = place.engine();
    let report = support::run(&engine);
    assert_eq!(report.files.indexed + report.files.skipped, 2, "{report:#?}");
    support::assert_sound(&engine, "a long path");
    let result = engine.snapshot().unwrap().search(&Query::text("everywhere")).unwrap();
    println!("{} found, {} unreadable", result.hits.len(), result.unreadable);
    assert!(result.hits.iter().any(|hit| hit.path == Path::new("file.c")));
    rustix::fs::unlinkat(&dir, "file.c", AtFlags::empty()).unwrap();
    assert_eq!(support::run(&engine).files.removed, 1);
}

#[test]
fn a_wide_directory_is_indexed_and_updated() {
    const ENTRIES: usize = 20_000;
    let place = Place::new();
    let wide = place.root().join("wide");
    fs::create_dir(&wide).unwrap();
    for n in 0..ENTRIES {
        fs::write(wide.join(format!("f{n}.c")), format!("number{n} ten{}", n % 10)).unwrap();
    }
    let engine = place.engine();
    assert_eq!(support::run(&engine).files.indexed, ENTRIES as u64);
    for n in 0..ENTRIES {
        let path = wide.join(format!("f{n}.c"));
        match n % 20 {
            0 => fs::rename(&path, wide.join(format!("renamed{n}.c"))).unwrap(),
            1..=9 => fs::remove_file(&path).unwrap(),
            _ => {}
        }
    }
    let report = support::run(&engine);
    assert_eq!(report.files.removed, ENTRIES as u64 / 2, "{report:#?}");
    let queries = [Query::text("number77"), Query::text("number70"), Query::substring("ber1999"), Query::text("ten0")];
    assert!(support::assert_as_fresh(&engine, &queries, "width") > ENTRIES / 40);
}

// What may not be read.

/// Runs the test `name` as a user who may not read everything: in this process if it is one, else in another one. Says
/// whether the caller is that user.
fn unprivileged(name: &str) -> bool {
    if !is_root() {
        return true;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]);
    let program = support::child(name, UNPRIVILEGED, "1");
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    command.arg(program.get_program()).args(program.get_args()).env(UNPRIVILEGED, "1").env("TMPDIR", home.path());
    match command.output() {
        Ok(output) if output.status.success() => print!("{}", String::from_utf8_lossy(&output.stdout)),
        Ok(output) if output.stdout.is_empty() => {
            println!("SKIPPED: root may read everything, and no other user can be had: {output:?}");
        }
        Ok(output) => panic!("as another user: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat())),
        Err(error) => println!("SKIPPED: root may read everything, and setpriv does not start: {error}"),
    }
    false
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unreadable_file_is_skipped_and_counted() {
    if !unprivileged("an_unreadable_file_is_skipped_and_counted") {
        return;
    }
    let place = Place::new();
    make_files(&place, 30, 1);
    support::settle(&place.root());
    let (new, old) = (place.root().join("d1/f1.c"), place.root().join("d2/f2.c"));
    set_mode(&new, 0);
    let engine = place.engine();
    let report = support::run(&engine);
    assert!(has_skip(&report, "d1/f1.c", "ermission denied", true), "{:#?}", report.skips);
    assert_eq!((report.files.indexed, report.files.skipped, report.files.failed), (29, 1, 1));
    // What cannot be read any more is not answered from.
    set_mode(&old, 0);
    let report = support::run(&engine);
    assert_eq!((report.files.skipped, report.files.removed), (2, 1), "{report:#?}");
    assert!(!paths(&engine.snapshot().unwrap()).contains(&b"d2/f2.c"[..]));
    support::assert_as_fresh(&engine, &queries(), "two files are unreadable");
    set_mode(&new, 0o600);
    set_mode(&old, 0o600);
    assert_eq!(support::run(&engine).files.indexed, 2);
    support::assert_as_fresh(&engine, &queries(), "all is readable again");
}

#[test]
fn an_unreadable_directory_is_skipped_and_the_rest_indexed() {
    if !unprivileged("an_unreadable_directory_is_skipped_and_the_rest_indexed") {
        return;
    }
    let place = Place::new();
    make_files(&place, 30, 1);
    let modes = [("d1", 0o000), ("d2", 0o111), ("d3", 0o444), ("d4", 0o222)];
    let set = |locked: bool| {
        for (dir, mode) in modes {
            set_mode(&place.root().join(dir), if locked { mode } else { 0o700 });
        }
    };
    set(true);
    let engine = place.engine();
    let report = engine.index().wait().unwrap();
    assert_eq!((report.outcome, report.files.indexed), (Outcome::Done, 18), "{report:#?}");
    for (dir, _) in modes {
        let below = |skip: &leindex_engine::Skip| skip.path.starts_with(dir.as_bytes()) && skip.failure;
        assert!(report.skips.iter().any(below), "{dir}: {:#?}", report.skips);
    }
    support::assert_sound(&engine, "some directories are unreadable");
    set(false);
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "all is readable again");
    set(true);
    assert_eq!(engine.index().wait().unwrap().outcome, Outcome::Done);
    support::assert_sound(&engine, "some directories are unreadable again");
    set(false);
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "all is readable at last");
}

#[test]
fn counts_add_up_when_directories_are_unreadable() {
    if !unprivileged("counts_add_up_when_directories_are_unreadable") {
        return;
    }
    let place = Place::new();
    make_files(&place, 30, 1);
    place.write("d2/.ignore", "*.log\n");
    let locked = [place.root().join("d1"), place.root().join("d2/.ignore")];
    locked.iter().for_each(|path| set_mode(path, 0));
    let report = place.engine().index().wait().unwrap();
    locked.iter().for_each(|path| set_mode(path, 0o700));
    support::assert_partition(&report);
    assert_eq!((report.files.skipped, report.files.failed), (2, 2), "{report:#?}");
}

// Indexes that are not as they were left.

fn copy_dir(from: &Path, to: &Path) {
    for path in [from.to_path_buf()].into_iter().chain(support::walk(from)) {
        let target = to.join(path.strip_prefix(from).unwrap());
        match path.is_dir() {
            true => fs::create_dir_all(target).unwrap(),
            false => drop(fs::copy(path, target).unwrap()),
        }
    }
}

/// A tree and an index of several segments, one of them with deleted documents.
fn indexed_place() -> Place {
    let place = Place::new();
    make_files(&place, 120, 1);
    place.write("binary", b"\0");
    let engine = place.engine();
    support::run(&engine);
    make_files(&place, 30, 2);
    place.write("new.c", "everywhere");
    support::run(&engine);
    place
}

/// An engine on a copy of the index.
fn copied(place: &Place, name: &str) -> (PathBuf, impl Fn() -> Engine + use<>) {
    let (index, root) = (place.dir().join(name), place.root());
    copy_dir(&place.index(), &index);
    let dir = index.clone();
    (index, move || Engine::builder().index_dir(&dir).open(&root).unwrap())
}

/// Searches a damaged copy, runs, and compares.
fn heals(engine: &Engine, context: &str) -> Result<(), RunError> {
    // Before it has healed, a search may fail but not panic; after it, nothing may be left of the damage.
    if let Ok(snapshot) = engine.snapshot() {
        let _ = snapshot.search(&Query::substring("everywhere"));
    }
    assert_eq!(engine.index().wait()?.outcome, Outcome::Done, "{context}");
    let found = support::assert_as_fresh(engine, &queries(), context);
    assert!(found > 100, "{context}");
    Ok(())
}

#[test]
fn an_index_that_is_half_deleted_heals_with_the_next_run() {
    let place = indexed_place();
    let mut parts: Vec<PathBuf> = support::walk(&place.index());
    parts.retain_mut(|path| {
        *path = path.strip_prefix(place.index()).unwrap().to_path_buf();
        true
    });
    assert!(parts.len() > 15 && parts.contains(&"meta".into()) && parts.contains(&"text".into()), "{parts:?}");
    let mut failed = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let (index, engine) = copied(&place, &format!("copy{number}"));
        let path = index.join(part);
        match path.is_dir() {
            true => fs::remove_dir_all(&path).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        let context = format!("without {}", part.display());
        failed.extend(heals(&engine(), &context).err().map(|error| format!("{context}: {error}")));
    }
    assert!(failed.is_empty(), "does not heal {failed:#?}");
    let (index, engine) = copied(&place, "without-all");
    fs::remove_dir_all(&index).unwrap();
    heals(&engine(), "without the whole index").unwrap();
}

#[test]
fn an_index_without_text_heals_when_the_tree_is_empty_too() {
    let place = indexed_place();
    fs::remove_dir_all(place.index().join("text")).unwrap();
    fs::remove_dir_all(place.root()).unwrap();
    fs::create_dir(place.root()).unwrap();
    let engine = place.engine();
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "an empty tree");
}

#[test]
fn an_index_emptied_of_its_content_heals_with_the_next_run() {
    let place = indexed_place();
    for part in support::walk(&place.index()).into_iter().filter(|path| path.is_file()) {
        let part = part.strip_prefix(place.index()).unwrap().to_path_buf();
        // The one file of the metadata is not to be repaired but by `verify --repair`.
        if part.starts_with("meta") {
            continue;
        }
        let (index, engine) = copied(&place, &format!("empty-{}", part.display().to_string().replace('/', "-")));
        File::create(index.join(&part)).unwrap();
        check_repairable(&engine(), &format!("{} is empty", part.display()));
    }
}

/// A damaged index: either the next run heals it, or verify tells of it and it can be built anew.
fn check_repairable(engine: &Engine, context: &str) {
    let noticed = engine.verify().map_or(true, |found| !found.is_sound());
    let healed = engine.index().wait().is_ok() && engine.verify().is_ok_and(|found| found.is_sound());
    assert!(noticed || healed, "{context}: nobody notices");
    if !healed {
        println!("{context}: is not healed by a run, but built anew");
        engine.reset().unwrap_or_else(|error| panic!("{context}: reset: {error}"));
        support::run(engine);
    }
    support::assert_as_fresh(engine, &queries(), context);
}

#[test]
fn verify_tells_of_flipped_bits_in_the_text_index() {
    let place = indexed_place();
    // Files of segments that no generation refers to any more are checked by nobody.
    let living = fs::read_to_string(place.index().join("text/meta.json")).unwrap().replace('-', "");
    let (mut flipped, mut failed) = (0, Vec::new());
    for path in support::walk(&place.index().join("text")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let length = fs::metadata(&path).unwrap().len() as usize;
        // tantivy's notes about its own files hold nothing that is answered from, nor does what is put back at each run.
        let segment = name.split('.').next().unwrap();
        if length == 0 || segment.is_empty() || name == "meta.json" || !living.contains(segment) {
            println!("not flipped: {name}, {length} bytes");
            continue;
        }
        for at in [0, length / 3, length / 2, length * 2 / 3, length - 9, length - 5, length - 1] {
            let (index, engine) = copied(&place, "flipped");
            flip(&index.join("text").join(name), at, 4);
            let engine = engine();
            let found = catch_unwind(AssertUnwindSafe(|| engine.verify()));
            let kind = name.split_once('.').unwrap().1;
            match &found {
                Ok(Err(_)) => {}
                Ok(Ok(found)) if !found.is_sound() => {}
                Ok(Ok(_)) => failed.push(format!("{kind}: byte {at} of {length}: not noticed")),
                Err(_) => failed.push(format!("{kind}: byte {at} of {length}: verify panics")),
            }
            drop(engine);
            fs::remove_dir_all(&index).unwrap();
            flipped += 1;
        }
    }
    assert!(failed.is_empty(), "{} of {flipped} flipped bits: {failed:#?}", failed.len());
    assert!(flipped > 30, "{flipped}");
    support::assert_sound(&place.engine(), "the index that was copied");
}

fn flip(path: &Path, at: usize, bit: u32) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at as u64).unwrap();
}

/// Where `needle` is in the metadata file.
fn occurrences(index: &Path, needle: &[u8]) -> Vec<usize> {
    let content = fs::read(index.join("meta/data.mdb")).unwrap();
    content.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at).collect()
}

#[test]
fn verify_tells_of_flipped_bits_in_metadata_records() {
    let place = Place::new();
    make_files(&place, 120, 1);
    place.write("d5/a-name-that-is-nowhere-else.c", "everywhere");
    support::run(&place.engine());
    let name = b"a-name-that-is-nowhere-else.c";
    let (mut noticed, mut flips) = (0, 0);
    // In the name, and in what comes behind it. Some places are in pages that no record is in any more.
    for offset in [0, name.len() - 1, name.len() + 1, name.len() + 6] {
        for at in occurrences(&place.index(), name) {
            let (index, engine) = copied(&place, "flipped");
            flip(&index.join("meta/data.mdb"), at + offset, 2);
            let engine = engine();
            noticed += usize::from(engine.verify().map_or(true, |found| !found.is_sound()));
            flips += 1;
            drop(engine);
            fs::remove_dir_all(&index).unwrap();
        }
    }
    println!("{noticed} of {flips} flipped bits were in living records");
    assert!(noticed >= 4, "{noticed} of {flips} flipped bits were noticed");
    let (index, engine) = copied(&place, "damaged");
    occurrences(&place.index(), name).iter().for_each(|at| flip(&index.join("meta/data.mdb"), at + 3, 2));
    let engine = engine();
    let found = engine.verify().unwrap();
    assert!(found.problem_count > 0 && !found.problems.is_empty(), "{found:?}");
    engine.reset().unwrap();
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "built anew");
}

#[test]
fn an_index_of_another_format_is_refused_and_left_alone() {
    let place = indexed_place();
    let written = |format: u32| [&b"format"[..], &format.to_le_bytes()].concat();
    let supported = (1..100).find(|format| !occurrences(&place.index(), &written(*format)).is_empty());
    let supported = supported.expect("the record of the format");
    for (found, advice) in [(supported + 1, "use a newer leindex-engine"), (0, "index again"), (u32::MAX, "newer")] {
        let (index, engine) = copied(&place, &format!("format{found}"));
        let file = File::options().write(true).open(index.join("meta/data.mdb")).unwrap();
        for at in occurrences(&place.index(), &written(supported)) {
            file.write_all_at(&written(found), at as u64).unwrap();
        }
        let before = fs::read(index.join("meta/data.mdb")).unwrap();
        let engine = engine();
        let check = |error: OpenError| {
            let is = |f: u32, s: u32| (f, s) == (found, supported);
            assert!(matches!(&error, OpenError::Format { found: f, supported: s, .. } if is(*f, *s)), "{error:?}");
            assert!(error.to_string().contains(advice) && error.to_string().contains(&index.display().to_string()));
        };
        for error in [engine.snapshot().err(), engine.verify().err()] {
            let Some(QueryError::Open(error)) = error else { panic!("{error:?}") };
            check(error);
        }
        let Err(RunError::Open(error)) = engine.index().wait() else { panic!("a run takes format {found}") };
        check(error);
        assert!(fs::read(index.join("meta/data.mdb")).unwrap() == before, "the index was changed");
        engine.reset().unwrap();
        heals(&engine, "after a reset").unwrap();
    }
}

// Two processes.

/// Not a test but the process that writes the index of a place, again and again, until it is killed.
#[test]
fn other_writer() {
    let Some(dir) = std::env::var_os(OTHER_WRITER) else { return };
    let dir = Path::new(&dir);
    let engine = Engine::builder().index_dir(dir.join("index")).open(dir.join("tree")).unwrap();
    for round in 0.. {
        fs::write(dir.join("tree/changed.c"), format!("everywhere {round}")).unwrap();
        match engine.index().wait() {
            Ok(_) | Err(RunError::Open(OpenError::Busy { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_processes_do_not_write_at_once() {
    let place = Place::new();
    make_files(&place, 300, 1);
    let engine = place.engine();
    support::run(&engine);
    let mut other = support::child("other_writer", OTHER_WRITER, place.dir()).stdout(Stdio::null()).spawn().unwrap();
    let own = std::process::id();
    let pid = rustix::process::Pid::from_child(&other);
    let signal = move |signal| rustix::process::kill_process(pid, signal).unwrap();
    let (mut generation, mut named) = (0, 0);
    // However often it has to be stopped until it was writing. Who writes is waited for for a moment, so that two that write in
    // turns hardly ever see each other.
    while named < 3 {
        signal(Signal::STOP);
        // It may hold a lock of LMDB's for just that moment, which is waited for without end.
        let (ended, waits) = std::sync::mpsc::channel::<()>();
        let resume = std::thread::spawn(move || {
            let _ = waits.recv_timeout(Duration::from_secs(5));
            signal(Signal::CONT);
        });
        let run = engine.index().wait();
        drop(ended);
        resume.join().unwrap();
        match run {
            Ok(_) => {}
            // Whoever has just taken the lock may not have written down its name yet.
            Err(RunError::Open(OpenError::Busy { path, pid })) => {
                assert_eq!(path, place.index());
                assert!([other.id(), own, 0].contains(&pid), "{pid}");
                named += usize::from(pid == other.id());
            }
            Err(error) => panic!("{error}"),
        }
        for _ in 0..10 {
            match engine.index().wait() {
                Ok(_) | Err(RunError::Open(OpenError::Busy { .. })) => {}
                Err(error) => panic!("{error}"),
            }
            let snapshot = engine.snapshot().unwrap();
            assert!(snapshot.generation() >= generation, "the generation went back");
            generation = snapshot.generation();
            assert_eq!(support::hits(&snapshot, &Query::regex("^everywhere$")).len(), 300);
        }
    }
    assert!(other.try_wait().unwrap().is_none(), "the other process has ended");
    other.kill().unwrap();
    other.wait().unwrap();
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after two writers");
}

// A full disk.

/// A small file system of its own.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of this size; says why there is none.
    fn mount(megabytes: usize) -> Result<SmallDisk, String> {
        if !is_root() {
            return Err("mounting takes root".into());
        }
        let disk = SmallDisk { dir: tempfile::tempdir().unwrap() };
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "leindex-test"]).arg(disk.dir.path());
        match mount.output() {
            Ok(output) if output.status.success() => Ok(disk),
            failed => Err(format!("{failed:?}")),
        }
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.path().join("ballast")
    }

    /// Leaves about `left` bytes free.
    fn fill(&self, left: usize) {
        let mut file = File::create(self.ballast()).unwrap();
        let mut written = 0;
        while file.write_all(&[1; 4096]).is_ok() {
            written += 4096;
        }
        file.set_len((written as u64).saturating_sub(left as u64)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// The error of a run on a full disk says where. LMDB calls a write that was cut short an input/output error.
fn assert_says_where(error: &RunError, index: &Path) {
    let text = error.to_string();
    assert!(text.contains(&index.display().to_string()), "the error does not say where: {text}");
    assert!(text.contains("(os error 28)") || text.contains("(os error 5)"), "the error does not say what: {text}");
}

/// The error of a run on a full disk says what is wrong, and what to do.
fn assert_says_full(error: &RunError, index: &Path) {
    assert_says_where(error, index);
    let text = error.to_string();
    assert!(text.contains("No space left") || text.contains("the disk is full"), "it does not say what: {text}");
    let advised = text.contains("free some space") || text.contains("choose another place");
    assert!(advised, "it does not say what to do: {text}");
}

#[test]
fn a_full_disk_fails_the_run_and_nothing_else() {
    let disk = match SmallDisk::mount(12) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIPPED: no small disk to fill: {why}"),
    };
    let place = Place::new();
    make_files(&place, 100, 1);
    let settings = |builder: EngineBuilder| builder.checkpoint(Duration::from_millis(5)).batch_files(20);
    let open = || settings(Engine::builder()).index_dir(disk.index()).open(place.root()).unwrap();
    let engine = open();
    let first = support::run(&engine);
    let (mut failed, mut succeeded) = (0, 0);
    for (round, left) in [0, 4, 16, 64, 128, 256, 512, 1024].into_iter().enumerate() {
        disk.fill(left << 10);
        // All of it changes: the index of it needs about as much room as what is published.
        make_files(&place, 1500, 10 + round as u64);
        let before = engine.snapshot().unwrap().generation();
        match engine.index().wait() {
            Err(error) => {
                println!("{left} KiB left: {error}");
                assert_says_where(&error, &disk.index());
                failed += 1;
            }
            Ok(report) => {
                assert_eq!(report.outcome, Outcome::Done);
                succeeded += 1;
            }
        }
        let snapshot = engine.snapshot().unwrap();
        assert!(snapshot.generation() >= before.max(first.generation), "a published generation is gone");
        assert!(snapshot.search(&Query::text("everywhere").limit(0)).unwrap().hits.len() >= 100);
        drop(snapshot);
        support::assert_sound(&engine, &format!("{left} KiB were left"));
        disk.free();
        support::run(&engine);
        support::assert_as_fresh(&engine, &queries(), &format!("{left} KiB had been left"));
    }
    println!("{failed} runs failed, {succeeded} did not");
    assert!(failed > 2, "the disk was never full");
}

#[test]
fn a_first_run_on_a_full_disk_leaves_nothing_that_is_in_the_way() {
    for left in [0, 4, 16, 48, 128, 300] {
        let disk = match SmallDisk::mount(4) {
            Ok(disk) => disk,
            Err(why) => return println!("SKIPPED: no small disk to fill: {why}"),
        };
        let place = Place::new();
        make_files(&place, 3000, 1);
        disk.fill(left << 10);
        let engine = Engine::builder().index_dir(disk.index()).open(place.root()).unwrap();
        let error = engine.index().wait().expect_err("the disk is full");
        println!("{left} KiB left: {error}");
        assert_says_where(&error, &disk.index());
        let error = engine.snapshot().expect_err("nothing was published");
        assert!(matches!(error, QueryError::Open(OpenError::NoIndex { .. } | OpenError::IndexDir { .. })), "{error:?}");
        disk.free();
        support::run(&engine);
        support::assert_as_fresh(&engine, &queries(), &format!("{left} KiB had been left"));
    }
}

#[test]
fn the_error_of_a_full_disk_says_so_wherever_it_strikes() {
    let disk = match SmallDisk::mount(4) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIPPED: no small disk to fill: {why}"),
    };
    let place = Place::new();
    make_files(&place, 200, 1);
    let mut failed = 0;
    for left in (0..400).step_by(4) {
        disk.fill(left << 10);
        let engine = Engine::builder().index_dir(disk.index()).open(place.root()).unwrap();
        if let Err(error) = engine.index().wait() {
            assert_says_full(&error, &disk.index());
            failed += 1;
        }
        disk.free();
        fs::remove_dir_all(disk.index()).unwrap();
    }
    assert!(failed > 10, "the disk was never full");
}
