//! The batches of an intent: every change of a generation that is being committed, durable before the text index commits
//! it. They lie in a file of their own beside the environment, because pages of the environment that are used once and
//! freed would stay in it for good.
//!
//! A batch is one frame (length, body, CRC-32), so that it is there whole or not at all. After a crash between the commit
//! of the text index and the publication, the file holds all that is needed to publish.

use super::env::sync_directory;
use super::schema::{Fields, damaged, put_file_meta, seal, unseal};
use crate::error::StoreError;
use crate::record::{Batch, DirRecord, FileRecord, Gone, Removal};

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

const GONE_FILE: u8 = 0;
const GONE_DIR: u8 = 1;

/// Writes the batches to `path` and makes them durable. `failed` is told of each failure to write one, with the number of
/// the attempt, and says whether to try again. Returns the length of the file.
pub(crate) fn write_batches(
    path: &Path,
    batches: &[Batch],
    mut failed: impl FnMut(u32, &StoreError) -> bool,
) -> Result<u64, StoreError> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut len = 0u64;
    for (number, batch) in batches.iter().enumerate() {
        let frame = encode_batch(&(number as u32).to_be_bytes(), batch);
        let mut attempt = 0;
        while let Err(error) = append(&mut file, len, &frame) {
            attempt += 1;
            let error = StoreError::from(error);
            if !failed(attempt, &error) {
                return Err(error);
            }
        }
        len += 4 + frame.len() as u64;
    }
    file.sync_data()?;
    // A new file is only there for good when its directory says so too.
    path.parent().map_or(Ok(()), sync_directory)?;
    Ok(len)
}

/// Writes a frame at `at`, over whatever a failed attempt has left there.
fn append(file: &mut File, at: u64, frame: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&(frame.len() as u32).to_le_bytes())?;
    file.write_all(frame)
}

/// Reads the `len` bytes of batches in `path`.
pub(crate) fn read_batches(path: &Path, len: u64) -> Result<Vec<Batch>, StoreError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        return Err(damaged("intent file", b"length"));
    }
    let mut fields = Fields(&bytes);
    let mut batches = Vec::new();
    while !fields.0.is_empty() {
        let key = (batches.len() as u32).to_be_bytes();
        let frame = fields.u32().and_then(|len| fields.bytes(len as usize));
        batches.push(decode_batch(&key, frame.ok_or_else(|| damaged("intent file", &key))?)?);
    }
    Ok(batches)
}

/// Encodes a batch; `key` is its number.
fn encode_batch(key: &[u8], batch: &Batch) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 + batch.files.len() * 72 + batch.dirs.len() * 32);
    put_len(&mut value, batch.dirs.len());
    for dir in &batch.dirs {
        value.extend_from_slice(&dir.id.to_le_bytes());
        put_name(&mut value, dir.parent, &dir.name);
    }
    put_len(&mut value, batch.files.len());
    for file in &batch.files {
        put_name(&mut value, file.parent, &file.name);
        put_file_meta(&mut value, &file.meta);
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

/// Decodes a batch.
fn decode_batch(key: &[u8], value: &[u8]) -> Result<Batch, StoreError> {
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
    fn files_round_trip_and_what_is_cut_or_flipped_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("intent");
        let batches: Vec<Batch> = (0..3)
            .map(|id| Batch {
                dirs: vec![DirRecord { id, parent: 0, name: vec![b'x'; id as usize] }],
                ..Batch::default()
            })
            .collect();
        let len = write_batches(&path, &batches, |_, _| false).unwrap();
        assert_eq!(read_batches(&path, len).unwrap(), batches);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, &flipped).unwrap();
            assert!(read_batches(&path, len).is_err(), "{at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read_batches(&path, len).is_err(), "{at}");
        }
    }

    #[test]
    fn a_failed_write_is_tried_again_until_told_not_to() {
        let mut attempts = Vec::new();
        let full = Path::new("/dev/full");
        if !full.exists() {
            return eprintln!("skipped: no /dev/full here");
        }
        let result = write_batches(full, &[Batch::default()], |attempt, _| {
            attempts.push(attempt);
            attempt < 3
        });
        assert!(result.is_err());
        assert_eq!(attempts, [1, 2, 3]);
    }

    #[test]
    fn batches_round_trip_and_truncation_is_seen() {
        let meta = FileMeta {
            id: 1,
            size: 2,
            mtime_ns: 3,
            ctime_ns: 4,
            inode: 5,
            flags: Flags(6),
            encoding: 0,
            language: 8,
            hash: Some(9),
        };
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
