//! In which order files are answered.

use super::Hit;
use super::read::Candidate;
use super::searcher::Searcher;
use crate::error::QueryError;
use crate::record::path_bytes;
use crate::store::schema::Entry;
use std::cmp::Ordering;

/// What files are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sort {
    /// As it comes: by directory in the line-oriented modes, otherwise the best first. The fastest.
    #[default]
    None,
    /// By score, the best first.
    Score,
    /// By path, name by name: `a/b` before `a.c`.
    Path,
    /// By time of modification, the oldest first.
    Modified,
}

/// A sort and its direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) by: Sort,
    pub(crate) reverse: bool,
}

impl Order {
    /// Whether which files come first depends on all of them. (In the modes of lines, all scores are the same.)
    pub(super) fn needs_all(self) -> bool {
        matches!(self.by, Sort::Path | Sort::Modified)
    }

    /// Whether none was asked for.
    pub(super) fn is_default(self) -> bool {
        self.by == Sort::None
    }

    fn directed(self, ordering: Ordering) -> Ordering {
        if self.reverse { ordering.reverse() } else { ordering }
    }

    /// Puts files in order.
    pub(super) fn candidates(self, candidates: &mut [Candidate]) {
        let by_path = |a: &Candidate, b: &Candidate| compare_paths(a.path(), b.path());
        match self.by {
            Sort::Path => candidates.sort_by(|a, b| self.directed(by_path(a, b))),
            Sort::Modified => {
                candidates.sort_by(|a, b| self.directed(a.mtime_ns.cmp(&b.mtime_ns)).then_with(|| by_path(a, b)));
            }
            Sort::None | Sort::Score => {}
        }
    }
}

/// As ripgrep sorts paths: name by name. No name holds a NUL.
fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let key = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

impl Searcher {
    /// Puts hits in order that come with the best first.
    pub(super) fn order_hits(&self, order: Order, hits: &mut [Hit]) -> Result<(), QueryError> {
        match order.by {
            Sort::None => {}
            Sort::Score if order.reverse => hits.reverse(),
            Sort::Score => {}
            Sort::Path => hits.sort_by(|a, b| order.directed(a.path.cmp(&b.path))),
            Sort::Modified => {
                let modified = |hit: &Hit| -> Result<i64, QueryError> {
                    let found = self.with_reader(|reader| reader.lookup(&path_bytes(&hit.path)));
                    let entry = found.map_err(|error| self.failed(error))?;
                    Ok(if let Some(Entry::File(meta)) = entry { meta.mtime_ns } else { 0 })
                };
                let times = hits.iter().map(modified).collect::<Result<Vec<i64>, _>>()?;
                let mut places: Vec<usize> = (0..hits.len()).collect();
                places.sort_by(|&a, &b| order.directed(times[a].cmp(&times[b])));
                let sorted: Vec<Hit> = places.into_iter().map(|place| hits[place].clone()).collect();
                hits.clone_from_slice(&sorted);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    proptest! {
        #[test]
        fn paths_are_compared_name_by_name(a in "[a-c.!]{1,3}(/[a-c.!]{1,3}){0,3}", b in "[a-c.!]{1,3}(/[a-c.!]{1,3}){0,3}") {
            // `Path` gives names that are dots alone a meaning; no name in the index is one.
            prop_assume!(a.split('/').chain(b.split('/')).all(|name| name != "." && name != ".."));
            prop_assert_eq!(compare_paths(a.as_bytes(), b.as_bytes()), Path::new(&a).cmp(Path::new(&b)));
        }
    }
}
