//! Section 14: what extracting symbols costs, and how long a search for a name takes.

use crate::report::Samples;
use crate::{Bench, Failure, child, machine};
use leindex_engine::{Engine, Mode, Query};
use std::path::Path;
use std::time::Instant;

/// Names that are searched for.
const NAMES: usize = 100;
/// Every name is searched for this many times, after one that is not counted.
const ROUNDS: usize = 3;
const RAW: &str = "way,name,ms,hits,candidates,files_read";

/// Extracts the symbols of the index, in a process of its own, and searches for some of them.
pub(crate) fn measure(bench: &mut Bench, index_dir: &Path) -> Result<(), Failure> {
    let (before, _) = machine::bytes_on_disk(index_dir)?;
    let done = child::symbols(&bench.tree, index_dir)?;
    let (after, _) = machine::bytes_on_disk(index_dir)?;
    let again = child::symbols(&bench.tree, index_dir)?;
    let megabytes = done.count("bytes") as f64 / 1e6;
    let (seconds, cpu) = (done.seconds(), done.count("cpu_ms") as f64);
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let rows = [
        ["files", &done.count("files").to_string()],
        ["symbols", &done.count("symbols").to_string()],
        ["parsed", &mb(done.count("bytes"))],
        ["wall", &format!("{seconds:.1} s, {:.1} MB/s", megabytes / seconds)],
        ["CPU", &format!("{:.1} s, {:.0} ms/MB", cpu / 1e3, cpu / megabytes)],
        ["peak RSS", &mb(done.count("peak_rss"))],
        ["index before and after", &format!("{}, {}", mb(before), mb(after))],
        ["cut: too long to parse, too large, too many", &done.text("cut")],
        ["changed, unreadable", &done.text("left")],
        ["nothing left to do", &format!("{:.3} s", again.seconds())],
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
    bench.report.table(&["extraction", "measured"], &rows);
    bench.report.check("14 a second extraction", ("pending", again.count("pending")), ("nothing", 0));
    searches(bench, index_dir)
}

/// Names of the tree, evenly over its files.
fn names(bench: &Bench, engine: &Engine) -> Result<Vec<String>, Failure> {
    let mut paths = Vec::new();
    engine.snapshot()?.for_each_file(|path, _| paths.push(String::from_utf8_lossy(path).into_owned()))?;
    paths.sort_unstable();
    let wanted = if bench.options.smoke { NAMES / 10 } else { NAMES };
    let mut names = Vec::new();
    for path in paths.iter().step_by((paths.len() / (2 * wanted)).max(1)) {
        let Ok(outline) = engine.outline(path) else { continue };
        // The one in the middle: neither the includes' guard nor the module's last line.
        names.extend(outline.symbols.get(outline.symbols.len() / 2).map(|symbol| symbol.name.clone()));
    }
    names.sort_unstable();
    names.dedup();
    let step = (names.len() / wanted).max(1);
    Ok(names.into_iter().step_by(step).collect())
}

fn searches(bench: &mut Bench, index_dir: &Path) -> Result<(), Failure> {
    let engine = Engine::builder().index_dir(index_dir).open(&bench.tree)?;
    let names = names(bench, &engine)?;
    let snapshot = engine.snapshot()?;
    let beginning = |name: &String| name.chars().take((name.chars().count() * 2 / 3).max(1)).chain(['*']).collect();
    let ways = [
        ("exact", names.clone()),
        ("beginning", names.iter().map(beginning).collect()),
        ("humps", names.iter().filter_map(|name| humps(name)).collect()),
    ];
    let mut rows = Vec::new();
    for (way, patterns) in ways {
        let mut times = Samples::default();
        let (mut with_hits, mut hits) = (0, 0);
        for pattern in &patterns {
            for round in 0..=ROUNDS {
                let started = Instant::now();
                let found = snapshot.search(&Query::new(Mode::Symbol, pattern.as_str()))?;
                let ms = started.elapsed().as_secs_f64() * 1e3;
                if round == 0 {
                    with_hits += usize::from(!found.hits.is_empty());
                    hits += found.hits.len();
                } else {
                    times.add(ms);
                }
                let cells: [&dyn std::fmt::Display; 6] =
                    [&way, pattern, &ms, &found.hits.len(), &found.candidates, &found.files_read];
                bench.report.raw("symbols.csv", RAW, &cells);
            }
        }
        bench.report.check(&format!("14 {way}"), ("names", patterns.len()), ("found", with_hits));
        let [p50, p99] = [50.0, 99.0].map(|percent| format!("{:.2}", times.percentile(percent)));
        rows.push(vec![
            way.to_owned(),
            patterns.len().to_string(),
            hits.to_string(),
            p50,
            p99,
            format!("{:.2}", times.max()),
        ]);
        bench.report.told(&format!("symbol search P50: {way}"), format!("{:.2} ms", times.percentile(50.0)));
    }
    bench.report.say("");
    bench.report.table(&["names", "count", "hits", "P50 ms", "P99 ms", "most ms"], &rows);
    Ok(())
}

/// The beginnings of a name's first parts; `None` for names of one part.
fn humps(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('_').filter(|part| part.len() >= 2 && part.is_ascii()).collect();
    (parts.len() >= 2 && name.starts_with(parts[0]))
        .then(|| parts.iter().map(|part| &part[..2]).collect::<Vec<_>>().join("_"))
}
