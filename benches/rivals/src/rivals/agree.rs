//! Whether all ways have done the same work: without that their times say nothing.

use super::measure::{Sample, Section};
use super::report::Report;
use super::ways::Way;
use super::work::{Counts, Mode};
use std::collections::BTreeMap;

/// Which ways have done what the rest has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed(Vec<bool>);

impl Agreed {
    /// Whether this one has.
    pub(super) fn is(&self, way: usize) -> bool {
        self.0[way]
    }

    /// Whether all have.
    pub(super) fn is_complete(&self) -> bool {
        self.0.iter().all(|agrees| *agrees)
    }
}

/// Compares the counts of every measurement with what is expected; where nothing is, with what most of them say.
pub(super) fn check(report: &mut Report, ways: &[Way], sections: &[Section], expected: Option<Counts>) -> Agreed {
    report.heading("Equal work");
    let truth = expected.unwrap_or_else(|| majority(ways, sections));
    let Counts { dirs, files, stat_bytes, bytes, .. } = truth;
    let from = if expected.is_some() { "what was written" } else { "what most ways say" };
    let says = format!("{dirs} directories, {files} files, {stat_bytes} bytes by stat, {bytes} bytes read");
    report.say(format!("The tree has {says}: {from}.\n"));
    let mut agreed = vec![true; ways.len()];
    for (way, agrees) in agreed.iter_mut().enumerate() {
        let samples = || sections.iter().flat_map(|section| section.of(way).map(move |sample| (section.mode, sample)));
        let all = samples().count();
        if all == 0 {
            continue;
        }
        let wrong = samples().find_map(|(mode, sample)| difference(&ways[way], mode, sample, truth));
        *agrees = wrong.is_none();
        match wrong {
            None => report.say(format!("[agree] {}: {}, {all} times", ways[way].name, compared(&ways[way]))),
            Some(wrong) => report.say(format!("[DIFFER] {}: {wrong}", ways[way].name)),
        }
    }
    Agreed(agreed)
}

/// What of a way's counts can be compared.
fn compared(way: &Way) -> &'static str {
    match way.tells() {
        (true, true) => "directories, files, bytes by stat, bytes read",
        (false, true) => "files, bytes by stat",
        _ => "files",
    }
}

/// The first count of a measurement that is not what it should be.
fn difference(way: &Way, mode: Mode, sample: &Sample, truth: Counts) -> Option<String> {
    let got = sample.done.counts;
    let (dirs, sizes) = way.tells();
    let compare = [
        ("errors", true, got.errors, 0),
        ("directories", dirs, got.dirs, truth.dirs),
        ("files", true, got.files, truth.files),
        ("bytes by stat", sizes, got.stat_bytes, truth.stat_bytes),
        ("bytes read", true, got.bytes, if mode == Mode::Read { truth.bytes } else { 0 }),
    ];
    let (what, _, got, truth) = compare.into_iter().find(|(_, told, got, truth)| *told && got != truth)?;
    Some(format!("{got} {what} instead of {truth}"))
}

/// For each count the value that comes up most.
fn majority(ways: &[Way], sections: &[Section]) -> Counts {
    let most = |told: &dyn Fn(&Way, Mode) -> bool, count: &dyn Fn(&Counts) -> u64| {
        let mut votes = BTreeMap::<u64, usize>::new();
        for section in sections {
            let samples = section.samples.iter().filter(|sample| told(&ways[sample.way], section.mode));
            samples.for_each(|sample| *votes.entry(count(&sample.done.counts)).or_default() += 1);
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map_or(0, |(value, _)| value)
    };
    Counts {
        dirs: most(&|way, _| way.tells().0, &|counts| counts.dirs),
        files: most(&|_, _| true, &|counts| counts.files),
        stat_bytes: most(&|way, _| way.tells().1, &|counts| counts.stat_bytes),
        bytes: most(&|_, mode| mode == Mode::Read, &|counts| counts.bytes),
        errors: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ways;
    use super::super::work::{Cache, Done};
    use super::*;

    fn section(mode: Mode, counts: &[(usize, Counts)]) -> Section {
        let sample = |&(way, counts)| {
            let done = Done { seconds: 1.0, counts, extra: String::new() };
            Sample { way, round: 0, done, device: None }
        };
        Section { cache: Cache::Warm, mode, samples: counts.iter().map(sample).collect() }
    }

    #[test]
    fn whoever_differs_from_most_is_found() {
        let only = ["naive-1", "naive-2", "walkdir", "find"].map(str::to_owned);
        let ways = ways::chosen(2, &only).unwrap();
        let counts = Counts { dirs: 3, files: 10, stat_bytes: 100, bytes: 0, errors: 0 };
        let read = Counts { bytes: 100, ..counts };
        let find = Counts { dirs: 0, ..counts };
        let stat = section(Mode::Stat, &[(0, counts), (1, counts), (2, counts), (3, find)]);
        let check = |read: [Counts; 3], expected| {
            let read = section(Mode::Read, &[(0, read[0]), (1, read[1]), (2, read[2])]);
            super::check(&mut Report::new(), &ways, &[stat.clone(), read], expected).0
        };
        assert_eq!(check([read; 3], None), [true; 4]);
        assert_eq!(check([read, Counts { bytes: 99, ..read }, read], None), [true, false, true, true]);
        assert_eq!(check([read, read, Counts { errors: 1, ..read }], None), [true, true, false, true]);
        assert_eq!(check([read; 3], Some(Counts { files: 11, ..read })), [false; 4]);
    }
}
