//! The writer's lock: one process, one run at a time. The kernel lets go of it when the process ends, however it ends.

use super::layout::Layout;
use crate::error::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Held for the length of a run.
#[derive(Debug)]
pub(super) struct WriterLock(File);

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started has a copy of the descriptor for a moment.
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the lock goes with the process");
        }
    }
}

/// How often a lock that another process holds is asked for.
const ASK: Duration = Duration::from_millis(20);

/// Takes the lock when the run that holds it has ended. Gives up when it is `cancelled`.
pub(super) fn wait(layout: &Layout, cancelled: &AtomicBool) -> Result<WriterLock, OpenError> {
    tracing::info!(index = %layout.index_dir.display(), "waiting for the end of another run");
    loop {
        match acquire(layout) {
            Err(OpenError::Busy { .. }) if !cancelled.load(Relaxed) => std::thread::sleep(ASK),
            acquired => return acquired,
        }
    }
}

/// Takes the lock, creating the index directory when it is not there.
pub(super) fn acquire(layout: &Layout) -> Result<WriterLock, OpenError> {
    layout.create()?;
    let path = layout.lock_file();
    let failed = |source| OpenError::IndexDir { path: layout.index_dir.clone(), source };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok()).unwrap_or(0);
            return Err(OpenError::Busy { path: layout.index_dir.clone(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let mut write_pid = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    // A disk that is too full for this line is not worth failing here: the run will say so with a better message.
    if let Err(error) = write_pid() {
        tracing::debug!(%error, "the pid is not in the lock file");
    }
    Ok(WriterLock(file))
}
