//! What `Engine::outline` says of a file is what universal-ctags says of it: of the functions, types and macros that ctags
//! reports, the share with the same name on the same line, or on one beside it.
//!
//! By default the Rust sources of this repository are compared, where ctags is installed. `LEINDEX_CTAGS_TREE=DIR` compares
//! a real tree as well, a language at a time. What only ctags takes for a definition counts as missing, so no share is 1:
//! what lies in the body of a function is left out, as outlines do not look there.
#![cfg(feature = "symbols")]
// What was compared belongs to the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::Engine;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

/// The languages that are compared, as ctags calls them and by its letters for their functions, types and macros.
const KINDS: [(&str, &str); 8] = [
    ("C", "dfgsu"),
    ("C++", "cdfgsu"),
    ("Go", "fis"),
    ("Java", "cgim"),
    ("JavaScript", "cfgm"),
    ("Python", "cfm"),
    ("Rust", "MPfgis"),
    ("TypeScript", "cfgim"),
];
/// Languages of a tree with fewer definitions are shown only: a single odd file would decide.
const COUNTED_MIN: usize = 100;
const MISSES_SHOWN: usize = 20;

/// What ctags reports.
struct Tag {
    path: String,
    name: String,
    line: u32,
    language: String,
}

impl Tag {
    /// `name<tab>path<tab>line;"<tab>language:L`, and `scope:kind:name` of what belongs to something.
    fn parse(line: &str) -> Option<Tag> {
        let mut fields = line.split('\t');
        let (name, path, place) = (fields.next()?, fields.next()?, fields.next()?);
        let line = place.strip_suffix(";\"")?.parse().ok()?;
        let mut language = None;
        for field in fields {
            language = language.or(field.strip_prefix("language:"));
            let scope = field.strip_prefix("scope:").and_then(|scope| scope.split(':').next());
            if scope.is_some_and(|kind| ["func", "function", "generator", "member", "method"].contains(&kind)) {
                return None;
            }
        }
        // ctags makes names up for what has none.
        if name.starts_with("__anon") || name.to_ascii_lowercase().starts_with("anonymous") {
            return None;
        }
        let path = path.strip_prefix("./").unwrap_or(path).to_owned();
        Some(Tag { path, name: name.to_owned(), line, language: language?.to_owned() })
    }
}

/// How many definitions of a language were looked for, and which were not found.
#[derive(Default)]
struct Share {
    all: usize,
    missing: Vec<String>,
}

impl Share {
    fn found(&self) -> f64 {
        1.0 - self.missing.len() as f64 / self.all.max(1) as f64
    }
}

fn is_installed() -> bool {
    let version = Command::new("ctags").arg("--version").output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("Universal Ctags"))
}

/// What ctags finds in these parts of `root`. Headers are C, as they are to outlines unless they look like C++.
fn tags(root: &Path, parts: &[&str]) -> Vec<Tag> {
    let mut command = Command::new("ctags");
    command.args(["--options=NONE", "-R", "--links=no", "--sort=no", "--excmd=number", "--fields=lKZs", "-f", "-"]);
    command.args(["--exclude=target", "--exclude=corpora", "--map-C++=-.h", "--map-C=+.h"]);
    let languages: Vec<&str> = KINDS.iter().map(|(language, _)| *language).collect();
    command.arg(format!("--languages={}", languages.join(",")));
    command.args(KINDS.iter().map(|(language, kinds)| format!("--kinds-{language}={kinds}")));
    let output = command.args(parts).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().filter_map(Tag::parse).collect()
}

/// Looks for what ctags finds in the outlines of its files, and shows the shares that are there.
fn compare(root: &Path, parts: &[&str]) -> BTreeMap<String, Share> {
    let index = support::scratch();
    let engine = Engine::builder().index_dir(index.path().join("index")).open(root).unwrap();
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for of_file in tags(root, parts).chunk_by(|a, b| a.path == b.path) {
        let mut lines: HashMap<String, Vec<u32>> = HashMap::new();
        // A file that has no outline defines nothing.
        for symbol in engine.outline(&of_file[0].path).map_or_else(|_| Vec::new(), |outline| outline.symbols) {
            lines.entry(symbol.name).or_default().push(symbol.line);
        }
        for tag in of_file {
            let share = shares.entry(tag.language.clone()).or_default();
            share.all += 1;
            let known = lines.get(&tag.name);
            if !known.is_some_and(|lines| lines.iter().any(|line| line.abs_diff(tag.line) <= 1)) {
                share.missing.push(format!("{}:{}: {}", tag.path, tag.line, tag.name));
            }
        }
    }
    for (language, share) in &shares {
        println!("{language}: {:.4} of {}", share.found(), share.all);
        for missing in share.missing.iter().take(MISSES_SHOWN) {
            println!("    {missing}");
        }
    }
    shares
}

#[test]
fn outlines_of_this_repository_hold_what_ctags_reports() {
    if !is_installed() {
        return println!("SKIPPED: universal-ctags is not installed");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shares = compare(root, &["src", "fallback", "tests", "benches", "examples"]);
    let rust = &shares["Rust"];
    assert!(rust.all > 2000, "{}", rust.all);
    assert!(rust.found() >= 0.97, "{:.4}: {:#?}", rust.found(), rust.missing);
}

#[test]
fn outlines_of_a_real_tree_hold_what_ctags_reports() {
    let Some(tree) = std::env::var_os("LEINDEX_CTAGS_TREE") else {
        return println!("SKIPPED: LEINDEX_CTAGS_TREE names no tree to compare on");
    };
    if !is_installed() {
        return println!("SKIPPED: universal-ctags is not installed");
    }
    let shares = compare(Path::new(&tree), &["."]);
    assert!(!shares.is_empty(), "ctags finds nothing in {}", tree.display());
    for (language, share) in shares.iter().filter(|(_, share)| share.all >= COUNTED_MIN) {
        assert!(share.found() >= 0.9, "{language}: {:.4} of {}", share.found(), share.all);
    }
}
