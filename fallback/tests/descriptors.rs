//! Running out of descriptors. It is alone in this file, so that it has a process of its own.
#![cfg(all(unix, not(miri)))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use leindex_fallback::{Faults, FaultyBackend, ThreadBackend, conformance};
use std::path::Path;
use std::sync::Arc;

#[test]
fn out_of_descriptors_and_back() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (before, raised) = leindex_fallback::raise_open_file_limit().unwrap();
    assert!(raised >= before);
    assert_eq!(leindex_fallback::raise_open_file_limit().unwrap(), (raised, raised), "there is no more to get");
    conformance::run_out_of_descriptors(&ThreadBackend::new(), scratch);
    let unfaulty = FaultyBackend::new(Arc::new(ThreadBackend::new()), Faults::none(1));
    conformance::run_out_of_descriptors(&unfaulty, scratch);
    assert_eq!(leindex_fallback::raise_open_file_limit().unwrap(), (raised, raised), "the suite put it back");
}
