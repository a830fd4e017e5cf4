//! A file in memory, without reading it.
#![allow(unsafe_code)]

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// The bytes of a file of the index that is written once and never changed.
#[derive(Debug)]
pub(crate) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the file.
    ///
    /// # Errors
    /// When it cannot be opened or mapped; an empty file cannot be.
    pub(crate) fn open(path: &Path) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        // SAFETY: what a map of a file needs is that nobody changes it. Files that are mapped here lie in the index directory
        // or are a model's weights: the engine writes the former under a name that nothing refers to, never touches them
        // again, and deletes them as a whole, which leaves maps alone; the latter are only read. That no other program
        // changes them cannot be checked, here as with LMDB and tantivy, and docs/unsafe.md says what follows.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(MappedFile(map))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_outlives_the_name_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"content").unwrap();
        let map = MappedFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"another").unwrap();
        assert_eq!(&map[..], b"content");
        assert!(MappedFile::open(&dir.path().join("none")).is_err());
    }
}
