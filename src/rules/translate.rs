//! A rule for names as a regular expression, over one text that holds all that git looks at: a slash, the name, a NUL, and
//! once more a slash when it is a directory.
//!
//! No name holds a NUL, so it ends the name without an anchor: a literal rule is a plain string with a slash before and a
//! NUL behind, which is what a matcher of many expressions is best at.
//!
//! | rule | expression |
//! |---|---|
//! | `core`, `**/core` | `/core\x00` |
//! | `*.o` | `\x2eo\x00` |
//! | `core/` | `/core\x00/` |
//!
//! Rules with a slash look at directories too. They are few, and most of them are out of the question for a whole
//! directory at once, so they stay with the portable matcher. What is left does not depend on where a rule file lies: the
//! same rule in a hundred files is one expression.
//!
//! Expressions are for bytes: no flags but that a dot, which is not used, may be anything.

use super::Case;
use super::class::ByteSet;
use super::glob::{Compiled, Glob, Token};
use std::fmt::Write;

const ANY: &str = "[^/\\x00]";

/// The text of a name.
#[cfg(any(test, all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64")))]
pub(super) fn text(name: &[u8], is_dir: bool, into: &mut Vec<u8>) {
    into.clear();
    into.push(b'/');
    into.extend_from_slice(name);
    into.extend_from_slice(if is_dir { b"\0/" } else { b"\0" });
}

/// The expression of a rule that looks at names only; `None` when it matches nothing.
pub(super) fn expression(compiled: &Compiled, dir_only: bool, case: Case) -> Option<String> {
    let mut out = Expression { text: String::new(), case };
    match compiled {
        Compiled::Never => return None,
        Compiled::Literal(literal) => {
            out.text.push('/');
            literal.iter().for_each(|&byte| out.folded(byte));
        }
        Compiled::Glob(glob) => out.glob(glob),
    }
    out.text.push_str(if dir_only { "\\x00/" } else { "\\x00" });
    Some(out.text)
}

struct Expression {
    text: String,
    case: Case,
}

impl Expression {
    fn glob(&mut self, glob: &Glob) {
        let mut tokens = glob.tokens();
        // `*x`: whatever stands before, the name ends in x.
        if glob.head().is_empty() && tokens.first() == Some(&Token::Star) && tokens.len() + glob.tail().len() > 1 {
            tokens = &tokens[1..];
        } else {
            self.text.push('/');
        }
        glob.head().iter().for_each(|&byte| self.folded(byte));
        for token in tokens {
            match token {
                Token::Byte(byte) => self.folded(*byte),
                Token::Class(index) => self.set(glob.class(*index)),
                Token::Any => self.text.push_str(ANY),
                Token::Star | Token::Directories | Token::Everything => {
                    self.text.push_str(ANY);
                    self.text.push('*');
                }
            }
        }
        glob.tail().iter().for_each(|&byte| self.folded(byte));
    }

    /// A byte that stands for those that fold to it.
    fn folded(&mut self, byte: u8) {
        match self.case {
            Case::Insensitive if byte.is_ascii_lowercase() => {
                let (lower, upper) = (char::from(byte), char::from(byte.to_ascii_uppercase()));
                self.text.extend(['[', lower, upper, ']']);
            }
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => self.text.push(char::from(byte)),
            _ => self.hexadecimal(byte),
        }
    }

    fn hexadecimal(&mut self, byte: u8) {
        // To a string nothing fails.
        let _ = write!(self.text, "\\x{byte:02x}");
    }

    /// A set that is asked about folded bytes.
    fn set(&mut self, set: ByteSet) {
        let members: Vec<u8> = (0..=u8::MAX).filter(|&byte| set.contains(self.case.fold(byte))).collect();
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
    use super::super::{RuleFile, Source, SourceKind};
    use super::*;

    fn file(line: &str, case: Case) -> RuleFile {
        let source = Source { kind: SourceKind::Gitignore, display: Vec::new(), base: Vec::new() };
        RuleFile::parse(source, line.as_bytes(), case)
    }

    #[test]
    fn rules_become_what_the_table_says() {
        let check = |line: &str, expected: &[&str]| {
            let found: Vec<String> = file(line, Case::Sensitive).expressions().map(|(_, text)| text).collect();
            assert_eq!(found, expected, "{line}");
        };
        check("core", &["/core\\x00"]);
        check("**/core", &["/core\\x00"]);
        check("*.o", &["\\x2eo\\x00"]);
        check("**/*.o", &["\\x2eo\\x00"]);
        check("*", &["/[^/\\x00]*\\x00"]);
        check("core/", &["/core\\x00/"]);
        check("b[0-9x]?", &["/b[\\x30-\\x39\\x78][^/\\x00]\\x00"]);
        for elsewhere in ["/core", "a/b", "a/**", "a/**/b", "**/a/b", "a**/b", "/*.o"] {
            check(elsewhere, &[]);
        }
    }

    #[test]
    fn expressions_say_what_rules_say() {
        let lines = [
            "a",
            "*.o",
            "*",
            "a*",
            "a/",
            "**/b",
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
            "[[:upper:]]x",
            "é",
            "\\a",
            "**/**/b",
            "**/[ab]*",
            "*b/",
            "*.a.*",
        ];
        let names = ["a", "b", "A", "ab", "x.o", ".o", "aXb", "*", "é", "Bx", "a b", "a\nb", "x.a.c", "bb"];
        let mut buffer = Vec::new();
        for case in [Case::Sensitive, Case::Insensitive] {
            for line in lines {
                let file = file(line, case);
                for (_, expression) in file.expressions() {
                    let regex = regex::bytes::Regex::new(&format!("(?s-u){expression}"));
                    let regex = regex.unwrap_or_else(|error| panic!("{line}: {error}"));
                    for name in names {
                        for is_dir in [false, true] {
                            text(name.as_bytes(), is_dir, &mut buffer);
                            let expected = file.decides(name.as_bytes(), is_dir);
                            assert_eq!(regex.is_match(&buffer), expected, "{line} on {name}: {expression}");
                        }
                    }
                }
            }
        }
    }
}
