//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: leindex-bench --tree DIR [OPTIONS]
       leindex-bench --smoke [OPTIONS]

  --tree DIR     the tree to measure on; it is not written to: sections that change files do so in a copy
  --runs N       runs of a full index, ours and cindex's in turns (default 3)
  --cold N       runs with a cold cache, 0 for none (default 3; needs root to drop the caches of the whole machine)
  --rg           compare every match of 50 patterns with ripgrep's
  --out DIR      write summary.md, command.txt, figures.csv, checks.csv and the raw samples there
  --scratch DIR  where indexes and the copy of the tree are written (default: the system's directory for temporary files)
  --only LIST    only these sections, such as 2,8,9; what they build on is made, not measured
  --skip LIST    all sections but these
  --index DIR    an index of the tree, for the sections that search one
  --ranking FILE the queries of section 13 and the files they want, such as benches/ranking/linux-6.1.tsv
  --each         tell each query of section 13 whose first hit is not the wanted one
  --engine FILE  the command `leindex-engine` of sections 9 and 12 (default: the one beside this program)
  --seed N       seed of the queries and of the changes (default 1)
  --smoke        everything, small, on a generated tree; drops no caches";

/// Sections are numbered from 1 to this.
const SECTIONS: u8 = 15;

/// See [`USAGE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) tree: Option<PathBuf>,
    pub(crate) runs: usize,
    pub(crate) cold_runs: usize,
    pub(crate) rg: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) index: Option<PathBuf>,
    pub(crate) ranking: Option<PathBuf>,
    pub(crate) each: bool,
    pub(crate) engine: Option<PathBuf>,
    pub(crate) seed: u64,
    pub(crate) smoke: bool,
    only: Option<Vec<u8>>,
    skip: Vec<u8>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
        let smoke = arguments.iter().any(|argument| argument == "--smoke");
        let (runs, cold_runs) = if smoke { (1, 1) } else { (3, 3) };
        let mut options = Options {
            tree: None,
            runs,
            cold_runs,
            rg: smoke,
            out: None,
            scratch: None,
            index: None,
            ranking: None,
            each: false,
            engine: None,
            seed: 1,
            smoke,
            only: None,
            skip: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--tree" => options.tree = Some(value()?.into()),
                "--out" => options.out = Some(value()?.into()),
                "--scratch" => options.scratch = Some(value()?.into()),
                "--runs" => options.runs = number(value()?)?.max(1) as usize,
                "--cold" => options.cold_runs = number(value()?)? as usize,
                "--only" => options.only = Some(sections(value()?)?),
                "--skip" => options.skip = sections(value()?)?,
                "--index" => options.index = Some(value()?.into()),
                "--ranking" => options.ranking = Some(value()?.into()),
                "--each" => options.each = true,
                "--engine" => options.engine = Some(value()?.into()),
                "--seed" => options.seed = number(value()?)?,
                "--rg" => options.rg = true,
                "--smoke" => {}
                other => return Err(format!("unknown argument {other}")),
            }
        }
        if options.tree.is_none() && !smoke {
            return Err("--tree is missing".into());
        }
        Ok(options)
    }

    /// Whether a section is to be measured.
    pub(crate) fn wants(&self, section: u8) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&section)) && !self.skip.contains(&section)
    }
}

fn sections(list: &str) -> Result<Vec<u8>, String> {
    let section = |text: &str| {
        let number = text.parse().ok().filter(|number| (1..=SECTIONS).contains(number));
        number.ok_or(format!("{text} is no section: they are numbered from 1 to {SECTIONS}"))
    };
    list.split(',').map(section).collect()
}

fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{value} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = parse("--tree a --runs 5 --cold 0 --rg --seed 9").unwrap();
        assert_eq!((options.runs, options.cold_runs, options.rg, options.seed), (5, 0, true, 9));
        assert!(parse("--smoke").unwrap().smoke);
        for wrong in ["", "--tree", "--tree a --runs x", "--tree a --fast", "--tree a --only 0", "--tree a --skip 2,"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let wanted = |line| {
            let options = parse(line).unwrap();
            (1..=SECTIONS).filter(|&section| options.wants(section)).collect::<Vec<_>>()
        };
        assert_eq!(wanted("--smoke"), (1..=SECTIONS).collect::<Vec<_>>());
        assert_eq!(wanted("--tree a --only 2,8,11 --skip 8"), [2, 11]);
    }
}
