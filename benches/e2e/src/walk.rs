//! The lower bound: lists and stats every file of a tree, and reads them all when asked to. No rules, no store, no text.
//!
//! Built on the engine's own portable backend and the same idea of a queue, so that what lies between this and a run
//! of the engine is the engine's own work.

use crate::{Failure, machine};
use leindex_fallback::{Backend, Dir, Fetch, FetchError, Kind, Listing, ThreadBackend, Worker, WorkerOptions};
use serde_json::{Value, json};
use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// What a walk does with each file, and with how many threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) threads: usize,
    pub(crate) pinned: bool,
    pub(crate) fetch: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    dirs: u64,
    files: u64,
    others: u64,
    stats: u64,
    bytes: u64,
    errors: u64,
}

/// A directory that is to be listed: the root, or a name in a directory that is open.
type Job = (Arc<Dir>, Option<CString>);

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Queued or being worked on: each may add more.
    outstanding: usize,
}

/// Last in, first out: deep first, which bounds the directories held open.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

impl Queue {
    fn push(&self, jobs: &mut Vec<Job>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outstanding += jobs.len();
        state.jobs.append(jobs);
        drop(state);
        self.work.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop() {
                return Some(job);
            }
            if state.outstanding == 0 {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outstanding -= 1;
        if state.outstanding == 0 {
            drop(state);
            self.work.notify_all();
        }
    }
}

impl Walk {
    /// Walks the tree. The seconds are from before the root is opened until the last thread has ended.
    pub(crate) fn run(self, root: &Path) -> Result<Value, Failure> {
        leindex_fallback::raise_open_file_limit()?;
        let started = Instant::now();
        let backend = ThreadBackend::new();
        let queue = Queue::default();
        queue.push(&mut vec![(Arc::new(backend.open_root(root)?), None)]);
        let total = std::thread::scope(|scope| {
            let start = |number| {
                let (backend, queue) = (&backend, &queue);
                scope.spawn(move || self.thread(number, backend, queue))
            };
            let threads: Vec<_> = (0..self.threads).map(start).collect();
            let mut total = Counts::default();
            for thread in threads {
                total += thread.join().map_err(|_| "a walking thread panicked")??;
            }
            Ok::<Counts, Failure>(total)
        })?;
        let Counts { dirs, files, others, stats, bytes, errors } = total;
        let seconds = started.elapsed().as_secs_f64();
        Ok(json!({ "seconds": seconds, "dirs": dirs, "files": files, "others": others, "stats": stats, "bytes": bytes,
            "errors": errors }))
    }

    fn thread(self, number: usize, backend: &ThreadBackend, queue: &Queue) -> Result<Counts, Failure> {
        if self.pinned {
            machine::pin(number);
        }
        let mut walker = Walker { worker: backend.worker(WorkerOptions::default())?, counts: Counts::default() };
        let mut listing = Listing::new();
        let mut jobs = Vec::new();
        while let Some((at, name)) = queue.next() {
            if walker.directory(at, name, &mut listing, &mut jobs, self.fetch).is_err() {
                walker.counts.errors += 1;
            }
            queue.push(&mut jobs);
            queue.done();
        }
        walker.finish();
        Ok(walker.counts)
    }
}

struct Walker {
    worker: Box<dyn Worker>,
    counts: Counts,
}

impl Walker {
    fn directory(
        &mut self,
        at: Arc<Dir>,
        name: Option<CString>,
        listing: &mut Listing,
        jobs: &mut Vec<Job>,
        fetch: bool,
    ) -> std::io::Result<()> {
        let dir = match name {
            Some(name) => Arc::new(self.worker.open_dir(&at, &name)?),
            None => at,
        };
        listing.clear();
        self.worker.list(&dir, listing)?;
        listing.sort_by_inode();
        self.counts.dirs += 1;
        for index in 0..listing.len() {
            let mut kind = listing.kind(index);
            if matches!(kind, Kind::File | Kind::Unknown) {
                self.counts.stats += 1;
                let Ok(meta) = self.worker.stat(&dir, listing, index) else {
                    self.counts.errors += 1;
                    continue;
                };
                kind = meta.kind;
                if kind == Kind::File && fetch {
                    self.fetch(&dir, listing, index, meta.size);
                }
            }
            match kind {
                Kind::File => self.counts.files += 1,
                Kind::Dir => jobs.push((Arc::clone(&dir), Some(listing.c_name(index).to_owned()))),
                _ => self.counts.others += 1,
            }
        }
        Ok(())
    }

    fn fetch(&mut self, dir: &Arc<Dir>, listing: &Listing, index: usize, size: u64) {
        let request = Fetch { dir, name: listing.c_name(index), size, limit: u64::MAX, cut: false, token: 0 };
        let counts = &mut self.counts;
        self.worker.fetch(request, &mut |fetched| counts.fetched(fetched.result));
    }

    fn finish(&mut self) {
        let counts = &mut self.counts;
        self.worker.finish(&mut |fetched| counts.fetched(fetched.result));
    }
}

impl Counts {
    fn fetched(&mut self, result: Result<&[u8], FetchError>) {
        match result {
            Ok(content) => self.bytes += content.len() as u64,
            Err(_) => self.errors += 1,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        let Counts { dirs, files, others, stats, bytes, errors } = other;
        self.dirs += dirs;
        self.files += files;
        self.others += others;
        self.stats += stats;
        self.bytes += bytes;
        self.errors += errors;
    }
}
