//! What all sessions of one process share: the current project, operations, and how to open another project. Knows nothing of
//! the protocol.

use super::answer::Refusal;
use super::jobs::{Job, Jobs, lock};
use super::keeper::{Command, Keeper};
use super::latencies::Latencies;
use super::snapshots::Snapshots;
use leindex_engine::{Engine, OpenError, QueryError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How a tree is opened: with the options of the command line and of its config file.
pub(crate) type Opener = Box<dyn Fn(&Path) -> Result<Engine, String> + Send + Sync>;

/// How long a request waits for a project that is just being opened: that takes a millisecond, unless its disk is far away.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
const NO_PROJECT: &str = "there is no project: call manage_project with action set_path and the path of a directory";

/// A tree and its index.
pub(crate) struct Project {
    pub(crate) engine: Engine,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) keeper: Keeper,
}

enum Current {
    None,
    Opening,
    Open(Arc<Project>),
    /// Why it could not be opened.
    Failed(String),
}

pub(crate) struct Server {
    opener: Opener,
    watches: bool,
    pub(crate) jobs: Jobs,
    pub(crate) latencies: Latencies,
    current: Mutex<Current>,
    opened: Condvar,
    /// Held while one project takes the place of another.
    switching: Mutex<()>,
}

impl Server {
    pub(crate) fn new(opener: Opener, watches: bool) -> Server {
        Server {
            opener,
            watches,
            jobs: Jobs::default(),
            latencies: Latencies::default(),
            current: Mutex::new(Current::None),
            opened: Condvar::new(),
            switching: Mutex::new(()),
        }
    }

    /// Opens the first project in the background. Requests that need it wait a moment.
    pub(crate) fn open_soon(self: &Arc<Self>, root: PathBuf) {
        *lock(&self.current) = Current::Opening;
        let server = Arc::clone(self);
        let opening = std::thread::Builder::new().name("leindex-mcp-open".into()).spawn(move || {
            if let Err(error) = server.set_path(&root, "index") {
                tracing::error!(root = %root.display(), error, "cannot be opened");
                server.set_current(Current::Failed(error));
            }
        });
        if let Err(error) = opening {
            self.set_current(Current::Failed(format!("no thread could be started: {error}")));
        }
    }

    fn set_current(&self, current: Current) -> Current {
        let before = std::mem::replace(&mut *lock(&self.current), current);
        self.opened.notify_all();
        before
    }

    /// The current project. Blocks while it is being opened.
    pub(crate) fn project(&self) -> Result<Arc<Project>, Refusal> {
        let current = lock(&self.current);
        let is_opening = |current: &mut Current| matches!(current, Current::Opening);
        let waited = self.opened.wait_timeout_while(current, OPEN_PATIENCE, is_opening);
        match &*waited.unwrap_or_else(PoisonError::into_inner).0 {
            Current::Open(project) => Ok(Arc::clone(project)),
            Current::None => Err(Refusal::Wrong(NO_PROJECT.into())),
            Current::Opening => Err(Refusal::Wrong("the project is still being opened: call again later".into())),
            Current::Failed(why) => Err(Refusal::Wrong(format!("{why}: then call manage_project with set_path"))),
        }
    }

    /// Makes the tree at `path` the current project, and has its index built or brought up to date.
    pub(crate) fn set_path(&self, path: &Path, action: &'static str) -> Result<(Arc<Project>, Arc<Job>), String> {
        let _switching = lock(&self.switching);
        let engine = (self.opener)(path)?;
        let root = engine.root().to_path_buf();
        if let Some(project) = self.open_project().filter(|project| project.engine.root() == root) {
            let job = self.jobs.add(action, root);
            project.keeper.ask(Command::Refresh(Arc::clone(&job)));
            return Ok((project, job));
        }
        // First, because LMDB wants one environment an index and process, should it come back to the same one.
        self.retire(Current::Opening);
        let snapshots = Arc::new(Snapshots::new(engine.clone()));
        let keeper = Keeper::start(engine.clone(), Arc::clone(&snapshots), self.watches).map_err(|error| {
            self.set_current(Current::None);
            format!("no thread could be started: {error}: call again later")
        })?;
        let project = Arc::new(Project { engine, snapshots, keeper });
        let job = self.jobs.add(action, root);
        project.keeper.ask(Command::Start(Arc::clone(&job)));
        self.set_current(Current::Open(Arc::clone(&project)));
        Ok((project, job))
    }

    fn open_project(&self) -> Option<Arc<Project>> {
        match &*lock(&self.current) {
            Current::Open(project) => Some(Arc::clone(project)),
            _ => None,
        }
    }

    /// Cancels all operations, ends the watcher, and forgets the project.
    pub(crate) fn close(&self) {
        self.retire(Current::None);
    }

    /// Ends what belongs to the current project, in whose place `next` comes.
    fn retire(&self, next: Current) {
        self.jobs.cancel_all();
        if let Current::Open(project) = self.set_current(next) {
            project.keeper.end();
            project.snapshots.clear();
        }
    }

    /// What a search that has failed comes to: with an operation that will change it, it is only too early.
    pub(crate) fn refuse(&self, error: &QueryError) -> Refusal {
        match error {
            QueryError::Open(OpenError::NoIndex { .. }) => match self.jobs.current() {
                Some(job) => Refusal::NotYet(job),
                None => Refusal::Wrong("there is no index yet: call manage_project with action refresh".into()),
            },
            QueryError::Pattern { detail } => {
                // The errors of the regex parser are several lines with a drawing; the last one says what is wrong.
                let last = detail.lines().last().unwrap_or(detail).trim();
                let reason = last.strip_prefix("error: ").unwrap_or(last);
                Refusal::Wrong(format!("no regular expression: {reason}: correct it, or search for it as it is"))
            }
            other => Refusal::Wrong(other.to_string()),
        }
    }
}
