//! Makes a damaged index sound.

use super::{Engine, freshness, lock};
use crate::commit::{repair, vectors};
use crate::error::OpenError;
use std::sync::PoisonError;

/// What a repair has saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// Files of which nothing was damaged: the next run does not read them.
    pub kept: u64,
    /// Files of which the text was damaged: the next run reads them. It also reads those whose record was lost, which
    /// nobody can count.
    pub lost: u64,
    /// Segments of the text index that were dropped.
    pub segments: usize,
    /// Nothing could be kept: the next run begins from nothing.
    pub everything: bool,
}

pub(super) fn repair(engine: &Engine) -> Result<Repair, OpenError> {
    let _span = tracing::info_span!("repair").entered();
    let layout = &engine.inner.layout;
    let _lock = lock::acquire(layout)?;
    engine.refuse_if_watched()?;
    // Held until the end: a search must not open it again before that.
    let mut store = engine.inner.store.lock().unwrap_or_else(PoisonError::into_inner);
    engine.close(store.take())?;
    freshness::forget(layout);
    let repaired = repair::repair(&layout.meta_dir(), &layout.text_dir()).map_err(|error| layout.store_error(error))?;
    // The next embedding makes anew what is missing; of the others it takes what is there.
    vectors::drop_damaged(&layout.vectors_dir()).map_err(|error| layout.store_error(error))?;
    match repaired {
        Some(saved) => Ok(Repair { kept: saved.kept, lost: saved.lost, segments: saved.segments, everything: false }),
        None => {
            layout.remove_stores().map_err(|source| OpenError::IndexDir { path: layout.index_dir.clone(), source })?;
            Ok(Repair { everything: true, ..Repair::default() })
        }
    }
}
