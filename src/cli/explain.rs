//! `explain`: why a file is or is not in the index, on one screen.

use super::args::{CommonArgs, ExplainArgs};
use super::exit::{Exit, Failure};
use super::json::{self, JsonPath};
use super::options::Options;
use super::output::{self, Ui, bytes, one_line, path_bytes, shown};
use super::{log, root};
use leindex_engine::record::Flags;
use leindex_engine::{Engine, Explanation, OpenError, QueryError, Rule};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

#[derive(serde::Serialize)]
struct Explained {
    path: JsonPath,
    /// A run accepts it.
    accepted: bool,
    /// Why, or why not.
    reason: String,
    /// The rule that decides about the path, whether or not it is the reason.
    rule: Option<String>,
    tracked: bool,
    kind: &'static str,
    size: Option<u64>,
    indexed: bool,
    index: String,
    next: Option<String>,
}

/// Runs the subcommand.
pub(crate) fn run(args: ExplainArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let path = absolute(&args.path)?;
    let dir = path.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(&path).to_path_buf();
    let options = Options::from_args(common).with_rules(&args.rules);
    let mut tree = root::find(Some(dir), options.clone())?;
    let mut engine = tree.options.engine(&tree.root)?;
    // Without an index it is about what a run here would do.
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    if let Some(here) = here.filter(|here| path.starts_with(here) && no_index(&engine)) {
        tree = root::at(Some(here), options)?;
        engine = tree.options.engine(&tree.root)?;
    }
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let relative = path.strip_prefix(engine.root()).map_err(|_| {
        let root = engine.root().display();
        Failure::Usage(format!("{}: not below the tree {root}: give a path inside of it", args.path.display()))
    })?;
    let explained = explain(&engine, relative)?;
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &explained)?;
    } else {
        write(&mut out, &path_bytes(relative), &explained)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn no_index(engine: &Engine) -> bool {
    matches!(engine.snapshot(), Err(QueryError::Open(OpenError::NoIndex { .. })))
}

/// The path from the root of the system, with its directory as the system knows it; the last component may be a link.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::Fatal(format!("{}: {error}", path.display()));
    let mut clean = PathBuf::new();
    for component in std::path::absolute(path).map_err(failed)?.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    match (clean.parent().and_then(|dir| dir.canonicalize().ok()), clean.file_name()) {
        (Some(dir), Some(name)) => Ok(dir.join(name)),
        _ => Ok(clean),
    }
}

fn explain(engine: &Engine, relative: &Path) -> Result<Explained, Failure> {
    let found = engine.explain(relative)?;
    let index = index(&found);
    let text = |rule: &Rule| format!("{}:{}:{}", shown(&rule.source), rule.line, shown(&rule.pattern));
    Ok(Explained {
        path: path_bytes(relative).as_ref().into(),
        accepted: found.accepted,
        reason: one_line(&found.reason).into_owned(),
        rule: found.rule.as_ref().map(text),
        tracked: found.tracked,
        kind: found.kind,
        size: found.size,
        indexed: found.known.is_some(),
        index,
        next: found.next,
    })
}

/// A sentence about what the published generation has of the path.
fn index(found: &Explanation) -> String {
    let Some(generation) = found.generation else { return "there is none yet".into() };
    let about = match &found.known {
        Some(meta) if meta.flags.has(Flags::BINARY) => "knows it as binary: only its name is there",
        Some(meta) if meta.flags.has(Flags::TOO_LARGE) => "knows it as too large: only its name is there",
        Some(_) => "has it",
        None if found.kind == "directory" => "holds files, not directories",
        None => "does not have it",
    };
    format!("generation {generation} {about}")
}

fn write(out: &mut impl Write, path: &[u8], explained: &Explained) -> io::Result<()> {
    let Explained { accepted, reason, rule, tracked, kind, size, index, next, .. } = explained;
    let path = if path.is_empty() { ".".into() } else { shown(path) };
    writeln!(out, "{path}: {}: {reason}", if *accepted { "accepted" } else { "left out" })?;
    writeln!(out, "  rule     {}", rule.as_deref().unwrap_or("none matches"))?;
    writeln!(out, "  tracked  {}", if *tracked { "by git" } else { "no" })?;
    let size = size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
    writeln!(out, "  kind     {kind}{size}")?;
    writeln!(out, "  index    {index}")?;
    match next {
        Some(next) => writeln!(out, "  next     {next}"),
        None => Ok(()),
    }
}
