//! Section 15: what embedding costs with the table of words, and how long a search by meaning takes.

use crate::report::Samples;
use crate::{Bench, Failure, child, machine};
use leindex_engine::{Engine, Mode, Query};
use std::path::Path;
use std::time::Instant;

/// Every question is asked this many times, after one that is not counted.
const ROUNDS: usize = 5;
/// What is promised for 250,000 chunks, on two cores: seconds, and so chunks a second.
const MUST_CHUNKS: f64 = 250_000.0;
const MUST_SECONDS: f64 = 6.0;
/// Milliseconds that a search over as many may take.
const MUST_MS: f64 = 5.0;
const RAW: &str = "mode,question,round,ms,hits";

/// Questions as developers ask them; none is tuned on.
const QUESTIONS: [&str; 24] = [
    "wait until a child process has exited",
    "copy memory from user space safely",
    "congestion control after packet loss",
    "how are pages chosen for eviction under memory pressure",
    "parse a mac address from a string",
    "send a signal to every process in a group",
    "read the partition table of a disk",
    "convert between byte orders",
    "schedule a function to run later on another cpu",
    "check whether the caller has permission to open the file",
    "set the brightness of the backlight",
    "encrypt a block of data with a key",
    "allocate physically contiguous memory for dma",
    "handle an interrupt from the network card",
    "mount options of a file system",
    "lock ordering to avoid deadlocks",
    "measure how long a function takes",
    "load firmware for a wireless device",
    "translate a virtual address to a physical one",
    "queue requests to a block device",
    "print a hex dump of a buffer for debugging",
    "register a driver for a usb device",
    "count references and free the object when nobody uses it",
    "sort an array in place",
];

/// Embeds the index, in a process of its own, and asks it.
pub(crate) fn measure(bench: &mut Bench, index_dir: &Path) -> Result<(), Failure> {
    let (before, _) = machine::bytes_on_disk(index_dir)?;
    let (mut times, mut last) = (Samples::default(), None);
    for _ in 0..bench.options.runs {
        // What was embedded is looked up otherwise.
        let _ = std::fs::remove_dir_all(index_dir.join("vectors"));
        let done = child::embed(&bench.tree, index_dir)?;
        times.add(done.seconds());
        last = Some(done);
    }
    let done = last.ok_or("no runs")?;
    let (after, _) = machine::bytes_on_disk(index_dir)?;
    let again = child::embed(&bench.tree, index_dir)?;
    let chunks = done.count("chunks") as f64;
    let seconds = times.median();
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let rows = [
        ["files", &done.count("files").to_string()],
        ["chunks", &done.count("chunks").to_string()],
        ["known already", &done.count("reused").to_string()],
        ["wall, median", &format!("{seconds:.2} s, {:.0} chunks/s", chunks / seconds)],
        ["CPU", &format!("{:.1} s", done.count("cpu_ms") as f64 / 1e3)],
        ["peak RSS", &mb(done.count("peak_rss"))],
        ["index before and after", &format!("{}, {}", mb(before), mb(after))],
        ["nothing left to do", &format!("{:.3} s", again.seconds())],
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
    bench.report.table(&["embedding", "measured"], &rows);
    bench.report.check("15 a second embedding", ("pending", again.count("pending")), ("nothing", 0));
    bench.report.below("embedding: 250,000 chunks", MUST_CHUNKS / (chunks / seconds), MUST_SECONDS, " s");
    searches(bench, index_dir, chunks)
}

fn searches(bench: &mut Bench, index_dir: &Path, chunks: f64) -> Result<(), Failure> {
    let engine = Engine::builder().index_dir(index_dir).open(&bench.tree)?;
    let snapshot = engine.snapshot()?;
    let mut rows = Vec::new();
    for (name, mode) in [("semantic", Mode::Semantic), ("hybrid", Mode::Hybrid)] {
        let (mut first, mut later) = (Samples::default(), Samples::default());
        let mut answered = 0;
        for round in 0..=ROUNDS {
            for question in QUESTIONS {
                let started = Instant::now();
                let found = snapshot.search(&Query::new(mode, question))?;
                let ms = started.elapsed().as_secs_f64() * 1e3;
                if round == 0 {
                    first.add(ms);
                    answered += usize::from(!found.hits.is_empty());
                } else {
                    later.add(ms);
                }
                let cells: [&dyn std::fmt::Display; 5] = [&name, &question, &round, &ms, &found.hits.len()];
                bench.report.raw("questions.csv", RAW, &cells);
            }
        }
        bench.report.check(&format!("15 {name}"), ("questions", QUESTIONS.len()), ("answered", answered));
        let [p50, p99] = [50.0, 99.0].map(|percent| later.percentile(percent));
        let cells = [later.max(), first.max()].map(|ms| format!("{ms:.2}"));
        rows.push([vec![name.to_owned(), format!("{p50:.2}"), format!("{p99:.2}")], cells.to_vec()].concat());
        if mode == Mode::Semantic {
            // What must be reached is said of 250,000 chunks; of more, only what was measured is.
            if chunks <= MUST_CHUNKS {
                bench.report.below(&format!("semantic search P50, {chunks} chunks"), p50, MUST_MS, " ms");
                continue;
            }
        }
        bench.report.told(&format!("{name} search P50, {chunks} chunks"), format!("{p50:.2} ms"));
    }
    bench.report.say(format!("{} questions over {chunks} chunks, limit 20.\n", QUESTIONS.len()));
    bench.report.table(&["mode", "P50 ms", "P99 ms", "most ms", "the first one ms"], &rows);
    Ok(())
}
