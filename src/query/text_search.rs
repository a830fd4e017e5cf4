//! A search for words: the text half of [`Searcher`].
//!
//! In three steps, each on fewer files than the one before: BM25 gives a pool of files from the index alone; their paths,
//! and what is known of their definitions, give the order in which they are read; what they hold decides.

use super::context::{Context, Shown};
use super::definition::{PLACES_MAX, PLACES_OF_WORD_MAX};
use super::filter::Filter;
use super::rank::{DirRank, Features, Kind, PathRank, Ranker, looks_generated};
use super::read::{Candidate, read_indexed};
use super::searcher::{FIRST_ROUND, Searcher};
use super::stored::StoredDefinitions;
use super::text::{BestLine, Closeness, Names, Word, best_line, bounded_words, first_line, plan_text, query_for};
use super::{Hit, Query, Ranking, SearchResult};
use crate::error::QueryError;
use crate::record::{DirId, bytes_path};
use crate::text::encoding::{Decoded, decode};
use crate::text::schema::{Fields, language_tag};
use crate::text::segment::DocFile;
use std::collections::HashMap;
use std::io;
use tantivy::SegmentReader;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, TermQuery};
use tantivy::schema::IndexRecordOption;

/// Files that a text query reads to find exact identifiers, unless hits are still missing.
const EXACT_FILES_MAX: usize = 2000;
/// Files that are read before other spellings of an identifier are taken to be all there is.
const SPELLING_FILES_MIN: usize = 256;
/// Files that are read to find the definition of an identifier, when there are hits enough.
const DEFINITION_FILES_MAX: usize = 480;
/// How much a place must look like a definition for the search for another one to end.
const DEFINITION_SURE: f32 = 0.85;
/// Files of the index that are ordered by their paths, for words and for identifiers.
const POOL_FILES: usize = 128;
const IDENTIFIER_POOL_FILES: usize = 4096;
/// Of these, files whose stored symbols are asked for a definition. An answer takes about a microsecond.
const ASKED_FILES: usize = 64;
const IDENTIFIER_ASKED_FILES: usize = 4096;
/// What a definition is worth that the bytes of a file look like, and its stored symbols do not hold.
const UNPARSED_SHARE: f32 = 0.5;
/// Of a file that is looked at for words, the beginning: more only if that holds none of them. Long files are long to go
/// through, and identifiers and known definitions alone are worth it.
const HEADS: [usize; 2] = [16 << 10, 64 << 10];
/// Occurrences of a term at which a long file is as relevant as a short one; with more it is more relevant. The files that
/// a subject is about are long.
const LENGTH_NEUTRAL: f32 = 2.0;
/// A file this many times as long as the average is not preferred for being longer still: it is a table.
const LENGTH_CAP: f32 = 5.0;

/// A query, taken apart.
struct Asked {
    words: Vec<Word>,
    context: Context,
    names: Names,
    ranker: Ranker,
    /// By BM25 alone.
    plain: bool,
    /// Whether the bytes of a file can say more than its terms do.
    exact: bool,
    /// Whether files have to be looked at to their ends.
    whole: bool,
}

/// A file of the pool.
struct Pooled {
    file: DocFile,
    path: PathRank,
    relevance: f32,
    before_reading: f32,
    /// How much of a definition of the name it holds, if its symbols are stored.
    defines: Option<f32>,
}

impl Pooled {
    /// Whether it is known to define the name.
    fn is_definer(&self) -> bool {
        self.defines.is_some_and(|strength| strength > 0.0)
    }
}

/// A hit, and what stopping depends on.
struct Found {
    hit: Hit,
    closeness: Closeness,
    definition: f32,
    kind: Kind,
}

impl Searcher {
    pub(super) fn text_search(&self, query: &Query, filter: &Filter) -> Result<SearchResult, QueryError> {
        let words = bounded_words(&query.pattern)?;
        let mut result = SearchResult::default();
        if words.is_empty() {
            return Ok(result);
        }
        let asked = self.take_apart(words, query);
        let limit = query.limit_or_all();
        // One hit more than asked for is looked for, to know whether the limit cut anything.
        let wanted = limit.saturating_add(1);
        for any in [false, true] {
            if any && asked.words.len() < 2 {
                break;
            }
            result = self.ranked(&asked, &*query_for(&asked.words, self.text.fields, any), filter, wanted)?;
            result.plan = plan_text(&asked.words, any);
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

    fn take_apart(&self, words: Vec<Word>, query: &Query) -> Asked {
        let plain = query.ranking == Ranking::Bm25;
        let names = Names::new(&words);
        let count = self.text.searcher.num_docs().max(1) as f32;
        let rarity = |term: &[u8]| {
            let holding = self.text.searcher.doc_freq(&self.text.fields.term(term)).unwrap_or(0) as f32;
            ((count + 1.0) / (holding + 1.0)).ln()
        };
        let ranker = Ranker::new(&words, names.typed.is_some(), rarity);
        let exact = words.iter().any(Word::wants_exact);
        Asked {
            exact: !plain && exact,
            whole: exact || names.seeks_definition,
            names,
            ranker,
            plain,
            words,
            context: query.context,
        }
    }

    /// The first `wanted` hits, or more; all there are if those are fewer.
    fn ranked(
        &self,
        asked: &Asked,
        query: &dyn tantivy::query::Query,
        filter: &Filter,
        wanted: usize,
    ) -> Result<SearchResult, QueryError> {
        let pool = if asked.names.seeks_definition { IDENTIFIER_POOL_FILES } else { POOL_FILES };
        let mut depth = if asked.plain { wanted } else { wanted.max(pool) };
        loop {
            let scored = self.top_files(query, filter, depth, asked.plain)?;
            let ordered = self.in_reading_order(asked, &scored, filter, wanted)?;
            let mut result = self.read_in_order(asked, ordered, wanted)?;
            result.candidates = scored.len();
            if scored.len() < depth || result.hits.len() >= wanted {
                return Ok(result);
            }
            // Phrases and globs drop files: as long as hits are missing, the rest has to be looked at too.
            depth = depth.max(FIRST_ROUND).saturating_mul(4);
        }
    }

    /// The best `depth` files by BM25; unless it is to be `plain`, with less regard to the length of files.
    fn top_files(
        &self,
        query: &dyn tantivy::query::Query,
        filter: &Filter,
        depth: usize,
        plain: bool,
    ) -> Result<Vec<(f32, DocFile)>, QueryError> {
        let query = &*self.in_languages(query.box_clone(), filter);
        let count = usize::try_from(self.text.searcher.num_docs().max(1)).unwrap_or(usize::MAX);
        let top = TopDocs::with_limit(depth.min(count));
        let found = if plain {
            self.text.searcher.search(query, &top.order_by_score())
        } else {
            let fields = self.text.fields;
            let average = self.average_length();
            self.text.searcher.search(
                query,
                &top.tweak_score(move |segment: &SegmentReader| {
                    let factors = length_factors(segment, fields, average);
                    move |doc, score| score * factors(doc)
                }),
            )
        };
        let file =
            |(score, at): (f32, tantivy::DocAddress)| (score, self.segments[at.segment_ord as usize].file(at.doc_id));
        Ok(found.map_err(|error| self.failed(error))?.into_iter().map(file).collect())
    }

    /// The query for files in the languages of the filter only; their scores are the same.
    pub(super) fn in_languages(
        &self,
        query: Box<dyn tantivy::query::Query>,
        filter: &Filter,
    ) -> Box<dyn tantivy::query::Query> {
        if filter.languages.is_empty() {
            return query;
        }
        let tag = |code: u16| -> Box<dyn tantivy::query::Query> {
            let term = self.text.fields.term(&language_tag(code));
            Box::new(TermQuery::new(term, IndexRecordOption::Basic))
        };
        let languages = filter.languages.iter().map(|language| tag(language.code())).collect();
        let languages = Box::new(BoostQuery::new(Box::new(BooleanQuery::union(languages)), 0.0));
        Box::new(BooleanQuery::new(vec![(Occur::Must, query), (Occur::Must, languages)]))
    }

    /// Terms a document, as BM25 has it.
    fn average_length(&self) -> f32 {
        let terms = self.segments.iter().map(super::candidates::Segment::token_count).sum::<u64>();
        terms as f32 / self.text.searcher.num_docs().max(1) as f32
    }

    /// The files of the pool that the filter accepts, in the order in which they are to be read.
    fn in_reading_order(
        &self,
        asked: &Asked,
        scored: &[(f32, DocFile)],
        filter: &Filter,
        wanted: usize,
    ) -> Result<Vec<Pooled>, QueryError> {
        let best = scored.first().map_or(1.0, |(score, _)| score.max(f32::MIN_POSITIVE));
        let mut dirs: HashMap<DirId, DirRank> = HashMap::new();
        let mut pooled = Vec::with_capacity(scored.len());
        for &(score, file) in scored {
            let relevance = if asked.plain { score } else { score / best };
            let mut ranked = None;
            self.with_name(file, |dir_path, name| {
                if !filter.accepts(dir_path, name) {
                    return;
                }
                let path = if asked.plain {
                    PathRank::default()
                } else {
                    let dir = dirs.entry(file.dir).or_insert_with(|| asked.ranker.dir(dir_path));
                    asked.ranker.file(dir, name)
                };
                let before_reading = if asked.plain { score } else { asked.ranker.before_reading(&path, relevance) };
                ranked = Some(Pooled { file, path, relevance, before_reading, defines: None });
            })
            .map_err(|error| self.failed(error))?;
            pooled.extend(ranked);
        }
        let by_score = |a: &Pooled, b: &Pooled| b.before_reading.total_cmp(&a.before_reading);
        pooled.sort_by(by_score);
        if !asked.plain && self.definers_first(&asked.names, &mut pooled, wanted)? {
            pooled.sort_by(by_score);
        }
        Ok(pooled)
    }

    /// Moves files that are known to define the name to the front, and says whether there are any.
    fn definers_first(&self, names: &Names, pool: &mut [Pooled], wanted: usize) -> Result<bool, QueryError> {
        let Some(name) = &names.typed else { return Ok(false) };
        let Some(mut stored) = StoredDefinitions::new(self, name)? else { return Ok(false) };
        let most = if names.seeks_definition { IDENTIFIER_ASKED_FILES } else { ASKED_FILES };
        let mut any = false;
        // Of all that may be shown, or some would be taken for definers by their looks alone.
        for pooled in pool.iter_mut().take(most.max(wanted)) {
            pooled.defines = stored.strength(pooled.file.id, names.wanted())?;
            if let Some(strength) = pooled.defines.filter(|strength| *strength > 0.0) {
                pooled.before_reading += super::rank::DEFINITION * strength;
                any = true;
            }
        }
        Ok(any)
    }

    /// Reads the files of the pool, a round at a time, until more would not change the first hits.
    fn read_in_order(&self, asked: &Asked, pool: Vec<Pooled>, wanted: usize) -> Result<SearchResult, QueryError> {
        let mut result = SearchResult::default();
        let mut found: Vec<Found> = Vec::new();
        let mut rest = &pool[..];
        let mut round = if asked.names.seeks_definition && !asked.plain { FIRST_ROUND } else { wanted };
        while !rest.is_empty() && !has_enough(&found, asked, wanted, result.files_read) {
            let (now, later) = rest.split_at(round.min(rest.len()));
            rest = later;
            round = round.saturating_mul(2);
            let mut now: Vec<&Pooled> = now.iter().collect();
            // A directory at a time: it is opened once.
            now.sort_by_key(|pooled| (pooled.file.dir, pooled.file.id));
            let mut candidates = Vec::with_capacity(now.len());
            let mut of_candidates = Vec::with_capacity(now.len());
            for pooled in now {
                if let Some(candidate) = self.named(pooled.file).map_err(|error| self.failed(error))? {
                    candidates.push(candidate);
                    of_candidates.push(pooled);
                }
            }
            result.files_read += candidates.len();
            for ((candidate, pooled), best) in
                candidates.iter().zip(&of_candidates).zip(self.best_lines(asked, &candidates, &of_candidates))
            {
                match best {
                    Ok((best, ..)) if best.closeness == Closeness::Missing => {}
                    Ok(seen) => found.push(asked.found(candidate, pooled, seen)),
                    Err(_) => result.unreadable += 1,
                }
            }
        }
        found.sort_by(|a, b| b.hit.score.total_cmp(&a.hit.score).then_with(|| a.hit.path.cmp(&b.hit.path)));
        result.hits = found.into_iter().map(|found| found.hit).collect();
        Ok(result)
    }

    /// The best line of each candidate, of most from the beginning of the file.
    fn best_lines(&self, asked: &Asked, candidates: &[Candidate], pooled: &[&Pooled]) -> Vec<io::Result<Seen>> {
        let mut seen: Vec<io::Result<Option<Seen>>> = candidates.iter().map(|_| Ok(None)).collect();
        let mut unseen: Vec<usize> = (0..candidates.len()).collect();
        // The lines around a hit may lie behind any beginning: then all of a file is read, and looked at as without them.
        let heads = if asked.context.is_wanted() { &[][..] } else { &HEADS[..] };
        for head in heads.iter().copied().map(Some).chain([None]) {
            let head_of = |at: usize| head.filter(|_| !asked.wants_all_of(pooled[at]));
            let to_read = |&at: &usize| match head_of(at) {
                // One byte more tells whether it goes on.
                Some(head) => candidates[at].clone().head(head + 1),
                None => candidates[at].clone(),
            };
            let now: Vec<Candidate> = unseen.iter().map(to_read).collect();
            let look = |scratch: &mut Scratch, index: usize, content: io::Result<&[u8]>| {
                let at = unseen[index];
                Ok(asked.look(content?, head_of(at), pooled[at], scratch))
            };
            for (at, result) in unseen.iter().zip(read_indexed(&self.readers, &now, Scratch::default, look)) {
                seen[*at] = result;
            }
            unseen.retain(|&at| matches!(seen[at], Ok(None)));
            if unseen.is_empty() {
                break;
            }
        }
        let not_seen = || io::Error::other("it was not looked at");
        seen.into_iter().map(|seen| seen?.ok_or_else(not_seen)).collect()
    }
}

impl Asked {
    /// Whether a file has to be looked at to its end.
    fn wants_all_of(&self, file: &Pooled) -> bool {
        self.whole || file.is_definer()
    }

    /// Looks for the best line of a file, of which `read` bytes and one more have been read if it is longer; `None` when
    /// there is none of the terms in these.
    fn look(&self, content: &[u8], read: Option<usize>, pooled: &Pooled, scratch: &mut Scratch) -> Option<Seen> {
        let is_cut = read.is_some_and(|read| content.len() > read);
        let all_places = self.names.seeks_definition || pooled.is_definer();
        let places = if all_places { PLACES_MAX } else { PLACES_OF_WORD_MAX };
        let is_utf16 = content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]);
        if !is_utf16 && !self.wants_all_of(pooled) {
            for head in HEADS.into_iter().filter(|&head| head >= read.unwrap_or(0) && head < content.len()) {
                // To the end of a line.
                let Some(end) = memchr::memrchr(b'\n', &content[..=head]) else { continue };
                if let Some(best) = best_line(&self.words, &self.names, places, &content[..end], &mut scratch.lowered) {
                    return Some(self.seen(content, best));
                }
            }
        }
        if is_cut {
            return None;
        }
        // UTF-16 is searched as the text it is; everything else as its bytes.
        let content = match is_utf16.then(|| decode(content, &mut scratch.decoded)) {
            Some(Decoded::Text { text, .. }) => text.as_bytes(),
            _ => content,
        };
        let best = best_line(&self.words, &self.names, places, content, &mut scratch.lowered);
        Some(self.seen(content, best.unwrap_or_else(|| first_line(&self.words, content))))
    }

    fn seen(&self, content: &[u8], best: BestLine) -> Seen {
        let shown = Shown::around(content, best.line.clone(), best.column as usize - 1, self.context);
        (best, shown, looks_generated(content))
    }

    fn found(&self, candidate: &Candidate, pooled: &Pooled, (best, shown, generated): Seen) -> Found {
        let definition = match pooled.defines {
            Some(strength) if strength > 0.0 => strength,
            // What looks like one is a declaration or a call, unless a macro hides it from the parser.
            Some(_) => best.definition * UNPARSED_SHARE,
            None => best.definition,
        };
        let features = Features {
            path: pooled.path,
            relevance: pooled.relevance,
            closeness: best.closeness,
            definition,
            in_line: best.in_line,
            generated,
        };
        let score = if self.plain { pooled.relevance } else { self.ranker.score(&features) };
        Found {
            hit: Hit::new(bytes_path(candidate.path()), (best.number, best.column), score, shown),
            closeness: best.closeness,
            definition,
            kind: pooled.path.kind,
        }
    }
}

/// What BM25 is multiplied with, so that it does not prefer short files: its own norm of a document's length, and as much
/// again as makes both equal at [`LENGTH_NEUTRAL`].
fn length_factors(segment: &SegmentReader, fields: Fields, average: f32) -> impl Fn(u32) -> f32 + use<> {
    let norms = segment.get_fieldnorms_reader(fields.text).ok();
    let mut factors = [1.0f32; 256];
    for (id, factor) in (0u8..=255).zip(&mut factors) {
        let length = tantivy::fieldnorm::FieldNormReader::id_to_fieldnorm(id) as f32;
        let norm = 1.2 * (0.25 + 0.75 * (length / average.max(1.0)).min(LENGTH_CAP));
        *factor = norm + LENGTH_NEUTRAL;
    }
    move |doc| norms.as_ref().map_or(1.0, |norms| factors[usize::from(norms.fieldnorm_id(doc))])
}

/// The best line of a file, what is shown of it, and whether the file looks generated.
type Seen = (BestLine, Shown, bool);

/// One thread's buffers.
#[derive(Default)]
struct Scratch {
    decoded: String,
    lowered: Vec<u8>,
}

/// Whether reading more files would not change the first hits, or not by enough to be worth it. Identifiers are looked for
/// further down than words: where both halves of a name are common, the files with the name itself need not be the best
/// before they are read.
fn has_enough(found: &[Found], asked: &Asked, wanted: usize, read: usize) -> bool {
    let at_least = |closeness| found.iter().filter(|found| found.closeness >= closeness).count() >= wanted;
    if asked.plain || read >= EXACT_FILES_MAX {
        return found.len() >= wanted;
    }
    let is_definition = |found: &Found| found.definition >= DEFINITION_SURE && found.kind == Kind::Source;
    if asked.names.seeks_definition && read < DEFINITION_FILES_MAX && !found.iter().any(is_definition) {
        return false;
    }
    if !asked.exact {
        return found.len() >= wanted;
    }
    at_least(Closeness::Exact) || (read >= SPELLING_FILES_MIN && at_least(Closeness::OtherSpelling))
}
