//! Functions of Rust under `///`; braces tell where they end.

use crate::cut::{Function, Reasons, bytes, dedent, identifier, skip};

pub(crate) fn cut(lines: &[&str], reasons: &mut Reasons) -> Vec<Function> {
    let masked = mask(lines);
    let mut found = Vec::new();
    let mut item = Item::default();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        if masked[at].starts_with("mod tests") {
            // Tests come last, and have doc comments of their own.
            break;
        }
        if let Some(doc) = line.strip_prefix("///").filter(|doc| !doc.starts_with('/') && masked[at].trim().is_empty())
        {
            item.doc.push(doc.strip_prefix(' ').unwrap_or(doc));
        } else if masked[at].trim_start().starts_with("#[") {
            let end = bracket(&masked, at);
            if !line.starts_with("#[doc") {
                item.attributes.extend(at..=end);
            }
            at = end;
        } else if line.is_empty() || !masked[at].trim().is_empty() {
            if !item.doc.is_empty()
                && let Some((function, end)) = function(lines, &masked, at, &item)
            {
                at = end;
                let macros = masked[function.line - 1].contains('$');
                match function.name.as_str() {
                    "" => skip(reasons, "no extent to tell"),
                    _ if macros => skip(reasons, "in a macro"),
                    _ if item.is_test(lines) => skip(reasons, "test"),
                    _ => found.push(function),
                }
            }
            item = Item::default();
        }
        at += 1;
    }
    found
}

/// What stands above a function.
#[derive(Default)]
struct Item<'a> {
    doc: Vec<&'a str>,
    /// Line numbers.
    attributes: Vec<usize>,
}

impl Item<'_> {
    fn is_test(&self, lines: &[&str]) -> bool {
        self.attributes.iter().any(|&line| lines[line].contains("test"))
    }
}

/// The function at `at` and its last line: one without a name, if its braces do not match. `None` if no function with a
/// body is there.
fn function(lines: &[&str], masked: &[String], at: usize, item: &Item<'_>) -> Option<(Function, usize)> {
    let name = name(&masked[at])?.to_owned();
    let (mut round, mut braces, mut open) = (0i32, 0i32, None);
    for (index, code) in masked.iter().enumerate().skip(at) {
        for byte in code.bytes() {
            match byte {
                b'(' | b'[' if open.is_none() => round += 1,
                b')' | b']' if open.is_none() => round -= 1,
                b';' if open.is_none() && round == 0 => return None,
                b'{' if round == 0 => {
                    open = open.or(Some(index));
                    braces += 1;
                }
                b'}' if round == 0 => braces -= 1,
                _ => {}
            }
        }
        if let Some(open) = open.filter(|_| braces <= 0) {
            let code = item.attributes.iter().copied().chain(at..=index).map(|line| lines[line]);
            let inner = bytes(lines[(open + 1).min(index)..=index].iter().copied());
            let function = Function { line: at + 1, name, doc: item.doc.join("\n"), body: dedent(code), inner };
            return Some((function, index));
        }
    }
    Some((Function { line: at + 1, ..Function::default() }, at))
}

/// The name of the function that a line begins.
fn name(code: &str) -> Option<&str> {
    let mut rest = code.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix("fn ") {
            return Some(identifier(after.trim_start()));
        }
        let word = identifier(rest);
        if !matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "default") && !word.starts_with("__") {
            return None;
        }
        rest = rest[word.len()..].trim_start();
        if let Some(scope) = rest.strip_prefix('(') {
            rest = scope.split_once(')')?.1.trim_start();
        }
    }
}

/// The last line of the attribute that begins at `at`.
fn bracket(masked: &[String], at: usize) -> usize {
    let mut depth = 0i32;
    for (index, code) in masked.iter().enumerate().skip(at) {
        for byte in code.bytes() {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
        }
        if depth <= 0 {
            return index;
        }
    }
    at
}

/// The lines without comments, which are spaces, and with `_` for what is a string or a character.
fn mask(lines: &[&str]) -> Vec<String> {
    let text = lines.join("\n");
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let (length, fill) = token(bytes, at);
        let fill_one = |byte: &u8| match (byte, fill) {
            (b'\n', _) => '\n',
            (_, Some(fill)) => fill,
            (byte, None) if byte.is_ascii() => char::from(*byte),
            _ => '_',
        };
        out.extend(bytes[at..at + length].iter().map(fill_one));
        at += length;
    }
    out.split('\n').map(str::to_owned).collect()
}

/// How long the token at `at` is, and what hides it.
fn token(bytes: &[u8], at: usize) -> (usize, Option<char>) {
    let rest = &bytes[at..];
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if rest.starts_with(b"//") {
        return (rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()), Some(' '));
    }
    if rest.starts_with(b"/*") {
        return (block(rest), Some(' '));
    }
    if rest[0] == b'"' {
        return (string(rest), Some('_'));
    }
    if rest[0] == b'r' && (at == 0 || !word(bytes[at - 1]) || bytes[at - 1] == b'b') {
        let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let body = &rest[2 + hashes..];
            let length = body
                .windows(end.len())
                .position(|window| window == end)
                .unwrap_or(body.len() - body.len().min(end.len()));
            return ((2 + hashes + length + end.len()).min(rest.len()), Some('_'));
        }
    }
    if rest[0] == b'\'' {
        // A character or a lifetime.
        let escaped = rest.get(1) == Some(&b'\\');
        let end = rest.iter().skip(if escaped { 3 } else { 2 }).take(10).position(|&byte| byte == b'\'');
        let length = end.map(|end| end + if escaped { 4 } else { 3 });
        let wide = rest.get(1).is_some_and(|byte| !byte.is_ascii());
        if let Some(length) = length.filter(|&length| escaped || length == 3 || wide && length <= 6) {
            return (length, Some('_'));
        }
    }
    (1, None)
}

/// Comments nest.
fn block(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r##"
//! Of the module.

/// A struct.
struct A;

impl<T> A<T> {
    #[must_use]
    /// Gives a brace
    /// back.
    #[cfg_attr(
        feature = "a", // ]
        inline
    )]
    // A comment.
    pub(in crate::a) const unsafe extern "C" fn brace<'a, U: Into<[u8; 4]>>(&'a self, text: &str) -> [u8; 4]
    where
        U: Fn(&'a str) -> char,
    {
        let braces = ['{', '\'', '\u{7d}', '}', 'é'];
        let text = r#"
    }
"#;
        /* } /* } */ } */
        fn inner() {}
        "\"{"; // }
        b"{";
    }

    /// Is declared only.
    fn declared(&self) -> [u8; 2];

    /// Is a test.
    #[tokio::test]
    async fn tested() {
        work();
    }

    /// Of something else.

    fn apart() {}

    //// Four slashes.
    fn four() {}
}

/// In a macro.
fn $name() {
}

#[cfg(test)]
mod tests {
    /// Not wanted.
    fn helper() {
    }
}
"##;

    #[test]
    fn braces_and_attributes() {
        for source in [SOURCE.to_owned(), SOURCE.replace('\n', "\r\n")] {
            let mut reasons = Reasons::new();
            let found = cut(&source.lines().collect::<Vec<_>>(), &mut reasons);
            assert_eq!(found.len(), 1, "{found:?}");
            let function = &found[0];
            assert_eq!((&function.name[..], &function.doc[..], function.line), ("brace", "Gives a brace\nback.", 16));
            assert!(function.body.starts_with("    #[must_use]\n    #[cfg_attr("), "{}", function.body);
            assert!(function.body.ends_with("b\"{\";\n    }\n"), "{}", function.body);
            assert!(!function.body.contains("back."));
            assert_eq!(reasons["test"], 1);
        }
    }
}
