//! How far embedding has come, and which files hold vectors.
//!
//! One record, beside the published generation that it trails. The vectors themselves lie in files (`embed/segment.rs`); each
//! row names the version of a file, so a version that has ended takes its rows with it.

use super::env::Store;
use super::read::StoreReader;
use super::schema::{Fields, META_VECTORS, Published, VectorsPart, VectorsState, damaged, seal, unseal};
use crate::error::StoreError;

/// Of two records, the one that was written later; `None` when neither can be read. Numbers of parts only grow.
pub(crate) fn newer_vectors(known: Option<Vec<u8>>, found: &[u8]) -> Option<Vec<u8>> {
    let age = |value: &[u8]| decode(value).ok().map(|state| (state.next_part, state.generation, state.done_below));
    let newer = age(found).filter(|age_found| known.as_deref().and_then(age).is_none_or(|known| known < *age_found));
    if newer.is_some() { Some(found.to_vec()) } else { known }
}

fn encode(state: &VectorsState) -> Vec<u8> {
    let mut value = Vec::with_capacity(64 + 4 * state.again.len() + 12 * state.parts.len());
    value.extend_from_slice(&state.model.to_le_bytes());
    value.extend_from_slice(&state.dims.to_le_bytes());
    value.extend_from_slice(&state.generation.to_le_bytes());
    value.push(u8::from(state.chosen));
    for number in [state.next_file, state.done_below, state.next_part, state.again.len() as u32] {
        value.extend_from_slice(&number.to_le_bytes());
    }
    state.again.iter().for_each(|id| value.extend_from_slice(&id.to_le_bytes()));
    for part in &state.parts {
        [part.number, part.rows, part.live].iter().for_each(|number| value.extend_from_slice(&number.to_le_bytes()));
    }
    seal(META_VECTORS, value)
}

fn decode(value: &[u8]) -> Result<VectorsState, StoreError> {
    let mut fields = Fields(unseal("state of vectors", META_VECTORS, value)?);
    let mut decode = || -> Option<VectorsState> {
        let model = fields.take().map(u128::from_le_bytes)?;
        let (dims, generation, chosen) = (fields.u32()?, fields.u64()?, fields.take::<1>()?[0] != 0);
        let (next_file, done_below, next_part) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let count = fields.u32()?;
        let again = (0..count).map(|_| fields.u32()).collect::<Option<_>>()?;
        let mut parts = Vec::new();
        while !fields.0.is_empty() {
            parts.push(VectorsPart { number: fields.u32()?, rows: fields.u32()?, live: fields.u32()? });
        }
        Some(VectorsState { model, chosen, dims, generation, next_file, done_below, again, next_part, parts })
    };
    decode().ok_or_else(|| damaged("state of vectors", META_VECTORS))
}

impl Store {
    /// Notes how far embedding has come, if that is still as `known`, and returns whether it was: another process may have
    /// embedded meanwhile, or the index may have been made anew.
    pub(crate) fn write_vectors(&self, known: &VectorsState, state: &VectorsState) -> Result<bool, StoreError> {
        self.write(|txn, tables| {
            let before = tables.meta.get(txn, META_VECTORS)?.map_or(Ok(VectorsState::default()), decode)?;
            if before != *known {
                return Ok(false);
            }
            tables.meta.put(txn, META_VECTORS, &encode(state))?;
            Ok(true)
        })
    }

    /// Forgets how far embedding had come: what is noted cannot be read.
    pub(crate) fn forget_vectors(&self) -> Result<(), StoreError> {
        self.write(|txn, tables| tables.meta.delete(txn, META_VECTORS).map(drop).map_err(StoreError::from))
    }
}

/// Whether the ids of a record mean the same in this published generation; not if it cannot be read.
pub(crate) fn is_of(value: &[u8], published: &Published) -> bool {
    decode(value).is_ok_and(|state| state.is_of(published.generation, published.next_file))
}

impl StoreReader {
    /// How far embedding has come.
    pub(crate) fn vectors_state(&self) -> Result<VectorsState, StoreError> {
        let value = self.tables().meta.get(self.txn(), META_VECTORS)?;
        value.map_or(Ok(VectorsState::default()), decode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> VectorsState {
        VectorsState {
            model: u128::MAX - 5,
            dims: 256,
            generation: 7,
            next_file: 100,
            done_below: 90,
            again: vec![3, 50],
            chosen: true,
            next_part: 4,
            parts: vec![VectorsPart { number: 1, rows: 10, live: 9 }, VectorsPart { number: 3, rows: 2, live: 2 }],
        }
    }

    #[test]
    fn what_was_noted_is_read_and_only_replaced_by_who_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let noted = || StoreReader::begin(&store).unwrap().vectors_state().unwrap();
        assert_eq!(noted(), VectorsState::default());
        assert!(store.write_vectors(&VectorsState::default(), &state()).unwrap());
        assert_eq!(noted(), state());
        let next = VectorsState { done_below: 95, ..state() };
        assert!(!store.write_vectors(&VectorsState::default(), &next).unwrap(), "somebody else has written");
        assert!(store.write_vectors(&state(), &next).unwrap());
        assert_eq!(noted(), next);
        store.forget_vectors().unwrap();
        assert_eq!(noted(), VectorsState::default());
    }

    #[test]
    fn no_damage_is_overlooked() {
        let sound = encode(&state());
        assert_eq!(decode(&sound).unwrap(), state());
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&sound[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn of_two_records_the_newer_one_counts() {
        let (old, new) = (encode(&state()), encode(&VectorsState { done_below: 91, ..state() }));
        assert_eq!(newer_vectors(None, &old), Some(old.clone()));
        assert_eq!(newer_vectors(Some(old.clone()), &new), Some(new.clone()));
        assert_eq!(newer_vectors(Some(new.clone()), &old), Some(new.clone()));
        assert_eq!(newer_vectors(Some(new.clone()), &old[1..]), Some(new));
        assert_eq!(newer_vectors(None, b"damaged"), None);
    }

    #[test]
    fn what_is_left_to_do_is_told() {
        let state = state();
        assert!(state.is_done(2) && !state.is_done(3) && !state.is_done(90) && state.is_done(89));
        assert!(state.is_of(7, 100) && state.is_of(9, 120) && !state.is_of(6, 100) && !state.is_of(8, 99));
    }
}
