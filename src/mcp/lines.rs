//! Lines of a file on disk, bounded in number and in bytes. What is cut is said.

use leindex_engine::Hit;
use leindex_engine::text::encoding::{Decoded, decode};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Take};

/// Longer lines are cut to this. Bytes.
pub(crate) const LINE_BYTES_MAX: usize = 2000;
/// So much is looked at behind the last line that is wanted, to say how many lines there are.
const LOOK_ON_BYTES: u64 = 8 << 20;
/// A file up to this size is decoded as a whole, as it is for the index. Bytes.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
/// A file in UTF-16 is decoded as a whole, up to this size. Bytes.
const DECODED_BYTES_MAX: u64 = 64 << 20;
/// A NUL among so many bytes at its beginning makes a file binary.
const BINARY_WITHIN: usize = 8 << 10;

/// Some lines of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Number and text.
    pub(crate) lines: Vec<(u64, String)>,
    /// How many of them were cut.
    pub(crate) cut: u64,
    /// Lines of the whole file.
    pub(crate) total: u64,
    /// Whether there are more than `total`.
    pub(crate) is_lower_bound: bool,
    /// Whether the bytes were used up before the last line that was asked for.
    pub(crate) is_full: bool,
}

/// Reads the lines from `first` to `last`, counted from 1, with at most `bytes` of text in all.
pub(crate) fn read(file: File, first: u64, last: u64, bytes: usize) -> io::Result<Lines> {
    let mut input = open(file)?.take(u64::MAX);
    let mut found = Lines::default();
    let mut used = 0;
    let mut is_looking_on = false;
    loop {
        let number = found.total + 1;
        let is_wanted = (first..=last).contains(&number) && !found.is_full;
        if !is_looking_on && (number >= last || found.is_full) {
            is_looking_on = true;
            input.set_limit(LOOK_ON_BYTES);
        }
        let keep = if is_wanted { LINE_BYTES_MAX } else { 0 };
        let Some((line, was_cut)) = next_line(&mut input, keep)? else { break };
        found.total = number;
        if !is_wanted {
            continue;
        }
        if used + line.len() > bytes && !found.lines.is_empty() {
            found.is_full = true;
            continue;
        }
        used += line.len() + 1;
        found.cut += u64::from(was_cut);
        found.lines.push((number, text_of(line, was_cut)));
    }
    found.is_lower_bound = input.limit() == 0 && !input.get_mut().fill_buf()?.is_empty();
    Ok(found)
}

/// The text of a file, decoded, up to about `most` bytes of it, and whether there is more.
pub(crate) fn text(file: File, most: usize) -> io::Result<(String, bool)> {
    check(&file)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > most;
    if is_cut {
        bytes.truncate(most & !1);
        // A character that is torn is no reason to take the text for another encoding.
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            bytes.truncate(error.valid_up_to());
        }
    }
    Ok((decoded(&bytes)?, is_cut))
}

fn decoded(bytes: &[u8]) -> io::Result<String> {
    match decode(bytes, &mut String::new()) {
        Decoded::Text { text, .. } => Ok(text.to_owned()),
        Decoded::Binary => Err(io::Error::other("is a binary file")),
    }
}

/// Refuses what is no regular file; its size.
fn check(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(metadata.len())
}

/// A file as text in UTF-8; in large ones, lines may be ISO-8859-1.
fn open(file: File) -> io::Result<Box<dyn BufRead>> {
    let len = check(&file)?;
    let mut input = BufReader::with_capacity(64 << 10, file);
    let start = input.fill_buf()?;
    let is_utf16 = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    if is_utf16 && len > DECODED_BYTES_MAX {
        return Err(io::Error::other("is too large to be decoded from UTF-16"));
    }
    if is_utf16 || len <= WHOLE_BYTES_MAX {
        let mut bytes = Vec::new();
        input.take(DECODED_BYTES_MAX).read_to_end(&mut bytes)?;
        return Ok(Box::new(Cursor::new(decoded(&bytes)?)));
    }
    if memchr::memchr(0, &start[..start.len().min(BINARY_WITHIN)]).is_some() {
        return Err(io::Error::other("is a binary file"));
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    Ok(Box::new(input))
}

/// A line as text: what is not UTF-8 is ISO-8859-1, whose bytes are the characters. A character that was cut is left out.
fn text_of(mut line: Vec<u8>, was_cut: bool) -> String {
    if let Err(error) = std::str::from_utf8(&line)
        && was_cut
        && error.error_len().is_none()
    {
        line.truncate(error.valid_up_to());
    }
    String::from_utf8(line).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

/// The next line without its end, cut to `most` bytes, and whether it was; `None` at the end.
fn next_line(input: &mut Take<Box<dyn BufRead>>, most: usize) -> io::Result<Option<(Vec<u8>, bool)>> {
    let (mut line, mut len, mut any) = (Vec::new(), 0, false);
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            break;
        }
        any = true;
        let end = memchr::memchr(b'\n', available);
        let taken = &available[..end.unwrap_or(available.len())];
        line.extend_from_slice(&taken[..taken.len().min(most - line.len())]);
        len += taken.len();
        let consumed = end.map_or(taken.len(), |end| end + 1);
        input.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    if line.len() == len && line.last() == Some(&b'\r') {
        line.pop();
        len -= 1;
    }
    Ok(any.then(|| {
        let was_cut = len > line.len();
        (line, was_cut)
    }))
}

/// The line of a hit, cut to `most` bytes, and whether that is not all of it.
pub(crate) fn of_hit(hit: &Hit, most: usize) -> (Cow<'_, str>, bool) {
    // The text of a hit may be a part of its line already.
    let (text, was_cut) = around(&hit.text, hit.column.saturating_sub(hit.text_start), most);
    (text, was_cut || hit.cut)
}

/// A line with its match in sight, cut to `most` bytes, and whether it was cut. `column` is that of the match, from 1.
pub(crate) fn around(text: &str, column: u64, most: usize) -> (Cow<'_, str>, bool) {
    if text.len() <= most {
        return (text.into(), false);
    }
    let at = usize::try_from(column.saturating_sub(1)).unwrap_or(0).min(text.len());
    let mut start = at.saturating_sub(most / 4).min(text.len() - most);
    let mut end = start + most;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
    (format!("{before}{}{after}", &text[start..end]).into(), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    fn lines(content: &[u8], first: u64, last: u64, bytes: usize) -> Lines {
        read(file(content), first, last, bytes).unwrap()
    }

    #[test]
    fn the_lines_asked_for() {
        let found = lines(b"a\r\nb\nc", 2, 9, 99);
        assert_eq!(found.lines, [(2, "b".to_owned()), (3, "c".to_owned())]);
        assert_eq!((found.total, found.cut, found.is_full), (3, 0, false));
        assert_eq!(lines(b"", 1, 9, 99), Lines::default());
        assert_eq!(lines(b"\xef\xbb\xbfx\xff\n", 1, 1, 99).lines, [(1, "x\u{ff}".to_owned())]);
        assert_eq!(lines(b"caf\xe9\n\xc3\xa9\n", 2, 2, 99).lines, [(2, "\u{c3}\u{a9}".to_owned())]);
        assert_eq!(lines(b"\xff\xfea\0\n\0b\0", 2, 2, 99).lines, [(2, "b".to_owned())]);
    }

    #[test]
    fn what_is_too_much_is_cut_and_said() {
        let found = lines(b"aaaa\nbbbb\ncc\n", 1, 3, 6);
        assert_eq!(found.lines, [(1, "aaaa".to_owned())]);
        assert!(found.is_full && found.total == 3);
        let long = "x".repeat(200_000);
        let found = lines(format!("{long}\nend\n").as_bytes(), 1, 2, 5000);
        assert_eq!((found.cut, found.total, found.lines[0].1.len()), (1, 2, LINE_BYTES_MAX));
        assert!(read(file(b"a\0b"), 1, 1, 9).unwrap_err().to_string().contains("binary"));
        assert!(read(File::open("/").unwrap(), 1, 1, 9).unwrap_err().to_string().contains("directory"));
    }

    #[test]
    fn of_a_large_file_only_a_part_is_read() {
        let large = "0123456789abcde\n".repeat((LOOK_ON_BYTES / 16) as usize * 2);
        let found = lines(large.as_bytes(), 2, 3, 99);
        assert_eq!((found.lines.len(), found.is_lower_bound), (2, true));
        assert_eq!(found.total, 2 + LOOK_ON_BYTES / 16);
        let found = lines(large.as_bytes(), found.total, u64::MAX, 1 << 30);
        assert_eq!((found.total, found.is_lower_bound), (LOOK_ON_BYTES / 8, false));
        let full = lines(large.as_bytes(), 1, u64::MAX, 99);
        assert!(full.is_full && full.is_lower_bound && full.total < 20 + LOOK_ON_BYTES / 16, "{}", full.total);
        // One line that never ends.
        let found = lines("x".repeat(large.len()).as_bytes(), 1, 1, 99);
        assert_eq!((found.total, found.cut, found.is_lower_bound), (1, 1, true));
        // Large files are decoded line by line.
        let found = lines(format!("{large}\u{e9}\n").as_bytes(), LOOK_ON_BYTES / 8 + 1, u64::MAX, 99);
        assert_eq!(found.lines, [(LOOK_ON_BYTES / 8 + 1, "\u{e9}".to_owned())]);
        assert_eq!(lines(&[large.as_bytes(), b"\xe9"].concat(), LOOK_ON_BYTES / 8 + 1, u64::MAX, 99).lines.len(), 1);
        assert_eq!(text_of(b"caf\xe9".to_vec(), false), "caf\u{e9}");
        assert_eq!(text_of(b"a\xc3".to_vec(), true), "a");
    }

    #[test]
    fn texts_are_as_they_are() {
        let of = |content: &[u8], most| text(file(content), most).unwrap();
        assert_eq!(of(b"a\r\nb", 99), ("a\r\nb".into(), false));
        assert_eq!(of(b"caf\xe9", 4), ("caf\u{e9}".into(), false));
        assert_eq!(of("aa\u{e9}\u{e9}".as_bytes(), 4), ("aa\u{e9}".into(), true));
        assert_eq!(of("a\u{e9}\u{e9}".as_bytes(), 4), ("a\u{e9}".into(), true));
        assert_eq!(of(b"\xff\xfea\0b\0", 5), ("a".into(), true));
        assert!(text(file(b"a\0b"), 9).is_err());
    }

    #[test]
    fn the_match_stays_in_sight() {
        assert_eq!(around("short", 3, 10), ("short".into(), false));
        let long = format!("{}needle{}", "ä".repeat(100), "ö".repeat(100));
        let (shown, cut) = around(&long, 201, 40);
        assert!(cut && shown.contains("needle") && shown.len() <= 40 + 6, "{shown}");
        assert!(around(&long, 1, 40).0.starts_with('ä'));
        assert!(around(&long, 9999, 40).0.ends_with('ö'));
    }
}
