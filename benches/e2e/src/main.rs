//! End-to-end measurements of leindex-engine, side by side with what it is to be compared with, in one invocation.
//!
//! ```text
//! cargo run --release -p leindex-bench -- --tree DIR [--runs N] [--cold N] [--rg] [--only LIST] [--out DIR]
//! cargo run --release -p leindex-bench -- --smoke
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `options.rs` | the command line |
//! | `machine.rs` | what the machine is, page cache and sync |
//! | `child.rs` | this program again as a child process, and its peak memory |
//! | `walk.rs` | the lower bound: a bare walk of the tree, with or without reading it |
//! | `index.rs` | sections 1, 2 and 6: full index, nothing changed, cold cache |
//! | `rival.rs` | `cindex` and what it has written |
//! | `git.rs` | a git repository of a copy of the tree, for section 2 |
//! | `queries.rs` | queries drawn from the tree's own content, from a seed |
//! | `latency.rs` | sections 3 and 4: searches in process and as a process |
//! | `rg.rs` | section 5: every match against ripgrep's |
//! | `rules.rs` | section 7: what rules cost |
//! | `copy.rs` | a copy of the tree, in which files may be changed |
//! | `changes.rs` | section 8: 100 files changed |
//! | `watch.rs` | section 9: how soon a watcher has a new file in the index, and its memory |
//! | `churn.rs` | section 10: disk use after many updates |
//! | `ranking.rs` | section 13: whether the files that a developer wants come first |
//! | `cancel.rs` | section 11: how soon a cancelled run ends |
//! | `mcp.rs` | section 12: the server for agents |
//! | `symbols.rs` | section 14: what symbols cost, and searches for names |
//! | `tree.rs` | the generated tree of `--smoke` |
//! | `report.rs` | tables, checks, verdicts, and the files of a run |
//!
//! Times are compared only within one invocation, where A and B take turns. A missed target is printed, not an error:
//! the program fails only when something could not be run.

// A program whose results go to the terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cancel;
mod changes;
mod child;
mod churn;
mod copy;
mod embed;
mod git;
mod index;
mod latency;
mod machine;
mod mcp;
mod options;
mod queries;
mod ranking;
mod report;
mod rg;
mod rival;
mod rules;
mod symbols;
mod tree;
mod walk;
mod watch;

use options::Options;
use report::Report;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Whatever kept a measurement from being made.
type Failure = Box<dyn Error + Send + Sync>;

/// What every section needs.
struct Bench {
    options: Options,
    tree: PathBuf,
    /// For indexes; on the file system whose durability is measured.
    scratch: PathBuf,
    /// The tree once more, for changes: made by the first section that makes any.
    copy: Option<PathBuf>,
    report: Report,
}

impl Bench {
    /// Runs a section if it is wanted. One that fails does not keep the others from running.
    fn section<T>(&mut self, number: u8, title: &str, run: impl FnOnce(&mut Bench) -> Result<T, Failure>) -> Option<T> {
        if !self.options.wants(number) {
            return None;
        }
        self.always(&format!("{number}. {title}"), run)
    }

    fn always<T>(&mut self, title: &str, run: impl FnOnce(&mut Bench) -> Result<T, Failure>) -> Option<T> {
        self.report.heading(title);
        match run(self) {
            Ok(value) => Some(value),
            Err(error) => {
                self.report.fail(&format!("{title}: {error}"));
                None
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(result) = child::answer(&arguments) {
        return match result {
            Ok(answer) => {
                println!("{answer}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("leindex-bench {}: {error}", arguments.join(" "));
                ExitCode::FAILURE
            }
        };
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match measure(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("leindex-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything; whether all of it could be run.
fn measure(options: Options) -> Result<bool, Failure> {
    let scratch = match &options.scratch {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let tree = match &options.tree {
        Some(tree) => tree.canonicalize().map_err(|error| format!("{}: {error}", tree.display()))?,
        None => {
            let tree = scratch.path().join("tree");
            tree::generate(&tree)?;
            tree.canonicalize()?
        }
    };
    let report = Report::new();
    let mut bench = Bench { scratch: scratch.path().canonicalize()?, options, tree, copy: None, report };
    machine::describe(&mut bench);
    sections(&mut bench);
    bench.report.finish();
    if let Some(out) = &bench.options.out {
        bench.report.write(out)?;
    }
    Ok(bench.report.is_whole())
}

fn sections(bench: &mut Bench) {
    let mut index_dir = bench.section(1, "Full index from nothing, warm cache", index::full);
    if bench.options.index.is_some() {
        index_dir = bench.options.index.clone();
    } else if !bench.options.wants(1) && OF_AN_INDEX.iter().any(|&section| bench.options.wants(section)) {
        index_dir = bench.always("An index for the sections that search or update one", index::prepare);
    }
    bench.section(2, "Nothing changed", index::unchanged);
    if let Some(index_dir) = index_dir {
        of_an_index(bench, &index_dir);
    }
    if bench.options.cold_runs > 0 {
        bench.section(6, "Full index from nothing, cold cache", index::cold);
    }
    bench.section(7, "Ignore rules", rules::share);
    bench.section(8, "100 files changed", changes::measure);
    bench.section(9, "A new file under watch", watch::measure);
    bench.section(10, "Disk use after 100 updates", churn::measure);
    bench.section(11, "Cancelling a run", cancel::measure);
    bench.section(12, "The server for agents (MCP)", mcp::measure);
}

/// Sections that need an index of the tree.
const OF_AN_INDEX: [u8; 6] = [3, 4, 5, 13, 14, 15];

fn of_an_index(bench: &mut Bench, index_dir: &Path) {
    bench.section(15, "Embedding", |bench| embed::measure(bench, index_dir));
    bench.section(14, "Symbols", |bench| symbols::measure(bench, index_dir));
    let sets = bench.section(3, "Searches in process", |bench| latency::in_process(bench, index_dir));
    bench.section(4, "A search as a process", |bench| latency::as_process(bench, index_dir, sets));
    if bench.options.rg {
        bench.section(5, "Every match against ripgrep", |bench| rg::compare(bench, index_dir));
    }
    bench.section(13, "Ranking", |bench| ranking::measure(bench, index_dir));
}
