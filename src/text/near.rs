//! Terms near to a word: those that a few slips of the keyboard would make of it.
//!
//! Terms come in order, each with what it shares with the one before it, so the table of edit distances is that of a walk
//! over a trie: a row a byte, kept for what is shared, and nothing is computed below a prefix that is too far away
//! already. Distances are optimal string alignments (a letter more, less, or another one, or two neighbours swapped), in
//! bytes, computed in the band of the diagonal that can stay near (Ukkonen, "Algorithms for approximate string matching",
//! 1985).

/// The distances between a word and the terms it is shown.
pub(super) struct Near<'w> {
    word: &'w [u8],
    max: u8,
    /// A row of `word.len() + 1` distances for each prefix of the term; more than `max` is `max + 1`.
    rows: Vec<u8>,
    term: Vec<u8>,
    /// Terms that share this many bytes with the last one are too far away.
    dead: usize,
}

impl<'w> Near<'w> {
    pub(super) fn new(word: &'w [u8], max: u8) -> Near<'w> {
        let width = word.len() + 1;
        let mut rows = vec![max + 1; width * (width + usize::from(max) + 1)];
        rows[..width].iter_mut().zip(0..=max).for_each(|(cell, distance)| *cell = distance);
        Near { word, max, rows, term: Vec::new(), dead: usize::MAX }
    }

    /// The next term, by what it shares with the last one and what it adds: it and its distance, if that is near.
    pub(super) fn next(&mut self, shared: usize, added: &[u8]) -> Option<(&[u8], u8)> {
        if shared >= self.dead {
            return None;
        }
        self.term.truncate(shared);
        self.dead = usize::MAX;
        for &byte in added {
            self.term.push(byte);
            if !self.add_row() {
                self.dead = self.term.len();
                return None;
            }
        }
        let distance = self.rows[self.term.len() * (self.word.len() + 1) + self.word.len()];
        (distance <= self.max).then_some((&self.term[..], distance))
    }

    /// Computes the row of the last byte; whether anything longer can be near.
    fn add_row(&mut self) -> bool {
        let (depth, max, width) = (self.term.len(), usize::from(self.max), self.word.len() + 1);
        if depth > self.word.len() + max {
            return false;
        }
        let far = self.max + 1;
        let (above, row) = self.rows.split_at_mut(depth * width);
        let before = &above[(depth - 1) * width..];
        row[0] = u8::try_from(depth).unwrap_or(far).min(far);
        let byte = self.term[depth - 1];
        let mut least = row[0];
        for at in depth.saturating_sub(max).max(1)..=(depth + max).min(self.word.len()) {
            let other = before[at - 1] + u8::from(self.word[at - 1] != byte);
            let mut distance = other.min(before[at] + 1).min(row[at - 1] + 1);
            if depth > 1 && at > 1 && self.word[at - 2] == byte && self.word[at - 1] == self.term[depth - 2] {
                distance = distance.min(above[(depth - 2) * width + at - 2] + 1);
            }
            row[at] = distance.min(far);
            least = least.min(row[at]);
        }
        // A swap reaches back over a row.
        least <= self.max || before.iter().any(|&distance| distance < self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The whole table, as it is defined.
    fn distance(a: &[u8], b: &[u8]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let other = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut least = other.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        least = least.min(table[i - 2][j - 2] + 1);
                    }
                    least
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn distances_count_a_swap_once() {
        for (a, b, expect) in [("timeuot", "timeout", 1), ("abc", "abc", 0), ("ca", "abc", 3), ("", "ab", 2)] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expect, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn finds_exactly_the_terms_that_are_near(
            terms in prop::collection::btree_set("[a-c]{1,8}|[a-b]{10,30}", 0..120),
            word in "[a-c]{1,9}|[a-b]{10,28}",
            max in 1u8..4,
        ) {
            let mut near = Near::new(word.as_bytes(), max);
            let mut found = BTreeSet::new();
            let mut previous: &[u8] = b"";
            for term in &terms {
                let term = term.as_bytes();
                let shared = previous.iter().zip(term).take_while(|(a, b)| a == b).count();
                if let Some((got, distance)) = near.next(shared, &term[shared..]) {
                    prop_assert_eq!(got, term);
                    found.insert((term.to_vec(), usize::from(distance)));
                }
                previous = term;
            }
            let all = terms.iter().map(|term| (term.clone().into_bytes(), distance(word.as_bytes(), term.as_bytes())));
            let expect: BTreeSet<_> = all.filter(|(_, distance)| *distance <= usize::from(max)).collect();
            prop_assert_eq!(found, expect);
        }
    }
}
