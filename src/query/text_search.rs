//! A search for words: the text half of [`Searcher`].

use super::filter::Filter;
use super::read::{Candidate, Readers, read_each};
use super::searcher::{FIRST_ROUND, Searcher};
use super::text::{BestLine, Closeness, Word, best_line, plan_text, query_for, words};
use super::{Hit, Query, Ranking, SearchResult};
use crate::error::QueryError;
use crate::record::bytes_path;
use crate::text::encoding::{Decoded, decode};
use crate::text::schema::language_tag;
use crate::text::segment::DocFile;
use std::io;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, TermQuery};
use tantivy::schema::IndexRecordOption;

/// Files that a text query reads to find exact identifiers, unless hits are still missing.
const EXACT_FILES_MAX: usize = 2048;
/// Files that are read before other spellings of an identifier are taken to be all there is.
const SPELLING_FILES_MIN: usize = 256;
/// What a better match of an identifier adds to a score: more than BM25 ever does.
const CLOSENESS_BONUS: f32 = 1000.0;

impl Searcher {
    pub(super) fn text_search(&self, query: &Query, filter: &Filter) -> Result<SearchResult, QueryError> {
        let words = words(&query.pattern);
        let mut result = SearchResult::default();
        if words.is_empty() {
            return Ok(result);
        }
        let limit = query.limit_or_all();
        let plain = query.ranking == Ranking::Bm25;
        let exact = !plain && words.iter().any(Word::wants_exact);
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
                result = self.best_lines(candidates, &words, plain);
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

    fn best_lines(&self, candidates: Vec<Candidate>, words: &[Word], plain: bool) -> SearchResult {
        // UTF-16 is searched as the text it is; everything else as its bytes.
        let best = |scratch: &mut String, content: io::Result<&[u8]>| -> io::Result<BestLine> {
            let content = content?;
            if !matches!(content, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                return Ok(best_line(words, content));
            }
            Ok(match decode(content, scratch) {
                Decoded::Text { text, .. } => best_line(words, text.as_bytes()),
                Decoded::Binary => best_line(words, content),
            })
        };
        let found = read_each(&Readers::new(&self.root), &candidates, String::new, best);
        let mut result = SearchResult { files_read: candidates.len(), ..SearchResult::default() };
        for (candidate, best) in candidates.into_iter().zip(found) {
            match best {
                Ok(best) if best.closeness == Closeness::Missing => {}
                Ok(best) => {
                    let bonus = match best.closeness {
                        _ if plain => 0.0,
                        Closeness::Exact => 2.0 * CLOSENESS_BONUS,
                        Closeness::OtherSpelling => CLOSENESS_BONUS,
                        _ => 0.0,
                    };
                    result.hits.push(Hit {
                        path: bytes_path(candidate.path()),
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
