//! A stage that trails the text index in the background: its handle, and the thread behind it.

use super::run::Canceller;
use crate::error::{RunError, StoreError};
use crate::query::Candidate;
use crate::record::DirId;
use crate::shard::panic_message;
use crate::store::StoreReader;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A stage at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageProgress {
    /// Files done.
    pub files: u64,
    /// Files to do in all; 0 until that is known.
    pub of: u64,
}

/// A stage that goes on in the background, and what it leaves as its report. Dropping it cancels it and waits for its end.
#[derive(Debug)]
pub struct StageRun<R> {
    shared: Arc<Shared>,
    result: Arc<Mutex<Option<Result<R, RunError>>>>,
    thread: Option<JoinHandle<()>>,
}

/// What a stage and its handle tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) done: AtomicU64,
    pub(super) of: AtomicU64,
}

impl<R> StageRun<R> {
    /// Where it is now.
    pub fn progress(&self) -> StageProgress {
        StageProgress { files: self.shared.done.load(Relaxed), of: self.shared.of.load(Relaxed) }
    }

    /// A handle that stops it. What was written stays.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(Arc::clone(&self.shared.cancelled))
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`RunError::Open`] when there is no index, it cannot be opened, or what embeds cannot be loaded; others when it cannot
    /// be read or written. Cancelling is no error: the report says so.
    pub fn wait(mut self) -> Result<R, RunError> {
        let died = self.thread.take().and_then(|thread| thread.join().err());
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        let detail = || died.map_or_else(|| "it left no result".into(), |payload| panic_message(&*payload));
        result.unwrap_or_else(|| Err(RunError::Panicked { detail: detail() }))
    }
}

impl<R> Drop for StageRun<R> {
    fn drop(&mut self) {
        self.canceller().cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a stage on a thread of this name.
pub(super) fn start<R: Send + 'static>(
    name: &str,
    body: impl FnOnce(&Shared) -> Result<R, RunError> + Send + 'static,
) -> StageRun<R> {
    let shared = Arc::new(Shared::default());
    let result = Arc::new(Mutex::new(None));
    let (for_thread, to) = (Arc::clone(&shared), Arc::clone(&result));
    let work = move || {
        let left = body(&for_thread);
        *to.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    let thread = thread.inspect_err(|error| {
        let detail = format!("no thread could be started: {error}");
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(RunError::Panicked { detail }));
    });
    StageRun { shared, result, thread: thread.ok() }
}

/// Where files are, given the directory, name and size of each; `None` for those whose directory is gone. Quick for files that
/// come a directory at a time.
pub(super) fn candidates<'f>(
    reader: &StoreReader,
    files: impl Iterator<Item = (DirId, &'f [u8], u64)>,
) -> Result<Vec<Option<Candidate>>, StoreError> {
    let mut dir: Option<(DirId, Option<Vec<u8>>)> = None;
    let candidate = |(parent, name, size): (DirId, &[u8], u64)| {
        if dir.as_ref().is_none_or(|(id, _)| *id != parent) {
            dir = Some((parent, reader.path_of_dir(parent)?));
        }
        let path = dir.as_ref().and_then(|(_, path)| path.as_ref());
        Ok(path.map(|path| Candidate::new(parent, path, name, size)))
    };
    files.map(candidate).collect()
}
