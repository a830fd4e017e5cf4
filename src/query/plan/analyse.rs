//! From a parsed regex to a plan.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use regex_syntax::hir::{Class, ClassBytes, ClassUnicode, Hir, HirKind, Look, Repetition};

use super::template::{Set, Symbol, Template};
use super::{Limits, Plan};

/// What is known of a part of the regex.
#[derive(Clone)]
struct Known {
    /// What a file with a match satisfies, whatever surrounds the part.
    required: Vec<Plan>,
    /// What the bytes that the part matches look like.
    set: Set,
}

impl Known {
    fn of(set: Set) -> Known {
        Known { required: Vec::new(), set }
    }

    fn into_plan(mut self, limits: &Limits) -> Plan {
        self.required.push(self.set.plan(limits));
        Plan::and(self.required)
    }

    /// Appends what is known of the next part. When the alternatives become too many, those so far are settled, and only
    /// whether a separator lies between both sides is still told to either.
    fn append(&mut self, next: Known, limits: &Limits) {
        self.required.extend(next.required);
        if let Some(crossed) = self.set.cross(&next.set, limits) {
            self.set = crossed;
            return;
        }
        let between = if next.set.starts_separated() { Symbol::Separator } else { Symbol::Gap };
        self.required.push(self.set.followed_by(&Template::of(between)).plan(limits));
        let mut before = Template::of(Symbol::Gap);
        if self.set.ends_separated() {
            before.push(Symbol::Separator);
        }
        self.set = next.set.preceded_by(&before);
    }
}

/// The plan of a regex, and whether something was folded. `sharp` takes Unicode's word boundaries and classes without word
/// characters for separators, which leaves `ODD_RUN` files out.
pub(super) fn analyse(hir: &Hir, limits: &Limits, sharp: bool) -> (Plan, bool) {
    let mut analyser = Analyser { limits, sharp, folded: false };
    let mut known = Known::of(Set::empty());
    analyser.append(&mut known, hir);
    (known.into_plan(limits), analyser.folded)
}

struct Analyser<'a> {
    limits: &'a Limits,
    sharp: bool,
    folded: bool,
}

impl Analyser<'_> {
    /// What is known of `hir` alone.
    fn known(&mut self, hir: &Hir) -> Known {
        let mut known = Known::of(Set::empty());
        self.append(&mut known, hir);
        known
    }

    /// Appends to `known` what is known of `hir`, which follows it.
    fn append(&mut self, known: &mut Known, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => {
                known.append(Known::of(Set::new(vec![Template::literal(&literal.0)])), self.limits);
            }
            HirKind::Class(class) => known.append(Known::of(self.class(class)), self.limits),
            HirKind::Look(look) => {
                if self.separates(*look) {
                    known.append(Known::of(Set::separator()), self.limits);
                }
            }
            HirKind::Capture(capture) => self.append(known, &capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.append(known, part)),
            HirKind::Alternation(branches) => {
                let next = self.alternation(branches);
                known.append(next, self.limits);
            }
            HirKind::Repetition(repetition) => self.repetition(known, repetition),
        }
    }

    /// Whether no run goes across the place where `look` holds.
    ///
    /// The start and end of a line are such places. A word boundary is not: a run goes on across the `“` of `“foo`,
    /// which is no word character; and to ASCII's `\b` not even `é` is one. Only where the index flags the files with
    /// such runs is the former a separator.
    fn separates(&mut self, look: Look) -> bool {
        match look {
            Look::Start | Look::End | Look::StartLF | Look::EndLF | Look::StartCRLF | Look::EndCRLF => true,
            Look::WordUnicode
            | Look::WordStartUnicode
            | Look::WordEndUnicode
            | Look::WordStartHalfUnicode
            | Look::WordEndHalfUnicode => self.sharp,
            _ => false,
        }
    }

    fn alternation(&mut self, branches: &[Hir]) -> Known {
        let branches: Vec<Known> = branches.iter().map(|branch| self.known(branch)).collect();
        let set = Set::union_of(branches.iter().map(|branch| &branch.set));
        let settled = branches.iter().any(|branch| !branch.required.is_empty());
        if !settled && set.len() <= self.limits.max_union && set.symbols() <= self.limits.max_bytes {
            return Known::of(set);
        }
        let plans = branches.into_iter().map(|branch| branch.into_plan(self.limits)).collect();
        Known { required: vec![Plan::or(plans)], set: set.outline() }
    }

    fn repetition(&mut self, known: &mut Known, repetition: &Repetition) {
        let Known { required, set } = self.known(&repetition.sub);
        let min = repetition.min;
        if repetition.max == Some(0) {
            return;
        }
        if min == 0 {
            // Nothing of it is required, so only its shape counts, and that only while it is simple.
            let simple = repetition.max == Some(1) || set.is_blank();
            let set = if simple { set.or_empty() } else { Set::gap() };
            known.append(Known::of(set), self.limits);
            return;
        }
        known.required.extend(required);
        let optional = repetition.max.map(|max| max - min.min(max));
        let bounded = optional.is_some_and(|optional| optional <= MAX_OPTIONAL) && min <= self.limits.max_unroll;
        let copies = min.min(self.limits.max_unroll).max(1);
        for copy in 1..=copies {
            let next = if copy == copies && !bounded { one_or_more(&set) } else { set.clone() };
            known.append(Known::of(next), self.limits);
        }
        for _ in 0..optional.filter(|_| bounded).unwrap_or(0) {
            known.append(Known::of(set.or_empty()), self.limits);
        }
    }

    /// What a class looks like: a few strings, or a gap.
    fn class(&mut self, class: &Class) -> Set {
        match class {
            Class::Bytes(class) => self.byte_class(class),
            Class::Unicode(class) => self.unicode_class(class),
        }
    }

    fn byte_class(&mut self, class: &ClassBytes) -> Set {
        let bytes = class.iter().flat_map(|range| range.start()..=range.end());
        self.distinct(bytes.map(|byte| Template::literal(&[byte]))).map_or_else(Set::gap, Set::new)
    }

    fn unicode_class(&mut self, class: &ClassUnicode) -> Set {
        if let Some(templates) = self.characters(class) {
            return Set::new(templates);
        }
        if !self.sharp {
            return Set::gap();
        }
        let Some(rest) = without_odd(class) else { return Set::gap() };
        let Some(mut templates) = self.characters(&rest) else { return Set::gap() };
        templates.push(Template::of(Symbol::Separator));
        Set::new(templates)
    }

    /// The strings that a class stands for, if they are few. The two characters that fold to an ASCII letter go when that
    /// letter is there too.
    fn characters(&mut self, class: &ClassUnicode) -> Option<Vec<Template>> {
        let folds = |odd, lower: char| has(class, odd) && (has(class, lower) || has(class, lower.to_ascii_uppercase()));
        let (kelvin, long_s) = (folds(KELVIN, 'k'), folds(LONG_S, 's'));
        let all = class.iter().flat_map(|range| range.start()..=range.end());
        let kept = all.filter(|&c| !(kelvin && c == KELVIN || long_s && c == LONG_S));
        let templates = self.distinct(kept.map(|c| Template::literal(c.encode_utf8(&mut [0; 4]).as_bytes())))?;
        self.folded |= kelvin || long_s;
        Some(templates)
    }

    fn distinct(&self, templates: impl Iterator<Item = Template>) -> Option<Vec<Template>> {
        let mut distinct = BTreeSet::new();
        for template in templates {
            distinct.insert(template);
            if distinct.len() > self.limits.max_class {
                return None;
            }
        }
        Some(distinct.into_iter().collect())
    }
}

/// How many optional copies a counted repetition may end with before it is taken for an unbounded one.
const MAX_OPTIONAL: u32 = 2;

/// Up to how many alternatives are told on both sides of an unbounded repetition.
const MAX_REPEATED: usize = 2;

const KELVIN: char = '\u{212A}';
const LONG_S: char = '\u{17F}';

/// `set` once, or several times with anything in between.
fn one_or_more(set: &Set) -> Set {
    if set.is_blank() {
        return set.clone();
    }
    let mut open = Template::of(Symbol::Gap);
    if set.len() <= MAX_REPEATED {
        let several = set.followed_by(&open).product(set);
        return Set::union_of([set, &several].into_iter());
    }
    if set.ends_separated() {
        open.push(Symbol::Separator);
    }
    set.followed_by(&open)
}

fn has(class: &ClassUnicode, character: char) -> bool {
    class.iter().any(|range| range.start() <= character && character <= range.end())
}

/// `class` without the non-ASCII characters that `\w` does not match.
fn without_odd(class: &ClassUnicode) -> Option<ClassUnicode> {
    static KEPT: OnceLock<Option<ClassUnicode>> = OnceLock::new();
    let kept = KEPT.get_or_init(|| match regex_syntax::parse(r"[\w\x00-\x7F]").ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    });
    let mut rest = class.clone();
    rest.intersect(kept.as_ref()?);
    Some(rest)
}
