//! The contract: what a backend promises, in whole-file verbs.
//!
//! The verbs are *open a directory*, *list it*, *stat an entry*, *fetch a file*, not system calls, so that each backend
//! may use the best path that its kernel has: one call after the other, or a ring with many in flight. There are no
//! futures here: asynchrony is a layer that others may add.
//!
//! # What every backend keeps
//!
//! 1. **Relative, and never through a link.** Every name is one component of an open directory; only `open_below` takes
//!    several. A name with a separator, `.`, `..` and the empty name are refused with `InvalidInput`. A symbolic link is never followed: to
//!    open one fails. (The root itself may be reached through links: it is what the user named.)
//! 2. **Each fetch completes exactly once**, by a call of `done` with its token: during `fetch` itself, during a later
//!    `fetch`, or during `finish`. In any order. After `finish` nothing is in flight.
//! 3. **A fetch never fails the worker.** A file that vanished, may not be read, became a link, a directory or a pipe,
//!    or outgrew its limit (unless it is to be cut there) ends with an error in its own [`Fetched`], and nothing hangs on it: files
//!    are opened and read without waiting for a peer. Nothing panics.
//! 4. **Content is what was there when it was read.** The first read asks for one byte more than the size that was
//!    stat'ed. When it brings exactly that size, this was the end of the file, and it has cost one open, one read and
//!    one close. A file that grew is read on to its end, up to the limit; one that shrank gives what is left. So the
//!    length can differ from the size that was asked with, and a caller that cares compares them. There is no snapshot:
//!    a file that is written during the read may come back mixed.
//! 5. **One call for a stat**, and none hidden in a fetch.
//! 6. **No allocation for a file** in the ordinary case: buffers are the worker's and are lent to `done`. They grow to
//!    the largest file and shrink again after a huge one.
//! 7. **Interrupted calls are made again.** When descriptors run out, a fetch completes those in flight, which closes
//!    theirs, and tries once more; then it reports the error. The other verbs have no `done` to complete fetches with,
//!    so they report it at once: call [`finish`](Worker::finish) and try again.
//! 8. **Dropping a worker** closes what it holds and forgets its fetches without calling `done`.
//!
//! 9. **A worker may be moved to another thread while nothing is in flight**, not otherwise.
//! 10. **After a cancel nothing is waited for**: once the flag of [`WorkerOptions::cancelled`] is set, fetches and stats in
//!     flight end as they can, if need be with an error of kind `Interrupted`. A plain call is not cut short.
//!
//! What not every backend can promise: time-outs. A blocking call on a dead network mount cannot be interrupted on every
//! system. A backend with operations in flight gives one up after [`WorkerOptions::timeout`]: it ends with an error of
//! kind `TimedOut`. For plain calls there is [`BoundedWorker`](crate::BoundedWorker), which leaves them to threads that it
//! can leave behind; it is for file systems that may hang.
//!
//! Directory listing has no asynchronous form in any kernel we know, so `list`, `open_dir` and `open_below` are plain calls in every
//! backend.

use crate::op::components;
use crate::{Dir, Fetch, Fetched, IoStats, Listing, Meta};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use std::{fmt, io};

/// A way to reach the file system. It is shared; what it makes is owned by one thread each.
pub trait Backend: Send + Sync + fmt::Debug {
    /// A short name for reports and for the command line, such as `threads`.
    fn name(&self) -> &'static str;

    /// Opens the directory that everything else is relative to. Follows links.
    ///
    /// # Errors
    /// What the system says: not found, no permission, not a directory, out of descriptors.
    fn open_root(&self, path: &Path) -> io::Result<Dir>;

    /// Makes a worker for the calling thread.
    ///
    /// # Errors
    /// What the system says when it lacks the resources that the backend needs.
    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>>;
}

/// One thread's access to the file system. See the [module](self) for what it promises.
pub trait Worker: Send {
    /// Opens the directory `name` of `parent`, which must not be a link.
    ///
    /// # Errors
    /// `InvalidInput` when the name is not one component, `NotADirectory` (on some systems `FilesystemLoop`) when it is
    /// a link or no directory, and whatever else the system says.
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir>;

    /// Opens the directory at `path` below `root`, which is components with slashes between them; empty for `root` itself.
    /// No component may be a link, so that what took a directory's place meanwhile leads nowhere. One after the other,
    /// unless a backend knows better.
    ///
    /// # Errors
    /// As [`open_dir`](Worker::open_dir).
    fn open_below(&mut self, root: &Dir, path: &[u8]) -> io::Result<Dir> {
        open_by_steps(self, root, path)
    }

    /// Appends the entries of `dir` to `into`, without `.` and `..`, in the directory's own order, from its start:
    /// it can be listed again. One directory is listed by one worker at a time.
    ///
    /// # Errors
    /// What the system says. The entries read before an error stay in `into`: the caller decides whether a part of a
    /// directory is of use.
    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()>;

    /// Reads the metadata of entry `index` of `listing`, a listing of `dir`, with one call. Follows no link.
    ///
    /// # Errors
    /// What the system says; `NotFound` when the entry vanished.
    ///
    /// # Panics
    /// When `index` is not below the listing's length.
    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta>;

    /// Reads the metadata of the entries `picks` of `listing`, each once, and calls `done` with an index and its result
    /// for each, in any order, before it returns. A backend that can have several stats in flight does so when single
    /// ones prove slow, and may keep a clone of `dir` for one that does not end; the others do one after the other.
    ///
    /// # Panics
    /// When a pick is not below the listing's length.
    fn stat_batch(
        &mut self,
        dir: &Arc<Dir>,
        listing: &Listing,
        picks: &[u32],
        done: &mut dyn FnMut(u32, io::Result<Meta>),
    ) {
        for &pick in picks {
            let result = self.stat(dir, listing, pick as usize);
            done(pick, result);
        }
    }

    /// Starts to fetch a file, and may complete this one and earlier ones by calling `done`.
    fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>));

    /// Completes every fetch in flight. The worker can be used again afterwards.
    fn finish(&mut self, done: &mut dyn FnMut(Fetched<'_>));

    /// How many fetches have been started and not completed.
    fn in_flight(&self) -> usize;

    /// What this worker has done since it was made.
    fn stats(&self) -> IoStats;
}

/// [`Worker::open_below`], one component after the other: for paths of any length, on every kernel.
pub(crate) fn open_by_steps<W: Worker + ?Sized>(worker: &mut W, root: &Dir, path: &[u8]) -> io::Result<Dir> {
    let mut dir = root.clone();
    for component in components(path)? {
        dir = worker.open_dir(&dir, &CString::new(component)?)?;
    }
    Ok(dir)
}

/// How a worker is set up: start from the default and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// The most fetches in flight: 64 unless set. Each holds one descriptor. 0 waits for each file in turn.
    pub lookahead: usize,
    /// The size in bytes of the read buffer to begin with, and to return to after a huge file: 256 KiB unless set. At
    /// least 4 KiB are used.
    pub buffer_bytes: usize,
    /// How long an operation may take before it is given up, where the backend can do that: 30 s unless set.
    pub timeout: Duration,
    /// Set from outside when the work is not wanted any more; none unless set.
    pub cancelled: Option<Arc<AtomicBool>>,
}

impl WorkerOptions {
    /// These options with another [`lookahead`](WorkerOptions::lookahead).
    pub fn lookahead(mut self, lookahead: usize) -> WorkerOptions {
        self.lookahead = lookahead;
        self
    }

    /// These options with another [`buffer_bytes`](WorkerOptions::buffer_bytes).
    pub fn buffer_bytes(mut self, buffer_bytes: usize) -> WorkerOptions {
        self.buffer_bytes = buffer_bytes;
        self
    }

    /// These options with another [`timeout`](WorkerOptions::timeout).
    pub fn timeout(mut self, timeout: Duration) -> WorkerOptions {
        self.timeout = timeout;
        self
    }

    /// These options with a flag that [`cancelled`](WorkerOptions::cancelled) the work.
    pub fn cancelled(mut self, flag: Arc<AtomicBool>) -> WorkerOptions {
        self.cancelled = Some(flag);
        self
    }

    /// Whether the work is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|flag| flag.load(Relaxed))
    }
}

/// The error of an operation that was given up after `waited`.
pub fn no_answer(waited: Duration) -> io::Error {
    let detail = format!("no answer within {} s: the file system hangs", waited.as_secs_f64());
    io::Error::new(io::ErrorKind::TimedOut, detail)
}

/// The error of what was not done because of a cancel.
pub fn cancelled() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "cancelled")
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions { lookahead: 64, buffer_bytes: 256 << 10, timeout: Duration::from_secs(30), cancelled: None }
    }
}
