//! The first sentence of a doc comment, without its markup: what a developer might ask.

use crate::cut::Language;

/// Words that end with a dot inside a sentence.
const ABBREVIATIONS: [&str; 12] =
    ["e.g", "i.e", "etc", "vs", "cf", "approx", "resp", "eq", "fig", "incl", "no", "a.k.a"];
/// Headings of sections in docstrings.
const SECTIONS: [&str; 14] = [
    "args:",
    "arguments:",
    "parameters",
    "parameters:",
    "params:",
    "returns:",
    "return:",
    "raises:",
    "example:",
    "examples:",
    "usage:",
    "note:",
    "notes:",
    "yields:",
];

/// The first sentence of `doc`, whose comment markers are gone already; empty if it begins with something else.
pub(crate) fn first_sentence(doc: &str, language: Language) -> String {
    let text = paragraph(doc);
    let text = match language {
        Language::C => kernel_doc(&text),
        Language::Python => roles(&braces(&text, &["L{", "C{", "I{", "B{", "U{"])),
        Language::JavaScript => tags(&braces(&text, &["{@link ", "{@linkcode ", "{@linkplain ", "{@code "])),
        Language::Rust => text,
    };
    let text = words(&links(&text));
    sentence(&text).trim_end_matches(['.', ':', ';', ',', '!', ' ']).to_owned()
}

/// The lines up to the first that is no prose, as one.
fn paragraph(doc: &str) -> String {
    let mut text = String::new();
    for line in doc.lines().map(str::trim).skip_while(|line| line.is_empty()) {
        let mut line = line;
        for tag in ["@description", "@desc", "@summary", "@brief", "@classdesc"] {
            if text.is_empty() {
                line = line.strip_prefix(tag).map_or(line, str::trim_start);
            }
        }
        if !is_prose(line) {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line);
    }
    text
}

fn is_prose(line: &str) -> bool {
    let Some(first) = line.chars().next() else { return false };
    let rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '=' | '~' | '*' | '^'));
    let field = first == ':' && line[1..].contains(':') && !line[1..].contains('`');
    let item = ["- ", "* ", "+ ", "1. ", "1) ", ">>> ", ".. ", "|", "<!--"].iter().any(|mark| line.starts_with(mark));
    let fence = line.starts_with("```") || line.starts_with("~~~") || line.starts_with('#');
    let section = SECTIONS.contains(&line.to_ascii_lowercase().as_str());
    !(rule || field || item || fence || section || first == '@')
}

/// `%NULL`, `&struct page`, `@argument` and `function()`, all without their marks.
fn kernel_doc(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_start_matches('(');
        let open = &word[..word.len() - bare.len()];
        format!("{open}{}", bare.trim_start_matches(['%', '&', '@', '*']).replace("()", ""))
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What stands in braces after one of the marks, as in `L{Deferred}` and `{@link Map#get the getter}`.
fn braces(text: &str, marks: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, mark)) = marks.iter().filter_map(|mark| rest.find(mark).map(|at| (at, mark))).min() {
        let Some(end) = rest[at..].find('}') else { break };
        out.push_str(&rest[..at]);
        let inner = &rest[at + mark.len()..at + end];
        // A link may have a text of its own, after a bar or, for an address, after a space.
        let label = inner.split_once('|').map(|(_, label)| label);
        let label =
            label.or_else(|| if mark.starts_with("{@link") { inner.split_once(' ').map(|(_, l)| l) } else { None });
        // The text may stand before it, in brackets of its own.
        if !out.ends_with(']') {
            let path = label.unwrap_or(inner).trim();
            out.push_str(path.strip_prefix("module:").and_then(|path| path.rsplit('~').next()).unwrap_or(path));
        }
        rest = &rest[at + end + 1..];
    }
    out + rest
}

/// Roles of reStructuredText: the mark before a backtick, as in ``:class:`~a.b.C` `` and ``:ref:`text <target>` ``.
fn roles(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let before = &rest[..at];
        let role = before.strip_suffix(':').and_then(|bare| {
            let start = bare.rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '+')));
            let start = start.map_or(0, |start| start + 1);
            bare[start..].starts_with(':').then_some(start)
        });
        let Some(end) = rest[at + 1..].find('`').map(|end| at + 1 + end).filter(|_| role.is_some()) else {
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        };
        out.push_str(&before[..role.unwrap_or(at)]);
        let inner = &rest[at + 1..end];
        let label = inner.split_once('<').map_or(inner, |(label, _)| label).trim();
        let short = label.strip_prefix('~').map(|path| path.rsplit('.').next().unwrap_or(path));
        out.push_str(short.unwrap_or(label).trim_start_matches('!'));
        rest = &rest[end + 1..];
    }
    out + rest
}

/// Without tags of HTML.
fn tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let tag = rest[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        match rest[at..].find('>').filter(|_| tag) {
            Some(end) => {
                out.push_str(&rest[..at]);
                rest = &rest[at + end + 1..];
            }
            None => {
                out.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// Links of Markdown as their text.
fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let Some(close) = rest[at..].find(']').map(|close| at + close) else { break };
        let after = &rest[close + 1..];
        let target = match after.chars().next() {
            Some('(') => after.find(')'),
            Some('[') => after.find(']'),
            _ => None,
        };
        let inner = &rest[at + 1..close];
        // Brackets that belong to code or to an interval stay.
        let name =
            inner.chars().all(|c| c.is_alphanumeric() || matches!(c, '`' | '_' | ':' | '-' | '<' | '>' | '(' | ')'));
        let plain = target.is_none() && !(name && (rest[..at].is_empty() || rest[..at].ends_with([' ', '('])));
        out.push_str(&rest[..at]);
        out.push_str(if plain { &rest[at..=close] } else { inner });
        rest = target.map_or(after, |end| &after[end + 1..]);
    }
    out + rest
}

/// Without backticks and emphasis, with single spaces.
fn words(text: &str) -> String {
    let bare = text.replace("``", "").replace(['`', '"'], "").replace("**", "").replace("\\", "");
    let mut words = Vec::new();
    for word in bare.split_whitespace() {
        let starred = word.len() > 2 && word.starts_with('*') && word.trim_end_matches(['.', ',']).ends_with('*');
        words.push(if starred { word.replace('*', "") } else { word.trim_start_matches('*').to_owned() });
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn sentence(text: &str) -> &str {
    for (at, mark) in text.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?')) {
        let after = &text[at + 1..];
        let last_word = text[..at].rsplit([' ', '(']).next().unwrap_or_default().to_ascii_lowercase();
        let initial = last_word.len() == 1 && last_word.starts_with(char::is_alphabetic);
        if mark == '.' && (initial || ABBREVIATIONS.contains(&last_word.as_str())) {
            continue;
        }
        // A dot inside a word, or one that a small letter follows, ends nothing.
        let next = after.strip_prefix(' ').map(|next| next.chars().next());
        if after.is_empty() || matches!(next, Some(Some(c)) if !c.is_ascii_lowercase()) {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_sentences() {
        let of = |doc| first_sentence(doc, Language::Rust);
        assert_eq!(of("Reads all\n  of it, e.g. 4.5 MB. Then stops."), "Reads all of it, e.g. 4.5 MB");
        assert_eq!(of("\nReads `all` of it:\n\n* more"), "Reads all of it");
        assert_eq!(
            of("Reads a [`File`] into [this buffer](Vec), in [0, 1)."),
            "Reads a File into this buffer, in [0, 1)"
        );
        assert_eq!(of("Reads [Self::all] of a[i], see [here][Vec]."), "Reads Self::all of a[i], see here");
        assert_eq!(of("Calls read(). Then it stops."), "Calls read()");
        assert_eq!(of("# Panics\n\nNever."), "");
        assert_eq!(of("Is it *really* so? Yes"), "Is it really so");
    }

    #[test]
    fn markup_of_python() {
        let of = |doc| first_sentence(doc, Language::Python);
        assert_eq!(
            of("Return a :class:`~a.b.Field` of ``x``, see :ref:`the guide <guide>`.\n:param x: no"),
            "Return a Field of x, see the guide"
        );
        assert_eq!(of("Wait for L{Deferred} and\n@param x: no"), "Wait for Deferred and");
        assert_eq!(of("Give the **bold** and *args, **kwargs\n------\nmore"), "Give the bold and args, kwargs");
        assert_eq!(of(":param x: no"), "");
    }

    #[test]
    fn markup_of_javascript() {
        let of = |doc| first_sentence(doc, Language::JavaScript);
        assert_eq!(
            of("@description Gets {@link Map#get|the value} of <b>it</b>.\n@returns {x}"),
            "Gets the value of it"
        );
        assert_eq!(of("Gets a {@link https://a.b/c page} if a < b.\n@returns {x}"), "Gets a page if a < b");
        assert_eq!(of("Fills a [UUID]{@link https://a.b/c} by {@link module:a/b~Fill}."), "Fills a UUID by Fill");
        assert_eq!(of("@inheritDoc"), "");
        assert_eq!(of("@returns {@link Map} of it"), "");
    }

    #[test]
    fn markup_of_kernel_doc() {
        let of = |doc| first_sentence(doc, Language::C);
        assert_eq!(
            of("free @page, or %NULL, of &struct zone (with kfree())"),
            "free page, or NULL, of struct zone (with kfree)"
        );
        assert_eq!(of("(re)set bit(s) of %FLAG"), "(re)set bit(s) of FLAG");
    }
}
