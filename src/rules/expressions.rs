//! The expressions of the rules of a tree, collected for a database within bounds.

use super::RuleFile;
use std::collections::BTreeSet;

/// More are not compiled, for the time that it takes grows faster than their number. Linux has a thousand.
const COUNT_MAX: usize = 3_000;
/// A longer one is not compiled.
const BYTES_MAX: usize = 500;

/// Distinct expressions, as many as a database takes.
#[derive(Clone, Debug, Default)]
pub struct Expressions {
    texts: BTreeSet<String>,
    is_over: bool,
}

impl Expressions {
    /// Adds the expressions of a rule file; nothing more once there are too many.
    pub fn add_file(&mut self, file: &RuleFile) {
        if !self.is_over {
            self.add(file.expressions().map(|(_, text)| text));
        }
    }

    /// Adds expressions, but for those that are too long.
    pub fn add(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts.into_iter().filter(|text| text.len() <= BYTES_MAX) {
            if self.texts.len() == COUNT_MAX && !self.texts.contains(&text) {
                self.is_over = true;
                return;
            }
            self.texts.insert(text);
        }
    }

    /// The expressions; `None` when there are none, or more than a database takes.
    pub fn texts(&self) -> Option<&BTreeSet<String>> {
        (!self.is_over && !self.texts.is_empty()).then_some(&self.texts)
    }

    /// What tells this set from others; never 0.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = crc32fast::Hasher::new();
        for text in self.texts.iter().filter(|_| !self.is_over) {
            hasher.update(text.as_bytes());
            hasher.update(b"\0");
        }
        let count = if self.is_over { u64::from(u32::MAX) } else { self.texts.len() as u64 + 1 };
        count << 32 | u64::from(hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_bounds() {
        let mut expressions = Expressions::default();
        assert!(expressions.texts().is_none());
        expressions.add(["a".repeat(BYTES_MAX + 1), "b".to_owned(), "b".to_owned()]);
        assert_eq!(expressions.texts().map(BTreeSet::len), Some(1));
        let one = expressions.fingerprint();
        expressions.add((1..COUNT_MAX).map(|n| n.to_string()));
        assert_eq!(expressions.texts().map(BTreeSet::len), Some(COUNT_MAX));
        expressions.add(["b".to_owned()]);
        assert!(expressions.texts().is_some() && expressions.fingerprint() != one);
        expressions.add(["one too many".to_owned()]);
        assert!(expressions.texts().is_none());
    }
}
