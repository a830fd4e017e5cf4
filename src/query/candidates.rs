//! Which documents of a segment satisfy a plan.

use super::plan::{Fragment, Plan, Planned, Shape};
use crate::text::language::Language;
use crate::text::schema::{FIRST_TERM_BYTE, Fields, TAG_FOLDS, TAG_LONG_RUN, TAG_NOT_UTF8, TAG_ODD_RUN, language_tag};
use crate::text::segment::DocFile;
use crate::text::vocabulary::Vocabulary;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use tantivy::columnar::Column;
use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption;
use tantivy::{InvertedIndexReader, SegmentReader};

/// A fragment that more terms than this satisfy, for each document of the segment, is not worth it: looking up a term takes
/// about a microsecond, reading a file ten.
const TERMS_PER_DOC_MAX: usize = 8;

/// One segment, open for searching.
pub(super) struct Segment {
    pub(super) reader: SegmentReader,
    inverted: Arc<InvertedIndexReader>,
    vocabulary: Vocabulary,
    ids: Column<u64>,
    dirs: Column<u64>,
}

/// A set of documents of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Docs {
    All,
    Some(Vec<u64>),
}

impl Segment {
    pub(super) fn open(reader: &SegmentReader, fields: Fields) -> tantivy::Result<Segment> {
        Ok(Segment {
            inverted: reader.inverted_index(fields.text)?,
            vocabulary: Vocabulary::open(reader)?,
            ids: reader.fast_fields().u64("id")?,
            dirs: reader.fast_fields().u64("dir")?,
            reader: reader.clone(),
        })
    }

    /// Terms of all documents.
    pub(super) fn token_count(&self) -> u64 {
        self.inverted.total_num_tokens()
    }

    /// The file of a document.
    pub(super) fn file(&self, doc: u32) -> DocFile {
        let value = |column: &Column<u64>| column.first(doc).and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        DocFile { id: value(&self.ids), dir: value(&self.dirs) }
    }

    /// The files of all living documents.
    pub(super) fn all_files(&self) -> impl Iterator<Item = DocFile> {
        self.alive(&Docs::All).into_iter().map(|doc| self.file(doc))
    }

    /// The files that may match: those that satisfy the plan, and those that it cannot speak for.
    pub(super) fn candidates(&self, planned: &Planned, languages: &[Language]) -> tantivy::Result<Vec<u32>> {
        let _span = tracing::debug_span!("candidates").entered();
        let memo = Memo::default();
        let mut docs = self.evaluate(&planned.plan, &memo)?;
        if let Some(plan) = &planned.odd_runs {
            let odd = self.with_tag(Docs::none(self.max_doc()), TAG_ODD_RUN)?;
            if !odd.is_empty() {
                docs = docs.or(odd.and(self.evaluate(plan, &memo)?));
            }
        }
        let tags = [
            (true, TAG_LONG_RUN),
            // Their terms are those of a decoding, while the search reads their bytes.
            (true, TAG_NOT_UTF8),
            (planned.folded, TAG_FOLDS),
        ];
        for (_, tag) in tags.iter().filter(|(needed, _)| *needed) {
            docs = self.with_tag(docs, tag)?;
        }
        if !languages.is_empty() {
            let mut accepted = Docs::none(self.max_doc());
            for language in languages {
                accepted = self.with_tag(accepted, &language_tag(language.code()))?;
            }
            docs = docs.and(accepted);
        }
        Ok(self.alive(&docs))
    }

    /// How many files hold a term, counting those that are deleted.
    pub(super) fn files_with(&self, term: &[u8]) -> tantivy::Result<u32> {
        Ok(self.inverted.terms().get(term)?.map_or(0, |info| info.doc_freq))
    }

    /// Whether a term is `word`, or begins or ends with it, or holds it: what may go on before and behind it is `open`.
    pub(super) fn has_like(&self, word: &[u8], open: (bool, bool)) -> tantivy::Result<bool> {
        let end = |open: bool| if open { &b""[..] } else { b"\n" };
        let mut found = false;
        self.vocabulary.for_each_match(&[end(open.0), word, end(open.1)].concat(), |_| found = true)?;
        Ok(found)
    }

    /// Calls `each` with every term that is at most `max` slips away from `word`, and with how many.
    pub(super) fn for_each_near(&self, word: &[u8], max: u8, each: impl FnMut(&[u8], u8)) -> tantivy::Result<()> {
        self.vocabulary.for_each_near(word, max, each)
    }

    fn max_doc(&self) -> u32 {
        self.reader.max_doc()
    }

    fn terms_max(&self) -> usize {
        self.max_doc() as usize * TERMS_PER_DOC_MAX
    }

    fn alive(&self, docs: &Docs) -> Vec<u32> {
        let alive = self.reader.alive_bitset();
        let is_alive = |doc: &u32| alive.is_none_or(|alive| alive.is_alive(*doc));
        match docs {
            Docs::All => (0..self.max_doc()).filter(is_alive).collect(),
            Docs::Some(bits) => {
                let doc = |(index, &word): (usize, &u64)| {
                    (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index as u32 * 64 + bit)
                };
                bits.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(doc).filter(is_alive).collect()
            }
        }
    }

    fn with_tag(&self, docs: Docs, tag: &[u8]) -> tantivy::Result<Docs> {
        match (docs, self.inverted.terms().get(tag)?) {
            (Docs::Some(mut bits), Some(info)) => {
                self.add_postings(&info, &mut bits)?;
                Ok(Docs::Some(bits))
            }
            (docs, _) => Ok(docs),
        }
    }

    fn evaluate(&self, plan: &Plan, memo: &Memo) -> tantivy::Result<Docs> {
        Ok(match plan {
            Plan::All => Docs::All,
            Plan::None => Docs::none(self.max_doc()),
            Plan::Fragment(fragment) => self.fragment(fragment, memo)?,
            Plan::And(children) => {
                let mut docs = Docs::All;
                // Children come cheapest and most selective first.
                for child in children {
                    docs = docs.and(self.evaluate(child, memo)?);
                    if docs.is_empty() {
                        break;
                    }
                }
                docs
            }
            Plan::Or(children) => {
                let mut docs = Docs::none(self.max_doc());
                for child in children {
                    docs = docs.or(self.evaluate(child, memo)?);
                }
                docs
            }
        })
    }

    fn fragment(&self, fragment: &Fragment, memo: &Memo) -> tantivy::Result<Docs> {
        if let Some(docs) = memo.0.borrow().get(fragment) {
            return Ok(docs.clone());
        }
        let docs = match self.terms_of(fragment)? {
            None => Docs::All,
            Some(infos) => {
                let mut bits = vec![0u64; self.max_doc() as usize / 64 + 1];
                for info in &infos {
                    self.add_postings(info, &mut bits)?;
                }
                Docs::Some(bits)
            }
        };
        memo.0.borrow_mut().insert(fragment.clone(), docs.clone());
        Ok(docs)
    }

    /// The terms that satisfy a fragment; `None` when they are too many to be worth it.
    fn terms_of(&self, fragment: &Fragment) -> tantivy::Result<Option<Vec<TermInfo>>> {
        let dictionary = self.inverted.terms();
        let bytes = &fragment.bytes;
        let mut infos = Vec::new();
        match fragment.shape {
            Shape::Exact => infos.extend(dictionary.get(bytes)?),
            Shape::Prefix => {
                let mut stream = dictionary.range().ge(bytes).into_stream()?;
                while stream.advance() && stream.key().starts_with(bytes) {
                    infos.push(stream.value().clone());
                    if infos.len() > self.terms_max() {
                        return Ok(None);
                    }
                }
            }
            // A single letter is in nearly every file.
            Shape::Suffix | Shape::Substring if bytes.len() < 2 => return Ok(None),
            Shape::Suffix | Shape::Substring => {
                let mut needle = bytes.clone();
                if fragment.shape == Shape::Suffix {
                    needle.push(b'\n');
                }
                let mut terms: Vec<Vec<u8>> = Vec::new();
                let most = self.terms_max();
                // One more than that is too many, whatever else there is.
                let take = |term: &[u8]| {
                    if terms.len() <= most {
                        terms.push(term.to_vec());
                    }
                };
                self.vocabulary.for_each_match(&needle, take)?;
                if terms.len() > self.terms_max() {
                    return Ok(None);
                }
                for term in terms {
                    debug_assert!(term.first().is_some_and(|&byte| byte >= FIRST_TERM_BYTE));
                    infos.extend(dictionary.get(term)?);
                }
            }
        }
        Ok(Some(infos))
    }

    fn add_postings(&self, info: &TermInfo, bits: &mut [u64]) -> tantivy::Result<()> {
        let mut postings = self.inverted.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        loop {
            let docs = postings.docs();
            if docs.is_empty() {
                return Ok(());
            }
            for &doc in docs {
                bits[doc as usize / 64] |= 1 << (doc % 64);
            }
            postings.advance();
        }
    }
}

/// Fragments that were evaluated already: an alternation repeats them.
#[derive(Default)]
struct Memo(RefCell<HashMap<Fragment, Docs>>);

impl Docs {
    fn none(max_doc: u32) -> Docs {
        Docs::Some(vec![0; max_doc as usize / 64 + 1])
    }

    fn is_empty(&self) -> bool {
        match self {
            Docs::All => false,
            Docs::Some(bits) => bits.iter().all(|&word| word == 0),
        }
    }

    fn and(self, other: Docs) -> Docs {
        match (self, other) {
            (Docs::All, docs) | (docs, Docs::All) => docs,
            (Docs::Some(mut a), Docs::Some(b)) => {
                a.iter_mut().zip(&b).for_each(|(a, b)| *a &= b);
                Docs::Some(a)
            }
        }
    }

    fn or(self, other: Docs) -> Docs {
        match (self, other) {
            (Docs::All, _) | (_, Docs::All) => Docs::All,
            (Docs::Some(mut a), Docs::Some(b)) => {
                a.iter_mut().zip(&b).for_each(|(a, b)| *a |= b);
                Docs::Some(a)
            }
        }
    }
}
