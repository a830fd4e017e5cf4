//! The bytes of keys and values. `docs/format.md` gives the same layouts as tables; a change here needs a new [`FORMAT`].
//!
//! Integers in keys are big-endian, so that they sort; in values little-endian. Every value ends with a CRC-32 of the
//! key and the value before it: a record that ends up under another key is as damaged as one with a flipped bit.

use crate::error::StoreError;
use crate::record::{DirId, FileId, FileMeta, Flags};

/// Version of everything on disk below the index directory.
pub(crate) const FORMAT: u32 = 3;

pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_PUBLISHED: &[u8] = b"published";
pub(crate) const META_TEXT: &[u8] = b"text";
pub(crate) const META_RULES: &[u8] = b"rules";
pub(crate) const META_VERDICTS: &[u8] = b"verdicts";
pub(crate) const META_INTENT: &[u8] = b"intent";
pub(crate) const META_ORPHANS: &[u8] = b"orphans";
pub(crate) const META_SYMBOLS: &[u8] = b"symbols";
pub(crate) const META_VECTORS: &[u8] = b"vectors";

const KIND_FILE: u8 = 0;
const KIND_DIR: u8 = 1;
const FILE_BYTES: usize = 41;
const CRC_BYTES: usize = 4;
const HASH_BYTES: usize = 8;
/// Set in the byte of the flags when a hash follows the inode.
const HAS_HASH: u8 = 1 << 7;

/// What stands behind a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    File(FileMeta),
    Dir(DirId),
}

impl Entry {
    /// What is known of a file.
    pub(crate) fn file(self) -> Option<FileMeta> {
        match self {
            Entry::File(meta) => Some(meta),
            Entry::Dir(_) => None,
        }
    }
}

/// The published generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) generation: u64,
    /// The smallest file id that was never used.
    pub(crate) next_file: FileId,
    /// The smallest directory id that was never used.
    pub(crate) next_dir: DirId,
    /// Nanoseconds since the epoch.
    pub(crate) published_ns: i64,
    /// Whether a run has gone over the whole tree since the index was made.
    pub(crate) complete: bool,
}

/// A file of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VectorsPart {
    /// What its name is made of; never used twice.
    pub(crate) number: u32,
    pub(crate) rows: u32,
    /// Rows of versions that were published when this was last looked at.
    pub(crate) live: u32,
}

/// How far embedding has come, and which files hold vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VectorsState {
    /// What made them; vectors of different models are never mixed.
    pub(crate) model: u128,
    /// Whether that was a model, which somebody chose, and not the table of word vectors.
    pub(crate) chosen: bool,
    /// Numbers a vector.
    pub(crate) dims: u32,
    /// The generation that was published when it was written, and its smallest id that was never used.
    pub(crate) generation: u64,
    pub(crate) next_file: FileId,
    /// Every file whose id is smaller was dealt with,
    pub(crate) done_below: FileId,
    /// but for these.
    pub(crate) again: Vec<FileId>,
    /// The smallest number of a part that was never used.
    pub(crate) next_part: u32,
    pub(crate) parts: Vec<VectorsPart>,
}

impl VectorsState {
    /// Whether the version of a file was dealt with.
    pub(crate) fn is_done(&self, id: FileId) -> bool {
        id < self.done_below && self.again.binary_search(&id).is_err()
    }

    /// Whether its ids mean the same in this published generation: not in an index that was made anew.
    pub(crate) fn is_of(&self, generation: u64, next_file: FileId) -> bool {
        self.generation <= generation && self.next_file <= next_file
    }
}

/// The key of a name in a directory.
pub(crate) fn entry_key(parent: DirId, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + name.len());
    key.extend_from_slice(&parent.to_be_bytes());
    key.extend_from_slice(name);
    key
}

/// The parts of an entry key.
pub(crate) fn split_entry_key(key: &[u8]) -> Result<(DirId, &[u8]), StoreError> {
    let (parent, name) = key.split_first_chunk::<4>().ok_or_else(|| damaged("entry key", key))?;
    Ok((DirId::from_be_bytes(*parent), name))
}

/// The key of a directory id.
pub(crate) fn id_key(id: u32) -> [u8; 4] {
    id.to_be_bytes()
}

pub(crate) fn encode_entry(key: &[u8], entry: &Entry) -> Vec<u8> {
    let mut value = Vec::with_capacity(FILE_BYTES + HASH_BYTES + CRC_BYTES);
    match entry {
        Entry::File(meta) => {
            value.push(KIND_FILE);
            put_file_meta(&mut value, meta);
        }
        Entry::Dir(id) => {
            value.push(KIND_DIR);
            value.extend_from_slice(&id.to_le_bytes());
        }
    }
    seal(key, value)
}

/// As [`Fields::file_meta`] reads it.
pub(crate) fn put_file_meta(value: &mut Vec<u8>, meta: &FileMeta) {
    let has_hash = if meta.hash.is_some() { HAS_HASH } else { 0 };
    value.extend_from_slice(&[meta.flags.0 & !HAS_HASH | has_hash, meta.encoding]);
    value.extend_from_slice(&meta.language.to_le_bytes());
    value.extend_from_slice(&meta.id.to_le_bytes());
    value.extend_from_slice(&meta.size.to_le_bytes());
    value.extend_from_slice(&meta.mtime_ns.to_le_bytes());
    value.extend_from_slice(&meta.ctime_ns.to_le_bytes());
    value.extend_from_slice(&meta.inode.to_le_bytes());
    if let Some(hash) = meta.hash {
        value.extend_from_slice(&hash.to_le_bytes());
    }
}

pub(crate) fn decode_entry(key: &[u8], value: &[u8]) -> Result<Entry, StoreError> {
    let mut fields = Fields(unseal("entry", key, value)?);
    let entry = match fields.take::<1>() {
        Some([KIND_FILE]) => fields.file_meta().map(Entry::File),
        Some([KIND_DIR]) => fields.u32().map(Entry::Dir),
        _ => None,
    };
    entry.filter(|_| fields.0.is_empty()).ok_or_else(|| damaged("entry", key))
}

/// Where a directory hangs: parent and name, under its id.
pub(crate) fn encode_place(key: &[u8], parent: DirId, name: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + name.len());
    value.extend_from_slice(&parent.to_le_bytes());
    value.extend_from_slice(name);
    seal(key, value)
}

pub(crate) fn decode_place<'a>(key: &[u8], value: &'a [u8]) -> Result<(DirId, &'a [u8]), StoreError> {
    let value = unseal("place", key, value)?;
    let (parent, name) = value.split_first_chunk::<4>().ok_or_else(|| damaged("place", key))?;
    Ok((DirId::from_le_bytes(*parent), name))
}

pub(crate) fn encode_published(published: &Published) -> Vec<u8> {
    let mut value = Vec::with_capacity(32);
    value.extend_from_slice(&published.generation.to_le_bytes());
    value.extend_from_slice(&published.next_file.to_le_bytes());
    value.extend_from_slice(&published.next_dir.to_le_bytes());
    value.extend_from_slice(&published.published_ns.to_le_bytes());
    value.push(u8::from(published.complete));
    seal(META_PUBLISHED, value)
}

pub(crate) fn decode_published(value: &[u8]) -> Result<Published, StoreError> {
    let mut fields = Fields(unseal("published generation", META_PUBLISHED, value)?);
    let mut decode = || {
        Some(Published {
            generation: fields.u64()?,
            next_file: fields.u32()?,
            next_dir: fields.u32()?,
            published_ns: fields.i64()?,
            complete: fields.take::<1>()?[0] != 0,
        })
    };
    decode().ok_or_else(|| damaged("published generation", META_PUBLISHED))
}

/// The intent record: the generation that is being committed, and the length of its batches in the intent file.
pub(crate) fn encode_intent(next: &Published, batches_len: u64) -> Vec<u8> {
    let mut value = encode_published(next);
    value.extend_from_slice(&batches_len.to_le_bytes());
    seal(META_INTENT, value)
}

pub(crate) fn decode_intent(value: &[u8]) -> Result<(Published, u64), StoreError> {
    let body = unseal("intent", META_INTENT, value)?;
    let (published, len) = body.split_last_chunk::<8>().ok_or_else(|| damaged("intent", META_INTENT))?;
    Ok((decode_published(published)?, u64::from_le_bytes(*len)))
}

/// A list of ids under `key`.
pub(crate) fn encode_ids(key: &[u8], ids: &[u32]) -> Vec<u8> {
    seal(key, ids.iter().flat_map(|id| id.to_le_bytes()).collect())
}

pub(crate) fn decode_ids(key: &[u8], value: &[u8]) -> Result<Vec<u32>, StoreError> {
    let (ids, rest) = unseal("list of ids", key, value)?.as_chunks::<4>();
    if rest.is_empty() {
        Ok(ids.iter().map(|id| u32::from_le_bytes(*id)).collect())
    } else {
        Err(damaged("list of ids", key))
    }
}

pub(crate) fn encode_verdicts(generation: u64, fingerprint: u64) -> Vec<u8> {
    seal(META_VERDICTS, [generation.to_le_bytes(), fingerprint.to_le_bytes()].concat())
}

/// The generation whose names were accepted, and the fingerprint of what has accepted them.
pub(crate) fn decode_verdicts(value: &[u8]) -> Result<(u64, u64), StoreError> {
    let body = unseal("verdicts", META_VERDICTS, value)?;
    match body.as_chunks::<8>() {
        ([generation, fingerprint], []) => Ok((u64::from_le_bytes(*generation), u64::from_le_bytes(*fingerprint))),
        _ => Err(damaged("verdicts", META_VERDICTS)),
    }
}

/// Appends the CRC.
pub(crate) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = checksum(key, &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// Checks and removes the CRC.
pub(crate) fn unseal<'a>(what: &str, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let (body, crc) = value.split_last_chunk::<CRC_BYTES>().ok_or_else(|| damaged(what, key))?;
    if u32::from_le_bytes(*crc) == checksum(key, body) { Ok(body) } else { Err(damaged(what, key)) }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

pub(crate) fn damaged(what: &str, key: &[u8]) -> StoreError {
    StoreError::Damaged(format!("{what} {}", key.escape_ascii()))
}

/// Takes fixed-size fields off the front.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(crate) fn file_meta(&mut self) -> Option<FileMeta> {
        let [flags, encoding] = self.take()?;
        Some(FileMeta {
            flags: Flags(flags & !HAS_HASH),
            encoding,
            language: self.u16()?,
            id: self.u32()?,
            size: self.u64()?,
            mtime_ns: self.i64()?,
            ctime_ns: self.i64()?,
            inode: self.u64()?,
            hash: if flags & HAS_HASH != 0 { Some(self.u64()?) } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta(id: u32, size: u64, times: (i64, i64), code: (u8, u8, u16), hash: Option<u64>) -> FileMeta {
        let (flags, encoding, language) = code;
        FileMeta {
            id,
            size,
            mtime_ns: times.0,
            ctime_ns: times.1,
            inode: size ^ 77,
            flags: Flags(flags & !HAS_HASH),
            encoding,
            language,
            hash,
        }
    }

    proptest! {
        #[test]
        fn entries_round_trip(id: u32, size: u64, times: (i64, i64), code: (u8, u8, u16), hash: Option<u64>, name: Vec<u8>) {
            let parent = id ^ 5;
            let key = entry_key(parent, &name);
            prop_assert_eq!(split_entry_key(&key).unwrap(), (parent, &name[..]));
            for entry in [Entry::File(meta(id, size, times, code, hash)), Entry::Dir(id)] {
                let value = encode_entry(&key, &entry);
                prop_assert_eq!(decode_entry(&key, &value).unwrap(), entry);
            }
        }

        #[test]
        fn every_flipped_bit_is_seen(bit in 0usize..53 * 8, name in "[a-z]{1,8}", hash: Option<u64>) {
            let key = entry_key(3, name.as_bytes());
            let mut value = encode_entry(&key, &Entry::File(meta(5, 6, (7, 8), (1, 0, 2), hash)));
            prop_assume!(bit < value.len() * 8);
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_entry(&key, &value).is_err());
        }

        #[test]
        fn places_round_trip(id: u32, parent: u32, name: Vec<u8>) {
            let key = id_key(id);
            let value = encode_place(&key, parent, &name);
            prop_assert_eq!(decode_place(&key, &value).unwrap(), (parent, &name[..]));
            prop_assert!(decode_place(&id_key(id ^ 1), &value).is_err());
        }
    }

    #[test]
    fn the_published_generation_round_trips() {
        let published = Published { generation: 9, next_file: 8, next_dir: 7, published_ns: -6, complete: true };
        assert_eq!(decode_published(&encode_published(&published)).unwrap(), published);
        assert_eq!(decode_intent(&encode_intent(&published, 77)).unwrap(), (published, 77));
    }
}
