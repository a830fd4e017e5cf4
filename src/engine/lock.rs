//! Lock files with the pid of their holder: the writer's (one process, one run at a time) and the watcher's. The kernel lets go
//! of a lock when the process ends, however it ends.

use super::layout::Layout;
use crate::error::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A lock that this process holds.
#[derive(Debug)]
pub(super) struct PidLock(File);

/// Why a lock was not taken.
pub(super) enum Refused {
    /// The process with this pid holds it; 0 when that is not known.
    Held(u32),
    Io(io::Error),
}

impl PidLock {
    /// Takes the lock of the file at `path`, making it when it is not there.
    pub(super) fn take(path: &Path) -> Result<PidLock, Refused> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(Refused::Io)?;
        match file.try_lock() {
            Ok(()) => Ok(PidLock(file)),
            Err(TryLockError::WouldBlock) => Err(Refused::Held(pid_in(&mut file))),
            Err(TryLockError::Error(error)) => Err(Refused::Io(error)),
        }
    }

    /// Says in the file who holds it.
    pub(super) fn sign(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        writeln!(self.0, "{}", std::process::id())
    }

    /// Who holds the lock of the file at `path`, if anybody does: the pid, 0 when it is not known.
    pub(super) fn holder(path: &Path) -> Option<u32> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(pid_in(&mut file)),
            _ => None,
        }
    }
}

fn pid_in(file: &mut File) -> u32 {
    let mut pid = String::new();
    file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok()).unwrap_or(0)
}

impl Drop for PidLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started has a copy of the descriptor for a moment.
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the lock goes with the process");
        }
    }
}

/// How often a lock that another process holds is asked for.
const ASK: Duration = Duration::from_millis(20);

/// Takes the writer's lock when the run that holds it has ended. Gives up when it is `cancelled`.
pub(super) fn wait(layout: &Layout, cancelled: &AtomicBool) -> Result<PidLock, OpenError> {
    let mut told = false;
    loop {
        match try_acquire(layout) {
            Err(OpenError::Busy { pid, .. }) if !cancelled.load(Relaxed) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(index = %layout.index_dir.display(), pid, "waiting for the end of another run");
                }
                std::thread::sleep(ASK);
            }
            acquired => return acquired,
        }
    }
}

/// What `look` sees while no run is under way: no file has an id that is not published yet, so nothing below the smallest free
/// one is still to come. Gives up when it is `cancelled`.
pub(super) fn between_runs<T>(
    layout: &Layout,
    cancelled: &AtomicBool,
    look: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let _lock = wait(layout, cancelled)?;
    look()
}

/// How long a lock is asked for before it counts as held: symbols and vectors are written in a moment (of vectors, some tens of
/// megabytes), a run takes longer.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Takes the writer's lock, creating the index directory when it is not there.
pub(super) fn acquire(layout: &Layout) -> Result<PidLock, OpenError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match try_acquire(layout) {
            Err(OpenError::Busy { .. }) if Instant::now() < until => std::thread::sleep(ASK),
            acquired => return acquired,
        }
    }
}

fn try_acquire(layout: &Layout) -> Result<PidLock, OpenError> {
    layout.create()?;
    let path = || layout.index_dir.clone();
    let mut lock = PidLock::take(&layout.lock_file()).map_err(|refused| match refused {
        Refused::Held(pid) => OpenError::Busy { path: path(), pid },
        Refused::Io(source) => OpenError::IndexDir { path: path(), source },
    })?;
    // A disk that is too full for this line is not worth failing here: the run will say so with a better message.
    if let Err(error) = lock.sign() {
        tracing::debug!(%error, "the pid is not in the lock file");
    }
    Ok(lock)
}
