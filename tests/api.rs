//! The library as a daemon uses it: runs that are cancelled, awaited, dropped and watched, snapshots that outlive runs,
//! readers on many threads, and settings that cannot be used.

// Skips say why on the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::{
    BackendChoice, Engine, EngineBuilder, Event, OpenError, Outcome, Query, QueryError, Report, RulesConfig, Run,
    RunError, Shards, Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::{Place, Random, Vocabulary};

const FILES: usize = 2000;
/// Far longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn hasty(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::ZERO).batch_files(20).inverter_bytes(1 << 20)
}

fn make_tree(place: &Place, files: usize) {
    let (vocabulary, mut random) = (Vocabulary::new(500), Random(21));
    for n in 0..files {
        place.write(format!("d{}/f{n}.c", n % 40), vocabulary.text(&mut random, 20) + "\neverywhere\n");
    }
}

fn queries() -> Vec<Query> {
    let mut queries = Vocabulary::new(500).queries(&mut Random(22), 24);
    queries.push(Query::text("everywhere"));
    queries
}

fn no_index(result: Result<Snapshot, QueryError>) -> bool {
    matches!(result, Err(QueryError::Open(OpenError::NoIndex { .. })))
}

/// Waits for the first publication of a run.
fn first_publication(run: &Run) -> u64 {
    match run.next_event(PATIENCE) {
        Some(Event::Published(generation)) => generation,
        other => panic!("{other:?} instead of a publication"),
    }
}

#[test]
fn a_run_cancelled_at_once_publishes_nothing() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine();
    let run = engine.index();
    run.canceller().cancel();
    let report = run.wait().unwrap();
    assert_eq!((report.outcome, report.generation, report.publications), (Outcome::Cancelled, 0, 0));
    assert!(no_index(engine.snapshot()));
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after a run that was cancelled at once");
}

#[test]
fn a_run_cancelled_by_another_thread_keeps_what_it_has_published() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine_with(hasty);
    let run = engine.index();
    let generation = first_publication(&run);
    let canceller = run.canceller();
    std::thread::spawn(move || {
        canceller.cancel();
        canceller.clone().cancel();
    });
    let report = run.wait().unwrap();
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(report.generation >= generation && report.publications >= 1, "{report:#?}");
    support::assert_sound(&engine, "after a cancelled run");
    let snapshot = engine.snapshot().unwrap();
    assert_eq!(snapshot.generation(), report.generation);
    let status = snapshot.status().unwrap();
    assert!(status.indexed > 0 && status.indexed < FILES as u64 && !status.complete, "{status:?}");
    assert_eq!(support::hits(&snapshot, &Query::text("everywhere")).len() as u64, status.indexed);
    drop(snapshot);

    let next = support::run(&engine);
    assert!(next.generation > report.generation);
    assert!(next.files.unchanged > 0, "the next run begins from nothing: {next:#?}");
    support::assert_as_fresh(&engine, &queries(), "after the run that followed");
}

#[test]
fn a_cancelled_update_keeps_the_generation() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine();
    let first = support::run(&engine);
    make_tree(&place, FILES / 2);
    place.write("d1/another.c", "another");
    let run = engine.index();
    run.canceller().cancel();
    let report = run.wait().unwrap();
    assert_eq!((report.outcome, report.generation), (Outcome::Cancelled, first.generation));
    let snapshot = engine.snapshot().unwrap();
    assert_eq!(support::contents(&snapshot).len(), FILES);
    assert!(snapshot.status().unwrap().complete);
    drop(snapshot);
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after the run that followed");
}

#[test]
fn cancelling_a_run_that_has_ended_changes_nothing() {
    let place = Place::new();
    make_tree(&place, 10);
    let engine = place.engine();
    let run = engine.index();
    let canceller = run.canceller();
    while run.next_event(PATIENCE).expect("an event") != Event::Ended {}
    assert_eq!(run.wait().unwrap().outcome, Outcome::Done);
    canceller.cancel();
    assert_eq!(support::run(&engine).files.seen, 10);
}

#[test]
fn a_dropped_run_is_cancelled_and_over() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine();
    for _ in 0..5 {
        // A run that went on would make the next one fail with `Busy`.
        drop(engine.index());
    }
    assert!(no_index(engine.snapshot()), "a run was dropped and published all the same");
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after dropped runs");
}

#[test]
fn runs_are_futures_of_any_runtime() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (ticks, reports) = runtime.block_on(async {
        let ticks = AtomicU64::new(0);
        let mut reports: Vec<Report> = Vec::new();
        let index = async {
            for round in 0..3 {
                // No run is in the way of the one that follows it.
                reports.push(engine.index().await.unwrap());
                place.write(format!("d1/more{round}.c"), "more");
            }
        };
        let tick = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                ticks.fetch_add(1, Relaxed);
            }
        };
        tokio::select! { () = index => {}, () = tick => {} }
        (ticks.into_inner(), reports)
    });
    assert!(ticks > 0, "the one thread of the runtime was blocked");
    let indexed: Vec<u64> = reports.iter().map(|report| report.files.indexed).collect();
    assert_eq!(indexed[0], FILES as u64);
    assert!(reports.iter().all(|report| report.outcome == Outcome::Done), "{reports:#?}");
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after awaited runs");
}

#[test]
fn a_future_that_is_dropped_cancels_its_run() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            report = engine.index() => panic!("{report:?}"),
        }
    });
    assert!(no_index(engine.snapshot()));
    support::run(&engine);
}

#[test]
fn a_run_that_fails_is_a_future_too() {
    let place = Place::new();
    let engine = place.engine();
    fs::remove_dir(place.root()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(engine.index()).unwrap_err();
    assert!(matches!(&error, RunError::Root { path, .. } if path == engine.root()), "{error:?}");
    assert!(error.to_string().starts_with(&engine.root().display().to_string()), "{error}");
}

#[test]
fn events_tell_of_every_publication_and_of_the_end() {
    let place = Place::new();
    make_tree(&place, FILES);
    support::settle(&place.root());
    let engine = place.engine_with(hasty);
    let run = engine.index();
    let mut published = Vec::new();
    let mut seen = 0;
    loop {
        match run.next_event(PATIENCE).expect("an event") {
            Event::Published(generation) => published.push(generation),
            Event::Ended => break,
            other => panic!("{other:?}"),
        }
        let now = run.progress().files.seen;
        assert!(now >= seen, "the counts went back");
        seen = now;
    }
    assert_eq!(run.next_event(Duration::ZERO), None);
    let progress = run.progress();
    assert!(progress.scanned && progress.expected == 0 && progress.queue_depth == 0, "{progress:?}");
    assert_eq!(progress.files.seen, FILES as u64);
    let report = run.wait().unwrap();
    let expected: Vec<u64> = (1..=report.generation).collect();
    assert_eq!((published, report.publications), (expected, report.generation));
    assert!(report.publications > 1);

    let run = engine.index();
    assert_eq!(run.next_event(PATIENCE), Some(Event::Ended));
    assert_eq!(run.progress().expected, FILES as u64);
    assert_eq!(run.wait().unwrap().publications, 0);
}

#[test]
fn events_that_nobody_takes_keep_no_run_from_its_end() {
    let place = Place::new();
    make_tree(&place, FILES);
    let engine = place.engine_with(|builder| hasty(builder).batch_files(4));
    assert!(support::run(&engine).publications > 0);
}

/// What a snapshot answers, apart from the content of files, which changes under it.
fn frozen(snapshot: &Snapshot) -> (u64, BTreeMap<Vec<u8>, support::Known>, u64, usize) {
    let status = snapshot.status().unwrap();
    (snapshot.generation(), support::contents(snapshot), status.indexed, status.segments)
}

#[test]
fn a_snapshot_stays_on_its_generation() {
    let place = Place::new();
    make_tree(&place, 300);
    place.write("constant.c", "constant");
    let engine = place.engine();
    support::run(&engine);
    let mut held: Vec<(Snapshot, _)> = Vec::new();
    for round in 0..40 {
        let snapshot = engine.snapshot().unwrap();
        let state = frozen(&snapshot);
        held.push((snapshot, state));
        // Enough segments come together for merges.
        for n in 0..5 {
            place.write(format!("d{n}/new{round}.c"), format!("new {round} everywhere"));
        }
        fs::remove_file(place.root().join(format!("d{}/f{round}.c", round % 40))).unwrap();
        support::run(&engine);
    }
    let generations: BTreeSet<u64> = held.iter().map(|(snapshot, _)| snapshot.generation()).collect();
    assert_eq!(generations.len(), held.len());
    for (snapshot, state) in &held {
        assert_eq!(&frozen(snapshot), state);
        let found = support::hits(snapshot, &Query::text("constant"));
        assert_eq!(found, BTreeSet::from([("constant.c".into(), 1, 1)]));
        let everywhere = snapshot.search(&Query::text("everywhere").limit(0)).unwrap();
        assert_eq!((everywhere.hits.len() + everywhere.unreadable) as u64, state.2 - 1);
    }
    drop(held);
    support::run(&engine);
    support::assert_as_fresh(&engine, &queries(), "after forty updates");
}

#[test]
fn readers_of_many_threads_see_whole_generations_while_runs_publish() {
    let place = Place::new();
    make_tree(&place, 400);
    let engine = place.engine_with(hasty);
    support::run(&engine);
    let (over, searches) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = || {
        let mut last = 0;
        while !over.load(Relaxed) {
            let snapshot = engine.snapshot().unwrap();
            assert!(snapshot.generation() >= last, "a newer generation was there before");
            last = snapshot.generation();
            let indexed = snapshot.status().unwrap().indexed;
            let result = snapshot.search(&Query::text("everywhere").limit(0)).unwrap();
            assert_eq!((result.hits.len() + result.unreadable) as u64, indexed);
            searches.fetch_add(1, Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8).map(|_| scope.spawn(read)).collect();
        let over = support::SetOnDrop(&over);
        for round in 0..15 {
            for n in 0..40 {
                place.write(format!("d{n}/more{round}.c"), format!("{round} everywhere"));
            }
            support::run(&engine);
        }
        drop(over);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert!(searches.into_inner() > 15);
    support::assert_as_fresh(&engine, &queries(), "after runs that were watched");
}

#[test]
fn a_second_run_of_the_process_is_busy() {
    let place = Place::new();
    make_tree(&place, 5);
    let engine = place.engine();
    support::run(&engine);
    // As a run holds it, for longer than a second one is patient; the pid of the last run is in it.
    let lock = std::fs::File::options().read(true).write(true).open(place.index().join("lock")).unwrap();
    lock.lock().unwrap();
    let error = engine.clone().index().wait().unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, RunError::Open(OpenError::Busy { pid, .. }) if pid == own), "{error:?}");
    assert!(error.to_string().contains(&format!("being indexed by pid {own}")), "{error}");
    assert!(matches!(engine.reset(), Err(OpenError::Busy { .. })));
    drop(lock);
    support::run(&engine);
}

/// Between fork and exec, a child that this process starts for whatever purpose holds copies of all its descriptors.
#[cfg(unix)]
#[test]
fn runs_follow_each_other_while_processes_are_started() {
    let place = Place::new();
    make_tree(&place, 5);
    let engine = place.engine();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    std::process::Command::new("true").status().unwrap();
                }
            });
        }
        let _over = support::SetOnDrop(&over);
        for _ in 0..500 {
            support::run(&engine);
        }
    });
}

#[test]
fn a_reset_index_is_gone_and_built_again() {
    let place = Place::new();
    make_tree(&place, 50);
    let engine = place.engine();
    support::run(&engine);
    engine.reset().unwrap();
    assert!(no_index(engine.snapshot()));
    assert_eq!(support::run(&engine).files.indexed, 50);
    support::assert_as_fresh(&engine, &queries(), "after a reset");
}

/// Which directory holds the index may be said by a file of a tree that nobody trusts.
#[test]
fn what_belongs_to_no_index_is_neither_written_into_nor_thrown_away() {
    let place = two_files();
    let foreign = place.root().join("d");
    fs::create_dir(foreign.join("meta")).unwrap();
    fs::write(foreign.join("meta/precious"), "x").unwrap();
    let engine = Engine::builder().index_dir(&foreign).open(place.root()).unwrap();
    for refused in [engine.index().wait().map(drop).unwrap_err().to_string(), engine.reset().unwrap_err().to_string()] {
        assert!(refused.contains("its meta belongs to no index") && refused.contains("--index-dir"), "{refused}");
    }
    assert_eq!(fs::read(foreign.join("meta/precious")).unwrap(), b"x");
    assert!(!foreign.join("CACHEDIR.TAG").exists());
    // A tag of somebody else's, or none any more, makes an index no less one.
    for tag in [Some("Signature: of others"), Some(""), None] {
        let place = two_files();
        fs::create_dir(place.index()).unwrap();
        tag.into_iter().for_each(|tag| fs::write(place.index().join("CACHEDIR.TAG"), tag).unwrap());
        let engine = place.engine();
        support::run(&engine);
        tag.is_none().then(|| fs::remove_file(place.index().join("CACHEDIR.TAG")).unwrap());
        support::run(&engine);
        engine.reset().unwrap();
    }
}

/// Runs twice with the index at `index`, the tree opened as `root`; its files must be the two that are in the tree, and
/// the second run must find nothing to do.
fn check_index_dir(how: &str, root: &Path, index: Option<&Path>) {
    let builder = index.into_iter().fold(Engine::builder(), |builder, index| builder.index_dir(index));
    let engine = builder.open(root).unwrap_or_else(|error| panic!("{how}: {error}"));
    for round in 0..2 {
        support::run(&engine);
        let files: Vec<_> = support::contents(&engine.snapshot().unwrap()).into_keys().collect();
        let shown: Vec<_> = files.iter().map(|path| String::from_utf8_lossy(path)).collect();
        assert_eq!(shown, ["a.c", "d/b.c"], "{how}, run {round}: the index is part of the tree");
    }
    assert!(engine.index_dir().join("CACHEDIR.TAG").exists(), "{how}");
    assert_eq!(engine.files().unwrap().paths, [&b"a.c"[..], b"d/b.c"], "{how}");
}

fn two_files() -> Place {
    let place = Place::new();
    place.write("a.c", "a");
    place.write("d/b.c", "b");
    support::settle(&place.root());
    place
}

#[test]
fn the_index_is_no_part_of_the_tree_wherever_it_is() {
    type Where = fn(&Place) -> Option<PathBuf>;
    let ways: [(&str, Where); 7] = [
        ("default", |_| None),
        ("outside", |place| Some(place.index())),
        ("inside", |place| Some(place.root().join("my-index"))),
        ("deep inside", |place| Some(place.root().join("d/x"))),
        ("inside, by a detour", |place| Some(place.root().join("d/../d/./x"))),
        ("outside, in directories to be made", |place| Some(place.dir().join("x/y/z"))),
        ("outside, beginning with the name of the tree", |place| Some(place.dir().join("tree-index"))),
    ];
    for (how, index) in ways {
        let place = two_files();
        check_index_dir(how, &place.root(), index(&place).as_deref());
    }
}

#[cfg(unix)]
#[test]
fn an_index_reached_by_links_is_no_part_of_the_tree() {
    use std::os::unix::fs::symlink;
    let place = two_files();
    let alias = place.dir().join("alias");
    symlink(place.root(), &alias).unwrap();
    check_index_dir("the root is a link", &alias, None);

    let place = two_files();
    let alias = place.dir().join("alias");
    symlink(place.root(), &alias).unwrap();
    check_index_dir("inside, by a link to the tree", &place.root(), Some(&alias.join("x")));

    let place = two_files();
    fs::create_dir(place.index()).unwrap();
    let link = place.dir().join("link");
    symlink(place.index(), &link).unwrap();
    check_index_dir("a link to a directory outside", &place.root(), Some(&link));
}

#[cfg(unix)]
#[test]
fn an_index_inside_that_is_itself_a_link_is_no_part_of_the_tree() {
    let place = two_files();
    let (link, dir) = (place.dir().join("link"), place.root().join("d/index"));
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    check_index_dir("a link to a directory inside", &place.root(), Some(&link));
}

#[cfg(unix)]
#[test]
fn an_index_inside_in_directories_to_be_made_below_a_link_is_no_part_of_the_tree() {
    let place = two_files();
    let alias = place.dir().join("alias");
    std::os::unix::fs::symlink(place.root(), &alias).unwrap();
    check_index_dir("inside, to be made, by a link", &place.root(), Some(&alias.join("x/y")));
}

#[test]
fn settings_out_of_range_are_refused_with_their_range() {
    let place = Place::new();
    let cases: [(&str, EngineBuilder); 11] = [
        ("shards: 0 is out of range: use 1 to 1024", Engine::builder().shards(Shards::Count(0))),
        ("shards: 1025 is out of range: use 1 to 1024", Engine::builder().shards(Shards::Count(1025))),
        ("max-file-size: 0 is out of range: use 1 to 2147418112", Engine::builder().file_bytes_max(0)),
        ("max-file-size: 2147418113 is out of range", Engine::builder().file_bytes_max((2 << 30) - 65_535)),
        ("batch-files: 0 is out of range: use 1 to 100000", Engine::builder().batch_files(0)),
        ("batch-files: 100001 is out of range", Engine::builder().batch_files(100_001)),
        ("inverter-bytes: 1048575 is out of range: use 1048576 to 2147483648", {
            Engine::builder().inverter_bytes((1 << 20) - 1)
        }),
        ("inverter-bytes: 2147483649 is out of range", Engine::builder().inverter_bytes((2 << 30) + 1)),
        ("inverter-bytes: 0 is out of range", Engine::builder().inverter_bytes(0)),
        ("io-timeout: 0ns is out of range: use 1 ms to 1 hour", Engine::builder().io_timeout(Duration::ZERO)),
        ("io-timeout: 3601s is out of range", Engine::builder().io_timeout(Duration::from_secs(3601))),
    ];
    for (message, builder) in cases {
        let error = builder.open(place.root()).expect_err(message);
        assert!(matches!(error, OpenError::Setting { .. }), "{error:?}");
        assert!(error.to_string().starts_with(message), "{error} instead of {message}");
    }
    for builder in [
        Engine::builder().shards(Shards::Count(1)).batch_files(1).inverter_bytes(1 << 20).file_bytes_max(1),
        Engine::builder().shards(Shards::Count(40)).batch_files(100_000).file_bytes_max((2 << 30) - 65_536),
        Engine::builder().shards(Shards::Count(1)).batch_files(1).checkpoint(Duration::MAX),
    ] {
        let place = two_files();
        let engine = builder.index_dir(place.index()).open(place.root()).unwrap();
        let report = support::run(&engine);
        assert_eq!(report.files.indexed + report.files.too_large, 2);
        support::assert_sound(&engine, "settings at the end of their range");
    }
}

#[test]
fn io_uring_is_used_when_asked_for_or_the_error_says_what_to_do() {
    let place = two_files();
    let engine = place.engine_with(|builder| builder.backend(BackendChoice::Uring));
    match engine.index().wait() {
        Ok(report) => {
            assert_eq!(report.backend, "uring");
            assert_eq!((report.files.indexed, report.io.stats), (2, report.files.stat_calls));
            assert!(report.io.ring_opens == 2 && report.io.ring_reads == 2, "{:?}", report.io);
        }
        Err(error) => {
            println!("SKIPPED: no run with io_uring: {error}");
            assert!(matches!(&error, RunError::Open(OpenError::Setting { setting: "backend", .. })), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("io_uring") && text.contains("--backend threads"), "{text}");
            assert!(no_index(engine.snapshot()));
        }
    }
    drop(engine);
    let engine = place.engine_with(|builder| builder.backend(BackendChoice::Threads));
    let report = support::run(&engine);
    assert_eq!(report.backend, "threads");
    assert_eq!((report.io.entries, report.io.ring_opens, report.io.ring_reads), (0, 0, 0));
}

#[test]
fn a_root_that_cannot_be_opened_is_named() {
    let place = two_files();
    let missing = place.root().join("missing");
    let error = Engine::builder().open(&missing).unwrap_err();
    assert!(matches!(&error, OpenError::Root { path, .. } if *path == missing), "{error:?}");
    assert!(error.to_string().starts_with(&missing.display().to_string()), "{error}");
    let file = place.root().join("a.c");
    let error = Engine::builder().open(&file).unwrap_err();
    assert!(matches!(&error, OpenError::NotADirectory { path } if *path == file), "{error:?}");
    let error = Engine::builder().index_dir(file.join("x")).open(place.root()).unwrap().index().wait().unwrap_err();
    assert!(matches!(&error, RunError::Open(OpenError::IndexDir { .. })), "{error:?}");
    let error = place.engine().snapshot().unwrap_err();
    assert!(error.to_string().contains("no index here"), "{error}");
    assert!(!place.index().exists(), "a search made an index directory");
}

#[test]
fn a_root_that_goes_away_leaves_the_published_generation() {
    let place = two_files();
    let engine = place.engine();
    let report = support::run(&engine);
    let away = place.dir().join("away");
    fs::rename(place.root(), &away).unwrap();
    assert!(matches!(engine.index().wait(), Err(RunError::Root { .. })));
    let snapshot = engine.snapshot().unwrap();
    assert_eq!((snapshot.generation(), support::contents(&snapshot).len()), (report.generation, 2));
    drop(snapshot);
    fs::rename(&away, place.root()).unwrap();
    assert_eq!(support::run(&engine).files.unchanged, 2);
}

#[test]
fn lookups_and_the_list_of_files_agree_with_the_index() {
    let place = two_files();
    place.write(".git/config", "");
    place.write(".gitignore", "*.log\n");
    place.write("x.log", "ignored");
    place.write(".hidden", "hidden");
    let engine = place.engine();
    let report = support::run(&engine);
    assert_eq!((report.files.ignored, report.first_ignored.as_deref()), (1, Some(".gitignore:1:*.log")));
    let snapshot = engine.snapshot().unwrap();
    let contents = support::contents(&snapshot);
    assert_eq!(engine.files().unwrap().paths, contents.keys().cloned().collect::<Vec<_>>());
    for (path, known) in &contents {
        let found = snapshot.lookup(std::str::from_utf8(path).unwrap()).unwrap().expect("a file of the index");
        assert_eq!((found.size, found.mtime_ns, found.inode), (known.size, known.mtime_ns, known.inode));
    }
    for nothing in ["x.log", "d", "", "d/", "nowhere/b.c", "a.c/b", "../tree/a.c"] {
        assert_eq!(snapshot.lookup(nothing).unwrap(), None, "{nothing:?}");
    }
}

#[test]
fn rules_can_be_added_and_lifted() {
    let check = |rules: RulesConfig, expected: &[&str]| {
        let place = two_files();
        place.write(".git/config", "");
        place.write(".gitignore", "*.log\n");
        place.write("x.log", "");
        place.write(".hidden", "");
        place.write("my-rules", "a.c\n");
        let engine = place.engine_with(|builder| builder.rules(rules));
        support::run(&engine);
        let files = support::contents(&engine.snapshot().unwrap());
        let files: Vec<_> = files.keys().map(|path| std::str::from_utf8(path).unwrap()).collect();
        assert_eq!(files, expected);
    };
    let rules = RulesConfig::default;
    check(rules(), &[".gitignore", ".hidden", "a.c", "d/b.c", "my-rules"]);
    check(
        RulesConfig { rule_files: false, ..rules() },
        &[".gitignore", ".hidden", "a.c", "d/b.c", "my-rules", "x.log"],
    );
    check(RulesConfig { hidden: false, ..rules() }, &["a.c", "d/b.c", "my-rules"]);
    check(RulesConfig { patterns: vec!["*".into(), "!x.log".into()], ..rules() }, &["x.log"]);
}

#[test]
fn without_rule_files_those_of_repositories_within_do_not_count_either() {
    let place = two_files();
    place.write("within/.git/HEAD", "ref: refs/heads/main\n");
    place.write("within/.git/info/exclude", "secret\n");
    place.write("within/.gitignore", "*.log\n");
    for path in ["within/secret", "within/x.log"] {
        place.write(path, "");
    }
    let files = |rule_files| {
        let rules = RulesConfig { rule_files, ..RulesConfig::default() };
        support::run(&place.engine_with(|builder| builder.rules(rules))).files
    };
    let (with, without) = (files(true), files(false));
    assert_eq!((with.ignored, without.ignored), (2, 0));
}

#[test]
fn extra_rule_files_are_relative_to_the_root() {
    let place = two_files();
    place.write("my-rules", "a.c\n");
    let rules = RulesConfig { extra_files: vec!["my-rules".into()], ..RulesConfig::default() };
    let engine = place.engine_with(|builder| builder.rules(rules));
    assert_eq!(support::run(&engine).files.ignored, 1);
}

/// A publication that fails early, while the shards have far more batches to send than the channel holds, must end the run
/// with its error: nobody may wait for a reader of the channel that is gone.
#[test]
fn a_publication_that_fails_ends_the_run() {
    let tree = tempfile::tempdir().unwrap();
    let index = tempfile::tempdir().unwrap();
    Engine::builder().index_dir(index.path()).open(tree.path()).unwrap().index().wait().unwrap();
    for number in 0..3000 {
        std::fs::write(tree.path().join(format!("f{number}")), format!("word{number}")).unwrap();
    }
    // No intent can be written where a directory is in the way.
    std::fs::create_dir_all(index.path().join("meta/intent")).unwrap();
    let builder = Engine::builder().batch_files(1).checkpoint(Duration::from_micros(1)).index_dir(index.path());
    let engine = builder.open(tree.path()).unwrap();
    let run = engine.index();
    let started = std::time::Instant::now();
    while !run.is_finished() {
        assert!(started.elapsed() < Duration::from_secs(120), "the run hangs");
        run.next_event(Duration::from_millis(50));
    }
    let error = run.wait().unwrap_err().to_string();
    assert!(error.contains(&index.path().display().to_string()) && !error.contains("no index"), "{error}");
    drop(engine);
    std::fs::remove_dir(index.path().join("meta/intent")).unwrap();
    let engine = Engine::builder().index_dir(index.path()).open(tree.path()).unwrap();
    assert_eq!(engine.index().wait().unwrap().files.indexed, 3000);
}
