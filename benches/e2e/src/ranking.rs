//! Section 13: whether the files that a developer wants come first. Queries and wanted files are those of a file such as
//! `benches/ranking/linux-6.1.tsv`, whose head says what it holds.

use crate::report::Samples;
use crate::{Bench, Failure};
use leindex_engine::{Query, Ranking, Snapshot};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Hits that are looked at: what a person or an agent reads.
const TOP: usize = 10;
/// Hits that are asked for, as in the other sections.
const LIMIT: usize = 20;
/// Every query is timed this many times, after one that is not.
const ROUNDS: usize = 3;
/// Every so many queries, one is held out.
const HELD_OUT_EVERY: usize = 3;
/// The mean reciprocal rank that is aimed at.
const MUST_MRR: f64 = 0.75;
const RAW: &str = "group,query,held_out,way,rank,ms";
/// Of the generated tree, for `--smoke`.
const SMOKE: &str = "function\tranked_window\tranked/defined.c\nsubsystem\tcursor vector\tranked/cursor/vector.c\n";

/// One line of the file.
struct Asked {
    group: String,
    query: String,
    wanted: Vec<PathBuf>,
    held_out: bool,
}

fn parse(text: &str) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [group, query, wanted] = cells[..] else {
            return Err(format!("{line:?}: a line is group, query and wanted files, with a tab between").into());
        };
        asked.push(Asked {
            group: group.to_owned(),
            query: query.to_owned(),
            wanted: wanted.split(',').map(PathBuf::from).collect(),
            held_out: (asked.len() + 1).is_multiple_of(HELD_OUT_EVERY),
        });
    }
    Ok(asked)
}

/// A way to order hits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Bm25,
    Code,
    /// As `Code`, with the files that define the identifier of a query first: what perfect knowledge would give.
    Oracle,
}

const WAYS: [(Way, &str); 3] =
    [(Way::Bm25, "BM25"), (Way::Code, "ranking"), (Way::Oracle, "ranking, all definitions known")];

/// The rank of the first wanted file of each query, and the times.
struct Measured {
    ranks: Vec<Option<usize>>,
    ms: Samples,
}

/// Section 13.
pub(crate) fn measure(bench: &mut Bench, index_dir: &Path) -> Result<(), Failure> {
    let text = match &bench.options.ranking {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?,
        None if bench.options.smoke => SMOKE.to_owned(),
        None => {
            bench.report.skipped("ranking", "no file of queries for this tree: --ranking FILE");
            return Ok(());
        }
    };
    let asked = parse(&text)?;
    let snapshot = crate::latency::open(bench, index_dir)?;
    for wanted in asked.iter().flat_map(|asked| &asked.wanted) {
        if snapshot.lookup(wanted)?.is_none() {
            return Err(format!("{}: wanted, but not in the index", wanted.display()).into());
        }
    }
    let mut all = Vec::new();
    for (way, name) in WAYS {
        let measured = measure_way(bench, &snapshot, &asked, way, name)?;
        all.push(measured);
    }
    tell(bench, &asked, &all);
    Ok(())
}

fn measure_way(
    bench: &mut Bench,
    snapshot: &Snapshot,
    asked: &[Asked],
    way: Way,
    name: &str,
) -> Result<Measured, Failure> {
    let mut measured = Measured { ranks: Vec::new(), ms: Samples::default() };
    for asked in asked {
        let mut paths = Vec::new();
        let mut of_query = Samples::default();
        for round in 0..=if way == Way::Oracle { 0 } else { ROUNDS } {
            let started = Instant::now();
            paths = ordered(snapshot, &asked.query, way)?;
            if round > 0 {
                of_query.add(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        let rank = paths.iter().take(TOP).position(|path| asked.wanted.contains(path)).map(|index| index + 1);
        let ms = of_query.median();
        if !ms.is_nan() {
            measured.ms.add(ms);
        }
        let shown = rank.map_or("-".to_owned(), |rank| rank.to_string());
        let cells: [&dyn std::fmt::Display; 6] = [&asked.group, &asked.query, &asked.held_out, &name, &shown, &ms];
        bench.report.raw("ranking.csv", RAW, &cells);
        measured.ranks.push(rank);
        if bench.options.each && way == Way::Code && rank != Some(1) {
            let first: Vec<String> = paths.iter().take(5).map(|path| path.display().to_string()).collect();
            bench.report.say(format!("{} {:?}: rank {shown}; {}", asked.group, asked.query, first.join(" ")));
        }
    }
    Ok(measured)
}

/// The paths of the hits.
fn ordered(snapshot: &Snapshot, query: &str, way: Way) -> Result<Vec<PathBuf>, Failure> {
    let ranking = if way == Way::Bm25 { Ranking::Bm25 } else { Ranking::Code };
    let limit = if way == Way::Oracle { 0 } else { LIMIT };
    let found = snapshot.search(&Query::text(query).ranking(ranking).limit(limit))?;
    let mut paths: Vec<PathBuf> = found.hits.into_iter().map(|hit| hit.path).collect();
    if way == Way::Oracle
        && let Some(regex) = definition(query)
    {
        let found = snapshot.search(&Query::regex(regex).limit(0))?;
        let defining: HashSet<PathBuf> = found.hits.into_iter().map(|hit| hit.path).collect();
        paths.sort_by_key(|path| !defining.contains(path));
    }
    Ok(paths)
}

/// The lines that define the identifier of a query in C, as good as a line can tell; `None` for several words.
fn definition(query: &str) -> Option<String> {
    let (kind, name) = query.split_once(' ').map_or(("", query), |(kind, name)| (kind, name));
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !word || !matches!(kind, "" | "struct" | "union" | "enum") {
        return None;
    }
    Some(format!(
        r"^\s*#\s*define\s+{name}\b|^(struct|union|enum)\s+{name}\s*\{{|^(\w[\w\s*()]*[\s*])?{name}\([^;]*$|^SYSCALL_DEFINE\d\({name}\b"
    ))
}

fn tell(bench: &mut Bench, asked: &[Asked], all: &[Measured]) {
    let mut groups: Vec<&str> = asked.iter().map(|asked| &asked.group[..]).collect();
    groups.dedup();
    let mut rows = Vec::new();
    for group in &groups {
        rows.push(row(group, asked, all, |asked| asked.group == *group));
    }
    rows.push(row("tuned on", asked, all, |asked| !asked.held_out));
    rows.push(row("held out", asked, all, |asked| asked.held_out));
    rows.push(row("all", asked, all, |_| true));
    let mut columns = vec!["queries".to_owned(), "count".to_owned()];
    for (_, name) in WAYS {
        columns.extend([format!("{name}: MRR@10"), "recall@10".to_owned()]);
    }
    bench.report.table(&columns.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    let answered = all[1].ranks.len();
    bench.report.check("13 queries", ("asked", asked.len()), ("answered", answered));
    let mrr = |way: usize| mean(all[way].ranks.iter().map(|&rank| reciprocal(rank)));
    bench.report.at_least("ranking: MRR@10", mrr(1), MUST_MRR, "");
    bench.report.told("ranking: MRR@10 of plain BM25", format!("{:.3}", mrr(0)));
    for (measured, name) in all.iter().zip(["BM25", "ranking"]) {
        let (p50, p99) = (measured.ms.percentile(50.0), measured.ms.percentile(99.0));
        bench.report.told(&format!("ranking: time a query, {name}: P50, P99"), format!("{p50:.2}, {p99:.1} ms"));
    }
}

fn row(name: &str, asked: &[Asked], all: &[Measured], wanted: impl Fn(&Asked) -> bool) -> Vec<String> {
    let of = |measured: &Measured| -> Vec<Option<usize>> {
        asked.iter().zip(&measured.ranks).filter(|(asked, _)| wanted(asked)).map(|(_, &rank)| rank).collect()
    };
    let mut cells = vec![name.to_owned(), asked.iter().filter(|asked| wanted(asked)).count().to_string()];
    for measured in all {
        let ranks = of(measured);
        let mrr = mean(ranks.iter().map(|&rank| reciprocal(rank)));
        let recall = mean(ranks.iter().map(|rank| if rank.is_some() { 1.0 } else { 0.0 }));
        cells.extend([format!("{mrr:.3}"), format!("{recall:.2}")]);
    }
    cells
}

fn reciprocal(rank: Option<usize>) -> f64 {
    rank.map_or(0.0, |rank| 1.0 / rank as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_queries() {
        let asked = parse(include_str!("../../ranking/linux-6.1.tsv")).unwrap();
        assert!(asked.len() >= 60);
        assert_eq!(asked.iter().filter(|asked| asked.held_out).count(), asked.len() / HELD_OUT_EVERY);
        assert!(parse("function\tvfs_read").is_err());
    }

    #[test]
    fn means_of_ranks() {
        assert_eq!(mean([Some(1), Some(4), None].into_iter().map(reciprocal)), 1.25 / 3.0);
        assert_eq!(mean(std::iter::empty()), 0.0);
    }

    #[test]
    fn definitions_are_told_for_one_identifier() {
        assert!(definition("struct page").is_some_and(|regex| regex.contains("page")));
        assert!(definition("kmalloc").is_some());
        assert_eq!(definition("tcp congestion control"), None);
    }
}
