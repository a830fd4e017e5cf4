//! What a run counts while it goes on: a block of counters a worker, each on cache lines of its own, summed when asked.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals of a run at one moment. `ignored`, `indexed`, `unchanged`, `binary`, `too_large` and `skipped` add up to
        /// `seen`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        /// The counters of one worker; only that worker writes them.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        impl Counters {
            /// The values now.
            pub fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) { $(self.$name += other.$name;)* }
        }
    };
}

counters! {
    /// Directories listed.
    dirs,
    /// Directory entries other than directories, and directories that were skipped.
    seen,
    /// Entries that an ignore rule excluded; what lies in an excluded directory is never seen.
    ignored,
    /// Files whose text was read and indexed.
    indexed,
    /// Files as published before: not read.
    unchanged,
    /// Files of the last generation that are gone.
    removed,
    /// Files that hold no text.
    binary,
    /// Files over the size limit.
    too_large,
    /// Entries that could not be read or are no regular files; each has a reason.
    skipped,
    /// Skips that are failures (not merely "no regular file").
    failed,
    /// Failures that may be over the next time: time-outs, I/O errors, want of descriptors; not permissions.
    unsettled,
    /// Directories that an ignore rule excluded.
    ignored_dirs,
    /// Content bytes read.
    bytes_read,
    /// `stat` calls.
    stat_calls,
    /// Files read.
    reads,
    /// Reads that were not (fully) in the page cache.
    misses,
    /// Content hashes computed.
    hashes,
    /// Batches written again after a failure.
    retries,
}

/// Adds to a counter of the calling worker: no other thread writes it, so a plain load and store is enough.
pub fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed) + by, Relaxed);
}
