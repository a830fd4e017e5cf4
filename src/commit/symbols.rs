//! Gathers extracted symbols and writes them many files at a time.

use crate::error::StoreError;
use crate::store::Store;
use crate::store::symbols::{FileSymbols, SymbolsState};

/// Bytes that are gathered before they are written: a durable transaction takes milliseconds whatever is in it.
const WRITE_BYTES: usize = 4 << 20;

/// Symbols that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct SymbolWriter {
    /// As it was last read or written.
    known: SymbolsState,
    state: SymbolsState,
    waiting: Vec<FileSymbols>,
    bytes: usize,
    changed: u64,
}

impl SymbolWriter {
    /// Goes on from `known`, which may be of another version.
    pub(crate) fn new(known: SymbolsState, state: SymbolsState) -> SymbolWriter {
        SymbolWriter { known, state, ..SymbolWriter::default() }
    }

    pub(crate) fn add(&mut self, file: FileSymbols) {
        self.bytes += file.bytes.len();
        self.waiting.push(file);
    }

    /// Whether it is time to write.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= WRITE_BYTES
    }

    /// Everything up to the version with this id was dealt with.
    pub(crate) fn done_below(&mut self, id: u32) {
        self.state.done_below = id;
    }

    /// Writes what waits; with it, how far this has come. The caller holds the writer's lock. Returns whether the index is
    /// still the same; another one is left alone.
    pub(crate) fn write(&mut self, store: &Store) -> Result<bool, StoreError> {
        let Some(changed) = store.write_symbols(&self.waiting, self.known, self.state)? else { return Ok(false) };
        self.known = self.state;
        self.changed += changed;
        self.waiting.clear();
        self.bytes = 0;
        Ok(true)
    }

    /// Files whose symbols are not written yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Files that had changed before their symbols were written.
    pub(crate) fn changed(&self) -> u64 {
        self.changed
    }
}
