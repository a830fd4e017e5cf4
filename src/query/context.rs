//! The lines of a hit as they are shown: its own and those around it, none of them longer than anyone wants to see.

use crate::limits::LINE_BYTES_MAX;
use std::ops::Range;

/// Of a line that is cut, this part of what is kept may lie before the match.
const SHARE_BEFORE_MATCH: usize = 4;
/// The least that a line can be cut to: a character and what is around it.
const LINE_BYTES_MIN: usize = 16;

/// How many lines are wanted around a hit, and how much of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) before: usize,
    pub(crate) after: usize,
    line_bytes: usize,
}

impl Default for Context {
    fn default() -> Context {
        Context { before: 0, after: 0, line_bytes: LINE_BYTES_MAX }
    }
}

impl Context {
    pub(super) fn is_wanted(self) -> bool {
        self.before > 0 || self.after > 0
    }

    pub(super) fn with_line_bytes(self, most: usize) -> Context {
        Context { line_bytes: most.clamp(LINE_BYTES_MIN, LINE_BYTES_MAX), ..self }
    }
}

/// The line of a hit, and those around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) text: String,
    /// Where in the line the text begins.
    pub(super) start: usize,
    pub(super) cut: bool,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
}

impl Shown {
    /// A line whose match begins at the byte `at`, without lines around it.
    pub(super) fn new(line: &[u8], at: usize, context: Context) -> Shown {
        let line = without_end(line);
        let kept = kept(line, at, context.line_bytes);
        let start = kept.start;
        Shown { cut: kept.len() < line.len(), text: lossy(&line[kept]), start, ..Shown::default() }
    }

    /// The line at `line` of `content`, whose match begins at its byte `at`, and the lines around it.
    pub(super) fn around(content: &[u8], line: Range<usize>, at: usize, context: Context) -> Shown {
        let mut shown = Shown::new(&content[line.clone()], at, context);
        let mut start = line.start;
        while shown.before.len() < context.before && start > 0 {
            let end = start - 1;
            start = memchr::memrchr(b'\n', &content[..end]).map_or(0, |newline| newline + 1);
            shown.before.push(context_line(&content[start..end], context));
        }
        shown.before.reverse();
        let mut start = line.end + 1;
        while shown.after.len() < context.after && start < content.len() {
            let end = memchr::memchr(b'\n', &content[start..]).map_or(content.len(), |newline| start + newline);
            shown.after.push(context_line(&content[start..end], context));
            start = end + 1;
        }
        shown
    }
}

/// A line beside a hit: one that is too long ends in `…`.
pub(super) fn context_line(line: &[u8], context: Context) -> String {
    let line = without_end(line);
    let kept = kept(line, 0, context.line_bytes);
    let mut text = lossy(&line[kept.clone()]);
    if kept.len() < line.len() {
        text.push('…');
    }
    text
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What of a line is kept: all of it, unless that is too much. No character is torn.
fn kept(line: &[u8], at: usize, most: usize) -> Range<usize> {
    if line.len() <= most {
        return 0..line.len();
    }
    let start = at.saturating_sub(most / SHARE_BEFORE_MATCH).min(line.len() - most);
    let end = start + most;
    // A character of UTF-8 has at most three bytes behind its first.
    let inside = |at: &usize| line.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let start = (start..start + 4).find(|at| !inside(at)).unwrap_or(start);
    let end = (end - 3..=end).rev().find(|at| !inside(at)).unwrap_or(end);
    start..end
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str, line: &str, context: (usize, usize), expect: (&[&str], &[&str])) {
        let start = content.find(line).unwrap();
        let end = content[start..].find('\n').map_or(content.len(), |newline| start + newline);
        let context = Context { before: context.0, after: context.1, ..Context::default() };
        let shown = Shown::around(content.as_bytes(), start..end, 0, context);
        assert_eq!((shown.text.as_str(), shown.cut), (line, false));
        assert_eq!((&shown.before[..], &shown.after[..]), (&owned(expect.0)[..], &owned(expect.1)[..]));
    }

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn lines_around_end_where_the_file_does() {
        check("a\nb\nhit\nc\nd\n", "hit", (1, 1), (&["b"], &["c"]));
        check("a\nb\nhit\nc\nd\n", "hit", (9, 9), (&["a", "b"], &["c", "d"]));
        check("a\nb\nhit\nc\nd", "hit", (0, 2), (&[], &["c", "d"]));
        check("\n\nhit\n\n", "hit", (3, 3), (&["", ""], &[""]));
        check("a\r\nb\r\nhit\r\nc\r\n", "hit", (2, 1), (&["a", "b"], &["c"]));
        check("hit", "hit", (2, 2), (&[], &[]));
        check("hit\n", "hit", (2, 2), (&[], &[]));
    }

    #[test]
    fn long_lines_are_cut_around_the_match_and_between_characters() {
        for max in [LINE_BYTES_MAX, 1000, LINE_BYTES_MIN] {
            let context = Context::default().with_line_bytes(max);
            assert!(!Shown::new("x".repeat(max).as_bytes(), 0, context).cut);
            cut_to(max, context);
        }
    }

    fn cut_to(max: usize, context: Context) {
        for unit in ["x", "ä", "日", "🦀"] {
            let line = format!("{}hit{}", unit.repeat(max), unit.repeat(max));
            for at in [0, unit.len(), max, unit.len() * max, line.len() - unit.len()] {
                let shown = Shown::new(line.as_bytes(), at, context);
                assert!(line[shown.start..].starts_with(&shown.text), "{unit} {at}");
                assert!(shown.cut && shown.text.len() <= max && shown.text.len() > max - 8, "{unit} {at}");
                assert!(!shown.text.contains('\u{fffd}'), "{unit} {at}");
                assert_eq!(shown.text.contains("hit"), at == unit.len() * max, "{unit} {at}");
            }
            let beside = context_line(line.as_bytes(), context);
            assert!(beside.ends_with('…') && beside.len() <= max + 3, "{unit}");
        }
    }
}
