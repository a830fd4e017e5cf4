//! The tantivy directory of a generation.
//!
//! Differs from tantivy's own in three ways. A reader is given the list of segments by the metadata store, not by
//! `meta.json`, so that it sees the published generation even while the next one is being committed or was left behind
//! by a crash. A file that tantivy no longer needs is only noted: it is deleted after the generation that stopped using
//! it was published. And the list of managed files is kept in memory, because [`sweep`] finds leftovers by itself.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{DirectoryLock, FileHandle, Lock, MmapDirectory, WatchCallback, WatchHandle, WritePtr};

pub(crate) const META: &str = "meta.json";
const MANAGED: &str = ".managed.json";

/// See the module documentation.
#[derive(Clone, Debug)]
pub(crate) struct GenerationDirectory {
    inner: MmapDirectory,
    path: PathBuf,
    /// The published `meta.json`; present in readers only.
    published: Option<Arc<Vec<u8>>>,
    doomed: Arc<Mutex<Vec<PathBuf>>>,
}

impl GenerationDirectory {
    /// The directory as the writer sees it.
    pub(crate) fn for_writing(path: &Path) -> Result<Self, OpenDirectoryError> {
        Self::open(path, None)
    }

    /// The directory as a reader of one generation sees it: it never writes.
    pub(crate) fn for_reading(path: &Path, published: Vec<u8>) -> Result<Self, OpenDirectoryError> {
        Self::open(path, Some(Arc::new(published)))
    }

    fn open(path: &Path, published: Option<Arc<Vec<u8>>>) -> Result<Self, OpenDirectoryError> {
        let inner = MmapDirectory::open(path)?;
        Ok(GenerationDirectory { inner, path: path.to_path_buf(), published, doomed: Arc::default() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a file that is no longer needed.
    pub(crate) fn doom(&self, file: &Path) {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(file.to_path_buf());
    }

    /// Deletes what tantivy has given up. Call it when no published generation uses these files any more.
    pub(crate) fn delete_doomed(&self) {
        let doomed = std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner));
        for file in doomed {
            if let Err(error) = std::fs::remove_file(self.path.join(&file)) {
                tracing::debug!(file = %file.display(), %error, "left behind; swept when the index is next opened");
            }
        }
    }
}

/// Deletes every file of `path` that is not in `living`. Only for the holder of the writer's lock, before it writes.
pub(crate) fn sweep(path: &Path, living: &HashSet<PathBuf>) -> io::Result<u64> {
    let mut deleted = 0;
    for entry in std::fs::read_dir(path)? {
        let name = PathBuf::from(entry?.file_name());
        let keep = name == Path::new(META) || name.to_string_lossy().starts_with('.') || living.contains(&name);
        if !keep && std::fs::remove_file(path.join(&name)).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}

impl Directory for GenerationDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.inner.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.doom(path);
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        match &self.published {
            Some(_) if path == Path::new(META) => Ok(true),
            _ => self.inner.exists(path),
        }
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.inner.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        match &self.published {
            Some(published) if path == Path::new(META) => Ok(published.to_vec()),
            _ => self.inner.atomic_read(path),
        }
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(MANAGED) {
            return Ok(());
        }
        self.inner.atomic_write(path, data)
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        // Readers pin files by generation and the writer holds the engine's own lock, so tantivy's are not needed; a
        // reader must also work where it cannot write.
        tracing::trace!(lock = %lock.filepath.display(), "covered by the engine's lock");
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.inner.watch(callback)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
}
