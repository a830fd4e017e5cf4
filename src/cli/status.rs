//! `status`: what the published generation holds.

use super::args::{CommonArgs, PathArg};
use super::exit::{Exit, Failure};
use super::json::{self, FreshJson, JsonPath};
use super::options::Options;
use super::output::{self, Ui, bytes, count, path_bytes, shown, things};
use super::{log, root};
use leindex_engine::{Engine, Freshness, Status, WatchState};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Languages shown to people.
const LANGUAGES: usize = 10;

#[derive(serde::Serialize)]
struct StatusJson<'a> {
    root: JsonPath,
    index_dir: JsonPath,
    generation: u64,
    published_ns: i64,
    age_seconds: f64,
    complete: bool,
    files: FilesJson,
    dirs: u64,
    content_bytes: u64,
    index_bytes: u64,
    segments: usize,
    languages: &'a BTreeMap<&'static str, u64>,
    symbols: SymbolsJson,
    vectors: VectorsJson,
    fresh: FreshJson,
}

#[derive(serde::Serialize)]
struct VectorsJson {
    files: u64,
    chunks: u64,
    pending: u64,
}

#[derive(serde::Serialize)]
struct FilesJson {
    indexed: u64,
    binary: u64,
    too_large: u64,
}

#[derive(serde::Serialize)]
struct SymbolsJson {
    files: u64,
    pending: u64,
}

/// Runs the subcommand.
pub(crate) fn run(args: PathArg, common: &CommonArgs) -> Result<Exit, Failure> {
    let tree = root::find(args.path, Options::from_args(common))?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.reader(&tree.root)?;
    let snapshot = engine.snapshot()?;
    let (status, fresh) = (snapshot.status()?, snapshot.freshness());
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &as_json(&engine, &status, fresh))?;
    } else {
        write(&mut out, &engine, &status, fresh)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn as_json<'a>(engine: &Engine, status: &'a Status, fresh: Freshness) -> StatusJson<'a> {
    StatusJson {
        root: engine.root().into(),
        index_dir: engine.index_dir().into(),
        generation: status.generation,
        published_ns: status.published_ns,
        age_seconds: age(status.published_ns).as_secs_f64(),
        complete: status.complete,
        files: FilesJson { indexed: status.indexed, binary: status.binary, too_large: status.too_large },
        dirs: status.dirs,
        content_bytes: status.content_bytes,
        index_bytes: status.index_bytes,
        segments: status.segments,
        languages: &status.languages,
        symbols: SymbolsJson { files: status.symbol_files, pending: status.symbols_pending },
        vectors: VectorsJson {
            files: status.embedded_files,
            chunks: status.embedded_chunks,
            pending: status.embed_pending,
        },
        fresh: fresh.into(),
    }
}

/// Writes the status for people.
fn write(out: &mut impl Write, engine: &Engine, status: &Status, fresh: Freshness) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<11} {value}");
    line("root", &shown(&path_bytes(engine.root())))?;
    let index = things(status.segments as u64, "segment", "segments");
    let place = shown(&path_bytes(engine.index_dir()));
    line("index", &format!("{place} ({}, {index})", bytes(status.index_bytes)))?;
    let complete = if status.complete { "" } else { "; not the whole tree: its first run was stopped, run it again" };
    line("generation", &format!("{}, published {} ago{complete}", status.generation, ago(age(status.published_ns))))?;
    line("freshness", &freshness(fresh))?;
    let (binary, large) = (count(status.binary), count(status.too_large));
    let files = things(status.indexed, "file", "files");
    let dirs = things(status.dirs, "directory", "directories");
    let searchable = format!("{files} with {} in {dirs}", bytes(status.content_bytes));
    line("searchable", &format!("{searchable}; besides, {binary} binary and {large} too large"))?;
    line("languages", &languages(status))?;
    line("symbols", &symbols(engine, status))?;
    line("vectors", &vectors(engine, status))
}

fn languages(status: &Status) -> String {
    let mut languages: Vec<_> = status.languages.iter().collect();
    languages.sort_by_key(|(name, files)| (std::cmp::Reverse(**files), **name));
    let shown = languages.iter().take(LANGUAGES).map(|(name, files)| format!("{name} {}", count(**files)));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if languages.len() > LANGUAGES {
        text += &format!(" and {} more", languages.len() - LANGUAGES);
    }
    if text.is_empty() { "none".into() } else { text }
}

fn symbols(engine: &Engine, status: &Status) -> String {
    let known = things(status.symbol_files, "file", "files");
    match status.symbols_pending {
        0 => format!("of {known}"),
        pending => {
            let root = engine.root().display();
            format!("of {known}; {} without: `leindex-engine symbols {root}` extracts them", count(pending))
        }
    }
}

fn vectors(engine: &Engine, status: &Status) -> String {
    let (chunks, files) =
        (things(status.embedded_chunks, "chunk", "chunks"), things(status.embedded_files, "file", "files"));
    match status.embed_pending {
        0 => format!("of {chunks} in {files}"),
        pending => {
            let root = engine.root().display();
            format!("of {chunks} in {files}; {} without: `leindex-engine embed {root}` embeds them", count(pending))
        }
    }
}

fn freshness(fresh: Freshness) -> String {
    let as_of = match fresh.as_of_ns {
        Some(ns) => format!("as of {} ago", ago(age(ns))),
        None => "not known".into(),
    };
    match fresh.state {
        WatchState::Current => format!("watched; every change that was seen is in the index, {as_of}"),
        WatchState::Behind => format!("watched; changes were seen that are being indexed, {as_of}"),
        WatchState::Polled => format!("gone over every few seconds, {as_of}"),
        _ => format!("{as_of}; run leindex-engine to take up what has changed since, or keep it fresh with watch"),
    }
}

/// Since a time in nanoseconds since the epoch.
fn age(ns: i64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    SystemTime::now().duration_since(then).unwrap_or_default()
}

/// A time span in its largest unit.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => things(seconds, "second", "seconds"),
        120..7200 => things(seconds / 60, "minute", "minutes"),
        7200..172_800 => things(seconds / 3600, "hour", "hours"),
        _ => things(seconds / 86_400, "day", "days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, text) in [(1, "1 second"), (119, "119 seconds"), (7199, "119 minutes"), (172_800, "2 days")] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
