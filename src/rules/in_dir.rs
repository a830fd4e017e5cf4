//! The rules in force for the entries of one directory.
//!
//! What a rule says of the directory is worked out once: rules of files that lie elsewhere are gone before, and of those
//! that look at paths only the few are left that can match in this directory. What is asked for each entry is about its
//! name.

use super::file::{Name, RuleFile};
use super::hyperscan::{Database, Scratch};
use super::stack::Match;
use std::sync::Arc;

/// See the module documentation. Made by [`Stack::in_dir`](super::Stack::in_dir).
#[derive(Debug)]
pub struct InDir<'s> {
    /// Those whose first match decides come first.
    files: Vec<FileInDir<'s>>,
    /// Scans names, where that is worth it.
    database: Option<&'s Database>,
    dir_len: usize,
}

#[derive(Debug)]
struct FileInDir<'s> {
    file: &'s RuleFile,
    base_len: usize,
    literals: &'s [usize],
    globs: Vec<usize>,
}

impl<'s> InDir<'s> {
    /// Of `files` in force for entries of `dir`, which ends in a slash unless it is empty.
    pub(super) fn new(files: &'s [Arc<RuleFile>], database: Option<&'s Database>, dir: &[u8]) -> InDir<'s> {
        let of_file = |file: &'s Arc<RuleFile>| {
            let base = &file.source().base;
            let relative = dir.strip_prefix(&base[..])?;
            let (literals, globs) = (file.literals_in(relative), file.globs_in(relative));
            Some(FileInDir { file, base_len: base.len(), literals, globs })
        };
        InDir { files: files.iter().filter_map(of_file).collect(), database, dir_len: dir.len() }
    }

    /// The rule that decides about `path`, an entry of the directory; `None` when no rule matches.
    ///
    /// # Panics
    /// When the path is shorter than that of the directory.
    #[inline]
    pub fn verdict(&self, path: &[u8], is_dir: bool, scratch: &mut Scratch) -> Option<Match<'s>> {
        let name = &path[self.dir_len..];
        if self.files.is_empty() {
            return None;
        }
        let matched = self.database.and_then(|database| database.scan(name, is_dir, scratch));
        let mut keys = None;
        self.files.iter().find_map(|FileInDir { file, base_len, literals, globs }| {
            let mut best = match matched {
                Some(matched) if file.is_attached() => file.best_number(matched),
                _ => file.best_name(keys.get_or_insert_with(|| Name::new(name, is_dir))),
            };
            if !literals.is_empty() {
                best = file.best(literals, best, &path[*base_len..], is_dir);
            }
            if !globs.is_empty() {
                best = file.best(globs, best, &path[*base_len..], is_dir);
            }
            let (ignored, line, pattern) = file.describe(best.checked_sub(1)?);
            Some(Match { ignored, source: file.source(), line, pattern })
        })
    }
}
