//! Lines of a file on disk, bounded in number and in bytes. What is cut is said.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// Longer lines are cut to this. Bytes.
pub(crate) const LINE_BYTES_MAX: usize = 2000;
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
    /// Whether the bytes were used up before the last line that was asked for.
    pub(crate) is_full: bool,
}

/// Reads the lines from `first` to `last`, counted from 1, with at most `bytes` of text in all.
pub(crate) fn read(path: &Path, first: u64, last: u64, bytes: usize) -> io::Result<Lines> {
    let mut input = open(path)?;
    let mut found = Lines::default();
    let mut used = 0;
    loop {
        let number = found.total + 1;
        let is_wanted = (first..=last).contains(&number) && !found.is_full;
        let keep = if is_wanted { LINE_BYTES_MAX } else { 0 };
        let Some((line, was_cut)) = next_line(&mut input, keep)? else { return Ok(found) };
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
        found.lines.push((number, String::from_utf8_lossy(&line).into_owned()));
    }
}

/// Opens a regular file as text in UTF-8. Others are refused before they are opened: a FIFO would wait for ever.
fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut input = BufReader::with_capacity(64 << 10, File::open(path)?);
    let start = input.fill_buf()?;
    if let Some((encoding, _)) = encoding_rs::Encoding::for_bom(start).filter(|(found, _)| *found != encoding_rs::UTF_8)
    {
        if metadata.len() > DECODED_BYTES_MAX {
            return Err(io::Error::other("is too large to be decoded from UTF-16"));
        }
        let mut bytes = Vec::new();
        input.take(DECODED_BYTES_MAX).read_to_end(&mut bytes)?;
        return Ok(Box::new(Cursor::new(encoding.decode(&bytes).0.into_owned())));
    }
    if memchr::memchr(0, &start[..start.len().min(BINARY_WITHIN)]).is_some() {
        return Err(io::Error::other("is a binary file"));
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    Ok(Box::new(input))
}

/// The next line without its end, cut to `most` bytes, and whether it was; `None` at the end.
fn next_line(input: &mut impl BufRead, most: usize) -> io::Result<Option<(Vec<u8>, bool)>> {
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

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn lines(content: &[u8], first: u64, last: u64, bytes: usize) -> Lines {
        read(file(content).path(), first, last, bytes).unwrap()
    }

    #[test]
    fn the_lines_asked_for() {
        let found = lines(b"a\r\nb\nc", 2, 9, 99);
        assert_eq!(found.lines, [(2, "b".to_owned()), (3, "c".to_owned())]);
        assert_eq!((found.total, found.cut, found.is_full), (3, 0, false));
        assert_eq!(lines(b"", 1, 9, 99), Lines::default());
        assert_eq!(lines(b"\xef\xbb\xbfx\xff\n", 1, 1, 99).lines, [(1, "x\u{fffd}".to_owned())]);
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
        assert!(read(file(b"a\0b").path(), 1, 1, 9).unwrap_err().to_string().contains("binary"));
        assert!(read(Path::new("/"), 1, 1, 9).unwrap_err().to_string().contains("directory"));
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
