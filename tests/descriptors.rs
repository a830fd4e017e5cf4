//! Running out of descriptors, with rings. It is alone in this file, so that it has a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

use leindex_engine::BackendChoice;
use leindex_engine::io::select;
use leindex_fallback::conformance;
use std::path::Path;

#[test]
fn out_of_descriptors_and_back() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match select(BackendChoice::Uring) {
        Ok(selected) => conformance::run_out_of_descriptors(&*selected.backend, scratch),
        Err(error) => eprintln!("SKIPPED: {error}"),
    }
}
