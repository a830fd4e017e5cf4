//! What only this backend promises: how many calls a fetch costs, the queue, and its buffer. What every backend
//! promises is in the conformance suite.

use super::*;
use crate::Kind;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory of its own for each test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("leindex-fallback-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn dir(&self) -> Arc<Dir> {
        Arc::new(ThreadBackend::new().open_root(&self.0).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Got = BTreeMap<u64, (Result<Vec<u8>, String>, bool)>;

fn keep(got: &mut Got) -> impl FnMut(Fetched<'_>) {
    |fetched| {
        let result = fetched.result.map(<[u8]>::to_vec).map_err(|error| error.to_string());
        assert!(got.insert(fetched.token, (result, fetched.missed)).is_none(), "{} completed twice", fetched.token);
    }
}

fn fetch(worker: &mut ThreadWorker, dir: &Arc<Dir>, name: &str, size: u64, token: u64, got: &mut Got) {
    let name = CString::new(name).unwrap();
    worker.fetch(Fetch { dir, name: &name, size, limit: 64 << 20, cut: false, token }, &mut keep(got));
}

#[test]
fn a_cached_file_costs_one_open_and_one_read() {
    let scratch = Scratch::new("one-read");
    let mut worker = ThreadWorker::new(WorkerOptions::default());
    // Written a moment ago, so it is in the page cache.
    for size in [1, 4095, 4096, 4097, 300_000] {
        scratch.write("file", &vec![b'x'; size]);
        let (before, mut got) = (worker.stats(), Got::new());
        fetch(&mut worker, &scratch.dir(), "file", size as u64, 1, &mut got);
        // A file system that cannot answer from its cache costs the question in the first place.
        let asked_in_vain = u64::from(matches!(worker.asking, Asking::Pause(SKIP_ASKING)));
        assert_eq!(got[&1].0.as_ref().map(Vec::len), Ok(size));
        assert_eq!(worker.stats().opens - before.opens, 1);
        assert_eq!(worker.stats().reads - before.reads, 1 + asked_in_vain, "size {size}");
        assert_eq!(worker.stats().bytes - before.bytes, size as u64);
    }
}

#[test]
fn an_empty_file_costs_one_read() {
    let scratch = Scratch::new("empty");
    scratch.write("file", b"");
    let (mut worker, mut got) = (ThreadWorker::new(WorkerOptions::default()), Got::new());
    fetch(&mut worker, &scratch.dir(), "file", 0, 1, &mut got);
    assert_eq!(got[&1], (Ok(Vec::new()), false));
    assert_eq!((worker.stats().opens, worker.stats().reads), (1, 1));
}

#[test]
fn a_file_known_to_be_too_large_is_not_opened() {
    let scratch = Scratch::new("too-large");
    let (mut worker, mut got) = (ThreadWorker::new(WorkerOptions::default()), Got::new());
    fetch(&mut worker, &scratch.dir(), "file", (64 << 20) + 1, 1, &mut got);
    assert!(got[&1].0.as_ref().is_err_and(|error| error.contains("limit")));
    assert_eq!((worker.stats().opens, worker.stats().fetch_errors), (0, 1));
}

/// A worker that finds nothing in the page cache.
fn cold_worker(lookahead: usize) -> ThreadWorker {
    let mut worker = ThreadWorker::new(WorkerOptions::default().lookahead(lookahead));
    worker.asking = Asking::AlwaysMiss;
    worker
}

#[test]
fn misses_wait_in_the_queue_and_leave_it_in_order() {
    let scratch = Scratch::new("queue");
    for index in 0..10 {
        scratch.write(&index.to_string(), format!("content {index}").as_bytes());
    }
    let (dir, mut worker, mut got) = (scratch.dir(), cold_worker(3), Got::new());
    for index in 0..10 {
        fetch(&mut worker, &dir, &index.to_string(), 9, index, &mut got);
        assert_eq!(worker.in_flight(), (index as usize + 1).min(3));
        assert_eq!(got.len(), (index as usize + 1).saturating_sub(3));
    }
    assert!(got.keys().copied().eq(0..7), "the oldest first");
    worker.finish(&mut keep(&mut got));
    assert_eq!(worker.in_flight(), 0);
    for index in 0..10 {
        assert_eq!(got[&index], (Ok(format!("content {index}").into_bytes()), true));
    }
    let stats = worker.stats();
    assert_eq!((stats.misses, stats.opens, stats.reads, stats.bytes), (10, 10, 10, 90));
}

#[test]
fn without_lookahead_nothing_waits() {
    let scratch = Scratch::new("no-lookahead");
    scratch.write("file", b"abc");
    let (mut worker, mut got) = (cold_worker(0), Got::new());
    fetch(&mut worker, &scratch.dir(), "file", 3, 1, &mut got);
    assert_eq!((worker.in_flight(), &got[&1]), (0, &(Ok(b"abc".to_vec()), true)));
}

#[test]
fn only_files_past_the_read_ahead_are_advised() {
    let scratch = Scratch::new("advise");
    scratch.write("small", &vec![1; READ_AHEAD_BYTES as usize]);
    scratch.write("large", &vec![1; READ_AHEAD_BYTES as usize + 1]);
    let (dir, mut worker, mut got) = (scratch.dir(), cold_worker(4), Got::new());
    fetch(&mut worker, &dir, "small", READ_AHEAD_BYTES, 1, &mut got);
    assert_eq!(worker.stats().advises, 0);
    fetch(&mut worker, &dir, "large", READ_AHEAD_BYTES + 1, 2, &mut got);
    assert_eq!(worker.stats().advises, 1);
}

#[test]
fn the_buffer_shrinks_when_it_is_not_needed_for_a_while() {
    let scratch = Scratch::new("shrink");
    scratch.write("huge", &vec![7; KEEP_BYTES_MAX + 1]);
    scratch.write("large", &vec![7; KEEP_BYTES_MAX / 2]);
    let (dir, mut worker, mut got) = (scratch.dir(), ThreadWorker::new(WorkerOptions::default()), Got::new());
    let first = worker.buffer.capacity();
    fetch(&mut worker, &dir, "large", KEEP_BYTES_MAX as u64 / 2, 1, &mut got);
    assert!(worker.buffer.capacity() > first, "kept, for the next one of that size");
    fetch(&mut worker, &dir, "huge", KEEP_BYTES_MAX as u64 + 1, 2, &mut got);
    worker.finish(&mut keep(&mut got));
    for token in 3..u64::from(SMALL_TO_SHRINK) + 4 {
        assert!(worker.buffer.capacity() > KEEP_BYTES_MAX, "kept, for large files come in groups");
        fetch(&mut worker, &dir, "large", KEEP_BYTES_MAX as u64 / 2, token, &mut got);
        worker.finish(&mut keep(&mut got));
    }
    assert_eq!(worker.buffer.capacity(), first);
    assert_eq!(got[&2].0.as_ref().map(Vec::len), Ok(KEEP_BYTES_MAX + 1));
}

#[test]
fn a_file_system_that_cannot_answer_is_asked_again_after_a_while() {
    let scratch = Scratch::new("pause");
    scratch.write("file", b"abc");
    let (dir, mut worker, mut got) = (scratch.dir(), ThreadWorker::new(WorkerOptions::default()), Got::new());
    if !sys::CAN_ASK_CACHE {
        eprintln!("SKIPPED: this system is never asked");
        return;
    }
    worker.asking = Asking::Pause(1);
    fetch(&mut worker, &dir, "file", 3, 1, &mut got);
    assert!(matches!(worker.asking, Asking::Pause(0)));
    fetch(&mut worker, &dir, "file", 3, 2, &mut got);
    assert!(matches!(worker.asking, Asking::Yes | Asking::Pause(SKIP_ASKING)), "{:?}", worker.asking);
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_pipe_that_took_the_place_of_a_file_keeps_its_data() {
    use std::io::{Read, Write};
    let scratch = Scratch::new("pipe");
    let path = scratch.0.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let mut pipe = fs::File::options().read(true).write(true).open(&path).unwrap();
    pipe.write_all(b"abc").unwrap();
    let (mut worker, mut got) = (ThreadWorker::new(WorkerOptions::default()), Got::new());
    for (token, size) in [(1, 0), (2, 3)] {
        fetch(&mut worker, &scratch.dir(), "pipe", size, token, &mut got);
    }
    worker.finish(&mut keep(&mut got));
    assert!(got[&1].0.is_err() && got[&2].0.is_err(), "{got:?}");
    let mut left = [0; 3];
    pipe.read_exact(&mut left).unwrap();
    assert_eq!(&left, b"abc");
}

#[test]
fn interrupted_calls_are_made_again_and_counted() {
    let (mut retries, mut calls) = (0, 0);
    let result = uninterrupted(&mut retries, || {
        calls += 1;
        if calls < 4 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(calls) }
    });
    assert_eq!((result.unwrap(), retries), (4, 3));
    let error = uninterrupted(&mut retries, || Err::<(), _>(io::ErrorKind::NotFound.into())).unwrap_err();
    assert_eq!((error.kind(), retries), (io::ErrorKind::NotFound, 3));
}

#[test]
fn the_first_read_is_one_byte_longer_than_the_file_and_never_passes_the_limit() {
    let cases = [(10, 100, 11), (10, 10, 11), (0, 100, 101), (0, 1 << 20, 4096), (u64::MAX, u64::MAX, u64::MAX)];
    for (size, limit, expected) in cases {
        assert_eq!(first_read(size, limit), expected, "size {size}, limit {limit}");
    }
}

#[test]
fn a_size_that_no_memory_can_hold_is_an_error() {
    let scratch = Scratch::new("memory");
    scratch.write("file", b"abc");
    let (mut worker, mut got) = (ThreadWorker::new(WorkerOptions::default()), Got::new());
    let request = Fetch { dir: &scratch.dir(), name: c"file", size: u64::MAX, limit: u64::MAX, cut: false, token: 1 };
    worker.fetch(request, &mut keep(&mut got));
    worker.finish(&mut keep(&mut got));
    assert!(got[&1].0.as_ref().is_err_and(|error| error.contains("memory")), "{got:?}");
}

#[test]
fn a_stat_is_one_call() {
    let scratch = Scratch::new("stat");
    scratch.write("file", b"abc");
    let mut listing = Listing::new();
    listing.push(b"file", Kind::Unknown, 0).unwrap();
    let mut worker = ThreadWorker::new(WorkerOptions::default());
    let meta = worker.stat(&scratch.dir(), &listing, 0).unwrap();
    assert_eq!((meta.kind, meta.size, worker.stats().stats), (Kind::File, 3, 1));
}
