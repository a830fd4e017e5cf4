//! `read_file`: a part of a file with line numbers, a file in windows of lines, or what is known of a file.

use super::{Call, Cost, Effect, Entry, For, about_schema, schema, shown};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::lines::{self, Lines};
use crate::mcp::paths::{self, Inside};
use crate::mcp::server::Project;
use leindex_engine::record::{FileMeta, Flags};
use leindex_engine::text::language::Language;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Text in one answer, unless more is asked for. Bytes.
const BYTES: usize = 64 << 10;
/// The most that can be asked for. Bytes.
const BYTES_MAX: usize = 1 << 20;
/// Lines of a window.
const CHUNK_LINES: usize = 100;
/// Line numbers end here.
const LINE_MAX: usize = 1 << 40;

pub(super) const TOOL: Entry = Entry {
    name: "read_file",
    title: "Read a file",
    description: "Reads a file of the project as it is on disk now. mode smart: the lines from start_line to end_line with their \
                  numbers, up to max_bytes; says what was cut and where to go on. mode chunks: one window of chunk_lines lines \
                  (chunk, from 1) and how many there are. mode metadata: size, times, language and what the index knows.",
    effect: Effect::Reads,
    whom: For::LeIndex,
    cost: Cost::Search,
    input,
    output,
    run,
};

fn input() -> Value {
    let properties = json!({
        "mode": {"type": "string", "enum": ["smart", "chunks", "metadata"], "default": "smart", "description": "What to give: lines, a window of lines, or facts"},
        "file_path": {"type": "string", "description": "Path of the file, relative to the root of the project or absolute within it"},
        "start_line": {"type": "integer", "minimum": 1, "default": 1, "description": "The first line to give"},
        "end_line": {"type": "integer", "minimum": 1, "description": "The last line to give; the last one of the file if not given"},
        "max_bytes": {"type": "integer", "minimum": 1, "maximum": BYTES_MAX, "default": BYTES, "description": "About how many bytes of text to give"},
        "chunk": {"type": "integer", "minimum": 1, "default": 1, "description": "mode chunks: which window, from 1"},
        "chunk_lines": {"type": "integer", "minimum": 1, "maximum": 5000, "default": CHUNK_LINES, "description": "mode chunks: lines of a window"},
    });
    schema(properties, &["file_path"])
}

fn output() -> Value {
    let properties = json!({
        "file_path": {"type": "string"},
        "mode": {"type": "string"},
        "content": {"type": "string", "description": "The lines, with their numbers in mode smart"},
        "start_line": {"type": "integer"},
        "end_line": {"type": "integer"},
        "total_lines": {"type": "integer"},
        "total_lines_is_lower_bound": {"type": "boolean", "description": "The file is large, and was not read to its end"},
        "truncated": {"type": "boolean"},
        "how_to_get_the_rest": {"type": ["string", "null"]},
    });
    about_schema(properties, &["file_path", "mode"])
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let args = &call.args;
    let mode = args.choice("mode", &["smart", "chunks", "metadata"])?;
    let asked = args.needed(&["file_path", "path"])?;
    let project = call.server.project()?;
    let file = paths::within(project.engine.root(), asked, true)?;
    let mut value = match mode {
        "metadata" => metadata(call, &project, &file)?,
        "chunks" => chunks(call, &file)?,
        _ => smart(call, &file)?,
    };
    value["file_path"] = shown(&file.relative).into();
    value["mode"] = mode.into();
    value["root"] = json!(project.engine.root());
    // A file can be read before there is an index.
    if let Ok(open) = call.open_of(&project) {
        open.about.put_into(&mut value);
    }
    Ok(Answer::json(value).into())
}

fn read(call: &Call, file: &Inside, first: usize, last: usize) -> Result<Lines, Refusal> {
    let bytes = call.args.number("max_bytes", BYTES, 1..=BYTES_MAX)?;
    let read = file.open().and_then(|open| lines::read(open, first as u64, last as u64, bytes));
    read.map_err(|error| {
        Refusal::Wrong(format!("{}: {error}: mode metadata says what is known of it", shown(&file.relative)))
    })
}

fn smart(call: &Call, file: &Inside) -> Result<Value, Refusal> {
    let first = call.args.number("start_line", 1, 1..=LINE_MAX)?;
    let last = call.args.number("end_line", LINE_MAX, 1..=LINE_MAX)?;
    if last < first {
        return Err(format!("end_line: {last} comes before start_line {first}").into());
    }
    let found = read(call, file, first, last)?;
    if found.lines.is_empty() && found.total > 0 {
        return Err(format!("start_line: {first} is behind the end: the file has {} lines", found.total).into());
    }
    let width = found.lines.last().map_or(1, |(number, _)| number.to_string().len());
    let content: String = found.lines.iter().map(|(number, line)| format!("{number:>width$}\t{line}\n")).collect();
    Ok(described(&found, content, first, "with start_line"))
}

fn chunks(call: &Call, file: &Inside) -> Result<Value, Refusal> {
    let size = call.args.number("chunk_lines", CHUNK_LINES, 1..=5000)?;
    let chunk = call.args.number("chunk", 1, 1..=LINE_MAX / 5000)?;
    let first = (chunk - 1) * size + 1;
    let found = read(call, file, first, first + size - 1)?;
    let count = found.total.div_ceil(size as u64).max(1);
    if chunk as u64 > count {
        return Err(format!("chunk: {chunk} is behind the end: the file has {count} windows of {size} lines").into());
    }
    let content: String = found.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let mut value = described(&found, content, first, "with mode smart and start_line");
    value["chunk"] = chunk.into();
    value["chunks"] = count.into();
    value["chunks_is_lower_bound"] = found.is_lower_bound.into();
    Ok(value)
}

/// The lines that were read, and what was cut of them. `onward` says what to give the line to go on with to.
fn described(found: &Lines, content: String, first: usize, onward: &str) -> Value {
    let end = found.lines.last().map_or(0, |(number, _)| *number);
    let mut ways = Vec::new();
    if found.is_full {
        let least = if found.is_lower_bound { "at least " } else { "" };
        let total = found.total;
        ways.push(format!("the bytes were used up at line {end} of {least}{total}: go on {onward} {}", end + 1));
    }
    if found.cut > 0 {
        ways.push(format!(
            "{} lines were cut to {} bytes: search_content shows the parts that match",
            found.cut,
            lines::LINE_BYTES_MAX
        ));
    }
    let rest = (!ways.is_empty()).then(|| ways.join("; "));
    json!({
        "content": content,
        "start_line": found.lines.first().map_or(first as u64, |(number, _)| *number),
        "end_line": end,
        "total_lines": found.total,
        "total_lines_is_lower_bound": found.is_lower_bound,
        "truncated": rest.is_some(),
        "how_to_get_the_rest": rest,
    })
}

fn metadata(call: &Call, project: &Arc<Project>, file: &Inside) -> Result<Value, Refusal> {
    let name = shown(&file.relative);
    let stat = file.look().and_then(|file| file.metadata());
    let stat =
        stat.map_err(|error| Refusal::Wrong(format!("{name}: {error}: give the path of a file that is there")))?;
    let known = match call.open_of(project) {
        Ok(open) => open.snapshot.lookup(&file.relative).map_err(|error| call.server.refuse(&error))?,
        Err(_) => None,
    };
    let modified = stat.modified().ok().and_then(ms_since_epoch);
    let is_as_indexed = known.map(|known| known.size == stat.len() && Some(known.mtime_ns / 1_000_000) == modified);
    Ok(json!({
        "kind": if stat.is_dir() { "directory" } else if stat.is_file() { "file" } else { "special file" },
        "size": stat.len(),
        "modified_ms": modified,
        "read_only": stat.permissions().readonly(),
        "index": known.as_ref().map(known_json),
        "is_as_indexed": is_as_indexed,
    }))
}

fn known_json(known: &FileMeta) -> Value {
    let is_text = known.flags.has(Flags::INDEXED);
    json!({
        "searchable": is_text,
        "binary": known.flags.has(Flags::BINARY),
        "too_large": known.flags.has(Flags::TOO_LARGE),
        "size": known.size,
        "modified_ms": known.mtime_ns / 1_000_000,
        "language": is_text.then(|| Language::from_code(known.language).unwrap_or_default().name()),
    })
}

fn ms_since_epoch(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
