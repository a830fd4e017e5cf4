//! Ratios of one way to another, and what was asked of them.

use super::measure::{Sample, Section};
use super::report::{Report, Samples};
use super::ways::{Group, Way};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    DeviceReads,
}

impl Unit {
    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Unit::Seconds => Some(sample.done.seconds),
            Unit::DeviceReads => sample.device.map(|device| device.reads as f64),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds => format!("{:.1} ms", value * 1e3),
            Unit::DeviceReads => format!("{value:.0} reads"),
        }
    }
}

/// What was asked of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    AtMost(f64),
    AtLeast(f64),
}

impl Asked {
    fn show(self) -> String {
        match self {
            Asked::AtMost(most) => format!("≤ {most}"),
            Asked::AtLeast(least) => format!("≥ {least}"),
        }
    }

    fn is_met(self, ratio: f64) -> bool {
        match self {
            Asked::AtMost(most) => ratio <= most,
            Asked::AtLeast(least) => ratio >= least,
        }
    }
}

/// A side of a ratio: the fastest way of those that are meant.
struct Side {
    name: &'static str,
    is_meant: fn(Group) -> bool,
}

const URING: Side = Side { name: "uring", is_meant: |group| group == Group::Uring };
const THREADS: Side = Side { name: "best thread variant", is_meant: Group::is_threads };
const NAIVE: Side = Side { name: "best naive thread count", is_meant: |group| group == Group::Naive };
const IGNORE: Side = Side { name: "ignore", is_meant: |group| group == Group::Ignore };
const FIND: Side = Side { name: "find", is_meant: |group| group == Group::Program("find") };
const TOKIO_URING: Side = Side { name: "tokio-uring", is_meant: |group| group == Group::TokioUring };
const GLOMMIO: Side = Side { name: "glommio", is_meant: |group| group == Group::Glommio };

/// One ratio.
struct Figure<'a> {
    section: &'a Section,
    above: Side,
    below: Side,
    unit: Unit,
    asked: Asked,
}

/// Works all of them out and prints them.
pub(super) fn tell(report: &mut Report, ways: &[Way], [warm_stat, warm_read, cold_read]: &[Section; 3]) {
    let time = |section, above, below, asked| Figure { section, above, below, unit: Unit::Seconds, asked };
    let reads = |section, above, below, asked| Figure { section, above, below, unit: Unit::DeviceReads, asked };
    let figures = [
        time(warm_read, URING, THREADS, Asked::AtMost(0.92)),
        time(warm_read, URING, IGNORE, Asked::AtMost(0.55)),
        time(warm_stat, URING, IGNORE, Asked::AtMost(0.65)),
        time(warm_stat, URING, FIND, Asked::AtMost(0.5)),
        time(cold_read, URING, THREADS, Asked::AtMost(0.97)),
        time(cold_read, URING, NAIVE, Asked::AtMost(0.65)),
        reads(cold_read, URING, NAIVE, Asked::AtMost(0.25)),
        time(warm_read, TOKIO_URING, URING, Asked::AtLeast(1.5)),
        time(cold_read, TOKIO_URING, URING, Asked::AtLeast(1.5)),
        time(warm_read, GLOMMIO, URING, Asked::AtLeast(1.5)),
        time(cold_read, GLOMMIO, URING, Asked::AtLeast(1.5)),
    ];
    for figure in figures {
        let cells = figure.cells(ways);
        report.figure(cells);
    }
}

impl Figure<'_> {
    /// What, asked, measured, in each round, verdict.
    fn cells(&self, ways: &[Way]) -> [String; 5] {
        let unit = if self.unit == Unit::DeviceReads { ", disk's reads" } else { "" };
        let what = format!("{}{unit}: {} / {}", self.section.name(), self.above.name, self.below.name);
        let asked = self.asked.show();
        let (above, below) = (best(self.section, ways, &self.above), best(self.section, ways, &self.below));
        let (Some(above), Some(below)) = (above, below) else {
            let missing = if above.is_none() { self.above.name } else { self.below.name };
            return [what, asked, format!("no measurement of {missing}"), String::new(), "SKIPPED".into()];
        };
        let values = |way: usize| self.section.of(way).filter_map(|sample| self.unit.of(sample)).collect::<Samples>();
        let (a, b) = (values(above).median(), values(below).median());
        let ratio = a / b;
        if !ratio.is_finite() {
            return [what, asked, "the disk does not tell".into(), String::new(), "SKIPPED".into()];
        }
        let (name_a, name_b) = (&ways[above].name, &ways[below].name);
        let measured = format!("{ratio:.3} = {name_a} {} / {name_b} {}", self.unit.show(a), self.unit.show(b));
        let verdict = if self.asked.is_met(ratio) { "met" } else { "MISSED" };
        [what, asked, measured, self.rounds(above, below), verdict.into()]
    }

    /// The least and the most of the ratios within one round.
    fn rounds(&self, above: usize, below: usize) -> String {
        let of_round = |way: usize, round| self.section.of(way).find(|sample| sample.round == round);
        let ratios = self
            .section
            .of(above)
            .filter_map(|sample| Some(self.unit.of(sample)? / self.unit.of(of_round(below, sample.round)?)?));
        let ratios: Samples = ratios.collect();
        format!("{:.3}–{:.3}", ratios.min(), ratios.max())
    }
}

/// The way with the least median time among those that are meant.
fn best(section: &Section, ways: &[Way], side: &Side) -> Option<usize> {
    fastest(section, (0..ways.len()).filter(|&way| (side.is_meant)(ways[way].group)))
}

/// The way with the least median time of a thread variant: what the tables compare with.
pub(super) fn best_thread_variant(section: &Section, ways: &[Way]) -> Option<usize> {
    best(section, ways, &THREADS)
}

fn fastest(section: &Section, ways: impl Iterator<Item = usize>) -> Option<usize> {
    let measured = ways.filter(|&way| section.of(way).next().is_some());
    measured.min_by(|&a, &b| seconds(section, a).median().total_cmp(&seconds(section, b).median()))
}

/// The times of a way.
pub(super) fn seconds(section: &Section, way: usize) -> Samples {
    section.of(way).map(|sample| sample.done.seconds).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ways;
    use super::super::work::{Cache, Done, Mode};
    use super::*;

    #[test]
    fn the_best_of_each_side_is_compared() {
        let only = ["threads", "naive-1", "ignore"].map(str::to_owned);
        let ways = ways::chosen(2, &only).unwrap();
        let of = |name: &str| ways.iter().position(|way| way.name == name).unwrap();
        let times = [("threads-cores", 2.0), ("threads-8x", 1.0), ("naive-1", 3.0), ("ignore-cores", 4.0)];
        let samples = times.map(|(name, seconds)| {
            let done = Done { seconds, ..Done::default() };
            Sample { way: of(name), round: 0, done, device: None }
        });
        let section = Section { cache: Cache::Warm, mode: Mode::Stat, samples: samples.to_vec() };
        assert_eq!(best_thread_variant(&section, &ways), Some(of("threads-8x")));

        let cells = |above, below, unit| {
            Figure { section: &section, above, below, unit, asked: Asked::AtMost(0.25) }.cells(&ways)
        };
        let met = cells(THREADS, IGNORE, Unit::Seconds);
        assert_eq!(met[2], "0.250 = threads-8x 1000.0 ms / ignore-cores 4000.0 ms");
        assert_eq!((met[3].as_str(), met[4].as_str()), ("0.250–0.250", "met"));
        assert_eq!(cells(THREADS, NAIVE, Unit::Seconds)[4], "MISSED");
        assert_eq!(cells(URING, NAIVE, Unit::Seconds)[4], "SKIPPED");
        assert_eq!(cells(THREADS, NAIVE, Unit::DeviceReads)[4], "SKIPPED");
    }
}
