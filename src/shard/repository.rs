//! A git repository as far as ignore rules go: where its data is, its own exclude file, and what it tracks.

use crate::rules::Tracked;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One repository. What it tracks is read when it is first asked about.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Where its root lies, as paths are given to rules: ends in a slash unless empty.
    base: Vec<u8>,
    directories: Option<(PathBuf, PathBuf)>,
    tracked: OnceLock<Option<Tracked>>,
}

impl Repository {
    /// The repository whose root is `root`, which paths of rules know as `base`.
    pub(crate) fn open(root: &Path, base: Vec<u8>) -> Repository {
        Repository { base, directories: git_directories(root), tracked: OnceLock::new() }
    }

    /// Where its root lies, as paths are given to rules.
    pub(crate) fn base(&self) -> &[u8] {
        &self.base
    }

    /// The content of `info/exclude`.
    pub(crate) fn exclude(&self) -> Option<Vec<u8>> {
        let (_, common) = self.directories.as_ref()?;
        read_file(&common.join("info/exclude"))
    }

    /// Whether git tracks `path`, or for a directory anything below it. The path is one of rules.
    pub(crate) fn tracks(&self, path: &[u8], is_dir: bool) -> bool {
        let Some(path) = path.strip_prefix(&self.base[..]) else { return false };
        let tracked = self.tracked.get_or_init(|| self.read_index()).as_ref();
        tracked.is_some_and(|tracked| tracked.has(path) || is_dir && tracked.has_below(path))
    }

    fn read_index(&self) -> Option<Tracked> {
        let (dir, _) = self.directories.as_ref()?;
        let index = read_file(&dir.join("index"))?;
        let tracked = Tracked::parse(&index, |shared| read_file(&dir.join(shared)));
        if tracked.is_none() {
            tracing::warn!(dir = %dir.display(), "git's index is not understood: tracked files are ignored as the rules say");
        }
        tracked
    }
}

/// Where the git repository with the root `root` keeps its data: what belongs to this work tree, and what all work trees share.
/// Linked work trees and submodules have a file `.git` that says where.
pub fn git_directories(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let dot_git = root.join(".git");
    if dot_git.is_dir() {
        return Some((dot_git.clone(), dot_git));
    }
    let text = read_file(&dot_git)?;
    let dir = root.join(path_of(text.strip_prefix(b"gitdir:")?)?);
    let common = match read_file(&dir.join("commondir")) {
        Some(text) => dir.join(path_of(&text)?),
        None => dir.clone(),
    };
    Some((dir, common))
}

/// A path in a file of git, between blanks and a line end.
fn path_of(text: &[u8]) -> Option<PathBuf> {
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| crate::record::bytes_path(text))
}

/// The content of a regular file; anything else could keep us waiting for ever.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    path.metadata().ok().filter(fs::Metadata::is_file).and_then(|_| fs::read(path).ok())
}
