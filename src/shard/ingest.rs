//! Content to terms to segment: the CPU half of a shard.

use super::outbox::Outbox;
use crate::counters::{self, Counters};
use crate::failpoint::reached;
use crate::limits::RACY;
use crate::record::{DirId, FileId, FileMeta, FileRecord, Flags, SegmentKey};
use crate::text::encoding::{Decoded, Encoding, decode, has_folding_chars};
use crate::text::index::SegmentFactory;
use crate::text::inverter::Inverter;
use crate::text::language::Language;
use crate::text::runs::has_odd_run;
use crate::text::schema::{TAG_FOLDS, TAG_LONG_RUN, TAG_NOT_UTF8, TAG_ODD_RUN, language_tag};
use crate::text::segment::DocFile;
use crate::text::terms::FileTerms;
use leindex_fallback::Meta;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// More than an inverter with a few terms takes: its first table and its first piece of postings.
const EMPTY_INVERTER_BYTES: usize = 4 << 20;
/// A parcel that held a large file is not kept.
const PARCEL_KEPT_BYTES: usize = 2 << 20;

/// A file that is about to be read.
#[derive(Clone, Debug)]
pub(super) struct FileInfo {
    pub(super) parent: DirId,
    pub(super) name: Vec<u8>,
    pub(super) meta: Meta,
    /// When `meta` was taken, nanoseconds since the epoch.
    pub(super) stat_ns: i64,
    /// What the published generation holds of it.
    pub(super) published: Option<FileMeta>,
}

impl FileInfo {
    /// The record of the file's new version.
    pub(super) fn record(self, id: FileId, found: Found, hash: Option<u64>) -> FileRecord {
        let racy = self.is_racy();
        let meta = FileMeta {
            id,
            size: self.meta.size,
            mtime_ns: self.meta.mtime_ns,
            ctime_ns: self.meta.ctime_ns,
            inode: self.meta.inode,
            flags: if racy || found.torn { found.flags.with(Flags::DIRTY) } else { found.flags },
            encoding: found.encoding.code(),
            language: found.language.code(),
            hash,
        };
        let replaces = self.published.map(|published| published.id);
        FileRecord { parent: self.parent, name: self.name, meta, replaces }
    }

    /// The record of a file whose content is that of the published version: that version, with the metadata of today.
    fn touched(self, published: &FileMeta) -> FileRecord {
        let flags = published.flags.without(Flags::DIRTY);
        let meta = FileMeta {
            flags: if self.is_racy() { flags.with(Flags::DIRTY) } else { flags },
            mtime_ns: self.meta.mtime_ns,
            ctime_ns: self.meta.ctime_ns,
            inode: self.meta.inode,
            ..*published
        };
        FileRecord { parent: self.parent, name: self.name, meta, replaces: None }
    }

    /// A later change could hide within the clock tick of this one. The change time counts too: it alone tells of a
    /// content that was replaced with its modification time put back.
    fn is_racy(&self) -> bool {
        self.meta.mtime_ns.max(self.meta.ctime_ns).saturating_add(RACY.as_nanos() as i64) >= self.stat_ns
    }

    /// The published version, if the metadata leaves open whether the content is still the same.
    fn undecided(&self, content: &[u8]) -> Option<FileMeta> {
        let known = Flags::INDEXED.0 | Flags::BINARY.0;
        let same_size =
            |published: &FileMeta| published.size == self.meta.size && published.size == content.len() as u64;
        self.published.filter(|published| published.flags.0 & known != 0 && same_size(published))
    }
}

/// What reading a file has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) flags: Flags,
    pub(super) encoding: Encoding,
    pub(super) language: Language,
    /// The content is not what the metadata was taken of.
    pub(super) torn: bool,
}

/// Content of several files on its way from a reader to a shard.
#[derive(Default)]
pub(super) struct Parcel {
    files: Vec<(FileInfo, usize)>,
    bytes: Vec<u8>,
}

impl Parcel {
    /// Adds a file.
    pub(super) fn push(&mut self, file: FileInfo, content: &[u8]) {
        self.bytes.extend_from_slice(content);
        self.files.push((file, self.bytes.len()));
    }

    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.files.len() * 192
    }

    /// Calls `each` with every file and its content; afterwards the parcel is empty.
    pub(super) fn unpack(&mut self, mut each: impl FnMut(FileInfo, &[u8])) {
        let mut start = 0;
        for (file, end) in self.files.drain(..) {
            each(file, &self.bytes[start..end]);
            start = end;
        }
        self.bytes.clear();
    }

    /// Whether its memory is worth keeping for another one.
    pub(super) fn is_reusable(&self) -> bool {
        (1..PARCEL_KEPT_BYTES).contains(&self.bytes.capacity())
    }
}

/// Ids that were never used.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) next_file: AtomicU32,
    pub(crate) next_dir: AtomicU32,
}

impl Ids {
    pub(super) fn file(&self) -> FileId {
        self.next_file.fetch_add(1, Relaxed)
    }

    pub(super) fn dir(&self) -> DirId {
        self.next_dir.fetch_add(1, Relaxed)
    }
}

/// When a shard ends its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentLimits {
    pub(crate) inverter_bytes: usize,
    pub(crate) age: Duration,
}

/// One shard's inverter and what surrounds it.
pub(super) struct Ingest {
    terms: FileTerms,
    scratch: String,
    inverter: Inverter,
    files: Vec<DocFile>,
    segment: SegmentKey,
    born: Instant,
    factory: SegmentFactory,
    limits: SegmentLimits,
    cancelled: Arc<AtomicBool>,
    pub(super) outbox: Outbox,
}

impl Ingest {
    pub(super) fn new(
        shard: u32,
        factory: SegmentFactory,
        limits: SegmentLimits,
        cancelled: Arc<AtomicBool>,
        outbox: Outbox,
    ) -> Self {
        Ingest {
            terms: FileTerms::default(),
            scratch: String::new(),
            inverter: Inverter::default(),
            files: Vec::new(),
            segment: SegmentKey { shard, sequence: 0 },
            born: Instant::now(),
            factory,
            limits,
            cancelled,
            outbox,
        }
    }

    /// The segment that shard `shard` begins with.
    pub(super) fn first_segment(shard: u32) -> SegmentKey {
        SegmentKey { shard, sequence: 0 }
    }

    /// Indexes one file and hands its record on. A full segment is written out here, between two batches.
    pub(super) fn file(&mut self, file: FileInfo, content: &[u8], ids: &Ids, counters: &Counters) {
        let torn = content.len() as u64 != file.meta.size;
        let mut hash = None;
        if let Some(published) = file.undecided(content) {
            counters::add(&counters.hashes, 1);
            hash = Some(xxh3_64(content));
            if published.hash == hash {
                counters::add(&counters.unchanged, 1);
                self.outbox.file(file.touched(&published));
                return;
            }
        }
        let id = ids.file();
        let (mut found, is_text) = match decode(content, &mut self.scratch) {
            Decoded::Binary => (Found::binary(&file.name), false),
            Decoded::Text { encoding, text, .. } => {
                let language = Language::detect(&file.name, &text.as_bytes()[..text.len().min(256)]);
                self.terms.collect(text.as_bytes());
                let tag = language_tag(language.code());
                let mut tags: Vec<&[u8]> = vec![&tag];
                let flagged = [
                    (self.terms.long_runs() > 0, TAG_LONG_RUN),
                    (encoding == Encoding::Latin1, TAG_NOT_UTF8),
                    (has_folding_chars(text), TAG_FOLDS),
                    (has_odd_run(text), TAG_ODD_RUN),
                ];
                tags.extend(flagged.iter().filter(|(set, _)| *set).map(|(_, tag)| *tag));
                self.inverter.add(&self.terms, &tags);
                self.files.push(DocFile { id, dir: file.parent });
                (Found { flags: Flags::INDEXED, encoding, language, torn: false }, true)
            }
        };
        found.torn = torn;
        counters::add(if is_text { &counters.indexed } else { &counters.binary }, 1);
        let batch_done = self.outbox.file(file.record(id, found, hash));
        // Between two batches as a rule; but a batch of huge files must not outgrow the memory.
        if (batch_done && self.is_full()) || self.is_out_of_memory() {
            self.seal(false);
        }
    }

    fn is_full(&self) -> bool {
        self.inverter.memory_bytes() >= self.limits.inverter_bytes || self.born.elapsed() >= self.limits.age
    }

    /// A batch that is twice over the limit cannot wait for its end. What even an empty inverter holds does not count.
    fn is_out_of_memory(&self) -> bool {
        self.inverter.memory_bytes() >= 2 * self.limits.inverter_bytes + EMPTY_INVERTER_BYTES
    }

    /// Ends the segment: writes it if it holds a document, and hands it to `commit`.
    pub(super) fn seal(&mut self, last: bool) {
        let inverter = std::mem::take(&mut self.inverter);
        let files = std::mem::take(&mut self.files);
        let _span = tracing::debug_span!("seal", shard = self.segment.shard, docs = files.len()).entered();
        let written = match files.len() {
            0 => Ok(None),
            _ => self.factory.write(inverter, &files, &self.cancelled).map(Some),
        };
        reached("after-segment");
        let next = SegmentKey { sequence: self.segment.sequence + 1, ..self.segment };
        match written {
            Ok(meta) => self.outbox.seal(meta, last, next),
            // A run that is cancelled publishes nothing more.
            Err(_) if self.cancelled.load(Relaxed) => {}
            Err(error) => self.outbox.fail(error),
        }
        self.segment = next;
        self.born = Instant::now();
    }
}

impl Found {
    fn binary(name: &[u8]) -> Found {
        Found { flags: Flags::BINARY, encoding: Encoding::Utf8, language: Language::detect(name, &[]), torn: false }
    }

    /// A file over the size limit.
    pub(super) fn too_large(name: &[u8]) -> Found {
        Found { flags: Flags::TOO_LARGE, ..Found::binary(name) }
    }
}
