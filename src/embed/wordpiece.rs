//! Cuts text into the word pieces of a BERT vocabulary, token for token as the `tokenizers` crate does, and much faster on
//! source code.
//!
//! Owns BERT's normaliser (clean, spaces around CJK, lower case, accents), its pre-tokeniser (white space, punctuation)
//! and WordPiece's greedy longest match (Schuster and Nakajima, "Japanese and Korean voice search", 2012; Devlin et al.,
//! "BERT", 2018). Knows nothing of models, of `[CLS]` around a text, or of batches.
//!
//! Nothing in the normaliser looks across ASCII white space or ASCII punctuation, so a text is taken apart there, byte by
//! byte, into *units*. A unit of ASCII letters and digits is a word once it is in lower case; any other goes through the
//! normaliser, a character at a time. Either way its pieces depend on its bytes only, and those of short units are kept in
//! a cache: source code repeats its words.
//!
//! The categories of characters are those of the crate `unicode_categories`, frozen at Unicode 8: the reference has the
//! same tables, and later ones would cut at characters at which the model's authors did not.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use unicode_categories::UnicodeCategories;
use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// Slots of a [`WordCache`], a power of two. More hold more of a tree's words, but not in the processor's own cache.
const CACHE_SLOTS: usize = 1 << 15;
/// Longest unit that is cached, in bytes.
const CACHE_KEY_BYTES: usize = 30;
/// Most pieces of a unit that is cached. With these numbers a slot is one cache line: 2 + 30 + 8 * 4 = 64 bytes, and all
/// of them are 2 MiB.
const CACHE_PIECES: usize = 8;

/// No token ends at this node.
const NO_TOKEN: u32 = u32::MAX;
/// Where tokens that begin a word hang.
const ROOT_FIRST: u32 = 0;
/// Where tokens that continue a word hang, without their prefix.
const ROOT_NEXT: u32 = 1;

/// How text becomes words, and words pieces. As in a `tokenizer.json` of type WordPiece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WordPieceOptions {
    /// Lower case, a character at a time.
    pub(crate) lowercase: bool,
    /// Decompose, and drop what then stands above or below a letter. `None`: as `lowercase` says.
    pub(crate) strip_accents: Option<bool>,
    /// Every CJK ideograph is a word of its own.
    pub(crate) chinese_chars: bool,
    /// Drop control characters, and take all white space for blanks.
    pub(crate) clean_text: bool,
    /// The token of a word that has no pieces.
    pub(crate) unknown: String,
    /// What a token that continues a word begins with in the vocabulary.
    pub(crate) prefix: String,
    /// A word of more characters than this is unknown.
    pub(crate) word_chars: usize,
    /// Tokens that a text may spell out (`[MASK]`, in exactly this case): they are found before anything else is done, as
    /// `tokenizers` does it with added tokens. They have to begin with ASCII punctuation. With none of them, they are text
    /// like any other.
    pub(crate) special: Vec<String>,
}

impl Default for WordPieceOptions {
    /// BERT uncased.
    fn default() -> Self {
        WordPieceOptions {
            lowercase: true,
            strip_accents: None,
            chinese_chars: true,
            clean_text: true,
            unknown: "[UNK]".into(),
            prefix: "##".into(),
            word_chars: 100,
            special: Vec::new(),
        }
    }
}

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum VocabularyError {
    /// A token that the options name is not in it.
    #[error("the vocabulary has no token `{0}`")]
    Missing(String),
    /// The same token has two ids.
    #[error("the vocabulary has the token `{0}` twice")]
    Twice(String),
    /// A special token does not begin with ASCII punctuation.
    #[error("the special token `{0}` does not begin with ASCII punctuation")]
    Special(String),
    /// Ids and places have 32 bits.
    #[error("the vocabulary is too large: more than 2^32 bytes")]
    TooLarge,
}

/// A BERT tokenizer. Shared by threads; each has a [`WordCache`] of its own.
#[derive(Clone, Debug)]
pub(crate) struct WordPiece {
    trie: Trie,
    options: WordPieceOptions,
    strip_accents: bool,
    unknown: u32,
    /// Pieces of the words of one ASCII byte.
    bytes: [u32; 128],
    /// The longest first.
    special: Vec<(Box<[u8]>, u32)>,
    /// Bytes that a special token begins with.
    special_first: [bool; 128],
    /// Tells the caches of different vocabularies apart.
    serial: u64,
    #[cfg_attr(not(feature = "models"), allow(dead_code, reason = "only models ask for it"))]
    len: usize,
}

/// What a byte is to the cutting of text into units.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// White space that is white space under all options.
    Space,
    /// A word of its own.
    Punctuation,
    /// A letter or a digit.
    Word,
    /// Control characters, and parts of characters that are not ASCII: for the normaliser.
    Odd,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Odd; 256];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
            _ if byte.is_ascii_alphanumeric() => Class::Word,
            _ if byte.is_ascii_punctuation() => Class::Punctuation,
            _ => Class::Odd,
        };
        byte += 1;
    }
    classes
};

impl WordPiece {
    /// A tokenizer of the vocabulary `tokens`, in the order of their ids.
    ///
    /// # Errors
    /// As [`VocabularyError`] says.
    pub(crate) fn new<T: AsRef<str>>(
        tokens: impl IntoIterator<Item = T>,
        options: WordPieceOptions,
    ) -> Result<WordPiece, VocabularyError> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let mut trie = Trie::default();
        let mut len = 0u32;
        for token in tokens {
            let token = token.as_ref();
            if !trie.insert(ROOT_FIRST, token, len)? {
                return Err(VocabularyError::Twice(token.into()));
            }
            // The prefix alone continues nothing.
            if let Some(rest) = token.strip_prefix(options.prefix.as_str()).filter(|rest| !rest.is_empty()) {
                trie.insert(ROOT_NEXT, rest, len)?;
            }
            len = len.checked_add(1).filter(|&len| len != NO_TOKEN).ok_or(VocabularyError::TooLarge)?;
        }
        let known = |token: &str| trie.get(token).ok_or_else(|| VocabularyError::Missing(token.into()));
        let unknown = known(&options.unknown)?;
        let mut special = Vec::new();
        let mut special_first = [false; 128];
        for token in &options.special {
            let first = token.bytes().next().filter(u8::is_ascii_punctuation);
            let first = first.ok_or_else(|| VocabularyError::Special(token.clone()))?;
            special_first[usize::from(first)] = true;
            special.push((token.as_bytes().into(), known(token)?));
        }
        special.sort_by_key(|(token, _): &(Box<[u8]>, u32)| std::cmp::Reverse(token.len()));
        let mut made = WordPiece {
            trie,
            strip_accents: options.strip_accents.unwrap_or(options.lowercase),
            unknown,
            bytes: [unknown; 128],
            special,
            special_first,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            len: len as usize,
            options,
        };
        for byte in 0..128u8 {
            let folded = if made.options.lowercase { byte.to_ascii_lowercase() } else { byte };
            let mut pieces = Vec::new();
            made.word(char::from(folded).encode_utf8(&mut [0; 4]), &mut pieces);
            made.bytes[usize::from(byte)] = pieces.first().copied().unwrap_or(unknown);
        }
        Ok(made)
    }

    /// Tokens in the vocabulary; ids are below it.
    #[allow(clippy::len_without_is_empty, reason = "it has the unknown token at least")]
    #[cfg_attr(not(feature = "models"), allow(dead_code, reason = "only models ask for it"))]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The id of a token, spelt as in the vocabulary.
    #[cfg(test)]
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.trie.get(token)
    }

    /// Appends the pieces of one word, which is normalised and pre-tokenised already. An empty word has none.
    pub(crate) fn word(&self, word: &str, out: &mut Vec<u32>) {
        let from = out.len();
        // Bytes are no fewer than characters, and cheaper to count.
        if word.len() > self.options.word_chars && word.chars().nth(self.options.word_chars).is_some() {
            out.push(self.unknown);
            return;
        }
        let mut rest = word.as_bytes();
        let mut root = ROOT_FIRST;
        while !rest.is_empty() {
            let Some((id, len)) = self.trie.longest(root, rest) else {
                out.truncate(from);
                out.push(self.unknown);
                return;
            };
            out.push(id);
            rest = &rest[len..];
            root = ROOT_NEXT;
        }
    }

    /// Appends the ids of a text without the model's special tokens around it, at most `most` of them.
    ///
    /// Takes memory for one word, however long the text is.
    pub(crate) fn encode(&self, text: &str, cache: &mut WordCache, most: usize, out: &mut Vec<u32>) {
        cache.belong_to(self.serial);
        let bytes = text.as_bytes();
        let end = out.len().saturating_add(most);
        let mut at = 0;
        while at < bytes.len() && out.len() < end {
            let byte = bytes[at];
            match CLASSES[usize::from(byte)] {
                Class::Space => at += 1,
                Class::Punctuation => {
                    let (id, len) = self.punctuation(&bytes[at..]);
                    out.push(id);
                    at += len;
                }
                Class::Word | Class::Odd => {
                    let (len, plain) = unit(&bytes[at..]);
                    if len == 1 && plain {
                        out.push(self.bytes[usize::from(byte)]);
                    } else {
                        // Units end at ASCII, so both ends are between characters.
                        self.unit(&text[at..at + len], plain, cache, end, out);
                    }
                    at += len;
                }
            }
        }
        out.truncate(end);
    }

    /// The token at the start of `rest`, which begins with ASCII punctuation, and how many bytes it is.
    #[inline]
    fn punctuation(&self, rest: &[u8]) -> (u32, usize) {
        let first = usize::from(rest[0]);
        if self.special_first[first] {
            let found = self.special.iter().find(|(token, _)| rest.starts_with(token));
            if let Some((token, id)) = found {
                return (*id, token.len());
            }
        }
        (self.bytes[first], 1)
    }

    /// Appends the pieces of a unit, from the cache if they are there. May append past `end` if the unit is short.
    #[inline]
    fn unit(&self, unit: &str, plain: bool, cache: &mut WordCache, end: usize, out: &mut Vec<u32>) {
        if unit.len() > CACHE_KEY_BYTES {
            self.cut(unit, plain, &mut cache.word, end, out);
            return;
        }
        let at = WordCache::place(unit.as_bytes());
        let slot = &cache.slots[at];
        if slot.key() == unit.as_bytes() {
            out.extend_from_slice(slot.pieces());
            return;
        }
        let from = out.len();
        self.cut(unit, plain, &mut cache.word, usize::MAX, out);
        cache.slots[at].fill(unit.as_bytes(), &out[from..]);
    }

    /// Appends the pieces of a unit; stops once `out` has `end` ids, if not at once.
    #[cold]
    fn cut(&self, unit: &str, plain: bool, word: &mut String, end: usize, out: &mut Vec<u32>) {
        word.clear();
        if !plain {
            self.normalise(unit, word, end, out);
        } else if unit.len() > self.options.word_chars {
            out.push(self.unknown);
        } else {
            word.push_str(unit);
            if self.options.lowercase {
                word.make_ascii_lowercase();
            }
            self.word(word, out);
        }
    }

    /// [`cut`](Self::cut) for a unit with characters that are not plain.
    fn normalise(&self, unit: &str, word: &mut String, end: usize, out: &mut Vec<u32>) {
        let cleaned = unit.chars().filter_map(|c| if self.options.clean_text { clean(c) } else { Some(c) });
        let spaced = cleaned.flat_map(|c| {
            let side = (self.options.chinese_chars && is_cjk(c)).then_some(' ');
            [side, Some(c), side].into_iter().flatten()
        });
        let mut words = Words { pieces: self, word, chars: 0, out };
        let mut each = |c: char| {
            if self.options.lowercase {
                c.to_lowercase().for_each(|c| words.add(c));
            } else {
                words.add(c);
            }
            words.out.len() < end
        };
        // `all` ends early when there are ids enough.
        if self.strip_accents {
            spaced.nfd().filter(|c| !c.is_mark_nonspacing()).all(&mut each);
        } else {
            let mut spaced = spaced;
            spaced.all(&mut each);
        }
        words.end_word();
    }
}

/// Length of the unit at the start of `bytes`, and whether it is letters and digits only.
#[inline]
fn unit(bytes: &[u8]) -> (usize, bool) {
    let class = |byte: &u8| CLASSES[usize::from(*byte)];
    let plain = bytes.iter().position(|byte| class(byte) != Class::Word).unwrap_or(bytes.len());
    if bytes.get(plain).is_none_or(|byte| class(byte) != Class::Odd) {
        return (plain, true);
    }
    let more = bytes[plain..].iter().position(|byte| matches!(class(byte), Class::Space | Class::Punctuation));
    (more.map_or(bytes.len(), |more| plain + more), false)
}

/// Gathers normalised characters into words.
struct Words<'a> {
    pieces: &'a WordPiece,
    word: &'a mut String,
    chars: usize,
    out: &'a mut Vec<u32>,
}

impl Words<'_> {
    fn add(&mut self, c: char) {
        if c.is_whitespace() {
            self.end_word();
        } else if c.is_ascii_punctuation() || c.is_punctuation() {
            self.end_word();
            self.pieces.word(c.encode_utf8(&mut [0; 4]), self.out);
        } else {
            // One too many is enough to see that the word is too long.
            if self.chars <= self.pieces.options.word_chars {
                self.word.push(c);
            }
            self.chars += 1;
        }
    }

    fn end_word(&mut self) {
        self.pieces.word(self.word, self.out);
        self.word.clear();
        self.chars = 0;
    }
}

/// The character as `clean_text` leaves it.
fn clean(c: char) -> Option<char> {
    match c {
        '\t' | '\n' | '\r' => Some(' '),
        '\0' | '\u{fffd}' => None,
        _ if c.is_other() => None,
        _ if c.is_whitespace() => Some(' '),
        _ => Some(c),
    }
}

/// CJK ideographs, in the ranges that BERT has for them. Kana and Hangul are not among them.
fn is_cjk(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b73f
            | 0x2b740..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0xf900..=0xfaff
            | 0x2f800..=0x2fa1f
    )
}

/// Pieces of the units that a thread has met of late. Of a fixed size: a unit displaces the one in its place.
#[derive(Debug)]
pub(crate) struct WordCache {
    slots: Box<[Slot]>,
    /// The tokenizer that filled it.
    serial: u64,
    /// The word at hand, in lower case.
    word: String,
}

impl Default for WordCache {
    fn default() -> Self {
        WordCache { slots: vec![Slot::EMPTY; CACHE_SLOTS].into(), serial: 0, word: String::new() }
    }
}

impl WordCache {
    /// Bytes that it holds.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.word.capacity()
    }

    /// Forgets the pieces of another vocabulary.
    fn belong_to(&mut self, serial: u64) {
        if self.serial != serial {
            self.serial = serial;
            self.slots.fill(Slot::EMPTY);
        }
    }

    #[inline]
    fn place(unit: &[u8]) -> usize {
        // The mask keeps only bits that a usize of any width has.
        xxh3_64(unit) as usize & (CACHE_SLOTS - 1)
    }
}

/// A unit and its pieces. No unit is empty, and so an empty slot matches none.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Slot {
    key_len: u8,
    pieces_len: u8,
    key: [u8; CACHE_KEY_BYTES],
    pieces: [u32; CACHE_PIECES],
}

impl Slot {
    const EMPTY: Slot = Slot { key_len: 0, pieces_len: 0, key: [0; CACHE_KEY_BYTES], pieces: [0; CACHE_PIECES] };

    #[inline]
    fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_len)]
    }

    #[inline]
    fn pieces(&self) -> &[u32] {
        &self.pieces[..usize::from(self.pieces_len)]
    }

    /// Takes the place of what was there, unless there are too many pieces. `key` has at most [`CACHE_KEY_BYTES`].
    fn fill(&mut self, key: &[u8], pieces: &[u32]) {
        if pieces.len() > CACHE_PIECES {
            return;
        }
        (self.key_len, self.pieces_len) = (key.len() as u8, pieces.len() as u8);
        self.key[..key.len()].copy_from_slice(key);
        self.pieces[..pieces.len()].copy_from_slice(pieces);
    }
}

/// The tokens, byte by byte: the longest one that a word begins with takes one walk. Bytes will do for characters, because
/// a token ends where a character does.
#[derive(Clone, Debug)]
struct Trie {
    edges: HashMap<u64, u32, BuildHasherDefault<EdgeHasher>>,
    /// The token that ends at each node, or [`NO_TOKEN`].
    ends: Vec<u32>,
}

impl Default for Trie {
    fn default() -> Self {
        Trie { edges: HashMap::default(), ends: vec![NO_TOKEN; 2] }
    }
}

impl Trie {
    /// Adds a token. Returns whether it is new.
    fn insert(&mut self, root: u32, token: &str, id: u32) -> Result<bool, VocabularyError> {
        let mut node = root;
        for byte in token.bytes() {
            let next = u32::try_from(self.ends.len()).map_err(|_| VocabularyError::TooLarge)?;
            node = *self.edges.entry(edge(node, byte)).or_insert(next);
            if node == next {
                self.ends.push(NO_TOKEN);
            }
        }
        let end = &mut self.ends[node as usize];
        let new = *end == NO_TOKEN;
        *end = id;
        Ok(new)
    }

    /// The token that is all of `token`.
    fn get(&self, token: &str) -> Option<u32> {
        let mut node = ROOT_FIRST;
        for byte in token.bytes() {
            node = *self.edges.get(&edge(node, byte))?;
        }
        Some(self.ends[node as usize]).filter(|&id| id != NO_TOKEN)
    }

    /// The longest token below `root` that `rest` begins with, and its length.
    #[inline]
    fn longest(&self, root: u32, rest: &[u8]) -> Option<(u32, usize)> {
        let (mut node, mut found) = (root, None);
        for (at, &byte) in rest.iter().enumerate() {
            let Some(&next) = self.edges.get(&edge(node, byte)) else { break };
            node = next;
            let id = self.ends[node as usize];
            if id != NO_TOKEN {
                found = Some((id, at + 1));
            }
        }
        found
    }
}

#[inline]
fn edge(node: u32, byte: u8) -> u64 {
    u64::from(node) << 8 | u64::from(byte)
}

/// Keys are small numbers of our own: one multiplication spreads them (Knuth's multiplicative hashing; the rotation brings
/// the good bits to both ends, where the table looks).
#[derive(Default)]
struct EdgeHasher(u64);

impl Hasher for EdgeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 ^ u64::from(byte)));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}
