//! Reads the files of candidates, on all cores when there are many.
//!
//! Goes through the I/O contract: no link is followed, a directory is opened once for all of its candidates, a file costs
//! an open, a read and a close, and what is not cached is read ahead.

use crate::limits::FILE_BYTES_MAX;
use crate::record::{DirId, bytes_path};
use leindex_fallback::{
    Backend, BoundedBackend, Dir, Fetch, FetchError, Fetched, ThreadBackend, Worker, WorkerOptions, no_answer, within,
};
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Fewer files than this are read by the calling thread: starting others would take longer.
const PARALLEL_MIN: usize = 48;
/// Unless they hold more bytes than this together.
const PARALLEL_BYTES: u64 = 512 << 10;
/// Readers that wait for the next query.
const IDLE_PER_CORE: usize = 2;
/// None waits that has read a larger file: its buffer is as large.
const IDLE_BYTES_MAX: usize = 1 << 20;
/// Pieces that each thread gets, so that one with large files does not keep the others waiting.
const PIECES_PER_THREAD: usize = 4;

/// A file that may match.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Path relative to the root, and a NUL.
    path_nul: Vec<u8>,
    name_start: usize,
    dir: DirId,
    size: u64,
    limit: u64,
    cut: bool,
    pub(super) mtime_ns: i64,
    pub(super) score: f32,
}

impl Candidate {
    /// The file `name` in the directory `dir`, whose path `dir_path` ends in a slash unless empty.
    pub(crate) fn new(dir: DirId, dir_path: &[u8], name: &[u8], size: u64) -> Candidate {
        let path_nul = [dir_path, name, b"\0"].concat();
        let (name_start, limit) = (dir_path.len(), FILE_BYTES_MAX);
        Candidate { path_nul, name_start, dir, size, limit, cut: false, mtime_ns: 0, score: 1.0 }
    }

    /// The same with a score.
    pub(super) fn scored(self, score: f32) -> Candidate {
        Candidate { score, ..self }
    }

    /// The same, of which only the first bytes are to be read if it is longer.
    pub(super) fn head(self, bytes: usize) -> Candidate {
        Candidate { limit: bytes as u64, cut: true, ..self }
    }

    /// The same with the time at which it was modified.
    pub(super) fn modified(self, mtime_ns: i64) -> Candidate {
        Candidate { mtime_ns, ..self }
    }

    /// Bytes, as they are on record.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Path relative to the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path_nul[..self.path_nul.len() - 1]
    }

    fn dir_path(&self) -> &[u8] {
        &self.path_nul[..self.name_start]
    }

    fn name(&self) -> io::Result<&CStr> {
        CStr::from_bytes_with_nul(&self.path_nul[self.name_start..]).map_err(io::Error::other)
    }
}

/// Readers of files below one root: made when first needed, and kept with their buffers.
pub(crate) struct Readers {
    root: PathBuf,
    /// How long any call may take; `None` where the file system is a local one.
    patience: Option<Duration>,
    /// When the root did not answer: it is not asked again before as long has passed once more.
    hung: Mutex<Option<Instant>>,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    /// Readers of files below `root`. With `patience` every call has that time-out, and costs a change of threads.
    pub(crate) fn new(root: &Path, patience: Option<Duration>) -> Self {
        Readers { root: root.to_path_buf(), patience, hung: Mutex::default(), idle: Mutex::default() }
    }

    /// Whether the file still has the size and the time that are on record.
    pub(super) fn is_as_recorded(&self, candidate: &Candidate) -> bool {
        let path = self.root.join(bytes_path(candidate.path()));
        let Ok(Ok(now)) = self.call(move || std::fs::symlink_metadata(path)) else { return false };
        let since = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).ok(),
            Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|before| -before),
        };
        now.len() == candidate.size && now.modified().ok().and_then(since) == Some(candidate.mtime_ns)
    }

    fn call<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self.patience {
            Some(patience) => within(patience, None, call),
            None => Ok(call()),
        }
    }

    fn open_root(&self) -> io::Result<Dir> {
        let hung = || self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        let is_hung = |since: Instant| self.patience.is_some_and(|patience| since.elapsed() < patience);
        if hung().is_some_and(is_hung) {
            return Err(no_answer(Duration::ZERO));
        }
        let path = self.root.clone();
        let root = self.call(move || ThreadBackend::new().open_root(&path)).flatten();
        *hung() = root.as_ref().err().filter(|error| error.kind() == io::ErrorKind::TimedOut).map(|_| Instant::now());
        root
    }

    fn take(&self) -> Reader {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Reader::new(self.patience))
    }

    /// Keeps a reader for later, but none of the directories that it has open: they may be others by then.
    fn give_back(&self, mut reader: Reader) {
        (reader.root, reader.dir) = (None, None);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_PER_CORE * cores() && reader.largest <= IDLE_BYTES_MAX {
            idle.push(reader);
        }
    }
}

/// Cores that this process may use. Asked once: the answer is read from several files.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Reads the files and makes something of each, in the order of `candidates`. `state` is made once a thread; `work` gets
/// it with the content, or the reason why there is none.
pub(crate) fn read_each<S, R: Send>(
    readers: &Readers,
    candidates: &[Candidate],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, io::Result<&[u8]>) -> R + Sync,
) -> Vec<R> {
    read_indexed(readers, candidates, state, |state, _, content| work(state, content))
}

/// As [`read_each`], and `work` is told which of the candidates it is.
pub(crate) fn read_indexed<S, R: Send>(
    readers: &Readers,
    candidates: &[Candidate],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, io::Result<&[u8]>) -> R + Sync,
) -> Vec<R> {
    if candidates.is_empty() {
        return Vec::new();
    }
    let _span = tracing::debug_span!("read files", files = candidates.len()).entered();
    let bytes: u64 = candidates.iter().map(|candidate| candidate.size.min(candidate.limit)).sum();
    let threads = if candidates.len() < PARALLEL_MIN && bytes < PARALLEL_BYTES { 1 } else { cores() };
    let least = if bytes < PARALLEL_BYTES { PARALLEL_MIN / 4 } else { 1 };
    let piece_len = candidates.len().div_ceil(threads * PIECES_PER_THREAD).max(least);
    let pieces: Vec<&[Candidate]> =
        if threads == 1 { vec![candidates] } else { candidates.chunks(piece_len).collect() };
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Vec<R>>> = Mutex::new(pieces.iter().map(|_| Vec::new()).collect());
    let run = || {
        let mut reader = readers.take();
        let mut state = state();
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(piece) = pieces.get(index) else { break };
            let first = index * piece_len;
            let results = reader.read(readers, piece, |at, content| work(&mut state, first + at, content));
            done.lock().unwrap_or_else(PoisonError::into_inner)[index] = results;
        }
        readers.give_back(reader);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system grants no more threads, those that it granted do the work, this one at least.
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, run) {
                tracing::debug!(%error, "no thread could be started");
                break;
            }
        }
        run();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// One thread's way to files.
struct Reader {
    worker: io::Result<Box<dyn Worker>>,
    root: Option<Dir>,
    dir: Option<(DirId, Arc<Dir>)>,
    /// Bytes of the largest file so far.
    largest: usize,
}

impl Reader {
    fn new(patience: Option<Duration>) -> Self {
        let worker = match patience {
            None => ThreadBackend::new().worker(WorkerOptions::default()),
            Some(patience) => BoundedBackend::new().worker(WorkerOptions::default().timeout(patience)),
        };
        Reader { worker, root: None, dir: None, largest: 0 }
    }

    fn read<R>(
        &mut self,
        readers: &Readers,
        candidates: &[Candidate],
        mut work: impl FnMut(usize, io::Result<&[u8]>) -> R,
    ) -> Vec<R> {
        let mut results: Vec<Option<R>> = candidates.iter().map(|_| None).collect();
        let Reader { worker, root, dir, largest } = self;
        let worker = match worker {
            Ok(worker) => worker,
            Err(error) => {
                let reason = error.to_string();
                let failed = (0..candidates.len()).map(|at| work(at, Err(io::Error::other(reason.clone()))));
                return failed.collect();
            }
        };
        let mut done = |fetched: Fetched<'_>| {
            let content = fetched.result.map_err(|error| match error {
                FetchError::Io { source, .. } => source,
                other => io::Error::other(other.to_string()),
            });
            let at = fetched.token as usize;
            *largest = (*largest).max(content.as_ref().map_or(0, |content| content.len()));
            results[at] = Some(work(at, content));
        };
        let mut root = match root.take() {
            Some(root) => Ok(root),
            None => readers.open_root(),
        };
        for (index, candidate) in candidates.iter().enumerate() {
            let token = index as u64;
            let opened = match (&*dir, &mut root) {
                (Some((id, open)), _) if *id == candidate.dir => Ok(Arc::clone(open)),
                (_, Ok(root)) => worker.open_below(root, candidate.dir_path()).map(Arc::new),
                (_, Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let fetch = opened.and_then(|open| Ok((candidate.name()?, open)));
            match fetch {
                Ok((name, open)) => {
                    let Candidate { size, limit, cut, .. } = *candidate;
                    let request = Fetch { dir: &open, name, size, limit, cut, token };
                    worker.fetch(request, &mut done);
                    *dir = Some((candidate.dir, open));
                }
                Err(source) => {
                    let error = FetchError::Io { op: leindex_fallback::Op::OpenDir, source };
                    done(Fetched { token, result: Err(error), missed: false });
                }
            }
        }
        worker.finish(&mut done);
        self.root = root.ok();
        results.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of which every seventh is missing, in two directories; what is to be read of them.
    fn tree(dir: &Path) -> (Vec<Candidate>, Vec<Option<String>>) {
        std::fs::create_dir(dir.join("d")).unwrap();
        let mut candidates = Vec::new();
        for number in 0..300u32 {
            let (id, path, name) = if number % 3 == 0 { (1, "d/", number) } else { (0, "", number) };
            if number % 7 != 0 {
                std::fs::write(dir.join(format!("{path}{name}")), number.to_string()).unwrap();
            }
            candidates.push(Candidate::new(id, path.as_bytes(), name.to_string().as_bytes(), 1));
        }
        (candidates, (0..300u32).map(|n| (n % 7 != 0).then(|| n.to_string())).collect())
    }

    fn read(dir: &Path, candidates: &[Candidate]) -> Vec<Option<String>> {
        let work =
            |_: &mut (), content: io::Result<&[u8]>| content.ok().map(|c| String::from_utf8_lossy(c).into_owned());
        read_each(&Readers::new(dir, None), candidates, || (), work)
    }

    #[test]
    fn every_candidate_gets_its_own_result_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (candidates, expect) = tree(dir.path());
        assert_eq!(read(dir.path(), &candidates), expect);
    }

    /// Readers keep their buffers, and no directory: another may have taken its place.
    #[test]
    fn what_is_read_later_is_what_is_there_then() {
        let dir = tempfile::tempdir().unwrap();
        let readers = Readers::new(dir.path(), None);
        let candidate = Candidate::new(1, b"d/", b"file", 3);
        for content in ["one", "two"] {
            std::fs::create_dir(dir.path().join("d")).unwrap();
            std::fs::write(dir.path().join("d/file"), content).unwrap();
            let read =
                read_each(&readers, std::slice::from_ref(&candidate), || (), |(), read| read.ok().map(<[u8]>::to_vec));
            assert_eq!(read, [Some(content.as_bytes().to_vec())]);
            assert_eq!(readers.idle.lock().unwrap().len(), 1);
            std::fs::rename(dir.path().join("d"), dir.path().join(content)).unwrap();
        }
        let large = vec![b'x'; IDLE_BYTES_MAX + 1];
        std::fs::write(dir.path().join("large"), &large).unwrap();
        let large = Candidate::new(0, b"", b"large", large.len() as u64);
        assert_eq!(read_each(&readers, &[large], || (), |(), read| read.unwrap().len()), [IDLE_BYTES_MAX + 1]);
        assert!(
            readers.idle.lock().unwrap().iter().all(|idle| idle.largest < 10),
            "its buffer is too large to be kept"
        );
    }

    /// A filter that holds for one thread of this test alone refuses to start others.
    #[test]
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn without_further_threads_the_calling_one_reads_everything() {
        use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
        let rules = [libc::SYS_clone, libc::SYS_clone3].map(|call| (call, Vec::new())).into();
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let refuse = SeccompAction::Errno(libc::EAGAIN.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
        let program = BpfProgram::try_from(filter).unwrap();
        let under_filter = std::thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            let (candidates, expect) = tree(dir.path());
            seccompiler::apply_filter(&program).unwrap();
            assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "the filter lets threads start");
            assert_eq!(read(dir.path(), &candidates), expect);
        });
        under_filter.join().unwrap();
    }
}
