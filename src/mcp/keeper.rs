//! The thread that keeps the index of one project fresh: does operations one after the other, watches the tree unless another
//! process does, and takes that over when the other one goes away.

use super::jobs::{Duty, End, Job, State, end_of, lock};
use super::snapshots::Snapshots;
use leindex_engine::{
    EmbedReport, Engine, Event, OpenError, Report, RunError, StageProgress, StageRun, SymbolReport, Watch, WatchEvent,
    WatchOptions, WatchState,
};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the thread looks around when nobody asks it for anything.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the progress of a run; its end is seen at once.
const PROGRESS: Duration = Duration::from_millis(100);
/// Between two attempts at an index that another run is writing.
const BUSY: Duration = Duration::from_millis(50);
/// After a stage that has failed, before the next attempt.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a generation is left to whoever watches the tree, who may embed it and extract its symbols too. Doing it twice would harm nobody.
const FOLLOWER_PATIENCE: Duration = Duration::from_secs(10);

/// How much further back than searches the threads stand that write the index, on the scale of `nice`: while both want the
/// cores, searches get nine tenths of them.
#[cfg(target_os = "linux")]
const STEP_BACK: i32 = 10;

/// Who keeps the index fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The first operation has not ended yet.
    Starting,
    /// This server does.
    Watching,
    /// Another process does; 0 when it is not known which.
    Followed(u32),
    /// Nobody does: why, and what to do.
    Unwatched(String),
}

/// What is known of the keeping.
pub(crate) struct Kept {
    pub(crate) role: Role,
    /// What the last run of this server has done.
    pub(crate) report: Option<Arc<Report>>,
    /// What the watcher has said last: that it polls and why, or that a run failed.
    pub(crate) said: Option<String>,
    /// Updates of the watcher since it began.
    pub(crate) updates: u64,
    /// The embedding that goes on.
    pub(crate) embedding: Option<StageProgress>,
    /// What the last one has done, or why it has failed.
    pub(crate) embedded: Option<Result<EmbedReport, String>>,
    /// The extraction of symbols that goes on.
    pub(crate) symbols: Option<StageProgress>,
    /// What the last one has done, or why it has failed.
    pub(crate) extracted: Option<Result<SymbolReport, String>>,
}

pub(crate) enum Command {
    /// What a server begins with: a run, unless somebody else keeps the index fresh.
    Start(Duty),
    /// A run over the whole tree.
    Refresh(Duty),
    /// Throws the index away, and makes a new one.
    Reindex(Duty),
    /// Throws the index away.
    Clear(Duty),
}

/// Lets go of the thread when it is dropped; [`Keeper::end`] waits for it.
pub(crate) struct Keeper {
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    kept: Arc<Mutex<Kept>>,
    ending: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(crate) fn start(engine: Engine, snapshots: Arc<Snapshots>, watches: bool) -> std::io::Result<Keeper> {
        let (commands, asked) = mpsc::channel();
        let kept = Kept {
            role: Role::Starting,
            report: None,
            said: None,
            updates: 0,
            embedding: None,
            embedded: None,
            symbols: None,
            extracted: None,
        };
        let kept = Arc::new(Mutex::new(kept));
        let ending = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            engine,
            snapshots,
            asked,
            watches,
            is_suspended: true,
            watch: None,
            embedding: Trailing::new(),
            symbols: Trailing::new(),
            seen: (0, Instant::now()),
            kept: Arc::clone(&kept),
            ending: Arc::clone(&ending),
        };
        let thread = std::thread::Builder::new().name("leindex-mcp-keep".into()).spawn(move || thread.run())?;
        Ok(Keeper { commands: Mutex::new(Some(commands)), kept, ending, thread: Mutex::new(Some(thread)) })
    }

    /// Asks for something. After the end of the keeper, the operation fails.
    pub(crate) fn ask(&self, command: Command) {
        if let Some(commands) = &*lock(&self.commands) {
            // A command that nobody takes is dropped, and its operation with it.
            let _ = commands.send(command);
        }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&lock(&self.kept))
    }

    /// Ends the thread, and waits for that. What it does now is cancelled.
    pub(crate) fn end(&self) {
        self.ending.store(true, Relaxed);
        *lock(&self.commands) = None;
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps the index fresh has panicked");
        }
    }
}

struct Thread {
    engine: Engine,
    snapshots: Arc<Snapshots>,
    asked: mpsc::Receiver<Command>,
    /// Whether this server may watch at all.
    watches: bool,
    /// Not to watch before the next run has ended well: watching would do what was cancelled, or has failed.
    is_suspended: bool,
    watch: Option<Watch>,
    embedding: Trailing<EmbedReport>,
    symbols: Trailing<SymbolReport>,
    /// The generation that was looked at last, and since when it is there.
    seen: (u64, Instant),
    kept: Arc<Mutex<Kept>>,
    ending: Arc<AtomicBool>,
}

/// A stage that follows the text, a generation at a time.
struct Trailing<R> {
    run: Option<StageRun<R>>,
    /// The generation that it works on, and the last one that it has done.
    of: u64,
    done: u64,
    /// When it may begin again.
    not_before: Instant,
}

impl<R> Trailing<R> {
    fn new() -> Trailing<R> {
        Trailing { run: None, of: 0, done: 0, not_before: Instant::now() }
    }

    fn is_idle(&self) -> bool {
        self.run.is_none()
    }

    fn progress(&self) -> Option<StageProgress> {
        self.run.as_ref().map(StageRun::progress)
    }

    /// Begins with a generation, unless that is done or it is not time yet.
    fn begin(&mut self, generation: u64, start: impl FnOnce() -> StageRun<R>) {
        if self.run.is_none() && generation != self.done && Instant::now() >= self.not_before {
            self.of = generation;
            self.run = Some(start());
        }
    }

    /// What it has done, if it has just ended.
    fn ended(&mut self, what: &str) -> Option<Result<R, String>> {
        let ended = self.run.take_if(|run| run.is_finished())?.wait().map_err(|error| error.to_string());
        match &ended {
            Ok(_) => self.done = self.of,
            Err(error) => {
                tracing::warn!(error, "not {what}");
                self.not_before = Instant::now() + AFTER_FAILURE;
            }
        }
        Some(ended)
    }
}

/// Lets other threads go first, those that answer searches above all. Threads that this one starts inherit that.
fn step_back() {
    // Elsewhere it would be the whole process that steps back.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(STEP_BACK) {
        tracing::debug!(%error, "the index is written with the priority of searches");
    }
}

impl Thread {
    fn run(mut self) {
        step_back();
        loop {
            match self.asked.recv_timeout(TICK) {
                Ok(Command::Start(job)) => self.begin(&job),
                Ok(Command::Refresh(job)) => self.refresh(&job, false),
                Ok(Command::Reindex(job)) => {
                    if self.clear(&job) {
                        self.refresh(&job, true);
                    }
                }
                Ok(Command::Clear(job)) => {
                    if self.clear(&job) {
                        self.set_role(Role::Unwatched(
                            "the index was thrown away: manage_project refresh builds it anew".into(),
                        ));
                        job.set(State::Ended(End::Done(None, "the index was thrown away".into())));
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look_around(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn set_role(&self, role: Role) {
        let mut kept = lock(&self.kept);
        if kept.role != role {
            tracing::info!(root = %self.engine.root().display(), ?role, "keeping");
            kept.role = role;
        }
    }

    fn begin(&mut self, job: &Job) {
        let followed = self.engine.freshness().state != WatchState::Unwatched && self.engine.generation().is_ok();
        if !followed || !self.watches {
            return self.refresh(job, false);
        }
        self.is_suspended = false;
        self.keep_fresh();
        let pid = match lock(&self.kept).role {
            Role::Followed(pid) => pid,
            // It has gone away just now, and our own watcher goes over the tree.
            _ => std::process::id(),
        };
        job.set(State::Ended(End::Done(None, format!("the index is kept fresh by the watcher of process {pid}"))));
    }

    /// A run; `is_cleared` when it follows on throwing the index away.
    fn refresh(&mut self, job: &Job, is_cleared: bool) {
        let end = self.index(job);
        let is_kept = self.watch.is_some() || matches!(lock(&self.kept).role, Role::Followed(_));
        if matches!(end, End::Done(..)) {
            self.is_suspended = false;
            self.keep_fresh();
        } else if is_cleared || !is_kept {
            self.is_suspended = true;
            let what = "the last run was cancelled or has failed: manage_project refresh tries again";
            self.set_role(Role::Unwatched(what.into()));
        }
        job.set(State::Ended(if is_cleared { end.after_clearing() } else { end }));
    }

    fn is_given_up(&self, job: &Job) -> bool {
        job.is_cancelled() || self.ending.load(Relaxed)
    }

    /// One run, after those that are writing now.
    fn index(&self, job: &Job) -> End {
        loop {
            if self.is_given_up(job) {
                return End::cancelled();
            }
            let run = self.engine.index();
            job.attach(run.canceller());
            while !run.is_finished() {
                job.set(State::Running(run.progress()));
                self.snapshots.drop_old();
                if run.next_event(PROGRESS) == Some(Event::Ended) {
                    break;
                }
                if self.ending.load(Relaxed) {
                    run.canceller().cancel();
                }
            }
            match run.wait() {
                Ok(report) => {
                    let report = Arc::new(report);
                    lock(&self.kept).report = Some(Arc::clone(&report));
                    return end_of(report);
                }
                Err(RunError::Open(OpenError::Busy { pid, .. })) => self.wait_for(job, pid),
                Err(error) => return End::Failed(error.to_string()),
            }
        }
    }

    fn wait_for(&self, job: &Job, pid: u32) {
        job.set(State::Waiting(pid));
        self.snapshots.drop_old();
        std::thread::sleep(BUSY);
    }

    /// Throws the index away; whether that was done. If not, the operation has ended.
    fn clear(&mut self, job: &Job) -> bool {
        let was_suspended = self.is_suspended;
        if !self.is_given_up(job) {
            // Dropping waits for their end.
            self.watch = None;
            (self.embedding, self.symbols) = (Trailing::new(), Trailing::new());
            self.is_suspended = true;
        }
        let end = loop {
            if self.is_given_up(job) {
                break End::cancelled();
            }
            self.snapshots.clear();
            match self.engine.reset() {
                Ok(()) => {
                    lock(&self.kept).report = None;
                    return true;
                }
                Err(OpenError::Busy { pid, .. }) => self.wait_for(job, pid),
                Err(error) => break End::Failed(error.to_string()),
            }
        };
        // The index is still there, and is kept as it was before.
        self.is_suspended = was_suspended;
        if !self.ending.load(Relaxed) {
            self.keep_fresh();
        }
        job.set(State::Ended(end));
        false
    }

    /// Watches, unless somebody does.
    fn keep_fresh(&mut self) {
        if self.watch.is_some() || self.is_suspended {
            return;
        }
        if !self.watches {
            let why = "this server was told not to watch: manage_project refresh takes up what has changed";
            return self.set_role(Role::Unwatched(why.into()));
        }
        match self.engine.watch(WatchOptions::default()) {
            Ok(watch) => {
                self.watch = Some(watch);
                lock(&self.kept).updates = 0;
                self.set_role(Role::Watching);
            }
            Err(OpenError::Watched { pid, .. }) => self.set_role(Role::Followed(pid)),
            Err(error) => {
                self.is_suspended = true;
                self.set_role(Role::Unwatched(error.to_string()));
            }
        }
    }

    fn look_around(&mut self) {
        self.snapshots.drop_old();
        self.listen();
        self.follow();
        if let Some(watch) = self.watch.take_if(|watch| watch.is_finished()) {
            self.is_suspended = true;
            let why = watch.wait().err().map_or_else(|| "the watcher has ended".to_owned(), |error| error.to_string());
            return self.set_role(Role::Unwatched(why));
        }
        let is_followed = matches!(lock(&self.kept).role, Role::Followed(_));
        if is_followed && self.engine.freshness().state == WatchState::Unwatched {
            self.keep_fresh();
        }
    }

    /// Has new versions embedded and their symbols extracted, one after the other, beside everything else. Whoever watches the
    /// tree may do that too, or not.
    fn follow(&mut self) {
        let Ok(generation) = self.engine.generation() else { return };
        if self.seen.0 != generation {
            self.seen = (generation, Instant::now());
        }
        let embedded = self.embedding.ended("embedded");
        let extracted = self.symbols.ended("extracted");
        if embedded.is_some() || extracted.is_some() {
            // So that the next search sees them.
            self.snapshots.clear();
        }
        let is_time = match lock(&self.kept).role {
            Role::Starting => false,
            Role::Followed(_) => self.seen.1.elapsed() >= FOLLOWER_PATIENCE,
            _ => true,
        };
        if is_time && self.symbols.is_idle() {
            self.embedding.begin(generation, || self.engine.embed());
        }
        if is_time && self.embedding.is_idle() {
            self.symbols.begin(generation, || self.engine.symbols());
        }
        let mut kept = lock(&self.kept);
        kept.embedding = self.embedding.progress();
        kept.symbols = self.symbols.progress();
        if embedded.is_some() {
            kept.embedded = embedded;
        }
        if extracted.is_some() {
            kept.extracted = extracted;
        }
    }

    /// Takes what the watcher has to say.
    fn listen(&self) {
        let Some(watch) = &self.watch else { return };
        while let Some(event) = watch.next_event(Duration::ZERO) {
            let mut kept = lock(&self.kept);
            match event {
                WatchEvent::Updated(report) => {
                    kept.updates += 1;
                    kept.report = Some(Arc::from(report));
                }
                WatchEvent::Polling(why, every) => {
                    kept.said = Some(format!("gone over every {} s instead of watched: {why}", every.as_secs_f64()));
                }
                WatchEvent::Failed(why) => kept.said = Some(format!("an update failed and is tried again: {why}")),
                WatchEvent::Rescan(why) => kept.said = Some(format!("the whole tree is gone over once more: {why}")),
                _ => {}
            }
        }
    }
}
