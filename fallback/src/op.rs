//! The words of the contract: what is asked for, what comes back, and what is counted.

use crate::Dir;
use std::ffi::CStr;
use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use std::{error, fmt};

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, to whatever.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
    /// The listing did not say (some file systems never do): a stat tells.
    Unknown,
}

/// The metadata of one entry, links not followed.
///
/// It has no access time: reading a tree must not make it look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// What it is; [`Kind::Unknown`] only for types that this crate has no word for.
    pub kind: Kind,
    /// Length in bytes. Files made up by the kernel say 0 and have content.
    pub size: u64,
    /// Time of the last change of content, nanoseconds since 1970; saturates.
    pub mtime_ns: i64,
    /// Time of the last change of content or metadata, nanoseconds since 1970; saturates. 0 where there is none.
    pub ctime_ns: i64,
    /// Inode number, unique on one device for as long as the file exists. 0 where there is none.
    pub inode: u64,
    /// Device number, encoded as `st_dev` is. 0 where there is none.
    pub device: u64,
    /// Type and permission bits, as `st_mode`. 0 where there are none.
    pub mode: u32,
}

impl Kind {
    /// The kind in the type bits of a Unix `st_mode`.
    pub fn from_mode(mode: u32) -> Kind {
        match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Dir,
            0o120_000 => Kind::Symlink,
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o060_000 | 0o020_000 => Kind::Device,
            _ => Kind::Unknown,
        }
    }
}

impl Meta {
    /// Seconds and nanoseconds as one number, as in [`mtime_ns`](Meta::mtime_ns); saturates.
    pub fn time_ns(seconds: i64, nanoseconds: i64) -> i64 {
        seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
    }
}

/// Asks for the content of one file.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// The directory that holds the file. A backend that opens later keeps a clone.
    pub dir: &'a Arc<Dir>,
    /// The file's name: one component, or the fetch ends with `InvalidInput`.
    pub name: &'a CStr,
    /// Its size in bytes as stat'ed. It only sizes the first read: the file may have changed since.
    pub size: u64,
    /// The most bytes wanted. A longer file ends as [`FetchError::TooLarge`], unless it is to be [`cut`](Fetch::cut).
    pub limit: u64,
    /// Whether the first [`limit`](Fetch::limit) bytes of a longer file are wanted, whatever its size was.
    pub cut: bool,
    /// Comes back in [`Fetched::token`]; means nothing to a backend, and need not be unique.
    pub token: u64,
}

/// How one fetch ended.
#[derive(Debug)]
pub struct Fetched<'a> {
    /// The token of the [`Fetch`].
    pub token: u64,
    /// The whole content, or its beginning where the fetch was to be [`cut`](Fetch::cut). The slice is the worker's buffer: it is gone when the callback returns.
    pub result: Result<&'a [u8], FetchError>,
    /// The page cache did not hold all of it, so that a read had to wait. False where nobody can tell.
    pub missed: bool,
}

/// What was being done when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Opening a directory.
    OpenDir,
    /// Listing a directory.
    List,
    /// Reading an entry's metadata.
    Stat,
    /// Opening a file.
    Open,
    /// Reading a file.
    Read,
}

impl Op {
    /// The operation as a word for messages and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::OpenDir => "open directory",
            Op::List => "list",
            Op::Stat => "stat",
            Op::Open => "open",
            Op::Read => "read",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a fetch brought no content. It concerns one file: the worker goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// A call failed.
    Io {
        /// [`Op::Open`] or [`Op::Read`].
        op: Op,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than the limit of its [`Fetch`].
    TooLarge {
        /// That limit, in bytes.
        limit: u64,
    },
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Io { op, source } => write!(f, "{op}: {source}"),
            FetchError::TooLarge { limit } => write!(f, "longer than the limit of {limit} bytes"),
        }
    }
}

impl error::Error for FetchError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            FetchError::Io { source, .. } => Some(source),
            FetchError::TooLarge { .. } => None,
        }
    }
}

/// What a worker has done since it was made: counts of calls, unless said otherwise.
///
/// Failed calls count too. Add the stats of several workers with `+=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoStats {
    /// Directories opened relative to another.
    pub dir_opens: u64,
    /// Directories listed.
    pub lists: u64,
    /// Entries stat'ed.
    pub stats: u64,
    /// Files opened, or tried to.
    pub opens: u64,
    /// Reads of file content, those that only asked the page cache included.
    pub reads: u64,
    /// Hints to the kernel to read ahead.
    pub advises: u64,
    /// Bytes of content handed out.
    pub bytes: u64,
    /// Fetches whose content was not, or not all, in the page cache.
    pub misses: u64,
    /// Calls made again: interrupted by a signal, or refused for want of descriptors.
    pub retries: u64,
    /// Fetches that ended with an error.
    pub fetch_errors: u64,
    /// Of `opens`, those that went through a submission ring. 0, as all that follow, for a backend without one.
    pub ring_opens: u64,
    /// Of `reads`, those that went through a ring.
    pub ring_reads: u64,
    /// Of `stats`, those that went through a ring.
    pub ring_stats: u64,
    /// Operations handed to a ring, cancellations included.
    pub entries: u64,
    /// Calls that handed them over or waited for them.
    pub enters: u64,
    /// Operations that were not complete when the call that handed them over returned: the kernel went on by itself.
    pub punts: u64,
    /// Operations that were given up because they took too long.
    pub timeouts: u64,
}

impl AddAssign for IoStats {
    fn add_assign(&mut self, other: IoStats) {
        let IoStats { dir_opens, lists, stats, opens, reads, advises, bytes, misses, retries, fetch_errors, .. } =
            other;
        let IoStats { ring_opens, ring_reads, ring_stats, entries, enters, punts, timeouts, .. } = other;
        self.dir_opens += dir_opens;
        self.lists += lists;
        self.stats += stats;
        self.opens += opens;
        self.reads += reads;
        self.advises += advises;
        self.bytes += bytes;
        self.misses += misses;
        self.retries += retries;
        self.fetch_errors += fetch_errors;
        self.ring_opens += ring_opens;
        self.ring_reads += ring_reads;
        self.ring_stats += ring_stats;
        self.entries += entries;
        self.enters += enters;
        self.punts += punts;
        self.timeouts += timeouts;
    }
}

/// The first read of a file that claims to be empty: files made up by the kernel do, and have content.
pub(crate) const EMPTY_READ_BYTES: u64 = 4 << 10;

/// How many bytes the first read of a file asks for: one more than the size, so that the end of the file shows without
/// another read, and never more than one over the limit.
pub fn first_read(size: u64, limit: u64) -> u64 {
    let want = if size == 0 { EMPTY_READ_BYTES } else { size.saturating_add(1) };
    want.min(limit.saturating_add(1))
}

/// Whether `name` is one component: not empty, not `.` or `..`, and without a separator.
///
/// Backends ask this before they touch the system, so that no name can lead out of its directory.
pub fn is_component(name: &[u8]) -> bool {
    let separator = |&byte: &u8| byte == b'/' || (cfg!(windows) && (byte == b'\\' || byte == b':'));
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(separator)
}

/// The components of a relative path with slashes between them.
pub(crate) fn components(path: &[u8]) -> io::Result<impl Iterator<Item = &[u8]>> {
    let components = || path.split(|&byte| byte == b'/').filter(|component| !component.is_empty());
    if path.first() == Some(&b'/') || !components().all(is_component) {
        return Err(not_a_component());
    }
    Ok(components())
}

/// The error for a name that [`is_component`] refuses.
pub(crate) fn not_a_component() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a single path component, or no path of such")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        let good: &[&[u8]] = &[b"a", b"...", b".git", b"\xff\n", b"-"];
        let bad: &[&[u8]] = &[b"", b".", b"..", b"/", b"a/b", b"/etc", b"a/"];
        assert!(good.iter().all(|name| is_component(name)));
        assert!(!bad.iter().any(|name| is_component(name)));
    }

    #[test]
    fn stats_add_up() {
        let one = IoStats {
            dir_opens: 1,
            lists: 2,
            stats: 3,
            opens: 4,
            reads: 5,
            advises: 6,
            bytes: 7,
            misses: 8,
            retries: 9,
            fetch_errors: 10,
            ring_opens: 11,
            ring_reads: 12,
            ring_stats: 13,
            entries: 14,
            enters: 15,
            punts: 16,
            timeouts: 17,
        };
        let mut sum = one;
        sum += one;
        let doubled = format!("{sum:?}");
        let expected = "IoStats { dir_opens: 2, lists: 4, stats: 6, opens: 8, reads: 10, advises: 12, bytes: 14, \
                        misses: 16, retries: 18, fetch_errors: 20, ring_opens: 22, ring_reads: 24, ring_stats: 26, \
                        entries: 28, enters: 30, punts: 32, timeouts: 34 }";
        assert_eq!(doubled, expected);
    }

    #[test]
    fn errors_say_what_was_done() {
        let error = FetchError::Io { op: Op::Open, source: io::Error::new(io::ErrorKind::NotFound, "gone") };
        assert_eq!(error.to_string(), "open: gone");
        assert!(error::Error::source(&error).is_some());
        assert_eq!(FetchError::TooLarge { limit: 7 }.to_string(), "longer than the limit of 7 bytes");
    }
}
