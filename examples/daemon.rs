//! How a daemon embeds the engine: one thread, an async runtime, and an index that is built beside everything else.
//!
//! ```text
//! cargo run --release --example daemon -- PATH [QUERY]
//! ```
//!
//! Three things matter to a daemon:
//!
//! 1. A [`leindex_engine::Run`] is a future of no particular runtime. It has threads of its own, so `.await` costs the
//!    event loop nothing but the wake-up at the end, and dropping it (because the client went away, or in `select!`)
//!    stops the run and keeps what was published.
//! 2. Everything else in the API is an ordinary call: quick, but it reads files. Opening a snapshot and searching belong
//!    on the blocking pool.
//! 3. A snapshot is one generation and stays so. Keep it for a request, not for ever; open a new one when
//!    [`leindex_engine::Event::Published`] says that there is more to find.
//!
//! To show that nothing blocks, a timer ticks every 10 ms on the same thread all the while, and the longest gap between
//! two ticks is printed at the end.

// The command line is this example's only way to show something.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use leindex_engine::{Engine, Error, Outcome, Query};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

const TICK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: daemon PATH [QUERY]");
        return ExitCode::from(2);
    };
    let query = arguments.next().map_or_else(|| "main".to_owned(), |query| query.to_string_lossy().into_owned());
    // One thread for everything: the strictest case. Daemons with more threads do the same.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let longest_gap = AtomicU64::new(0);
    let result = runtime.block_on(async {
        tokio::select! {
            result = index_and_search(path.as_ref(), Query::text(query).limit(5)) => result,
            () = tick(&longest_gap) => Ok(()),
        }
    });
    match result {
        Ok(()) => {
            let gap = Duration::from_micros(longest_gap.into_inner());
            println!("longest gap between two ticks of {TICK:?}: {gap:?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What a daemon does for a client: bring the index up to date, then answer.
async fn index_and_search(path: &std::path::Path, query: Query) -> Result<(), Error> {
    let started = Instant::now();
    // Opening looks at the root and nothing else. An `Engine` is cheap to clone: have one per tree.
    let engine = Engine::builder().open(path)?;
    // The run has begun when this returns. To follow it, call `run.progress()` from a timer; to stop it, keep a
    // `run.canceller()`, which can be sent anywhere.
    let report = engine.index().await?;
    if report.outcome == Outcome::Cancelled {
        println!("cancelled; generation {} stays", report.generation);
    }
    let files = report.files;
    println!(
        "{} files in {:.3} s: {} read, {} unchanged, {} skipped, generation {}",
        files.seen, report.seconds.total, files.indexed, files.unchanged, files.skipped, report.generation
    );
    // Files that could not be read are no errors of the run; a daemon should say so all the same.
    for skip in report.skips.iter().filter(|skip| skip.failure).take(5) {
        println!("not indexed: {skip}");
    }

    // Snapshots and searches read files: off the event loop with them.
    let answer = tokio::task::spawn_blocking(move || engine.snapshot()?.search(&query)).await;
    let result = match answer {
        Ok(result) => result?,
        // The task is never aborted, so that this is a panic, and not ours to hide.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    for hit in &result.hits {
        println!("{}:{}:{}: {}", hit.path.display(), hit.line, hit.column, hit.text.trim());
    }
    let more = if result.truncated { " or more" } else { "" };
    println!("{} hits{more}, answered after {:.3} s in all", result.hits.len(), started.elapsed().as_secs_f64());
    Ok(())
}

/// Stands for everything else that the daemon has to do: ticks for ever, and notes the longest time between two ticks.
async fn tick(longest_gap: &AtomicU64) {
    let mut timer = tokio::time::interval(TICK);
    // A late tick must not be made up for by several at once, which would hide the gap.
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = timer.tick().await.into_std();
    loop {
        timer.tick().await;
        let now = Instant::now();
        let gap = u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX);
        longest_gap.fetch_max(gap, Relaxed);
        last = now;
    }
}
