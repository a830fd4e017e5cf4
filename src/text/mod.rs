//! The full-text half of the index: what a term is, how documents are inverted, how a segment is written, and the
//! tantivy index that holds the segments.
//!
//! Owns the bytes of the text index. Knows nothing of paths, directories or generations beyond the number it is told to
//! commit. It never opens a transaction of the metadata store.

pub mod encoding;
pub mod language;

pub(crate) mod directory;
pub(crate) mod index;
pub(crate) mod inverter;
mod near;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod segment;
pub(crate) mod terms;
pub(crate) mod vocabulary;

#[doc(hidden)]
pub use inverter::{Inverter, Posting};
#[doc(hidden)]
pub use runs::{RUN_BYTES_MAX, RunMasks, has_odd_run, is_run_byte};
#[doc(hidden)]
pub use terms::{CountedTerm, FileTerms, TermKey};
