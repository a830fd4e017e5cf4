//! When to stat through the ring.
//!
//! A cached `fstatat` takes about a microsecond; `IORING_OP_STATX` always goes to a thread of the kernel, which takes
//! several. So entries are stat'ed by calls, unless calls have to wait: over a network each is a round trip, and a ring
//! has all of a batch under way at once. One slow stat says little (a local disk brings a block of inodes with the first
//! of them); two in a row do.

use std::time::Duration;

/// A stat that takes this long has waited for something.
const SLOW: Duration = Duration::from_micros(100);
/// So many of the first stats of a batch are timed.
pub(super) const TIMED: usize = 2;
/// Slow stats in a row that make a batch go through the ring.
const SLOW_IN_A_ROW: u32 = 2;
/// A batch that took less than this a stat had nothing to wait for.
const QUICK: Duration = Duration::from_micros(10);
/// After so many batches through the ring a few calls are made again, to see what they take now.
const BATCHES_BEFORE_ASKING: u32 = 32;

/// How to do the next batch, from what the last ones took.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatPolicy {
    /// Batches that still go through the ring without asking.
    in_ring: u32,
    slow: u32,
    /// A remote file system: always through the ring, for a call there may never return.
    remote: bool,
}

impl StatPolicy {
    pub(super) fn new(remote: bool) -> StatPolicy {
        StatPolicy { in_ring: 0, slow: 0, remote }
    }

    pub(super) fn is_remote(&self) -> bool {
        self.remote
    }

    /// A batch begins: whether all of it goes through the ring.
    pub(super) fn begin(&mut self) -> bool {
        self.slow = 0;
        if self.remote {
            return true;
        }
        self.in_ring = self.in_ring.saturating_sub(1);
        self.in_ring > 0
    }

    /// One of the first [`TIMED`] calls of a batch took this long: whether the rest is to go through the ring.
    pub(super) fn called(&mut self, took: Duration) -> bool {
        self.slow = if took < SLOW { 0 } else { self.slow + 1 };
        if self.slow < SLOW_IN_A_ROW {
            return false;
        }
        self.in_ring = BATCHES_BEFORE_ASKING;
        true
    }

    /// A batch of `count` went through the ring.
    pub(super) fn batch_done(&mut self, count: usize, took: Duration) {
        if took < QUICK * u32::try_from(count).unwrap_or(u32::MAX) {
            self.in_ring = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHED: Duration = Duration::from_micros(1);
    const ROUND_TRIP: Duration = Duration::from_millis(1);

    #[test]
    fn one_slow_stat_is_a_disk_and_two_are_a_network() {
        let mut policy = StatPolicy::new(false);
        assert!(!policy.begin());
        assert!(!policy.called(ROUND_TRIP));
        assert!(!policy.called(CACHED));
        assert!(!policy.called(ROUND_TRIP));
        assert!(policy.called(ROUND_TRIP));
    }

    #[test]
    fn a_slow_file_system_is_asked_again_after_a_while() {
        let mut policy = StatPolicy::new(false);
        policy.begin();
        assert!(!policy.called(ROUND_TRIP) && policy.called(ROUND_TRIP));
        let in_ring = (0..100).take_while(|_| policy.begin()).count() as u32;
        assert_eq!(in_ring, BATCHES_BEFORE_ASKING - 1);
        assert!(!policy.called(CACHED) && !policy.begin());
    }

    #[test]
    fn what_has_become_quick_is_done_by_calls() {
        let mut policy = StatPolicy::new(false);
        policy.begin();
        assert!(!policy.called(ROUND_TRIP) && policy.called(ROUND_TRIP));
        policy.batch_done(30, ROUND_TRIP);
        assert!(policy.begin());
        policy.batch_done(30, 30 * CACHED);
        assert!(!policy.begin());
    }

    #[test]
    fn a_remote_file_system_is_never_called() {
        let mut policy = StatPolicy::new(true);
        for _ in 0..100 {
            assert!(policy.begin());
            policy.batch_done(30, 30 * CACHED);
        }
    }
}
