//! Queries drawn from the tree's own content. The same seed and tree give the same queries.
//!
//! They are drawn from files that are ASCII throughout, so that a query is sure to be found where it was drawn: one that
//! finds nothing is a fault of the engine.

use crate::Failure;
use leindex_engine::record::Flags;
use leindex_engine::{Mode, Query, Snapshot};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files larger than this are not drawn from: drawing would take longer than measuring.
const DRAW_BYTES_MAX: u64 = 1 << 20;
/// Draws a wanted query before a set stays smaller than asked for.
const TRIES: usize = 60;
/// Longer words are data, not words.
const WORD_MAX: usize = 40;
/// The shortest literal of a regex.
const LITERAL_MIN: usize = 4;

/// SplitMix64: small, and good enough to draw with.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small: the bias does not matter.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(of[self.below(of.len())]) }
    }
}

/// Queries of one kind.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    /// What the median must be below; `None` for a set that is only reported.
    pub(crate) must_ms: Option<f64>,
    pub(crate) patterns: Vec<String>,
}

impl Set {
    /// A query as it is measured: 20 hits, all of them verified.
    pub(crate) fn query(&self, pattern: &str) -> Query {
        query(self.mode, pattern).limit(20)
    }
}

/// A query of one mode.
pub(crate) fn query(mode: Mode, pattern: &str) -> Query {
    Query::new(mode, pattern)
}

/// Draws from the indexed files of a snapshot.
pub(crate) struct Drawer {
    tree: PathBuf,
    files: Vec<PathBuf>,
    pub(crate) rng: Rng,
}

impl Drawer {
    pub(crate) fn new(tree: &Path, snapshot: &Snapshot, seed: u64) -> Result<Drawer, Failure> {
        let mut files = Vec::new();
        snapshot.for_each_file(|path, meta| {
            if meta.flags.has(Flags::INDEXED) && (1..=DRAW_BYTES_MAX).contains(&meta.size) {
                files.extend(std::str::from_utf8(path).ok().map(PathBuf::from));
            }
        })?;
        files.sort_unstable();
        if files.is_empty() {
            return Err("the tree has no text to draw queries from".into());
        }
        Ok(Drawer { tree: tree.to_path_buf(), files, rng: Rng::new(seed) })
    }

    /// `count` different queries, each made from the text of a file that is drawn.
    pub(crate) fn draw(
        &mut self,
        count: usize,
        mut make: impl FnMut(&mut Rng, &str, usize) -> Option<String>,
    ) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut drawn = Vec::new();
        for _ in 0..count * TRIES {
            if drawn.len() == count {
                break;
            }
            let path = self.tree.join(&self.files[self.rng.below(self.files.len())]);
            let Ok(text) = fs::read_to_string(path) else { continue };
            if !text.is_ascii() {
                continue;
            }
            let made = make(&mut self.rng, &text, drawn.len());
            drawn.extend(made.filter(|made| seen.insert(made.clone())));
        }
        drawn
    }

    /// The sets of section 3, of a `scale`th of their size.
    pub(crate) fn sets(&mut self, scale: usize) -> Vec<Set> {
        let set = |name, mode, must_ms, patterns| Set { name, mode, must_ms, patterns };
        let terms = self.draw(300 / scale, |rng, text, _| term(rng, text, 3));
        let ands = self.draw(300 / scale, |rng, text, _| two_terms(rng, text));
        let prefixes = self.draw(200 / scale, |rng, text, _| prefix(rng, text));
        let substrings = self.draw(200 / scale, |rng, text, _| substring(rng, text));
        let regexes = self.draw(100 / scale, regex);
        let identifiers = self.draw(200 / scale, |rng, text, _| {
            let compound = |word: &&str| word.trim_matches('_').contains('_') && word.len() >= 5;
            Some(rng.pick(&identifiers(text).filter(compound).collect::<Vec<_>>())?.to_owned())
        });
        vec![
            set("term", Mode::Text, Some(0.5), terms),
            set("two terms", Mode::Text, Some(0.5), ands),
            set("prefix", Mode::Text, Some(1.0), prefixes),
            set("substring", Mode::Substring, Some(10.0), substrings),
            set("regex", Mode::Regex, Some(10.0), regexes),
            set("identifier", Mode::Text, None, identifiers),
        ]
    }
}

/// The different terms of a text.
fn terms(text: &str, least: usize) -> Vec<&str> {
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    let mut runs: Vec<&str> = runs.filter(|run| (least..=WORD_MAX).contains(&run.len())).collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// The identifiers of a text, with repetitions.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.len() <= WORD_MAX && word.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn term(rng: &mut Rng, text: &str, least: usize) -> Option<String> {
    Some(rng.pick(&terms(text, least))?.to_owned())
}

fn two_terms(rng: &mut Rng, text: &str) -> Option<String> {
    let terms = terms(text, 3);
    let (one, other) = (rng.pick(&terms)?, rng.pick(&terms)?);
    (one != other).then(|| format!("{one} {other}"))
}

fn prefix(rng: &mut Rng, text: &str) -> Option<String> {
    let term = term(rng, text, 6)?;
    Some(format!("{}*", &term[..4 + rng.below(2)]))
}

/// A piece that touches neither end of its identifier.
fn substring(rng: &mut Rng, text: &str) -> Option<String> {
    let long: Vec<&str> = identifiers(text).filter(|word| word.len() >= 7).collect();
    let word = rng.pick(&long)?;
    let start = 1 + rng.below(word.len() - 6);
    let length = 4 + rng.below((word.len() - start - 4).min(6));
    Some(word[start..start + length].to_owned())
}

/// A regex of one of six shapes, made so that it matches in the text it is made from.
pub(crate) fn regex(rng: &mut Rng, text: &str, shape: usize) -> Option<String> {
    let long = |word: &&str| word.len() >= LITERAL_MIN;
    match shape % 6 {
        0 => {
            let before = text.match_indices('(').map(|(at, _)| text[..at].trim_end_matches([' ', '\t']));
            let words = before.filter_map(|before| before.rsplit(|c: char| !is_word(c)).next());
            let calls: Vec<&str> = words.filter(long).filter(|word| word.len() <= WORD_MAX).collect();
            Some(format!(r"{}\s*\(", rng.pick(&calls)?))
        }
        1 => {
            let stems = identifiers(text).filter_map(|word| word.rsplit_once('_'));
            let stems: Vec<&str> =
                stems.filter(|(_, rest)| !rest.is_empty()).map(|(stem, _)| stem).filter(long).collect();
            Some(format!(r"{}_\w+", rng.pick(&stems)?))
        }
        2 => Some(format!(r"\b{}\b", rng.pick(&identifiers(text).filter(long).collect::<Vec<_>>())?)),
        3 => {
            let words: Vec<&str> = identifiers(text).filter(long).collect();
            Some(format!("({}|{})x?", rng.pick(&words)?, rng.pick(&words)?))
        }
        4 => {
            let names = text.lines().filter_map(|line| line.strip_prefix("#define")?.split_whitespace().next());
            let names = names.filter_map(|name| name.split(|c: char| !is_word(c)).next());
            Some(format!(r"^#define\s+{}", rng.pick(&names.filter(long).collect::<Vec<_>>())?))
        }
        _ => {
            let lines: Vec<&str> = text.lines().filter(|line| line.len() < 200).collect();
            let line = rng.pick(&lines)?;
            let words: Vec<&str> = identifiers(line).filter(long).collect();
            let first = rng.below(words.len().checked_sub(1)?);
            let (one, other) = (words.get(first)?, words.get(first + 1)?);
            let start = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
            let gap = start(other) - start(one) - one.len();
            (gap <= 20).then(|| format!("{one}.{{0,20}}{other}"))
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_made_of_the_text() {
        let text = "#define READ_ONCE_FLAG 1\nstatic int schedule_timeout (long timeout_jiffies)\n";
        let mut rng = Rng::new(3);
        for _ in 0..200 {
            let piece = substring(&mut rng, text).unwrap();
            assert!(text.contains(&piece) && (4..10).contains(&piece.len()), "{piece}");
            assert!(prefix(&mut rng, text).is_some_and(|prefix| text.contains(&prefix[..prefix.len() - 1])));
        }
        assert_eq!(regex(&mut rng, text, 0).as_deref(), Some(r"schedule_timeout\s*\("));
        assert_eq!(regex(&mut rng, text, 4).as_deref(), Some(r"^#define\s+READ_ONCE_FLAG"));
        let drawn = |seed| (0..12).map(|shape| regex(&mut Rng::new(seed), text, shape)).collect::<Vec<_>>();
        assert_eq!(drawn(5), drawn(5));
    }
}
