//! The flat vocabulary of a segment: every term, in order, each between two newlines.
//!
//! Substring and regex queries scan it with SIMD `memmem` (the `memchr` crate) instead of walking an automaton over the
//! term dictionary: 13 MB of terms take about a millisecond. On disk it is front-coded (Witten, Moffat and Bell, "Managing
//! Gigabytes", section 4.1: how many bytes a term shares with the one before it, then the others), which halves it; the
//! first scan decodes it a block at a time, the second one puts all of it together for those to come. It is a component of the segment, so tantivy checks its footer, keeps it as
//! long as the segment, and has [`VocabularyPlugin`] write it anew when segments are merged.

use super::near::Near;
use super::runs::RUN_BYTES_MAX;
use super::schema::{FIRST_TERM_BYTE, Fields};
use std::any::Any;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tantivy::directory::{OwnedBytes, TerminatingWrite, WritePtr};
use tantivy::error::DataCorruption;
use tantivy::index::SegmentComponent;
use tantivy::indexer::DocIdMapping;
use tantivy::schema::Schema;
use tantivy::schema::document::ErasedDocument;
use tantivy::{PluginMergeContext, PluginWriter, PluginWriterContext, Segment, SegmentPlugin, SegmentReader};

const EXTENSION: &str = "vocab";

/// Lengths below this share one byte; the byte 0 says that two bytes follow instead. (A term never shares nothing and adds
/// nothing, so 0 is free.)
const SHORT: usize = 16;

/// Writes the terms of one segment in the order they come.
pub(crate) struct VocabularyWriter {
    write: WritePtr,
    previous: Vec<u8>,
}

impl VocabularyWriter {
    /// Starts the file of `segment`.
    pub(crate) fn create(segment: &Segment) -> tantivy::Result<Self> {
        let write = segment.open_write(SegmentComponent::Custom(EXTENSION.into()))?;
        Ok(VocabularyWriter { write, previous: Vec::new() })
    }

    /// Appends a term, unless it is a tag. Terms are at most 255 bytes long.
    pub(crate) fn push(&mut self, term: &[u8]) -> std::io::Result<()> {
        if term.first().is_none_or(|&byte| byte < FIRST_TERM_BYTE) {
            return Ok(());
        }
        let shared = self.previous.iter().zip(term).take_while(|(a, b)| a == b).count();
        let rest = &term[shared..];
        if shared < SHORT && rest.len() < SHORT {
            self.write.write_all(&[(shared << 4 | rest.len()) as u8])?;
        } else {
            self.write.write_all(&[0, shared as u8, rest.len() as u8])?;
        }
        self.write.write_all(rest)?;
        self.previous.truncate(shared);
        self.previous.extend_from_slice(rest);
        Ok(())
    }

    /// Writes the footer and makes the file durable.
    pub(crate) fn close(self) -> std::io::Result<()> {
        self.write.terminate()
    }
}

/// Calls `each` with what every term shares with the one before it and what it adds. `None` when the bytes are not what a
/// writer writes.
fn for_each_step(mut coded: &[u8], mut each: impl FnMut(usize, &[u8])) -> Option<()> {
    let mut previous_len = 0;
    while let Some((&head, rest)) = coded.split_first() {
        let (shared, len, rest) = match (head, rest) {
            (0, [shared, len, rest @ ..]) => (usize::from(*shared), usize::from(*len), rest),
            (0, _) => return None,
            (head, rest) => (usize::from(head >> 4), usize::from(head & 15), rest),
        };
        let (added, rest) = rest.split_at_checked(len)?;
        if shared > previous_len {
            return None;
        }
        each(shared, added);
        previous_len = shared + len;
        coded = rest;
    }
    Some(())
}

/// Terms that are put back together, each between two newlines.
struct Joined {
    terms: Vec<u8>,
    /// Where the last one begins.
    last: usize,
}

impl Joined {
    /// None yet; room for so many bytes.
    fn with_capacity(bytes: usize) -> Joined {
        let mut terms = Vec::with_capacity(bytes);
        terms.push(b'\n');
        Joined { terms, last: 1 }
    }

    /// Adds what shares so many bytes with the last one.
    fn push(&mut self, shared: usize, added: &[u8]) {
        let start = self.terms.len();
        self.terms.extend_from_within(self.last..self.last + shared);
        self.terms.extend_from_slice(added);
        self.terms.push(b'\n');
        self.last = start;
    }

    /// Forgets all but the last one.
    fn keep_last(&mut self) {
        self.terms.drain(1..self.last);
        self.last = 1;
    }
}

/// Puts all terms back together. `None` when the bytes are not what a writer writes.
fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut all = Joined::with_capacity(coded.len() * 9 / 4);
    for_each_step(coded, |shared, added| all.push(shared, added))?;
    Some(all.terms)
}

/// A block is searched when it has grown to this: it stays in the processor's own cache.
const BLOCK_BYTES: usize = 64 << 10;

/// The vocabulary of an open segment.
pub(crate) struct Vocabulary {
    coded: OwnedBytes,
    terms: OnceLock<Vec<u8>>,
    /// Whether it was gone over once. A process that asks for one thing does not come again; one that does gets all terms put together.
    was_asked: AtomicBool,
}

impl Vocabulary {
    fn of(coded: OwnedBytes) -> Self {
        Vocabulary { coded, terms: OnceLock::new(), was_asked: AtomicBool::new(false) }
    }

    /// Opens the file of a segment.
    pub(crate) fn open(reader: &SegmentReader) -> tantivy::Result<Self> {
        let file = reader.open_read(SegmentComponent::Custom(EXTENSION.into()))?;
        Ok(Vocabulary::of(file.read_bytes()?))
    }

    /// The terms, each between two newlines.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn terms(&self) -> tantivy::Result<&[u8]> {
        if let Some(terms) = self.terms.get() {
            return Ok(terms);
        }
        let terms = decode(&self.coded).ok_or_else(damaged)?;
        Ok(self.terms.get_or_init(|| terms))
    }

    /// Calls `each` with every term that is at most `max` slips away from `word`, and with how many; in order. The terms need
    /// not have been put together for that.
    ///
    /// # Errors
    /// As [`Vocabulary::terms`].
    pub(crate) fn for_each_near(&self, word: &[u8], max: u8, mut each: impl FnMut(&[u8], u8)) -> tantivy::Result<()> {
        let mut near = Near::new(word, max);
        let step = |shared: usize, added: &[u8]| {
            if let Some((term, distance)) = near.next(shared, added) {
                each(term, distance);
            }
        };
        Ok(for_each_step(&self.coded, step).ok_or_else(damaged)?)
    }

    /// Calls `each` with every term that holds `needle`, in order. `needle` may begin or end with a newline to hold the
    /// match to a term's start or end.
    ///
    /// # Errors
    /// As [`Vocabulary::terms`].
    pub(crate) fn for_each_match(&self, needle: &[u8], mut each: impl FnMut(&[u8])) -> tantivy::Result<()> {
        let finder = memchr::memmem::Finder::new(needle);
        if self.was_asked.swap(true, Relaxed) {
            for_each_hit(&finder, self.terms()?, &mut each);
            return Ok(());
        }
        let mut block = Joined::with_capacity(BLOCK_BYTES + 2 * RUN_BYTES_MAX);
        // A block begins with the last term of the one before, which was searched there.
        let mut from = 0;
        let step = |shared: usize, added: &[u8]| {
            if block.terms.len() > BLOCK_BYTES {
                for_each_hit(&finder, &block.terms[from..], &mut each);
                block.keep_last();
                from = block.terms.len() - 1;
            }
            block.push(shared, added);
        };
        for_each_step(&self.coded, step).ok_or_else(damaged)?;
        for_each_hit(&finder, &block.terms[from..], &mut each);
        Ok(())
    }
}

/// Calls `each` with every term in `terms`, each between two newlines, that the finder's needle is in.
fn for_each_hit(finder: &memchr::memmem::Finder<'_>, terms: &[u8], each: &mut impl FnMut(&[u8])) {
    let inner = usize::from(finder.needle().first() == Some(&b'\n'));
    let mut at = 0;
    while let Some(found) = finder.find(&terms[at..]) {
        let hit = at + found + inner;
        let start = memchr::memrchr(b'\n', &terms[..hit]).map_or(0, |newline| newline + 1);
        let end = memchr::memchr(b'\n', &terms[hit..]).map_or(terms.len(), |newline| hit + newline);
        each(&terms[start..end]);
        at = end;
    }
}

fn damaged() -> DataCorruption {
    DataCorruption::comment_only("vocabulary of a segment")
}

/// Gives tantivy the vocabulary file as a component of its segments.
#[derive(Debug)]
pub(crate) struct VocabularyPlugin {
    fields: Fields,
}

impl VocabularyPlugin {
    pub(crate) fn new(fields: Fields) -> Self {
        VocabularyPlugin { fields }
    }
}

impl SegmentPlugin for VocabularyPlugin {
    fn extensions(&self) -> &[&str] {
        &[EXTENSION]
    }

    fn create_writer(&self, _: &PluginWriterContext<'_>) -> tantivy::Result<Box<dyn PluginWriter>> {
        Ok(Box::new(EmptyWriter))
    }

    fn merge(&self, context: PluginMergeContext<'_>) -> tantivy::Result<()> {
        // The term dictionary of the target is written before custom components are, and holds exactly the merged terms.
        let file = context.target_segment.open_read(SegmentComponent::Terms)?;
        let composite = tantivy::directory::CompositeFile::open(&file)?;
        let mut writer = VocabularyWriter::create(context.target_segment)?;
        if let Some(terms) = composite.open_read(self.fields.text) {
            let dictionary = tantivy::termdict::TermDictionary::open(terms)?;
            let mut stream = dictionary.stream()?;
            while stream.advance() {
                writer.push(stream.key())?;
            }
        }
        Ok(writer.close()?)
    }
}

/// Documents never go through tantivy's own segment writer here, but a segment it wrote would need the component.
struct EmptyWriter;

impl PluginWriter for EmptyWriter {
    fn add_document(&mut self, _: u32, _: &dyn ErasedDocument, _: &Schema) -> tantivy::Result<()> {
        Err(tantivy::TantivyError::InternalError("documents are added as finished segments only".into()))
    }

    fn serialize(self: Box<Self>, segment: &Segment, _: Option<&DocIdMapping>) -> tantivy::Result<()> {
        Ok(VocabularyWriter::create(segment)?.close()?)
    }

    fn mem_usage(&self) -> usize {
        0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(terms: &[Vec<u8>]) -> Vec<u8> {
        let index = tantivy::Index::create_in_ram(super::super::schema::schema().0);
        let segment = index.new_segment();
        let mut writer = VocabularyWriter::create(&segment).unwrap();
        terms.iter().for_each(|term| writer.push(term).unwrap());
        writer.close().unwrap();
        let file = segment.open_read(SegmentComponent::Custom(EXTENSION.into())).unwrap();
        file.read_bytes().unwrap().to_vec()
    }

    fn vocabulary(terms: &[Vec<u8>]) -> Vocabulary {
        Vocabulary::of(OwnedBytes::new(code(terms)))
    }

    #[test]
    fn matches_are_whole_terms_and_may_be_held_to_an_end() {
        let terms = ["\u{2}c", "ab", "abc", "cab", "xabx"].map(|term| term.as_bytes().to_vec());
        let vocabulary = vocabulary(&terms);
        let check = |needle: &[u8], expect: &[&str]| {
            let mut found = Vec::new();
            vocabulary.for_each_match(needle, |term| found.push(String::from_utf8_lossy(term).into_owned())).unwrap();
            assert_eq!(found, expect, "{}", needle.escape_ascii());
        };
        check(b"ab", &["ab", "abc", "cab", "xabx"]);
        check(b"\nab", &["ab", "abc"]);
        check(b"ab\n", &["ab", "cab"]);
        check(b"c", &["abc", "cab"]);
        check(b"zz", &[]);
    }

    #[test]
    fn the_first_scan_finds_what_later_ones_do() {
        // Several blocks, with matches at their ends: every term has the needle or none.
        let words: std::collections::BTreeSet<Vec<u8>> =
            (0u32..40_000).map(|n| format!("{:x}q{n}", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        let terms: Vec<Vec<u8>> = words.into_iter().collect();
        let coded = code(&terms);
        for needle in [&b"q"[..], b"7q", b"\n1", b"99\n", b"q12", b"nothing"] {
            let vocabulary = Vocabulary::of(OwnedBytes::new(coded.clone()));
            let scan = || {
                let mut found = Vec::new();
                vocabulary.for_each_match(needle, |term| found.push(term.to_vec())).unwrap();
                found
            };
            let first = scan();
            assert!(vocabulary.terms.get().is_none(), "nothing was put together for one scan");
            assert_eq!(first, scan(), "{}", needle.escape_ascii());
            assert!(vocabulary.terms.get().is_some());
            if needle == b"q" {
                assert_eq!(first, terms);
            }
        }
    }

    proptest! {
        #[test]
        fn every_term_comes_back(terms in prop::collection::btree_set("[a-c]{1,20}|a{190}[ab]{1,10}", 0..80)) {
            let terms: Vec<Vec<u8>> = terms.into_iter().map(String::into_bytes).collect();
            let mut expect = vec![b'\n'];
            terms.iter().for_each(|term| { expect.extend_from_slice(term); expect.push(b'\n'); });
            let vocabulary = vocabulary(&terms);
            prop_assert_eq!(vocabulary.terms().unwrap(), &expect[..]);
        }

        #[test]
        fn damage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let all = decode(&bytes);
            let near = Vocabulary::of(OwnedBytes::new(bytes));
            prop_assert_eq!(near.for_each_match(b"a", |_| {}).is_ok(), all.is_some());
            prop_assert_eq!(near.for_each_near(b"abc", 2, |_, _| {}).is_ok(), all.is_some());
        }
    }
}
