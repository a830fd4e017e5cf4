//! Which pages of a worker's read buffer are taken.
//!
//! One buffer serves every read in flight, each with a run of pages as long as it needs. The lowest free run is taken
//! first: what was used a moment ago is used again, so that a warm walk stays in the processor's cache.

/// The unit of allocation, in bytes.
pub(super) const PAGE: usize = 4 << 10;

/// A run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    first: u32,
    count: u32,
}

impl Span {
    /// Offset of the first byte.
    pub(super) fn offset(self) -> usize {
        self.first as usize * PAGE
    }

    /// Length in bytes.
    #[cfg(test)]
    fn bytes(self) -> usize {
        self.count as usize * PAGE
    }
}

/// A map of pages, one bit each, first fit.
#[derive(Debug)]
pub(super) struct Pages {
    /// A set bit is a free page. The last word ends with taken ones when there are fewer pages than bits.
    free: Vec<u64>,
}

impl Pages {
    /// A map of `count` free pages.
    pub(super) fn new(count: usize) -> Pages {
        let mut free = vec![u64::MAX; count / 64];
        if !count.is_multiple_of(64) {
            free.push((1 << (count % 64)) - 1);
        }
        Pages { free }
    }

    /// Takes the lowest run that holds `bytes`; `None` when there is none.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Span> {
        let count = bytes.div_ceil(PAGE).max(1) as u32;
        let first = self.find(count)?;
        let span = Span { first, count };
        self.set(span, false);
        Some(span)
    }

    /// Gives a run back.
    pub(super) fn give(&mut self, span: Span) {
        self.set(span, true);
    }

    /// Whether nothing is taken.
    #[cfg(test)]
    fn is_whole(&self) -> bool {
        self.free.iter().all(|word| *word == u64::MAX)
    }

    fn find(&self, count: u32) -> Option<u32> {
        let (mut first, mut length) = (0, 0);
        for (index, word) in self.free.iter().enumerate() {
            let start = index as u32 * 64;
            let mut bit = 0;
            while bit < 64 {
                let rest = word >> bit;
                let ones = rest.trailing_ones();
                if ones == 0 {
                    length = 0;
                    bit += rest.trailing_zeros().min(64 - bit);
                    continue;
                }
                if length == 0 {
                    first = start + bit;
                }
                length += ones;
                bit += ones;
                if length >= count {
                    return Some(first);
                }
            }
        }
        None
    }

    fn set(&mut self, span: Span, free: bool) {
        let mut at = span.first;
        let end = span.first + span.count;
        while at < end {
            let (index, bit) = ((at / 64) as usize, at % 64);
            let count = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - count)) << bit;
            debug_assert_eq!(self.free[index] & mask, if free { 0 } else { mask }, "{span:?} is not what it was");
            if free {
                self.free[index] |= mask;
            } else {
                self.free[index] &= !mask;
            }
            at += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lowest_run_that_fits_is_taken() {
        let mut pages = Pages::new(128);
        let a = pages.take(1).unwrap();
        let b = pages.take(3 * PAGE).unwrap();
        let c = pages.take(100 * PAGE).unwrap();
        assert_eq!((a.first, b.first, c.first), (0, 1, 4));
        assert_eq!((b.offset(), b.bytes()), (PAGE, 3 * PAGE));
        pages.give(a);
        assert_eq!(pages.take(PAGE + 1).unwrap().first, 104, "the hole of one page is too small");
        assert_eq!(pages.take(PAGE).unwrap().first, 0);
        assert_eq!(pages.take(23 * PAGE), None);
        assert_eq!(pages.take(22 * PAGE).unwrap().first, 106);
    }

    #[test]
    fn a_map_may_end_within_a_word() {
        let mut pages = Pages::new(70);
        assert_eq!(pages.take(71 * PAGE), None);
        assert_eq!(pages.take(70 * PAGE), Some(Span { first: 0, count: 70 }));
        assert_eq!(pages.take(1), None);
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_all_come_back(steps in prop::collection::vec((1_usize..300_000, any::<u8>()), 1..200)) {
            let mut pages = Pages::new(256);
            let mut taken: Vec<Span> = Vec::new();
            for (bytes, pick) in steps {
                if pick % 3 == 0 && !taken.is_empty() {
                    pages.give(taken.swap_remove(usize::from(pick) % taken.len()));
                } else if let Some(span) = pages.take(bytes) {
                    prop_assert!(span.bytes() >= bytes && span.first + span.count <= 256);
                    for other in &taken {
                        let apart = span.first >= other.first + other.count || other.first >= span.first + span.count;
                        prop_assert!(apart, "{span:?} {other:?}");
                    }
                    taken.push(span);
                }
            }
            taken.into_iter().for_each(|span| pages.give(span));
            prop_assert!(pages.is_whole());
        }
    }
}
