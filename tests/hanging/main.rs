//! A file system that does not answer: what it hangs on is given up in time, counted and named, and the run ends.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; a test says what it skips")]

mod server;

use leindex_engine::io::select;
use leindex_engine::{BackendChoice, Engine, Outcome, Query, WatchEvent, WatchOptions};
use leindex_fallback::{Fetch, Kind, Listing, WorkerOptions, within};
use server::{HANGING, Mounted, QUICK, REFUSED, content};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_millis(400);

/// Mounts a server, or says why not: without /dev/fuse or the right to mount.
fn mounted(late: bool) -> Option<Mounted> {
    if let Err(error) = select(BackendChoice::Uring) {
        eprintln!("SKIPPED: {error}");
        return None;
    }
    Mounted::new("the_server_when_it_is_asked_for", late).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok()
}

/// Not a test: the process of the server.
#[test]
fn the_server_when_it_is_asked_for() {
    server::serve();
}

#[test]
fn a_worker_gives_up_what_hangs_and_does_the_rest() {
    let Some(mounted) = mounted(false) else { return };
    let backend = select(BackendChoice::Uring).unwrap().backend;
    let root = Arc::new(backend.open_root(mounted.path()).unwrap());
    let mut worker = backend.worker(WorkerOptions::default().timeout(PATIENCE)).unwrap();
    let mut listing = Listing::new();
    worker.list(&root, &mut listing).unwrap();
    let files = |index: &u32| listing.kind(*index as usize) == Kind::File;
    let picks: Vec<u32> = (0..listing.len() as u32).filter(files).collect();
    assert_eq!(picks.len() as u64, QUICK + (HANGING.len() + REFUSED.len()) as u64);
    let mut sizes = BTreeMap::new();
    let mut slow = Vec::new();
    worker.stat_batch(&root, &listing, &picks, &mut |index, meta| match meta {
        Ok(meta) => {
            assert_eq!(meta.kind, Kind::File);
            sizes.insert(index, meta.size);
        }
        Err(error) => slow.push((index, error.kind())),
    });
    let hangs = |name: &str| (0..listing.len()).find(|index| listing.name(*index) == name.as_bytes()).unwrap() as u32;
    assert_eq!(slow, [(hangs("lookup.rs"), ErrorKind::TimedOut)]);
    let mut read = BTreeMap::new();
    let mut failed = Vec::new();
    let mut each = |fetched: leindex_fallback::Fetched<'_>| match fetched.result {
        Ok(bytes) => drop(read.insert(fetched.token, String::from_utf8(bytes.to_vec()).unwrap())),
        Err(error) => failed.push((fetched.token, error.to_string())),
    };
    for (&index, &size) in &sizes {
        let name = listing.c_name(index as usize);
        worker.fetch(Fetch { dir: &root, name, size, limit: 1 << 20, cut: false, token: index.into() }, &mut each);
    }
    worker.finish(&mut each);
    failed.sort();
    let no_answer = "no answer within 0.4 s";
    let mut expected =
        [("open.rs", no_answer), ("read.rs", no_answer), (REFUSED[0], "open files"), (REFUSED[1], "open files")]
            .map(|(name, why)| (u64::from(hangs(name)), why));
    expected.sort_unstable();
    assert_eq!(failed.len(), expected.len(), "{failed:?}");
    for ((failed, error), (token, why)) in failed.iter().zip(expected) {
        assert!(*failed == token && error.contains(why), "{failed}: {error}");
    }
    let rest: BTreeMap<u64, String> =
        (0..QUICK).map(|index| (hangs(&format!("{index}.rs")).into(), content(index))).collect();
    assert_eq!(read, rest);
    let stats = worker.stats();
    assert_eq!((stats.timeouts, stats.ring_stats), (3, picks.len() as u64), "{stats:?}");
}

/// More stats are given up than a worker has slots; once they are answered it goes on as if nothing had been.
#[test]
fn a_worker_recovers_when_a_file_system_answers_again() {
    let Some(mut mounted) = mounted(true) else { return };
    let backend = select(BackendChoice::Uring).unwrap().backend;
    let root = Arc::new(backend.open_root(mounted.path()).unwrap());
    let mut worker = backend.worker(WorkerOptions::default().timeout(PATIENCE)).unwrap();
    let mut listing = Listing::new();
    worker.list(&root, &mut listing).unwrap();
    let quick: Vec<u32> =
        (0..listing.len() as u32).filter(|index| listing.name(*index as usize)[0].is_ascii_digit()).collect();
    let mut stat = || {
        let (mut found, mut slow) = (0, 0);
        worker.stat_batch(&root, &listing, &quick, &mut |_, meta| match meta {
            Ok(_) => found += 1,
            Err(error) => slow += u64::from(error.kind() == ErrorKind::TimedOut),
        });
        (found, slow)
    };
    assert_eq!(stat(), (0, QUICK));
    mounted.answer();
    assert_eq!(stat(), (QUICK, 0));
}

#[test]
fn a_run_ends_and_names_what_hangs() {
    for backend in [BackendChoice::Uring, BackendChoice::Threads] {
        let Some(mounted) = mounted(false) else { return };
        let index = tempfile::tempdir().unwrap();
        let builder = Engine::builder().index_dir(index.path().join("index"));
        let engine = builder.backend(backend).io_timeout(PATIENCE).open(mounted.path()).unwrap();
        let report = engine.index().wait().unwrap();
        assert_eq!(report.outcome, Outcome::Done);
        assert_eq!((report.files.indexed, report.files.failed), (QUICK, 7), "{report:?}");
        let mut skips: Vec<String> = report.skips.iter().map(ToString::to_string).collect();
        skips.sort();
        // Where one thread opens, reads and closes, nobody knows which of these has hung.
        let open = if backend == BackendChoice::Uring { "open" } else { "read" };
        let expected = [
            "entering: open directory: no answer within 0.4 s".to_owned(),
            "full-1.rs: open: ".into(),
            "full-2.rs: open: ".into(),
            "listing: list: no answer within 0.4 s".into(),
            "lookup.rs: stat: no answer within 0.4 s".into(),
            format!("open.rs: {open}: no answer within 0.4 s"),
            "read.rs: read: no answer within 0.4 s".into(),
        ];
        assert_eq!(skips.len(), expected.len(), "{skips:?}");
        for (skip, expected) in skips.iter().zip(expected) {
            assert!(skip.starts_with(&expected), "{backend:?}: {skip}");
        }
        // What hangs does not take away what a run has published before.
        let again = engine.index().wait().unwrap();
        assert_eq!((again.files.unchanged, again.files.failed), (QUICK, 7), "{again:?}");
    }
}

/// All of it hangs, once it is indexed: what is asked then is refused or answered without it, in time.
#[test]
fn searches_runs_and_openings_end_when_the_whole_tree_hangs() {
    let Some(mut mounted) = mounted(false) else { return };
    let index = tempfile::tempdir().unwrap();
    let builder = || Engine::builder().index_dir(index.path().join("index")).io_timeout(PATIENCE);
    let engine = builder().open(mounted.path()).unwrap();
    engine.index().wait().unwrap();
    let found = engine.snapshot().unwrap().search(&Query::substring("number_7")).unwrap();
    assert_eq!((found.hits.len(), found.unreadable), (1, 0));
    mounted.freeze();
    let found = engine.snapshot().unwrap().search(&Query::substring("number_")).unwrap();
    assert_eq!((found.hits.len(), found.unreadable as u64), (0, QUICK), "{found:?}");
    let timed_out = |error: &dyn std::error::Error| error.to_string().contains("no answer within 1 s");
    let error = engine.index().wait().unwrap_err();
    assert!(timed_out(&error), "{error}");
    let error = builder().open(mounted.path()).map(drop).unwrap_err();
    assert!(timed_out(&error), "{error}");
}

/// A tree that hangs is not gone: whoever watches it says so, tries again, and can be stopped.
#[test]
fn a_watcher_goes_on_when_the_whole_tree_hangs() {
    let Some(mut mounted) = mounted(false) else { return };
    let index = tempfile::tempdir().unwrap();
    let engine = Engine::builder().index_dir(index.path().join("index")).io_timeout(PATIENCE).open(mounted.path());
    let mut options = WatchOptions::default();
    options.poll = Duration::from_millis(50);
    let watch = engine.unwrap().watch(options).unwrap();
    let wait_for = |wanted: fn(&WatchEvent) -> bool| {
        let until = Instant::now() + Duration::from_secs(120);
        while let Some(event) = watch.next_event(until.saturating_duration_since(Instant::now())) {
            assert!(!matches!(event, WatchEvent::Ended), "it has given up");
            if wanted(&event) {
                return;
            }
        }
        panic!("no such event");
    };
    wait_for(|event| matches!(event, WatchEvent::Updated(_)));
    mounted.freeze();
    let hangs = |event: &WatchEvent| matches!(event, WatchEvent::Failed(why) if why.contains("no answer"));
    wait_for(hangs);
    wait_for(hangs);
    watch.stopper().stop();
    within(Duration::from_secs(60), None, || watch.wait()).expect("it cannot be stopped").unwrap();
}

/// The time-out is far away, so what ends the run is the cancel. (How soon is printed, not tested.)
#[test]
fn a_cancel_does_not_wait_for_what_hangs() {
    for backend in [BackendChoice::Uring, BackendChoice::Threads] {
        let Some(mut mounted) = mounted(false) else { return };
        let index = tempfile::tempdir().unwrap();
        let builder = Engine::builder().index_dir(index.path().join("index"));
        let builder = builder.backend(backend).io_timeout(Duration::from_secs(3600));
        let engine = builder.open(mounted.path()).unwrap();
        let run = engine.index();
        mounted.wait_until_it_hangs();
        let asked = Instant::now();
        run.canceller().cancel();
        let report = within(Duration::from_secs(60), None, || run.wait()).expect("it waits for what hangs").unwrap();
        eprintln!("{backend:?}: ended {:?} after the cancel", asked.elapsed());
        assert_eq!(report.outcome, Outcome::Cancelled, "{report:?}");
    }
}
