//! Checks an index from end to end.

use super::{Engine, Snapshot};
use crate::error::{OpenError, QueryError, StoreError};
use crate::record::{Flags, ROOT};
use crate::store::schema::{Entry, FORMAT};
use crate::store::seal;
use crate::store::{Store, StoreReader};
use crate::symbols::Symbols;
use crate::text::index::{TextReader, damaged_files, documents, segment_files};
use std::collections::{HashMap, HashSet};
use tantivy::DocSet;

/// Problems that are described; all of them are counted.
const LISTED_MAX: usize = 100;

/// What checking an index has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The generation that was checked.
    pub generation: u64,
    /// Metadata records read and checked.
    pub records: u64,
    /// Documents of the text index that belong to a file.
    pub documents: u64,
    /// The first 100 problems, described.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, what: String) {
        self.problem_count += 1;
        if self.problems.len() < LISTED_MAX {
            self.problems.push(what);
        }
    }
}

pub(super) fn verify(engine: &Engine) -> Result<Verification, QueryError> {
    let _span = tracing::info_span!("verify").entered();
    let mut found = Verification::default();
    check_pages(engine, &mut found)?;
    // A damaged environment is not even opened: LMDB may crash.
    if !found.is_sound() {
        return Ok(found);
    }
    let store = engine.existing_store()?;
    match damaged(engine, &store) {
        Ok(files) => {
            for file in files {
                found.problem(format!("{file}: checksum does not match, or the file is missing"));
            }
        }
        Err(error) => found.problem(error.to_string()),
    }
    // Nothing that is damaged is opened: what it holds is anyone's guess.
    if !found.is_sound() {
        return Ok(found);
    }
    let snapshot = match Snapshot::open(engine) {
        Ok(snapshot) => snapshot,
        Err(QueryError::Open(OpenError::Damaged { detail, .. })) => {
            found.problem(detail);
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    found.generation = snapshot.generation();
    let checked = snapshot.searcher().with_reader(|reader| {
        let indexed = check_records(reader, &mut found)?;
        check_text(snapshot.searcher().text(), &indexed, &mut found)
    });
    if let Err(error) = checked {
        found.problem(error.to_string());
    }
    for problem in snapshot.searcher().vectors().problems() {
        found.problem(problem);
    }
    Ok(found)
}

/// Walks the pages of the metadata store without LMDB.
fn check_pages(engine: &Engine, found: &mut Verification) -> Result<(), QueryError> {
    let layout = &engine.inner.layout;
    let file = layout.meta_file();
    // No index, or one that was about to be made: opening it will say so.
    if std::fs::metadata(&file).map_or(true, |metadata| metadata.len() == 0) {
        return Ok(());
    }
    let checked = seal::undisturbed_check(&layout.meta_dir()).map_err(|error| layout.store_error(error))?;
    let Some(pages) = checked else {
        let why = std::io::Error::other("is being written all the time: stop the run or watcher, and verify again");
        return Err(OpenError::IndexDir { path: file, source: why }.into());
    };
    tracing::debug!(pages = pages.pages, records = pages.records, lost = pages.lost, "walked the metadata store");
    // What is odd to this program may be right in another format.
    if let Some(format) = pages.format.filter(|format| *format != FORMAT && !pages.is_sound()) {
        let path = layout.index_dir.clone();
        return Err(OpenError::Format { path, found: format, supported: FORMAT }.into());
    }
    for problem in &pages.problems {
        found.problem(format!("meta/data.mdb: {problem}"));
    }
    found.problem_count = pages.problem_count;
    Ok(())
}

/// Files of the text index that do not match their checksum, or are missing.
fn damaged(engine: &Engine, store: &Store) -> Result<Vec<String>, StoreError> {
    let published =
        || StoreReader::begin(store)?.text_meta()?.ok_or_else(|| StoreError::Damaged("list of segments".into()));
    loop {
        let meta = published()?;
        let damaged = damaged_files(&engine.text_dir(), segment_files(&meta))?;
        // A run that publishes meanwhile deletes files of the generation that was looked at.
        if damaged.is_empty() || published()? == meta {
            return Ok(damaged);
        }
    }
}

/// Reads every record: checksums, ids used twice, directories without a parent. Returns the files that have a document,
/// and the directory of each.
fn check_records(reader: &StoreReader, found: &mut Verification) -> Result<HashMap<u32, u32>, StoreError> {
    let mut dirs = HashSet::from([ROOT]);
    let mut parents = Vec::new();
    reader.for_each_dir(|id, parent, name| {
        found.records += 1;
        dirs.insert(id);
        parents.push((id, parent));
        if reader.entry(parent, name)? != Some(Entry::Dir(id)) {
            found.problem(format!("directory {id} is not in the directory that it hangs in"));
        }
        Ok(())
    })?;
    for (id, parent) in parents {
        if !dirs.contains(&parent) {
            found.problem(format!("directory {id} hangs in directory {parent}, which is not there"));
        }
    }
    let mut ids = HashSet::new();
    let mut indexed = HashMap::new();
    reader.for_each_file(|parent, _, meta| {
        found.records += 1;
        if !ids.insert(meta.id) {
            found.problem(format!("file {} is there twice", meta.id));
        }
        if !dirs.contains(&parent) {
            found.problem(format!("file {} hangs in directory {parent}, which is not there", meta.id));
        }
        if meta.flags.has(Flags::INDEXED) {
            indexed.insert(meta.id, parent);
        }
        Ok(())
    })?;
    reader.for_each_symbols(|id, bytes| {
        found.records += 1;
        if !ids.contains(&id) {
            found.problem(format!("file {id} has symbols but no record"));
        }
        let mut symbols = Symbols::new(bytes);
        while symbols.next().is_some() {}
        if symbols.is_damaged() {
            found.problem(format!("the symbols of file {id} cannot be read"));
        }
        Ok(())
    })?;
    Ok(indexed)
}

/// Checks that the live documents of the text index are exactly the files that have one.
fn check_text(text: &TextReader, indexed: &HashMap<u32, u32>, found: &mut Verification) -> Result<(), StoreError> {
    let mut missing = indexed.clone();
    for segment in text.searcher.segment_readers() {
        for (id, in_dir) in documents(segment)? {
            found.documents += 1;
            let id = id.unwrap_or(0);
            match missing.remove(&id) {
                Some(dir) if in_dir == Some(dir) => {}
                Some(_) => found.problem(format!("the document of file {id} names another directory")),
                None if indexed.contains_key(&id) => found.problem(format!("file {id} has two documents")),
                None => found.problem(format!("file {id} has a document but no record")),
            }
        }
        check_postings(text, segment, found)?;
    }
    for id in missing.keys() {
        found.problem(format!("file {id} has no document"));
    }
    Ok(())
}

/// Reads the postings of every term: what a checksum cannot tell is whether the writer of the segment was right.
fn check_postings(
    text: &TextReader,
    segment: &tantivy::SegmentReader,
    found: &mut Verification,
) -> Result<(), StoreError> {
    let inverted = segment.inverted_index(text.fields.text)?;
    let mut stream = inverted.terms().stream().map_err(StoreError::Io)?;
    let mut before: Vec<u8> = Vec::new();
    while stream.advance() {
        let info = stream.value();
        let postings = inverted.read_postings_from_terminfo(info, tantivy::schema::IndexRecordOption::Basic)?;
        let mut postings = postings;
        let mut count = 0u32;
        let mut doc = postings.doc();
        while doc < segment.max_doc() {
            count += 1;
            doc = postings.advance();
        }
        if count != info.doc_freq || doc != tantivy::TERMINATED {
            found.problem(format!(
                "term {}: {count} postings, {} expected",
                stream.key().escape_ascii(),
                info.doc_freq
            ));
        }
        if stream.key() <= &before[..] && !before.is_empty() {
            found.problem(format!("term {} is out of order", stream.key().escape_ascii()));
        }
        before = stream.key().to_vec();
    }
    Ok(())
}
