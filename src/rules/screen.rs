//! Which rules of a list can match a name at all, by its first and last bytes: two loads for 64 rules. Knows sets of
//! bytes, not patterns.

use super::class::ByteSet;

/// What is known of the names that a rule matches.
#[derive(Debug)]
pub(super) struct Outline {
    /// The first byte.
    pub(super) first: ByteSet,
    /// The last byte.
    pub(super) last: ByteSet,
    /// Whether only directories match.
    pub(super) dir_only: bool,
}

/// Up to 64 rules. Bit `i` of every mask stands for the rule at index `i`.
#[derive(Debug)]
pub(super) struct Screen {
    first: [u64; 256],
    last: [u64; 256],
    for_files: u64,
}

impl Screen {
    /// How many rules fit.
    pub(super) const RULES: usize = 64;

    /// The screen of at most [`Screen::RULES`] rules.
    pub(super) fn new(outlines: impl Iterator<Item = Outline>) -> Box<Screen> {
        let mut screen = Box::new(Screen { first: [0; 256], last: [0; 256], for_files: 0 });
        for (index, outline) in outlines.take(Screen::RULES).enumerate() {
            let bit = 1 << index;
            for (masks, set) in [(&mut screen.first, outline.first), (&mut screen.last, outline.last)] {
                let members = (0..=u8::MAX).filter(|&byte| set.contains(byte));
                members.for_each(|byte| masks[usize::from(byte)] |= bit);
            }
            screen.for_files |= if outline.dir_only { 0 } else { bit };
        }
        screen
    }

    /// The indexes, in ascending order, of the rules that may match `name`.
    #[inline]
    pub(super) fn indexes(&self, name: &[u8], is_dir: bool) -> impl Iterator<Item = usize> {
        let mask = |masks: &[u64; 256], byte: Option<&u8>| byte.map_or(0, |&byte| masks[usize::from(byte)]);
        let mut bits = mask(&self.first, name.first());
        bits &= mask(&self.last, name.last());
        bits &= if is_dir { u64::MAX } else { self.for_files };
        std::iter::from_fn(move || {
            let index = bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
            (index < u64::BITS).then_some(index as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_screened_by_their_bytes() {
        let of = |bytes: &[u8]| bytes.iter().fold(ByteSet::EMPTY, |set, &byte| set.with(byte));
        let outline = |first: &[u8], last: &[u8], dir_only| {
            let all = |bytes: &[u8]| if bytes.is_empty() { ByteSet::ALL } else { of(bytes) };
            Outline { first: all(first), last: all(last), dir_only }
        };
        let screen = Screen::new(
            [
                outline(b"", b"", false),
                outline(b"xy", b"", false),
                outline(b"", b"\xff", false),
                outline(b"", b"", true),
            ]
            .into_iter(),
        );
        let check = |name: &[u8], is_dir, expect: &[usize]| {
            let found: Vec<usize> = screen.indexes(name, is_dir).collect();
            assert_eq!(found, expect, "{}", name.escape_ascii());
        };
        check(b"c", false, &[0]);
        check(b"y", true, &[0, 1, 3]);
        check(b"x\xff", false, &[0, 1, 2]);
        let full = Screen::new((0..64).map(|_| outline(b"", b"", false)));
        assert!(full.indexes(b"a", false).eq(0..64));
    }
}
