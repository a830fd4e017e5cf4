//! Which rule files hold in a directory: reads those that its listing names.

use super::repository::Repository;
use crate::rules::{Case, RULE_FILE_BYTES_MAX, RuleFile, Source, SourceKind, Stack};
use leindex_fallback::{Dir, Fetch, Worker};
use std::ffi::CStr;
use std::sync::Arc;

/// From so many rules in one file on, runs take noticeably longer.
const RULES_TO_WARN: usize = 10_000;

/// Which rule files count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleOptions {
    /// Rule files of the tree count at all.
    pub(crate) files: bool,
    /// `.gitignore` counts outside of repositories too.
    pub(crate) git_everywhere: bool,
    /// Names that begin with a dot are seen.
    pub(crate) hidden: bool,
    /// How rules compare letters.
    pub(crate) case: Case,
}

/// A name that rule files have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleFileName {
    name: &'static CStr,
    pub(crate) kind: SourceKind,
}

impl RuleFileName {
    pub(crate) fn name(self) -> &'static [u8] {
        self.name.to_bytes()
    }
}

/// The names of rule files; `.gitignore` only where git would read it.
pub(crate) fn rule_file_names(git: bool) -> impl Iterator<Item = RuleFileName> {
    let names = [
        RuleFileName { name: c".gitignore", kind: SourceKind::Gitignore },
        RuleFileName { name: c".ignore", kind: SourceKind::Ignore },
        RuleFileName { name: c".leindexignore", kind: SourceKind::Leindexignore },
    ];
    names.into_iter().filter(move |file| git || file.kind != SourceKind::Gitignore)
}

/// Whether a file of this name holds rules.
pub(crate) fn is_rule_file(name: &[u8]) -> bool {
    rule_file_names(true).any(|rules| name == rules.name())
}

/// Names of directories that hold the data of a version control system, or another index of this engine. Only a rule of
/// the command line lifts these: an allow-list such as `*`, `!*/` in a `.gitignore` must not.
pub fn is_private_data(name: &[u8]) -> bool {
    matches!(name, b".git" | b".hg" | b".svn" | b".jj" | b".leindex-engine")
}

/// The rules of a directory with these rule files, whose parent's rules are `outer`. `failed` is told of one that cannot be
/// read.
pub(super) fn rules_of(
    io: &mut dyn Worker,
    dir: &Arc<Dir>,
    rule_files: &[RuleFileName],
    outer: &Arc<Stack>,
    place: &RulePlace<'_>,
    failed: &mut dyn FnMut(&[u8], String),
) -> Arc<Stack> {
    let nested = place.nested.into_iter();
    let mut files: Vec<RuleFile> =
        nested.flat_map(|nested| repository_rules(nested, place.global, place.case)).collect();
    for &RuleFileName { name, kind } in rule_files {
        let request = Fetch { dir, name, size: 4096, limit: RULE_FILE_BYTES_MAX as u64, cut: false, token: 0 };
        let display = [place.path, name.to_bytes()].concat();
        let mut each = |fetched: leindex_fallback::Fetched<'_>| match fetched.result {
            Ok(content) => {
                let source = Source { kind, display: display.clone(), base: place.path.to_vec() };
                let file = RuleFile::parse(source, content, place.case);
                if file.len() > RULES_TO_WARN {
                    let (path, rules) = (display.escape_ascii(), file.len());
                    tracing::warn!(%path, rules, "so many rules slow down every run: take out what is not needed");
                }
                files.push(file);
            }
            Err(error) => failed(name.to_bytes(), error.to_string()),
        };
        io.fetch(request, &mut each);
        io.finish(&mut each);
    }
    match place.nested {
        Some(_) => outer.at_repository().child(files),
        None => outer.child(files),
    }
}

/// The file of git's `core.excludesFile`, which holds in every repository.
#[derive(Clone, Debug)]
pub(crate) struct GlobalRules {
    /// Its path.
    pub(crate) display: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

impl GlobalRules {
    /// Its rules in the repository whose root lies at `base`.
    pub(crate) fn rules(&self, base: &[u8], case: Case) -> RuleFile {
        let source = Source { kind: SourceKind::Global, display: self.display.clone(), base: base.to_vec() };
        RuleFile::parse(source, &self.content, case)
    }
}

/// The rules that hold in a repository beside those of its directories: git's global ones, and its own exclude file.
pub(crate) fn repository_rules(
    repository: &Repository,
    global: Option<&GlobalRules>,
    case: Case,
) -> impl Iterator<Item = RuleFile> {
    let base = repository.base();
    let exclude = repository.exclude().map(|content| {
        let display = [base, b".git/info/exclude"].concat();
        RuleFile::parse(Source { kind: SourceKind::Exclude, display, base: base.to_vec() }, &content, case)
    });
    global.map(|global| global.rules(base, case)).into_iter().chain(exclude)
}

/// Where rules are read.
pub(super) struct RulePlace<'a> {
    /// Path of the directory relative to the root of the rules, ending in a slash unless empty.
    pub(super) path: &'a [u8],
    pub(super) case: Case,
    /// The repository that begins here, within the tree, and the global rules that hold in it.
    pub(super) nested: Option<&'a Repository>,
    pub(super) global: Option<&'a GlobalRules>,
}
