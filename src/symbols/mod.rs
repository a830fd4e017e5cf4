//! The definitions of a file: functions, types, macros and the like, with their lines.
//!
//! * `grammar`: which grammar reads a file, and which nodes of its trees define something.
//! * `extract`: source text to definitions, within bounds of time, size and number.
//! * `filter`: whether a file can define a name, without looking at its definitions.
//! * `encode`: definitions to the bytes that the metadata store keeps, and back.
//!
//! Pure: bytes in, symbols out. Knows nothing of files, paths or stores. The trees are those of tree-sitter, which goes on
//! past what it cannot parse; so a definition may be missing where macros hide it, and what is found is still right.

mod encode;
#[cfg(feature = "symbols")]
mod extract;
mod filter;
mod grammar;
#[cfg(all(test, feature = "symbols"))]
mod tests;
#[cfg(not(feature = "symbols"))]
mod without_grammars;

pub(crate) use encode::{Stored, Symbols, encode};
#[cfg(feature = "symbols")]
pub use extract::Extractor;
pub(crate) use filter::{NameHash, filter};
pub use grammar::Grammar;
#[cfg(not(feature = "symbols"))]
pub use without_grammars::Extractor;

use std::fmt;

/// Counts what extraction finds. Stored symbols of another version are extracted anew: raise it when the same file would
/// give others.
pub(crate) const VERSION: u32 = 1;

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum SymbolKind {
    /// A function that belongs to no type.
    Function = 1,
    /// A function of a type.
    Method,
    /// A class.
    Class,
    /// A struct or record.
    Struct,
    /// A union.
    Union,
    /// An enumeration.
    Enum,
    /// A value of an enumeration.
    Variant,
    /// A trait, interface or concept.
    Interface,
    /// A name for another type.
    Type,
    /// A module or namespace.
    Module,
    /// A macro, C's constants among them.
    Macro,
    /// A constant.
    Constant,
    /// A variable or field outside of functions.
    Variable,
}

impl SymbolKind {
    const ALL: [SymbolKind; 13] = [
        SymbolKind::Function,
        SymbolKind::Method,
        SymbolKind::Class,
        SymbolKind::Struct,
        SymbolKind::Union,
        SymbolKind::Enum,
        SymbolKind::Variant,
        SymbolKind::Interface,
        SymbolKind::Type,
        SymbolKind::Module,
        SymbolKind::Macro,
        SymbolKind::Constant,
        SymbolKind::Variable,
    ];

    /// The kind with this code.
    pub(crate) fn from_code(code: u8) -> Option<SymbolKind> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// As it is written in answers: `function`, `struct`, ...
    pub fn name(self) -> &'static str {
        match self {
            SymbolKind::Function => "function",
            SymbolKind::Method => "method",
            SymbolKind::Class => "class",
            SymbolKind::Struct => "struct",
            SymbolKind::Union => "union",
            SymbolKind::Enum => "enum",
            SymbolKind::Variant => "variant",
            SymbolKind::Interface => "interface",
            SymbolKind::Type => "type",
            SymbolKind::Module => "module",
            SymbolKind::Macro => "macro",
            SymbolKind::Constant => "constant",
            SymbolKind::Variable => "variable",
        }
    }
}

impl fmt::Display for SymbolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Symbol {
    /// The name, without what it belongs to.
    pub name: String,
    /// What it is.
    pub kind: SymbolKind,
    /// The line that its definition begins on, from 1. Attributes and modifiers belong to it.
    pub line: u32,
    /// The line that its definition ends on, from 1.
    pub end_line: u32,
    /// What it belongs to: a type, a module; nested ones are joined by `::`.
    pub container: Option<String>,
}

/// Why a file has symbols that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Cut {
    /// Parsing took too long: none are known.
    Time = 1,
    /// The file is longer than what is parsed: those of its beginning are known.
    Size,
    /// There are too many: the first are known.
    Count,
}

#[cfg(test)]
impl Cut {
    fn from_code(code: u8) -> Option<Cut> {
        [Cut::Time, Cut::Size, Cut::Count].get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// The definitions of a file, by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// In the order of the file.
    pub symbols: Vec<Symbol>,
    /// Whether some are missing, and why.
    pub cut: Option<Cut>,
}
