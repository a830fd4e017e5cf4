//! Calls that all Unixes share. What differs is in `linux.rs` and `other_unix.rs`.

#[cfg(target_os = "linux")]
use super::linux as kernel;
#[cfg(not(target_os = "linux"))]
use super::other_unix as kernel;

pub(super) use kernel::{CAN_ASK_CACHE, ListBuffer, open_below, read_cached, will_need};

use crate::op::{is_component, not_a_component};
use crate::{Dir, Kind, Listing, Meta};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// An open file.
pub(super) type File = OwnedFd;

const ROOT: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
pub(super) const DIRECTORY: OFlags = ROOT.union(OFlags::NOFOLLOW);
/// NONBLOCK, or a pipe that took the file's place would wait for a writer; NOCTTY, or a terminal that did would become
/// ours.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

pub(super) fn open_root(path: &Path) -> io::Result<Dir> {
    Ok(Dir::from_fd(rustix::fs::openat(CWD, path, ROOT, Mode::empty())?))
}

pub(super) fn open_dir(parent: &Dir, name: &CStr) -> io::Result<Dir> {
    Ok(Dir::from_fd(open(parent, name, DIRECTORY)?))
}

pub(super) fn open_file(dir: &Dir, name: &CStr) -> io::Result<File> {
    open(dir, name, FILE)
}

fn open(dir: &Dir, name: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    if !is_component(name.to_bytes()) {
        return Err(not_a_component());
    }
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Lists `dir` from its start, whatever was done with it before.
pub(super) fn list(dir: &Dir, buffer: &mut ListBuffer, into: &mut Listing) -> io::Result<()> {
    if dir.mark_listed() {
        rustix::fs::seek(dir, SeekFrom::Start(0))?;
    }
    kernel::list(dir, buffer, into)
}

/// Adds what a directory holds to `into`, but for itself and its parent.
pub(super) fn push_entry(into: &mut Listing, name: &CStr, file_type: FileType, inode: u64) -> io::Result<()> {
    match name.to_bytes() {
        b"." | b".." => Ok(()),
        name => into.push(name, kind(file_type), inode),
    }
}

/// `fstatat`, not `statx`: what it lacks is not needed, and no kernel or sandbox lacks it.
pub(super) fn stat(dir: &Dir, name: &CStr) -> io::Result<Meta> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Meta {
        kind: Kind::from_mode(number(stat.st_mode)),
        size: number(stat.st_size),
        mtime_ns: Meta::time_ns(number(stat.st_mtime), number(stat.st_mtime_nsec)),
        ctime_ns: Meta::time_ns(number(stat.st_ctime), number(stat.st_ctime_nsec)),
        inode: number(stat.st_ino),
        device: number(stat.st_dev),
        mode: number(stat.st_mode),
    })
}

pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    // With an offset, so that it fails on a pipe instead of taking another program's data from it.
    Ok(rustix::io::pread(file, buffer, offset)?)
}

pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::BlockDevice | FileType::CharacterDevice => Kind::Device,
        _ => Kind::Unknown,
    }
}

/// The fields of a stat have another width and sign on each system. None is out of range where it means something.
fn number<Wide, Raw: TryInto<Wide>>(raw: Raw) -> Wide
where
    Wide: Default,
{
    raw.try_into().unwrap_or_default()
}
