//! Answers equal ripgrep's: for each pattern the set of (path, line, column) that `Query::regex` and `Query::substring`
//! find, with and without regard to case, is what the `rg` on the PATH prints for the same files.
//!
//! By default a tree of some 600 files is made up, with every encoding, line ending and length that has ever made a
//! difference. `LEINDEX_RG_TREE=DIR` compares the answers on a real tree as well.
#![cfg(unix)]
// What was compared belongs to the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::record::Flags;
use leindex_engine::{Engine, Query, QueryError, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{At, Place, Random, Vocabulary};

/// Patterns that a real tree is asked for too: they find something, but not in every other line.
const PATTERNS: &[&str] = &[
    // Literals, with and without punctuation, across it, at the edges of words.
    "alber",
    "schedule_timeout",
    "_lock",
    "Lock_",
    "->enha",
    "conor(",
    "if (ret) {",
    "e.g. an \"example\"",
    "a::b::<C>()",
    "*/",
    "\t\t\treturn",
    "zzyzx_is_nowhere",
    "x86_64",
    "0xdeadBEEF",
    "CamelCaseName",
    "word-with-hyphens",
    // Beyond ASCII.
    "é",
    "naïve café",
    "Straße",
    "STRASSE",
    "日本語",
    "ключ",
    "КЛЮЧ",
    "\u{212a}elvin",
    "ſtop",
    "“quoted”",
    "🦀",
    "e\u{301}",
    "\u{feff}",
    "\u{fffd}",
    r"(?-u:\xe9)t(?-u:\xe9)",
    r"(?-u:\xff\xfe)",
];

/// Regular expressions that a real tree is asked for too.
const REGEXES: &[&str] = &[
    r"\balber\b",
    r"^alber",
    r"alber$",
    r"^#include <[a-z/]+\.h>$",
    r"^\s*return\s+-E[A-Z]+;$",
    r"fn \w+_lock",
    r"(?i)camelcase",
    r"(?i)KELVIN",
    r"(?i)stra(ß|ss)e",
    r"[Tt]ime(out)?s?\b",
    r"alber|jun|zzyzx",
    r"(foo|bar)_(baz|qux)\(",
    r"TODO|FIXME|XXX",
    r"0x[0-9a-fA-F]{8}",
    r"\b[0-9]{3}-[0-9]{4}\b",
    r"[^\x00-\x7f]{3,}",
    r"\p{Cyrillic}+",
    r"\p{Greek}",
    r"\p{Lu}\p{Ll}+[A-Z]\w*Name",
    r"[[:upper:]]{5,}_[[:digit:]]+",
    r"\w+@\w+\.(com|org)",
    r"a{20,}",
    r"(ab){3}c",
    r"x{3}",
    r"spin_lock.*flags",
    r"foo.?bar",
    r"foo[ _-]+bar",
    r"foo\W+bar",
    r"\r$",
    r"timeout\r",
    r"[ \t]+$",
    r"^$|zzyzx",
    r"(^|_)foo(_|$)",
    r"(?:a|b|c)(?:d|e|f)(?:g|h|i)",
    r"\Babel\B",
    r"\x{e9}",
    r"(?-u)\w+\xe9",
    r"(?-u:\b)foo(?-u:\b)",
    r"^\S+$",
    r"\bk\b",
    r"\d+\.\d+\.\d+",
    r"[a-f]+ber\d",
    r"ber\b.{5,15}\bal",
    r"(?s)foo.bar",
    r"(?x) foo \s bar",
    r"(alber\w*\s*){3}",
];

/// Regular expressions that match nearly everywhere: for the tree that is made up only.
const REGEXES_EVERYWHERE: &[&str] = &[
    "",
    "a",
    "E",
    "_",
    ".",
    ".*",
    ".+",
    "x*",
    "$",
    "^",
    "^$",
    r"\b",
    // Not `\B` by itself: beside bytes that are not UTF-8, ripgrep 13 and 14 do not agree on it.
    r"\w+",
    r"\s",
    r"\S+\s*$",
    "[^a]",
    "[a-c]|x?",
    r"(?-u).",
    r"\p{L}",
    "(a|)",
    r"\z",
    r"\A",
    "[aeiou]{2}",
];

/// Patterns that both refuse.
const REFUSED: &[&str] = &["(", "a{2,1}", r"\p{Nope}", "[z-a]", "*", r"a\nb", "a\nb", r"(?P<n>a)(?P<n>b)", r"\1"];

fn ripgrep() -> Command {
    let mut command = Command::new("rg");
    command.args(["--no-config", "--color=never", "--no-messages"]);
    command
}

fn assert_installed() {
    let version = Command::new("rg").arg("--version").output();
    let version = version.expect("these tests compare with ripgrep: `rg` must be installed and on the PATH").stdout;
    println!("{}", String::from_utf8_lossy(&version).lines().next().unwrap());
}

/// What `rg` finds in `root`, or its complaint about the pattern.
fn rg(root: &Path, pattern: &str, options: &[&str]) -> Result<BTreeSet<At>, String> {
    let mut command = ripgrep();
    command.args(["--line-number", "--column", "--no-heading", "--no-ignore", "--hidden", "--text", "--null"]);
    command.args(options).arg("-e").arg(pattern).arg("./").current_dir(root);
    let output = command.output().unwrap();
    if output.status.code() == Some(2) && output.stdout.is_empty() {
        let silent = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(if silent.is_empty() { "refused".into() } else { silent });
    }
    let lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(at).collect())
}

/// `./path NUL line:column:text`. The column is 0 where there is none: ripgrep 13 prints none for an empty match at the end
/// of a file whose last line has no end.
fn at(line: &[u8]) -> At {
    let (path, rest) = line.split_at(line.iter().position(|&byte| byte == 0).unwrap_or_else(|| panic!("{line:?}")));
    let mut numbers =
        rest[1..].splitn(3, |&byte| byte == b':').map(|number| std::str::from_utf8(number).ok()?.parse().ok());
    let mut number = || numbers.next().flatten();
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let line_number = number().unwrap_or_else(|| panic!("from rg: {}", line.escape_ascii()));
    (PathBuf::from(OsStr::from_bytes(path)), line_number, number().unwrap_or(0))
}

/// An index and the files that it can search.
struct Corpus<'e> {
    engine: &'e Engine,
    snapshot: Snapshot,
    searchable: BTreeSet<PathBuf>,
    compared: usize,
    hits: usize,
}

impl<'e> Corpus<'e> {
    fn new(engine: &'e Engine) -> Self {
        let snapshot = engine.snapshot().unwrap();
        let mut searchable = BTreeSet::new();
        let each = |path: &[u8], meta: &leindex_engine::record::FileMeta| {
            if meta.flags.has(Flags::INDEXED) {
                searchable.insert(PathBuf::from(OsStr::from_bytes(path)));
            }
        };
        snapshot.for_each_file(each).unwrap();
        Corpus { engine, snapshot, searchable, compared: 0, hits: 0 }
    }

    /// Compares a query with what `rg` finds with `options`.
    fn compare(&mut self, query: Query, pattern: &str, options: &[&str]) {
        let mut expected = rg(self.engine.root(), pattern, options).unwrap_or_else(|error| panic!("rg: {error}"));
        expected.retain(|(path, ..)| self.searchable.contains(path));
        let found = support::hits(&self.snapshot, &query);
        let without_column: Vec<At> = expected.iter().filter(|at| at.2 == 0).cloned().collect();
        for at in without_column {
            let same_line = (at.0.clone(), at.1, 0)..(at.0.clone(), at.1 + 1, 0);
            if let Some(ours) = found.range(same_line).next() {
                expected.remove(&at);
                expected.insert(ours.clone());
            }
        }
        support::assert_equal_sets(&found, &expected, &format!("{pattern:?} {options:?}"));
        self.compared += 1;
        self.hits += expected.len();
    }

    fn compare_regex(&mut self, pattern: &str) {
        self.compare(Query::regex(pattern), pattern, &[]);
        self.compare(Query::regex(pattern).case_insensitive(true), pattern, &["-i"]);
    }

    fn compare_substring(&mut self, literal: &str) {
        self.compare(Query::substring(literal), literal, &["-F"]);
        self.compare(Query::substring(literal).case_insensitive(true), literal, &["-F", "-i"]);
    }

    fn report(&self) {
        println!("{} queries, {} hits, {} files", self.compared, self.hits, self.searchable.len());
    }
}

/// Text that the patterns find something in.
const LINES: &[&str] = &[
    "static int schedule_timeout(long timeout) {",
    "\t\t\treturn -EINVAL;",
    "#include <linux/kernel.h>",
    "fn take_lock(&self) -> Guard<'_>",
    "spin_lock_irqsave(&dev->lock, flags);",
    "foo bar foo_bar foo-bar foobar foo",
    "_foo_",
    "foo",
    "a::b::<C>() e.g. an \"example\" */ word-with-hyphens",
    "x86_64 0xdeadBEEF 0xDEADbeef 555-1234 1.2.3",
    "CamelCaseName camelCaseName CAMELCASENAME camel_case_name",
    "naïve café, CAFÉ, cafe\u{301}",
    "Straße STRASSE straẞe",
    "日本語のテキスト",
    "ключ КЛЮЧ Ключ",
    "Kelvin \u{212a}elvin kelvin, stop ſtop STOP",
    "“quoted” text … – dashes",
    "crab 🦀 crab",
    "αβγ Ωmega",
    "ababababc xxx xxxx abel babel labels",
    "someone@example.com, other@example.org",
    "TODO: timeouts Timeout TIMEOUT_12",
    "trailing blanks   ",
    "trailing tab\t",
    "lone carriage \r return",
    "",
    "   ",
    "k",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "if (ret) {",
    "zero\u{200b}width, soft\u{ad}hyphen, nbsp\u{a0}here",
    "\u{fffd}",
    "foo\u{b}bar foo\u{c}bar foo\u{85}bar foo\u{2028}bar",
];

/// How the text of a file is written.
#[derive(Clone, Copy)]
enum Form {
    Unix,
    Dos,
    MixedEnds,
    OldMac,
    NoFinalEnd,
    Utf8Bom,
    Utf16Le,
    Utf16Be,
    Utf16LeTorn,
    Latin1,
    InvalidUtf8,
    LateNul,
}

const FORMS: &[Form] = &[
    Form::Unix,
    Form::Unix,
    Form::Dos,
    Form::MixedEnds,
    Form::OldMac,
    Form::NoFinalEnd,
    Form::Utf8Bom,
    Form::Utf16Le,
    Form::Utf16Be,
    Form::Utf16LeTorn,
    Form::Latin1,
    Form::InvalidUtf8,
    Form::LateNul,
];

fn encode(lines: &[String], form: Form, random: &mut Random) -> Vec<u8> {
    let unix = lines.join("\n") + "\n";
    let utf16 = |mark: u16, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        [mark].into_iter().chain(unix.encode_utf16()).flat_map(order).collect()
    };
    match form {
        Form::Unix => unix.into_bytes(),
        Form::Dos => unix.replace('\n', "\r\n").into_bytes(),
        Form::MixedEnds => {
            let end = |random: &mut Random| *random.pick(&["\n", "\r\n", "\n\n", "\r\r\n"]);
            lines.iter().map(|line| format!("{line}{}", end(random))).collect::<String>().into_bytes()
        }
        Form::OldMac => unix.replace('\n', "\r").into_bytes(),
        Form::NoFinalEnd => lines.join("\n").into_bytes(),
        Form::Utf8Bom => [b"\xef\xbb\xbf", unix.as_bytes()].concat(),
        Form::Utf16Le => utf16(0xfeff, u16::to_le_bytes),
        Form::Utf16Be => utf16(0xfeff, u16::to_be_bytes),
        Form::Utf16LeTorn => [&utf16(0xfeff, u16::to_le_bytes)[..], b"\x00\xd8\x41\x00\x41"].concat(),
        Form::Latin1 => unix.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        Form::InvalidUtf8 => {
            // No continuation bytes: where one follows a whole character, ripgrep 13 and 14 do not agree on `\b`.
            let mut bytes = unix.into_bytes();
            for _ in 0..1 + bytes.len() / 50 {
                let (at, byte) = (random.below(bytes.len()), 0xc0 + random.below(0x40) as u8);
                bytes.insert(at, byte);
            }
            bytes
        }
        Form::LateNul => {
            // Behind the bytes that are looked at for the verdict "binary".
            let mut bytes = unix.repeat(1 + 12_000 / unix.len()).into_bytes();
            bytes.extend_from_slice(b"a NUL \0 here: foo bar\nand lines after it: alber\n");
            bytes
        }
    }
}

fn make_corpus(place: &Place) {
    let mut random = Random(11);
    let vocabulary = Vocabulary::new(1500);
    for n in 0..580 {
        let mut lines = Vec::new();
        for _ in 0..1 + random.below(12) {
            lines.push((*random.pick(LINES)).to_owned());
            let words = 1 + random.below(8);
            lines.extend(vocabulary.text(&mut random, words).lines().map(str::to_owned));
        }
        let content = encode(&lines, *random.pick(FORMS), &mut random);
        place.write(format!("d{}/f{n}.c", n % 13), content);
    }
    for (name, content) in odd_files() {
        place.write(Path::new("odd").join(name), content);
    }
}

/// Files that are odd in length.
fn odd_files() -> BTreeMap<&'static str, Vec<u8>> {
    let long_line = "alber jun (foo bar) ".repeat(20_000) + "the_end_of_it\nand foo\n";
    let run = |bytes: usize| "a".repeat(bytes);
    let runs: String = [199, 200, 201, 1000, 70_000].iter().map(|&bytes| format!("x {}b y\n", run(bytes))).collect();
    BTreeMap::from([
        ("empty", Vec::new()),
        ("one_byte", b"a".to_vec()),
        ("one_end", b"\n".to_vec()),
        ("ends", b"\n\n\n\n".to_vec()),
        ("carriage_return", b"\r".to_vec()),
        ("only_utf8_bom", b"\xef\xbb\xbf".to_vec()),
        ("only_utf16_bom", b"\xff\xfe".to_vec()),
        ("two_utf8_boms", b"\xef\xbb\xbf\xef\xbb\xbffoo\n".to_vec()),
        ("bom_in_the_middle", "foo\n\u{feff}foo bar\n".into()),
        ("long_line", long_line.into()),
        ("runs", runs.into()),
        ("run_without_end", run(300).into()),
        ("run_of_latin1", [&b"\xe9t\xe9 "[..], &[0xe9; 400], b"\n"].concat()),
        ("run_of_kanji", "日本語".repeat(200).into()),
        ("run_in_utf16", encode(&[run(500) + "b"], Form::Utf16Le, &mut Random(1))),
        ("many_lines", "k\n".repeat(70_000).into()),
        ("binary", b"foo bar\0alber\n".to_vec()),
    ])
}

#[test]
fn answers_equal_those_of_ripgrep() {
    assert_installed();
    let place = Place::new();
    make_corpus(&place);
    let engine = place.engine();
    let report = support::run(&engine);
    println!("{:?}", report.files);
    assert!(report.files.indexed > 550 && report.files.binary > 0);
    let mut corpus = Corpus::new(&engine);
    for pattern in PATTERNS.iter().chain(["a", "e", "_", " ", "\r", ";", "É", "b1", "\u{a0}"].iter()) {
        corpus.compare_substring(pattern);
    }
    for pattern in REGEXES.iter().chain(REGEXES_EVERYWHERE) {
        corpus.compare_regex(pattern);
    }
    corpus.report();
    assert!(corpus.compared > 200 && corpus.hits > 100_000);
}

#[test]
fn what_ripgrep_refuses_is_refused() {
    assert_installed();
    let place = Place::new();
    place.write("file", "a\nb\n");
    let engine = place.engine();
    support::run(&engine);
    let snapshot = engine.snapshot().unwrap();
    for pattern in REFUSED {
        rg(&place.root(), pattern, &[]).expect_err(pattern);
        let error = snapshot.search(&Query::regex(*pattern)).expect_err(pattern);
        assert!(matches!(&error, QueryError::Pattern { detail } if !detail.is_empty()), "{pattern}: {error:?}");
    }
}

#[test]
fn answers_on_a_real_tree_equal_those_of_ripgrep() {
    let Some(tree) = std::env::var_os("LEINDEX_RG_TREE") else {
        return println!("SKIPPED: LEINDEX_RG_TREE names no tree to compare on");
    };
    assert_installed();
    let index = tempfile::tempdir().unwrap();
    let engine = Engine::builder().index_dir(index.path().join("index")).open(&tree).unwrap();
    let run = engine.index();
    while run.next_event(Duration::from_secs(1)) != Some(leindex_engine::Event::Ended) {}
    let report = run.wait().unwrap();
    println!("{:?} {:?}", report.files, report.seconds);
    let mut corpus = Corpus::new(&engine);
    for pattern in PATTERNS {
        corpus.compare_substring(pattern);
    }
    for pattern in REGEXES.iter().filter(|pattern| !matches!(**pattern, r"^\S+$" | r"[ \t]+$" | r"^$|zzyzx")) {
        corpus.compare_regex(pattern);
    }
    corpus.report();
}
