//! Ignore rules: which paths of a tree are left out, and which rule says so.
//!
//! This module does no I/O: bytes in, verdict out. The caller reads the rule files, compiles each with
//! [`RuleFile::parse`], keeps one [`Stack`] a directory, and asks [`Stack::verdict`] for every entry, directories
//! before what is in them. A directory that is ignored must not be entered: that is what makes git's rule hold that a
//! `!` rule cannot re-include what lies below an excluded directory.
//!
//! The oracle is git itself, down to the source, line and text of the deciding rule. Patterns work on bytes, not on
//! characters. `tests/differential_git.rs` compares generated trees with `git check-ignore`.
//!
//! ```
//! # use leindex_engine::rules::{Case, RuleFile, Source, SourceKind, Stack};
//! let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
//! let stack = Stack::new(vec![RuleFile::parse(source, b"*.o\n!keep.o\n", Case::Sensitive)]);
//! assert!(stack.verdict(b"src/main.o", false).is_some_and(|found| found.ignored));
//! assert!(stack.verdict(b"keep.o", false).is_some_and(|found| !found.ignored && found.line == 2));
//! assert!(stack.verdict(b"main.c", false).is_none());
//! ```
//!
//! # Map
//!
//! * `parse`: the text of a rule file to patterns, line by line, as git reads them.
//! * `class`: what a bracket such as `[a-z]` stands for, as a set of bytes.
//! * `glob`: one pattern compiled to tokens, and the matcher, whose work is bounded by pattern times path.
//! * `table`: from a name, an extension or a directory to the few rules that can match there.
//! * `screen`: for rules without such a key, which of them can match at all, by the first and last bytes.
//! * `file`: one compiled rule file: rules that look at names only, and rules that look at the path.
//! * `in_dir`: what is left of a file's rules in one directory, which answers "the last rule that matches".
//! * `stack`: precedence between files.
//! * `tracked`: the names in git's index, which no rule of git's ignores.
//! * `translate`: rules for names as regular expressions.
//! * `expressions`: these collected, within bounds.
//! * `hyperscan`: these in one database, with the feature of that name on x86-64 Linux; otherwise what stands in for it.

mod class;
mod expressions;
mod file;
mod glob;
#[cfg_attr(not(all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64")), path = "without_hyperscan.rs")]
mod hyperscan;
mod in_dir;
mod parse;
mod screen;
mod stack;
mod table;
mod tracked;
mod translate;

pub use expressions::Expressions;
pub use file::{RULE_FILE_BYTES_MAX, RuleFile};
pub use hyperscan::{Database, DatabaseError, Scratch};
pub use in_dir::InDir;
pub use stack::{Match, Stack};
pub use tracked::Tracked;
use xxhash_rust::xxh3::Xxh3Default;

/// Adds parts to a hash so that no others, cut in another way, give the same.
pub(crate) fn hash_parts<'p>(hasher: &mut Xxh3Default, parts: impl IntoIterator<Item = &'p [u8]>) {
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
}

/// Where rules come from, in ascending precedence: a match of a later kind overrides every earlier kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// Built in, see [`default_rules`].
    Default,
    /// The file named by git's `core.excludesFile`.
    Global,
    /// `.git/info/exclude` of the repository.
    Exclude,
    /// A `.gitignore` of the tree.
    Gitignore,
    /// A `.ignore` of the tree, shared with other search tools.
    Ignore,
    /// A `.leindexignore` of the tree.
    Leindexignore,
    /// Patterns given on the command line or by the caller of the library.
    CommandLine,
}

/// One source of rules, and what its patterns are relative to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The rank of the source.
    pub kind: SourceKind,
    /// The name of the source as git prints it, such as `a/b/.gitignore` or `.git/info/exclude`.
    pub display: Vec<u8>,
    /// The directory that the patterns are relative to: empty for the root, otherwise with a slash at its end, as in
    /// `a/b/`. It is relative to the same root as the paths given to [`Stack::verdict`].
    pub base: Vec<u8>,
}

/// Whether upper and lower case differ: git's `core.ignoreCase`. Only ASCII letters are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Case {
    /// `A` and `a` differ.
    #[default]
    Sensitive,
    /// `A` and `a` are alike, with git's exceptions: `\A` and `[A]` match nothing, `[A-A]` matches both.
    Insensitive,
}

impl Case {
    /// The byte as patterns and paths are compared.
    #[inline]
    fn fold(self, byte: u8) -> u8 {
        match self {
            Case::Sensitive => byte,
            Case::Insensitive => byte.to_ascii_lowercase(),
        }
    }

    /// Whether `folded`, which went through [`Case::fold`], equals `bytes`, which did not.
    #[inline]
    fn equal(self, folded: &[u8], bytes: &[u8]) -> bool {
        match self {
            // An empty slice may point nowhere, and on some processors a masked vector load from there, as in a memcmp
            // of no bytes, takes a hundred cycles although it loads nothing.
            Case::Sensitive => (folded.is_empty() && bytes.is_empty()) || folded == bytes,
            Case::Insensitive => folded.eq_ignore_ascii_case(bytes),
        }
    }
}

/// The rules that hold before any file is read: the databases of git, Mercurial, Subversion and Jujutsu, and the
/// engine's own index when it lies inside the tree (`index_dir` is its path relative to the root, without a slash at
/// either end).
///
/// They rank lowest, so that every one of them can be lifted. The other side of that: an allow-list such as `*` and
/// `!*/` in a `.gitignore` lifts them as well; a caller that must never enter `.git` has to say so itself.
pub fn default_rules(index_dir: Option<&[u8]>) -> RuleFile {
    let source = Source { kind: SourceKind::Default, display: b"default rules".to_vec(), base: Vec::new() };
    let index_rule = index_dir.filter(|path| !path.is_empty()).map(parse::anchored_directory);
    let built_in: [&[u8]; 4] = [b".git/", b".hg/", b".svn/", b".jj/"];
    RuleFile::from_patterns(source, built_in.into_iter().chain(index_rule.as_deref()), Case::Sensitive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_rules_name_the_databases_and_the_index() {
        let stack = Stack::new(vec![default_rules(Some(b"cache/[x] \\a*"))]);
        let ignored = |path: &[u8], is_dir| stack.verdict(path, is_dir).is_some_and(|found| found.ignored);
        for path in [&b".git"[..], b"a/.git", b".hg", b"x/y/.svn", b".jj", b"cache/[x] \\a*"] {
            assert!(ignored(path, true), "{}", path.escape_ascii());
            assert!(!ignored(path, false), "{}", path.escape_ascii());
        }
        for path in [&b".github"[..], b"cache", b"cache/x \\a*", b"sub/cache/[x] \\a*"] {
            assert!(!ignored(path, true), "{}", path.escape_ascii());
        }
        assert_eq!(default_rules(None).len(), 4);
        assert_eq!(default_rules(Some(b"")).len(), 4);
    }

    #[test]
    fn kinds_are_ordered_by_precedence() {
        use SourceKind::*;
        let ascending = [Default, Global, Exclude, Gitignore, Ignore, Leindexignore, CommandLine];
        assert!(ascending.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
