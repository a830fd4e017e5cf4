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

/// Asks for the content of one file.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// The directory that holds the file. A backend that opens later keeps a clone.
    pub dir: &'a Arc<Dir>,
    /// The file's name: one component, or the fetch ends with `InvalidInput`.
    pub name: &'a CStr,
    /// Its size in bytes as stat'ed. It only sizes the first read: the file may have changed since.
    pub size: u64,
    /// The most bytes wanted. A longer file ends as [`FetchError::TooLarge`].
    pub limit: u64,
    /// Comes back in [`Fetched::token`]; means nothing to a backend, and need not be unique.
    pub token: u64,
}

/// How one fetch ended.
#[derive(Debug)]
pub struct Fetched<'a> {
    /// The token of the [`Fetch`].
    pub token: u64,
    /// The whole content. The slice is the worker's buffer: it is gone when the callback returns.
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
}

impl AddAssign for IoStats {
    fn add_assign(&mut self, other: IoStats) {
        // Taken apart so that a new counter cannot be forgotten here.
        let IoStats { dir_opens, lists, stats, opens, reads, advises, bytes, misses, retries, fetch_errors } = other;
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
    }
}

/// Whether `name` is one component: not empty, not `.` or `..`, and without a separator.
///
/// Backends ask this before they touch the system, so that no name can lead out of its directory.
pub(crate) fn is_component(name: &[u8]) -> bool {
    let separator = |&byte: &u8| byte == b'/' || (cfg!(windows) && (byte == b'\\' || byte == b':'));
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(separator)
}

/// The error for a name that [`is_component`] refuses.
pub(crate) fn not_a_component() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name is not a single path component")
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
        };
        let mut sum = one;
        sum += one;
        let doubled = format!("{sum:?}");
        let expected = "IoStats { dir_opens: 2, lists: 4, stats: 6, opens: 8, reads: 10, advises: 12, bytes: 14, \
                        misses: 16, retries: 18, fetch_errors: 20 }";
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
