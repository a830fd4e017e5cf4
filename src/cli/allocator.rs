//! How the command's memory is managed. One of the few modules that may use `unsafe`: a call of the allocator.
#![allow(unsafe_code)]

/// Buffers from this size on are mapped one by one, and given back when they are freed. 1 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM_BYTES: libc::c_int = 1 << 20;

/// Lets large buffers go back to the system when they are freed. glibc raises that size to 32 MiB by itself, and keeps what is
/// smaller in pools that belong to threads, also to those that have ended: a run took 300 to 400 MB instead of 240, and a
/// watcher held on to 60 to 90 MB instead of 5. To be called before there are other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_large_buffers_back() {
    // SAFETY: mallopt(3) sets a number of the allocator. It must not race with the allocator's first use by another thread,
    // and this is the first thing that the process does in its only thread. Test:
    // `a_watcher_holds_little_memory`.
    let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) };
    debug_assert_eq!(done, 1);
}

/// Gives what was freed back to the system, in all pools: worth some milliseconds after work that is not done again soon.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_all_back() {
    // SAFETY: malloc_trim(3) may be called at any time by any thread, and touches nothing that is in use. Test:
    // `a_watcher_holds_little_memory`.
    let released = unsafe { libc::malloc_trim(0) };
    tracing::trace!(released, "memory given back");
}

/// Other allocators are not known to keep as much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_large_buffers_back() {}

/// As [`give_large_buffers_back`].
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_all_back() {}
