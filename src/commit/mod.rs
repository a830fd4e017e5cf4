//! The one writer: gathers what the shards found and publishes it, generation by generation.
//!
//! A publication has three steps, each durable before the next: the *intent* (every change, in LMDB), the commit of the
//! text index (with the generation as its payload), and the *publication* (one LMDB transaction that applies the intent
//! and makes the generation the current one). A crash before the second step drops the intent; a crash after it is
//! completed by [`recovery`]. Readers look at LMDB alone, so they see the old generation until the last step and the new
//! one after it.

pub(crate) mod recovery;
pub(crate) mod repair;
pub(crate) mod symbols;
pub(crate) mod vectors;

use crate::error::StoreError;
use crate::failpoint::reached;
use crate::limits::{RETRIES, RETRY_PAUSE, SEGMENTS_MAX};
use crate::record::{Batch, SegmentKey};
use crate::store::schema::Published;
use crate::store::write::ended_versions;
use crate::store::{Store, StoreReader, seal};
use crate::text::index::{TextIndex, segment_files};
use std::collections::HashMap;
use tantivy::index::SegmentMeta;
use tracing::{debug_span, info_span};

/// What a run has published.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Committed {
    /// The published generation.
    pub(crate) generation: u64,
    pub(crate) removed: u64,
    /// Batches that had to be written again.
    pub(crate) retries: u64,
    /// Publications.
    pub(crate) publications: u64,
}

/// Gathers batches and segments, and publishes them.
pub(crate) struct Committer {
    store: Store,
    text: TextIndex,
    published: Published,
    text_lost: bool,
    /// Documents without a record, which a repair has left.
    orphans: Option<Vec<u32>>,
    /// Batches of segments that are still being filled.
    waiting: HashMap<SegmentKey, Vec<Batch>>,
    ready: Vec<Batch>,
    segments: Vec<SegmentMeta>,
    /// More than these are merged: what one run makes, a segment a shard, is left alone.
    segments_max: usize,
    result: Committed,
}

/// The ids that were never used, at the time of a publication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextIds {
    pub(crate) file: u32,
    pub(crate) dir: u32,
}

impl Committer {
    pub(crate) fn new(store: Store, opened: recovery::Opened, shards: usize) -> Self {
        let recovery::Opened { text, published, text_lost, orphans } = opened;
        let result = Committed { generation: published.generation, ..Committed::default() };
        let (waiting, ready, segments) = (HashMap::new(), Vec::new(), Vec::new());
        Committer {
            store,
            text,
            published,
            text_lost,
            orphans,
            waiting,
            ready,
            segments,
            segments_max: SEGMENTS_MAX.max(shards + 1),
            result,
        }
    }

    /// Takes a batch: to be published with its segment, or as soon as something is.
    pub(crate) fn batch(&mut self, segment: Option<SegmentKey>, batch: Batch) {
        match segment {
            Some(segment) => self.waiting.entry(segment).or_default().push(batch),
            None => self.ready.push(batch),
        }
    }

    /// The segment is durable: its batches can be published.
    pub(crate) fn sealed(&mut self, segment: SegmentKey, meta: Option<SegmentMeta>) {
        self.ready.extend(self.waiting.remove(&segment).unwrap_or_default());
        self.segments.extend(meta);
    }

    /// Publishes what is ready. `complete` says that nothing of the tree is missing, `verdicts` is the fingerprint of what has
    /// accepted all names, if that can be said of all.
    pub(crate) fn publish(&mut self, ids: NextIds, complete: bool, verdicts: Option<u64>) -> Result<(), StoreError> {
        let batches = std::mem::take(&mut self.ready);
        let segments = std::mem::take(&mut self.segments);
        if batches.is_empty() && self.published.generation > 0 && !self.text_lost && self.orphans.is_none() {
            if complete && !self.published.complete {
                reached("before-complete");
                self.store.mark_complete()?;
                reached("after-complete");
                self.published.complete = true;
            }
            if let Some(fingerprint) = verdicts
                && StoreReader::begin(&self.store)?.verdicts().ok().flatten() != verdicts
            {
                self.store.write_verdicts(self.published.generation, fingerprint)?;
            }
            return Ok(());
        }
        let generation = self.published.generation + 1;
        let _span = info_span!("publish", generation, batches = batches.len(), segments = segments.len()).entered();
        let complete = complete || self.published.complete;
        let next = Published { generation, next_file: ids.file, next_dir: ids.dir, published_ns: 0, complete };
        let mut ended = ended_versions(&StoreReader::begin(&self.store)?, &batches)?;
        ended.append(&mut self.orphans.take().unwrap_or_default());
        if self.published.generation == 0 || self.text_lost {
            self.store.sync_directories()?;
        }
        let retries = &mut self.result.retries;
        let retry = |attempt, error: &StoreError| {
            *retries += 1;
            retry_later(attempt, error)
        };
        debug_span!("write intent").in_scope(|| self.store.write_intent(&next, &batches, retry))?;
        debug_span!("commit text").in_scope(|| self.text.commit(generation, ended.into_iter(), &segments))?;
        let meta = debug_span!("merge segments").in_scope(|| self.text.merge(self.segments_max))?;
        let applied =
            debug_span!("publish metadata").in_scope(|| self.store.publish_intent(&next, &batches, &meta, verdicts))?;
        reached("before-old-files-deleted");
        self.text.forget_old_files(&meta);
        reached("after-old-files-deleted");
        debug_span!("seal pages").in_scope(|| {
            seal::seal_files(self.store.dir(), seal::Files::Text, self.text.path(), &segment_files(&meta), &[]);
        });
        reached("after-seal");
        self.published = next;
        self.text_lost = false;
        self.result.generation = generation;
        self.result.removed += applied.removed;
        self.result.publications += 1;
        Ok(())
    }

    /// What was published so far.
    pub(crate) fn result(&self) -> Committed {
        self.result
    }
}

/// Waits before the next attempt at a failed batch, twice as long each time; says whether there is to be one.
fn retry_later(attempt: u32, error: &StoreError) -> bool {
    if attempt > RETRIES {
        tracing::warn!(attempt, %error, "giving up on a batch");
        return false;
    }
    tracing::warn!(attempt, %error, "a batch failed; trying again");
    std::thread::sleep(RETRY_PAUSE * 2u32.saturating_pow(attempt - 1));
    true
}

/// Keeps compiled rules for the next run.
pub(crate) fn keep_rules(store: &Store, fingerprint: u64, bytes: &[u8]) -> Result<(), StoreError> {
    store.write_rules(fingerprint, bytes)
}
