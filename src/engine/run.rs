//! A run in the background: its progress, its end, and how to stop it.

use super::layout::Layout;
use super::lock::PidLock;
use super::report::{Outcome, Report, Seconds, peak_rss_bytes};
use super::{Engine, Shards, base_rules, freshness, lock, rules_database};
use crate::commit::{Committed, Committer, NextIds, recovery};
use crate::counters::Counts;
use crate::error::{OpenError, RunError, StoreError};
use crate::io::{Selected, Watches};
use crate::limits::COMMIT_CHANNEL;
use crate::record::{now_ns, path_bytes};
use crate::rules::Database;
use crate::shard::placement::core_count;
use crate::shard::{
    Ids, Only, PoolError, PoolProgress, PoolResult, ScanInput, SegmentLimits, Standing, ToCommit, panic_message,
    readers_for, run_pool,
};
use crate::store::schema::Published;
use crate::store::{Store, StoreReader};
use crate::text::index::SegmentFactory;
use crossbeam_channel::{Receiver, Sender};
use leindex_fallback::within;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Events that a caller has not taken are dropped past this many.
const EVENTS_MAX: usize = 256;

/// Something that happened in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A generation was published and can be searched.
    Published(u64),
    /// The run has ended; [`Run::wait`] will not wait.
    Ended,
}

/// A run at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What was counted so far.
    pub files: Counts,
    /// Directories, chunks and parcels that wait for a worker.
    pub queue_depth: usize,
    /// Since the start.
    pub elapsed: Duration,
    /// Files that the last generation held: an estimate of how many there are to see. 0 on a first run.
    pub expected: u64,
    /// Whether the tree was gone over, so that only writing is left.
    pub scanned: bool,
}

/// Stops a run. Clone it, send it anywhere; cancelling twice is fine.
#[derive(Clone, Debug)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    pub(super) fn new(flag: Arc<AtomicBool>) -> Canceller {
        Canceller(flag)
    }

    /// Asks the run to stop: nothing new is begun, what is in flight is let finish, and what was published stays.
    /// Returns at once; the run ends a moment later, with [`Outcome::Cancelled`]. A stage ends with `cancelled` in its report. A
    /// run that still waits for another writer ends with [`OpenError::Busy`], one that waits for a root that does not answer
    /// with [`RunError::Root`].
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }
}

/// A run that goes on in the background. Wait for it with [`Run::wait`], or `.await` it: it is a [`Future`] that needs no
/// particular runtime. Dropping it cancels the run and waits for its end.
///
/// ```no_run
/// # fn main() -> Result<(), leindex_engine::Error> {
/// use leindex_engine::{Engine, Event, Outcome};
/// use std::time::Duration;
///
/// let run = Engine::builder().open("path/to/tree")?.index();
/// let canceller = run.canceller(); // Clone and Send: for whoever may stop the run
/// while !run.is_finished() {
///     match run.next_event(Duration::from_millis(250)) {
///         Some(Event::Published(generation)) => println!("generation {generation} can be searched"),
///         Some(_) => {}
///         None if run.progress().elapsed > Duration::from_secs(600) => canceller.cancel(),
///         None => println!("{} files of about {}", run.progress().files.seen, run.progress().expected),
///     }
/// }
/// if run.wait()?.outcome == Outcome::Cancelled {
///     println!("cancelled; what was published stays");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    events: mpsc::Receiver<Event>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    cancelled: Arc<AtomicBool>,
    progress: Arc<PoolProgress>,
    scanned: AtomicBool,
    expected: AtomicU32,
    end: Mutex<End>,
    events: mpsc::SyncSender<Event>,
}

#[derive(Debug, Default)]
struct End {
    result: Option<Result<Report, RunError>>,
    waker: Option<Waker>,
}

impl Run {
    /// Where the run is now. Cheap: sums a few counters.
    pub fn progress(&self) -> Progress {
        Progress {
            files: self.shared.progress.counts(),
            queue_depth: self.shared.progress.depth(),
            elapsed: self.shared.started.elapsed(),
            expected: u64::from(self.shared.expected.load(Relaxed)),
            scanned: self.shared.scanned.load(Relaxed),
        }
    }

    /// The next event; `None` when none has come within `patience`, or none is left after the end. At most 256 are kept: later
    /// ones are lost while nobody takes any.
    pub fn next_event(&self, patience: Duration) -> Option<Event> {
        self.events.recv_timeout(patience).ok()
    }

    /// A handle that stops the run.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.shared.cancelled))
    }

    /// Whether the run has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Whatever kept the run from doing its work; what was published before stays.
    pub fn wait(mut self) -> Result<Report, RunError> {
        self.join();
        self.take_result().unwrap_or_else(|| Err(RunError::Panicked { detail: "the run left no result".into() }))
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(payload) = thread.join()
        {
            let detail = panic_message(&*payload);
            self.shared.lock_end().result.get_or_insert(Err(RunError::Panicked { detail }));
        }
    }

    fn take_result(&self) -> Option<Result<Report, RunError>> {
        self.shared.lock_end().result.take()
    }
}

impl Future for Run {
    type Output = Result<Report, RunError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut end = self.shared.lock_end();
        match end.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                end.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.canceller().cancel();
        self.join();
    }
}

impl Shared {
    fn lock_end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event nobody listens for is no loss.
    fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    fn end(&self, result: Result<Report, RunError>) {
        self.tell(Event::Ended);
        let mut end = self.lock_end();
        end.result = Some(result);
        if let Some(waker) = end.waker.take() {
            waker.wake();
        }
    }
}

/// Ends the run with an error if its thread dies of a panic: a task that awaits it must not wait for ever.
struct EndOnPanic<'s>(&'s Shared);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Err(RunError::Panicked { detail: "see the log".into() }));
        }
    }
}

/// Stops the run when the commit thread dies of a panic.
struct CancelOnPanic<'s>(&'s Shared);

impl Drop for CancelOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancelled.store(true, Relaxed);
        }
    }
}

/// What is asked of a run.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Paths relative to the root; `None` for the whole tree.
    pub(super) only: Option<Vec<PathBuf>>,
    /// Told of each directory before it is listed.
    pub(super) watches: Option<Arc<Watches>>,
}

/// Starts a run.
pub(super) fn start(engine: Engine, request: Request) -> Run {
    let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        started: Instant::now(),
        cancelled: Arc::default(),
        progress: Arc::default(),
        scanned: AtomicBool::new(false),
        expected: AtomicU32::new(0),
        end: Mutex::default(),
        events: sender,
    });
    let for_thread = Arc::clone(&shared);
    let body = move || {
        let guard = EndOnPanic(&for_thread);
        let result = run(&engine, &for_thread, request);
        drop(guard);
        for_thread.end(result);
    };
    let thread = match std::thread::Builder::new().name("leindex-run".into()).spawn(body) {
        Ok(thread) => Some(thread),
        Err(error) => {
            let detail = format!("no thread could be started: {error}");
            shared.end(Err(RunError::Panicked { detail }));
            None
        }
    };
    Run { shared, thread, events }
}

fn run(engine: &Engine, shared: &Shared, request: Request) -> Result<Report, RunError> {
    let _span = tracing::info_span!("run", whole = request.only.is_none()).entered();
    let began_ns = now_ns();
    let watched = request.watches.is_some();
    let layout = &engine.inner.layout;
    let config = &engine.inner.config;
    let selected = config.select_backend(&layout.root)?;
    let _lock = lock(engine, &shared.cancelled)?;
    let store = engine.store()?;
    let opened = tracing::debug_span!("open index")
        .in_scope(|| recovery::open_for_writing(&store, &engine.text_dir()))
        .map_err(|error| layout.run_error(error))?;
    let published = opened.published;
    if let Err(error) = leindex_fallback::raise_open_file_limit() {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let known = has_files(&store, shared).map_err(|error| layout.run_error(error))?;
    let (to_commit, from_shards) = crossbeam_channel::bounded(COMMIT_CHANNEL);
    let ids =
        Arc::new(Ids { next_file: AtomicU32::new(published.next_file), next_dir: AtomicU32::new(published.next_dir) });
    let compiled = engine.compiled_rules(&store);
    // What was lost is found by looking at everything, whatever was asked for.
    let lacking = opened.text_lost || opened.orphans.is_some();
    let scan = Scan {
        only: request.only.filter(|_| !lacking),
        watches: request.watches,
        store: known.then(|| store.clone()),
        factory: Some(opened.text.factory()),
        database: compiled.database.clone(),
        verdicts: published_verdicts(&store).filter(|_| !compiled.is_foreign),
        to_commit,
        ids: Arc::clone(&ids),
        cancelled: Arc::clone(&shared.cancelled),
        progress: Arc::clone(&shared.progress),
    };
    let input = scan_input(engine, &selected, scan)?;
    let shards = input.shards;
    let committer = Committer::new(store.clone(), opened, shards);
    let whole = input.only.is_none();
    let base = Arc::clone(&input.rules);
    let standing = input.standing.clone();
    let (scanned, committed, renewed) = std::thread::scope(|scope| {
        let (ids, standing) = (&*ids, &standing);
        // The receiver goes with the thread: shards that wait for room in the channel must see that nobody makes any.
        let commit = scope.spawn(move || commit_loop(committer, from_shards, ids, shared, whole, standing));
        let scanned = run_pool(input, &shared.scanned);
        // Beside the last publication, which mostly waits for the disk.
        let seen = scanned.as_ref().ok().filter(|_| !shared.cancelled.load(Relaxed));
        let renewed = seen.and_then(|seen| rules_database::renew(&compiled, &base, seen, whole, &shared.cancelled));
        (scanned, commit.join(), renewed)
    });
    let committed = match committed {
        Ok(committed) => committed.map_err(|error| layout.run_error(error)),
        Err(payload) => Err(RunError::Panicked { detail: panic_message(&*payload) }),
    };
    let scanned = scanned.map_err(|error| scan_error(layout, error));
    // When both failed, the commit's error is the cause: it is what made the workers stop.
    let committed = committed?;
    if let Some(renewed) = renewed {
        rules_database::keep(&store, &renewed);
        engine.set_compiled_rules(renewed);
    }
    let settled = scanned.is_ok() && shared.progress.counts().unsettled == 0;
    if whole && settled && !watched && !shared.cancelled.load(Relaxed) {
        freshness::note_run(layout, began_ns);
    }
    let mut report = report(engine, shared, &selected, published, shards, scanned?, committed);
    report.compiled_rules = compiled.database.map_or(0, |database| database.expressions().count());
    Ok(report)
}

/// The writer's lock, as soon as it is free if the configuration says so.
fn lock(engine: &Engine, cancelled: &AtomicBool) -> Result<PidLock, RunError> {
    let layout = &engine.inner.layout;
    let acquired = match lock::acquire(layout) {
        Err(OpenError::Busy { .. }) if engine.inner.config.wait_for_writer => lock::wait(layout, cancelled),
        acquired => acquired,
    };
    acquired.map_err(|error| match error {
        // The root is gone: no matter of the index.
        OpenError::Root { path, source } => RunError::Root { path, source },
        other => other.into(),
    })
}

/// The fingerprint of what has accepted the published names. Without it all names are judged, and all rules read.
fn published_verdicts(store: &Store) -> Option<u64> {
    let read = StoreReader::begin(store).and_then(|reader| reader.verdicts());
    read.inspect_err(|error| tracing::warn!(%error, "all names are judged anew")).ok().flatten()
}

fn has_files(store: &Store, shared: &Shared) -> Result<bool, StoreError> {
    let (files, dirs) = StoreReader::begin(store)?.counts()?;
    shared.expected.store(u32::try_from(files).unwrap_or(u32::MAX), Relaxed);
    Ok(files + dirs > 0)
}

/// What differs between scans; everything else is configuration.
pub(super) struct Scan {
    pub(super) only: Option<Vec<PathBuf>>,
    pub(super) watches: Option<Arc<Watches>>,
    /// What is published, if anything is.
    pub(super) store: Option<Store>,
    /// Makes segments; `None` to list files only.
    pub(super) factory: Option<SegmentFactory>,
    pub(super) database: Option<Arc<Database>>,
    /// What has accepted the names that are published.
    pub(super) verdicts: Option<u64>,
    pub(super) to_commit: Sender<ToCommit>,
    pub(super) ids: Arc<Ids>,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) progress: Arc<PoolProgress>,
}

/// A scan of the engine's tree as it is configured.
pub(super) fn scan_input(engine: &Engine, selected: &Selected, scan: Scan) -> Result<ScanInput, RunError> {
    let config = &engine.inner.config;
    let layout = &engine.inner.layout;
    let base = base_rules::load(layout, config, scan.database, Some(&scan.cancelled))?;
    let (backend, path) = (Arc::clone(&selected.backend), layout.root.clone());
    let root = within(config.patience(), Some(&scan.cancelled), move || backend.open_root(&path))
        .flatten()
        .map_err(|source| RunError::Root { path: layout.root.clone(), source })?;
    let fixed = match config.shards {
        Shards::Auto => None,
        Shards::Count(count) => Some(count),
    };
    let (shards, readers) = match scan.factory {
        Some(_) => {
            let shards = fixed.unwrap_or(usize::MAX).min(core_count());
            (shards, readers_for(fixed, shards))
        }
        None => (0, (core_count(), core_count())),
    };
    Ok(ScanInput {
        backend: Arc::clone(&selected.backend),
        root,
        only: scan.only.map(|paths| {
            let paths: Vec<_> = paths.iter().map(|path| path_bytes(path)).collect();
            Arc::new(Only::of(paths.iter().map(Vec::as_slice)))
        }),
        store: scan.store,
        factory: scan.factory,
        to_commit: scan.to_commit,
        shards,
        readers,
        placement: config.placement,
        segment_limits: SegmentLimits { inverter_bytes: config.inverter_bytes, age: config.checkpoint },
        ids: scan.ids,
        rules: base.stack,
        standing: Standing::new(scan.verdicts, base.fingerprint),
        rule_options: base.options,
        rule_prefix: base.prefix,
        repository: base.repository,
        root_path: layout.root.clone(),
        global: base.global,
        index_dir: layout.index_dir_in_root(),
        watches: scan.watches,
        file_bytes_max: config.file_bytes_max,
        batch_files: config.batch_files,
        lookahead: config.lookahead,
        io_timeout: config.io_timeout,
        cancelled: scan.cancelled,
        progress: scan.progress,
    })
}

/// The error of a scan.
pub(super) fn scan_error(layout: &Layout, error: PoolError) -> RunError {
    match error {
        PoolError::Io(source) => RunError::Root { path: layout.root.clone(), source },
        PoolError::Store(error) => layout.run_error(error),
        PoolError::Panicked(detail) => RunError::Panicked { detail },
    }
}

/// The commit thread: takes what the shards send until all of them are gone, publishing whenever a segment is full, and
/// once more at the end.
fn commit_loop(
    mut committer: Committer,
    from_shards: Receiver<ToCommit>,
    ids: &Ids,
    shared: &Shared,
    whole: bool,
    standing: &Standing,
) -> Result<(Committed, Duration), StoreError> {
    let _guard = CancelOnPanic(shared);
    let mut spent = Duration::ZERO;
    let mut publish = |committer: &mut Committer, complete: bool, verdicts: Option<u64>| {
        let started = Instant::now();
        let before = committer.result().publications;
        let next = NextIds { file: ids.next_file.load(Relaxed), dir: ids.next_dir.load(Relaxed) };
        let published = committer.publish(next, complete, verdicts);
        spent += started.elapsed();
        if published.is_err() {
            // Nothing more can be published, so there is no point in reading on.
            shared.cancelled.store(true, Relaxed);
        } else if committer.result().publications > before {
            shared.tell(Event::Published(committer.result().generation));
        }
        published
    };
    for message in &from_shards {
        match message {
            ToCommit::Batch(segment, batch) => committer.batch(segment, batch),
            ToCommit::Sealed { segment, meta, last } => {
                committer.sealed(segment, meta);
                // The last segments of all shards come at about the same time: they are published together.
                if !last {
                    publish(&mut committer, false, None)?;
                }
            }
            ToCommit::Failed(error) => {
                shared.cancelled.store(true, Relaxed);
                return Err(error.into());
            }
        }
    }
    if !shared.cancelled.load(Relaxed) {
        publish(&mut committer, whole, standing.after_run(whole))?;
    }
    Ok((committer.result(), spent))
}

fn report(
    engine: &Engine,
    shared: &Shared,
    selected: &Selected,
    published: Published,
    shards: usize,
    scanned: PoolResult,
    (committed, spent): (Committed, Duration),
) -> Report {
    let mut files = shared.progress.counts();
    files.removed = committed.removed;
    files.retries = committed.retries;
    let total = shared.started.elapsed();
    let cancelled = shared.cancelled.load(Relaxed);
    let seconds = Seconds {
        total: total.as_secs_f64(),
        scan: scanned.scan.as_secs_f64(),
        index: total.saturating_sub(scanned.scan + spent).as_secs_f64(),
        commit: spent.as_secs_f64(),
        text_published: if cancelled { 0.0 } else { total.as_secs_f64() },
    };
    debug_assert!(committed.generation >= published.generation);
    Report {
        outcome: if cancelled { Outcome::Cancelled } else { Outcome::Done },
        generation: committed.generation,
        root: engine.inner.layout.root.clone(),
        backend: selected.backend.name(),
        backend_why: selected.why.clone(),
        backend_fell_back: selected.fell_back,
        shards: shards + shared.progress.readers_peak(),
        io: scanned.io,
        compiled_rules: 0,
        files,
        skips: scanned.skips,
        first_ignored: scanned.first_ignored,
        seconds,
        peak_rss_bytes: peak_rss_bytes(),
        index_bytes: engine.inner.layout.disk_bytes(),
        publications: committed.publications,
    }
}
