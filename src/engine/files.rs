//! The files that a run would accept, found by the very walk of a run.

use super::{Engine, base_rules};
use crate::counters::Counts;
use crate::error::{OpenError, RunError, Skip};
use crate::shard::placement::core_count;
use crate::shard::{Ids, PoolError, ScanInput, SegmentLimits, run_pool};
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
    let config = &engine.inner.config;
    let selected = crate::io::select(config.backend)
        .map_err(|error| OpenError::Setting { setting: "backend", detail: error.to_string() })?;
    let base = base_rules::load(layout, &config.rules)?;
    let failed = |source| RunError::Root { path: layout.root.clone(), source };
    let root = selected.backend.open_root(&layout.root).map_err(failed)?;
    let (to_commit, _) = crossbeam_channel::unbounded();
    let progress = Arc::default();
    let input = ScanInput {
        backend: selected.backend,
        root,
        only: None,
        store: None,
        factory: None,
        to_commit,
        shards: 0,
        readers: (core_count(), core_count()),
        placement: config.placement,
        segment_limits: SegmentLimits { inverter_bytes: config.inverter_bytes, age: config.checkpoint },
        ids: Arc::new(Ids { next_file: AtomicU32::new(1), next_dir: AtomicU32::new(1) }),
        rules: base.stack,
        rule_options: base.options,
        rule_prefix: base.prefix,
        git: base.git,
        index_dir: layout.index_dir_in_root(),
        file_bytes_max: config.file_bytes_max,
        batch_files: config.batch_files,
        lookahead: config.lookahead,
        cancelled: Arc::default(),
        progress: Arc::clone(&progress),
    };
    let result = run_pool(input, &AtomicBool::new(false)).map_err(|error| match error {
        PoolError::Io(source) => failed(source),
        PoolError::Store(error) => error.into_run(&layout.index_dir),
        PoolError::Panicked(detail) => RunError::Panicked { detail },
    })?;
    let mut paths = result.listed;
    paths.sort_unstable();
    Ok(FileList { paths, counts: progress.counts(), skips: result.skips, first_ignored: result.first_ignored })
}
