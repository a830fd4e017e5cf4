//! Measures how well functions are found by the first sentence of their documentation.
//!
//! `cut`: pairs of sentence and function out of the packages that `scripts/quality-corpus` fetches. `measure`: the functions,
//! without their documentation, become a tree of files; the tree is indexed and embedded, and each sentence is searched for
//! in every mode, and by a plain BM25 of our own. The half `tune` may be looked at to choose weights; `held-out` is what is
//! reported.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

mod cut;
mod cut_c;
mod cut_javascript;
mod cut_python;
mod cut_rust;
mod ir;
mod measure;
mod pairs;
mod sentence;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: leindex-quality cut CORPUS/SPLIT OUT.json [--count N]
       leindex-quality measure CORPUS/SPLIT [--count N] [--model DIR] [--out DIR]

CORPUS is a folder that scripts/quality-corpus has filled; SPLIT is tune or held-out.
  --count N    pairs a language (default 300)
  --model DIR  embed with the model in this folder (scripts/get-model) instead of the table of words
  --out DIR    write ranks.csv there: a line a pair and way";

/// Pairs a language, unless something else is asked for.
const COUNT: usize = 300;

pub(crate) type Failure = Box<dyn std::error::Error>;

/// What the command line asks for.
struct Options {
    command: String,
    paths: Vec<PathBuf>,
    count: usize,
    model: Option<PathBuf>,
    out: Option<PathBuf>,
}

fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut args = args.skip(1);
    let command = args.next().ok_or("say cut or measure")?;
    let mut options = Options { command, paths: Vec::new(), count: COUNT, model: None, out: None };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg}: a value is missing"));
        match &arg[..] {
            "--count" => options.count = value()?.parse().map_err(|_| format!("{arg}: use a number"))?,
            "--model" => options.model = Some(value()?.into()),
            "--out" => options.out = Some(value()?.into()),
            _ if arg.starts_with('-') => return Err(format!("{arg}: no such option")),
            _ => options.paths.push(arg.into()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), Failure> {
    let limits = pairs::Limits::of_language(options.count);
    match (&options.command[..], &options.paths[..]) {
        ("cut", [from, to]) => {
            let cut = pairs::cut(from, &limits)?;
            let json = |pair: &pairs::Pair| {
                serde_json::json!({
                    "language": pair.language.name(), "package": pair.package, "path": pair.path, "line": pair.line,
                    "name": pair.name, "query": pair.query, "body": pair.body,
                })
            };
            let list: Vec<_> = cut.pairs.iter().map(json).collect();
            std::fs::write(to, serde_json::to_vec(&list)?).map_err(|error| format!("{}: {error}", to.display()))?;
            println!("{}: {} pairs", to.display(), list.len());
            Ok(())
        }
        ("measure", [from]) => measure::measure(from, &limits, options.model.as_deref(), options.out.as_deref()),
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let done =
        parse(std::env::args()).map_err(|error| format!("{error}\n{USAGE}").into()).and_then(|options| run(&options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leindex-quality: {error}");
            ExitCode::FAILURE
        }
    }
}
