//! What is printed and what is written: tables, figures, raw samples.

use super::Failure;
use super::agree::Agreed;
use super::figures::{best_thread_variant, seconds};
use super::measure::{Sample, Section};
use super::ways::Way;
use super::work::{Cache, Counts, Mode};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Measurements of one thing, in order of size.
#[derive(Clone, Debug)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    /// NaN when there is none, as the others.
    pub(super) fn median(&self) -> f64 {
        let length = self.0.len();
        match length {
            0 => f64::NAN,
            _ => (self.0[(length - 1) / 2] + self.0[length / 2]) / 2.0,
        }
    }

    pub(super) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Samples {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        Samples(samples)
    }
}

/// Collects a run; prints as it goes.
pub(super) struct Report {
    summary: String,
    /// What, asked, measured, in each round, verdict.
    figures: Vec<[String; 5]>,
    failures: Vec<String>,
    samples: String,
}

const SAMPLES_HEADER: [&str; 13] = [
    "cache",
    "mode",
    "way",
    "round",
    "seconds",
    "dirs",
    "files",
    "stat_bytes",
    "bytes",
    "errors",
    "device_reads",
    "device_bytes",
    "extra",
];

impl Report {
    pub(super) fn new() -> Report {
        let samples = csv_line(SAMPLES_HEADER.map(str::to_owned));
        Report { summary: String::new(), figures: Vec::new(), failures: Vec::new(), samples }
    }

    pub(super) fn say(&mut self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
        self.summary.push_str(line.as_ref());
        self.summary.push('\n');
    }

    pub(super) fn heading(&mut self, title: &str) {
        self.say(format!("\n## {title}\n"));
    }

    /// A way that cannot be gone here.
    pub(super) fn skip(&mut self, way: &str, why: &str) {
        self.say(format!("**SKIPPED** {way}: {why}"));
    }

    /// Something that should have been possible was not.
    pub(super) fn fail(&mut self, what: &str) {
        self.say(format!("**FAILED** {what}"));
        self.failures.push(what.to_owned());
    }

    /// A ratio and what was asked of it.
    pub(super) fn figure(&mut self, cells: [String; 5]) {
        self.figures.push(cells);
    }

    /// A measurement, for the file of all of them.
    pub(super) fn sample(&mut self, section: &Section, way: &str, sample: &Sample) {
        let Counts { dirs, files, stat_bytes, bytes, errors } = sample.done.counts;
        let device = |count: fn(&super::machine::DeviceReads) -> u64| {
            sample.device.as_ref().map(count).map_or(String::new(), |count| count.to_string())
        };
        let counts = [dirs, files, stat_bytes, bytes, errors].map(|count| count.to_string());
        let cells = [section.cache.name(), section.mode.name(), way].map(str::to_owned);
        let cells = cells.into_iter().chain([sample.round.to_string(), format!("{:.6}", sample.done.seconds)]);
        let device = [device(|device| device.reads), device(|device| device.bytes)];
        let cells = cells.chain(counts).chain(device).chain([sample.done.extra.clone()]);
        self.samples.push_str(&csv_line(cells));
    }

    /// A table in Markdown, padded so that it can be read as it is.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
            cells.chain([header[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!(" {cell:width$} ")).collect();
            format!("|{}|", padded.join("|"))
        };
        self.say(line(&mut header.iter().copied()));
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        self.say(format!("|{}|", rule.join("|")));
        for row in rows {
            self.say(line(&mut row.iter().map(String::as_str)));
        }
        self.say("");
    }

    /// The table of a section, the fastest way first.
    pub(super) fn section(&mut self, ways: &[Way], section: &Section, agreed: &Agreed) {
        if section.samples.is_empty() {
            return;
        }
        self.heading(&section.name());
        let baseline = best_thread_variant(section, ways);
        let base = baseline.map_or(f64::NAN, |way| seconds(section, way).median());
        let mut order: Vec<usize> = (0..ways.len()).filter(|&way| section.of(way).next().is_some()).collect();
        order.sort_by(|&a, &b| seconds(section, a).median().total_cmp(&seconds(section, b).median()));
        let rows: Vec<Vec<String>> =
            order.into_iter().map(|way| row(ways, section, way, (baseline, base), agreed.is(way))).collect();
        let mut header = vec!["way", "median ms", "min–max", "to best threads", "files", "bytes"];
        if section.cache == Cache::Cold {
            header.extend(["disk's reads", "disk's MB"]);
        }
        self.table(&header, &rows);
        let rounds = section.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0);
        let bytes = match section.mode {
            Mode::Stat => "as the metadata says",
            Mode::Read => "read",
        };
        let lines = "The best thread variant is the fastest of `threads`, `blocking` and `naive`.";
        self.say(format!("Rounds: {rounds}. Bytes are those {bytes}. {lines}"));
    }

    /// What the names stand for.
    pub(super) fn names(&mut self, ways: &[Way]) {
        self.heading("Ways");
        let rows: Vec<Vec<String>> = ways.iter().map(|way| vec![way.name.clone(), way.what.clone()]).collect();
        self.table(&["way", "what it does"], &rows);
    }

    pub(super) fn finish(&mut self) {
        self.heading("Figures");
        let rows: Vec<Vec<String>> = self.figures.iter().map(|figure| figure.to_vec()).collect();
        self.table(&["figure", "asked", "measured", "within a round", "verdict"], &rows);
        for failure in self.failures.clone() {
            self.say(format!("**FAILED** {failure}"));
        }
    }

    /// Whether nothing failed.
    pub(super) fn is_whole(&self) -> bool {
        self.failures.is_empty()
    }

    /// Writes the files of the run.
    pub(super) fn write(&self, out: &Path) -> Result<(), Failure> {
        fs::create_dir_all(out)?;
        fs::write(out.join("summary.md"), &self.summary)?;
        fs::write(out.join("command.txt"), format!("{}\n", command()))?;
        fs::write(out.join("samples.csv"), &self.samples)?;
        let mut figures = csv_line(["figure", "asked", "measured", "within_a_round", "verdict"].map(str::to_owned));
        for figure in &self.figures {
            figures.push_str(&csv_line(figure.clone()));
        }
        fs::write(out.join("figures.csv"), figures)?;
        Ok(())
    }
}

/// A line of a section's table.
fn row(
    ways: &[Way],
    section: &Section,
    way: usize,
    (baseline, base): (Option<usize>, f64),
    agrees: bool,
) -> Vec<String> {
    let times = seconds(section, way);
    let counts = section.of(way).next().map(|sample| sample.done.counts).unwrap_or_default();
    let bytes = if section.mode == Mode::Read { counts.bytes } else { counts.stat_bytes };
    let has_bytes = ways[way].tells().1;
    let less = if ways[way].does_less() { " (lists only)" } else { "" };
    let mark = if agrees { "" } else { " **DIFFERS**" };
    let ratio = if baseline == Some(way) { "1 (it is)".into() } else { format!("{:.3}", times.median() / base) };
    let mut cells = vec![
        format!("{}{less}{mark}", ways[way].name),
        format!("{:.1}", times.median() * 1e3),
        format!("{:.1}–{:.1}", times.min() * 1e3, times.max() * 1e3),
        if base.is_nan() { "-".into() } else { ratio },
        counts.files.to_string(),
        if has_bytes { bytes.to_string() } else { "-".into() },
    ];
    if section.cache == Cache::Cold {
        let device = |scale: fn(&super::machine::DeviceReads) -> f64| {
            let values: Samples = section.of(way).filter_map(|sample| sample.device.as_ref().map(scale)).collect();
            if values.median().is_nan() { "unknown".into() } else { format!("{:.0}", values.median()) }
        };
        cells.extend([device(|device| device.reads as f64), device(|device| device.bytes as f64 / 1e6)]);
    }
    cells
}

/// The command line as it was given.
pub(super) fn command() -> String {
    let quoted = |argument: String| if argument.contains(' ') { format!("'{argument}'") } else { argument };
    let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("cargo run --release -p leindex-rivals -- {}", arguments.join(" "))
}

fn csv_line(cells: impl IntoIterator<Item = String>) -> String {
    let mut line = String::new();
    for (index, cell) in cells.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let special = cell.contains([',', '"', '\n', '\r']);
        let cell = if special { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell };
        let _ = write!(line, "{comma}{cell}");
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_cells() {
        let samples: Samples = [3.0, 1.0, 2.0, 9.0].into_iter().collect();
        assert_eq!((samples.min(), samples.median(), samples.max()), (1.0, 2.5, 9.0));
        let samples: Samples = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(samples.median(), 2.0);
        assert!(std::iter::empty::<f64>().collect::<Samples>().median().is_nan());
        assert_eq!(csv_line(["a", "b,c", "d\"e"].map(str::to_owned)), "a,\"b,c\",\"d\"\"e\"\n");
    }
}
