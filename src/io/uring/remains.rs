//! What is left of a ring that was dropped while the kernel did not let go of something.
//!
//! It stays with the thread that drops the ring, whose end waits for the kernel: it would have to wait there anyway, for a
//! thread does not end before the operations of its rings have. So nothing leaks when a file system that hung answers
//! after all. There are two exceptions, where it is left to the kernel for good: the main thread, whose end is that of the
//! process, and a ring that was made by another thread, which cannot be asked from here.

use super::op::from_user_data;
use super::ring::Memory;
use io_uring::{IoUring, types};
use rustix::io::Errno;
use std::cell::RefCell;
use std::time::Duration;

/// How long a thread at its end sleeps at a time. It is woken when something completes.
const NAP: Duration = Duration::from_secs(600);

thread_local! {
    static REMAINS: RefCell<Vec<Remains>> = const { RefCell::new(Vec::new()) };
}

/// A ring, the memory that the kernel has addresses of, and how many operations still hold it.
pub(super) struct Remains {
    parts: Option<(IoUring, Memory)>,
    unfinished: u32,
}

impl Remains {
    /// Keeps the parts of a ring until the kernel has completed `unfinished` operations of it, or for good.
    pub(super) fn keep(io: IoUring, memory: Memory, unfinished: u32) {
        let remains = Remains { parts: Some((io, memory)), unfinished };
        if rustix::thread::gettid() == rustix::process::getpid() {
            return remains.leak();
        }
        // At the very end of a thread there is no such place any more; dropping it waits.
        let mut remains = Some(remains);
        let _ = REMAINS.try_with(|all| all.borrow_mut().extend(remains.take()));
    }

    fn leak(mut self) {
        std::mem::forget(self.parts.take());
    }

    /// Waits for what is unfinished; false when the ring cannot be asked any more.
    fn wait(&mut self) -> bool {
        let Some((io, _)) = &mut self.parts else { return false };
        while self.unfinished > 0 {
            let time = types::Timespec::from(NAP);
            let entered = io.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time));
            if let Err(error) = entered
                && !matches!(Errno::from_io_error(&error), Some(Errno::INTR | Errno::TIME | Errno::AGAIN | Errno::BUSY))
            {
                return false;
            }
            let completed = io.completion().filter(|entry| from_user_data(entry.user_data()).is_some()).count();
            self.unfinished = self.unfinished.saturating_sub(completed as u32);
        }
        true
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if !self.wait() {
            // A leak is safe, memory that is freed under a read is not.
            std::mem::forget(self.parts.take());
        }
    }
}
