//! The suite on the backends of this crate, and what the faulty one promises beyond it.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use leindex_fallback::faulty::{Fault, Injected};
use leindex_fallback::{
    Backend, BoundedBackend, Faults, FaultyBackend, Fetch, Listing, Op, ThreadBackend, Worker, WorkerOptions,
    conformance,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const FILES: u64 = 200;

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn faulty(faults: Faults) -> FaultyBackend {
    FaultyBackend::new(Arc::new(ThreadBackend::new()), faults)
}

#[test]
fn threads_conform() {
    let backend = ThreadBackend::new();
    assert_eq!(backend.name(), "threads");
    conformance::run(&backend, &scratch("threads"));
}

#[test]
fn threads_with_a_time_out_on_each_call_conform() {
    conformance::run(&BoundedBackend::new(), &scratch("bounded"));
}

#[test]
fn without_faults_the_faulty_one_conforms() {
    let backend = faulty(Faults::none(7));
    conformance::run(&backend, &scratch("unfaulty"));
    assert_eq!(backend.trace(), []);
}

#[test]
fn cases_have_names_of_their_own() {
    let mut names: Vec<_> = conformance::CASES.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), conformance::CASES.len());
}

/// A directory of files `0`, `1`, ..., the length of each ten times its name.
fn tree(name: &str) -> PathBuf {
    let path = scratch(name);
    for index in 0..FILES {
        fs::write(path.join(index.to_string()), vec![index as u8; index as usize * 10]).unwrap();
    }
    path
}

/// What became of each token, in the order of completion.
type Ends = Vec<(u64, Result<usize, String>)>;

/// Fetches the whole tree with one worker.
fn fetch_all(backend: &FaultyBackend, path: &Path) -> Ends {
    let (root, mut worker) = (Arc::new(backend.open_root(path).unwrap()), worker(backend));
    let mut ends = Ends::new();
    let mut started = 0;
    for token in 0..FILES {
        let name = std::ffi::CString::new(token.to_string()).unwrap();
        let request = Fetch { dir: &root, name: &name, size: token * 10, limit: 10_000, cut: false, token };
        worker.fetch(request, &mut |fetched| {
            if let Ok(content) = fetched.result {
                assert!(content.iter().all(|&byte| byte == fetched.token as u8), "content of another file");
            }
            ends.push((fetched.token, fetched.result.map(<[u8]>::len).map_err(|error| error.to_string())));
        });
        started += 1;
        assert_eq!(ends.len() + worker.in_flight(), started);
    }
    worker.finish(&mut |fetched| {
        ends.push((fetched.token, fetched.result.map(<[u8]>::len).map_err(|error| error.to_string())));
    });
    assert_eq!(worker.in_flight(), 0);
    let errors = ends.iter().filter(|(_, result)| result.is_err()).count();
    assert_eq!(worker.stats().fetch_errors, errors as u64);
    ends
}

fn worker(backend: &FaultyBackend) -> Box<dyn Worker> {
    backend.worker(WorkerOptions::default()).unwrap()
}

fn all_faults(seed: u64) -> Faults {
    let fail = Faults::none(seed).fail(Op::Open, 50).fail(Op::Read, 50).vanish(50).short(100);
    fail.hold(500, 20).delay(20, Duration::from_micros(50))
}

#[test]
fn under_faults_every_token_completes_once() {
    let path = tree("tokens");
    let mut injected = [0; 5];
    for seed in 0..50 {
        let backend = faulty(all_faults(seed));
        let ends: BTreeMap<u64, Result<usize, String>> = {
            let ends = fetch_all(&backend, &path);
            assert_eq!(ends.len(), FILES as usize, "seed {seed}");
            ends.into_iter().collect()
        };
        assert!(ends.keys().copied().eq(0..FILES), "seed {seed}");
        // What is no injected fault is as it should be: call n is token n.
        let mut spoiled: BTreeMap<u64, Fault> = BTreeMap::new();
        for Injected { call, fault, .. } in backend.trace() {
            injected[kind_of(fault)] += 1;
            if !matches!(fault, Fault::Held(_) | Fault::Delayed(_)) {
                spoiled.insert(call, fault);
            }
        }
        assert!(!spoiled.is_empty(), "seed {seed}");
        for (token, result) in &ends {
            let length = *token as usize * 10;
            match (spoiled.get(token), result) {
                (None, Ok(got)) => assert_eq!(*got, length, "seed {seed}"),
                (Some(Fault::Short(_)), Ok(got)) => assert!(*got < length || length == 0, "seed {seed}"),
                (Some(Fault::Failed), Err(error)) => assert!(error.contains("injected failure"), "{error}"),
                (Some(Fault::Vanished), Err(error)) => assert!(error.contains("vanished"), "{error}"),
                (fault, result) => panic!("seed {seed}, token {token}: {fault:?} brought {result:?}"),
            }
        }
    }
    assert!(injected.iter().all(|&count| count > 0), "{injected:?}");
}

fn kind_of(fault: Fault) -> usize {
    match fault {
        Fault::Delayed(_) => 0,
        Fault::Failed => 1,
        Fault::Vanished => 2,
        Fault::Short(_) => 3,
        Fault::Held(_) => 4,
        _ => panic!("a fault without a test: {fault:?}"),
    }
}

#[test]
fn a_seed_is_a_trace() {
    let path = tree("traces");
    let run = |seed| {
        let backend = faulty(all_faults(seed));
        // Two workers: each has draws of its own.
        let ends = [fetch_all(&backend, &path), fetch_all(&backend, &path)];
        (backend.trace(), ends)
    };
    let first = run(3);
    assert!(first.0.iter().any(|injected| injected.worker == 1));
    assert_eq!(first.0, run(3).0);
    assert_ne!(first.0, run(4).0);
    assert_ne!(first.1[0], first.1[1], "the workers drew the same faults");
}

#[test]
fn a_trace_does_not_depend_on_the_page_cache() {
    let path = tree("cache");
    let warm = faulty(all_faults(5));
    fetch_all(&warm, &path);
    #[cfg(all(target_os = "linux", not(miri)))]
    for index in 0..FILES {
        let file = fs::File::open(path.join(index.to_string())).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let cold = faulty(all_faults(5));
    fetch_all(&cold, &path);
    assert_eq!(warm.trace(), cold.trace());
}

#[test]
fn completions_come_in_another_order() {
    let path = tree("order");
    let ends = fetch_all(&faulty(Faults::none(1).hold(500, 20)), &path);
    assert!(ends.iter().all(|(token, result)| *result == Ok(*token as usize * 10)));
    assert!(!ends.is_sorted_by_key(|(token, _)| *token));
}

#[test]
fn each_verb_can_be_made_to_fail() {
    let path = tree("verbs");
    fs::create_dir(path.join("dir")).unwrap();
    let check = |op: Op| {
        let backend = faulty(Faults::none(1).fail(op, 1000));
        let root = Arc::new(backend.open_root(&path).unwrap());
        let (mut worker, mut listing) = (worker(&backend), Listing::new());
        let listed = worker.list(&root, &mut listing);
        assert!(listing.len() as u64 <= FILES + 1);
        let mut whole = Listing::new();
        whole.push(b"dir", leindex_fallback::Kind::Dir, 0).unwrap();
        let mut batch = 0;
        worker.stat_batch(&root, &whole, &[0, 0], &mut |_, result| batch += u32::from(result.is_err()));
        let stat = worker.stat(&root, &whole, 0);
        assert_eq!(batch, 2 * u32::from(stat.is_err()));
        let mut failed = None;
        let request = Fetch { dir: &root, name: c"5", size: 50, limit: 50, cut: false, token: 1 };
        worker.fetch(request, &mut |fetched| failed = Some(fetched.result.is_err()));
        worker.finish(&mut |fetched| failed = Some(fetched.result.is_err()));
        let open_dir = worker.open_dir(request.dir, c"dir");
        [open_dir.is_err(), listed.is_err(), stat.is_err(), failed.unwrap()]
    };
    assert_eq!(check(Op::OpenDir), [true, false, false, false]);
    assert_eq!(check(Op::List), [false, true, false, false]);
    assert_eq!(check(Op::Stat), [false, false, true, false]);
    assert_eq!(check(Op::Open), [false, false, false, true]);
    assert_eq!(check(Op::Read), [false, false, false, true]);
}

#[test]
fn everything_can_vanish() {
    let path = tree("vanish");
    let backend = faulty(Faults::none(1).vanish(1000));
    let (root, mut worker, mut listing) = (backend.open_root(&path).unwrap(), worker(&backend), Listing::new());
    worker.list(&root, &mut listing).unwrap();
    assert_eq!(listing.len() as u64, FILES);
    assert_eq!(worker.stat(&root, &listing, 0).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let ends = fetch_all(&backend, &path);
    assert!(ends.iter().all(|(_, result)| result.is_err()));
    assert!(backend.trace().iter().all(|injected| injected.fault == Fault::Vanished));
}
