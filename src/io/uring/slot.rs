//! One fetch of a worker, and where it is on its way.

use std::time::Instant;

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Opening,
    Checking,
    Reading,
    /// Waits for a descriptor.
    StalledOpening,
    /// Waits for this much room in the buffers.
    StalledReading(u64),
    /// Its fetch has ended; the kernel still has the operation.
    Abandoned,
}

/// One fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) token: u64,
    pub(super) size: u64,
    pub(super) limit: u64,
    /// Bytes of a buffer of its own.
    pub(super) own: u64,
    pub(super) missed: bool,
    /// The operation under way is known not to have completed at once.
    pub(super) punted: bool,
    pub(super) attempts: u8,
    /// When a look found it in the kernel first.
    pub(super) seen: Option<Instant>,
}

/// A slot that nothing uses.
pub(super) const FREE: Slot = Slot {
    state: State::Free,
    token: 0,
    size: 0,
    limit: 0,
    own: 0,
    missed: false,
    punted: false,
    attempts: 0,
    seen: None,
};
