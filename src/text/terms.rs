//! The distinct terms of one file, with their counts.
//!
//! Most of the CPU time of an index run is spent here, once a word of the tree, so the table of one file is small
//! enough to stay in the first-level cache, a short term (15 bytes or less, nearly all of them) is compared as two
//! integers, and forgetting a file is one increment.

use super::runs::{RUN_BYTES_MAX, RunMasks};

/// Bytes that callers may read past the end of [`FileTerms::lowered`]: a term is always loaded as 16 bytes.
const PADDING: usize = 16;
/// A term of up to this many bytes is held in its key; the 16th byte of such a key is zero.
const INLINE_BYTES_MAX: usize = 15;
/// Marks the key of a longer term.
const LONG: u64 = 1 << 63;
const SLOTS_MIN: usize = 1 << 10;
/// What a large file has left behind is given back when the next file is a small one.
const KEPT_BYTES: usize = 2 << 20;
/// Stamps live in the upper 20 bits of a slot's check word.
const STAMP_STEP: u32 = 1 << 12;

/// What a term is compared by. Up to 15 bytes: the bytes themselves, little-endian, zero-padded (no term holds a NUL).
/// Longer: `low` is a hash of the bytes and `high` holds the top bit, the length (bits 32..) and where the bytes lie (bits
/// ..32); equality then needs the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermKey {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl TermKey {
    /// Whether the bytes are outside of the key.
    #[inline]
    pub(super) fn is_long(self) -> bool {
        self.high & LONG != 0
    }

    #[inline]
    pub(super) fn long_offset(self) -> usize {
        self.high as u32 as usize
    }

    #[inline]
    pub(super) fn long_len(self) -> usize {
        (self.high >> 32) as usize & 0xff
    }

    /// The key of a long term whose bytes lie at `offset` of another arena.
    #[inline]
    pub(super) fn with_offset(self, offset: u32) -> TermKey {
        TermKey { low: self.low, high: self.high & !u64::from(u32::MAX) | u64::from(offset) }
    }

    /// The bytes of a short term, zero-padded.
    #[inline]
    pub(super) fn inline_bytes(self) -> [u8; 16] {
        ((u128::from(self.high) << 64) | u128::from(self.low)).to_le_bytes()
    }

    /// Equal for equal terms, whatever arena their bytes are in.
    #[inline]
    pub(super) fn hash(self) -> u64 {
        let high = if self.is_long() { self.high >> 32 } else { self.high };
        fold(self.low ^ 0x9e37_79b9_7f4a_7c15, high ^ 0xa076_1d64_78bd_642f)
    }
}

/// Folded 64x64 -> 128-bit multiply: the mixer of wyhash (Wang Yi) and rapidhash.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A distinct term of the file and how often it occurs.
#[derive(Clone, Copy, Debug)]
pub struct CountedTerm {
    pub(super) key: TermKey,
    pub(super) count: u32,
}

/// One slot: `check` holds the stamp of the file that wrote it and 12 bits of the hash, `index` points into the terms.
#[derive(Clone, Copy, Default)]
struct Slot {
    check: u32,
    index: u32,
}

/// Collects the distinct terms of one file after another; its buffers are reused.
pub struct FileTerms {
    masks: RunMasks,
    lowered: Vec<u8>,
    slots: Vec<Slot>,
    mask: usize,
    stamp: u32,
    terms: Vec<CountedTerm>,
    long_runs: u32,
}

impl Default for FileTerms {
    fn default() -> Self {
        FileTerms {
            masks: RunMasks::default(),
            lowered: Vec::new(),
            slots: vec![Slot::default(); SLOTS_MIN],
            mask: SLOTS_MIN - 1,
            stamp: 0,
            terms: Vec::new(),
            long_runs: 0,
        }
    }
}

impl FileTerms {
    /// Replaces what is held by the terms of `text`: its runs, ASCII letters lowered, and the camelCase parts of runs
    /// that have some. Runs over [`RUN_BYTES_MAX`] are counted in [`FileTerms::long_runs`] only.
    ///
    /// `text` must be shorter than 4 GiB; the engine's file size limit sees to that.
    pub fn collect(&mut self, text: &[u8]) {
        debug_assert!(u32::try_from(text.len()).is_ok());
        self.begin(text);
        let masks = std::mem::take(&mut self.masks);
        masks.for_each_run(|start, end| {
            if end - start > RUN_BYTES_MAX {
                self.long_runs += 1;
                return;
            }
            self.add(start, end - start);
            if masks.has_parts(start, end) {
                masks.for_each_part(start, end, |from, to| self.add(from, to - from));
            }
        });
        self.masks = masks;
    }

    /// The distinct terms, in order of their first occurrence.
    pub fn terms(&self) -> &[CountedTerm] {
        &self.terms
    }

    /// The lowered text, which the keys of long terms point into.
    pub fn lowered(&self) -> &[u8] {
        &self.lowered
    }

    /// How many runs were too long to be terms.
    pub fn long_runs(&self) -> u32 {
        self.long_runs
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.lowered.capacity() + self.slots.capacity() * 8 + self.terms.capacity() * 24 + self.masks.memory_bytes()
    }

    fn begin(&mut self, text: &[u8]) {
        if text.len() < KEPT_BYTES / 4 && self.lowered.capacity() > KEPT_BYTES {
            *self = FileTerms { stamp: 0, ..FileTerms::default() };
        }
        self.masks.classify(text);
        self.lowered.clear();
        self.lowered.extend(text.iter().map(u8::to_ascii_lowercase));
        self.lowered.resize(text.len() + PADDING, 0);
        self.terms.clear();
        self.long_runs = 0;
        self.mask = SLOTS_MIN - 1;
        self.next_stamp();
    }

    /// Makes every slot stale. When the stamps are used up, they are cleared for real.
    fn next_stamp(&mut self) {
        match self.stamp.checked_add(STAMP_STEP) {
            Some(stamp) => self.stamp = stamp,
            None => {
                self.slots.fill(Slot::default());
                self.stamp = STAMP_STEP;
            }
        }
    }

    #[inline]
    fn key(&self, offset: usize, len: usize) -> TermKey {
        let bytes = &self.lowered[offset..offset + PADDING];
        let (Some(low), Some(high)) = (word(bytes, 0), word(bytes, 8)) else {
            return TermKey { low: 0, high: 0 };
        };
        if len <= 8 {
            return TermKey { low: low & (u64::MAX >> (64 - 8 * len)), high: 0 };
        }
        if len <= INLINE_BYTES_MAX {
            return TermKey { low, high: high & (u64::MAX >> (128 - 8 * len)) };
        }
        let mut hash = fold(low ^ 0x9e37_79b9_7f4a_7c15, high ^ len as u64);
        let rest = &self.lowered[offset + 16..offset + len];
        for chunk in rest.chunks(8) {
            let mut padded = [0u8; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            hash = fold(hash ^ u64::from_le_bytes(padded), 0xe703_7ed1_a0b4_28db);
        }
        TermKey { low: hash, high: LONG | (len as u64) << 32 | offset as u64 }
    }

    #[inline]
    fn add(&mut self, offset: usize, len: usize) {
        let key = self.key(offset, len);
        let hash = key.hash();
        let check = self.stamp | (hash >> 52) as u32;
        let mut at = hash as usize & self.mask;
        loop {
            let slot = self.slots[at];
            if slot.check & !(STAMP_STEP - 1) != self.stamp {
                self.slots[at] = Slot { check, index: self.terms.len() as u32 };
                self.terms.push(CountedTerm { key, count: 1 });
                if self.terms.len() * 2 > self.mask {
                    self.grow();
                }
                return;
            }
            if slot.check == check && self.same(self.terms[slot.index as usize].key, key) {
                self.terms[slot.index as usize].count += 1;
                return;
            }
            at = (at + 1) & self.mask;
        }
    }

    #[inline]
    fn same(&self, a: TermKey, b: TermKey) -> bool {
        if !b.is_long() {
            return a == b;
        }
        a.low == b.low && a.high >> 32 == b.high >> 32 && {
            let len = b.long_len();
            let (a, b) = (a.long_offset(), b.long_offset());
            self.lowered[a..a + len] == self.lowered[b..b + len]
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.mask = self.mask * 4 + 3;
        if self.slots.len() <= self.mask {
            self.slots.resize(self.mask + 1, Slot::default());
        }
        self.next_stamp();
        for (index, term) in self.terms.iter().enumerate() {
            let hash = term.key.hash();
            let mut at = hash as usize & self.mask;
            while self.slots[at].check & !(STAMP_STEP - 1) == self.stamp {
                at = (at + 1) & self.mask;
            }
            self.slots[at] = Slot { check: self.stamp | (hash >> 52) as u32, index: index as u32 };
        }
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes)
}

/// The bytes of `term`, whose long form points into `arena`.
pub(super) fn term_bytes<'a>(key: TermKey, arena: &'a [u8], inline: &'a mut [u8; 16]) -> &'a [u8] {
    if key.is_long() {
        return &arena[key.long_offset()..key.long_offset() + key.long_len()];
    }
    *inline = key.inline_bytes();
    let len = inline.iter().position(|&byte| byte == 0).unwrap_or(16);
    &inline[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn collected(terms: &FileTerms) -> BTreeMap<String, u32> {
        let mut inline = [0; 16];
        let found: Vec<(String, u32)> = terms
            .terms()
            .iter()
            .map(|t| (String::from_utf8_lossy(term_bytes(t.key, terms.lowered(), &mut inline)).into_owned(), t.count))
            .collect();
        let count = found.len();
        let map: BTreeMap<_, _> = found.into_iter().collect();
        assert_eq!(map.len(), count, "a term was collected twice");
        map
    }

    fn reference(text: &str) -> BTreeMap<String, u32> {
        let mut masks = RunMasks::default();
        masks.classify(text.as_bytes());
        let mut found = BTreeMap::new();
        let mut add = |start: usize, end: usize| {
            *found.entry(text[start..end].to_ascii_lowercase()).or_insert(0) += 1;
        };
        masks.for_each_run(|start, end| {
            if end - start <= RUN_BYTES_MAX {
                add(start, end);
                masks.for_each_part(start, end, &mut add);
            }
        });
        found
    }

    #[test]
    fn counts_terms_and_parts() {
        let mut terms = FileTerms::default();
        terms.collect(b"schedule_timeout(scheduleTimeout, TIMEOUT)");
        let expect = [("schedule", 2), ("timeout", 3), ("scheduletimeout", 1)];
        assert_eq!(collected(&terms), expect.iter().map(|&(t, n)| (t.to_string(), n)).collect());
    }

    #[test]
    fn long_runs_are_counted_not_kept() {
        let mut terms = FileTerms::default();
        let text = format!("a {} {} b", "x".repeat(RUN_BYTES_MAX), "y".repeat(RUN_BYTES_MAX + 1));
        terms.collect(text.as_bytes());
        assert_eq!(terms.long_runs(), 1);
        assert_eq!(collected(&terms).len(), 3);
    }

    #[test]
    fn lengths_around_the_inline_limit() {
        let mut terms = FileTerms::default();
        let text: String = (1..=40).map(|len| format!("{} ", "q".repeat(len))).collect::<String>().repeat(2);
        terms.collect(text.as_bytes());
        assert_eq!(collected(&terms), reference(&text));
    }

    #[test]
    fn stamps_wrap_without_mixing_files() {
        let mut terms = FileTerms { stamp: u32::MAX - STAMP_STEP + 1, ..FileTerms::default() };
        terms.collect(b"one");
        terms.collect(b"two");
        assert_eq!(collected(&terms), reference("two"));
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(texts in prop::collection::vec("([a-cA-B]{1,3}|[a-b]{14,18}|[_ é\n]){0,400}", 1..4)) {
            let mut terms = FileTerms::default();
            for text in &texts {
                terms.collect(text.as_bytes());
                prop_assert_eq!(collected(&terms), reference(text));
            }
        }

        #[test]
        fn survives_growth(count in 500usize..4000) {
            let text: String = (0..count).map(|i| format!("t{} ", i % (count - 100))).collect();
            let mut terms = FileTerms::default();
            terms.collect(text.as_bytes());
            prop_assert_eq!(collected(&terms), reference(&text));
        }
    }
}
