//! The fields of the text index.
//!
//! `text` holds the terms of a file's content with quantised frequencies, no positions, and nothing stored: paths are in
//! the metadata store, lines are read from the file. It also holds *tags*: terms that begin with a control character,
//! which no run can, and that carry the language and the flags that make a file a candidate of queries its terms cannot
//! answer. `id` is the file id, indexed so that a version can be deleted by it; `dir` is the directory that holds it, where
//! the metadata store has its name.

use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::{IndexSettings, Term};

/// The file has a run that is too long to be a term.
pub(crate) const TAG_LONG_RUN: &[u8] = b"\x01l";
/// The file is not UTF-8: its terms are those of its Latin-1 decoding, while a search reads its bytes.
pub(crate) const TAG_NOT_UTF8: &[u8] = b"\x01n";
/// The file holds a character that is case-folded to an ASCII letter (U+017F, U+212A).
pub(crate) const TAG_FOLDS: &[u8] = b"\x01f";
/// The file has a run that holds a non-word character beside others, so that `\b` and `\s` may match inside of it.
pub(crate) const TAG_ODD_RUN: &[u8] = b"\x01o";
/// First byte of a language tag; the language's code follows in hexadecimal.
const LANGUAGE: u8 = 2;
/// Terms that begin with a byte below this are tags.
pub(crate) const FIRST_TERM_BYTE: u8 = 0x20;

/// Whether the postings of a term carry frequencies. Numbers do not: nobody ranks files by how often they say
/// `0x00000001`, and numbers are half of all terms. The rule looks at the term alone, because tantivy only merges segments
/// that agree on it.
pub(crate) fn has_frequencies(term: &[u8]) -> bool {
    term.first().is_some_and(|&byte| byte >= FIRST_TERM_BYTE && !byte.is_ascii_digit())
}

/// The fields, by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) dir: Field,
    pub(crate) text: Field,
}

/// The schema and its fields.
pub(crate) fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let id = builder.add_u64_field("id", INDEXED | FAST);
    let dir = builder.add_u64_field("dir", FAST);
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_index_option(IndexRecordOption::WithFreqs)
        .set_fieldnorms(true);
    let text = builder.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
    (builder.build(), Fields { id, dir, text })
}

/// Nothing is stored, so nothing needs compressing.
pub(crate) fn settings() -> IndexSettings {
    IndexSettings { docstore_compression: Compressor::None, ..IndexSettings::default() }
}

/// The tag of a language code.
pub(crate) fn language_tag(code: u16) -> [u8; 5] {
    let hex = |shift: u16| b"0123456789abcdef"[usize::from(code >> shift & 15)];
    [LANGUAGE, hex(12), hex(8), hex(4), hex(0)]
}

impl Fields {
    /// The term of the `text` field with these bytes.
    pub(crate) fn term(self, bytes: &[u8]) -> Term {
        let mut term = Term::from_field_text(self.text, "");
        term.append_bytes(bytes);
        term
    }

    /// The term that deletes a file version.
    pub(crate) fn id_term(self, id: u32) -> Term {
        Term::from_field_u64(self.id, u64::from(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_hold_the_bytes_they_are_given() {
        let (_, fields) = schema();
        assert_eq!(fields.term(b"\x01l").serialized_value_bytes(), b"\x01l");
        assert_eq!(fields.term(b"kmalloc"), Term::from_field_text(fields.text, "kmalloc"));
        assert_eq!(&language_tag(0x1a2), b"\x0201a2");
    }
}
