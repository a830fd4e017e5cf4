//! The operations of slots, and how the kernel is told which one an entry is.

use leindex_fallback::{WorkerOptions, cancelled, no_answer};
use rustix::io::Errno;
use std::io;

/// What a slot had the kernel do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Open,
    Check,
    Read,
    Stat,
}

/// The end of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) slot: u32,
    pub(super) action: Action,
    /// Bytes for a read; otherwise of no meaning.
    pub(super) result: Result<u32, Errno>,
}

/// What the completion of a slot's operation comes back with.
pub(super) fn user_data(slot: u32, action: Action) -> u64 {
    u64::from(slot) << 8 | action as u64
}

/// The slot and the operation of a completion; `None` for what no slot has asked for.
pub(super) fn from_user_data(data: u64) -> Option<(u32, Action)> {
    let action = match data & 0xff {
        0 => Action::Open,
        1 => Action::Check,
        2 => Action::Read,
        3 => Action::Stat,
        _ => return None,
    };
    Some((u32::try_from(data >> 8).ok()?, action))
}

/// Why an operation is given up.
pub(super) fn given_up(options: &WorkerOptions) -> io::Error {
    if options.is_cancelled() {
        return cancelled();
    }
    no_answer(options.timeout)
}
