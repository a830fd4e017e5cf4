//! The backend against the contract, against the portable one, and against what it may have to do without.

use super::UringBackend;
use super::probe::{Caps, caps};
use leindex_fallback::{Faults, FaultyBackend, conformance};
use std::sync::Arc;

/// The caps of this kernel; says loudly when there are none.
pub(super) fn caps_or_skip() -> Option<Caps> {
    caps().map_err(|why| eprintln!("SKIPPED: {why}")).ok()
}

/// A directory on the disk of the build: the cold cases want one, and /tmp may be in memory.
pub(super) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap()
}

#[test]
fn uring_conforms() {
    let Some(caps) = caps_or_skip() else { return };
    conformance::run(&UringBackend::new(caps), scratch().path());
}

#[test]
fn under_a_faulty_one_it_conforms_too() {
    let Some(caps) = caps_or_skip() else { return };
    let backend = FaultyBackend::new(Arc::new(UringBackend::new(caps)), Faults::none(7));
    conformance::run(&backend, scratch().path());
}

/// Whatever part of io_uring is reported absent, the contract holds.
#[test]
fn without_any_one_part_it_conforms() {
    let Some(caps) = caps_or_skip() else { return };
    for part in Caps::part_names() {
        eprintln!("without {part}");
        conformance::run(&UringBackend::new(caps.without(part)), scratch().path());
    }
}
