//! Searches of one generation: text with BM25, substrings, regular expressions, filters.
//!
//! * `plan`: a pattern to what the terms of a matching file must be (pure).
//! * `candidates`: a plan to the files of each segment that satisfy it.
//! * `text`: words to scored files, exact identifiers first.
//! * `read`: candidates to the bytes of their files.
//! * `lines`: a file to its matching lines, as ripgrep reports them.
//! * `searcher`: puts them together over the stores of one generation.
//!
//! Whatever the index says, a hit is only reported after the bytes of the file have been looked at: the index decides
//! which files are read, never what is in them.

mod candidates;
mod definition;
mod filter;
mod lines;
pub mod plan;
mod rank;
mod read;
mod searcher;
mod text;
mod text_search;

pub(crate) use searcher::Searcher;

use std::path::PathBuf;

/// How a query is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Words, ranked by BM25; code-aware.
    #[default]
    Text,
    /// A string of bytes.
    Substring,
    /// A regular expression, in ripgrep's syntax.
    Regex,
}

/// How the hits of [`Mode::Text`] are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ranking {
    /// As a developer looks for them: definitions, identifiers as typed, names of files, BM25; source before tests,
    /// documentation, generated and vendored files.
    #[default]
    Code,
    /// By BM25 of the words alone.
    Bm25,
}

/// What to search for. Built with [`Query::text`], [`Query::substring`] or [`Query::regex`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    pub(crate) mode: Mode,
    pub(crate) pattern: String,
    pub(crate) case_insensitive: bool,
    pub(crate) limit: usize,
    pub(crate) languages: Vec<String>,
    pub(crate) globs: Vec<String>,
    pub(crate) ranking: Ranking,
}

impl Query {
    /// A query of any mode, with at most 20 hits.
    pub fn new(mode: Mode, pattern: impl Into<String>) -> Query {
        let pattern = pattern.into();
        Query {
            mode,
            pattern,
            case_insensitive: false,
            limit: 20,
            languages: Vec::new(),
            globs: Vec::new(),
            ranking: Ranking::Code,
        }
    }

    /// Words: a file must hold all of them. `schedule_timeout`, `scheduleTimeout` and `schedule timeout` find each
    /// other, the exact identifier first; `time*` is a prefix and `"two words"` a phrase. Case does not matter.
    pub fn text(words: impl Into<String>) -> Query {
        Query::new(Mode::Text, words)
    }

    /// Lines that hold these bytes.
    pub fn substring(literal: impl Into<String>) -> Query {
        Query::new(Mode::Substring, literal)
    }

    /// Lines that match.
    pub fn regex(pattern: impl Into<String>) -> Query {
        Query::new(Mode::Regex, pattern)
    }

    /// Whether upper and lower case are the same. Default: not, but in [`Mode::Text`] always.
    pub fn case_insensitive(mut self, yes: bool) -> Query {
        self.case_insensitive = yes;
        self
    }

    /// The most hits; 0 for all. Default 20.
    pub fn limit(mut self, hits: usize) -> Query {
        self.limit = hits;
        self
    }

    /// Only files of this language (a name or alias, such as `rust` or `c++`); of any of them when called repeatedly.
    pub fn language(mut self, name: impl Into<String>) -> Query {
        self.languages.push(name.into());
        self
    }

    /// Only files whose path matches this glob, as ripgrep's `-g`: without a slash it is matched against the name, `!`
    /// excludes. The last one that matches decides.
    pub fn path_glob(mut self, glob: impl Into<String>) -> Query {
        self.globs.push(glob.into());
        self
    }

    /// How hits of [`Mode::Text`] are ordered; nothing in other modes. Default [`Ranking::Code`].
    pub fn ranking(mut self, ranking: Ranking) -> Query {
        self.ranking = ranking;
        self
    }

    pub(crate) fn limit_or_all(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }
}

/// One match: a line in the line-oriented modes, the best line of a file in [`Mode::Text`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// Path relative to the root.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Column of the first match in the line: bytes, from 1.
    pub column: u64,
    /// Higher is better; 1 in the line-oriented modes.
    pub score: f32,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The answer to a query.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SearchResult {
    /// The hits: by score in [`Mode::Text`], otherwise file by file and line by line.
    pub hits: Vec<Hit>,
    /// Files with a hit among those looked at.
    pub files: usize,
    /// Files that the index named.
    pub candidates: usize,
    /// Files whose bytes were read.
    pub files_read: usize,
    /// Candidates that could not be read any more: gone or changed since the generation was made.
    pub unreadable: usize,
    /// Whether the limit cut the answer.
    pub truncated: bool,
    /// The generation that answered.
    pub generation: u64,
    /// How the index was used: the plan.
    pub plan: String,
}
