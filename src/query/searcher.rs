//! A search over the stores of one generation.

use super::candidates::Segment;
use super::filter::Filter;
use super::lines::{Line, LineSearcher, matcher};
use super::plan::{Limits, Planned, plan_literal, plan_regex};
use super::text::{BestLine, Closeness, best_line, query_for, words};
use super::{Hit, Mode, Query, SearchResult};
use crate::error::{QueryError, StoreError};
use crate::record::{DirId, FileId};
use crate::store::StoreReader;
use crate::store::schema::Entry;
use crate::text::encoding::{Decoded, Encoding, decode};
use crate::text::index::TextReader;
use crate::text::schema::language_tag;
use crate::text::segment::DocFile;
use grep_regex::RegexMatcher;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, TermQuery};
use tantivy::schema::IndexRecordOption;

/// Files in the first round of verification; every further round is twice as large.
const FIRST_ROUND: usize = 32;
/// Rounds of at least this many files are shared by all cores.
const PARALLEL_ROUND: usize = 64;
/// Files that a text query reads at most to find exact identifiers.
const EXACT_FILES_MAX: usize = 2048;
/// Files that are read before other spellings of an identifier are taken to be all there is.
const SPELLING_FILES_MIN: usize = 256;
/// Directories whose names are kept: of a tree of 16 files a directory, this is about 5 MB.
const DIRS_CACHED: usize = 8192;
/// What a better match of an identifier adds to a score: more than BM25 ever does.
const CLOSENESS_BONUS: f32 = 1000.0;

/// Everything that is needed to answer queries on one generation.
pub(crate) struct Searcher {
    root: PathBuf,
    index_dir: PathBuf,
    generation: u64,
    reader: Mutex<StoreReader>,
    text: TextReader,
    segments: Vec<Segment>,
    dirs: Mutex<HashMap<DirId, DirNames>>,
}

/// The files of one directory, by id.
struct DirNames {
    /// Ends in a slash unless empty.
    path: Vec<u8>,
    /// Sorted; where each name lies in `names`.
    ids: Vec<(FileId, u32, u32)>,
    names: Vec<u8>,
}

impl DirNames {
    fn load(reader: &StoreReader, dir: DirId) -> Result<DirNames, StoreError> {
        let mut path = reader.dir_path(dir)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        let mut found = DirNames { path, ids: Vec::new(), names: Vec::new() };
        reader.for_each_child(dir, |child| {
            if let Entry::File(meta) = child.entry {
                let start = found.names.len() as u32;
                found.names.extend_from_slice(child.name);
                found.ids.push((meta.id, start, found.names.len() as u32));
            }
            Ok(())
        })?;
        found.ids.sort_unstable();
        Ok(found)
    }

    fn path(&self, id: FileId) -> Option<Vec<u8>> {
        let at = self.ids.binary_search_by_key(&id, |(id, _, _)| *id).ok()?;
        let (_, start, end) = self.ids[at];
        Some([&self.path[..], &self.names[start as usize..end as usize]].concat())
    }
}

/// A file that may match.
struct Candidate {
    path: Vec<u8>,
    score: f32,
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
            Mode::Substring => {
                let planned = plan_literal(query.pattern.as_bytes(), query.case_insensitive, &limits());
                self.line_search(query, &filter, &planned, true)
            }
            Mode::Regex => {
                // The searcher's own error is the one that ripgrep's users know.
                matcher(query, false)?;
                let planned = plan_regex(&query.pattern, query.case_insensitive, &limits())
                    .map_err(|error| QueryError::Pattern { detail: error.to_string() })?;
                self.line_search(query, &filter, &planned, false)
            }
        }?;
        result.generation = self.generation;
        Ok(result)
    }

    fn failed(&self, error: impl Into<StoreError>) -> QueryError {
        error.into().into_query(&self.index_dir)
    }

    fn line_search(
        &self,
        query: &Query,
        filter: &Filter,
        planned: &Planned,
        literal: bool,
    ) -> Result<SearchResult, QueryError> {
        let matcher = matcher(query, literal)?;
        let mut files = Vec::new();
        for segment in &self.segments {
            let docs = segment.candidates(planned, &filter.languages).map_err(|error| self.failed(error))?;
            files.extend(docs.into_iter().map(|doc| segment.file(doc)));
        }
        files.sort_unstable_by_key(|file| file.id);
        let mut result =
            SearchResult { candidates: files.len(), plan: planned.to_string(), ..SearchResult::default() };
        let limit = query.limit_or_all();
        let mut rest = &files[..];
        let mut round = FIRST_ROUND;
        // One hit more than asked for is looked for, to know whether the limit cut anything.
        let wanted = limit.saturating_add(1);
        while !rest.is_empty() && result.hits.len() < wanted {
            let (now, later) = rest.split_at(round.min(rest.len()));
            rest = later;
            round *= 2;
            let mut candidates = Vec::with_capacity(now.len());
            for &file in now {
                candidates.extend(self.candidate(file, 1.0, filter)?);
            }
            let found = self.verify(&candidates, &matcher, wanted - result.hits.len());
            self.collect(candidates, found, wanted, &mut result);
        }
        result.truncated = result.hits.len() > limit;
        result.hits.truncate(limit);
        result.files = count_files(&result.hits);
        Ok(result)
    }

    fn collect(
        &self,
        candidates: Vec<Candidate>,
        found: Vec<io::Result<Vec<Line>>>,
        wanted: usize,
        result: &mut SearchResult,
    ) {
        for (candidate, lines) in candidates.into_iter().zip(found) {
            result.files_read += 1;
            let lines = match lines {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::debug!(path = %candidate.path.escape_ascii(), %error, "not searched");
                    result.unreadable += 1;
                    continue;
                }
            };
            let room = wanted.saturating_sub(result.hits.len());
            let path = bytes_path(&candidate.path);
            result.hits.extend(lines.into_iter().take(room).map(|line| Hit {
                path: path.clone(),
                line: line.number,
                column: line.column,
                score: candidate.score,
                text: line.text,
            }));
        }
    }

    /// The matching lines of each candidate; on all cores when there are many.
    fn verify(&self, candidates: &[Candidate], matcher: &RegexMatcher, limit: usize) -> Vec<io::Result<Vec<Line>>> {
        let search = |candidates: &[Candidate]| {
            let mut searcher = LineSearcher::new(matcher);
            let mut content = Vec::new();
            let mut one = |candidate: &Candidate| {
                self.read(&candidate.path, &mut content)?;
                searcher.lines(&content, limit)
            };
            candidates.iter().map(&mut one).collect::<Vec<_>>()
        };
        in_parallel(candidates, search)
    }

    fn text_search(&self, query: &Query, filter: &Filter) -> Result<SearchResult, QueryError> {
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
                result = self.best_lines(candidates, &words);
                result.candidates = scored.len();
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
        let file = |(score, at): (f32, tantivy::DocAddress)| {
            (score, self.segments[at.segment_ord as usize].file(at.doc_id))
        };
        Ok(found.into_iter().map(file).collect())
    }

    fn accepted(&self, scored: &[(f32, DocFile)], filter: &Filter) -> Result<Vec<Candidate>, QueryError> {
        let mut candidates = Vec::with_capacity(scored.len());
        for &(score, file) in scored {
            candidates.extend(self.candidate(file, score, filter)?);
        }
        Ok(candidates)
    }

    fn best_lines(&self, candidates: Vec<Candidate>, words: &[super::text::Word]) -> SearchResult {
        let search = |candidates: &[Candidate]| {
            let mut content = Vec::new();
            let mut scratch = String::new();
            let mut one = |candidate: &Candidate| -> io::Result<BestLine> {
                self.read(&candidate.path, &mut content)?;
                // UTF-16 is searched as the text it is; everything else as its bytes.
                Ok(match decode(&content, &mut scratch) {
                    Decoded::Text { encoding: Encoding::Utf16Le | Encoding::Utf16Be, text, .. } => {
                        best_line(words, text.as_bytes())
                    }
                    _ => best_line(words, &content),
                })
            };
            candidates.iter().map(&mut one).collect::<Vec<_>>()
        };
        let found = in_parallel(&candidates, search);
        let mut result = SearchResult { files_read: candidates.len(), ..SearchResult::default() };
        for (candidate, best) in candidates.into_iter().zip(found) {
            match best {
                Ok(best) if best.closeness == Closeness::Missing => {}
                Ok(best) => {
                    let bonus = match best.closeness {
                        Closeness::Exact => 2.0 * CLOSENESS_BONUS,
                        Closeness::OtherSpelling => CLOSENESS_BONUS,
                        _ => 0.0,
                    };
                    result.hits.push(Hit {
                        path: bytes_path(&candidate.path),
                        line: best.number,
                        column: best.column,
                        score: candidate.score + bonus,
                        text: best.text,
                    });
                }
                Err(_) => result.unreadable += 1,
            }
        }
        result.hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
        result
    }

    /// A file as a candidate, unless its path is filtered out or it is not published any more.
    fn candidate(&self, file: DocFile, score: f32, filter: &Filter) -> Result<Option<Candidate>, QueryError> {
        let Some(path) = self.path(file).map_err(|error| self.failed(error))? else { return Ok(None) };
        let accepted = !filter.has_globs() || filter.accepts_path(&path);
        Ok(accepted.then_some(Candidate { path, score }))
    }

    fn path(&self, file: DocFile) -> Result<Option<Vec<u8>>, StoreError> {
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
        Ok(names.path(file.id))
    }

    fn read(&self, path: &[u8], content: &mut Vec<u8>) -> io::Result<()> {
        let mut file = open_regular(&self.root.join(bytes_path(path)))?;
        content.clear();
        file.read_to_end(content)?;
        Ok(())
    }

    pub(crate) fn with_reader<T>(&self, read: impl FnOnce(&StoreReader) -> T) -> T {
        read(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn text(&self) -> &TextReader {
        &self.text
    }
}

/// Knows about runs that hold odd characters, as the index does.
fn limits() -> Limits {
    Limits { odd_runs: true, ..Limits::default() }
}

/// Whether reading more files would not change the first hits, or not by enough to be worth it. Identifiers are looked for
/// further down than words: where both halves of a name are common, the files with the name itself need not be the best
/// by BM25.
fn has_enough(hits: &[Hit], wanted: usize, exact: bool, depth: usize) -> bool {
    let at_least = |score: f32| hits.iter().filter(|hit| hit.score >= score).count() >= wanted;
    match exact {
        false => hits.len() >= wanted,
        true if depth >= EXACT_FILES_MAX => true,
        true => at_least(2.0 * CLOSENESS_BONUS) || (depth >= SPELLING_FILES_MIN && at_least(CLOSENESS_BONUS)),
    }
}

fn count_files(hits: &[Hit]) -> usize {
    hits.chunk_by(|a, b| a.path == b.path).count()
}

/// Applies `work` to pieces of `items` on all cores, or here when there are few.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if items.len() < PARALLEL_ROUND || threads == 1 {
        return work(items);
    }
    // More pieces than threads, so that one with large files does not keep the others waiting.
    let piece = items.len().div_ceil(threads * 4).max(8);
    let pieces: Vec<&[T]> = items.chunks(piece).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Vec<R>>>> = Mutex::new(pieces.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(piece) = pieces.get(index) else { break };
                    let result = work(piece);
                    done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().flatten().collect()
}

/// Opens a file that must not have turned into something else: no link is followed, no FIFO waited for.
#[cfg(unix)]
fn open_regular(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Opens a file.
#[cfg(not(unix))]
fn open_regular(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn bytes_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn bytes_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
