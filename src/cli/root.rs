//! Which indexed tree a path belongs to.

use super::config_file;
use super::exit::Failure;
use super::options::Options;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the index directory when no other place was given.
const INDEX_DIR: &str = ".leindex-engine";

/// An indexed tree, and the part of it that was asked for.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The root of the index.
    pub(crate) root: PathBuf,
    /// The path that was asked for, relative to the root; empty for all of it.
    pub(crate) below: PathBuf,
    /// Whether that is a file.
    pub(crate) is_file: bool,
    /// Options of the command line, with those of the root's config file beneath them.
    pub(crate) options: Options,
}

/// The tree in `path` itself: what is to be indexed, whether or not there is an index.
pub(crate) fn at(path: Option<PathBuf>, options: Options) -> Result<Tree, Failure> {
    let root = path.unwrap_or_else(|| ".".into());
    let options = options.over(config_file::read(&root)?);
    Ok(Tree { root, below: PathBuf::new(), is_file: false, options })
}

/// The innermost indexed tree that `path` lies in; when there is none, that of `path` itself. An index directory given on
/// the command line belongs to `path`.
pub(crate) fn find(path: Option<PathBuf>, options: Options) -> Result<Tree, Failure> {
    let path = path.unwrap_or_else(|| ".".into());
    let failed = |error: std::io::Error| {
        Failure::Fatal(format!("{}: {error}: give a path that exists and can be read", path.display()))
    };
    let absolute = path.canonicalize().map_err(failed)?;
    let is_file = fs::metadata(&absolute).map_err(failed)?.is_file();
    let dir = if is_file { absolute.parent().unwrap_or(&absolute) } else { &absolute };
    let given = options.index_dir.is_some();
    let mut found = None;
    for root in dir.ancestors().take(if given { 1 } else { usize::MAX }) {
        let options = options.clone().over(config_file::read(root)?);
        if given || has_index(&options.index_dir.clone().unwrap_or_else(|| root.join(INDEX_DIR))) {
            found = Some((root.to_path_buf(), options));
            break;
        }
    }
    let (root, options) = match found {
        Some(found) => found,
        None => (dir.to_path_buf(), options.over(config_file::read(dir)?)),
    };
    let below = absolute.strip_prefix(&root).map(Path::to_path_buf).unwrap_or_default();
    Ok(Tree { root, below, is_file, options })
}

/// The indexed tree that the working directory lies in. Without one there is nothing to serve yet: nobody has said that they
/// want that directory indexed.
#[cfg(feature = "mcp")]
pub(crate) fn indexed_above(options: Options) -> Result<Option<PathBuf>, Failure> {
    let tree = find(None, options)?;
    let place = tree.options.index_dir.clone().unwrap_or_else(|| tree.root.join(INDEX_DIR));
    Ok(has_index(&place).then_some(tree.root))
}

fn has_index(dir: &Path) -> bool {
    dir.join("meta/data.mdb").is_file()
}
