//! The shapes of JSON on stdout. Keys and their order are an interface: programs read them.

use super::embed::EmbeddedJson;
use super::output::path_bytes;
use base64::Engine as _;
use leindex_engine::symbols::Symbol;
use leindex_engine::{EmbedReport, Freshness, Hit, IoStats, Outcome, Report, Skip, WatchEvent, WatchState};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::io::{self, Write};
use std::path::Path;

/// A path: a string when it is UTF-8, otherwise `{"bytes":"<base64>"}`.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath(Vec<u8>);

impl From<&Path> for JsonPath {
    fn from(path: &Path) -> Self {
        JsonPath(path_bytes(path).into_owned())
    }
}

impl From<&[u8]> for JsonPath {
    fn from(path: &[u8]) -> Self {
        JsonPath(path.to_vec())
    }
}

impl Serialize for JsonPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("bytes", &base64::engine::general_purpose::STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

/// Writes `value` as one line.
pub(crate) fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Microseconds are as fine as a clock is honest.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// What `index --json` prints.
#[derive(serde::Serialize)]
pub(crate) struct IndexJson {
    outcome: &'static str,
    generation: u64,
    root: JsonPath,
    backend: &'static str,
    shards: usize,
    files: FilesJson,
    bytes_read: u64,
    stat_calls: u64,
    hashes: u64,
    skips: Vec<SkipJson>,
    seconds: SecondsJson,
    /// What was embedded; not there when nothing was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedded: Option<EmbeddedJson>,
    peak_rss_bytes: u64,
    index_bytes: u64,
    compiled_rules: usize,
    io: IoJson,
}

#[derive(serde::Serialize)]
struct FilesJson {
    seen: u64,
    ignored: u64,
    indexed: u64,
    unchanged: u64,
    removed: u64,
    binary: u64,
    too_large: u64,
    skipped: u64,
}

/// Which way was taken how often.
#[derive(serde::Serialize)]
pub(crate) struct IoJson {
    dir_opens: u64,
    lists: u64,
    stats: u64,
    ring_stats: u64,
    opens: u64,
    ring_opens: u64,
    reads: u64,
    ring_reads: u64,
    advises: u64,
    misses: u64,
    retries: u64,
    timeouts: u64,
    entries: u64,
    enters: u64,
    punts: u64,
}

impl From<&IoStats> for IoJson {
    fn from(io: &IoStats) -> Self {
        IoJson {
            dir_opens: io.dir_opens,
            lists: io.lists,
            stats: io.stats,
            ring_stats: io.ring_stats,
            opens: io.opens,
            ring_opens: io.ring_opens,
            reads: io.reads,
            ring_reads: io.ring_reads,
            advises: io.advises,
            misses: io.misses,
            retries: io.retries,
            timeouts: io.timeouts,
            entries: io.entries,
            enters: io.enters,
            punts: io.punts,
        }
    }
}

#[derive(serde::Serialize)]
struct SkipJson {
    path: JsonPath,
    op: &'static str,
    reason: String,
}

impl From<&Skip> for SkipJson {
    fn from(skip: &Skip) -> Self {
        SkipJson { path: skip.path.as_slice().into(), op: skip.op, reason: skip.reason.clone() }
    }
}

#[derive(serde::Serialize)]
struct SecondsJson {
    total: f64,
    scan: f64,
    index: f64,
    commit: f64,
    text_published: f64,
    embed: f64,
}

impl From<&Report> for IndexJson {
    fn from(report: &Report) -> Self {
        let (files, seconds) = (&report.files, &report.seconds);
        IndexJson {
            outcome: if report.outcome == Outcome::Cancelled { "cancelled" } else { "done" },
            generation: report.generation,
            root: report.root.as_path().into(),
            backend: report.backend,
            shards: report.shards,
            files: FilesJson {
                seen: files.seen,
                ignored: files.ignored,
                indexed: files.indexed,
                unchanged: files.unchanged,
                removed: files.removed,
                binary: files.binary,
                too_large: files.too_large,
                skipped: files.skipped,
            },
            bytes_read: files.bytes_read,
            stat_calls: files.stat_calls,
            hashes: files.hashes,
            skips: report.skips.iter().map(SkipJson::from).collect(),
            seconds: SecondsJson {
                total: rounded(seconds.total),
                scan: rounded(seconds.scan),
                index: rounded(seconds.index),
                commit: rounded(seconds.commit),
                text_published: rounded(seconds.text_published),
                embed: 0.0,
            },
            embedded: None,
            peak_rss_bytes: report.peak_rss_bytes,
            index_bytes: report.index_bytes,
            compiled_rules: report.compiled_rules,
            io: (&report.io).into(),
        }
    }
}

impl IndexJson {
    /// The same with what was embedded after that.
    pub(crate) fn embedded(mut self, report: Option<&EmbedReport>) -> IndexJson {
        self.seconds.embed = rounded(report.map_or(0.0, |report| report.seconds));
        self.embedded = report.map(EmbeddedJson::from);
        self
    }
}

/// What `watch --json` prints, a line an event.
#[derive(serde::Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum WatchJson<'a> {
    Updated { report: Box<IndexJson> },
    Rescan { why: &'a str },
    Polling { why: &'a str, seconds: f64 },
    Failed { why: &'a str },
}

impl<'a> WatchJson<'a> {
    pub(crate) fn updated(report: &Report) -> WatchJson<'a> {
        WatchJson::Updated { report: Box::new(report.into()) }
    }

    pub(crate) fn from_event(event: &'a WatchEvent) -> Option<WatchJson<'a>> {
        Some(match event {
            WatchEvent::Updated(report) => WatchJson::updated(report),
            WatchEvent::Rescan(why) => WatchJson::Rescan { why },
            WatchEvent::Polling(why, every) => WatchJson::Polling { why, seconds: every.as_secs_f64() },
            WatchEvent::Failed(why) => WatchJson::Failed { why },
            _ => return None,
        })
    }
}

/// How fresh an index is.
#[derive(serde::Serialize)]
pub(crate) struct FreshJson {
    state: WatchState,
    as_of_ms: Option<i64>,
}

impl From<Freshness> for FreshJson {
    fn from(fresh: Freshness) -> Self {
        FreshJson { state: fresh.state, as_of_ms: fresh.as_of_ns.map(|ns| ns / 1_000_000) }
    }
}

#[derive(serde::Serialize)]
struct HitJson<'a> {
    path: JsonPath,
    line: u64,
    column: u64,
    score: f32,
    text: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<DefinitionJson<'a>>,
}

/// What is defined at a hit, or in a file.
#[derive(serde::Serialize)]
pub(crate) struct DefinitionJson<'a> {
    name: &'a str,
    kind: &'static str,
    line: u32,
    end_line: u32,
    container: Option<&'a str>,
}

impl<'a> From<&'a Symbol> for DefinitionJson<'a> {
    fn from(symbol: &'a Symbol) -> Self {
        DefinitionJson {
            name: &symbol.name,
            kind: symbol.kind.name(),
            line: symbol.line,
            end_line: symbol.end_line,
            container: symbol.container.as_deref(),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

#[derive(serde::Serialize)]
struct FileJson {
    path: JsonPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
}

#[derive(serde::Serialize)]
struct SearchSummaryJson {
    summary: SearchSummary,
}

#[derive(serde::Serialize)]
struct SearchSummary {
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
    generation: u64,
    fresh: FreshJson,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suggestions: Vec<String>,
}

/// What a search has found.
#[derive(serde::Serialize)]
pub(crate) struct Counts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hits: Option<usize>,
    pub(crate) files: usize,
    /// Matching lines, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<u64>,
    /// Files with more hits than were to be shown, where there was a bound.
    #[serde(rename = "capped_files", skip_serializing_if = "Option::is_none")]
    pub(crate) capped: Option<usize>,
    /// Whether the limit cut the answer.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) truncated: bool,
    /// Files that could not be read any more.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unreadable: usize,
    /// Files whose symbols are not known yet.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) symbols_pending: usize,
    /// Files that are not embedded yet, for searches by meaning.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) not_embedded: usize,
}

/// One hit of `search --json`, a line.
pub(crate) fn hit(out: &mut impl Write, path: &Path, hit: &Hit, context: bool) -> io::Result<()> {
    let Hit { line: number, column, score, text, cut, before, after, symbol, .. } = hit;
    let around = |lines| context.then_some(lines);
    let (before, after) = (around(&before[..]), around(&after[..]));
    let path = path.into();
    let symbol = symbol.as_ref().map(DefinitionJson::from);
    line(out, &HitJson { path, line: *number, column: *column, score: *score, text, cut: *cut, before, after, symbol })
}

/// One file of `search --json` with `-l` or `-c`, a line.
pub(crate) fn file(out: &mut impl Write, path: &Path, lines: Option<u64>) -> io::Result<()> {
    line(out, &FileJson { path: path.into(), lines })
}

/// The last line of `search --json`.
pub(crate) fn search_summary(
    out: &mut impl Write,
    counts: Counts,
    generation: u64,
    fresh: Freshness,
    seconds: f64,
    suggestions: Vec<String>,
) -> io::Result<()> {
    let summary = SearchSummary { counts, seconds: rounded(seconds), generation, fresh: fresh.into(), suggestions };
    line(out, &SearchSummaryJson { summary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_not_utf8_are_base64() {
        let json = |bytes: &[u8]| serde_json::to_string(&JsonPath::from(bytes)).unwrap();
        assert_eq!(json(b"a/\"b\n"), r#""a/\"b\n""#);
        assert_eq!(json(b"a\xff"), r#"{"bytes":"Yf8="}"#);
    }
}
