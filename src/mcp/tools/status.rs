//! `status`: which project, how fresh its index is and who keeps it so, and what goes on.

use super::{Cost, Effect, Entry, For, job_json, schema};
use crate::mcp::answer::{Answer, Outcome, Refusal, age, freshness_json, keeping_json};
use crate::mcp::server::Server;
use leindex_engine::Status;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Languages that the text names.
const LANGUAGES: usize = 10;

pub(super) const TOOL: Entry = Entry {
    name: "status",
    title: "State of the project and its index",
    description: "The project, what its index holds, how fresh it is and who keeps it so, and the operations that go on.",
    effect: Effect::Reads,
    whom: For::Agents,
    cost: Cost::Light,
    input: || schema(json!({}), &[]),
    output,
    run: |call| status(&call.server).map(Outcome::from),
};

fn output() -> Value {
    let properties = json!({
        "root": {"type": "string"},
        "index_dir": {"type": "string"},
        "index": {"type": ["object", "null"], "description": "null before anything was published"},
        "freshness": {"type": "object"},
        "keeping": {"type": "object", "description": "Who keeps the index fresh"},
        "operations": {"type": "array", "items": {"type": "object"}},
    });
    schema(properties, &["root", "index", "freshness", "keeping", "operations"])
}

/// The state of the current project.
pub(crate) fn status(server: &Server) -> Result<Answer, Refusal> {
    let project = server.project()?;
    let index = match project.snapshots.get() {
        Ok((snapshot, _)) => Some(snapshot.status().map_err(|error| server.refuse(&error))?),
        Err(error) => match server.refuse(&error) {
            // To say so is what this is for.
            Refusal::NotYet(_) | Refusal::NoIndex => None,
            refusal => return Err(refusal),
        },
    };
    let going_on: Vec<Value> =
        server.jobs.all().iter().filter(|job| !job.is_ended()).map(|job| job_json(job)).collect();
    let value = json!({
        "root": project.engine.root(),
        "index_dir": project.engine.index_dir(),
        "index": index.as_ref().map(index_json),
        "freshness": freshness_json(project.engine.freshness()),
        "keeping": keeping_json(&project),
        "operations": going_on,
        "server": {"version": env!("CARGO_PKG_VERSION"), "pid": std::process::id()},
    });
    Ok(Answer { text: text(&value, index.as_ref()), value })
}

pub(super) fn index_json(status: &Status) -> Value {
    json!({
        "generation": status.generation,
        "complete": status.complete,
        "published_ms": status.published_ns / 1_000_000,
        "files": {"indexed": status.indexed, "binary": status.binary, "too_large": status.too_large},
        "dirs": status.dirs,
        "content_bytes": status.content_bytes,
        "index_bytes": status.index_bytes,
        "segments": status.segments,
        "languages": status.languages,
    })
}

fn text(value: &Value, index: Option<&Status>) -> String {
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = format!("root: {}\n", part(&value["root"]));
    match index {
        None => text += "index: nothing was published yet\n",
        Some(status) => {
            let complete = if status.complete { "" } else { ", NOT THE WHOLE TREE YET" };
            let ago = age(status.published_ns).as_secs();
            let Status { generation, indexed, binary, too_large, dirs, .. } = status;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "index: generation {generation}, published {ago} s ago{complete}");
            let _ = writeln!(
                text,
                "files: {indexed} searchable in {dirs} directories, {binary} binary, {too_large} too large"
            );
            let mut languages: Vec<_> = status.languages.iter().collect();
            languages.sort_by_key(|(name, files)| (std::cmp::Reverse(**files), **name));
            let named: Vec<_> =
                languages.iter().take(LANGUAGES).map(|(name, files)| format!("{name} {files}")).collect();
            let _ = writeln!(text, "languages: {}", named.join(", "));
        }
    }
    text += &format!("freshness: {}\n", part(&value["freshness"]["says"]));
    text += &format!("kept by: {}\n", part(&value["keeping"]["says"]));
    for operation in value["operations"].as_array().into_iter().flatten() {
        text += &format!("{}: {}\n", part(&operation["operation_id"]), part(&operation["message"]));
    }
    text
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
