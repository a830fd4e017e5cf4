//! Opens the tantivy index for the writer or for readers, commits segments, and keeps their number small.

use super::directory::{GenerationDirectory, META, sweep};
use super::inverter::Inverter;
use super::schema::{Fields, schema, settings};
use super::segment::{DocFile, write_segment};
use super::vocabulary::VocabularyPlugin;
use crate::error::StoreError;
use crate::failpoint::reached;
use crate::record::{DirId, FileId};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tantivy::directory::ManagedDirectory;
use tantivy::index::{SegmentId, SegmentMeta};
use tantivy::indexer::NoMergePolicy;
use tantivy::{Directory, Index, IndexWriter, ReloadPolicy, Searcher, SegmentReader, TantivyDocument};

/// The least that tantivy grants a writer thread; ours never adds a document.
const WRITER_BYTES: usize = 15 << 20;

/// Makes segments for one writer; cheap to clone, one a shard.
#[derive(Clone)]
pub(crate) struct SegmentFactory {
    index: Index,
    fields: Fields,
}

impl SegmentFactory {
    /// Writes a segment; see [`write_segment`].
    pub(crate) fn write(
        &self,
        inverter: Inverter,
        files: &[DocFile],
        cancelled: &AtomicBool,
    ) -> tantivy::Result<SegmentMeta> {
        write_segment(&self.index, self.fields, inverter, files, cancelled)
    }
}

/// The text index, open for writing. One exists at a time: the engine's lock sees to it.
pub(crate) struct TextIndex {
    index: Index,
    fields: Fields,
    directory: GenerationDirectory,
    /// Made by the first commit: a run that changes nothing starts no threads of tantivy.
    writer: Option<IndexWriter<TantivyDocument>>,
    /// Files of the published generation.
    published: HashSet<String>,
}

impl TextIndex {
    /// Opens the index in `path` as `published` (the `meta.json` of the published generation) says, or an empty one.
    /// Whatever else is there is put back or deleted.
    pub(crate) fn open(path: &Path, published: Option<&[u8]>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(path)?;
        let directory = GenerationDirectory::for_writing(path).map_err(tantivy::TantivyError::from)?;
        let meta = path.join(META);
        match published {
            Some(published) if std::fs::read(&meta).ok().as_deref() != Some(published) => {
                directory.atomic_write(Path::new(META), published)?;
                reached("after-meta-json-put-back");
            }
            Some(_) => {}
            None if meta.exists() => std::fs::remove_file(&meta)?,
            None => {}
        }
        let (schema, fields) = schema();
        let plugin = Arc::new(VocabularyPlugin::new(fields));
        let index = Index::builder()
            .schema(schema)
            .settings(settings())
            .register_plugin(plugin)
            .open_or_create(directory.clone())?;
        let living = index.load_metas()?.list_segment_files();
        let swept = sweep(path, &living)?;
        reached("after-sweep");
        if swept > 0 {
            tracing::debug!(swept, "deleted files that no generation uses");
        }
        let published = published.map(segment_files).unwrap_or_default().into_iter().collect();
        Ok(TextIndex { index, fields, directory, writer: None, published })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A maker of segments for a shard.
    pub(crate) fn factory(&self) -> SegmentFactory {
        SegmentFactory { index: self.index.clone(), fields: self.fields }
    }

    /// Deletes the versions `deleted`, adds the segments `added`, and commits durably with `generation` as payload.
    /// Returns the bytes of `meta.json`, which is what publishes the commit.
    pub(crate) fn commit(
        &mut self,
        generation: u64,
        deleted: impl Iterator<Item = u32>,
        added: &[SegmentMeta],
    ) -> Result<Vec<u8>, StoreError> {
        let fields = self.fields;
        let writer = self.writer()?;
        reached("before-text-deletes");
        // Deletes come first: they touch only what was committed before, never what is added now.
        for id in deleted {
            writer.delete_term(fields.id_term(id));
        }
        reached("after-text-deletes");
        for meta in added {
            writer.add_segment(meta.clone())?;
        }
        reached("after-text-segments");
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&generation.to_string());
        reached("before-meta-json");
        commit.commit()?;
        reached("after-meta-json");
        self.meta_bytes()
    }

    /// Writes segments anew of which many documents are deleted, and merges small ones when there are more than `most` of
    /// them. Call it between commit and publication.
    pub(crate) fn merge(&mut self, most: usize) -> Result<Vec<u8>, StoreError> {
        let metas = self.index.searchable_segment_metas()?;
        let wasteful: Vec<SegmentId> = metas.iter().filter(|meta| is_wasteful(meta)).map(SegmentMeta::id).collect();
        if !wasteful.is_empty() {
            reached("before-rewrite");
            self.writer()?.merge(&wasteful).wait()?;
            reached("after-rewrite");
        }
        let metas = self.index.searchable_segment_metas()?;
        if metas.len() > most {
            let ids = merge_candidates(&metas, most);
            reached("before-merge");
            self.writer()?.merge(&ids).wait()?;
            reached("after-merge");
        }
        self.meta_bytes()
    }

    /// Deletes the files that only generations before the published one used.
    /// `published` is the list of its segments.
    pub(crate) fn forget_old_files(&mut self, published: &[u8]) {
        let living: HashSet<String> = segment_files(published).into_iter().collect();
        // tantivy gives up only what was written since it was opened.
        for old in self.published.difference(&living) {
            self.directory.doom(Path::new(old));
        }
        self.directory.delete_doomed();
        self.published = living;
    }

    fn meta_bytes(&self) -> Result<Vec<u8>, StoreError> {
        Ok(self.directory.atomic_read(Path::new(META))?)
    }

    fn writer(&mut self) -> Result<&mut IndexWriter<TantivyDocument>, StoreError> {
        if self.writer.is_none() {
            let writer = self.index.writer_with_num_threads(1, WRITER_BYTES)?;
            writer.set_merge_policy(Box::new(NoMergePolicy));
            self.writer = Some(writer);
        }
        self.writer.as_mut().ok_or_else(|| StoreError::Damaged("text writer".into()))
    }
}

/// The generation that `meta.json` in `path` was committed with; `None` when there is none that can be read.
pub(crate) fn committed_generation(path: &Path) -> Option<(u64, Vec<u8>)> {
    let bytes = std::fs::read(path.join(META)).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some((value.get("payload")?.as_str()?.parse().ok()?, bytes))
}

/// The files that the segments of `meta` cannot be read without.
pub(crate) fn segment_files(meta: &[u8]) -> Vec<String> {
    let value: Option<serde_json::Value> = serde_json::from_slice(meta).ok();
    let segments = value.as_ref().and_then(|value| value.get("segments")?.as_array());
    segments.into_iter().flatten().flat_map(files_of).collect()
}

fn files_of(segment: &serde_json::Value) -> Vec<String> {
    let Some(id) = segment.get("segment_id").and_then(serde_json::Value::as_str) else { return Vec::new() };
    let id = id.replace('-', "");
    let components = ["idx", "pos", "term", "fast", "fieldnorm", "store", "vocab"];
    let mut files: Vec<String> = components.map(|extension| format!("{id}.{extension}")).into();
    if let Some(opstamp) = segment.pointer("/deletes/opstamp").and_then(serde_json::Value::as_u64) {
        files.push(format!("{id}.{opstamp}.del"));
    }
    files
}

/// A file that a segment of `meta` cannot be read without, and that is not in `path`.
pub(crate) fn missing_segment_file(path: &Path, meta: &[u8]) -> Option<String> {
    segment_files(meta).into_iter().find(|file| !path.join(file).exists())
}

/// The list of segments `meta` without those of which a file is damaged or missing, and how many these are.
pub(crate) fn without_damaged_segments(path: &Path, meta: &[u8]) -> Result<(Vec<u8>, usize), StoreError> {
    let damaged = damaged_files(path, segment_files(meta))?;
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(meta) else { return Ok((meta.to_vec(), 0)) };
    let Some(segments) = value.get_mut("segments").and_then(serde_json::Value::as_array_mut) else {
        return Ok((meta.to_vec(), 0));
    };
    let before = segments.len();
    segments.retain(|segment| {
        let files = files_of(segment);
        !files.is_empty() && !files.iter().any(|file| damaged.contains(file))
    });
    let dropped = before - segments.len();
    Ok((serde_json::to_vec(&value).unwrap_or_default(), dropped))
}

/// Those of the `files` of segments in `path` that are missing, or whose checksum is wrong. Opens none of them as a segment.
pub(crate) fn damaged_files(path: &Path, files: Vec<String>) -> Result<Vec<String>, StoreError> {
    let directory = GenerationDirectory::for_reading(path, Vec::new()).map_err(tantivy::TantivyError::from)?;
    let directory = ManagedDirectory::wrap(Box::new(directory))?;
    let is_damaged = |file: &String| {
        let check = || Ok(directory.validate_checksum(Path::new(file)).map_err(tantivy::TantivyError::from)?);
        !unpanicked(check).unwrap_or(false)
    };
    Ok(files.into_iter().filter(is_damaged).collect())
}

/// More than a quarter of its documents are deleted. Written anew then, it takes at most a third more than it needs, and
/// every document is written four times for one that is replaced.
fn is_wasteful(meta: &SegmentMeta) -> bool {
    3 * meta.num_deleted_docs() > meta.num_docs()
}

/// The smallest segments, so many that merging them into one leaves half of `most`: each document is then rewritten a
/// number of times that grows with the logarithm of the index, as in tantivy's own logarithmic policy.
fn merge_candidates(metas: &[SegmentMeta], most: usize) -> Vec<SegmentId> {
    let mut by_size: Vec<&SegmentMeta> = metas.iter().collect();
    by_size.sort_by_key(|meta| meta.num_docs());
    let count = metas.len() - most / 2 + 1;
    by_size.into_iter().take(count).map(SegmentMeta::id).collect()
}

/// One generation of the text index, open for searching.
pub(crate) struct TextReader {
    pub(crate) searcher: Searcher,
    pub(crate) fields: Fields,
}

impl TextReader {
    /// Opens the generation whose `meta.json` is `published`.
    pub(crate) fn open(path: &Path, published: Vec<u8>) -> Result<Self, StoreError> {
        unpanicked(|| {
            let directory = GenerationDirectory::for_reading(path, published).map_err(tantivy::TantivyError::from)?;
            let index = Index::open(directory)?;
            let reader: tantivy::IndexReader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
            let (_, fields) = schema();
            Ok(TextReader { searcher: reader.searcher(), fields })
        })
    }
}

/// File and directory of each living document of a segment; what is missing or is no id is `None`.
pub(crate) fn documents(
    segment: &SegmentReader,
) -> Result<impl Iterator<Item = (Option<FileId>, Option<DirId>)> + '_, StoreError> {
    let ids = segment.fast_fields().u64("id")?;
    let dirs = segment.fast_fields().u64("dir")?;
    let value = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
    Ok(segment.doc_ids_alive().map(move |doc| (value(ids.first(doc)), value(dirs.first(doc)))))
}

/// Opens a generation. tantivy trusts the bytes of a segment and may panic on damaged ones; that is an error like any other.
fn unpanicked<T>(open: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(StoreError::Damaged("a segment of the text index".into())))
}
