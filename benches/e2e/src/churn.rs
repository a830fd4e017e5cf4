//! Section 10: what many updates do to the size of an index.

use crate::changes::FILES;
use crate::copy::{self, Candidate};
use crate::queries::Rng;
use crate::report::Samples;
use crate::{Bench, Failure, child, machine};
use leindex_engine::{Engine, Status};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const UPDATES: usize = 100;
/// How far the file whose content is taken may be from the one that gets it, in the order of sizes.
const NEAR: usize = 25;
/// Draws for each file that is wanted.
const TRIES: usize = 20;
const MUST_RATIO: f64 = 1.5;
const RAW: &str = "update,wall_s,indexed,index_bytes,segments";

/// Section 10.
pub(crate) fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let copy = copy::of(bench)?;
    let index_dir = bench.scratch.join("churn");
    let first = copy::settled_index(&copy, &index_dir)?.count("index_bytes");
    let engine = Engine::builder().index_dir(&index_dir).open(&copy)?;
    let mut candidates = copy::candidates(&engine.snapshot()?)?;
    candidates.sort_by_key(|candidate| candidate.size);
    let mut rng = Rng::new(bench.options.seed ^ 0x6368_7572);
    let (mut walls, mut sizes) = (Samples::default(), Samples::default());
    let (mut indexed, mut changed) = (0, 0);
    for update in 1..=UPDATES {
        let paths = rewrite(&bench.tree, &copy, &candidates, &mut rng)?;
        machine::sync();
        let started = Instant::now();
        let report = engine.update(&paths).wait()?;
        let wall = started.elapsed().as_secs_f64();
        if report.files.indexed != paths.len() as u64 {
            return Err(format!("{} files indexed when {} had changed", report.files.indexed, paths.len()).into());
        }
        indexed += report.files.indexed;
        changed += paths.len() as u64;
        walls.add(wall);
        sizes.add(report.index_bytes as f64);
        let segments = engine.snapshot()?.status()?.segments;
        let cells: [&dyn std::fmt::Display; 5] =
            [&update, &wall, &report.files.indexed, &report.index_bytes, &segments];
        bench.report.raw("churn.csv", RAW, &cells);
    }
    drop(engine);
    bench.report.check("10 files", ("changed", changed), ("indexed", indexed));
    bench.report.say("");
    compare(bench, &copy, &index_dir, first, &sizes)?;
    bench.report.told("disk use: an update of 100 files, in process", format!("{walls:.3} s"));
    Ok(())
}

/// The index after all updates beside one of the same tree from nothing.
fn compare(bench: &mut Bench, copy: &Path, index_dir: &Path, first: u64, sizes: &Samples) -> Result<(), Failure> {
    let fresh_dir = bench.scratch.join("churn-fresh");
    child::index(copy, &fresh_dir)?;
    let (ours, fresh) = (status(copy, index_dir)?, status(copy, &fresh_dir)?);
    let (our_size, fresh_size) = (machine::bytes_on_disk(index_dir)?, machine::bytes_on_disk(&fresh_dir)?);
    let row = |name: &str, status: &Status, (bytes, blocks): (u64, u64)| {
        let (segments, files) = (status.segments.to_string(), status.indexed.to_string());
        [name.to_owned(), segments, mb(bytes as f64), mb(blocks as f64), files]
    };
    let rows = [row("after all updates", &ours, our_size), row("from nothing", &fresh, fresh_size)];
    bench.report.table(&["index", "segments", "MB", "blocks MB", "files"], &rows);
    let (least, most) = (mb(sizes.percentile(0.0)), mb(sizes.max()));
    let first = mb(first as f64);
    bench.report.say(format!("Before the first update it had {first} MB, after each {least} to {most} MB."));
    let report = &mut bench.report;
    report.check("10 searchable files", ("updated", ours.indexed), ("from nothing", fresh.indexed));
    report.check("10 their bytes", ("updated", ours.content_bytes), ("from nothing", fresh.content_bytes));
    let name = format!("disk use after {UPDATES} updates of {FILES} files / fresh index");
    report.below(&name, our_size.0 as f64 / fresh_size.0 as f64, MUST_RATIO, "");
    report.told("disk use: segments after all updates", format!("{}; fresh {}", ours.segments, fresh.segments));
    Ok(())
}

fn mb(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

fn status(tree: &Path, index_dir: &Path) -> Result<Status, Failure> {
    Ok(Engine::builder().index_dir(index_dir).open(tree)?.snapshot()?.status()?)
}

/// Gives files drawn from `candidates`, which are in the order of size, the content of others. That is read from the tree
/// that was copied: content that was copied about again and again would become ever more alike.
fn rewrite(tree: &Path, copy: &Path, candidates: &[Candidate], rng: &mut Rng) -> Result<Vec<PathBuf>, Failure> {
    let wanted = FILES.min(candidates.len() / 2);
    let mut drawn = HashSet::new();
    let mut paths = Vec::with_capacity(wanted);
    for _ in 0..wanted * TRIES {
        if paths.len() == wanted {
            break;
        }
        let target = rng.below(candidates.len());
        let near = (target + rng.below(2 * NEAR + 1)).saturating_sub(NEAR).min(candidates.len() - 1);
        if drawn.contains(&target) {
            continue;
        }
        let path = copy.join(&candidates[target].path);
        let content = fs::read(tree.join(&candidates[near].path))?;
        // The same content is no change.
        if fs::read(&path)? != content {
            fs::write(&path, content)?;
            drawn.insert(target);
            paths.push(path);
        }
    }
    Ok(paths)
}
