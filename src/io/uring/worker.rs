//! The verbs of the contract on a ring.
//!
//! A fetch takes a slot and goes through it: OPENAT into the slot's direct descriptor, a check that it is no pipe, READ of
//! one byte more than the size, and more reads if it grew. Nothing is linked: each step is queued when the one before has
//! completed, so that many files' steps go to the kernel in one call.
//!
//! ```text
//!            +-- no descriptor or no room: Stalled, until another fetch has ended --+
//!            |                                                                      |
//!  fetch -> Opening -> Checking -> Reading -+-> done -> free                        |
//!              ^                     ^  |   |                                       |
//!              |                     +--+ more, or again by a waiting thread        |
//!              +--------------------------------------------------------------------+
//!   any of them, too long in the kernel -> done(TimedOut) -> Abandoned -> free when the kernel lets go
//! ```
//!
//! Few slots are in use while everything is cached: content is handed on while it is in the processor's cache. As soon as
//! something is not, all of them are.

use super::op::{Action, Completion, given_up};
use super::policy::StatPolicy;
use super::probe::Caps;
use super::ring::{NAME_BYTES, Ring, RingSize};
use super::slot::{FREE, Slot, State};
use leindex_fallback::{
    BoundedWorker, Dir, Fetch, FetchError, Fetched, IoStats, Kind, Listing, Meta, Op, ThreadWorker, Worker,
    WorkerOptions, first_read, is_component,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Fetches in flight while the page cache has everything. Measured: 8 are as fast as 4 or 16 and faster than 32.
const WARM_WINDOW: usize = 8;
/// Fetches in flight at most. 64 keep a disk busy; 512 were slower.
const DEEP_WINDOW: usize = 64;
/// Stats in flight at most.
pub(super) const STATS: u32 = 32;
/// The buffer that reads share, and the largest read that goes there; larger ones have memory of their own.
const SHARED_BYTES: usize = 4 << 20;
const SHARED_READ_MAX: u64 = 512 << 10;
/// Memory of their own that large reads in flight may have in all, unless there is only one.
const OWN_BYTES_MAX: u64 = 16 << 20;
/// A spare large buffer is kept for so many fetches that did not need it.
const SMALL_TO_GIVE_BACK: u32 = 4096;
/// So many turns in a row without a wait make the window small again.
const CALM_TURNS: u32 = 8;
/// So many fetches without a wait are worth registering the buffer, which pins it.
const HITS_TO_REGISTER: u32 = 128;
/// What the kernel refuses for now is asked again so often.
const ATTEMPTS: u8 = 8;
/// The longest time between two looks at what takes too long, and at the flag of a cancel.
const TICK: Duration = Duration::from_millis(50);
/// Opened by a call: as the portable backend does.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A worker with a ring of its own, made by the thread that uses it.
pub(super) struct UringWorker {
    pub(super) caps: Caps,
    pub(super) options: WorkerOptions,
    /// For the verbs that a ring has no operation for, and for files that it does not suit.
    pub(super) calls: Box<dyn Worker>,
    pub(super) ring: Option<(Ring, ThreadId)>,
    /// A ring could not be made, or has failed: everything is done by calls from then on.
    without_ring: bool,
    /// The ring has failed where fetches could not be told; the next turn does.
    pub(super) failed: Option<io::Error>,
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) free_stats: Vec<u32>,
    stalled: VecDeque<u32>,
    /// A fetch has ended since the stalled ones were tried: there may be room for them.
    has_ended: bool,
    /// When the last look at what takes too long was.
    looked: Instant,
    /// Completions of fetches that arrived during a batch of stats.
    pub(super) postponed: VecDeque<Completion>,
    /// Fetches that have begun and not ended.
    active: usize,
    window: usize,
    calm_turns: u32,
    hits: u32,
    own_bytes: u64,
    small_in_a_row: u32,
    pub(super) policy: StatPolicy,
    pub(super) stats: IoStats,
}

impl UringWorker {
    pub(super) fn new(caps: Caps, options: WorkerOptions, remote: bool) -> UringWorker {
        let depth = options.lookahead.clamp(1, DEEP_WINDOW) as u32;
        let mut worker = UringWorker {
            caps,
            calls: if remote {
                Box::new(BoundedWorker::new(options.clone()))
            } else {
                Box::new(ThreadWorker::new(options.clone()))
            },
            options,
            ring: None,
            without_ring: false,
            failed: None,
            slots: vec![FREE; (depth + STATS) as usize],
            free: Vec::new(),
            free_stats: Vec::new(),
            stalled: VecDeque::new(),
            has_ended: false,
            looked: Instant::now(),
            postponed: VecDeque::new(),
            active: 0,
            window: WARM_WINDOW,
            calm_turns: 0,
            hits: 0,
            own_bytes: 0,
            small_in_a_row: 0,
            policy: StatPolicy::new(remote),
            stats: IoStats::default(),
        };
        worker.free_all();
        worker
    }

    fn depth(&self) -> u32 {
        self.slots.len() as u32 - STATS
    }

    fn free_all(&mut self) {
        let depth = self.depth();
        self.slots.fill(FREE);
        self.stalled.clear();
        self.postponed.clear();
        // The lowest first: what was used a moment ago.
        self.free = (0..depth).rev().collect();
        self.free_stats = (depth..depth + STATS).rev().collect();
    }

    /// Whether there is a ring, making it if need be.
    pub(super) fn has_ring(&mut self) -> bool {
        if self.without_ring || self.failed.is_some() {
            return false;
        }
        // A ring serves the thread that made it. Its owner may be moved while it is idle.
        if self.active == 0 && self.ring.as_ref().is_some_and(|(_, owner)| *owner != std::thread::current().id()) {
            self.keep_ring_stats();
            self.ring = None;
            self.free_all();
        }
        if self.ring.is_none() {
            let (files, slots) = (self.depth(), self.slots.len() as u32);
            let size = RingSize { files, slots, entries: 128, buffer_bytes: SHARED_BYTES };
            match Ring::new(self.caps, size) {
                Ok(ring) => self.ring = Some((ring, std::thread::current().id())),
                Err(error) => {
                    tracing::warn!(%error, "no ring for this worker: it goes on with calls");
                    self.without_ring = true;
                }
            }
        }
        !self.without_ring
    }

    /// Calls `each` with the ring. Without one there is nothing in flight, so nothing to be done.
    pub(super) fn with_ring<T: Default>(&mut self, each: impl FnOnce(&mut Ring) -> T) -> T {
        self.ring.as_mut().map(|(ring, _)| each(ring)).unwrap_or_default()
    }

    fn keep_ring_stats(&mut self) {
        let stats = self.with_ring(|ring| ring.stats());
        self.stats.enters += stats.enters;
        self.stats.entries += stats.entries;
    }

    /// The ring cannot be used any more: what is in flight ends with its error, and the rest is done by calls.
    fn give_up(&mut self, error: &io::Error, done: &mut dyn FnMut(Fetched<'_>)) {
        tracing::warn!(%error, "the ring of this worker has failed: it goes on with calls");
        self.keep_ring_stats();
        self.without_ring = true;
        self.ring = None;
        for slot in 0..self.depth() {
            let Slot { state, token, .. } = self.slots[slot as usize];
            if !matches!(state, State::Free | State::Abandoned) {
                self.active -= 1;
                self.stats.fetch_errors += 1;
                let source = io::Error::new(error.kind(), format!("the ring failed: {error}"));
                done(Fetched { token, result: Err(FetchError::Io { op: Op::Read, source }), missed: false });
            }
        }
        self.own_bytes = 0;
        self.free_all();
    }

    /// A slot within the window, completing others until there is one. `None` when every slot is held by an operation
    /// that does not end, or when the ring is gone.
    fn slot(&mut self, done: &mut dyn FnMut(Fetched<'_>)) -> Option<u32> {
        while self.ring.is_some() {
            if self.active < self.window
                && let Some(slot) = self.free.pop()
            {
                return Some(slot);
            }
            if self.active == 0 {
                // Something may have let go since.
                self.turn(Duration::ZERO, done);
                return if self.ring.is_some() { self.free.pop() } else { None };
            }
            self.turn(TICK, done);
        }
        None
    }

    /// Hands what is queued to the kernel and works on what has completed; if that is nothing, waits for something.
    fn turn(&mut self, patience: Duration, done: &mut dyn FnMut(Fetched<'_>)) {
        if let Some(error) = self.failed.take() {
            return self.give_up(&error, done);
        }
        if !self.stalled.is_empty() && (self.has_ended || self.options.is_cancelled()) {
            self.has_ended = false;
            self.go_on_with_stalled(done);
        }
        let submitted = self.ring.as_mut().map_or(Ok(()), |(ring, _)| ring.submit());
        if let Err(error) = submitted {
            return self.give_up(&error, done);
        }
        self.note_punts();
        let any = self.reap(done);
        if self.options.is_cancelled() {
            return self.expire(done);
        }
        if any {
            // While some come back, others may hang. When nothing had to wait, nothing does.
            if self.calm_turns == 0 && self.looked.elapsed() > self.tick() {
                self.expire(done);
            }
            return;
        }
        let patience = patience.min(self.tick());
        let waited = self.ring.as_mut().map_or(Ok(()), |(ring, _)| ring.wait(patience));
        if let Err(error) = waited {
            return self.give_up(&error, done);
        }
        if !self.reap(done) {
            self.expire(done);
        }
    }

    /// The longest time to wait before a look at what takes too long.
    pub(super) fn tick(&self) -> Duration {
        TICK.min(self.options.timeout / 4).max(Duration::from_millis(1))
    }

    /// After a submission: what is still in the kernel waits for something. Sets the window by that.
    fn note_punts(&mut self) {
        let Some((ring, _)) = &self.ring else { return };
        if ring.unfinished() == 0 {
            self.calm_turns += 1;
            if self.calm_turns > CALM_TURNS {
                self.window = WARM_WINDOW.min(self.depth() as usize);
            }
            return;
        }
        self.calm_turns = 0;
        self.hits = 0;
        self.window = self.depth() as usize;
        let depth = self.depth() as usize;
        for (index, slot) in self.slots[..depth].iter_mut().enumerate() {
            if !slot.punted && ring.is_unfinished(index as u32) {
                slot.punted = true;
                slot.missed |= slot.state == State::Reading;
                self.stats.punts += 1;
            }
        }
    }

    /// Works on every completion that has arrived; says whether there was one.
    fn reap(&mut self, done: &mut dyn FnMut(Fetched<'_>)) -> bool {
        let mut any = false;
        while let Some(completion) = self.postponed.pop_front().or_else(|| self.with_ring(Ring::next_completion)) {
            any = true;
            self.completed(completion, done);
        }
        any
    }

    fn completed(&mut self, completion: Completion, done: &mut dyn FnMut(Fetched<'_>)) {
        let Completion { slot, action, result } = completion;
        let may_wait = self.others_in_flight();
        let at = &mut self.slots[slot as usize];
        (at.punted, at.seen) = (false, None);
        match (at.state, result) {
            (State::Abandoned, _) => self.let_go(slot),
            (State::Opening, Ok(_)) if self.caps.fadvise => {
                at.state = State::Checking;
                self.with_ring(|ring| ring.check(slot));
            }
            (State::Opening | State::Checking, Ok(_)) => self.begin_reading(slot, done),
            (State::Opening, Err(Errno::MFILE | Errno::NFILE)) if may_wait => {
                at.state = State::StalledOpening;
                self.stats.retries += 1;
                self.window = (self.active / 2).max(1);
                self.stalled.push_back(slot);
            }
            (State::Reading, Ok(read)) => self.read_more(slot, read, done),
            (_, Err(Errno::INTR | Errno::AGAIN)) if at.attempts < ATTEMPTS => {
                at.attempts += 1;
                self.stats.retries += 1;
                let wait = self.policy.is_remote();
                self.with_ring(|ring| match action {
                    Action::Open => ring.open_again(slot, wait),
                    Action::Check => ring.check(slot),
                    // Some file systems have no read that does not wait.
                    Action::Read => ring.read(slot, true),
                    Action::Stat => {}
                });
            }
            (_, Err(errno)) => {
                let op = if action == Action::Open { Op::Open } else { Op::Read };
                self.end(slot, Err(FetchError::Io { op, source: errno.into() }), done);
            }
            (state, Ok(_)) => debug_assert!(false, "slot {slot} completed {action:?} in state {state:?}"),
        }
    }

    fn begin_reading(&mut self, slot: u32, done: &mut dyn FnMut(Fetched<'_>)) {
        let Slot { size, limit, .. } = self.slots[slot as usize];
        self.read_into(slot, first_read(size, limit), done);
    }

    /// Finds room for `bytes` in all and reads what is missing, or stalls.
    fn read_into(&mut self, slot: u32, bytes: u64, done: &mut dyn FnMut(Fetched<'_>)) {
        let out_of_memory = || FetchError::Io { op: Op::Read, source: Errno::NOMEM.into() };
        let Ok(length) = usize::try_from(bytes) else { return self.end(slot, Err(out_of_memory()), done) };
        let is_large = bytes > SHARED_READ_MAX;
        let others = self.own_bytes - self.slots[slot as usize].own;
        // While everything is cached one at a time is as fast, and takes the memory that the last one has left.
        let most = if self.window > WARM_WINDOW { OWN_BYTES_MAX } else { 0 };
        let may_wait = self.others_in_flight();
        let is_too_much = is_large && may_wait && others > 0 && others.saturating_add(bytes) > most;
        let mut own = is_large;
        let mut reserved = if is_too_much { Ok(false) } else { self.reserve(slot, length, own) };
        if reserved == Ok(false) && !may_wait {
            // Nobody would give any back: what holds it waits as well, or does not end.
            own = true;
            reserved = self.reserve(slot, length, own);
        }
        match reserved {
            Ok(true) => {
                let at = &mut self.slots[slot as usize];
                at.state = State::Reading;
                at.own = if own { bytes } else { 0 };
                self.own_bytes = others + at.own;
                self.stats.reads += 1;
                self.stats.ring_reads += 1;
                self.with_ring(|ring| ring.read(slot, false));
            }
            Ok(false) => {
                self.slots[slot as usize].state = State::StalledReading(bytes);
                self.stalled.push_back(slot);
            }
            Err(_) => self.end(slot, Err(out_of_memory()), done),
        }
    }

    /// Whether there are fetches, beside the one at hand, whose operations will complete: what waits, waits for those.
    fn others_in_flight(&self) -> bool {
        self.active > self.stalled.len() + 1
    }

    fn reserve(&mut self, slot: u32, bytes: usize, own: bool) -> Result<bool, Errno> {
        match &mut self.ring {
            Some((ring, _)) => ring.reserve(slot, bytes, own),
            None => Err(Errno::NOMEM),
        }
    }

    fn read_more(&mut self, slot: u32, read: u32, done: &mut dyn FnMut(Fetched<'_>)) {
        let Slot { size, limit, .. } = self.slots[slot as usize];
        let (filled, room) = self.with_ring(|ring| (ring.content(slot).len() as u64, ring.room(slot) as u64));
        if filled > limit {
            self.end(slot, Err(FetchError::TooLarge { limit }), done);
        } else if read == 0 || filled == size {
            self.end(slot, Ok(()), done);
        } else if filled == room {
            // It grew. Doubling keeps the reads few, whatever it grew to.
            self.read_into(slot, room.saturating_mul(2).min(limit.saturating_add(1)), done);
        } else {
            self.stats.reads += 1;
            self.stats.ring_reads += 1;
            self.with_ring(|ring| ring.read(slot, false));
        }
    }

    /// Tries again with what waits for descriptors or room, for as long as there is any.
    fn go_on_with_stalled(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        for _ in 0..self.stalled.len() {
            let Some(slot) = self.stalled.pop_front() else { return };
            match self.slots[slot as usize].state {
                _ if self.options.is_cancelled() => {
                    let source = given_up(&self.options);
                    self.end(slot, Err(FetchError::Io { op: Op::Read, source }), done);
                }
                State::StalledOpening => {
                    self.slots[slot as usize].state = State::Opening;
                    let wait = self.policy.is_remote();
                    self.with_ring(|ring| ring.open_again(slot, wait));
                }
                State::StalledReading(bytes) => self.read_into(slot, bytes, done),
                _ => {}
            }
        }
    }

    /// Hands a result out. The content, if there is one, is what the slot has read.
    fn end(&mut self, slot: u32, result: Result<(), FetchError>, done: &mut dyn FnMut(Fetched<'_>)) {
        let Slot { token, missed, own, .. } = self.slots[slot as usize];
        self.active -= 1;
        self.own_bytes -= own;
        self.stats.misses += u64::from(missed);
        match result {
            Ok(()) => {
                if let Some((ring, _)) = &self.ring {
                    let content = ring.content(slot);
                    self.stats.bytes += content.len() as u64;
                    done(Fetched { token, result: Ok(content), missed });
                }
            }
            Err(error) => {
                self.stats.fetch_errors += 1;
                done(Fetched { token, result: Err(error), missed });
            }
        }
        self.let_go(slot);
        self.hits += 1;
        if self.hits == HITS_TO_REGISTER {
            self.with_ring(Ring::register_buffer);
        }
        self.small_in_a_row = if own > 0 { 0 } else { self.small_in_a_row + 1 };
        if self.small_in_a_row == SMALL_TO_GIVE_BACK {
            self.with_ring(Ring::give_spare_back);
        }
    }

    /// Makes a slot free that has nothing in the kernel.
    pub(super) fn let_go(&mut self, slot: u32) {
        self.has_ended = true;
        self.with_ring(|ring| ring.release(slot));
        self.slots[slot as usize] = FREE;
        if slot < self.depth() { self.free.push(slot) } else { self.free_stats.push(slot) }
    }

    /// Ends the fetches whose operation has been in the kernel for too long: after a cancel, at all.
    fn expire(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        let (now, stop) = (Instant::now(), self.options.is_cancelled());
        self.looked = now;
        for slot in 0..self.depth() {
            let at = &mut self.slots[slot as usize];
            let op = match at.state {
                State::Opening => Op::Open,
                State::Checking | State::Reading => Op::Read,
                _ => continue,
            };
            if now.duration_since(*at.seen.get_or_insert(now)) < self.options.timeout && !stop {
                continue;
            }
            let Slot { token, own, .. } = *at;
            at.state = State::Abandoned;
            self.active -= 1;
            self.has_ended = true;
            self.own_bytes -= own;
            self.stats.timeouts += u64::from(!stop);
            self.stats.misses += 1;
            self.stats.fetch_errors += 1;
            self.with_ring(|ring| ring.cancel(slot));
            let source = given_up(&self.options);
            done(Fetched { token, result: Err(FetchError::Io { op, source }), missed: true });
        }
    }

    /// Opens by a call what the ring cannot open, and makes sure that it is a file.
    fn open_by_call(&mut self, dir: &Dir, name: &CStr) -> Result<OwnedFd, Errno> {
        let file = loop {
            match rustix::fs::openat(dir, name, FILE, Mode::empty()) {
                Err(Errno::INTR) => self.stats.retries += 1,
                opened => break opened?,
            }
        };
        match Kind::from_mode(rustix::fs::fstat(&file)?.st_mode) {
            Kind::File => Ok(file),
            Kind::Dir => Err(Errno::ISDIR),
            _ => Err(Errno::SPIPE),
        }
    }

    fn start(&mut self, slot: u32, request: &Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        let Fetch { dir, name, size, limit, token, .. } = *request;
        let by_ring = self.caps.open_direct && self.caps.fadvise;
        let mut opened = if by_ring { Err(Errno::OPNOTSUPP) } else { self.open_by_call(dir, name) };
        while matches!(opened, Err(Errno::MFILE | Errno::NFILE)) && self.active > 0 {
            self.stats.retries += 1;
            self.turn(TICK, done);
            if self.ring.is_none() {
                return self.calls.fetch(*request, done);
            }
            opened = self.open_by_call(dir, name);
        }
        self.active += 1;
        self.stats.opens += 1;
        self.slots[slot as usize] = Slot { state: State::Opening, token, size, limit, ..FREE };
        match opened {
            _ if by_ring => {
                self.stats.ring_opens += 1;
                // A remote file system's answer to an open is waited for in the submission, if no other thread does it.
                let wait = self.policy.is_remote();
                self.with_ring(|ring| ring.open(slot, dir, name, wait));
            }
            Ok(file) => {
                self.with_ring(|ring| ring.adopt(slot, file));
                self.begin_reading(slot, done);
            }
            Err(errno) => self.end(slot, Err(FetchError::Io { op: Op::Open, source: errno.into() }), done),
        }
    }
}

impl Worker for UringWorker {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        self.calls.open_dir(parent, name)
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        self.calls.list(dir, into)
    }

    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta> {
        self.calls.stat(dir, listing, index)
    }

    fn stat_batch(
        &mut self,
        dir: &Arc<Dir>,
        listing: &Listing,
        picks: &[u32],
        done: &mut dyn FnMut(u32, io::Result<Meta>),
    ) {
        self.stat_some(dir, listing, picks, done);
    }

    fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        let Fetch { name, size, limit, cut, token, .. } = request;
        // What fails anyway, what claims to be empty (a made-up file, for which a ring would need a thread), and the
        // beginnings of files, which indexing does not ask for.
        let is_ordinary = (1..=limit).contains(&size) && !cut && is_component(name.to_bytes());
        if !is_ordinary || name.to_bytes().len() >= NAME_BYTES || !self.has_ring() {
            return self.calls.fetch(request, done);
        }
        let slot = match self.slot(done) {
            Some(slot) => slot,
            None if self.without_ring => return self.calls.fetch(request, done),
            None => {
                self.stats.timeouts += u64::from(!self.options.is_cancelled());
                self.stats.misses += 1;
                self.stats.fetch_errors += 1;
                let source = given_up(&self.options);
                return done(Fetched { token, result: Err(FetchError::Io { op: Op::Open, source }), missed: true });
            }
        };
        self.start(slot, &request, done);
        while self.active > self.options.lookahead {
            self.turn(TICK, done);
        }
    }

    fn finish(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        while self.active > 0 {
            self.turn(TICK, done);
        }
        self.with_ring(Ring::close_files);
        self.calls.finish(done);
    }

    fn in_flight(&self) -> usize {
        self.active + self.calls.in_flight()
    }

    fn stats(&self) -> IoStats {
        let mut stats = self.stats;
        if let Some((ring, _)) = &self.ring {
            stats.enters += ring.stats().enters;
            stats.entries += ring.stats().entries;
        }
        stats += self.calls.stats();
        stats
    }
}
