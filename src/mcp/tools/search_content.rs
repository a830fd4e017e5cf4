//! `search_content`: lines, paths or ranked files, page by page, as LeIndex's clients ask for them.

use super::{Call, Cost, Effect, Entry, For, Open, about_schema, schema, shown};
use crate::mcp::answer::{Answer, Outcome, Refusal};
use crate::mcp::args::Args;
use crate::mcp::lines;
use leindex_engine::{Hit, Mode, PathFilter, Query, QueryError, SearchResult};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;

/// Pages end here: a page further on would make the engine verify everything before it.
const RESULTS_MAX: usize = 20_000;
/// A line is cut to this, around its match. Bytes.
const LINE_BYTES: usize = 1000;
/// Lines that the engine is asked for, those around hits included: a page far down has fewer around each hit.
const LINES_MAX: usize = 100_000;
/// Ranked results are looked for in steps, of so many at first and `RANKED_GROWTH` times as many each time. How many files the
/// engine reads, and so their order, depends on how many are wanted; each page has to be one of the same order. A page far down
/// costs all steps before its own, too: together a third of it, or as much again where `RESULTS_MAX` cuts the last one.
const RANKED_FIRST: usize = 64;
const RANKED_GROWTH: usize = 4;
/// What makes a pattern a regular expression, if it is a valid one. A dot or parentheses alone do not: they are in most code.
const META: [char; 11] = ['\\', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$'];

pub(super) const TOOL: Entry = Entry {
    name: "search_content",
    title: "Search lines, paths or files",
    description: "action search: lines that match, file by file. A pattern with one of \\ [ ] { } * + ? | ^ $ that is a valid \
                  regular expression is searched both as that and as it stands (regex true or false decides instead); any other is \
                  searched as it stands. With fuzzy, files with these words in any spelling, the best line of each. action find: \
                  paths that contain the pattern, or match it as a glob when it has * ? [ or {. action rank: files with these \
                  words, best first. Answers come in pages.",
    effect: Effect::Reads,
    whom: For::LeIndex,
    cost: Cost::Search,
    input,
    output,
    run,
};

fn input() -> Value {
    let properties = json!({
        "action": {"type": "string", "enum": ["search", "find", "rank"], "default": "search", "description": "What to look for: lines, paths, or files by rank"},
        "pattern": {"type": "string", "description": "What to look for (query is another name of it)"},
        "query": {"type": "string", "description": "Another name of pattern"},
        "regex": {"type": "boolean", "description": "Whether pattern is a regular expression; decided by its characters when it is not given"},
        "case_sensitive": {"type": "boolean", "default": true, "description": "Whether upper and lower case differ; not with rank or fuzzy"},
        "context_lines": {"type": "integer", "minimum": 0, "maximum": 50, "default": 0, "description": "Lines to give before and after each hit"},
        "file_pattern": {"type": "string", "description": "Only files whose path matches this glob, such as *.py or src/**"},
        "fuzzy": {"type": "boolean", "default": false, "description": "search: words in any spelling, ranked. find: the characters in this order, with others between them"},
        "fuzziness_level": {"type": "string", "description": "Taken and not used: there is one kind of fuzziness"},
        "page": {"type": "integer", "minimum": 1, "maximum": RESULTS_MAX, "default": 1, "description": "Which page, from 1"},
        "page_size": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20, "description": "Results on a page"},
    });
    schema(properties, &["pattern"])
}

fn output() -> Value {
    let properties = json!({
        "results": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "file_path": {"type": "string"},
                "line_number": {"type": "integer"},
                "column": {"type": "integer"},
                "content": {"type": "string"},
                "context_before": {"type": "array", "items": {"type": "string"}},
                "context_after": {"type": "array", "items": {"type": "string"}},
                "score": {"type": "number"},
            },
            "required": ["file_path", "score"],
        }},
        "page": {"type": "integer"},
        "page_size": {"type": "integer"},
        "total": {"type": "integer"},
        "total_is_lower_bound": {"type": "boolean"},
        "has_more": {"type": "boolean"},
        "truncated": {"type": "boolean"},
        "how_to_get_the_rest": {"type": ["string", "null"]},
        "context_lines": {"type": "integer", "description": "Lines given before and after each hit: fewer than were asked for on pages far down"},
        "timestamp": {"type": "integer", "description": "Milliseconds since the epoch"},
        "interpreted_as": {"type": "string", "description": "How the pattern was understood"},
    });
    about_schema(properties, &["results", "page", "page_size", "total", "has_more", "generation", "freshness"])
}

/// The page that is asked for.
struct Page {
    number: usize,
    size: usize,
}

impl Page {
    fn from(args: &Args) -> Result<Page, Refusal> {
        let page =
            Page { number: args.number("page", 1, 1..=RESULTS_MAX)?, size: args.number("page_size", 20, 1..=1000)? };
        if page.end() > RESULTS_MAX {
            return Err(format!(
                "page: the first {RESULTS_MAX} results can be had: narrow the search with file_pattern"
            )
            .into());
        }
        Ok(page)
    }

    fn start(&self) -> usize {
        (self.number - 1) * self.size
    }

    fn end(&self) -> usize {
        self.number.saturating_mul(self.size)
    }

    /// Whether the next one may be asked for, if there is one.
    fn has_next(&self) -> bool {
        self.end() + self.size <= RESULTS_MAX
    }

    fn rest(&self) -> String {
        if self.has_next() {
            return format!("page {} has more; file_pattern narrows the search", self.number + 1);
        }
        format!("narrow the search with file_pattern: of all results, the first {RESULTS_MAX} can be had")
    }
}

/// Why there are none.
enum Failed {
    /// The engine cannot search for the pattern.
    Pattern(QueryError),
    Refused(Refusal),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed::Refused(refusal)
    }
}

/// One page of results.
struct Found {
    results: Vec<Value>,
    /// Results before, on and behind the page, as far as they were looked for.
    total: usize,
    is_lower_bound: bool,
    context: usize,
    interpreted_as: &'static str,
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let args = &call.args;
    let action = args.choice("action", &["search", "find", "rank"])?;
    let pattern = args.needed(&["pattern", "query"])?;
    let page = Page::from(args)?;
    let is_fuzzy = args.flag("fuzzy", false)?;
    let open = call.open()?;
    let found = match action {
        "find" => find(&open, pattern, call, &page, is_fuzzy)?,
        "rank" => one_of(call, &open, vec![(Query::text(pattern), "words")], &page)?,
        _ if is_fuzzy => one_of(call, &open, vec![(Query::text(pattern), "words, because of fuzzy")], &page)?,
        _ => one_of(call, &open, lines_queries(pattern, args)?, &page)?,
    };
    let has_more = found.total > page.end();
    let mut value = json!({
        "results": found.results,
        "page": page.number,
        "page_size": page.size,
        "total": found.total,
        "total_is_lower_bound": found.is_lower_bound,
        "has_more": has_more && page.has_next(),
        "truncated": has_more,
        "how_to_get_the_rest": has_more.then(|| page.rest()),
        "context_lines": found.context,
        "timestamp": super::status::now_ms(),
        "interpreted_as": found.interpreted_as,
    });
    open.about.put_into(&mut value);
    Ok(Answer::json(value).into())
}

/// How a pattern for lines is understood; the second one when the first one cannot be searched for.
fn lines_queries(pattern: &str, args: &Args) -> Result<Vec<(Query, &'static str)>, Refusal> {
    let literal = (Query::substring(pattern), "literal");
    let queries = match args.maybe_flag("regex")? {
        Some(true) => vec![(Query::regex(pattern), "regex")],
        None if pattern.contains(META) && regex_syntax::parse(pattern).is_ok() => {
            // Whoever means the characters themselves must not miss them.
            let both = format!("(?:{pattern})|(?:{})", regex_syntax::escape(pattern));
            vec![(Query::regex(both), "regex or literal"), literal]
        }
        _ => vec![literal],
    };
    let ignores_case = !args.flag("case_sensitive", true)?;
    Ok(queries.into_iter().map(|(query, how)| (query.case_insensitive(ignores_case), how)).collect())
}

/// One page of what the first of these queries finds that the engine can search for.
fn one_of(call: &Call, open: &Open, queries: Vec<(Query, &'static str)>, page: &Page) -> Result<Found, Refusal> {
    let mut refused = Refusal::Wrong("pattern: cannot be searched for".into());
    for (query, how) in queries {
        match search(call, open, query, how, page) {
            Ok(found) => return Ok(found),
            Err(Failed::Refused(refusal)) => return Err(refusal),
            Err(Failed::Pattern(error)) => refused = call.server.refuse(&error),
        }
    }
    Err(refused)
}

/// One page of what the engine finds.
fn search(call: &Call, open: &Open, query: Query, interpreted_as: &'static str, page: &Page) -> Result<Found, Failed> {
    let is_ranked = query.mode() == Mode::Text;
    let wanted = page.end() + 1;
    let looked_for = if is_ranked { (wanted * RANKED_GROWTH).min(RESULTS_MAX + 1) } else { wanted };
    let around_each = (LINES_MAX / looked_for).saturating_sub(1) / 2;
    let context = call.args.number("context_lines", 0, 0..=50)?.min(around_each);
    let mut query = query.context(context, context).line_bytes(LINE_BYTES);
    for glob in call.args.texts("file_pattern")? {
        query = query.path_glob(glob);
    }
    let search = |limit: usize| {
        open.snapshot.search(&query.clone().limit(limit)).map_err(|error| match error {
            QueryError::Pattern { .. } => Failed::Pattern(error),
            error => Failed::Refused(call.server.refuse(&error)),
        })
    };
    let found = if is_ranked { ranked(wanted, search)? } else { search(wanted)? };
    let on_page = found.hits.iter().skip(page.start()).take(page.size);
    Ok(Found {
        results: on_page.map(as_json).collect(),
        total: found.hits.len(),
        is_lower_bound: found.truncated,
        context,
        interpreted_as,
    })
}

/// The first `wanted` results or more, in an order that does not depend on how many are wanted: what a step finds comes after
/// all that the steps before it have found.
fn ranked(wanted: usize, search: impl Fn(usize) -> Result<SearchResult, Failed>) -> Result<SearchResult, Failed> {
    let mut limit = RANKED_FIRST;
    let mut found = search(limit)?;
    while found.truncated && found.hits.len() < wanted {
        limit = (limit * RANKED_GROWTH).min(RESULTS_MAX + 1);
        let more = search(limit)?;
        let known: HashSet<PathBuf> = found.hits.iter().map(|hit| hit.path.clone()).collect();
        found.hits.extend(more.hits.into_iter().filter(|hit| !known.contains(&hit.path)));
        found.truncated = more.truncated;
    }
    Ok(found)
}

fn as_json(hit: &Hit) -> Value {
    let (content, is_cut) = lines::of_hit(hit, LINE_BYTES);
    let cut = |lines: &[String]| {
        lines.iter().map(|line| lines::around(line, 1, LINE_BYTES).0.into_owned()).collect::<Vec<_>>()
    };
    let mut value = json!({
        "file_path": shown(&hit.path),
        "line_number": hit.line,
        "column": hit.column,
        "content": content,
        "context_before": cut(&hit.before),
        "context_after": cut(&hit.after),
        "score": hit.score,
    });
    if is_cut {
        value["content_is_cut"] = true.into();
    }
    value
}

/// How a path is compared with the pattern.
enum Names {
    Glob(PathFilter),
    Contains(String),
    /// The characters in this order, with others between them.
    Scattered(String),
}

/// One page of the paths that match, those whose name does first.
fn find(open: &Open, pattern: &str, call: &Call, page: &Page, is_fuzzy: bool) -> Result<Found, Refusal> {
    let ignores_case = !call.args.flag("case_sensitive", true)?;
    let filter_of = |globs: &[&str]| PathFilter::new(globs, ignores_case).map_err(|error| call.server.refuse(&error));
    let filters = call.args.texts("file_pattern")?;
    let filter = filter_of(&filters.iter().map(String::as_str).collect::<Vec<_>>())?;
    let folded = |text: &str| if ignores_case || is_fuzzy { text.to_lowercase() } else { text.to_owned() };
    let (names, interpreted_as) = if is_fuzzy {
        (Names::Scattered(pattern.to_lowercase()), "characters in this order")
    } else if pattern.contains(['*', '?', '[', '{']) {
        (Names::Glob(filter_of(&[pattern])?), "glob")
    } else {
        (Names::Contains(folded(pattern)), "part of a path")
    };
    let mut found: Vec<(f64, String)> = Vec::new();
    let walked = open.snapshot.for_each_file(|path, _| {
        if !filter.accepts(path) {
            return;
        }
        let path = String::from_utf8_lossy(path);
        if let Some(score) = names.score(&folded(&path)) {
            found.push((score, path.into_owned()));
        }
    });
    walked.map_err(|error| call.server.refuse(&error))?;
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let on_page = found.iter().skip(page.start()).take(page.size);
    let results = on_page.map(|(score, path)| json!({"file_path": path, "score": score})).collect();
    Ok(Found { results, total: found.len(), is_lower_bound: false, context: 0, interpreted_as })
}

impl Names {
    /// How well a path matches: 1 at its name as a whole, more than 0.5 within its name; `None` when it does not.
    fn score(&self, path: &str) -> Option<f64> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let share = |part: &str| part.len() as f64 / path.len().max(1) as f64;
        match self {
            Names::Glob(glob) => glob.accepts(path.as_bytes()).then_some(1.0),
            Names::Contains(part) if name == part => Some(1.0),
            Names::Contains(part) if name.contains(&part[..]) => Some(0.5 + 0.4 * share(part)),
            Names::Contains(part) => path.contains(&part[..]).then(|| 0.4 * share(part)),
            Names::Scattered(part) if holds(name, part) => Some(0.5 + 0.4 * share(part)),
            Names::Scattered(part) => holds(path, part).then(|| 0.4 * share(part)),
        }
    }
}

/// Whether the characters of `part` are in `text`, in this order.
fn holds(text: &str, part: &str) -> bool {
    let mut rest = text.chars();
    part.chars().all(|wanted| rest.any(|char| char == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(value: Value) -> Args {
        Args::new(value.as_object().cloned())
    }

    #[test]
    fn patterns_are_understood() {
        let understood = |pattern: &str, arguments: Value| {
            let queries = lines_queries(pattern, &args(arguments)).map_err(|refusal| refusal.message())?;
            Ok::<_, String>(queries[0].1)
        };
        for (pattern, how) in [
            ("foo.bar()", "literal"),
            ("*ptr", "literal"),
            ("f(a", "literal"),
            ("a[i]", "regex or literal"),
            ("fn \\w+", "regex or literal"),
        ] {
            assert_eq!(understood(pattern, json!({})).unwrap(), how, "{pattern}");
        }
        assert_eq!(understood("a[i]", json!({"regex": false})).unwrap(), "literal");
        assert_eq!(understood("a.b", json!({"regex": "true"})).unwrap(), "regex");
        assert!(understood("a", json!({"regex": 7})).is_err());
    }

    #[test]
    fn paths_are_scored() {
        let contains = |part: &str, path| Names::Contains(part.into()).score(path);
        assert_eq!(contains("a.rs", "src/a.rs"), Some(1.0));
        assert!(contains("a", "src/a.rs") > contains("src", "src/a.rs"));
        assert_eq!(contains("b", "src/a.rs"), None);
        assert!(Names::Scattered("sar".into()).score("src/a.rs").is_some());
        assert!(Names::Scattered("ras".into()).score("src/a.rb").is_none());
        let glob = |glob, path| Names::Glob(PathFilter::new(&[glob], false).unwrap()).score(path);
        assert_eq!((glob("*.rs", "src/a.rs"), glob("src/*.rs", "src/b/a.rs")), (Some(1.0), None));
    }

    #[test]
    fn no_page_is_offered_that_cannot_be_had() {
        let page = |number, size| Page { number, size };
        assert!(page(1, 20).has_next() && page(1, 20).rest().starts_with("page 2"));
        assert!(page(19, 1000).has_next() && !page(20, 1000).has_next());
        assert!(page(20, 1000).rest().contains("file_pattern") && !page(20, 1000).rest().starts_with("page"));
    }
}
