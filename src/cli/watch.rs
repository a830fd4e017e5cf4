//! `watch`: keeps an index fresh until it is interrupted.

use super::args::{CommonArgs, IndexArgs, WatchArgs};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupts;
use super::json::{self, WatchJson};
use super::output::{self, Ui, count, seconds, things};
use super::{index, symbols};
use leindex_engine::{Engine, Report, SymbolRun, Watch, WatchEvent, WatchOptions};
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
    let mut trailing = symbols.then(|| Trailing { engine: engine.clone(), run: None, again: false });
    show(&engine, &watch, &mut trailing, &ui)?;
    watch.wait()?;
    Ok(Exit::Interrupted)
}

/// Shows events until the watcher ends.
fn show(engine: &Engine, watch: &Watch, trailing: &mut Option<Trailing>, ui: &Ui) -> Result<(), Failure> {
    let mut first = true;
    loop {
        if let Some(trailing) = trailing {
            trailing.look();
        }
        match watch.next_event(TICK) {
            Some(WatchEvent::Ended) => return Ok(()),
            Some(WatchEvent::Updated(report)) => {
                if first {
                    index::tell(&report);
                }
                updated(engine, &report, first, ui)?;
                if let Some(trailing) = trailing.as_mut().filter(|_| first || report.publications > 0) {
                    trailing.again = true;
                }
                first = false;
            }
            Some(event) => tell(engine, &event, ui)?,
            None if watch.is_finished() => return Ok(()),
            None => {}
        }
    }
}

/// The extraction of symbols that follows updates; one at a time.
struct Trailing {
    engine: Engine,
    run: Option<SymbolRun>,
    again: bool,
}

impl Trailing {
    /// Takes the end of one, and starts the next.
    fn look(&mut self) {
        if let Some(run) = self.run.take_if(|run| run.is_finished()) {
            match run.wait() {
                Ok(report) if report.pending > 0 => tracing::info!("{}", symbols::summary(&report)),
                Ok(_) => {}
                Err(error) => output::note(&format!("symbols were not extracted: {error}")),
            }
        }
        if self.run.is_none() && std::mem::take(&mut self.again) {
            self.run = Some(self.engine.symbols());
        }
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
