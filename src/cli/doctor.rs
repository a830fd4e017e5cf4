//! `doctor`: what this machine offers to the engine, what stands in the way, and what to do about it.

use super::args::{Backend, CommonArgs, PathArg};
use super::exit::{Exit, Failure};
use super::options::Options;
use super::output::{self, Ui, bytes, count, one_line, path_bytes, shown};
use super::{config_file, json, log, root, system};
use leindex_engine::io::{select, trial};
use leindex_engine::rules::Database;
use leindex_engine::{BackendChoice, Engine, IoStats, OpenError, QueryError, cards};
use std::io::{self, Write};
use std::path::Path;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Something will not work, or not as well as it could.
    Warn,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) subject: &'static str,
    pub(crate) value: String,
    pub(crate) next_step: Option<String>,
}

#[derive(serde::Serialize)]
struct DoctorJson<'a> {
    version: &'static str,
    findings: &'a [Finding],
}

impl Finding {
    /// A fact.
    pub(crate) fn ok(subject: &'static str, value: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, subject, value: value.into(), next_step: None }
    }

    /// A fact with consequences.
    pub(crate) fn note(subject: &'static str, value: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { level: Level::Note, subject, value: value.into(), next_step: Some(next_step.into()) }
    }

    /// An obstacle.
    pub(crate) fn warn(subject: &'static str, value: impl Into<String>, next_step: impl Into<String>) -> Finding {
        Finding { level: Level::Warn, subject, value: value.into(), next_step: Some(next_step.into()) }
    }
}

/// Runs the subcommand. Whatever is found, finding it is a success.
pub(crate) fn run(args: PathArg, common: &CommonArgs) -> Result<Exit, Failure> {
    let path = args.path.unwrap_or_else(|| ".".into());
    let given = Options::from_args(common);
    let (options, config) = match config_file::read(&path) {
        Ok(config) => (given.over(config), None),
        Err(failure) => (given, failure.into_exit().1),
    };
    let ui = Ui::new(&options);
    log::start(&options, &ui)?;
    let mut findings = vec![Finding::ok("version", format!("leindex-engine {}", env!("CARGO_PKG_VERSION")))];
    findings.extend(system::machine());
    findings.extend(backend(&options, &path));
    findings.push(rules());
    findings.push(gpu());
    if let Some(problem) = config {
        findings.push(Finding::warn("config", problem, "correct the file: every other command stops at it"));
    }
    findings.extend(tree(&path, &options));
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &DoctorJson { version: env!("CARGO_PKG_VERSION"), findings: &findings })?;
    } else {
        write(&mut out, &findings, &ui)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// What matches ignore rules.
fn rules() -> Finding {
    match Database::version() {
        Some(version) => {
            Finding::ok("rules", format!("Hyperscan {version} for rules that look at names; portable matcher"))
        }
        None => {
            Finding::ok("rules", "portable matcher (this build has no Hyperscan: feature `hyperscan`, on x86-64 Linux)")
        }
    }
}

/// Which card a model would run on, or what is missing.
fn gpu() -> Finding {
    let cards = cards();
    let lines: Vec<&str> = cards.says.lines().collect();
    if cards.usable {
        return Finding::ok("gpu", lines.join("; "));
    }
    let missing: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("missing: ")).collect();
    let missing = if missing.is_empty() { lines } else { missing };
    Finding::note("gpu", missing.join(" "), "models run on the CPU; the table of words needs no card")
}

/// Which backend, why, and which ways it takes in `path`.
fn backend(options: &Options, path: &Path) -> Vec<Finding> {
    let choice = match options.backend.unwrap_or_default() {
        Backend::Auto => BackendChoice::Auto,
        Backend::Uring => BackendChoice::Uring,
        Backend::Threads => BackendChoice::Threads,
    };
    let selected = match select(choice) {
        Ok(selected) => selected,
        Err(error) => {
            let next_step = "remove the backend key from .leindex.toml";
            return vec![Finding::warn("backend", error.to_string(), next_step)];
        }
    };
    let value = format!("{}: {}", selected.backend.name(), selected.why);
    let backend = match selected.fell_back {
        true => {
            Finding::note("backend", value, "threads are slower on a cold cache and cannot give up a read that hangs")
        }
        false => Finding::ok("backend", value),
    };
    // What is wrong with the path is said where it is looked at.
    let ways = trial(&*selected.backend, path).ok().map(|io| Finding::ok("ways taken", ways(&io)));
    [backend].into_iter().chain(ways).collect()
}

fn ways(io: &IoStats) -> String {
    let way = |all: u64, ring: u64, what: &str| format!("{all} {what} ({ring} by the ring)");
    let mut value = [
        way(io.stats, io.ring_stats, "stats"),
        way(io.opens, io.ring_opens, "opens"),
        way(io.reads, io.ring_reads, "reads"),
    ]
    .join(", ");
    if io.enters > 0 {
        let each = io.entries as f64 / io.enters as f64;
        value += &format!(", {each:.1} operations an enter, {} not done at once", io.punts);
    }
    value
}

/// About the tree and its index.
fn tree(path: &Path, options: &Options) -> Vec<Finding> {
    let tree = match root::find(Some(path.to_path_buf()), options.clone()) {
        Ok(tree) => tree,
        Err(failure) => {
            let why = failure.into_exit().1.unwrap_or_default();
            return vec![Finding::warn("path", why, "name a directory that can be read")];
        }
    };
    let engine = match tree.options.reader(&tree.root) {
        Ok(engine) => engine,
        Err(failure) => {
            let why = failure.into_exit().1.unwrap_or_default();
            return vec![Finding::warn("path", why, "name a directory that can be read")];
        }
    };
    let root = engine.root();
    // The index directory may not be there yet: what counts is where it will be.
    let index_place = engine.index_dir().ancestors().find(|dir| dir.is_dir()).unwrap_or(root);
    let mut findings = vec![Finding::ok("path", shown(&path_bytes(root)))];
    findings.extend(system::place("path disk", root));
    findings.extend(system::place("index disk", index_place));
    findings.extend(system::free_space(index_place));
    findings.push(index(&engine));
    findings
}

fn index(engine: &Engine) -> Finding {
    let status = engine.snapshot().and_then(|snapshot| snapshot.status());
    let place = shown(&path_bytes(engine.index_dir()));
    match status {
        Ok(status) => {
            let (files, size) = (count(status.indexed), bytes(status.index_bytes));
            let value = format!("{place}: generation {}, {files} files, {size}", status.generation);
            if status.complete {
                Finding::ok("index", value)
            } else {
                let next = format!("run `leindex-engine {}` again to complete it", engine.root().display());
                Finding::warn("index", format!("{value}, not the whole tree"), next)
            }
        }
        Err(QueryError::Open(OpenError::NoIndex { .. })) => {
            let next = format!("run `leindex-engine {}` to make one", engine.root().display());
            Finding::note("index", format!("{place}: there is none"), next)
        }
        Err(error) => {
            let next = format!("run `leindex-engine verify --repair {}`", engine.root().display());
            Finding::warn("index", error.to_string(), next)
        }
    }
}

fn write(out: &mut impl Write, findings: &[Finding], ui: &Ui) -> io::Result<()> {
    for finding in findings {
        let (level, color) = match finding.level {
            Level::Ok => ("ok  ", "\x1b[32m"),
            Level::Note => ("note", "\x1b[33m"),
            Level::Warn => ("warn", "\x1b[31m"),
        };
        let (on, off) = if ui.color { (color, "\x1b[0m") } else { ("", "") };
        write!(out, "{on}{level}{off}  {:<11} {}", finding.subject, one_line(&finding.value))?;
        if let Some(next_step) = &finding.next_step {
            write!(out, ": {}", one_line(next_step))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
