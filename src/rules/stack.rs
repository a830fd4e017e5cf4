//! Precedence: which of the files in force decides.

use std::cmp::Reverse;
use std::sync::Arc;

use super::file::{Candidate, RuleFile};
use super::{Source, SourceKind};

/// The rules in force in one directory. It never changes and is cheap to share; what a deeper directory adds makes a
/// new one, see [`Stack::child`].
#[derive(Debug)]
pub struct Stack {
    /// In the order in which they are asked: the first that has a match decides.
    files: Box<[Arc<RuleFile>]>,
}

/// The rule that decides about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// Whether the path is ignored. `false` for a `!` rule, which says that it is not.
    pub ignored: bool,
    /// Where the rule comes from.
    pub source: &'a Source,
    /// The line of the rule in its source, from 1.
    pub line: usize,
    /// The rule as written, without trailing spaces: what `git check-ignore -v` shows.
    pub pattern: &'a [u8],
}

impl Stack {
    /// The stack of the root. Of two files of the same kind and base, the later one has precedence.
    pub fn new(base_files: Vec<RuleFile>) -> Arc<Stack> {
        Arc::new(Stack { files: in_order(base_files, &[]) })
    }

    /// The stack of a directory inside, which adds the files found there. When none has a rule that can match, that is
    /// this same stack.
    pub fn child(self: &Arc<Stack>, files: Vec<RuleFile>) -> Arc<Stack> {
        if files.iter().all(RuleFile::is_empty) {
            return Arc::clone(self);
        }
        Arc::new(Stack { files: in_order(files, &self.files) })
    }

    /// The rule that decides about `path`, which is relative to the root and has no slash at either end; `None` when no
    /// rule matches, so that the path is not ignored.
    ///
    /// The kind of highest rank that has a match decides; within a kind, the file of the deepest directory; within a
    /// file, the last line. No directory above `path` may be ignored: ask about directories first, and do not enter
    /// those that are. A rule file counts only for paths below its base. Nothing is allocated.
    #[inline]
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Option<Match<'_>> {
        if self.files.is_empty() {
            return None;
        }
        let candidate = Candidate::new(path, is_dir);
        self.files.iter().find_map(|file| {
            let id = file.last_match(&candidate)?;
            let (ignored, line, pattern) = file.describe(id);
            Some(Match { ignored, source: file.source(), line, pattern })
        })
    }

    /// Whether no rule is in force.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// New files and those in force so far, in the order in which they are asked. Files without rules are left out.
fn in_order(new_files: Vec<RuleFile>, so_far: &[Arc<RuleFile>]) -> Box<[Arc<RuleFile>]> {
    let new_files = new_files.into_iter().rev().filter(|file| !file.is_empty()).map(Arc::new);
    let mut files: Vec<_> = new_files.chain(so_far.iter().cloned()).collect();
    let rank = |file: &Arc<RuleFile>| -> (Reverse<SourceKind>, Reverse<usize>) {
        (Reverse(file.source().kind), Reverse(file.source().base.len()))
    };
    files.sort_by_key(rank);
    files.into()
}
