//! A git repository as far as ignore rules go: where its data is, its own exclude file, and what it tracks.

use crate::rules::{RULE_FILE_BYTES_MAX, Tracked};
use leindex_fallback::within;
use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// A larger index is not read: some ten million files.
const INDEX_BYTES_MAX: u64 = 1 << 30;
/// How long git's files are waited for. Without them a run goes on, so this is longer than a slow file system takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Files that hold a path.
const LINK_BYTES_MAX: u64 = 64 << 10;

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

    /// The repository that begins in a directory with an entry `.git`, within `outer` if that is one. Outside of
    /// repositories anything of that name is taken for one, as ripgrep does; within one only what git takes.
    pub(crate) fn begins(root: &Path, base: Vec<u8>, outer: Option<&Repository>) -> Option<Repository> {
        if outer.is_some_and(|outer| outer.base == base) {
            return None;
        }
        let (root, is_within) = (root.to_path_buf(), outer.is_some());
        in_time(&root.clone(), move || (!is_within || is_repository(&root)).then(|| Repository::open(&root, base)))
    }

    /// Where its root lies, as paths are given to rules.
    pub(crate) fn base(&self) -> &[u8] {
        &self.base
    }

    /// Files of git's that decide what is ignored: its own exclude file, and its index.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let of = |(dir, common): &(PathBuf, PathBuf)| vec![dir.join("index"), common.join("info/exclude")];
        self.directories.as_ref().map(of).unwrap_or_default()
    }

    /// What tells git's index from any other: its length, and the hash that git puts at its end. Empty when there is none,
    /// `None` when that cannot be told, because git was told to leave the hash out.
    pub(crate) fn index_hash(&self) -> Option<Vec<u8>> {
        const HASH_BYTES: u64 = 20;
        let Some((dir, _)) = &self.directories else { return Some(Vec::new()) };
        let path = dir.join("index");
        in_time(&path.clone(), move || {
            match path.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Vec::new()),
                meta => meta.ok().filter(fs::Metadata::is_file)?,
            };
            let mut file = fs::File::open(path).ok()?;
            let end = file.seek(io::SeekFrom::End(0)).ok()?;
            file.seek(io::SeekFrom::Start(end.checked_sub(HASH_BYTES)?)).ok()?;
            let mut hash = Vec::new();
            file.take(HASH_BYTES).read_to_end(&mut hash).ok()?;
            hash.iter().any(|&byte| byte != 0).then(|| [&end.to_le_bytes()[..], &hash].concat())
        })
    }

    /// The content of `info/exclude`.
    pub(crate) fn exclude(&self) -> Option<Vec<u8>> {
        let (_, common) = self.directories.as_ref()?;
        let path = common.join("info/exclude");
        in_time(&path.clone(), move || read_file(&path, RULE_FILE_BYTES_MAX as u64))
    }

    /// Whether git tracks `path`, or for a directory anything below it. The path is one of rules.
    pub(crate) fn tracks(&self, path: &[u8], is_dir: bool) -> bool {
        self.tracked(path).is_some_and(|(tracked, path)| tracked.has(path) || is_dir && tracked.has_below(path))
    }

    /// Whether git tracks anything below the directory `path`.
    pub(crate) fn tracks_below(&self, path: &[u8]) -> bool {
        self.tracked(path).is_some_and(|(tracked, path)| tracked.has_below(path))
    }

    /// What is tracked, and a path of rules as it is known there.
    fn tracked<'p>(&self, path: &'p [u8]) -> Option<(&Tracked, &'p [u8])> {
        let path = path.strip_prefix(&self.base[..])?;
        Some((self.tracked.get_or_init(|| self.read_index()).as_ref()?, path))
    }

    fn read_index(&self) -> Option<Tracked> {
        let (dir, _) = self.directories.clone()?;
        in_time(&dir.clone(), move || {
            let index = read_file(&dir.join("index"), INDEX_BYTES_MAX)?;
            let tracked = Tracked::parse(&index, |shared| read_file(&dir.join(shared), INDEX_BYTES_MAX));
            if tracked.is_none() {
                tracing::warn!(dir = %dir.display(), "git's index is not understood: tracked files are ignored as the rules say");
            }
            tracked
        })
    }
}

/// What is asked of git's files at `path`, unless their file system hangs.
fn in_time<T: Send + 'static>(path: &Path, ask: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    match within(PATIENCE, None, ask) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "files are indexed as if git knew nothing here");
            None
        }
    }
}

/// Where the git repository with the root `root` keeps its data: what belongs to this work tree, and what all work trees share.
/// Linked work trees and submodules have a file `.git` that says where.
pub fn git_directories(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let dot_git = root.join(".git");
    if dot_git.is_dir() {
        return Some((dot_git.clone(), dot_git));
    }
    let text = read_file(&dot_git, LINK_BYTES_MAX)?;
    let dir = root.join(path_of(text.strip_prefix(b"gitdir:")?)?);
    let common = match read_file(&dir.join("commondir"), LINK_BYTES_MAX) {
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

/// The root of the innermost repository that holds `dir`, or is it: one of git's if there is one, otherwise whatever has an
/// entry `.git`, as ripgrep takes it.
pub fn find_repository(dir: &Path) -> Option<&Path> {
    let real = dir.ancestors().find(|dir| is_repository(dir));
    real.or_else(|| dir.ancestors().find(|dir| dir.join(".git").exists()))
}

/// Whether git would take `root` for that of a repository.
fn is_repository(root: &Path) -> bool {
    git_directories(root).is_some_and(|(dir, _)| dir.join("HEAD").symlink_metadata().is_ok())
}

/// The content of a regular file of at most `bytes_max`; anything else could keep us waiting for ever, or fill the memory.
pub(crate) fn read_file(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let is_fit = |meta: &fs::Metadata| meta.is_file() && meta.len() <= bytes_max;
    let meta = path.metadata().ok().filter(is_fit)?;
    // With room for the read that finds the end: growing would touch every page anew.
    let mut content = Vec::with_capacity(meta.len() as usize + 32);
    let read = fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut content)).ok()?;
    (read as u64 <= bytes_max).then_some(content)
}
