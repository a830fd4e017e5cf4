//! Which files match, and how many of their lines.

use super::filter::Filter;
use super::read::{Candidate, read_each};
use super::searcher::Searcher;
use super::text::{Word, words};
use super::{Hit, Mode, Query, SearchResult};
use crate::error::QueryError;
use crate::record::path_bytes;
use crate::store::schema::Entry;
use crate::text::encoding::{Decoded, decode};
use crate::text::runs::RunMasks;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// A file with a hit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FileMatch {
    /// Path relative to the root.
    pub path: PathBuf,
    /// How many of its lines match (in [`Mode::Symbol`], how many definitions it has), up to [`Query::per_file`].
    pub lines: u64,
    /// Higher is better; comparable within one answer only. 1 in the line-oriented modes.
    pub score: f32,
}

/// The answer to a query for files.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FileMatches {
    /// The files: the best first in [`Mode::Text`], [`Mode::Semantic`] and [`Mode::Hybrid`], otherwise sorted by path, unless
    /// [`Query::sort`] says otherwise.
    pub files: Vec<FileMatch>,
    /// Files that the index named.
    pub candidates: usize,
    /// Files whose bytes were read.
    pub files_read: usize,
    /// Candidates that could not be read any more: gone or changed since the generation was made.
    pub unreadable: usize,
    /// As [`SearchResult::symbols_pending`].
    pub symbols_pending: usize,
    /// Files that are not embedded yet, in [`Mode::Semantic`] and [`Mode::Hybrid`].
    pub not_embedded: usize,
    /// Whether the limit cut the answer.
    pub truncated: bool,
    /// The generation that answered.
    pub generation: u64,
    /// How the index was used: the plan. For people: its form may change.
    pub plan: String,
}

impl FileMatches {
    /// The matching lines of all files.
    pub fn lines(&self) -> u64 {
        self.files.iter().map(|file| file.lines).sum()
    }
}

/// Files that are near to a question: what is counted of each is its nearest chunk.
fn nearest_files(found: SearchResult) -> FileMatches {
    let SearchResult { candidates, files_read, unreadable, truncated, plan, not_embedded, .. } = found;
    let file = |hit: Hit| FileMatch { path: hit.path, lines: 1, score: hit.score };
    let files = found.hits.into_iter().map(file).collect();
    FileMatches { files, candidates, files_read, unreadable, truncated, plan, not_embedded, ..FileMatches::default() }
}

impl Searcher {
    pub(crate) fn matching_files(&self, query: &Query) -> Result<FileMatches, QueryError> {
        let _span = tracing::debug_span!("count", mode = ?query.mode).entered();
        let filter = Filter::new(query)?;
        let mut result = match query.mode {
            Mode::Text => self.text_counts(query, self.text_search(query, &filter)?)?,
            Mode::Semantic | Mode::Hybrid => nearest_files(self.search(query)?),
            Mode::Symbol => symbol_counts(query, self.search(&query.clone().limit(0))?),
            Mode::Substring | Mode::Regex => {
                let mut found = self.line_counts(query, &filter)?;
                // Without an order there is none to keep.
                if !query.order.needs_all() {
                    found.files.sort_by(|a, b| a.path.cmp(&b.path));
                }
                found
            }
        };
        result.generation = self.generation;
        Ok(result)
    }

    /// Counts the lines of the files that a search for words has found.
    fn text_counts(&self, query: &Query, found: SearchResult) -> Result<FileMatches, QueryError> {
        let limit = query.per_file_or_all() as u64;
        let counts = if limit > 1 { self.count_terms(query, &found)? } else { vec![1; found.hits.len()] };
        let file = |(hit, lines): (Hit, u64)| FileMatch {
            path: hit.path,
            // The file was found: what cannot be read any more, or is not there any more, does not make it none.
            lines: lines.clamp(1, limit),
            score: hit.score,
        };
        let SearchResult { candidates, files_read, unreadable, truncated, plan, .. } = found;
        let files = found.hits.into_iter().zip(counts).map(file).collect();
        Ok(FileMatches { files, candidates, files_read, unreadable, truncated, plan, ..FileMatches::default() })
    }

    fn count_terms(&self, query: &Query, found: &SearchResult) -> Result<Vec<u64>, QueryError> {
        let words = words(&query.pattern);
        let terms = Terms::new(&words);
        let mut candidates = Vec::with_capacity(found.hits.len());
        for hit in &found.hits {
            let path = path_bytes(&hit.path);
            let entry = self.with_reader(|reader| reader.lookup(&path)).map_err(|error| self.failed(error))?;
            let size = if let Some(Entry::File(meta)) = entry { meta.size } else { 0 };
            let (dir, name) = path.split_at(memchr::memrchr(b'/', &path).map_or(0, |slash| slash + 1));
            // Each has a directory of its own here: the reader need not tell which are the same.
            let dir_id = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
            candidates.push(Candidate::new(dir_id, dir, name, size));
        }
        let count = |scratch: &mut String, content: std::io::Result<&[u8]>| match content {
            Ok(content) => match decode(content, scratch) {
                Decoded::Text { text, .. } => terms.count_lines(text.as_bytes()),
                Decoded::Binary => terms.count_lines(content),
            },
            Err(_) => 0,
        };
        Ok(read_each(&self.readers, &candidates, String::new, count))
    }
}

/// Counts the definitions of each file.
fn symbol_counts(query: &Query, found: SearchResult) -> FileMatches {
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    let mut files: Vec<FileMatch> = Vec::new();
    for Hit { path, score, .. } in found.hits {
        match places.get(&path) {
            Some(&place) => files[place].lines += 1,
            None => {
                places.insert(path.clone(), files.len());
                files.push(FileMatch { path, lines: 1, score });
            }
        }
    }
    let limit = query.limit_or_all();
    let truncated = files.len() > limit;
    // Those with the best definitions, unless another order was asked for.
    files.truncate(limit);
    if query.order.is_default() {
        files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let SearchResult { candidates, files_read, unreadable, symbols_pending, plan, .. } = found;
    FileMatches {
        files,
        candidates,
        files_read,
        unreadable,
        symbols_pending,
        truncated,
        plan,
        generation: 0,
        not_embedded: 0,
    }
}

/// The terms of a query, as those of a file are compared with them.
struct Terms<'w> {
    whole: HashSet<&'w [u8]>,
    prefixes: Vec<&'w [u8]>,
}

impl<'w> Terms<'w> {
    fn new(words: &'w [Word]) -> Terms<'w> {
        Terms {
            whole: words.iter().flat_map(Word::terms).collect(),
            prefixes: words.iter().filter_map(Word::prefix).collect(),
        }
    }

    fn has(&self, term: &[u8]) -> bool {
        self.whole.contains(term) || self.prefixes.iter().any(|prefix| term.starts_with(prefix))
    }

    /// How many lines hold any of the terms, cut out as the index does.
    fn count_lines(&self, content: &[u8]) -> u64 {
        let lowered = content.to_ascii_lowercase();
        let mut masks = RunMasks::default();
        masks.classify(content);
        let mut lines = 0;
        // Where the line ends that was counted last: nothing before it counts again.
        let mut counted = 0;
        masks.for_each_run(|start, end| {
            if start < counted {
                return;
            }
            let mut is_hit = self.has(&lowered[start..end]);
            if !is_hit && masks.has_parts(start, end) {
                masks.for_each_part(start, end, |from, to| is_hit |= self.has(&lowered[from..to]));
            }
            if is_hit {
                lines += 1;
                counted = memchr::memchr(b'\n', &content[end..]).map_or(content.len(), |newline| end + newline);
            }
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, content: &str, expect: u64) {
        let words = words(query);
        assert_eq!(Terms::new(&words).count_lines(content.as_bytes()), expect, "{query:?} in {content:?}");
    }

    #[test]
    fn lines_with_any_term_are_counted_once() {
        check("lock", "lock lock\nblock\nLOCK\n\nun_lock", 3);
        check("schedule_timeout", "schedule\nscheduleTimeout\nTimeout of\nother\n", 3);
        check("scheduleTimeout", "scheduletimeout\nschedule timeout\n", 2);
        check("time*", "timeout\ntime\nmytime\nmyTime\n", 3);
        check("\"a b\"", "a\nb\nc\n", 2);
        check("x", "", 0);
    }
}
