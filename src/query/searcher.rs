//! A search over the stores of one generation.

use super::candidates::Segment;
use super::context::{Context, Shown};
use super::filter::Filter;
use super::read::{Candidate, Readers, read_each};
use super::text::{BestLine, Closeness, best_line, plan_text, query_for, words};
use super::{Hit, Mode, Query, SearchResult, symbol};
use crate::error::{QueryError, StoreError};
use crate::record::{DirId, FileId, FileMeta, bytes_path};
use crate::store::StoreReader;
use crate::store::schema::Entry;
use crate::text::encoding::{Decoded, decode};
use crate::text::index::TextReader;
use crate::text::schema::language_tag;
use crate::text::segment::DocFile;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, TermQuery};
use tantivy::schema::IndexRecordOption;

/// Files in the first round of verification.
pub(super) const FIRST_ROUND: usize = 32;
/// How much larger every further round is: what is read beyond the last hit that is wanted is at most three times what had
/// to be read.
pub(super) const ROUND_GROWTH: usize = 4;
/// Files that a text query reads to find exact identifiers, unless hits are still missing.
const EXACT_FILES_MAX: usize = 2048;
/// Files that are read before other spellings of an identifier are taken to be all there is.
const SPELLING_FILES_MIN: usize = 256;
/// Directories whose names are kept: of a tree of 16 files a directory, this is about 5 MB.
const DIRS_CACHED: usize = 8192;
/// What a better match of an identifier adds to a score: more than BM25 ever does.
const CLOSENESS_BONUS: f32 = 1000.0;

/// Everything that is needed to answer queries on one generation.
pub(crate) struct Searcher {
    pub(super) root: PathBuf,
    index_dir: PathBuf,
    pub(super) generation: u64,
    reader: Mutex<StoreReader>,
    text: TextReader,
    pub(super) segments: Vec<Segment>,
    dirs: Mutex<HashMap<DirId, DirNames>>,
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
        let mut path = reader.dir_path(dir)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        found.path = path;
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

    fn candidate(&self, file: DocFile) -> Option<Candidate> {
        let at = self.files.binary_search_by_key(&file.id, |known| known.id).ok()?;
        let known = &self.files[at];
        let named = Candidate::new(file.dir, &self.path, &self.names[known.name.clone()], known.size);
        Some(named.modified(known.mtime_ns))
    }
}

impl Searcher {
    pub(crate) fn open(
        root: &Path,
        index_dir: &Path,
        generation: u64,
        reader: StoreReader,
        text: TextReader,
    ) -> Result<Searcher, StoreError> {
        let open = |segment| Segment::open(segment, text.fields);
        let segments = text.searcher.segment_readers().iter().map(open).collect::<Result<_, _>>()?;
        Ok(Searcher {
            root: root.to_path_buf(),
            index_dir: index_dir.to_path_buf(),
            generation,
            reader: Mutex::new(reader),
            text,
            segments,
            dirs: Mutex::default(),
        })
    }

    pub(crate) fn search(&self, query: &Query) -> Result<SearchResult, QueryError> {
        let filter = Filter::new(query)?;
        let mut result = match query.mode {
            Mode::Text => self.text_search(query, &filter),
            Mode::Substring | Mode::Regex => self.line_search(query, &filter),
            Mode::Symbol => symbol::search(self, query, &filter),
        }?;
        result.generation = self.generation;
        Ok(result)
    }

    pub(super) fn failed(&self, error: impl Into<StoreError>) -> QueryError {
        error.into().into_query(&self.index_dir)
    }

    pub(super) fn text_search(&self, query: &Query, filter: &Filter) -> Result<SearchResult, QueryError> {
        let words = words(&query.pattern);
        let mut result = SearchResult::default();
        if words.is_empty() {
            return Ok(result);
        }
        let limit = query.limit_or_all();
        let exact = words.iter().any(super::text::Word::wants_exact);
        let wanted = limit.saturating_add(1);
        for any in [false, true] {
            if any && words.len() < 2 {
                break;
            }
            let mut depth = wanted;
            loop {
                let scored = self.top_files(&query_for(&words, self.text.fields, any), filter, depth)?;
                let all = scored.len() < depth;
                let candidates = self.accepted(&scored, filter)?;
                result = self.best_lines(candidates, &words, query.context);
                result.candidates = scored.len();
                result.plan = plan_text(&words, any);
                if all || has_enough(&result.hits, wanted, exact, depth) {
                    break;
                }
                depth = depth.max(FIRST_ROUND).saturating_mul(4);
            }
            if !result.hits.is_empty() {
                break;
            }
        }
        result.truncated = result.hits.len() > limit;
        result.hits.truncate(limit);
        result.files = result.hits.len();
        self.order_hits(query.order, &mut result.hits)?;
        Ok(result)
    }

    /// The best `depth` files by BM25.
    fn top_files(
        &self,
        query: &dyn tantivy::query::Query,
        filter: &Filter,
        depth: usize,
    ) -> Result<Vec<(f32, DocFile)>, QueryError> {
        let count = self.text.searcher.num_docs().max(1);
        let collector = TopDocs::with_limit(depth.min(usize::try_from(count).unwrap_or(usize::MAX))).order_by_score();
        let found = if filter.languages.is_empty() {
            self.text.searcher.search(query, &collector)
        } else {
            let tag = |code: u16| -> Box<dyn tantivy::query::Query> {
                let term = self.text.fields.term(&language_tag(code));
                Box::new(TermQuery::new(term, IndexRecordOption::Basic))
            };
            let languages = filter.languages.iter().map(|language| tag(language.code())).collect();
            let languages = Box::new(BoostQuery::new(Box::new(BooleanQuery::union(languages)), 0.0));
            let both: Vec<(Occur, Box<dyn tantivy::query::Query>)> =
                vec![(Occur::Must, query.box_clone()), (Occur::Must, languages)];
            self.text.searcher.search(&BooleanQuery::new(both), &collector)
        };
        let found = found.map_err(|error| self.failed(error))?;
        let file =
            |(score, at): (f32, tantivy::DocAddress)| (score, self.segments[at.segment_ord as usize].file(at.doc_id));
        Ok(found.into_iter().map(file).collect())
    }

    fn accepted(&self, scored: &[(f32, DocFile)], filter: &Filter) -> Result<Vec<Candidate>, QueryError> {
        let mut candidates = Vec::with_capacity(scored.len());
        for &(score, file) in scored {
            candidates.extend(self.candidate(file, score, filter)?);
        }
        Ok(candidates)
    }

    fn best_lines(&self, candidates: Vec<Candidate>, words: &[super::text::Word], context: Context) -> SearchResult {
        // UTF-16 is searched as the text it is; everything else as its bytes.
        let best_of = |content: &[u8]| {
            let best = best_line(words, content);
            let shown = Shown::around(content, best.line.clone(), best.column as usize - 1, context);
            (best, shown)
        };
        let best = |scratch: &mut String, content: io::Result<&[u8]>| -> io::Result<(BestLine, Shown)> {
            let content = content?;
            if !matches!(content, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                return Ok(best_of(content));
            }
            Ok(match decode(content, scratch) {
                Decoded::Text { text, .. } => best_of(text.as_bytes()),
                Decoded::Binary => best_of(content),
            })
        };
        let found = read_each(&Readers::new(&self.root), &candidates, String::new, best);
        let mut result = SearchResult { files_read: candidates.len(), ..SearchResult::default() };
        for (candidate, best) in candidates.into_iter().zip(found) {
            match best {
                Ok((best, _)) if best.closeness == Closeness::Missing => {}
                Ok((best, shown)) => {
                    let bonus = match best.closeness {
                        Closeness::Exact => 2.0 * CLOSENESS_BONUS,
                        Closeness::OtherSpelling => CLOSENESS_BONUS,
                        _ => 0.0,
                    };
                    let (path, score) = (bytes_path(candidate.path()), candidate.score + bonus);
                    result.hits.push(Hit::new(path, (best.number, best.column), score, shown));
                }
                Err(_) => result.unreadable += 1,
            }
        }
        result.hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
        result
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
    fn named(&self, file: DocFile) -> Result<Option<Candidate>, StoreError> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if dirs.len() >= DIRS_CACHED && !dirs.contains_key(&file.dir) {
            dirs.clear();
        }
        let names = match dirs.entry(file.dir) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
                new.insert(DirNames::load(&reader, file.dir)?)
            }
        };
        Ok(names.candidate(file))
    }

    pub(crate) fn with_reader<T>(&self, read: impl FnOnce(&StoreReader) -> T) -> T {
        read(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn text(&self) -> &TextReader {
        &self.text
    }
}

/// Whether reading more files would not change the first hits, or not by enough to be worth it. Identifiers are looked for
/// further down than words: where both halves of a name are common, the files with the name itself need not be the best
/// by BM25.
fn has_enough(hits: &[Hit], wanted: usize, exact: bool, depth: usize) -> bool {
    let at_least = |score: f32| hits.iter().filter(|hit| hit.score >= score).count() >= wanted;
    match exact {
        false => hits.len() >= wanted,
        // Phrases and globs drop files: as long as hits are missing, the rest has to be looked at too.
        true if depth >= EXACT_FILES_MAX => hits.len() >= wanted,
        true => at_least(2.0 * CLOSENESS_BONUS) || (depth >= SPELLING_FILES_MIN && at_least(CLOSENESS_BONUS)),
    }
}
