//! One snapshot that all requests share for as long as its generation is the published one: opening takes milliseconds. It is
//! let go of when nobody has used it for some seconds, because it keeps old pages and files alive.

use super::jobs::lock;
use leindex_engine::{Engine, Freshness, QueryError, Snapshot};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A snapshot that nobody has used for so long is dropped.
const IDLE: Duration = Duration::from_secs(5);
/// Symbols that are extracted meanwhile belong to the same generation, and an open snapshot does not see them.
const AGE_MAX: Duration = Duration::from_secs(10);

struct Kept {
    snapshot: Snapshot,
    opened: Instant,
    used: Instant,
}

pub(crate) struct Snapshots {
    engine: Engine,
    kept: Mutex<Option<Kept>>,
}

impl Snapshots {
    pub(crate) fn new(engine: Engine) -> Snapshots {
        Snapshots { engine, kept: Mutex::new(None) }
    }

    /// The published generation, and how fresh it is now.
    pub(crate) fn get(&self) -> Result<(Snapshot, Freshness), QueryError> {
        // Before the generation is looked up: it may be fresher than that, not staler.
        let freshness = self.engine.freshness();
        // Whoever comes while it is being opened waits for that, rather than opening it as well.
        let mut kept = lock(&self.kept);
        let published = match self.engine.generation() {
            Ok(generation) => Some(generation),
            Err(_) => {
                // The store may have been replaced, and ours keeps the new one from being opened.
                *kept = None;
                None
            }
        };
        if let Some(kept) = kept.as_mut().filter(|kept| Some(kept.snapshot.generation()) == published) {
            kept.used = Instant::now();
            return Ok((kept.snapshot.clone(), freshness));
        }
        *kept = None;
        let snapshot = self.engine.snapshot()?;
        let now = Instant::now();
        *kept = Some(Kept { snapshot: snapshot.clone(), opened: now, used: now });
        Ok((snapshot, freshness))
    }

    /// Lets go of a snapshot that nobody uses, or that is old. To be called now and then.
    pub(crate) fn drop_old(&self) {
        let is_old = |kept: &mut Kept| kept.used.elapsed() >= IDLE || kept.opened.elapsed() >= AGE_MAX;
        // Outside of the lock: closing files takes a moment.
        let old = lock(&self.kept).take_if(is_old);
        drop(old);
    }

    pub(crate) fn clear(&self) {
        *lock(&self.kept) = None;
    }
}
