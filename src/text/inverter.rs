//! The in-memory inverted index of one segment: interns the terms of file after file, then yields every term in
//! lexicographic order with its postings.
//!
//! A posting is one `u32` while it is collected (term id and quantised frequency) and one while it is sorted (document
//! and frequency); the counting sort by term works on a bounded range of terms at a time, so writing a segment needs a
//! fixed amount of memory beyond what was collected. Interning is bound by cache misses of a table far larger than the
//! cache, so the terms of a file are looked up in batches whose loads are started together.

use super::terms::{CountedTerm, FileTerms, TermKey, term_bytes};

/// Postings collected in one piece of memory: growing never copies what is there.
const CHUNK_POSTINGS: usize = 1 << 18;
/// Postings sorted at a time when the segment is written.
const SORT_POSTINGS: usize = 4 << 20;
/// Terms whose table slots are loaded together.
const BATCH: usize = 32;
/// Bits of a posting that hold the frequency: `floor(log2(count))`, at most 3. BM25 flattens out there anyway (from 8
/// occurrences to 1000 the score of a term grows by a seventh), and postings are packed with as few bits as they need.
const FREQUENCY_BITS: u32 = 2;
const FREQUENCY_MAX: u32 = (1 << FREQUENCY_BITS) - 1;
/// Term and document ids have the other bits: a term takes 16 bytes at least, so an inverter of the largest size that can
/// be set holds an eighth of what fits.
const _: () = assert!(crate::limits::INVERTER_BYTES_MAX / 16 <= 1 << (32 - FREQUENCY_BITS) >> 3);
const SLOTS_MIN: usize = 1 << 16;

/// One posting of a term: the document and the frequency that scoring sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Document of the segment, from 0.
    pub doc: u32,
    /// `1 + floor(log2(occurrences))`, at most 4: a word said a thousand times is not a thousand times more relevant.
    pub frequency: u32,
}

/// Collects documents and yields them inverted.
pub struct Inverter {
    /// `tag << 32 | id + 1`; zero is free.
    slots: Vec<u64>,
    keys: Vec<TermKey>,
    document_counts: Vec<u32>,
    /// Bytes of the terms over 15 bytes.
    arena: Vec<u8>,
    chunks: Vec<Vec<u32>>,
    posting_count: usize,
    /// Where each document's postings end.
    doc_ends: Vec<u64>,
    /// Sum of the frequencies of each document: its length for BM25.
    doc_lengths: Vec<u32>,
}

impl Default for Inverter {
    fn default() -> Self {
        Inverter {
            slots: vec![0; SLOTS_MIN],
            keys: Vec::new(),
            document_counts: Vec::new(),
            arena: Vec::new(),
            chunks: Vec::new(),
            posting_count: 0,
            doc_ends: Vec::new(),
            doc_lengths: Vec::new(),
        }
    }
}

impl Inverter {
    /// Adds one document and returns its number in the segment. `tags` are extra terms (flags, language) that are
    /// searched by exact bytes and do not count towards the document's length.
    pub fn add(&mut self, terms: &FileTerms, tags: &[&[u8]]) -> u32 {
        self.reserve_slots(terms.terms().len() + tags.len());
        let mut length = 0u32;
        for batch in terms.terms().chunks(BATCH) {
            length = length.saturating_add(self.add_batch(batch, terms.lowered()));
        }
        for tag in tags {
            let key = self.tag_key(tag);
            let id = self.intern(key.hash(), key, tag);
            self.push(id, 0);
        }
        self.doc_ends.push(self.posting_count as u64);
        self.doc_lengths.push(length);
        self.doc_lengths.len() as u32 - 1
    }

    /// Documents collected.
    pub fn doc_count(&self) -> u32 {
        self.doc_lengths.len() as u32
    }

    /// Bytes held, and what writing the segment will need on top of them.
    pub fn memory_bytes(&self) -> usize {
        let sorting = self.keys.len() * (32 + 4) + self.posting_count.min(SORT_POSTINGS) * 4;
        self.slots.capacity() * 8
            + self.keys.capacity() * 16
            + self.document_counts.capacity() * 4
            + self.arena.capacity()
            + self.chunks.len() * CHUNK_POSTINGS * 4
            + self.doc_ends.capacity() * 12
            + sorting
    }

    /// Length of each document in quantised term occurrences, in document order.
    pub fn doc_lengths(&self) -> &[u32] {
        &self.doc_lengths
    }

    /// Distinct terms collected.
    pub fn term_count(&self) -> usize {
        self.keys.len()
    }

    fn add_batch(&mut self, batch: &[CountedTerm], arena: &[u8]) -> u32 {
        let mut hashes = [0u64; BATCH];
        let mut guesses = [0u32; BATCH];
        let mask = self.slots.len() - 1;
        // Three passes, so that the misses of one pass overlap instead of following one another.
        for (hash, term) in hashes.iter_mut().zip(batch) {
            *hash = term.key.hash();
        }
        for (guess, hash) in guesses.iter_mut().zip(&hashes).take(batch.len()) {
            *guess = self.slots[*hash as usize & mask] as u32;
        }
        let mut warm = 0;
        for &guess in &guesses[..batch.len()] {
            warm ^= self.keys.get((guess as usize).wrapping_sub(1)).map_or(0, |key| key.low);
        }
        std::hint::black_box(warm);
        let mut length = 0u32;
        for (term, &hash) in batch.iter().zip(&hashes) {
            let frequency = term.count.ilog2().min(FREQUENCY_MAX);
            let bytes = if term.key.is_long() {
                &arena[term.key.long_offset()..term.key.long_offset() + term.key.long_len()]
            } else {
                &[]
            };
            let id = self.intern(hash, term.key, bytes);
            self.push(id, frequency);
            length = length.saturating_add(frequency + 1);
        }
        length
    }

    /// The id of a term. `bytes` are those of a long term; a short one is its key.
    #[inline]
    fn intern(&mut self, hash: u64, key: TermKey, bytes: &[u8]) -> u32 {
        let mask = self.slots.len() - 1;
        let tag = hash >> 32 << 32;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                let id = self.keys.len() as u32;
                self.slots[at] = tag | u64::from(id + 1);
                let stored = self.stored_key(key, bytes);
                self.keys.push(stored);
                self.document_counts.push(1);
                return id;
            }
            let id = (slot as u32 - 1) as usize;
            if slot >> 32 << 32 == tag && self.same(self.keys[id], key, bytes) {
                self.document_counts[id] += 1;
                return id as u32;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn same(&self, stored: TermKey, key: TermKey, bytes: &[u8]) -> bool {
        if !key.is_long() {
            return stored == key;
        }
        stored.low == key.low
            && stored.high >> 32 == key.high >> 32
            && self.arena[stored.long_offset()..stored.long_offset() + stored.long_len()] == *bytes
    }

    fn stored_key(&mut self, key: TermKey, bytes: &[u8]) -> TermKey {
        if !key.is_long() {
            return key;
        }
        let offset = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        key.with_offset(offset)
    }

    /// Tags are at most 15 bytes, so their key is their bytes.
    fn tag_key(&self, tag: &[u8]) -> TermKey {
        debug_assert!(tag.len() <= 15 && !tag.contains(&0));
        let mut bytes = [0u8; 16];
        bytes[..tag.len()].copy_from_slice(tag);
        let value = u128::from_le_bytes(bytes);
        TermKey { low: value as u64, high: (value >> 64) as u64 }
    }

    #[inline]
    fn push(&mut self, id: u32, frequency: u32) {
        if self.posting_count.is_multiple_of(CHUNK_POSTINGS) {
            self.chunks.push(Vec::with_capacity(CHUNK_POSTINGS));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(id << FREQUENCY_BITS | frequency);
        }
        self.posting_count += 1;
    }

    fn reserve_slots(&mut self, more: usize) {
        let needed = (self.keys.len() + more) * 2;
        if needed <= self.slots.len() {
            return;
        }
        let mut slots = vec![0u64; (needed * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (id, key) in self.keys.iter().enumerate() {
            let hash = key.hash();
            let mut at = hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = hash >> 32 << 32 | (id as u64 + 1);
        }
        self.slots = slots;
    }

    /// Calls `each` with every term in lexicographic order and its postings in document order.
    ///
    /// # Errors
    /// The first error of `each` ends it.
    pub fn for_each_term<E>(mut self, mut each: impl FnMut(&[u8], &[Posting]) -> Result<(), E>) -> Result<(), E> {
        self.slots = Vec::new();
        let order = self.sorted_ids();
        let mut ranks = vec![0u32; order.len()];
        for (rank, &id) in order.iter().enumerate() {
            ranks[id as usize] = rank as u32;
        }
        let mut postings = Vec::new();
        let mut inline = [0u8; 16];
        let mut first = 0;
        while first < order.len() {
            let (last, starts) = self.plan_range(&order, first);
            let sorted = self.sort_range(&ranks, first, last, &starts);
            for (index, &id) in order[first..last].iter().enumerate() {
                postings.clear();
                postings.extend(
                    sorted[starts[index] as usize..starts[index + 1] as usize].iter().map(|&packed| Posting {
                        doc: packed >> FREQUENCY_BITS,
                        frequency: (packed & FREQUENCY_MAX) + 1,
                    }),
                );
                each(term_bytes(self.keys[id as usize], &self.arena, &mut inline), &postings)?;
            }
            first = last;
        }
        Ok(())
    }

    /// Term ids in the order of their bytes.
    fn sorted_ids(&self) -> Vec<u32> {
        let mut inline = [0u8; 16];
        let mut order: Vec<(u128, u32)> = (0..self.keys.len() as u32)
            .map(|id| {
                let bytes = term_bytes(self.keys[id as usize], &self.arena, &mut inline);
                let mut prefix = [0u8; 16];
                let len = bytes.len().min(16);
                prefix[..len].copy_from_slice(&bytes[..len]);
                (u128::from_be_bytes(prefix), id)
            })
            .collect();
        let rest = |id: u32| {
            let key = self.keys[id as usize];
            if key.is_long() { &self.arena[key.long_offset()..key.long_offset() + key.long_len()] } else { &[] }
        };
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(rest(b.1))));
        order.into_iter().map(|(_, id)| id).collect()
    }

    /// How many terms from `first` on are sorted at once, and where each one's postings start.
    fn plan_range(&self, order: &[u32], first: usize) -> (usize, Vec<u32>) {
        let mut starts = vec![0u32];
        let mut total = 0usize;
        let mut last = first;
        while last < order.len() {
            let count = self.document_counts[order[last] as usize] as usize;
            if last > first && total + count > SORT_POSTINGS {
                break;
            }
            total += count;
            starts.push(total as u32);
            last += 1;
        }
        (last, starts)
    }

    /// Counting sort by term of the postings whose terms rank in `first..last`.
    fn sort_range(&self, ranks: &[u32], first: usize, last: usize, starts: &[u32]) -> Vec<u32> {
        let mut next = starts.to_vec();
        let total = starts.last().copied().unwrap_or(0) as usize;
        let mut sorted = vec![0u32; total];
        let (first, count) = (first as u32, (last - first) as u32);
        let mut doc = 0u32;
        let mut end = self.doc_ends.first().copied().unwrap_or(0);
        for (at, &packed) in (0u64..).zip(self.chunks.iter().flatten()) {
            while at >= end {
                doc += 1;
                end = self.doc_ends[doc as usize];
            }
            let index = ranks[(packed >> FREQUENCY_BITS) as usize].wrapping_sub(first);
            if index < count {
                let slot = &mut next[index as usize];
                sorted[*slot as usize] = doc << FREQUENCY_BITS | packed & FREQUENCY_MAX;
                *slot += 1;
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Inverted = Vec<(Vec<u8>, Vec<(u32, u32)>)>;

    fn inverted(texts: &[&str]) -> Inverted {
        let mut inverter = Inverter::default();
        let mut terms = FileTerms::default();
        for text in texts {
            terms.collect(text.as_bytes());
            inverter.add(&terms, &[]);
        }
        let mut found = Vec::new();
        let each = |term: &[u8], postings: &[Posting]| -> Result<(), ()> {
            found.push((term.to_vec(), postings.iter().map(|p| (p.doc, p.frequency)).collect()));
            Ok(())
        };
        inverter.for_each_term(each).unwrap();
        found
    }

    #[test]
    fn terms_in_order_with_log_frequencies() {
        let found = inverted(&["b a a a a", "", "a long_identifier_that_goes_on internationalisation"]);
        let expect: Inverted = vec![
            (b"a".to_vec(), vec![(0, 3), (2, 1)]),
            (b"b".to_vec(), vec![(0, 1)]),
            (b"goes".to_vec(), vec![(2, 1)]),
            (b"identifier".to_vec(), vec![(2, 1)]),
            (b"internationalisation".to_vec(), vec![(2, 1)]),
            (b"long".to_vec(), vec![(2, 1)]),
            (b"on".to_vec(), vec![(2, 1)]),
            (b"that".to_vec(), vec![(2, 1)]),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn tags_are_terms_without_length() {
        let mut inverter = Inverter::default();
        let mut terms = FileTerms::default();
        terms.collect(b"x y");
        inverter.add(&terms, &[b"\x02c"]);
        assert_eq!(inverter.doc_lengths(), &[2]);
        let mut seen = Vec::new();
        let each = |term: &[u8], _: &[Posting]| -> Result<(), ()> {
            seen.push(term.to_vec());
            Ok(())
        };
        inverter.for_each_term(each).unwrap();
        assert_eq!(seen, [b"\x02c".to_vec(), b"x".to_vec(), b"y".to_vec()]);
    }

    fn reference(texts: &[String]) -> Inverted {
        let mut map: BTreeMap<Vec<u8>, Vec<(u32, u32)>> = BTreeMap::new();
        for (doc, text) in texts.iter().enumerate() {
            let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
                *counts.entry(word.as_bytes().to_vec()).or_default() += 1;
            }
            for (term, count) in counts {
                map.entry(term).or_default().push((doc as u32, 1 + count.ilog2()));
            }
        }
        map.into_iter().collect()
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(texts in prop::collection::vec("([a-c]{1,2} |[a-b]{15,17} |prefixprefixprefix[a-c]{0,3} ){0,60}", 0..20)) {
            let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(inverted(&borrowed), reference(&texts));
        }
    }
}
