//! `embed`, and what follows the text in `index`: embeds the files of an index.

use super::args::{CommonArgs, EmbedArgs};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupts;
use super::json;
use super::options::Options;
use super::output::{self, Ui, bytes, count, seconds, things};
use super::{log, progress, root};
use leindex_engine::{EmbedReport, Engine, OpenError, RunError};
use std::io::Write;

/// What `embed --json` prints, and `index --json` has as `embedded`.
#[derive(serde::Serialize)]
pub(crate) struct EmbeddedJson {
    outcome: &'static str,
    pending: u64,
    files: u64,
    bytes: u64,
    chunks: u64,
    reused: u64,
    wordless: u64,
    cut: u64,
    changed: u64,
    unreadable: u64,
    failed: u64,
    device: String,
    tokens: u64,
    card_busy_seconds: Option<f64>,
    seconds: f64,
}

impl From<&EmbedReport> for EmbeddedJson {
    fn from(report: &EmbedReport) -> EmbeddedJson {
        EmbeddedJson {
            outcome: if report.cancelled { "cancelled" } else { "done" },
            pending: report.pending,
            files: report.files,
            bytes: report.bytes,
            chunks: report.chunks,
            reused: report.reused,
            wordless: report.wordless,
            cut: report.cut,
            changed: report.changed,
            unreadable: report.unreadable,
            failed: report.failed,
            device: report.device.clone(),
            tokens: report.tokens,
            card_busy_seconds: report.card_busy.map(|time| time.as_secs_f64()),
            seconds: report.seconds,
        }
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    embedded: &'a EmbeddedJson,
}

/// Runs the subcommand.
pub(crate) fn run(args: EmbedArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let options = Options {
        progress: args.progress,
        replace_vectors: args.replace,
        ..Options::from_args(common).with_embedder(&args.embedder)
    };
    let tree = root::at(args.path, options)?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.engine(&tree.root)?;
    let Some(report) = embed(&engine, &ui, &Interrupts::catch())? else { return Ok(Exit::Interrupted) };
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &Line { kind: "embedded", embedded: &EmbeddedJson::from(&report) })?;
    } else {
        writeln!(out, "{}", summary(&report))?;
    }
    out.flush()?;
    Ok(exit(&report))
}

/// Embeds what is not embedded yet, with progress on stderr, until it is done or a signal stops it. `None` when it was stopped
/// while it waited for another run.
pub(crate) fn embed(engine: &Engine, ui: &Ui, interrupts: &Interrupts) -> Result<Option<EmbedReport>, RunError> {
    let run = engine.embed();
    let canceller = run.canceller();
    interrupts.stop(move || canceller.cancel());
    match progress::watch_stage(run, ui, "embedding", "embedded") {
        Err(RunError::Open(OpenError::Busy { .. })) if interrupts.has_come() => Ok(None),
        report => report.map(Some),
    }
}

/// The exit code, and a word on an interruption, or on why there was nothing to do.
pub(crate) fn exit(report: &EmbedReport) -> Exit {
    if report.kept_model {
        output::note(
            "the index has the vectors of a model, which stay: give --model DIR (or the key model in .leindex.toml) to embed what \
             is new, or throw them away with `leindex-engine embed --replace`",
        );
    }
    if report.cancelled {
        output::note("interrupted: `leindex-engine embed` goes on");
        return Exit::Interrupted;
    }
    Exit::Done
}

/// One line on what was done.
pub(crate) fn summary(report: &EmbedReport) -> String {
    let (chunks, files) = (things(report.chunks, "chunk", "chunks"), things(report.files, "file", "files"));
    let mut line = format!("embedded {chunks} of {files} ({}) in {}", bytes(report.bytes), seconds(report.seconds));
    if report.chunks > 0 {
        let rate = (report.chunks as f64 / report.seconds.max(1e-6)) as u64;
        line += &format!(": {} chunks/s", count(rate));
    }
    let reasons = [
        (report.reused, "known already"),
        (report.cut, "files too long: their beginning is embedded"),
        (report.changed, "files changed since they were indexed"),
        (report.unreadable, "files could not be read"),
        (report.failed, "chunks failed: `leindex-engine embed` tries again"),
    ];
    for (number, reason) in reasons.into_iter().filter(|(number, _)| *number > 0) {
        line += &format!("; {} {reason}", count(number));
    }
    line
}
