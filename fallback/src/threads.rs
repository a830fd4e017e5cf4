//! The portable backend: blocking calls, on as many threads as the caller has workers.
//!
//! Where the kernel can be asked for cached pages only, a fetch asks that first. A full answer completes it at once.
//! Otherwise the asking has made the kernel start to read, so the open file waits in a queue while the next ones are
//! asked for, and is read in earnest when its turn comes: one thread keeps a whole queue's worth of reads going on the
//! device. Elsewhere every fetch is an open, a read and a close.

#[cfg(all(target_os = "linux", not(miri)))]
mod linux;
#[cfg(all(unix, not(target_os = "linux"), not(miri)))]
mod other_unix;
#[cfg(any(not(unix), miri))]
mod portable;
#[cfg(all(unix, not(miri)))]
mod unix;

#[cfg(any(not(unix), miri))]
use portable as sys;
#[cfg(all(unix, not(miri)))]
use unix as sys;

use crate::backend::open_by_steps;
use crate::op::{EMPTY_READ_BYTES, first_read};
use crate::{Backend, Dir, Fetch, FetchError, Fetched, IoStats, Listing, Meta, Op, Worker, WorkerOptions, cancelled};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::path::Path;

/// A buffer that grew past this goes back to its first size when it has not been needed for a while.
const KEEP_BYTES_MAX: usize = 4 << 20;
/// So many files in a row that did not need a larger buffer are enough to give it back.
const SMALL_TO_SHRINK: u32 = 4096;
/// What one look at the page cache makes the kernel read ahead on its own, at most, in its default setting.
const READ_AHEAD_BYTES: u64 = 128 << 10;
/// The most that is asked for beyond that in one hint: enough to keep a device busy, little enough not to flood memory
/// with a queue full of huge files.
const ADVISE_BYTES_MAX: u64 = 8 << 20;
/// After a file system has said that it cannot answer from the cache only, this many fetches go without asking.
const SKIP_ASKING: u32 = 64;

/// The backend of plain, blocking calls.
///
/// ```
/// # use leindex_fallback::{Backend, ThreadBackend};
/// assert_eq!(ThreadBackend::new().name(), "threads");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadBackend(());

impl ThreadBackend {
    /// The backend. It has no state: what there is, its workers own.
    pub fn new() -> ThreadBackend {
        ThreadBackend(())
    }
}

impl Backend for ThreadBackend {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn open_root(&self, path: &Path) -> io::Result<Dir> {
        uninterrupted(&mut 0, || sys::open_root(path))
    }

    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>> {
        Ok(Box::new(ThreadWorker::new(options)))
    }
}

/// A worker of [`ThreadBackend`]. Public for backends that do some verbs of their own and leave the others to this one.
#[derive(Debug)]
pub struct ThreadWorker {
    options: WorkerOptions,
    /// Files whose pages the kernel is fetching, oldest first.
    pending: VecDeque<OpenFile>,
    /// All of it is initialised, so that a read may use any part.
    buffer: Vec<u8>,
    small_in_a_row: u32,
    list_buffer: sys::ListBuffer,
    asking: Asking,
    stats: IoStats,
}

/// A file between open and close.
#[derive(Debug)]
struct OpenFile {
    file: sys::File,
    size: u64,
    limit: u64,
    cut: bool,
    token: u64,
}

/// Whether to ask the page cache first.
#[derive(Clone, Copy, Debug)]
enum Asking {
    Yes,
    /// Not for this many fetches: the file system could not answer.
    Pause(u32),
    /// Every question is answered with "not there".
    #[cfg(test)]
    AlwaysMiss,
}

/// What a look at the page cache found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cached {
    /// The whole file, of this length, is in the buffer.
    Whole(usize),
    /// Only this much has been read, and the rest is to be read in earnest at once.
    Start(usize),
    /// Not all of it is there; the kernel has begun to fetch it.
    Miss,
}

impl ThreadWorker {
    /// A worker with an empty queue.
    pub fn new(options: WorkerOptions) -> ThreadWorker {
        let buffer_bytes = options.buffer_bytes.max(EMPTY_READ_BYTES as usize);
        let options = WorkerOptions { buffer_bytes, ..options };
        ThreadWorker {
            pending: VecDeque::with_capacity(options.lookahead.min(1 << 10) + 1),
            options,
            buffer: vec![0; buffer_bytes],
            small_in_a_row: 0,
            list_buffer: sys::ListBuffer::default(),
            asking: if sys::CAN_ASK_CACHE { Asking::Yes } else { Asking::Pause(u32::MAX) },
            stats: IoStats::default(),
        }
    }

    fn open(&mut self, request: &Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) -> io::Result<sys::File> {
        let mut opened = self.open_once(request);
        // Those in flight hold descriptors, which their completion frees.
        if opened.as_ref().is_err_and(sys::is_out_of_descriptors) && !self.pending.is_empty() {
            self.finish(done);
            self.stats.retries += 1;
            opened = self.open_once(request);
        }
        opened
    }

    fn open_once(&mut self, request: &Fetch<'_>) -> io::Result<sys::File> {
        self.stats.opens += 1;
        uninterrupted(&mut self.stats.retries, || sys::open_file(request.dir, request.name))
    }

    /// Reads what the page cache holds of a file that was just opened.
    fn ask_cache(&mut self, open: &OpenFile) -> Result<Cached, FetchError> {
        if open.size == 0 {
            // Nothing to wait for; and the files of this size that do have content are not in the page cache.
            return Ok(Cached::Start(0));
        }
        match self.asking {
            Asking::Yes => {}
            Asking::Pause(0) => self.asking = Asking::Yes,
            Asking::Pause(u32::MAX) => return Ok(Cached::Start(0)),
            Asking::Pause(left) => {
                self.asking = Asking::Pause(left - 1);
                return Ok(Cached::Start(0));
            }
            #[cfg(test)]
            Asking::AlwaysMiss => return Ok(Cached::Miss),
        }
        let want = self.reserve(first_read(open.size, open.limit))?;
        self.stats.reads += 1;
        let buffer = &mut self.buffer[..want];
        match uninterrupted(&mut self.stats.retries, || sys::read_cached(&open.file, buffer)) {
            Ok(Some(read)) if read as u64 == open.size => Ok(Cached::Whole(read)),
            Ok(Some(read)) if read as u64 > open.size => Ok(Cached::Start(read)),
            // Either the cache ended here or the file did. Only a read that may wait can tell.
            Ok(Some(_)) => Ok(Cached::Miss),
            Ok(None) => {
                self.asking = Asking::Pause(SKIP_ASKING);
                Ok(Cached::Start(0))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Cached::Miss),
            Err(source) => Err(FetchError::Io { op: Op::Read, source }),
        }
    }

    /// Reads a file to its end, `filled` bytes of which are in the buffer. Returns its length.
    fn read_whole(&mut self, open: &OpenFile, mut filled: usize) -> Result<usize, FetchError> {
        let limit = open.limit;
        let mut want = self.reserve(first_read(open.size, limit))?;
        loop {
            if filled as u64 > limit {
                // More was read than is wanted, so the limit fits into a length.
                return if open.cut { Ok(limit as usize) } else { Err(FetchError::TooLarge { limit }) };
            }
            if filled == want {
                // It grew. Doubling keeps the reads few, whatever it grew to.
                let more = (want as u64).saturating_mul(2).min(limit.saturating_add(1));
                want = self.reserve(more)?;
            }
            self.stats.reads += 1;
            let buffer = &mut self.buffer[filled..want];
            let read = uninterrupted(&mut self.stats.retries, || sys::read_at(&open.file, buffer, filled as u64))
                .map_err(|source| FetchError::Io { op: Op::Read, source })?;
            filled += read;
            // There was room for one byte more than the size, so exactly the size is the end. Anything else may be a
            // read cut short, for which only an empty one is proof.
            if read == 0 || filled as u64 == open.size {
                return Ok(filled);
            }
        }
    }

    /// Makes the buffer hold `bytes`, and returns them as a length.
    fn reserve(&mut self, bytes: u64) -> Result<usize, FetchError> {
        let out_of_memory = || FetchError::Io { op: Op::Read, source: io::ErrorKind::OutOfMemory.into() };
        let wanted = usize::try_from(bytes).map_err(|_| out_of_memory())?;
        if let Some(more) = wanted.checked_sub(self.buffer.len()) {
            self.buffer.try_reserve_exact(more).map_err(|_| out_of_memory())?;
            self.buffer.resize(wanted, 0);
        }
        Ok(wanted)
    }

    /// Puts a file in the queue. While it waits, the kernel reads.
    fn enqueue(&mut self, open: OpenFile, done: &mut dyn FnMut(Fetched<'_>)) {
        self.stats.misses += 1;
        if open.size > READ_AHEAD_BYTES {
            self.stats.advises += 1;
            sys::will_need(&open.file, open.size.min(ADVISE_BYTES_MAX));
        }
        self.pending.push_back(open);
        while self.pending.len() > self.options.lookahead {
            self.complete_oldest(done);
        }
    }

    fn complete_oldest(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        if let Some(open) = self.pending.pop_front() {
            let result = match self.options.is_cancelled() {
                true => Err(FetchError::Io { op: Op::Read, source: cancelled() }),
                false => self.read_whole(&open, 0),
            };
            self.complete(open.token, result, true, done);
        }
    }

    /// Hands a result out. The content is the first bytes of the buffer.
    fn complete(
        &mut self,
        token: u64,
        result: Result<usize, FetchError>,
        missed: bool,
        done: &mut dyn FnMut(Fetched<'_>),
    ) {
        match &result {
            Ok(length) => self.stats.bytes += *length as u64,
            Err(_) => self.stats.fetch_errors += 1,
        }
        let length = *result.as_ref().unwrap_or(&0);
        done(Fetched { token, result: result.map(|length| &self.buffer[..length]), missed });
        self.shrink_if_idle(length);
    }

    /// Gives a large buffer back, but only when it has not been needed for a while: large files come in groups, and making
    /// the buffer anew for each of them costs as much as reading it (page faults, zeroing).
    fn shrink_if_idle(&mut self, used: usize) {
        if self.buffer.len() <= KEEP_BYTES_MAX.max(self.options.buffer_bytes) || used > KEEP_BYTES_MAX {
            self.small_in_a_row = 0;
            return;
        }
        self.small_in_a_row += 1;
        if self.small_in_a_row > SMALL_TO_SHRINK {
            self.buffer.truncate(self.options.buffer_bytes);
            self.buffer.shrink_to_fit();
            self.small_in_a_row = 0;
        }
    }
}

impl Worker for ThreadWorker {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        self.stats.dir_opens += 1;
        uninterrupted(&mut self.stats.retries, || sys::open_dir(parent, name))
    }

    fn open_below(&mut self, root: &Dir, path: &[u8]) -> io::Result<Dir> {
        let opened = match uninterrupted(&mut self.stats.retries, || sys::open_below(root, path)) {
            Ok(None) => return open_by_steps(self, root, path),
            Ok(Some(dir)) => Ok(dir),
            Err(error) => Err(error),
        };
        self.stats.dir_opens += 1;
        opened
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        self.stats.lists += 1;
        sys::list(dir, &mut self.list_buffer, into)
    }

    /// In line, for `stat_batch`: a call more around each of so many system calls was measured to cost a tenth of all of them.
    #[inline(always)]
    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta> {
        self.stats.stats += 1;
        let name = listing.c_name(index);
        uninterrupted(&mut self.stats.retries, || sys::stat(dir, name))
    }

    fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        let Fetch { limit, cut, token, .. } = request;
        let size = if cut { request.size.min(limit) } else { request.size };
        if size > limit {
            return self.complete(token, Err(FetchError::TooLarge { limit }), false, done);
        }
        let open = match self.open(&request, done) {
            Ok(file) => OpenFile { file, size, limit, cut, token },
            Err(source) => {
                return self.complete(token, Err(FetchError::Io { op: Op::Open, source }), false, done);
            }
        };
        let result = match self.ask_cache(&open) {
            Ok(Cached::Whole(length)) => Ok(length),
            Ok(Cached::Start(filled)) => self.read_whole(&open, filled),
            Ok(Cached::Miss) => return self.enqueue(open, done),
            Err(error) => Err(error),
        };
        // Closed first: `done` may take long, and descriptors are few.
        drop(open);
        self.complete(token, result, false, done);
    }

    fn finish(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        while !self.pending.is_empty() {
            self.complete_oldest(done);
        }
    }

    fn in_flight(&self) -> usize {
        self.pending.len()
    }

    fn stats(&self) -> IoStats {
        self.stats
    }
}

/// Makes a call again for as long as a signal interrupts it, and counts that.
fn uninterrupted<T>(retries: &mut u64, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => *retries += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
