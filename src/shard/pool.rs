//! Starts the workers of a run, adds readers while reads miss the cache, and waits until all of them are done.
//!
//! It waits for their work, not for their threads: a thread whose ring has an operation that never ends (a file system
//! hangs) cannot end either, for the kernel lets it go only when the operation is over.

use super::context::ScanContext;
use super::in_force::{InForce, Standing};
use super::ingest::{Ids, Ingest, SegmentLimits};
use super::only::Part;
use super::outbox::{Outbox, ToCommit};
use super::placement::{Placement, core_count};
use super::queue::Queue;
use super::repository::Repository;
use super::rules_in_dir::{GlobalRules, RuleOptions};
use super::scan::{DirAt, DirJob, Job, Scanner};
use super::worker::{run_reader, run_shard};
use crate::counters::{Counters, Counts};
use crate::error::{Skip, StoreError};
use crate::io::Watches;
use crate::limits::READERS_PER_CORE;
use crate::record::ROOT;
use crate::rules::{Expressions, Stack};
use crate::store::Store;
use crate::text::index::SegmentFactory;
use crossbeam_channel::Sender;
use leindex_fallback::{Backend, Dir, IoStats, WorkerOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// How often the pool looks at the miss rate.
const WATCH: Duration = Duration::from_millis(4);
/// New readers are worth starting when more than one in this many reads misses.
const MISS_SHARE: u64 = 4;
/// Reads that a judgement needs: a directory that was evicted from a warm cache is no cold cache.
const READS_MIN: u64 = 192;

/// Everything that a scan needs to know.
pub(crate) struct ScanInput {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) root: Dir,
    /// What of the tree to look at.
    pub(crate) only: Part,
    /// What is published, if anything is.
    pub(crate) store: Option<Store>,
    /// Makes segments; `None` to list files only, by readers alone.
    pub(crate) factory: Option<SegmentFactory>,
    pub(crate) to_commit: Sender<ToCommit>,
    /// Shards with an inverter.
    pub(crate) shards: usize,
    /// Readers to start with, and the most there may be.
    pub(crate) readers: (usize, usize),
    pub(crate) placement: Placement,
    pub(crate) segment_limits: SegmentLimits,
    pub(crate) ids: Arc<Ids>,
    pub(crate) rules: Arc<Stack>,
    pub(crate) standing: Standing,
    pub(crate) rule_options: RuleOptions,
    pub(crate) rule_prefix: Vec<u8>,
    /// The git repository that the root lies in.
    pub(crate) repository: Option<Arc<Repository>>,
    /// Path of the root.
    pub(crate) root_path: PathBuf,
    pub(crate) global: Option<GlobalRules>,
    pub(crate) index_dir: Option<Vec<u8>>,
    /// Told of each directory before it is listed.
    pub(crate) watches: Option<Arc<Watches>>,
    pub(crate) file_bytes_max: u64,
    pub(crate) batch_files: usize,
    pub(crate) lookahead: usize,
    pub(crate) io_timeout: Duration,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) progress: Arc<PoolProgress>,
}

/// What can be seen of a scan from outside while it runs.
#[derive(Debug, Default)]
pub(crate) struct PoolProgress {
    workers: RwLock<Vec<Arc<Counters>>>,
    depth: AtomicUsize,
    readers: AtomicUsize,
}

impl PoolProgress {
    /// Totals over all workers.
    pub(crate) fn counts(&self) -> Counts {
        let mut total = Counts::default();
        for counters in self.workers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            total += counters.counts();
        }
        total
    }

    /// Jobs and parcels waiting.
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Relaxed)
    }

    /// The most readers that there were at once.
    pub(crate) fn readers_peak(&self) -> usize {
        self.readers.load(Relaxed)
    }

    fn worker(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.workers.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }
}

/// How a scan ended.
#[derive(Debug)]
pub(crate) struct PoolResult {
    pub(crate) skips: Vec<Skip>,
    pub(crate) first_ignored: Option<String>,
    /// Paths, when files were only listed.
    pub(crate) listed: Vec<Vec<u8>>,
    /// What the workers' I/O took.
    pub(crate) io: IoStats,
    /// The rules for names of the tree, and whether a database of them is wanted.
    pub(crate) expressions: Expressions,
    pub(crate) wants_database: bool,
    /// There are rule files that were not read.
    pub(crate) rules_unread: bool,
    /// How long the scan took, without the segments that were written after it.
    pub(crate) scan: Duration,
}

/// Why a scan could not be finished.
pub(crate) enum PoolError {
    Io(io::Error),
    Store(StoreError),
    Panicked(String),
}

/// Scans the tree. Returns when every worker has ended and everything was sent to `commit`; sets `scanned` when only
/// segments are left to be written.
pub(crate) fn run_pool(input: ScanInput, scanned: &AtomicBool) -> Result<PoolResult, PoolError> {
    let _span = tracing::info_span!("scan", shards = input.shards).entered();
    let ScanInput { backend, root, only, store, factory, to_commit, progress, .. } = input;
    let context = ScanContext {
        listed: factory.is_none().then(Mutex::default),
        store,
        ids: input.ids,
        rule_options: input.rule_options,
        rule_prefix: input.rule_prefix,
        root_path: input.root_path,
        global: input.global,
        index_dir: input.index_dir,
        watches: input.watches,
        file_bytes_max: input.file_bytes_max,
        batch_files: input.batch_files,
        cancelled: input.cancelled,
        skips: Mutex::default(),
        expressions: Mutex::default(),
        wants_database: AtomicBool::new(input.rules.wants_database()),
        first_ignored: Mutex::default(),
        rules_unread: AtomicUsize::new(0),
        held: Arc::default(),
        standing: input.standing,
        failure: Mutex::default(),
        panicked: Mutex::default(),
        io: Mutex::default(),
    };
    let queue = Queue::default();
    let at = DirAt::Open(Arc::new(root));
    let known = context.store.is_some();
    let above = Arc::new(InForce::base(input.rules, input.repository, known && context.standing.holds()));
    let (path, only_tracked) = (Vec::new(), Some(false));
    let job = DirJob { at, id: ROOT, known, path, only, above, only_tracked, depth: 0 };
    queue.push(&mut vec![Job::Dir(job)]);
    let cancelled = Arc::clone(&context.cancelled);
    let options = WorkerOptions::default().lookahead(input.lookahead).timeout(input.io_timeout).cancelled(cancelled);
    let team = Team { context: &context, queue: &queue, backend: &*backend, options, progress: &progress, to_commit };
    let begun = Instant::now();
    let mut scan = Duration::ZERO;
    std::thread::scope(|scope| {
        let started = team.start(scope, input.shards, factory.as_ref(), (input.segment_limits, input.placement));
        let ended = started.and_then(|()| team.supervise(scope, input.readers));
        scan = begun.elapsed();
        scanned.store(true, Relaxed);
        // Those that could be started must not go on alone.
        ended.inspect_err(|_| team.stop())
    })
    .map_err(PoolError::Io)?;
    if let Some(message) = context.panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(PoolError::Panicked(message));
    }
    if let Some(error) = context.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(PoolError::Store(error));
    }
    Ok(PoolResult {
        skips: context.skips.into_inner().unwrap_or_else(PoisonError::into_inner),
        first_ignored: context.first_ignored.into_inner().unwrap_or_else(PoisonError::into_inner),
        listed: context
            .listed
            .map(|listed| listed.into_inner().unwrap_or_else(PoisonError::into_inner))
            .unwrap_or_default(),
        expressions: context.expressions.into_inner().unwrap_or_else(PoisonError::into_inner),
        wants_database: context.wants_database.into_inner(),
        rules_unread: context.rules_unread.into_inner() > 0,
        io: context.io.into_inner().unwrap_or_else(PoisonError::into_inner),
        scan,
    })
}

/// What it takes to start a worker.
struct Team<'e> {
    context: &'e ScanContext,
    queue: &'e Queue,
    backend: &'e dyn Backend,
    options: WorkerOptions,
    progress: &'e PoolProgress,
    to_commit: Sender<ToCommit>,
}

type Handle<'s> = std::thread::ScopedJoinHandle<'s, ()>;

impl<'e> Team<'e> {
    fn scanner<'s>(&'s self, counters: &'s Counters) -> io::Result<Scanner<'s>> {
        let io = self.backend.worker(self.options.clone())?;
        Ok(Scanner::new(self.context, self.queue, counters, io))
    }

    fn start<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        shards: usize,
        factory: Option<&SegmentFactory>,
        (limits, placement): (SegmentLimits, Placement),
    ) -> io::Result<()> {
        let mut shards = factory.iter().cycle().take(shards).enumerate();
        shards.try_for_each(|(shard, factory)| self.start_shard(scope, shard, (*factory).clone(), limits, placement))
    }

    fn start_shard<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        shard: usize,
        factory: SegmentFactory,
        limits: SegmentLimits,
        placement: Placement,
    ) -> io::Result<()> {
        let counters = self.progress.worker();
        let first = Ingest::first_segment(shard as u32);
        let outbox = Outbox::new(self.to_commit.clone(), Some(first), self.context.batch_files);
        let run = move || {
            self.guard(|| match self.scanner(&counters) {
                Ok(scanner) => {
                    let cancelled = Arc::clone(&self.context.cancelled);
                    let ingest = Ingest::new(shard as u32, factory, limits, cancelled, outbox);
                    run_shard(scanner, ingest, shard, placement);
                }
                Err(error) => self.context.fail(error.into()),
            });
        };
        Builder::new().name(format!("leindex-shard-{shard}")).spawn_scoped(scope, run).map(drop)
    }

    fn start_reader<'s>(&'s self, scope: &'s Scope<'s, '_>, number: usize, may_retire: bool) -> io::Result<Handle<'s>> {
        let counters = self.progress.worker();
        let outbox = Outbox::new(self.to_commit.clone(), None, self.context.batch_files);
        self.queue.reader_begins();
        let run = move || {
            self.guard(|| match self.scanner(&counters) {
                Ok(scanner) => run_reader(scanner, outbox, may_retire),
                Err(error) => {
                    self.context.fail(error.into());
                    self.queue.reader_ends();
                }
            });
        };
        let started = Builder::new().name(format!("leindex-reader-{number}")).spawn_scoped(scope, run);
        if started.is_err() {
            self.queue.reader_ends();
        }
        started
    }

    /// Watches the run until its work is done, starting readers while they help: twice as many each time that the last
    /// ones did not bring the misses down.
    fn supervise<'s>(&'s self, scope: &'s Scope<'s, '_>, (first, most): (usize, usize)) -> io::Result<()> {
        let mut handles: Vec<Handle<'s>> = Vec::new();
        let may_retire = first < most;
        let mut wanted = first;
        let mut seen = Counts::default();
        let mut started = 0;
        loop {
            if self.context.cancelled.load(Relaxed) {
                self.queue.close();
                break;
            }
            let mut alive = handles.iter().filter(|handle| !handle.is_finished()).count();
            // Readers whose number is fixed stay until everything is done: they would only be started again.
            while alive < wanted && (may_retire || started < first) {
                handles.push(self.start_reader(scope, started, may_retire)?);
                started += 1;
                alive += 1;
            }
            self.progress.readers.fetch_max(alive, Relaxed);
            self.progress.depth.store(self.queue.depth(), Relaxed);
            if self.queue.wait_finished(WATCH) {
                break;
            }
            let now = self.progress.counts();
            let (reads, misses) = (now.reads - seen.reads, now.misses - seen.misses);
            if reads >= READS_MIN {
                let missing = misses * MISS_SHARE > reads;
                wanted = if missing { (alive.max(core_count()) * 2).min(most) } else { first };
                seen = now;
            }
        }
        self.progress.depth.store(0, Relaxed);
        Ok(())
    }

    /// Does the work of a thread. One that panics must not leave the others waiting for it.
    fn guard(&self, work: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            *self.context.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic_message(&*payload));
            self.stop();
        }
    }

    fn stop(&self) {
        self.context.cancelled.store(true, Relaxed);
        self.queue.close();
    }
}

/// The readers that a run of `shards` shards may have: none when the count was fixed beyond the shards' own.
pub(crate) fn readers_for(fixed: Option<usize>, shards: usize) -> (usize, usize) {
    match fixed {
        Some(workers) => (workers.saturating_sub(shards), workers.saturating_sub(shards)),
        None => (0, core_count() * READERS_PER_CORE - shards.min(core_count() * READERS_PER_CORE)),
    }
}

pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
