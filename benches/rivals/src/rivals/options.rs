//! The command line.

use std::path::PathBuf;

pub(super) const USAGE: &str = "\
usage: leindex-rivals --tree DIR [OPTIONS]
       leindex-rivals --list
       leindex-rivals --smoke [OPTIONS]

  --tree DIR        the tree to measure on; it is not written to
  --runs N          rounds with a warm cache (default 5)
  --cold N          rounds with a cold cache, 0 for none (default 3; needs root to drop the caches of the whole machine)
  --only NAME,NAME  these ways only; the first words of a name choose all that begin so: `uring`, `naive`
  --out DIR         write summary.md, command.txt, figures.csv and samples.csv there
  --list            name the ways and say what they do
  --smoke           every way once, on a small generated tree; drops no caches";

/// See [`USAGE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) tree: Option<PathBuf>,
    pub(super) runs: usize,
    pub(super) cold_runs: usize,
    pub(super) only: Vec<String>,
    pub(super) out: Option<PathBuf>,
    pub(super) smoke: bool,
    pub(super) list: bool,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Options, String> {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let (smoke, list) = (has("--smoke"), has("--list"));
        let (runs, cold_runs) = if smoke { (1, 0) } else { (5, 3) };
        let mut options = Options { tree: None, runs, cold_runs, only: Vec::new(), out: None, smoke, list };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--tree" => options.tree = Some(value()?.into()),
                "--out" => options.out = Some(value()?.into()),
                "--runs" => options.runs = number(value()?)?.max(1),
                "--cold" => options.cold_runs = number(value()?)?,
                "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
                "--smoke" | "--list" => {}
                other => return Err(format!("unknown argument {other}")),
            }
        }
        if smoke && (options.tree.is_some() || options.cold_runs > 0) {
            return Err("--smoke brings its own tree, and never drops caches".into());
        }
        if options.tree.is_none() && !smoke && !list {
            return Err("--tree is missing".into());
        }
        Ok(options)
    }
}

fn number(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{value} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = parse("--tree a --runs 0 --cold 1 --only uring,find --only walkdir").unwrap();
        assert_eq!((options.runs, options.cold_runs), (1, 1));
        assert_eq!(options.only, ["uring", "find", "walkdir"]);
        assert_eq!(parse("--smoke").unwrap().cold_runs, 0);
        assert!(parse("--list").unwrap().list);
        for wrong in ["", "--tree", "--tree a --runs x", "--tree a --fast", "--smoke --tree a", "--smoke --cold 2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
