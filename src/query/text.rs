//! Words to a scored query, and the best line of a file.

use super::definition::{self, Definition, Name, Wanted};
use crate::error::QueryError;
use crate::text::runs::{RUN_BYTES_MAX, RunMasks};
use crate::text::schema::{Fields, has_frequencies};
use std::ops::Range;
use tantivy::query::{BooleanQuery, EmptyQuery, Occur, Query as TantivyQuery, RegexQuery, TermQuery};
use tantivy::schema::IndexRecordOption;

/// Words of a query, each part of an identifier counted: finding the line with the most of them takes time that grows with
/// the square of their number.
const WORDS_MAX: usize = 64;

/// One word of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// As typed, without quotes or star.
    pub(super) typed: String,
    pub(super) kind: WordKind,
    /// Its runs, lowered, each with its camelCase parts.
    runs: Vec<Run>,
    /// Ways to write the same identifier, lowered: as typed, in snake case, in camel case, with hyphens.
    spellings: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordKind {
    Plain,
    /// `time*`
    Prefix,
    /// `"two words"`
    Phrase,
}

/// One run of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    whole: Vec<u8>,
    camel: Vec<Vec<u8>>,
}

impl Run {
    /// The camelCase parts, or the whole when there are none.
    fn parts(&self) -> Vec<&[u8]> {
        if self.camel.is_empty() { vec![&self.whole] } else { self.camel.iter().map(|part| &part[..]).collect() }
    }
}

/// Cuts a query into words: at white space, but not inside of double quotes.
pub(super) fn words(query: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for (index, piece) in query.split('"').enumerate() {
        if index % 2 == 1 {
            words.extend(Word::new(piece, WordKind::Phrase));
            continue;
        }
        for typed in piece.split_whitespace() {
            match typed.strip_suffix('*') {
                Some(typed) => words.extend(Word::new(typed, WordKind::Prefix)),
                None => words.extend(Word::new(typed, WordKind::Plain)),
            }
        }
    }
    words
}

/// The words of a question, which may have any number of them: the first ones, as many as a query may have.
pub(super) fn first_words(question: &str) -> Vec<Word> {
    let mut count = 0;
    let fits = |word: &Word| {
        count += word.needles().count();
        count <= WORDS_MAX
    };
    words(question).into_iter().take_while(fits).collect()
}

/// As [`words`], of a query that has not too many.
///
/// # Errors
/// When it has.
pub(super) fn bounded_words(query: &str) -> Result<Vec<Word>, QueryError> {
    let words = words(query);
    let count: usize = words.iter().map(|word| word.needles().count()).sum();
    if count > WORDS_MAX {
        let detail = format!(
            "the query has {count} words, parts of identifiers counted, and {WORDS_MAX} are the most: use fewer, or search \
             for it as a substring"
        );
        return Err(QueryError::Pattern { detail });
    }
    Ok(words)
}

impl Word {
    fn new(typed: &str, kind: WordKind) -> Option<Word> {
        let bytes = typed.as_bytes();
        let lowered = bytes.to_ascii_lowercase();
        let mut masks = RunMasks::default();
        masks.classify(bytes);
        let mut runs = Vec::new();
        masks.for_each_run(|start, end| {
            let mut camel = Vec::new();
            masks.for_each_part(start, end, |from, to| camel.push(lowered[from..to].to_vec()));
            if end - start <= RUN_BYTES_MAX {
                runs.push(Run { whole: lowered[start..end].to_vec(), camel });
            }
        });
        let mut spellings = vec![lowered.clone()];
        if kind == WordKind::Plain {
            let parts: Vec<&[u8]> = runs.iter().flat_map(|run| run.parts()).collect();
            spellings.extend([&b"_"[..], b"", b"-"].map(|between| parts.join(between)));
            spellings.sort_unstable();
            spellings.dedup();
        }
        (!runs.is_empty()).then(|| Word { typed: typed.to_owned(), kind, runs, spellings })
    }

    /// Whether the bytes of a file can say more than its terms do: more than one run stands for one identifier, or the
    /// case of letters does.
    pub(super) fn wants_exact(&self) -> bool {
        match self.kind {
            WordKind::Plain => self.runs.len() > 1 || self.runs.iter().any(|run| !run.camel.is_empty()),
            WordKind::Prefix => false,
            WordKind::Phrase => true,
        }
    }

    /// The terms to look for in a line.
    pub(super) fn needles(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().flat_map(Run::parts)
    }

    /// Every term that stands for a part of the word; of a prefix, those before it.
    pub(super) fn terms(&self) -> impl Iterator<Item = &[u8]> {
        let runs = if self.kind == WordKind::Prefix { &self.runs[..self.runs.len() - 1] } else { &self.runs[..] };
        runs.iter().flat_map(|run| run.camel.iter().map(|part| &part[..]).chain([&run.whole[..]]))
    }

    /// What a term may begin with.
    pub(super) fn prefix(&self) -> Option<&[u8]> {
        self.runs.last().filter(|_| self.kind == WordKind::Prefix).map(|run| &run.whole[..])
    }

    fn query(&self, fields: Fields) -> Box<dyn TantivyQuery> {
        let last = self.runs.len() - 1;
        let clauses = self.runs.iter().enumerate().map(|(index, run)| {
            if self.kind == WordKind::Prefix && index == last {
                return prefix_query(fields, &run.whole);
            }
            let whole = term_query(fields, &run.whole);
            if run.camel.is_empty() {
                return whole;
            }
            // `scheduleTimeout` is also what others spell `schedule_timeout`.
            all(run.camel.iter().map(|part| term_query(fields, part)).collect()).or(whole)
        });
        all(clauses.collect())
    }
}

/// How the words are looked up, for people.
pub(super) fn plan_text(words: &[Word], any: bool) -> String {
    let run = |run: &Run| match run.camel.is_empty() {
        true => String::from_utf8_lossy(&run.whole).into_owned(),
        false => format!("OR({}, AND({}))", run.whole.escape_ascii(), run.camel.join(&b", "[..]).escape_ascii()),
    };
    let word = |word: &Word| {
        let runs: Vec<String> = word.runs.iter().map(run).collect();
        let star = if word.kind == WordKind::Prefix { "*" } else { "" };
        if runs.len() == 1 { format!("{}{star}", runs[0]) } else { format!("AND({}{star})", runs.join(", ")) }
    };
    let words: Vec<String> = words.iter().map(word).collect();
    match words.len() {
        1 => words.join(""),
        _ => format!("{}({})", if any { "OR" } else { "AND" }, words.join(", ")),
    }
}

/// The query for files that hold all words, or any of them.
pub(super) fn query_for(words: &[Word], fields: Fields, any: bool) -> Box<dyn TantivyQuery> {
    let clauses: Vec<_> = words.iter().map(|word| word.query(fields)).collect();
    if any {
        return Box::new(BooleanQuery::union(clauses));
    }
    all(clauses)
}

trait OrElse {
    fn or(self, other: Box<dyn TantivyQuery>) -> Box<dyn TantivyQuery>;
}

impl OrElse for Box<dyn TantivyQuery> {
    fn or(self, other: Box<dyn TantivyQuery>) -> Box<dyn TantivyQuery> {
        Box::new(BooleanQuery::new(vec![(Occur::Should, self), (Occur::Should, other)]))
    }
}

fn all(mut clauses: Vec<Box<dyn TantivyQuery>>) -> Box<dyn TantivyQuery> {
    match clauses.len() {
        0 => Box::new(EmptyQuery),
        1 => clauses.remove(0),
        _ => Box::new(BooleanQuery::intersection(clauses)),
    }
}

fn term_query(fields: Fields, term: &[u8]) -> Box<dyn TantivyQuery> {
    // Asking for frequencies of a term that has none is not checked by tantivy and ends in a panic of its block-max scorer.
    let option = if has_frequencies(term) { IndexRecordOption::WithFreqs } else { IndexRecordOption::Basic };
    Box::new(TermQuery::new(fields.term(term), option))
}

/// Runs hold no byte that is special in a pattern, and a prefix of a term is cut at no character.
fn prefix_query(fields: Fields, prefix: &[u8]) -> Box<dyn TantivyQuery> {
    let pattern = format!("{}.*", String::from_utf8_lossy(prefix));
    match RegexQuery::from_pattern(&pattern, fields.text) {
        Ok(query) => Box::new(query),
        Err(error) => {
            tracing::debug!(%error, pattern, "falls back to the whole term");
            term_query(fields, prefix)
        }
    }
}

/// How closely a file's bytes are what was typed. Later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// A phrase that is not there: no hit.
    Missing,
    /// Every term is there.
    Terms,
    /// The identifier is there in another case or spelling (`scheduleTimeout`, `schedule_timeout`).
    OtherSpelling,
    /// The identifier is there as typed.
    Exact,
}

/// The name that a query asks for, if it asks for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// As typed.
    pub(super) typed: Option<Vec<u8>>,
    /// Other ways to write it, lowered.
    folded: Vec<Vec<u8>>,
    wanted: Option<Wanted>,
    /// Whether it can only be an identifier, of whose definition it is worth reading many files to find it.
    pub(super) seeks_definition: bool,
}

impl Names {
    /// Of `vfs_read` or `struct page`, the name; of `hub port reset`, the words as one name.
    pub(super) fn new(words: &[Word]) -> Names {
        let wanted = match words {
            [first, _] if first.kind == WordKind::Plain => definition::asks_for(&first.typed),
            _ => None,
        };
        let names = if wanted.is_some() { &words[1..] } else { words };
        match names {
            [name] if name.kind == WordKind::Plain => Names {
                typed: Some(name.typed.clone().into_bytes()),
                folded: name.spellings.clone(),
                wanted,
                seeks_definition: wanted.is_some() || name.wants_exact(),
            },
            [_, _, ..] if names.iter().all(|word| word.kind == WordKind::Plain) => {
                match names.iter().find(|word| word.wants_exact()) {
                    // Other words are asked for beside it.
                    Some(name) => Names { seeks_definition: false, ..Names::new(std::slice::from_ref(name)) },
                    None => {
                        let parts: Vec<&[u8]> = names.iter().flat_map(Word::needles).collect();
                        Names { folded: vec![parts.join(&b'_'), parts.concat()], ..Names::default() }
                    }
                }
            }
            _ => Names::default(),
        }
    }

    /// What kind of definition is asked for.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted.unwrap_or(Wanted::Any)
    }

    /// Where `content` defines the name, and how much it looks like that. `closeness` tells how the file writes it, if
    /// that is known.
    fn definition(
        &self,
        places: usize,
        content: &[u8],
        lowered: &[u8],
        closeness: Option<Closeness>,
    ) -> Option<Definition> {
        let name = |text| Name { text, wanted: self.wanted(), places };
        match (&self.typed, closeness) {
            (Some(typed), None | Some(Closeness::Exact)) => definition::find(content, content, &name(typed)),
            (_, Some(Closeness::Terms | Closeness::Missing)) => None,
            _ => {
                let found = self.folded.iter().filter_map(|text| definition::find(content, lowered, &name(text)));
                let best = found.max_by(|a, b| a.strength.total_cmp(&b.strength))?;
                Some(Definition { strength: best.strength * FOLDED_SHARE, ..best })
            }
        }
    }
}

/// What a definition in another case or spelling is worth.
const FOLDED_SHARE: f32 = 0.8;

/// The best line of a file for the words of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BestLine {
    pub(super) closeness: Closeness,
    /// How much the line looks like the definition of the name; 0 for not at all.
    pub(super) definition: f32,
    /// The share of the terms that it holds.
    pub(super) in_line: f32,
    pub(super) number: u64,
    pub(super) column: u64,
    /// Where the line lies in the content, without its end.
    pub(super) line: Range<usize>,
}

/// Occurrences that are compared before the best one so far is taken.
const OCCURRENCES_MAX: usize = 64;

/// Finds the best line: one that defines the name that is asked for, one that holds an identifier as typed, then in any
/// case, then the most of the terms. `None` when there is none of the terms. No more than
/// `places` of the name are looked at; `lowered` is scratch.
pub(super) fn best_line(
    words: &[Word],
    names: &Names,
    places: usize,
    content: &[u8],
    lowered: &mut Vec<u8>,
) -> Option<BestLine> {
    lowered.clear();
    lowered.extend_from_slice(content);
    lowered.make_ascii_lowercase();
    let lowered = &lowered[..];
    let mut best: Option<(Closeness, usize)> = None;
    let mut least = Closeness::Exact;
    for word in words.iter().filter(|word| word.wants_exact()) {
        let (closeness, at) = closeness(word, content, lowered);
        if best.is_none_or(|(so_far, _)| closeness > so_far) {
            best = Some((closeness, at));
        }
        least = least.min(closeness);
    }
    let defined = names.definition(places, content, lowered, best.map(|(closeness, _)| closeness));
    let at = match (defined, best) {
        (Some(defined), _) => defined.at,
        (None, Some((Closeness::Exact | Closeness::OtherSpelling, at))) => at,
        (None, Some(_)) => most_terms(words, lowered).unwrap_or(0),
        (None, None) => most_terms(words, lowered)?,
    };
    Some(BestLine {
        closeness: if best.is_some() { least } else { Closeness::Terms },
        definition: defined.map_or(0.0, |defined| defined.strength),
        ..line_at(words, content, lowered, at)
    })
}

/// The first line, of a file whose terms are those of another encoding than that of its bytes.
pub(super) fn first_line(words: &[Word], content: &[u8]) -> BestLine {
    line_at(words, content, content, 0)
}

fn line_at(words: &[Word], content: &[u8], lowered: &[u8], at: usize) -> BestLine {
    let (start, end) = line_bounds(content, at);
    BestLine {
        closeness: Closeness::Terms,
        definition: 0.0,
        in_line: share_of_terms(words, &lowered[start..end]),
        number: memchr::memchr_iter(b'\n', &content[..start]).count() as u64 + 1,
        column: (at - start) as u64 + 1,
        line: start..end,
    }
}

fn share_of_terms(words: &[Word], line: &[u8]) -> f32 {
    let (mut held, mut all) = (0.0, 0.0);
    for needle in words.iter().flat_map(Word::needles) {
        all += 1.0;
        held += if memchr::memmem::find(line, needle).is_some() { 1.0 } else { 0.0 };
    }
    held / f32::max(all, 1.0)
}

fn closeness(word: &Word, content: &[u8], lowered: &[u8]) -> (Closeness, usize) {
    if let Some(at) = find_identifier(content, word.typed.as_bytes()) {
        return (Closeness::Exact, at);
    }
    if let Some(at) = word.spellings.iter().filter_map(|spelling| find_identifier(lowered, spelling)).min() {
        return (Closeness::OtherSpelling, at);
    }
    if word.kind == WordKind::Phrase { (Closeness::Missing, 0) } else { (Closeness::Terms, 0) }
}

/// Where `needle` stands with no identifier character on either side.
pub(super) fn find_identifier(content: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(content, needle).find(|&at| definition::stands_alone(content, at, needle.len()))
}

/// Where the line with the most of the terms is; `None` when there is none of them.
fn most_terms(words: &[Word], lowered: &[u8]) -> Option<usize> {
    let needles: Vec<&[u8]> = words.iter().flat_map(Word::needles).collect();
    let mut best = (0, None);
    for needle in &needles {
        for at in memchr::memmem::find_iter(lowered, needle).take(OCCURRENCES_MAX) {
            let (start, end) = line_bounds(lowered, at);
            let line = &lowered[start..end];
            let count = needles.iter().filter(|needle| memchr::memmem::find(line, needle).is_some()).count();
            if count > best.0 {
                best = (count, Some(at));
            }
            if count == needles.len() {
                return Some(at);
            }
        }
    }
    best.1
}

fn line_bounds(content: &[u8], at: usize) -> (usize, usize) {
    let start = memchr::memrchr(b'\n', &content[..at]).map_or(0, |newline| newline + 1);
    let end = memchr::memchr(b'\n', &content[at..]).map_or(content.len(), |newline| at + newline);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, content: &str, expect: (Closeness, u64, u64)) {
        let words = words(query);
        let best = best_line(&words, &Names::new(&words), 64, content.as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!((best.closeness, best.number, best.column), expect, "{query:?} in {content:?}");
    }

    #[test]
    fn words_are_cut_at_space_but_not_in_quotes() {
        let kinds: Vec<_> = words("a_b time* \"x y\" -").into_iter().map(|word| (word.typed, word.kind)).collect();
        let expect = [("a_b", WordKind::Plain), ("time", WordKind::Prefix), ("x y", WordKind::Phrase)];
        assert_eq!(kinds, expect.map(|(typed, kind)| (typed.to_owned(), kind)));
    }

    #[test]
    fn too_many_words_are_refused() {
        let count = |query: &str| bounded_words(query).map(|words| words.len()).map_err(|error| error.to_string());
        assert_eq!(count(&"word ".repeat(WORDS_MAX)), Ok(WORDS_MAX));
        for query in ["word ".repeat(WORDS_MAX + 1), "a_".repeat(WORDS_MAX + 1), "aB".repeat(WORDS_MAX)] {
            let refused = count(&query).unwrap_err();
            assert!(refused.contains("words") && refused.contains("64 are the most: use fewer"), "{refused}");
        }
    }

    #[test]
    fn exact_identifiers_are_the_best_lines() {
        check("schedule_timeout", "schedule\nmy_schedule_timeout\n  schedule_timeout(1)\n", (Closeness::Exact, 3, 3));
        check("schedule_timeout", "timeout\nSCHEDULE_TIMEOUT\n", (Closeness::OtherSpelling, 2, 1));
        check("schedule_timeout", "timeout\nscheduleTimeout\n", (Closeness::OtherSpelling, 2, 1));
        check("scheduleTimeout", "timeout\nx = schedule_timeout\n", (Closeness::OtherSpelling, 2, 5));
        check("schedule_timeout", "timeout\nschedule a timeout\n", (Closeness::Terms, 2, 1));
        check("\"a b\"", "b a\n", (Closeness::Missing, 1, 3));
        check("two words", "two\nwords\nwords two\n", (Closeness::Terms, 3, 7));
    }
}
