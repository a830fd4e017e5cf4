//! Which entries of a tree have changed, as the kernel tells it: one inotify watch a directory.
//!
//! Whoever lists a directory asks for its watch *before* that, so that nothing can change unseen between the two. What
//! is never listed (ignored directories) is never watched. Events name directories by number; a directory that was
//! renamed keeps its number, and is told its new path when it is listed there.
//!
//! inotify says nothing of writes through a memory map or through a hard link in another directory, nor of what another
//! machine does on a network file system: watchers go over the tree from time to time, and poll where it is remote.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod none;

#[cfg(target_os = "linux")]
pub(crate) use linux::Watches;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Watches;

use std::collections::BTreeSet;

/// More paths than this are not told apart: everything is gone over.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
const PATHS_MAX: usize = 20_000;

/// What has changed since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Paths relative to the root. Whether they exist, and what they are, has to be looked up.
    pub(crate) paths: BTreeSet<Vec<u8>>,
    /// Why not everything that has changed is among the paths.
    pub(crate) lost: Option<&'static str>,
    /// The root itself was deleted or moved.
    pub(crate) root_gone: bool,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.lost.is_none() && !self.root_gone
    }

    fn add(&mut self, path: Vec<u8>) {
        if self.lost.is_some() {
            return;
        }
        self.paths.insert(path);
        if self.paths.len() > PATHS_MAX {
            self.lose("too many changes at once");
        }
    }

    fn lose(&mut self, why: &'static str) {
        self.lost = Some(why);
        self.paths.clear();
    }
}
