//! How fresh an index is: a file beside the stores says when it was last known to equal the tree, and whether somebody
//! watches it. It is a hint for people and programs, not part of a generation, and is not made durable.

use super::layout::Layout;
use crate::error::OpenError;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether somebody watches the tree, and what they know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WatchState {
    /// Nobody does: what has changed since [`Freshness::as_of_ns`] is not known.
    #[default]
    Unwatched,
    /// Every change that was seen is in the index.
    Current,
    /// Changes were seen that are not in the index yet.
    Behind,
    /// Somebody goes over the tree every few seconds, because it cannot be watched.
    Polled,
}

/// How fresh an index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freshness {
    /// Whether somebody watches the tree.
    pub state: WatchState,
    /// A time at which the index was known to equal the tree: nanoseconds since the epoch. `None` when it is not known.
    pub as_of_ns: Option<i64>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    state: WatchState,
    as_of_ns: i64,
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// What is known now.
pub(super) fn read(layout: &Layout) -> Freshness {
    let note = std::fs::read(layout.freshness_file()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(Note { state, as_of_ns }) = note else { return Freshness::default() };
    // A watcher that was killed has left its last word behind, but not its lock.
    let state = if state == WatchState::Unwatched || !is_watched(layout) { WatchState::Unwatched } else { state };
    Freshness { state, as_of_ns: Some(as_of_ns) }
}

/// A run over the whole tree has ended well that began at `as_of_ns`. A watcher knows better.
pub(super) fn note_run(layout: &Layout, as_of_ns: i64) {
    if !is_watched(layout) {
        write(layout, &Note { state: WatchState::Unwatched, as_of_ns });
    }
}

fn is_watched(layout: &Layout) -> bool {
    match File::open(layout.watch_lock_file()) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// In one piece, for somebody may be reading it.
fn write(layout: &Layout, note: &Note) {
    let path = layout.freshness_file();
    let made = path.with_extension("new");
    let text = serde_json::to_string(note).unwrap_or_default();
    if let Err(error) = std::fs::write(&made, text).and_then(|()| std::fs::rename(&made, &path)) {
        tracing::debug!(%error, "how fresh the index is was not noted");
    }
}

/// Held for as long as somebody watches.
#[derive(Debug)]
pub(super) struct WatchLock {
    layout: Layout,
    file: File,
    noted: Freshness,
}

impl WatchLock {
    /// Takes the lock of the one watcher that a tree may have.
    pub(super) fn acquire(layout: &Layout) -> Result<WatchLock, OpenError> {
        layout.create()?;
        let failed = |source: io::Error| OpenError::IndexDir { path: layout.index_dir.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        let mut file = file.open(layout.watch_lock_file()).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok()).unwrap_or(0);
                return Err(OpenError::Watched { path: layout.index_dir.clone(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes())).map_err(failed)?;
        let noted = Freshness { state: WatchState::Unwatched, ..read(layout) };
        Ok(WatchLock { layout: layout.clone(), file, noted })
    }

    /// Tells everybody. `as_of_ns` stays as it is when it is `None`.
    pub(super) fn note(&mut self, state: WatchState, as_of_ns: Option<i64>) {
        let noted = Freshness { state, as_of_ns: as_of_ns.or(self.noted.as_of_ns) };
        if noted != self.noted {
            self.noted = noted;
            write(&self.layout, &Note { state, as_of_ns: noted.as_of_ns.unwrap_or(0) });
        }
    }
}

impl Drop for WatchLock {
    fn drop(&mut self) {
        self.note(WatchState::Unwatched, None);
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock goes with the process");
        }
    }
}
