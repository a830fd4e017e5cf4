//! A rule as a regular expression over one text that holds all that git looks at: a slash, the path, a NUL, and once more
//! a slash when it is a directory.
//!
//! No name holds a NUL, so it ends the path without an anchor: a rule for a name is a plain string with a slash before
//! and a NUL behind, which is what a matcher of many expressions is best at.
//!
//! | rule | expression |
//! |---|---|
//! | `core` | `/core\x00` |
//! | `*.o` | `\x2eo\x00` |
//! | `/core`, `a/core` in the file of `base` | `\A/base/core\x00` |
//! | `core` in the file of `base` | `\A/base/(?:[^\x00]*/)?core\x00` |
//! | `**/a/core` | `/a/core\x00` |
//! | `core/` | `/core\x00/` |
//!
//! Expressions are for bytes: no flags but that a dot, which is not used, may be anything.

use crate::rules::Case;
use crate::rules::class::ByteSet;
use crate::rules::file::Shape;
use crate::rules::glob::{Compiled, Token};
use std::fmt::Write;

const ANY_IN_COMPONENT: &str = "[^/\\x00]";
const DIRECTORIES: &str = "(?:[^\\x00]*/)?";

/// The text of a path.
pub(super) fn text(path: &[u8], is_dir: bool, into: &mut Vec<u8>) {
    into.clear();
    into.push(b'/');
    into.extend_from_slice(path);
    into.extend_from_slice(if is_dir { b"\0/" } else { b"\0" });
}

/// The expression of a rule of a file whose patterns are relative to `base`; `None` when the rule matches nothing.
pub(super) fn expression(base: &[u8], shape: &Shape, case: Case) -> Option<String> {
    let (head, mut tokens, tail, classes): (&[u8], &[Token], &[u8], &dyn Fn(u16) -> ByteSet) = match &shape.compiled {
        Compiled::Never => return None,
        Compiled::Literal(literal) => (literal, &[], &[], &|_| ByteSet::EMPTY),
        Compiled::Glob(glob) => (glob.head(), glob.tokens(), glob.tail(), &|index| glob.class(index)),
    };
    let mut out = Expression { text: String::new(), case };
    let starts_with = |token: Token| head.is_empty() && tokens.first() == Some(&token);
    if shape.name_only && base.is_empty() {
        // `*x`: whatever stands before, the last component ends in x.
        if starts_with(Token::Star) && (tokens.len() > 1 || !tail.is_empty()) {
            tokens = &tokens[1..];
        } else {
            out.text.push('/');
        }
    } else if base.is_empty() && starts_with(Token::Directories) {
        let first = tokens.iter().position(|token| *token != Token::Directories).unwrap_or(tokens.len());
        tokens = &tokens[first..];
        out.text.push('/');
    } else {
        out.text.push_str("\\A/");
        base.iter().for_each(|&byte| out.exactly(byte));
        if shape.name_only {
            out.text.push_str(DIRECTORIES);
        }
    }
    head.iter().for_each(|&byte| out.folded(byte));
    for token in tokens {
        match token {
            Token::Byte(byte) => out.folded(*byte),
            Token::Any => out.text.push_str(ANY_IN_COMPONENT),
            Token::Class(index) => out.set(classes(*index)),
            Token::Star => {
                out.text.push_str(ANY_IN_COMPONENT);
                out.text.push('*');
            }
            Token::Directories => out.text.push_str(DIRECTORIES),
            Token::Everything => out.text.push_str("[^\\x00]*"),
        }
    }
    tail.iter().for_each(|&byte| out.folded(byte));
    out.text.push_str(if shape.dir_only { "\\x00/" } else { "\\x00" });
    Some(out.text)
}

struct Expression {
    text: String,
    case: Case,
}

impl Expression {
    fn exactly(&mut self, byte: u8) {
        match byte {
            b'/' | b'_' => self.text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => self.text.push(char::from(byte)),
            byte => self.hexadecimal(byte),
        }
    }

    fn hexadecimal(&mut self, byte: u8) {
        // To a string nothing fails.
        let _ = write!(self.text, "\\x{byte:02x}");
    }

    /// A byte that stands for those that fold to it.
    fn folded(&mut self, byte: u8) {
        match self.case {
            Case::Insensitive if byte.is_ascii_lowercase() => {
                self.text.push('[');
                self.text.push(char::from(byte));
                self.text.push(char::from(byte.to_ascii_uppercase()));
                self.text.push(']');
            }
            _ => self.exactly(byte),
        }
    }

    /// A set that is asked about folded bytes.
    fn set(&mut self, set: ByteSet) {
        let holds = |byte: u8| set.contains(self.case.fold(byte));
        let members: Vec<u8> = (0..=u8::MAX).filter(|&byte| holds(byte)).collect();
        self.text.push('[');
        for run in members.chunk_by(|a, b| a + 1 == *b) {
            let [first, .., last] = run else {
                self.hexadecimal(run[0]);
                continue;
            };
            self.hexadecimal(*first);
            self.text.push('-');
            self.hexadecimal(*last);
        }
        self.text.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleFile, Source, SourceKind};

    fn file(base: &str, line: &str, case: Case) -> RuleFile {
        let source = Source { kind: SourceKind::Gitignore, display: Vec::new(), base: base.into() };
        RuleFile::parse(source, line.as_bytes(), case)
    }

    #[test]
    fn rules_become_what_the_table_says() {
        let check = |base: &str, line: &str, expected: &str| {
            let file = file(base, line, Case::Sensitive);
            let shape = file.shapes().next().unwrap_or_else(|| panic!("{line} has no rule"));
            assert_eq!(expression(base.as_bytes(), &shape, Case::Sensitive).as_deref(), Some(expected), "{line}");
        };
        check("", "core", "/core\\x00");
        check("", "*.o", "\\x2eo\\x00");
        check("", "*", "/[^/\\x00]*\\x00");
        check("", "/core", "\\A/core\\x00");
        check("b/", "/core", "\\A/b/core\\x00");
        check("b/", "core", "\\A/b/(?:[^\\x00]*/)?core\\x00");
        check("b/", "*.o", "\\A/b/(?:[^\\x00]*/)?[^/\\x00]*\\x2eo\\x00");
        check("", "**/a/core", "/a/core\\x00");
        check("", "core/", "/core\\x00/");
        check("", "a/**", "\\A/a/[^\\x00]*\\x00");
        check("", "a/**/b[0-9x]?", "\\A/a/(?:[^\\x00]*/)?b[\\x30-\\x39\\x78][^/\\x00]\\x00");
    }

    #[test]
    fn expressions_say_what_rules_say() {
        let lines = [
            "a",
            "*.o",
            "*",
            "a*",
            "/a",
            "a/",
            "a/b",
            "**/b",
            "a/**",
            "a/**/b",
            "a**/b",
            "?",
            "[ab]",
            "[!a]",
            "*a*",
            "A",
            "[A-C]",
            "\\*",
            "a?b",
            "**",
            "**/",
            "a/*",
            "*/b",
            "[[:upper:]]x",
            "é",
            "\\a",
            "**/**/b",
            "a/*/b/",
        ];
        let paths = [
            "a", "b", "A", "ab", "x.o", ".o", "a/b", "a/x/b", "a/b/b", "b/a", "c/a/b", "ax/b", "aXb", "*", "é", "Bx",
            "a/b/c", "a b", "a\nb",
        ];
        let mut buffer = Vec::new();
        for case in [Case::Sensitive, Case::Insensitive] {
            for base in ["", "a/", "a/x/"] {
                for line in lines {
                    let file = file(base, line, case);
                    let Some(shape) = file.shapes().next() else { continue };
                    let Some(expression) = expression(base.as_bytes(), &shape, case) else { continue };
                    let regex = regex::bytes::Regex::new(&format!("(?s-u){expression}"))
                        .unwrap_or_else(|error| panic!("{error}"));
                    for path in paths {
                        for is_dir in [false, true] {
                            text(path.as_bytes(), is_dir, &mut buffer);
                            let expected = file.decides(path.as_bytes(), is_dir);
                            assert_eq!(regex.is_match(&buffer), expected, "{line} of {base:?} on {path}: {expression}");
                        }
                    }
                }
            }
        }
    }
}
