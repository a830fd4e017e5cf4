//! Token for token against the `tokenizers` crate, on made-up vocabularies; with `LEINDEX_MODEL` (a folder with a
//! `tokenizer.json`) on that one, too, and with `LEINDEX_WORDPIECE_TREE` on every file of a tree.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::*;

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Tokens that no letter, digit or mark of ASCII covers. Among them what only some options leave in a text.
const ODD_TOKENS: &[&str] = &[
    "é",
    "##é",
    "e\u{301}",
    "##\u{301}",
    "\u{301}",
    "##\u{307}",
    "ı",
    "##ı",
    "ß",
    "##ß",
    "σ",
    "##σ",
    "ς",
    "##ς",
    "Σ",
    "##Σ",
    "д",
    "##д",
    "й",
    "##й",
    "и",
    "##и",
    "##\u{306}",
    "中",
    "##中",
    "国",
    "##国",
    "豈",
    "##豈",
    "\u{1112}",
    "##\u{1161}",
    "##\u{11ab}",
    "한",
    "##글",
    "か",
    "##か",
    "が",
    "##\u{3099}",
    "😀",
    "##😀",
    "\u{200d}",
    "##\u{200d}",
    "\u{fe0f}",
    "##\u{fe0f}",
    "א",
    "##ב",
    "##\u{5b0}",
    "ع",
    "##ر",
    "…",
    "—",
    "“",
    "”",
    "«",
    "·",
    "\u{37e}",
    "¿",
    "€",
    "##€",
    "µ",
    "##µ",
    "μ",
    "##μ",
    "ﬁ",
    "##ﬁ",
    "\0",
    "##\0",
    "\u{fffd}",
    "##\u{fffd}",
    "\u{7f}",
    "##\u{7f}",
    "\u{ad}",
    "##\u{ad}",
    "\u{b}",
    "##\u{1c}",
    "\u{302e}",
    "##\u{302e}",
    "##\u{1d165}",
    "\u{e000}",
    "##\u{e000}",
    "ⅷ",
    "##ⅷ",
    "Ⅷ",
];

const WORDS: &[&str] = &[
    "the",
    "static",
    "struct",
    "page",
    "int",
    "return",
    "un",
    "##able",
    "##aff",
    "##ing",
    "##ed",
    "want",
    "##want",
    "abc",
    "##abc",
    "##bc",
    "abcd",
    "##ab",
    "cafe",
    "naive",
    "##ive",
    "HTTP",
    "##Server",
    "Page",
    "CLS",
    "cls",
    "mask",
    "##mask",
    "##00",
    "##123",
    "0x",
    "strasse",
    "i",
    "istanbul",
    "k",
    "##k",
    "##aaaaaaaaaaaa",
    "aaaa",
    "##",
    "##(",
    "((",
];

fn vocabulary() -> Vec<String> {
    let mut tokens: Vec<String> = SPECIAL.iter().map(|&token| token.into()).collect();
    for c in (b'!'..=b'~').map(char::from) {
        // Some letters and digits are missing at each place, so that there are unknown words.
        if c != 'q' && c != '~' {
            tokens.push(c.into());
        }
        if c.is_ascii_alphanumeric() && !matches!(c, 'z' | '7') {
            tokens.push(format!("##{c}"));
        }
    }
    tokens.extend(ODD_TOKENS.iter().chain(WORDS).map(|&token| token.into()));
    let mut seen = std::collections::HashSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    tokens
}

/// The same tokenizer twice: the reference and ours.
struct Pair {
    theirs: Tokenizer,
    ours: WordPiece,
    cache: WordCache,
}

impl Pair {
    fn new(tokens: &[String], options: WordPieceOptions) -> Pair {
        let ids: serde_json::Map<String, Value> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let added: Vec<Value> = (SPECIAL.iter())
            .map(|token| {
                json!({"id": ids[*token], "content": token, "special": true, "single_word": false, "lstrip": false,
                       "rstrip": false, "normalized": false})
            })
            .collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": {"type": "BertNormalizer", "clean_text": options.clean_text,
                "handle_chinese_chars": options.chinese_chars, "strip_accents": options.strip_accents,
                "lowercase": options.lowercase},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordPiece", "unk_token": options.unknown, "vocab": ids,
                "continuing_subword_prefix": options.prefix, "max_input_chars_per_word": options.word_chars},
        });
        Pair::of(&serde_json::to_vec(&file).expect("json"), tokens, options)
    }

    fn of(file: &[u8], tokens: &[String], options: WordPieceOptions) -> Pair {
        let mut theirs = Tokenizer::from_bytes(file).expect("the reference takes the vocabulary");
        theirs.with_truncation(None).expect("no truncation").with_padding(None);
        theirs.set_encode_special_tokens(options.special.is_empty());
        let ours = WordPiece::new(tokens, options).expect("we take the vocabulary");
        Pair { theirs, ours, cache: WordCache::default() }
    }

    /// The `tokenizer.json` of a model.
    fn of_model(folder: &Path) -> Pair {
        let bytes = std::fs::read(folder.join("tokenizer.json")).expect("tokenizer.json");
        let file: Value = serde_json::from_slice(&bytes).expect("json");
        let ids = file["model"]["vocab"].as_object().expect("a vocabulary");
        let mut tokens = vec![String::new(); ids.len()];
        for (token, id) in ids {
            tokens[id.as_u64().expect("an id") as usize] = token.clone();
        }
        let normaliser = &file["normalizer"];
        let options = WordPieceOptions {
            lowercase: normaliser["lowercase"] == true,
            strip_accents: normaliser["strip_accents"].as_bool(),
            chinese_chars: normaliser["handle_chinese_chars"] == true,
            clean_text: normaliser["clean_text"] == true,
            special: SPECIAL.map(String::from).into(),
            ..WordPieceOptions::default()
        };
        Pair::of(&bytes, &tokens, options)
    }

    fn both(&mut self, text: &str) -> (Vec<u32>, Vec<u32>) {
        let theirs = self.theirs.encode_fast(text, false).expect("the reference never fails");
        let mut ours = Vec::new();
        self.ours.encode(text, &mut self.cache, usize::MAX, &mut ours);
        (ours, theirs.get_ids().to_vec())
    }

    #[track_caller]
    fn check(&mut self, text: &str) -> Vec<u32> {
        let (ours, theirs) = self.both(text);
        assert_eq!(ours, theirs, "{text:?} with {:?}", self.ours.options);
        // The second time the words come from the cache.
        assert_eq!(self.both(text).0, theirs, "{text:?} from the cache");
        ours
    }
}

/// The combinations of the options.
const COMBINATIONS: usize = 48;

fn pair(combination: usize) -> Pair {
    let on = |bit: u32| combination >> bit & 1 != 0;
    let options = WordPieceOptions {
        lowercase: on(0),
        chinese_chars: on(1),
        clean_text: on(2),
        special: if on(3) { SPECIAL.map(String::from).into() } else { Vec::new() },
        strip_accents: [None, Some(false), Some(true)][combination / 16],
        ..WordPieceOptions::default()
    };
    Pair::new(&vocabulary(), options)
}

fn pairs() -> impl Iterator<Item = Pair> {
    (0..COMBINATIONS).map(pair)
}

fn nasty() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\n\t\r ",
        "the page",
        "static struct page *page;",
        "unaffable unwanted",
        "un##able",
        "## ##able",
        "((",
        "##(",
        "return x->y[i+1]!=0&&~q",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        "abc_abc-abc",
        "qqq zzz abcz q7",
        "caf\u{e9} cafe\u{301} CAF\u{c9} na\u{ef}ve nai\u{308}ve \u{301} \u{301}e e\u{301}\u{301}\u{323}",
        "\u{130}stanbul \u{131}i I\u{307} \u{130}",
        "ΣΑΣ Σ σς ΟΔΟΣ",
        "Stra\u{df}e STRASSE \u{1e9e}",
        "й и\u{306} Й ДД",
        "中国 中a国b豈c \u{2f800} \u{20000} \u{2ceaf}\u{2ceb0} 中\u{301}国",
        "한글 한 \u{1112}\u{1161}\u{11ab} が か\u{3099} カ",
        "a\u{200b}b a\u{200d}b \u{feff}abc a\u{ad}b a\u{2060}b",
        "\0abc a\0bc \0 a\u{7f}b \u{1}\u{2} a\u{b}b\u{c}c \u{1c}a\u{1f}b",
        "a\u{fffd}b \u{fffd}",
        "a\u{a0}b a\u{2003}b a\u{3000}b a\u{2028}b\u{2029}c a\u{85}b \u{1680} \u{180e}a",
        "😀😀 👨\u{200d}👩\u{200d}👧 ❤\u{fe0f} 🇩🇪 a😀b",
        "\u{5d0}\u{5d1}\u{5b0} \u{202b}עברית\u{202c} عربي \u{661}",
        "“a” «b» ‘c’ a—b a…b a·b a\u{37e}b ¿a §b a‐b a–b",
        "a€b 5€ µ μ \u{212a} \u{212b} ﬁ Ⅷ ⅷ",
        "[CLS]",
        "[CLS][SEP]",
        "a[MASK]b",
        "x = y[MASK];",
        "[cls] [Cls] [CLS [[CLS]] [ CLS ] [CL\0S] [CLSé]",
        "é[SEP]é\u{301}",
        "[MASK]\u{301}中[MASK]中",
        "[UNK] [PAD]",
        "##[UNK]##",
        "a\u{302e}\u{323}b \u{1d15f} a\u{1d165}\u{323}b \u{e000}a",
        "a\u{9fd}b a\u{2e43}b a\u{1df6}b a\u{32ff}b",
        "\u{1f88}\u{1fff} \u{390} \u{344} \u{958} \u{fb2c}",
        "=\u{338} <\u{338}> +\u{301}+",
    ]
    .map(String::from)
    .into();
    for word in ["a", "ab", "abc", "z", "é", "中", "😀", "e\u{301}", "a\u{200b}", "\u{301}", "x\u{0}"] {
        for count in [29, 30, 31, 49, 50, 51, 99, 100, 101, 102, 250] {
            texts.push(word.repeat(count));
            texts.push(format!("a {}b a", word.repeat(count)));
        }
    }
    texts
}

#[test]
fn hand_made() {
    let texts = nasty();
    for mut pair in pairs() {
        for text in &texts {
            pair.check(text);
        }
    }
}

#[test]
fn words() {
    let mut pair = Pair::new(&vocabulary(), WordPieceOptions::default());
    let pieces = |pair: &Pair, word: &str| {
        let mut out = vec![7];
        pair.ours.word(word, &mut out);
        out[1..].to_vec()
    };
    for word in
        ["", "abc", "unaffable", "abcabcab", "zq", "q", "д", "中", "a".repeat(100).as_str(), "a".repeat(101).as_str()]
    {
        assert_eq!(pieces(&pair, word), pair.check(word), "{word:?}");
    }
    let id = |token: &str| pair.ours.id(token).expect("a token");
    assert_eq!(pieces(&pair, "unaffable"), [id("un"), id("##aff"), id("##able")]);
    assert_eq!(pieces(&pair, "abz"), [id("[UNK]")]);
    // As `tokenizers` does it: a whole token is one, even with the prefix.
    assert_eq!(pieces(&pair, "##able"), [id("##able")]);
    assert_eq!((pair.ours.id(""), pair.ours.id("stat"), pair.ours.len()), (None, None, vocabulary().len()));
}

#[test]
fn other_prefixes_and_lengths() {
    let tokens = vocabulary();
    for prefix in ["", "@", "##", "absent"] {
        for word_chars in [0, 1, 3, 100, 1000] {
            let options = WordPieceOptions { prefix: prefix.into(), word_chars, ..WordPieceOptions::default() };
            let mut pair = Pair::new(&tokens, options);
            for text in nasty() {
                pair.check(&text);
            }
        }
    }
}

#[test]
fn at_most() {
    for mut pair in pairs().step_by(7) {
        for text in nasty().iter().chain([&"abcabc é中国 unwanted [MASK] + ".repeat(5)]) {
            let all = pair.check(text);
            for most in [0, 1, 2, 3, 5, 8, 13, 100] {
                let mut out = vec![1, 2];
                pair.ours.encode(text, &mut pair.cache, most, &mut out);
                assert_eq!(out[2..], all[..most.min(all.len())], "{most} of {text:?}");
            }
        }
    }
}

#[test]
fn a_cache_serves_one_vocabulary_at_a_time_and_does_not_grow() {
    let tokens = vocabulary();
    let one = WordPiece::new(&tokens, WordPieceOptions::default()).expect("a tokenizer");
    let other = WordPiece::new(tokens.iter().rev(), WordPieceOptions::default()).expect("a tokenizer");
    let mut cache = WordCache::default();
    let ids = |of: &WordPiece, cache: &mut WordCache, text: &str| {
        let mut out = Vec::new();
        of.encode(text, cache, usize::MAX, &mut out);
        out
    };
    let last = tokens.len() as u32 - 1;
    for _ in 0..2 {
        let (first, second) = (ids(&one, &mut cache, "abcd page"), ids(&other, &mut cache, "abcd page"));
        assert_eq!(second, first.iter().map(|id| last - id).collect::<Vec<_>>());
    }
    let many: String = (0..100_000).map(|n| format!("w{n} ")).collect();
    ids(&one, &mut cache, &many);
    let before = cache.memory_bytes();
    ids(&one, &mut cache, &"x".repeat(1 << 20));
    ids(&one, &mut cache, &"é".repeat(1 << 20));
    assert!(cache.memory_bytes() < before + 4096, "{before} bytes became {}", cache.memory_bytes());
    assert_eq!(size_of::<Slot>(), 64);
}

#[test]
fn vocabularies_that_cannot_be_used() {
    let new = |tokens: &[&str], special: &[&str]| {
        let special = special.iter().map(|&token| token.into()).collect();
        WordPiece::new(tokens, WordPieceOptions { special, ..WordPieceOptions::default() }).map(|made| made.len())
    };
    assert_eq!(new(&["[UNK]"], &[]), Ok(1));
    assert_eq!(new(&["a"], &[]), Err(VocabularyError::Missing("[UNK]".into())));
    assert_eq!(new(&["a", "[UNK]", "a"], &[]), Err(VocabularyError::Twice("a".into())));
    assert_eq!(new(&["[UNK]"], &["[CLS]"]), Err(VocabularyError::Missing("[CLS]".into())));
    assert_eq!(new(&["[UNK]", "a"], &["a"]), Err(VocabularyError::Special("a".into())));
    assert_eq!(new(&["[UNK]", ""], &[""]), Err(VocabularyError::Special(String::new())));
}

/// Every character there is, alone and within a word.
#[test]
fn every_character() {
    let tokens = vocabulary();
    let options = |lowercase| WordPieceOptions { lowercase, ..WordPieceOptions::default() };
    let mut pairs = [Pair::new(&tokens, options(true)), Pair::new(&tokens, options(false))];
    if let Some(model) = std::env::var_os("LEINDEX_MODEL") {
        pairs[0] = Pair::of_model(Path::new(&model));
    }
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    for some in all.chunks(1000) {
        let text: String = some.iter().map(|c| format!("{c} a{c}b{c} ")).collect();
        for pair in &mut pairs {
            let (ours, theirs) = pair.both(&text);
            assert!(ours == theirs, "differs between {:?} and {:?}", some[0], some[some.len() - 1]);
        }
    }
}

proptest! {
    #[test]
    fn any_text(text in any::<String>(), pick in 0..COMBINATIONS) {
        let (ours, theirs) = pair(pick).both(&text);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn text_of_nasty_parts(
        parts in prop::collection::vec(prop::sample::select(nasty()), 0..6),
        tokens in prop::collection::vec(prop::sample::select(vocabulary()), 0..20),
        pick in 0..COMBINATIONS,
    ) {
        let mut pair = pair(pick);
        for text in [parts.concat(), tokens.concat(), tokens.join(" "), tokens.join("\u{301}"), parts.join(&tokens.concat())] {
            let (ours, theirs) = pair.both(&text);
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }
    }

    #[test]
    fn text_like_code(text in "([a-c_]{1,9}|[ \n\t]{1,2}|[(\\[\\]#0-9]|é|\\PC){0,60}") {
        let (ours, theirs) = pair(15).both(&text);
        prop_assert_eq!(ours, theirs);
    }
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files_below(&entry.path(), into);
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
}

#[test]
fn a_tree() {
    let Some(tree) = std::env::var_os("LEINDEX_WORDPIECE_TREE") else { return };
    let mut files = Vec::new();
    files_below(Path::new(&tree), &mut files);
    assert!(!files.is_empty(), "there is no file in {tree:?}");
    let (next, bytes, different) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        let mut pair = match std::env::var_os("LEINDEX_MODEL") {
            Some(model) => Pair::of_model(Path::new(&model)),
            None => Pair::new(&vocabulary(), WordPieceOptions::default()),
        };
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Ok(content) = std::fs::read(path) else { continue };
            bytes.fetch_add(content.len(), Ordering::Relaxed);
            let (ours, theirs) = pair.both(&String::from_utf8_lossy(&content));
            if ours != theirs {
                different.lock().expect("no thread panicked").push(path.clone());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let different = different.into_inner().expect("no thread panicked");
    #[allow(clippy::print_stderr, reason = "what the test is run for")]
    {
        eprintln!("{} files, {} MB, {} differ", files.len(), bytes.into_inner() / 1_000_000, different.len());
    }
    assert!(different.is_empty(), "{different:?}");
}
