//! This program again, as a child process: it does one thing, and answers with one line of JSON.
//!
//! A run in a process of its own has a peak memory of its own, and starts from nothing as a user's run does.

use crate::walk::Walk;
use crate::{Bench, Failure, machine};
use leindex_engine::{Engine, Mode, Query, RulesConfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The first argument of a child.
const CHILD: &str = "__child";
/// How often a child's peak memory is looked at.
const RSS_EVERY: Duration = Duration::from_millis(10);

/// What came of a child.
pub(crate) struct Ended {
    /// From before it was started until it had ended.
    pub(crate) wall: f64,
    /// Its peak resident memory as seen from outside, looked at every 10 ms; 0 where the system does not tell.
    pub(crate) rss_bytes: u64,
    pub(crate) output: String,
}

/// Runs a command to its end, whatever its exit status says.
pub(crate) fn output(command: &mut Command) -> Result<std::process::Output, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}").into())
}

/// The command `leindex-engine`, which has to know this subcommand; `None`, and said, where there is none.
pub(crate) fn command(bench: &mut Bench, name: &str, subcommand: &str) -> Result<Option<PathBuf>, Failure> {
    let program = match &bench.options.engine {
        Some(program) => program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?,
        None => std::env::current_exe()?.with_file_name("leindex-engine"),
    };
    // One that lies there from an earlier build may not know it.
    let knows =
        Command::new(&program).args([subcommand, "--help"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !knows.is_ok_and(|status| status.success()) {
        let why = "no command leindex-engine beside this program that knows it: build it too, or give --engine";
        bench.report.skipped(name, why);
        return Ok(None);
    }
    let version = output(Command::new(&program).arg("--version"))?;
    bench.report.say(format!("With: {}\n", String::from_utf8_lossy(&version.stdout).trim()));
    Ok(Some(program))
}

/// Runs a command to its end; with its peak memory when `watched`.
pub(crate) fn run(command: &mut Command, watched: bool) -> Result<Ended, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| format!("{name}: {error}"))?;
    let status_file = format!("/proc/{}/status", child.id());
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let (output, wall) = std::thread::scope(|scope| {
        if watched {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    peak.fetch_max(peak_rss_bytes(&status_file), Relaxed);
                    std::thread::sleep(RSS_EVERY);
                }
            });
        }
        let output = child.wait_with_output();
        let wall = started.elapsed().as_secs_f64();
        ended.store(true, Relaxed);
        (output, wall)
    });
    let output = output?;
    if !output.status.success() {
        return Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Ended { wall, rss_bytes: peak.into_inner(), output: text })
}

/// The `VmHWM` of a status file in bytes; 0 when there is none.
pub(crate) fn peak_rss_bytes(status_file: &str) -> u64 {
    memory_bytes(status_file, "VmHWM:")
}

/// A field of a status file that counts memory, in bytes; 0 when there is none.
pub(crate) fn memory_bytes(status_file: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(status_file).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// An answer and the wall time of the process that gave it.
pub(crate) struct Answer {
    pub(crate) wall: f64,
    json: Value,
}

impl Answer {
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or(u64::MAX)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.json[name].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.json["seconds"].as_f64().unwrap_or(f64::NAN)
    }
}

/// Asks a child.
fn ask(arguments: &[&str]) -> Result<Answer, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let ended = run(command.arg(CHILD).args(arguments), false)?;
    Ok(Answer { wall: ended.wall, json: serde_json::from_str(&ended.output)? })
}

/// Which rule files count.
#[derive(Clone, Copy)]
pub(crate) enum Rules {
    /// As ever: git's within repositories.
    Default,
    /// All of them.
    Everywhere,
    None,
}

/// A run of the engine over `tree`.
pub(crate) fn index(tree: &Path, index_dir: &Path) -> Result<Answer, Failure> {
    index_with(tree, index_dir, Rules::Default)
}

/// A run of the engine over `tree` with other rules.
pub(crate) fn index_with(tree: &Path, index_dir: &Path, rules: Rules) -> Result<Answer, Failure> {
    let rules = match rules {
        Rules::Default => "default",
        Rules::Everywhere => "everywhere",
        Rules::None => "none",
    };
    ask(&["index", text(tree)?, text(index_dir)?, rules])
}

/// An extraction of symbols.
pub(crate) fn symbols(tree: &Path, index_dir: &Path) -> Result<Answer, Failure> {
    ask(&["symbols", text(tree)?, text(index_dir)?])
}

/// An embedding.
pub(crate) fn embed(tree: &Path, index_dir: &Path) -> Result<Answer, Failure> {
    ask(&["embed", text(tree)?, text(index_dir)?])
}

/// A bare walk.
pub(crate) fn walk(tree: &Path, walk: Walk) -> Result<Answer, Failure> {
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    ask(&["walk", text(tree)?, &walk.threads.to_string(), yes(walk.pinned), yes(walk.fetch)])
}

/// One query.
pub(crate) fn search(tree: &Path, index_dir: &Path, mode: Mode, pattern: &str) -> Result<Answer, Failure> {
    ask(&["search", text(tree)?, text(index_dir)?, mode_name(mode), pattern])
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{}: the path is not UTF-8", path.display()).into())
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Substring => "substring",
        Mode::Regex => "regex",
        _ => "text",
    }
}

/// The child's side: `None` when this process is none.
pub(crate) fn answer(arguments: &[String]) -> Option<Result<Value, Failure>> {
    let [first, arguments @ ..] = arguments else { return None };
    if first != CHILD {
        return None;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(match arguments[..] {
        ["index", tree, index_dir, rules] => do_index(Path::new(tree), Path::new(index_dir), rules),
        ["symbols", tree, index_dir] => do_symbols(Path::new(tree), Path::new(index_dir)),
        ["embed", tree, index_dir] => do_embed(Path::new(tree), Path::new(index_dir)),
        ["walk", tree, threads, pinned, fetch] => threads.parse().map_err(Failure::from).and_then(|threads| {
            let walk = Walk { threads, pinned: pinned == "yes", fetch: fetch == "yes" };
            walk.run(Path::new(tree))
        }),
        ["search", tree, index_dir, mode, pattern] => do_search(Path::new(tree), Path::new(index_dir), mode, pattern),
        _ => Err("no such child".into()),
    })
}

fn do_index(tree: &Path, index_dir: &Path, rules: &str) -> Result<Value, Failure> {
    leindex_fallback::raise_open_file_limit()?;
    let started = Instant::now();
    let rules =
        RulesConfig { rule_files: rules != "none", require_git: rules != "everywhere", ..RulesConfig::default() };
    let engine = Engine::builder().index_dir(index_dir).rules(rules).open(tree)?;
    let report = engine.index().wait()?;
    let seconds = started.elapsed().as_secs_f64();
    let peak_rss = peak_rss_bytes("/proc/self/status");
    drop(engine);
    let (index_bytes, index_blocks) = machine::bytes_on_disk(index_dir)?;
    let files = report.files;
    for skip in report.skips.iter().filter(|skip| skip.failure) {
        eprintln!("{skip}");
    }
    Ok(json!({
        "seconds": seconds, "peak_rss": peak_rss, "index_bytes": index_bytes, "index_blocks": index_blocks,
        "dirs": files.dirs, "seen": files.seen, "ignored": files.ignored, "indexed": files.indexed,
        "unchanged": files.unchanged, "removed": files.removed, "binary": files.binary,
        "too_large": files.too_large, "skipped": files.skipped, "failed": files.failed,
        "bytes_read": files.bytes_read, "stat_calls": files.stat_calls, "reads": files.reads,
        "hashes": files.hashes, "misses": files.misses, "generation": report.generation,
        "publications": report.publications, "shards": report.shards as u64,
        "compiled_rules": report.compiled_rules as u64,
    }))
}

fn do_symbols(tree: &Path, index_dir: &Path) -> Result<Value, Failure> {
    let engine = Engine::builder().index_dir(index_dir).open(tree)?;
    let report = engine.symbols().wait()?;
    Ok(json!({
        "seconds": report.seconds, "cpu_ms": machine::cpu_ms(), "peak_rss": peak_rss_bytes("/proc/self/status"),
        "pending": report.pending, "files": report.files, "bytes": report.bytes, "symbols": report.symbols,
        "cut": format!("{}, {}, {}", report.cut_time, report.cut_size, report.cut_count),
        "left": format!("{}, {}", report.changed, report.unreadable),
    }))
}

fn do_embed(tree: &Path, index_dir: &Path) -> Result<Value, Failure> {
    let engine = Engine::builder().index_dir(index_dir).open(tree)?;
    let report = engine.embed().wait()?;
    Ok(json!({
        "seconds": report.seconds, "cpu_ms": machine::cpu_ms(), "peak_rss": peak_rss_bytes("/proc/self/status"),
        "pending": report.pending, "files": report.files, "chunks": report.chunks, "reused": report.reused,
    }))
}

fn do_search(tree: &Path, index_dir: &Path, mode: &str, pattern: &str) -> Result<Value, Failure> {
    let started = Instant::now();
    let query = match mode {
        "substring" => Query::substring(pattern),
        "regex" => Query::regex(pattern),
        _ => Query::text(pattern),
    };
    let snapshot = Engine::builder().index_dir(index_dir).open(tree)?.snapshot()?;
    let found = snapshot.search(&query.limit(20))?;
    Ok(json!({ "seconds": started.elapsed().as_secs_f64(), "hits": found.hits.len() }))
}
