//! The compiled rules of a tree: kept in the index, used by the next run, compiled again when rules have changed.
//!
//! No run needs them: they serve where they are there, and whatever they lack is matched without. What a run has found
//! missing is compiled while its last generation is being published. That takes a tenth of a second for a thousand rules,
//! which the end of that run waits for, unless it is cancelled.

use crate::commit;
use crate::rules::{Database, Stack};
use crate::shard::PoolResult;
use crate::store::{Store, StoreReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often a run that waits for a compilation looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(10);

/// What was compiled last, or found impossible to compile.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    /// Of the expressions that it was made of: the same are not compiled again.
    fingerprint: u64,
    pub(super) database: Option<Arc<Database>>,
    /// The index has some that cannot be used here.
    pub(super) is_foreign: bool,
}

/// What the index has. Whatever is wrong with it, the rules can be matched without.
pub(super) fn load(store: &Store) -> Compiled {
    let stored = StoreReader::begin(store).and_then(|reader| reader.rules());
    let stored = stored.inspect_err(|error| tracing::warn!(%error, "the compiled rules are not used")).ok().flatten();
    let Some((fingerprint, bytes)) = stored else { return Compiled::default() };
    if bytes.is_empty() {
        return Compiled { fingerprint, ..Compiled::default() };
    }
    match Database::from_bytes(&bytes) {
        Ok(database) => Compiled { fingerprint, database: Some(Arc::new(database)), is_foreign: false },
        Err(error) => {
            tracing::debug!(%error, "the compiled rules of the index are of no use here");
            Compiled { is_foreign: Database::IS_BUILT, ..Compiled::default() }
        }
    }
}

/// Compiles the rules that a scan has seen, if `before` lacks some of them. A scan of the `whole` tree has seen all.
pub(super) fn renew(
    before: &Compiled,
    base: &Stack,
    scanned: &PoolResult,
    whole: bool,
    cancelled: &AtomicBool,
) -> Option<Compiled> {
    if !scanned.wants_database {
        // What is of no use here is not tried again in each run.
        return (before.is_foreign && whole && !scanned.rules_unread).then(Compiled::default);
    }
    // Rules that nobody has read are among those that were compiled last, unless that was not possible.
    if scanned.rules_unread && before.database.is_none() && before.fingerprint != 0 {
        return None;
    }
    let _span = tracing::debug_span!("compile rules").entered();
    let mut expressions = scanned.expressions.clone();
    expressions.add(base.expressions().texts().into_iter().flatten().cloned());
    if let Some(database) = before.database.as_deref().filter(|_| !whole || scanned.rules_unread) {
        expressions.add(database.expressions().map(str::to_owned));
    }
    // So many that they would not be compiled, some of them of rules that are no more.
    if scanned.rules_unread && expressions.texts().is_none() {
        return None;
    }
    let fingerprint = expressions.fingerprint();
    if fingerprint == before.fingerprint {
        return None;
    }
    // A thread of its own, because nothing can stop a compilation: a run that is cancelled leaves it behind.
    let (sender, compiled) = mpsc::channel();
    let compile = move || drop(sender.send(Database::compile(&expressions)));
    std::thread::Builder::new().name("leindex-rules".into()).spawn(compile).ok()?;
    let compiled = loop {
        match compiled.recv_timeout(LOOK) {
            Ok(compiled) => break compiled,
            Err(RecvTimeoutError::Timeout) if !cancelled.load(Relaxed) => {}
            Err(_) => return None,
        }
    };
    let database = compiled.inspect_err(|error| tracing::debug!(%error, "rules are matched one by one")).ok();
    Some(Compiled { fingerprint, database: database.map(Arc::new), is_foreign: false })
}

/// Puts it into the index. It is only a cache, so that it cannot be written is no failure.
pub(super) fn keep(store: &Store, compiled: &Compiled) {
    let bytes = compiled.database.as_ref().map(|database| database.to_bytes()).transpose();
    let bytes = bytes.map_err(|error| error.to_string()).map(Option::unwrap_or_default);
    let kept = bytes
        .and_then(|bytes| commit::keep_rules(store, compiled.fingerprint, &bytes).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        tracing::warn!(error, "the compiled rules are not kept");
    }
}
