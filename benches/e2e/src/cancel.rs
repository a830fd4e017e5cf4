//! Section 11: how soon a run ends that is cancelled while it reads, or when everything is read and is being published.

use crate::report::Samples;
use crate::{Bench, Failure, machine};
use leindex_engine::{BackendChoice, Engine, Outcome, Progress, Run, io};
use std::fs;
use std::time::{Duration, Instant};

const ROUNDS: usize = 10;
/// How long a run is let go on, but no longer than until half of the files are read.
const AFTER: Duration = Duration::from_millis(300);
/// Between two looks at how many there are.
const LOOK: Duration = Duration::from_millis(1);
/// A run over a small tree may end before it is cancelled. Then there is another one.
const TRIES: usize = 5;
const MUST_MS: f64 = 100.0;
const RAW: &str = "round,backend,when,ms,files_read,published";
const BACKENDS: [(BackendChoice, &str); 2] = [(BackendChoice::Uring, "io_uring"), (BackendChoice::Threads, "threads")];

/// When a run is cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Reading {
        cold: bool,
    },
    /// Everything is read, and what is left is being written.
    Publishing,
}

impl When {
    fn name(self) -> &'static str {
        match self {
            When::Reading { cold: false } => "warm",
            When::Reading { cold: true } => "cold",
            When::Publishing => "warm, publishing",
        }
    }
}

/// A backend, and what it was measured at.
struct Side {
    backend: BackendChoice,
    name: &'static str,
    /// Files that a whole run reads.
    files: u64,
    warm: Samples,
    cold: Samples,
    publishing: Samples,
    /// Files read when a run was cancelled.
    read: Samples,
    cancelled: u64,
    /// Runs that were publishing, and had done so before they heard of it.
    published: u64,
}

/// Section 11.
pub(crate) fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let mut sides = Vec::new();
    for (backend, name) in BACKENDS {
        match io::select(backend) {
            Ok(_) => sides.push(Side::new(bench, backend, name)?),
            Err(why) => bench.report.skipped(&format!("cancel, {name}"), &why.to_string()),
        }
    }
    let cold_rounds = if machine::can_drop_caches(bench) { bench.options.cold_runs } else { 0 };
    for when in [When::Reading { cold: false }, When::Publishing, When::Reading { cold: true }] {
        for round in 0..if when == (When::Reading { cold: true }) { cold_rounds } else { ROUNDS } {
            for side in &mut sides {
                side.cancel(bench, round, when)?;
            }
        }
    }
    tell(bench, &sides, ROUNDS + cold_rounds);
    Ok(())
}

fn tell(bench: &mut Bench, sides: &[Side], rounds: usize) {
    let row = |side: &Side| {
        let cold = if side.cold.max().is_nan() { "-".into() } else { format!("{:.1}", side.cold) };
        let read = format!("{:.0} of {}", side.read, side.files);
        let published = format!("{} of {ROUNDS}", side.published);
        [side.name.to_owned(), format!("{:.1}", side.warm), cold, read, format!("{:.1}", side.publishing), published]
    };
    let rows: Vec<_> = sides.iter().map(row).collect();
    let columns = [
        "backend",
        "reading, warm: ms to the end",
        "cold: ms",
        "files read by then",
        "publishing: ms",
        "published all the same",
    ];
    bench.report.table(&columns, &rows);
    for side in sides {
        let report = &mut bench.report;
        report.check(&format!("11 {}", side.name), ("runs", rounds as u64), ("cancelled", side.cancelled));
        let name = format!("cancel to the end of the run, {}", side.name);
        report.below(&format!("{name}, warm: most"), side.warm.max(), MUST_MS, " ms");
        report.told(&format!("{name}, publishing: most"), format!("{:.1} ms", side.publishing.max()));
        if !side.cold.max().is_nan() {
            report.below(&format!("{name}, cold: most"), side.cold.max(), MUST_MS, " ms");
        }
    }
}

impl Side {
    /// With one whole run, which also brings the tree into the page cache.
    fn new(bench: &Bench, backend: BackendChoice, name: &'static str) -> Result<Side, Failure> {
        let index_dir = bench.scratch.join("cancel");
        let engine = Engine::builder().index_dir(&index_dir).backend(backend).open(&bench.tree)?;
        let files = engine.index().wait()?.files.reads;
        fs::remove_dir_all(index_dir)?;
        let [warm, cold, publishing, read] = [(); 4].map(|()| Samples::default());
        Ok(Side { backend, name, files, warm, cold, publishing, read, cancelled: 0, published: 0 })
    }

    fn cancel(&mut self, bench: &mut Bench, round: usize, when: When) -> Result<(), Failure> {
        for _ in 0..TRIES {
            if when == (When::Reading { cold: true }) {
                machine::drop_caches(bench)?;
            }
            if self.cancel_one(bench, round, when)? {
                return Ok(());
            }
        }
        Err(format!("{TRIES} runs in a row over {} ended before they were cancelled", bench.tree.display()).into())
    }

    /// Cancels a run from nothing. Whether that came before its end.
    fn cancel_one(&mut self, bench: &mut Bench, round: usize, when: When) -> Result<bool, Failure> {
        let index_dir = bench.scratch.join("cancel");
        machine::sync();
        let engine = Engine::builder().index_dir(&index_dir).backend(self.backend).open(&bench.tree)?;
        let run = engine.index();
        let before = self.let_go_on(&run, when);
        let ended = run.is_finished();
        let cancelled = Instant::now();
        run.canceller().cancel();
        let report = run.wait()?;
        let ms = cancelled.elapsed().as_secs_f64() * 1e3;
        // There is no generation when nothing was published.
        let published = engine.snapshot().and_then(|snapshot| snapshot.status()).is_ok_and(|status| status.complete);
        drop(engine);
        fs::remove_dir_all(index_dir)?;
        let cancelled = report.outcome == Outcome::Cancelled;
        let Progress { files, scanned, .. } = before;
        match when {
            // It was asked in the middle, whether or not that was in time to keep it from publishing.
            When::Publishing if !ended => {
                self.publishing.add(ms);
                self.published += u64::from(published);
            }
            When::Reading { cold } if cancelled && !scanned => {
                self.cancelled += 1;
                self.read.add(files.reads as f64);
                if cold { &mut self.cold } else { &mut self.warm }.add(ms);
            }
            _ => return Ok(false),
        }
        let cells: [&dyn std::fmt::Display; 6] = [&round, &self.name, &when.name(), &ms, &files.reads, &published];
        bench.report.raw("cancel.csv", RAW, &cells);
        Ok(true)
    }

    /// Waits until a run is to be cancelled. Returns where it is then.
    fn let_go_on(&self, run: &Run, when: When) -> Progress {
        let started = Instant::now();
        loop {
            let progress = run.progress();
            let is_time = match when {
                When::Reading { .. } => started.elapsed() >= AFTER || progress.files.reads > self.files / 2,
                When::Publishing => progress.scanned,
            };
            if is_time || run.is_finished() {
                return progress;
            }
            std::thread::sleep(LOOK);
        }
    }
}
