//! A line as it fits on a terminal, and where in it the matches are.

use super::output::one_line;
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use leindex_engine::Mode;
use std::ops::Range;

/// Stands for what was cut away.
const ELLIPSIS: char = '…';

/// Finds in a line again what was searched for.
#[derive(Debug)]
pub(crate) struct Highlight(Option<RegexMatcher>);

impl Highlight {
    /// For lines without a match.
    pub(crate) fn none() -> Highlight {
        Highlight(None)
    }

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
    pub(crate) fn matches(&self, text: &str) -> Vec<Range<usize>> {
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

/// The line as it fits into `columns`: around the match at the byte `at`, with tabs as blanks and control characters escaped.
pub(crate) fn fit(line: &str, highlight: &Highlight, at: usize, columns: usize) -> (String, Vec<Range<usize>>) {
    // The match is looked for near to where the engine found it, so that a huge line costs no more than a short one.
    let start = floor_boundary(line, at);
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
    fn check(line: &str, column: usize, columns: usize, expect: &str) {
        let highlight = Highlight::new(Mode::Substring, "hit", false);
        let (text, matches) = fit(line, &highlight, column - 1, columns);
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
