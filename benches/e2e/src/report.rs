//! What is printed and what is written: tables, checks that both sides did the same work, verdicts, raw samples.

use crate::Failure;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::fs;
use std::path::Path;

/// Samples of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The sample that `percent` of all are not above; NaN when there is none.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        let (low, high) = (self.percentile(50.0), self.percentile(50.0 + 50.0 / self.0.len().max(1) as f64));
        if self.0.len().is_multiple_of(2) { (low + high) / 2.0 } else { low }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many are below `bound`.
    pub(crate) fn below(&self, bound: f64) -> usize {
        self.0.iter().filter(|&&sample| sample < bound).count()
    }

    pub(crate) fn max(&self) -> f64 {
        self.percentile(100.0)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Samples {
        Samples(samples.into_iter().collect())
    }
}

/// The median with the least and the most; with a precision, to so many places.
impl Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(3);
        write!(f, "{:.places$} ({:.places$}–{:.places$})", self.median(), self.percentile(0.0), self.max())
    }
}

/// One line of the final table.
struct Figure {
    name: String,
    must: String,
    measured: String,
    verdict: &'static str,
}

/// Collects a run; prints as it goes.
pub(crate) struct Report {
    summary: String,
    figures: Vec<Figure>,
    checks: Vec<[String; 4]>,
    failures: Vec<String>,
    raw: BTreeMap<&'static str, String>,
}

impl Report {
    pub(crate) fn new() -> Report {
        let (figures, checks, failures) = (Vec::new(), Vec::new(), Vec::new());
        Report { summary: String::new(), figures, checks, failures, raw: BTreeMap::new() }
    }

    pub(crate) fn say(&mut self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
        self.summary.push_str(line.as_ref());
        self.summary.push('\n');
    }

    pub(crate) fn heading(&mut self, title: &str) {
        self.say(format!("\n## {title}\n"));
    }

    /// A table in Markdown, padded so that it can be read as it is.
    pub(crate) fn table<R: AsRef<[String]>>(&mut self, header: &[&str], rows: &[R]) {
        let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
            cells.chain(header.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:width$} "));
            format!("|{}|", padded.collect::<Vec<_>>().join("|"))
        };
        self.say(line(&header));
        let rule = widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>();
        self.say(format!("|{}|", rule.join("|")));
        for row in rows {
            self.say(line(row.as_ref()));
        }
        self.say("");
    }

    /// A number that both sides should agree on, if they did the same work.
    pub(crate) fn check<T: PartialEq + Display>(&mut self, what: &str, (left, a): (&str, T), (right, b): (&str, T)) {
        let verdict = if a == b { "agree" } else { "DIFFER" };
        self.say(format!("[{verdict}] {what}: {left} {a}, {right} {b}"));
        self.checks.push([what.into(), format!("{left} {a}"), format!("{right} {b}"), verdict.into()]);
    }

    /// A figure that must not be above `most`.
    pub(crate) fn at_most(&mut self, name: &str, measured: f64, most: f64, unit: &str) {
        let verdict = if measured <= most { "meets" } else { "MISSES" };
        self.figure(name, format!("≤ {most}{unit}"), format!("{measured:.3}{unit}"), verdict);
    }

    /// A figure that must not be below `least`.
    pub(crate) fn at_least(&mut self, name: &str, measured: f64, least: f64, unit: &str) {
        let verdict = if measured >= least { "meets" } else { "MISSES" };
        self.figure(name, format!("≥ {least}{unit}"), format!("{measured:.3}{unit}"), verdict);
    }

    /// A figure that must be below `most`.
    pub(crate) fn below(&mut self, name: &str, measured: f64, most: f64, unit: &str) {
        let verdict = if measured < most { "meets" } else { "MISSES" };
        self.figure(name, format!("< {most}{unit}"), format!("{measured:.3}{unit}"), verdict);
    }

    /// A count that must be exactly so.
    pub(crate) fn exactly(&mut self, name: &str, measured: u64, must: u64) {
        let verdict = if measured == must { "meets" } else { "MISSES" };
        self.figure(name, must.to_string(), measured.to_string(), verdict);
    }

    /// A figure without a target.
    pub(crate) fn told(&mut self, name: &str, measured: impl Into<String>) {
        self.figure(name, "-".into(), measured.into(), "reported");
    }

    /// A figure that could not be measured here.
    pub(crate) fn skipped(&mut self, name: &str, why: &str) {
        self.say(format!("**SKIPPED** {name}: {why}"));
        self.figure(name, "-".into(), why.into(), "SKIPPED");
    }

    fn figure(&mut self, name: &str, must: String, measured: String, verdict: &'static str) {
        self.figures.push(Figure { name: name.into(), must, measured, verdict });
    }

    /// Something could not be run.
    pub(crate) fn fail(&mut self, what: &str) {
        self.say(format!("**FAILED** {what}"));
        self.failures.push(what.into());
    }

    /// Adds a line to a file of raw samples.
    pub(crate) fn raw(&mut self, file: &'static str, header: &str, cells: &[&dyn Display]) {
        let text = self.raw.entry(file).or_insert_with(|| format!("{header}\n"));
        text.push_str(&csv_line(cells.iter().map(ToString::to_string)));
    }

    pub(crate) fn finish(&mut self) {
        self.heading("Figures");
        let row = |f: &Figure| [f.name.clone(), f.must.clone(), f.measured.clone(), f.verdict.to_owned()];
        let rows: Vec<_> = self.figures.iter().map(row).collect();
        self.table(&["figure", "must", "measured", "verdict"], &rows);
        let differ = self.checks.iter().filter(|check| check[3] != "agree").count();
        self.say(format!("Checks: {} agree, {differ} differ.", self.checks.len() - differ));
        for failure in self.failures.clone() {
            self.say(format!("**FAILED** {failure}"));
        }
    }

    /// Whether everything could be run.
    pub(crate) fn is_whole(&self) -> bool {
        self.failures.is_empty()
    }

    /// Writes the files of the run.
    pub(crate) fn write(&self, out: &Path) -> Result<(), Failure> {
        fs::create_dir_all(out)?;
        fs::write(out.join("summary.md"), &self.summary)?;
        fs::write(out.join("command.txt"), format!("{}\n", command()))?;
        let mut figures = String::from("figure,must,measured,verdict\n");
        for figure in &self.figures {
            let cells = [&figure.name, &figure.must, &figure.measured].map(Clone::clone);
            figures.push_str(&csv_line(cells.into_iter().chain([figure.verdict.to_owned()])));
        }
        fs::write(out.join("figures.csv"), figures)?;
        let mut checks = String::from("what,left,right,verdict\n");
        for check in &self.checks {
            checks.push_str(&csv_line(check.iter().cloned()));
        }
        fs::write(out.join("checks.csv"), checks)?;
        for (file, text) in &self.raw {
            fs::write(out.join(file), text)?;
        }
        Ok(())
    }
}

/// The command line as it was given.
pub(crate) fn command() -> String {
    let quoted = |argument: String| if argument.contains(' ') { format!("'{argument}'") } else { argument };
    let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("cargo run --release -p leindex-bench -- {}", arguments.join(" "))
}

fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let mut line = String::new();
    for (index, cell) in cells.enumerate() {
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
    fn medians_and_percentiles() {
        let samples: Samples = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!((samples.median(), samples.percentile(0.0), samples.max()), (2.0, 1.0, 3.0));
        assert_eq!(format!("{samples:.1}"), "2.0 (1.0–3.0)");
        let samples: Samples = (1..=100).map(f64::from).collect();
        assert_eq!((samples.median(), samples.percentile(50.0), samples.percentile(99.0)), (50.5, 50.0, 99.0));
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn cells_of_csv_are_quoted() {
        let cells = ["a", "b,c", "d\"e"].map(str::to_owned);
        assert_eq!(csv_line(cells.into_iter()), "a,\"b,c\",\"d\"\"e\"\n");
    }
}
