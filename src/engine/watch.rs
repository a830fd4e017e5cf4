//! Keeps an index equal to its tree: waits for changes, lets them settle for a moment, and runs an update.
//!
//! The index is never called fresh when that is not known. A change that may have been missed (more of them than the
//! kernel keeps, a directory that cannot be watched) makes the whole tree be gone over: a run without changes costs little
//! more than a walk.

use super::freshness::{HEARTBEAT, WatchLock, WatchState};
use super::report::{Outcome, Report};
use super::run::{Canceller, Request, Run};
use super::{Engine, base_rules, run};
use crate::error::{OpenError, RunError};
use crate::io::watches::Changes;
use crate::io::{Watches, mounted_in, remote_in};
use crate::record::{bytes_path, identity, now_ns};
use leindex_fallback::within;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Events that a caller has not taken are dropped past this many.
const EVENTS_MAX: usize = 256;
/// How soon another attempt is made after a run has failed, the first time, and at most.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// A poll of a tree takes at most this share of the time.
const POLL_SHARE: u32 = 20;
/// How long a root that is gone is waited for.
const ROOT_ATTEMPTS: u32 = 10;
const ROOT_PAUSE: Duration = Duration::from_millis(50);

/// How a tree is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchOptions {
    /// An update begins when nothing has changed for so long: 20 ms unless set.
    pub settle: Duration,
    /// And at the latest so long after the first change: 200 ms unless set.
    pub settle_max: Duration,
    /// How often the whole tree is gone over all the same, for what the kernel does not tell: writes through memory maps
    /// and through hard links in other directories. 10 minutes unless set.
    pub rescan: Duration,
    /// How often it is gone over where it cannot be watched: 2 s unless set; more rarely when a run takes long.
    pub poll: Duration,
    /// Do not ask the kernel for changes, but poll.
    pub poll_only: bool,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions {
            settle: Duration::from_millis(20),
            settle_max: Duration::from_millis(200),
            rescan: Duration::from_secs(600),
            poll: Duration::from_secs(2),
            poll_only: false,
        }
    }
}

/// What a watcher did or met.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WatchEvent {
    /// A run has brought the index up to date.
    Updated(Box<Report>),
    /// Everything is gone over once more, because changes may have been missed: why.
    Rescan(String),
    /// The tree cannot be watched, and is gone over at this interval instead: why, and what to change.
    Polling(String, Duration),
    /// A run has failed, and is tried again: why.
    Failed(String),
    /// The watcher has ended.
    Ended,
}

/// A watcher that goes on in the background. Dropping it stops it and waits for its end.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    events: mpsc::Receiver<WatchEvent>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// What the watcher waits for or runs now, so that it can be stopped.
    now: Mutex<Now>,
    stopped: Condvar,
    events: mpsc::SyncSender<WatchEvent>,
}

#[derive(Debug, Default)]
struct Now {
    watches: Option<Arc<Watches>>,
    run: Option<Canceller>,
}

/// Stops a watcher. Clone it, send it anywhere.
#[derive(Clone, Debug)]
pub struct WatchStopper(Arc<Shared>);

impl WatchStopper {
    /// Asks the watcher to stop. Returns at once; the watcher ends a moment later, and what was published stays.
    pub fn stop(&self) {
        self.0.stop.store(true, Relaxed);
        let now = self.0.lock_now();
        if let Some(watches) = &now.watches {
            watches.wake();
        }
        if let Some(run) = &now.run {
            run.cancel();
        }
        drop(now);
        self.0.stopped.notify_all();
    }
}

impl Watch {
    /// The next event; `None` when none has come within `patience`, or none is left after the end. At most 256 are kept: later
    /// ones are lost while nobody takes any.
    pub fn next_event(&self, patience: Duration) -> Option<WatchEvent> {
        self.events.recv_timeout(patience).ok()
    }

    /// A handle that stops the watcher.
    pub fn stopper(&self) -> WatchStopper {
        WatchStopper(Arc::clone(&self.shared))
    }

    /// Whether the watcher has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end: until somebody stops it, or the tree is gone. Take a [`Watch::stopper`] before.
    ///
    /// # Errors
    /// What has ended it, if nobody stopped it.
    pub fn wait(mut self) -> Result<(), RunError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), RunError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread
            .join()
            .unwrap_or_else(|payload| Err(RunError::Panicked { detail: crate::shard::panic_message(&*payload) }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopper().stop();
        if let Err(error) = self.join() {
            tracing::debug!(%error, "a watcher that nobody waited for has ended");
        }
    }
}

impl Shared {
    fn lock_now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// An event nobody listens for is no loss.
    fn tell(&self, event: WatchEvent) {
        let _ = self.events.try_send(event);
    }

    /// Waits until the time is over or somebody stops the watcher.
    fn sleep(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        let mut now = self.lock_now();
        while !self.is_stopped() {
            let left = until.map_or(HEARTBEAT, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            now = self.stopped.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Starts to watch the tree of `engine`.
pub(super) fn start(engine: Engine, options: WatchOptions) -> Result<Watch, OpenError> {
    let lock = WatchLock::acquire(&engine.inner.layout)?;
    let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        now: Mutex::default(),
        stopped: Condvar::new(),
        events: sender,
    });
    let watcher = Watcher {
        engine,
        options,
        lock,
        shared: Arc::clone(&shared),
        watches: None,
        due: Due::default(),
        root: None,
        mounted: Vec::new(),
        generation: None,
        last_run: Duration::ZERO,
        rescan_at: None,
    };
    let builder = std::thread::Builder::new().name("leindex-watch".into());
    let thread = builder.spawn(move || watcher.run()).map_err(|error| OpenError::Setting {
        setting: "watch",
        detail: format!("no thread could be started: {error}"),
    })?;
    Ok(Watch { shared, thread: Some(thread), events })
}

/// What is not in the index yet.
#[derive(Debug, Default)]
struct Due {
    paths: BTreeSet<Vec<u8>>,
    everything: bool,
    root_gone: bool,
}

impl Due {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everything && !self.root_gone
    }
}

struct Watcher {
    engine: Engine,
    options: WatchOptions,
    lock: WatchLock,
    shared: Arc<Shared>,
    /// `None` when the tree is polled.
    watches: Option<Arc<Watches>>,
    due: Due,
    /// The directory that is watched, and what is mounted in it.
    root: Option<(u64, u64)>,
    mounted: Vec<u8>,
    /// What the last run has left; `None` before the first one.
    generation: Option<u64>,
    last_run: Duration,
    rescan_at: Option<Instant>,
}

/// Whether everything that was due is in the index.
enum Settled {
    Yes,
    /// So many entries could not be read.
    No(u64),
}

impl Watcher {
    fn run(mut self) -> Result<(), RunError> {
        let ended = self.go_on();
        if let Err(error) = &ended {
            tracing::warn!(%error, "no longer watching");
        }
        self.shared.tell(WatchEvent::Ended);
        ended
    }

    fn go_on(&mut self) -> Result<(), RunError> {
        self.begin_to_watch();
        self.due.everything = true;
        let mut failures = 0;
        while !self.shared.is_stopped() {
            if self.due.root_gone {
                self.check_root()?;
            }
            match self.update() {
                Ok(Settled::Yes) => failures = 0,
                Ok(Settled::No(unread)) => {
                    self.unsettled(unread, failures);
                    failures += 1;
                    continue;
                }
                Err(error) if self.is_final(&error) => return Err(error),
                Err(error) => {
                    self.failed(&error, failures);
                    failures += 1;
                    continue;
                }
            }
            self.give_up_watching_if_incomplete();
            self.wait_for_changes()?;
        }
        Ok(())
    }

    /// Before a run over the whole tree, which tells the watches of every directory.
    fn begin_to_watch(&mut self) {
        self.root = self.of_root(identity).ok().flatten();
        let root = self.engine.root();
        self.mounted = mounted_in(root);
        if self.options.poll_only {
            return;
        }
        let watches = match remote_in(root) {
            Some((kind, point)) => Err(format!("{}: changes on {kind} are not told", point.display())),
            None => Watches::new(root).map_err(|error| error.to_string()),
        };
        match watches {
            Ok(watches) => {
                let watches = Arc::new(watches);
                self.shared.lock_now().watches = Some(Arc::clone(&watches));
                self.watches = Some(watches);
            }
            Err(why) => self.poll_because(why),
        }
    }

    fn poll_because(&mut self, why: String) {
        tracing::warn!(why, "polling");
        self.watches = None;
        self.shared.lock_now().watches = None;
        self.shared.tell(WatchEvent::Polling(why, self.options.poll));
    }

    /// A tree of which some directories are not watched is not watched at all.
    fn give_up_watching_if_incomplete(&mut self) {
        if let Some(why) = self.watches.as_ref().and_then(|watches| watches.failure()) {
            self.poll_because(why);
        }
    }

    /// Brings into the index what is due.
    fn update(&mut self) -> Result<Settled, RunError> {
        let began_ns = now_ns();
        self.lock.note(if self.watches.is_some() { WatchState::Behind } else { WatchState::Polled }, None);
        let layout = &self.engine.inner.layout;
        let paths: Vec<PathBuf> = self.due.paths.iter().map(|path| layout.root.join(bytes_path(path))).collect();
        let only = if self.due.everything { None } else { self.engine.only(&paths) };
        let everything = only.is_none();
        if let Some(watches) = &self.watches {
            // Every time: their directories may have come to be, or may be others by now. They lie anywhere.
            let (of, rules, told) = (layout.clone(), self.engine.inner.config.rules.clone(), Arc::clone(watches));
            let watch = move || base_rules::files(&of, &rules).iter().for_each(|file| told.file(file, b""));
            self.in_time(watch).map_err(|error| self.lost(error))?;
            if everything {
                watches.walk_begins();
            }
        }
        let run = run::start(self.engine.clone(), Request { only, watches: self.watches.clone() });
        let report = self.finish(run)?;
        if report.outcome == Outcome::Cancelled {
            return Ok(Settled::Yes);
        }
        self.due = Due::default();
        let unread = report.files.unsettled;
        if everything {
            self.rescan_at = Instant::now().checked_add(self.options.rescan);
            if let Some(watches) = self.watches.as_ref().filter(|_| unread == 0) {
                watches.walk_ended();
            }
        }
        // Somebody else has published, who may have other settings.
        let others = self.generation.is_some_and(|before| before + report.publications != report.generation);
        self.due.everything = unread > 0 || others && !everything;
        self.generation = Some(report.generation);
        self.last_run = Duration::from_secs_f64(report.seconds.total);
        if self.watches.is_none() && unread == 0 {
            self.lock.note(WatchState::Polled, Some(began_ns));
        }
        self.shared.tell(WatchEvent::Updated(Box::new(report)));
        Ok(if unread == 0 { Settled::Yes } else { Settled::No(unread) })
    }

    fn finish(&self, run: Run) -> Result<Report, RunError> {
        self.shared.lock_now().run = Some(run.canceller());
        if self.shared.is_stopped() {
            run.canceller().cancel();
        }
        let ended = run.wait();
        self.shared.lock_now().run = None;
        ended
    }

    fn failed(&mut self, error: &RunError, failures: u32) {
        // That another run is at work is no failure; it will be over soon.
        if !matches!(error, RunError::Open(OpenError::Busy { .. })) {
            tracing::warn!(%error, "an update has failed");
            self.shared.tell(WatchEvent::Failed(error.to_string()));
        }
        self.shared.sleep(pause(failures));
    }

    /// What could not be read is no permission that is lacking, so that it may be read the next time: until then nobody may
    /// call the index current.
    fn unsettled(&mut self, unread: u64, failures: u32) {
        if failures == 0 {
            let why = format!("{unread} files or directories could not be read, and are tried again");
            self.shared.tell(WatchEvent::Failed(why));
        }
        self.shared.sleep(pause(failures + 4));
    }

    /// Whether trying again is pointless.
    fn is_final(&self, error: &RunError) -> bool {
        match error {
            RunError::Root { .. } | RunError::Open(OpenError::Root { .. } | OpenError::NotADirectory { .. }) => {
                !self.root_is_back()
            }
            // A file of rules that is just being replaced is no wrong setting.
            RunError::Open(OpenError::Setting { .. }) => self.generation.is_none(),
            RunError::Open(OpenError::Format { .. } | OpenError::Damaged { .. }) => true,
            _ => false,
        }
    }

    /// Asks something of the root, with a time-out: it may have come to lie on a file system that hangs.
    fn of_root<T: Send + 'static>(&self, ask: impl FnOnce(&Path) -> T + Send + 'static) -> io::Result<T> {
        let root = self.engine.root().to_path_buf();
        self.in_time(move || ask(&root))
    }

    fn in_time<T: Send + 'static>(&self, ask: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        within(self.engine.inner.config.patience(), Some(&self.shared.stop), ask)
    }

    /// Whether the root is there, or is a moment later: programs that replace directories take one away first. One that does
    /// not answer is not gone.
    fn root_is_back(&self) -> bool {
        (0..ROOT_ATTEMPTS).any(|attempt| {
            if attempt > 0 {
                self.shared.sleep(ROOT_PAUSE);
            }
            self.of_root(Path::is_dir).unwrap_or(true)
        })
    }

    /// Whether the root is gone for good, or another directory has come in its place.
    fn check_root(&mut self) -> Result<(), RunError> {
        let path = self.engine.root().to_path_buf();
        if !self.root_is_back() {
            let source = self.of_root(|root| std::fs::read_dir(root)).flatten().err();
            let source = source.unwrap_or_else(|| io::ErrorKind::NotADirectory.into());
            return Err(RunError::Root { path, source });
        }
        // Its watches are those of the old directory.
        self.due = Due { everything: true, ..Due::default() };
        self.begin_to_watch();
        Ok(())
    }

    /// Waits for changes, and then for them to settle.
    fn wait_for_changes(&mut self) -> Result<(), RunError> {
        let Some(watches) = self.watches.clone() else {
            self.wait_for_poll();
            return Ok(());
        };
        let mut first: Option<Instant> = None;
        while !self.shared.is_stopped() {
            let seen_ns = now_ns();
            let mut changes = Changes::default();
            watches.collect(&mut changes).map_err(|error| self.lost(error))?;
            let quiet = changes.is_empty();
            self.take(changes);
            // One of the directories above it may have been renamed, which nobody tells.
            self.due.root_gone |= self.of_root(identity).is_ok_and(|found| found != self.root);
            if self.due.is_empty() {
                self.lock.note(WatchState::Current, Some(seen_ns));
                let left = self.rescan_at.map(|at| at.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    self.due.everything = true;
                    return Ok(());
                }
                let wait = left.unwrap_or(HEARTBEAT).min(HEARTBEAT);
                if watches.wait(Some(wait)).map_err(|error| self.lost(error))? {
                    self.look_at_mounts();
                }
                continue;
            }
            self.lock.note(WatchState::Behind, None);
            let first = *first.get_or_insert_with(Instant::now);
            if self.due.root_gone || quiet || first.elapsed() >= self.options.settle_max {
                return Ok(());
            }
            // Not woken by each change: whatever comes meanwhile is collected at once.
            self.shared.sleep(self.options.settle);
        }
        Ok(())
    }

    fn wait_for_poll(&mut self) {
        let interval = self.options.poll.max(self.last_run.saturating_mul(POLL_SHARE));
        let until = Instant::now().checked_add(interval);
        loop {
            let left = until.map_or(HEARTBEAT, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.shared.is_stopped() {
                break;
            }
            self.shared.sleep(left.min(HEARTBEAT));
            self.lock.note(WatchState::Polled, None);
        }
        self.due.everything = true;
    }

    /// What is mounted over a directory has no event, and may be remote.
    fn look_at_mounts(&mut self) {
        if mounted_in(self.engine.root()) != self.mounted {
            self.shared.tell(WatchEvent::Rescan("a file system was mounted or unmounted".into()));
            self.due = Due { everything: true, ..Due::default() };
            self.begin_to_watch();
        }
    }

    fn take(&mut self, changes: Changes) {
        let Changes { mut paths, lost, root_gone } = changes;
        let index_dir = self.engine.inner.layout.index_dir_in_root();
        paths.retain(|path| index_dir.as_ref() != Some(path));
        self.due.root_gone |= root_gone;
        self.due.paths.append(&mut paths);
        if let Some(why) = lost {
            self.due.everything = true;
            self.shared.tell(WatchEvent::Rescan(why.to_owned()));
        }
    }

    fn lost(&self, source: io::Error) -> RunError {
        RunError::Root { path: self.engine.root().to_path_buf(), source }
    }
}

/// How soon to try again after so many failures.
fn pause(failures: u32) -> Duration {
    RETRY_PAUSES.0.saturating_mul(1 << failures.min(10)).min(RETRY_PAUSES.1)
}
