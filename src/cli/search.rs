//! `search`: answers a query from the published generation.

use super::args::{CommonArgs, Mode as ModeArg, SearchArgs, ShowArgs, SortBy};
use super::exit::{Exit, Failure};
use super::fit::Highlight;
use super::hits::{self, Style};
use super::hyperlink::Links;
use super::options::{self, Options};
use super::output::{self, Ui, count, seconds, things};
use super::root::{self, Tree};
use super::scope::{base, relative, scoped};
use super::{json, log};
use leindex_engine::limits::LINE_BYTES_MAX;
use leindex_engine::text::language::Language;
use leindex_engine::{FileMatches, Mode, Query, SearchResult, Snapshot, Sort};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What was asked for, where, and how it is shown.
struct Asked<'a> {
    args: &'a SearchArgs,
    pattern: &'a str,
    query: Query,
    tree: Tree,
    ui: Ui,
    snapshot: Snapshot,
    started: Instant,
    base: PathBuf,
}

/// Runs the subcommand.
pub(crate) fn run(args: SearchArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    if args.lang_list {
        return list_languages();
    }
    let mode = mode(&args);
    let files_only = args.show.files_with_matches || args.show.count;
    if args.show.null && !files_only {
        return Err(Failure::Usage("--null: ends the paths that -l and -c show: give one of these as well".into()));
    }
    let model = args.model.as_deref().map(options::absolute);
    let tree = root::find(args.path.clone(), Options { model, ..Options::from_args(common) })?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui)?;
    let engine = tree.options.reader(&tree.root)?;
    let started = Instant::now();
    let snapshot = engine.snapshot()?;
    let pattern = args.query.as_deref().unwrap_or_default();
    let query = query(&args, mode, pattern, &tree);
    let base = base(&tree);
    let asked = Asked { args: &args, pattern, query, tree, ui, snapshot, started, base };
    if files_only { asked.files() } else { asked.hits() }
}

fn query(args: &SearchArgs, mode: Mode, pattern: &str, tree: &Tree) -> Query {
    let (before, after) = args.show.context();
    let per_file = if args.show.files_with_matches { 1 } else { args.max_per_file };
    let mut query = Query::new(mode, pattern).case_insensitive(args.ignore_case).limit(args.limit);
    if args.smart_case {
        query = query.smart_case();
    }
    let (by, reverse) = match args.show.sortr {
        Some(by) => (by, true),
        None => (args.show.sort.unwrap_or_default(), false),
    };
    let by = match by {
        SortBy::Path => Sort::Path,
        SortBy::Score => Sort::Score,
        SortBy::Modified => Sort::Modified,
        SortBy::None => Sort::None,
    };
    query = query.context(before, after).per_file(per_file).sort(by, reverse);
    query = args.lang.iter().fold(query, Query::language);
    scoped(&args.path_glob, tree).into_iter().fold(query, Query::path_glob)
}

impl ShowArgs {
    /// Lines before and after each hit.
    fn context(&self) -> (usize, usize) {
        (self.before_context.unwrap_or(self.context), self.after_context.unwrap_or(self.context))
    }
}

impl Asked<'_> {
    /// Shows the hits.
    fn hits(&self) -> Result<Exit, Failure> {
        let mut result = self.snapshot.search(&self.query)?;
        // Names that are not UTF-8 may be alike to a glob.
        result.hits.retain(|hit| hit.path.starts_with(&self.tree.below));
        let took = self.started.elapsed().as_secs_f64();
        tracing::info!(plan = %result.plan, candidates = result.candidates, files_read = result.files_read, "searched");
        let context = self.args.show.context() != (0, 0);
        let mut out = output::stdout();
        if self.ui.json {
            for hit in &result.hits {
                json::hit(&mut out, relative(&hit.path, &self.base), hit, context)?;
            }
        } else {
            hits::write(&mut out, &result.hits, |hit| relative(&hit.path, &self.base), &self.style())?;
        }
        let counts = json::Counts {
            hits: Some(result.hits.len()),
            files: result.files,
            lines: None,
            capped: (self.args.max_per_file > 0).then_some(result.capped_files),
            truncated: result.truncated,
            unreadable: result.unreadable,
            symbols_pending: result.symbols_pending,
            not_embedded: result.not_embedded,
        };
        self.conclude(out, counts, result.generation, took, || self.summary(&result, took))
    }

    /// Shows the files with hits.
    fn files(&self) -> Result<Exit, Failure> {
        let mut result = self.snapshot.matching_files(&self.query)?;
        result.files.retain(|file| file.path.starts_with(&self.tree.below));
        let took = self.started.elapsed().as_secs_f64();
        tracing::info!(plan = %result.plan, candidates = result.candidates, files_read = result.files_read, "searched");
        let counted = self.args.show.count;
        let (end, between) = if self.args.show.null { ("\0", "\0") } else { ("\n", ":") };
        let style = self.style();
        let mut out = output::stdout();
        for file in &result.files {
            let (path, lines) = (relative(&file.path, &self.base), counted.then_some(file.lines));
            if self.ui.json {
                json::file(&mut out, path, lines)?;
                continue;
            }
            style.write_path(&mut out, path, &file.path)?;
            match lines {
                Some(lines) => writeln!(out, "{between}{lines}")?,
                None => out.write_all(end.as_bytes())?,
            }
        }
        let counts = json::Counts {
            hits: None,
            files: result.files.len(),
            lines: counted.then(|| result.lines()),
            capped: None,
            truncated: result.truncated,
            unreadable: result.unreadable,
            symbols_pending: result.symbols_pending,
            not_embedded: result.not_embedded,
        };
        self.conclude(out, counts, result.generation, took, || self.files_summary(&result, took))
    }

    /// What comes after the answer: its summary, and what the numbers do not say.
    fn conclude(
        &self,
        mut out: impl Write,
        counts: json::Counts,
        generation: u64,
        took: f64,
        summary: impl FnOnce() -> String,
    ) -> Result<Exit, Failure> {
        let suggestions = self.suggestions(counts.hits.unwrap_or(counts.files) == 0)?;
        let (unreadable, pending, not_embedded) = (counts.unreadable, counts.symbols_pending, counts.not_embedded);
        if self.ui.json {
            json::search_summary(&mut out, counts, generation, self.snapshot.freshness(), took, suggestions)?;
            out.flush()?;
        } else {
            out.flush()?;
            drop(out);
            output::note(&summary());
            tell_suggestions(&suggestions);
        }
        tell_unreadable(unreadable, &self.tree.root);
        tell_pending(pending, &self.tree.root);
        tell_not_embedded(not_embedded, &self.tree.root);
        Ok(Exit::Done)
    }

    fn style(&self) -> Style<'_> {
        let show = &self.args.show;
        Style {
            ui: &self.ui,
            heading: show.heading || (self.ui.terminal && !show.no_heading),
            context: show.context() != (0, 0),
            highlight: Highlight::new(self.query.mode(), self.pattern, self.query.is_case_insensitive()),
            links: Links::new(show.hyperlink, self.ui.terminal, &self.tree.root),
        }
    }

    fn suggestions(&self, none_found: bool) -> Result<Vec<String>, Failure> {
        Ok(if none_found { self.snapshot.suggest(&self.query)? } else { Vec::new() })
    }

    /// One line on what was found.
    fn summary(&self, result: &SearchResult, took: f64) -> String {
        if result.hits.is_empty() {
            return self.no_hits(took, result.generation);
        }
        let hits = things(result.hits.len() as u64, "hit", "hits");
        let files = things(result.files as u64, "file", "files");
        let cut = result.hits.iter().filter(|hit| hit.cut).count() as u64;
        let capped = match result.capped_files as u64 {
            0 => String::new(),
            files => format!("; {} more hits than --max-per-file", things(files, "file has", "files have")),
        };
        let cut = match cut {
            0 => String::new(),
            lines => {
                format!("; {} longer than {} KiB and cut", things(lines, "line is", "lines are"), LINE_BYTES_MAX >> 10)
            }
        };
        let more = more(result.truncated);
        format!("{hits} in {files}, {}, generation {}{capped}{cut}{more}", seconds(took), result.generation)
    }

    fn files_summary(&self, result: &FileMatches, took: f64) -> String {
        if result.files.is_empty() {
            return self.no_hits(took, result.generation);
        }
        let files = things(result.files.len() as u64, "file", "files");
        let lines = match self.args.show.count {
            true => format!(", {}", things(result.lines(), "line", "lines")),
            false => String::new(),
        };
        format!("{files}{lines}, {}, generation {}{}", seconds(took), result.generation, more(result.truncated))
    }

    fn no_hits(&self, took: f64, generation: u64) -> String {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
        if self.query.mode() == Mode::Text && !self.pattern.bytes().any(is_word) {
            return "no hits: QUERY holds no word; -F searches for it as it is".into();
        }
        format!("no hits in {}, generation {generation}", seconds(took))
    }
}

fn more(truncated: bool) -> &'static str {
    if truncated { "; there are more: --limit 0 shows all" } else { "" }
}

fn mode(args: &SearchArgs) -> Mode {
    match args.mode {
        _ if args.substring => Mode::Substring,
        _ if args.regex => Mode::Regex,
        None | Some(ModeArg::Text) => Mode::Text,
        Some(ModeArg::Substring) => Mode::Substring,
        Some(ModeArg::Regex) => Mode::Regex,
        Some(ModeArg::Symbol) => Mode::Symbol,
        Some(ModeArg::Semantic) => Mode::Semantic,
        Some(ModeArg::Hybrid) => Mode::Hybrid,
    }
}

fn list_languages() -> Result<Exit, Failure> {
    let mut out = output::stdout();
    for language in Language::all() {
        writeln!(out, "{language}")?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// For no hits: what may have been meant.
fn tell_suggestions(suggestions: &[String]) {
    if !suggestions.is_empty() {
        output::note(&format!("did you mean: {}?", suggestions.join(", or ")));
    }
}

/// A stale index must not pass for a fresh one.
fn tell_unreadable(unreadable: usize, root: &Path) {
    if unreadable > 0 {
        let files = count(unreadable as u64);
        let root = root.display();
        output::note(&format!(
            "{files} indexed files could not be read any more: `leindex-engine {root}` updates the index"
        ));
    }
}

/// Symbols trail the text: what is not there may only not be there yet.
fn tell_pending(files: usize, root: &Path) {
    if files > 0 {
        let files = things(files as u64, "file is", "files are");
        let root = root.display();
        output::note(&format!("the symbols of {files} not extracted yet: `leindex-engine symbols {root}` does it"));
    }
}

/// So do vectors.
fn tell_not_embedded(files: usize, root: &Path) {
    if files > 0 {
        let files = things(files as u64, "file is", "files are");
        let root = root.display();
        output::note(&format!("{files} not embedded yet: `leindex-engine embed {root}` does it"));
    }
}
