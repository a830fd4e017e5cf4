//! leindex-engine turns a source tree into an index that is searched in milliseconds and kept up to date in a fraction of
//! a second: as a library for daemons, and as the command `leindex-engine`.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use leindex_engine::{Engine, Query};
//!
//! let tree = tempfile::tempdir()?;
//! std::fs::write(tree.path().join("lock.c"), "int spin_lock(void);\n")?;
//!
//! let engine = Engine::builder().open(tree.path())?;
//! let report = engine.index().wait()?; // or `.await`: a Run is a Future
//! assert_eq!(report.files.indexed, 1);
//!
//! let answer = engine.snapshot()?.search(&Query::regex(r"\w+_lock\("))?;
//! assert_eq!((answer.hits[0].line, answer.hits[0].column), (1, 5));
//! # Ok(())
//! # }
//! ```
//!
//! The library never prints, reads the environment, installs signal handlers or exits; it logs through `tracing`. No call
//! waits for a run unless it says so.
//!
//! # Map of the source
//!
//! Imports go down only, and modules of one floor do not know each other (`tests/tidy.rs` sees to it):
//!
//! | floor | modules | what they own |
//! |---|---|---|
//! | 5 | the command (`main.rs`, `cli/`) | arguments, output, exit codes; uses the public API only |
//! | 5 | the server for agents (`mcp/`) | the Model Context Protocol; uses the public API only |
//! | 4 | [`Engine`] and its kin (`engine/`) | configuration, the index directory, runs, snapshots, verification |
//! | 3 | `shard` | the workers of a run: list, rules, stat, compare, read, invert |
//! | 3 | `commit` | the one writer: the generation protocol and recovery |
//! | 3 | [`query`] | planning, candidates, verification on the bytes |
//! | 2 | [`io`] | which I/O backend, and why |
//! | 2 | `rules` | what is ignored, exactly as git says |
//! | 2 | `store` | metadata in LMDB |
//! | 2 | [`symbols`] | definitions, by tree-sitter |
//! | 2 | `embed` | chunks, vectors, models, the scan over them |
//! | 2 | `text` | terms, inverter, segments, vocabulary, encodings, languages |
//! | 1 | [`limits`], [`counters`], [`record`], errors, failpoints | bounds, counts, what shards hand to commit |
//! | 0 | the crate `leindex-fallback` | the I/O contract in whole-file verbs, and its portable backend |
#![deny(missing_docs)]

mod commit;
pub mod counters;
mod embed;
#[cfg(feature = "parts")]
#[doc(hidden)]
pub use embed::parts;
mod engine;
mod error;
#[doc(hidden)]
pub mod failpoint;
pub mod io;
pub mod limits;
pub mod query;
pub mod record;
#[doc(hidden)]
pub mod rules;
mod shard;
mod store;
pub mod symbols;
#[doc(hidden)]
pub mod text;

pub use engine::{
    Canceller, Cards, Config, EmbedChoice, EmbedReport, Engine, EngineBuilder, Event, Explanation, FileList, Freshness,
    Outcome, Outline, Progress, Repair, Report, Rule, RulesConfig, Run, Seconds, Shards, Snapshot, StageProgress,
    StageRun, Status, SymbolReport, Verdicts, Verification, Watch, WatchEvent, WatchOptions, WatchState, WatchStopper,
    cards,
};
pub use error::{Error, OpenError, QueryError, RunError, Skip};
pub use io::BackendChoice;
pub use leindex_fallback::IoStats;
pub use query::{FileMatch, FileMatches, Hit, Mode, PathFilter, Query, Ranking, SearchResult, Sort};
pub use shard::placement::Placement;
pub use shard::{find_repository, git_directories, is_private_data};

/// The examples of the documents are compiled.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/embedding.md")]
    mod embedding {}
}
