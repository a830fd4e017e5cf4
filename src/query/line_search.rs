//! Searches for lines: a plan to candidates, candidates to their matching lines, or to how many those are.

use super::filter::Filter;
use super::lines::{Line, LineCounter, LineSearcher, Lines, Wanted, matcher};
use super::plan::{Limits, Planned, plan_literal, plan_regex};
use super::read::{Candidate, read_each};
use super::searcher::{FIRST_ROUND, ROUND_GROWTH, Searcher};
use super::{FileMatch, FileMatches, Hit, Mode, Query, SearchResult};
use crate::error::QueryError;
use crate::record::bytes_path;
use crate::text::segment::DocFile;
use grep_regex::RegexMatcher;
use std::io;

/// Files that are put in order before the first one is read.
const SORTED_FIRST: usize = 512;

/// A query for lines, ready to be asked.
struct Prepared {
    matcher: RegexMatcher,
    planned: Planned,
}

impl Prepared {
    fn new(query: &Query) -> Result<Prepared, QueryError> {
        let literal = query.mode == Mode::Substring;
        // The matcher's own error is the one that ripgrep's users know.
        let matcher = matcher(query, literal)?;
        // Knows about runs that hold odd characters, as the index does.
        let limits = Limits { odd_runs: true, ..Limits::default() };
        let planned = if literal {
            plan_literal(query.pattern.as_bytes(), query.case_insensitive, &limits)
        } else {
            plan_regex(&query.pattern, query.case_insensitive, &limits)
                .map_err(|error| QueryError::Pattern { detail: error.to_string() })?
        };
        Ok(Prepared { matcher, planned })
    }
}

/// The candidates of a query, in the order in which they are answered.
struct Candidates<'s> {
    named: Box<dyn Iterator<Item = Result<Candidate, QueryError>> + 's>,
    /// How many the index named.
    count: usize,
    round: usize,
}

impl Candidates<'_> {
    /// The next ones to be read; none at the end.
    fn next_round(&mut self) -> Result<Vec<Candidate>, QueryError> {
        let now = self.named.by_ref().take(self.round).collect();
        self.round *= ROUND_GROWTH;
        now
    }
}

impl Searcher {
    /// The matching lines.
    pub(super) fn line_search(&self, query: &Query, filter: &Filter) -> Result<SearchResult, QueryError> {
        let Prepared { matcher, planned } = Prepared::new(query)?;
        let mut candidates = self.line_candidates(query, filter, &planned)?;
        let mut result =
            SearchResult { candidates: candidates.count, plan: planned.to_string(), ..SearchResult::default() };
        let limit = query.limit_or_all();
        // One hit more than asked for is looked for, to know whether the limit cut anything.
        let wanted = limit.saturating_add(1);
        // For each file that has more hits than it may show: how many hits there were after its last one.
        let mut capped = Vec::new();
        while result.hits.len() < wanted {
            let now = candidates.next_round()?;
            if now.is_empty() {
                break;
            }
            let room = wanted - result.hits.len();
            let per_file = query.per_file_or_all();
            let of_file = Wanted { lines: room.min(per_file), probe: per_file <= room };
            let searcher = || LineSearcher::new(&matcher, query.context);
            let found = read_each(&self.readers, &now, searcher, |searcher, content| searcher.lines(content?, of_file));
            collect(now, found, wanted, &mut result, &mut capped);
        }
        result.truncated = result.hits.len() > limit;
        result.hits.truncate(limit);
        result.files = result.hits.chunk_by(|a, b| a.path == b.path).count();
        result.capped_files = capped.iter().filter(|&&end| end <= limit).count();
        Ok(result)
    }

    /// The files with a matching line, and how many they have.
    pub(super) fn line_counts(&self, query: &Query, filter: &Filter) -> Result<FileMatches, QueryError> {
        let Prepared { matcher, planned } = Prepared::new(query)?;
        let mut candidates = self.line_candidates(query, filter, &planned)?;
        let mut result =
            FileMatches { candidates: candidates.count, plan: planned.to_string(), ..FileMatches::default() };
        let limit = query.limit_or_all();
        while result.files.len() <= limit {
            let now = candidates.next_round()?;
            if now.is_empty() {
                break;
            }
            let per_file = query.per_file_or_all();
            let found = read_each(
                &self.readers,
                &now,
                || LineCounter::new(&matcher),
                |counter, content| counter.count(content?, per_file),
            );
            for (candidate, count) in now.into_iter().zip(found) {
                result.files_read += 1;
                match count {
                    Ok(0) => {}
                    Ok(lines) => {
                        let path = bytes_path(candidate.path());
                        result.files.push(FileMatch { path, lines, score: candidate.score });
                    }
                    Err(error) => {
                        not_searched(&candidate, &error);
                        result.unreadable += 1;
                    }
                }
            }
        }
        result.truncated = result.files.len() > limit;
        result.files.truncate(limit);
        Ok(result)
    }

    fn line_candidates<'s>(
        &'s self,
        query: &Query,
        filter: &'s Filter,
        planned: &Planned,
    ) -> Result<Candidates<'s>, QueryError> {
        let mut files = Vec::new();
        for segment in &self.segments {
            let docs = segment.candidates(planned, &filter.languages).map_err(|error| self.failed(error))?;
            files.extend(docs.into_iter().map(|doc| segment.file(doc)));
        }
        let count = files.len();
        let named = ByDir::new(files).filter_map(|file| self.candidate(file, 1.0, filter).transpose());
        if !query.order.needs_all() {
            return Ok(Candidates { named: Box::new(named), count, round: FIRST_ROUND });
        }
        let mut all = named.collect::<Result<Vec<Candidate>, QueryError>>()?;
        query.order.candidates(&mut all);
        Ok(Candidates { named: Box::new(all.into_iter().map(Ok)), count, round: FIRST_ROUND })
    }
}

/// Files, a directory at a time: it is opened and its names are looked up once. They are sorted as far as they are asked
/// for: most queries have their hits long before the last one.
struct ByDir {
    files: Vec<DocFile>,
    given: usize,
    sorted: usize,
}

impl ByDir {
    fn new(files: Vec<DocFile>) -> ByDir {
        ByDir { files, given: 0, sorted: 0 }
    }
}

impl Iterator for ByDir {
    type Item = DocFile;

    fn next(&mut self) -> Option<DocFile> {
        if self.given == self.sorted {
            let key = |file: &DocFile| (file.dir, file.id);
            let rest = &mut self.files[self.sorted..];
            let more = rest.len().min((ROUND_GROWTH * self.sorted).max(SORTED_FIRST));
            if more < rest.len() {
                rest.select_nth_unstable_by_key(more, key);
            }
            rest[..more].sort_unstable_by_key(key);
            self.sorted += more;
        }
        let file = self.files.get(self.given).copied();
        self.given += 1;
        file
    }
}

fn collect(
    candidates: Vec<Candidate>,
    found: Vec<io::Result<Lines>>,
    wanted: usize,
    result: &mut SearchResult,
    capped: &mut Vec<usize>,
) {
    for (candidate, found) in candidates.into_iter().zip(found) {
        result.files_read += 1;
        let Lines { lines, more } = match found {
            Ok(found) => found,
            Err(error) => {
                not_searched(&candidate, &error);
                result.unreadable += 1;
                continue;
            }
        };
        let room = wanted.saturating_sub(result.hits.len());
        let path = bytes_path(candidate.path());
        let all_fit = lines.len() <= room;
        let hit = |line: Line| Hit::new(path.clone(), (line.number, line.column), candidate.score, line.shown);
        result.hits.extend(lines.into_iter().take(room).map(hit));
        if more && all_fit {
            capped.push(result.hits.len());
        }
    }
}

fn not_searched(candidate: &Candidate, error: &io::Error) {
    tracing::debug!(path = %candidate.path().escape_ascii(), %error, "not searched");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_order_however_many_they_are() {
        for count in [0, 1, SORTED_FIRST, SORTED_FIRST + 1, 5 * SORTED_FIRST, 5 * SORTED_FIRST + 1, 10_000] {
            // 7919 is a prime: the ids are a permutation.
            let ids = (0..count as u32).map(|number| (u64::from(number) * 7919 % count as u64) as u32);
            let files: Vec<DocFile> = ids.map(|id| DocFile { id, dir: id / 5 }).collect();
            let given: Vec<u32> = ByDir::new(files).map(|file| file.id).collect();
            assert!(given.iter().copied().eq(0..count as u32), "{count}");
        }
    }
}
