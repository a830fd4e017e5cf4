//! The vectors of one generation, and whose they are.

use super::searcher::Searcher;
use crate::embed::{Embedder, VectorSegment, part_name};
use crate::error::{OpenError, QueryError, StoreError};
use crate::store::schema::{VectorsPart, VectorsState};
use crate::text::segment::DocFile;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Makes the embedder when it is needed; `None` when embedding is off.
pub(crate) type GetEmbedder = Box<dyn Fn() -> Result<Option<Arc<Embedder>>, OpenError> + Send + Sync>;

/// A row of a version that is not published.
pub(super) const NO_FILE: u32 = u32::MAX;

/// See the module documentation.
pub(crate) struct Vectors {
    state: VectorsState,
    parts: io::Result<Vec<VectorSegment>>,
    embedder: GetEmbedder,
    rows: OnceLock<Rows>,
}

/// What the rows belong to.
pub(super) struct Rows {
    /// All files of the text index, by id.
    pub(super) files: Vec<DocFile>,
    /// For each row of each part, the place of its file in `files`, or [`NO_FILE`].
    pub(super) of_parts: Vec<Vec<u32>>,
    /// The rows that have one: bit `row % 64` of word `row / 64`.
    pub(super) living: Vec<Vec<u64>>,
    /// Files that are embedded and have a row.
    pub(super) embedded: usize,
    /// Files that are not embedded yet.
    pub(super) not_embedded: usize,
}

impl Vectors {
    /// The vectors that `state` names in the directory `dir`. Every byte of the files in `unsealed` is looked at. That they
    /// cannot be read, or are damaged, is no error before they are asked for.
    pub(crate) fn open(
        dir: &Path,
        state: Result<VectorsState, StoreError>,
        unsealed: &[String],
        embedder: GetEmbedder,
    ) -> Vectors {
        let (state, parts) = match state {
            Ok(state) => {
                let open = |part: &VectorsPart| {
                    let check = unsealed.contains(&part_name(part.number));
                    VectorSegment::open_part(dir, (part.number, part.rows), state.model, state.dims, check)
                };
                let parts = state.parts.iter().map(open).collect();
                (state, parts)
            }
            Err(error) => (VectorsState::default(), Err(io::Error::other(error.to_string()))),
        };
        Vectors { state, parts, embedder, rows: OnceLock::new() }
    }

    /// Whether all parts could be opened.
    pub(crate) fn are_whole(&self) -> bool {
        self.parts.is_ok()
    }

    /// Whether a part was not there: it may just have been replaced by a newer one.
    pub(crate) fn lacks_part(&self) -> bool {
        self.parts.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// How far embedding has come.
    pub(crate) fn state(&self) -> &VectorsState {
        &self.state
    }

    /// What is wrong with the files that hold them, one line each, after a look at every byte.
    pub(crate) fn problems(&self) -> Vec<String> {
        match &self.parts {
            Err(problem) => vec![problem.to_string()],
            Ok(parts) => {
                let damaged = self.state.parts.iter().zip(parts).filter(|(_, segment)| !segment.check());
                damaged.map(|(part, _)| format!("vectors of part {}: checksum does not match", part.number)).collect()
            }
        }
    }

    /// What makes vectors of questions, and the parts; or why there is no search by meaning.
    pub(super) fn ready(&self, index_dir: &Path) -> Result<(Arc<Embedder>, &[VectorSegment]), QueryError> {
        let none = |detail: &str| QueryError::NoVectors { path: index_dir.to_path_buf(), detail: detail.to_owned() };
        let embedder = (self.embedder)()?.ok_or_else(|| none("embedding is off: choose another `embed` than off"))?;
        let parts = self.parts.as_ref().map_err(|problem| {
            none(&format!("{problem}: run `leindex-engine embed`, which makes what is damaged anew"))
        })?;
        if self.state.dims == 0 {
            return Err(none("nothing is embedded yet: run `leindex-engine embed`"));
        }
        if self.state.model != embedder.id() {
            let detail = "it was embedded by another model: name that one with --model DIR, or run `leindex-engine embed` with this one \
                 (--replace if it is none)";
            return Err(none(detail));
        }
        Ok((embedder, parts))
    }

    /// Whose the rows are; found out once.
    pub(super) fn rows(&self, searcher: &Searcher) -> &Rows {
        self.rows.get_or_init(|| {
            let mut files: Vec<DocFile> = searcher.segments.iter().flat_map(|segment| segment.all_files()).collect();
            files.sort_unstable_by_key(|file| file.id);
            let of_parts: Vec<Vec<u32>> = self.parts.iter().flatten().map(|part| places(part, &files)).collect();
            let living = of_parts.iter().map(|files| row_set(files, |file| file != NO_FILE)).collect();
            let mut has_row = vec![false; files.len()];
            of_parts.iter().flatten().filter(|file| **file != NO_FILE).for_each(|file| has_row[*file as usize] = true);
            let embedded = has_row.into_iter().filter(|has_row| *has_row).count();
            let not_embedded = files.iter().filter(|file| !self.state.is_done(file.id)).count();
            Rows { files, of_parts, living, embedded, not_embedded }
        })
    }
}

/// The rows whose file is `wanted`, as a set of bits.
pub(super) fn row_set(files: &[u32], wanted: impl Fn(u32) -> bool) -> Vec<u64> {
    let word = |files: &[u32]| files.iter().enumerate().map(|(bit, &file)| u64::from(wanted(file)) << bit).sum();
    files.chunks(64).map(word).collect()
}

fn places(part: &VectorSegment, files: &[DocFile]) -> Vec<u32> {
    // Rows of one file lie together.
    let mut last = (0, NO_FILE);
    let place = |id: u32| files.binary_search_by_key(&id, |file| file.id).map_or(NO_FILE, |at| at as u32);
    let of_row = |owner: crate::embed::Owner| {
        if last.0 != owner.file || last.1 == NO_FILE {
            last = (owner.file, place(owner.file));
        }
        last.1
    };
    part.owners().map(of_row).collect()
}
