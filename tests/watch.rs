//! Watchers: whatever happens to a tree, the index ends where one built from nothing does, and is not called fresh
//! before that. Each test waits for a file that it writes last: the kernel keeps the order of changes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests, which clippy does not take for tests")]

mod support;

use leindex_engine::{Engine, OpenError, Query, RunError, Watch, WatchEvent, WatchOptions, WatchState};
use leindex_fallback::{Faults, FaultyBackend, Op, ThreadBackend, Worker, WorkerOptions};
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Place, Random, Vocabulary};

/// Longer than anything here takes on a machine that has other things to do as well.
const PATIENCE: Duration = Duration::from_secs(60);
const SEED: u64 = 20_260_105;

fn options() -> WatchOptions {
    let mut options = WatchOptions::default();
    // What is missed must not be found by chance.
    options.rescan = Duration::from_secs(3600);
    options
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until everything that was done to the tree so far is in the index, and the index is called current.
fn catch_up(place: &Place, engine: &Engine) {
    static COOKIES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("cookie{}.txt", COOKIES.fetch_add(1, Relaxed));
    place.write(&name, "cookie");
    let written = now_ns();
    eventually("the last file is indexed", || {
        engine.snapshot().is_ok_and(|snapshot| snapshot.lookup(&name).unwrap().is_some())
    });
    eventually("the index is current", || {
        let fresh = engine.freshness();
        fresh.state == WatchState::Current && fresh.as_of_ns.is_some_and(|as_of| as_of >= written)
    });
}

fn queries() -> Vec<Query> {
    Vocabulary::new(200).quick_queries(&mut Random(SEED), 40)
}

/// A tree of 400 files, and a watcher that has caught up with it.
fn watched() -> (Place, Engine, Watch) {
    let place = Place::new();
    let (vocabulary, mut random) = (Vocabulary::new(200), Random(SEED));
    fs::create_dir(place.root().join(".git")).unwrap();
    place.write(".gitignore", "*.log\n/out/\n");
    for n in 0..400 {
        let extension = if n % 20 == 0 { "log" } else { "c" };
        place.write(format!("d{}/e{}/f{n}.{extension}", n % 8, n % 5), vocabulary.text(&mut random, 20));
    }
    place.write("out/ignored.c", "ignored");
    let engine = place.engine();
    let watch = engine.watch(options()).unwrap();
    catch_up(&place, &engine);
    (place, engine, watch)
}

fn assert_caught_up(place: &Place, engine: &Engine, context: &str) {
    catch_up(place, engine);
    support::assert_as_fresh(engine, &queries(), context);
}

#[test]
fn single_changes_of_every_kind_are_followed() {
    let (place, engine, _watch) = watched();
    let at = |path: &str| place.root().join(path);
    type Change<'c> = (&'c str, Box<dyn Fn() + 'c>);
    let changes: [Change<'_>; 14] = [
        ("a new file", Box::new(|| place.write("d1/new.c", "new"))),
        ("a file in new directories", Box::new(|| place.write("n1/n2/n3/n4.c", "deep"))),
        ("a file in a directory that was new", Box::new(|| place.write("n1/n2/later.c", "later"))),
        (
            "a file written to without closing it",
            Box::new(|| {
                let mut file = File::options().append(true).open(at("d1/new.c")).unwrap();
                std::io::Write::write_all(&mut file, b" appended").unwrap();
                std::mem::forget(file);
            }),
        ),
        ("a file renamed over another", Box::new(|| fs::rename(at("d1/new.c"), at("n1/n2/later.c")).unwrap())),
        ("a directory renamed", Box::new(|| fs::rename(at("n1"), at("m1")).unwrap())),
        ("a file in the renamed directory", Box::new(|| place.write("m1/n2/n3/inside.c", "inside"))),
        ("a directory moved away", Box::new(|| fs::rename(at("d2"), place.dir().join("away")).unwrap())),
        ("a change in what was moved away", Box::new(|| fs::write(place.dir().join("away/x.c"), "away").unwrap())),
        ("a directory moved here", Box::new(|| fs::rename(place.dir().join("away"), at("d9")).unwrap())),
        (
            "a file that became a directory",
            Box::new(|| {
                fs::remove_file(at("m1/n2/later.c")).unwrap();
                place.write("m1/n2/later.c/is.c", "a directory now");
            }),
        ),
        ("a directory deleted", Box::new(|| fs::remove_dir_all(at("d3")).unwrap())),
        ("a directory that is ignored", Box::new(|| place.write("out/more.c", "not seen"))),
        (
            "times only",
            Box::new(|| {
                let file = File::options().write(true).open(at("m1/n2/n3/inside.c")).unwrap();
                file.set_times(fs::FileTimes::new().set_modified(UNIX_EPOCH)).unwrap();
            }),
        ),
    ];
    for (name, change) in changes {
        change();
        assert_caught_up(&place, &engine, name);
    }
}

#[test]
fn changes_of_rules_are_followed() {
    let place = Place::new();
    support::git(&place.root(), &["init", "-q"]);
    place.write(".gitignore", "*.log\n");
    for path in ["a.c", "b.log", "sub/c.c", "sub/d.log", "sub/.gitignore"] {
        place.write(path, "# text\n");
    }
    let engine = place.engine();
    let _watch = engine.watch(options()).unwrap();
    assert_caught_up(&place, &engine, "the beginning");
    let holds = |path: &str| engine.snapshot().unwrap().lookup(path).unwrap().is_some();
    place.write("sub/.gitignore", "!d.log\n");
    assert_caught_up(&place, &engine, "a rule lifted below");
    assert!(holds("sub/d.log"));
    place.write(".gitignore", "*.log\nsub/\n");
    assert_caught_up(&place, &engine, "a directory ignored");
    assert!(!holds("sub/c.c"));
    place.write(".gitignore", "");
    assert_caught_up(&place, &engine, "all rules lifted");
    assert!(holds("sub/c.c") && holds("b.log"));
    place.write("sub/c.c", "a change in what was ignored for a while");
    assert_caught_up(&place, &engine, "and it is watched again");
    // git's own files are no part of the tree, and no cookie comes after them.
    fs::write(place.root().join(".git/info/exclude"), "a.c\n").unwrap();
    eventually("the exclude file counts", || !holds("a.c"));
    support::git(&place.root(), &["add", "-f", "a.c"]);
    eventually("what git tracks is not ignored", || holds("a.c"));
}

#[test]
fn ten_thousand_changes_in_a_burst() {
    let (place, engine, watch) = watched();
    let (vocabulary, mut random) = (Vocabulary::new(200), Random(SEED));
    let mut changes = 0;
    for n in 0..3000 {
        place.write(format!("burst/b{}/c{}/f{n}.c", n % 7, n % 11), vocabulary.text(&mut random, 3));
        changes += 1;
    }
    for n in 0..3000 {
        let path = place.root().join(format!("burst/b{}/c{}/f{n}.c", n % 7, n % 11));
        match n % 3 {
            0 => fs::write(&path, vocabulary.text(&mut random, 4)).unwrap(),
            1 => fs::rename(&path, path.with_extension("h")).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        changes += 1;
    }
    for n in 0..4000 {
        place.write(format!("d{}/e{}/f{}.c", n % 8, n % 5, n % 400), vocabulary.text(&mut random, 2));
        changes += 1;
    }
    assert_eq!(changes, 10_000);
    assert_caught_up(&place, &engine, "a burst");
    assert!(!watch.is_finished());
}

#[test]
fn half_of_the_tree_goes_and_comes_back() {
    let (place, engine, _watch) = watched();
    for round in 0..2 {
        for dir in (0..8).step_by(2) {
            fs::remove_dir_all(place.root().join(format!("d{dir}"))).unwrap();
        }
        assert_caught_up(&place, &engine, "half of it gone");
        for n in 0..400 {
            place.write(format!("d{}/e{}/f{n}.c", n % 8, n % 5), format!("again {round} {n}"));
        }
        assert_caught_up(&place, &engine, "and back");
    }
}

#[test]
fn switches_of_branches_are_followed() {
    let place = Place::new();
    let root = place.root();
    support::git(&root, &["init", "-q"]);
    let (vocabulary, mut random) = (Vocabulary::new(200), Random(SEED));
    for branch in 0..3 {
        support::git(&root, &["checkout", "-q", "-b", &format!("b{branch}")]);
        for n in 0..200 {
            match random.below(4) {
                0 => {}
                1 => drop(fs::remove_file(root.join(format!("d{}/f{n}.c", n % 6)))),
                _ => place.write(format!("d{}/f{n}.c", n % 6), vocabulary.text(&mut random, 10)),
            }
        }
        place.write(".gitignore", format!("/d{branch}/f{branch}*\n"));
        support::git(&root, &["add", "-A", "."]);
        support::git(&root, &["commit", "-q", "-m", "x"]);
    }
    let engine = place.engine();
    let _watch = engine.watch(options()).unwrap();
    for branch in ["b0", "b2", "b1", "b2", "b0"] {
        support::git(&root, &["checkout", "-q", branch]);
        assert_caught_up(&place, &engine, branch);
        fs::remove_file(place.root().join(".git/index.lock")).unwrap_err();
    }
}

/// While another run is writing, a watcher does not look; then there are more changes than the kernel keeps.
#[test]
#[cfg(target_os = "linux")]
fn changes_that_the_kernel_has_dropped_are_found() {
    let kept: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if kept > 100_000 {
        println!("SKIPPED: the kernel keeps {kept} events; too many to overflow in a test");
        return;
    }
    let (place, engine, watch) = watched();
    while watch.next_event(Duration::ZERO).is_some() {}
    let lock = File::options().write(true).open(place.index().join("lock")).unwrap();
    lock.lock().unwrap();
    place.write("d1/first.c", "the watcher wakes up for this");
    eventually("a change is known and not indexed", || engine.freshness().state == WatchState::Behind);
    // Until then it still takes changes in, to let them settle.
    std::thread::sleep(3 * options().settle_max);
    let far = place.root().join("d5/e0/f5.c");
    for n in 0..kept {
        // Two files in turn, or the kernel makes one event of many.
        fs::write(place.root().join(format!("d1/flood{}.c", n % 2)), format!("{n}")).unwrap();
    }
    fs::write(far, "lost in the flood").unwrap();
    assert_eq!(engine.freshness().state, WatchState::Behind, "the index must not be called current");
    lock.unlock().unwrap();
    assert_caught_up(&place, &engine, "after an overflow");
    let events: Vec<_> = std::iter::from_fn(|| watch.next_event(Duration::ZERO)).collect();
    let told = events.iter().any(|event| matches!(event, WatchEvent::Rescan(why) if why.contains("kernel keeps")));
    assert!(told, "{events:?}");
}

/// Runs itself in a user namespace, whose limit of watches is its own.
#[test]
#[cfg(target_os = "linux")]
fn a_tree_with_more_directories_than_watches_is_polled() {
    const CHILD: &str = "LEINDEX_WATCH_LIMITED";
    const WATCHES: &str = "10";
    if let Some(place) = std::env::var_os(CHILD) {
        return limited(Path::new(&place));
    }
    let place = Place::new();
    for n in 0..40 {
        place.write(format!("d{n}/f.c"), format!("word{n}"));
    }
    let limit = format!("echo {WATCHES} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
    let program = std::env::current_exe().unwrap();
    let name = "a_tree_with_more_directories_than_watches_is_polled";
    let mut command = std::process::Command::new("unshare");
    command.args(["-U", "-r", "sh", "-c", &limit, "sh"]).arg(program).args(["--exact", name, "--nocapture"]);
    let done = command.env(CHILD, place.dir()).output();
    let Ok(done) = done else { return println!("SKIPPED: unshare is not installed") };
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    if !said.contains("limited begins") {
        return println!("SKIPPED: no user namespace with a limit of its own can be made here: {said}");
    }
    assert!(done.status.success() && said.contains("limited ends"), "{said}");
}

#[cfg(target_os = "linux")]
fn limited(place: &Path) {
    println!("limited begins");
    let engine = Engine::builder().index_dir(place.join("index")).open(place.join("tree")).unwrap();
    let mut options = options();
    options.poll = Duration::from_millis(50);
    let watch = engine.watch(options).unwrap();
    let polling = std::iter::from_fn(|| watch.next_event(PATIENCE)).find_map(|event| match event {
        WatchEvent::Polling(why, every) => Some((why, every)),
        _ => None,
    });
    let (why, every) = polling.unwrap();
    assert!(why.contains("fs.inotify.max_user_watches"), "{why}");
    assert_eq!(every, options.poll);
    assert_polled(place, &engine);
    println!("limited ends");
}

fn assert_polled(place: &Path, engine: &Engine) {
    for name in ["one", "two"] {
        fs::write(place.join("tree").join(name), name).unwrap();
        let written = now_ns();
        eventually("a poll finds the file", || {
            engine.snapshot().is_ok_and(|snapshot| snapshot.lookup(name).unwrap().is_some())
        });
        eventually("it is said that it is there", || engine.freshness().as_of_ns.is_some_and(|as_of| as_of >= written));
        assert_eq!(engine.freshness().state, WatchState::Polled);
    }
}

#[test]
fn a_tree_can_be_polled_on_request() {
    let place = Place::new();
    place.write("a.c", "a");
    let engine = place.engine();
    let mut options = options();
    (options.poll_only, options.poll) = (true, Duration::from_millis(50));
    let _watch = engine.watch(options).unwrap();
    assert_polled(place.dir(), &engine);
}

#[test]
fn a_watcher_ends_when_the_root_is_gone() {
    let (place, engine, watch) = watched();
    fs::remove_dir_all(place.root()).unwrap();
    let error = watch.wait().unwrap_err();
    assert!(matches!(&error, RunError::Root { .. }) || error.to_string().contains("No such file"), "{error}");
    assert!(error.to_string().contains(engine.root().to_str().unwrap()), "{error}");
    assert_eq!(engine.freshness().state, WatchState::Unwatched);
    assert!(!place.root().exists(), "the watcher has brought it back");
}

#[test]
fn another_directory_in_the_place_of_the_root_is_taken_for_it() {
    let (place, engine, _watch) = watched();
    fs::rename(place.root(), place.dir().join("old")).unwrap();
    // Within the time that a watcher lets changes settle, as a program that replaces directories does it.
    fs::create_dir_all(place.root().join("other")).unwrap();
    place.write("other/file.c", "other");
    if engine.freshness().state != WatchState::Unwatched {
        assert_caught_up(&place, &engine, "another root");
    }
}

#[test]
fn a_tree_has_one_watcher_and_says_how_fresh_it_is() {
    let (place, engine, watch) = watched();
    let other = Engine::builder().index_dir(place.index()).open(place.root());
    let error = other.unwrap().watch(options()).unwrap_err();
    assert!(matches!(error, OpenError::Watched { pid, .. } if pid == std::process::id()), "{error}");
    // A run of somebody else is no reason to forget who watches.
    support::run(&engine);
    assert_eq!(engine.snapshot().unwrap().freshness().state, WatchState::Current);
    watch.stopper().stop();
    watch.wait().unwrap();
    let fresh = engine.freshness();
    assert_eq!(fresh.state, WatchState::Unwatched);
    let before = now_ns();
    support::run(&engine);
    assert!(engine.freshness().as_of_ns >= Some(before), "a whole run knows how fresh the index is");
    let as_of = engine.freshness().as_of_ns;
    engine.update(&["d1"]).wait().unwrap();
    assert_eq!(engine.freshness().as_of_ns, as_of, "an update of one directory does not");
}

#[test]
fn a_watcher_can_be_stopped_at_any_moment() {
    let place = Place::new();
    for n in 0..300 {
        place.write(format!("d{}/f{n}.c", n % 20), format!("word{n}"));
    }
    let engine = place.engine();
    for n in 0..30 {
        let watch = engine.watch(options()).unwrap();
        std::thread::sleep(Duration::from_micros(n * n * 50));
        place.write(format!("new{n}.c"), "new");
        if n % 2 == 0 {
            watch.stopper().stop();
            watch.wait().unwrap();
        }
    }
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after many watchers");
}

/// The portable backend, of which reads fail for as long as a flag is set.
#[derive(Debug)]
struct Failing(leindex_fallback::FaultyBackend, leindex_fallback::ThreadBackend, std::sync::Arc<AtomicBool>);

impl leindex_fallback::Backend for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn open_root(&self, path: &Path) -> std::io::Result<leindex_fallback::Dir> {
        self.1.open_root(path)
    }

    fn worker(&self, options: WorkerOptions) -> std::io::Result<Box<dyn Worker>> {
        if self.2.load(Relaxed) { self.0.worker(options) } else { self.1.worker(options) }
    }
}

#[test]
fn what_cannot_be_read_keeps_the_index_from_being_current() {
    let place = Place::new();
    place.write("a.c", "first");
    let fails: std::sync::Arc<AtomicBool> = Default::default();
    let faulty = FaultyBackend::new(std::sync::Arc::new(ThreadBackend::new()), Faults::none(1).fail(Op::Read, 1000));
    let backend = Failing(faulty, ThreadBackend::new(), std::sync::Arc::clone(&fails));
    let engine = place.engine_with(|builder| builder.own_backend(std::sync::Arc::new(backend)));
    let watch = engine.watch(options()).unwrap();
    catch_up(&place, &engine);
    while watch.next_event(Duration::ZERO).is_some() {}
    fails.store(true, Relaxed);
    place.write("a.c", "second");
    let failed = std::iter::from_fn(|| watch.next_event(PATIENCE)).find_map(|event| match event {
        WatchEvent::Failed(why) => Some(why),
        _ => None,
    });
    assert!(failed.unwrap().contains("could not be read"));
    for _ in 0..20 {
        assert_eq!(engine.freshness().state, WatchState::Behind, "called current although a file was not read");
        std::thread::sleep(Duration::from_millis(10));
    }
    // No event comes with it: the watcher has to try by itself.
    fails.store(false, Relaxed);
    eventually("the file is read after all", || engine.freshness().state == WatchState::Current);
    assert_eq!(support::hits(&engine.snapshot().unwrap(), &Query::text("second")).len(), 1);
}

#[test]
fn an_index_that_is_deleted_is_made_again() {
    let (place, engine, _watch) = watched();
    fs::remove_dir_all(place.index().join("meta")).unwrap();
    fs::remove_dir_all(place.index().join("text")).unwrap();
    place.write("d1/after.c", "after the index was deleted");
    eventually("the index is whole again", || {
        engine.snapshot().is_ok_and(|snapshot| snapshot.is_complete() && snapshot.status().unwrap().indexed > 300)
    });
    assert_caught_up(&place, &engine, "after the index was deleted");
    fs::remove_file(
        fs::read_dir(place.index().join("text"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "term"))
            .unwrap(),
    )
    .unwrap();
    place.write("d1/more.c", "after a segment was deleted");
    eventually("nothing is missing", || {
        engine.verify().is_ok_and(|found| found.is_sound())
            && engine.snapshot().is_ok_and(|snapshot| snapshot.lookup("d1/more.c").unwrap().is_some())
    });
    assert_caught_up(&place, &engine, "after a segment was deleted");
}

/// A directory that is mounted a second time has one inode and two paths.
#[test]
#[cfg(target_os = "linux")]
fn a_directory_in_two_places_is_followed_in_both() {
    let (place, engine, _watch) = watched();
    let (from, to) = (place.root().join("d1"), place.root().join("twin"));
    fs::create_dir(&to).unwrap();
    if let Err(error) = rustix::mount::mount_bind(&from, &to) {
        println!("SKIPPED: nothing can be mounted here: {error}");
        return;
    }
    let unmount = Unmount(to);
    assert_caught_up(&place, &engine, "a directory mounted twice");
    place.write("twin/e1/both.c", "in both places");
    assert_caught_up(&place, &engine, "a change in one of two places");
    assert_eq!(support::hits(&engine.snapshot().unwrap(), &Query::substring("in both places")).len(), 2);
    drop(unmount);
    assert_caught_up(&place, &engine, "unmounted");
}

#[cfg(target_os = "linux")]
struct Unmount(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn watches_are_given_back() {
    let (place, engine, _watch) = watched();
    let watches = || {
        let fds = fs::read_dir("/proc/self/fdinfo").unwrap().map(|entry| entry.unwrap().path());
        let texts = fds.filter_map(|path| fs::read_to_string(path).ok()).filter(|text| text.contains("inotify wd:"));
        texts.filter(|text| text.lines().count() > 5).map(|text| text.matches("inotify wd:").count()).max().unwrap_or(0)
    };
    if watches() == 0 {
        println!("SKIPPED: the system does not say which watches there are");
        return;
    }
    for dir in 0..200 {
        place.write(format!("build/b{dir}/x.c"), "x");
    }
    assert_caught_up(&place, &engine, "many directories");
    let with = watches();
    place.write(".gitignore", "*.log\n/out/\n/build/\n");
    assert_caught_up(&place, &engine, "ignored now");
    assert!(with >= 200 && watches() < with, "{with} watches, {} when the directories are ignored", watches());
}
