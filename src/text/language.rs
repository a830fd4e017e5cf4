//! The language of a file: from its name, else from its `#!` line.
//!
//! Owns the language codes that are stored on disk and the rules that give one to a file. Knows nothing of files or
//! of what is done with the answer. A name is the whole evidence where it is known; content is only asked for its
//! first line, so that most files are classified before they are read. What several languages claim (`.h`, `.m`,
//! `.v`) goes to the one that is most common in source trees (C, Objective-C, Verilog).

mod table;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use table::TABLE;

/// A `#!` line is judged by this many bytes of it (Linux itself reads 256).
const SHEBANG_BYTES_MAX: usize = 256;

/// Lower-case forms are built in a buffer of this size; no key is longer (a test).
const KEY_BYTES_MAX: usize = 32;

/// Endings that say nothing of their own: the language is that of the name before them (`config.h.in`).
const WRAPPERS: [&[u8]; 14] = [
    b"in",
    b"tmpl",
    b"template",
    b"tpl",
    b"orig",
    b"bak",
    b"old",
    b"new",
    b"save",
    b"sample",
    b"example",
    b"dist",
    b"disabled",
    b"skel",
];

/// A programming, markup or data language.
///
/// Ordered by code, which says nothing about the languages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language(u16);

impl Language {
    /// No language is known for the file.
    pub const UNKNOWN: Self = Self(0);

    /// The code stored on disk. It never changes between releases; 0 is [`Language::UNKNOWN`].
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The language of a stored code; `None` for one that this release does not know.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        (usize::from(code) < TABLE.len()).then_some(Self(code))
    }

    /// The identifier in lower case, such as `cpp`; `unknown` for [`Language::UNKNOWN`].
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.get(usize::from(self.0)).map_or("unknown", |r| r.id)
    }

    /// The language that a person means by `name`: an identifier, an alias (`c++`, `golang`, `docker`) or an
    /// extension with or without its dot (`rs`, `.yml`), in any case. `unknown` is [`Language::UNKNOWN`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut buffer = [0; KEY_BYTES_MAX];
        let key = lowercase(name.as_bytes(), &mut buffer)?;
        let label = INDEX.labels.get(key).copied();
        label.or_else(|| {
            let extension = key.strip_prefix(b".").unwrap_or(key);
            INDEX.extensions.get(extension).copied()
        })
    }

    /// Every language but [`Language::UNKNOWN`], by code.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().skip(1).map(|r| Self(r.code))
    }

    /// The language of the file with this name (the last component only) and these first bytes.
    ///
    /// In order: the exact name, the longest known extension, and the `#!` line in `head` if neither is known.
    /// `head` may be empty, and more than the first 256 bytes of it are never looked at. Nothing is allocated.
    #[must_use]
    pub fn detect(name: &[u8], head: &[u8]) -> Self {
        by_name(name).or_else(|| by_shebang(head)).unwrap_or(Self::UNKNOWN)
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A language's line of the table; lists are separated by spaces.
struct Row {
    code: u16,
    id: &'static str,
    aliases: &'static str,
    extensions: &'static str,
    names: &'static str,
    interpreters: &'static str,
}

type Keys = HashMap<&'static [u8], Language, BuildHasherDefault<Fnv1a>>;

/// The table, turned into what is looked up. Built once, on first use.
#[derive(Default)]
struct Index {
    labels: Keys,
    extensions: Keys,
    names: Keys,
    stems: Keys,
    interpreters: Keys,
    endings: Vec<(&'static [u8], Language)>,
    extension_bytes_max: usize,
}

static INDEX: LazyLock<Index> = LazyLock::new(Index::new);

impl Index {
    fn new() -> Self {
        let mut index = Self::default();
        for row in TABLE {
            index.add(row);
        }
        let lengths = index.extensions.keys().map(|key| key.len());
        index.extension_bytes_max = lengths.max().unwrap_or(0);
        index
    }

    fn add(&mut self, row: &'static Row) {
        let language = Language(row.code);
        self.labels.insert(row.id.as_bytes(), language);
        for alias in row.aliases.split_ascii_whitespace() {
            self.labels.insert(alias.as_bytes(), language);
        }
        for extension in row.extensions.split_ascii_whitespace() {
            self.extensions.insert(extension.as_bytes(), language);
        }
        for interpreter in row.interpreters.split_ascii_whitespace() {
            self.interpreters.insert(interpreter.as_bytes(), language);
        }
        for name in row.names.split_ascii_whitespace() {
            if let Some(ending) = name.strip_prefix('*') {
                self.endings.push((ending.as_bytes(), language));
            } else if let Some(stem) = name.strip_suffix('*') {
                self.stems.insert(stem.as_bytes(), language);
                self.names.insert(stem.as_bytes(), language);
            } else {
                self.names.insert(name.as_bytes(), language);
            }
        }
    }
}

/// FNV-1a: keys are a few bytes and come from the table, so short and simple beats strong.
struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The length that a slice hashes before its bytes tells nothing that the bytes do not.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The exact key, else its lower-case form.
fn look_up(keys: &Keys, key: &[u8]) -> Option<Language> {
    if let Some(&language) = keys.get(key) {
        return Some(language);
    }
    if !key.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut buffer = [0; KEY_BYTES_MAX];
    keys.get(lowercase(key, &mut buffer)?).copied()
}

/// `key` in lower case, or `None` where it is longer than any key.
fn lowercase<'a>(key: &[u8], buffer: &'a mut [u8; KEY_BYTES_MAX]) -> Option<&'a [u8]> {
    let lower = buffer.get_mut(..key.len())?;
    lower.copy_from_slice(key);
    lower.make_ascii_lowercase();
    Some(lower)
}

fn by_name(name: &[u8]) -> Option<Language> {
    let mut name = name;
    loop {
        if let Some(language) = by_whole_name(name) {
            return Some(language);
        }
        let dot = memchr::memrchr(b'.', name)?;
        let (rest, ending) = name.split_at_checked(dot)?;
        if rest.is_empty() || !WRAPPERS.iter().any(|w| ending.get(1..) == Some(*w)) {
            return None;
        }
        name = rest;
    }
}

fn by_whole_name(name: &[u8]) -> Option<Language> {
    if name.len() <= KEY_BYTES_MAX
        && let Some(language) = look_up(&INDEX.names, name)
    {
        return Some(language);
    }
    // `Dockerfile.go` is a Dockerfile, but `Dockerfile_parser.go` is Go.
    let stem = by_stem(name);
    match stem {
        Some((language, b'.')) => Some(language),
        _ => by_extension(name).or(stem.map(|(language, _)| language)).or_else(|| by_ending(name)),
    }
}

/// The language that claims what precedes the first separator, and the separator.
fn by_stem(name: &[u8]) -> Option<(Language, u8)> {
    let mut bytes = name.iter().take(KEY_BYTES_MAX).enumerate().skip(1);
    let (at, &separator) = bytes.find(|(_, byte)| matches!(byte, b'.' | b'-' | b'_'))?;
    let language = INDEX.stems.get(name.get(..at)?)?;
    Some((*language, separator))
}

/// A leading dot hides a file; it does not begin an extension.
fn by_extension(name: &[u8]) -> Option<Language> {
    let first = name.len().saturating_sub(INDEX.extension_bytes_max + 1);
    let from = first.max(1);
    let tail = name.get(from..)?;
    memchr::memchr_iter(b'.', tail).find_map(|dot| {
        let extension = tail.get(dot + 1..)?;
        let before = name.get(from + dot - 1)?;
        // `tool.1` is a manual page; `tool-1.2.1` is not.
        let is_version = before.is_ascii_digit() && extension.first()?.is_ascii_digit();
        if is_version {
            return None;
        }
        look_up(&INDEX.extensions, extension)
    })
}

fn by_ending(name: &[u8]) -> Option<Language> {
    let mut endings = INDEX.endings.iter();
    let (_, language) = endings.find(|(ending, _)| name.ends_with(ending))?;
    Some(*language)
}

/// The language of the interpreter in a `#!` line.
fn by_shebang(head: &[u8]) -> Option<Language> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let rest = head.strip_prefix(b"#!")?;
    let rest = rest.get(..SHEBANG_BYTES_MAX).unwrap_or(rest);
    let line_end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    let line = rest.get(..line_end)?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let program = base_name(words.next()?);
    match program {
        b"env" => by_interpreter(base_name(env_program(&mut words)?)),
        b"busybox" | b"toybox" => by_interpreter(words.next()?),
        _ => by_interpreter(program),
    }
}

/// The program that `env` is told to run: the first word that is no option, no option's value and no assignment.
fn env_program<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    const SPLIT: &[u8] = b"--split-string=";
    while let Some(word) = words.next() {
        if matches!(word, b"-u" | b"-C" | b"-P" | b"--unset" | b"--chdir" | b"--argv0" | b"-a") {
            words.next();
        } else if let Some(split) = word.strip_prefix(SPLIT) {
            return Some(split);
        } else if word.starts_with(b"-") {
            // `-Sperl` and `-vSperl` carry the program in the option.
            let flags = word.iter().skip(1).take_while(|b| b"0iv".contains(b));
            let rest = word.get(1 + flags.count()..)?;
            if let Some(program @ [_, ..]) = rest.strip_prefix(b"S") {
                return Some(program);
            }
        } else if memchr::memchr(b'=', word).is_none() {
            return Some(word);
        }
    }
    None
}

fn base_name(path: &[u8]) -> &[u8] {
    let from = memchr::memrchr2(b'/', b'\\', path).map_or(0, |at| at + 1);
    path.get(from..).unwrap_or(path)
}

/// `python3.11`, `python3` and `python` are one, as are `perl` and `perl.exe`.
fn by_interpreter(program: &[u8]) -> Option<Language> {
    let program = program.strip_suffix(b".exe").unwrap_or(program);
    if let Some(&language) = INDEX.interpreters.get(program) {
        return Some(language);
    }
    let is_version = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let end = program.iter().rposition(|byte| !is_version(byte))? + 1;
    INDEX.interpreters.get(program.get(..end)?).copied()
}

#[cfg(test)]
mod tests;
