//! The files that a run would accept, found by the very walk of a run.

use super::Engine;
use super::run::{Scan, scan_error, scan_input};
use crate::counters::Counts;
use crate::error::{RunError, Skip};
use crate::shard::{Ids, run_pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// Accepted files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileList {
    /// Paths relative to the root, as bytes, sorted.
    pub paths: Vec<Vec<u8>>,
    /// What the walk has counted.
    pub counts: Counts,
    /// Entries that are not in the list for other reasons than a rule.
    pub skips: Vec<Skip>,
    /// The rule that first excluded something, as `source:line:pattern`.
    pub first_ignored: Option<String>,
}

pub(super) fn list(engine: &Engine) -> Result<FileList, RunError> {
    let layout = &engine.inner.layout;
    let selected = engine.inner.config.select_backend(&layout.root)?;
    // Nothing is sent, so nobody needs to listen.
    let (to_commit, _) = crossbeam_channel::unbounded();
    let progress = Arc::default();
    let scan = Scan {
        only: None,
        watches: None,
        store: None,
        factory: None,
        database: None,
        verdicts: None,
        to_commit,
        ids: Arc::new(Ids { next_file: AtomicU32::new(1), next_dir: AtomicU32::new(1) }),
        cancelled: Arc::default(),
        progress: Arc::clone(&progress),
    };
    let input = scan_input(engine, &selected, scan)?;
    let result = run_pool(input, &AtomicBool::new(false)).map_err(|error| scan_error(layout, error))?;
    let mut paths = result.listed;
    paths.sort_unstable();
    Ok(FileList { paths, counts: progress.counts(), skips: result.skips, first_ignored: result.first_ignored })
}
