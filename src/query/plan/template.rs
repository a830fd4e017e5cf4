//! Templates: what is known of the bytes of a match, reduced to what matters for terms.
//!
//! A template never tells more than is true: each match lies on some template of its set.

use super::{Fragment, Limits, Plan, Shape};

/// One element of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Symbol {
    /// A byte of a run, lowercased.
    Byte(u8),
    /// Here no run goes on: some non-run bytes, or the start or end of a line.
    Separator,
    /// Any bytes, or none.
    Gap,
}

/// Whether `byte` belongs to a run.
pub(super) fn is_run_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// A sequence of symbols, without repeated separators or gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Template(Vec<Symbol>);

impl Template {
    /// The template of a literal: separators for what is not of a run, the rest lowercased.
    pub(super) fn literal(bytes: &[u8]) -> Template {
        let mut template = Template::default();
        for &byte in bytes {
            template.push(if is_run_byte(byte) { Symbol::Byte(byte.to_ascii_lowercase()) } else { Symbol::Separator });
        }
        template
    }

    /// The template of one symbol.
    pub(super) fn of(symbol: Symbol) -> Template {
        Template(vec![symbol])
    }

    /// Appends a symbol. A separator between two gaps tells nothing and goes.
    pub(super) fn push(&mut self, symbol: Symbol) {
        match (self.0.as_slice(), symbol) {
            ([.., Symbol::Separator], Symbol::Separator) | ([.., Symbol::Gap], Symbol::Gap) => {}
            ([.., Symbol::Gap, Symbol::Separator], Symbol::Gap) => {
                self.0.pop();
            }
            _ => self.0.push(symbol),
        }
    }

    /// This template followed by another.
    fn join(&self, next: &Template) -> Template {
        let mut joined = Template(Vec::with_capacity(self.0.len() + next.0.len()));
        joined.0.extend_from_slice(&self.0);
        next.0.iter().for_each(|&symbol| joined.push(symbol));
        joined
    }

    /// What a file with a match on this template has.
    fn plan(&self, limits: &Limits) -> Plan {
        let mut fragments = Vec::new();
        let mut symbols = self.0.as_slice();
        let mut closed_left = false;
        while let Some((&first, rest)) = symbols.split_first() {
            if !matches!(first, Symbol::Byte(_)) {
                closed_left = first == Symbol::Separator;
                symbols = rest;
                continue;
            }
            let bytes: Vec<u8> = symbols.iter().map_while(|symbol| run_byte(*symbol)).collect();
            symbols = &symbols[bytes.len()..];
            if bytes.len() > limits.max_term_bytes {
                // The file has a run that is no term, so it is flagged and needs no plan to be a candidate.
                return Plan::None;
            }
            let shape = match (closed_left, symbols.first() == Some(&Symbol::Separator)) {
                (true, true) => Shape::Exact,
                (true, false) => Shape::Prefix,
                (false, true) => Shape::Suffix,
                (false, false) => Shape::Substring,
            };
            fragments.push(Plan::Fragment(Fragment { shape, bytes }));
        }
        Plan::and(fragments)
    }
}

fn run_byte(symbol: Symbol) -> Option<u8> {
    match symbol {
        Symbol::Byte(byte) => Some(byte),
        Symbol::Separator | Symbol::Gap => None,
    }
}

/// Alternatives: each match lies on one of these. Without any, there is no match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set(Vec<Template>);

impl Set {
    /// A set of the given alternatives.
    pub(super) fn new(mut templates: Vec<Template>) -> Set {
        if templates.iter().any(|template| template.0 == [Symbol::Gap]) {
            return Set::gap();
        }
        templates.sort();
        templates.dedup();
        Set(templates)
    }

    /// What tells nothing.
    pub(super) fn gap() -> Set {
        Set(vec![Template::of(Symbol::Gap)])
    }

    /// A separator.
    pub(super) fn separator() -> Set {
        Set(vec![Template::of(Symbol::Separator)])
    }

    /// The empty string.
    pub(super) fn empty() -> Set {
        Set(vec![Template::default()])
    }

    /// How many alternatives there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every alternative starts with a separator.
    pub(super) fn starts_separated(&self) -> bool {
        self.0.iter().all(|template| template.0.first() == Some(&Symbol::Separator))
    }

    /// Whether every alternative ends with a separator.
    pub(super) fn ends_separated(&self) -> bool {
        self.0.iter().all(|template| template.0.last() == Some(&Symbol::Separator))
    }

    /// The alternatives of all of them.
    pub(super) fn union_of<'a>(sets: impl Iterator<Item = &'a Set>) -> Set {
        Set::new(sets.flat_map(|set| set.0.iter().cloned()).collect())
    }

    /// These or the empty string.
    pub(super) fn or_empty(&self) -> Set {
        Set::union_of([self, &Set::empty()].into_iter())
    }

    /// Each alternative followed by each of `next`, or nothing if these are too many. Crossing with a single one is free,
    /// for it multiplies nothing.
    pub(super) fn cross(&self, next: &Set, limits: &Limits) -> Option<Set> {
        let count = self.len() * next.len();
        if count > limits.max_alternatives && self.len() > 1 && next.len() > 1 {
            return None;
        }
        if count > 1 && self.symbols() * next.len() + next.symbols() * self.len() > limits.max_bytes {
            return None;
        }
        Some(self.product(next))
    }

    /// Each alternative followed by each of `next`, however many.
    pub(super) fn product(&self, next: &Set) -> Set {
        let pairs = self.0.iter().flat_map(|left| next.0.iter().map(|right| left.join(right)));
        Set::new(pairs.collect())
    }

    /// Each alternative followed by `next`.
    pub(super) fn followed_by(&self, next: &Template) -> Set {
        Set::new(self.0.iter().map(|template| template.join(next)).collect())
    }

    /// Each alternative after `before`.
    pub(super) fn preceded_by(&self, before: &Template) -> Set {
        Set::new(self.0.iter().map(|template| before.join(template)).collect())
    }

    /// A gap as wide as these, with what they all have in common at their ends.
    pub(super) fn outline(&self) -> Set {
        let mut template = Template::default();
        if self.starts_separated() {
            template.push(Symbol::Separator);
        }
        template.push(Symbol::Gap);
        if self.ends_separated() {
            template.push(Symbol::Separator);
        }
        Set(vec![template])
    }

    /// Whether no alternative has anything but separators.
    pub(super) fn is_blank(&self) -> bool {
        self.0.iter().all(|template| template.0.iter().all(|symbol| *symbol == Symbol::Separator))
    }

    /// What a file with a match on any of the alternatives has.
    pub(super) fn plan(&self, limits: &Limits) -> Plan {
        Plan::or(self.0.iter().map(|template| template.plan(limits)).collect())
    }

    /// How many symbols all the alternatives have together.
    pub(super) fn symbols(&self) -> usize {
        self.0.iter().map(|template| template.0.len()).sum()
    }
}
