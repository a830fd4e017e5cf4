//! What the stored symbols say of the definitions of files, without reading these.

use super::definition::Wanted;
use super::searcher::Searcher;
use crate::error::QueryError;
use crate::record::FileId;
use crate::symbols::{SymbolKind, Symbols, VERSION};

/// What another kind of definition than was asked for is worth.
const OTHER_KIND: f32 = 0.3;

/// The stored symbols of one generation.
pub(super) struct StoredDefinitions<'s> {
    searcher: &'s Searcher,
    bytes: Vec<u8>,
}

impl<'s> StoredDefinitions<'s> {
    /// `None` when none are stored.
    pub(super) fn new(searcher: &'s Searcher) -> Result<Option<StoredDefinitions<'s>>, QueryError> {
        let state = searcher.with_reader(|reader| reader.symbols_state()).map_err(|error| searcher.failed(error))?;
        Ok((state.version == VERSION).then(|| StoredDefinitions { searcher, bytes: Vec::new() }))
    }

    /// How much of a definition of `name` the file holds, 0 to 1; `None` when its symbols are not stored.
    pub(super) fn strength(&mut self, file: FileId, name: &[u8], wanted: Wanted) -> Result<Option<f32>, QueryError> {
        let stored = self.searcher.with_reader(|reader| reader.symbols(file, &mut self.bytes));
        if !stored.map_err(|error| self.searcher.failed(error))? {
            return Ok(None);
        }
        let mut symbols = Symbols::new(&self.bytes);
        let mut best: f32 = 0.0;
        while let Some(symbol) = symbols.next() {
            if symbol.name == name {
                best = best.max(worth(symbol.kind, wanted));
            }
        }
        Ok(Some(best))
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
