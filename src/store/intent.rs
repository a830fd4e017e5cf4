//! The intent: every change of a generation that is being committed, durable before the text index commits it.
//!
//! A batch is one value, so that it is there whole or not at all. After a crash between the commit of the text index and
//! the publication, the intent holds all that is needed to publish.

use super::schema::{Fields, damaged, encode_file_meta, seal, unseal};
use crate::error::StoreError;
use crate::record::{Batch, DirRecord, FileRecord, Gone, Removal};

const GONE_FILE: u8 = 0;
const GONE_DIR: u8 = 1;

/// Encodes a batch as the value under `key`.
pub(crate) fn encode_batch(key: &[u8], batch: &Batch) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 + batch.files.len() * 72 + batch.dirs.len() * 32);
    put_len(&mut value, batch.dirs.len());
    for dir in &batch.dirs {
        value.extend_from_slice(&dir.id.to_le_bytes());
        put_name(&mut value, dir.parent, &dir.name);
    }
    put_len(&mut value, batch.files.len());
    for file in &batch.files {
        put_name(&mut value, file.parent, &file.name);
        encode_file_meta(&mut value, &file.meta);
        value.push(u8::from(file.replaces.is_some()));
        value.extend_from_slice(&file.replaces.unwrap_or(0).to_le_bytes());
    }
    put_len(&mut value, batch.removals.len());
    for removal in &batch.removals {
        put_name(&mut value, removal.parent, &removal.name);
        let (kind, id) = match removal.gone {
            Gone::File(id) => (GONE_FILE, id),
            Gone::Dir(id) => (GONE_DIR, id),
        };
        value.push(kind);
        value.extend_from_slice(&id.to_le_bytes());
    }
    seal(key, value)
}

/// Decodes the batch under `key`.
pub(crate) fn decode_batch(key: &[u8], value: &[u8]) -> Result<Batch, StoreError> {
    let mut fields = Fields(unseal("intent", key, value)?);
    read_batch(&mut fields).filter(|_| fields.0.is_empty()).ok_or_else(|| damaged("intent", key))
}

fn read_batch(fields: &mut Fields<'_>) -> Option<Batch> {
    let mut batch = Batch::default();
    for _ in 0..fields.u32()? {
        let id = fields.u32()?;
        let (parent, name) = name(fields)?;
        batch.dirs.push(DirRecord { id, parent, name });
    }
    for _ in 0..fields.u32()? {
        let (parent, name) = name(fields)?;
        let meta = fields.file_meta()?;
        let [replaced] = fields.take()?;
        let old = fields.u32()?;
        batch.files.push(FileRecord { parent, name, meta, replaces: (replaced != 0).then_some(old) });
    }
    for _ in 0..fields.u32()? {
        let (parent, name) = name(fields)?;
        let gone = match (fields.take()?, fields.u32()?) {
            ([GONE_FILE], id) => Gone::File(id),
            ([GONE_DIR], id) => Gone::Dir(id),
            _ => return None,
        };
        batch.removals.push(Removal { parent, name, gone });
    }
    Some(batch)
}

fn name(fields: &mut Fields<'_>) -> Option<(u32, Vec<u8>)> {
    let parent = fields.u32()?;
    let len = fields.u16()?;
    Some((parent, fields.bytes(usize::from(len))?.to_vec()))
}

fn put_name(value: &mut Vec<u8>, parent: u32, name: &[u8]) {
    value.extend_from_slice(&parent.to_le_bytes());
    value.extend_from_slice(&(name.len() as u16).to_le_bytes());
    value.extend_from_slice(name);
}

fn put_len(value: &mut Vec<u8>, len: usize) {
    value.extend_from_slice(&(len as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FileMeta, Flags};

    #[test]
    fn batches_round_trip_and_truncation_is_seen() {
        let meta =
            FileMeta { id: 1, size: 2, mtime_ns: 3, ctime_ns: 4, inode: 5, flags: Flags(6), encoding: 0, language: 8 };
        let batch = Batch {
            dirs: vec![DirRecord { id: 9, parent: 0, name: b"dir".to_vec() }],
            files: vec![
                FileRecord { parent: 9, name: b"a\nb\xff".to_vec(), meta, replaces: Some(7) },
                FileRecord { parent: 0, name: b"c".to_vec(), meta, replaces: None },
            ],
            removals: vec![
                Removal { parent: 9, name: b"old".to_vec(), gone: Gone::File(3) },
                Removal { parent: 9, name: b"older".to_vec(), gone: Gone::Dir(4) },
            ],
        };
        let value = encode_batch(b"k", &batch);
        assert_eq!(decode_batch(b"k", &value).unwrap(), batch);
        for len in 0..value.len() {
            assert!(decode_batch(b"k", &value[..len]).is_err(), "{len}");
        }
    }
}
