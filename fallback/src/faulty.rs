//! A backend that breaks another one on purpose, so that the code above it can be tested against what a file system
//! does once in a million files.
//!
//! What breaks is drawn from a seed, for each worker on its own, when a verb is called and not when a fetch completes:
//! the same calls on the same worker bring the same faults, whatever the page cache holds and however long anything
//! takes. Workers are numbered in the order in which they are made.

use crate::{Backend, Dir, Fetch, FetchError, Fetched, IoStats, Listing, Meta, Op, Worker, WorkerOptions};
use std::collections::HashMap;
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

/// How often what breaks. Rates are per mille of the calls they concern; 0 is never, 1000 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    seed: u64,
    fail: [u16; OPS.len()],
    vanish: u16,
    short: u16,
    hold: u16,
    hold_calls_max: u64,
    delay: u16,
    delay_max: Duration,
}

const OPS: [Op; 5] = [Op::OpenDir, Op::List, Op::Stat, Op::Open, Op::Read];

impl Faults {
    /// None at all, to be added to.
    pub fn none(seed: u64) -> Faults {
        Faults {
            seed,
            fail: [0; OPS.len()],
            vanish: 0,
            short: 0,
            hold: 0,
            hold_calls_max: 0,
            delay: 0,
            delay_max: Duration::ZERO,
        }
    }

    /// `op` fails with an injected error. A listing fails after some of its entries.
    pub fn fail(mut self, op: Op, per_mille: u16) -> Faults {
        for (rate, _) in self.fail.iter_mut().zip(OPS).filter(|(_, each)| *each == op) {
            *rate = per_mille;
        }
        self
    }

    /// Directories, entries and files are gone when they are opened or stat'ed, `per_mille` of 1000 calls.
    pub fn vanish(mut self, per_mille: u16) -> Faults {
        self.vanish = per_mille;
        self
    }

    /// Files come back cut short, as if they had shrunk since they were stat'ed, `per_mille` of 1000 calls.
    pub fn short(mut self, per_mille: u16) -> Faults {
        self.short = per_mille;
        self
    }

    /// Completed fetches are kept back until up to `calls_max` further ones have been started, or `finish` is called,
    /// so that completions come in another order. The worker then has more in flight than its options say.
    pub fn hold(mut self, per_mille: u16, calls_max: u64) -> Faults {
        self.hold = per_mille;
        self.hold_calls_max = calls_max;
        self
    }

    /// Verbs take up to `max` longer, `per_mille` of 1000 calls.
    pub fn delay(mut self, per_mille: u16, max: Duration) -> Faults {
        self.delay = per_mille;
        self.delay_max = max;
        self
    }

    fn rate(&self, op: Op) -> u16 {
        OPS.iter().position(|each| *each == op).map_or(0, |index| self.fail[index])
    }
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Injected {
    /// The worker, counted from 0 in the order of making.
    pub worker: u64,
    /// The call of that worker, counted from 0 over all its verbs; a batch of stats counts one for each pick.
    pub call: u64,
    /// What was done to it.
    pub fault: Fault,
}

/// What was done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// It took this much longer.
    Delayed(Duration),
    /// It failed.
    Failed,
    /// What it named was gone.
    Vanished,
    /// The content was cut to this many per mille.
    Short(u16),
    /// The completion was kept back for this many calls of `fetch`.
    Held(u64),
}

/// A backend that injects [`Faults`] into another.
#[derive(Debug)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    faults: Faults,
    workers: AtomicU64,
    trace: Arc<Mutex<Vec<Injected>>>,
}

impl FaultyBackend {
    /// Breaks `inner`.
    pub fn new(inner: Arc<dyn Backend>, faults: Faults) -> FaultyBackend {
        FaultyBackend { inner, faults, workers: AtomicU64::new(0), trace: Arc::default() }
    }

    /// What has been injected so far, ordered by worker and call.
    pub fn trace(&self) -> Vec<Injected> {
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone();
        trace.sort_unstable();
        trace
    }
}

impl Backend for FaultyBackend {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn open_root(&self, path: &Path) -> io::Result<Dir> {
        self.inner.open_root(path)
    }

    fn worker(&self, options: WorkerOptions) -> io::Result<Box<dyn Worker>> {
        let inner = self.inner.worker(options)?;
        let worker = self.workers.fetch_add(1, Ordering::Relaxed);
        let mut seeds = Random(self.faults.seed ^ worker.wrapping_mul(0xa076_1d64_78bd_642f));
        let random = Random(seeds.next());
        let dice = Dice { faults: self.faults, random, worker, calls: 0, trace: Arc::clone(&self.trace) };
        let fetches = Fetches { plans: HashMap::new(), held: Vec::new(), calls: 0 };
        Ok(Box::new(FaultyWorker { inner, dice, fetches, injected_errors: 0 }))
    }
}

struct FaultyWorker {
    inner: Box<dyn Worker>,
    dice: Dice,
    fetches: Fetches,
    /// Fetches that the inner worker never saw.
    injected_errors: u64,
}

impl Worker for FaultyWorker {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        self.dice.start();
        self.dice.fail(Op::OpenDir)?;
        self.inner.open_dir(parent, name)
    }

    fn open_below(&mut self, root: &Dir, path: &[u8]) -> io::Result<Dir> {
        self.dice.start();
        self.dice.fail(Op::OpenDir)?;
        self.inner.open_below(root, path)
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        self.dice.start();
        let before = into.len();
        let failed = self.dice.fail(Op::List);
        let kept = self.dice.random.next();
        self.inner.list(dir, into)?;
        if failed.is_err() {
            let entries = (into.len() - before) as u64;
            into.truncate(before + (kept % (entries + 1)) as usize);
        }
        failed
    }

    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Meta> {
        self.dice.start();
        self.dice.fail(Op::Stat)?;
        self.inner.stat(dir, listing, index)
    }

    fn stat_batch(
        &mut self,
        dir: &Arc<Dir>,
        listing: &Listing,
        picks: &[u32],
        done: &mut dyn FnMut(u32, io::Result<Meta>),
    ) {
        let mut spared = Vec::with_capacity(picks.len());
        for &pick in picks {
            self.dice.start();
            match self.dice.fail(Op::Stat) {
                Ok(()) => spared.push(pick),
                Err(error) => done(pick, Err(error)),
            }
        }
        self.inner.stat_batch(dir, listing, &spared, done);
    }

    fn fetch(&mut self, request: Fetch<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        let token = request.token;
        self.dice.start();
        self.fetches.calls += 1;
        self.fetches.release(false, done);
        for op in [Op::Open, Op::Read] {
            if let Err(source) = self.dice.fail(op) {
                self.injected_errors += 1;
                return done(Fetched { token, result: Err(FetchError::Io { op, source }), missed: false });
            }
        }
        // The inner worker gets the number of the call for a token: the caller's need not be unique.
        let call = self.fetches.calls;
        let plan = Plan { token, short: self.dice.short(), due: call + self.dice.hold() };
        self.fetches.plans.insert(call, plan);
        let fetches = &mut self.fetches;
        self.inner.fetch(Fetch { token: call, ..request }, &mut |fetched| fetches.complete(fetched, done));
    }

    fn finish(&mut self, done: &mut dyn FnMut(Fetched<'_>)) {
        let fetches = &mut self.fetches;
        self.inner.finish(&mut |fetched| fetches.complete(fetched, done));
        self.fetches.release(true, done);
    }

    fn in_flight(&self) -> usize {
        self.fetches.plans.len()
    }

    fn stats(&self) -> IoStats {
        let mut stats = self.inner.stats();
        stats.fetch_errors += self.injected_errors;
        stats
    }
}

/// The fetches between their call and their completion.
struct Fetches {
    /// By the number of the call.
    plans: HashMap<u64, Plan>,
    held: Vec<Held>,
    calls: u64,
}

/// What is going to happen to one fetch.
struct Plan {
    token: u64,
    /// Per mille of the content that is handed out, when not all.
    short: Option<u16>,
    /// The number of the call from which on it may complete.
    due: u64,
}

/// A completion that is kept back.
struct Held {
    call: u64,
    result: Result<Vec<u8>, FetchError>,
    missed: bool,
}

impl Fetches {
    /// Takes a completion from the inner worker, and passes it on or keeps it back.
    fn complete(&mut self, fetched: Fetched<'_>, done: &mut dyn FnMut(Fetched<'_>)) {
        let Fetched { token: call, result, missed } = fetched;
        let Some(plan) = self.plans.get(&call) else { unreachable!("call {call} completed twice, or never began") };
        let result = result.map(|content| &content[..cut(content.len(), plan.short)]);
        if plan.due > self.calls {
            self.held.push(Held { call, result: result.map(<[u8]>::to_vec), missed });
        } else {
            let token = plan.token;
            self.plans.remove(&call);
            done(Fetched { token, result, missed });
        }
    }

    /// Passes on what is due, or everything, last in first out.
    fn release(&mut self, everything: bool, done: &mut dyn FnMut(Fetched<'_>)) {
        for index in (0..self.held.len()).rev() {
            let call = self.held[index].call;
            let is_due = |plan: &Plan| everything || plan.due <= self.calls;
            if !self.plans.get(&call).is_some_and(is_due) {
                continue;
            }
            let Held { result, missed, .. } = self.held.remove(index);
            if let Some(plan) = self.plans.remove(&call) {
                done(Fetched { token: plan.token, result: result.as_deref().map_err(copy), missed });
            }
        }
    }
}

/// How much is left of `length` bytes; at least one byte less, when there is one.
fn cut(length: usize, short: Option<u16>) -> usize {
    let Some(per_mille) = short else { return length };
    (length as u128 * u128::from(per_mille) / 1000) as usize
}

/// An error cannot be cloned, and lending it out would need another shape of [`Fetched`].
fn copy(error: &FetchError) -> FetchError {
    match error {
        FetchError::Io { op, source } => {
            let source = match source.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(source.kind(), source.to_string()),
            };
            FetchError::Io { op: *op, source }
        }
        FetchError::TooLarge { limit } => FetchError::TooLarge { limit: *limit },
    }
}

/// Draws the faults of one worker and writes them down.
struct Dice {
    faults: Faults,
    random: Random,
    worker: u64,
    calls: u64,
    trace: Arc<Mutex<Vec<Injected>>>,
}

impl Dice {
    /// Begins a call.
    fn start(&mut self) {
        self.calls += 1;
        let limit_ns = u64::try_from(self.faults.delay_max.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(self.random.next() % limit_ns.saturating_add(1).max(1));
        if self.random.hits(self.faults.delay) {
            self.note(Fault::Delayed(delay));
            thread::sleep(delay);
        }
    }

    /// Decides whether the call fails.
    fn fail(&mut self, op: Op) -> io::Result<()> {
        let failed = self.random.hits(self.faults.rate(op));
        let vanished = self.random.hits(self.faults.vanish);
        if failed {
            self.note(Fault::Failed);
            return Err(io::Error::other(format!("injected failure to {op}")));
        }
        if vanished && matches!(op, Op::OpenDir | Op::Stat | Op::Open) {
            self.note(Fault::Vanished);
            return Err(io::Error::new(io::ErrorKind::NotFound, "injected: it vanished"));
        }
        Ok(())
    }

    fn short(&mut self) -> Option<u16> {
        let per_mille = (self.random.next() % 1000) as u16;
        let hit = self.random.hits(self.faults.short);
        hit.then(|| self.note(Fault::Short(per_mille))).map(|()| per_mille)
    }

    fn hold(&mut self) -> u64 {
        let calls = self.random.next() % self.faults.hold_calls_max.saturating_add(1).max(1);
        if !self.random.hits(self.faults.hold) || calls == 0 {
            return 0;
        }
        self.note(Fault::Held(calls));
        calls
    }

    fn note(&self, fault: Fault) {
        let injected = Injected { worker: self.worker, call: self.calls - 1, fault };
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).push(injected);
    }
}

/// SplitMix64: a few lines, and good enough to draw faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Always draws, so that a rate that is turned off does not shift the draws of the others.
    fn hits(&mut self, per_mille: u16) -> bool {
        self.next() % 1000 < u64::from(per_mille)
    }
}
