//! Whether a file can define a name, told from a few bytes: a Bloom filter over the names of its symbols.
//!
//! Searches by name ask this of thousands of files, and some define a hundred thousand names. Names are hashed with their
//! ASCII letters lowered. Ten bits a name and seven probes leave one file in a hundred that is looked at in vain (B. Bloom,
//! "Space/time trade-offs in hash coding with allowable errors", 1970); the probes are two hashes combined (A. Kirsch and
//! M. Mitzenmacher, "Less hashing, same performance", 2006).

use super::Extracted;
use xxhash_rust::xxh3::xxh3_64;

const BITS_PER_NAME: usize = 10;
const PROBES: u64 = 7;

/// The filter of a file's symbols; never empty.
pub(crate) fn filter(extracted: &Extracted) -> Vec<u8> {
    let mut bytes = vec![0; (extracted.symbols.len() * BITS_PER_NAME).div_ceil(8).max(1)];
    let bits = bytes.len() as u64 * 8;
    for symbol in &extracted.symbols {
        for bit in probes(hash(symbol.name.as_bytes()), bits) {
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    bytes
}

/// A name as filters know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameHash(u64);

impl NameHash {
    pub(crate) fn new(name: &[u8]) -> NameHash {
        NameHash(hash(name))
    }

    /// Whether the file with this filter may define the name, in any case.
    pub(crate) fn may_be_in(self, filter: &[u8]) -> bool {
        let bits = filter.len() as u64 * 8;
        bits > 0 && probes(self.0, bits).all(|bit| filter[bit / 8] >> (bit % 8) & 1 != 0)
    }
}

fn hash(name: &[u8]) -> u64 {
    xxh3_64(&name.to_ascii_lowercase())
}

fn probes(hash: u64, bits: u64) -> impl Iterator<Item = usize> {
    let (first, step) = (hash & 0xffff_ffff, hash >> 32 | 1);
    (0..PROBES).map(move |probe| (first.wrapping_add(probe.wrapping_mul(step)) % bits) as usize)
}

#[cfg(test)]
mod tests {
    use super::super::{Symbol, SymbolKind};
    use super::*;

    fn with(names: impl Iterator<Item = String>) -> Extracted {
        let symbol = |name| Symbol { name, kind: SymbolKind::Macro, line: 1, end_line: 1, container: None };
        Extracted { symbols: names.map(symbol).collect(), cut: None }
    }

    #[test]
    fn every_name_is_in_and_few_others() {
        for count in [1, 10, 1000, 50_000] {
            let bytes = filter(&with((0..count).map(|n| format!("Name_{n}"))));
            assert!(bytes.len() <= count * 2);
            assert!((0..count).all(|n| NameHash::new(format!("nAME_{n}").as_bytes()).may_be_in(&bytes)));
            let others = (0..10_000).filter(|n| NameHash::new(format!("other{n}").as_bytes()).may_be_in(&bytes));
            assert!(others.count() < 300, "{count} names");
        }
        assert!(!NameHash::new(b"x").may_be_in(&filter(&with(std::iter::empty()))));
    }
}
