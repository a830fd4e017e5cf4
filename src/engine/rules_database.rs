//! The compiled rules of a tree: kept in the index, used by the next run, compiled again when rules have changed.
//!
//! No run waits for them. They serve where they are there, and whatever they lack is matched without; what a run has found
//! missing is compiled while its last generation is being published.

use crate::commit;
use crate::rules::{Database, Stack};
use crate::shard::PoolResult;
use crate::store::{Store, StoreReader};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was compiled last, or found impossible to compile.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    /// Of the expressions that it was made of: the same are not compiled again.
    fingerprint: u64,
    pub(super) database: Option<Arc<Database>>,
}

/// What the index has. Whatever is wrong with it, the rules can be matched without.
pub(super) fn load(store: &Store) -> Compiled {
    let stored = StoreReader::begin(store).and_then(|reader| reader.rules());
    let stored = stored.inspect_err(|error| tracing::warn!(%error, "the compiled rules are not used")).ok().flatten();
    let Some((fingerprint, bytes)) = stored else { return Compiled::default() };
    if bytes.is_empty() {
        return Compiled { fingerprint, database: None };
    }
    match Database::from_bytes(&bytes) {
        Ok(database) => Compiled { fingerprint, database: Some(Arc::new(database)) },
        Err(error) => {
            tracing::debug!(%error, "the compiled rules of the index are of no use here");
            Compiled::default()
        }
    }
}

/// Compiles the rules that a scan has seen, if `before` lacks some of them. A scan of the `whole` tree has seen all.
pub(super) fn renew(before: &Compiled, base: &Stack, scanned: &PoolResult, whole: bool) -> Option<Compiled> {
    if !scanned.wants_database {
        return None;
    }
    let mut expressions: BTreeSet<String> = base.expressions().collect();
    expressions.extend(scanned.rule_files.iter().flat_map(|file| file.expressions().map(|(_, expression)| expression)));
    if let Some(database) = before.database.as_deref().filter(|_| !whole) {
        expressions.extend(database.expressions().map(str::to_owned));
    }
    let fingerprint = fingerprint(&expressions);
    if fingerprint == before.fingerprint {
        return None;
    }
    let span = tracing::debug_span!("compile_rules", expressions = expressions.len());
    let compiled = span.in_scope(|| Database::compile(&expressions));
    let database = compiled.inspect_err(|error| tracing::debug!(%error, "rules are matched one by one")).ok();
    Some(Compiled { fingerprint, database: database.map(Arc::new) })
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

fn fingerprint(expressions: &BTreeSet<String>) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    for expression in expressions {
        hasher.update(expression.as_bytes());
        hasher.update(b"\0");
    }
    // Never 0, which is that of nothing.
    (expressions.len() as u64 + 1) << 32 | u64::from(hasher.finalize())
}
