//! Failpoints: the places around each step of the generation protocol, at which a test may end the process.
//!
//! Without the feature `failpoints`, which is for tests only, nothing of this is compiled.

/// The protocol has come to the point `name`, which is one of [`POINTS`].
#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &'static str) {
    assert!(POINTS.contains(&name), "{name}: a failpoint that is not listed");
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn reached(_: &'static str) {}

/// Every point, about in the order in which the protocol comes to them.
#[cfg(feature = "failpoints")]
pub const POINTS: [&str; 41] = [
    // The file of a metadata store is made, by a first run or a repair.
    "before-new-data-file",
    "after-new-data-file",
    // A run opens the index.
    "before-completing",
    "after-completing",
    "before-dropping",
    "after-dropping",
    "after-forgetting-files",
    "after-meta-json-put-back",
    "after-sweep",
    // A shard.
    "in-segment",
    "after-segment",
    // A publication.
    "before-intent-file",
    "after-intent-file",
    "after-intent-record",
    "before-text-deletes",
    "after-text-deletes",
    "after-text-segments",
    "before-meta-json",
    "after-meta-json",
    "before-rewrite",
    "after-rewrite",
    "before-merge",
    "after-merge",
    "before-publication",
    "in-publication",
    "after-publication",
    "after-intent-file-removed",
    "before-old-files-deleted",
    "after-old-files-deleted",
    "after-seal",
    // The end of a run.
    "before-complete",
    "after-complete",
    // A repair.
    "before-repair",
    "after-repair-data-file",
    "after-repair",
    // A publication of vectors.
    "before-vectors-part",
    "after-vectors-part",
    "after-vectors-merge",
    "before-vectors-named",
    "after-vectors-named",
    "after-old-vectors-deleted",
];

#[cfg(feature = "failpoints")]
type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

#[cfg(feature = "failpoints")]
static HOOK: std::sync::OnceLock<Hook> = std::sync::OnceLock::new();

/// Has `hook` called with the name of each point that this process comes to, by whichever thread comes to it. To be
/// called once.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub fn at_each(hook: impl Fn(&'static str) + Send + Sync + 'static) {
    assert!(HOOK.set(Box::new(hook)).is_ok(), "the failpoints of this process have a hook already");
}
