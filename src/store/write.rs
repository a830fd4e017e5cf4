//! The writes of the generation protocol. Called by `commit` only; each call is one durable transaction.

use super::env::{Store, Tables};
use super::intent::{read_batches, write_batches};
use super::read::StoreReader;
use super::schema::{
    Entry, FORMAT, META_FORMAT, META_INTENT, META_ORPHANS, META_PUBLISHED, META_RULES, META_TEXT, META_VERDICTS,
    Published, decode_entry, decode_intent, decode_published, encode_entry, encode_intent, encode_place,
    encode_published, encode_verdicts, entry_key, id_key, seal,
};
use super::symbols::forget_symbols;
use crate::error::StoreError;
use crate::failpoint::reached;
use crate::record::{Batch, Gone, Removal, now_ns};
use heed::{PutFlags, RwTxn};

/// What applying the batches of a generation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Files that are gone, those below removed directories included.
    pub(crate) removed: u64,
}

impl Store {
    /// Writes the format into a new environment.
    pub(crate) fn write_format(&self) -> Result<(), StoreError> {
        self.write(|txn, tables| Ok(tables.meta.put(txn, META_FORMAT, &FORMAT.to_le_bytes())?))
    }

    /// Step 1 of a publication: the intent to publish `next` with these batches. `failed` is told of each failure to write
    /// a batch and says whether to try again.
    pub(crate) fn write_intent(
        &self,
        next: &Published,
        batches: &[Batch],
        failed: impl FnMut(u32, &StoreError) -> bool,
    ) -> Result<(), StoreError> {
        reached("before-intent-file");
        let len = write_batches(&self.intent_file(), batches, failed)?;
        reached("after-intent-file");
        self.write(|txn, tables| Ok(tables.meta.put(txn, META_INTENT, &encode_intent(next, len))?))?;
        reached("after-intent-record");
        Ok(())
    }

    /// The intent that was left behind, if any.
    pub(crate) fn pending(&self) -> Result<Option<(Published, u64)>, StoreError> {
        let txn = self.read()?;
        self.tables().meta.get(&txn, META_INTENT)?.map(decode_intent).transpose()
    }

    /// The batches of an intent that was left behind.
    pub(crate) fn pending_batches(&self, len: u64) -> Result<Vec<Batch>, StoreError> {
        read_batches(&self.intent_file(), len)
    }

    /// Step 3, when the text index has committed: applies the batches of the intent and publishes its generation, whose
    /// names were all accepted by what has this fingerprint, if that can be said.
    pub(crate) fn publish_intent(
        &self,
        next: &Published,
        batches: &[Batch],
        text_meta: &[u8],
        verdicts: Option<u64>,
    ) -> Result<Applied, StoreError> {
        reached("before-publication");
        let applied = self.write(|txn, tables| {
            let applied = apply(txn, tables, batches)?;
            let next = Published { published_ns: now_ns(), ..*next };
            tables.meta.put(txn, META_TEXT, &seal(META_TEXT, text_meta.to_vec()))?;
            tables.meta.put(txn, META_PUBLISHED, &encode_published(&next))?;
            tables.meta.delete(txn, META_INTENT)?;
            // Those of the generation before are void by its number.
            if let Some(fingerprint) = verdicts {
                tables.meta.put(txn, META_VERDICTS, &encode_verdicts(next.generation, fingerprint))?;
            }
            // The text index has deleted them, and everything was looked at.
            if next.complete {
                tables.meta.delete(txn, META_ORPHANS)?;
            }
            reached("in-publication");
            Ok(applied)
        })?;
        reached("after-publication");
        self.remove_intent_file();
        reached("after-intent-file-removed");
        Ok(applied)
    }

    /// Drops an intent whose text was never committed. What it would have replaced is as it was published, so the next
    /// run finds those files changed and reads them again.
    pub(crate) fn drop_intent(&self) -> Result<(), StoreError> {
        self.write(|txn, tables| {
            tables.meta.delete(txn, META_INTENT)?;
            Ok(())
        })?;
        self.remove_intent_file();
        Ok(())
    }

    /// The record of the intent is gone, so a file that stays behind is only litter, overwritten by the next intent.
    fn remove_intent_file(&self) {
        if let Err(error) = std::fs::remove_file(self.intent_file()) {
            tracing::debug!(%error, "the intent file stays");
        }
    }

    /// Forgets every file, keeping ids and generation going: for when the text index is lost.
    pub(crate) fn forget_files(&self) -> Result<(), StoreError> {
        self.write(|txn, tables| {
            for table in [tables.entries, tables.dirs, tables.symbols] {
                table.clear(txn)?;
            }
            tables.meta.delete(txn, META_TEXT)?;
            tables.meta.delete(txn, META_INTENT)?;
            if let Some(value) = tables.meta.get(txn, META_PUBLISHED)? {
                let published = Published { complete: false, ..decode_published(value)? };
                tables.meta.put(txn, META_PUBLISHED, &encode_published(&published))?;
            }
            Ok(())
        })
    }

    /// Keeps compiled rules. They are a cache: no generation depends on them.
    pub(crate) fn write_rules(&self, fingerprint: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let value = [&fingerprint.to_le_bytes()[..], bytes].concat();
        self.write(|txn, tables| Ok(tables.meta.put(txn, META_RULES, &seal(META_RULES, value.clone()))?))
    }

    /// Records by what the names of the published generation were all accepted, without a new one.
    pub(crate) fn write_verdicts(&self, generation: u64, fingerprint: u64) -> Result<(), StoreError> {
        let value = encode_verdicts(generation, fingerprint);
        self.write(|txn, tables| Ok(tables.meta.put(txn, META_VERDICTS, &value)?))
    }

    /// Records that a whole run is published, without a new generation.
    pub(crate) fn mark_complete(&self) -> Result<(), StoreError> {
        self.write(|txn, tables| {
            let Some(value) = tables.meta.get(txn, META_PUBLISHED)? else { return Ok(()) };
            let published = Published { complete: true, ..decode_published(value)? };
            tables.meta.delete(txn, META_ORPHANS)?;
            Ok(tables.meta.put(txn, META_PUBLISHED, &encode_published(&published))?)
        })
    }
}

/// Removals come first, since a name may have turned from a directory into a file; then everything new in key order,
/// appended where it lies behind what is there: pages stay full and nothing is searched for.
pub(super) fn apply(txn: &mut RwTxn<'_>, tables: Tables, batches: &[Batch]) -> Result<Applied, StoreError> {
    let mut applied = Applied::default();
    for removal in batches.iter().flat_map(|batch| &batch.removals) {
        remove(txn, tables, removal, &mut applied)?;
    }
    let mut entries = Vec::new();
    let mut dirs = Vec::new();
    for batch in batches {
        for dir in &batch.dirs {
            entries.push((entry_key(dir.parent, &dir.name), Entry::Dir(dir.id)));
            dirs.push((id_key(dir.id), dir.parent, &dir.name[..]));
        }
        for ended in batch.files.iter().filter_map(|file| file.replaces) {
            forget_symbols(txn, tables, ended)?;
        }
        for file in &batch.files {
            entries.push((entry_key(file.parent, &file.name), Entry::File(file.meta)));
        }
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    put_sorted(txn, tables.entries, entries.iter().map(|(key, entry)| (&key[..], encode_entry(key, entry))))?;
    dirs.sort_unstable();
    let places = dirs.iter().map(|(key, parent, name)| (&key[..], encode_place(key, *parent, name)));
    put_sorted(txn, tables.dirs, places)?;
    Ok(applied)
}

pub(super) fn put_sorted<'a>(
    txn: &mut RwTxn<'_>,
    table: super::env::Table,
    items: impl Iterator<Item = (&'a [u8], Vec<u8>)>,
) -> Result<(), StoreError> {
    let mut last = table.last(txn)?.map(|(key, _)| key.to_vec());
    for (key, value) in items {
        if last.as_deref().is_none_or(|last| last < key) {
            table.put_with_flags(txn, PutFlags::APPEND, key, &value)?;
            last = Some(key.to_vec());
        } else {
            table.put(txn, key, &value)?;
        }
    }
    Ok(())
}

/// Removes what is gone: a file, or a directory with all that is below it. The name goes only if it still stands for it.
fn remove(txn: &mut RwTxn<'_>, tables: Tables, removal: &Removal, applied: &mut Applied) -> Result<(), StoreError> {
    let key = entry_key(removal.parent, &removal.name);
    let stands_for = match tables.entries.get(txn, &key)?.map(|value| decode_entry(&key, value)).transpose()? {
        Some(Entry::File(meta)) => Some(Gone::File(meta.id)),
        Some(Entry::Dir(dir)) => Some(Gone::Dir(dir)),
        None => None,
    };
    if stands_for == Some(removal.gone) {
        tables.entries.delete(txn, &key)?;
    }
    let mut doomed = vec![removal.gone];
    while let Some(gone) = doomed.pop() {
        match gone {
            Gone::File(id) => {
                applied.removed += 1;
                forget_symbols(txn, tables, id)?;
            }
            Gone::Dir(dir) => {
                let mut keys = Vec::new();
                for item in tables.entries.prefix_iter(txn, &dir.to_be_bytes())? {
                    let (key, value) = item?;
                    keys.push(key.to_vec());
                    doomed.push(match decode_entry(key, value)? {
                        Entry::File(meta) => Gone::File(meta.id),
                        Entry::Dir(dir) => Gone::Dir(dir),
                    });
                }
                for key in keys {
                    tables.entries.delete(txn, &key)?;
                }
                tables.dirs.delete(txn, &id_key(dir))?;
            }
        }
    }
    Ok(())
}

/// Ids of the file versions that publishing `batches` ends: those replaced, and those removed.
pub(crate) fn ended_versions(reader: &StoreReader, batches: &[Batch]) -> Result<Vec<u32>, StoreError> {
    let mut ended: Vec<u32> = batches.iter().flat_map(|b| &b.files).filter_map(|file| file.replaces).collect();
    let mut doomed: Vec<Gone> = batches.iter().flat_map(|b| &b.removals).map(|removal| removal.gone).collect();
    while let Some(gone) = doomed.pop() {
        match gone {
            Gone::File(id) => ended.push(id),
            Gone::Dir(dir) => reader.for_each_child(dir, |child| {
                doomed.push(match child.entry {
                    Entry::File(meta) => Gone::File(meta.id),
                    Entry::Dir(dir) => Gone::Dir(dir),
                });
                Ok(())
            })?,
        }
    }
    ended.sort_unstable();
    ended.dedup();
    Ok(ended)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::schema::split_entry_key;
    use super::*;
    use crate::record::{DirRecord, FileMeta, FileRecord, Flags, ROOT};

    pub(in crate::store) fn file(parent: u32, name: &str, id: u32, replaces: Option<u32>) -> FileRecord {
        let meta = FileMeta {
            id,
            size: 1,
            mtime_ns: 0,
            ctime_ns: 0,
            inode: 0,
            flags: Flags::INDEXED,
            encoding: 0,
            language: 0,
            hash: None,
        };
        FileRecord { parent, name: name.into(), meta, replaces }
    }

    fn publish(store: &Store, generation: u64, batch: Batch) -> Applied {
        let next = Published { generation, next_file: 100, next_dir: 100, ..Published::default() };
        let batches = [batch];
        store.write_intent(&next, &batches, |_, _| false).unwrap();
        let (pending, len) = store.pending().unwrap().unwrap();
        assert_eq!(pending, next);
        assert_eq!(store.pending_batches(len).unwrap(), batches);
        store.publish_intent(&next, &batches, b"{}", None).unwrap()
    }

    fn paths(store: &Store) -> Vec<String> {
        let reader = StoreReader::begin(store).unwrap();
        let mut paths = Vec::new();
        reader
            .for_each_file(|parent, name, _| {
                let path = [reader.dir_path(parent)?, name.to_vec()].concat();
                paths.push(String::from_utf8(path).unwrap());
                Ok(())
            })
            .unwrap();
        paths.sort();
        paths
    }

    #[test]
    fn publishes_replaces_and_removes_trees() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let first = Batch {
            dirs: vec![
                DirRecord { id: 2, parent: 1, name: b"sub".to_vec() },
                DirRecord { id: 1, parent: ROOT, name: b"dir".to_vec() },
            ],
            files: vec![file(2, "deep", 3, None), file(ROOT, "top", 1, None), file(1, "mid", 2, None)],
            removals: vec![],
        };
        publish(&store, 1, first);
        assert_eq!(paths(&store), ["dir/subdeep", "dirmid", "top"]);
        let second = Batch {
            dirs: vec![],
            files: vec![file(ROOT, "dir", 4, None), file(ROOT, "top", 5, Some(1))],
            removals: vec![Removal { parent: ROOT, name: b"dir".to_vec(), gone: Gone::Dir(1) }],
        };
        let reader = StoreReader::begin(&store).unwrap();
        assert_eq!(ended_versions(&reader, std::slice::from_ref(&second)).unwrap(), [1, 2, 3]);
        drop(reader);
        assert_eq!(publish(&store, 2, second), Applied { removed: 2 });
        assert_eq!(paths(&store), ["dir", "top"]);
        // What came in the place of something gone stays, even when the removal is published later.
        let late = Removal { parent: ROOT, name: b"top".to_vec(), gone: Gone::File(1) };
        publish(&store, 2, Batch { removals: vec![late], ..Batch::default() });
        assert_eq!(paths(&store), ["dir", "top"]);
        let reader = StoreReader::begin(&store).unwrap();
        assert_eq!(reader.counts().unwrap(), (2, 0));
        assert_eq!(reader.published().unwrap().generation, 2);
        assert_eq!(store.pending().unwrap(), None);
    }

    #[test]
    fn a_dropped_intent_leaves_what_was_published() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        publish(&store, 1, Batch { files: vec![file(ROOT, "a", 1, None)], ..Batch::default() });
        let next = Published { generation: 2, ..Published::default() };
        let batch = Batch { files: vec![file(ROOT, "b", 2, None)], ..Batch::default() };
        store.write_intent(&next, &[batch], |_, _| false).unwrap();
        store.drop_intent().unwrap();
        assert_eq!(paths(&store), ["a"]);
        assert_eq!(store.pending().unwrap(), None);
    }

    #[test]
    fn names_must_split_into_parent_and_name() {
        assert!(split_entry_key(b"abc").is_err());
    }
}
