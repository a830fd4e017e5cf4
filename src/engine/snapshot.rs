//! One published generation, open for searching.

use super::Engine;
use super::freshness::{self, Freshness};
use crate::embed::part_names;
use crate::error::{OpenError, QueryError, StoreError};
use crate::query::{FileMatches, Query, Readers, SearchResult, Searcher, Vectors};
use crate::record::{FileMeta, Flags, path_bytes};
use crate::store::schema::{Entry, Published, VectorsState};
use crate::store::{Store, StoreReader, seal};
use crate::symbols::{Grammar, VERSION};
use crate::text::index::{TextReader, damaged_files, segment_files};
use crate::text::language::Language;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How often opening is tried again when files of a generation go away while it is being opened, because a newer one was
/// published.
const OPEN_ATTEMPTS: usize = 8;

/// One generation of every store. Cheap to clone; keeps its files alive, but on a run that needs a larger metadata map
/// it must let go within seconds (see [`crate::limits::MAP_BYTES`]; with the default size that does not happen).
///
/// ```no_run
/// # fn main() -> Result<(), leindex_engine::Error> {
/// use leindex_engine::{Engine, Query};
///
/// let engine = Engine::builder().open("path/to/tree")?;
/// let mut snapshot = engine.snapshot()?; // keep it for many searches
/// if engine.generation()? != snapshot.generation() {
///     drop(snapshot); // let go of the old one first
///     snapshot = engine.snapshot()?;
/// }
/// println!("{} hits", snapshot.search(&Query::text("publish intent"))?.hits.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot {
    searcher: Arc<Searcher>,
    published: Published,
    freshness: Freshness,
    index_bytes: u64,
}

/// What a generation holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The generation.
    pub generation: u64,
    /// When it was published, nanoseconds since the epoch.
    pub published_ns: i64,
    /// Whether it holds the whole tree; not so after a first run that was stopped.
    pub complete: bool,
    /// Files that can be searched.
    pub indexed: u64,
    /// Files that hold no text.
    pub binary: u64,
    /// Files that were over the size limit.
    pub too_large: u64,
    /// Bytes of the files that can be searched.
    pub content_bytes: u64,
    /// Files whose symbols are stored.
    pub symbol_files: u64,
    /// Files in languages with a grammar whose symbols are not stored, or not yet.
    pub symbols_pending: u64,
    /// Files that are embedded.
    pub embedded_files: u64,
    /// Chunks of them that have vectors.
    pub embedded_chunks: u64,
    /// Files that are not embedded, or not yet.
    pub embed_pending: u64,
    /// Directories.
    pub dirs: u64,
    /// Segments of the text index.
    pub segments: usize,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
    /// Searchable files by language.
    pub languages: BTreeMap<&'static str, u64>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("published", &self.published).finish_non_exhaustive()
    }
}

/// Checks the segments of the list `meta` that do not look as they did when they were last known to be sound.
fn check_text(store: &Store, text_dir: &Path, meta: &[u8]) -> Result<(), StoreError> {
    let files = segment_files(meta);
    let unsealed = seal::unsealed_files(store.dir(), seal::Files::Text, text_dir, &files);
    if unsealed.is_empty() {
        return Ok(());
    }
    if let Some(damaged) = damaged_files(text_dir, unsealed.clone())?.first() {
        return Err(StoreError::Unsound(format!("text/{damaged}: checksum does not match, or the file is missing")));
    }
    seal::seal_files(store.dir(), seal::Files::Text, text_dir, &files, &unsealed);
    Ok(())
}

/// Opens the vectors, and has those checked that do not look as they did when they were last known to be sound.
fn open_vectors(engine: &Engine, store: &Store, state: Result<VectorsState, StoreError>) -> Vectors {
    let dir = engine.inner.layout.vectors_dir();
    let numbers = state.as_ref().into_iter().flat_map(|state| &state.parts).map(|part| part.number);
    let files = part_names(numbers);
    let unsealed = seal::unsealed_files(store.dir(), seal::Files::Vectors, &dir, &files);
    let vectors = Vectors::open(&dir, state, &unsealed, engine.get_embedder());
    if !unsealed.is_empty() && vectors.are_whole() {
        seal::seal_files(store.dir(), seal::Files::Vectors, &dir, &files, &unsealed);
    }
    vectors
}

impl Snapshot {
    pub(super) fn open(engine: &Engine) -> Result<Snapshot, QueryError> {
        let _span = tracing::debug_span!("open generation").entered();
        let store = engine.existing_store()?;
        let layout = &engine.inner.layout;
        // Before the generation is looked up: it may be fresher than that, not staler.
        let freshness = freshness::read(layout);
        let mut last = None;
        for attempt in 1..=OPEN_ATTEMPTS {
            let open = || -> Result<(Searcher, Published), StoreError> {
                let reader = StoreReader::begin(&store)?;
                let published = reader.published()?;
                let meta = reader.text_meta()?.ok_or_else(|| StoreError::Damaged("list of segments".into()))?;
                check_text(&store, &engine.text_dir(), &meta)?;
                let text = TextReader::open(&engine.text_dir(), meta)?;
                let generation = published.generation;
                let vectors = open_vectors(engine, &store, reader.vectors_state());
                if vectors.lacks_part() && attempt < OPEN_ATTEMPTS {
                    return Err(StoreError::Damaged("vectors".into()));
                }
                let readers = Readers::new(&layout.root, engine.read_patience());
                let searcher = Searcher::open(readers, &layout.index_dir, generation, reader, text, vectors)?;
                Ok((searcher, published))
            };
            match open() {
                Ok((searcher, published)) => {
                    let searcher = Arc::new(searcher);
                    return Ok(Snapshot { searcher, published, freshness, index_bytes: layout.disk_bytes() });
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| StoreError::Damaged("index".into()));
        Err(OpenError::Damaged { path: layout.index_dir.clone(), detail: error.to_string() }.into())
    }

    /// Answers a query.
    ///
    /// # Errors
    /// [`QueryError::Pattern`] or [`QueryError::Filter`] for a pattern, language or glob that is not valid,
    /// [`QueryError::NoVectors`] for a question without vectors, [`QueryError::Index`] when the index cannot be read. A file
    /// that cannot be read any more is no error: it is counted in the result.
    pub fn search(&self, query: &Query) -> Result<SearchResult, QueryError> {
        self.searcher.search(query)
    }

    /// The files with a hit, and how many of their lines match: what `rg --count` prints. In [`Mode::Text`](crate::Mode::Text) the files are
    /// those of [`Snapshot::search`], in its order, and lines that hold any term of the query are counted. The limit of the
    /// query is one of files here; [`Query::per_file`] ends the count of a file, so that 1 only finds out which files match.
    ///
    /// # Errors
    /// As [`Snapshot::search`].
    pub fn matching_files(&self, query: &Query) -> Result<FileMatches, QueryError> {
        self.searcher.matching_files(query)
    }

    /// For a query without hits, what may have been meant: the same query with the words that the index does not hold (or, if
    /// it holds all, the rarest one) replaced by near ones that it does, the likeliest first, at most three. Each of them has
    /// a hit. Words of fewer than three letters are left alone, those of up to five may differ in one letter, longer ones in
    /// two; letters are bytes.
    ///
    /// # Errors
    /// As [`Snapshot::search`].
    pub fn suggest(&self, query: &Query) -> Result<Vec<String>, QueryError> {
        self.searcher.suggest(query)
    }

    /// What the index knows of a file; `None` if it is not in the index, or is a directory. The path is relative to the
    /// root.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn lookup(&self, path: impl AsRef<Path>) -> Result<Option<FileMeta>, QueryError> {
        let path = path_bytes(path.as_ref());
        let entry = self.searcher.with_reader(|reader| reader.lookup(&path));
        match entry {
            Ok(Some(Entry::File(meta))) => Ok(Some(meta)),
            Ok(_) => Ok(None),
            Err(error) => Err(error.into_query(Path::new(""))),
        }
    }

    /// Calls `each` with the path (relative to the root, as bytes) and metadata of every file of the index.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn for_each_file(&self, mut each: impl FnMut(&[u8], &FileMeta)) -> Result<(), QueryError> {
        let walked = self.searcher.with_reader(|reader| {
            let mut dir: Option<(u32, Vec<u8>)> = None;
            reader.for_each_file(|parent, name, meta| {
                let path = match &mut dir {
                    Some((id, path)) if *id == parent => path,
                    _ => &mut dir.insert((parent, reader.dir_prefix(parent)?)).1,
                };
                let len = path.len();
                path.extend_from_slice(name);
                each(path, meta);
                path.truncate(len);
                Ok(())
            })
        });
        walked.map_err(|error| error.into_query(Path::new("")))
    }

    /// The generation.
    pub fn generation(&self) -> u64 {
        self.published.generation
    }

    /// How fresh it was when it was opened.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Whether it holds the whole tree; not so after a first run that was stopped.
    pub fn is_complete(&self) -> bool {
        self.published.complete
    }

    /// Counts what the generation holds.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn status(&self) -> Result<Status, QueryError> {
        let mut status = Status {
            generation: self.published.generation,
            published_ns: self.published.published_ns,
            complete: self.published.complete,
            segments: self.searcher.text().searcher.segment_readers().len(),
            index_bytes: self.index_bytes,
            ..Status::default()
        };
        let state = self.searcher.with_reader(StoreReader::symbols_state);
        let state = state.map_err(|error| error.into_query(Path::new("")))?;
        let vectors = self.searcher.vectors().state();
        let mut with_grammar = 0;
        self.for_each_file(|path, meta| {
            if meta.flags.has(Flags::INDEXED) {
                status.indexed += 1;
                status.content_bytes += meta.size;
                let language = Language::from_code(meta.language).unwrap_or_default();
                *status.languages.entry(language.name()).or_default() += 1;
                let embedded =
                    if vectors.is_done(meta.id) { &mut status.embedded_files } else { &mut status.embed_pending };
                *embedded += 1;
                with_grammar += u64::from(Grammar::of(language.name(), path).is_some());
            } else if meta.flags.has(Flags::TOO_LARGE) {
                status.too_large += 1;
            } else {
                status.binary += 1;
            }
        })?;
        status.embedded_chunks = self.searcher.embedded_chunks();
        if state.version == VERSION {
            let files = self.searcher.with_reader(StoreReader::symbol_files);
            status.symbol_files = files.map_err(|error| error.into_query(Path::new("")))?;
        }
        status.symbols_pending = with_grammar - status.symbol_files.min(with_grammar);
        let counts = self.searcher.with_reader(StoreReader::counts);
        status.dirs = counts.map_err(|error| error.into_query(Path::new("")))?.1;
        Ok(status)
    }

    pub(super) fn searcher(&self) -> &Searcher {
        &self.searcher
    }
}
