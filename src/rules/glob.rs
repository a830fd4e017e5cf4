//! One pattern compiled to tokens, and the matcher.
//!
//! The matcher never recurses. Three facts bound its work by the length of the pattern times the length of the text:
//!
//! * `*` does not cross a slash, so only the last `*` of a component is ever moved: it can take over whatever an
//!   earlier one might have taken.
//! * A slash in the pattern matches the next slash of the text and no other, so a `*` is done with once its component
//!   is.
//! * `**/` takes whole components, so only the last one is ever moved, a component at a time.
//!
//! Where a wildcard stands matters to git in ways that pure glob semantics do not know, see [`compile`].

use std::collections::HashMap;

use super::Case;
use super::class::{ByteSet, bracket};
use super::parse::Pattern;

/// A pattern whose shortest match is longer than this is dropped. No system can be given such a path as a whole
/// (Linux stops at 4,096 bytes), and the bound keeps hostile patterns small once compiled.
const SHORTEST_MATCH_MAX: usize = u16::MAX as usize;

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This byte, folded.
    Byte(u8),
    /// `?`: any byte but a slash.
    Any,
    /// A bracket: a byte of the set at this index.
    Class(u16),
    /// `*`: any run of bytes without a slash.
    Star,
    /// `**/`: nothing, or any run of bytes that ends in a slash.
    Directories,
    /// A last `**`: the rest, whatever it is.
    Everything,
}

/// What a pattern compiles to.
#[derive(Debug)]
pub(super) enum Compiled {
    /// Matches nothing at all.
    Never,
    /// Matches exactly these (folded) bytes.
    Literal(Vec<u8>),
    /// Has wildcards.
    Glob(Glob),
}

/// A pattern with wildcards: literal bytes first and last, tokens in between.
#[derive(Debug)]
pub(super) struct Glob {
    head: Box<[u8]>,
    tokens: Box<[Token]>,
    classes: Box<[ByteSet]>,
    tail: Box<[u8]>,
    /// Length of the shortest text that matches.
    shortest: usize,
    case: Case,
}

/// Counts the steps of the matcher, so that tests can bound its work without a clock.
pub(super) trait Steps {
    /// Called once a turn of the matcher's loop.
    fn step(&mut self);
}

/// The counter of everyday use: it counts nothing and costs nothing.
pub(super) struct Uncounted;

impl Steps for Uncounted {
    #[inline]
    fn step(&mut self) {}
}

/// Compiles a pattern.
///
/// git compares the bytes before the first wildcard itself and hands only the rest to its glob matcher. That is why
/// `**` right after that plain part counts as standing at the start of a component, as in `a**/b`, which matches `ab`
/// and `ax/y/b`. In a pattern without a slash, `**` is `*`.
pub(super) fn compile(pattern: &Pattern<'_>, case: Case) -> Compiled {
    let (plain, wild) = pattern.body.split_at(pattern.plain_len);
    let mut compiler = Compiler {
        wild,
        at: 0,
        crosses: !pattern.name_only,
        case,
        tokens: Vec::new(),
        classes: Vec::new(),
        class_indexes: HashMap::new(),
        shortest: plain.len(),
    };
    // The empty pattern would match an empty name, which does not exist.
    if pattern.body.is_empty() || plain.len() > SHORTEST_MATCH_MAX || compiler.run().is_none() {
        return Compiled::Never;
    }
    let Compiler { tokens, classes, shortest, .. } = compiler;
    let literal = |token: &Token| match token {
        Token::Byte(byte) => Some(*byte),
        _ => None,
    };
    let mut head: Vec<u8> = plain.iter().map(|&byte| case.fold(byte)).collect();
    head.extend(tokens.iter().map_while(literal));
    let first = head.len() - plain.len();
    if first == tokens.len() {
        return Compiled::Literal(head);
    }
    let mut tail: Vec<u8> = tokens.iter().rev().map_while(literal).collect();
    tail.reverse();
    Compiled::Glob(Glob {
        head: head.into(),
        tokens: tokens[first..tokens.len() - tail.len()].into(),
        classes: classes.into(),
        tail: tail.into(),
        shortest,
        case,
    })
}

struct Compiler<'a> {
    wild: &'a [u8],
    at: usize,
    /// Whether `**` crosses slashes: not in a pattern without one.
    crosses: bool,
    case: Case,
    tokens: Vec<Token>,
    classes: Vec<ByteSet>,
    class_indexes: HashMap<ByteSet, u16>,
    shortest: usize,
}

impl Compiler<'_> {
    /// Turns all of `wild` into tokens. `None`: the pattern matches nothing.
    fn run(&mut self) -> Option<()> {
        while let Some(&byte) = self.wild.get(self.at) {
            match byte {
                b'*' => self.stars(),
                b'?' => {
                    self.at += 1;
                    self.single(Token::Any)?;
                }
                b'[' => {
                    let (set, end) = bracket(self.wild, self.at, self.case)?;
                    self.at = end;
                    self.class(set)?;
                }
                b'\\' => {
                    let escaped = *self.wild.get(self.at + 1)?;
                    // git folds the text but not an escaped byte, so that an escaped capital is never met.
                    if self.case.fold(escaped) != escaped {
                        return None;
                    }
                    self.at += 2;
                    self.single(Token::Byte(escaped))?;
                }
                _ => {
                    self.at += 1;
                    self.single(Token::Byte(self.case.fold(byte)))?;
                }
            }
        }
        Some(())
    }

    /// Adds a token that takes one byte.
    fn single(&mut self, token: Token) -> Option<()> {
        self.shortest += 1;
        self.tokens.push(token);
        (self.shortest <= SHORTEST_MATCH_MAX).then_some(())
    }

    fn class(&mut self, set: ByteSet) -> Option<()> {
        if set.is_empty() {
            return None;
        }
        if let Some(byte) = set.only_member() {
            return self.single(Token::Byte(byte));
        }
        let next = u16::try_from(self.classes.len()).ok()?;
        let index = *self.class_indexes.entry(set).or_insert(next);
        if index == next {
            self.classes.push(set);
        }
        self.single(Token::Class(index))
    }

    /// Reads a row of stars. Two or more that fill a component cross slashes; any other row is one `*`.
    fn stars(&mut self) {
        let start = self.at;
        let count = self.wild[start..].iter().take_while(|&&byte| byte == b'*').count();
        self.at += count;
        let rest = &self.wild[self.at..];
        let fills_component = (start == 0 || self.wild[start - 1] == b'/')
            && (rest.is_empty() || rest.starts_with(b"/") || rest.starts_with(b"\\/"));
        if count < 2 || !self.crosses || !fills_component {
            self.tokens.push(Token::Star);
        } else if rest.is_empty() {
            self.tokens.push(Token::Everything);
        } else if rest.starts_with(b"/") {
            self.at += 1;
            self.tokens.push(Token::Directories);
        } else {
            // Before an escaped slash git does not let `**` stand for nothing: one component, then any number.
            self.at += 2;
            self.shortest += 1;
            self.tokens.extend([Token::Star, Token::Byte(b'/'), Token::Directories]);
        }
    }
}

impl Glob {
    /// The glob that matches exactly these (folded) bytes.
    pub(super) fn literal(bytes: Vec<u8>, case: Case) -> Glob {
        let shortest = bytes.len();
        Glob {
            head: bytes.into(),
            tokens: Box::default(),
            classes: Box::default(),
            tail: Box::default(),
            shortest,
            case,
        }
    }

    /// For a pattern with slashes that looks at the last component only, such as `**/x`: what it asks of that; otherwise
    /// the glob itself.
    pub(super) fn by_name(self) -> Result<Compiled, Glob> {
        let leading = self.tokens.iter().take_while(|token| **token == Token::Directories).count();
        let crosses = |token: &Token| matches!(token, Token::Byte(b'/') | Token::Directories | Token::Everything);
        if leading == 0
            || !self.head.is_empty()
            || self.tail.contains(&b'/')
            || self.tokens[leading..].iter().any(crosses)
        {
            return Err(self);
        }
        let tokens: Box<[Token]> = self.tokens[leading..].into();
        Ok(match (tokens.is_empty(), self.tail.is_empty()) {
            (true, true) => Compiled::Never,
            (true, false) => Compiled::Literal(self.tail.into()),
            // Literal bytes that came after a `**/` may stand first now.
            (false, _) => Compiled::Glob(Glob { tokens, ..self }),
        })
    }

    /// What the pattern asks of the directory of a match, which has a slash at its end unless it is empty; `None` when the
    /// two cannot be told apart, as in `a/**`, or in `a**/b`, which matches `ab` too.
    pub(super) fn directory_part(&self) -> Option<Glob> {
        let is_crossing = |token: &Token| matches!(token, Token::Byte(b'/') | Token::Directories);
        let part = |tokens: &[Token], tail: &[u8]| {
            let singles = tokens.iter().filter(|token| !matches!(token, Token::Star | Token::Directories)).count();
            let (head, classes) = (self.head.clone(), self.classes.clone());
            let shortest = head.len() + singles + tail.len();
            Glob { head, tokens: tokens.into(), classes, tail: tail.into(), shortest, case: self.case }
        };
        if self.tokens.contains(&Token::Everything) {
            return None;
        }
        if let Some(slash) = self.tail.iter().rposition(|&byte| byte == b'/') {
            return Some(part(&self.tokens, &self.tail[..=slash]));
        }
        let Some(last) = self.tokens.iter().rposition(is_crossing) else {
            let known = self.head.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            return Some(Glob::literal(self.head[..known].to_vec(), self.case));
        };
        let begins_component = match last.checked_sub(1) {
            Some(before) => is_crossing(&self.tokens[before]),
            None => self.head.is_empty() || self.head.ends_with(b"/"),
        };
        let is_apart = self.tokens[last] == Token::Byte(b'/') || begins_component;
        is_apart.then(|| part(&self.tokens[..=last], b""))
    }

    /// Whether a match can lie in the directory `dir`, which has a slash at its end unless it is empty.
    pub(super) fn may_match_in(&self, dir: &[u8]) -> bool {
        let known = self.head.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        dir.len() >= known && self.case.equal(&self.head[..known], &dir[..known])
    }

    /// Whether the pattern matches all of `text`.
    #[inline]
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.matches_counted(text, &mut Uncounted)
    }

    #[inline]
    fn matches_counted<S: Steps>(&self, text: &[u8], steps: &mut S) -> bool {
        let first = |bytes: &[u8]| bytes.first().map(|&byte| self.case.fold(byte));
        // Most texts fail on their first byte; this is much cheaper than the comparison of all of head.
        if text.len() < self.shortest || (!self.head.is_empty() && first(text) != first(&self.head)) {
            return false;
        }
        let (head, rest) = text.split_at(self.head.len());
        let (middle, tail) = rest.split_at(rest.len() - self.tail.len());
        self.case.equal(&self.head, head) && self.case.equal(&self.tail, tail) && self.middle_matches(middle, steps)
    }

    /// The loop described at the top of this file.
    fn middle_matches<S: Steps>(&self, text: &[u8], steps: &mut S) -> bool {
        let (mut token, mut at) = (0, 0);
        // Where to go on after the last `*` or `**/`, and up to where it reaches in the text.
        let mut star: Option<(usize, usize)> = None;
        let mut directories: Option<(usize, usize)> = None;
        loop {
            steps.step();
            match self.tokens.get(token) {
                Some(Token::Everything) => return true,
                Some(Token::Star) => {
                    token += 1;
                    at += self.bytes_to_skip(token, &text[at..]);
                    star = Some((token, at));
                    continue;
                }
                Some(Token::Directories) => {
                    token += 1;
                    directories = Some((token, at));
                    continue;
                }
                Some(&single) => {
                    if let Some(&byte) = text.get(at)
                        && self.accepts(single, byte)
                    {
                        (token, at) = (token + 1, at + 1);
                        if byte == b'/' {
                            star = None;
                        }
                        continue;
                    }
                }
                None if at == text.len() => return true,
                None => {}
            }
            // No match here: let the last `*` take a byte more, or else the last `**/` a component more.
            match star {
                Some((resume, end)) if text.get(end).is_some_and(|&byte| byte != b'/') => {
                    let end = end + 1 + self.bytes_to_skip(resume, &text[end + 1..]);
                    star = Some((resume, end));
                    (token, at) = (resume, end);
                }
                _ => {
                    let Some((resume, end)) = directories else { return false };
                    let Some(length) = text[end..].iter().position(|&byte| byte == b'/') else { return false };
                    star = None;
                    directories = Some((resume, end + length + 1));
                    (token, at) = (resume, end + length + 1);
                }
            }
        }
    }

    /// How many bytes a `*` takes at least, when the token at `next` comes after it: none before its byte can match.
    #[inline]
    fn bytes_to_skip(&self, next: usize, text: &[u8]) -> usize {
        let wanted = match self.tokens.get(next) {
            Some(Token::Byte(byte)) => *byte,
            // The end of the text is wanted, which comes after the last slash if at all.
            None => b'/',
            _ => return 0,
        };
        let stop = |&byte: &u8| byte == b'/' || self.case.fold(byte) == wanted;
        text.iter().position(stop).unwrap_or(text.len())
    }

    /// Whether a token that takes one byte takes this one.
    #[inline]
    fn accepts(&self, single: Token, byte: u8) -> bool {
        match single {
            Token::Byte(expected) => expected == self.case.fold(byte),
            Token::Class(index) => self.classes[usize::from(index)].contains(self.case.fold(byte)),
            _ => byte != b'/',
        }
    }

    /// What the pattern takes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let tokens = size_of_val(&*self.tokens) + size_of_val(&*self.classes);
        size_of::<Glob>() + self.head.len() + self.tail.len() + tokens
    }

    /// The bytes that a match can start with.
    pub(super) fn first_bytes(&self) -> ByteSet {
        self.one_of(self.head.first(), self.tokens.first())
    }

    /// The bytes that a match can end with.
    pub(super) fn last_bytes(&self) -> ByteSet {
        self.one_of(self.tail.last(), self.tokens.last())
    }

    /// The bytes, not folded, that a literal stands for, or else a token in its place.
    fn one_of(&self, literal: Option<&u8>, token: Option<&Token>) -> ByteSet {
        let folded = |byte| match (literal, token) {
            (Some(&literal), _) | (None, Some(&Token::Byte(literal))) => literal == byte,
            (None, Some(&Token::Class(index))) => self.classes[usize::from(index)].contains(byte),
            _ => true,
        };
        let bytes = (0..=u8::MAX).filter(|&byte| folded(self.case.fold(byte)));
        bytes.fold(ByteSet::EMPTY, ByteSet::with)
    }

    /// The set of a [`Token::Class`].
    pub(super) fn class(&self, index: u16) -> ByteSet {
        self.classes[usize::from(index)]
    }

    /// Literal bytes that every match starts with.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What stands between head and tail.
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Literal bytes that every match ends with.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::pattern;
    use super::*;

    impl Steps for usize {
        fn step(&mut self) {
            *self += 1;
        }
    }

    fn matches(line: &str, text: &str, case: Case) -> (bool, usize) {
        let mut steps = 0;
        let found = match compile(&pattern(line.as_bytes()), case) {
            Compiled::Never => false,
            Compiled::Literal(literal) => case.equal(&literal, text.as_bytes()),
            Compiled::Glob(glob) => glob.matches_counted(text.as_bytes(), &mut steps),
        };
        (found, steps)
    }

    #[test]
    fn patterns_match_what_git_says() {
        let check = |line: &str, yes: &[&str], no: &[&str]| {
            for (texts, expect) in [(yes, true), (no, false)] {
                for text in texts {
                    assert_eq!(matches(line, text, Case::Sensitive).0, expect, "{line} on {text}");
                }
            }
        };
        check("*", &["a", ".a", ""], &["a/b"]);
        check("a?c", &["abc", "a\nc"], &["ac", "abbc", "a/c"]);
        check("*.o", &[".o", "a.o", "a.b.o"], &["a.oo", "o"]);
        check("a*b*c", &["abc", "axxbyyc", "abbcc"], &["ab", "acb", "abcd"]);
        check("x/*.c", &["x/.c", "x/a.c"], &["x/y/a.c", "xa.c", "x/"]);
        check("*/b", &["a/b"], &["b", "a/a/b"]);
        check("a/*/c", &["a/b/c"], &["a/c", "a/b/b/c"]);
        check("**/b", &["b", "a/b", "a/a/b"], &["ab", "b/a"]);
        check("a/**", &["a/b", "a/b/c"], &["a", "b/a/c"]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "a/b/x"]);
        check("a/***/b", &["a/b", "a/x/y/b"], &["ab"]);
        check("a**/b", &["ab", "a/b", "ax/b", "a/x/y/b"], &["b", "xa/b"]);
        check("?**/b", &["a/b", "ax/b"], &["ab", "a/x/b"]);
        check("x/a**", &["x/a", "x/ab", "x/ab/c"], &["x/b"]);
        check("a/**\\/b", &["a/x/b", "a/x/y/b"], &["a/b"]);
        check("**/**/b", &["b", "x/b", "x/y/b"], &["xb"]);
        check("**/a/**/b", &["a/b", "x/a/b", "a/a/x/b"], &["ab", "a/x/bb"]);
        check("**/*a/*b/c", &["xa/xb/c", "q/a/b/a/b/c"], &["xa/q/xb/c"]);
        check("a/**/", &["a/b/c"], &["a"]);
        check("[/]x", &[], &["/x", "x"]);
        check("a/[!b]c", &["a/ac"], &["a/bc", "a//c"]);
        check("\\*a", &["*a"], &["ba", "\\*a"]);
        check("a\\", &[], &["a", "a\\"]);
        check("a\\/b", &["a/b"], &["a\\/b"]);
        check("[a", &[], &["[a", "a"]);
        check("!", &[], &["", "!"]);
    }

    #[test]
    fn case_is_folded_with_the_exceptions_of_git() {
        let check = |line: &str, text: &str, expect: bool| {
            assert_eq!(matches(line, text, Case::Insensitive).0, expect, "{line} on {text}");
        };
        check("aB", "Ab", true);
        check("*.O", "x.o", true);
        check("a/B?", "A/bC", true);
        check("\\A", "A", false);
        check("\\a", "A", true);
        check("[A]", "a", false);
        check("[A-B]x", "bX", true);
        check("É", "é", false);
    }

    #[test]
    fn work_is_bounded_by_pattern_times_text() {
        let check = |line: &str, text: &str, expect: bool| {
            let (found, steps) = matches(line, text, Case::Sensitive);
            assert_eq!(found, expect, "{line}");
            let bound = 2 * (line.len() + 1) * (text.len() + 1);
            assert!(steps <= bound, "{line}: {steps} steps, at most {bound} wanted");
        };
        let many_a = "a".repeat(2000);
        check("a*a*a*a*a*a*a*a*a*a*b", &many_a, false);
        check(&format!("{}b?", "*a".repeat(200)), &many_a, false);
        check(&format!("x/{}b?", "*a".repeat(200)), &format!("x/{many_a}"), false);
        check(&format!("{}b[xy]", "*[ab]".repeat(100)), &many_a, false);
        let deep = "a/".repeat(1000) + "c";
        check("**/a/**/a/**/a/**/a/**/a/**/b", &deep, false);
        check("**/a/**/a/**/a/**/a/**/a/**/c", &deep, true);
        check(&format!("{}b?", "**/a/".repeat(150)), &deep, false);
        check(&format!("{}b?", "**/*a*/".repeat(150)), &deep, false);
        check(&format!("{}b?", "*/**/".repeat(150)), &deep, false);
        check(&format!("{}*b?", "*a*/".repeat(150)), &deep, false);
        let wide = format!("{many_a}/").repeat(20) + "c";
        check("**/*a*a*a*a/**/*a*a*a*ab/**/c?", &wide, false);
        check(&format!("**/{}b/x*", "*a".repeat(50)), &wide, false);
    }

    #[test]
    fn first_and_last_bytes_are_those_of_some_match() {
        let check = |line: &str, first: &str, last: &str| {
            let Compiled::Glob(glob) = compile(&pattern(line.as_bytes()), Case::Insensitive) else {
                panic!("{line} has no wildcard");
            };
            for (set, expect) in [glob.first_bytes(), glob.last_bytes()].iter().zip([first, last]) {
                let all = *set == ByteSet::ALL;
                let members: Vec<u8> = (0..=255).filter(|&byte| set.contains(byte)).collect();
                assert!(if expect == "all" { all } else { members == expect.as_bytes() }, "{line}: {members:?}");
            }
        };
        check("a*b", "Aa", "Bb");
        check("*", "all", "all");
        check("[ab]*[1-3]", "ABab", "123");
        check("a?", "Aa", "all");
        check("?b", "all", "Bb");
    }

    #[test]
    fn the_directory_of_a_match() {
        let glob = |line: &str| match compile(&pattern(line.as_bytes()), Case::Insensitive) {
            Compiled::Glob(glob) => glob,
            other => panic!("{line}: {other:?}"),
        };
        for (line, dirs, others) in [
            ("/a*", &[""][..], &["x/", "a/"][..]),
            ("a/b/*.o", &["a/b/", "A/B/"], &["", "a/", "a/x/", "ab/b/", "a/b/c/"]),
            ("*/b?", &["a/"], &["", "a/b/"]),
            ("a/**/b?", &["a/", "a/x/", "a/x/y/"], &["", "b/", "ax/"]),
            ("**/a?/b", &["ab/", "x/ac/"], &["", "a/", "x/"]),
            ("x*/y/z", &["x/y/", "xx/y/"], &["x/", "y/"]),
            ("[a-c]/**/*.o", &["a/", "B/x/"], &["", "d/"]),
        ] {
            let part = glob(line).directory_part().unwrap_or_else(|| panic!("{line} has none"));
            assert!(dirs.iter().all(|dir| part.matches(dir.as_bytes())), "{line}");
            assert!(!others.iter().any(|dir| part.matches(dir.as_bytes())), "{line}");
        }
        for line in ["a/**", "a**/b"] {
            assert!(glob(line).directory_part().is_none(), "{line}");
        }
        assert!(glob("a/**").may_match_in(b"a/b/") && !glob("a/**").may_match_in(b"b/"));
    }

    #[test]
    fn a_pattern_longer_than_any_path_is_dropped() {
        let long = "?".repeat(SHORTEST_MATCH_MAX);
        assert!(matches!(compile(&pattern(long.as_bytes()), Case::Sensitive), Compiled::Glob(_)));
        for longer in [long + "?", "a".repeat(SHORTEST_MATCH_MAX + 1)] {
            assert!(matches!(compile(&pattern(longer.as_bytes()), Case::Sensitive), Compiled::Never));
        }
    }
}
