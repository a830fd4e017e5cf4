//! How long the last calls of tools took.

use super::jobs::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

/// Calls that are remembered.
const KEPT: usize = 1024;

#[derive(Default)]
pub(crate) struct Latencies(Mutex<Last>);

#[derive(Default)]
struct Last {
    calls: u64,
    micros: VecDeque<u32>,
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
    pub(crate) fn add(&self, took: Duration) {
        let mut last = lock(&self.0);
        last.calls += 1;
        if last.micros.len() == KEPT {
            last.micros.pop_front();
        }
        last.micros.push_back(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn summary(&self) -> Summary {
        let (calls, mut micros) = {
            let last = lock(&self.0);
            (last.calls, last.micros.iter().copied().collect::<Vec<_>>())
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
            latencies.add(Duration::from_millis(ms));
        }
        let summary = latencies.summary();
        assert_eq!((summary.calls, summary.of_the_last), (2000, KEPT));
        assert_eq!((summary.p50_ms, summary.p99_ms), (Some(1488.0), Some(1989.0)));
    }
}
