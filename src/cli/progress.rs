//! Shows a run on stderr while it goes on: a bar, lines, or nothing.

use super::args::Progress as How;
use super::output::{self, Ui, count, things};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leindex_engine::{Event, Progress, Report, Run, RunError, StageProgress, StageRun};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks at the run.
const TICK: Duration = Duration::from_millis(100);
/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Rates are taken over this time.
const RATE_OVER: Duration = Duration::from_secs(3);
/// A narrower terminal gets no bar, only numbers.
const BAR_COLUMNS_MIN: u16 = 72;

/// Shows `run` until it ends.
pub(crate) fn watch(run: Run, root: &Path, ui: &Ui) -> Result<Report, RunError> {
    let mut display = Display::new(ui, &format!("indexing {}", root.display()));
    let mut rates = Rates::default();
    let mut show = |progress: &Progress, rates: &Rates| {
        display.show(progress.elapsed, (done(progress), progress.expected), || describe(progress, rates));
    };
    show(&run.progress(), &rates);
    while !run.is_finished() {
        if run.next_event(TICK) == Some(Event::Ended) {
            break;
        }
        let progress = run.progress();
        rates.add(&progress);
        show(&progress, &rates);
    }
    let last = run.progress();
    let result = run.wait();
    display.end(Some(describe(&last, &rates)));
    result
}

/// Shows a stage until it ends: what it does, and what it has done with the files that it is through with.
pub(crate) fn watch_stage<R>(run: StageRun<R>, ui: &Ui, does: &'static str, done: &str) -> Result<R, RunError> {
    // Nothing is shown of a stage that has nothing to do.
    let mut display = None;
    let started = Instant::now();
    while !run.is_finished() {
        let StageProgress { files, of, .. } = run.progress();
        if of == 0 {
            std::thread::sleep(TICK);
            continue;
        }
        let display = display.get_or_insert_with(|| Display::new(ui, does));
        let line = format!("{done} {}/{} files", count(files), count(of));
        display.show(started.elapsed(), (files, of), || line);
        std::thread::sleep(TICK);
    }
    if let Some(display) = display {
        display.end(None);
    }
    run.wait()
}

enum Display {
    Nothing,
    Lines { asked_for: bool, next: Duration },
    Bar(ProgressBar),
}

impl Display {
    fn new(ui: &Ui, what: &str) -> Display {
        match ui.progress {
            How::Off => Display::Nothing,
            How::Auto if ui.json => Display::Nothing,
            How::Auto if std::io::stderr().is_terminal() => Display::bar(ui),
            how => {
                let asked_for = how == How::Plain;
                if asked_for {
                    output::note(what);
                }
                Display::Lines { asked_for, next: LINE_EVERY }
            }
        }
    }

    fn bar(ui: &Ui) -> Display {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let wide = console::Term::stderr().size_checked().is_some_and(|(_, columns)| columns >= BAR_COLUMNS_MIN);
        let template = match (wide, ui.color_err) {
            (true, true) => "{spinner:.cyan} {bar:20.cyan/blue} {wide_msg}",
            (true, false) => "{spinner} {bar:20} {wide_msg}",
            (false, _) => "{spinner} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        output::set_bar(Some(bar.clone()));
        Display::Bar(bar)
    }

    /// Shows how many are done, of how many if that is known.
    fn show(&mut self, elapsed: Duration, (done, of): (u64, u64), line: impl FnOnce() -> String) {
        match self {
            Display::Nothing => {}
            Display::Lines { next, .. } => {
                if elapsed >= *next {
                    *next = elapsed + LINE_EVERY;
                    output::note(&line());
                }
            }
            Display::Bar(bar) => {
                if of > 0 && bar.length().is_none() {
                    bar.set_length(of);
                }
                bar.set_position(done.min(bar.length().unwrap_or(u64::MAX)));
                bar.set_message(line());
                bar.tick();
            }
        }
    }

    fn end(self, last: Option<String>) {
        match self {
            Display::Lines { asked_for: true, .. } => last.iter().for_each(|line| output::note(line)),
            Display::Nothing | Display::Lines { .. } => {}
            Display::Bar(bar) => {
                output::set_bar(None);
                bar.finish_and_clear();
            }
        }
    }
}

/// Files that the run is through with.
fn done(progress: &Progress) -> u64 {
    let files = &progress.files;
    files.indexed + files.unchanged + files.binary + files.too_large + files.skipped
}

/// One line on where the run is.
fn describe(progress: &Progress, rates: &Rates) -> String {
    let done = done(progress);
    let mut line = match progress.expected {
        0 => things(done, "file", "files"),
        expected => format!("{}/{} files", count(done), count(expected.max(done))),
    };
    if progress.scanned {
        return line + ", writing";
    }
    let (files, megabytes) = rates.per_second();
    line += &format!(", {}/s, {megabytes:.1} MB/s, queue {}", count(files as u64), progress.queue_depth);
    let left = progress.expected.saturating_sub(done);
    if left > 0 && files >= 1.0 {
        line += &format!(", {:.0} s left", (left as f64 / files).ceil());
    }
    line
}

/// How fast the run was lately.
#[derive(Default)]
struct Rates {
    /// When, files, bytes.
    samples: VecDeque<(Duration, u64, u64)>,
}

impl Rates {
    fn add(&mut self, progress: &Progress) {
        self.samples.push_back((progress.elapsed, done(progress), progress.files.bytes_read));
        while self.samples.len() > 2 && progress.elapsed.saturating_sub(self.samples[1].0) >= RATE_OVER {
            self.samples.pop_front();
        }
    }

    /// Files and megabytes a second.
    fn per_second(&self) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return (0.0, 0.0) };
        // A single sample says how fast the run was since it began.
        let first = if self.samples.len() == 1 { &(Duration::ZERO, 0, 0) } else { first };
        let seconds = last.0.saturating_sub(first.0).as_secs_f64().max(1e-3);
        let per_second = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        (per_second(first.1, last.1), per_second(first.2, last.2) / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_forget_what_is_long_ago() {
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(), (0.0, 0.0));
        let mut progress = Progress::default();
        for second in 1..=20 {
            progress.elapsed = Duration::from_secs(second);
            let speed = if second <= 10 { 100 } else { 10 };
            progress.files.indexed += speed;
            progress.files.bytes_read += speed * 1_000_000;
            rates.add(&progress);
        }
        assert_eq!(rates.per_second(), (10.0, 10.0));
        assert!(rates.samples.len() <= 5);
    }

    #[test]
    fn one_line_says_it_all() {
        let mut progress = Progress::default();
        let mut rates = Rates::default();
        assert_eq!(describe(&progress, &rates), "0 files, 0/s, 0.0 MB/s, queue 0");
        progress.files.indexed = 1500;
        progress.files.bytes_read = 3_000_000;
        progress.elapsed = Duration::from_secs(1);
        progress.expected = 4500;
        rates.add(&progress);
        assert_eq!(describe(&progress, &rates), "1,500/4,500 files, 1,500/s, 3.0 MB/s, queue 0, 2 s left");
        progress.scanned = true;
        assert_eq!(describe(&progress, &rates), "1,500/4,500 files, writing");
    }
}
