//! The planner: which files can hold a match of a substring or a regex, told from the vocabulary alone.
//!
//! It owns the way from a pattern to a boolean expression over *terms*. It knows how text is cut into terms and nothing
//! about where terms, postings or files are kept; whoever evaluates a plan verifies its candidates on the files' bytes.
//!
//! # The contract with the index
//!
//! A *run* is a maximal sequence of ASCII alphanumerics and bytes >= 0x80; every other byte (also `_`) separates runs.
//! A term is a run with its ASCII letters lowercased. The index may hold further terms (camelCase parts); a plan never
//! needs them. Four kinds of files must be flagged by the index, because their terms do not tell the whole truth:
//!
//! | flag | a file that | is added when |
//! |---|---|---|
//! | `LONG_RUN` | has a run of more than [`Limits::max_term_bytes`] bytes (it is no term) | always |
//! | `NOT_UTF8` | was decoded from Latin-1, so that its terms are not its bytes | [`Planned::needs_non_ascii`] |
//! | `FOLDS` | holds U+212A or U+017F, *in its raw bytes*, which `k` and `s` match under `-i` | [`Planned::folded`] |
//! | `ODD_RUN` | see [`Limits::odd_runs`]; off by default | its terms satisfy [`Planned::odd_runs`] |
//!
//! A byte order mark at the start of a file has to be stripped by the index if the verifier strips it: else `^foo` asks
//! for the term `foo` while the index holds `\u{feff}foo`.
//!
//! # Soundness
//!
//! The files that satisfy a plan, together with those flagged as above, contain every file with a match. A match may
//! not span `\n`. Nothing is promised the other way round: a plan is only as selective as the literals of the pattern.
//!
//! # How
//!
//! `analyse` walks the parsed regex and describes what a match looks like by a small set of *templates*: strings of
//! run bytes, separators and gaps. `template` turns a template into fragments: what is known of the runs it
//! contains. `simplify` keeps the resulting expression small.

mod analyse;
mod simplify;
mod template;

use std::fmt;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir};

/// How the bytes of a [`Fragment`] lie in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// The term is the fragment.
    Exact,
    /// The term starts with the fragment.
    Prefix,
    /// The term ends with the fragment.
    Suffix,
    /// The term contains the fragment.
    Substring,
}

impl Shape {
    /// The name used in explanations.
    fn name(self) -> &'static str {
        match self {
            Shape::Exact => "exact",
            Shape::Prefix => "prefix",
            Shape::Suffix => "suffix",
            Shape::Substring => "substring",
        }
    }
}

/// A condition on one term of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fragment {
    /// How `bytes` lie in the term.
    pub shape: Shape,
    /// Never empty; ASCII digits and lowercase letters and bytes >= 0x80 only. It need not be valid UTF-8: a pattern may
    /// hold a piece of a character, so the vocabulary has to be compared as bytes.
    pub bytes: Vec<u8>,
}

impl Fragment {
    /// Whether `term` satisfies this fragment.
    pub fn accepts(&self, term: &[u8]) -> bool {
        match self.shape {
            Shape::Exact => term == self.bytes,
            Shape::Prefix => term.starts_with(&self.bytes),
            Shape::Suffix => term.ends_with(&self.bytes),
            Shape::Substring => contains(term, &self.bytes),
        }
    }
}

/// Which files are candidates. Simplified by construction: no `And` in an `And`, no `Or` in an `Or`, no node with fewer
/// than two children, no `All` or `None` below the top, no duplicates. Children come in the order in which they
/// should be evaluated (see [`Plan::cost_hint`]), which depends on nothing but the pattern and the limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plan {
    /// Every file.
    All,
    /// No file (but those with the flag `LONG_RUN`, as always).
    None,
    /// The files with a term that satisfies the fragment.
    Fragment(Fragment),
    /// The files that satisfy all of these.
    And(Vec<Plan>),
    /// The files that satisfy any of these.
    Or(Vec<Plan>),
}

impl Plan {
    /// Whether a file satisfies the plan, given whether it has a term that satisfies a fragment.
    pub fn matches(&self, terms: &dyn Fn(&Fragment) -> bool) -> bool {
        match self {
            Plan::All => true,
            Plan::None => false,
            Plan::Fragment(fragment) => terms(fragment),
            Plan::And(children) => children.iter().all(|child| child.matches(terms)),
            Plan::Or(children) => children.iter().any(|child| child.matches(terms)),
        }
    }

    /// The fragments of the plan in the order of evaluation. One that occurs in two branches is given twice.
    pub fn fragments(&self) -> Vec<&Fragment> {
        match self {
            Plan::All | Plan::None => Vec::new(),
            Plan::Fragment(fragment) => vec![fragment],
            Plan::And(children) | Plan::Or(children) => children.iter().flat_map(Plan::fragments).collect(),
        }
    }

    /// The number of nodes, this one included.
    pub fn node_count(&self) -> usize {
        match self {
            Plan::All | Plan::None | Plan::Fragment(_) => 1,
            Plan::And(children) | Plan::Or(children) => 1 + children.iter().map(Plan::node_count).sum::<usize>(),
        }
    }

    /// A rough rank: what is lower is cheaper to evaluate and more selective, so it should be evaluated first. Exact
    /// fragments come before prefixes, those before suffixes and substrings; the longer before the shorter. An `And`
    /// is as good as its best child, an `Or` worse than its worst. Only the order means anything.
    pub fn cost_hint(&self) -> u32 {
        match self {
            Plan::None => 0,
            Plan::All => u32::MAX,
            Plan::Fragment(fragment) => {
                let rank = match fragment.shape {
                    Shape::Exact => 0,
                    Shape::Prefix => 1,
                    Shape::Suffix => 2,
                    Shape::Substring => 3,
                };
                let length = u32::try_from(fragment.bytes.len()).map_or(255, |length| length.min(255));
                1 + rank * 256 + (255 - length)
            }
            Plan::And(children) => children.iter().map(Plan::cost_hint).min().map_or(0, |best| best.saturating_sub(1)),
            Plan::Or(children) => {
                let count = u32::try_from(children.len()).unwrap_or(u32::MAX);
                children.iter().map(Plan::cost_hint).max().unwrap_or(0).saturating_add(count)
            }
        }
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:\"", self.shape.name())?;
        for chunk in self.bytes.utf8_chunks() {
            write!(f, "{}{}", chunk.valid().escape_debug(), chunk.invalid().escape_ascii())?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, children) = match self {
            Plan::All => return f.write_str("ALL"),
            Plan::None => return f.write_str("NONE"),
            Plan::Fragment(fragment) => return fragment.fmt(f),
            Plan::And(children) => ("AND", children),
            Plan::Or(children) => ("OR", children),
        };
        write!(f, "{name}(")?;
        for (index, child) in children.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            child.fmt(f)?;
        }
        f.write_str(")")
    }
}

/// A plan and the flagged files that have to be added to its candidates. `LONG_RUN` files are always added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What the terms of a candidate satisfy.
    pub plan: Plan,
    /// Some fragment holds bytes >= 0x80: add the files flagged `NOT_UTF8`, whose terms hold them transcoded.
    pub needs_non_ascii: bool,
    /// A `k` or `s` of some fragment stands for a class that also holds U+212A or U+017F: add the files flagged `FOLDS`.
    pub folded: bool,
    /// When the plan takes `\b`, `\s`, `\W` for ends of runs, the plan that does not: add those files flagged `ODD_RUN` whose
    /// terms satisfy it. Only with [`Limits::odd_runs`].
    pub odd_runs: Option<Plan>,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)?;
        let odd_runs = self.odd_runs.is_some();
        let flags = [(self.needs_non_ascii, " +NOT_UTF8"), (self.folded, " +FOLDS"), (odd_runs, " +ODD_RUN")];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// The bounds of planning. Larger ones give more selective plans that cost more to make and to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many alternatives concatenation may multiply up to before it splits the literal. Default 16.
    pub max_alternatives: usize,
    /// How many alternatives an alternation may collect before it is cut off from what surrounds it. Default 128.
    pub max_union: usize,
    /// How many bytes all the alternatives may have together once there are two. Default 4096.
    pub max_bytes: usize,
    /// How many different strings a class may stand for, after lowercasing and with all separators counted as one,
    /// before it is taken for any character. Default 8.
    pub max_class: usize,
    /// How many times a counted repetition is written out. Default 32.
    pub max_unroll: u32,
    /// How many nodes the plan may have before it is coarsened (conjuncts dropped, fragments cut). Default 512.
    pub max_nodes: usize,
    /// The longest run, in bytes, that the index takes for a term. Default 200, as the index.
    pub max_term_bytes: usize,
    /// Whether the index has a flag `ODD_RUN`. Default false.
    ///
    /// It says that the raw bytes of the file have a run of more than one character with a non-ASCII character in it that
    /// `\w` does not match, or with invalid UTF-8: `“foo”`, `a\u{a0}b`, `x…`. In all other files `\b`, `\s`, `\W` and the
    /// like are run boundaries, as they are not in these, so that `\bfoo\b` can ask for the term `foo` instead of
    /// every term that contains `foo`.
    pub odd_runs: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_alternatives: 16,
            max_union: 128,
            max_bytes: 4096,
            max_class: 8,
            max_unroll: 32,
            max_nodes: 512,
            max_term_bytes: 200,
            odd_runs: false,
        }
    }
}

/// A pattern that is no regex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    pattern: String,
    offset: usize,
    line: usize,
    column: usize,
    message: String,
}

impl PlanError {
    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Where in the pattern the fault begins, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn new(pattern: &str, error: &regex_syntax::Error) -> PlanError {
        let (span, message) = match error {
            regex_syntax::Error::Parse(error) => (Some(error.span()), error.kind().to_string()),
            regex_syntax::Error::Translate(error) => (Some(error.span()), error.kind().to_string()),
            other => (None, other.to_string()),
        };
        let start = span.map(|span| span.start);
        PlanError {
            pattern: pattern.to_owned(),
            offset: start.map_or(0, |start| start.offset),
            line: start.map_or(1, |start| start.line),
            column: start.map_or(1, |start| start.column),
            message,
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanError { pattern, offset, line, column, message } = self;
        write!(f, "invalid regex {pattern:?} at byte {offset} (line {line}, column {column}): {message}")
    }
}

impl std::error::Error for PlanError {}

/// Plans a regex. It is parsed as ripgrep's default engine does: Unicode on, `^` and `$` match at lines, matches may be
/// invalid UTF-8, CRLF off.
///
/// # Errors
///
/// The pattern is no regex; the error tells where.
pub fn plan_regex(pattern: &str, case_insensitive: bool, limits: &Limits) -> Result<Planned, PlanError> {
    let mut parser =
        ParserBuilder::new().utf8(false).multi_line(true).crlf(false).case_insensitive(case_insensitive).build();
    let hir = parser.parse(pattern).map_err(|error| PlanError::new(pattern, &error))?;
    Ok(plan_hir(&hir, limits))
}

/// Plans a parsed regex.
pub fn plan_hir(hir: &Hir, limits: &Limits) -> Planned {
    let plain = plan_with(hir, limits, false);
    if !limits.odd_runs {
        return plain;
    }
    let sharp = plan_with(hir, limits, true);
    if sharp.plan == plain.plan {
        return plain;
    }
    Planned {
        needs_non_ascii: sharp.needs_non_ascii || plain.needs_non_ascii,
        folded: sharp.folded || plain.folded,
        plan: sharp.plan,
        odd_runs: Some(plain.plan),
    }
}

/// Plans the search for a literal, which is the same as planning the regex that matches just that. Bytes that are not
/// valid UTF-8 stand for themselves.
pub fn plan_literal(literal: &[u8], case_insensitive: bool, limits: &Limits) -> Planned {
    if !case_insensitive {
        return plan_hir(&Hir::literal(literal), limits);
    }
    let mut parts = Vec::new();
    for chunk in literal.utf8_chunks() {
        parts.extend(chunk.valid().chars().map(any_case));
        parts.push(Hir::literal(chunk.invalid()));
    }
    plan_hir(&Hir::concat(parts), limits)
}

/// The regex that matches `character` in any case.
fn any_case(character: char) -> Hir {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(character, character)]);
    class.case_fold_simple();
    Hir::class(Class::Unicode(class))
}

fn plan_with(hir: &Hir, limits: &Limits, sharp: bool) -> Planned {
    let (plan, folded) = analyse::analyse(hir, limits, sharp);
    let plan = simplify::coarsen(plan, limits.max_nodes);
    let fragments = plan.fragments();
    let needs_non_ascii = fragments.iter().any(|fragment| !fragment.bytes.is_ascii());
    // What was folded and did not survive into a fragment needs no flag: the rest of its run is as it would be.
    let folded =
        folded && fragments.iter().any(|fragment| fragment.bytes.iter().any(|byte| matches!(byte, b'k' | b's')));
    Planned { plan, needs_non_ascii, folded, odd_runs: None }
}

/// Whether `needle` occurs in `haystack`.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
