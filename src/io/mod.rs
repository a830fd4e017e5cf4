//! Picks the I/O backend and says why. The only place that asks which system this is for the sake of I/O.
//!
//! The contract and the portable backend are in the crate `leindex-fallback`.

mod mounts;
#[cfg(all(target_os = "linux", not(miri)))]
mod uring;
pub(crate) mod watches;

pub(crate) use mounts::{mounted_in, remote_in};
pub(crate) use watches::Watches;

use leindex_fallback::{Backend, BoundedBackend, Fetch, IoStats, Kind, Listing, ThreadBackend, WorkerOptions};
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

/// Which backend a run is to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The best one that works here.
    #[default]
    Auto,
    /// io_uring, or an error when it cannot be used.
    Uring,
    /// Blocking calls on threads: works everywhere.
    Threads,
}

/// A backend and the reason for it.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// One line for `doctor` and the log.
    pub why: String,
    /// The best one was wanted, the system could have it, and it cannot be used: `why` says what to change.
    pub fell_back: bool,
}

/// The backend asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Picks a backend: io_uring where it can be used.
///
/// # Errors
/// When io_uring was asked for by name and cannot be used: why, and what to change.
pub fn select(choice: BackendChoice) -> Result<Selected, Unavailable> {
    let threads = |why: String, fell_back| Selected { backend: Arc::new(ThreadBackend::new()), why, fell_back };
    if choice == BackendChoice::Threads {
        return Ok(threads("asked for".into(), false));
    }
    match ring() {
        Err(Unavailable(why)) if choice == BackendChoice::Auto => Ok(threads(why, cfg!(target_os = "linux"))),
        ring => ring.map_err(|Unavailable(why)| Unavailable(format!("{why}; or use --backend threads"))),
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn ring() -> Result<Selected, Unavailable> {
    let caps = uring::caps()?;
    let (there, missing) = caps.names();
    let mut why = format!("the kernel has {}", there.join(", "));
    if !missing.is_empty() {
        why += &format!("; it lacks {}, which calls replace", missing.join(", "));
    }
    Ok(Selected { backend: Arc::new(uring::UringBackend::new(caps)), why, fell_back: false })
}

/// io_uring is a part of Linux.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn ring() -> Result<Selected, Unavailable> {
    Err(Unavailable("io_uring is a part of Linux: here there are only threads".into()))
}

/// The backend for the tree in `root`, which must have no links in it: on file systems that may never answer, plain calls
/// are made by threads that can be left behind.
pub(crate) fn for_tree(selected: Selected, root: &Path) -> Selected {
    // The ring's backend asks for itself.
    if selected.backend.name() != "threads" {
        return selected;
    }
    match remote_in(root) {
        Some((kind, point)) => {
            let why = format!("{}; each call has a time-out, for {} is {kind}", selected.why, point.display());
            Selected { backend: Arc::new(BoundedBackend::new()), why, ..selected }
        }
        None => selected,
    }
}

/// Files that [`trial`] reads, and the most bytes of each.
const TRIAL_FILES: usize = 64;
const TRIAL_BYTES: u64 = 1 << 20;

/// Stats the entries of one directory and reads some of its files, to see which ways the backend takes there.
///
/// # Errors
/// When the directory cannot be listed. Files that cannot be read are counted.
pub fn trial(backend: &dyn Backend, path: &Path) -> io::Result<IoStats> {
    let mut worker = backend.worker(WorkerOptions::default())?;
    let dir = Arc::new(backend.open_root(path)?);
    let mut listing = Listing::new();
    worker.list(&dir, &mut listing)?;
    listing.sort_by_inode();
    let picks: Vec<u32> = (0..listing.len().min(4 * TRIAL_FILES) as u32).collect();
    let mut files = Vec::new();
    worker.stat_batch(&dir, &listing, &picks, &mut |index, meta| {
        files.extend(meta.ok().filter(|meta| meta.kind == Kind::File).map(|meta| (index, meta.size)));
    });
    files.truncate(TRIAL_FILES);
    for (index, size) in files {
        let name = listing.c_name(index as usize);
        worker.fetch(Fetch { dir: &dir, name, size, limit: TRIAL_BYTES, cut: false, token: 0 }, &mut |_| {});
    }
    worker.finish(&mut |_| {});
    Ok(worker.stats())
}
