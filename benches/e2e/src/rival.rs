//! `cindex` of the package codesearch: the trigram index that a full index is compared with.

use crate::{Failure, child};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What every index of format 1 ends with.
const TRAILER: &[u8] = b"\ncsearch trailr\n";
/// Five offsets before the trailer, of which the fourth and the fifth enclose one 4-byte entry a file.
const OFFSETS: usize = 5 * 4;

/// What a run of `cindex` took.
pub(crate) struct Indexed {
    pub(crate) seconds: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) index_bytes: u64,
    /// Files that it has indexed, if its index could be understood.
    pub(crate) files: Option<u64>,
}

pub(crate) fn is_installed() -> bool {
    // Asked for help it does nothing else; without arguments it would index again whatever it knows.
    let mut command = Command::new("cindex");
    command.arg("-help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// Indexes `tree` from nothing into the file `index`.
pub(crate) fn index(tree: &Path, index: &Path) -> Result<Indexed, Failure> {
    if index.exists() {
        fs::remove_file(index)?;
    }
    let mut command = Command::new("cindex");
    command.arg(tree).env("CSEARCHINDEX", index);
    if let Some(dir) = index.parent() {
        // Its runs of postings go where ours do.
        command.env("TMPDIR", dir);
    }
    let ended = child::run(&mut command, true)?;
    let content = fs::read(index)?;
    Ok(Indexed {
        seconds: ended.wall,
        rss_bytes: ended.rss_bytes,
        index_bytes: content.len() as u64,
        files: file_count(&content),
    })
}

/// The number of names in an index, less the empty one at the end.
fn file_count(index: &[u8]) -> Option<u64> {
    let offsets = index.strip_suffix(TRAILER)?;
    let offsets = offsets.get(offsets.len().checked_sub(OFFSETS)?..)?;
    let offset = |at: usize| {
        let bytes = offsets.get(at * 4..at * 4 + 4)?;
        Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?)))
    };
    (offset(4)?.checked_sub(offset(3)?)? / 4).checked_sub(1)
}
