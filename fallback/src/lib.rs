//! The ground floor of leindex-engine: how its shards touch the file system.
//!
//! A [`Backend`] makes [`Worker`]s, one a thread. A worker lists directories, stats entries and fetches whole files; how
//! it does so (plain calls, read-ahead, a submission ring) is its own affair. [`ThreadBackend`] is the portable one:
//! blocking calls, with a queue of files whose pages the kernel is still fetching. Other backends live above this crate
//! and obey the same contract, which is written down in [`backend`].
//!
//! The map of the source:
//!
//! | file | owns |
//! |---|---|
//! | `op.rs` | the words of the contract: kinds, metadata, requests, results, errors, counters |
//! | `listing.rs` | the names of one directory, in one arena |
//! | `dir.rs` | an open directory |
//! | `backend.rs` | the contract: two traits, and in prose what they promise |
//! | `threads.rs` | [`ThreadBackend`]; `threads/` holds the calls of each platform |
//! | `limits.rs` | raising the limit of open files |
//! | `conformance.rs` | feature `conformance`: the suite that every backend passes |
//! | `faulty.rs` | feature `faulty`: a backend that fails on purpose |
//!
//! ```
//! use leindex_fallback::{Backend, Fetch, Kind, Listing, ThreadBackend, Worker, WorkerOptions};
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let backend = ThreadBackend::new();
//! let mut worker = backend.worker(WorkerOptions::default())?;
//! let root = Arc::new(backend.open_root(std::path::Path::new("src"))?);
//! let mut listing = Listing::new();
//! worker.list(&root, &mut listing)?;
//! listing.sort_by_inode();
//!
//! let mut bytes = 0;
//! let mut done = |fetched: leindex_fallback::Fetched<'_>| bytes += fetched.result.map_or(0, <[u8]>::len);
//! for index in 0..listing.len() {
//!     if listing.kind(index) != Kind::File {
//!         continue;
//!     }
//!     let meta = worker.stat(&root, &listing, index)?;
//!     let name = listing.c_name(index);
//!     worker.fetch(Fetch { dir: &root, name, size: meta.size, limit: 1 << 20, cut: false, token: index as u64 }, &mut done);
//! }
//! worker.finish(&mut done);
//! assert!(bytes > 0);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod backend;
mod bounded;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dir;
#[cfg(feature = "faulty")]
pub mod faulty;
mod limits;
mod listing;
mod op;
mod threads;

pub use backend::{Backend, Worker, WorkerOptions, cancelled, no_answer};
pub use bounded::{BoundedBackend, BoundedWorker, within};
pub use dir::Dir;
#[cfg(feature = "faulty")]
pub use faulty::{Faults, FaultyBackend};
pub use limits::raise_open_file_limit;
pub use listing::Listing;
pub use op::{Fetch, FetchError, Fetched, IoStats, Kind, Meta, Op, first_read, is_component};
pub use threads::{ThreadBackend, ThreadWorker};
