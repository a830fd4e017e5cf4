//! House rules as a test: what reviewers would otherwise have to remember.
//!
//! The rules, over `src/` and, where they make sense, `fallback/`, `tests/`, `benches/` and `examples/`:
//!
//! * imports go down the floors only, and only along the edges that `docs/architecture.md` draws;
//! * a shard or a query never writes to the metadata store, and the library never reads the environment or exits;
//! * nothing unfinished, no function over 70 lines, no file over 600 (tests do not count);
//! * `unsafe` in its islands only, each of which `docs/unsafe.md` describes;
//! * every module says what it owns, every ignored test says why, every module is on the map.
//!
//! Each rule is a function from text to breaches, so that it can be shown to fail: the tests below the rules feed every
//! one of them something bad.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. Floor 0 is the crate `leindex-fallback`, which cargo keeps from importing this one.
const FLOORS: [(&str, u8); 19] = [
    ("error", 1),
    ("failpoint", 1),
    ("limits", 1),
    ("counters", 1),
    ("record", 1),
    ("io", 2),
    ("rules", 2),
    ("store", 2),
    ("text", 2),
    ("embed", 2),
    ("symbols", 2),
    ("shard", 3),
    ("commit", 3),
    ("query", 3),
    ("engine", 4),
    ("main", 5),
    ("cli", 5),
    ("mcp", 5),
    ("watch", 5),
];
/// What each module of floor 3 may use of floor 2. The other floors may use all that is below them.
const EDGES: [(&str, &[&str]); 3] = [
    ("shard", &["io", "rules", "text", "store"]),
    ("commit", &["store", "text", "embed"]),
    ("query", &["store", "text", "symbols", "embed"]),
];
/// What readers of the metadata store may name of it.
const STORE_TO_READ: [&str; 5] = ["Store", "StoreReader", "Child", "read", "schema"];
/// The only files that may hold `unsafe`.
const ISLANDS: [&str; 7] = [
    "src/cli/allocator.rs",
    "src/embed/cuda/launch.rs",
    "src/embed/cuda/memory.rs",
    "src/embed/map.rs",
    "src/io/uring/memory.rs",
    "src/io/uring/ring.rs",
    "src/store/env.rs",
];
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// A broken rule.
struct Breach {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A source file, seen three ways. All are of the same length, so that offsets and lines are those of the file.
struct Source {
    /// Path relative to the root of the repository, with forward slashes.
    path: String,
    text: String,
    /// Comments, strings and characters are blank.
    code: String,
    /// The tests in it are blank too.
    product: String,
    /// Lines that belong to tests.
    test_lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let code = without_literals(text);
        let (product, test_lines) = without_tests(&code);
        Source { path: path.to_owned(), text: text.to_owned(), code, product, test_lines }
    }

    fn breach(&self, at: usize, what: impl Into<String>) -> Breach {
        let line = self.text[..at].matches('\n').count() + 1;
        Breach { file: self.path.clone(), line, what: what.into() }
    }

    /// The module's path: `["store", "env"]` for `src/store/env.rs`, empty for `src/lib.rs`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        path.split('/').filter(|name| !matches!(*name, "mod" | "lib")).collect()
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.starts_with("tests/")
    }

    fn is_command(&self) -> bool {
        self.module().first().is_some_and(|top| floor(top) == Some(5))
    }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

// Reading Rust, as far as the rules need it.

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn blank(range: &mut [u8]) {
    range.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

fn without_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        match literal_end(bytes, at) {
            Some(end) => {
                blank(&mut code[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment, string or character that begins at `at` ends; `None` if none begins there.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let find = |what: &[u8], from: usize| {
        rest[from..].windows(what.len()).position(|window| window == what).map_or(rest.len(), |found| from + found)
    };
    let len = match rest {
        [b'/', b'/', ..] => find(b"\n", 0),
        [b'/', b'*', ..] => block_comment_len(rest),
        [b'"', ..] => quoted_len(rest),
        [b'\'', b'\\', ..] => quoted_len(rest),
        [b'\'', first, ..] => {
            // A character is followed by a quote; a lifetime is not.
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or_else(|error| error.valid_up_to(), str::len)
                .min(if first.is_ascii() { 1 } else { 4 });
            (1..=width).map(|width| width + 1).find(|&end| rest.get(end) == Some(&b'\'')).map(|end| end + 1)?
        }
        [b'r', ..] if !follows_ident(bytes, at) => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return None;
            }
            let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
            find(&end, hashes + 2) + end.len()
        }
        _ => return None,
    };
    Some((at + len).min(bytes.len()))
}

/// Whether what stands at `at` goes on with a name; the `b` or `c` of `br"` is none.
fn follows_ident(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]).is_some_and(is_ident);
    let prefixed = at.checked_sub(1).is_some_and(|at| matches!(bytes[at], b'b' | b'c'));
    (before(2) || !prefixed) && before(1)
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of what begins and ends with the first byte, in which a backslash takes the next byte along.
fn quoted_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == rest[0] => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Blanks every item under `#[cfg(test)]`; says how many lines they had.
fn without_tests(code: &str) -> (String, usize) {
    let mut bytes = code.as_bytes().to_vec();
    let mut lines = 0;
    for mark in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(mark) {
            let after = start + code[start..].find(']').map_or(0, |bracket| bracket + 1);
            let end = item_end(code, after);
            lines += code[start..end].matches('\n').count() + 1;
            blank(&mut bytes[start..end]);
        }
    }
    (String::from_utf8_lossy(&bytes).into_owned(), lines)
}

/// Where the item, or the arm or variant, ends that follows an attribute.
fn item_end(code: &str, after: usize) -> usize {
    const ITEMS: [&str; 12] =
        ["mod", "fn", "use", "pub", "impl", "struct", "enum", "trait", "type", "const", "static", "macro_rules"];
    let end_at = |mark: char| code[after..].find(mark).map_or(code.len(), |found| after + found + 1);
    let mut rest = code[after..].trim_start();
    while let Some(attribute) = rest.strip_prefix("#[") {
        rest = attribute.split_once(']').map_or("", |(_, rest)| rest).trim_start();
    }
    let is_item = idents(rest).next().is_some_and(|(at, name)| at == 0 && ITEMS.contains(&name));
    match body(code, code.len() - rest.len()) {
        _ if !is_item => end_at(','),
        Some((_, end)) => end,
        None => end_at(';'),
    }
}

/// The braces after `from`, unless a semicolon comes first: one that is in no parentheses or brackets.
fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let mut depth = 0i32;
    for (index, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth <= 0 => return None,
            b'{' => return Some((index, matching_brace(code, index))),
            _ => {}
        }
    }
    None
}

/// The place behind the brace that closes the one at `open`.
fn matching_brace(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (index, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    code.len()
}

/// Every name of the code and where it stands.
fn idents(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = code.as_bytes();
    let starts = move |at: &usize| is_ident(bytes[*at]) && (*at == 0 || !is_ident(bytes[*at - 1]));
    (0..bytes.len()).filter(starts).map(move |at| {
        let len = bytes[at..].iter().take_while(|byte| is_ident(**byte)).count();
        (at, code.get(at..at + len).unwrap_or_default())
    })
}

/// All paths of the tree that follows `::` at `at`: `a::{b, c::d}` is `[a, b]` and `[a, c, d]`. Advances `at`.
fn paths(code: &str, at: &mut usize, prefix: &[String], into: &mut Vec<(usize, Vec<String>)>) {
    let bytes = code.as_bytes();
    let skip_space = |at: &mut usize| *at += bytes[*at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    skip_space(at);
    if bytes.get(*at) == Some(&b'{') {
        let end = matching_brace(code, *at) - 1;
        *at += 1;
        while *at < end {
            paths(code, at, prefix, into);
            *at += bytes[*at..end].iter().take_while(|byte| !matches!(byte, b',' | b'}')).count() + 1;
            skip_space(at);
        }
        return;
    }
    let start = *at;
    let len = bytes[start..].iter().take_while(|byte| is_ident(**byte) || **byte == b'*').count();
    let path = [prefix, &[code[start..start + len].to_owned()]].concat();
    *at += len;
    if code[*at..].starts_with("::") {
        *at += 2;
        paths(code, at, &path, into);
    } else {
        into.push((start, path));
    }
}

/// Every path from the root of the crate that the code names, by `crate::` or by enough `super::`.
fn crate_paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let code = &source.product;
    let mut found = Vec::new();
    for (start, name) in idents(code) {
        let depth = source.module().len();
        let mut at = start;
        let up = match name {
            "crate" => {
                at += name.len();
                depth
            }
            "super" if !code[..start].ends_with("::") => {
                let mut up = 0;
                while code[at..].starts_with("super") {
                    up += 1;
                    at += "super".len();
                    if code[at..].starts_with("::super") {
                        at += 2;
                    }
                }
                up
            }
            _ => continue,
        };
        if code[at..].starts_with("::") && up >= depth {
            at += 2;
            paths(code, &mut at, &[], &mut found);
        }
    }
    found
}

// The rules.

fn imports_go_down(source: &Source) -> Vec<Breach> {
    let module = source.module();
    let Some(&from) = module.first() else { return Vec::new() };
    let Some(from_floor) = floor(from) else {
        return vec![source.breach(0, format!("module {from} is on no floor: give it one in tests/tidy.rs"))];
    };
    let mut breaches = Vec::new();
    for (at, path) in crate_paths(source) {
        let to = &path[0][..];
        if to == from || to == "*" && from_floor == 5 {
            continue;
        }
        let edge = format!("{from} -> {}", path.join("::"));
        let Some(to_floor) = floor(to) else {
            breaches.push(source.breach(at, format!("{edge}: {to} is no module on a floor: name the module it is in")));
            continue;
        };
        let documented = EDGES.iter().find(|(module, _)| *module == from).map(|(_, to)| *to);
        let what = if to_floor > from_floor {
            "goes up"
        } else if to_floor == from_floor {
            "goes sideways"
        } else if to_floor == 2 && documented.is_some_and(|documented| !documented.contains(&to)) {
            "is not a documented edge"
        } else if to == "store" && matches!(from, "shard" | "query") && !STORE_TO_READ.contains(&&path[1][..]) {
            "names what writes the store"
        } else {
            continue;
        };
        breaches.push(source.breach(at, format!("{edge}: {what} (floor {from_floor} to floor {to_floor})")));
    }
    breaches
}

/// Names of the methods of `src/store/write.rs` that take `&self`: every one is a write transaction.
fn writing_methods(write: &Source) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in idents(&write.product).filter(|(_, name)| *name == "fn") {
        let rest = write.product[at + 2..].trim_start();
        let name: String = rest.bytes().take_while(|byte| is_ident(*byte)).map(char::from).collect();
        let parameters = rest.split_once('(').map_or("", |(_, parameters)| parameters).trim_start();
        if parameters.starts_with("&self") {
            names.push(name);
        }
    }
    names
}

fn only_commit_writes(source: &Source, writing: &[String]) -> Vec<Breach> {
    if !matches!(source.module().first(), Some(&"shard" | &"query" | &"text" | &"rules" | &"io")) {
        return Vec::new();
    }
    let calls = idents(&source.product)
        .filter(|(at, name)| source.product[..*at].ends_with('.') && writing.iter().any(|writing| writing == name));
    calls.map(|(at, name)| source.breach(at, format!(".{name}() writes the store, which only commit may"))).collect()
}

fn library_stays_within(source: &Source) -> Vec<Breach> {
    if source.is_command() || source.is_test() || source.path.starts_with("fallback/") {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for banned in ["env::var", "env::args", "env::vars", "env::home_dir", "process::exit", "process::Command"] {
        for (at, _) in source.product.match_indices(banned) {
            let whole = !source.product[..at].bytes().next_back().is_some_and(is_ident);
            if whole {
                breaches.push(source.breach(at, format!("{banned} in the library: only the command may")));
            }
        }
    }
    breaches
}

fn nothing_unfinished(source: &Source) -> Vec<Breach> {
    let is_macro = |(at, name): &(usize, &str)| {
        matches!(*name, "todo" | "unimplemented" | "dbg") && source.code[at + name.len()..].starts_with('!')
    };
    idents(&source.code).filter(is_macro).map(|(at, name)| source.breach(at, format!("{name}! is left"))).collect()
}

fn unsafe_in_islands(source: &Source, islands: &[&str]) -> Vec<Breach> {
    if islands.contains(&&source.path[..]) {
        return Vec::new();
    }
    let found = idents(&source.code).filter(|(_, name)| *name == "unsafe");
    found.map(|(at, _)| source.breach(at, "unsafe outside of the islands of docs/unsafe.md")).collect()
}

fn ignored_tests_say_why(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (at, mark) in source.code.match_indices("#[ignore") {
        let after = &source.text[at + mark.len()..];
        let reason = after.trim_start().strip_prefix('=').map(|after| after.trim_start().trim_start_matches('"'));
        if !reason.is_some_and(|reason| reason.starts_with(|first: char| first.is_alphanumeric() || first == '`')) {
            breaches.push(source.breach(at, "an ignored test without a reason: #[ignore = \"why\"]"));
        }
    }
    breaches
}

fn functions_are_short(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (at, _) in idents(&source.product).filter(|(_, name)| *name == "fn") {
        // A type such as `fn(u8)` has no name.
        if !source.product[at + 2..].trim_start().bytes().next().is_some_and(is_ident) {
            continue;
        }
        let Some((_, end)) = body(&source.product, at) else { continue };
        let lines = source.product[at..end].matches('\n').count() + 1;
        if lines > FUNCTION_LINES_MAX {
            breaches.push(source.breach(at, format!("a function of {lines} lines, over {FUNCTION_LINES_MAX}")));
        }
    }
    breaches
}

fn files_are_short(source: &Source) -> Vec<Breach> {
    let lines = source.text.lines().count().saturating_sub(source.test_lines);
    if lines <= FILE_LINES_MAX || source.is_test() {
        return Vec::new();
    }
    vec![source.breach(0, format!("{lines} lines without its tests, over {FILE_LINES_MAX}: has it two subjects?"))]
}

fn modules_say_what_they_own(source: &Source) -> Vec<Breach> {
    let first = source.text.lines().next().unwrap_or_default();
    let is_tests_of_a_module = source.path.ends_with("/tests.rs");
    if is_tests_of_a_module || first.strip_prefix("//!").is_some_and(|text| text.trim().len() > 2) {
        return Vec::new();
    }
    vec![source.breach(0, "the file does not begin with //! and what it owns")]
}

/// Each of `names` has to occur in the document.
fn document_names(document: &str, text: &str, names: &[String]) -> Vec<Breach> {
    let missing = names.iter().filter(|name| !text.contains(&name[..]));
    let breach = |name| Breach { file: document.to_owned(), line: 1, what: format!("does not mention {name}") };
    missing.map(breach).collect()
}

// Running them.

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `dir`, in order of their paths. A folder that is not there has none.
fn sources(dir: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "corpora" {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).unwrap_or(&path);
                let relative = relative.to_string_lossy().replace('\\', "/");
                found.push(Source::new(&relative, &read(&path)));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn assert_tidy(breaches: Vec<Breach>) {
    let lines: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(lines.is_empty(), "{} breaches of the house rules:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn floors_hold() {
    let product = sources("src");
    assert!(product.len() > 30, "only {} files found: is the tidy test looking in the right place?", product.len());
    let write = product.iter().find(|source| source.path == "src/store/write.rs");
    let writing = write.map(writing_methods).unwrap_or_default();
    assert!(writing.len() >= 3, "the writing methods of the store were not found: {writing:?}");
    assert_tidy(product.iter().flat_map(imports_go_down).collect());
    assert_tidy(product.iter().flat_map(|source| only_commit_writes(source, &writing)).collect());
    assert_tidy(product.iter().flat_map(library_stays_within).collect());
}

#[test]
fn files_and_functions_are_in_order() {
    let product: Vec<Source> = ["src", "fallback/src"].iter().flat_map(|dir| sources(dir)).collect();
    assert_tidy(product.iter().flat_map(functions_are_short).collect());
    assert_tidy(product.iter().flat_map(files_are_short).collect());
    let all = ["fallback/tests", "tests", "benches", "examples"].iter().flat_map(|dir| sources(dir));
    let all: Vec<Source> = product.into_iter().chain(all).collect();
    // What rules are tested on breaks them.
    let (checked, own): (Vec<Source>, Vec<Source>) = all.into_iter().partition(|s| s.path != "tests/tidy.rs");
    assert_eq!(own.len(), 1);
    assert_tidy(checked.iter().flat_map(nothing_unfinished).collect());
    assert_tidy(checked.iter().flat_map(|source| unsafe_in_islands(source, &ISLANDS)).collect());
    assert_tidy(checked.iter().flat_map(ignored_tests_say_why).collect());
    assert_tidy(checked.iter().flat_map(modules_say_what_they_own).collect());
}

#[test]
fn documents_are_up_to_date() {
    let islands: Vec<String> = ISLANDS.iter().map(ToString::to_string).collect();
    assert_tidy(document_names("docs/unsafe.md", &read(&root().join("docs/unsafe.md")), &islands));
    let sources = sources("src");
    let mut modules: Vec<String> =
        sources.iter().filter_map(|source| source.module().first().map(|top| format!("src/{top}"))).collect();
    modules.dedup();
    let map = read(&root().join("docs/architecture.md"));
    assert_tidy(document_names("docs/architecture.md", &map, &modules));
    let changes = read(&root().join("CHANGELOG.md"));
    assert_tidy(document_names("CHANGELOG.md", &changes, &["# Changelog".to_owned(), "## [Unreleased]".to_owned()]));
}

// The rules, shown to fail.

/// Checks which breaches a rule finds in `text`, as `line: part of the message`.
#[track_caller]
fn check(rule: impl Fn(&Source) -> Vec<Breach>, path: &str, text: &str, expect: &[(usize, &str)]) {
    let found = rule(&Source::new(path, text));
    let said: Vec<String> = found.iter().map(Breach::to_string).collect();
    assert_eq!(found.len(), expect.len(), "{text}\n{said:?}");
    for (breach, (line, what)) in found.iter().zip(expect) {
        assert!(breach.line == *line && breach.what.contains(what), "{text}\n{said:?} instead of {line}: {what}");
    }
}

#[test]
fn edges_up_and_sideways_are_found() {
    let check = |path, text, expect: &[(usize, &str)]| check(imports_go_down, path, text, expect);
    check("src/store/env.rs", "use crate::limits::MAP;\nuse super::read::X;\nuse crate::store::Y;\n", &[]);
    check("src/store/env.rs", "\nuse crate::engine::Engine;\n", &[(2, "store -> engine::Engine: goes up")]);
    check("src/store/mod.rs", "fn f() -> crate::text::T {}", &[(1, "store -> text::T: goes sideways")]);
    check("src/text/a/b.rs", "use super::super::super::store::S;\n", &[(1, "sideways")]);
    check("src/text/a/b.rs", "use super::super::schema::S;\nuse super::c::S;\n", &[]);
    check("src/text/mod.rs", "use super::store;\n", &[(1, "sideways")]);
    check(
        "src/record.rs",
        "use crate::{\n    error::E,\n    commit::{self, Committer},\n};\n",
        &[(2, "sideways"), (3, "commit::self: goes up"), (3, "commit::Committer: goes up")],
    );
    check("src/shard/scan.rs", "use crate::{io::select, rules::Stack, text::{a, b}, store::StoreReader};\n", &[]);
    check("src/shard/scan.rs", "use crate::store::{StoreReader,\n write::ended};\n", &[(2, "writes the store")]);
    check("src/shard/scan.rs", "use crate::commit::C;", &[(1, "sideways")]);
    check("src/query/mod.rs", "use crate::rules::Stack;", &[(1, "not a documented edge")]);
    check("src/commit/mod.rs", "use crate::io::select;", &[(1, "not a documented edge")]);
    check("src/engine/mod.rs", "use crate::{commit::C, shard::S, query::Q, store::write, io::I};", &[]);
    check("src/engine/mod.rs", "use crate::cli;", &[(1, "goes up")]);
    // Through the root of the crate any floor could be reached.
    check("src/text/mod.rs", "use crate::Engine;", &[(1, "no module on a floor")]);
    check("src/text/mod.rs", "use crate::*;", &[(1, "no module on a floor")]);
    check("src/new.rs", "//! New.", &[(1, "on no floor")]);
    check("src/lib.rs", "pub use engine::Engine;\npub use crate::io::X;", &[]);
    let quoted = "// use crate::engine;\n/* crate::cli */ const A: &str = \"crate::engine\";\n";
    check("src/text/mod.rs", quoted, &[]);
    check("src/text/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine::E;\n}\n", &[]);
}

#[test]
fn writers_and_escapes_are_found() {
    let write = Source::new("src/store/write.rs", "impl S { pub fn put_it(&self, a: u8) {} }\nfn free(a: u8) {}\n");
    let writing = writing_methods(&write);
    assert_eq!(writing, ["put_it"]);
    let rule = |source: &Source| only_commit_writes(source, &writing);
    check(rule, "src/shard/scan.rs", "fn f() {\n    store.put_it(1);\n}", &[(2, "put_it")]);
    check(rule, "src/shard/scan.rs", "fn put_it() { free(1) }", &[]);
    check(rule, "src/commit/mod.rs", "fn f() { store.put_it(1) }", &[]);

    check(library_stays_within, "src/engine/mod.rs", "\nlet home = std::env::var(\"HOME\");", &[(2, "env::var")]);
    check(library_stays_within, "src/text/mod.rs", "std::process::exit(1)", &[(1, "process::exit")]);
    check(library_stays_within, "src/main.rs", "std::process::exit(1)", &[]);
    check(library_stays_within, "src/text/mod.rs", "open_env::variant()", &[]);
}

#[test]
fn unfinished_unsafe_and_ignored_are_found() {
    check(
        nothing_unfinished,
        "src/a.rs",
        "fn a() {\n    todo!()\n}\nfn b() { dbg!(1) }\n",
        &[(2, "todo!"), (4, "dbg!")],
    );
    check(nothing_unfinished, "src/a.rs", "// todo!()\nlet a = \"dbg!(1)\"; let todo = 1;", &[]);
    check(nothing_unfinished, "src/a.rs", "fn a() { unimplemented!(\"later\") }", &[(1, "unimplemented!")]);

    let rule = |source: &Source| unsafe_in_islands(source, &["src/island.rs"]);
    check(
        rule,
        "src/a.rs",
        "fn a() {\n    unsafe { b() }\n}\nunsafe impl Send for A {}",
        &[(2, "unsafe"), (4, "unsafe")],
    );
    check(rule, "src/island.rs", "unsafe { b() }", &[]);
    check(rule, "src/a.rs", "#![deny(unsafe_code)] // unsafe\nlet a = r#\"unsafe \"b\" {}\"#; let b = b'\"';", &[]);
    check(rule, "src/a.rs", "let a = '\"'; unsafe { b() } let c = \"\";", &[(1, "unsafe")]);
    check(rule, "src/a.rs", "fn a<'a>(b: &'a u8) { unsafe {} } // 'x'", &[(1, "unsafe")]);

    let rule = ignored_tests_say_why;
    check(rule, "tests/a.rs", "#[test]\n#[ignore]\nfn a() {}", &[(2, "without a reason")]);
    check(rule, "tests/a.rs", "#[ignore = \"\"]\nfn a() {}", &[(1, "without a reason")]);
    check(rule, "tests/a.rs", "#[ignore = \"needs a GPU\"]\nfn a() {}", &[]);
}

#[test]
fn long_and_silent_files_are_found() {
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2));
    check(functions_are_short, "src/a.rs", &function(70), &[]);
    check(functions_are_short, "src/a.rs", &function(71), &[(1, "71 lines")]);
    let hidden = format!("let brace = '}}'; // }}\n{}", function(71));
    check(functions_are_short, "src/a.rs", &format!("fn outer() {{\n{hidden}}}\n"), &[(1, "74"), (3, "71")]);
    check(functions_are_short, "src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(99)), &[]);
    let arms = "fn a() {\n    match b {\n        #[cfg(test)]\n        B => c(),\n        _ => d(),\n    }\n}\n";
    check(functions_are_short, "src/a.rs", &format!("{arms}{}", function(70)), &[]);
    check(functions_are_short, "src/a.rs", &format!("{arms}{}", function(71)), &[(8, "71")]);
    let declared = format!("trait T {{ fn a(b: [u8; 3]); }}\ntype F = fn(u8);\n{}", "\n".repeat(80));
    check(functions_are_short, "src/a.rs", &declared, &[]);

    check(files_are_short, "src/a.rs", &"\n".repeat(600), &[]);
    check(files_are_short, "src/a.rs", &"\n".repeat(601), &[(1, "601 lines")]);
    check(files_are_short, "src/a/tests.rs", &"\n".repeat(601), &[]);
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(600), "\n".repeat(99));
    check(files_are_short, "src/a.rs", &tested, &[]);

    check(modules_say_what_they_own, "src/a.rs", "//! Reads.\nfn a() {}\n", &[]);
    for silent in ["", "fn a() {}\n", "// Reads.\n", "//! x\n", "\n//! Late.\n"] {
        check(modules_say_what_they_own, "src/a.rs", silent, &[(1, "does not begin with //!")]);
    }

    let names = ["src/a".to_owned(), "src/b".to_owned()];
    let found = document_names("docs/x.md", "| `src/a` |", &names);
    assert_eq!(found.iter().map(Breach::to_string).collect::<Vec<_>>(), ["docs/x.md:1: does not mention src/b"]);
}
