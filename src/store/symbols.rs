//! The symbols of files, under the ids of their versions.
//!
//! They trail the published generation: the version of a file that was extracted has them, others do not yet, and with the
//! version they go. What the bytes say is not known here.

use super::env::{Store, Tables};
use super::read::StoreReader;
use super::schema::{Entry, Fields, META_SYMBOLS, damaged, decode_entry, entry_key, seal, unseal};
use super::write::put_sorted;
use crate::error::StoreError;
use crate::record::{DirId, FileId};
use heed::RwTxn;
use std::ops::Bound;

/// A value of more than this would take pages of its own, half of them empty.
const PIECE_BYTES_MAX: usize = 1900;
/// The number of the filter, behind all pieces.
const FILTER: u16 = u16::MAX;

/// What was extracted from one version of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSymbols {
    /// Where the file is.
    pub(crate) parent: DirId,
    pub(crate) name: Vec<u8>,
    /// The version.
    pub(crate) id: FileId,
    pub(crate) bytes: Vec<u8>,
    /// What tells names that are not in `bytes`.
    pub(crate) filter: Vec<u8>,
}

/// How far extraction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SymbolsState {
    /// What has extracted them.
    pub(crate) version: u32,
    /// Every file whose id is smaller was dealt with.
    pub(crate) done_below: FileId,
}

fn piece_key(id: FileId, piece: u16) -> [u8; 6] {
    let [a, b, c, d] = id.to_be_bytes();
    let [e, f] = piece.to_be_bytes();
    [a, b, c, d, e, f]
}

impl Store {
    /// Keeps the symbols of those of the files that are still what they were, and notes how far this has come. Returns how
    /// many files had changed. Symbols of another version are dropped first.
    ///
    /// `known` is what was there the last time. When that is gone, because the index was thrown away or repaired meanwhile,
    /// its ids mean something else: nothing is written, and `None` returned.
    pub(crate) fn write_symbols(
        &self,
        files: &[FileSymbols],
        known: SymbolsState,
        state: SymbolsState,
    ) -> Result<Option<u64>, StoreError> {
        self.write(|txn, tables| {
            let before = tables.meta.get(txn, META_SYMBOLS)?.map_or(Ok(SymbolsState::default()), decode_state)?;
            if before.version == known.version && before.done_below < known.done_below
                || before.version != known.version && before.version != state.version
            {
                return Ok(None);
            }
            if before.version != state.version {
                tables.symbols.clear(txn)?;
            }
            // Another extraction may have come further.
            let same = before.version == state.version;
            let done_below = if same { state.done_below.max(before.done_below) } else { state.done_below };
            let mut changed = 0;
            let mut pieces = Vec::new();
            for file in files {
                let key = entry_key(file.parent, &file.name);
                let entry = tables.entries.get(txn, &key)?.map(|value| decode_entry(&key, value)).transpose()?;
                match entry {
                    Some(Entry::File(meta)) if meta.id == file.id => pieces.extend(pieces_of(file)),
                    _ => changed += 1,
                }
            }
            // In order, so that pages are filled up.
            pieces.sort_unstable_by_key(|(key, _)| *key);
            put_sorted(txn, tables.symbols, pieces.iter().map(|(key, piece)| (&key[..], seal(key, piece.to_vec()))))?;
            tables.meta.put(txn, META_SYMBOLS, &encode_state(SymbolsState { done_below, ..state }))?;
            Ok(Some(changed))
        })
    }
}

/// There is one piece also when there are no symbols: it says that the file was looked at.
fn pieces_of(file: &FileSymbols) -> impl Iterator<Item = ([u8; 6], &[u8])> {
    let pieces = file.bytes.chunks(PIECE_BYTES_MAX).take(usize::from(FILTER));
    let pieces = (0..).zip(pieces).map(|(number, piece)| (piece_key(file.id, number), piece));
    pieces.chain([(piece_key(file.id, FILTER), &file.filter[..])])
}

/// Drops the symbols of a version that has ended.
pub(super) fn forget_symbols(txn: &mut RwTxn<'_>, tables: Tables, id: FileId) -> Result<(), StoreError> {
    if !tables.symbols.is_empty(txn)? {
        let (first, last) = (piece_key(id, 0), piece_key(id, u16::MAX));
        tables.symbols.delete_range(txn, &(Bound::Included(&first[..]), Bound::Included(&last[..])))?;
    }
    Ok(())
}

/// Rows of the symbols of many files as they are stored, and how far extraction had come.
#[derive(Debug, Default)]
pub(crate) struct SymbolRows {
    state: Option<Vec<u8>>,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

impl SymbolRows {
    /// Keeps those of the files that are `kept`.
    pub(crate) fn retain(&mut self, kept: impl Fn(FileId) -> bool) {
        let id = |key: &[u8]| key.first_chunk::<4>().map(|id| FileId::from_be_bytes(*id));
        self.rows.retain(|(key, _)| id(key).is_some_and(&kept));
    }

    /// Puts them into a store without any.
    pub(super) fn put(&self, txn: &mut RwTxn<'_>, tables: Tables) -> Result<(), StoreError> {
        let Some(state) = &self.state else { return Ok(()) };
        tables.meta.put(txn, META_SYMBOLS, state)?;
        put_sorted(txn, tables.symbols, self.rows.iter().map(|(key, value)| (&key[..], value.clone())))
    }
}

fn encode_state(state: SymbolsState) -> Vec<u8> {
    seal(META_SYMBOLS, [state.version.to_le_bytes(), state.done_below.to_le_bytes()].concat())
}

fn decode_state(value: &[u8]) -> Result<SymbolsState, StoreError> {
    let mut fields = Fields(unseal("state of symbols", META_SYMBOLS, value)?);
    let mut decode = || Some(SymbolsState { version: fields.u32()?, done_below: fields.u32()? });
    decode().ok_or_else(|| damaged("state of symbols", META_SYMBOLS))
}

impl StoreReader {
    /// How far extraction has come.
    pub(crate) fn symbols_state(&self) -> Result<SymbolsState, StoreError> {
        let value = self.tables().meta.get(self.txn(), META_SYMBOLS)?;
        value.map_or(Ok(SymbolsState::default()), decode_state)
    }

    /// Puts what was extracted from this version into `bytes`. Returns whether there is anything.
    pub(crate) fn symbols(&self, id: FileId, bytes: &mut Vec<u8>) -> Result<bool, StoreError> {
        bytes.clear();
        let (first, end) = (piece_key(id, 0), piece_key(id, FILTER));
        let pieces = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
        for item in self.tables().symbols.range(self.txn(), &pieces)? {
            let (key, value) = item?;
            bytes.extend_from_slice(unseal("symbols", key, value)?);
        }
        Ok(!bytes.is_empty())
    }

    /// All of them, as they are stored.
    pub(crate) fn symbol_rows(&self) -> Result<SymbolRows, StoreError> {
        let state = self.tables().meta.get(self.txn(), META_SYMBOLS)?.map(<[u8]>::to_vec);
        let mut rows = Vec::new();
        for item in self.tables().symbols.iter(self.txn())? {
            let (key, value) = item?;
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(SymbolRows { state, rows })
    }

    /// The filter of this version's names, if its symbols are stored.
    pub(crate) fn symbol_filter(&self, id: FileId) -> Result<Option<&[u8]>, StoreError> {
        let key = piece_key(id, FILTER);
        self.tables().symbols.get(self.txn(), &key)?.map(|value| unseal("filter of symbols", &key, value)).transpose()
    }

    /// How many versions have symbols.
    pub(crate) fn symbol_files(&self) -> Result<u64, StoreError> {
        let mut files = 0;
        for item in self.tables().symbols.iter(self.txn())? {
            files += u64::from(item?.0.ends_with(&[0, 0]));
        }
        Ok(files)
    }

    /// Calls `each` with the id and bytes of each version that has symbols.
    pub(crate) fn for_each_symbols(
        &self,
        each: impl FnMut(FileId, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.for_each_symbols_from(0, usize::MAX, each).map(drop)
    }

    /// The same for versions from the id `first` on, until they have `most` bytes together. Returns where to go on; `None`
    /// at the end.
    pub(crate) fn for_each_symbols_from(
        &self,
        first: FileId,
        most: usize,
        mut each: impl FnMut(FileId, &[u8]) -> Result<(), StoreError>,
    ) -> Result<Option<FileId>, StoreError> {
        let mut bytes = Vec::new();
        let mut at = None;
        let mut total = 0usize;
        let first_key = piece_key(first, 0);
        // From the very first key on: one that is damaged may sort before those of the first id.
        let from = if first == 0 { Bound::Unbounded } else { Bound::Included(&first_key[..]) };
        for item in self.tables().symbols.range(self.txn(), &(from, Bound::Unbounded))? {
            let (key, value) = item?;
            let (id, number) = key.split_first_chunk::<4>().ok_or_else(|| damaged("symbols", key))?;
            let id = FileId::from_be_bytes(*id);
            if *number == FILTER.to_be_bytes() {
                unseal("filter of symbols", key, value)?;
                continue;
            }
            if at != Some(id) {
                if let Some(before) = at.replace(id) {
                    each(before, &bytes)?;
                    total = total.saturating_add(bytes.len());
                    if total >= most {
                        return Ok(Some(id));
                    }
                }
                bytes.clear();
            }
            if number.len() != 2
                || usize::from(u16::from_be_bytes([number[0], number[1]])) * PIECE_BYTES_MAX != bytes.len()
            {
                return Err(damaged("pieces of symbols", key));
            }
            bytes.extend_from_slice(unseal("symbols", key, value)?);
        }
        at.map_or(Ok(()), |last| each(last, &bytes))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Published;
    use super::super::write::tests::file;
    use super::*;
    use crate::record::{Batch, Gone, ROOT, Removal};

    fn publish(store: &Store, generation: u64, files: &[(&str, FileId, Option<FileId>)], removals: Vec<Removal>) {
        let record = |&(name, id, replaces): &(&str, FileId, Option<FileId>)| file(ROOT, name, id, replaces);
        let batches = [Batch { dirs: vec![], files: files.iter().map(record).collect(), removals }];
        let next = Published { generation, ..Published::default() };
        store.write_intent(&next, &batches, |_, _| false).unwrap();
        store.publish_intent(&next, &batches, b"", None).unwrap();
    }

    fn symbols(name: &str, id: FileId, len: usize) -> FileSymbols {
        let bytes = (0..len).map(|at| (at * 7 + id as usize) as u8).collect();
        FileSymbols { parent: ROOT, name: name.into(), id, bytes, filter: vec![id as u8; 3] }
    }

    /// Ids and lengths of what is stored.
    fn stored(store: &Store) -> Vec<(FileId, usize)> {
        let reader = StoreReader::begin(store).unwrap();
        let mut found = Vec::new();
        let mut bytes = Vec::new();
        reader
            .for_each_symbols(|id, all| {
                assert!(reader.symbols(id, &mut bytes).unwrap());
                assert_eq!(reader.symbol_filter(id).unwrap(), Some(&[id as u8; 3][..]));
                assert_eq!((all, &all.to_vec()), (&bytes[..], &symbols("", id, all.len()).bytes));
                found.push((id, all.len()));
                Ok(())
            })
            .unwrap();
        assert_eq!(in_pieces(&reader), found);
        found
    }

    /// The same, one version at a time.
    fn in_pieces(reader: &StoreReader) -> Vec<(FileId, usize)> {
        let mut found = Vec::new();
        let mut next = Some(0);
        while let Some(first) = next {
            let before = found.len();
            let each = |id, all: &[u8]| {
                found.push((id, all.len()));
                Ok(())
            };
            next = reader.for_each_symbols_from(first, 1, each).unwrap();
            assert!(found.len() <= before + 1, "{found:?}");
        }
        found
    }

    #[test]
    fn symbols_live_as_long_as_the_version_of_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        publish(&store, 1, &[("a", 1, None), ("b", 2, None), ("c", 3, None)], vec![]);
        let state = SymbolsState { version: 1, done_below: 4 };
        let files = [
            symbols("a", 1, 1),
            symbols("b", 2, 3 * PIECE_BYTES_MAX),
            symbols("c", 3, PIECE_BYTES_MAX + 1),
            symbols("c", 9, 5),
            symbols("d", 4, 5),
        ];
        let none = SymbolsState::default();
        assert_eq!(store.write_symbols(&files, none, state).unwrap(), Some(2), "one has changed, and one is gone");
        assert_eq!(stored(&store), [(1, 1), (2, 3 * PIECE_BYTES_MAX), (3, PIECE_BYTES_MAX + 1)]);
        let reader = StoreReader::begin(&store).unwrap();
        assert_eq!((reader.symbols_state().unwrap(), reader.symbol_files().unwrap()), (state, 3));
        drop(reader);
        publish(&store, 2, &[("c", 4, Some(3))], vec![Removal { parent: ROOT, name: "b".into(), gone: Gone::File(2) }]);
        assert_eq!(stored(&store), [(1, 1)]);
        let next = SymbolsState { version: 2, done_below: 5 };
        assert_eq!(store.write_symbols(&[symbols("c", 4, 8)], state, next).unwrap(), Some(0));
        assert_eq!(stored(&store), [(4, 8)], "those of another version go");
        let ahead = SymbolsState { done_below: 9, ..next };
        assert_eq!(store.write_symbols(&[symbols("a", 1, 8)], ahead, ahead).unwrap(), None, "another index is there");
        assert_eq!(store.write_symbols(&[symbols("a", 1, 8)], next, next).unwrap(), Some(0));
        store.forget_files().unwrap();
        assert_eq!(stored(&store), []);
    }
}
