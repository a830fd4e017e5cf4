//! Picks the I/O backend and says why. The only place that asks which system this is for the sake of I/O.
//!
//! The contract and the portable backend are in the crate `leindex-fallback`.

#[cfg(all(target_os = "linux", not(miri)))]
mod uring;

use leindex_fallback::{Backend, ThreadBackend};
use std::fmt;
use std::sync::Arc;

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
}

/// The backend asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Picks a backend: io_uring where it can be used.
///
/// # Errors
/// When io_uring was asked for by name and cannot be used: why, and what to change.
pub fn select(choice: BackendChoice) -> Result<Selected, Unavailable> {
    let threads = |why: String| Selected { backend: Arc::new(ThreadBackend::new()), why };
    match (choice, ring()) {
        (BackendChoice::Threads, _) => Ok(threads("asked for".into())),
        (_, Ok(ring)) => Ok(ring),
        (BackendChoice::Auto, Err(Unavailable(why))) => Ok(threads(why)),
        (BackendChoice::Uring, Err(unavailable)) => Err(unavailable),
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
    Ok(Selected { backend: Arc::new(uring::UringBackend::new(caps)), why })
}

/// io_uring is a part of Linux.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn ring() -> Result<Selected, Unavailable> {
    Err(Unavailable("io_uring is a part of Linux: here there are only threads".into()))
}
