//! `search`: answers a query from the published generation.

use super::args::{CommonArgs, Mode as ModeArg, SearchArgs};
use super::exit::{Exit, Failure};
use super::hits::{self, Highlight};
use super::options::Options;
use super::output::{self, Ui, count, seconds, things};
use super::root::{self, Tree};
use super::{json, log};
use leindex_engine::text::language::Language;
use leindex_engine::{Hit, Mode, Query, SearchResult};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Runs the subcommand.
pub(crate) fn run(args: SearchArgs, common: &CommonArgs) -> Result<Exit, Failure> {
    if args.lang_list {
        return list_languages();
    }
    let pattern = args.query.clone().unwrap_or_default();
    let mode = mode(&args)?;
    let tree = root::find(args.path.clone(), Options::from_args(common))?;
    let ui = Ui::new(&tree.options);
    log::start(&tree.options, &ui);
    let engine = tree.options.reader(&tree.root)?;
    let started = Instant::now();
    let snapshot = engine.snapshot()?;
    let mut query = Query::new(mode, pattern.as_str()).case_insensitive(args.ignore_case).limit(args.limit);
    query = args.lang.iter().fold(query, Query::language);
    query = scoped(&args.path_glob, &tree).into_iter().fold(query, Query::path_glob);
    let mut result = snapshot.search(&query)?;
    // Names that are not UTF-8 may be alike to a glob.
    result.hits.retain(|hit| hit.path.starts_with(&tree.below));
    let took = started.elapsed().as_secs_f64();
    tracing::info!(plan = %result.plan, candidates = result.candidates, files_read = result.files_read, "searched");
    let base = base(&tree);
    let mut out = output::stdout();
    if ui.json {
        for hit in &result.hits {
            json::hit(&mut out, relative(hit, &base), hit)?;
        }
        json::search_summary(&mut out, &result, snapshot.freshness(), took)?;
    } else {
        let highlight = Highlight::new(mode, &pattern, args.ignore_case);
        hits::write(&mut out, &result.hits, |hit| relative(hit, &base), &highlight, &ui)?;
    }
    out.flush()?;
    drop(out);
    if !ui.json {
        output::note(&summary(&result, took, mode, &pattern));
    }
    tell_unreadable(&result, &tree.root);
    tell_pending(&result, &tree.root);
    Ok(Exit::Done)
}

fn mode(args: &SearchArgs) -> Result<Mode, Failure> {
    let no_embeddings = |name: &str| {
        Failure::Usage(format!("--mode {name}: this version has no embeddings: use text, substring or regex"))
    };
    match args.mode {
        _ if args.substring => Ok(Mode::Substring),
        _ if args.regex => Ok(Mode::Regex),
        None | Some(ModeArg::Text) => Ok(Mode::Text),
        Some(ModeArg::Substring) => Ok(Mode::Substring),
        Some(ModeArg::Regex) => Ok(Mode::Regex),
        Some(ModeArg::Symbol) => Ok(Mode::Symbol),
        Some(ModeArg::Semantic) => Err(no_embeddings("semantic")),
        Some(ModeArg::Hybrid) => Err(no_embeddings("hybrid")),
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

/// The path that hits are shown relative to: what was asked for, or the directory of the file that was.
fn base(tree: &Tree) -> PathBuf {
    if tree.is_file { tree.below.parent().unwrap_or(Path::new("")).to_path_buf() } else { tree.below.clone() }
}

fn relative<'h>(hit: &'h Hit, base: &Path) -> &'h Path {
    hit.path.strip_prefix(base).unwrap_or(&hit.path)
}

/// The globs of the user, made to count below the path that was asked for only, and relative to it.
fn scoped(globs: &[String], tree: &Tree) -> Vec<String> {
    let below = output::path_bytes(&tree.below);
    let prefix = escaped(&String::from_utf8_lossy(&below));
    if prefix.is_empty() {
        return globs.to_vec();
    }
    if tree.is_file {
        // A file that is named is meant, as with ripgrep.
        return vec![format!("/{prefix}")];
    }
    let mut scoped = Vec::with_capacity(globs.len() + 1);
    if globs.iter().all(|glob| glob.starts_with('!')) {
        scoped.push(format!("/{prefix}/"));
    }
    scoped.extend(globs.iter().map(|glob| {
        let (not, glob) = match glob.strip_prefix('!') {
            Some(glob) => ("!", glob),
            None => ("", glob.as_str()),
        };
        match glob.strip_prefix('/') {
            Some(anchored) => format!("{not}/{prefix}/{anchored}"),
            None if glob.trim_end_matches('/').contains('/') => format!("{not}/{prefix}/{glob}"),
            None => format!("{not}/{prefix}/**/{glob}"),
        }
    }));
    scoped
}

/// The text with everything escaped that means something in a glob.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '\\' | ',') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

/// One line on what was found.
fn summary(result: &SearchResult, took: f64, mode: Mode, pattern: &str) -> String {
    if result.hits.is_empty() {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
        return if mode == Mode::Text && !pattern.bytes().any(is_word) {
            "no hits: QUERY holds no word; -F searches for it as it is".into()
        } else {
            format!("no hits in {}, generation {}", seconds(took), result.generation)
        };
    }
    let hits = things(result.hits.len() as u64, "hit", "hits");
    let files = things(result.files as u64, "file", "files");
    let more = if result.truncated { "; there are more: --limit 0 shows all" } else { "" };
    format!("{hits} in {files}, {}, generation {}{more}", seconds(took), result.generation)
}

/// A stale index must not pass for a fresh one.
fn tell_unreadable(result: &SearchResult, root: &Path) {
    if result.unreadable > 0 {
        let files = count(result.unreadable as u64);
        let root = root.display();
        output::note(&format!(
            "{files} indexed files could not be read any more: `leindex-engine {root}` updates the index"
        ));
    }
}

/// Symbols trail the text: what is not there may only not be there yet.
fn tell_pending(result: &SearchResult, root: &Path) {
    if result.symbols_pending > 0 {
        let files = things(result.symbols_pending as u64, "file is", "files are");
        let root = root.display();
        output::note(&format!("the symbols of {files} not extracted yet: `leindex-engine symbols {root}` does it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(below: &str, globs: &[&str], expect: &[&str]) {
        let tree = Tree { root: "/r".into(), below: below.into(), is_file: false, options: Options::default() };
        let globs: Vec<String> = globs.iter().map(|&glob| glob.to_owned()).collect();
        assert_eq!(scoped(&globs, &tree), expect);
    }

    #[test]
    fn globs_count_below_the_path() {
        check("", &["*.c", "!x"], &["*.c", "!x"]);
        check("a", &[], &["/a/"]);
        check("a/b", &["!*.c"], &["/a/b/", "!/a/b/**/*.c"]);
        check("a", &["*.c", "!/x.c", "y/*.h", "z/"], &["/a/**/*.c", "!/a/x.c", "/a/y/*.h", "/a/**/z/"]);
        check("a[1]*", &[], &[r"/a\[1\]\*/"]);
    }
}
