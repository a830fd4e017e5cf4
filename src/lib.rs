//! leindex-engine turns a source tree into a searchable index, fast.
#![deny(missing_docs)]

mod commit;
pub mod counters;
mod engine;
mod error;
pub mod io;
pub mod limits;
pub mod query;
pub mod record;
#[doc(hidden)]
pub mod rules;
mod shard;
mod store;
#[doc(hidden)]
pub mod text;

pub use engine::{
    Canceller, Config, Engine, EngineBuilder, Event, FileList, Outcome, Progress, Report, RulesConfig, Run, Seconds,
    Shards, Snapshot, Status, Verification,
};
pub use error::{Error, OpenError, QueryError, RunError, Skip};
pub use io::BackendChoice;
pub use query::{Hit, Mode, Query, SearchResult};
pub use shard::placement::Placement;
