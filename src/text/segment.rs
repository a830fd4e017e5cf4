//! Writes an [`Inverter`] as a tantivy segment through tantivy's public serializers.
//!
//! This skips tantivy's document pipeline (token streams, an arena hash map of recorders, one virtual call a token); the
//! bytes are those its own writer would produce for the same postings. `docs/format.md` lists the calls that the pinned
//! version of tantivy is trusted with.

use super::inverter::Inverter;
use super::schema::{Fields, has_frequencies};
use super::vocabulary::VocabularyWriter;
use crate::failpoint::reached;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tantivy::directory::TerminatingWrite;
use tantivy::fastfield::FastFieldsWriter;
use tantivy::fieldnorm::{FieldNormReaders, FieldNormsSerializer, FieldNormsWriter};
use tantivy::index::{SegmentComponent, SegmentMeta};
use tantivy::postings::InvertedIndexSerializer;
use tantivy::store::StoreWriter;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, Segment, TantivyDocument, TantivyError};

/// Store blocks hold nothing; any size will do.
const STORE_BLOCK_BYTES: usize = 16 << 10;
/// Terms written between two looks at whether to go on: about a millisecond.
const TERMS_BETWEEN_LOOKS: u32 = 1024;

/// The file of a document and the directory that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DocFile {
    pub(crate) id: u32,
    pub(crate) dir: u32,
}

/// Writes the documents of `inverter` as a new segment of `index`; document `n` is that of `files[n]`. What was written is
/// durable when it returns; nothing refers to it until the meta is added by a commit. Ends with an error soon after
/// `cancelled` is set; what was written by then is swept when the index is next opened.
pub(crate) fn write_segment(
    index: &Index,
    fields: Fields,
    inverter: Inverter,
    files: &[DocFile],
    cancelled: &AtomicBool,
) -> tantivy::Result<SegmentMeta> {
    let segment = index.new_segment();
    let doc_count = inverter.doc_count();
    debug_assert_eq!(doc_count as usize, files.len());
    let norms = write_field_norms(&segment, fields, &inverter)?;
    let token_count: u64 = inverter.doc_lengths().iter().map(|&length| u64::from(length)).sum();
    let mut serializer = InvertedIndexSerializer::open(&segment)?;
    write_ids(&mut serializer, fields, files)?;
    {
        let mut vocabulary = VocabularyWriter::create(&segment)?;
        let mut field = serializer.new_field(fields.text, token_count, norms.get_field(fields.text)?)?;
        let mut terms = 0u32;
        inverter.for_each_term(|term, postings| -> tantivy::Result<()> {
            terms += 1;
            if terms.is_multiple_of(TERMS_BETWEEN_LOOKS) && cancelled.load(Relaxed) {
                return Err(TantivyError::InternalError("cancelled".into()));
            }
            field.new_term(term, postings.len() as u32, has_frequencies(term))?;
            for posting in postings {
                field.write_doc(posting.doc, posting.frequency, &[]);
            }
            field.close_term()?;
            Ok(vocabulary.push(term)?)
        })?;
        field.close()?;
        vocabulary.close()?;
    }
    serializer.close()?;
    reached("in-segment");
    write_columns(&segment, fields, files)?;
    Ok(segment.with_max_doc(doc_count).meta().clone())
}

fn write_field_norms(segment: &Segment, fields: Fields, inverter: &Inverter) -> tantivy::Result<FieldNormReaders> {
    let mut writer = FieldNormsWriter::for_schema(&segment.schema());
    for (doc, &length) in inverter.doc_lengths().iter().enumerate() {
        writer.record(doc as u32, fields.text, length);
    }
    writer.fill_up_to_max_doc(inverter.doc_count());
    let file = segment.open_write(SegmentComponent::FieldNorms)?;
    writer.serialize(FieldNormsSerializer::from_write(file)?, None)?;
    FieldNormReaders::open(segment.open_read(SegmentComponent::FieldNorms)?)
}

fn write_ids(serializer: &mut InvertedIndexSerializer, fields: Fields, files: &[DocFile]) -> tantivy::Result<()> {
    let mut docs: Vec<(u32, u32)> = files.iter().enumerate().map(|(doc, file)| (file.id, doc as u32)).collect();
    docs.sort_unstable();
    let mut field = serializer.new_field(fields.id, 0, None)?;
    for (id, doc) in docs {
        field.new_term(&u64::from(id).to_be_bytes(), 1, false)?;
        field.write_doc(doc, 1, &[]);
        field.close_term()?;
    }
    Ok(field.close()?)
}

fn write_columns(segment: &Segment, fields: Fields, files: &[DocFile]) -> tantivy::Result<()> {
    let schema = segment.schema();
    let mut columns = FastFieldsWriter::from_schema_and_tokenizer_manager(&schema, TokenizerManager::default())?;
    let store_file = segment.open_write(SegmentComponent::Store)?;
    let compressor = segment.index().settings().docstore_compression;
    let mut store = StoreWriter::new(store_file, compressor, STORE_BLOCK_BYTES, false)?;
    for file in files {
        let mut document = TantivyDocument::default();
        document.add_u64(fields.id, u64::from(file.id));
        document.add_u64(fields.dir, u64::from(file.dir));
        columns.add_document(&document)?;
        store.store(&document, &schema)?;
    }
    let mut file = segment.open_write(SegmentComponent::FastFields)?;
    columns.serialize(&mut file, None)?;
    file.terminate()?;
    Ok(store.close()?)
}
