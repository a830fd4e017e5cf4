//! Rounds in which all ways take turns, so that whatever else the machine does meets all of them.

use super::child::{self, Ended};
use super::machine::{self, Device, DeviceReads};
use super::options::Options;
use super::report::Report;
use super::ways::Way;
use super::work::{Cache, Done, Mode};
use super::{Failure, naive};
use std::path::PathBuf;

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Index into the list of ways.
    pub(super) way: usize,
    pub(super) round: usize,
    pub(super) done: Done,
    /// What the disk has read meanwhile. `None` where nobody counts that, and where the cache is warm.
    pub(super) device: Option<DeviceReads>,
}

/// All measurements of one table.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) cache: Cache,
    pub(super) mode: Mode,
    pub(super) samples: Vec<Sample>,
}

impl Section {
    /// The measurements of one way.
    pub(super) fn of(&self, way: usize) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.iter().filter(move |sample| sample.way == way)
    }

    pub(super) fn name(&self) -> String {
        let work = match self.mode {
            Mode::Stat => "walk + stat",
            Mode::Read => "read all",
        };
        format!("{}, {work}", self.cache.name())
    }
}

/// What is needed to measure.
pub(super) struct Bench {
    tree: PathBuf,
    pub(super) ways: Vec<Way>,
    /// Those that are left out from now on: skipped or failed.
    out: Vec<bool>,
    pub(super) report: Report,
    smoke: bool,
}

impl Bench {
    pub(super) fn new(options: &Options, tree: &std::path::Path, ways: Vec<Way>, report: Report) -> Bench {
        let out = vec![false; ways.len()];
        Bench { tree: tree.to_owned(), ways, out, report, smoke: options.smoke }
    }

    /// So many rounds with a cold cache, where it can be dropped.
    pub(super) fn cold(&mut self, rounds: usize) -> Section {
        let possible = machine::can_drop_caches();
        if rounds > 0 && !possible {
            self.report.say("**SKIPPED** everything cold: the page cache cannot be dropped, which needs root");
        }
        self.section(Cache::Cold, Mode::Read, if possible { rounds } else { 0 })
    }

    /// So many rounds of all ways that have a place in this table.
    pub(super) fn section(&mut self, cache: Cache, mode: Mode, rounds: usize) -> Section {
        let mut section = Section { cache, mode, samples: Vec::new() };
        if cache == Cache::Warm
            && let Err(error) = naive::walk(machine::cores(), Mode::Read, &self.tree)
        {
            self.report.fail(&format!("the tree cannot be read: {error}"));
        }
        for round in 0..rounds {
            for way in self.turns(cache, mode, round) {
                // Skipped or failed in this very round.
                if self.out[way] {
                    continue;
                }
                self.told(&section, round, rounds, way);
                match self.once(cache, mode, way) {
                    Ok((Ended::Done(done), device)) => {
                        let sample = Sample { way, round, done, device };
                        self.report.sample(&section, &self.ways[way].name, &sample);
                        section.samples.push(sample);
                    }
                    Ok((Ended::Skipped(reason), _)) => {
                        self.out[way] = true;
                        self.report.skip(&self.ways[way].name, &reason);
                    }
                    Err(error) => {
                        self.out[way] = true;
                        self.report.fail(&format!("{}, {}: {error}", section.name(), self.ways[way].name));
                    }
                }
            }
        }
        section
    }

    /// The order of a round. It begins elsewhere each time and goes backwards every other time, so that no way always
    /// follows the same one.
    fn turns(&self, cache: Cache, mode: Mode, round: usize) -> Vec<usize> {
        // A smoke test drops no caches, and yet is to try what is measured only cold.
        let place = |way: &Way| way.is_in(cache, mode) || self.smoke && way.is_in(Cache::Cold, mode);
        let mut turns: Vec<usize> =
            (0..self.ways.len()).filter(|&way| !self.out[way] && place(&self.ways[way])).collect();
        if !turns.is_empty() {
            let first = round * turns.len() / 3 % turns.len();
            turns.rotate_left(first);
        }
        if round % 2 == 1 {
            turns.reverse();
        }
        turns
    }

    /// One measurement.
    fn once(&self, cache: Cache, mode: Mode, way: usize) -> Result<(Ended, Option<DeviceReads>), Failure> {
        let device = match cache {
            Cache::Warm => None,
            Cache::Cold => {
                machine::drop_caches()?;
                Device::of(&self.tree)
            }
        };
        let before = device.as_ref().and_then(Device::reads);
        let way = &self.ways[way];
        let ended = match way.program() {
            Some(_) => Ended::from_result(way.run(mode, &self.tree))?,
            None => child::ask(&way.name, mode, &self.tree)?,
        };
        let after = device.as_ref().and_then(Device::reads);
        let reads = before.zip(after).map(|(before, after)| DeviceReads {
            reads: after.reads - before.reads,
            bytes: after.bytes - before.bytes,
        });
        Ok((ended, reads))
    }

    /// Says on the terminal what is going on: a cold round of everything takes minutes.
    fn told(&self, section: &Section, round: usize, rounds: usize, way: usize) {
        if !self.smoke {
            eprintln!("{}, round {} of {rounds}: {}", section.name(), round + 1, self.ways[way].name);
        }
    }

    /// Ends the report; whether everything that could be run here was run, and did the same work.
    pub(super) fn finish(&mut self, agreed: bool) -> bool {
        self.report.finish();
        agreed && self.report.is_whole()
    }
}
