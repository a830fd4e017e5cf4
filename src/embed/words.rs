//! Vectors from a table of word vectors: what embeds text where no model can keep up.
//!
//! The vector of a text is the sum of the vectors of its words, each times the square root of how often the word is there,
//! made as long as one, less the mean of such vectors, and made as long as one again. A word's vector is the sum of those of
//! its word pieces, which carry their inverse document frequencies. `scripts/word_table.py` makes the table; the way to do
//! it is that of model2vec (Tulkens and van Dongen, 2024), the mean that of "all but the top" (Mu and Viswanath, 2018).

use super::quantise::{add_scaled, normalise};
use super::wordpiece::{VocabularyError, WordCache, WordPiece, WordPieceOptions};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The table that comes with the program: distilled from all-MiniLM-L6-v2 (Apache-2.0).
static BUILT_IN: &[u8] = include_bytes!("words.table");
const MAGIC: &[u8] = b"LEIWRD01";
/// A longer run is no word; BERT's own limit.
const WORD_BYTES_MAX: usize = 100;
/// Slots of the table of a text's words, a power of two, more than twice as many as a chunk can have words: a word takes
/// two bytes of its 1,500. Longer texts are counted in pieces of this many words.
const SLOTS: usize = 2048;
const WORDS_MAX: usize = SLOTS / 2;
/// Words whose pieces are kept, a power of two: 24 bytes each, which is half of the processor's own cache.
const KNOWN: usize = 1 << 13;
/// Pieces of a word that is kept. Most have one.
const KNOWN_PIECES: usize = 3;

/// What a text is: the two have different means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something to be found.
    Code,
    /// What somebody looks for.
    Question,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// Not what `scripts/word_table.py` writes, or its checksum does not match.
    #[error("it is no table of word vectors, or is damaged")]
    Damaged,
    /// Its words are no vocabulary.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
}

/// A vector for every piece of a vocabulary.
#[derive(Debug)]
pub(crate) struct WordTable {
    pieces: WordPiece,
    /// A row for each piece, and what to multiply it by.
    levels: &'static [i8],
    scales: Vec<f32>,
    code_mean: Vec<f32>,
    question_mean: Vec<f32>,
}

/// Memory that is used again from text to text.
#[derive(Debug)]
pub(crate) struct WordScratch {
    /// Hash and number of each word of the text; a word with the number 0 is none.
    slots: Vec<(u64, u32)>,
    /// The words: where they begin in `letters`, their lengths, and their slots.
    words: Vec<(usize, usize, usize)>,
    /// In lower case.
    letters: String,
    found: Vec<u32>,
    cache: WordCache,
    /// Pieces of words that were taken apart, at a place that their hash gives: source repeats its words from chunk to chunk.
    known: Vec<Known>,
    /// Pieces of the text with their weights.
    weighted: Vec<(u32, f32)>,
}

/// A word's pieces, by its hash.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    hash: u64,
    pieces: [u32; KNOWN_PIECES],
    /// 0 for none.
    len: u8,
}

impl Default for WordScratch {
    fn default() -> WordScratch {
        WordScratch {
            slots: vec![(0, 0); SLOTS],
            words: Vec::new(),
            letters: String::new(),
            found: Vec::new(),
            cache: WordCache::default(),
            known: vec![Known::default(); KNOWN],
            weighted: Vec::new(),
        }
    }
}

impl WordTable {
    /// What tells the vectors of the table that comes with the program from others, and how many numbers they have: known
    /// without making the table.
    pub(crate) fn built_in_id() -> Result<(u128, usize), TableError> {
        let mut fields = Fields(BUILT_IN);
        let dims = fields.take(MAGIC.len()).and_then(|_| fields.number()).ok_or(TableError::Damaged)?;
        Ok((xxh3_128(BUILT_IN), dims))
    }

    /// The table that comes with the program.
    pub(crate) fn built_in() -> Result<WordTable, TableError> {
        WordTable::parse(BUILT_IN)
    }

    fn parse(bytes: &'static [u8]) -> Result<WordTable, TableError> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(TableError::Damaged)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(TableError::Damaged);
        }
        let mut fields = Fields(body);
        let mut parts = || -> Option<_> {
            let magic = fields.take(MAGIC.len())?;
            let (dims, count, names_len) = (fields.number()?, fields.number()?, fields.number()?);
            let means = (fields.floats(dims)?, fields.floats(dims)?);
            let (scales, levels) = (fields.floats(count)?, fields.take(count.checked_mul(dims)?)?);
            let names = std::str::from_utf8(fields.take(names_len)?).ok()?;
            (magic == MAGIC && dims > 0 && fields.0.is_empty()).then_some((means, scales, levels, names))
        };
        let ((code_mean, question_mean), scales, levels, names) = parts().ok_or(TableError::Damaged)?;
        let names: Vec<&str> = names.split('\n').collect();
        if names.len() != scales.len() {
            return Err(TableError::Damaged);
        }
        let pieces = WordPiece::new(names, WordPieceOptions::default())?;
        Ok(WordTable { pieces, levels: bytemuck::cast_slice(levels), scales, code_mean, question_mean })
    }

    /// Numbers a vector.
    pub(crate) fn dims(&self) -> usize {
        self.code_mean.len()
    }

    /// Writes the vector of `text` to `vector`, which has the length [`dims`](WordTable::dims). Returns whether there is
    /// one: a text without words has none.
    pub(crate) fn embed(&self, text: &str, kind: Kind, scratch: &mut WordScratch, vector: &mut [f32]) -> bool {
        scratch.weighted.clear();
        for_each_word(text, |word| {
            if scratch.words.len() == WORDS_MAX {
                self.weigh(scratch);
            }
            scratch.count(word);
        });
        self.weigh(scratch);
        vector.fill(0.0);
        for (piece, weight) in &mut scratch.weighted {
            *weight *= self.scales[*piece as usize];
        }
        add_scaled(self.levels, &scratch.weighted, vector);
        let mean = match kind {
            Kind::Code => &self.code_mean,
            Kind::Question => &self.question_mean,
        };
        if !normalise(vector) {
            return false;
        }
        vector.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
        normalise(vector)
    }

    /// Takes the counted words apart into weighted pieces, and forgets them.
    fn weigh(&self, scratch: &mut WordScratch) {
        for &(start, len, slot) in &scratch.words {
            let hash = scratch.slots[slot].0;
            let number = std::mem::take(&mut scratch.slots[slot].1);
            let weight = (number as f32).sqrt();
            // The bits that give the slot are the lowest ones.
            let known = &mut scratch.known[(hash >> 32) as usize % KNOWN];
            if known.hash == hash && known.len > 0 {
                let pieces = &known.pieces[..usize::from(known.len)];
                scratch.weighted.extend(pieces.iter().map(|&piece| (piece, weight)));
                continue;
            }
            scratch.found.clear();
            let word = &scratch.letters[start..start + len];
            if word.is_ascii() {
                self.pieces.word(word, &mut scratch.found);
            } else {
                self.pieces.encode(word, &mut scratch.cache, usize::MAX, &mut scratch.found);
            }
            let pieces = scratch.found.len();
            if pieces <= KNOWN_PIECES {
                known.pieces[..pieces].copy_from_slice(&scratch.found);
                (known.hash, known.len) = (hash, pieces as u8);
            }
            scratch.weighted.extend(scratch.found.iter().map(|&piece| (piece, weight)));
        }
        scratch.words.clear();
        scratch.letters.clear();
    }
}

impl WordScratch {
    /// Counts a word, which may be in capitals.
    fn count(&mut self, word: &str) {
        let start = self.letters.len();
        self.letters.push_str(word);
        self.letters[start..].make_ascii_lowercase();
        // Two words of one hash would be taken for one: that changes a vector a little, once in 10^13 chunks.
        let hash = xxh3_64(&self.letters.as_bytes()[start..]);
        let mut slot = hash as usize % SLOTS;
        while self.slots[slot].1 > 0 && self.slots[slot].0 != hash {
            slot = (slot + 1) % SLOTS;
        }
        if self.slots[slot].1 == 0 {
            self.words.push((start, word.len(), slot));
        } else {
            self.letters.truncate(start);
        }
        self.slots[slot] = (hash, self.slots[slot].1 + 1);
    }
}

/// Calls `each` with the words of the text: letters of ASCII as camelCase divides them, numbers, and runs of what is not ASCII.
fn for_each_word<'t>(text: &'t str, mut each: impl FnMut(&'t str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&first) = bytes.get(at) {
        let run = |is: fn(u8) -> bool, from: usize| from + bytes[from..].iter().take_while(|byte| is(**byte)).count();
        let end = match first {
            b'0'..=b'9' => run(|byte| byte.is_ascii_digit(), at),
            b'a'..=b'z' => run(|byte| byte.is_ascii_lowercase(), at),
            b'A'..=b'Z' => {
                let capitals = run(|byte| byte.is_ascii_uppercase(), at);
                match (capitals - at, bytes.get(capitals).is_some_and(u8::is_ascii_lowercase)) {
                    (1, true) => run(|byte| byte.is_ascii_lowercase(), capitals),
                    // The last capital belongs to the word that follows: `HTTPServer`.
                    (_, true) => capitals - 1,
                    (_, false) => capitals,
                }
            }
            0x80.. => run(|byte| byte >= 0x80, at),
            _ => {
                at += 1;
                continue;
            }
        };
        if end - at <= WORD_BYTES_MAX {
            each(&text[at..end]);
        }
        at = end;
    }
}

/// What is left to be read.
struct Fields(&'static [u8]);

impl Fields {
    fn take(&mut self, len: usize) -> Option<&'static [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }

    fn floats(&mut self, count: usize) -> Option<Vec<f32>> {
        let (floats, _) = self.take(count.checked_mul(4)?)?.as_chunks::<4>();
        Some(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        for_each_word(text, |word| words.push(word));
        words
    }

    fn vector(table: &WordTable, text: &str, kind: Kind) -> Option<Vec<f32>> {
        let mut vector = vec![0.0; table.dims()];
        table.embed(text, kind, &mut WordScratch::default(), &mut vector).then_some(vector)
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn words_are_what_camel_case_and_digits_divide() {
        assert_eq!(words("parseHTTPServer2 snake_case X"), ["parse", "HTTP", "Server", "2", "snake", "case", "X"]);
        assert_eq!(words("IOError, aB, ABc"), ["IO", "Error", "a", "B", "A", "Bc"]);
        assert_eq!(words("Größe été"), ["Gr", "öß", "e", "é", "t", "é"]);
        assert_eq!(words(&"x".repeat(WORD_BYTES_MAX + 1)), [""; 0]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn what_means_the_same_is_near() {
        let table = WordTable::built_in().unwrap();
        let vector = |text, kind| vector(&table, text, kind).unwrap();
        let question = vector("open a file for reading", Kind::Question);
        let read =
            vector("fn load(path: &Path) -> io::Result<Vec<u8>> { let mut input = File::open(path)?; }", Kind::Code);
        let draw = vector("void draw_circle(struct canvas *c, int radius, int colour)", Kind::Code);
        assert!(cosine(&question, &read) > cosine(&question, &draw) + 0.2);
    }

    #[test]
    fn a_text_without_words_has_no_vector() {
        let table = WordTable::built_in().unwrap();
        assert_eq!(vector(&table, "{ } ;\n", Kind::Code), None);
        assert_eq!(vector(&table, "", Kind::Question), None);
        assert_eq!(vector(&table, "\u{2603}", Kind::Question), None, "no piece that has a vector");
    }

    #[test]
    fn long_texts_have_vectors_too() {
        let table = WordTable::built_in().unwrap();
        let text: String = (0..3 * WORDS_MAX).map(|number| format!("w{number} ")).collect();
        assert!(vector(&table, &text, Kind::Code).is_some());
    }

    #[test]
    fn damage_is_noticed() {
        assert!(WordTable::parse(b"").is_err());
        assert!(WordTable::parse(&BUILT_IN[..BUILT_IN.len() - 1]).is_err());
        let mut damaged = BUILT_IN.to_vec();
        damaged[BUILT_IN.len() / 2] ^= 4;
        assert!(WordTable::parse(damaged.leak()).is_err());
        let mut short = BUILT_IN[..1000].to_vec();
        short.extend_from_slice(&crc32fast::hash(&short).to_le_bytes());
        assert!(WordTable::parse(short.leak()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn order_does_not_matter_and_scratch_leaves_no_trace(
            mut list in prop::collection::vec("[a-zA-Z]{1,8}|[0-9]{1,3}|é", 1..200), other in "[ -~]{0,200}",
        ) {
            let table = WordTable::built_in().unwrap();
            let mut scratch = WordScratch::default();
            let (mut one, mut two, mut three) = (vec![0.0; 256], vec![0.0; 256], vec![0.0; 256]);
            let has = table.embed(&list.join(" "), Kind::Code, &mut scratch, &mut one);
            table.embed(&other, Kind::Code, &mut scratch, &mut two);
            list.reverse();
            prop_assert_eq!(table.embed(&list.join("_"), Kind::Code, &mut scratch, &mut three), has);
            for (one, three) in one.iter().zip(&three) {
                prop_assert!((one - three).abs() < 1e-3);
            }
        }
    }
}
