//! What shards hand to commit: the records of files and directories, in batches that are published whole or not at all.

use std::fmt;
use std::path::{Path, PathBuf};

/// Identifies a directory; 0 is the root of the index. Never used twice.
pub type DirId = u32;
/// Identifies one version of one file, and its document in the text index. Never used twice.
pub type FileId = u32;

/// The root directory.
pub const ROOT: DirId = 0;

/// What is known of a file's content.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The text index holds a document for the file.
    pub const INDEXED: Flags = Flags(1);
    /// The file holds no text.
    pub const BINARY: Flags = Flags(1 << 1);
    /// The file was over the size limit.
    pub const TOO_LARGE: Flags = Flags(1 << 2);
    /// The metadata cannot prove that the content is still as it was read: the next run reads it again.
    pub const DIRTY: Flags = Flags(1 << 3);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The flags of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` is set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["indexed", "binary", "too_large", "dirty"];
        let set = names.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 != 0).map(|(_, name)| *name);
        f.write_str(&set.collect::<Vec<_>>().join("|"))
    }
}

/// The metadata of one file version, as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Identifies this version.
    pub id: FileId,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Inode change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// What the content was found to be.
    pub flags: Flags,
    /// Text encoding: 0 UTF-8, 1 UTF-16LE, 2 UTF-16BE, 3 ISO-8859-1.
    pub encoding: u8,
    /// Code of the language, as in the index; codes never change.
    pub language: u16,
    /// XXH3 of the content, where a run had to compute it because the metadata could not tell whether it had changed.
    pub hash: Option<u64>,
}

/// A directory that the index did not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirRecord {
    /// Its new id.
    pub id: DirId,
    /// The directory that holds it.
    pub parent: DirId,
    /// File name, as the system gives it.
    pub name: Vec<u8>,
}

/// A file that is new or has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The directory that holds it.
    pub parent: DirId,
    /// File name, as the system gives it.
    pub name: Vec<u8>,
    /// Metadata of the new version.
    pub meta: FileMeta,
    /// The version it takes the place of.
    pub replaces: Option<FileId>,
}

/// What is gone. Carries the id, because the name may stand for something new by the time it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// A version of a file.
    File(FileId),
    /// A directory and all that is below it.
    Dir(DirId),
}

/// An entry of the last generation that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The directory that held it.
    pub parent: DirId,
    /// File name.
    pub name: Vec<u8>,
    /// What it stood for.
    pub gone: Gone,
}

/// Which segment of which shard holds the documents of a batch. Published together with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey {
    /// The shard.
    pub shard: u32,
    /// Counts the shard's segments.
    pub sequence: u32,
}

/// A unit of publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// New directories. They may be published before the batch; nothing refers to them yet.
    pub dirs: Vec<DirRecord>,
    /// New and changed files.
    pub files: Vec<FileRecord>,
    /// Entries that are gone.
    pub removals: Vec<Removal>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty() && self.files.is_empty() && self.removals.is_empty()
    }
}

/// The bytes of a path, as the engine keeps them.
#[cfg(unix)]
pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

/// The bytes of a path, as the engine keeps them: with forward slashes.
#[cfg(not(unix))]
pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}

/// The path of bytes that the engine keeps.
#[cfg(unix)]
pub(crate) fn bytes_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// The path of bytes that the engine keeps.
#[cfg(not(unix))]
pub(crate) fn bytes_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// The time, in nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// Which file or directory a path leads to, as far as that can be told here; `None` when there is none.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Which file or directory a path leads to, as far as that can be told here; `None` when there is none.
#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|_| (0, 0))
}
