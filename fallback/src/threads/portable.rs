//! The standard library only, with paths: Windows, anything that is no Unix, and the interpreter that looks for
//! undefined behaviour.
//!
//! Two promises of the contract are weaker here, for want of the calls: that an entry is no link is checked just before
//! it is opened, so a swap in between goes unnoticed, and this check is one more call for each file.

use crate::op::{is_component, not_a_component};
use crate::{Dir, Kind, Listing, Meta};
use std::ffi::CStr;
use std::fs::{self, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use std::fs::File;

pub(super) const CAN_ASK_CACHE: bool = false;

/// Nothing: the standard library has a buffer of its own.
#[derive(Debug, Default)]
pub(super) struct ListBuffer(());

pub(super) fn open_root(path: &Path) -> io::Result<Dir> {
    // Absolute, so that a change of the working directory does not move it.
    let path = fs::canonicalize(path)?;
    if !fs::metadata(&path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(Dir::from_path(path))
}

pub(super) fn open_dir(parent: &Dir, name: &CStr) -> io::Result<Dir> {
    let path = join(parent, name)?;
    if !fs::symlink_metadata(&path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(Dir::from_path(path))
}

/// There is no one call for it.
pub(super) fn open_below(_: &Dir, _: &[u8]) -> io::Result<Option<Dir>> {
    Ok(None)
}

pub(super) fn open_file(dir: &Dir, name: &CStr) -> io::Result<File> {
    let path = join(dir, name)?;
    if !fs::symlink_metadata(&path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

pub(super) fn list(dir: &Dir, _: &mut ListBuffer, into: &mut Listing) -> io::Result<()> {
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        let kind = entry.file_type().map_or(Kind::Unknown, kind);
        into.push(entry.file_name().as_encoded_bytes(), kind, inode(&entry))?;
    }
    Ok(())
}

pub(super) fn stat(dir: &Dir, name: &CStr) -> io::Result<Meta> {
    let found = fs::symlink_metadata(join(dir, name)?)?;
    let mtime_ns = found.modified().map_or(0, nanoseconds);
    let meta =
        Meta { kind: kind(found.file_type()), size: found.len(), mtime_ns, ctime_ns: 0, inode: 0, device: 0, mode: 0 };
    Ok(with_unix_fields(meta, &found))
}

/// Reads on: every file here is read from its start to its end, so the offset is where the last read ended.
pub(super) fn read_at(mut file: &File, buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
    file.read(buffer)
}

/// Cannot be asked.
pub(super) fn read_cached(_: &File, _: &mut [u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Never called: nothing is known to be missing from the cache.
pub(super) fn will_need(_: &File, _: u64) {}

/// Files are closed as soon as they are read here, so there are none to close.
pub(super) fn is_out_of_descriptors(_: &io::Error) -> bool {
    false
}

fn join(dir: &Dir, name: &CStr) -> io::Result<PathBuf> {
    if !is_component(name.to_bytes()) {
        return Err(not_a_component());
    }
    Ok(dir.path().join(component(name.to_bytes())?))
}

/// The way back from the bytes of an `OsStr` is unsafe but for Unicode, so the few other names are reported, not read.
#[cfg(not(unix))]
fn component(name: &[u8]) -> io::Result<&str> {
    str::from_utf8(name).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the name is not Unicode"))
}

#[cfg(unix)]
fn component(name: &[u8]) -> io::Result<&std::ffi::OsStr> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(name))
}

fn kind(found: FileType) -> Kind {
    if found.is_symlink() {
        Kind::Symlink
    } else if found.is_dir() {
        Kind::Dir
    } else if found.is_file() {
        Kind::File
    } else {
        Kind::Unknown
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds),
    }
}

#[cfg(unix)]
fn inode(entry: &fs::DirEntry) -> u64 {
    std::os::unix::fs::DirEntryExt::ino(entry)
}

#[cfg(not(unix))]
fn inode(_: &fs::DirEntry) -> u64 {
    0
}

#[cfg(unix)]
fn with_unix_fields(meta: Meta, found: &fs::Metadata) -> Meta {
    use std::os::unix::fs::MetadataExt;
    let ctime_ns = found.ctime().saturating_mul(1_000_000_000).saturating_add(found.ctime_nsec());
    Meta { ctime_ns, inode: found.ino(), device: found.dev(), mode: found.mode(), ..meta }
}

#[cfg(not(unix))]
fn with_unix_fields(meta: Meta, _: &fs::Metadata) -> Meta {
    meta
}
