//! Indexes the functions, asks for each, and compares the ways to search.

use crate::Failure;
use crate::ir::{Bm25, TOP, by_group, figures, ratio};
use crate::pairs::{Limits, Pair, cut, write_tree};
use leindex_engine::{Engine, Mode, Query, Snapshot};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Of the resampling, so that each run gives the same intervals.
const SEED: u64 = 7;

/// A way to search, with the rank of the wanted function for each pair and the time of all queries.
struct Way {
    name: &'static str,
    ranks: Vec<Option<usize>>,
    seconds: f64,
}

/// Measures the split in `from`, with the table of words or the model in a folder.
pub(crate) fn measure(from: &Path, limits: &Limits, model: Option<&Path>, out: Option<&Path>) -> Result<(), Failure> {
    let pairs = cut(from, limits)?.pairs;
    if pairs.is_empty() {
        return Err(format!("{}: no pairs: fill it with scripts/quality-corpus", from.display()).into());
    }
    let tree = tempfile::tempdir()?;
    let paths = write_tree(&pairs, tree.path())?;
    let builder = match model {
        Some(dir) => Engine::builder().model(dir),
        None => Engine::builder(),
    };
    let engine = builder.open(tree.path())?;
    engine.index().wait()?;
    let embedded = engine.embed().wait()?;
    println!(
        "{}: {} functions, {} chunks embedded in {:.2} s by {}",
        from.display(),
        pairs.len(),
        embedded.chunks,
        embedded.seconds,
        embedded.device,
    );
    let snapshot = engine.snapshot()?;
    let mut ways = vec![bm25(&pairs)];
    for (name, mode) in [("text", Mode::Text), ("semantic", Mode::Semantic), ("hybrid", Mode::Hybrid)] {
        ways.push(ask(name, mode, &snapshot, &pairs, &paths)?);
    }
    print!("{}", table(&pairs, &ways));
    if let Some(dir) = out {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("ranks.csv"), csv(&pairs, &paths, &ways))?;
    }
    Ok(())
}

fn bm25(pairs: &[Pair]) -> Way {
    let started = Instant::now();
    let index = Bm25::new(pairs.iter().map(|pair| &pair.body[..]));
    let ranks = pairs.iter().enumerate().map(|(at, pair)| index.rank(&pair.query, at)).collect();
    Way { name: "plain BM25", ranks, seconds: started.elapsed().as_secs_f64() }
}

fn ask(name: &'static str, mode: Mode, snapshot: &Snapshot, pairs: &[Pair], paths: &[PathBuf]) -> Result<Way, Failure> {
    let started = Instant::now();
    let mut ranks = Vec::with_capacity(pairs.len());
    for (pair, path) in pairs.iter().zip(paths) {
        let found = snapshot.search(&Query::new(mode, &pair.query[..]).limit(TOP))?;
        ranks.push(found.hits.iter().position(|hit| hit.path == *path).map(|at| at + 1));
    }
    Ok(Way { name, ranks, seconds: started.elapsed().as_secs_f64() })
}

/// MRR@10 and recall@10 by language, and against plain BM25 with an interval of 95 %.
fn table(pairs: &[Pair], ways: &[Way]) -> String {
    let groups: Vec<&str> = pairs.iter().map(|pair| pair.language.name()).collect();
    let mut names = groups.clone();
    names.dedup();
    let mut text = format!("\n| way | all: MRR@10 | recall@10 | {} | of BM25 | ms a query |\n|---|", names.join(" | "));
    text += &"---|".repeat(names.len() + 4);
    text.push('\n');
    for way in ways {
        let all = figures(&way.ranks);
        let by_language: HashMap<&str, _> = by_group(&groups, &way.ranks).into_iter().collect();
        let each: Vec<String> = names.iter().map(|name| format!("{:.3}", by_language[name].mrr)).collect();
        let against = ratio(&way.ranks, &ways[0].ranks, SEED);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.3} | {:.3} | {} | {:.3} ({:.3} to {:.3}) | {:.2} |",
            way.name,
            all.mrr,
            all.recall,
            each.join(" | "),
            against.ratio,
            against.low,
            against.high,
            way.seconds * 1e3 / all.queries.max(1) as f64,
        );
    }
    text
}

fn csv(pairs: &[Pair], paths: &[PathBuf], ways: &[Way]) -> String {
    let mut text = String::from("language,path,way,rank\n");
    for way in ways {
        for ((pair, path), rank) in pairs.iter().zip(paths).zip(&way.ranks) {
            let rank = rank.map_or("-".to_owned(), |rank| rank.to_string());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{},{},{},{rank}", pair.language.name(), path.display(), way.name);
        }
    }
    text
}
