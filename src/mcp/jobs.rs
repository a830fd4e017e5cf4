//! Operations: what goes on in the background, under ids that clients know (`op-1`). Knows their states, not how they are
//! done.

use leindex_engine::{Canceller, Outcome, Progress, Report};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Operations that have ended are kept up to this many.
const KEPT_MAX: usize = 50;
/// So many operations may be open: each action waits once, so more come from nobody who reads the answers.
const OPEN_MAX: usize = 16;
/// How an operation was cancelled that had not thrown anything away.
const CANCELLED: &str = "cancelled; what was published stays";
const CANCELLED_CLEARED: &str = "cancelled after the index was thrown away: it holds what this operation has published since, if \
    anything: manage_project refresh builds the rest";

/// Where an operation is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Others come first.
    Queued,
    /// Another run is writing the index; the process that does.
    Waiting(u32),
    Running(Progress),
    Ended(End),
}

/// How an operation has ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With the report of the run, if there was one, and a sentence.
    Done(Option<Arc<Report>>, String),
    /// The same.
    Cancelled(Option<Arc<Report>>, &'static str),
    /// Why, and what to do.
    Failed(String),
}

impl End {
    /// Cancelled before anything was changed.
    pub(crate) fn cancelled() -> End {
        End::Cancelled(None, CANCELLED)
    }

    /// The end of an operation that had thrown the index away before.
    pub(crate) fn after_clearing(self) -> End {
        match self {
            End::Cancelled(report, _) => End::Cancelled(report, CANCELLED_CLEARED),
            End::Failed(why) => End::Failed(format!("{why}; the index was thrown away before")),
            done => done,
        }
    }
}

#[derive(Default)]
struct Cancel {
    asked: bool,
    run: Option<Canceller>,
}

/// An operation.
pub(crate) struct Job {
    number: u64,
    pub(crate) action: &'static str,
    pub(crate) root: PathBuf,
    pub(crate) started_ms: u64,
    started: Instant,
    cancel: Mutex<Cancel>,
    state: watch::Sender<State>,
    seconds: Mutex<Option<f64>>,
}

impl Job {
    pub(crate) fn id(&self) -> String {
        format!("op-{}", self.number)
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) fn set(&self, state: State) {
        if matches!(state, State::Ended(_)) {
            *lock(&self.seconds) = Some(self.started.elapsed().as_secs_f64());
        }
        self.state.send_replace(state);
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended(_))
    }

    /// Until its end, or until now.
    pub(crate) fn seconds(&self) -> f64 {
        lock(&self.seconds).unwrap_or_else(|| self.started.elapsed().as_secs_f64())
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        // The sender is in `self`, so this cannot fail.
        let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Ended(_))).await;
    }

    /// Asks it to stop, also when it has not begun yet. It ends a moment later.
    pub(crate) fn cancel(&self) {
        let mut cancel = lock(&self.cancel);
        cancel.asked = true;
        if let Some(run) = &cancel.run {
            run.cancel();
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.cancel).asked
    }

    /// Whether it is still to begin, and nobody wants it stopped.
    fn waits_untouched(&self) -> bool {
        matches!(*self.state.borrow(), State::Queued) && !self.is_cancelled()
    }

    /// The run that does it now, for [`Job::cancel`].
    pub(crate) fn attach(&self, run: Canceller) {
        let mut cancel = lock(&self.cancel);
        if cancel.asked {
            run.cancel();
        }
        cancel.run = Some(run);
    }

    /// Files that a run has settled so far: read, unchanged, removed or left out for a reason.
    pub(crate) fn files(&self) -> u64 {
        match &*self.state.borrow() {
            State::Running(progress) => progress.files.seen,
            State::Ended(End::Done(Some(report), _) | End::Cancelled(Some(report), _)) => report.files.seen,
            _ => 0,
        }
    }
}

/// An operation in the hands of whoever is to do it. One that is dropped before its end has failed, so that nobody waits for ever.
pub(crate) struct Duty(Arc<Job>);

impl std::ops::Deref for Duty {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.0
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.0.is_ended() {
            let why = "the project was closed, or what keeps its index has failed: call manage_project with set_path";
            self.0.set(State::Ended(End::Failed(why.into())));
        }
    }
}

/// The end that the report of a run stands for.
pub(crate) fn end_of(report: Arc<Report>) -> End {
    if report.outcome == Outcome::Cancelled {
        return End::Cancelled(Some(report), CANCELLED);
    }
    let files = &report.files;
    let said = format!(
        "generation {}: {} files read and indexed, {} unchanged, {} removed, {} could not be read",
        report.generation, files.indexed, files.unchanged, files.removed, files.failed
    );
    End::Done(Some(report), said)
}

/// All operations of this server, oldest first.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<List>);

#[derive(Default)]
struct List {
    last: u64,
    jobs: VecDeque<Arc<Job>>,
}

impl Jobs {
    /// A new one, handed to `begin`; or the same one that waits already.
    ///
    /// # Errors
    /// When too many are open.
    pub(crate) fn add(
        &self,
        action: &'static str,
        root: PathBuf,
        begin: impl FnOnce(Duty),
    ) -> Result<Arc<Job>, String> {
        let mut list = lock(&self.0);
        let is_same = |job: &&Arc<Job>| job.action == action && job.root == root && job.waits_untouched();
        if let Some(waiting) = list.jobs.iter().find(is_same) {
            return Ok(Arc::clone(waiting));
        }
        let open = list.jobs.iter().filter(|job| !job.is_ended()).count();
        if open >= OPEN_MAX {
            return Err(format!(
                "{open} operations are open: wait for their ends, or cancel some with manage_operations"
            ));
        }
        list.last += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let job = Arc::new(Job {
            number: list.last,
            action,
            root,
            started_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            started: Instant::now(),
            cancel: Mutex::default(),
            state: watch::Sender::new(State::Queued),
            seconds: Mutex::default(),
        });
        let ended = list.jobs.iter().filter(|job| job.is_ended()).count();
        if ended >= KEPT_MAX
            && let Some(oldest) = list.jobs.iter().position(|job| job.is_ended())
        {
            list.jobs.remove(oldest);
        }
        list.jobs.push_back(Arc::clone(&job));
        // With the lock: nobody finds it before whoever does it has it.
        begin(Duty(Arc::clone(&job)));
        Ok(job)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Job>> {
        lock(&self.0).jobs.iter().cloned().collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Job>> {
        lock(&self.0).jobs.iter().find(|job| job.id() == id).cloned()
    }

    /// The one that is at work, or comes next.
    pub(crate) fn current(&self) -> Option<Arc<Job>> {
        lock(&self.0).jobs.iter().find(|job| !job.is_ended()).cloned()
    }

    /// Forgets those that have ended. Says how many.
    pub(crate) fn clean_up(&self) -> usize {
        let mut list = lock(&self.0);
        let before = list.jobs.len();
        list.jobs.retain(|job| !job.is_ended());
        before - list.jobs.len()
    }

    pub(crate) fn cancel_all(&self) {
        for job in self.all().into_iter().filter(|job| !job.is_ended()) {
            job.cancel();
        }
    }
}

/// Whoever panicked with the lock left nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_ones_are_forgotten_at_last() {
        let jobs = Jobs::default();
        let mut kept = None;
        let open = jobs.add("refresh", "/a".into(), |duty| kept = Some(duty)).unwrap();
        for _ in 0..2 * KEPT_MAX {
            jobs.add("reindex", "/a".into(), drop).unwrap();
        }
        assert_eq!(jobs.all().len(), KEPT_MAX + 1);
        assert_eq!(jobs.current().unwrap().id(), "op-1");
        assert_eq!(jobs.find("op-100").unwrap().id(), "op-100");
        assert!(jobs.find("op-2").is_none());
        assert_eq!(jobs.clean_up(), KEPT_MAX);
        open.cancel();
        assert!(open.is_cancelled() && !open.is_ended());
        drop(kept);
        assert!(open.is_ended(), "whoever had to do it is gone");
    }

    #[test]
    fn what_waits_already_is_not_queued_again_and_open_ones_are_bounded() {
        let jobs = Jobs::default();
        let mut kept = Vec::new();
        let mut add = |action| jobs.add(action, "/a".into(), |duty| kept.push(duty)).map(|job| job.id());
        assert_eq!([add("refresh"), add("refresh"), add("clear")], ["op-1", "op-1", "op-2"].map(|id| Ok(id.into())));
        for cancelled in 1..OPEN_MAX - 1 {
            jobs.cancel_all();
            assert_eq!(add("refresh"), Ok(format!("op-{}", cancelled + 2)));
        }
        jobs.cancel_all();
        assert!(add("refresh").unwrap_err().contains("manage_operations"));
        assert_eq!(kept.len(), OPEN_MAX);
    }

    #[test]
    fn what_is_gone_is_said() {
        let said = |end: End| match end {
            End::Cancelled(_, said) => said.to_owned(),
            End::Failed(why) => why,
            End::Done(_, said) => said,
        };
        assert!(said(End::cancelled()).contains("stays"));
        assert!(said(End::cancelled().after_clearing()).contains("thrown away"));
        assert!(said(End::Failed("x".into()).after_clearing()).contains("thrown away"));
        assert_eq!(said(End::Done(None, "x".into()).after_clearing()), "x");
    }
}
