//! leindex-engine
pub mod counters;
pub mod error;
pub mod limits;
pub mod record;
#[doc(hidden)]
pub mod text;
mod store;
pub mod io;
pub mod rules;
mod shard;
mod commit;
pub mod query;
