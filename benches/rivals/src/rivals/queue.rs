//! Directories that wait for a thread, and the knowledge of when there will be no more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Last in, first out: deep first, which bounds how much waits. Each job may add more jobs, so that an empty queue is
/// not the end as long as one is being worked on.
#[derive(Debug)]
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    work: Condvar,
}

#[derive(Debug)]
struct State<J> {
    jobs: Vec<J>,
    /// Queued or being worked on.
    outstanding: usize,
    /// Threads asleep: nobody is woken up in vain, which would cost a system call for each directory.
    waiting: usize,
}

impl<J> Queue<J> {
    /// A queue that begins with one job.
    pub(super) fn new(first: J) -> Queue<J> {
        let state = State { jobs: vec![first], outstanding: 1, waiting: 0 };
        Queue { state: Mutex::new(state), work: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, or `None` when there is none just now.
    pub(super) fn try_next(&self) -> Option<J> {
        self.lock().jobs.pop()
    }

    /// The next job; waits for one. `None` when all is done.
    pub(super) fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop() {
                return Some(job);
            }
            if state.outstanding == 0 {
                return None;
            }
            state.waiting += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Adds jobs that the caller's own job has led to. The last one is taken first.
    pub(super) fn add(&self, jobs: &mut Vec<J>) {
        let count = jobs.len();
        let mut state = self.lock();
        state.outstanding += count;
        state.jobs.append(jobs);
        let wake = count.min(state.waiting);
        drop(state);
        for _ in 0..wake {
            self.work.notify_one();
        }
    }

    /// The caller's job is done, and adds nothing any more.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.outstanding -= 1;
        let end = state.outstanding == 0;
        drop(state);
        if end {
            self.work.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    #[test]
    fn every_job_is_done_once_and_all_threads_end() {
        // Each job of depth n leads to three of depth n - 1: 1 + 3 + 9 + ... + 3^6 in all.
        let (queue, done) = (Queue::new(6), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(depth) = queue.next() {
                        if depth > 0 {
                            queue.add(&mut vec![depth - 1; 3]);
                        }
                        done.fetch_add(1, Relaxed);
                        queue.done();
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 1093);
        assert_eq!(queue.try_next(), None);
    }

    #[test]
    fn the_last_one_added_is_the_first() {
        let queue = Queue::new(1);
        queue.add(&mut vec![2, 3]);
        assert_eq!([queue.try_next(), queue.next(), queue.next()], [Some(3), Some(2), Some(1)]);
    }
}
