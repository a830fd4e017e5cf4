//! Writes a metadata store anew from records that were saved from a damaged one.

use super::env::{Store, replace_file};
use super::schema::{
    Entry, FORMAT, META_FORMAT, META_ORPHANS, META_PUBLISHED, META_TEXT, Published, encode_entry, encode_ids,
    encode_place, encode_published, entry_key, id_key, seal,
};
use super::{StoreReader, seal};
use crate::error::StoreError;
use crate::record::{DirId, DirRecord, FileId, FileMeta};
use std::path::Path;

/// Everything that a metadata store holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) published: Published,
    /// The list of segments.
    pub(crate) text_meta: Option<Vec<u8>>,
    /// Documents of files that have no record any more: the next publication deletes them.
    pub(crate) orphans: Vec<FileId>,
    pub(crate) dirs: Vec<DirRecord>,
    /// Parent, name and metadata.
    pub(crate) files: Vec<(DirId, Vec<u8>, FileMeta)>,
}

/// Puts a store with these contents in the place of the one in `dir`, all at once. Nobody of this process may have it open.
pub(crate) fn rebuild(dir: &Path, contents: &Contents) -> Result<(), StoreError> {
    let mut entries: Vec<(Vec<u8>, Entry)> = Vec::with_capacity(contents.dirs.len() + contents.files.len());
    entries.extend(contents.dirs.iter().map(|dir| (entry_key(dir.parent, &dir.name), Entry::Dir(dir.id))));
    entries.extend(contents.files.iter().map(|(parent, name, meta)| (entry_key(*parent, name), Entry::File(*meta))));
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut places: Vec<_> = contents.dirs.iter().map(|dir| (id_key(dir.id), dir)).collect();
    places.sort_unstable_by_key(|(key, _)| *key);
    replace_file(dir, |txn, tables| {
        tables.meta.put(txn, META_FORMAT, &FORMAT.to_le_bytes())?;
        tables.meta.put(txn, META_PUBLISHED, &encode_published(&contents.published))?;
        if let Some(text_meta) = &contents.text_meta {
            tables.meta.put(txn, META_TEXT, &seal(META_TEXT, text_meta.clone()))?;
        }
        // Also when there is none: it says that the next run has to look at everything.
        tables.meta.put(txn, META_ORPHANS, &encode_ids(META_ORPHANS, &contents.orphans))?;
        for (key, entry) in &entries {
            tables.entries.put(txn, key, &encode_entry(key, entry))?;
        }
        for (key, dir) in &places {
            tables.dirs.put(txn, key, &encode_place(key, dir.parent, &dir.name))?;
        }
        Ok(())
    })?;
    seal::seal_data(dir);
    Ok(())
}

impl Store {
    /// Documents of files that have no record; `None` unless a [`rebuild`] has left them and no whole run has ended since.
    pub(crate) fn orphans(&self) -> Result<Option<Vec<FileId>>, StoreError> {
        StoreReader::begin(self)?.orphans()
    }
}
