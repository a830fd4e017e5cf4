//! Precedence: which of the files in force decides.

use std::cmp::Reverse;
use std::sync::Arc;

use super::expressions::Expressions;
use super::file::RuleFile;
use super::hyperscan::{Database, Scratch};
use super::in_dir::InDir;
use super::{Source, SourceKind};
use xxhash_rust::xxh3::Xxh3Default;

/// A scan of a name is worth it from so many rules for names on that have no key: the tables of the others are as quick.
const SCAN_RULES_MIN: usize = 4;

/// The rules in force in one directory. It never changes and is cheap to share; what a deeper directory adds makes a
/// new one, see [`Stack::child`].
#[derive(Debug)]
pub struct Stack {
    /// In the order in which they are asked: the first that has a match decides.
    files: Box<[Arc<RuleFile>]>,
    database: Option<Arc<Database>>,
    /// The database is worth asking.
    scans: bool,
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
        Stack::with_database(base_files, None)
    }

    /// The stack of the root, which has names scanned by a database where that is quicker. It need not have the rules of
    /// any file: those that it lacks are matched as without it.
    pub fn with_database(base_files: Vec<RuleFile>, database: Option<Arc<Database>>) -> Arc<Stack> {
        Stack::of(base_files, &[], database)
    }

    fn of(mut new_files: Vec<RuleFile>, so_far: &[Arc<RuleFile>], database: Option<Arc<Database>>) -> Arc<Stack> {
        if let Some(database) = &database {
            new_files.iter_mut().for_each(|file| file.attach(database));
        }
        let files = in_order(new_files, so_far);
        let spared = files.iter().filter(|file| file.is_attached()).map(|file| file.name_globs()).sum::<usize>();
        Arc::new(Stack { files, database, scans: spared >= SCAN_RULES_MIN })
    }

    /// The stack of a directory inside, which adds the files found there. When none has a rule that can match, that is
    /// this same stack.
    pub fn child(self: &Arc<Stack>, files: Vec<RuleFile>) -> Arc<Stack> {
        if files.iter().all(RuleFile::is_empty) {
            return Arc::clone(self);
        }
        Stack::of(files, &self.files, self.database.clone())
    }

    /// What stays in force inside of a repository within the tree: git's rules end at its root.
    pub fn at_repository(&self) -> Arc<Stack> {
        let gits = [SourceKind::Global, SourceKind::Exclude, SourceKind::Gitignore];
        let ends = |file: &&Arc<RuleFile>| !gits.contains(&file.source().kind);
        let files: Vec<_> = self.files.iter().filter(ends).cloned().collect();
        Stack::of(Vec::new(), &files, self.database.clone())
    }

    /// What is in force for the entries of `dir`, which is relative to the root and ends in a slash unless it is empty.
    pub fn in_dir(&self, dir: &[u8]) -> InDir<'_> {
        InDir::new(&self.files, self.database.as_deref().filter(|_| self.scans), dir)
    }

    /// The rules for names of all files as expressions, for [`Database::compile`].
    pub fn expressions(&self) -> Expressions {
        let mut expressions = Expressions::default();
        self.files.iter().for_each(|file| expressions.add_file(file));
        expressions
    }

    /// The rule that decides about `path`, which is relative to the root and has no slash at either end; `None` when no
    /// rule matches, so that the path is not ignored.
    ///
    /// The kind of highest rank that has a match decides; within a kind, the file of the deepest directory; within a
    /// file, the last line. No directory above `path` may be ignored: ask about directories first, and do not enter
    /// those that are. A rule file counts only for paths below its base. Of many entries of one directory ask
    /// [`Stack::in_dir`].
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Option<Match<'_>> {
        let dir = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        InDir::new(&self.files, None, &path[..dir]).verdict(path, is_dir, &mut Scratch::default())
    }

    /// Whether names would better be scanned, and the database lacks rules for that, if there is one.
    pub(crate) fn wants_database(&self) -> bool {
        let globs = self.files.iter().map(|file| file.name_globs()).sum::<usize>();
        Database::IS_BUILT && globs >= SCAN_RULES_MIN && !self.files.iter().all(|file| file.is_attached())
    }

    /// The files whose rules are relative to `base`.
    pub(crate) fn files_of(&self, base: &[u8]) -> impl Iterator<Item = &Arc<RuleFile>> {
        self.files.iter().filter(move |file| file.source().base == base)
    }

    /// Whether a rule file of the directory `base` accepts what others ignore.
    pub(crate) fn lifts(&self, base: &[u8]) -> bool {
        self.files_of(base).any(|file| file.lifts())
    }

    /// Adds all that verdicts depend on to a hash.
    pub(crate) fn hash_into(&self, hasher: &mut Xxh3Default) {
        self.files.iter().for_each(|file| file.hash_into(hasher));
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

#[cfg(test)]
mod tests {
    use super::super::Case;
    use super::*;

    fn file(kind: SourceKind, base: &str, content: &str) -> RuleFile {
        let source = Source { kind, display: format!("{kind:?} in {base}").into_bytes(), base: base.into() };
        RuleFile::parse(source, content.as_bytes(), Case::Sensitive)
    }

    /// Checks which kind, base and line decide about `path`, a file.
    fn check(stack: &Stack, path: &str, expect: Option<(SourceKind, &str, usize)>) {
        let found = stack.verdict(path.as_bytes(), false);
        let found = found.map(|found| (found.source.kind, found.source.base.as_slice(), found.line));
        assert_eq!(found, expect.map(|(kind, base, line)| (kind, base.as_bytes(), line)), "{path}");
    }

    #[test]
    fn the_highest_kind_decides_then_depth_then_line() {
        use SourceKind::*;
        // In no particular order: precedence is in the kind and the base.
        let root = Stack::new(vec![
            file(CommandLine, "", "cli*\n"),
            file(Default, "", "*\n"),
            file(Gitignore, "", "git*\nx*\ngit2\n"),
            file(Ignore, "", "ign*\nx1\n"),
            file(Exclude, "", "x*\nexc*\n"),
            file(Leindexignore, "", "lei*\nx12\n"),
            file(Global, "", "exc*\nglo*\n"),
        ]);
        check(&root, "any", Some((Default, "", 1)));
        check(&root, "git1", Some((Gitignore, "", 1)));
        check(&root, "git2", Some((Gitignore, "", 3)));
        check(&root, "x", Some((Gitignore, "", 2)));
        check(&root, "x1", Some((Ignore, "", 2)));
        check(&root, "x12", Some((Leindexignore, "", 2)));
        check(&root, "exc", Some((Exclude, "", 2)));
        check(&root, "glo", Some((Global, "", 2)));

        let below = root.child(vec![file(Gitignore, "d/", "x1\n!git1\ncli\n"), file(Ignore, "d/", "")]);
        check(&below, "d/git1", Some((Gitignore, "d/", 2)));
        check(&below, "d/x1", Some((Ignore, "", 2)));
        check(&below, "d/cli", Some((CommandLine, "", 1)));
        let deepest = below.child(vec![file(Leindexignore, "d/e/", "!x12\n"), file(Gitignore, "d/e/", "gi?1\n")]);
        check(&deepest, "d/e/git1", Some((Gitignore, "d/e/", 1)));
        check(&deepest, "d/e/x12", Some((Leindexignore, "d/e/", 1)));
        check(&deepest, "d/x12", Some((Leindexignore, "", 2)));
        // What a child adds does not show in its parent.
        check(&root, "d/git1", Some((Gitignore, "", 1)));
    }

    #[test]
    fn of_two_files_of_one_rank_the_later_decides() {
        let files = vec![file(SourceKind::CommandLine, "", "a\n"), file(SourceKind::CommandLine, "", "!b\n!a\n")];
        check(&Stack::new(files), "a", Some((SourceKind::CommandLine, "", 2)));
        let files = vec![file(SourceKind::Ignore, "d/", "a\n"), file(SourceKind::Ignore, "", "\n\na\n")];
        check(&Stack::new(files), "d/a", Some((SourceKind::Ignore, "d/", 1)));
    }

    #[test]
    fn files_without_rules_make_no_new_stack() {
        let root = Stack::new(vec![file(SourceKind::Gitignore, "", "# nothing\n")]);
        assert!(root.is_empty());
        let child = root.child(vec![file(SourceKind::Gitignore, "a/", "\n"), file(SourceKind::Ignore, "a/", "[\n")]);
        assert!(Arc::ptr_eq(&root, &child));
        check(&child, "a/b", None);
    }

    #[test]
    fn a_file_counts_only_below_its_base() {
        let root = Stack::new(vec![file(SourceKind::Gitignore, "a/", "*\n")]);
        check(&root, "a/b", Some((SourceKind::Gitignore, "a/", 1)));
        // With a slash at its end git looks into it, for an empty name.
        check(&root, "a/", Some((SourceKind::Gitignore, "a/", 1)));
        for path in ["a", "ab", "b/a"] {
            check(&root, path, None);
        }
    }
}
