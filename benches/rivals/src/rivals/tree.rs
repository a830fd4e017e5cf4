//! The tree of `--smoke`: small, and with what walkers stumble over.

use super::Failure;
use super::work::Counts;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// More than one portion of the shared walk.
const LARGE_DIR_FILES: u64 = 300;
/// More than any buffer has at first.
const LARGE_FILE_BYTES: u64 = 1 << 20;

/// Writes the tree, and says what is in it.
pub(super) fn generate(root: &Path) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut dir = |name: &str| {
        counts.dirs += 1;
        fs::create_dir(root.join(name))
    };
    dir("")?;
    for number in 0..12 {
        dir(&format!("part{number}"))?;
        dir(&format!("part{number}/inner"))?;
        dir(&format!("part{number}/inner/empty"))?;
    }
    dir("large")?;
    dir(".hidden")?;

    let mut file = |name: &str, bytes: u64| {
        counts.file(bytes);
        counts.bytes += bytes;
        fs::write(root.join(name), vec![b'x'; bytes as usize])
    };
    for number in 0..12 {
        for other in 0..20 {
            file(&format!("part{number}/unit{other}.c"), number * 997 + other * 13)?;
        }
        file(&format!("part{number}/inner/page"), 4096)?;
    }
    for number in 0..LARGE_DIR_FILES {
        file(&format!("large/file{number}"), number)?;
    }
    file("huge.bin", LARGE_FILE_BYTES)?;
    file(".hidden/.file", 17)?;
    file(".gitignore", 2)?;
    file("a name with a\nnew line", 3)?;

    // None of these is to be followed, listed or read.
    symlink("..", root.join("part0/up"))?;
    symlink("huge.bin", root.join("link"))?;
    symlink("nowhere", root.join("dangling"))?;
    Ok(counts)
}
