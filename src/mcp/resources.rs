//! Resources: `files://{path}`, `structure://project` and `settings://stats`.

use super::answer::Refusal;
use super::lines;
use super::paths;
use super::server::Server;
use super::tools::{open, status};
use rmcp::model::{Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const STRUCTURE: &str = "structure://project";
const STATS: &str = "settings://stats";
const FILES: &str = "files://";
/// Text of a file in one resource; the tool `read_file` gives any part of larger ones. Bytes.
const FILE_BYTES: usize = 1 << 20;
/// Directories that the structure lists; deeper ones are summed up in those above them.
const DIRS_MAX: usize = 500;
/// Levels of directories that are told apart.
const DEPTH: usize = 3;

pub(crate) fn list() -> Vec<Resource> {
    vec![
        Resource::new(STRUCTURE, "structure")
            .with_title("Structure of the project")
            .with_description(
                "Directories down to three levels, with the files and bytes below each, and the languages of all",
            )
            .with_mime_type("application/json"),
        Resource::new(STATS, "stats")
            .with_title("State of the project and its index")
            .with_description("What the tool status says")
            .with_mime_type("application/json"),
    ]
}

pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("files://{+path}", "file")
            .with_title("A file of the project")
            .with_description("The text of a file, by its path relative to the root of the project; up to 1 MiB")
            .with_mime_type("text/plain"),
    ]
}

/// The content of a resource. `Ok(None)` when there is none of that kind.
pub(crate) fn read(server: &Server, uri: &str) -> Result<Option<ResourceContents>, Refusal> {
    let json_of = |value: Value| ResourceContents::text(value.to_string(), uri).with_mime_type("application/json");
    match uri {
        STRUCTURE => structure(server).map(|value| Some(json_of(value))),
        STATS => status(server).map(|answer| Some(json_of(answer.value))),
        _ => match uri.strip_prefix(FILES) {
            Some(path) => file(server, path).map(|text| Some(ResourceContents::text(text, uri))),
            None => Ok(None),
        },
    }
}

fn file(server: &Server, path: &str) -> Result<String, Refusal> {
    let project = server.project()?;
    let decoded = unescaped(path)
        .ok_or_else(|| Refusal::Wrong(format!("{FILES}{path}: is not valid UTF-8 when its escapes are undone")))?;
    // Clients write files:///src/a.rs as well as files://src/a.rs.
    let root = project.engine.root();
    let relative = if decoded.starts_with('/') && !std::path::Path::new(&decoded).starts_with(root) {
        decoded.trim_start_matches('/')
    } else {
        &decoded
    };
    let inside = paths::within(root, relative, true)?;
    let read = inside.open().and_then(|open| lines::text(open, FILE_BYTES));
    let (mut text, is_cut) = read.map_err(|error| Refusal::Wrong(format!("{relative}: {error}")))?;
    if is_cut {
        text += &format!("\n[CUT: the file has more than {FILE_BYTES} bytes: the tool read_file gives any part]\n");
    }
    Ok(text)
}

/// With `%41` undone; `None` when the result is not UTF-8.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits make a byte.
                bytes.push(((high << 4) | low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[derive(Default)]
struct Dir {
    files: u64,
    bytes: u64,
}

fn structure(server: &Server) -> Result<Value, Refusal> {
    let open = open(server)?;
    let mut dirs: BTreeMap<String, Dir> = BTreeMap::new();
    let walked = open.snapshot.for_each_file(|path, meta| {
        let above = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let mut ends = path[..above].iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let end = ends.nth(DEPTH - 1).unwrap_or(above);
        let dir = dirs.entry(String::from_utf8_lossy(&path[..end]).into_owned()).or_default();
        dir.files += 1;
        dir.bytes += meta.size;
    });
    walked.map_err(|error| server.refuse(&error))?;
    let status = open.snapshot.status().map_err(|error| server.refuse(&error))?;
    let listed =
        dirs.iter().take(DIRS_MAX).map(|(path, dir)| json!({"path": path, "files": dir.files, "bytes": dir.bytes}));
    let mut value = json!({
        "root": open.project.engine.root(),
        "files": status.indexed + status.binary + status.too_large,
        "languages": status.languages,
        "directories": listed.collect::<Vec<_>>(),
        "directories_not_listed": dirs.len().saturating_sub(DIRS_MAX),
    });
    open.about.put_into(&mut value);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped("a%20b%2Fc").as_deref(), Some("a b/c"));
        assert_eq!(unescaped("100%").as_deref(), Some("100%"));
        assert_eq!(unescaped("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(unescaped("%+4%-1%C3%a4").as_deref(), Some("%+4%-1ä"));
        assert_eq!(unescaped("%ff"), None);
        assert_eq!(unescaped("%00").as_deref(), Some("\0"));
    }
}
