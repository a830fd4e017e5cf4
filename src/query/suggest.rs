//! For a query that finds nothing: the words of it that the index does not hold, and the nearest ones that it does.

use super::candidates::Segment;
use super::searcher::Searcher;
use super::{Mode, Query};
use crate::error::QueryError;
use crate::text::runs::{RUN_BYTES_MAX, RunMasks};
use regex_syntax::ast::{self, Ast, Span, Visitor};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

/// Suggestions that are made.
const SUGGESTIONS_MAX: usize = 3;
/// Suggestions that are tried: each costs a search.
const TRIES_MAX: usize = 6;
/// Words of a query that are looked at.
const WORDS_MAX: usize = 16;
/// A term that is one slip further away has to be in so many times more files to be as likely. One that is so many times
/// less likely than the best is not meant.
const SLIP_WEIGHT: u64 = 32;

/// A word of a query, and how it may continue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    at: Range<usize>,
    /// In lower case.
    word: Vec<u8>,
    /// Whether the term that is meant may have more before it and behind it.
    open: (bool, bool),
}

/// A part of the pattern that may be wrong, and what may have been meant; at least one term.
struct Suspect {
    at: Range<usize>,
    nearest: Vec<String>,
}

impl Searcher {
    pub(crate) fn suggest(&self, query: &Query) -> Result<Vec<String>, QueryError> {
        let suspects = self.suspects(query)?;
        let most = suspects.iter().map(|suspect| suspect.nearest.len()).max().unwrap_or(0);
        let mut found: Vec<(String, bool)> = Vec::new();
        for place in 0..most.min(TRIES_MAX) {
            let chosen =
                suspects.iter().map(|Suspect { at, nearest }| (at, &nearest[place.min(nearest.len() - 1)][..]));
            let pattern = replaced(&query.pattern, chosen);
            let asked = Query { pattern: pattern.clone(), ..query.clone() }.limit(1).context(0, 0);
            if let Some(hit) = self.search(&asked)?.hits.first() {
                let written_so = hit.text.to_lowercase().contains(&pattern.to_lowercase());
                found.push((pattern, written_so));
            }
            if found.iter().filter(|(_, written_so)| *written_so).count() == SUGGESTIONS_MAX {
                break;
            }
        }
        // Words that only stand in the same file are not what was meant if there is something that is written just so.
        let any_written = found.iter().any(|(_, written_so)| *written_so);
        found.retain(|(_, written_so)| *written_so || !any_written);
        Ok(found.into_iter().map(|(pattern, _)| pattern).take(SUGGESTIONS_MAX).collect())
    }

    /// The words that may be wrong, and the terms nearest to each: those that the index does not hold. If it holds all, the
    /// rarest one: others make mistakes too. None, if something is not there and nothing is near to it.
    fn suspects(&self, query: &Query) -> Result<Vec<Suspect>, QueryError> {
        let mut unknown = Vec::new();
        let mut rarest: Option<(u64, Piece)> = None;
        for piece in self.pieces(query)? {
            if !self.is_known(&piece)? {
                unknown.push(piece);
                continue;
            }
            let files = self.files_with(&piece.word)?;
            if rarest.as_ref().is_none_or(|(least, _)| files < *least) {
                rarest = Some((files, piece));
            }
        }
        if unknown.is_empty() {
            unknown.extend(rarest.map(|(_, piece)| piece));
        }
        let mut suspects = Vec::with_capacity(unknown.len());
        for piece in unknown {
            let nearest = self.nearest(&piece.word)?;
            if nearest.is_empty() {
                return Ok(Vec::new());
            }
            suspects.push(Suspect { at: piece.at, nearest });
        }
        Ok(suspects)
    }

    fn files_with(&self, term: &[u8]) -> Result<u64, QueryError> {
        let of_segment = |segment: &Segment| segment.files_with(term).map(u64::from);
        let counts = self.segments.iter().map(of_segment).sum::<tantivy::Result<u64>>();
        counts.map_err(|error| self.failed(error))
    }

    /// The words to look at: runs, but of one that is not a term as a whole, its camelCase parts.
    fn pieces(&self, query: &Query) -> Result<Vec<Piece>, QueryError> {
        let mut pieces = Vec::new();
        for (literal, open) in literals(query) {
            let text = &query.pattern.as_bytes()[literal.clone()];
            for (run, parts) in runs(text) {
                if pieces.len() == WORDS_MAX {
                    return Ok(pieces);
                }
                let piece = |part: &Range<usize>| Piece {
                    at: literal.start + part.start..literal.start + part.end,
                    word: text[part.clone()].to_ascii_lowercase(),
                    open: (open && part.start == 0, open && part.end == text.len()),
                };
                let whole = piece(&run);
                if parts.is_empty() || self.is_known(&whole)? {
                    pieces.push(whole);
                } else {
                    pieces.extend(parts.iter().map(piece));
                }
            }
        }
        Ok(pieces)
    }

    fn is_known(&self, piece: &Piece) -> Result<bool, QueryError> {
        for segment in &self.segments {
            let known = match piece.open {
                (false, false) => segment.files_with(&piece.word).map(|files| files > 0),
                open => segment.has_like(&piece.word, open),
            };
            if known.map_err(|error| self.failed(error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The other terms nearest to `word`, the likeliest first.
    fn nearest(&self, word: &[u8]) -> Result<Vec<String>, QueryError> {
        let max = slips_max(word.len());
        if max == 0 || word.len() > RUN_BYTES_MAX {
            return Ok(Vec::new());
        }
        let mut near: BTreeMap<Vec<u8>, (u8, u64)> = BTreeMap::new();
        for segment in &self.segments {
            let add = |term: &[u8], slips: u8, files: u32| {
                if slips == 0 {
                    return;
                }
                near.entry(term.to_vec()).or_insert((slips, 0)).1 += u64::from(files);
            };
            segment.near(word, max, add).map_err(|error| self.failed(error))?;
        }
        let mut near: Vec<_> = near.into_iter().collect();
        let weight = |slips: u8, files: u64| files.saturating_mul(SLIP_WEIGHT.pow(u32::from(max - slips)));
        near.sort_by_cached_key(|(term, (slips, files))| (Reverse(weight(*slips, *files)), *slips, term.clone()));
        let least = near.first().map_or(0, |(_, (slips, files))| weight(*slips, *files) / SLIP_WEIGHT);
        near.retain(|(_, (slips, files))| weight(*slips, *files) > least);
        let terms = near.into_iter().filter_map(|(term, _)| String::from_utf8(term).ok());
        Ok(terms.take(TRIES_MAX).collect())
    }
}

impl Segment {
    /// The terms near to `word`, with their distance and how many files hold them.
    fn near(&self, word: &[u8], max: u8, mut each: impl FnMut(&[u8], u8, u32)) -> tantivy::Result<()> {
        let mut found: Vec<(Vec<u8>, u8)> = Vec::new();
        self.for_each_near(word, max, |term, slips| found.push((term.to_vec(), slips)))?;
        for (term, slips) in found {
            each(&term, slips, self.files_with(&term)?);
        }
        Ok(())
    }
}

/// How many slips a word of so many bytes may hold.
fn slips_max(len: usize) -> u8 {
    match len {
        0..3 => 0,
        3..6 => 1,
        _ => 2,
    }
}

/// The parts of the pattern that stand for themselves, and whether terms may go on beyond their ends.
fn literals(query: &Query) -> Vec<(Range<usize>, bool)> {
    match query.mode {
        Mode::Text | Mode::Symbol => vec![(0..query.pattern.len(), false)],
        // A question is understood whatever its words are.
        Mode::Semantic | Mode::Hybrid => Vec::new(),
        Mode::Substring => vec![(0..query.pattern.len(), true)],
        Mode::Regex => {
            let Ok(parsed) = ast::parse::Parser::new().parse(&query.pattern) else { return Vec::new() };
            let mut found = Literals { source: &query.pattern, spans: Vec::new() };
            let Ok(()) = ast::visit(&parsed, &mut found);
            found.spans.into_iter().map(|span| (span, true)).collect()
        }
    }
}

/// Collects what is literal in a pattern; characters side by side are one literal.
struct Literals<'p> {
    source: &'p str,
    spans: Vec<Range<usize>>,
}

impl Literals<'_> {
    fn add(&mut self, span: &Span) {
        let (start, end) = (span.start.offset, span.end.offset);
        match self.spans.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.spans.push(start..end),
        }
    }
}

impl Visitor for &mut Literals<'_> {
    type Output = ();
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        if let Ast::Literal(literal) = ast {
            // Escapes stand for something else than what is written.
            if self.source[literal.span.start.offset..literal.span.end.offset].chars().eq([literal.c]) {
                self.add(&literal.span);
            }
        }
        Ok(())
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        // What is repeated is not a letter of a word.
        if let Ast::Repetition(repetition) = ast
            && let Ast::Literal(_) = *repetition.ast
            && let Some(last) = self.spans.last_mut()
            && last.end == repetition.ast.span().end.offset
        {
            last.end = repetition.ast.span().start.offset;
        }
        Ok(())
    }
}

/// The runs of a text, each with its camelCase parts.
fn runs(text: &[u8]) -> Vec<(Range<usize>, Vec<Range<usize>>)> {
    let mut masks = RunMasks::default();
    masks.classify(text);
    let mut found = Vec::new();
    masks.for_each_run(|start, end| {
        let mut parts = Vec::new();
        masks.for_each_part(start, end, |from, to| parts.push(from..to));
        found.push((start..end, parts));
    });
    found
}

/// The pattern with other words in some places, which come in order.
fn replaced<'t>(pattern: &str, chosen: impl Iterator<Item = (&'t Range<usize>, &'t str)>) -> String {
    let mut text = String::with_capacity(pattern.len() + 8);
    let mut done = 0;
    for (at, term) in chosen {
        text.push_str(&pattern[done..at.start]);
        text.push_str(&as_typed(&pattern[at.clone()], term));
        done = at.end;
    }
    text.push_str(&pattern[done..]);
    text
}

/// A term, which is in lower case, in the case of what was typed.
fn as_typed(typed: &str, term: &str) -> String {
    let upper = |char: char| char.is_ascii_uppercase();
    let letters = || typed.chars().filter(char::is_ascii_alphabetic);
    if letters().count() > 1 && letters().all(upper) {
        return term.to_ascii_uppercase();
    }
    let mut chars = term.chars();
    match chars.next() {
        Some(first) if typed.starts_with(upper) => first.to_ascii_uppercase().to_string() + chars.as_str(),
        _ => term.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_the_case_they_were_typed_in() {
        for (typed, term, expect) in [
            ("timeuot", "timeout", "timeout"),
            ("TIMEUOT", "timeout", "TIMEOUT"),
            ("Timeuot", "timeout", "Timeout"),
            ("X", "é", "é"),
            ("T", "time", "Time"),
        ] {
            assert_eq!(as_typed(typed, term), expect, "{typed}");
        }
    }

    #[test]
    fn literals_of_a_pattern() {
        let check = |pattern: &str, expect: &[&str]| {
            let found = literals(&Query::regex(pattern));
            let found: Vec<&str> = found.into_iter().map(|(at, _)| &pattern[at]).collect();
            assert_eq!(found, expect, "{pattern}");
        };
        check(r"fn \w+_lokc\(", &["fn ", "_lokc"]);
        check("abc|def", &["abc", "def"]);
        check("fooo*bar", &["foo", "bar"]);
        check("(ab)+c[de]", &["ab", "c"]);
        check(r"\x41bc", &["bc"]);
        check("a(", &[]);
    }

    #[test]
    fn words_are_replaced_in_place() {
        let (one, two) = (0..3, 4..7);
        assert_eq!(replaced("abc-def*", [(&one, "x"), (&two, "yyyy")].into_iter()), "x-yyyy*");
    }
}
