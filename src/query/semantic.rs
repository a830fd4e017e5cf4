//! A search by meaning: the other half of [`Searcher`].
//!
//! Every chunk is compared with the question; a file is as near as its nearest chunk. Filters apply before that. A hybrid
//! search adds what BM25 says of the words, with the mean of all files taken off and divided by the deviation: scores of
//! different kinds become comparable so, and keep their distances, which ranks would lose.

use super::context::Shown;
use super::filter::Filter;
use super::read::{Candidate, read_indexed};
use super::searcher::Searcher;
use super::text::{Word, first_words, query_for};
use super::vectors::{NO_FILE, Rows, row_set};
use super::{Hit, Query, SearchResult};
use crate::embed::{NEAREST, Question, VectorSegment};
use crate::error::QueryError;
use crate::record::bytes_path;
use crate::text::encoding::{Decoded, decode};
use crate::text::segment::DocFile;
use std::cmp::Ordering;
use std::io;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::query::AllQuery;
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};

/// Files whose scores are computed again, as exactly as vectors are kept, and as many times the limit.
const RESCORED_MIN: usize = 50;
const RESCORED_TIMES: usize = 4;
/// Chunks that are looked at for each file that is wanted: the nearest ones may all be of few files.
const CHUNKS_A_FILE: usize = 40;
/// The share of meaning in a hybrid score; the rest is that of words.
const MEANING_SHARE: f32 = 0.5;

/// How near a file is.
#[derive(Clone, Copy, Debug)]
struct Near {
    score: f32,
    /// Its nearest chunk: part and row. `None` when only its words count.
    chunk: Option<(u32, u32)>,
}

/// Orders places of files by their scores, and those of the same score by their ids.
fn nearest_first(near: &[Near]) -> impl Fn(&u32, &u32) -> Ordering {
    |a, b| near[*b as usize].score.total_cmp(&near[*a as usize].score).then(a.cmp(b))
}

const NOWHERE: Near = Near { score: f32::NEG_INFINITY, chunk: None };

impl Searcher {
    pub(super) fn semantic_search(
        &self,
        query: &Query,
        filter: &Filter,
        hybrid: bool,
    ) -> Result<SearchResult, QueryError> {
        let (embedder, parts) = self.vectors.ready(&self.index_dir)?;
        let rows = self.vectors.rows(self);
        let mut result =
            SearchResult { not_embedded: rows.not_embedded, plan: "vectors".into(), ..SearchResult::default() };
        let accepted = self.accepted(rows, filter)?;
        let accepted = accepted.as_deref();
        let asked = embedder.question(&query.pattern);
        let asked = asked.map_err(|detail| QueryError::NoVectors { path: self.index_dir.clone(), detail })?;
        let question = asked.map(Question::new);
        let mut near = vec![NOWHERE; rows.files.len()];
        let limit = query.limit_or_all();
        // Signs are enough to tell the nearest chunks of all; how scores vary over all files they do not tell.
        let by_signs = !hybrid && accepted.is_none() && limit <= NEAREST / CHUNKS_A_FILE;
        match &question {
            Some(question) if by_signs => nearest(question, parts, rows, &mut near),
            Some(question) => scan(question, parts, rows, accepted, &mut near),
            None => {}
        }
        let words = first_words(&query.pattern);
        if hybrid && !words.is_empty() {
            result.plan = "vectors and words".into();
            fuse(&mut near, &self.word_scores(&words, rows)?, accepted);
        }
        let mut best: Vec<u32> =
            (0..near.len() as u32).filter(|at| near[*at as usize].score > f32::NEG_INFINITY).collect();
        result.candidates = if by_signs && question.is_some() { rows.embedded } else { best.len() };
        let kept = limit.saturating_mul(RESCORED_TIMES).max(RESCORED_MIN).min(best.len());
        if kept < best.len() {
            best.select_nth_unstable_by(kept, nearest_first(&near));
            best.truncate(kept);
        }
        if let Some(question) = question.as_ref().filter(|_| !hybrid) {
            for &at in &best {
                let near = &mut near[at as usize];
                if let Some((part, row)) = near.chunk {
                    near.score = question.exact_score(&parts[part as usize], row as usize);
                }
            }
        }
        best.sort_unstable_by(nearest_first(&near));
        let found: Vec<(DocFile, Near)> =
            best.into_iter().map(|at| (rows.files[at as usize], near[at as usize])).collect();
        let terms: Vec<&[u8]> = words.iter().flat_map(Word::needles).collect();
        self.show(query, &terms, parts, &found, &mut result)?;
        self.order_hits(query.order, &mut result.hits)?;
        Ok(result)
    }

    /// Which of the files pass the filter; `None` when all do.
    fn accepted(&self, rows: &Rows, filter: &Filter) -> Result<Option<Vec<bool>>, QueryError> {
        if !filter.has_globs() && filter.languages.is_empty() {
            return Ok(None);
        }
        let mut accepted = vec![false; rows.files.len()];
        self.for_each_score(&*self.in_languages(Box::new(AllQuery), filter), rows, |at, _| accepted[at] = true)?;
        for (file, accepted) in rows.files.iter().zip(&mut accepted).filter(|(_, accepted)| **accepted) {
            *accepted = false;
            self.with_name(*file, |dir, name| *accepted = filter.accepts(dir, name))
                .map_err(|error| self.failed(error))?;
        }
        Ok(Some(accepted))
    }

    /// What BM25 says of each file: nothing of those without any of the words.
    fn word_scores(&self, words: &[Word], rows: &Rows) -> Result<Vec<f32>, QueryError> {
        let mut scores = vec![0.0; rows.files.len()];
        self.for_each_score(&*query_for(words, self.text.fields, true), rows, |at, score| scores[at] = score)?;
        Ok(scores)
    }

    /// Calls `each` with the place of every file that satisfies the query, and its score.
    fn for_each_score(
        &self,
        query: &dyn tantivy::query::Query,
        rows: &Rows,
        mut each: impl FnMut(usize, f32),
    ) -> Result<(), QueryError> {
        let found = self.text.searcher.search(query, &AllScores).map_err(|error| self.failed(error))?;
        for (segment, scored) in found {
            for (doc, score) in scored {
                let file = self.segments[segment as usize].file(doc);
                if let Ok(at) = rows.files.binary_search_by_key(&file.id, |file| file.id) {
                    each(at, score);
                }
            }
        }
        Ok(())
    }

    /// Reads the files, best first, until there are as many hits as wanted.
    fn show(
        &self,
        query: &Query,
        terms: &[&[u8]],
        parts: &[VectorSegment],
        found: &[(DocFile, Near)],
        result: &mut SearchResult,
    ) -> Result<(), QueryError> {
        let limit = query.limit_or_all();
        let mut rest = found;
        while !rest.is_empty() && result.hits.len() < limit {
            let (now, later) = rest.split_at((limit - result.hits.len()).min(rest.len()));
            rest = later;
            let mut candidates = Vec::with_capacity(now.len());
            let mut chunks = Vec::with_capacity(now.len());
            for &(file, near) in now {
                if let Some(candidate) = self.named(file).map_err(|error| self.failed(error))? {
                    candidates.push(candidate.scored(near.score));
                    chunks.push(near.chunk.map(|(part, row)| parts[part as usize].owner(row as usize)));
                }
            }
            result.files_read += candidates.len();
            let look = |scratch: &mut String, at: usize, content: io::Result<&[u8]>| -> io::Result<Option<Hit>> {
                let lines = chunks[at].map(|owner| (owner.line as usize, usize::from(owner.lines)));
                Ok(show(query, &candidates[at], content?, lines, terms, scratch))
            };
            for shown in read_indexed(&self.readers, &candidates, String::new, look) {
                match shown {
                    Ok(Some(hit)) => result.hits.push(hit),
                    Ok(None) | Err(_) => result.unreadable += 1,
                }
            }
        }
        result.files = result.hits.len();
        result.truncated = !rest.is_empty() || result.candidates > found.len();
        Ok(())
    }
}

/// Compares those chunks with the question whose signs are nearest to it.
fn nearest(question: &Question, parts: &[VectorSegment], rows: &Rows, near: &mut [Near]) {
    let _span = tracing::debug_span!("nearest chunks").entered();
    for (part, row) in question.nearest(parts, &rows.living, NEAREST) {
        let score = question.score(&parts[part as usize], row as usize);
        let near = &mut near[rows.of_parts[part as usize][row as usize] as usize];
        if score > near.score {
            *near = Near { score, chunk: Some((part, row)) };
        }
    }
}

/// Compares every chunk of the accepted files with the question.
fn scan(question: &Question, parts: &[VectorSegment], rows: &Rows, accepted: Option<&[bool]>, near: &mut [Near]) {
    let _span = tracing::debug_span!("scan chunks").entered();
    for (part, (segment, files)) in (0u32..).zip(parts.iter().zip(&rows.of_parts)) {
        let chosen = accepted.map(|accepted| row_set(files, |file| file != NO_FILE && accepted[file as usize]));
        let wanted = chosen.as_ref().unwrap_or(&rows.living[part as usize]);
        question.scan(segment, wanted, |row, score| {
            let near = &mut near[files[row] as usize];
            if score > near.score {
                *near = Near { score, chunk: Some((part, row as u32)) };
            }
        });
    }
}

/// Puts the sum of both standard scores in the place of the nearness, each relative to how it varies over the accepted files. A
/// file without vectors is as near as the average.
fn fuse(near: &mut [Near], words: &[f32], accepted: Option<&[bool]>) {
    let is_accepted = |at: usize| accepted.is_none_or(|accepted| accepted[at]);
    let embedded = || near.iter().map(|near| near.score).filter(|score| *score > f32::NEG_INFINITY);
    let meaning = Standard::of(embedded);
    let of_words = Standard::of(|| (0..words.len()).filter(|at| is_accepted(*at)).map(|at| words[at]));
    for (at, (near, words)) in near.iter_mut().zip(words).enumerate() {
        if !is_accepted(at) || near.chunk.is_none() && *words <= 0.0 {
            continue;
        }
        let means = if near.chunk.is_some() { meaning.score(near.score) } else { 0.0 };
        near.score = MEANING_SHARE * means + (1.0 - MEANING_SHARE) * of_words.score(*words);
    }
}

/// How scores vary.
struct Standard {
    mean: f32,
    deviation: f32,
}

impl Standard {
    fn of<I: Iterator<Item = f32>>(scores: impl Fn() -> I) -> Standard {
        let count = scores().count().max(1) as f64;
        let mean = scores().map(f64::from).sum::<f64>() / count;
        let variance = scores().map(|score| (f64::from(score) - mean).powi(2)).sum::<f64>() / count;
        Standard { mean: mean as f32, deviation: (variance.sqrt() as f32).max(f32::MIN_POSITIVE) }
    }

    fn score(&self, score: f32) -> f32 {
        (score - self.mean) / self.deviation
    }
}

/// The line of a chunk that has most of the words, or its first one that is not blank. `None` when the file has changed.
fn show(
    query: &Query,
    candidate: &Candidate,
    content: &[u8],
    lines: Option<(usize, usize)>,
    terms: &[&[u8]],
    scratch: &mut String,
) -> Option<Hit> {
    // In another file, the same lines are something else.
    if content.len() as u64 != candidate.size() {
        return None;
    }
    let Decoded::Text { text, .. } = decode(content, scratch) else { return None };
    let (first, count) = lines.unwrap_or((0, usize::MAX));
    let mut best: Option<(usize, usize, std::ops::Range<usize>)> = None;
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate().take(first.saturating_add(count)) {
        let range = at..at + line.len();
        at = range.end;
        if number < first || line.trim().is_empty() {
            continue;
        }
        let lower = line.to_ascii_lowercase();
        let has = |term: &&&[u8]| memchr::memmem::find(lower.as_bytes(), term).is_some();
        let says = terms.iter().filter(has).count();
        if best.as_ref().is_none_or(|(most, ..)| says > *most) {
            best = Some((says, number, range));
        }
    }
    let (_, number, range) = best?;
    let line = text[range.clone()].trim_end_matches(['\n', '\r']);
    let indent = line.len() - line.trim_start().len();
    let shown = Shown::around(text.as_bytes(), range.start..range.start + line.len(), indent, query.context);
    let position = (number as u64 + 1, indent as u64 + 1);
    Some(Hit::new(bytes_path(candidate.path()), position, candidate.score, shown))
}

/// Collects what BM25 says of every document, segment by segment.
struct AllScores;

struct SegmentScores(SegmentOrdinal, Vec<(DocId, Score)>);

impl Collector for AllScores {
    type Fruit = Vec<(SegmentOrdinal, Vec<(DocId, Score)>)>;
    type Child = SegmentScores;

    fn for_segment(&self, segment: SegmentOrdinal, _: &SegmentReader) -> tantivy::Result<SegmentScores> {
        Ok(SegmentScores(segment, Vec::new()))
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, of_segments: Vec<(SegmentOrdinal, Vec<(DocId, Score)>)>) -> tantivy::Result<Self::Fruit> {
        Ok(of_segments)
    }
}

impl SegmentCollector for SegmentScores {
    type Fruit = (SegmentOrdinal, Vec<(DocId, Score)>);

    fn collect(&mut self, doc: DocId, score: Score) {
        self.1.push((doc, score));
    }

    fn harvest(self) -> Self::Fruit {
        (self.0, self.1)
    }
}
