//! `index`: builds an index or brings it up to date.

use super::args::{CommonArgs, IndexArgs};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupts;
use super::json::{self, IndexJson};
use super::options::Options;
use super::output::{self, Ui};
use super::{advice, embed, log, progress, root, summary, symbols};
use leindex_engine::{EmbedChoice, Engine, OpenError, Outcome, Report, RunError};
use std::io::Write;

/// Runs the subcommand.
pub(crate) fn run(args: IndexArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let with_symbols = args.symbols;
    let (engine, ui) = open(args, common)?;
    let interrupts = Interrupts::catch();
    let report = match build(&engine, &ui, &interrupts) {
        // It has waited for another run, and was told to stop.
        Err(RunError::Open(OpenError::Busy { .. })) if interrupts.has_come() => return Ok(Exit::Interrupted),
        built => built?,
    };
    let mut out = output::stdout();
    if !ui.json {
        summary::write(&mut out, &report, engine.index_dir())?;
        out.flush()?;
        tell(&report);
    }
    let embeds = report.outcome != Outcome::Cancelled && engine.config().embed != EmbedChoice::Off;
    let embedded = if embeds { embed::embed(&engine, &ui, &interrupts) } else { Ok(None) };
    if ui.json {
        let of = embedded.as_ref().ok().and_then(Option::as_ref);
        json::line(&mut out, &IndexJson::from(&report).embedded(of))?;
    } else if let Ok(Some(embedded)) = &embedded
        && embedded.pending > 0
    {
        writeln!(out, "{}", embed::summary(embedded))?;
    }
    out.flush()?;
    drop(out);
    if ui.json {
        tell(&report);
    }
    match embedded? {
        None if embeds => return Ok(Exit::Interrupted),
        Some(embedded) if embed::exit(&embedded) == Exit::Interrupted => return Ok(Exit::Interrupted),
        _ => {}
    }
    if with_symbols && report.outcome != Outcome::Cancelled {
        let extracted = symbols::extract(&engine, &ui, &interrupts)?;
        return Ok(if extracted == Exit::Done { exit(&report) } else { extracted });
    }
    Ok(exit(&report))
}

/// The tree to index, and how to show what is done to it.
pub(crate) fn open(args: IndexArgs, common: &CommonArgs) -> Result<(Engine, Ui), Failure> {
    let options = Options::from_args(common).with_run(&args.run).with_rules(&args.rules);
    let tree = root::at(args.path, options)?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    Ok((tree.options.engine(&tree.root)?, ui))
}

/// Runs over the whole tree, with progress on stderr, until it is done or a signal stops it.
pub(crate) fn build(engine: &Engine, ui: &Ui, interrupts: &Interrupts) -> Result<Report, RunError> {
    let run = engine.index();
    let canceller = run.canceller();
    interrupts.stop(move || canceller.cancel());
    progress::watch(run, engine.root(), ui)
}

/// Says on stderr what the numbers do not.
pub(crate) fn tell(report: &Report) {
    if report.backend_fell_back {
        output::note(&format!(
            "io_uring is not used: {}; --backend threads says that this is fine",
            report.backend_why
        ));
    }
    if report.outcome == Outcome::Cancelled {
        output::note(&match report.generation {
            0 => "interrupted before anything was published: run again to index".to_owned(),
            generation => format!("interrupted: generation {generation} is what searches see; run again to go on"),
        });
    } else if let Some(advice) = advice::nothing_accepted(&report.files, report.first_ignored.as_deref()) {
        output::note(&advice);
    }
}

/// The exit code for a run.
pub(crate) fn exit(report: &Report) -> Exit {
    match report.outcome {
        Outcome::Cancelled => Exit::Interrupted,
        _ if report.files.failed > 0 => Exit::Skips,
        _ => Exit::Done,
    }
}
