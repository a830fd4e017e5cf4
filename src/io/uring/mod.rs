//! The backend on Linux's io_uring: many opens and reads in flight from one thread, and no system call for each.
//!
//! * `probe`: what this kernel has.
//! * `ring`, `memory`: the ring and the memory that the kernel uses. The islands of unsafe code here.
//! * `op`: the operations, and how completions name them.
//! * `pages`: which parts of the read buffer are taken.
//! * `policy`: when to stat through the ring.
//! * `slot`: where a fetch is on its way.
//! * `worker`: the verbs of the contract, a state machine a file; `stats`: its batches of stats.
//! * `remains`: what is left of a ring that the kernel does not let go of.
//!
//! What a ring has no operation for (listing), and what it does worse (a stat that is cached: the kernel gives every
//! `STATX` to a thread of its own), goes through a worker of the portable backend. See docs/performance.md.

mod memory;
mod op;
mod pages;
mod policy;
mod probe;
mod remains;
mod ring;
mod slot;
mod stats;
mod worker;

pub(crate) use probe::{Caps, caps};

use leindex_fallback::{Backend, Dir, ThreadBackend, Worker, WorkerOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use worker::UringWorker;

/// The backend of rings, a ring a worker.
#[derive(Debug)]
pub(crate) struct UringBackend {
    caps: Caps,
    /// The root that was opened last is, or holds, a remote file system.
    remote: AtomicBool,
}

impl UringBackend {
    /// The backend with what the kernel has.
    pub(crate) fn new(caps: Caps) -> UringBackend {
        UringBackend { caps, remote: AtomicBool::new(false) }
    }
}

impl Backend for UringBackend {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn open_root(&self, path: &Path) -> io::Result<Dir> {
        let root = ThreadBackend::new().open_root(path)?;
        self.remote.store(super::remote_in(path).is_some(), Relaxed);
        Ok(root)
    }

    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>> {
        Ok(Box::new(UringWorker::new(self.caps, options, self.remote.load(Relaxed))))
    }
}

#[cfg(test)]
mod tests;
