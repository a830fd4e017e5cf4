//! Hits for people, as ripgrep shows its matches: grouped by file, or a line each; with lines around them.

use super::fit::{Highlight, fit};
use super::hyperlink::Links;
use super::output::{Ui, path_bytes, shown};
use leindex_engine::Hit;
use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

const PATH_COLOR: &str = "\x1b[35m";
const NUMBER_COLOR: &str = "\x1b[32m";
const MATCH_COLOR: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[0m";
/// Text is never cut to less than this, whatever stands before it.
const TEXT_WIDTH_MIN: usize = 12;

/// How hits are written.
#[derive(Debug)]
pub(crate) struct Style<'s> {
    pub(crate) ui: &'s Ui,
    /// Each path once, above its hits.
    pub(crate) heading: bool,
    /// Groups of lines that do not touch are set apart.
    pub(crate) context: bool,
    pub(crate) highlight: Highlight,
    pub(crate) links: Links,
}

/// Writes hits, those of a file one after another. `path_of` tells the path that is shown.
pub(crate) fn write<'h>(
    out: &mut impl Write,
    hits: &'h [Hit],
    path_of: impl Fn(&'h Hit) -> &'h Path,
    style: &Style<'_>,
) -> io::Result<()> {
    let mut is_first = true;
    for group in hits.chunk_by(|a, b| a.path == b.path) {
        let path = style.path(path_of(&group[0]), &group[0].path);
        if style.heading {
            let gap: &[u8] = if is_first { b"" } else { b"\n" };
            out.write_all(gap)?;
            out.write_all(&path.painted)?;
            out.write_all(b"\n")?;
        }
        let mut last = None;
        for (index, hit) in group.iter().enumerate() {
            // Symbols come by how well they fit: what is further up in the file is set apart.
            let next = group.get(index + 1).map(|next| next.line).filter(|next| *next > hit.line);
            let apart = !is_first && (last.is_some() || !style.heading);
            let last_above = last.filter(|last| *last < hit.line);
            let lines = Lines { hit, next: next.unwrap_or(u64::MAX), last: last_above, apart };
            last = Some(lines.write(out, &path, style)?);
            is_first = false;
        }
    }
    Ok(())
}

/// A hit and the lines around it, between those of the hits before and after it.
struct Lines<'h> {
    hit: &'h Hit,
    /// The line of the next hit of the file.
    next: u64,
    /// The last line of the file that was written.
    last: Option<u64>,
    /// Whether lines were written before that these have to be set apart from if they do not touch.
    apart: bool,
}

impl Lines<'_> {
    /// Writes what was not written yet, and tells the last line that now is.
    fn write(&self, out: &mut impl Write, path: &ShownPath, style: &Style<'_>) -> io::Result<u64> {
        let hit = self.hit;
        let first = hit.line.saturating_sub(hit.before.len() as u64);
        let from = self.last.map_or(first, |last| first.max(last + 1));
        if style.context && self.apart && self.last.is_none_or(|last| from > last + 1) {
            out.write_all(b"--\n")?;
        }
        for (number, text) in (first..).zip(&hit.before).filter(|(number, _)| *number >= from) {
            style.line(out, path, number, None, text)?;
        }
        style.line(out, path, hit.line, Some(hit), &hit.text)?;
        let mut last = hit.line;
        for (number, text) in (hit.line + 1..self.next).zip(&hit.after) {
            style.line(out, path, number, None, text)?;
            last = number;
        }
        Ok(last)
    }
}

/// A path, ready to be written.
struct ShownPath {
    painted: Vec<u8>,
    width: usize,
}

impl Style<'_> {
    fn paint(&self, color: &'static str) -> (&'static str, &'static str) {
        if self.ui.color { (color, RESET) } else { ("", "") }
    }

    fn path(&self, path: &Path, from_root: &Path) -> ShownPath {
        let bytes = path_bytes(path);
        let text = if self.ui.terminal { Cow::Owned(shown(&bytes).into_bytes()) } else { bytes };
        let ((on, off), (link, unlink)) = (self.paint(PATH_COLOR), self.links.around(from_root));
        let width = if self.ui.terminal { console::measure_text_width(&String::from_utf8_lossy(&text)) } else { 0 };
        let painted = [link.as_bytes(), on.as_bytes(), &text, off.as_bytes(), unlink.as_bytes()].concat();
        ShownPath { painted, width }
    }

    /// Writes a path by itself.
    pub(crate) fn write_path(&self, out: &mut impl Write, path: &Path, from_root: &Path) -> io::Result<()> {
        out.write_all(&self.path(path, from_root).painted)
    }

    /// Writes one line: that of a hit, or one beside it.
    fn line(
        &self,
        out: &mut impl Write,
        path: &ShownPath,
        number: u64,
        hit: Option<&Hit>,
        text: &str,
    ) -> io::Result<()> {
        let mut used = 0;
        let mark = if hit.is_some() { ':' } else { '-' };
        if !self.heading {
            out.write_all(&path.painted)?;
            write!(out, "{mark}")?;
            used += path.width + 1;
        }
        let (on, off) = self.paint(NUMBER_COLOR);
        write!(out, "{on}{number}{off}{mark}")?;
        used += number.to_string().len() + 1;
        if let Some(hit) = hit {
            write!(out, "{}:", hit.column)?;
            used += hit.column.to_string().len() + 1;
        }
        self.text(out, hit, text, used)?;
        out.write_all(b"\n")
    }

    fn text(&self, out: &mut impl Write, hit: Option<&Hit>, text: &str, used: usize) -> io::Result<()> {
        if !self.ui.terminal {
            let matches = if self.ui.color && hit.is_some() { self.highlight.matches(text) } else { Vec::new() };
            return painted(out, text, &matches, self.ui.color);
        }
        let columns = self.ui.width.saturating_sub(used).max(TEXT_WIDTH_MIN);
        match hit {
            Some(hit) => {
                // The column is one of the whole line.
                let cut_at = || self.highlight.matches(text).first().map_or(0, |found| found.start);
                let at = if hit.cut { cut_at() } else { usize::try_from(hit.column).unwrap_or(1).saturating_sub(1) };
                let (text, matches) = fit(text, &self.highlight, at, columns);
                painted(out, &text, &matches, self.ui.color)
            }
            None => out.write_all(fit(text, &Highlight::none(), 0, columns).0.as_bytes()),
        }
    }
}

fn painted(out: &mut impl Write, text: &str, matches: &[Range<usize>], color: bool) -> io::Result<()> {
    if !color {
        return out.write_all(text.as_bytes());
    }
    let mut done = 0;
    for found in matches {
        write!(out, "{}{MATCH_COLOR}{}{RESET}", &text[done..found.start], &text[found.clone()])?;
        done = found.end;
    }
    out.write_all(&text.as_bytes()[done..])
}
