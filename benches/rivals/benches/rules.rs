//! Ignore rules beside what others match them with: one regex at a time, globset, `ignore`; and our two back ends.
//!
//! ```text
//! LEINDEX_TREE=benches/corpora/linux cargo bench -p leindex-rivals --bench rules
//! ```
//!
//! The rules are those of the tree's own `.gitignore` files, the first 100 and 1000 distinct lines, as one file at the
//! root; the paths are all paths of the tree, files and directories, a directory at a time as a walk meets them (what our
//! back ends work out once for a directory is part of their time). Times are per path. Before anything is timed the two
//! back ends are compared over all paths; the others understand some rules differently, so only their counts are printed.
//! Without a tree a small made-up one is used, so that the bench does not rot: its figures mean nothing.

// A bench says what it measured beside its times.
#![allow(clippy::print_stderr)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use globset::{GlobBuilder, GlobSetBuilder};
use ignore::gitignore::GitignoreBuilder;
use leindex_engine::rules::{Case, Database, RuleFile, Scratch, Source, SourceKind, Stack};
use std::collections::{BTreeMap, BTreeSet};
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

        let file = || {
            let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
            RuleFile::parse(source, lines.join("\n").as_bytes(), Case::Sensitive)
        };
        let portable = Stack::new(vec![file()]);
        let begun = std::time::Instant::now();
        let database = Database::compile(&portable.expressions()).expect("Hyperscan compiles the rules");
        let compiled_in = begun.elapsed();
        let stored = database.to_bytes().expect("memory");
        let begun = std::time::Instant::now();
        let loaded = Database::from_bytes(&stored).expect("what was just stored");
        eprintln!(
            "{} rules: compiled in {compiled_in:?}, {} bytes, loaded in {:?}",
            lines.len(),
            stored.len(),
            begun.elapsed()
        );
        let compiled = Stack::with_database(vec![file()], Some(Arc::new(loaded)));
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        let texts: Vec<(Vec<u8>, bool)> = paths.iter().map(|(path, is_dir)| (bytes(path), *is_dir)).collect();
        let dirs = by_directory(&texts);
        let (ours, theirs) = (verdicts(&portable, &dirs), verdicts(&compiled, &dirs));
        assert!(ours == theirs, "the back ends differ");
        eprintln!("{} of {} paths are decided by a rule", ours.iter().flatten().count(), texts.len());
        for (name, stack) in [("portable", &portable), ("hyperscan", &compiled)] {
            group.bench_function(name, |b| {
                let mut scratch = Scratch::default();
                b.iter(|| {
                    let mut decided = 0;
                    for (dir, entries) in &dirs {
                        let in_dir = stack.in_dir(black_box(dir));
                        for (path, is_dir) in entries {
                            decided += u64::from(in_dir.verdict(black_box(path), *is_dir, &mut scratch).is_some());
                        }
                    }
                    decided
                });
            });
        }

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

/// The entries of a directory, whose path ends in a slash unless it is that of the root.
type InDirectory<'p> = (&'p [u8], Vec<(&'p [u8], bool)>);

/// The paths as a walk meets them: a directory at a time.
fn by_directory(texts: &[(Vec<u8>, bool)]) -> Vec<InDirectory<'_>> {
    let mut dirs: BTreeMap<&[u8], Vec<(&[u8], bool)>> = BTreeMap::new();
    for (path, is_dir) in texts {
        let slash = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        dirs.entry(&path[..slash]).or_default().push((path, *is_dir));
    }
    dirs.into_iter().collect()
}

fn verdicts(stack: &Stack, dirs: &[InDirectory<'_>]) -> Vec<Option<usize>> {
    let mut scratch = Scratch::default();
    let of_dir = |(dir, entries): &InDirectory<'_>| {
        let in_dir = stack.in_dir(dir);
        let line = |(path, is_dir): &(&[u8], bool)| Some(in_dir.verdict(path, *is_dir, &mut scratch)?.line);
        entries.iter().map(line).collect::<Vec<_>>()
    };
    dirs.iter().flat_map(of_dir).collect()
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
