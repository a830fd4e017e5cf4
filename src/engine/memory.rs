//! Gives memory back to the system. One of the few modules that may use `unsafe`: a call of the allocator.
#![allow(unsafe_code)]

/// Gives back what the allocator keeps of memory that was freed. A run frees a hundred megabytes, much of it in pools that
/// belonged to threads that have ended; glibc keeps those for threads to come, and a watcher would hold on to them for days.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn give_back() {
    // SAFETY: malloc_trim(3) has no preconditions, takes the allocator's own locks, and only gives back pages that hold no
    // living allocation. Test: `living_memory_stays`.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators are not known to keep as much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_memory_stays() {
        let fill = |n: usize| vec![n as u8; 1000 + n * 37];
        let living: Vec<Vec<u8>> = std::thread::spawn(move || (0..2000).map(fill).step_by(2).collect()).join().unwrap();
        give_back();
        assert!(living.iter().enumerate().all(|(n, bytes)| *bytes == fill(2 * n)));
    }
}
