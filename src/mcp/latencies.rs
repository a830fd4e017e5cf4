//! How long calls of tools took: all of them by tool, in the buckets of a histogram, and the last ones as percentiles.

use super::jobs::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// Calls that are remembered.
const KEPT: usize = 1024;
/// Upper bounds of the buckets, in microseconds: searches take from one to some tens of milliseconds.
const BOUNDS: [u32; 11] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];

#[derive(Default)]
pub(crate) struct Latencies(Mutex<All>);

#[derive(Default)]
struct All {
    calls: u64,
    micros: VecDeque<u32>,
    by_tool: BTreeMap<&'static str, Histogram>,
}

/// The calls of one tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// Calls that took no longer than each of [`BOUNDS`], and longer than the one before; at last, the rest.
    buckets: [u64; BOUNDS.len() + 1],
    /// All of their time.
    sum: Duration,
}

impl Histogram {
    fn add(&mut self, took: Duration) {
        let micros = took.as_micros();
        let bucket = BOUNDS.iter().position(|bound| micros <= u128::from(*bound));
        self.buckets[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.sum += took;
    }

    /// Bounds in seconds, with the calls that took no longer: as Prometheus counts. All calls are those of the last one.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.iter().map(|&micros| f64::from(micros) / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.buckets).scan(0, |calls, (bound, more)| {
            *calls += more;
            Some((bound, *calls))
        })
    }

    /// The time of all calls.
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }
}

/// What is known of the last calls, in milliseconds.
#[derive(Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Summary {
    pub(crate) calls: u64,
    pub(crate) of_the_last: usize,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

impl Latencies {
    pub(crate) fn add(&self, tool: &'static str, took: Duration) {
        let mut all = lock(&self.0);
        all.calls += 1;
        if all.micros.len() == KEPT {
            all.micros.pop_front();
        }
        all.micros.push_back(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        all.by_tool.entry(tool).or_default().add(took);
    }

    /// The calls of each tool that was called.
    pub(crate) fn by_tool(&self) -> BTreeMap<&'static str, Histogram> {
        lock(&self.0).by_tool.clone()
    }

    pub(crate) fn summary(&self) -> Summary {
        let (calls, mut micros) = {
            let all = lock(&self.0);
            (all.calls, all.micros.iter().copied().collect::<Vec<_>>())
        };
        micros.sort_unstable();
        let at = |percent: usize| micros.get((micros.len() * percent / 100).min(micros.len().saturating_sub(1)));
        let ms = |percent| at(percent).map(|&micros| f64::from(micros) / 1e3);
        Summary { calls, of_the_last: micros.len(), p50_ms: ms(50), p99_ms: ms(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_last() {
        let latencies = Latencies::default();
        assert_eq!(latencies.summary(), Summary::default());
        for ms in 0..2000 {
            latencies.add("search", Duration::from_millis(ms));
        }
        let summary = latencies.summary();
        assert_eq!((summary.calls, summary.of_the_last), (2000, KEPT));
        assert_eq!((summary.p50_ms, summary.p99_ms), (Some(1488.0), Some(1989.0)));
    }

    #[test]
    fn calls_are_counted_up_to_each_bound() {
        let latencies = Latencies::default();
        for ms in [0, 1, 2, 10, 11, 9_000] {
            latencies.add("search", Duration::from_millis(ms));
        }
        latencies.add("status", Duration::ZERO);
        let by_tool = latencies.by_tool();
        assert_eq!(by_tool.keys().copied().collect::<Vec<_>>(), ["search", "status"]);
        let counts: Vec<u64> = by_tool["search"].cumulative().map(|(_, calls)| calls).collect();
        assert_eq!(counts, [2, 3, 3, 4, 5, 5, 5, 5, 5, 5, 5, 6]);
        assert!(by_tool["search"].cumulative().last().unwrap().0.is_infinite());
        assert_eq!(by_tool["search"].sum(), Duration::from_millis(9_024));
    }
}
