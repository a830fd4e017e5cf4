//! What Linux has and others have not: reads that take from the page cache only, and listing into one's own buffer.

use super::unix::{DIRECTORY, File, push_entry};
use crate::op::components;
use crate::{Dir, Listing};
use rustix::fs::{Advice, Mode, RawDir, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;

pub(super) const CAN_ASK_CACHE: bool = true;

/// Twice what the C library uses: 64 KiB take all of nearly every directory, so two calls list it.
const LIST_BYTES: usize = 64 << 10;

/// Where the kernel writes directory entries.
pub(super) struct ListBuffer(Box<[MaybeUninit<u8>]>);

impl Default for ListBuffer {
    fn default() -> ListBuffer {
        ListBuffer(vec![MaybeUninit::uninit(); LIST_BYTES].into_boxed_slice())
    }
}

impl std::fmt::Debug for ListBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListBuffer({} bytes)", self.0.len())
    }
}

/// Opens a directory by one call for all of its path, which follows no link; `None` when this kernel or a filter of
/// system calls does not let it, and of a path that is longer than one call takes.
pub(super) fn open_below(root: &Dir, path: &[u8]) -> io::Result<Option<Dir>> {
    drop(components(path)?);
    let path = if path.is_empty() { &b"."[..] } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(Dir::from_fd(fd))),
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lists from the directory's present position on.
pub(super) fn list(dir: &Dir, buffer: &mut ListBuffer, into: &mut Listing) -> io::Result<()> {
    let mut entries = RawDir::new(dir, &mut buffer.0);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => push_entry(into, entry.file_name(), entry.file_type(), entry.ino())?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads from the start what the page cache holds. Fails with `WouldBlock` when it does not hold the first page; `None`
/// when this file system, or this kernel, cannot tell. Either way a kernel since 5.9 has begun to read what was missing.
pub(super) fn read_cached(file: &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buffer)], 0, ReadWriteFlags::NOWAIT) {
        Ok(read) => Ok(Some(read)),
        // A directory, too, answers so; the plain read then says what is wrong.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the kernel to read the first `bytes` soon. It is a hint, so its failure means nothing.
pub(super) fn will_need(file: &File, bytes: u64) {
    let _ = rustix::fs::fadvise(file, 0, NonZeroU64::new(bytes), Advice::WillNeed);
}
