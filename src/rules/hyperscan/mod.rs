//! All rules of a tree in one compiled Hyperscan database: one scan of a path says which rule decides.
//!
//! Every rule of every file becomes one expression (see `translate`) whose number is its rank, so that the highest number
//! that matches is the rule that decides. Files whose rules Hyperscan refuses, or that have too many, are asked one by one
//! as in [`Stack`](super::Stack).
//!
//! Hyperscan: Wang et al., "Hyperscan: A Fast Multi-pattern Regex Matcher for Modern CPUs", NSDI 2019.

mod translate;

use super::file::{Candidate, RuleFile};
use super::stack::Match;
use ::hyperscan::{BlockDatabase, BlockMode, Builder, HsError, Matching, Pattern, PatternFlags, Patterns};
use std::fmt;
use std::sync::Arc;
use translate::{expression, text};

/// A file with more rules than this is not compiled: the time that it takes grows faster than their number.
const FILE_RULES_MAX: usize = 5_000;
/// So often a set is compiled again without the file of a refused expression.
const ATTEMPTS: usize = 8;

/// The compiled rules of a tree. It never changes, and threads share it.
pub struct Database {
    /// `None` when no rule is in it.
    hyperscan: Option<BlockDatabase>,
    /// In ascending precedence.
    files: Box<[Arc<RuleFile>]>,
    /// The file and rule of an expression.
    rules: Box<[(u32, u32)]>,
    /// Files that are not in it, highest precedence first.
    others: Box<[u32]>,
}

/// What one thread needs for its scans.
pub struct Scratch {
    hyperscan: Option<::hyperscan::Scratch>,
    text: Vec<u8>,
}

/// Why there is no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Hyperscan: {0}")]
pub struct DatabaseError(String);

impl From<::hyperscan::Error> for DatabaseError {
    fn from(error: ::hyperscan::Error) -> DatabaseError {
        DatabaseError(error.to_string())
    }
}

impl Database {
    /// Compiles the rules of `files`. Takes about half a millisecond a rule.
    ///
    /// # Errors
    /// When Hyperscan cannot compile anything of them, for want of memory for example.
    pub fn compile(files: Vec<Arc<RuleFile>>) -> Result<Database, DatabaseError> {
        let files = in_order(files);
        let mut others: Vec<u32> = Vec::new();
        for (index, file) in files.iter().enumerate() {
            if file.len() > FILE_RULES_MAX {
                others.push(index as u32);
            }
        }
        for _ in 0..ATTEMPTS {
            let (patterns, rules) = patterns(&files, &others)?;
            let built = if rules.is_empty() { Ok(None) } else { patterns.build::<BlockMode>().map(Some) };
            match built {
                Ok(hyperscan) => {
                    others.sort_unstable_by(|a, b| b.cmp(a));
                    return Ok(Database { hyperscan, files, rules: rules.into(), others: others.into() });
                }
                Err(error) => others.push(refused(&error, &rules).ok_or(error)?),
            }
        }
        Err(DatabaseError("too many rules are refused".into()))
    }

    /// The compiled expressions, for [`Database::load`] on the same kind of processor.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DatabaseError> {
        Ok(match &self.hyperscan {
            Some(database) => database.serialize()?.to_vec(),
            None => Vec::new(),
        })
    }

    /// What a thread needs to ask.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn scratch(&self) -> Result<Scratch, DatabaseError> {
        let hyperscan = self.hyperscan.as_ref().map(|database| database.alloc_scratch()).transpose()?;
        Ok(Scratch { hyperscan, text: Vec::with_capacity(256) })
    }

    /// As [`Stack::verdict`](super::Stack::verdict) with all files that hold for `path`.
    pub fn verdict(&self, path: &[u8], is_dir: bool, scratch: &mut Scratch) -> Option<Match<'_>> {
        let (file, rule) = self.last_match(path, is_dir, scratch)?;
        let file = &self.files[file as usize];
        let (ignored, line, pattern) = file.describe(rule as usize);
        Some(Match { ignored, source: file.source(), line, pattern })
    }

    fn last_match(&self, path: &[u8], is_dir: bool, scratch: &mut Scratch) -> Option<(u32, u32)> {
        let mut best = 0;
        if let (Some(database), Some(hyperscan)) = (&self.hyperscan, &scratch.hyperscan) {
            text(path, is_dir, &mut scratch.text);
            let each = |id: u32, _: u64, _: u64, _: u32| {
                best = best.max(id + 1);
                Matching::Continue
            };
            let scanned = database.scan(&scratch.text, hyperscan, each);
            debug_assert_eq!(scanned, Ok(()));
        }
        let found = best.checked_sub(1).map(|id| self.rules[id as usize]);
        if self.others.is_empty() {
            return found;
        }
        let candidate = Candidate::new(path, is_dir);
        let above = |file: u32| found.is_none_or(|(best, _)| file > best);
        let mut others = self.others.iter().take_while(|&&file| above(file));
        let other = others.find_map(|&file| Some((file, self.files[file as usize].last_match(&candidate)? as u32)));
        other.or(found)
    }
}

/// Files in ascending precedence.
fn in_order(mut files: Vec<Arc<RuleFile>>) -> Box<[Arc<RuleFile>]> {
    files.sort_by_key(|file| (file.source().kind, file.source().base.len()));
    files.into()
}

/// The expressions of all files but `others`, and where each comes from.
fn patterns(files: &[Arc<RuleFile>], others: &[u32]) -> Result<(Patterns, Vec<(u32, u32)>), DatabaseError> {
    let (mut patterns, mut rules) = (Vec::new(), Vec::new());
    for (index, file) in files.iter().enumerate() {
        let index = index as u32;
        if others.contains(&index) {
            continue;
        }
        for shape in file.shapes() {
            if let Some(expression) = expression(&file.source().base, &shape, file.case()) {
                let mut pattern = Pattern::with_flags(expression, PatternFlags::DOTALL)?;
                pattern.id = Some(rules.len());
                patterns.push(pattern);
                rules.push((index, shape.id as u32));
            }
        }
    }
    Ok((Patterns(patterns), rules))
}

/// The file of the expression that an error is about.
fn refused(error: &::hyperscan::Error, rules: &[(u32, u32)]) -> Option<u32> {
    let ::hyperscan::Error::Hyperscan(HsError::CompileError(error)) = error else { return None };
    rules.get(error.expression()?).map(|(file, _)| *file)
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, rules) = (self.files.len(), self.rules.len());
        f.debug_struct("Database").field("files", &files).field("rules", &rules).field("others", &self.others).finish()
    }
}
