//! The Unixes that are not Linux: listing through the C library, and no way to ask the page cache.

use super::unix::{File, push_entry};
use crate::{Dir, Listing};
use std::io;

pub(super) const CAN_ASK_CACHE: bool = false;

/// Nothing: the C library has a buffer of its own.
#[derive(Debug, Default)]
pub(super) struct ListBuffer(());

/// There is no one call for it.
pub(super) fn open_below(_: &Dir, _: &[u8]) -> io::Result<Option<Dir>> {
    Ok(None)
}

/// Lists the directory.
pub(super) fn list(dir: &Dir, _: &mut ListBuffer, into: &mut Listing) -> io::Result<()> {
    let mut entries = rustix::fs::Dir::read_from(dir)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        push_entry(into, entry.file_name(), entry.file_type(), entry.ino())?;
    }
    Ok(())
}

/// Cannot be asked.
pub(super) fn read_cached(_: &File, _: &mut [u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Never called: nothing is known to be missing from the cache.
pub(super) fn will_need(_: &File, _: u64) {}
