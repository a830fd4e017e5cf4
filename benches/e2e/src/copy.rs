//! A copy of the tree, in which sections change files.

use crate::child::{self, Answer};
use crate::walk::Walk;
use crate::{Bench, Failure, machine};
use leindex_engine::Snapshot;
use leindex_engine::record::Flags;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than the clock tick within which the engine takes a file for changed once more.
const SETTLE: Duration = Duration::from_millis(60);
/// Runs until none reads a file again.
const SETTLING_RUNS: usize = 5;

/// The copy, made when it is first asked for.
pub(crate) fn of(bench: &mut Bench) -> Result<PathBuf, Failure> {
    if let Some(copy) = &bench.copy {
        return Ok(copy.clone());
    }
    let copy = bench.scratch.join("copy");
    if copy.starts_with(&bench.tree) {
        return Err("the copy would lie in the tree that is copied: give another --scratch".into());
    }
    copy_dir(&bench.tree, &copy)?;
    machine::sync();
    std::thread::sleep(SETTLE);
    let walk = Walk { threads: 2, pinned: false, fetch: false };
    let (of_tree, of_copy) = (child::walk(&bench.tree, walk)?, child::walk(&copy, walk)?);
    for what in ["files", "dirs"] {
        let counts = (("tree", of_tree.count(what)), ("copy", of_copy.count(what)));
        bench.report.check(&format!("copy of the tree, {what}"), counts.0, counts.1);
    }
    bench.copy = Some(copy.clone());
    Ok(copy)
}

/// Copies directories, files with their times, and links; nothing else is indexed.
fn copy_dir(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_dir(&from, &to)?;
        } else if kind.is_symlink() {
            copy_link(&from, &to)?;
        } else if kind.is_file() {
            copy_file(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
        }
    }
    Ok(())
}

/// Permissions are left behind: files of the copy are to be written to.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    io::copy(&mut from, &mut to)?;
    to.set_modified(from.metadata()?.modified()?)
}

#[cfg(unix)]
fn copy_link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(fs::read_link(from)?, to)
}

/// Links are not indexed, so nothing is missed.
#[cfg(not(unix))]
fn copy_link(_from: &Path, _to: &Path) -> io::Result<()> {
    Ok(())
}

/// Indexes `tree` from nothing, and again until no file is read any more. Returns the last run.
pub(crate) fn settled_index(tree: &Path, index_dir: &Path) -> Result<Answer, Failure> {
    let mut answer = child::index(tree, index_dir)?;
    for _ in 0..SETTLING_RUNS {
        answer = child::index(tree, index_dir)?;
        if answer.count("reads") == 0 {
            return Ok(answer);
        }
        std::thread::sleep(SETTLE);
    }
    Err(format!("{} files are read again in each run", answer.count("reads")).into())
}

/// A searchable file.
pub(crate) struct Candidate {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// The searchable files of a snapshot that may be changed, by path. Names with a dot in front are left alone: a rule file
/// changes what is indexed.
pub(crate) fn candidates(snapshot: &Snapshot) -> Result<Vec<Candidate>, Failure> {
    let mut found = Vec::new();
    snapshot.for_each_file(|path, meta| {
        let name = path.rsplit(|&byte| byte == b'/').next();
        if meta.flags.has(Flags::INDEXED) && meta.size > 0 && name.is_some_and(|name| name[0] != b'.') {
            let path = std::str::from_utf8(path).ok().map(PathBuf::from);
            found.extend(path.map(|path| Candidate { path, size: meta.size }));
        }
    })?;
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    if found.is_empty() { Err("the tree has no file to change".into()) } else { Ok(found) }
}
