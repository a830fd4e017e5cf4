//! The backend against the contract, against the portable one, and against what it may have to do without.

use super::UringBackend;
use super::probe::{Caps, caps};
use leindex_fallback::{Backend, Faults, FaultyBackend, Listing, WorkerOptions, conformance};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The caps of this kernel; says loudly when there are none.
pub(super) fn caps_or_skip() -> Option<Caps> {
    caps().map_err(|why| eprintln!("SKIPPED: {why}")).ok()
}

/// A directory on the disk of the build: the cold cases want one, and /tmp may be in memory.
pub(super) fn scratch() -> tempfile::TempDir {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    // Builds may be elsewhere.
    std::fs::create_dir_all(target).unwrap();
    tempfile::tempdir_in(target).unwrap()
}

#[test]
fn uring_conforms() {
    let Some(caps) = caps_or_skip() else { return };
    conformance::run(&UringBackend::new(caps), scratch().path());
}

#[test]
fn under_a_faulty_one_it_conforms_too() {
    let Some(caps) = caps_or_skip() else { return };
    let backend = FaultyBackend::new(Arc::new(UringBackend::new(caps)), Faults::none(7));
    conformance::run(&backend, scratch().path());
}

/// Whatever part of io_uring is reported absent, the contract holds.
#[test]
fn without_any_one_part_it_conforms() {
    let Some(caps) = caps_or_skip() else { return };
    for part in Caps::part_names() {
        eprintln!("without {part}");
        conformance::run(&UringBackend::new(caps.without(part)), scratch().path());
    }
}

/// A remote file system is never called; here the root is only taken for one.
#[test]
fn stats_of_the_ring_are_those_of_calls() {
    let Some(caps) = caps_or_skip() else { return };
    let scratch = scratch();
    for index in 0..100 {
        std::fs::write(scratch.path().join(format!("file-{index}")), vec![b'x'; index * 37]).unwrap();
    }
    std::fs::create_dir(scratch.path().join("dir")).unwrap();
    std::os::unix::fs::symlink("file-1", scratch.path().join("link")).unwrap();
    std::fs::write(scratch.path().join("gone"), "").unwrap();
    let backend = UringBackend::new(caps);
    let dir = Arc::new(backend.open_root(scratch.path()).unwrap());
    backend.remote.store(true, Relaxed);
    let mut worker = backend.worker(WorkerOptions::default()).unwrap();
    let mut listing = Listing::new();
    worker.list(&dir, &mut listing).unwrap();
    std::fs::remove_file(scratch.path().join("gone")).unwrap();
    let picks: Vec<u32> = (0..listing.len() as u32).collect();
    let mut ends = vec![None; picks.len()];
    worker.stat_batch(&dir, &listing, &picks, &mut |pick, stat| {
        let end = ends[pick as usize].replace(stat.map_err(|error| error.kind()));
        assert_eq!(end, None, "each once");
    });
    assert_eq!(worker.stats().ring_stats, if caps.statx { picks.len() as u64 } else { 0 });
    for (index, end) in ends.into_iter().enumerate() {
        let by_call = worker.stat(&dir, &listing, index).map_err(|error| error.kind());
        assert_eq!(end, Some(by_call), "{}", listing.name(index).escape_ascii());
    }
}
