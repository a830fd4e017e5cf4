//! `search`: what an agent asks most. Hits grouped by file, within a budget of tokens, with what was cut and how to get it.

use super::outline::symbol_json;
use super::{Call, Cost, Effect, Entry, For, about_schema, schema, shown};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::lines;
use leindex_engine::{Hit, Mode, Query, SearchResult};
use serde_json::{Value, json};

/// Bytes that are counted as a token.
const TOKEN_BYTES: usize = 4;
/// A line is cut to this, around its match. Bytes.
const LINE_BYTES: usize = 240;
/// More than that of a line is not asked for: room for what is cut from it.
const ASKED_BYTES: usize = 1000;
/// Bytes that the summary takes, kept free in the budget.
const SUMMARY_BYTES: usize = 400;

pub(super) const TOOL: Entry = Entry {
    name: "search",
    title: "Search the code",
    description: "Searches the indexed tree and answers in a compact form, grouped by file, within a token budget. Modes: text \
                  (words in any spelling, best files first), substring (exactly these characters), regex (ripgrep's syntax), symbol \
                  (where a function, type or macro is defined, by its name, the beginning or the humps of it), semantic (a question \
                  in words, answered by meaning), hybrid (by meaning and by words: for questions, when the words in the code are not \
                  known). Says what was cut and how \
                  to get the rest. Hits are verified on the files as they are on disk.",
    effect: Effect::Reads,
    whom: For::Agents,
    cost: Cost::Search,
    input,
    output,
    run,
};

fn input() -> Value {
    let properties = json!({
        "query": {"type": "string", "description": "What to look for"},
        "mode": {
            "type": "string", "enum": ["text", "substring", "regex", "symbol", "semantic", "hybrid"], "default": "text",
            "description": "How the query is understood",
        },
        "case_insensitive": {"type": "boolean", "default": false, "description": "Upper and lower case are the same; in mode text they always are"},
        "context": {"type": "integer", "minimum": 0, "maximum": 20, "default": 0, "description": "Lines to show before and after each hit"},
        "globs": {
            "type": "array", "items": {"type": "string"},
            "description": "Only files whose path matches one, such as *.rs or src/**; one that begins with ! excludes. The last match decides",
        },
        "languages": {"type": "array", "items": {"type": "string"}, "description": "Only files of these languages, such as rust or c++"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 40, "description": "The most hits to show"},
        "per_file": {"type": "integer", "minimum": 0, "maximum": 1000, "default": 8, "description": "The most hits to show of one file; 0 for all"},
        "token_budget": {"type": "integer", "minimum": 100, "maximum": 50000, "default": 2500, "description": "About how many tokens (of 4 bytes) the text of the answer may take"},
    });
    schema(properties, &["query"])
}

fn output() -> Value {
    let properties = json!({
        "files": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "hits": {"type": "array", "items": {"type": "object"}},
                "not_shown": {"type": "integer", "description": "Hits of this file that were found and are not shown"},
            },
        }},
        "hits_shown": {"type": "integer"},
        "hits_found": {"type": "integer"},
        "hits_found_is_lower_bound": {"type": "boolean"},
        "truncated": {"type": "boolean"},
        "how_to_get_the_rest": {"type": ["string", "null"]},
        "symbols_pending": {"type": "integer", "description": "mode symbol: files whose definitions are not known yet"},
        "not_embedded": {"type": "integer", "description": "modes semantic and hybrid: files whose meaning is not known yet"},
        "did_you_mean": {"type": "array", "items": {"type": "string"}, "description": "Queries that have hits, when this one has none"},
        "unreadable": {"type": "integer", "description": "Files that the index named and that are gone or cannot be read"},
    });
    about_schema(properties, &["files", "hits_shown", "hits_found", "truncated", "generation", "freshness"])
}

struct Wanted {
    context: usize,
    limit: usize,
    per_file: usize,
    budget: usize,
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let args = &call.args;
    let text = args.needed(&["query", "pattern"])?;
    let mode = match args.choice("mode", &["text", "substring", "regex", "symbol", "semantic", "hybrid"])? {
        "substring" => Mode::Substring,
        "regex" => Mode::Regex,
        "symbol" => Mode::Symbol,
        "semantic" => Mode::Semantic,
        "hybrid" => Mode::Hybrid,
        _ => Mode::Text,
    };
    let wanted = Wanted {
        context: args.number("context", 0, 0..=20)?,
        limit: args.number("limit", 40, 1..=1000)?,
        per_file: args.number("per_file", 8, 0..=1000)?,
        budget: args.number("token_budget", 2500, 100..=50_000)? * TOKEN_BYTES,
    };
    let mut query = Query::new(mode, text)
        .limit(wanted.limit)
        .per_file(wanted.per_file)
        .context(wanted.context, wanted.context)
        .line_bytes(ASKED_BYTES)
        .case_insensitive(args.flag("case_insensitive", false)?);
    for language in args.texts("languages")? {
        query = query.language(language);
    }
    for glob in args.texts("globs")? {
        query = query.path_glob(glob);
    }
    let open = call.open()?;
    let result = open.snapshot.search(&query).map_err(|error| call.server.refuse(&error))?;
    let meant = if result.hits.is_empty() { open.snapshot.suggest(&query) } else { Ok(Vec::new()) };
    let meant = meant.map_err(|error| call.server.refuse(&error))?;
    let written = write(&result, &wanted);
    let mut value = written.value(&result, &wanted);
    value["did_you_mean"] = meant.into();
    open.about.put_into(&mut value);
    let text = format!("{}{}\n", written.text(&value), open.about.line());
    Ok(Answer { text, value }.into())
}

/// The hits that fit.
#[derive(Default)]
struct Written {
    text: String,
    files: Vec<Value>,
    shown: usize,
    /// Left out because the budget was used up.
    over_budget: usize,
}

fn write(result: &SearchResult, wanted: &Wanted) -> Written {
    let mut written = Written::default();
    let budget = wanted.budget.saturating_sub(SUMMARY_BYTES);
    for hits in result.hits.chunk_by(|a, b| a.path == b.path) {
        let Some(first) = hits.first() else { continue };
        if written.over_budget > 0 {
            written.over_budget += hits.len();
            continue;
        }
        let path = shown(&first.path);
        let mut text = format!("{path}\n");
        let mut shown_hits = Vec::new();
        for (index, hit) in hits.iter().enumerate() {
            let left = hits.len() - index;
            let (lines, value) = one(hit, wanted.context);
            // The first hit is shown whatever it takes.
            if written.shown > 0 && written.text.len() + text.len() + lines.len() > budget {
                written.over_budget += left;
                break;
            }
            text += &lines;
            shown_hits.push(value);
            written.shown += 1;
        }
        if !shown_hits.is_empty() {
            let more = hits.len() - shown_hits.len();
            written.text += &text;
            written.files.push(json!({"path": path, "hits": shown_hits, "not_shown": more}));
        }
    }
    written
}

/// A hit as lines of text and as JSON, with its context.
fn one(hit: &Hit, context: usize) -> (String, Value) {
    let (line, was_cut) = lines::of_hit(hit, LINE_BYTES);
    let mut value = json!({"line": hit.line, "column": hit.column, "text": line});
    if was_cut {
        value["text_is_cut"] = true.into();
    }
    let short = |lines: &[String]| lines.iter().map(|line| lines::around(line, 1, LINE_BYTES).0.into_owned()).collect();
    let (before, after): (Vec<String>, Vec<String>) = (short(&hit.before), short(&hit.after));
    let mut text = String::new();
    let first = hit.line.saturating_sub(before.len() as u64);
    for (line, number) in before.iter().zip(first..) {
        text += &format!("  {number}- {line}\n");
    }
    match &hit.symbol {
        Some(symbol) => {
            let what = symbol.container.as_ref().map_or(String::new(), |container| format!(" of {container}"));
            text += &format!("  {}-{} {}{what}: {line}\n", hit.line, symbol.end_line, symbol.kind);
            value["symbol"] = symbol_json(symbol);
        }
        None => text += &format!("  {}: {line}\n", hit.line),
    }
    for (line, number) in after.iter().zip(hit.line + 1..) {
        text += &format!("  {number}- {line}\n");
    }
    if context > 0 {
        value["before"] = before.into();
        value["after"] = after.into();
    }
    (text, value)
}

impl Written {
    fn is_cut(&self, result: &SearchResult) -> bool {
        result.truncated || result.capped_files > 0 || self.shown < result.hits.len()
    }

    /// What to change to see the rest.
    fn rest(&self, result: &SearchResult, wanted: &Wanted) -> Option<String> {
        let mut ways = Vec::new();
        if self.over_budget > 0 {
            ways.push(format!("raise token_budget (now {})", wanted.budget / TOKEN_BYTES));
        }
        if result.truncated {
            ways.push(format!("raise limit (now {})", wanted.limit));
        }
        if result.capped_files > 0 {
            let files = result.capped_files;
            ways.push(format!("raise per_file (now {}; {files} files have more hits)", wanted.per_file));
        }
        self.is_cut(result).then(|| format!("narrow the search with globs or languages, or {}", ways.join(" and ")))
    }

    fn value(&self, result: &SearchResult, wanted: &Wanted) -> Value {
        json!({
            "files": self.files,
            "hits_shown": self.shown,
            "hits_found": result.hits.len(),
            "hits_found_is_lower_bound": result.truncated || result.capped_files > 0,
            "truncated": self.is_cut(result),
            "how_to_get_the_rest": self.rest(result, wanted),
            "unreadable": result.unreadable,
            "symbols_pending": result.symbols_pending,
            "not_embedded": result.not_embedded,
        })
    }

    fn text(&self, value: &Value) -> String {
        let (found, least) =
            (&value["hits_found"], if value["hits_found_is_lower_bound"] == true { "at least " } else { "" });
        let mut text = match self.shown {
            0 => format!("no hits\n{}", suggestions(value)),
            shown => format!("{}{shown} of {least}{found} hits shown\n", self.text),
        };
        if let Some(rest) = value["how_to_get_the_rest"].as_str() {
            text += &format!("CUT: {rest}\n");
        }
        if value["unreadable"] != 0 {
            text += &format!("{} files that the index names could not be read\n", value["unreadable"]);
        }
        if value["symbols_pending"] != 0 {
            text +=
                &format!("the definitions of {} files are not known yet: call again later\n", value["symbols_pending"]);
        }
        if value["not_embedded"] != 0 {
            text += &format!("the meaning of {} files is not known yet: call again later\n", value["not_embedded"]);
        }
        text
    }
}

/// What may have been meant, a line each.
fn suggestions(value: &Value) -> String {
    let meant = value["did_you_mean"].as_array().into_iter().flatten().filter_map(Value::as_str);
    meant.map(|query| format!("did you mean: {query}\n")).collect()
}
