//! Cuts a text into chunks: what gets a vector of its own.
//!
//! A chunk is a window of whole lines. It ends before a definition where the caller knows where definitions begin, else
//! preferably after a blank line. Windows do not overlap, so that an edit changes the chunk it is in and perhaps the next.

use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Lines of a chunk at most.
pub(crate) const CHUNK_LINES_MAX: usize = 40;
/// Bytes of a chunk at most: 40 lines of source have about 1,100, of which a model of 256 tokens sees most.
pub(crate) const CHUNK_BYTES_MAX: usize = 1500;
/// A definition begins a new chunk when the one before has this many bytes: smaller ones say too little to be found.
const CHUNK_BYTES_MIN: usize = 300;
/// Lines above a definition that are looked at for its comment.
const COMMENT_LINES_MAX: usize = 24;
/// Chunks of a file at most. 256 are about 300 KB; what has more is a table in most cases, and is said to be cut.
pub(crate) const FILE_CHUNKS_MAX: usize = 256;

/// A window of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Where it lies in the text.
    pub(crate) bytes: Range<usize>,
    /// Its first line, from 0.
    pub(crate) line: u32,
    /// How many lines it has, or has a part of.
    pub(crate) lines: u32,
}

/// What identifies the content of a chunk: equal chunks have equal vectors, wherever they are.
pub(crate) fn content_hash(chunk: &str) -> u64 {
    xxh3_64(chunk.as_bytes())
}

/// The chunks of a text, in order, and whether there are more than a file may have. `definitions` are the lines, from 0 and
/// sorted, at which something is defined. Chunks without a letter or digit are left out.
pub(crate) fn chunks(text: &str, definitions: &[u32]) -> (Vec<Chunk>, bool) {
    let mut cutter = Cutter { text, found: Vec::new(), start: 0, line: 0, good_cut: None };
    let mut definitions = definitions.iter().copied().peekable();
    let mut at = 0;
    // Where the block of lines begins that goes on to the current line, if it holds no definition yet.
    let mut block = Some((0, 0));
    let mut after_blank = false;
    let mut lines = 0;
    for (number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        let blank = line.trim_ascii().is_empty();
        if after_blank && !blank {
            block = Some((at, number));
            cutter.may_cut(at, number);
        }
        if definitions.next_if(|line| *line <= number).is_some() {
            while definitions.next_if(|line| *line <= number).is_some() {}
            // With the comment above it; not with the definition above it.
            let comment = block.take().filter(|&(_, first)| (number - first) as usize <= COMMENT_LINES_MAX);
            cutter.cut_for_definition(comment.unwrap_or((at, number)));
        }
        cutter.add(line, at, number);
        if cutter.is_full() {
            break;
        }
        at += line.len();
        lines = number + 1;
        after_blank = blank;
    }
    if !cutter.is_full() {
        cutter.cut(at, lines);
    }
    let more = cutter.found.len() > FILE_CHUNKS_MAX;
    cutter.found.truncate(FILE_CHUNKS_MAX);
    (cutter.found, more)
}

struct Cutter<'t> {
    text: &'t str,
    found: Vec<Chunk>,
    /// Where the current chunk begins.
    start: usize,
    line: u32,
    /// The last place in the second half of a chunk where a block of lines ends.
    good_cut: Option<(usize, u32)>,
}

impl Cutter<'_> {
    /// Whether there is more than there may be.
    fn is_full(&self) -> bool {
        self.found.len() > FILE_CHUNKS_MAX
    }

    /// A line begins at `at` that follows a blank one.
    fn may_cut(&mut self, at: usize, line: u32) {
        let half = at - self.start >= CHUNK_BYTES_MAX / 2 || (line - self.line) as usize >= CHUNK_LINES_MAX / 2;
        if half {
            self.good_cut = Some((at, line));
        }
    }

    fn cut_for_definition(&mut self, (at, line): (usize, u32)) {
        if at >= self.start + CHUNK_BYTES_MIN {
            self.cut(at, line);
        }
    }

    /// Takes the line in, after a cut if there is no room for it.
    fn add(&mut self, line: &str, at: usize, number: u32) {
        let end = at + line.len();
        while self.start < at
            && (end - self.start > CHUNK_BYTES_MAX || (number - self.line) as usize >= CHUNK_LINES_MAX)
        {
            let (cut, line) = self.good_cut.take().unwrap_or((at, number));
            self.cut(cut, line);
        }
        // A line that is longer than a chunk is cut where characters end.
        while end - self.start > CHUNK_BYTES_MAX && !self.is_full() {
            let mut cut = self.start + CHUNK_BYTES_MAX;
            while !self.text.is_char_boundary(cut) {
                cut -= 1;
            }
            self.push(cut, number + 1);
            (self.start, self.line) = (cut, number);
        }
    }

    /// Ends the current chunk at `at`, where the line with this number begins.
    fn cut(&mut self, at: usize, line: u32) {
        self.push(at, line);
        (self.start, self.line, self.good_cut) = (at, line, None);
    }

    fn push(&mut self, end: usize, end_line: u32) {
        let chunk = &self.text[self.start..end];
        if chunk.bytes().any(|byte| byte.is_ascii_alphanumeric() || byte >= 0x80) {
            self.found.push(Chunk { bytes: self.start..end, line: self.line, lines: end_line - self.line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts<'t>(text: &'t str, definitions: &[u32]) -> Vec<&'t str> {
        chunks(text, definitions).0.into_iter().map(|chunk| &text[chunk.bytes]).collect()
    }

    fn lines(count: usize) -> String {
        (0..count).map(|line| format!("line {line}\n")).collect()
    }

    #[test]
    fn a_small_text_is_one_chunk() {
        assert_eq!(texts("fn main() {}\n", &[0]), ["fn main() {}\n"]);
        assert_eq!(texts("no newline", &[]), ["no newline"]);
        assert!(texts("", &[]).is_empty());
        assert!(texts("\n\n{ }\n", &[]).is_empty(), "nothing to find it by");
    }

    #[test]
    fn windows_end_after_so_many_lines() {
        let text = lines(100);
        let (found, more) = chunks(&text, &[]);
        assert_eq!(
            found.iter().map(|chunk| (chunk.line, chunk.lines)).collect::<Vec<_>>(),
            [(0, 40), (40, 40), (80, 20)]
        );
        assert!(!more);
    }

    #[test]
    fn blocks_of_lines_stay_together() {
        let text = format!("{}\n{}", lines(30), lines(30));
        assert_eq!(texts(&text, &[]), [format!("{}\n", lines(30)), lines(30)]);
    }

    #[test]
    fn definitions_begin_chunks_with_their_comments() {
        let body = "    body of the function;\n".repeat(16);
        let one = format!("fn one() {{\n{body}}}\n\n");
        let two = format!("/// Says what two is.\n#[inline]\nfn two() {{\n{body}}}\n");
        let text = format!("{one}{two}fn three() {{}}\n");
        let definitions = [0, 21, 39];
        assert_eq!(text.lines().nth(21), Some("fn two() {"));
        assert_eq!(text.lines().nth(39), Some("fn three() {}"));
        assert_eq!(texts(&text, &definitions), [one, two, "fn three() {}\n".to_owned()]);
    }

    #[test]
    fn small_definitions_share_a_chunk() {
        let text = "fn a() {}\nfn b() {}\nfn c() {}\n";
        assert_eq!(texts(text, &[0, 1, 2]), [text]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let text = format!("x{}\nafter\n", "é".repeat(2000));
        let found = texts(&text, &[]);
        assert_eq!(found.concat(), text);
        assert!(found.len() >= 3 && found.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX), "{found:?}");
    }

    #[test]
    fn a_table_is_cut_and_said_to_be() {
        let text = lines(40 * (FILE_CHUNKS_MAX + 1));
        let (found, more) = chunks(&text, &[]);
        assert_eq!((found.len(), more), (FILE_CHUNKS_MAX, true));
        let exactly = &text[..found[FILE_CHUNKS_MAX - 1].bytes.end];
        assert_eq!((chunks(exactly, &[]).0.len(), chunks(exactly, &[]).1), (FILE_CHUNKS_MAX, false));
        let one_line = "x".repeat(CHUNK_BYTES_MAX * (FILE_CHUNKS_MAX + 9));
        assert!(chunks(&one_line, &[]).1);
    }

    proptest! {
        #[test]
        fn chunks_are_within_bounds_and_leave_only_blanks_out(
            parts in prop::collection::vec(("[ -~é]{0,60}", 0usize..30), 0..120),
            definitions in prop::collection::btree_set(0u32..130, 0..40),
        ) {
            let text: String = parts.iter().map(|(line, times)| format!("{}\n", line.repeat(*times))).collect();
            let definitions: Vec<u32> = definitions.into_iter().collect();
            let (found, more) = chunks(&text, &definitions);
            prop_assert!(!more);
            let mut at = 0;
            for chunk in &found {
                prop_assert!(chunk.bytes.start >= at && chunk.bytes.len() <= CHUNK_BYTES_MAX);
                prop_assert!((1..=CHUNK_LINES_MAX as u32).contains(&chunk.lines), "{chunk:?}");
                let skipped = &text[at..chunk.bytes.start];
                prop_assert!(!skipped.bytes().any(|byte| byte.is_ascii_alphanumeric() || byte >= 0x80));
                let before = text[..chunk.bytes.start].matches('\n').count();
                prop_assert_eq!(chunk.line as usize, before);
                at = chunk.bytes.end;
            }
            prop_assert!(!text[at..].bytes().any(|byte| byte.is_ascii_alphanumeric() || byte >= 0x80));
        }
    }
}
