//! How fresh an index is: a file beside the stores says when it was last known to equal the tree, and whether somebody
//! watches it. It is a hint for people and programs, not part of a generation, and is not made durable.

use super::layout::Layout;
use super::lock::{PidLock, Refused};
use crate::error::OpenError;
use crate::record::now_ns;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, Instant};

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
    as_of_ns: Option<i64>,
    /// The watcher that has written it.
    pid: u32,
    /// When: a watcher that is alive writes again every few seconds.
    written_ns: i64,
}

/// How often a watcher that has nothing to do says that it is there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// A watcher that has said nothing for so long was stopped.
const SILENT: Duration = Duration::from_secs(20);
/// Whoever looks whether somebody watches holds the lock for a moment.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What is known now.
pub(super) fn read(layout: &Layout) -> Freshness {
    let note = std::fs::read(layout.freshness_file()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(Note { state, as_of_ns, pid, written_ns }) = note else { return Freshness::default() };
    // A watcher that was killed has left its last word behind, but not its lock; one that was stopped, both. The lock may
    // be another's by now.
    let silent = now_ns().saturating_sub(written_ns) > SILENT.as_nanos() as i64;
    let is_alive = || !silent && watcher(layout) == Some(pid);
    let state = if state == WatchState::Unwatched || !is_alive() { WatchState::Unwatched } else { state };
    Freshness { state, as_of_ns }
}

/// A run over the whole tree has ended well that began at `as_of_ns`. A watcher knows better.
pub(super) fn note_run(layout: &Layout, as_of_ns: i64) {
    if watcher(layout).is_none() {
        write(layout, WatchState::Unwatched, Some(as_of_ns));
    }
}

/// The index is being thrown away or repaired: nothing is known of it any more.
pub(super) fn forget(layout: &Layout) {
    if let Err(error) = std::fs::remove_file(layout.freshness_file())
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "how fresh the index is may be told wrongly");
    }
}

/// Who watches: its pid, 0 when that is not known.
pub(super) fn watcher(layout: &Layout) -> Option<u32> {
    PidLock::holder(&layout.watch_lock_file())
}

/// In one piece, for somebody may be reading it. An old note would be worse than none.
fn write(layout: &Layout, state: WatchState, as_of_ns: Option<i64>) {
    let note = Note { state, as_of_ns, pid: std::process::id(), written_ns: now_ns() };
    let path = layout.freshness_file();
    let made = path.with_extension("new");
    let text = serde_json::to_string(&note).unwrap_or_default();
    if let Err(error) = std::fs::write(&made, text).and_then(|()| std::fs::rename(&made, &path)) {
        tracing::debug!(%error, "how fresh the index is was not noted");
        forget(layout);
    }
}

/// Held for as long as somebody watches.
#[derive(Debug)]
pub(super) struct WatchLock {
    layout: Layout,
    noted: Freshness,
    written: Instant,
    // Let go of after the last note: fields are dropped when `drop` has ended.
    _lock: PidLock,
}

impl WatchLock {
    /// Takes the lock of the one watcher that a tree may have.
    pub(super) fn acquire(layout: &Layout) -> Result<WatchLock, OpenError> {
        layout.create()?;
        let failed = |source: io::Error| OpenError::IndexDir { path: layout.index_dir.clone(), source };
        let mut attempts = 0;
        let mut lock = loop {
            match PidLock::take(&layout.watch_lock_file()) {
                Ok(lock) => break lock,
                Err(Refused::Held(_)) if attempts < LOCK_ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(Refused::Held(pid)) => {
                    return Err(OpenError::Watched { path: layout.index_dir.clone(), pid });
                }
                Err(Refused::Io(source)) => return Err(failed(source)),
            }
        };
        let before = read(layout);
        lock.sign().map_err(failed)?;
        let noted = Freshness { state: WatchState::Unwatched, ..before };
        // What a watcher that was killed has said must not pass for our word.
        write(layout, noted.state, noted.as_of_ns);
        Ok(WatchLock { layout: layout.clone(), noted, written: Instant::now(), _lock: lock })
    }

    /// Tells everybody. `as_of_ns` stays as it is when it is `None`.
    pub(super) fn note(&mut self, state: WatchState, as_of_ns: Option<i64>) {
        let noted = Freshness { state, as_of_ns: as_of_ns.or(self.noted.as_of_ns) };
        let is_news = noted != self.noted;
        self.noted = noted;
        if is_news || self.written.elapsed() >= HEARTBEAT {
            write(&self.layout, noted.state, noted.as_of_ns);
            self.written = Instant::now();
        }
    }
}

impl Drop for WatchLock {
    fn drop(&mut self) {
        self.note(WatchState::Unwatched, None);
    }
}
