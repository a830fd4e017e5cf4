//! `explain`: why a file is or is not in the index, on one screen.

use super::args::{CommonArgs, ExplainArgs};
use super::exit::{Exit, Failure};
use super::json::{self, JsonPath};
use super::options::Options;
use super::output::{self, Ui, bytes, path_bytes, shown};
use super::{log, root};
use leindex_engine::record::{FileMeta, Flags};
use leindex_engine::{Engine, OpenError, QueryError, Rule, is_private_data};
use std::fs::Metadata;
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
    log::start(&tree.options, &ui);
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
    let path = path_bytes(relative);
    let meta = engine.root().join(relative).symlink_metadata();
    let is_dir = meta.as_ref().is_ok_and(Metadata::is_dir);
    let mut verdicts = engine.verdicts()?;
    let rule = verdicts.rule(&path, is_dir);
    let tracked = !path.is_empty() && verdicts.is_tracked(&path);
    let (known, index) = index(engine, relative, is_dir)?;
    let (accepted, reason, next) = judge(engine, relative, meta.as_ref(), rule.as_ref(), tracked, known.as_ref());
    let text = |rule: &Rule| format!("{}:{}:{}", shown(&rule.source), rule.line, shown(&rule.pattern));
    Ok(Explained {
        path: path.as_ref().into(),
        accepted,
        reason,
        rule: rule.as_ref().map(text),
        tracked,
        kind: kind(meta.as_ref()),
        size: meta.as_ref().ok().filter(|meta| meta.is_file()).map(Metadata::len),
        indexed: known.is_some(),
        index,
        next,
    })
}

/// What the published generation has of the path, and a sentence about it.
fn index(engine: &Engine, relative: &Path, is_dir: bool) -> Result<(Option<FileMeta>, String), Failure> {
    let snapshot = match engine.snapshot() {
        Ok(snapshot) => snapshot,
        Err(QueryError::Open(OpenError::NoIndex { .. })) => return Ok((None, "there is none yet".into())),
        Err(error) => return Err(error.into()),
    };
    let generation = snapshot.generation();
    let found = snapshot.lookup(relative)?;
    let about = match &found {
        Some(meta) if meta.flags.has(Flags::BINARY) => "knows it as binary: only its name is there",
        Some(meta) if meta.flags.has(Flags::TOO_LARGE) => "knows it as too large: only its name is there",
        Some(_) => "has it",
        None if is_dir => "holds files, not directories",
        None => "does not have it",
    };
    Ok((found, format!("generation {generation} {about}")))
}

/// Whether a run would accept the path, why or why not, and what to do about it.
fn judge(
    engine: &Engine,
    relative: &Path,
    meta: Result<&Metadata, &io::Error>,
    rule: Option<&Rule>,
    tracked: bool,
    known: Option<&FileMeta>,
) -> (bool, String, Option<String>) {
    let no = |reason: String, next: Option<&str>| (false, reason, next.map(str::to_owned));
    let config = engine.config();
    let names: Vec<_> =
        relative.components().map(|component| component.as_os_str().as_encoded_bytes().to_vec()).collect();
    if names.iter().any(|name| is_private_data(name)) {
        return no("it belongs to a version control system or an index".into(), Some("`--exclude '!NAME'` lifts that"));
    }
    if !config.rules.hidden && names.iter().any(|name| name.first() == Some(&b'.')) {
        return no("a name begins with a dot, and hidden files are left out".into(), Some("leave out --no-hidden"));
    }
    if let Some(rule) = rule.filter(|rule| rule.ignored && !(rule.is_gits && tracked)) {
        let reason = format!("ignored by {}:{}", shown(&rule.source), rule.line);
        return no(
            reason,
            Some("take that rule out, or lift it by a later one with `!`, for example in .leindexignore"),
        );
    }
    let meta = match meta {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return no("it is not there".into(), None),
        Err(error) => return no(format!("it cannot be looked at: {error}"), None),
    };
    if meta.is_dir() {
        return (true, "a directory that is walked".into(), None);
    }
    if !meta.is_file() {
        return no(format!("{}: only regular files are indexed", kind(Ok(meta))), None);
    }
    if meta.len() > config.file_bytes_max {
        let reason =
            format!("{} are more than the {} of --max-file-size", bytes(meta.len()), bytes(config.file_bytes_max));
        return no(reason, Some("raise --max-file-size"));
    }
    if let Err(error) = std::fs::File::open(engine.root().join(relative)) {
        return no(format!("it cannot be read: {error}"), Some("change its permissions"));
    }
    let reason = match (rule, tracked) {
        (Some(rule), true) if rule.ignored => "git tracks it, so its rules do not count",
        (Some(_), _) => "a rule says that it is not ignored",
        (None, _) => "no rule ignores it",
    };
    let next = known.is_none().then(|| "run `leindex-engine` to have it indexed".to_owned());
    (true, reason.into(), next)
}

fn kind(meta: Result<&Metadata, &io::Error>) -> &'static str {
    match meta.map(Metadata::file_type) {
        Err(_) => "missing",
        Ok(kind) if kind.is_file() => "file",
        Ok(kind) if kind.is_dir() => "directory",
        Ok(kind) if kind.is_symlink() => "symbolic link",
        Ok(_) => "special file",
    }
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
