//! Sections 3 and 4: how long a search takes inside of a process that has the index open, and as a process of its own.

use crate::queries::{Drawer, Set};
use crate::report::Samples;
use crate::{Bench, Failure, child, machine};
use leindex_engine::{Engine, SearchResult, Snapshot};
use std::path::Path;
use std::time::Instant;

/// Rounds over all queries that are counted, after one that is not.
const ROUNDS: usize = 3;
/// Queries of a set that are told by name: the slowest.
const SLOWEST: usize = 3;
/// Processes a mode for every `--runs`.
const PROCESSES: usize = 7;
const RAW: &str = "set,round,pattern,ms,hits,candidates,files_read,plan";

/// A set's samples.
#[derive(Default)]
struct Measured {
    first: Samples,
    later: Samples,
    files_read: Samples,
    with_hits: usize,
    hits: usize,
    /// The median of each query over the later rounds, and which query it is.
    slowest: Vec<(f64, usize)>,
}

/// Opens the index as a program that searches does.
pub(crate) fn open(bench: &Bench, index_dir: &Path) -> Result<Snapshot, Failure> {
    Ok(Engine::builder().index_dir(index_dir).open(&bench.tree)?.snapshot()?)
}

fn draw(bench: &Bench, snapshot: &Snapshot) -> Result<Vec<Set>, Failure> {
    let scale = if bench.options.smoke { 10 } else { 1 };
    Ok(Drawer::new(&bench.tree, snapshot, bench.options.seed)?.sets(scale))
}

/// Section 3. Returns the queries, for section 4.
pub(crate) fn in_process(bench: &mut Bench, index_dir: &Path) -> Result<Vec<Set>, Failure> {
    let started = Instant::now();
    let snapshot = open(bench, index_dir)?;
    let opened = started.elapsed().as_secs_f64() * 1e3;
    let sets = draw(bench, &snapshot)?;
    let mut rows = Vec::new();
    let mut slowest = Vec::new();
    for set in &sets {
        let measured = measure(bench, &snapshot, set)?;
        let count = set.patterns.len();
        rows.push([
            set.name.to_owned(),
            count.to_string(),
            measured.hits.to_string(),
            format!("{:.0}", measured.files_read.median()),
            format!("{:.3}", measured.later.percentile(50.0)),
            format!("{:.3}", measured.later.percentile(99.0)),
            format!("{:.3}", measured.later.max()),
            format!("{:.3}", measured.first.percentile(50.0)),
        ]);
        bench.report.check(&format!("3 {}", set.name), ("queries", count), ("with a hit", measured.with_hits));
        let (name, p50) = (format!("search P50: {}", set.name), measured.later.percentile(50.0));
        match set.must_ms {
            Some(must) => bench.report.below(&name, p50, must, " ms"),
            None => bench.report.told(&name, format!("{p50:.3} ms")),
        }
        for &(ms, index) in measured.slowest.iter().take(SLOWEST) {
            let result = snapshot.search(&set.query(&set.patterns[index]))?;
            let cells =
                [set.name.to_owned(), format!("`{}`", set.patterns[index].replace('|', "\\|")), format!("{ms:.2}")];
            slowest.push(cells.into_iter().chain(what_was_done(&result)).collect::<Vec<_>>());
        }
    }
    bench.report.say("");
    let columns = ["queries", "count", "hits", "files read", "P50 ms", "P99 ms", "most ms", "first round P50 ms"];
    bench.report.table(&columns, &rows);
    bench
        .report
        .say(format!("Opening the index and a snapshot took {opened:.2} ms. Limit 20. The slowest, by median:\n"));
    let columns = ["queries", "pattern", "ms", "hits", "candidates", "files read", "plan"];
    bench.report.table(&columns, &slowest);
    Ok(sets)
}

fn what_was_done(result: &SearchResult) -> [String; 4] {
    let plan: String = result.plan.replace('|', "\\|").chars().take(160).collect();
    [result.hits.len().to_string(), result.candidates.to_string(), result.files_read.to_string(), plan]
}

fn measure(bench: &mut Bench, snapshot: &Snapshot, set: &Set) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let mut of_query = vec![Samples::default(); set.patterns.len()];
    for round in 0..=ROUNDS {
        for (index, pattern) in set.patterns.iter().enumerate() {
            let query = set.query(pattern);
            let started = Instant::now();
            let result = snapshot.search(&query)?;
            let ms = started.elapsed().as_secs_f64() * 1e3;
            if round == 0 {
                measured.first.add(ms);
                measured.files_read.add(result.files_read as f64);
                measured.with_hits += usize::from(!result.hits.is_empty());
                measured.hits += result.hits.len();
                if result.hits.is_empty() {
                    bench.report.say(format!("no hit: {} {pattern:?}, plan {}", set.name, result.plan));
                }
            } else {
                measured.later.add(ms);
                of_query[index].add(ms);
            }
            let (hits, candidates, read) = (result.hits.len(), result.candidates, result.files_read);
            let cells: [&dyn std::fmt::Display; 8] =
                [&set.name, &round, pattern, &ms, &hits, &candidates, &read, &result.plan];
            bench.report.raw("searches.csv", RAW, &cells);
        }
    }
    measured.slowest = of_query.iter().map(Samples::median).zip(0..).collect();
    measured.slowest.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(measured)
}

/// Section 4, with the queries of section 3 if that was run.
pub(crate) fn as_process(bench: &mut Bench, index_dir: &Path, sets: Option<Vec<Set>>) -> Result<(), Failure> {
    let snapshot = open(bench, index_dir)?;
    let sets = match sets {
        Some(sets) => sets,
        None => draw(bench, &snapshot)?,
    };
    let (mut all, mut all_cold) = (Samples::default(), Samples::default());
    let mut rows = Vec::new();
    for set in &sets {
        let Some(pattern) = set.patterns.first() else { continue };
        let expected = snapshot.search(&set.query(pattern))?.hits.len() as u64;
        let (mut warm, mut inside, mut cold) = (Samples::default(), Samples::default(), Samples::default());
        let mut hits = 0;
        // The first process brings the program and the index into the cache; it is not counted.
        for run in 0..=bench.options.runs * PROCESSES {
            let answer = child::search(&bench.tree, index_dir, set.mode, pattern)?;
            hits = answer.count("hits");
            if run > 0 {
                warm.add(answer.wall * 1e3);
                inside.add(answer.seconds() * 1e3);
                all.add(answer.wall * 1e3);
                raw_process(bench, set, "warm", pattern, &answer);
            }
        }
        for _ in 0..if machine::can_drop_caches(bench) { bench.options.cold_runs } else { 0 } {
            machine::drop_caches(bench)?;
            let answer = child::search(&bench.tree, index_dir, set.mode, pattern)?;
            cold.add(answer.wall * 1e3);
            all_cold.add(answer.wall * 1e3);
            raw_process(bench, set, "cold", pattern, &answer);
        }
        bench.report.check(&format!("4 {}: hits", set.name), ("process", hits), ("in process", expected));
        let cold = if cold.max().is_nan() { "-".into() } else { format!("{cold:.1}") };
        let cells = [format!("{warm:.2}"), format!("{inside:.2}"), cold, hits.to_string()];
        rows.push(
            [[set.name.to_owned(), format!("`{}`", pattern.replace('|', "\\|"))].to_vec(), cells.to_vec()].concat(),
        );
    }
    bench.report.say("");
    let columns = ["query", "pattern", "warm: wall ms", "warm: open and search ms", "cold: wall ms", "hits"];
    bench.report.table(&columns, &rows);
    bench.report.below("a search as a process, warm cache: median wall", all.median(), 50.0, " ms");
    if !all_cold.max().is_nan() {
        bench.report.told("a search as a process, cold cache: wall", format!("{all_cold:.1} ms"));
    }
    Ok(())
}

fn raw_process(bench: &mut Bench, set: &Set, cache: &str, pattern: &str, answer: &child::Answer) {
    let (wall, inside) = (answer.wall * 1e3, answer.seconds() * 1e3);
    let header = "set,cache,pattern,wall_ms,open_and_search_ms";
    bench.report.raw("processes.csv", header, &[&set.name, &cache, &pattern, &wall, &inside]);
}
