//! What workers send to `commit`, in batches.

use crate::record::{Batch, DirRecord, FileRecord, Removal, SegmentKey};
use crossbeam_channel::Sender;
use tantivy::index::SegmentMeta;

/// A message to the commit thread.
pub(crate) enum ToCommit {
    /// A batch; with a segment, it is published together with that segment, otherwise with the next publication.
    Batch(Option<SegmentKey>, Batch),
    /// The segment of a shard is durable. `meta` is `None` when it held no document.
    Sealed {
        segment: SegmentKey,
        meta: Option<SegmentMeta>,
        /// The shard will not write another one.
        last: bool,
    },
    /// A shard could not write its segment: the run fails.
    Failed(tantivy::TantivyError),
}

/// Collects records until a batch is full.
pub(super) struct Outbox {
    to_commit: Sender<ToCommit>,
    segment: Option<SegmentKey>,
    batch: Batch,
    batch_files: usize,
}

impl Outbox {
    /// An outbox whose batches belong to `segment`, or to none.
    pub(super) fn new(to_commit: Sender<ToCommit>, segment: Option<SegmentKey>, batch_files: usize) -> Self {
        Outbox { to_commit, segment, batch: Batch::default(), batch_files }
    }

    /// Adds a file. Returns whether that completed a batch.
    pub(super) fn file(&mut self, file: FileRecord) -> bool {
        self.batch.files.push(file);
        let full = self.batch.files.len() >= self.batch_files;
        if full {
            self.flush();
        }
        full
    }

    /// Adds a removal.
    pub(super) fn removal(&mut self, removal: Removal) {
        self.batch.removals.push(removal);
        if self.batch.removals.len() >= self.batch_files {
            self.flush();
        }
    }

    /// Sends at once what has made room for something of another kind under the same name: if that were published first and
    /// the run killed then, nobody would find what is gone any more.
    pub(super) fn swapped(&mut self, removals: Vec<Removal>) {
        if !removals.is_empty() {
            self.send(ToCommit::Batch(None, Batch { removals, ..Batch::default() }));
        }
    }

    /// Sends new directories at once: they must be with `commit` before anyone can find a file in them.
    pub(super) fn dirs(&mut self, dirs: Vec<DirRecord>) {
        if !dirs.is_empty() {
            self.send(ToCommit::Batch(None, Batch { dirs, ..Batch::default() }));
        }
    }

    /// Sends what was collected.
    pub(super) fn flush(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.send(ToCommit::Batch(self.segment, batch));
        }
    }

    /// Sends what was collected and the end of the segment; what follows belongs to `next`.
    pub(super) fn seal(&mut self, meta: Option<SegmentMeta>, last: bool, next: SegmentKey) {
        self.flush();
        if let Some(segment) = self.segment.replace(next) {
            self.send(ToCommit::Sealed { segment, meta, last });
        }
    }

    /// Reports that the segment could not be written.
    pub(super) fn fail(&self, error: tantivy::TantivyError) {
        self.send(ToCommit::Failed(error));
    }

    fn send(&self, message: ToCommit) {
        // A commit thread that is gone has failed, and the run ends with its error.
        if self.to_commit.send(message).is_err() {
            tracing::debug!("the commit thread is gone");
        }
    }
}
