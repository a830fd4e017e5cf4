//! A run's report for people.

use super::output::{bytes, count, seconds, shown, things};
use leindex_engine::{Outcome, Report, Skip};
use std::io::{self, Write};
use std::path::Path;

/// Paths shown of each kind of skip.
const EXAMPLES: usize = 5;

/// Writes the summary of a run.
pub(crate) fn write(out: &mut impl Write, report: &Report, index_dir: &Path) -> io::Result<()> {
    let (files, total) = (&report.files, report.seconds.total);
    let verb = if report.outcome == Outcome::Cancelled { "interrupted; indexed" } else { "indexed" };
    write!(
        out,
        "{verb} {} ({}) in {}",
        things(files.indexed, "file", "files"),
        bytes(files.bytes_read),
        seconds(total)
    )?;
    if files.indexed > 0 {
        let per_second = |number: u64| number as f64 / total.max(1e-6);
        let (rate, megabytes) = (per_second(files.indexed) as u64, per_second(files.bytes_read) / 1e6);
        write!(out, ": {} files/s, {megabytes:.1} MB/s", count(rate))?;
    }
    writeln!(out)?;
    write!(
        out,
        "unchanged {}, removed {}, binary {}, too large {}, ignored {}",
        count(files.unchanged),
        count(files.removed),
        count(files.binary),
        count(files.too_large),
        count(files.ignored),
    )?;
    if files.ignored_dirs > 0 {
        write!(out, " (and {})", things(files.ignored_dirs, "directory", "directories"))?;
    }
    writeln!(out, ", skipped {}", count(files.skipped))?;
    let place = shown(&super::output::path_bytes(index_dir));
    writeln!(out, "generation {}, index {} in {place}", report.generation, bytes(report.index_bytes))?;
    skips(out, &report.skips, files.skipped)
}

/// Writes skips grouped by reason, failures first, with a few paths each.
pub(crate) fn skips(out: &mut impl Write, skips: &[Skip], total: u64) -> io::Result<()> {
    let mut groups: Vec<(&Skip, Vec<&Skip>)> = Vec::new();
    for skip in skips {
        match groups.iter_mut().find(|(first, _)| first.op == skip.op && first.reason == skip.reason) {
            Some((_, members)) => members.push(skip),
            None => groups.push((skip, vec![skip])),
        }
    }
    groups.sort_by_key(|(first, members)| (!first.failure, std::cmp::Reverse(members.len())));
    for (first, members) in &groups {
        let kind = if first.failure { "failed" } else { "skipped" };
        writeln!(out, "{kind} {}: {}: {}", count(members.len() as u64), first.op, first.reason)?;
        for skip in members.iter().take(EXAMPLES) {
            writeln!(out, "    {}", shown(if skip.path.is_empty() { b"." } else { &skip.path }))?;
        }
        if members.len() > EXAMPLES {
            writeln!(out, "    and {} more", count((members.len() - EXAMPLES) as u64))?;
        }
    }
    if total > skips.len() as u64 {
        writeln!(out, "skipped {} more that are not listed", count(total - skips.len() as u64))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_grouped_failures_first() {
        let skip = |path: String, reason: &str, failure| Skip {
            path: path.into_bytes(),
            op: "open",
            reason: reason.into(),
            failure,
        };
        let mut list: Vec<Skip> = (0..7).map(|number| skip(format!("link{number}"), "a link", false)).collect();
        list.push(skip("bad\n".into(), "denied", true));
        let mut text = Vec::new();
        skips(&mut text, &list, 10).unwrap();
        let expected = "failed 1: open: denied\n    bad\\n\nskipped 7: open: a link\n    link0\n    link1\n    link2\n    \
                        link3\n    link4\n    and 2 more\nskipped 2 more that are not listed\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
