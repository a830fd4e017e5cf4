//! Reads one published state.

use super::env::{ReadTxn, Store, Tables};
use super::schema::{
    Entry, META_FORMAT, META_ORPHANS, META_PUBLISHED, META_RULES, META_TEXT, META_VERDICTS, Published, damaged,
    decode_entry, decode_ids, decode_place, decode_published, decode_verdicts, entry_key, id_key, split_entry_key,
    unseal,
};
use crate::error::StoreError;
use crate::limits::DEPTH_MAX;
use crate::record::{DirId, FileMeta, ROOT};

/// A read transaction with the calls that the engine makes on it.
pub(crate) struct StoreReader {
    txn: ReadTxn,
    tables: Tables,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) entry: Entry,
}

impl StoreReader {
    /// Begins to read what is published now.
    pub(crate) fn begin(store: &Store) -> Result<Self, StoreError> {
        Ok(StoreReader { txn: store.read()?, tables: store.tables() })
    }

    pub(super) fn txn(&self) -> &ReadTxn {
        &self.txn
    }

    pub(super) fn tables(&self) -> Tables {
        self.tables
    }

    /// The format on disk; `None` in an environment that was just made.
    pub(crate) fn format(&self) -> Result<Option<u32>, StoreError> {
        let Some(value) = self.tables.meta.get(&self.txn, META_FORMAT)? else { return Ok(None) };
        let bytes = value.first_chunk::<4>().ok_or_else(|| damaged("format", META_FORMAT))?;
        Ok(Some(u32::from_le_bytes(*bytes)))
    }

    /// The published generation; generation 0 when nothing was published yet.
    pub(crate) fn published(&self) -> Result<Published, StoreError> {
        match self.tables.meta.get(&self.txn, META_PUBLISHED)? {
            Some(value) => decode_published(value),
            None => Ok(Published { next_dir: ROOT + 1, next_file: 1, ..Published::default() }),
        }
    }

    /// The list of segments of the published generation.
    pub(crate) fn text_meta(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(value) = self.tables.meta.get(&self.txn, META_TEXT)? else { return Ok(None) };
        Ok(Some(unseal("list of segments", META_TEXT, value)?.to_vec()))
    }

    /// The compiled rules: the fingerprint of what they were made of, and their bytes.
    pub(crate) fn rules(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let Some(value) = self.tables.meta.get(&self.txn, META_RULES)? else { return Ok(None) };
        let value = unseal("compiled rules", META_RULES, value)?;
        let (fingerprint, bytes) =
            value.split_first_chunk::<8>().ok_or_else(|| damaged("compiled rules", META_RULES))?;
        Ok(Some((u64::from_le_bytes(*fingerprint), bytes.to_vec())))
    }

    /// The fingerprint of what has decided, beside the rule files that are published, that the names of the published
    /// generation are accepted; `None` when that is not known of all of them.
    pub(crate) fn verdicts(&self) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.tables.meta.get(&self.txn, META_VERDICTS)? else { return Ok(None) };
        let (generation, fingerprint) = decode_verdicts(value)?;
        Ok((generation == self.published()?.generation).then_some(fingerprint))
    }

    /// Whether the directory is known.
    pub(crate) fn has_dir(&self, dir: DirId) -> Result<bool, StoreError> {
        Ok(dir == ROOT || self.tables.dirs.get(&self.txn, &id_key(dir))?.is_some())
    }

    /// Documents of files that have no record; `None` unless a repair has left them and no whole run has ended since.
    pub(crate) fn orphans(&self) -> Result<Option<Vec<u32>>, StoreError> {
        let value = self.tables.meta.get(&self.txn, META_ORPHANS)?;
        value.map(|value| decode_ids(META_ORPHANS, value)).transpose()
    }

    /// Calls `each` with the entries of a directory, in order of their names.
    pub(crate) fn for_each_child(
        &self,
        dir: DirId,
        mut each: impl FnMut(Child<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for item in self.tables.entries.prefix_iter(&self.txn, &dir.to_be_bytes())? {
            let (key, value) = item?;
            let (_, name) = split_entry_key(key)?;
            each(Child { name, entry: decode_entry(key, value)? })?;
        }
        Ok(())
    }

    /// Calls `each` with every file of the index, in order of (directory, name).
    pub(crate) fn for_each_file(
        &self,
        mut each: impl FnMut(DirId, &[u8], &FileMeta) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for item in self.tables.entries.iter(&self.txn)? {
            let (key, value) = item?;
            if let Entry::File(meta) = decode_entry(key, value)? {
                let (parent, name) = split_entry_key(key)?;
                each(parent, name, &meta)?;
            }
        }
        Ok(())
    }

    /// What a name in a directory stands for.
    pub(crate) fn entry(&self, dir: DirId, name: &[u8]) -> Result<Option<Entry>, StoreError> {
        let key = entry_key(dir, name);
        self.tables.entries.get(&self.txn, &key)?.map(|value| decode_entry(&key, value)).transpose()
    }

    /// What a path relative to the root stands for.
    pub(crate) fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, StoreError> {
        let mut at = Entry::Dir(ROOT);
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let Entry::Dir(dir) = at else { return Ok(None) };
            match self.entry(dir, name)? {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Path of a directory relative to the root; empty for the root.
    pub(crate) fn dir_path(&self, id: DirId) -> Result<Vec<u8>, StoreError> {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            let key = id_key(at);
            let value = self.tables.dirs.get(&self.txn, &key)?.ok_or_else(|| damaged("directory", &key))?;
            let (parent, name) = decode_place(&key, value)?;
            names.push(name);
            at = parent;
            if names.len() > DEPTH_MAX {
                return Err(damaged("directory that is its own parent", &id_key(id)));
            }
        }
        names.reverse();
        Ok(names.join(&b"/"[..]))
    }

    /// The path of a directory as those of its entries begin: with a slash at its end, empty for the root.
    pub(crate) fn dir_prefix(&self, id: DirId) -> Result<Vec<u8>, StoreError> {
        let mut path = self.dir_path(id)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// The same; `None` when the directory is gone.
    pub(crate) fn path_of_dir(&self, id: DirId) -> Result<Option<Vec<u8>>, StoreError> {
        if self.has_dir(id)? { self.dir_prefix(id).map(Some) } else { Ok(None) }
    }

    /// Calls `each` with every directory id that has a place.
    pub(crate) fn for_each_dir(
        &self,
        mut each: impl FnMut(DirId, DirId, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for item in self.tables.dirs.iter(&self.txn)? {
            let (key, value) = item?;
            let id = key.try_into().map(u32::from_be_bytes).map_err(|_| damaged("directory id", key))?;
            let (parent, name) = decode_place(key, value)?;
            each(id, parent, name)?;
        }
        Ok(())
    }

    /// Files, those without text included, and directories but the root.
    pub(crate) fn counts(&self) -> Result<(u64, u64), StoreError> {
        let dirs = self.tables.dirs.len(&self.txn)?;
        Ok((self.tables.entries.len(&self.txn)?.saturating_sub(dirs), dirs))
    }
}
