//! What the stored symbols say of the definitions of files, without reading these.

use super::definition::Wanted;
use super::searcher::Searcher;
use crate::error::{QueryError, StoreError};
use crate::record::FileId;
use crate::store::StoreReader;
use crate::symbols::{NameHash, SymbolKind, Symbols, VERSION};

/// What another kind of definition than was asked for is worth.
const OTHER_KIND: f32 = 0.3;

/// The stored symbols of one generation.
pub(super) struct StoredDefinitions<'s> {
    searcher: &'s Searcher,
    name: &'s [u8],
    hash: NameHash,
    bytes: Vec<u8>,
}

impl<'s> StoredDefinitions<'s> {
    /// Those of this name; `None` when none are stored at all.
    pub(super) fn new(searcher: &'s Searcher, name: &'s [u8]) -> Result<Option<StoredDefinitions<'s>>, QueryError> {
        let state = searcher.with_reader(|reader| reader.symbols_state()).map_err(|error| searcher.failed(error))?;
        Ok((state.version == VERSION).then(|| StoredDefinitions {
            searcher,
            name,
            hash: NameHash::new(name),
            bytes: Vec::new(),
        }))
    }

    /// How much of a definition of the name the file holds, 0 to 1; `None` when its symbols are not stored.
    pub(super) fn strength(&mut self, file: FileId, wanted: Wanted) -> Result<Option<f32>, QueryError> {
        let stored = self.searcher.with_reader(|reader| stored_symbols(reader, file, self.hash, &mut self.bytes));
        if !stored.map_err(|error| self.searcher.failed(error))? {
            return Ok(None);
        }
        let mut symbols = Symbols::new(&self.bytes);
        let mut best: f32 = 0.0;
        while let Some(symbol) = symbols.next() {
            if symbol.name == self.name {
                best = best.max(worth(symbol.kind, wanted));
            }
        }
        Ok(Some(best))
    }
}

/// Puts the symbols of a file into `bytes`, none when the name cannot be among them. Returns whether they are stored.
pub(super) fn stored_symbols(
    reader: &StoreReader,
    file: FileId,
    name: NameHash,
    bytes: &mut Vec<u8>,
) -> Result<bool, StoreError> {
    bytes.clear();
    match reader.symbol_filter(file)? {
        Some(filter) if name.may_be_in(filter) => reader.symbols(file, bytes),
        filter => Ok(filter.is_some()),
    }
}

fn worth(kind: SymbolKind, wanted: Wanted) -> f32 {
    let (is_type, is_function) = match kind {
        SymbolKind::Function | SymbolKind::Method | SymbolKind::Macro => (false, true),
        SymbolKind::Variable | SymbolKind::Variant | SymbolKind::Constant | SymbolKind::Module => (false, false),
        _ => (true, false),
    };
    match wanted {
        Wanted::Any if is_type || is_function => 1.0,
        Wanted::Any => 0.7,
        Wanted::Type if is_type => 1.0,
        Wanted::Function if is_function => 1.0,
        _ => OTHER_KIND,
    }
}
