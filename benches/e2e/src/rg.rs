//! Section 5: every match of many patterns, line by line against ripgrep's.

use crate::queries::{Drawer, Rng, query, regex};
use crate::report::Samples;
use crate::walk::Walk;
use crate::{Bench, Failure, child, latency};
use leindex_engine::record::Flags;
use leindex_engine::{Mode, Snapshot};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Patterns drawn from the tree; with those of [`FIXED`] there are 50.
const DRAWN: usize = 34;
/// Mismatches that are shown, a pattern.
const SHOWN: usize = 3;
const RAW: &str = "pattern,ignore_case,matches,ripgrep_matches,only_ours,only_ripgrep,s,ripgrep_s,candidates,plan";

/// Shapes that drawing does not make: no literal at all, literals across punctuation, classes, case folding, Unicode.
const FIXED: [(&str, bool); 16] = [
    (r"\b0x[0-9a-fA-F]{16}\b", false),
    (r"[^\x00-\x7F]{3}", false),
    (r"\p{Greek}{2}", false),
    (r"TODO|FIXME|XXX", false),
    (r"\d{4}-\d{2}-\d{2}", false),
    (r"copyright.{1,30}20(0|1)\d", true),
    (r"[\x{4e00}-\x{9fff}]{12}", false),
    (r"é|ü|µs", false),
    (r"kelvin|straße", true),
    (r"^.{300,}$", false),
    (r"[[:upper:]]{12,}_\d", false),
    (r"goto\s+(out|err)\w*;$", false),
    (r"x{3}", false),
    (r"->\w+\(\)->", false),
    (r"^\s*#\s*(el)?if .*&& !defined", false),
    (r"(?i)schedule.?timeout", false),
];

/// A matching line: path, line, column, text.
type Line = (Vec<u8>, u64, u64, String);

/// What one side has found.
struct Found {
    lines: Vec<Line>,
    seconds: f64,
}

/// Section 5.
pub(crate) fn compare(bench: &mut Bench, index_dir: &Path) -> Result<(), Failure> {
    let installed = Command::new("rg").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_err() {
        bench.report.skipped("matches that differ from ripgrep's", "rg is not installed");
        return Ok(());
    }
    // Cold searches may have emptied the page cache before.
    child::walk(&bench.tree, Walk { threads: 2, pinned: false, fetch: true })?;
    let snapshot = latency::open(bench, index_dir)?;
    let indexed = indexed_files(&snapshot)?;
    let mut drawer = Drawer::new(&bench.tree, &snapshot, bench.options.seed ^ 0x5267)?;
    let drawn = drawer.draw(DRAWN, pattern);
    let patterns = FIXED.iter().map(|&(pattern, fold)| (pattern.to_owned(), fold));
    let patterns: Vec<_> = patterns.chain(drawn.into_iter().map(|pattern| (pattern, false))).collect();
    let (mut ours_s, mut rg_s, mut total) = (Samples::default(), Samples::default(), [0u64; 3]);
    for (pattern, fold) in &patterns {
        let (ours, candidates, plan) = ours(&snapshot, pattern, *fold)?;
        let theirs = ripgrep(bench, &indexed, pattern, *fold)?;
        let (only_ours, only_theirs) = differences(&ours.lines, &theirs.lines);
        let (a, b) = (ours.lines.len() as u64, theirs.lines.len() as u64);
        let (x, y) = (only_ours.len() as u64, only_theirs.len() as u64);
        total = [total[0] + a, total[1] + b, total[2] + x + y];
        ours_s.add(ours.seconds);
        rg_s.add(theirs.seconds);
        let cells: [&dyn std::fmt::Display; 10] =
            [pattern, fold, &a, &b, &x, &y, &ours.seconds, &theirs.seconds, &candidates, &plan];
        bench.report.raw("ripgrep.csv", RAW, &cells);
        show(bench, pattern, "only ours", &only_ours);
        show(bench, pattern, "only ripgrep", &only_theirs);
    }
    let row = |name: &str, seconds: &Samples, matches: u64| {
        let count = patterns.len();
        [name.to_owned(), count.to_string(), matches.to_string(), format!("{seconds:.4}")]
    };
    let rows = [row("leindex-engine", &ours_s, total[0]), row("ripgrep", &rg_s, total[1])];
    bench.report.table(&["what", "patterns", "matching lines", "seconds a pattern"], &rows);
    bench.report.say("ripgrep's time is that of a process over the whole tree, ours that of a search with no limit.");
    bench.report.check("5 matching lines", ("ours", total[0]), ("ripgrep", total[1]));
    bench.report.exactly("matches that differ from ripgrep's", total[2], 0);
    Ok(())
}

/// The shapes of section 3 and further ones around drawn words.
fn pattern(rng: &mut Rng, text: &str, drawn: usize) -> Option<String> {
    if drawn % 10 < 6 {
        return regex(rng, text, drawn % 10);
    }
    let word = regex(rng, text, 2)?;
    let word = word.trim_start_matches(r"\b").trim_end_matches(r"\b");
    let (head, tail) = word.split_at(word.len() / 2);
    Some(match drawn % 10 {
        6 => format!("(?i){word}$"),
        7 => format!(r"{head}\w*{tail}\W"),
        8 => format!(r"\w{head}|{tail}\d"),
        _ => format!(r"^\s+{word}\s*[=(;]"),
    })
}

fn indexed_files(snapshot: &Snapshot) -> Result<HashSet<Vec<u8>>, Failure> {
    let mut files = HashSet::new();
    snapshot.for_each_file(|path, meta| {
        if meta.flags.has(Flags::INDEXED) {
            files.insert(path.to_vec());
        }
    })?;
    Ok(files)
}

fn ours(snapshot: &Snapshot, pattern: &str, fold: bool) -> Result<(Found, usize, String), Failure> {
    let started = Instant::now();
    let result = snapshot.search(&query(Mode::Regex, pattern).case_insensitive(fold).limit(0))?;
    let seconds = started.elapsed().as_secs_f64();
    let lines = result.hits.into_iter().map(|hit| {
        let path = hit.path.as_os_str().as_encoded_bytes().to_vec();
        (path, hit.line, hit.column, hit.text)
    });
    let mut found = Found { lines: lines.collect(), seconds };
    found.lines.sort_unstable();
    Ok((found, result.candidates, result.plan))
}

fn ripgrep(bench: &Bench, indexed: &HashSet<Vec<u8>>, pattern: &str, fold: bool) -> Result<Found, Failure> {
    let mut command = Command::new("rg");
    let plain = ["-n", "--column", "--no-heading", "--no-ignore", "--hidden", "--text", "--null", "--no-config"];
    command.args(plain).args(["--color", "never", "--with-filename"]);
    if fold {
        command.arg("-i");
    }
    command.args(["-e", pattern, "./"]).current_dir(&bench.tree);
    let started = Instant::now();
    let output = child::output(&mut command)?;
    let seconds = started.elapsed().as_secs_f64();
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("rg {pattern:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let mut lines = Vec::new();
    for record in output.stdout.split_inclusive(|&byte| byte == b'\n') {
        let Some(line) = parse(record.strip_suffix(b"\n").unwrap_or(record)) else {
            return Err(format!("rg {pattern:?}: cannot read {:?}", String::from_utf8_lossy(record)).into());
        };
        if indexed.contains(&line.0) {
            lines.push(line);
        }
    }
    lines.sort_unstable();
    Ok(Found { lines, seconds })
}

/// `./path NUL line:column:text`.
fn parse(record: &[u8]) -> Option<Line> {
    let end = record.iter().position(|&byte| byte == 0)?;
    let path = record[..end].strip_prefix(b"./")?.to_vec();
    let mut fields = record[end + 1..].splitn(3, |&byte| byte == b':');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse::<u64>().ok();
    let (line, column) = (number()?, number()?);
    let text = fields.next()?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Some((path, line, column, String::from_utf8_lossy(text).into_owned()))
}

/// What only one of two sorted sides holds.
fn differences<'a>(mut left: &'a [Line], mut right: &'a [Line]) -> (Vec<&'a Line>, Vec<&'a Line>) {
    let (mut only_left, mut only_right) = (Vec::new(), Vec::new());
    loop {
        match (left, right) {
            ([], _) | (_, []) => break,
            ([a, rest_a @ ..], [b, rest_b @ ..]) => match a.cmp(b) {
                Ordering::Equal => (left, right) = (rest_a, rest_b),
                Ordering::Less => {
                    only_left.push(a);
                    left = rest_a;
                }
                Ordering::Greater => {
                    only_right.push(b);
                    right = rest_b;
                }
            },
        }
    }
    only_left.extend(left);
    only_right.extend(right);
    (only_left, only_right)
}

fn show(bench: &mut Bench, pattern: &str, side: &str, lines: &[&Line]) {
    for (path, line, column, text) in lines.iter().take(SHOWN) {
        let path = String::from_utf8_lossy(path);
        let text: String = text.chars().take(120).collect();
        bench.report.say(format!("- {pattern:?}, {side} of {}: {path}:{line}:{column}: {text:?}", lines.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_ripgrep() {
        let line = parse(b"./a:b/c\x0012:3:x:\0y\r").unwrap();
        assert_eq!(line, (b"a:b/c".to_vec(), 12, 3, "x:\0y".to_owned()));
        assert!(parse(b"no record").is_none());
    }

    #[test]
    fn what_one_side_lacks_is_found() {
        let line = |number| (b"f".to_vec(), number, 1, String::new());
        let (left, right) = ([line(1), line(2), line(4)], [line(2), line(3)]);
        let (only_left, only_right) = differences(&left, &right);
        assert_eq!((only_left, only_right), (vec![&line(1), &line(4)], vec![&line(3)]));
    }
}
