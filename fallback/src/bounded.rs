//! A worker that waits for no call longer than its time-out: for file systems that may never answer.
//!
//! A blocking call cannot be interrupted on every system. So each goes to a helper thread, which owns the worker that
//! makes it. One that is not back in time is left behind with its thread, which ends when the system lets go of it, and
//! the next call begins with a new helper. A call costs two changes of threads, some ten microseconds; on a file system
//! behind a network that is little, on a local one much, so it is not for those.

use crate::{
    Backend, Dir, Fetch, FetchError, Fetched, IoStats, Listing, Meta, Op, ThreadBackend, ThreadWorker, Worker,
    WorkerOptions, cancelled, no_answer,
};
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// How often a wait looks at the flag of a cancel.
const LOOK: Duration = Duration::from_millis(10);
/// After so many calls in a row without an answer, a file system is given this part of the time-out only: a run over it
/// must end one day.
const IMPATIENT_AFTER: u32 = 4;
const IMPATIENCE: u32 = 16;
/// Helpers of one worker that may be waiting to be let go of. Past this, calls fail at once.
const LEFT_BEHIND_MAX: u32 = 64;
/// Calls of [`within`] that may be under way, in the whole process.
const CALLS_MAX: u32 = 1000;

/// The portable backend with a time-out on every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct BoundedBackend(());

impl BoundedBackend {
    /// The backend. It has no state: what there is, its workers own.
    pub fn new() -> BoundedBackend {
        BoundedBackend(())
    }
}

impl Backend for BoundedBackend {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn open_root(&self, path: &Path) -> io::Result<Dir> {
        ThreadBackend::new().open_root(path)
    }

    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>> {
        Ok(Box::new(BoundedWorker::new(options)))
    }
}

/// Makes one call, and waits for it no longer than `patience`, and only until `cancelled`: for what is asked of a path before
/// anything is known of its file system. The call has a thread of its own, which is left behind when it hangs; when a thousand
/// threads of this process are, calls fail at once. That costs some fifty microseconds. Where the system grants no thread,
/// the caller's own makes the call, without a time-out.
///
/// # Errors
/// Kind `TimedOut` when there is no answer in time, `Interrupted` after a cancel; others when the call panics.
pub fn within<T: Send + 'static>(
    patience: Duration,
    cancelled: Option<&AtomicBool>,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    static UNDER_WAY: LazyLock<Arc<AtomicU32>> = LazyLock::new(Arc::default);
    if UNDER_WAY.fetch_add(1, Ordering::Relaxed) >= CALLS_MAX {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        return Err(no_answer(Duration::ZERO));
    }
    let ended = Ended(Arc::clone(&UNDER_WAY));
    let (answer, answered) = mpsc::sync_channel(1);
    let call = Arc::new(Mutex::new(Some(call)));
    let take = |call: &Mutex<Option<_>>| call.lock().unwrap_or_else(PoisonError::into_inner).take();
    let theirs = Arc::clone(&call);
    let body = move || {
        let _ended = ended;
        if let Some(call) = take(&theirs) {
            // Nobody listens any more when it took too long.
            let _ = answer.send(call());
        }
    };
    if std::thread::Builder::new().name("leindex-call".into()).spawn(body).is_err()
        && let Some(call) = take(&call)
    {
        return Ok(call());
    }
    wait(&answered, patience, || cancelled.is_some_and(|flag| flag.load(Ordering::Relaxed)))
}

/// Waits for what comes of a call, for as long as `patience` and until it is cancelled.
fn wait<T>(answered: &mpsc::Receiver<T>, patience: Duration, is_cancelled: impl Fn() -> bool) -> io::Result<T> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match answered.recv_timeout(left.min(LOOK)) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the thread of a call has panicked")),
            Err(RecvTimeoutError::Timeout) if is_cancelled() => return Err(cancelled()),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(no_answer(patience)),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// What a helper does: a call, and then it says what came of it.
type Call = Box<dyn FnOnce(&mut dyn Worker) + Send>;
type Make = Box<dyn Fn() -> Box<dyn Worker> + Send>;

/// A worker of [`BoundedBackend`]: one call at a time, none longer than [`WorkerOptions::timeout`].
pub struct BoundedWorker {
    make: Make,
    options: WorkerOptions,
    /// Takes calls; its thread ends when this is dropped.
    helper: Option<mpsc::Sender<Call>>,
    left_behind: Arc<AtomicU32>,
    unanswered_in_a_row: u32,
    /// Of helpers that are gone, and of the one that is there.
    stats: (IoStats, IoStats),
}

impl fmt::Debug for BoundedWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedWorker").field("left_behind", &self.left_behind).finish_non_exhaustive()
    }
}

/// Content that has come from a helper.
type Content = Result<Vec<u8>, FetchError>;

impl BoundedWorker {
    /// A worker without a helper: the first call starts one.
    pub fn new(options: WorkerOptions) -> BoundedWorker {
        // One call at a time: a fetch that was left in a queue could hang in the call of another file.
        let inner = options.clone().lookahead(0);
        BoundedWorker::around(options, Box::new(move || Box::new(ThreadWorker::new(inner.clone()))))
    }

    /// Around other workers than those of the portable backend. They must complete a fetch before its call returns.
    fn around(options: WorkerOptions, make: Make) -> BoundedWorker {
        let (left_behind, stats) = (Arc::default(), <(IoStats, IoStats)>::default());
        BoundedWorker { make, options, helper: None, left_behind, unanswered_in_a_row: 0, stats }
    }

    fn patience(&self) -> Duration {
        let whole = self.options.timeout;
        if self.unanswered_in_a_row < IMPATIENT_AFTER { whole } else { whole / IMPATIENCE }
    }

    /// Has a helper make a call, and waits for what comes of it.
    fn call<T: Send + 'static>(&mut self, call: impl FnOnce(&mut dyn Worker) -> T + Send + 'static) -> io::Result<T> {
        // The helper that is there counts as well.
        if self.left_behind.load(Ordering::Relaxed) > LEFT_BEHIND_MAX {
            return Err(no_answer(Duration::ZERO));
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let call: Call = Box::new(move |worker| {
            let value = call(worker);
            // Nobody listens any more when it took too long.
            let _ = answer.send((value, worker.stats()));
        });
        self.send(call)?;
        let patience = self.patience();
        match wait(&answered, patience, || self.options.is_cancelled()) {
            Ok((value, stats)) => {
                self.stats.1 = stats;
                self.unanswered_in_a_row = 0;
                Ok(value)
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    self.unanswered_in_a_row += 1;
                    self.stats.0.timeouts += 1;
                }
                self.leave_helper();
                Err(error)
            }
        }
    }

    /// Gives a call to the helper, starting one if there is none.
    fn send(&mut self, call: Call) -> io::Result<()> {
        let helper = match &self.helper {
            Some(helper) => helper,
            None => {
                let (calls, queue) = mpsc::channel::<Call>();
                let (mut worker, left_behind) = ((self.make)(), Arc::clone(&self.left_behind));
                // Counted from the start: it is one less when it ends, however that comes about.
                left_behind.fetch_add(1, Ordering::Relaxed);
                let ended = Ended(left_behind);
                let body = move || {
                    let _ended = ended;
                    queue.into_iter().for_each(|call| call(&mut *worker));
                };
                std::thread::Builder::new().name("leindex-call".into()).spawn(body)?;
                self.helper.insert(calls)
            }
        };
        helper.send(call).map_err(|_| io::Error::other("the thread of calls has ended"))
    }

    fn leave_helper(&mut self) {
        self.helper = None;
        self.stats.0 += std::mem::take(&mut self.stats.1);
    }
}

/// Counts the end of a helper.
struct Ended(Arc<AtomicU32>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker for BoundedWorker {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        let (parent, name) = (parent.clone(), name.to_owned());
        self.call(move |worker| worker.open_dir(&parent, &name))?
    }

    fn open_below(&mut self, root: &Dir, path: &[u8]) -> io::Result<Dir> {
        let (root, path) = (root.clone(), path.to_vec());
        self.call(move |worker| worker.open_below(&root, &path))?
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        let dir = dir.clone();
        // What is in it already comes back with the answer, or is copied for the case that there is none.
        let mut listing = into.clone();
        let (listing, result) = self.call(move |worker| {
            let result = worker.list(&dir, &mut listing);
            (listing, result)
        })?;
        *into = listing;
        result
    }

    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta> {
        let mut one = Listing::new();
        one.push(listing.name(index), listing.kind(index), listing.inode(index))?;
        let dir = dir.clone();
        self.call(move |worker| worker.stat(&dir, &one, 0))?
    }

    fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        let Fetch { size, limit, cut, token, .. } = request;
        let (dir, name) = (Arc::clone(request.dir), request.name.to_owned());
        let fetched = self.call(move |worker| {
            let mut content: Option<(Content, bool)> = None;
            let request = Fetch { dir: &dir, name: &name, size, limit, cut, token };
            let mut keep = |fetched: Fetched<'_>| content = Some((fetched.result.map(<[u8]>::to_vec), fetched.missed));
            worker.fetch(request, &mut keep);
            worker.finish(&mut keep);
            content
        });
        let (content, missed) = match fetched {
            Ok(Some(fetched)) => fetched,
            Ok(None) => (Err(FetchError::Io { op: Op::Read, source: io::Error::other("a fetch has not ended") }), true),
            Err(source) => {
                self.stats.0.fetch_errors += 1;
                (Err(FetchError::Io { op: Op::Read, source }), true)
            }
        };
        match content {
            Ok(bytes) => done(Fetched { token, result: Ok(&bytes), missed }),
            Err(error) => done(Fetched { token, result: Err(error), missed }),
        }
    }

    /// Nothing is ever in flight between two calls.
    fn finish(&mut self, _: &mut dyn FnMut(Fetched<'_>)) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn stats(&self) -> IoStats {
        let mut stats = self.stats.0;
        stats += self.stats.1;
        stats
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Condvar, Mutex};

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Holds calls up until it is opened.
    #[derive(Default)]
    struct Gate(Mutex<bool>, Condvar);

    impl Gate {
        fn wait(&self) {
            let mut open = self.0.lock().unwrap();
            while !*open {
                open = self.1.wait(open).unwrap();
            }
        }

        fn open(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_all();
        }
    }

    /// Of every name that begins with `h`, nothing comes back before the gate is open.
    struct Hanging(ThreadWorker, Arc<Gate>);

    impl Worker for Hanging {
        fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
            if name.to_bytes().starts_with(b"h") {
                self.1.wait();
            }
            self.0.open_dir(parent, name)
        }

        fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
            self.0.list(dir, into)
        }

        fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta> {
            self.0.stat(dir, listing, index)
        }

        fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
            if request.name.to_bytes().starts_with(b"h") {
                self.1.wait();
            }
            self.0.fetch(request, done);
        }

        fn finish(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
            self.0.finish(done);
        }

        fn in_flight(&self) -> usize {
            self.0.in_flight()
        }

        fn stats(&self) -> IoStats {
            self.0.stats()
        }
    }

    fn hanging(options: WorkerOptions) -> (tempdir::Dir, Arc<Dir>, Arc<Gate>, BoundedWorker) {
        let path = tempdir::Dir::new();
        std::fs::create_dir(path.0.join("hdir")).unwrap();
        std::fs::create_dir(path.0.join("dir")).unwrap();
        std::fs::write(path.0.join("file"), "content").unwrap();
        let root = Arc::new(BoundedBackend::new().open_root(&path.0).unwrap());
        let gate: Arc<Gate> = Arc::default();
        let (inner, held) = (options.clone().lookahead(0), Arc::clone(&gate));
        let make = move || Box::new(Hanging(ThreadWorker::new(inner.clone()), Arc::clone(&held))) as Box<dyn Worker>;
        (path, root, gate, BoundedWorker::around(options, Box::new(make)))
    }

    mod tempdir {
        /// Removed when it goes out of scope.
        pub(super) struct Dir(pub(super) std::path::PathBuf);

        impl Dir {
            pub(super) fn new() -> Dir {
                static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let path = std::env::temp_dir().join(format!("leindex-bounded-{}-{number}", std::process::id()));
                std::fs::create_dir_all(&path).unwrap();
                Dir(path)
            }
        }

        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    fn read(worker: &mut BoundedWorker, dir: &Arc<Dir>, name: &CStr) -> Result<Vec<u8>, String> {
        let mut content = None;
        worker.fetch(Fetch { dir, name, size: 7, limit: 100, cut: false, token: 3 }, &mut |fetched| {
            assert_eq!(fetched.token, 3);
            content = Some(fetched.result.map(<[u8]>::to_vec).map_err(|error| error.to_string()));
        });
        content.unwrap()
    }

    #[test]
    fn what_hangs_is_left_behind_and_the_rest_goes_on() {
        let (_path, root, gate, mut worker) = hanging(WorkerOptions::default().timeout(PATIENCE));
        for _ in 0..2 {
            let error = worker.open_dir(&root, c"hdir").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(read(&mut worker, &root, c"hfile").unwrap_err().contains("no answer within 0.05 s"));
            worker.open_dir(&root, c"dir").unwrap();
            assert_eq!(read(&mut worker, &root, c"file").unwrap(), b"content");
        }
        assert_eq!(worker.stats().timeouts, 4);
        // Four that hang, and the one that works.
        assert_eq!(worker.left_behind.load(Ordering::Relaxed), 5);
        gate.open();
        worker.open_dir(&root, c"hdir").unwrap();
        while worker.left_behind.load(Ordering::Relaxed) > 1 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_system_that_never_answers_is_given_up() {
        let (_path, root, gate, mut worker) = hanging(WorkerOptions::default().timeout(PATIENCE));
        for _ in 0..2 * LEFT_BEHIND_MAX {
            worker.open_dir(&root, c"hdir").unwrap_err();
        }
        let asked = worker.stats().timeouts;
        assert_eq!(asked, u64::from(LEFT_BEHIND_MAX) + 1, "past the limit nobody asks any more");
        assert_eq!(worker.open_dir(&root, c"dir").unwrap_err().kind(), io::ErrorKind::TimedOut);
        gate.open();
        while worker.left_behind.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        // Impatient as it is by now, it may have to ask more than once.
        assert!((0..1000).any(|_| worker.open_dir(&root, c"hdir").is_ok()));
    }

    #[test]
    fn a_cancel_ends_a_call() {
        let flag: Arc<AtomicBool> = Arc::default();
        let options = WorkerOptions::default().timeout(Duration::from_secs(3600)).cancelled(Arc::clone(&flag));
        let (_path, root, gate, mut worker) = hanging(options);
        let canceller = std::thread::spawn(move || flag.store(true, Ordering::Relaxed));
        assert_eq!(worker.open_dir(&root, c"hdir").unwrap_err().kind(), io::ErrorKind::Interrupted);
        canceller.join().unwrap();
        gate.open();
    }
}
