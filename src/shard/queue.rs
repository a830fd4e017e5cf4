//! The work of a run, shared by its workers.
//!
//! Last in, first out: the walk goes deep first, which bounds both the queue and the directories held open. Parcels
//! (content that readers hand to shards) come before directories, because they hold memory.

use super::ingest::Parcel;
use super::scan::Job;
use crate::limits::HANDOVER_BYTES;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Empty parcels that are kept.
const SPARE_MAX: usize = 4;

/// What a shard is to do next.
pub(super) enum Work {
    Job(Job),
    Parcel(Parcel),
}

/// What [`Queue::try_next`] found.
pub(super) enum Next {
    Work(Work),
    /// Nothing now, but other workers may still add something.
    Wait,
    /// Nothing now or ever.
    Done,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    parcels: Vec<Parcel>,
    parcel_bytes: usize,
    /// Empty parcels: memory that is warm already.
    spare: Vec<Parcel>,
    /// Jobs that are queued or being worked on: each may add more.
    outstanding: usize,
    /// Readers that may still hand over parcels.
    readers: usize,
    /// Workers that wait for work.
    waiting: usize,
    closed: bool,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    space: Condvar,
    finished: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds jobs, emptying `jobs`.
    pub(super) fn push(&self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.outstanding += jobs.len();
        let many = jobs.len() > 1;
        state.jobs.append(jobs);
        let waits = state.waiting > 0;
        drop(state);
        // A call of the kernel for each directory is worth sparing.
        if waits {
            if many { self.work.notify_all() } else { self.work.notify_one() }
        }
    }

    /// Ends one job that was taken.
    pub(super) fn job_done(&self) {
        let mut state = self.lock();
        state.outstanding -= 1;
        if state.outstanding == 0 {
            drop(state);
            self.work.notify_all();
            self.finished.notify_all();
        }
    }

    /// The next work of a shard, without waiting.
    pub(super) fn try_next(&self) -> Next {
        Self::next_for_shard(&mut self.lock(), &self.space)
    }

    /// The next work of a shard; `None` when there is none and never will be.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            match Self::next_for_shard(&mut state, &self.space) {
                Next::Work(work) => return Some(work),
                Next::Done => return None,
                Next::Wait => state = self.wait_for_work(state),
            }
        }
    }

    fn wait_for_work<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        state.waiting += 1;
        let mut state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    fn next_for_shard(state: &mut State, space: &Condvar) -> Next {
        if state.closed {
            return Next::Done;
        }
        if let Some(parcel) = state.parcels.pop() {
            state.parcel_bytes -= parcel.memory_bytes();
            space.notify_all();
            return Next::Work(Work::Parcel(parcel));
        }
        if let Some(job) = state.jobs.pop() {
            return Next::Work(Work::Job(job));
        }
        if state.outstanding == 0 && state.readers == 0 { Next::Done } else { Next::Wait }
    }

    /// The next job of a reader, without waiting.
    pub(super) fn try_next_job(&self) -> Result<Option<Job>, Finished> {
        Self::next_for_reader(&mut self.lock())
    }

    /// The next job of a reader; `None` when there is none and never will be.
    pub(super) fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            match Self::next_for_reader(&mut state) {
                Ok(Some(job)) => return Some(job),
                Ok(None) => state = self.wait_for_work(state),
                Err(Finished) => return None,
            }
        }
    }

    fn next_for_reader(state: &mut State) -> Result<Option<Job>, Finished> {
        if state.closed {
            return Err(Finished);
        }
        match state.jobs.pop() {
            None if state.outstanding == 0 => Err(Finished),
            job => Ok(job),
        }
    }

    /// Hands a parcel to the shards; waits while they are behind.
    pub(super) fn push_parcel(&self, parcel: Parcel) {
        let bytes = parcel.memory_bytes();
        let mut state = self.lock();
        while !state.closed && !state.parcels.is_empty() && state.parcel_bytes + bytes > HANDOVER_BYTES {
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.parcel_bytes += bytes;
        state.parcels.push(parcel);
        drop(state);
        self.work.notify_all();
    }

    /// An empty parcel.
    pub(super) fn empty_parcel(&self) -> Parcel {
        self.lock().spare.pop().unwrap_or_default()
    }

    /// Takes an empty parcel back.
    pub(super) fn give_back(&self, parcel: Parcel) {
        if parcel.is_reusable() {
            let mut state = self.lock();
            if state.spare.len() < SPARE_MAX {
                state.spare.push(parcel);
            }
        }
    }

    /// A reader begins; call it before the thread is started.
    pub(super) fn reader_begins(&self) {
        self.lock().readers += 1;
    }

    /// A reader has handed over all it had.
    pub(super) fn reader_ends(&self) {
        let mut state = self.lock();
        state.readers -= 1;
        drop(state);
        self.work.notify_all();
        self.finished.notify_all();
    }

    /// Drops all work; everyone who waits or asks is told that there is none.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = (std::mem::take(&mut state.jobs), std::mem::take(&mut state.parcels));
        drop(state);
        drop(dropped);
        self.work.notify_all();
        self.space.notify_all();
        self.finished.notify_all();
    }

    /// Waits until all is done or dropped, at most for `patience`; says whether it is.
    pub(super) fn wait_finished(&self, patience: Duration) -> bool {
        let state = self.lock();
        let going_on = |state: &mut State| {
            !state.closed && (state.outstanding > 0 || state.readers > 0 || !state.parcels.is_empty())
        };
        let waited =
            self.finished.wait_timeout_while(state, patience, going_on).unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    /// Jobs and parcels waiting.
    pub(super) fn depth(&self) -> usize {
        let state = self.lock();
        state.jobs.len() + state.parcels.len()
    }
}

/// There is no more work for a reader.
pub(super) struct Finished;
