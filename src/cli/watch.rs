//! `watch`: keeps an index fresh until it is interrupted.

use super::allocator;
use super::args::{CommonArgs, IndexArgs, WatchArgs};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupts;
use super::json::{self, WatchJson};
use super::output::{self, Ui, count, seconds, things};
use super::{embed, index, symbols};
use leindex_engine::{
    EmbedChoice, EmbedReport, Engine, Report, StageRun, SymbolReport, Watch, WatchEvent, WatchOptions,
};
use std::io::Write;
use std::time::Duration;

/// Between two looks at whether the watcher has ended; events come at once.
const TICK: Duration = Duration::from_secs(1);

/// Runs the subcommand.
pub(crate) fn run(args: WatchArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    let WatchArgs { run, rules, poll, symbols, path } = args;
    let (engine, ui) = index::open(IndexArgs { run, rules, symbols, path }, common)?;
    let interrupts = Interrupts::catch();
    let mut watch_options = WatchOptions::default();
    if let Some(seconds) = poll {
        watch_options.poll = Duration::from_secs(seconds.into());
        watch_options.poll_only = true;
    }
    let watch = engine.watch(watch_options)?;
    let stopper = watch.stopper();
    interrupts.stop(move || stopper.stop());
    let embeds = engine.config().embed != EmbedChoice::Off;
    let mut trailing = Trailing {
        embedding: embeds.then(|| Stage::new(Engine::embed, "embedded", embed::summary, |report| report.pending > 0)),
        symbols: symbols
            .then(|| Stage::new(Engine::symbols, "extracted", symbols::summary, |report| report.pending > 0)),
    };
    show(&engine, &watch, &mut trailing, &ui)?;
    watch.wait()?;
    Ok(Exit::Interrupted)
}

/// Shows events until the watcher ends.
fn show(engine: &Engine, watch: &Watch, trailing: &mut Trailing, ui: &Ui) -> Result<(), Failure> {
    let mut first = true;
    loop {
        trailing.look(engine);
        match watch.next_event(TICK) {
            Some(WatchEvent::Ended) => return Ok(()),
            Some(WatchEvent::Updated(report)) => {
                if first {
                    index::tell(&report);
                }
                updated(engine, &report, first, ui)?;
                if first || report.publications > 0 {
                    trailing.again();
                }
                first = false;
            }
            Some(event) => tell(engine, &event, ui)?,
            None if watch.is_finished() => return Ok(()),
            None => {}
        }
    }
}

/// The stages that follow updates, one after the other.
struct Trailing {
    embedding: Option<Stage<EmbedReport>>,
    symbols: Option<Stage<SymbolReport>>,
}

impl Trailing {
    fn again(&mut self) {
        self.embedding.iter_mut().for_each(|stage| stage.again = true);
        self.symbols.iter_mut().for_each(|stage| stage.again = true);
    }

    /// Takes the end of what has ended, and starts what is next.
    fn look(&mut self, engine: &Engine) {
        let embeds = self.embedding.as_mut().is_some_and(|stage| stage.look(engine, true));
        if let Some(symbols) = &mut self.symbols {
            symbols.look(engine, !embeds);
        }
    }
}

/// One of them.
struct Stage<R> {
    start: fn(&Engine) -> StageRun<R>,
    /// What it does to files, and what there is to say of it, if that is worth a word.
    does: &'static str,
    summary: fn(&R) -> String,
    is_worth_it: fn(&R) -> bool,
    run: Option<StageRun<R>>,
    again: bool,
}

impl<R> Stage<R> {
    fn new(
        start: fn(&Engine) -> StageRun<R>,
        does: &'static str,
        summary: fn(&R) -> String,
        is_worth_it: fn(&R) -> bool,
    ) -> Stage<R> {
        Stage { start, does, summary, is_worth_it, run: None, again: false }
    }

    /// Takes its end; starts it again if that was asked for and it may. Returns whether it goes on.
    fn look(&mut self, engine: &Engine, may_start: bool) -> bool {
        if let Some(run) = self.run.take_if(|run| run.is_finished()) {
            match run.wait() {
                Ok(report) if (self.is_worth_it)(&report) => tracing::info!("{}", (self.summary)(&report)),
                Ok(_) => {}
                Err(error) => output::note(&format!("not {}: {error}", self.does)),
            }
            // A watcher mostly waits, and others want the memory meanwhile.
            allocator::give_all_back();
        }
        if self.run.is_none() && may_start && std::mem::take(&mut self.again) {
            self.run = Some((self.start)(engine));
        }
        self.run.is_some()
    }
}

/// An update; without changes it is only worth a word when it is the first.
fn updated(engine: &Engine, report: &Report, first: bool, ui: &Ui) -> Result<(), Failure> {
    if !first && report.publications == 0 {
        return Ok(());
    }
    let mut out = output::stdout();
    if ui.json {
        json::line(&mut out, &WatchJson::updated(report))?;
    } else {
        let files = &report.files;
        let (indexed, took) = (things(files.indexed, "file", "files"), seconds(report.seconds.total));
        let done =
            format!("indexed {indexed}, removed {} in {took}, generation {}", count(files.removed), report.generation);
        if first {
            writeln!(out, "watching {}: {done}", engine.root().display())?;
        } else {
            writeln!(out, "{done}")?;
        }
    }
    Ok(out.flush()?)
}

fn tell(engine: &Engine, event: &WatchEvent, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        let mut out = output::stdout();
        if let Some(json) = WatchJson::from_event(event) {
            json::line(&mut out, &json)?;
        }
        return Ok(out.flush()?);
    }
    match event {
        WatchEvent::Rescan(why) => output::note(&format!("{why}: going over the whole tree once more")),
        WatchEvent::Polling(why, every) => {
            let root = engine.root().display();
            output::note(&format!(
                "{root} cannot be watched and is gone over every {} s instead: {why}",
                every.as_secs()
            ));
        }
        WatchEvent::Failed(why) => output::note(&format!("an update failed and is tried again: {why}")),
        _ => {}
    }
    Ok(())
}
