//! Power cuts, and disks that fail. The index lies on a disk made by this test (`disk`, served through FUSE), which keeps
//! what is durable apart from what is only written (`state`).
//!
//! `cuts`: a process indexes, and the power is cut at moments drawn over all operations that it has had the disk do.
//! Whatever a disk may hold then, the index opens, is sound, has every generation that was announced before, and the next
//! run ends where an index built from nothing does. 40 cuts by default, `LEINDEX_POWER_CUTS=2000` for more,
//! `LEINDEX_POWER_SEED` to begin from a seed that a failure printed.
//!
//! `faults`: each operation in turn fails with ENOSPC or EIO, alone or with all that follow. The run succeeds or says what
//! is wrong, and nothing published is lost. 48 faults by default, `LEINDEX_WRITE_FAULTS=100000` for every one there is,
//! `LEINDEX_WRITE_FAULT_AT=K` for those that begin with operation K.
//!
//! Without /dev/fuse or the right to mount both say that they were skipped.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests; what was covered"
)]

mod content;
mod cuts;
mod disk;
mod faults;
mod state;
#[path = "../support/mod.rs"]
mod support;

use leindex_engine::{Engine, EngineBuilder, OpenError, QueryError, Verification};
use std::path::Path;

/// Where the index lies on a disk.
const INDEX: &str = "index";

fn engine(index: &Path, tree: &Path, settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    settings(Engine::builder().index_dir(index)).open(tree).unwrap()
}

/// What verifying finds; nothing, when nothing was published yet.
fn verified(engine: &Engine, context: &str) -> Option<Verification> {
    match engine.verify() {
        Ok(found) => {
            assert!(found.is_sound(), "{context}: {found:#?}");
            Some(found)
        }
        Err(QueryError::Open(OpenError::NoIndex { .. })) => None,
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Panics unless the index is sound and its generation is `least` or a later one. Returns the generation.
fn assert_published(engine: &Engine, least: u64, context: &str) -> u64 {
    let generation = verified(engine, context).map_or(0, |found| found.generation);
    assert!(generation >= least, "{context}: generation {least} was published, and {generation} is there");
    generation
}
