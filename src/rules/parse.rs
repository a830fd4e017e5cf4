//! The text of a rule file to patterns, exactly as git reads it. Knows lines and flags, not what a wildcard matches.

/// A UTF-8 byte order mark, skipped at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One pattern, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    /// Starts with `!`: what matches is not ignored.
    pub(super) negated: bool,
    /// Ended with `/`: only directories match.
    pub(super) dir_only: bool,
    /// Has no slash but a last one: the last component of a path is matched, in every directory.
    pub(super) name_only: bool,
    /// What is left to match once `!`, the last slash and a first slash are gone.
    pub(super) body: &'a [u8],
    /// So many bytes of `body` come before the first of `*`, `?`, `[` and `\`. git compares these as they are and gives
    /// only the rest to its glob matcher, which shows: `a**/b` finds its `**` at the start of what it is given.
    pub(super) plain_len: usize,
}

/// The numbered lines of a rule file that hold a pattern, as git prints them: without line end, comment lines, trailing
/// spaces, and whatever follows a NUL.
pub(super) fn lines(content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
    content.split(|&byte| byte == b'\n').enumerate().filter_map(|(index, line)| {
        if line.is_empty() || line.starts_with(b"#") {
            return None;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some((index + 1, trim_spaces(until_nul(line))))
    })
}

/// The bytes before the first NUL, where git's strings end.
pub(super) fn until_nul(line: &[u8]) -> &[u8] {
    line.iter().position(|&byte| byte == 0).map_or(line, |end| &line[..end])
}

/// Cuts the trailing spaces that no backslash protects.
fn trim_spaces(line: &[u8]) -> &[u8] {
    let mut first_space = None;
    let mut bytes = line.iter().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b' ' => first_space = first_space.or(Some(index)),
            b'\\' => {
                first_space = None;
                bytes.next();
            }
            _ => first_space = None,
        }
    }
    first_space.map_or(line, |end| &line[..end])
}

/// Takes one line apart. Every line is a pattern; some, such as an empty one, match nothing.
pub(super) fn pattern(line: &[u8]) -> Pattern<'_> {
    let (negated, rest) = match line.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (dir_only, whole) = match rest.strip_suffix(b"/") {
        Some(whole) => (true, whole),
        None => (false, rest),
    };
    let name_only = !whole.contains(&b'/');
    let body = whole.strip_prefix(b"/").unwrap_or(whole);
    let plain_len = body.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(body.len());
    Pattern { negated, dir_only, name_only, body, plain_len }
}

/// A pattern that matches the directory at `path`, relative to the base, and nothing else.
pub(super) fn anchored_directory(path: &[u8]) -> Vec<u8> {
    let mut line = vec![b'/'];
    for &byte in path {
        if b"*?[\\".contains(&byte) {
            line.push(b'\\');
        }
        line.push(byte);
    }
    line.push(b'/');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_as_git_cuts_them() {
        let check = |content: &[u8], expect: &[(usize, &[u8])]| {
            let found: Vec<_> = lines(content).collect();
            assert_eq!(found, expect, "{}", content.escape_ascii());
        };
        check(b"", &[]);
        check(b"\n\n", &[]);
        check(b"a\nb", &[(1, b"a"), (2, b"b")]);
        check(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", &[(1, b"a"), (2, b"\xef\xbb\xbfb")]);
        check(b"\xef\xbb\xbf#a\n#b\n\\#c\n #d\n", &[(3, b"\\#c"), (4, b" #d")]);
        check(b"a\r\nb\r\r\nc\r", &[(1, b"a"), (2, b"b\r"), (3, b"c")]);
        check(b"\r\n", &[(1, b"")]);
        check(b"a \nb  \t\nc \\ \nd\\  \ne \\", &[(1, b"a"), (2, b"b  \t"), (3, b"c \\ "), (4, b"d\\ "), (5, b"e \\")]);
        check(b"a\0b\nc \0\r\n\0\n", &[(1, b"a"), (2, b"c"), (3, b"")]);
        check(b"a \r\n", &[(1, b"a")]);
        check(b"   \n", &[(1, b"")]);
    }

    #[test]
    fn patterns_are_taken_apart() {
        let check = |line: &[u8], flags: &str, body: &[u8], plain_len: usize| {
            let expect = Pattern {
                negated: flags.contains('!'),
                dir_only: flags.contains('d'),
                name_only: flags.contains('n'),
                body,
                plain_len,
            };
            assert_eq!(pattern(line), expect, "{}", line.escape_ascii());
        };
        check(b"a", "n", b"a", 1);
        check(b"a/", "dn", b"a", 1);
        check(b"/a", "", b"a", 1);
        check(b"/a/", "d", b"a", 1);
        check(b"!a/b", "!", b"a/b", 3);
        check(b"!!a", "!n", b"!a", 2);
        check(b"\\!a", "n", b"\\!a", 0);
        check(b"", "n", b"", 0);
        check(b"!", "!n", b"", 0);
        check(b"/", "dn", b"", 0);
        check(b"//", "d", b"", 0);
        check(b"a//", "d", b"a/", 2);
        check(b"a\\/", "dn", b"a\\", 1);
        check(b"a**/b", "", b"a**/b", 1);
        check(b"[/]", "", b"[/]", 0);
    }

    #[test]
    fn an_anchored_directory_is_escaped() {
        assert_eq!(anchored_directory(b"a/[b]*\\"), b"/a/\\[b]\\*\\\\/");
    }
}
