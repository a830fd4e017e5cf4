//! Functions of Python with a docstring; indentation tells where they end.

use crate::cut::{Function, Reasons, bytes, dedent, identifier, indent, skip};

/// A line without what its strings and comments hold.
#[derive(Debug)]
struct Line {
    /// As many bytes as the line: strings are `_` with their quotes, comments are spaces.
    code: String,
    /// Whether it begins inside a string, in brackets or after a backslash.
    inside: bool,
    /// Whether that is a string.
    in_string: bool,
}

pub(crate) fn cut(lines: &[&str], reasons: &mut Reasons) -> Vec<Function> {
    let masked = mask(lines);
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        match function(lines, &masked, at) {
            Some((function, end)) => {
                at = end + 1;
                if function.name.starts_with("__") && function.name.ends_with("__") {
                    skip(reasons, "constructor or special method");
                } else {
                    found.push(function);
                }
            }
            None => at += 1,
        }
    }
    found
}

/// The function that the line `at` begins, if it has a docstring, and its last line.
fn function(lines: &[&str], masked: &[Line], at: usize) -> Option<(Function, usize)> {
    let code = masked[at].code.trim_start();
    let rest = code.strip_prefix("async ").map_or(code, str::trim_start).strip_prefix("def ")?.trim_start();
    if masked[at].inside {
        return None;
    }
    let name = identifier(rest).to_owned();
    let colon = signature(masked, at)?;
    let first = (colon + 1..lines.len()).find(|&line| !masked[line].code.trim().is_empty())?;
    let mut last = first;
    while masked.get(last + 1).is_some_and(|line| line.in_string) {
        last += 1;
    }
    if indent(lines[first]) <= indent(lines[at]) || masked.get(last + 1).is_some_and(|line| line.inside) {
        return None;
    }
    let doc = docstring(&lines[first..=last], &masked[first..=last])?;
    let end = extent(lines, masked, at, last);
    let code = lines[last + 1..=end].iter().copied();
    let inner = bytes(code.clone());
    let start = decorated(lines, masked, at);
    let body = dedent(lines[start..=colon].iter().copied().chain(code));
    Some((Function { line: at + 1, name, doc, body, inner }, end))
}

/// The line with the colon that ends a signature, if nothing comes after it there.
fn signature(masked: &[Line], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, line) in masked.iter().enumerate().skip(at) {
        for (column, byte) in line.code.bytes().enumerate() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
                b':' if depth == 0 => return line.code[column + 1..].trim().is_empty().then_some(index),
                _ => {}
            }
        }
        if depth == 0 && !line.code.trim_end().ends_with('\\') {
            return None;
        }
    }
    None
}

/// What a docstring says, if the lines are one and nothing else.
fn docstring(lines: &[&str], masked: &[Line]) -> Option<String> {
    let prefix = lines[0].trim_start();
    let prefix = &prefix[..prefix.find(['"', '\''])?];
    if prefix.len() > 1 || !matches!(prefix, "" | "r" | "R" | "u" | "U") {
        return None;
    }
    let only =
        |line: &Line| line.code.trim_start().trim_start_matches(prefix).trim_end().bytes().all(|byte| byte == b'_');
    if !masked.iter().all(only) {
        return None;
    }
    let text = lines.join("\n");
    let text = text.trim()[prefix.len()..].trim_end();
    for quote in ["\"\"\"", "'''", "\"", "'"] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            // Several strings in a row are one for Python, not for this.
            return (!inner.contains(quote) || quote.len() == 1 && inner.contains('\\')).then(|| inner.to_owned());
        }
    }
    None
}

/// The last line of the function at `at`, whose docstring ends at `last`.
fn extent(lines: &[&str], masked: &[Line], at: usize, last: usize) -> usize {
    let mut end = last;
    for index in last + 1..lines.len() {
        if !masked[index].inside {
            if masked[index].code.trim().is_empty() {
                continue;
            }
            if indent(lines[index]) <= indent(lines[at]) {
                break;
            }
        }
        end = index;
    }
    end
}

/// The first line of the decorators of the function at `at`.
fn decorated(lines: &[&str], masked: &[Line], at: usize) -> usize {
    let mut start = at;
    while start > 0 {
        let mut above = start - 1;
        while above > 0 && masked[above].inside {
            above -= 1;
        }
        if !lines[above].trim_start().starts_with('@') || indent(lines[above]) != indent(lines[at]) {
            break;
        }
        start = above;
    }
    start
}

/// A string that is open.
#[derive(Clone, Copy)]
struct Quote {
    byte: u8,
    triple: bool,
}

fn mask(lines: &[&str]) -> Vec<Line> {
    let mut masked = Vec::with_capacity(lines.len());
    let (mut open, mut depth, mut continued) = (None, 0usize, false);
    for line in lines {
        let (inside, in_string) = (open.is_some() || depth > 0 || continued, open.is_some());
        let code = mask_line(line.as_bytes(), &mut open, &mut depth);
        continued = open.is_none() && code.ends_with('\\');
        // A string with one quote goes on in the next line only after a backslash.
        if open.is_some_and(|quote: Quote| !quote.triple) && !line.ends_with('\\') {
            open = None;
        }
        masked.push(Line { code, inside, in_string });
    }
    masked
}

fn mask_line(line: &[u8], open: &mut Option<Quote>, depth: &mut usize) -> String {
    let mut code = String::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let byte = line[at];
        let mut taken = 1;
        if let Some(quote) = *open {
            if byte == b'\\' {
                taken = 2.min(line.len() - at);
            } else if byte == quote.byte && !quote.triple {
                *open = None;
            } else if quote.triple && line[at..].starts_with(&[quote.byte; 3]) {
                *open = None;
                taken = 3;
            }
            code.extend(std::iter::repeat_n('_', taken));
        } else if byte == b'#' {
            code.extend(std::iter::repeat_n(' ', line.len() - at));
            taken = line.len() - at;
        } else if matches!(byte, b'"' | b'\'') {
            let triple = line[at..].starts_with(&[byte; 3]);
            *open = Some(Quote { byte, triple });
            taken = if triple { 3 } else { 1 };
            code.extend(std::iter::repeat_n('_', taken));
        } else {
            match byte {
                b'(' | b'[' | b'{' => *depth += 1,
                b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
                _ => {}
            }
            code.push(if byte.is_ascii() { char::from(byte) } else { '_' });
        }
        at += taken;
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<(String, String)> {
        let found = cut(&source.lines().collect::<Vec<_>>(), &mut Reasons::new());
        found.into_iter().map(|function| (function.name, function.doc.trim().to_owned())).collect()
    }

    const SOURCE: &str = r#"
class Box:
    @property
    @cached(
        size=3,
    )
    async def width(self, a={"x": ")"}, *,
                    b: dict[str, int] = None) -> int:  # a comment: here
        """One line: def no(): of it."""
        def inner():
            """Inner."""
            return 1

        text = """
no indent
"""
        # a comment
        return inner()
        # the end

    # about the next
    def height(self):
        r"""
        Raw \d text.

            def example():
                '''No.'''
        """

        return [
1, 2]

    def __eq__(self, other):
        """Compare."""
        return True

    def plain(self): return 1
    def joined(self):
        "One" "two"
        return 1
    def formatted(self):
        "One %s" % 2
        return 1
    def single(self):
        'It\'s one.'
        return 1
x = 1
"#;

    #[test]
    fn docstrings_of_all_sorts() {
        for source in [SOURCE.to_owned(), SOURCE.replace('\n', "\r\n")] {
            let found = names(&source);
            let names: Vec<&str> = found.iter().map(|(name, _)| &name[..]).collect();
            assert_eq!(names, ["width", "height", "single"]);
            assert_eq!(found[0].1, "One line: def no(): of it.");
            assert!(found[1].1.starts_with("Raw \\d text."));
        }
    }

    #[test]
    fn bodies_are_whole_and_without_their_docstring() {
        let mut reasons = Reasons::new();
        let found = cut(&SOURCE.lines().collect::<Vec<_>>(), &mut reasons);
        let body = &found[0].body;
        assert!(!body.contains("One line") && body.contains("size=3") && body.contains("Inner."), "{body}");
        assert!(body.trim_end().ends_with("return inner()"), "{body}");
        assert_eq!(found[0].line, 7);
        assert_eq!(found[1].body, "    def height(self):\n\n        return [\n1, 2]\n");
        assert_eq!(found[1].inner, "return [".len() + "1, 2]".len());
        assert_eq!(reasons["constructor or special method"], 1);
    }
}
