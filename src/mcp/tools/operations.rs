//! `manage_operations`: what goes on in the background, and how to stop it.

use super::{Call, Cost, Effect, Entry, For, schema};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::jobs::{End, Job, State};
use serde_json::{Value, json};

pub(super) const TOOL: Entry = Entry {
    name: "manage_operations",
    title: "List or cancel operations",
    description: "action list: the operations of this server, oldest first, with state and progress. action cancel: asks one to stop \
                  (operation_id), or all when none is named. action cleanup: forgets those that have ended.",
    effect: Effect::Changes,
    whom: For::LeIndex,
    cost: Cost::Light,
    input,
    output,
    run,
};

fn input() -> Value {
    let properties = json!({
        "action": {"type": "string", "enum": ["list", "cancel", "cleanup"], "default": "list", "description": "What to do with operations"},
        "operation_id": {"type": "string", "description": "Which one to list or to cancel, such as op-1"},
    });
    schema(properties, &[])
}

fn output() -> Value {
    let properties = json!({
        "success": {"type": "boolean"},
        "message": {"type": "string"},
        "operations": {"type": "array", "items": {"type": "object"}},
    });
    schema(properties, &["success", "message", "operations"])
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let jobs = &call.server.jobs;
    let action = call.args.choice("action", &["list", "cancel", "cleanup"])?;
    let named = match call.args.text("operation_id")? {
        None => None,
        Some(id) => Some(jobs.find(id).ok_or_else(|| {
            Refusal::Wrong(format!(
                "operation_id: there is no {id:?}: manage_operations list shows those that there are"
            ))
        })?),
    };
    let message = match action {
        "cancel" => {
            let asked: Vec<_> = named.clone().map_or_else(|| jobs.all(), |job| vec![job]);
            let open: Vec<_> = asked.iter().filter(|job| !job.is_ended()).collect();
            open.iter().for_each(|job| job.cancel());
            match open.len() {
                0 => "nothing to cancel: it has ended".to_owned(),
                count => {
                    format!("{count} asked to stop; what was published stays, unless it was thrown away by them before")
                }
            }
        }
        "cleanup" => format!("{} that had ended are forgotten", jobs.clean_up()),
        _ => "operations, oldest first".to_owned(),
    };
    let shown = named.map_or_else(|| jobs.all(), |job| vec![job]);
    let operations: Vec<Value> = shown.iter().map(|job| job_json(job)).collect();
    Ok(Answer::json(json!({"success": true, "message": message, "operations": operations})).into())
}

/// An operation, as every tool shows it.
pub(crate) fn job_json(job: &Job) -> Value {
    let state = job.state();
    let mut value = json!({
        "operation_id": job.id(),
        "action": job.action,
        "root": job.root,
        "status": status_of(&state),
        "message": message(&state),
        "started_ms": job.started_ms,
        "elapsed_time": job.seconds(),
        "files_processed": job.files(),
        "cancel_asked": job.is_cancelled() && !job.is_ended(),
    });
    if let State::Running(progress) = &state {
        value["progress"] = json!({
            "seen": progress.files.seen,
            "expected": progress.expected,
            "indexed": progress.files.indexed,
            "bytes_read": progress.files.bytes_read,
            "scanned": progress.scanned,
        });
    }
    value
}

/// A sentence about where an operation is.
pub(crate) fn job_message(job: &Job) -> String {
    message(&job.state())
}

pub(super) fn status_of(state: &State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Waiting(_) => "waiting",
        State::Running(_) => "running",
        State::Ended(End::Done(..)) => "completed",
        State::Ended(End::Cancelled(..)) => "cancelled",
        State::Ended(End::Failed(_)) => "failed",
    }
}

pub(super) fn message(state: &State) -> String {
    match state {
        State::Queued => "others come first".into(),
        State::Waiting(pid) if *pid == std::process::id() => "an update by this server's watcher comes first".into(),
        State::Waiting(pid) => format!("process {pid} is writing the index: waiting for its end"),
        State::Running(progress) if progress.scanned => "the tree was gone over; the rest is being written".into(),
        State::Running(progress) => format!("{} files so far", progress.files.seen),
        State::Ended(End::Done(_, said)) => said.clone(),
        State::Ended(End::Cancelled(_, said)) => (*said).into(),
        State::Ended(End::Failed(why)) => why.clone(),
    }
}
