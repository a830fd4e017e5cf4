//! `manage_project`: which tree is searched, and its index.

use super::operations::{message, status_of};
use super::{Call, Cost, Effect, Entry, For, schema};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::jobs::{Duty, End, Job, State};
use crate::mcp::keeper::Command;
use crate::mcp::server::Project;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

const ACTIONS: [&str; 5] = ["set_path", "refresh", "reindex", "clear", "reset"];

pub(super) const TOOL: Entry = Entry {
    name: "manage_project",
    title: "Choose a project, index it",
    description: "action set_path: makes the directory path the project, indexes what has changed, and watches it. refresh: takes up \
                  what has changed. reindex: throws the index away and builds it anew. clear: throws the index away until the next \
                  refresh. reset: the same, and forgets the project. set_path, refresh and reindex return at once with an \
                  operation_id and go on in the background (see manage_operations); with a progress token the call sends progress \
                  and returns at the end.",
    effect: Effect::Changes,
    whom: For::LeIndex,
    cost: Cost::Light,
    input,
    output,
    run,
};

fn input() -> Value {
    let properties = json!({
        "action": {"type": "string", "enum": ACTIONS, "description": "What to do with the project"},
        "path": {"type": "string", "description": "set_path: the directory, absolute"},
        "clear_cache": {"type": "boolean", "default": false, "description": "With set_path or refresh: throw the index away first, as reindex does"},
    });
    schema(properties, &["action"])
}

fn output() -> Value {
    let properties = json!({
        "status": {"type": "string", "enum": ["started", "queued", "waiting", "running", "completed", "cancelled", "failed"]},
        "success": {"type": "boolean"},
        "message": {"type": "string"},
        "operation_id": {"type": "string"},
        "files_processed": {"type": "integer"},
        "elapsed_time": {"type": "number", "description": "Seconds"},
    });
    schema(properties, &["status", "success", "message", "operation_id"])
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    call.args.needed(&["action"])?;
    let action = call.args.choice("action", &ACTIONS)?;
    let clears = call.args.flag("clear_cache", false)?;
    match action {
        "set_path" => {
            let path = PathBuf::from(call.args.needed(&["path"])?);
            if !path.is_absolute() {
                let path = path.display();
                return Err(format!("path: {path}: give an absolute one; the working directory is the server's").into());
            }
            let (project, job) = call.server.set_path(&path)?;
            if !clears {
                return begun(job);
            }
            job.cancel();
            begun(add(call, &project, "reindex", Command::Reindex)?)
        }
        "refresh" if !clears => begun(add(call, &call.server.project()?, "refresh", Command::Refresh)?),
        "refresh" | "reindex" => begun(add(call, &call.server.project()?, "reindex", Command::Reindex)?),
        _ => {
            let project = call.server.project()?;
            let job = add(call, &project, action, Command::Clear)?;
            Ok(Outcome::Job { job, waits: true, closes: (action == "reset").then_some(project) })
        }
    }
}

fn begun(job: Arc<Job>) -> Result<Outcome, Refusal> {
    Ok(Outcome::Job { job, waits: false, closes: None })
}

fn add(
    call: &Call,
    project: &Arc<Project>,
    action: &'static str,
    command: fn(Duty) -> Command,
) -> Result<Arc<Job>, Refusal> {
    let root = project.engine.root().to_path_buf();
    Ok(call.server.jobs.add(action, root, |duty| project.keeper.ask(command(duty)))?)
}

/// The answer about an operation that was begun, or has ended by now.
pub(crate) fn answer(job: &Job) -> Answer {
    let state = job.state();
    let is_ended = job.is_ended();
    let said = message(&state);
    Answer::json(json!({
        "status": if is_ended { status_of(&state) } else { "started" },
        "success": !matches!(state, State::Ended(End::Failed(_) | End::Cancelled(..))),
        "message": if is_ended { said } else { format!("{} goes on in the background: {said}", job.action) },
        "operation_id": job.id(),
        "files_processed": job.files(),
        "elapsed_time": job.seconds(),
    }))
}
