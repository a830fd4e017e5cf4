//! Writes a metadata store anew from records that were saved from a damaged one.

use super::env::replace_file;
use super::schema::{
    FORMAT, META_FORMAT, META_ORPHANS, META_PUBLISHED, META_TEXT, META_VECTORS, Published, encode_ids,
    encode_published, seal,
};
use super::seal::seal_data;
use super::symbols::SymbolRows;
use super::write::apply;
use crate::error::StoreError;
use crate::record::{Batch, FileId};
use std::path::Path;

/// Everything that a metadata store holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) published: Published,
    /// The list of segments.
    pub(crate) text_meta: Option<Vec<u8>>,
    /// How far embedding had come, as it was noted.
    pub(crate) vectors: Option<Vec<u8>>,
    /// Documents of files that have no record any more: the next publication deletes them.
    pub(crate) orphans: Vec<FileId>,
    /// Directories and files.
    pub(crate) records: Batch,
    /// What was extracted from them.
    pub(crate) symbols: SymbolRows,
}

/// Puts a store with these contents in the place of the one in `dir`, all at once. Nobody of this process may have it open.
pub(crate) fn rebuild(dir: &Path, contents: &Contents) -> Result<(), StoreError> {
    let mut txnid = 0;
    replace_file(dir, |txn, tables| {
        txnid = txn.id() as u64;
        tables.meta.put(txn, META_FORMAT, &FORMAT.to_le_bytes())?;
        tables.meta.put(txn, META_PUBLISHED, &encode_published(&contents.published))?;
        if let Some(text_meta) = &contents.text_meta {
            tables.meta.put(txn, META_TEXT, &seal(META_TEXT, text_meta.clone()))?;
        }
        if let Some(vectors) = &contents.vectors {
            tables.meta.put(txn, META_VECTORS, vectors)?;
        }
        contents.symbols.put(txn, tables)?;
        // Also when there is none: it says that the next run has to look at everything.
        tables.meta.put(txn, META_ORPHANS, &encode_ids(META_ORPHANS, &contents.orphans))?;
        apply(txn, tables, std::slice::from_ref(&contents.records)).map(drop)
    })?;
    seal_data(dir, txnid);
    Ok(())
}
