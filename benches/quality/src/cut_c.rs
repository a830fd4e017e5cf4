//! Functions of C with kernel-doc: a comment that begins with `name - summary`, above a definition that ends with a
//! closing brace in column 0.

use crate::cut::{Function, Reasons, block_comment, bytes, dedent, identifier, skip};

/// Lines that a signature may have.
const SIGNATURE: usize = 15;

pub(crate) fn cut(lines: &[&str], reasons: &mut Reasons) -> Vec<Function> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim_end() != "/**" {
            at += 1;
            continue;
        }
        let Some(end) = (at..lines.len()).find(|&line| lines[line].contains("*/")) else { break };
        let doc = block_comment(&lines[at..=end]);
        at = end + 1;
        let Some((open, text)) = signature(&lines[at..]) else { continue };
        let Some((name, doc)) = named(&doc) else {
            skip(reasons, "kernel-doc without a name");
            continue;
        };
        if !calls(&text, &name) {
            skip(reasons, "doc of another name");
            continue;
        }
        let Some(close) = (at + open..lines.len()).find(|&line| lines[line].starts_with('}')) else { break };
        let body = &lines[at..=close];
        let inner = bytes(body[open + 1..].iter().copied());
        let line = at + 1 + body.iter().position(|line| calls(line, &name)).unwrap_or(0);
        found.push(Function { line, name, doc, body: dedent(body.iter().copied()), inner });
        at = close + 1;
    }
    found
}

/// The line with the opening brace, and the text up to it, if a function is defined here.
fn signature(lines: &[&str]) -> Option<(usize, String)> {
    let mut text = String::new();
    for (index, line) in lines.iter().take(SIGNATURE).enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') || line.ends_with(';') || line.starts_with("/*") {
            return None;
        }
        text.push_str(line);
        text.push('\n');
        if line.ends_with('{') {
            return text.contains('(').then_some((index, text));
        }
    }
    None
}

/// The name that a kernel-doc is of, and what it says of it.
fn named(doc: &str) -> Option<(String, String)> {
    let text = doc.trim_start();
    let text = text.strip_prefix("function ").unwrap_or(text);
    let name = identifier(text);
    let rest = text[name.len()..].trim_start_matches([' ', '\t']);
    let rest = match rest.strip_prefix('(') {
        Some(inside) => inside.split_once(')')?.1.trim_start_matches([' ', '\t']),
        None => rest,
    };
    let said = rest.strip_prefix(['-', ':'])?.trim_start_matches(['-', ':', ' ', '\t']);
    (!name.is_empty() && name != "DOC").then(|| (name.to_owned(), said.to_owned()))
}

/// Whether the name stands before a parenthesis.
fn calls(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && text[at + name.len()..].trim_start().starts_with('(')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
/**
 * struct page - no function
 */
struct page {
	int flags;
};

/**
 * page_free() - give a page back, and
 *	forget it
 * @page: the page
 *
 * Description: more.
 */
static __always_inline int
page_free(struct page *page,
	  int flags)
{
	const char *brace = "}";

	if (flags) {
		page->flags = 0;
	}
#ifdef CONFIG_A
	return 1;
#else
	return 0;
#endif
}
EXPORT_SYMBOL(page_free);

/**
 * page_old - declared only
 */
int page_old(struct page *page);

/**
 * page_new - says another name
 */
int page_newer(struct page *page)
{
}

/**
 * Says no name at all
 */
int page_plain(void) {
}
"#;

    #[test]
    fn kernel_doc_above_definitions() {
        for source in [SOURCE.to_owned(), SOURCE.replace('\n', "\r\n")] {
            let mut reasons = Reasons::new();
            let found = cut(&source.lines().collect::<Vec<_>>(), &mut reasons);
            assert_eq!(found.len(), 1);
            let function = &found[0];
            assert_eq!((&function.name[..], function.line), ("page_free", 17));
            assert!(function.doc.starts_with("give a page back, and\n\tforget it\n@page"), "{:?}", function.doc);
            assert!(
                function.body.starts_with("static __always_inline int\npage_free(")
                    && function.body.ends_with("#endif\n}\n")
            );
            assert_eq!(
                reasons.into_iter().collect::<Vec<_>>(),
                [("doc of another name", 1), ("kernel-doc without a name", 1)]
            );
        }
    }

    #[test]
    fn names_of_kernel_doc() {
        let name = |doc| named(doc).map(|(name, said)| format!("{name}|{said}"));
        assert_eq!(name(" a_b - does it"), Some("a_b|does it".to_owned()));
        assert_eq!(name("a_b(x) -- does it"), Some("a_b|does it".to_owned()));
        assert_eq!(name("a_b: does it"), Some("a_b|does it".to_owned()));
        assert_eq!(name("DOC: overview"), None);
        assert_eq!(name("Does it"), None);
    }
}
