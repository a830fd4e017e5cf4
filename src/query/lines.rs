//! The matching lines of a file, as ripgrep reports them: by ripgrep's own searcher.

use super::Query;
use super::context::{Context, Shown, context_line};
use crate::error::QueryError;
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use std::io;

/// A match in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) column: u64,
    pub(super) shown: Shown,
}

/// The first matches of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    /// Whether there are more; known only if it was asked for.
    pub(super) more: bool,
}

/// How many lines of a file are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) lines: usize,
    /// Whether it is of interest that there are more.
    pub(super) probe: bool,
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
    context: Context,
}

impl<'m> LineSearcher<'m> {
    pub(super) fn new(matcher: &'m RegexMatcher, context: Context) -> Self {
        let mut builder = SearcherBuilder::new();
        builder.line_number(true).binary_detection(BinaryDetection::none());
        builder.before_context(context.before).after_context(context.after);
        LineSearcher { matcher, searcher: builder.build(), context }
    }

    /// The first matching lines of `content`.
    pub(super) fn lines(&mut self, content: &[u8], wanted: Wanted) -> io::Result<Lines> {
        let mut collect = Collect {
            matcher: self.matcher,
            wanted,
            context: self.context,
            found: Lines::default(),
            around: Vec::new(),
        };
        if wanted.lines > 0 {
            self.searcher.search_slice(self.matcher, content, &mut collect)?;
        }
        Ok(collect.finish())
    }
}

struct Collect<'m> {
    matcher: &'m RegexMatcher,
    wanted: Wanted,
    context: Context,
    found: Lines,
    /// Every line that is in the context of some match, and the matches themselves, in order.
    around: Vec<(u64, String)>,
}

impl Collect<'_> {
    fn is_full(&self) -> bool {
        self.found.lines.len() >= self.wanted.lines
    }

    /// Whether something behind the line `number` is of interest.
    fn goes_on(&self, number: u64) -> bool {
        if !self.is_full() || (self.wanted.probe && !self.found.more) {
            return true;
        }
        let last = self.found.lines.last().map_or(0, |line| line.number);
        number < last.saturating_add(self.context.after as u64)
    }

    fn keep(&mut self, number: u64, bytes: &[u8]) {
        if self.context.is_wanted() {
            self.around.push((number, context_line(bytes, self.context)));
        }
    }

    /// Gives each match the lines around it.
    fn finish(mut self) -> Lines {
        let Context { before, after, .. } = self.context;
        let take = |lines: &[(u64, String)]| lines.iter().map(|(_, text)| text.clone()).collect();
        for line in self.found.lines.iter_mut().filter(|_| self.context.is_wanted()) {
            let first = self.around.partition_point(|(number, _)| number.saturating_add(before as u64) < line.number);
            let own = self.around.partition_point(|(number, _)| *number < line.number);
            let end = self.around.partition_point(|(number, _)| *number <= line.number.saturating_add(after as u64));
            line.shown.before = take(&self.around[first..own]);
            line.shown.after = take(self.around.get(own + 1..end).unwrap_or_default());
        }
        self.found
    }
}

impl Sink for Collect<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let bytes = found.bytes();
        let number = found.line_number().unwrap_or(0);
        self.keep(number, bytes);
        if self.is_full() {
            self.found.more = true;
            return Ok(self.goes_on(number));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let start = self.matcher.find(line).map_err(io::Error::other)?.map_or(0, |found| found.start());
        self.found.lines.push(Line { number, column: start as u64 + 1, shown: Shown::new(line, start, self.context) });
        Ok(self.goes_on(number))
    }

    fn context(&mut self, _: &Searcher, line: &SinkContext<'_>) -> Result<bool, io::Error> {
        let number = line.line_number().unwrap_or(0);
        self.keep(number, line.bytes());
        Ok(self.goes_on(number))
    }
}

/// Counts matching lines of files one after another.
pub(super) struct LineCounter<'m> {
    matcher: &'m RegexMatcher,
    searcher: Searcher,
}

impl<'m> LineCounter<'m> {
    pub(super) fn new(matcher: &'m RegexMatcher) -> Self {
        let searcher = SearcherBuilder::new().line_number(false).binary_detection(BinaryDetection::none()).build();
        LineCounter { matcher, searcher }
    }

    /// How many lines of `content` match, up to `limit`.
    pub(super) fn count(&mut self, content: &[u8], limit: usize) -> io::Result<u64> {
        let mut count = Count { limit: limit as u64, lines: 0 };
        self.searcher.search_slice(self.matcher, content, &mut count)?;
        Ok(count.lines)
    }
}

struct Count {
    limit: u64,
    lines: u64,
}

impl Sink for Count {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, _: &SinkMatch<'_>) -> Result<bool, io::Error> {
        self.lines += 1;
        Ok(self.lines < self.limit)
    }
}
