//! What all sessions of one process share: the current project, operations, and how to open another project. Knows nothing of
//! the protocol.

use super::answer::Refusal;
use super::jobs::{Job, Jobs, lock};
use super::keeper::{Command, Keeper, Kept};
use super::latencies::Latencies;
use super::snapshots::Snapshots;
use leindex_engine::{Engine, OpenError, QueryError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How a tree is opened: with the options of the command line and of its config file.
pub(crate) type Opener = Box<dyn Fn(&Path) -> Result<Engine, String> + Send + Sync>;

/// How long a request waits for a project that is just being opened: that takes a millisecond, unless its disk is far away.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// Searches at once: more of them would only wait for each other, and whoever asks how things are needs a thread too.
const SEARCHES_MAX: usize = 8;
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
    /// Where `set_path` may go; anywhere if `None`.
    allowed: Option<Vec<PathBuf>>,
    /// A permit for each search that may go on.
    pub(crate) searches: Arc<Semaphore>,
    pub(crate) jobs: Jobs,
    pub(crate) latencies: Latencies,
    current: Mutex<Current>,
    opened: Condvar,
    /// Held while one project takes the place of another. Those that were left, which calls may still be using.
    switching: Mutex<Vec<Weak<Project>>>,
}

impl Server {
    pub(crate) fn new(opener: Opener, watches: bool, allowed: Option<Vec<PathBuf>>) -> Server {
        Server {
            opener,
            watches,
            allowed,
            searches: Arc::new(Semaphore::new(SEARCHES_MAX)),
            jobs: Jobs::default(),
            latencies: Latencies::default(),
            current: Mutex::new(Current::None),
            opened: Condvar::new(),
            switching: Mutex::default(),
        }
    }

    /// Opens the first project in the background. Requests that need it wait a moment.
    pub(crate) fn open_soon(self: &Arc<Self>, root: PathBuf) {
        *lock(&self.current) = Current::Opening;
        let server = Arc::clone(self);
        let opening = std::thread::Builder::new().name("leindex-mcp-open".into()).spawn(move || {
            if let Err(error) = server.open(&root, "index") {
                tracing::error!(root = %root.display(), error, "cannot be opened");
                server.opening_failed(error);
            }
        });
        if let Err(error) = opening {
            self.opening_failed(format!("no thread could be started: {error}"));
        }
    }

    /// Says so to whoever asks, unless a client has named another project meanwhile.
    fn opening_failed(&self, why: String) {
        let _switching = lock(&self.switching);
        let mut current = lock(&self.current);
        if matches!(*current, Current::Opening) {
            *current = Current::Failed(why);
            self.opened.notify_all();
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

    /// Makes the tree at `path` the current project for a client, and has its index built or brought up to date.
    pub(crate) fn set_path(&self, path: &Path) -> Result<(Arc<Project>, Arc<Job>), String> {
        match &self.allowed {
            None => self.open(path, "set_path"),
            Some(allowed) => self.open(&allowed_path(path, allowed)?, "set_path"),
        }
    }

    fn open(&self, path: &Path, action: &'static str) -> Result<(Arc<Project>, Arc<Job>), String> {
        let mut left = lock(&self.switching);
        let mut engine = (self.opener)(path)?;
        let root = engine.root().to_path_buf();
        if let Some(project) = self.open_project().filter(|project| project.engine.root() == root) {
            let job = self.jobs.add(action, root, |duty| project.keeper.ask(Command::Refresh(duty)))?;
            return Ok((project, job));
        }
        // First, because LMDB wants one environment an index and process, should it come back to the same one.
        self.retire(Current::Opening, &mut left);
        // For the same reason, when a call still uses what it was given before.
        if let Some(same) = left.iter().filter_map(Weak::upgrade).find(|project| project.engine.root() == root) {
            engine = same.engine.clone();
        }
        let snapshots = Arc::new(Snapshots::new(engine.clone()));
        let keeper = Keeper::start(engine.clone(), Arc::clone(&snapshots), self.watches).map_err(|error| {
            self.set_current(Current::None);
            format!("no thread could be started: {error}: call again later")
        })?;
        let project = Arc::new(Project { engine, snapshots, keeper });
        let job = self.jobs.add(action, root, |duty| project.keeper.ask(Command::Start(duty)));
        self.set_current(Current::Open(Arc::clone(&project)));
        Ok((project, job?))
    }

    /// The current project, if it is open by now.
    pub(crate) fn open_project(&self) -> Option<Arc<Project>> {
        match &*lock(&self.current) {
            Current::Open(project) => Some(Arc::clone(project)),
            _ => None,
        }
    }

    /// Cancels all operations, ends the watcher, and forgets the project.
    pub(crate) fn close(&self) {
        self.retire(Current::None, &mut lock(&self.switching));
    }

    /// Forgets this project, unless another one has taken its place.
    pub(crate) fn close_this(&self, project: &Arc<Project>) {
        let mut left = lock(&self.switching);
        if self.open_project().is_some_and(|current| Arc::ptr_eq(&current, project)) {
            self.retire(Current::None, &mut left);
        }
    }

    /// Ends what belongs to the current project, in whose place `next` comes.
    fn retire(&self, next: Current, left: &mut Vec<Weak<Project>>) {
        self.jobs.cancel_all();
        if let Current::Open(project) = self.set_current(next) {
            project.keeper.end();
            project.snapshots.clear();
            left.retain(|project| project.strong_count() > 0);
            left.push(Arc::downgrade(&project));
        }
    }

    /// What a search that has failed comes to: with an operation that will change it, it is only too early.
    pub(crate) fn refuse(&self, error: &QueryError) -> Refusal {
        match error {
            QueryError::Open(OpenError::NoIndex { .. }) => match self.jobs.current() {
                Some(job) => Refusal::NotYet(job),
                None => Refusal::NoIndex,
            },
            QueryError::Pattern { detail } if detail.contains(r#"the literal "\n""#) => Refusal::Wrong(
                "a hit is one line, and the pattern holds a line end: search for a part of one of its lines".into(),
            ),
            QueryError::Filter { filter: "--lang", detail } => {
                let what = detail.split(';').next().unwrap_or(detail);
                Refusal::Wrong(format!("languages: {what}: status names those of the index"))
            }
            QueryError::Filter { detail, .. } => Refusal::Wrong(format!("a glob is not valid: {detail}: correct it")),
            QueryError::Pattern { detail } => {
                // The errors of the regex parser are several lines with a drawing; the last one says what is wrong.
                let last = detail.lines().last().unwrap_or(detail).trim();
                let reason = last.strip_prefix("error: ").unwrap_or(last);
                Refusal::Wrong(format!("no regular expression: {reason}: correct it, or search for it as it is"))
            }
            QueryError::NoVectors { detail, .. } => {
                let begins = |kept: &Kept| kept.embedding.is_some() || kept.embedded.is_none();
                Refusal::Wrong(match self.project().is_ok_and(|project| project.keeper.with(begins)) {
                    true => "the files are being embedded: call again in a moment, or use mode text until then".into(),
                    false => format!("no search by meaning: {detail}"),
                })
            }
            other => Refusal::Wrong(other.to_string()),
        }
    }
}

/// `path` with its links followed, if it lies at or below one of `allowed`.
fn allowed_path(path: &Path, allowed: &[PathBuf]) -> Result<PathBuf, String> {
    let real = path.canonicalize().ok();
    let lies_below =
        |real: &PathBuf| allowed.iter().any(|root| root.canonicalize().is_ok_and(|root| real.starts_with(root)));
    real.filter(lies_below).ok_or_else(|| {
        let roots: Vec<_> = allowed.iter().map(|root| root.display().to_string()).collect();
        let roots = if roots.is_empty() { "none".into() } else { roots.join(", ") };
        format!(
            "{}: over HTTP a project has to be a directory at or below one that the server was started with ({roots}): start it \
             with --allow-root DIR for others",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::jobs::{End, State};
    use super::super::tools::open;
    use super::*;
    use std::time::Instant;

    fn tree(dir: &Path, name: &str) -> PathBuf {
        let root = dir.join(name);
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a.rs"), "fn needle() {}\n").unwrap();
        root.canonicalize().unwrap()
    }

    fn server(allowed: Option<Vec<PathBuf>>) -> Server {
        let opener = |path: &Path| Engine::builder().open(path).map_err(|error| error.to_string());
        Server::new(Box::new(opener), false, allowed)
    }

    #[track_caller]
    fn wait(job: &Job) {
        let until = Instant::now() + Duration::from_secs(120);
        while !job.is_ended() {
            assert!(Instant::now() < until, "{}", job.id());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(matches!(job.state(), State::Ended(End::Done(..))), "{:?}", job.state());
    }

    #[test]
    fn a_project_can_be_come_back_to_while_a_call_still_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (tree(dir.path(), "one"), tree(dir.path(), "two"));
        let server = server(None);
        wait(&server.set_path(&one).unwrap().1);
        let used = open(&server).ok().unwrap();
        wait(&server.set_path(&two).unwrap().1);
        wait(&server.set_path(&one).unwrap().1);
        assert_eq!(used.snapshot.search(&leindex_engine::Query::substring("needle")).unwrap().hits.len(), 1);
        assert_eq!(open(&server).ok().unwrap().project.engine.root(), one);
        drop(used);
        wait(&server.set_path(&two).unwrap().1);
        wait(&server.set_path(&one).unwrap().1);
        server.close();
    }

    #[test]
    fn only_the_project_that_was_reset_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (tree(dir.path(), "one"), tree(dir.path(), "two"));
        let server = server(None);
        let before = server.set_path(&one).unwrap().0;
        let now = server.set_path(&two).unwrap().0;
        server.close_this(&before);
        server.opening_failed("an old one".into());
        assert!(Arc::ptr_eq(&server.project().ok().unwrap(), &now));
        server.close_this(&now);
        assert!(server.project().is_err());
    }

    #[test]
    fn projects_stay_where_they_are_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (tree(dir.path(), "one"), tree(dir.path(), "two"));
        let below = tree(&one, "below");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&two, one.join("link")).unwrap();
        let server = server(Some(vec![one.clone()]));
        for path in [&one, &below] {
            assert!(server.set_path(path).is_ok(), "{}", path.display());
        }
        for path in [two, one.join("link"), one.join("../two"), dir.path().to_path_buf(), "/nowhere".into()] {
            let refused = server.set_path(&path).err().unwrap();
            assert!(refused.contains("--allow-root"), "{refused}");
        }
        server.close();
    }
}
