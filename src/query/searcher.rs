//! A search over the stores of one generation.

use super::candidates::Segment;
use super::filter::Filter;
use super::read::{Candidate, Readers};
use super::vectors::{NO_FILE, Vectors};
use super::{Mode, Query, SearchResult, symbol};
use crate::error::{QueryError, StoreError};
use crate::record::{DirId, FileId, FileMeta};
use crate::store::StoreReader;
use crate::store::schema::Entry;
use crate::text::index::TextReader;
use crate::text::segment::DocFile;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Files in the first round of verification.
pub(super) const FIRST_ROUND: usize = 32;
/// How much larger every further round is: what is read beyond the last hit that is wanted is at most three times what had
/// to be read.
pub(super) const ROUND_GROWTH: usize = 4;
/// Directories whose names are kept: of a tree of 16 files a directory, this is about 5 MB.
const DIRS_CACHED: usize = 8192;

/// Everything that is needed to answer queries on one generation.
pub(crate) struct Searcher {
    pub(super) readers: Readers,
    pub(super) index_dir: PathBuf,
    pub(super) generation: u64,
    reader: Mutex<StoreReader>,
    pub(super) text: TextReader,
    pub(super) segments: Vec<Segment>,
    dirs: Mutex<HashMap<DirId, DirNames>>,
    pub(super) vectors: Vectors,
}

/// A file of a directory, and where its name lies in the names.
struct NamedFile {
    id: FileId,
    name: std::ops::Range<usize>,
    size: u64,
    mtime_ns: i64,
}

/// The files of one directory, by id.
struct DirNames {
    /// Ends in a slash unless empty.
    path: Vec<u8>,
    /// Sorted by id.
    files: Vec<NamedFile>,
    names: Vec<u8>,
}

impl DirNames {
    fn load(reader: &StoreReader, dir: DirId) -> Result<DirNames, StoreError> {
        let mut found = DirNames { path: Vec::new(), files: Vec::new(), names: Vec::new() };
        // After a repair there may be documents of directories that are lost, until the next run.
        if !reader.has_dir(dir)? {
            return Ok(found);
        }
        found.path = reader.dir_prefix(dir)?;
        reader.for_each_child(dir, |child| {
            if let Entry::File(meta) = child.entry {
                let start = found.names.len();
                found.names.extend_from_slice(child.name);
                let name = start..found.names.len();
                let FileMeta { id, size, mtime_ns, .. } = meta;
                found.files.push(NamedFile { id, name, size, mtime_ns });
            }
            Ok(())
        })?;
        found.files.sort_unstable_by_key(|file| file.id);
        Ok(found)
    }

    fn find(&self, id: FileId) -> Option<&NamedFile> {
        let at = self.files.binary_search_by_key(&id, |known| known.id).ok()?;
        Some(&self.files[at])
    }

    fn candidate(&self, file: DocFile) -> Option<Candidate> {
        let known = self.find(file.id)?;
        let named = Candidate::new(file.dir, &self.path, &self.names[known.name.clone()], known.size);
        Some(named.modified(known.mtime_ns))
    }
}

impl Searcher {
    pub(crate) fn open(
        readers: Readers,
        index_dir: &Path,
        generation: u64,
        reader: StoreReader,
        text: TextReader,
        vectors: Vectors,
    ) -> Result<Searcher, StoreError> {
        let open = |segment| Segment::open(segment, text.fields);
        let segments = text.searcher.segment_readers().iter().map(open).collect::<Result<_, _>>()?;
        Ok(Searcher {
            readers,
            index_dir: index_dir.to_path_buf(),
            generation,
            reader: Mutex::new(reader),
            text,
            segments,
            dirs: Mutex::default(),
            vectors,
        })
    }

    pub(crate) fn search(&self, query: &Query) -> Result<SearchResult, QueryError> {
        let _span = tracing::debug_span!("search", mode = ?query.mode).entered();
        let filter = Filter::new(query)?;
        let mut result = match query.mode {
            Mode::Text => self.text_search(query, &filter),
            Mode::Substring | Mode::Regex => self.line_search(query, &filter),
            Mode::Symbol => symbol::search(self, query, &filter),
            Mode::Semantic => self.semantic_search(query, &filter, false),
            Mode::Hybrid => self.semantic_search(query, &filter, true),
        }?;
        result.generation = self.generation;
        Ok(result)
    }

    pub(super) fn failed(&self, error: impl Into<StoreError>) -> QueryError {
        error.into().into_query(&self.index_dir)
    }

    /// A file as a candidate, unless its path is filtered out or it is not published any more.
    pub(super) fn candidate(
        &self,
        file: DocFile,
        score: f32,
        filter: &Filter,
    ) -> Result<Option<Candidate>, QueryError> {
        let found = self.named(file).map_err(|error| self.failed(error))?;
        Ok(found.filter(|found| filter.accepts_path(found.path())).map(|found| found.scored(score)))
    }

    /// The file with its name, which its directory knows.
    pub(super) fn named(&self, file: DocFile) -> Result<Option<Candidate>, StoreError> {
        self.in_dir(file.dir, |names| names.candidate(file))
    }

    /// Calls `each` with the path of the file's directory, which ends in a slash unless empty, and the file's name; not if
    /// it is not published any more.
    pub(super) fn with_name(&self, file: DocFile, each: impl FnOnce(&[u8], &[u8])) -> Result<(), StoreError> {
        self.in_dir(file.dir, |names| {
            if let Some(known) = names.find(file.id) {
                each(&names.path, &names.names[known.name.clone()]);
            }
        })
    }

    fn in_dir<T>(&self, dir: DirId, find: impl FnOnce(&DirNames) -> T) -> Result<T, StoreError> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if dirs.len() >= DIRS_CACHED && !dirs.contains_key(&dir) {
            dirs.clear();
        }
        let names = match dirs.entry(dir) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
                new.insert(DirNames::load(&reader, dir)?)
            }
        };
        Ok(find(names))
    }

    pub(crate) fn with_reader<T>(&self, read: impl FnOnce(&StoreReader) -> T) -> T {
        read(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Chunks of the files of this generation that have vectors.
    pub(crate) fn embedded_chunks(&self) -> u64 {
        let rows = self.vectors.rows(self);
        rows.of_parts.iter().flatten().filter(|file| **file != NO_FILE).count() as u64
    }

    pub(crate) fn text(&self) -> &TextReader {
        &self.text
    }
}
