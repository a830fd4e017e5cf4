//! `symbols`, and `--symbols` of other subcommands: extracts the symbols of an index.

use super::args::{CommonArgs, PathArg};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupts;
use super::json;
use super::options::Options;
use super::output::{self, Ui, bytes, count, seconds, things};
use super::{log, progress, root};
use leindex_engine::{Engine, OpenError, RunError, SymbolReport};
use std::io::Write;

#[derive(serde::Serialize)]
struct SymbolsJson {
    #[serde(rename = "type")]
    kind: &'static str,
    outcome: &'static str,
    pending: u64,
    files: u64,
    bytes: u64,
    symbols: u64,
    cut: CutJson,
    changed: u64,
    unreadable: u64,
    seconds: f64,
}

/// Files with symbols that are not known.
#[derive(serde::Serialize)]
struct CutJson {
    time: u64,
    size: u64,
    count: u64,
}

/// Runs the subcommand.
pub(crate) fn run(args: PathArg, common: &CommonArgs) -> Result<Exit, Failure> {
    let tree = root::at(args.path, Options::from_args(common))?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.engine(&tree.root)?;
    extract(&engine, &ui, &Interrupts::catch())
}

/// Extracts the symbols that are missing, with progress on stderr, until it is done or a signal stops it.
pub(crate) fn extract(engine: &Engine, ui: &Ui, interrupts: &Interrupts) -> Result<Exit, Failure> {
    let run = engine.symbols();
    let canceller = run.canceller();
    interrupts.stop(move || canceller.cancel());
    let report = match progress::watch_stage(run, ui, "extracting symbols", "symbols of") {
        // It has waited for another run, and was told to stop.
        Err(RunError::Open(OpenError::Busy { .. })) if interrupts.has_come() => return Ok(Exit::Interrupted),
        report => report?,
    };
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &SymbolsJson::from(&report))?;
    } else {
        writeln!(out, "{}", summary(&report))?;
    }
    out.flush()?;
    if report.cancelled {
        output::note("interrupted: `leindex-engine symbols` goes on");
        return Ok(Exit::Interrupted);
    }
    Ok(Exit::Done)
}

impl From<&SymbolReport> for SymbolsJson {
    fn from(report: &SymbolReport) -> SymbolsJson {
        SymbolsJson {
            kind: "symbols",
            outcome: if report.cancelled { "cancelled" } else { "done" },
            pending: report.pending,
            files: report.files,
            bytes: report.bytes,
            symbols: report.symbols,
            cut: CutJson { time: report.cut_time, size: report.cut_size, count: report.cut_count },
            changed: report.changed,
            unreadable: report.unreadable,
            seconds: report.seconds,
        }
    }
}

/// One line on what was done.
pub(crate) fn summary(report: &SymbolReport) -> String {
    let symbols = things(report.symbols, "symbol", "symbols");
    let files = things(report.files, "file", "files");
    let mut line = format!("{symbols} in {files} ({}) in {}", bytes(report.bytes), seconds(report.seconds));
    let reasons = [
        (report.cut_time, "took too long to parse"),
        (report.cut_size, "too long: their beginning is known"),
        (report.cut_count, "with too many: the first are known"),
        (report.changed, "changed since they were indexed"),
        (report.unreadable, "could not be read any more"),
    ];
    for (number, reason) in reasons.into_iter().filter(|(number, _)| *number > 0) {
        line += &format!("; {} {reason}", count(number));
    }
    line
}
