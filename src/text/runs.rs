//! Cuts text into *runs*: maximal sequences of ASCII alphanumerics and bytes >= 0x80. Everything else separates.
//!
//! Owns the definition of a run and of a camelCase cut; every other part of the engine (inverter, query parser,
//! planner) must agree with it. Works on bytes, knows nothing of files, terms or counts.
//!
//! Classification runs over blocks of 64 bytes, one bit a byte, as in simdjson (Langdale and Lemire, "Parsing gigabytes
//! of JSON per second", 2019); the edges of the runs are then the bits where the word mask changes.

use wide::u8x16;

/// A run longer than this many bytes is not a term: its file is flagged instead, and is a candidate of every query.
pub const RUN_BYTES_MAX: usize = 200;

/// Whether `byte` belongs to a run.
#[inline]
pub const fn is_run_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Whether `text` has a run of more than one character that holds a character which is no word character of a regex
/// (`“foo`, a non-breaking space between words): there, `\b` and `\s` match inside of a run.
pub fn has_odd_run(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let bytes = text.as_bytes();
    let is_run = |at: Option<usize>| at.and_then(|at| bytes.get(at)).copied().is_some_and(is_run_byte);
    text.char_indices().any(|(at, character)| {
        let alone = || !is_run(at.checked_sub(1)) && !is_run(Some(at + character.len_utf8()));
        // A table of Unicode that is missing would be a bug of ours, and reading too many files its mildest outcome.
        !character.is_ascii() && !regex_syntax::try_is_word_character(character).unwrap_or(false) && !alone()
    })
}

/// One bit a byte of the text: the classes that cutting needs. Reused from file to file.
#[derive(Debug, Default)]
pub struct RunMasks {
    /// Bytes that belong to a run.
    word: Vec<u64>,
    /// Bytes at which a camelCase part begins (never the first byte of a run).
    cut: Vec<u64>,
    text_len: usize,
}

/// The three classes of one block of 64 bytes.
#[derive(Clone, Copy, Default)]
struct Block {
    word: u64,
    upper: u64,
    lower_or_digit: u64,
    lower: u64,
}

impl RunMasks {
    /// Classifies `text`, forgetting what was classified before.
    pub fn classify(&mut self, text: &[u8]) {
        self.word.clear();
        self.cut.clear();
        self.text_len = text.len();
        let (blocks, tail) = text.as_chunks::<64>();
        // A cut needs the byte before and the byte after it, so a block is finished when its successor is known.
        let mut before = Block::default();
        let mut current: Option<Block> = None;
        let mut step = |next: Block, word: &mut Vec<u64>, cut: &mut Vec<u64>| {
            word.push(next.word);
            if let Some(block) = current {
                cut.push(cuts(before, block, next));
                before = block;
            }
            current = Some(next);
        };
        for block in blocks {
            step(classify_block(block), &mut self.word, &mut self.cut);
        }
        if !tail.is_empty() {
            let mut padded = [0u8; 64];
            padded[..tail.len()].copy_from_slice(tail);
            step(classify_block(&padded), &mut self.word, &mut self.cut);
        }
        if let Some(block) = current {
            self.cut.push(cuts(before, block, Block::default()));
        }
    }

    /// Calls `each` with the start and end of every run, in order.
    #[inline]
    pub fn for_each_run(&self, mut each: impl FnMut(usize, usize)) {
        let mut carry = 0u64;
        let mut start = 0usize;
        for (index, &word) in self.word.iter().enumerate() {
            let mut edges = word ^ ((word << 1) | carry);
            let mut inside = carry != 0;
            carry = word >> 63;
            while edges != 0 {
                let at = index * 64 + edges.trailing_zeros() as usize;
                edges &= edges - 1;
                if inside {
                    each(start, at);
                } else {
                    start = at;
                }
                inside = !inside;
            }
        }
        if carry != 0 {
            each(start, self.text_len);
        }
    }

    /// Whether the run `start..end` has camelCase parts.
    #[inline]
    pub fn has_parts(&self, start: usize, end: usize) -> bool {
        let (first, last) = (start / 64, (end - 1) / 64);
        let from = u64::MAX << (start % 64);
        let to = u64::MAX >> (63 - (end - 1) % 64);
        if first == last {
            return self.cut[first] & from & to != 0;
        }
        self.cut[first] & from != 0
            || self.cut[last] & to != 0
            || self.cut[first + 1..last].iter().any(|&mask| mask != 0)
    }

    /// Calls `each` with the start and end of every camelCase part of the run `start..end`; never with the whole run.
    pub fn for_each_part(&self, start: usize, end: usize, mut each: impl FnMut(usize, usize)) {
        let mut from = start;
        for at in start + 1..end {
            if self.cut[at / 64] >> (at % 64) & 1 != 0 {
                each(from, at);
                from = at;
            }
        }
        if from != start {
            each(from, end);
        }
    }

    /// Bytes held by the masks.
    pub fn memory_bytes(&self) -> usize {
        (self.word.capacity() + self.cut.capacity()) * 8
    }
}

/// A part begins at an upper-case letter that follows a lower-case letter or a digit (`scheduleTimeout`), and at the last
/// upper-case letter before a lower-case one (`HTTPServer` -> `HTTP`, `Server`).
#[inline]
fn cuts(before: Block, block: Block, after: Block) -> u64 {
    let previous_small = (block.lower_or_digit << 1) | (before.lower_or_digit >> 63);
    let previous_upper = (block.upper << 1) | (before.upper >> 63);
    let next_lower = (block.lower >> 1) | (after.lower << 63);
    block.upper & (previous_small | (previous_upper & next_lower))
}

#[inline]
fn classify_block(block: &[u8; 64]) -> Block {
    let mut result = Block::default();
    let (quarters, _) = block.as_chunks::<16>();
    for (index, quarter) in quarters.iter().enumerate() {
        let bytes = u8x16::new(*quarter);
        let shift = index * 16;
        let within = |base: u8, size: u8| {
            let offset = bytes - u8x16::splat(base);
            u64::from(offset.min(u8x16::splat(size - 1)).simd_eq(offset).to_bitmask()) << shift
        };
        let (lower, upper, digit) = (within(b'a', 26), within(b'A', 26), within(b'0', 10));
        // to_bitmask takes the top bit of each lane: exactly the bytes >= 0x80.
        let high = u64::from(bytes.to_bitmask()) << shift;
        result.lower |= lower;
        result.upper |= upper;
        result.lower_or_digit |= lower | digit;
        result.word |= lower | upper | digit | high;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(text: &str) -> Vec<(String, Vec<String>)> {
        let mut masks = RunMasks::default();
        masks.classify(text.as_bytes());
        let piece = |start: usize, end: usize| String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned();
        let mut found = Vec::new();
        masks.for_each_run(|start, end| {
            let mut parts = Vec::new();
            masks.for_each_part(start, end, |from, to| parts.push(piece(from, to)));
            assert_eq!(masks.has_parts(start, end), !parts.is_empty(), "{text:?}");
            found.push((piece(start, end), parts));
        });
        found
    }

    #[track_caller]
    fn check(text: &str, expect: &[(&str, &[&str])]) {
        let expect: Vec<(String, Vec<String>)> =
            expect.iter().map(|(run, parts)| ((*run).into(), parts.iter().map(|p| (*p).into()).collect())).collect();
        assert_eq!(runs(text), expect, "{text:?}");
    }

    #[test]
    fn runs_and_parts() {
        check("", &[]);
        check("_-. \n", &[]);
        check("foo_bar2(baz)", &[("foo", &[]), ("bar2", &[]), ("baz", &[])]);
        check("scheduleTimeout", &[("scheduleTimeout", &["schedule", "Timeout"])]);
        check("HTTPServer x86Emu", &[("HTTPServer", &["HTTP", "Server"]), ("x86Emu", &["x86", "Emu"])]);
        check("SCREAMING Title", &[("SCREAMING", &[]), ("Title", &[])]);
        check("caf\u{e9}s naïve", &[("cafés", &[]), ("naïve", &[])]);
    }

    #[test]
    fn odd_runs() {
        for (text, odd) in [("plain", false), ("naïve café", false), ("a \u{a9} b", false), ("“foo”", true)] {
            assert_eq!(has_odd_run(text), odd, "{text:?}");
        }
        assert!(has_odd_run("struct\u{a0}page"));
        assert!(has_odd_run("\u{a9}\u{a9}"));
    }

    /// The same cuts, a byte at a time.
    fn reference(text: &[u8]) -> Vec<(usize, usize, Vec<usize>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            if !is_run_byte(text[at]) {
                at += 1;
                continue;
            }
            let start = at;
            while at < text.len() && is_run_byte(text[at]) {
                at += 1;
            }
            let cut = |i: &usize| {
                let (previous, byte) = (text[i - 1], text[*i]);
                let small = previous.is_ascii_lowercase() || previous.is_ascii_digit();
                let last_upper = previous.is_ascii_uppercase() && text.get(i + 1).is_some_and(u8::is_ascii_lowercase);
                byte.is_ascii_uppercase() && (small || last_upper)
            };
            found.push((start, at, (start + 1..at).filter(cut).collect()));
        }
        found
    }

    proptest! {
        #[test]
        fn agrees_with_a_byte_loop(text in "[a-cA-C0-2_ é]{0,300}") {
            let mut masks = RunMasks::default();
            masks.classify(text.as_bytes());
            let mut found = Vec::new();
            masks.for_each_run(|start, end| {
                let mut cuts = Vec::new();
                masks.for_each_part(start, end, |from, _| if from != start { cuts.push(from) });
                found.push((start, end, cuts));
            });
            prop_assert_eq!(found, reference(text.as_bytes()));
        }
    }
}
