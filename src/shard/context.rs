//! What the workers of a run share: the settings, the store, and what they report.

use super::in_force::Standing;
use super::ingest::Ids;
use super::rules_in_dir::{GlobalRules, RuleOptions};
use crate::counters::{self, Counters};
use crate::error::{Skip, StoreError};
use crate::io::Watches;
use crate::limits::SKIPS_LISTED;
use crate::rules::{Database, Expressions, Stack};
use crate::store::Store;
use leindex_fallback::IoStats;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What all workers of a run share.
pub(crate) struct ScanContext {
    /// What is published; `None` when nothing is, or when files are only listed.
    pub(crate) store: Option<Store>,
    /// Paths found, when files are only listed.
    pub(crate) listed: Option<Mutex<Vec<Vec<u8>>>>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) rule_options: RuleOptions,
    /// Put before paths when rules are asked: where the root lies in its repository.
    pub(crate) rule_prefix: Vec<u8>,
    pub(crate) root_path: PathBuf,
    /// git's global rules, for the repositories within the tree.
    pub(crate) global: Option<GlobalRules>,
    /// The index directory, relative to the root: never entered.
    pub(crate) index_dir: Option<Vec<u8>>,
    /// Told of each directory before it is listed.
    pub(crate) watches: Option<Arc<Watches>>,
    pub(crate) file_bytes_max: u64,
    pub(crate) batch_files: usize,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) skips: Mutex<Vec<Skip>>,
    /// The rule that excluded the first entry that was excluded, for the message when nothing is left.
    pub(crate) first_ignored: Mutex<Option<String>>,
    /// The rules for names of the tree, and whether a database of them would be worth its while.
    pub(crate) expressions: Mutex<Expressions>,
    pub(crate) wants_database: AtomicBool,
    /// Directories whose rule files were not read, because nobody has had to know what they say.
    pub(crate) rules_unread: AtomicUsize,
    /// Shared by whoever holds a directory open whose rule files may be read later.
    pub(crate) held: Arc<()>,
    pub(crate) standing: Standing,
    pub(crate) failure: Mutex<Option<StoreError>>,
    /// What the last thread that panicked said.
    pub(crate) panicked: Mutex<Option<String>>,
    /// What the workers that have ended have done.
    pub(crate) io: Mutex<IoStats>,
}

impl ScanContext {
    pub(super) fn skip(&self, counters: &Counters, skip: Skip) {
        counters::add(&counters.skipped, 1);
        if skip.failure {
            counters::add(&counters.failed, 1);
        }
        tracing::debug!(%skip, "skipped");
        let mut skips = self.skips.lock().unwrap_or_else(PoisonError::into_inner);
        // Failures are worth more than links when not all can be listed.
        if skips.len() < SKIPS_LISTED {
            skips.push(skip);
        } else if skip.failure
            && let Some(place) = skips.iter_mut().find(|listed| !listed.failure)
        {
            *place = skip;
        }
    }

    pub(super) fn note_rules(&self, stack: &Stack, base: &[u8]) {
        if !Database::IS_BUILT || self.listed.is_some() {
            return;
        }
        if stack.wants_database() {
            self.wants_database.store(true, Relaxed);
        }
        let mut expressions = self.expressions.lock().unwrap_or_else(PoisonError::into_inner);
        stack.files_of(base).for_each(|file| expressions.add_file(file));
    }

    pub(super) fn fail(&self, error: StoreError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.cancelled.store(true, Relaxed);
    }
}
