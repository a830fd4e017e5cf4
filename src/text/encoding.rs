//! Turns the bytes of a file into text, or says that they are not text.
//!
//! Owns the binary verdict, the choice of encoding and the decoding. Knows nothing of files, terms or languages.
//!
//! The verdict, in order:
//!
//! 1. A UTF-16 byte order mark (`FF FE` or `FE FF`): decoded, each invalid sequence becoming U+FFFD. UTF-16
//!    without a mark is full of NULs and therefore binary, for git and ripgrep as well.
//! 2. A NUL within the first [`BINARY_PREFIX_BYTES`]: binary. Decoded UTF-16 is held to the same rule, so that a
//!    binary format or UTF-32 that happens to begin like a mark is not indexed as noise.
//! 3. Valid UTF-8: text, borrowed from the input. A UTF-8 byte order mark is stripped.
//! 4. Not UTF-8, with a NUL anywhere: binary.
//! 5. Not UTF-8, without a NUL: ISO-8859-1.
//!
//! How this differs from others for a NUL *after* the prefix: git calls the file text and looks no further; ripgrep
//! stops at the NUL. Here a file that is valid UTF-8 all the same stays text to its last byte (a log with a stray
//! NUL is not cut off silently), and one that is not (a script with an archive behind it, a PDF) is binary, or its
//! compressed bytes would fill the vocabulary. The rule costs nothing on the hot path: only what failed the UTF-8
//! check is searched a second time.

use encoding_rs::CoderResult;
use memchr::{memchr, memmem};

/// A NUL within this many bytes makes a file binary. git looks at 8,000 bytes.
pub const BINARY_PREFIX_BYTES: usize = 8 * 1024;

/// [`decode`] gives the capacity of its scratch beyond this back on the next call.
pub const SCRATCH_BYTES_KEPT: usize = 1 << 20;

/// ISO-8859-1 is decoded in pieces of this many bytes, through a buffer of twice the size on the stack.
const LATIN1_PIECE_BYTES: usize = 2 * 1024;

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
const UTF16_LE_BOM: &[u8] = b"\xff\xfe";
const UTF16_BE_BOM: &[u8] = b"\xfe\xff";

/// How the bytes of a text file encode its characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Encoding {
    /// UTF-8, ASCII included.
    Utf8 = 0,
    /// UTF-16, low byte first, with a byte order mark.
    Utf16Le = 1,
    /// UTF-16, high byte first, with a byte order mark.
    Utf16Be = 2,
    /// ISO-8859-1: the byte is the code point. What is neither UTF-8 nor UTF-16 is read so, whatever it was meant as.
    ///
    /// The real ISO-8859-1 and not windows-1252, so that 80..=9F are C1 controls: each byte from 80 on becomes
    /// one character of two bytes, positions map both ways by counting, and nothing is lost.
    Latin1 = 3,
}

impl Encoding {
    /// The code stored on disk. It never changes between releases.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The encoding of a stored code; `None` for one that this release does not know.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Utf8),
            1 => Some(Self::Utf16Le),
            2 => Some(Self::Utf16Be),
            3 => Some(Self::Latin1),
            _ => None,
        }
    }

    /// The name in lower case: `utf-8`, `utf-16le`, `utf-16be`, `iso-8859-1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Latin1 => "iso-8859-1",
        }
    }
}

/// What [`decode`] made of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Not text: not to be searched.
    Binary,
    /// Text.
    Text {
        /// The encoding of the bytes.
        encoding: Encoding,
        /// The characters, without a byte order mark: a part of the input for UTF-8, else of the scratch.
        text: &'a str,
        /// Whether the bytes began with a byte order mark.
        had_bom: bool,
    },
}

/// Decodes the whole content of a file; the module's head has the rules.
///
/// UTF-8 is borrowed from `bytes`, after one search of its first 8 KiB and one validation. Every other encoding is
/// written to `scratch`, whose content is lost. A scratch is meant to be kept from file to file by one worker. It
/// grows to what a file needs (up to 2 x its bytes for ISO-8859-1, 1.5 x for UTF-16), and the next call gives back
/// what exceeds [`SCRATCH_BYTES_KEPT`]; a caller that goes idle may drop it.
///
/// In ISO-8859-1 and UTF-8 alike a byte is below 80 exactly if its character is ASCII, so runs of letters have the same
/// bounds before and after.
#[must_use]
pub fn decode<'a>(bytes: &'a [u8], scratch: &'a mut String) -> Decoded<'a> {
    if scratch.capacity() > SCRATCH_BYTES_KEPT {
        scratch.clear();
        scratch.shrink_to(SCRATCH_BYTES_KEPT);
    }
    if let Some(rest) = bytes.strip_prefix(UTF16_LE_BOM) {
        return utf16(rest, Encoding::Utf16Le, scratch);
    }
    if let Some(rest) = bytes.strip_prefix(UTF16_BE_BOM) {
        return utf16(rest, Encoding::Utf16Be, scratch);
    }
    let (body, had_bom) = match bytes.strip_prefix(UTF8_BOM) {
        Some(rest) => (rest, true),
        None => (bytes, false),
    };
    if has_nul_in_prefix(body) {
        return Decoded::Binary;
    }
    if let Ok(text) = simdutf8::basic::from_utf8(body) {
        return Decoded::Text { encoding: Encoding::Utf8, text, had_bom };
    }
    if memchr(0, body).is_some() {
        return Decoded::Binary;
    }
    decode_latin1(body, scratch);
    Decoded::Text { encoding: Encoding::Latin1, text: scratch, had_bom }
}

/// Whether `text` holds a character outside ASCII that case folding equates with an ASCII letter: U+212A KELVIN SIGN
/// (with `k`) or U+017F LATIN SMALL LETTER LONG S (with `s`). There are no others.
///
/// ASCII text, the common case, costs one pass that finds nothing.
#[must_use]
pub fn has_folding_chars(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let bytes = text.as_bytes();
    memmem::find(bytes, "\u{212a}".as_bytes()).is_some() || memmem::find(bytes, "\u{17f}".as_bytes()).is_some()
}

fn has_nul_in_prefix(bytes: &[u8]) -> bool {
    let prefix = bytes.get(..BINARY_PREFIX_BYTES).unwrap_or(bytes);
    memchr(0, prefix).is_some()
}

/// `bytes` follow the byte order mark.
fn utf16<'a>(bytes: &[u8], encoding: Encoding, scratch: &'a mut String) -> Decoded<'a> {
    decode_utf16(bytes, encoding, scratch);
    let text: &'a str = scratch;
    if has_nul_in_prefix(text.as_bytes()) {
        return Decoded::Binary;
    }
    Decoded::Text { encoding, text, had_bom: true }
}

fn decode_utf16(bytes: &[u8], encoding: Encoding, scratch: &mut String) {
    let kind = match encoding {
        Encoding::Utf16Be => encoding_rs::UTF_16BE,
        _ => encoding_rs::UTF_16LE,
    };
    let mut decoder = kind.new_decoder_without_bom_handling();
    let mut rest = bytes;
    scratch.clear();
    loop {
        // Enough for what is ASCII; other text comes round again for the remainder. The decoder makes no progress
        // in less than a few bytes, so there is always a little more than that.
        scratch.reserve(rest.len() / 2 + 64);
        let (result, read, _lossy) = decoder.decode_to_string(rest, scratch, true);
        rest = rest.get(read..).unwrap_or_default();
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

fn decode_latin1(bytes: &[u8], scratch: &mut String) {
    let mut piece_utf8 = [0_u8; 2 * LATIN1_PIECE_BYTES];
    scratch.clear();
    scratch.reserve(bytes.len() + bytes.len() / 8);
    for piece in bytes.chunks(LATIN1_PIECE_BYTES) {
        let written = encoding_rs::mem::convert_latin1_to_utf8(piece, &mut piece_utf8);
        let utf8 = piece_utf8.get(..written).unwrap_or_default();
        // The conversion only writes UTF-8; checking it again is what it costs to do without unsafe code.
        if let Ok(text) = simdutf8::basic::from_utf8(utf8) {
            scratch.push_str(text);
        } else {
            debug_assert!(false, "ISO-8859-1 was converted to invalid UTF-8");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Some((encoding, text, had_bom))` of a text, `None` of a binary.
    fn check(bytes: &[u8], expect: Option<(Encoding, &str, bool)>) {
        let mut scratch = String::from("left over");
        let got = match decode(bytes, &mut scratch) {
            Decoded::Binary => None,
            Decoded::Text { encoding, text, had_bom } => Some((encoding, text, had_bom)),
        };
        assert_eq!(got, expect, "{:?}", &bytes[..bytes.len().min(64)]);
    }

    fn utf16_le(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        UTF16_LE_BOM.iter().copied().chain(units).collect()
    }

    fn utf16_be(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_be_bytes);
        UTF16_BE_BOM.iter().copied().chain(units).collect()
    }

    #[test]
    fn utf8_is_borrowed() {
        check(b"", Some((Encoding::Utf8, "", false)));
        check(b"int main;\n", Some((Encoding::Utf8, "int main;\n", false)));
        check("na\u{ef}ve \u{1f980}".as_bytes(), Some((Encoding::Utf8, "na\u{ef}ve \u{1f980}", false)));
        let bytes = b"borrowed".to_vec();
        let mut scratch = String::new();
        let Decoded::Text { text, .. } = decode(&bytes, &mut scratch) else {
            panic!("text");
        };
        assert_eq!(text.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn byte_order_marks_are_stripped() {
        check(b"\xef\xbb\xbf", Some((Encoding::Utf8, "", true)));
        check(b"\xef\xbb\xbfhi", Some((Encoding::Utf8, "hi", true)));
        check(b"\xef\xbb\xbf\xef\xbb\xbfhi", Some((Encoding::Utf8, "\u{feff}hi", true)));
        check(b"\xef\xbb\xbfh\xff", Some((Encoding::Latin1, "h\u{ff}", true)));
        check(b"\xef\xbb", Some((Encoding::Latin1, "\u{ef}\u{bb}", false)));
        check(b"\xff\xfe", Some((Encoding::Utf16Le, "", true)));
        check(b"\xfe\xff", Some((Encoding::Utf16Be, "", true)));
        check(b"\xff", Some((Encoding::Latin1, "\u{ff}", false)));
    }

    #[test]
    fn utf16_is_decoded_both_ways() {
        for text in ["int", "\u{20ac}uro \u{1f980}", "\u{4e2d}\u{6587}", "\r\n\u{7f}\u{80}"] {
            check(&utf16_le(text), Some((Encoding::Utf16Le, text, true)));
            check(&utf16_be(text), Some((Encoding::Utf16Be, text, true)));
        }
        // Text that needs three bytes a unit outgrows the first reservation.
        let long = "\u{4e2d}a".repeat(50_000);
        check(&utf16_le(&long), Some((Encoding::Utf16Le, &long, true)));
        check(&utf16_be(&long), Some((Encoding::Utf16Be, &long, true)));
    }

    #[test]
    fn invalid_utf16_is_replaced() {
        check(b"\xff\xfea\0b", Some((Encoding::Utf16Le, "a\u{fffd}", true)));
        check(b"\xff\xfe\x00\xd8a\0", Some((Encoding::Utf16Le, "\u{fffd}a", true)));
        check(b"\xfe\xff\xdc\x00\0a", Some((Encoding::Utf16Be, "\u{fffd}a", true)));
        let lone = [UTF16_LE_BOM, &b"\x00\xd8".repeat(10_000)].concat();
        let text = "\u{fffd}".repeat(10_000);
        check(&lone, Some((Encoding::Utf16Le, &text, true)));
    }

    #[test]
    fn utf16_with_nul_characters_and_utf32_are_binary() {
        check(&utf16_le("a\0b"), None);
        check(&utf16_be("a\0b"), None);
        check(b"\xff\xfe\0\0a\0\0\0", None);
        check(b"\0\0\xfe\xff\0\0\0a", None);
        check(b"a\0b\0", None);
    }

    #[test]
    fn a_nul_in_the_prefix_is_binary() {
        check(b"\0", None);
        check(b"text\0", None);
        check(b"\xef\xbb\xbf\0", None);
        check(b"\x7fELF\x02\x01\x01\0", None);
        let mut bytes = vec![b'a'; BINARY_PREFIX_BYTES + 10];
        bytes[BINARY_PREFIX_BYTES - 1] = 0;
        check(&bytes, None);
    }

    #[test]
    fn a_later_nul_is_binary_only_if_the_rest_is_no_utf8() {
        let mut bytes = vec![b'a'; 2 * BINARY_PREFIX_BYTES];
        bytes[BINARY_PREFIX_BYTES] = 0;
        let text = String::from_utf8(bytes.clone()).expect("ASCII");
        check(&bytes, Some((Encoding::Utf8, &text, false)));
        bytes[BINARY_PREFIX_BYTES + 1] = 0xff;
        check(&bytes, None);
        bytes[BINARY_PREFIX_BYTES] = b'a';
        let text: String = bytes.iter().copied().map(char::from).collect();
        check(&bytes, Some((Encoding::Latin1, &text, false)));
    }

    #[test]
    fn latin1_maps_every_byte_and_keeps_the_bounds_of_runs() {
        let bytes: Vec<u8> = (1..=255).collect();
        let text: String = bytes.iter().copied().map(char::from).collect();
        check(&bytes, Some((Encoding::Latin1, &text, false)));
        for (byte, character) in bytes.iter().zip(text.chars()) {
            assert_eq!(byte.is_ascii(), character.is_ascii());
            assert_eq!(character.len_utf8(), if byte.is_ascii() { 1 } else { 2 });
        }
        for len in [1, LATIN1_PIECE_BYTES - 1, LATIN1_PIECE_BYTES, LATIN1_PIECE_BYTES + 1, 9999] {
            let text = "\u{e9}".repeat(len);
            check(&vec![0xe9; len], Some((Encoding::Latin1, text.as_str(), false)));
        }
    }

    #[test]
    fn utf8_cut_in_a_character_is_latin1() {
        check(b"caf\xc3", Some((Encoding::Latin1, "caf\u{c3}", false)));
        // A surrogate, an overlong form, and one past the last code point.
        for bytes in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
            let text: String = bytes.iter().copied().map(char::from).collect();
            check(bytes, Some((Encoding::Latin1, &text, false)));
        }
    }

    #[test]
    fn the_scratch_gives_capacity_back() {
        let mut scratch = String::new();
        let large = vec![0xe9; 4 * SCRATCH_BYTES_KEPT];
        let decoded = decode(&large, &mut scratch);
        assert!(matches!(decoded, Decoded::Text { .. }));
        assert!(scratch.capacity() >= 8 * SCRATCH_BYTES_KEPT);
        let decoded = decode(b"small", &mut scratch);
        assert!(matches!(decoded, Decoded::Text { .. }));
        assert!(scratch.capacity() <= SCRATCH_BYTES_KEPT);
    }

    #[test]
    fn codes_and_names_are_pinned() {
        let all = [
            (0, Encoding::Utf8, "utf-8"),
            (1, Encoding::Utf16Le, "utf-16le"),
            (2, Encoding::Utf16Be, "utf-16be"),
            (3, Encoding::Latin1, "iso-8859-1"),
        ];
        for (code, encoding, name) in all {
            assert_eq!(encoding.code(), code);
            assert_eq!(Encoding::from_code(code), Some(encoding));
            assert_eq!(encoding.name(), name);
        }
        assert_eq!(Encoding::from_code(4), None);
        assert_eq!(Encoding::from_code(255), None);
    }

    #[test]
    fn folding_characters_are_found() {
        for text in ["\u{212a}", "\u{17f}", "x\u{e9}\u{17f}y", "a \u{212a}b"] {
            assert!(has_folding_chars(text), "{text}");
        }
        for text in ["", "kKsS", "\u{e9}", "\u{df}", "\u{2129}\u{212b}", "\u{17e}\u{180}"] {
            assert!(!has_folding_chars(text), "{text}");
        }
    }

    /// The claim of `has_folding_chars`, against the standard library's tables of upper and lower case.
    #[test]
    fn no_other_character_folds_to_ascii() {
        let is_ascii_letter = |text: String| text.len() == 1;
        let folds: Vec<char> = ('\u{80}'..=char::MAX)
            .filter(|c| is_ascii_letter(c.to_lowercase().collect()) || is_ascii_letter(c.to_uppercase().collect()))
            // DOTLESS I has `I` as its upper case, but simple case folding leaves it alone.
            .filter(|c| *c != '\u{131}')
            .collect();
        assert_eq!(folds, ['\u{17f}', '\u{212a}']);
    }
}
