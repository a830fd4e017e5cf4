//! Repairs a damaged index: what is sound stays, and only what is damaged is read again by the next run.
//!
//! The metadata store is read page by page without LMDB, and written anew with the records whose checksum is right and
//! whose directories are all there. Segments with a file whose checksum is wrong are dropped from the list. What then has a
//! document and no record is deleted by the next publication; what has a record and no document is read again, as what has
//! neither is. Symbols are kept with the records if nothing of the metadata store is damaged: nobody could tell whether the
//! rest of those of a file is missing.

use crate::error::StoreError;
use crate::failpoint::reached;
use crate::record::{Batch, DirId, DirRecord, FileId, FileMeta, FileRecord, Flags, ROOT};
use crate::store::rebuild::{Contents, rebuild};
use crate::store::schema::{
    Entry, FORMAT, META_FORMAT, META_PUBLISHED, META_TEXT, META_VECTORS, Published, decode_entry, decode_place,
    decode_published, split_entry_key, unseal,
};
use crate::store::symbols::SymbolRows;
use crate::store::vectors::{self, newer_vectors};
use crate::store::{Store, StoreReader, pages};
use crate::text::index::{self, TextReader, committed_generation, without_damaged_segments};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// What a repair has saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Files that need not be read again.
    pub(crate) kept: u64,
    /// Files that are known and have to be read again. Those that are not known any more are not counted.
    pub(crate) lost: u64,
    /// Segments that were dropped.
    pub(crate) segments: usize,
}

/// Records of a damaged store, whatever could be read.
#[derive(Debug, Default)]
struct Salvaged {
    published: Option<Published>,
    text_meta: Option<Vec<u8>>,
    vectors: Option<Vec<u8>>,
    format: Option<u32>,
    entries: BTreeMap<(DirId, Vec<u8>), Entry>,
    places: HashMap<DirId, (DirId, Vec<u8>)>,
}

impl Salvaged {
    /// Takes a record unless it is damaged.
    fn take(&mut self, table: &str, key: &[u8], value: &[u8]) {
        match table {
            // Old pages may hold older versions of a record: the newest counts.
            "meta" if key == META_PUBLISHED => {
                let newer = |found: &Published| self.published.is_none_or(|known| known.generation < found.generation);
                if let Some(found) = decode_published(value).ok().filter(newer) {
                    self.published = Some(found);
                }
            }
            "meta" if key == META_TEXT => {
                if let Ok(list) = unseal("list of segments", key, value) {
                    self.text_meta.get_or_insert_with(|| list.to_vec());
                }
            }
            "meta" if key == META_VECTORS => self.vectors = newer_vectors(self.vectors.take(), value),
            "meta" if key == META_FORMAT => {
                self.format = value.first_chunk::<4>().map(|format| u32::from_le_bytes(*format));
            }
            "entries" => {
                if let (Ok((parent, name)), Ok(entry)) = (split_entry_key(key), decode_entry(key, value)) {
                    let newer = |known: &Entry| id_of(known) < id_of(&entry);
                    let key = (parent, name.to_vec());
                    if self.entries.get(&key).is_none_or(newer) {
                        self.entries.insert(key, entry);
                    }
                }
            }
            "dirs" => {
                let id = key.first_chunk::<4>().map(|id| DirId::from_be_bytes(*id));
                if let (Some(id), Ok((parent, name))) = (id, decode_place(key, value)) {
                    self.places.insert(id, (parent, name.to_vec()));
                }
            }
            _ => {}
        }
    }

    /// Directories that hang together up to the root, in both tables.
    fn whole_dirs(&self) -> HashSet<DirId> {
        let mut whole = HashSet::from([ROOT]);
        let mut of: HashMap<DirId, Vec<DirId>> = HashMap::new();
        for (id, (parent, name)) in &self.places {
            if self.entries.get(&(*parent, name.clone())) == Some(&Entry::Dir(*id)) {
                of.entry(*parent).or_default().push(*id);
            }
        }
        let mut next = vec![ROOT];
        while let Some(dir) = next.pop() {
            for id in of.remove(&dir).unwrap_or_default() {
                if whole.insert(id) {
                    next.push(id);
                }
            }
        }
        whole
    }

    /// What was published, as far as it can be told when its own record is lost.
    fn published(&self, generation: Option<u64>, last_document: FileId) -> Option<Published> {
        let files = self.entries.values().filter_map(|entry| match entry {
            Entry::File(meta) => Some(meta.id),
            Entry::Dir(_) => None,
        });
        let last_file = files.max().unwrap_or(0).max(last_document);
        let last_dir = self.places.keys().copied().max().unwrap_or(ROOT);
        let (next_file, next_dir) = (last_file.checked_add(1)?, last_dir.checked_add(1)?);
        let saved = self.published.unwrap_or(Published { generation: generation?, ..Published::default() });
        // Whatever is lost: no id and no generation is used twice.
        Some(Published {
            generation: saved.generation.max(generation.unwrap_or(0)),
            next_file: saved.next_file.max(next_file),
            next_dir: saved.next_dir.max(next_dir),
            complete: false,
            ..saved
        })
    }
}

/// Repairs the index in `meta_dir` and `text_dir`. `None` when nothing of it can be kept. The caller holds the writer's
/// lock, and nobody of this process has the stores open.
pub(crate) fn repair(meta_dir: &Path, text_dir: &Path) -> Result<Option<Repaired>, StoreError> {
    let mut salvaged = Salvaged::default();
    let read = pages::salvage(&meta_dir.join("data.mdb"), |table, key, value| salvaged.take(table, key, value));
    let checked = match read {
        Err(StoreError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    // The record of the format has no checksum; the others have, and a record of another format does not decode.
    if salvaged.entries.is_empty() && salvaged.format != Some(FORMAT) {
        return Ok(None);
    }
    let committed = committed_generation(text_dir);
    let generation = committed.as_ref().map(|(generation, _)| *generation);
    let published = salvaged.published.map(|published| published.generation);
    // The working copy of the list is as good as the published one, if it is of that generation.
    let copy = || committed.filter(|(generation, _)| published.is_none_or(|published| published == *generation));
    let list = salvaged.text_meta.take().or_else(|| copy().map(|(_, list)| list));
    // Without its directory, nothing of the text is left.
    let sound = list.and_then(|list| without_damaged_segments(text_dir, &list).ok());
    let (text_meta, segments) = sound.map_or((None, 0), |(list, dropped)| (Some(list), dropped));
    let documents = documents(text_dir, text_meta.as_deref());
    let (text_meta, documents) = match documents {
        Ok(documents) => (text_meta, documents),
        Err(error) => {
            tracing::warn!(%error, "the text index cannot be read");
            (None, HashMap::new())
        }
    };
    let last_document = documents.keys().copied().max().unwrap_or(0);
    let Some(published) = salvaged.published(generation, last_document) else { return Ok(None) };
    let (mut contents, mut repaired) = reconcile(salvaged, documents, published, text_meta);
    if checked.is_sound() {
        contents.symbols = stored_symbols(meta_dir, &contents.records).unwrap_or_else(|error| {
            tracing::warn!(%error, "symbols are extracted again");
            SymbolRows::default()
        });
    }
    repaired.segments = segments;
    reached("before-repair");
    rebuild(meta_dir, &contents)?;
    reached("after-repair-data-file");
    // What it holds is of a publication that has not come to its end: those files are read again.
    if let Err(error) = std::fs::remove_file(meta_dir.join("intent")) {
        tracing::debug!(%error, "no publication was under way");
    }
    reached("after-repair");
    Ok(Some(repaired))
}

/// The symbols of the files that have a document, from a store that is sound.
fn stored_symbols(meta_dir: &Path, records: &Batch) -> Result<SymbolRows, StoreError> {
    let store = Store::open(meta_dir)?;
    let mut symbols = StoreReader::begin(&store)?.symbol_rows()?;
    store.close();
    let kept = records.files.iter().map(|file| &file.meta).filter(|meta| meta.flags.has(Flags::INDEXED));
    let kept: HashSet<FileId> = kept.map(|meta| meta.id).collect();
    symbols.retain(|id| kept.contains(&id));
    Ok(symbols)
}

fn id_of(entry: &Entry) -> (bool, u32) {
    match entry {
        Entry::File(meta) => (false, meta.id),
        Entry::Dir(dir) => (true, *dir),
    }
}

/// The living documents of the sound segments: file and directory of each.
fn documents(text_dir: &Path, list: Option<&[u8]>) -> Result<HashMap<FileId, DirId>, StoreError> {
    let mut documents = HashMap::new();
    let Some(list) = list else { return Ok(documents) };
    let text = TextReader::open(text_dir, list.to_vec())?;
    for segment in text.searcher.segment_readers() {
        documents.extend(index::documents(segment)?.filter_map(|(id, dir)| id.zip(dir)));
    }
    Ok(documents)
}

/// Puts records and documents together.
fn reconcile(
    salvaged: Salvaged,
    mut documents: HashMap<FileId, DirId>,
    published: Published,
    text_meta: Option<Vec<u8>>,
) -> (Contents, Repaired) {
    let whole = salvaged.whole_dirs();
    let mut repaired = Repaired::default();
    // With ids that may be used again, rows would belong to something else.
    let vectors = salvaged.vectors.filter(|state| vectors::is_of(state, &published));
    let mut contents = Contents { published, text_meta, vectors, ..Contents::default() };
    let mut seen = HashSet::new();
    for ((parent, name), entry) in salvaged.entries {
        match entry {
            _ if !whole.contains(&parent) => {}
            Entry::Dir(id) if whole.contains(&id) => contents.records.dirs.push(DirRecord { id, parent, name }),
            Entry::Dir(_) => {}
            Entry::File(meta) if seen.insert(meta.id) => {
                let is_indexed = meta.flags.has(Flags::INDEXED);
                let has_document = is_indexed && documents.get(&meta.id) == Some(&parent);
                if has_document {
                    documents.remove(&meta.id);
                }
                let is_lost = is_indexed && !has_document;
                *(if is_lost { &mut repaired.lost } else { &mut repaired.kept }) += 1;
                let meta = if is_lost { unread(&meta) } else { meta };
                contents.records.files.push(FileRecord { parent, name, meta, replaces: None });
            }
            // Two names for one version: the other one has it.
            Entry::File(_) => {}
        }
    }
    contents.orphans = documents.into_keys().collect();
    contents.orphans.sort_unstable();
    (contents, repaired)
}

/// The record of a file that has to be read again.
fn unread(meta: &FileMeta) -> FileMeta {
    FileMeta { flags: Flags::DIRTY, hash: None, ..*meta }
}
