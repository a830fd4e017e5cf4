//! `outline`: what a file defines, with the lines to read.

use super::{Call, Cost, Effect, Entry, For, about_schema, schema, shown};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::paths;
use leindex_engine::symbols::{Cut, Symbol};
use serde_json::{Value, json};

/// Symbols in one answer.
const SYMBOLS: usize = 500;

pub(super) const TOOL: Entry = Entry {
    name: "outline",
    title: "Outline of a file",
    description: "The definitions of a file as it is on disk now (functions, types, macros and so on), with their first and last lines: \
                  what to read with read_file, without reading all of it. C, C++, Rust, Python, JavaScript, TypeScript, Go, Java.",
    effect: Effect::Reads,
    whom: For::Agents,
    cost: Cost::Search,
    input,
    output,
    run,
};

fn input() -> Value {
    let properties = json!({
        "path": {"type": "string", "description": "The file, relative to the root of the project or absolute within it"},
        "skip": {"type": "integer", "minimum": 0, "default": 0, "description": "So many definitions are left out at the beginning"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": SYMBOLS, "description": "The most definitions to give"},
    });
    schema(properties, &["path"])
}

fn output() -> Value {
    let properties = json!({
        "path": {"type": "string"},
        "language": {"type": "string"},
        "symbols": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "kind": {"type": "string"},
                "line": {"type": "integer"},
                "end_line": {"type": "integer"},
                "container": {"type": ["string", "null"]},
            },
        }},
        "total": {"type": "integer"},
        "truncated": {"type": "boolean"},
        "how_to_get_the_rest": {"type": ["string", "null"]},
    });
    about_schema(properties, &["path", "language", "symbols", "total", "truncated"])
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let asked = call.args.needed(&["path", "file_path"])?;
    let skip = call.args.number("skip", 0, 0..=1_000_000)?;
    let limit = call.args.number("limit", SYMBOLS, 1..=10_000)?;
    let project = call.server.project()?;
    let inside = paths::within(project.engine.root(), asked, true)?;
    let outline = project.engine.outline(&inside.relative).map_err(|error| call.server.refuse(&error))?;
    let end = (skip + limit).min(outline.symbols.len());
    let wanted = outline.symbols.get(skip..end).unwrap_or_default();
    let is_cut = end < outline.symbols.len() || outline.cut.is_some();
    let mut rest: Vec<String> = Vec::new();
    if end < outline.symbols.len() {
        rest.push(format!("skip {end} gives the next ones"));
    }
    rest.extend(outline.cut.map(why).map(str::to_owned));
    let rest = (!rest.is_empty()).then(|| rest.join("; "));
    let path = shown(&outline.path);
    let mut text =
        format!("{path} ({}): {} of {} definitions\n", outline.language, wanted.len(), outline.symbols.len());
    text.extend(wanted.iter().map(line));
    if let Some(rest) = &rest {
        text += &format!("CUT: {rest}\n");
    }
    let mut value = json!({
        "path": path,
        "language": outline.language,
        "symbols": wanted.iter().map(symbol_json).collect::<Vec<_>>(),
        "total": outline.symbols.len(),
        "truncated": is_cut,
        "how_to_get_the_rest": rest,
    });
    value["root"] = json!(project.engine.root());
    if let Ok(open) = call.open_of(&project) {
        open.about.put_into(&mut value);
    }
    Ok(Answer { text, value }.into())
}

fn why(cut: Cut) -> &'static str {
    match cut {
        Cut::Time => "the file took too long to parse: search finds its text",
        Cut::Size => "the file is too long to be parsed as a whole: search finds the rest of its text",
        _ => "the file has more definitions than are kept: search finds its text",
    }
}

fn line(symbol: &Symbol) -> String {
    let container = symbol.container.as_ref().map(|container| format!("{container}::")).unwrap_or_default();
    format!("  {}-{} {} {container}{}\n", symbol.line, symbol.end_line, symbol.kind, symbol.name)
}

/// A definition, as every tool shows it.
pub(super) fn symbol_json(symbol: &Symbol) -> Value {
    json!({
        "name": symbol.name,
        "kind": symbol.kind.name(),
        "line": symbol.line,
        "end_line": symbol.end_line,
        "container": symbol.container,
    })
}
