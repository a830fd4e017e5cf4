//! The root, the index directory and what lies where in it.

use crate::error::{OpenError, RunError, StoreError};
use crate::record::path_bytes;
use leindex_fallback::within;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the index directory in the root, unless another place is given.
pub(super) const INDEX_DIR: &str = ".leindex-engine";
/// A disk with less free space than this, when a write has failed, is what made it fail.
#[cfg(unix)]
const FULL_BYTES: u64 = 1 << 20;
/// Stands in every index directory.
const MARK_FILE: &str = "leindex-index";
/// <https://bford.info/cachedir/>: backup programs pass over directories that carry this file.
const TAG_FILE: &str = "CACHEDIR.TAG";
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory holds a search index made by leindex-engine. It can be deleted at any time.\n";

/// See the module documentation.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) index_dir: PathBuf,
    /// How long to wait for an answer about the root.
    patience: Duration,
}

impl Layout {
    pub(super) fn new(root: &Path, index_dir: Option<&Path>, patience: Duration) -> Result<Layout, OpenError> {
        let path = || root.to_path_buf();
        let metadata = fs::metadata(root).map_err(|source| OpenError::Root { path: path(), source })?;
        if !metadata.is_dir() {
            return Err(OpenError::NotADirectory { path: path() });
        }
        fs::read_dir(root).map_err(|source| OpenError::Root { path: path(), source })?;
        let absolute = root.canonicalize().map_err(|source| OpenError::Root { path: path(), source })?;
        let index_dir = match index_dir {
            Some(dir) => {
                std::path::absolute(dir).map_err(|source| OpenError::IndexDir { path: dir.to_path_buf(), source })?
            }
            None => absolute.join(INDEX_DIR),
        };
        let index_dir = resolved(&index_dir);
        Ok(Layout { root: absolute, index_dir, patience })
    }

    /// Creates the index directory with the files that tell other programs what it is.
    pub(super) fn create(&self) -> Result<(), OpenError> {
        // A tree that is gone does not come back because of its index.
        let root = |source| OpenError::Root { path: self.root.clone(), source };
        let of = self.root.clone();
        within(self.patience, None, move || fs::metadata(of)).flatten().map_err(root)?;
        let create = || -> io::Result<()> {
            fs::create_dir_all(&self.index_dir)?;
            self.refuse_if_foreign()?;
            for (name, content) in [(MARK_FILE, ""), (".gitignore", "*\n"), (TAG_FILE, CACHEDIR_TAG)] {
                let path = self.index_dir.join(name);
                if !path.exists() {
                    fs::write(path, content)?;
                }
            }
            Ok(())
        };
        create().map_err(|source| OpenError::IndexDir { path: self.index_dir.clone(), source })
    }

    /// What is to be written into, and thrown away later, must be an index or nothing: which directory it is may come from a
    /// file of the tree, and nobody has to trust that.
    fn refuse_if_foreign(&self) -> io::Result<()> {
        let has_tag = || fs::read(self.index_dir.join(TAG_FILE)).is_ok_and(|tag| tag == CACHEDIR_TAG.as_bytes());
        // Indexes of the first versions have the tag alone.
        let is_ours = self.index_dir.join(MARK_FILE).exists() || has_tag();
        let foreign =
            [self.meta_dir(), self.text_dir(), self.vectors_dir()].into_iter().find(|dir| !is_ours && dir.exists());
        foreign.map_or(Ok(()), |dir| {
            let name = dir.file_name().unwrap_or_default().display();
            Err(io::Error::other(format!(
                "its {name} belongs to no index (there is no {MARK_FILE} beside it): put the index elsewhere with --index-dir"
            )))
        })
    }

    pub(super) fn meta_dir(&self) -> PathBuf {
        self.index_dir.join("meta")
    }

    pub(super) fn meta_file(&self) -> PathBuf {
        self.meta_dir().join("data.mdb")
    }

    pub(super) fn text_dir(&self) -> PathBuf {
        self.index_dir.join("text")
    }

    pub(super) fn vectors_dir(&self) -> PathBuf {
        self.index_dir.join("vectors")
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.index_dir.join("lock")
    }

    /// Says how fresh the index is.
    pub(super) fn freshness_file(&self) -> PathBuf {
        self.index_dir.join("fresh")
    }

    /// Locked by the watcher.
    pub(super) fn watch_lock_file(&self) -> PathBuf {
        self.index_dir.join("watch")
    }

    /// Path of the index directory relative to the root, when it lies inside.
    pub(super) fn index_dir_in_root(&self) -> Option<Vec<u8>> {
        let relative = self.index_dir.strip_prefix(&self.root).ok()?;
        Some(path_bytes(relative))
    }

    /// Bytes of all files of the index.
    pub(super) fn disk_bytes(&self) -> u64 {
        let mut total = 0;
        let mut dirs = vec![self.index_dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => dirs.push(entry.path()),
                    Ok(metadata) => total += metadata.len(),
                    Err(_) => {}
                }
            }
        }
        total
    }

    pub(super) fn remove_stores(&self) -> io::Result<()> {
        self.refuse_if_foreign()?;
        for dir in [self.meta_dir(), self.text_dir(), self.vectors_dir()] {
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The failure of a run. A disk that is full shows in many ways (a short write is an I/O error to LMDB), so the disk is
    /// asked.
    pub(super) fn run_error(&self, error: StoreError) -> RunError {
        let failure = error.into_run(&self.index_dir);
        match failure {
            RunError::Store { path, detail } if self.disk_is_full() => {
                RunError::Store { path, detail: format!("No space left on device ({detail})") }
            }
            RunError::Text { path, detail } if self.disk_is_full() => {
                RunError::Text { path, detail: format!("No space left on device ({detail})") }
            }
            other => other,
        }
    }

    #[cfg(unix)]
    fn disk_is_full(&self) -> bool {
        let free = rustix::fs::statvfs(&self.index_dir).map(|stat| stat.f_bavail * stat.f_frsize);
        free.is_ok_and(|free| free < FULL_BYTES)
    }

    #[cfg(not(unix))]
    fn disk_is_full(&self) -> bool {
        false
    }

    /// The error of a metadata store that cannot be closed.
    pub(super) fn store_in_use(&self) -> OpenError {
        let why = "snapshots or runs of this process have the metadata store open: let go of them and try again";
        OpenError::IndexDir { path: self.index_dir.clone(), source: io::Error::other(why) }
    }

    /// The error of a metadata store that a failed write has stopped, while somebody still has it open.
    pub(super) fn failed_store(&self) -> OpenError {
        let why = "a write of the metadata store has failed, or another process has replaced it; it is opened again when no snapshot or run of this process \
            has it open, and what was published is intact";
        OpenError::IndexDir { path: self.index_dir.clone(), source: io::Error::other(why) }
    }

    /// The error of a metadata store that does not open.
    pub(super) fn store_error(&self, error: StoreError) -> OpenError {
        match error {
            StoreError::Lmdb(heed::Error::EnvAlreadyOpened) => OpenError::Setting {
                setting: "open",
                detail: format!(
                    "{}: this process has the index open already; share one Engine (it is cheap to clone)",
                    self.index_dir.display()
                ),
            },
            other if self.disk_is_full() => {
                let source = io::Error::new(io::ErrorKind::StorageFull, format!("No space left on device ({other})"));
                OpenError::IndexDir { path: self.index_dir.clone(), source }
            }
            StoreError::Lmdb(heed::Error::Io(source)) | StoreError::Io(source) => {
                OpenError::IndexDir { path: self.index_dir.clone(), source }
            }
            other => other.into_open(&self.index_dir),
        }
    }
}

/// The path with its links resolved as far as it exists, so that an index inside of the tree is known to be inside.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_path_buf()
}
