//! Searches of one generation: text with BM25, substrings, regular expressions, filters.
//!
//! * `plan`: a pattern to what the terms of a matching file must be (pure).
//! * `candidates`: a plan to the files of each segment that satisfy it.
//! * `text`: words to scored files, and the best line of a file. `text_search`: the search for them.
//! * `rank`: features of a file to its score. `definition`: whether bytes look like a definition of a name.
//! * `read`: candidates to the bytes of their files.
//! * `symbol`: the name of a definition to where it stands. `symbol_name`: which names fit (pure).
//! * `lines`: a file to its matching lines, as ripgrep reports them.
//! * `context`: a hit to the lines that are shown of it.
//! * `line_search`, `files`: candidates to matching lines, or to how many lines of each file match.
//! * `stored`: what is known of the definitions of a file without reading it.
//! * `order`: in which order files are answered. `case`: smart case.
//! * `semantic`: a question to the files that are nearest to it. `vectors`: the vectors of one generation, and whose they are.
//! * `suggest`: a query without hits to one that has some.
//! * `searcher`: puts them together over the stores of one generation.
//!
//! Whatever the index says, a hit is only reported after the bytes of the file have been looked at: the index decides
//! which files are read, never what is in them.

mod candidates;
mod case;
mod context;
mod definition;
mod files;
mod filter;
mod line_search;
mod lines;
mod order;
pub mod plan;
mod rank;
mod read;
mod searcher;
mod semantic;
mod stored;
mod suggest;
mod symbol;
mod symbol_name;
mod text;
mod text_search;
mod vectors;

pub use files::{FileMatch, FileMatches};
pub use filter::PathFilter;
pub use order::Sort;
pub(crate) use read::{Candidate, Readers, read_each, read_indexed};
pub(crate) use searcher::Searcher;
pub(crate) use vectors::{GetEmbedder, Vectors};

use crate::limits::CONTEXT_LINES_MAX;
use crate::symbols::Symbol;
use context::{Context, Shown};
use order::Order;
use std::path::PathBuf;

/// How a query is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Words, ranked; code-aware.
    #[default]
    Text,
    /// A string of bytes.
    Substring,
    /// A regular expression, in ripgrep's syntax.
    Regex,
    /// The name of a definition: exact, or else its beginning or its humps. `name*` for beginnings only, `Type::name` for
    /// what belongs to a type. See [`crate::Engine::symbols`].
    Symbol,
    /// A question in words: the files with the pieces of code that are nearest to it in meaning, whatever words they use. See
    /// [`crate::Engine::embed`].
    Semantic,
    /// The same, and the words count too: the sum of both scores, each relative to how it varies over all files.
    Hybrid,
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

/// What to search for. Built with [`Query::text`], [`Query::substring`], [`Query::regex`], or [`Query::new`] for any mode.
///
/// ```
/// use leindex_engine::{Mode, Query, Sort};
///
/// let words = Query::text("schedule timeout").language("c").limit(5);
/// let lines = Query::regex(r"fn \w+_lock\(").path_glob("!tests/**").context(2, 2).per_file(3);
/// let every = Query::substring("TODO").sort(Sort::Path, false).limit(0); // 0: all hits
/// let name = Query::new(Mode::Symbol, "Engine::open");
/// let question = Query::new(Mode::Hybrid, "how is a file that hangs given up");
/// # assert_eq!((name.mode(), question.mode()), (Mode::Symbol, Mode::Hybrid));
/// # let _ = (words, lines, every);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    pub(crate) mode: Mode,
    pub(crate) pattern: String,
    pub(crate) case_insensitive: bool,
    pub(crate) limit: usize,
    pub(crate) languages: Vec<String>,
    pub(crate) globs: Vec<String>,
    pub(crate) context: Context,
    pub(crate) per_file: usize,
    pub(crate) order: Order,
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
            context: Context::default(),
            per_file: 0,
            order: Order::default(),
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

    /// Whether upper and lower case are the same in [`Mode::Substring`] and [`Mode::Regex`]. Default: not. The other modes do
    /// not look at it: words and names are found in any case.
    pub fn case_insensitive(mut self, yes: bool) -> Query {
        self.case_insensitive = yes;
        self
    }

    /// Upper and lower case are the same unless the pattern holds an upper-case letter: ripgrep's rule, by which `\W` holds
    /// none, and a pattern without any literal is taken as it is.
    pub fn smart_case(self) -> Query {
        let lower = case::is_lower(self.mode, &self.pattern);
        self.case_insensitive(lower)
    }

    /// The most hits; 0 for all. Default 20.
    pub fn limit(mut self, hits: usize) -> Query {
        self.limit = hits;
        self
    }

    /// The most hits of one file; 0 for all. Default 0. [`SearchResult::capped_files`] tells whether there were more.
    pub fn per_file(mut self, hits: usize) -> Query {
        self.per_file = hits;
        self
    }

    /// How many lines before and after each hit are wanted; more than [`CONTEXT_LINES_MAX`] are taken as so many. Every
    /// hit has its own, also where hits are near to each other: with [`Query::limit`] 0, that is many times the files.
    /// Default none.
    pub fn context(mut self, before: usize, after: usize) -> Query {
        self.context.before = before.min(CONTEXT_LINES_MAX);
        self.context.after = after.min(CONTEXT_LINES_MAX);
        self
    }

    /// How many bytes of a line are wanted, the hit's own or one around it; of a longer one, a part with the match is given.
    /// Default and most: [`LINE_BYTES_MAX`](crate::limits::LINE_BYTES_MAX).
    pub fn line_bytes(mut self, most: usize) -> Query {
        self.context = self.context.with_line_bytes(most);
        self
    }

    /// In which order files are answered, or in the opposite one. In the line-oriented modes a limit lets the first ones
    /// through; in all others it lets the best ones through, and those are sorted. In the line-oriented modes, sorting by
    /// path or time has to look at the names of all candidates first. Default [`Sort::None`].
    pub fn sort(mut self, by: Sort, reverse: bool) -> Query {
        self.order = Order { by, reverse };
        self
    }

    /// Only files of this language (a name or alias, such as `rust` or `c++`); of any of them when called repeatedly. One that
    /// is not valid makes the search fail with [`QueryError::Filter`](crate::QueryError::Filter).
    pub fn language(mut self, name: impl Into<String>) -> Query {
        self.languages.push(name.into());
        self
    }

    /// Only files whose path matches this glob, as ripgrep's `-g`: without a slash it is matched against the name, `!`
    /// excludes. The last one that matches decides. One that is not valid makes the search fail with
    /// [`QueryError::Filter`](crate::QueryError::Filter).
    pub fn path_glob(mut self, glob: impl Into<String>) -> Query {
        self.globs.push(glob.into());
        self
    }

    /// How hits of [`Mode::Text`] are ranked; nothing in other modes. Default [`Ranking::Code`].
    pub fn ranking(mut self, ranking: Ranking) -> Query {
        self.ranking = ranking;
        self
    }

    /// How it is understood.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether upper and lower case are the same in [`Mode::Substring`] and [`Mode::Regex`].
    pub fn is_case_insensitive(&self) -> bool {
        self.case_insensitive
    }

    pub(crate) fn limit_or_all(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }

    pub(crate) fn per_file_or_all(&self) -> usize {
        if self.per_file == 0 { usize::MAX } else { self.per_file }
    }
}

/// One match: a line in the line-oriented modes, a definition in [`Mode::Symbol`], otherwise the best line of a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// Path relative to the root.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Column of the first match in the line: bytes, from 1.
    pub column: u64,
    /// Higher is better; comparable within one answer only. 1 in the line-oriented modes.
    pub score: f32,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether `text` is a part of the line only, around the match: the line has more bytes than [`Query::line_bytes`] lets
    /// through.
    pub cut: bool,
    /// Where in the line `text` begins: bytes, from 0. Something else only if it was cut.
    pub text_start: u64,
    /// Lines before it, the nearest one last, as many as [`Query::context`] asked for and the file has. One that is longer
    /// than [`Query::line_bytes`] lets through is cut and ends in `…`.
    pub before: Vec<String>,
    /// Lines after it, the nearest one first.
    pub after: Vec<String>,
    /// What is defined here, in [`Mode::Symbol`].
    pub symbol: Option<Symbol>,
}

impl Hit {
    fn new(path: PathBuf, at: (u64, u64), score: f32, shown: Shown) -> Hit {
        let Shown { text, start, cut, before, after } = shown;
        let text_start = start as u64;
        Hit { path, line: at.0, column: at.1, score, text, cut, text_start, before, after, symbol: None }
    }
}

/// The answer to a query.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SearchResult {
    /// The hits: file by file and line by line in [`Mode::Substring`] and [`Mode::Regex`], otherwise the best first, unless
    /// [`Query::sort`] says otherwise.
    pub hits: Vec<Hit>,
    /// Files with a hit among those looked at.
    pub files: usize,
    /// Files that the index named.
    pub candidates: usize,
    /// Files whose bytes were read.
    pub files_read: usize,
    /// Candidates that could not be read any more: gone or changed since the generation was made.
    pub unreadable: usize,
    /// Files that may define what was asked for and whose symbols are not known yet, in [`Mode::Symbol`].
    pub symbols_pending: usize,
    /// Files whose text can be searched and that are not embedded yet, in [`Mode::Semantic`] and [`Mode::Hybrid`].
    pub not_embedded: usize,
    /// Whether the limit cut the answer.
    pub truncated: bool,
    /// Files among those with a hit that have more hits than [`Query::per_file`] let through.
    pub capped_files: usize,
    /// The generation that answered.
    pub generation: u64,
    /// How the index was used: the plan. For people: its form may change.
    pub plan: String,
}
