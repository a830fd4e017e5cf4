//! What a call comes to: an answer as text and as JSON, an operation, or a refusal that says the next step; and the few words
//! that every answer has about the index it came from.

use super::jobs::Job;
use super::keeper::Role;
use super::server::{Project, Server};
use leindex_engine::{Freshness, Snapshot, WatchState};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For whoever reads: a model.
    pub(crate) text: String,
    /// For programs. An object.
    pub(crate) value: Value,
}

impl Answer {
    /// With the JSON as its text, for clients that parse that.
    pub(crate) fn json(value: Value) -> Answer {
        Answer { text: value.to_string(), value }
    }
}

/// What a tool does.
pub(crate) enum Outcome {
    Answer(Answer),
    /// It goes on in the background. `waits` when the call is to return at its end in any case.
    Job {
        job: Arc<Job>,
        waits: bool,
        /// The project to be forgotten when it has ended well.
        closes: Option<Arc<Project>>,
    },
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        Outcome::Answer(answer)
    }
}

/// Why there is no answer.
#[derive(Clone)]
pub(crate) enum Refusal {
    /// What is wrong, and what to do.
    Wrong(String),
    /// There is no index before this operation has published something.
    NotYet(Arc<Job>),
    /// There is no index, and nothing goes on that would make one.
    NoIndex,
}

impl Refusal {
    pub(crate) fn message(&self) -> String {
        match self {
            Refusal::Wrong(message) => message.clone(),
            Refusal::NoIndex => "there is no index yet: call manage_project with action refresh".into(),
            Refusal::NotYet(job) => format!(
                "nothing is indexed yet: {} is going on, {} files so far: call again in some seconds, \
                 or look at manage_operations list",
                job.id(),
                job.files()
            ),
        }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Refusal {
        Refusal::Wrong(message)
    }
}

/// Which index has answered, and how far it can be trusted.
pub(crate) struct About {
    /// Clients that share a server share its project too.
    root: String,
    generation: u64,
    is_complete: bool,
    freshness: Freshness,
    indexing: Option<(String, u64)>,
}

impl About {
    pub(crate) fn new(server: &Server, project: &Project, snapshot: &Snapshot, freshness: Freshness) -> About {
        let root = project.engine.root().to_string_lossy().into_owned();
        let indexing = server.jobs.current().map(|job| (job.id(), job.files()));
        About { root, generation: snapshot.generation(), is_complete: snapshot.is_complete(), freshness, indexing }
    }

    /// One line for those who read.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{}: generation {}, {}", self.root, self.generation, in_words(self.freshness));
        if !self.is_complete {
            line += "; NOT THE WHOLE TREE YET: its first index run has not ended";
        }
        if let Some((id, files)) = &self.indexing {
            line += &format!("; {id} is indexing, {files} files so far");
        }
        line
    }

    /// Puts what it knows into an answer.
    pub(crate) fn put_into(&self, value: &mut Value) {
        if let Value::Object(members) = value {
            members.append(&mut self.members());
        }
    }

    fn members(&self) -> Map<String, Value> {
        let indexing = self.indexing.as_ref().map(|(id, files)| json!({"operation_id": id, "files_so_far": files}));
        let about = json!({
            "root": self.root,
            "generation": self.generation,
            "complete": self.is_complete,
            "freshness": freshness_json(self.freshness),
            "indexing": indexing,
        });
        if let Value::Object(members) = about { members } else { Map::new() }
    }
}

pub(crate) fn freshness_json(freshness: Freshness) -> Value {
    json!({"state": freshness.state, "as_of_ms": freshness.as_of_ns.map(|ns| ns / 1_000_000), "says": in_words(freshness)})
}

/// How fresh an index is, in words.
fn in_words(freshness: Freshness) -> String {
    let as_of = match freshness.as_of_ns {
        Some(ns) => format!("as of {} s ago", age(ns).as_secs()),
        None => "as of a time that is not known".into(),
    };
    match freshness.state {
        WatchState::Current => "watched: every change that was seen is in it".into(),
        WatchState::Behind => format!("watched: changes were seen that are being indexed, {as_of}"),
        WatchState::Polled => format!("gone over every few seconds, {as_of}"),
        _ => format!("not watched, {as_of}"),
    }
}

/// Since a time in nanoseconds since the epoch.
pub(crate) fn age(ns: i64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    SystemTime::now().duration_since(then).unwrap_or_default()
}

/// Who keeps the index fresh.
pub(crate) fn keeping_json(project: &Project) -> Value {
    project.keeper.with(|kept| {
        let (by, pid, says) = match &kept.role {
            Role::Starting => ("starting", None, "the first operation has not ended yet".to_owned()),
            Role::Watching => ("this_server", Some(std::process::id()), "this server watches the tree".into()),
            Role::Followed(pid) => {
                let says = format!("process {pid} watches the tree; this server takes over when it goes away");
                ("another_process", Some(*pid), says)
            }
            Role::Unwatched(why) => ("nobody", None, why.clone()),
        };
        let embedding = match (&kept.embedding, &kept.embedded) {
            (Some(now), _) => json!({"state": "embedding", "files": now.files, "of": now.of}),
            (None, Some(Ok(report))) => json!({
                "state": if report.cancelled { "cancelled" } else { "embedded" },
                "files": report.files,
                "chunks": report.chunks,
            }),
            (None, Some(Err(why))) => json!({"state": "failed", "says": why}),
            (None, None) => json!({"state": "not begun"}),
        };
        let symbols = match (&kept.symbols, &kept.extracted) {
            (Some(now), _) => json!({"state": "extracting", "files": now.files, "of": now.of}),
            (None, Some(Ok(report))) => json!({
                "state": if report.cancelled { "cancelled" } else { "extracted" },
                "files": report.files,
                "cut": report.cut_time + report.cut_size + report.cut_count,
            }),
            (None, Some(Err(why))) => json!({"state": "failed", "says": why}),
            (None, None) => json!({"state": "not begun"}),
        };
        json!({
            "by": by, "pid": pid, "says": says, "watcher_said": kept.said, "updates": kept.updates,
            "embedding": embedding, "symbols": symbols,
        })
    })
}
