//! The command line: names, types and help texts. What the values mean is decided in `options`.

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};
use leindex_engine::Shards;
use leindex_engine::limits::CONTEXT_LINES_MAX;
use std::path::PathBuf;

const USAGE: &str = "leindex-engine [OPTIONS] [PATH]\n       leindex-engine <COMMAND> [OPTIONS] ...";

const EXAMPLES: &str = "\
Examples:
  leindex-engine                        index the current directory
  leindex-engine --shards 8 ~/src       index ~/src with eight I/O workers
  leindex-engine search 'fn main'       search the current directory, or the indexed one above it
  leindex-engine index --exclude '*.min.js' --json .

A PATH that has the name of a subcommand is written ./NAME.
A file .leindex.toml in PATH holds options of a run as keys, such as `shards = 8` or
`exclude = [\"*.min.js\"]`; the command line wins.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some files could not be read,
130 interrupted.";

const SEARCH_EXAMPLES: &str = "\
Examples:
  leindex-engine search schedule_timeout          words, best files first (finds scheduleTimeout as well)
  leindex-engine search '\"page fault\" handl*'     a phrase and a prefix
  leindex-engine search -F 'a[i++]' src           lines with exactly this, below src
  leindex-engine search -E 'fn \\w+_lock' --lang rust --limit 0
  leindex-engine search -F TODO -g '*.c' -g '!test*' -C 2
  leindex-engine search -F TODO -c --sort path --limit 0
  leindex-engine search -E 'TODO|FIXME' --heading --color always | less -R
  leindex-engine search --lang-list               the names that --lang knows

PATH may lie below an indexed directory: its index is used, and only what is below PATH
is shown.";

const FILES_EXAMPLES: &str = "\
Examples:
  leindex-engine files | wc -l
  leindex-engine files -0 --no-hidden src | xargs -0 wc -c";

#[cfg(feature = "mcp")]
const MCP_EXAMPLES: &str = "\
Examples:
  leindex-engine mcp ~/src                        for a client that starts the server itself
  leindex-engine mcp --http 127.0.0.1:8080 ~/src  for several clients, at http://127.0.0.1:8080/mcp

The index is kept fresh for as long as the server runs; several servers of one tree share it.
It ends with its client: when stdin is closed, or a signal comes.";

#[cfg(unix)]
const CHECK_IGNORE_EXAMPLES: &str = "\
Examples:
  leindex-engine check-ignore -v build/main.o      .gitignore:3:*.o<TAB>build/main.o
  find . -print0 | leindex-engine check-ignore -z --stdin

Exit codes are those of git: 0 some path is ignored, 1 none is, 128 failed.
Rules of .ignore and .leindexignore count here, too.";

/// Heading of the options that every subcommand knows.
const COMMON: &str = "Common options";

/// Index a source tree in seconds, search it in milliseconds.
#[derive(Debug, Parser)]
#[command(name = "leindex-engine", version, after_help = EXAMPLES, max_term_width = 100, override_usage = USAGE)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) index: IndexArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What every subcommand knows.
#[derive(Args, Clone, Debug)]
pub(crate) struct CommonArgs {
    /// Where the index is [default: PATH/.leindex-engine]
    #[arg(long, value_name = "DIR", help_heading = COMMON, global = true)]
    pub(crate) index_dir: Option<PathBuf>,
    /// Print JSON on stdout, for programs
    #[arg(long, help_heading = COMMON, global = true, overrides_with = "no_json")]
    pub(crate) json: bool,
    /// Print for people, whatever the config file says
    #[arg(long, help_heading = COMMON, global = true, hide = true)]
    pub(crate) no_json: bool,
    /// When to use colours [default: auto]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = COMMON, global = true)]
    pub(crate) color: Option<When>,
    /// Log to stderr what is done; -vv and -vvv log more (RUST_LOG overrides)
    #[arg(short, long, action = ArgAction::Count, help_heading = COMMON, global = true)]
    pub(crate) verbose: u8,
    /// Write what took how long, thread by thread, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE", help_heading = COMMON, global = true)]
    pub(crate) trace: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Index PATH, or bring its index up to date (the default)
    Index(IndexArgs),
    /// Search an index
    #[command(after_help = SEARCH_EXAMPLES, override_usage = "leindex-engine search [OPTIONS] QUERY [PATH]")]
    Search(SearchArgs),
    /// List the files that would be indexed
    #[command(after_help = FILES_EXAMPLES)]
    Files(FilesArgs),
    /// Say which rules ignore paths, as `git check-ignore` does
    #[cfg(unix)]
    #[command(after_help = CHECK_IGNORE_EXAMPLES)]
    CheckIgnore(CheckIgnoreArgs),
    /// Say why a file is or is not in the index
    Explain(ExplainArgs),
    /// Show what a file defines
    Outline(OutlineArgs),
    /// Extract the symbols of an index, for search --mode symbol
    Symbols(PathArg),
    /// Embed the files of an index, for search --mode semantic and hybrid
    Embed(EmbedArgs),
    /// Show what an index holds
    Status(PathArg),
    /// Check an index from end to end
    Verify(VerifyArgs),
    /// Keep an index fresh until interrupted
    Watch(WatchArgs),
    /// Serve coding agents: the Model Context Protocol on stdio, or over HTTP
    #[cfg(feature = "mcp")]
    #[command(after_help = MCP_EXAMPLES)]
    Mcp(McpArgs),
    /// Show what this machine offers, and what stands in the way
    Doctor(PathArg),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Of this subcommand
        subcommand: Option<String>,
    },
}

/// A tree.
#[derive(Args, Debug)]
pub(crate) struct PathArg {
    /// The directory [default: .]
    pub(crate) path: Option<PathBuf>,
}

/// What embeds.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct EmbedderArgs {
    /// What makes vectors when text can be searched, for search --mode semantic [default: auto]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) embed: Option<Embed>,
    /// The folder of a model, as sentence-transformers saves them [default: the table of word vectors]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
}

/// `embed`.
#[derive(Args, Debug)]
pub(crate) struct EmbedArgs {
    /// Without --model, throw away the vectors of the model that the index has
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) embedder: EmbedderArgs,
    /// How progress is shown on stderr [default: auto, a bar on a terminal and lines otherwise]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) progress: Option<Progress>,
    /// The directory [default: .]
    pub(crate) path: Option<PathBuf>,
}

/// `index`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// When text can be searched, extract the symbols as well
    #[arg(long)]
    pub(crate) symbols: bool,
    /// The directory to index [default: .]
    pub(crate) path: Option<PathBuf>,
}

/// How a run works.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct RunArgs {
    /// I/O workers: a number, or auto for as many as the disk and the cores can use [default: auto]
    #[arg(long, value_name = "N|auto", value_parser = parse_shards)]
    pub(crate) shards: Option<Shards>,
    /// How files are read [default: auto]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<Backend>,
    /// Leave out larger files: bytes, or 10K, 64M, 1G [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_file_size: Option<u64>,
    /// Files in a batch, which is published as a whole or not at all [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) batch_files: Option<usize>,
    /// Skip a file or directory that gives no answer for so long [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) io_timeout: Option<u32>,
    /// When another run is writing the index, wait for its end instead of failing
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) embedder: EmbedderArgs,
    /// How progress is shown on stderr [default: auto, a bar on a terminal and lines otherwise]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) progress: Option<Progress>,
}

/// `--embed`.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Embed {
    /// Nothing: there is no search by meaning
    Off,
    /// What is there
    #[default]
    Auto,
    /// The CPU
    Cpu,
    /// An NVIDIA card, for a model
    Cuda,
}

/// Which files are looked at.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct RuleArgs {
    /// Ignore .gitignore, .ignore and .leindexignore files, and git's own settings
    #[arg(long, overrides_with = "ignore")]
    pub(crate) no_ignore: bool,
    /// Respect rule files, whatever the config file says
    #[arg(long, hide = true)]
    pub(crate) ignore: bool,
    /// Respect .gitignore outside of git repositories as well
    #[arg(long, overrides_with = "require_git")]
    pub(crate) no_require_git: bool,
    /// Respect .gitignore in git repositories only, whatever the config file says
    #[arg(long, hide = true)]
    pub(crate) require_git: bool,
    /// Take names that begin with a dot (the default)
    #[arg(long, overrides_with = "no_hidden")]
    pub(crate) hidden: bool,
    /// Leave out names that begin with a dot
    #[arg(long)]
    pub(crate) no_hidden: bool,
    /// Leave out what matches, as in .gitignore; '!GLOB' takes it after all; can be given repeatedly, the last one wins
    #[arg(long, value_name = "GLOB", allow_hyphen_values = true)]
    pub(crate) exclude: Vec<String>,
    /// A further file of rules, above those in the tree; can be given repeatedly
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore_file: Vec<PathBuf>,
}

/// `watch`.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Do not let the kernel tell what changes, but go over the tree every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) poll: Option<u32>,
    /// Extract symbols as well, after each update
    #[arg(long)]
    pub(crate) symbols: bool,
    /// The directory to watch [default: .]
    pub(crate) path: Option<PathBuf>,
}

/// `mcp`.
#[cfg(feature = "mcp")]
#[derive(Args, Debug)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Serve over HTTP at this address instead of stdio; port 0 is any that is free
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<std::net::SocketAddr>,
    /// Let --http listen on an address that other machines can reach; there is no authentication
    #[arg(long, requires = "http")]
    pub(crate) allow_remote: bool,
    /// A host name by which requests may name this server, besides localhost; can be given repeatedly
    #[arg(long, value_name = "NAME", requires = "http")]
    pub(crate) allow_host: Vec<String>,
    /// A directory at or below which clients may choose a project over HTTP, besides PATH; can be given repeatedly
    #[arg(long, value_name = "DIR", requires = "http")]
    pub(crate) allow_root: Vec<PathBuf>,
    /// Index once at the start, and then only when a client asks for it
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// The directory to serve [default: the indexed one that the working directory lies in, if any]
    pub(crate) path: Option<PathBuf>,
}

/// `search`.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// What to search for
    #[arg(required_unless_present = "lang_list")]
    pub(crate) query: Option<String>,
    /// Search below this directory or in this file [default: .]
    pub(crate) path: Option<PathBuf>,
    /// How QUERY is understood [default: text]
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// For --mode semantic and hybrid, the folder of the model that the index was embedded with
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// QUERY is a string: same as --mode substring
    #[arg(short = 'F', long, conflicts_with = "mode")]
    pub(crate) substring: bool,
    /// QUERY is a regular expression: same as --mode regex
    #[arg(short = 'E', long, conflicts_with_all = ["mode", "substring"])]
    pub(crate) regex: bool,
    /// Upper and lower case are the same (in text mode they always are)
    #[arg(short = 'i', long, overrides_with_all = ["case_sensitive", "smart_case"])]
    pub(crate) ignore_case: bool,
    /// Upper and lower case are not the same (the default)
    #[arg(short = 's', long, overrides_with_all = ["ignore_case", "smart_case"])]
    pub(crate) case_sensitive: bool,
    /// Upper and lower case are the same unless QUERY has an upper-case letter
    #[arg(short = 'S', long, overrides_with_all = ["ignore_case", "case_sensitive"])]
    pub(crate) smart_case: bool,
    /// Only files of this language; can be given repeatedly
    #[arg(short = 't', long, value_name = "LANGUAGE")]
    pub(crate) lang: Vec<String>,
    /// Only files whose path matches, '!GLOB' for those that do not; can be given repeatedly, the last match decides
    #[arg(short = 'g', long, visible_alias = "glob", value_name = "GLOB", allow_hyphen_values = true)]
    pub(crate) path_glob: Vec<String>,
    /// The most hits to show, 0 for all; with -l and -c the most files
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// The most hits of one file, 0 for all
    #[arg(short = 'm', long, visible_alias = "max-count", value_name = "N", default_value_t = 0)]
    pub(crate) max_per_file: usize,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// List the names that --lang knows
    #[arg(long, exclusive = true)]
    pub(crate) lang_list: bool,
}

/// How hits are shown.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Show so many lines before and after each hit
    #[arg(short = 'C', long, value_name = "N", default_value_t = 0, value_parser = parse_context)]
    pub(crate) context: usize,
    /// Show so many lines after each hit, whatever -C says
    #[arg(short = 'A', long, value_name = "N", value_parser = parse_context)]
    pub(crate) after_context: Option<usize>,
    /// Show so many lines before each hit, whatever -C says
    #[arg(short = 'B', long, value_name = "N", value_parser = parse_context)]
    pub(crate) before_context: Option<usize>,
    /// Show the paths of files with a hit only
    #[arg(short = 'l', long, conflicts_with = "count")]
    pub(crate) files_with_matches: bool,
    /// Show how many lines of each file match (in text mode: hold any word of QUERY)
    #[arg(short = 'c', long)]
    pub(crate) count: bool,
    /// With -l and -c, end each path with a NUL
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Sort by this: paths from A to Z, the oldest file first, the best first [default: none, but -l and -c by path]
    #[arg(long, value_enum, value_name = "BY")]
    pub(crate) sort: Option<SortBy>,
    /// Sort by this, the other way round
    #[arg(long, value_enum, value_name = "BY", conflicts_with = "sort")]
    pub(crate) sortr: Option<SortBy>,
    /// Show each path once, above its hits [default: on a terminal]
    #[arg(long, overrides_with = "no_heading")]
    pub(crate) heading: bool,
    /// Show the path in front of each hit [default: in a pipe]
    #[arg(long, overrides_with = "heading")]
    pub(crate) no_heading: bool,
    /// When paths are links to the files [default: auto, on terminals that are known to have links]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) hyperlink: Option<Links>,
}

/// `files`.
#[derive(Args, Debug)]
pub(crate) struct FilesArgs {
    /// The directory [default: .]
    pub(crate) path: Option<PathBuf>,
    /// End each path with a NUL instead of a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// `check-ignore`. What may not be combined is checked later, for git has a code of its own for that.
#[cfg(unix)]
#[derive(Args, Debug)]
pub(crate) struct CheckIgnoreArgs {
    /// Files and directories, which need not exist
    #[arg(value_parser = clap::builder::OsStringValueParser::new())]
    pub(crate) paths: Vec<std::ffi::OsString>,
    /// Print nothing; the exit code is the answer
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// With -v, which prints SOURCE:LINE:RULE as well, print paths that no rule matches, too
    #[arg(short, long)]
    pub(crate) non_matching: bool,
    /// Take paths from stdin, a line each
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Paths and answers end with a NUL
    #[arg(short = 'z')]
    pub(crate) null: bool,
    /// Answer about tracked files as well, as if they were not
    #[arg(long)]
    pub(crate) no_index: bool,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// `explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A file or directory
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// `outline`.
#[derive(Args, Debug)]
pub(crate) struct OutlineArgs {
    /// The file
    pub(crate) file: PathBuf,
}

/// `verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The indexed directory [default: .]
    pub(crate) path: Option<PathBuf>,
    /// Read again what is damaged, and only that; the options below say how
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// `--backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The best one that works here
    #[default]
    Auto,
    /// io_uring, or an error
    Uring,
    /// Blocking calls on threads
    Threads,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, lines otherwise, nothing with --json
    #[default]
    Auto,
    /// Lines without escape codes
    Plain,
    /// Nothing
    Off,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

/// `--sort` and `--sortr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// The path, name by name
    Path,
    /// The score; the same for all in substring and regex mode
    Score,
    /// The time of modification
    Modified,
    /// Nothing: as they are found; in the modes with scores, the best first
    #[default]
    None,
}

/// `--hyperlink`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Links {
    /// On a terminal that is known to have links
    #[default]
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Words, best files first
    #[default]
    Text,
    /// A string
    Substring,
    /// A regular expression
    Regex,
    /// The name of a definition, its beginning or its humps (schTim); Type::name, name*
    Symbol,
    /// By meaning
    Semantic,
    /// By words and meaning: for sentences
    Hybrid,
}

impl Cli {
    /// Parses the command line.
    pub(crate) fn from_command_line() -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse()?;
        if cli.command.is_some() && cli.index != IndexArgs::default() {
            let message = "PATH and options of `index` cannot stand before a subcommand: put them behind its name";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }
}

/// `8` or `auto`.
pub(crate) fn parse_shards(value: &str) -> Result<Shards, String> {
    if value == "auto" {
        return Ok(Shards::Auto);
    }
    let count = value.parse::<usize>().map_err(|_| "use a number from 1 to 1024, or auto".to_owned())?;
    if (1..=1024).contains(&count) { Ok(Shards::Count(count)) } else { Err("use 1 to 1024, or auto".into()) }
}

/// A number of lines around a hit.
fn parse_context(value: &str) -> Result<usize, String> {
    let lines = value.parse::<usize>().ok().filter(|lines| *lines <= CONTEXT_LINES_MAX);
    lines.ok_or_else(|| format!("use a number from 0 to {CONTEXT_LINES_MAX}"))
}

/// Bytes, or with K, M or G behind them: powers of 1024.
pub(crate) fn parse_size(value: &str) -> Result<u64, String> {
    let advice = || "use a number of bytes, or one with K, M or G behind it, such as 10K, 64M or 1G".to_owned();
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 10),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 20),
        Some(b'g' | b'G') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(advice());
    }
    let number = digits.parse::<u64>().map_err(|_| advice())?;
    number.checked_mul(1 << shift).ok_or_else(|| "is too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("10", 10), ("10K", 10_240), ("64m", 64 << 20), ("1G", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "10X", "-1", "+1", "1.5M", "99999999999999999999", "99999999999999G", "1 M", "1é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shards() {
        assert_eq!(parse_shards("auto"), Ok(Shards::Auto));
        assert_eq!(parse_shards("8"), Ok(Shards::Count(8)));
        for text in ["", "0", "1025", "-1", "many"] {
            assert!(parse_shards(text).is_err(), "{text}");
        }
    }
}
