//! Brackets: `[a-z]`, `[!x]`, `[[:alpha:]]` as sets of bytes, with git's reading of every odd form.

use super::Case;

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(super) const EMPTY: ByteSet = ByteSet([0; 4]);
    pub(super) const ALL: ByteSet = ByteSet([u64::MAX; 4]);

    /// The set and `byte`.
    pub(super) fn with(mut self, byte: u8) -> ByteSet {
        self.insert(byte);
        self
    }

    /// Whether the set holds `byte`.
    #[inline]
    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    /// Whether the set holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == ByteSet::EMPTY
    }

    /// The only member of the set, if it has exactly one.
    pub(super) fn only_member(&self) -> Option<u8> {
        let mut members = (0..=255).filter(|&byte| self.contains(byte));
        members.next().filter(|_| members.next().is_none())
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    /// Inserts `low..=high`; nothing when they are the wrong way round.
    fn insert_range(&mut self, low: u8, high: u8) {
        for (index, word) in self.0.iter_mut().enumerate() {
            let first = index * 64;
            let from = usize::from(low).max(first);
            let to = usize::from(high).min(first + 63);
            if from <= to {
                *word |= (u64::MAX >> (63 - (to - from))) << (from - first);
            }
        }
    }
}

/// The ranges of bytes that a POSIX class stands for: ASCII only, and without vertical tab and form feed in `space`,
/// as git has it.
fn posix_ranges(name: &[u8]) -> Option<&'static [(u8, u8)]> {
    Some(match name {
        b"alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        b"alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        b"blank" => &[(b' ', b' '), (b'\t', b'\t')],
        b"cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        b"digit" => &[(b'0', b'9')],
        b"graph" => &[(b'!', b'~')],
        b"lower" => &[(b'a', b'z')],
        b"print" => &[(b' ', b'~')],
        b"punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        b"space" => &[(b' ', b' '), (b'\t', b'\n'), (b'\r', b'\r')],
        b"upper" => &[(b'A', b'Z')],
        b"xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    })
}

/// Reads the bracket whose `[` is at `open`, and returns the bytes it accepts and the index after its `]`. `None` means
/// that nothing ever matches: the bracket is not closed, or it names an unknown class.
///
/// The set is to be asked about folded bytes. Folding is git's: single members are compared as written, so that under
/// [`Case::Insensitive`] an upper-case member is never met, while ranges and `[:upper:]` accept both cases.
pub(super) fn bracket(pattern: &[u8], open: usize, case: Case) -> Option<(ByteSet, usize)> {
    let mut at = open + 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let mut set = ByteSet::EMPTY;
    // The member before this one, if a range may start with it.
    let mut previous = None;
    // Where the last search for a `]` ended, so that a row of `[:` costs one search and not one each.
    let mut close = 0;
    loop {
        // A `]` in the first place is a member: the loop tests for the end after the body.
        let byte = *pattern.get(at)?;
        let range_end = pattern.get(at + 1).filter(|&&byte| byte != b']');
        match (byte, previous, range_end) {
            (b'\\', _, _) => {
                at += 1;
                let member = *pattern.get(at)?;
                set.insert(member);
                previous = Some(member);
            }
            (b'-', Some(low), Some(&end)) => {
                at += 1;
                let high = if end == b'\\' { *pattern.get(at + 1)? } else { end };
                at += usize::from(end == b'\\');
                insert_folded(&mut set, low, high, case);
                previous = None;
            }
            (b'[', _, Some(b':')) => {
                let name = at + 2;
                if close < name {
                    close = name + pattern[name..].iter().position(|&byte| byte == b']')?;
                }
                if close > name && pattern[close - 1] == b':' {
                    for &(low, high) in posix_ranges(&pattern[name..close - 1])? {
                        insert_folded(&mut set, low, high, case);
                    }
                    at = close;
                    previous = None;
                } else {
                    set.insert(b'[');
                    previous = Some(b'[');
                }
            }
            _ => {
                set.insert(byte);
                previous = Some(byte);
            }
        }
        at += 1;
        if pattern.get(at) == Some(&b']') {
            break;
        }
    }
    Some((finish(set, negated, case), at + 1))
}

/// Inserts a range; when case is folded, also the lower case of the upper-case letters in it.
fn insert_folded(set: &mut ByteSet, low: u8, high: u8, case: Case) {
    set.insert_range(low, high);
    let (upper_low, upper_high) = (low.max(b'A'), high.min(b'Z'));
    if case == Case::Insensitive && upper_low <= upper_high {
        set.insert_range(upper_low.to_ascii_lowercase(), upper_high.to_ascii_lowercase());
    }
}

/// Applies the negation, and drops what can never be asked for: a slash, a NUL, and upper case when it is folded.
fn finish(set: ByteSet, negated: bool, case: Case) -> ByteSet {
    let mut set = if negated { ByteSet(set.0.map(|word| !word)) } else { set };
    set.remove(0);
    set.remove(b'/');
    if case == Case::Insensitive {
        (b'A'..=b'Z').for_each(|byte| set.remove(byte));
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(pattern: &[u8], case: Case) -> Option<Vec<u8>> {
        let (set, end) = bracket(pattern, 0, case)?;
        assert_eq!(end, pattern.len(), "{}", pattern.escape_ascii());
        Some((0..=255).filter(|&byte| set.contains(byte)).collect())
    }

    #[test]
    fn brackets_hold_what_git_says() {
        let check = |pattern: &[u8], expect: Option<&[u8]>| {
            let found = members(pattern, Case::Sensitive);
            assert_eq!(found.as_deref(), expect, "{}", pattern.escape_ascii());
        };
        check(b"[abc]", Some(b"abc"));
        check(b"[a-c]", Some(b"abc"));
        check(b"[c-a]", Some(b"c"));
        check(b"[]a]", Some(b"]a"));
        check(b"[]-a]", Some(b"]^_`a"));
        check(b"[a-]", Some(b"-a"));
        check(b"[-a]", Some(b"-a"));
        check(b"[a-c-e]", Some(b"-abce"));
        check(b"[\\]]", Some(b"]"));
        check(b"[\\a-c]", Some(b"abc"));
        check(b"[a-\\c]", Some(b"abc"));
        check(b"[/]", Some(b""));
        check(b"[.-0]", Some(b".0"));
        check(b"[[:digit:]a]", Some(b"0123456789a"));
        check(b"[[:digit:]-a]", Some(b"-0123456789a"));
        check(b"[[:space:]]", Some(b"\t\n\r "));
        check(b"[[:]", Some(b":["));
        check(b"[[:a]", Some(b":[a"));
        check(b"[[:nope:]]", None);
        check(b"[[::]]", None);
        check(b"[a", None);
        check(b"[", None);
        check(b"[!", None);
        check(b"[]", None);
        check(b"[a\\", None);
        check(b"[a-\\", None);
        check(b"[[:alpha:", None);
    }

    #[test]
    fn negation_and_folding() {
        let all_but = |left_out: &[u8]| -> Option<Vec<u8>> {
            Some((1..=255).filter(|byte| *byte != b'/' && !left_out.contains(byte)).collect())
        };
        assert_eq!(members(b"[!a]", Case::Sensitive), all_but(b"a"));
        assert_eq!(members(b"[^!]", Case::Sensitive), all_but(b"!"));
        assert_eq!(members(b"[!]a]", Case::Sensitive), all_but(b"]a"));
        assert_eq!(members(b"[A]", Case::Insensitive), Some(vec![]));
        assert_eq!(members(b"[a]", Case::Insensitive), Some(b"a".to_vec()));
        assert_eq!(members(b"[A-C]", Case::Insensitive), Some(b"abc".to_vec()));
        assert_eq!(members(b"[Y-b]", Case::Insensitive), Some(b"[\\]^_`abyz".to_vec()));
        assert_eq!(members(b"[[:upper:]]", Case::Insensitive), Some((b'a'..=b'z').collect()));
    }

    #[test]
    fn ranges_fill_words_exactly() {
        for (low, high) in [(0, 255), (63, 64), (0, 0), (255, 255), (100, 99), (1, 62), (127, 128)] {
            let mut set = ByteSet::EMPTY;
            set.insert_range(low, high);
            let expect = (0..=255).filter(|byte| (low..=high).contains(byte)).count();
            assert_eq!((0..=255).filter(|&byte| set.contains(byte)).count(), expect, "{low}..={high}");
        }
    }

    #[test]
    fn a_row_of_open_classes_is_read_once() {
        let mut pattern = b"[".to_vec();
        pattern.extend(b"[:".repeat(1 << 20));
        pattern.extend(b"x]");
        // Quadratic work would be 10^12 steps here.
        assert_eq!(members(&pattern, Case::Sensitive), Some(b":[x".to_vec()));
    }
}
