//! The matching lines of a file, as ripgrep reports them: by ripgrep's own searcher.

use super::Query;
use crate::error::QueryError;
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use std::io;

/// A match in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) column: u64,
    pub(super) text: String,
}

/// Compiles the pattern as ripgrep does by default.
pub(super) fn matcher(query: &Query, literal: bool) -> Result<RegexMatcher, QueryError> {
    let mut builder = RegexMatcherBuilder::new();
    builder.multi_line(true).unicode(true).octal(false).case_insensitive(query.case_insensitive);
    builder.line_terminator(Some(b'\n')).fixed_strings(literal);
    builder.build(&query.pattern).map_err(|error| QueryError::Pattern { detail: error.to_string() })
}

/// Searches files one after another; its buffers are reused.
pub(super) struct LineSearcher<'m> {
    matcher: &'m RegexMatcher,
    searcher: Searcher,
}

impl<'m> LineSearcher<'m> {
    pub(super) fn new(matcher: &'m RegexMatcher) -> Self {
        let searcher = SearcherBuilder::new().line_number(true).binary_detection(BinaryDetection::none()).build();
        LineSearcher { matcher, searcher }
    }

    /// The first `limit` matching lines of `content`.
    pub(super) fn lines(&mut self, content: &[u8], limit: usize) -> io::Result<Vec<Line>> {
        let mut collect = Collect { matcher: self.matcher, limit, lines: Vec::new() };
        if limit > 0 {
            self.searcher.search_slice(self.matcher, content, &mut collect)?;
        }
        Ok(collect.lines)
    }
}

struct Collect<'m> {
    matcher: &'m RegexMatcher,
    limit: usize,
    lines: Vec<Line>,
}

impl Sink for Collect<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let bytes = found.bytes();
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let start = self.matcher.find(line).map_err(io::Error::other)?.map_or(0, |found| found.start());
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines.push(Line {
            number: found.line_number().unwrap_or(0),
            column: start as u64 + 1,
            text: String::from_utf8_lossy(text).into_owned(),
        });
        Ok(self.lines.len() < self.limit)
    }
}
