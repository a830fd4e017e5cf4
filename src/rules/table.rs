//! From a key, such as the name `Makefile` or the extension `o`, to the rules that may match. Knows no patterns.
//!
//! Keys come from rule files that anyone may have written, so nothing here rests on the hash being good: the entries
//! are sorted, and within a bucket they are found by binary search, in which equal hashes cost no more than others.

use std::cmp::Ordering;

use super::Case;

/// Keys with the ids of their rules. Built once, never changed.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// `buckets[b]..buckets[b + 1]` are the entries whose hash starts with the bits of `b`.
    buckets: Box<[u32]>,
    /// The hash shifted right by this is its bucket.
    shift: u32,
    /// Sorted by hash, then key.
    entries: Box<[Entry]>,
    /// All keys, folded, back to back.
    keys: Box<[u8]>,
    /// All ids; those of an entry in descending order.
    ids: Box<[usize]>,
    case: Case,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key_start: usize,
    key_end: usize,
    ids_start: usize,
    ids_end: usize,
}

/// A hash that does not see the case of ASCII letters, so that one serves tables of either [`Case`].
#[inline]
pub(super) fn hash(key: &[u8]) -> u64 {
    /// Sets the bit that tells lower case from upper case in every byte. Other bytes fall together too; no matter.
    const FOLD: u64 = 0x2020_2020_2020_2020;
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = (state ^ (word | FOLD)).wrapping_mul(FACTOR);
        product ^ (product >> 32)
    };
    let mut state = key.len() as u64;
    let mut rest = key;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        state = mix(state, u64::from_le_bytes(*word));
        rest = after;
    }
    // What is left is read as overlapping words where that is possible.
    let last = match (key.last_chunk::<8>(), rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        _ if rest.is_empty() => return state.wrapping_mul(FACTOR),
        (Some(word), _, _) => u64::from_le_bytes(*word),
        (None, Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low)) << 32 | u64::from(u32::from_le_bytes(*high))
        }
        _ => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    mix(state, last).wrapping_mul(FACTOR)
}

impl Table {
    /// Builds a table of `(key, id)` pairs whose keys are folded. `shadows(id)` tells of a rule that matches whenever
    /// its key does: rules with the same key and lower ids are then never asked and are left out.
    pub(super) fn new(pairs: Vec<(Vec<u8>, usize)>, case: Case, shadows: impl Fn(usize) -> bool) -> Table {
        let mut pairs: Vec<_> = pairs.into_iter().map(|(key, id)| (hash(&key), key, id)).collect();
        pairs.sort_unstable_by(|a, b| (a.0, &a.1, b.2).cmp(&(b.0, &b.1, a.2)));
        let mut entries: Vec<Entry> = Vec::new();
        let (mut keys, mut ids) = (Vec::new(), Vec::new());
        let mut shadowed = false;
        for (hash, key, id) in pairs {
            let known = entries.last_mut().filter(|last| last.hash == hash && keys[last.key_start..] == key);
            if let Some(last) = known {
                if !shadowed {
                    ids.push(id);
                    last.ids_end += 1;
                }
            } else {
                shadowed = false;
                let (key_start, ids_start) = (keys.len(), ids.len());
                keys.extend_from_slice(&key);
                ids.push(id);
                entries.push(Entry { hash, key_start, key_end: keys.len(), ids_start, ids_end: ids.len() });
            }
            shadowed |= shadows(id);
        }
        if entries.is_empty() {
            return Table { case, ..Table::default() };
        }
        let bits = entries.len().next_power_of_two().trailing_zeros() + 1;
        let shift = u64::BITS - bits;
        let mut buckets = vec![0; (1 << bits) + 1];
        for entry in &entries {
            buckets[(entry.hash >> shift) as usize + 1] += 1;
        }
        for bucket in 1..buckets.len() {
            buckets[bucket] += buckets[bucket - 1];
        }
        Table { buckets: buckets.into(), shift, entries: entries.into(), keys: keys.into(), ids: ids.into(), case }
    }

    /// Whether the table has no key.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The ids of the rules filed under `key`, in descending order. `hash` is the hash of `key`.
    #[inline]
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> &[usize] {
        if self.entries.is_empty() {
            return &[];
        }
        let bucket = (hash >> self.shift) as usize;
        let entries = &self.entries[self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize];
        let found = entries.binary_search_by(|entry| entry.hash.cmp(&hash).then_with(|| self.compare(entry, key)));
        match found {
            Ok(index) => &self.ids[entries[index].ids_start..entries[index].ids_end],
            Err(_) => &[],
        }
    }

    /// Orders the key of an entry against a key that is not folded yet.
    fn compare(&self, entry: &Entry, key: &[u8]) -> Ordering {
        let stored = &self.keys[entry.key_start..entry.key_end];
        match self.case {
            Case::Sensitive => stored.cmp(key),
            Case::Insensitive => stored.iter().copied().cmp(key.iter().map(u8::to_ascii_lowercase)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        for case in [Case::Sensitive, Case::Insensitive] {
            for count in [0, 1, 2, 3, 100, 5000] {
                let key = |id: usize| format!("name-{}-{id}", "x".repeat(id % 17)).into_bytes();
                let table = Table::new((0..count).map(|id| (key(id), id)).collect(), case, |_| true);
                assert_eq!(table.is_empty(), count == 0);
                for id in 0..count {
                    assert_eq!(table.get(hash(&key(id)), &key(id)), [id]);
                    let upper = key(id).to_ascii_uppercase();
                    let expect: &[usize] = if case == Case::Insensitive { &[id] } else { &[] };
                    assert_eq!(table.get(hash(&upper), &upper), expect);
                }
                let absent = key(count);
                assert!(table.get(hash(&absent), &absent).is_empty());
            }
        }
    }

    #[test]
    fn ids_descend_and_stop_at_a_shadow() {
        let pairs = [7, 1, 5, 3].map(|id| (b"key".to_vec(), id)).to_vec();
        let table = Table::new(pairs, Case::Sensitive, |id| id == 3);
        assert_eq!(table.get(hash(b"key"), b"key"), [7, 5, 3]);
    }

    #[test]
    fn keys_with_one_hash_are_told_apart() {
        // `@` and a backquote fall together when the hash folds case.
        assert_eq!(hash(b"@"), hash(b"`"));
        let table = Table::new(vec![(b"@".to_vec(), 0), (b"`".to_vec(), 1)], Case::Sensitive, |_| true);
        assert_eq!(table.get(hash(b"@"), b"@"), [0]);
        assert_eq!(table.get(hash(b"`"), b"`"), [1]);
    }

    #[test]
    fn hash_ignores_case_at_every_length() {
        for length in 0..40 {
            let key: Vec<u8> = (0..length).map(|index| b'a' + index % 26).collect();
            assert_eq!(hash(&key), hash(&key.to_ascii_uppercase()), "length {length}");
        }
    }
}
