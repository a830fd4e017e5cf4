//! Picks the I/O backend and says why. The only place that asks which system this is for the sake of I/O.
//!
//! The contract and the portable backend are in the crate `leindex-fallback`.

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

/// Picks a backend.
///
/// # Errors
/// When a backend was asked for by name that cannot be used.
pub fn select(choice: BackendChoice) -> Result<Selected, Unavailable> {
    let threads = |why: &str| Selected { backend: Arc::new(ThreadBackend::new()), why: why.into() };
    match choice {
        BackendChoice::Auto => Ok(threads("the io_uring backend is not part of this version")),
        BackendChoice::Threads => Ok(threads("asked for")),
        BackendChoice::Uring => {
            Err(Unavailable("the io_uring backend is not part of this version: use --backend threads".into()))
        }
    }
}
