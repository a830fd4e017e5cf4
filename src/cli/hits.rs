//! Hits for people: a line each for pipes, grouped by file on a terminal.

use super::output::{Ui, one_line, path_bytes, shown};
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use leindex_engine::{Hit, Mode};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

const PATH_COLOR: &str = "\x1b[35m";
const NUMBER_COLOR: &str = "\x1b[32m";
const MATCH_COLOR: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[0m";
/// Stands for what was cut away.
const ELLIPSIS: char = '…';

/// Finds in a line again what was searched for.
pub(crate) struct Highlight(Option<RegexMatcher>);

impl Highlight {
    /// For a query.
    pub(crate) fn new(mode: Mode, pattern: &str, case_insensitive: bool) -> Highlight {
        let mut builder = RegexMatcherBuilder::new();
        builder.case_insensitive(case_insensitive || mode == Mode::Text);
        let built = match mode {
            Mode::Regex => builder.build(pattern),
            Mode::Text => {
                let is_word = |char: char| char.is_ascii_alphanumeric() || !char.is_ascii();
                let mut words: Vec<&str> =
                    pattern.split(|char| !is_word(char)).filter(|word| !word.is_empty()).collect();
                words.sort_by_key(|word| std::cmp::Reverse(word.len()));
                if words.is_empty() {
                    return Highlight(None);
                }
                builder.build_literals(&words)
            }
            _ => builder.fixed_strings(true).build(pattern),
        };
        Highlight(built.ok())
    }

    /// The matches in a line, in order, none of them empty.
    fn matches(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if let Some(matcher) = &self.0 {
            // The matcher of a line that was found does not fail on it.
            let _ = matcher.find_iter(text.as_bytes(), |at| {
                let whole = text.is_char_boundary(at.start()) && text.is_char_boundary(at.end());
                if whole && at.start() < at.end() {
                    found.push(at.start()..at.end());
                }
                true
            });
        }
        found
    }
}

/// Writes the hits.
pub(crate) fn write<'h>(
    out: &mut impl Write,
    hits: &'h [Hit],
    path_of: impl Fn(&'h Hit) -> &'h Path,
    highlight: &Highlight,
    ui: &Ui,
) -> io::Result<()> {
    let paint = |color: &'static str| if ui.color { (color, RESET) } else { ("", "") };
    let ((path_on, path_off), (number_on, number_off)) = (paint(PATH_COLOR), paint(NUMBER_COLOR));
    for (index, group) in hits.chunk_by(|a, b| a.path == b.path).enumerate() {
        let path = path_bytes(path_of(&group[0]));
        if ui.terminal {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{path_on}{}{path_off}", shown(&path))?;
        }
        for hit in group {
            if ui.terminal {
                write!(out, "{number_on}{}{number_off}:{}:", hit.line, hit.column)?;
                let used = hit.line.to_string().len() + hit.column.to_string().len() + 2;
                let (text, matches) = fit(&hit.text, highlight, hit.column, ui.width.saturating_sub(used));
                painted(out, &text, &matches, ui.color)?;
            } else {
                out.write_all(path_on.as_bytes())?;
                out.write_all(&path)?;
                write!(out, "{path_off}:{number_on}{}{number_off}:{}:", hit.line, hit.column)?;
                let matches = if ui.color { highlight.matches(&hit.text) } else { Vec::new() };
                painted(out, &hit.text, &matches, ui.color)?;
            }
            out.write_all(b"\n")?;
        }
    }
    Ok(())
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

/// The line as it fits into `columns`: around its first match, with tabs as blanks and control characters escaped.
fn fit(line: &str, highlight: &Highlight, column: u64, columns: usize) -> (String, Vec<Range<usize>>) {
    // The match is looked for near to where the engine found it, so that a huge line costs no more than a short one.
    let start = floor_boundary(line, usize::try_from(column).unwrap_or(1).saturating_sub(1));
    let from = floor_boundary(line, start.saturating_sub(columns * 4));
    let to = floor_boundary(line, (start + columns * 8).min(line.len()));
    let piece = one_line(&line[from..to].replace('\t', "    ")).into_owned();
    let matches = highlight.matches(&piece);
    let cut_left = from > 0;
    let cut_right = to < line.len();
    if !cut_left && !cut_right && console::measure_text_width(&piece) <= columns {
        return (piece, matches);
    }
    let first = matches.iter().find(|found| !cut_left || found.start > 0).cloned().unwrap_or(0..0);
    window(&piece, &first, &matches, columns, (cut_left, cut_right))
}

/// Cuts `text` to `columns` so that the match `first` is in it.
fn window(
    text: &str,
    first: &Range<usize>,
    matches: &[Range<usize>],
    columns: usize,
    cut: (bool, bool),
) -> (String, Vec<Range<usize>>) {
    let width = |text: &str| console::measure_text_width(text);
    // A third of the line may lie before the match.
    let mut start = first.start;
    for (at, _) in text[..first.start].char_indices().rev() {
        if width(&text[at..first.start]) > columns / 3 {
            break;
        }
        start = at;
    }
    // The end of a line is not left empty when there is more at its start.
    for (at, _) in text[..start].char_indices().rev() {
        if cut.1 || width(&text[at..]) + 1 > columns {
            break;
        }
        start = at;
    }
    let left = cut.0 || start > 0;
    let mut cut_text = String::from(if left { "…" } else { "" });
    let offset = cut_text.len();
    let mut used = usize::from(left);
    let mut end = start;
    for (at, char) in text[start..].char_indices() {
        let wide = width(char.encode_utf8(&mut [0; 4]));
        let rest_fits = !cut.1 && used + width(&text[start + at..]) <= columns;
        if !rest_fits && used + wide + 1 > columns {
            break;
        }
        used += wide;
        end = start + at + char.len_utf8();
    }
    cut_text.push_str(&text[start..end]);
    if end < text.len() || cut.1 {
        cut_text.push(ELLIPSIS);
    }
    let inside = |found: &Range<usize>| {
        let (from, to) = (found.start.max(start), found.end.min(end));
        (from < to).then(|| from - start + offset..to - start + offset)
    };
    (cut_text, matches.iter().filter_map(inside).collect())
}

/// The last character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, column: u64, columns: usize, expect: &str) {
        let highlight = Highlight::new(Mode::Substring, "hit", false);
        let (text, matches) = fit(line, &highlight, column, columns);
        assert_eq!(text, expect);
        assert!(console::measure_text_width(&text) <= columns, "{text:?} is wider than {columns}");
        assert!(matches.iter().any(|found| &text[found.clone()] == "hit"), "{text:?} {matches:?}");
    }

    #[test]
    fn lines_are_cut_around_the_match() {
        check("a hit", 3, 20, "a hit");
        check("\ta hit\x1b[2J", 4, 20, "    a hit\\u{1b}[2J");
        check("a hit and much more than fits into it", 3, 20, "a hit and much more…");
        check("much more than fits before the hit", 32, 20, "…fits before the hit");
        check("much more than fits before the hit and after it too", 32, 20, "…e the hit and afte…");
        check("äöüäöüäöüäöüäöüäöüäöü hit äöüäöüäöüäöüäöü", 44, 12, "…äöü hit äö…");
        check("漢字漢字漢字漢字漢字漢字漢字 hit 漢字漢字漢字", 44, 12, "…字 hit 漢…");
    }

    #[test]
    fn a_huge_line_is_cut_as_well() {
        let line = format!("{}hit{}", "x".repeat(1 << 20), "y".repeat(1 << 20));
        check(&line, (1 << 20) + 1, 20, "…xxxxxxhityyyyyyyyy…");
    }

    #[test]
    fn words_are_found_in_any_case() {
        let highlight = Highlight::new(Mode::Text, "schedule_time*", false);
        assert_eq!(highlight.matches("ScheduleTimeout"), [0..8, 8..12]);
        assert!(Highlight::new(Mode::Text, "*", false).matches("a * b").is_empty());
        let regex = Highlight::new(Mode::Regex, "a*", false);
        assert_eq!(regex.matches("baaba"), [1..3, 4..5], "no empty ones");
    }
}
