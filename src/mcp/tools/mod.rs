//! The tools: one table, one file each. A tool is a function from a call to its outcome; it may block, and is never called on an
//! async thread.
//!
//! `manage_project`, `search_content`, `get_diagnostics`, `manage_operations` and `read_file` have the names and arguments that
//! LeIndex's clients call; their text is JSON, refusals included. `search`, `outline`, `explain` and `status` are for agents, to whom a token counts.

mod diagnostics;
mod explain;
mod manage_project;
mod operations;
mod outline;
mod read_file;
mod search;
mod search_content;
mod status;

use super::answer::{About, Outcome, Refusal};
use super::args::Args;
use super::server::{Project, Server};
use leindex_engine::Snapshot;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

pub(crate) use manage_project::answer as manage_project_answer;
pub(crate) use operations::{job_json, job_message};
pub(crate) use status::status;

/// A call of a tool.
pub(crate) struct Call {
    pub(crate) server: Arc<Server>,
    pub(crate) args: Args,
}

/// What a search needs.
pub(crate) struct Open {
    // Before the project: while there is one of its snapshots, there is the project.
    pub(crate) snapshot: Snapshot,
    pub(crate) project: Arc<Project>,
    pub(crate) about: About,
}

impl Call {
    /// The published generation of the current project.
    pub(crate) fn open(&self) -> Result<Open, Refusal> {
        open(&self.server)
    }

    /// The published generation of this project.
    fn open_of(&self, project: &Arc<Project>) -> Result<Open, Refusal> {
        open_of(&self.server, project)
    }
}

/// The published generation of the current project.
pub(crate) fn open(server: &Server) -> Result<Open, Refusal> {
    open_of(server, &server.project()?)
}

fn open_of(server: &Server, project: &Arc<Project>) -> Result<Open, Refusal> {
    let (snapshot, freshness) = project.snapshots.get().map_err(|error| server.refuse(&error))?;
    let about = About::new(server, project, &snapshot, freshness);
    Ok(Open { snapshot, project: Arc::clone(project), about })
}

/// Whether a tool changes anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Changes,
}

/// Who a tool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Whoever reads.
    Agents,
    /// Clients of LeIndex, which parse its text.
    LeIndex,
}

/// What a call of a tool costs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// It looks at files, which may take a while: a few at once.
    Search,
    /// It is answered whatever else goes on.
    Light,
}

/// An entry of the table.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    pub(crate) whom: For,
    pub(crate) cost: Cost,
    input: fn() -> Value,
    output: fn() -> Value,
    pub(crate) run: fn(&Call) -> Result<Outcome, Refusal>,
}

/// All of them, in the order in which clients see them.
pub(crate) static TOOLS: [Entry; 9] = [
    search::TOOL,
    search_content::TOOL,
    read_file::TOOL,
    outline::TOOL,
    explain::TOOL,
    status::TOOL,
    manage_project::TOOL,
    operations::TOOL,
    diagnostics::TOOL,
];

pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Entry {
    /// As clients see it.
    pub(crate) fn definition(&self) -> Tool {
        let is_reading = self.effect == Effect::Reads;
        let annotations = ToolAnnotations::with_title(self.title)
            .read_only(is_reading)
            .destructive(!is_reading)
            .idempotent(is_reading)
            .open_world(false);
        Tool::new(self.name, self.description, object((self.input)()))
            .with_title(self.title)
            .with_raw_output_schema(Arc::new(object((self.output)())))
            .with_annotations(annotations)
    }
}

fn object(value: Value) -> JsonObject {
    if let Value::Object(members) = value { members } else { JsonObject::new() }
}

/// The schema of an object with these members, of which `required` are always there.
fn schema(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// The schema of an answer that has, besides `properties`, what every answer says about its index.
fn about_schema(properties: Value, required: &[&str]) -> Value {
    let mut all = object(properties);
    all.append(&mut object(json!({
        "root": {"type": "string", "description": "The project"},
        "generation": {"type": "integer", "description": "The published generation that has answered"},
        "complete": {"type": "boolean", "description": "Whether it holds the whole tree"},
        "freshness": {
            "type": "object",
            "properties": {
                "state": {"type": "string", "enum": ["current", "behind", "polled", "unwatched"]},
                "as_of_ms": {"type": ["integer", "null"], "description": "The index equalled the tree then"},
                "says": {"type": "string"},
            },
        },
        "indexing": {"type": ["object", "null"], "description": "The operation that goes on now"},
    })));
    schema(Value::Object(all), required)
}

/// A path for an answer, with forward slashes. Bytes that are not UTF-8 are replaced.
fn shown(path: &Path) -> String {
    let path = path.to_string_lossy();
    if cfg!(windows) { path.replace('\\', "/") } else { path.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_described() {
        for tool in &TOOLS {
            let definition = tool.definition();
            let schema = definition.schema_as_json_value();
            assert_eq!(schema["type"], "object", "{}", tool.name);
            for (name, property) in schema["properties"].as_object().unwrap() {
                let described = property["description"].as_str().is_some_and(|text| text.len() > 10);
                assert!(described, "{}: {name}", tool.name);
            }
            assert!(definition.output_schema.is_some());
            assert!(find(tool.name).is_some_and(|found| std::ptr::eq(found, tool)), "twice: {}", tool.name);
        }
    }
}
