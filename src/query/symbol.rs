//! Searches for definitions by name: exact, prefix and camel-hump.
//!
//! Names are looked for in the symbols of the files whose terms allow them; where these are too many, in all symbols, which
//! takes a tenth of a second on millions. Files whose symbols are
//! not stored yet are parsed on the spot when the name is exact, a bounded number of them; others are counted.

use super::context::Shown;
use super::filter::Filter;
use super::plan::Planned;
use super::read::{Candidate, read_indexed};
use super::searcher::Searcher;
use super::stored::stored_symbols;
use super::symbol_name::{Fit, Wanted};
use super::text::find_identifier;
use super::{Hit, Query, SearchResult};
use crate::error::{QueryError, StoreError};
use crate::record::{FileId, bytes_path};

use crate::symbols::{Extractor, Grammar, NameHash, Stored, Symbol, SymbolKind, Symbols, VERSION, encode};
use crate::text::encoding::{Decoded, decode};
use crate::text::language::Language;
use crate::text::segment::DocFile;
use std::cmp::{Ordering, Reverse};
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;

/// Files without stored symbols that a search parses: some tenths of a second.
const PARSED_MAX: usize = 128;
/// Matches that are kept while all symbols are gone over, for each that is wanted.
const KEPT_PER_WANTED: usize = 4;
/// At least so many: the first hits are the same whatever the limit is.
const KEPT_MIN: usize = 4096;
/// Stored symbols that are gone over at once, some milliseconds of work: other searches of the snapshot wait meanwhile.
const WALKED_BYTES: usize = 1 << 20;
/// Files whose symbols are looked up one by one; of more, all symbols are gone over.
const LOOKED_UP_MAX: usize = 16_384;
/// Files that are looked up in one go.
const FILES_A_PIECE: usize = 256;
/// A definition has its name within so many lines of where it begins, attributes and types included.
const NAME_LINES_MAX: usize = 16;

/// A symbol that fits, and the order of hits: how well, what it is, how much longer its name is.
type Rank = (Fit, u8, Reverse<usize>);

struct Found {
    rank: Rank,
    file: FileId,
    symbol: Symbol,
}

fn rank(fit: Fit, symbol: &Stored<'_>) -> Rank {
    let weight = match symbol.kind {
        SymbolKind::Variable | SymbolKind::Variant => 0,
        SymbolKind::Constant | SymbolKind::Macro | SymbolKind::Type => 1,
        _ => 2,
    };
    (fit, weight, Reverse(symbol.name.len()))
}

pub(super) fn search(searcher: &Searcher, query: &Query, filter: &Filter) -> Result<SearchResult, QueryError> {
    let Some(wanted) = Wanted::parse(&query.pattern) else { return Ok(SearchResult::default()) };
    let version =
        searcher.with_reader(|reader| reader.symbols_state()).map_err(|error| searcher.failed(error))?.version;
    let search = Search { searcher, query, filter, wanted, usable: version == VERSION };
    let exact = if search.wanted.prefix { Answer::default() } else { search.exact()? };
    let answer = if exact.found.is_empty() { search.all(exact)? } else { exact };
    let mut result = search.hits(answer)?;
    searcher.order_hits(query.order, &mut result.hits)?;
    Ok(result)
}

struct Search<'s> {
    searcher: &'s Searcher,
    query: &'s Query,
    filter: &'s Filter,
    wanted: Wanted,
    /// Whether what is stored is of this version.
    usable: bool,
}

/// The stored symbols of some files, a piece at a time, so that nobody waits long for the reader.
enum Pieces {
    /// These files.
    LookedUp(std::vec::IntoIter<FileId>),
    /// All files from this one on.
    Walked(FileId),
}

impl Pieces {
    fn of(docs: &HashMap<FileId, DocFile>) -> Pieces {
        if docs.len() > LOOKED_UP_MAX {
            return Pieces::Walked(0);
        }
        let mut ids: Vec<FileId> = docs.keys().copied().collect();
        ids.sort_unstable();
        Pieces::LookedUp(ids.into_iter())
    }
}

#[derive(Default)]
struct Answer {
    found: Vec<Found>,
    /// Where the files are that something was found in.
    files: HashMap<FileId, Candidate>,
    /// Files that were looked at.
    looked_at: usize,
    /// Files whose symbols are not known yet, and that were not parsed either.
    unknown: usize,
    read: usize,
    unreadable: usize,
    /// Whether there are more than were kept.
    dropped: bool,
    plan: String,
}

impl Search<'_> {
    /// Symbols with exactly this name, but for its case.
    fn exact(&self) -> Result<Answer, QueryError> {
        let planned = self.wanted.plan();
        let mut answer = Answer { plan: format!("symbols of {planned}"), ..Answer::default() };
        let files = self.documents(&planned)?;
        let mut pending = Vec::new();
        let mut bytes = Vec::new();
        answer.looked_at = files.len();
        let name = NameHash::new(&self.wanted.name);
        for file in files {
            let stored = self.searcher.with_reader(|reader| stored_symbols(reader, file.id, name, &mut bytes));
            if !stored.map_err(|error| self.searcher.failed(error))? || !self.usable {
                pending.push(file);
            } else if self.add(file.id, &bytes, Fit::OtherCase, &mut answer.found) {
                self.place(file, &mut answer)?;
            }
        }
        answer.found.retain(|found| answer.files.contains_key(&found.file));
        self.parse(pending, &mut answer)?;
        Ok(answer)
    }

    /// Symbols of all files whose name fits in any way.
    fn all(&self, exact: Answer) -> Result<Answer, QueryError> {
        let planned = Planned { plan: self.wanted.wide_plan(), ..self.wanted.plan() };
        let docs: HashMap<FileId, DocFile> =
            self.documents(&planned)?.into_iter().map(|file| (file.id, file)).collect();
        let mut answer = exact;
        let mut found = Vec::new();
        let mut files = 0;
        let mut pieces = self.usable.then(|| Pieces::of(&docs));
        while let Some(now) = &mut pieces {
            let mut of_piece = Vec::new();
            let more = self.piece(now, &docs, &mut of_piece, &mut files)?;
            self.retain_accepted(&docs, &mut of_piece)?;
            found.append(&mut of_piece);
            answer.dropped |= keep_best(&mut found, self.kept());
            pieces = pieces.filter(|_| more);
        }
        (answer.plan, answer.looked_at) = (format!("symbols of {planned}"), files);
        answer.unknown = docs.len().saturating_sub(files);
        for found in &found {
            if !answer.files.contains_key(&found.file)
                && let Some(file) = docs.get(&found.file)
            {
                self.place(*file, &mut answer)?;
            }
        }
        found.retain(|found| answer.files.contains_key(&found.file));
        answer.found = found;
        Ok(answer)
    }

    /// Goes over the next piece, and counts the files in it. Returns whether there are more.
    fn piece(
        &self,
        pieces: &mut Pieces,
        docs: &HashMap<FileId, DocFile>,
        found: &mut Vec<Found>,
        files: &mut usize,
    ) -> Result<bool, QueryError> {
        let per_file = self.query.per_file_or_all();
        let mut take = |id, bytes: &[u8]| {
            *files += 1;
            let start = found.len();
            self.add(id, bytes, Fit::Humps, found);
            keep_of_file(found, start, per_file);
        };
        let walked = self.searcher.with_reader(|reader| match pieces {
            Pieces::LookedUp(ids) => {
                let mut bytes = Vec::new();
                for id in ids.by_ref().take(FILES_A_PIECE) {
                    if reader.symbols(id, &mut bytes)? {
                        take(id, &bytes);
                    }
                }
                Ok(ids.len() > 0)
            }
            Pieces::Walked(first) => {
                let next = reader.for_each_symbols_from(*first, WALKED_BYTES, |id, bytes| {
                    if docs.contains_key(&id) {
                        take(id, bytes);
                    }
                    Ok(())
                })?;
                *first = next.unwrap_or_default();
                Ok(next.is_some())
            }
        });
        walked.map_err(|error: StoreError| self.searcher.failed(error))
    }

    /// Drops what is in files whose path is filtered out, before it takes the place of others.
    fn retain_accepted(&self, docs: &HashMap<FileId, DocFile>, found: &mut Vec<Found>) -> Result<(), QueryError> {
        if self.query.globs.is_empty() {
            return Ok(());
        }
        let mut accepted = HashSet::new();
        for of_file in found.chunk_by(|a, b| a.file == b.file) {
            let Some(doc) = docs.get(&of_file[0].file) else { continue };
            let accept = |dir_path: &[u8], name: &[u8]| {
                if self.filter.accepts(dir_path, name) {
                    accepted.insert(doc.id);
                }
            };
            self.searcher.with_name(*doc, accept).map_err(|error| self.searcher.failed(error))?;
        }
        found.retain(|found| accepted.contains(&found.file));
        Ok(())
    }

    fn kept(&self) -> usize {
        self.query.limit_or_all().saturating_add(1).saturating_mul(KEPT_PER_WANTED).max(KEPT_MIN)
    }

    /// The files that may define the name: of those that there is a grammar for.
    fn documents(&self, planned: &Planned) -> Result<Vec<DocFile>, QueryError> {
        let mut files = Vec::new();
        let mut languages: Vec<Language> =
            Language::all().filter(|one| Grammar::of(one.name(), b"").is_some()).collect();
        languages.retain(|one| self.filter.languages.is_empty() || self.filter.languages.contains(one));
        if languages.is_empty() {
            return Ok(files);
        }
        for segment in &self.searcher.segments {
            let docs = segment.candidates(planned, &languages);
            let docs = docs.map_err(|error| self.searcher.failed(error))?;
            files.extend(docs.into_iter().map(|doc| segment.file(doc)));
        }
        Ok(files)
    }

    /// Adds the symbols that fit at least as well as `least`. Returns whether there are any.
    fn add(&self, file: FileId, bytes: &[u8], least: Fit, found: &mut Vec<Found>) -> bool {
        let before = found.len();
        let mut symbols = Symbols::new(bytes);
        while let Some(symbol) = symbols.next() {
            if let Some(fit) = self.wanted.fits(&symbol).filter(|fit| *fit >= least) {
                found.push(Found { rank: rank(fit, &symbol), file, symbol: symbol.to_symbol() });
            }
        }
        found.len() > before
    }

    /// Notes where a file is, unless its path is filtered out.
    fn place(&self, file: DocFile, answer: &mut Answer) -> Result<(), QueryError> {
        if let Some(candidate) = self.searcher.candidate(file, 1.0, self.filter)? {
            answer.files.insert(file.id, candidate);
        }
        Ok(())
    }

    /// Parses files whose symbols are not stored yet.
    fn parse(&self, pending: Vec<DocFile>, answer: &mut Answer) -> Result<(), QueryError> {
        let mut ids = Vec::new();
        let mut candidates = Vec::new();
        for file in pending {
            let Some(candidate) = self.searcher.candidate(file, 1.0, self.filter)? else { continue };
            if candidates.len() >= PARSED_MAX {
                answer.unknown += 1;
                continue;
            }
            ids.push(file.id);
            candidates.push(candidate);
        }
        let work = |(extractor, scratch): &mut (Extractor, String), index: usize, content: io::Result<&[u8]>| {
            extracted(extractor, scratch, &candidates[index], content?)
        };
        let parsed = read_indexed(&self.searcher.readers, &candidates, || (Extractor::new(), String::new()), work);
        for ((id, candidate), bytes) in ids.into_iter().zip(&candidates).zip(parsed) {
            answer.read += 1;
            match bytes {
                Ok(bytes) => {
                    if self.add(id, &bytes, Fit::OtherCase, &mut answer.found) {
                        answer.files.insert(id, candidate.clone());
                    }
                }
                Err(_) => answer.unreadable += 1,
            }
        }
        Ok(())
    }

    /// Looks at the files of the best symbols, and shows their lines.
    fn hits(&self, answer: Answer) -> Result<SearchResult, QueryError> {
        let Answer { mut found, files, looked_at, unknown, read, unreadable, dropped, plan } = answer;
        let path = |found: &Found| files.get(&found.file).map(Candidate::path);
        found.sort_by(|a, b| {
            b.rank.cmp(&a.rank).then_with(|| path(a).cmp(&path(b))).then_with(|| a.symbol.line.cmp(&b.symbol.line))
        });
        let (limit, per_file) = (self.query.limit_or_all(), self.query.per_file_or_all());
        let mut result =
            SearchResult { candidates: looked_at, files_read: read, unreadable, plan, ..SearchResult::default() };
        (result.symbols_pending, result.truncated) = (unknown, dropped);
        let mut of_file: HashMap<FileId, Vec<usize>> = HashMap::new();
        let mut taken = 0;
        for (index, found) in found.iter().enumerate() {
            if taken >= limit {
                result.truncated = true;
                break;
            }
            let shown = of_file.entry(found.file).or_default();
            if shown.len() < per_file {
                shown.push(index);
                taken += 1;
            } else if shown.len() == per_file {
                // One more than is shown says that there are more.
                shown.push(usize::MAX);
                result.capped_files += 1;
            }
        }
        let of_file: Vec<(FileId, Vec<usize>)> = of_file.into_iter().collect();
        let candidates: Vec<Candidate> = of_file.iter().filter_map(|(file, _)| files.get(file).cloned()).collect();
        let work = |(extractor, scratch): &mut (Extractor, String), index: usize, content: io::Result<&[u8]>| {
            let content = content?;
            let wanted = of_file[index].1.iter().filter_map(|&at| Some((at, found.get(at)?)));
            Ok(self.shown(wanted, content, (extractor, scratch), &candidates[index]))
        };
        let state = || (Extractor::new(), String::new());
        let shown: Vec<io::Result<Vec<(usize, Hit)>>> = read_indexed(&self.searcher.readers, &candidates, state, work);
        let mut hits = Vec::new();
        for ((_, wanted), shown) in of_file.iter().zip(shown) {
            result.files_read += 1;
            let shown = shown.unwrap_or_default();
            // Gone, or changed since the symbols were stored.
            let missing = wanted.iter().any(|at| *at != usize::MAX && shown.iter().all(|(shown, _)| shown != at));
            result.unreadable += usize::from(missing);
            result.files += usize::from(!shown.is_empty());
            hits.extend(shown);
        }
        hits.sort_by_key(|(at, _)| *at);
        result.hits = hits.into_iter().map(|(_, hit)| hit).collect();
        Ok(result)
    }

    /// The lines of symbols in the file as it is now. When it has changed, its symbols are extracted anew: what stands near
    /// the old place may be a mention.
    fn shown<'f>(
        &self,
        wanted: impl Iterator<Item = (usize, &'f Found)>,
        content: &[u8],
        (extractor, scratch): (&mut Extractor, &mut String),
        candidate: &Candidate,
    ) -> Vec<(usize, Hit)> {
        let Decoded::Text { text, .. } = decode(content, scratch) else { return Vec::new() };
        let bytes = text.as_bytes();
        let lines = line_starts(bytes);
        let is_as_recorded = self.searcher.readers.is_as_recorded(candidate);
        let placed = |symbol: Symbol| place_of(bytes, &lines, &symbol).map(|place| (symbol, place));
        let mut anew = None;
        let mut hits = Vec::new();
        for (at, found) in wanted {
            let known = if is_as_recorded { placed(found.symbol.clone()) } else { None };
            let now = known.or_else(|| {
                let anew = anew.get_or_insert_with(|| {
                    let grammar = grammar_of(candidate, content);
                    grammar.map_or_else(Vec::new, |grammar| extractor.extract(grammar, text).symbols)
                });
                take_moved(anew, &found.symbol).and_then(placed)
            });
            let Some((symbol, (number, line, column))) = now else { continue };
            let shown = Shown::around(bytes, line, column, self.query.context);
            let position = (number as u64 + 1, column as u64 + 1);
            let score = (found.rank.0 as u8 + 1).into();
            let mut hit = Hit::new(bytes_path(candidate.path()), position, score, shown);
            hit.symbol = Some(symbol);
            hits.push((at, hit));
        }
        hits
    }
}

/// Takes the symbol out of `symbols` that is the same as `before`, the nearest one if there are several.
fn take_moved(symbols: &mut Vec<Symbol>, before: &Symbol) -> Option<Symbol> {
    let same =
        |other: &Symbol| other.name == before.name && other.kind == before.kind && other.container == before.container;
    let moved = symbols.iter().enumerate().filter(|(_, other)| same(other));
    let (at, _) = moved.min_by_key(|(_, other)| other.line.abs_diff(before.line))?;
    Some(symbols.remove(at))
}

/// The better one first; of equals, the first one.
fn by_rank(a: &Found, b: &Found) -> Ordering {
    b.rank.cmp(&a.rank).then_with(|| (a.file, a.symbol.line).cmp(&(b.file, b.symbol.line)))
}

/// Of what was found in one file, which begins at `start`, keeps the best ones: one more than it may show, which tells that
/// there are more.
fn keep_of_file(found: &mut Vec<Found>, start: usize, per_file: usize) {
    let kept = per_file.saturating_add(1);
    if found.len() - start > kept {
        found[start..].sort_by(by_rank);
        found.truncate(start + kept);
    }
}

/// Keeps the best ones once there are twice as many. Returns whether any were dropped.
fn keep_best(found: &mut Vec<Found>, kept: usize) -> bool {
    if found.len() / 2 < kept {
        return false;
    }
    found.select_nth_unstable_by(kept, by_rank);
    found.truncate(kept);
    true
}

fn name_of(candidate: &Candidate) -> &[u8] {
    let path = candidate.path();
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn grammar_of(candidate: &Candidate, content: &[u8]) -> Option<Grammar> {
    let name = name_of(candidate);
    Grammar::of(Language::detect(name, content).name(), name)
}

/// The symbols of a file, as they would be stored.
fn extracted(
    extractor: &mut Extractor,
    scratch: &mut String,
    candidate: &Candidate,
    content: &[u8],
) -> io::Result<Vec<u8>> {
    let grammar = grammar_of(candidate, content);
    Ok(match (grammar, decode(content, scratch)) {
        (Some(grammar), Decoded::Text { text, .. }) => encode(&extractor.extract(grammar, text)),
        _ => Vec::new(),
    })
}

fn line_starts(text: &[u8]) -> Vec<usize> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text).map(|newline| newline + 1)).collect()
}

/// Where the name of a symbol stands, if it is where it was: the line's number from 0, the line, and the column.
fn place_of(text: &[u8], lines: &[usize], symbol: &Symbol) -> Option<(usize, Range<usize>, usize)> {
    let first = symbol.line as usize - 1;
    let last = (symbol.end_line as usize).min(first + NAME_LINES_MAX).min(lines.len());
    (first..last).find_map(|number| {
        let start = lines[number];
        let end = lines.get(number + 1).map_or(text.len(), |next| next - 1);
        let at = find_identifier(&text[start..end], symbol.name.as_bytes())?;
        Some((number, start..end, at))
    })
}
