//! Ignore rules beside what others match them with: one regex at a time, globset, `ignore`; and our two back ends.
//!
//! ```text
//! LEINDEX_TREE=benches/corpora/linux cargo bench -p leindex-rivals --bench rules
//! ```
//!
//! The rules are those of the tree's own `.gitignore` files, the first 100 and 1000 distinct lines, as one file at the
//! root; the paths are all paths of the tree, files and directories. Times are per path. Before anything is timed the two
//! back ends are compared over all paths; the others understand some rules differently, so only their counts are printed.
//! Without a tree a small made-up one is used, so that the bench does not rot: its figures mean nothing.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use globset::{GlobBuilder, GlobSetBuilder};
use ignore::gitignore::GitignoreBuilder;
use leindex_engine::rules::{Case, Database, RuleFile, Source, SourceKind, Stack};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path and whether it is a directory.
type Paths = Vec<(PathBuf, bool)>;

fn main_input() -> (Vec<String>, Paths) {
    let Some(tree) = std::env::var_os("LEINDEX_TREE") else { return made_up() };
    let tree = Path::new(&tree);
    let (mut lines, mut seen, mut paths) = (Vec::new(), BTreeSet::new(), Paths::new());
    for entry in walkdir::WalkDir::new(tree).min_depth(1).sort_by_file_name() {
        let entry = entry.expect("the tree can be walked");
        if entry.file_name() == ".gitignore" {
            let content = std::fs::read_to_string(entry.path()).expect("a rule file can be read");
            let rules = content.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.extend(rules.filter(|line| seen.insert((*line).to_owned())).map(str::to_owned));
        }
        let relative = entry.path().strip_prefix(tree).expect("it is below the tree");
        paths.push((relative.to_owned(), entry.file_type().is_dir()));
    }
    (lines, paths)
}

fn made_up() -> (Vec<String>, Paths) {
    eprintln!("LEINDEX_TREE is not set: a made-up tree, whose figures mean nothing");
    let rules = (0..1000).map(|n| match n % 5 {
        0 => format!("*.x{n}"),
        1 => format!("/dir{n}/"),
        2 => format!("name{n}"),
        3 => format!("a*{n}?"),
        _ => format!("dir/**/f{n}"),
    });
    let paths = (0..200).map(|n| (PathBuf::from(format!("dir/sub{}/name{n}.x{}", n % 7, n * 5)), n % 9 == 0));
    (rules.collect(), paths.collect())
}

fn rules(c: &mut Criterion) {
    let (lines, paths) = main_input();
    for count in [100, 1000] {
        let lines = &lines[..count.min(lines.len())];
        let mut group = c.benchmark_group(format!("rules-{count}"));
        group.sample_size(10).throughput(Throughput::Elements(paths.len() as u64));

        let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
        let stack = Stack::new(vec![RuleFile::parse(source.clone(), lines.join("\n").as_bytes(), Case::Sensitive)]);
        let file = Arc::new(RuleFile::parse(source, lines.join("\n").as_bytes(), Case::Sensitive));
        let begun = std::time::Instant::now();
        let database = Database::compile(vec![file]).expect("Hyperscan compiles the rules");
        eprintln!("{count}: Hyperscan compiled {} rules in {:?}", lines.len(), begun.elapsed());
        let mut scratch = database.scratch().expect("memory");
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let texts: Vec<(Vec<u8>, bool)> = paths.iter().map(|(path, is_dir)| (bytes(path), *is_dir)).collect();
        let mut decided = 0;
        for (path, is_dir) in &texts {
            let (ours, hyperscan) = (stack.verdict(path, *is_dir), database.verdict(path, *is_dir, &mut scratch));
            assert_eq!(ours, hyperscan, "{}", path.escape_ascii());
            decided += u64::from(ours.is_some());
        }
        eprintln!("{count}: {decided} of {} paths are decided by a rule", texts.len());

        group.bench_function("portable", |b| {
            b.iter(|| texts.iter().filter(|(path, is_dir)| stack.verdict(black_box(path), *is_dir).is_some()).count());
        });
        group.bench_function("hyperscan", |b| {
            b.iter(|| {
                let asked = texts.iter().map(|(path, is_dir)| database.verdict(black_box(path), *is_dir, &mut scratch));
                asked.filter(Option::is_some).count()
            });
        });

        let mut builder = GitignoreBuilder::new("");
        for line in lines {
            builder.add_line(None, line).expect("a rule that `ignore` understands");
        }
        let gitignore = builder.build().expect("rules that `ignore` understands");
        group.bench_function("ignore", |b| {
            b.iter(|| {
                paths.iter().filter(|(path, is_dir)| !gitignore.matched(black_box(path), *is_dir).is_none()).count()
            });
        });

        let globs: Vec<_> = lines.iter().filter_map(|line| glob(line)).collect();
        let mut builder = GlobSetBuilder::new();
        for (glob, _) in &globs {
            builder.add(glob.clone());
        }
        let set = builder.build().expect("globs that are fine one by one");
        let mut matched = Vec::new();
        group.bench_function("globset", |b| {
            b.iter(|| {
                let last = paths.iter().map(|(path, is_dir)| {
                    set.matches_into(black_box(path), &mut matched);
                    matched.iter().rev().find(|&&index| *is_dir || !globs[index].1).copied()
                });
                last.filter(Option::is_some).count()
            });
        });

        // So slow that a part of the paths has to do; the time is per path all the same.
        let regexes: Vec<_> = globs.iter().map(|(glob, dir_only)| (regex(glob.regex()), *dir_only)).collect();
        let some: Vec<_> = texts.iter().step_by(texts.len().div_ceil(500)).collect();
        group.throughput(Throughput::Elements(some.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter("regex-at-a-time"), &some, |b, some| {
            b.iter(|| {
                let decided = |(path, is_dir): &&&(Vec<u8>, bool)| {
                    regexes
                        .iter()
                        .rev()
                        .any(|(regex, dir_only)| (*is_dir || !dir_only) && regex.is_match(black_box(path)))
                };
                some.iter().filter(decided).count()
            });
        });
        group.finish();
    }
}

/// A rule as others write it: a glob over the whole path, and whether only directories match.
fn glob(line: &str) -> Option<(globset::Glob, bool)> {
    let line = line.strip_prefix('!').unwrap_or(line);
    let (line, dir_only) = line.strip_suffix('/').map_or((line, false), |line| (line, true));
    let text = match line.strip_prefix('/') {
        Some(anchored) => anchored.to_owned(),
        None if line.contains('/') => line.to_owned(),
        None => format!("**/{line}"),
    };
    Some((GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build().ok()?, dir_only))
}

fn regex(text: &str) -> regex::bytes::Regex {
    regex::bytes::Regex::new(text).expect("globset writes regexes that the crate regex reads")
}

criterion_group!(benches, rules);
criterion_main!(benches);
