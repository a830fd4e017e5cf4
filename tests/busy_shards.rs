//! Work is shared out: whatever the shape of a tree, no shard is left without files while there are some.
//!
//! Time proves nothing here. Instead the shards march in step: each waits before its n-th file until every other one has
//! come to its n-th file too. A shard that gets nothing to do holds up all of them, which ends the march and fails.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod support;

use leindex_engine::{Outcome, Shards};
use leindex_fallback::{Backend, Dir, Fetch, Fetched, IoStats, Listing, Meta, ThreadBackend, Worker, WorkerOptions};
use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use support::Place;

const SHARDS: usize = 4;
/// Far longer than a step takes: who waits this long waits for nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far each shard has come.
#[derive(Debug, Default)]
struct March {
    steps: Mutex<Vec<u64>>,
    moved: Condvar,
    /// So many files are read in step; what is left then need not be even.
    length: u64,
}

impl March {
    /// Shard `shard` takes a step; false when somebody does not come along.
    fn step(&self, shard: usize) -> bool {
        let mut steps = self.steps.lock().unwrap();
        steps[shard] += 1;
        let step = steps[shard];
        if step > self.length {
            return true;
        }
        self.moved.notify_all();
        let behind = |steps: &mut Vec<u64>| steps.len() < SHARDS || steps.iter().any(|each| *each < step);
        let (_steps, waited) = self.moved.wait_timeout_while(steps, PATIENCE, behind).unwrap();
        !waited.timed_out()
    }
}

#[derive(Debug)]
struct InStep(Arc<March>);

impl Backend for InStep {
    fn name(&self) -> &'static str {
        "in step"
    }

    fn open_root(&self, path: &Path) -> io::Result<Dir> {
        ThreadBackend::new().open_root(path)
    }

    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>> {
        let mut steps = self.0.steps.lock().unwrap();
        steps.push(0);
        let shard = steps.len() - 1;
        Ok(Box::new(Marching { shard, march: Arc::clone(&self.0), inner: ThreadBackend::new().worker(options)? }))
    }
}

struct Marching {
    shard: usize,
    march: Arc<March>,
    inner: Box<dyn Worker>,
}

impl Worker for Marching {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        self.inner.open_dir(parent, name)
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        self.inner.list(dir, into)
    }

    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta> {
        self.inner.stat(dir, listing, index)
    }

    fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        assert!(self.march.step(self.shard), "a shard gets no files: {:?}", self.march.steps);
        self.inner.fetch(request, done);
    }

    fn finish(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        self.inner.finish(done);
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn stats(&self) -> IoStats {
        self.inner.stats()
    }
}

/// Indexes the tree with shards that read `length` files each in step.
fn march(place: &Place, files: u64, length: u64) {
    let march = Arc::new(March { length, ..March::default() });
    let backend = Arc::new(InStep(Arc::clone(&march)));
    let engine = place.engine_with(|builder| builder.own_backend(backend).shards(Shards::Count(SHARDS)));
    let report = engine.index().wait().unwrap();
    assert_eq!((report.outcome, report.files.indexed, report.backend), (Outcome::Done, files, "in step"));
    let steps = march.steps.lock().unwrap();
    assert!(steps.len() == SHARDS && steps.iter().all(|each| *each >= length), "{steps:?}");
}

#[test]
fn one_directory_of_very_many_files() {
    let place = Place::new();
    for index in 0..100_000 {
        place.write(format!("{index}"), "x");
    }
    march(&place, 100_000, 23_000);
}

#[test]
fn a_chain_of_directories() {
    let place = Place::new();
    let mut dir = String::new();
    for depth in 0..100 {
        for index in 0..20 {
            place.write(format!("{dir}{depth}-{index}.c"), "x");
        }
        dir += "d/";
    }
    march(&place, 2000, 400);
}

#[test]
fn one_directory_that_holds_nearly_everything() {
    let place = Place::new();
    for index in 0..20_000 {
        place.write(format!("a/most/{index}"), "x");
    }
    for index in 0..200 {
        place.write(format!("few/{index}/file"), "x");
    }
    march(&place, 20_200, 4000);
}
