//! What a run has done.

use crate::counters::Counts;
use crate::error::Skip;
use leindex_fallback::IoStats;
use std::path::PathBuf;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The index is up to date with the tree as it was walked.
    Done,
    /// It was cancelled; what was published by then stays.
    Cancelled,
}

/// Wall time of a run, by stage, in seconds. Stages overlap, so they do not add up to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// From the start to the end.
    pub total: f64,
    /// Until the last directory was listed and the last file read.
    pub scan: f64,
    /// Until the last segment was written, after the scan.
    pub index: f64,
    /// Spent on publications.
    pub commit: f64,
    /// From the start until the text of the whole tree was published; 0 if it was cancelled.
    pub text_published: f64,
}

/// The result of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The published generation.
    pub generation: u64,
    /// The root, absolute.
    pub root: PathBuf,
    /// Name of the I/O backend.
    pub backend: &'static str,
    /// Why that backend.
    pub backend_why: String,
    /// Threads are used although io_uring was wanted: `backend_why` says what to change.
    pub backend_fell_back: bool,
    /// I/O workers: shards and the most readers there were at once.
    pub shards: usize,
    /// How the files were reached: calls, and operations of rings. Rule files are among the opens and reads.
    pub io: IoStats,
    /// Rules for names that were matched by one scan of a Hyperscan database; 0 when there was none.
    pub compiled_rules: usize,
    /// What was counted. `ignored`, `indexed`, `unchanged`, `binary`, `too_large` and `skipped` add up to `seen`.
    pub files: Counts,
    /// The first [`crate::limits::SKIPS_LISTED`] skips; `files.skipped` counts all of them.
    pub skips: Vec<Skip>,
    /// The rule that first excluded something, as `source:line:pattern`.
    pub first_ignored: Option<String>,
    /// Wall times, in seconds.
    pub seconds: Seconds,
    /// The most memory that the process has had resident so far, in bytes; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
    /// Size of the index on disk, in bytes.
    pub index_bytes: u64,
    /// Generations that this run has published.
    pub publications: u64,
}

/// The most memory that this process has had resident, in bytes; 0 where the system does not tell.
pub(super) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.map_or(0, |kilobytes| kilobytes << 10)
}
