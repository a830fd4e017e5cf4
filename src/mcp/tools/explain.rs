//! `explain`: why a path is or is not in the index.

use super::{Call, Cost, Effect, Entry, For, about_schema, schema, shown};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::paths;
use leindex_engine::record::Flags;
use leindex_engine::{Explanation, Rule};
use serde_json::{Value, json};

pub(super) const TOOL: Entry = Entry {
    name: "explain",
    title: "Explain why a path is or is not indexed",
    description: "Says whether an index run accepts a path, which rule decides about it (with file and line), whether git tracks it, \
                  what the index has of it, and what to do so that it is otherwise. For when a search does not find what is there.",
    effect: Effect::Reads,
    whom: For::Agents,
    cost: Cost::Search,
    input,
    output,
    run,
};

fn input() -> Value {
    let path = "A file or directory, relative to the root of the project or absolute within it; it need not exist";
    schema(json!({"path": {"type": "string", "description": path}}), &["path"])
}

fn output() -> Value {
    let properties = json!({
        "path": {"type": "string"},
        "accepted": {"type": "boolean"},
        "reason": {"type": "string"},
        "rule": {"type": ["string", "null"], "description": "file:line:pattern"},
        "tracked": {"type": "boolean"},
        "kind": {"type": "string"},
        "size": {"type": ["integer", "null"]},
        "in_index": {"type": "boolean"},
        "searchable": {"type": "boolean"},
        "next": {"type": ["string", "null"]},
    });
    about_schema(properties, &["path", "accepted", "reason", "in_index"])
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let asked = call.args.needed(&["path", "file_path"])?;
    let project = call.server.project()?;
    // A link is explained itself: it is not followed by a run either.
    let inside = paths::within(project.engine.root(), asked, false)?;
    let found = project.engine.explain(&inside.relative).map_err(|error| call.server.refuse(&error))?;
    let rule = |rule: &Rule| {
        let (source, pattern) = (String::from_utf8_lossy(&rule.source), String::from_utf8_lossy(&rule.pattern));
        format!("{source}:{}:{pattern}", rule.line)
    };
    let mut value = json!({
        "path": shown(&inside.relative),
        "accepted": found.accepted,
        "reason": found.reason,
        "rule": found.rule.as_ref().map(rule),
        "tracked": found.tracked,
        "kind": found.kind,
        "size": found.size,
        "in_index": found.known.is_some(),
        "searchable": found.known.is_some_and(|known| known.flags.has(Flags::INDEXED)),
        "next": next(&found),
    });
    let mut line = String::new();
    value["root"] = json!(project.engine.root());
    if let Ok(open) = call.open_of(&project) {
        open.about.put_into(&mut value);
        line = open.about.line();
    }
    let verdict = if found.accepted { "accepted" } else { "left out" };
    let known = match &found.known {
        Some(known) if known.flags.has(Flags::BINARY) => "known as binary, only by its name",
        Some(known) if known.flags.has(Flags::TOO_LARGE) => "known as too large, only by its name",
        Some(_) => "searchable",
        None if found.kind == "directory" => "the index holds files, not directories",
        None => "not in it",
    };
    let text = format!(
        "{}: {verdict}: {}\nrule: {}\ntracked by git: {}\nkind: {}\nindex: {known}\n{}{line}\n",
        value["path"].as_str().unwrap_or_default(),
        found.reason,
        value["rule"].as_str().unwrap_or("none matches"),
        if found.tracked { "yes" } else { "no" },
        found.kind,
        next(&found).map(|next| format!("next: {next}\n")).unwrap_or_default(),
    );
    Ok(Answer { text, value }.into())
}

/// The next step, in terms of these tools where there is one.
fn next(found: &Explanation) -> Option<&str> {
    match &found.next {
        Some(_) if found.accepted && found.known.is_none() => Some("manage_project refresh has it indexed"),
        next => next.as_deref(),
    }
}
