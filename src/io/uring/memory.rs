//! Raw memory for the kernel to write to. An island of unsafe code.

#![allow(unsafe_code)]

use super::pages::PAGE;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// A page of the larger kind. Blocks of this size or more ask for them: to touch new memory 4 KiB at a time was a tenth of
/// the time of a warm walk.
const HUGE_PAGE: usize = 2 << 20;

/// Raw memory that the kernel may write to while Rust has no reference into it.
pub(super) struct Block {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is plain memory with one owner; nothing in it is tied to a thread. Test: `rings_move_between_threads`.
unsafe impl Send for Block {}

impl Block {
    /// At least `bytes` bytes, aligned to pages, of no particular content. `None` when there is no memory.
    pub(super) fn new(bytes: usize) -> Option<Block> {
        let is_large = bytes >= HUGE_PAGE;
        let layout = Layout::from_size_align(bytes.max(1), if is_large { HUGE_PAGE } else { PAGE }).ok()?;
        // SAFETY: the layout is not empty. Test: `reads_arrive_where_they_belong`.
        let at = NonNull::new(unsafe { alloc(layout) })?;
        if is_large {
            // SAFETY: the range is the allocation that was just made, and this advice changes no content. Where it is refused
            // nothing is lost. Test: `a_buffer_grows_and_keeps_its_content`.
            unsafe { libc::madvise(at.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        Some(Block { at, layout })
    }

    pub(super) fn len(&self) -> usize {
        self.layout.size()
    }

    /// The address of byte `offset`.
    pub(super) fn address(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len(), "an address outside of its block");
        self.at.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: made by `alloc` with this layout, and freed only here. Test: every test of this file under a leak and
        // address checker; `a_ring_dropped_in_flight_waits`.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_know_their_bounds() {
        for bytes in [0, 1, PAGE, PAGE + 1, 4 << 20] {
            let block = Block::new(bytes).unwrap();
            assert!(block.len() >= bytes);
            assert_eq!(block.address(0).addr() % PAGE, 0);
            assert_eq!(block.address(block.len()).addr() - block.address(0).addr(), block.len());
            let outside = block.len() + 1;
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block.address(outside))).is_err());
        }
        assert!(Block::new(usize::MAX).is_none());
    }
}
