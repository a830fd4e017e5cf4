//! The workers of a run: each lists directories, applies the rules, compares with the published generation, reads what
//! changed and, if it owns an inverter, indexes it.
//!
//! A *shard* is pinned to a core and owns an inverter, hence one segment at a time. A *reader* only does I/O and hands
//! what it read to the shards; readers are started when reads miss the page cache, because then the device is the limit
//! and wants more requests in flight than there are cores. Shards never open a write transaction: everything they find
//! goes to `commit` in batches over a bounded channel.
//!
//! * `queue`: directories and chunks of files still to do, parcels of content to be indexed.
//! * `context`: what the workers share.
//! * `scan`: one directory or chunk: list, rules, stat, compare, fetch.
//! * `enter`: what is in force in a directory that was just listed.
//! * `in_force`: the rules of a directory, read when a name there has to be judged.
//! * `only`: the part of the tree that a run is held to.
//! * `published`: what the published generation knows of a directory.
//! * `ingest`: content to terms to segment.
//! * `repository`: what git has to say beside its rule files.
//! * `rules_in_dir`: which rule files hold in a directory.
//! * `worker`: the loops of shards and readers.
//! * `pool`: starts and supervises them.

mod context;
mod enter;
mod in_force;
mod ingest;
mod only;
mod outbox;
pub(crate) mod placement;
pub(crate) mod pool;
mod published;
mod queue;
mod repository;
mod rules_in_dir;
mod scan;
mod worker;

pub(crate) use in_force::Standing;
pub(crate) use ingest::{Ids, SegmentLimits};
pub(crate) use only::Only;
pub(crate) use outbox::ToCommit;
pub(crate) use pool::{PoolError, PoolProgress, PoolResult, ScanInput, panic_message, readers_for, run_pool};
pub(crate) use repository::{Repository, read_file};
pub use repository::{find_repository, git_directories};
pub use rules_in_dir::is_private_data;
pub(crate) use rules_in_dir::{GlobalRules, RuleOptions, is_rule_file, repository_rules, rule_file_names};
