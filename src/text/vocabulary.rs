//! The flat vocabulary of a segment: every term, in order, each between two newlines, in one file.
//!
//! Substring and regex queries scan it with SIMD `memmem` (the `memchr` crate) instead of walking an automaton over the
//! term dictionary: 11 MB of terms take about a millisecond. It is a component of the segment, so tantivy checks its
//! footer, keeps it as long as the segment, and has [`VocabularyPlugin`] write it anew when segments are merged.

use super::schema::{FIRST_TERM_BYTE, Fields};
use std::any::Any;
use std::io::Write;
use tantivy::directory::{OwnedBytes, TerminatingWrite, WritePtr};
use tantivy::index::SegmentComponent;
use tantivy::indexer::DocIdMapping;
use tantivy::schema::Schema;
use tantivy::schema::document::ErasedDocument;
use tantivy::{PluginMergeContext, PluginWriter, PluginWriterContext, Segment, SegmentPlugin, SegmentReader};

const EXTENSION: &str = "vocab";

/// Writes the terms of one segment in the order they come.
pub(crate) struct VocabularyWriter(WritePtr);

impl VocabularyWriter {
    /// Starts the file of `segment`.
    pub(crate) fn create(segment: &Segment) -> tantivy::Result<Self> {
        let mut write = segment.open_write(SegmentComponent::Custom(EXTENSION.into()))?;
        write.write_all(b"\n")?;
        Ok(VocabularyWriter(write))
    }

    /// Appends a term, unless it is a tag.
    pub(crate) fn push(&mut self, term: &[u8]) -> std::io::Result<()> {
        if term.first().is_some_and(|&byte| byte >= FIRST_TERM_BYTE) {
            self.0.write_all(term)?;
            self.0.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Writes the footer and makes the file durable.
    pub(crate) fn close(self) -> std::io::Result<()> {
        self.0.terminate()
    }
}

/// The vocabulary of an open segment, memory-mapped.
pub(crate) struct Vocabulary(OwnedBytes);

impl Vocabulary {
    /// Opens the file of a segment.
    pub(crate) fn open(reader: &SegmentReader) -> tantivy::Result<Self> {
        let file = reader.open_read(SegmentComponent::Custom(EXTENSION.into()))?;
        Ok(Vocabulary(file.read_bytes()?))
    }

    /// The terms, each between two newlines.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Calls `each` with every term that holds `needle`, in order. `needle` may begin or end with a newline to hold the
    /// match to a term's start or end.
    pub(crate) fn for_each_match<'a>(&'a self, needle: &[u8], mut each: impl FnMut(&'a [u8])) {
        let all = self.bytes();
        let finder = memchr::memmem::Finder::new(needle);
        let inner = usize::from(needle.first() == Some(&b'\n'));
        let mut at = 0;
        while let Some(found) = finder.find(&all[at..]) {
            let hit = at + found + inner;
            let start = memchr::memrchr(b'\n', &all[..hit]).map_or(0, |newline| newline + 1);
            let end = memchr::memchr(b'\n', &all[hit..]).map_or(all.len(), |newline| hit + newline);
            each(&all[start..end]);
            at = end;
        }
    }
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
