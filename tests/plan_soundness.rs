//! The planner against the regex engine: whatever matches must be a candidate; and, for patterns that people write, the
//! very plan.
//!
//! More cases: `PROPTEST_CASES=200000`; other ones: `PROPTEST_RNG_SEED=7` (the seed in use is printed).

// The seed and what was covered belong to the test's output.
#![allow(clippy::print_stdout)]

use leindex_engine::query::plan::{Fragment, Limits, Plan, Planned, plan_literal, plan_regex};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use regex::bytes::{Regex, RegexBuilder};

// A model of the index.

/// What the index knows of a file.
struct Indexed {
    terms: Vec<Vec<u8>>,
    long_run: bool,
    not_utf8: bool,
    folds: bool,
    odd_run: bool,
}

fn is_run_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !is_run_byte(byte)).filter(|run| !run.is_empty())
}

/// Whether a run of several characters has a non-ASCII one that is no word character, or invalid UTF-8.
fn is_odd(run: &[u8], word: &Regex) -> bool {
    match std::str::from_utf8(run) {
        Err(_) => true,
        Ok(run) => {
            run.chars().count() > 1
                && run.chars().any(|c| !c.is_ascii() && !word.is_match(c.encode_utf8(&mut [0; 4]).as_bytes()))
        }
    }
}

impl Indexed {
    fn new(raw: &[u8], word: &Regex) -> Indexed {
        let not_utf8 = std::str::from_utf8(raw).is_err();
        let latin1: String = raw.iter().map(|&byte| char::from(byte)).collect();
        let text = if not_utf8 { latin1.as_bytes() } else { raw };
        let (short, long): (Vec<&[u8]>, Vec<&[u8]>) = runs(text).partition(|run| run.len() <= 200);
        Indexed {
            terms: short.iter().map(|run| run.to_ascii_lowercase()).collect(),
            long_run: !long.is_empty(),
            not_utf8,
            folds: ["\u{212A}", "\u{17F}"].iter().any(|c| raw.windows(c.len()).any(|w| w == c.as_bytes())),
            odd_run: runs(raw).any(|run| is_odd(run, word)),
        }
    }

    fn satisfies(&self, plan: &Plan) -> bool {
        plan.matches(&|fragment: &Fragment| self.terms.iter().any(|term| fragment.accepts(term)))
    }

    fn is_candidate(&self, planned: &Planned) -> bool {
        self.long_run
            || (planned.needs_non_ascii && self.not_utf8)
            || (planned.folded && self.folds)
            || (self.odd_run && planned.odd_runs.as_ref().is_some_and(|plan| self.satisfies(plan)))
            || self.satisfies(&planned.plan)
    }
}

fn compile(pattern: &str, case_insensitive: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .case_insensitive(case_insensitive)
        .size_limit(1 << 28)
        .dfa_size_limit(1 << 24)
        .build()
}

fn word() -> Regex {
    compile(r"\w", false).expect("a regex")
}

fn any_line_matches(regex: &Regex, raw: &[u8]) -> bool {
    raw.split(|&byte| byte == b'\n').any(|line| regex.is_match(line))
}

/// The limits under which everything is checked: the defaults, with the flag `ODD_RUN`, and far too small and large ones.
fn all_limits() -> Vec<Limits> {
    let small = Limits {
        max_alternatives: 2,
        max_union: 3,
        max_bytes: 12,
        max_class: 3,
        max_unroll: 2,
        max_nodes: 3,
        ..Limits::default()
    };
    let large = Limits { max_alternatives: 64, max_class: 64, max_unroll: 300, odd_runs: true, ..Limits::default() };
    let odd_runs = Limits { odd_runs: true, ..Limits::default() };
    let small_odd = Limits { odd_runs: true, max_nodes: 6, ..small.clone() };
    vec![Limits::default(), odd_runs, small, small_odd, large]
}

/// The promises of the type `Plan`, below its top.
fn assert_simplified(plan: &Plan) {
    let children = match plan {
        Plan::All | Plan::None => return,
        Plan::Fragment(fragment) => {
            let lower = |byte: &u8| is_run_byte(byte) && !byte.is_ascii_uppercase();
            assert!(!fragment.bytes.is_empty() && fragment.bytes.iter().all(lower), "{fragment}");
            return;
        }
        Plan::And(children) | Plan::Or(children) => children,
    };
    assert!(children.len() > 1, "{plan}");
    for (index, child) in children.iter().enumerate() {
        assert!(!matches!(child, Plan::All | Plan::None), "{plan}");
        assert!(std::mem::discriminant(child) != std::mem::discriminant(plan) || matches!(child, Plan::Fragment(_)));
        assert!(!children[..index].contains(child), "{plan}");
        assert!(index == 0 || children[index - 1].cost_hint() <= child.cost_hint(), "{plan}");
        assert_simplified(child);
    }
}

// Regexes, and texts on which they are likely to match.

/// A regex that can be written down and of which samples can be drawn.
#[derive(Clone, Debug)]
enum Node {
    Literal(String),
    Byte(u8),
    Class(usize),
    Anchor(usize),
    Group(Box<Node>),
    CaseInsensitive(Box<Node>),
    Ascii(usize),
    Concat(Vec<Node>),
    Alternation(Vec<Node>),
    Repetition(Box<Node>, u32, Option<u32>),
}

#[rustfmt::skip]
const ANCHORS: &[&str] = &[
    "^", "$", r"\b", r"\B", r"(?-u:\b)", r"\b{start}", r"\b{end}", r"\b{start-half}", r"\b{end-half}", r"\A", r"\z",
    r"(?m:^)", r"(?m:$)", r"(?-u:\b{start})",
];

/// Classes, each with members.
const CLASSES: &[(&str, &[&str])] = &[
    (".", &["a", "_", " ", "é", "“", "k"]),
    (r"\w", &["a", "Z", "9", "_", "é", "ß", "中"]),
    (r"\W", &["-", " ", "“", "\u{a0}"]),
    (r"\s", &[" ", "\t", "\u{a0}", "\u{2003}"]),
    (r"\S", &["x", "_", "“", "é"]),
    (r"\d", &["7", "0", "\u{663}"]),
    ("[a-c]", &["a", "c"]),
    ("[a-cA-C_]", &["a", "B", "_"]),
    ("[kK]", &["k", "K"]),
    ("[k\u{212A}]", &["k", "\u{212A}"]),
    ("[s\u{17F}é]", &["s", "\u{17F}", "é"]),
    ("[_-]", &["_", "-"]),
    ("[ _a]", &[" ", "_", "a"]),
    ("[éÉ]", &["é", "É"]),
    ("[“”]", &["“", "”"]),
    ("[“-]", &["“", "-"]),
    ("[^a]", &["b", " ", "é"]),
    ("[^_]", &["a", "-", "“"]),
    ("[A-Z]", &["A", "K", "S"]),
    ("[[:punct:]]", &["_", ".", "-"]),
];

const ASCII_CLASSES: &[(&str, &[&[u8]])] = &[
    (r"(?-u:\s)", &[b" ", b"\t"]),
    (r"(?-u:\W)", &[b" ", b"\xe9", b"\xff"]),
    (r"(?-u:\w)", &[b"a", b"_", b"K"]),
    (r"(?-u:.)", &[b"a", b"\xc3", b" "]),
    (r"(?-u:[\xe9a])", &[b"a", b"\xe9"]),
    (r"(?i-u:k)", &[b"k", b"K"]),
    (r"[^\s\S]", &[b""]),
    (r"(?-u:[\x80-\xff])", &[b"\x80", b"\xff"]),
];

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "a", "b", "k", "s", "K", "ab", "foo", "Bar", "ks", "é", "É", "ß", "ſ", "\u{212A}", "İ", "中文", "“", "\u{a0}", "_",
    "a_b", "foo_bar", "-", " ", "1", "x2", ".", "aé", "_k", "s ", "\u{301}",
];

/// A small generator: the same seed gives the same sample.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 20) % u64::try_from(sides).expect("small")).expect("small")
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }
}

impl Node {
    fn pattern(&self) -> String {
        match self {
            Node::Literal(text) => regex::escape(text),
            Node::Byte(byte) => format!(r"(?-u:\x{byte:02x})"),
            Node::Class(index) => CLASSES[index % CLASSES.len()].0.to_owned(),
            Node::Ascii(index) => ASCII_CLASSES[index % ASCII_CLASSES.len()].0.to_owned(),
            Node::Anchor(index) => ANCHORS[index % ANCHORS.len()].to_owned(),
            Node::Group(node) => format!("({})", node.pattern()),
            Node::CaseInsensitive(node) => format!("(?i:{})", node.pattern()),
            Node::Concat(nodes) => nodes.iter().map(Node::pattern).collect(),
            Node::Alternation(nodes) => {
                format!("(?:{})", nodes.iter().map(Node::pattern).collect::<Vec<_>>().join("|"))
            }
            Node::Repetition(node, min, max) => {
                let sub = node.pattern();
                match (min, max) {
                    (0, None) => format!("(?:{sub})*"),
                    (1, None) => format!("(?:{sub})+?"),
                    (0, Some(1)) => format!("(?:{sub})?"),
                    (min, None) => format!("(?:{sub}){{{min},}}"),
                    (min, Some(max)) => format!("(?:{sub}){{{min},{max}}}"),
                }
            }
        }
    }

    /// Appends bytes that the regex matches, look-around aside.
    fn sample(&self, dice: &mut Dice, out: &mut Vec<u8>) {
        match self {
            Node::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Node::Byte(byte) => out.push(*byte),
            Node::Class(index) => out.extend_from_slice(dice.pick(CLASSES[index % CLASSES.len()].1).as_bytes()),
            Node::Ascii(index) => out.extend_from_slice(dice.pick(ASCII_CLASSES[index % ASCII_CLASSES.len()].1)),
            Node::Anchor(_) => {}
            Node::Group(node) => node.sample(dice, out),
            Node::CaseInsensitive(node) => {
                let mut inner = Vec::new();
                node.sample(dice, &mut inner);
                out.extend(other_case(&inner, dice));
            }
            Node::Concat(nodes) => nodes.iter().for_each(|node| node.sample(dice, out)),
            Node::Alternation(nodes) => nodes[dice.roll(nodes.len())].sample(dice, out),
            Node::Repetition(node, min, max) => {
                let most = usize::try_from(max.unwrap_or(min + 3) - min).expect("small");
                let count = usize::try_from(*min).expect("small") + dice.roll(most + 1);
                (0..count).for_each(|_| node.sample(dice, out));
            }
        }
    }
}

/// `text` with some characters in another case, by Unicode's simple folding.
fn other_case(text: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let forms: &[&str] = match c {
                'k' | 'K' | '\u{212A}' => &["k", "K", "\u{212A}"],
                's' | 'S' | 'ſ' => &["s", "S", "ſ"],
                'é' | 'É' => &["é", "É"],
                'ß' => &["ß", "ẞ"],
                _ => &[],
            };
            let upper = c.to_ascii_uppercase();
            match (forms, dice.roll(2)) {
                ([], 0) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                ([], _) => out.extend_from_slice(upper.encode_utf8(&mut [0; 4]).as_bytes()),
                (forms, _) => out.extend_from_slice(dice.pick(forms).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// Something to put around a sample: most of it near what separates, or does not separate, runs and words.
fn noise(dice: &mut Dice, out: &mut Vec<u8>) {
    #[rustfmt::skip]
    const NOISE: &[&[u8]] = &[
        b"", b"", b"\n", b"\n", b" ", b"_", b"-", b"a", b"Z9", b"k", b"foo", "é".as_bytes(), "“".as_bytes(),
        "\u{a0}".as_bytes(), "中".as_bytes(), "ſ".as_bytes(), "\u{212A}".as_bytes(), b"\r", b"\t", b".",
    ];
    for _ in 0..dice.roll(3) {
        out.extend_from_slice(dice.pick(NOISE));
    }
    match dice.roll(60) {
        0 => out.extend_from_slice(b"\xff"),
        1 => out.extend_from_slice(b"\xe9"),
        2 => out.extend_from_slice(b"\xe2\x84"),
        3 => out.extend(std::iter::repeat_n(b'a', 190 + dice.roll(20))),
        _ => {}
    }
}

fn file(node: &Node, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed | 1);
    let mut raw = Vec::new();
    for _ in 0..=dice.roll(2) {
        noise(&mut dice, &mut raw);
        if dice.roll(5) > 0 {
            node.sample(&mut dice, &mut raw);
        }
    }
    noise(&mut dice, &mut raw);
    raw
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        8 => (0..WORDS.len()).prop_map(|index| Node::Literal(WORDS[index].to_owned())),
        1 => "[aks_ é]{1,4}".prop_map(Node::Literal),
        4 => any::<usize>().prop_map(Node::Class),
        2 => any::<usize>().prop_map(Node::Ascii),
        3 => any::<usize>().prop_map(Node::Anchor),
        1 => prop_oneof![Just(0xffu8), Just(0xe9), Just(0x84), Just(b'K'), Just(b'_')].prop_map(Node::Byte),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            6 => prop::collection::vec(inner.clone(), 1..5).prop_map(Node::Concat),
            2 => prop::collection::vec(inner.clone(), 1..5).prop_map(Node::Alternation),
            1 => inner.clone().prop_map(|node| Node::Group(Box::new(node))),
            1 => inner.clone().prop_map(|node| Node::CaseInsensitive(Box::new(node))),
            3 => (inner, repeats()).prop_map(|(node, (min, max))| Node::Repetition(Box::new(node), min, max)),
        ]
    })
}

fn repeats() -> impl Strategy<Value = (u32, Option<u32>)> {
    prop_oneof![
        3 => Just((0, None)),
        3 => Just((1, None)),
        3 => Just((0, Some(1))),
        2 => (0u32..4, 0u32..4).prop_map(|(min, more)| (min, Some(min + more))),
        1 => (2u32..4).prop_map(|min| (min, None)),
    ]
}

// The checks.

/// A runner with a fixed seed, unless the environment gives one, and `cases` cases, unless the environment says how many.
fn runner(name: &str, cases: u32) -> TestRunner {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(20_240_607);
    }
    println!("{name}: {} cases, seed {:?}", config.cases, config.rng_seed);
    TestRunner::new(config)
}

/// How often something matched, so that a test cannot become vacuous unnoticed.
#[derive(Default)]
struct Tally {
    files: std::cell::Cell<usize>,
    matches: std::cell::Cell<usize>,
    candidates: std::cell::Cell<usize>,
}

impl Tally {
    fn add(&self, matched: bool, candidate: bool) {
        self.files.set(self.files.get() + 1);
        self.matches.set(self.matches.get() + usize::from(matched));
        self.candidates.set(self.candidates.get() + usize::from(candidate));
    }

    fn report(&self, name: &str, least_percent: usize) {
        let (files, matches, candidates) = (self.files.get(), self.matches.get(), self.candidates.get());
        println!("{name}: {files} files, {matches} match, {candidates} are candidates by the default limits");
        assert!(matches * 100 >= files * least_percent, "{name} hardly ever matches");
        assert!(matches < files && candidates < files, "{name} always matches");
    }
}

/// Checks a regex and its plans against a file.
fn check(regex: &Regex, plans: &[Planned], raw: &[u8], word: &Regex, tally: &Tally) -> Result<(), TestCaseError> {
    let indexed = Indexed::new(raw, word);
    let matched = any_line_matches(regex, raw);
    tally.add(matched, plans.first().is_some_and(|planned| indexed.is_candidate(planned)));
    for planned in plans.iter().filter(|_| matched) {
        let text = raw.escape_ascii();
        prop_assert!(indexed.is_candidate(planned), "{regex} matches \"{text}\", which is no candidate of {planned}");
    }
    Ok(())
}

#[test]
fn every_file_with_a_match_is_a_candidate() {
    let (word, tally) = (word(), Tally::default());
    let input = (any_node(), any::<bool>(), prop::array::uniform8(any::<u64>()));
    let result = runner("regexes", 6000).run(&input, |(node, case_insensitive, seeds)| {
        let pattern = node.pattern();
        let Ok(regex) = compile(&pattern, case_insensitive) else { return Err(TestCaseError::reject("too large")) };
        let mut plans = Vec::new();
        for limits in all_limits() {
            let planned = plan_regex(&pattern, case_insensitive, &limits)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            assert_simplified(&planned.plan);
            prop_assert!(planned.plan.node_count() <= limits.max_nodes, "{planned}");
            prop_assert_eq!(&planned, &plan_regex(&pattern, case_insensitive, &limits).expect("it was a regex"));
            plans.push(planned);
        }
        seeds.iter().try_for_each(|&seed| check(&regex, &plans, &file(&node, seed), &word, &tally))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    tally.report("regexes", 30);
}

/// A regex for the literal, as the planner understands it: what is no UTF-8 stands for itself.
fn literal_pattern(literal: &[u8]) -> String {
    let bytes = |invalid: &[u8]| invalid.iter().map(|byte| format!(r"(?-u:\x{byte:02x})")).collect::<String>();
    literal.utf8_chunks().map(|chunk| regex::escape(chunk.valid()) + &bytes(chunk.invalid())).collect()
}

#[test]
fn every_file_with_a_substring_is_a_candidate() {
    let (word, tally) = (word(), Tally::default());
    let input = (any_node(), any::<bool>(), any::<u64>(), any::<usize>(), 1usize..30);
    let result = runner("substrings", 6000).run(&input, |(node, case_insensitive, seed, start, length)| {
        let raw = file(&node, seed);
        let start = start % (raw.len() + 1);
        let literal = &raw[start..raw.len().min(start + length)];
        let pattern = literal_pattern(literal);
        let regex = compile(&pattern, case_insensitive).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut plans = Vec::new();
        for limits in all_limits() {
            let planned = plan_literal(literal, case_insensitive, &limits);
            let same = plan_regex(&pattern, case_insensitive, &limits).expect("an escaped regex");
            prop_assert_eq!(&planned, &same);
            plans.push(planned);
        }
        let mut dice = Dice(seed | 1);
        check(&regex, &plans, &raw, &word, &tally)?;
        check(&regex, &plans, &other_case(&raw, &mut dice), &word, &tally)?;
        check(&regex, &plans, &file(&node, seed.rotate_left(17)), &word, &tally)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    tally.report("substrings", 30);
}

// The very plans.

/// Patterns and their plans under the default limits.
const PLANS: &[(&str, &str)] = &[
    ("", "ALL"),
    ("a", r#"substring:"a""#),
    (".*", "ALL"),
    ("x{3}", r#"substring:"xxx""#),
    ("x{2,3}", r#"substring:"xx""#),
    ("schedule_timeout", r#"AND(prefix:"timeout", suffix:"schedule")"#),
    (r"fn \w+_lock", r#"AND(prefix:"lock", suffix:"fn")"#),
    (r"(?i)kmalloc\(", r#"suffix:"kmalloc" +FOLDS"#),
    ("foo.*bar", r#"AND(substring:"bar", substring:"foo")"#),
    (r"struct\s+page", r#"AND(substring:"struct", substring:"page")"#),
    ("struct +page", r#"AND(prefix:"page", suffix:"struct")"#),
    (r"EXPORT_SYMBOL_GPL\(", r#"AND(exact:"symbol", exact:"gpl", suffix:"export")"#),
    (r"EXPORT_SYMBOL(_GPL)?\(", r#"AND(exact:"symbol", suffix:"export")"#),
    ("[Tt]imeout", r#"substring:"timeout""#),
    (r"\bfoo\b", r#"substring:"foo""#),
    (r"(?-u:\b)foo(?-u:\b)", r#"substring:"foo""#),
    (r"(?-u)\bfoo\s+bar\b", r#"AND(prefix:"bar", suffix:"foo")"#),
    ("^#include <linux/", r#"AND(exact:"include", exact:"linux")"#),
    ("^int main$", r#"AND(exact:"main", exact:"int")"#),
    ("^foo", r#"prefix:"foo""#),
    ("foo$", r#"suffix:"foo""#),
    (r"\Afoo\z", r#"exact:"foo""#),
    ("(foo|bar)baz", r#"OR(substring:"barbaz", substring:"foobaz")"#),
    ("(foo|bar)_baz", r#"AND(prefix:"baz", OR(suffix:"bar", suffix:"foo"))"#),
    ("foo|bar|foobar", r#"OR(substring:"bar", substring:"foo")"#),
    ("foo|", "ALL"),
    ("(foo)?bar", r#"substring:"bar""#),
    ("(foo)+bar", r#"substring:"foobar""#),
    ("colou?r", r#"OR(substring:"colour", substring:"color")"#),
    ("a.b", r#"AND(substring:"a", substring:"b")"#),
    (
        "[abc][def][ghi][jkl]mnop",
        r#"AND(OR(substring:"gjmnop", substring:"gkmnop", substring:"glmnop", substring:"hjmnop", substring:"hkmnop", substring:"hlmnop", substring:"ijmnop", substring:"ikmnop", substring:"ilmnop"), OR(substring:"ad", substring:"ae", substring:"af", substring:"bd", substring:"be", substring:"bf", substring:"cd", substring:"ce", substring:"cf"))"#,
    ),
    (r"[ \t]foo[-+]", r#"exact:"foo""#),
    ("foo[ _-]*bar", r#"OR(AND(prefix:"bar", suffix:"foo"), substring:"foobar")"#),
    ("foo[ _-]+bar", r#"AND(prefix:"bar", suffix:"foo")"#),
    ("é", r#"substring:"é" +NOT_UTF8"#),
    ("(?i)é", r#"OR(substring:"É", substring:"é") +NOT_UTF8"#),
    ("(?i)straße", r#"OR(substring:"straẞe", substring:"straße") +NOT_UTF8 +FOLDS"#),
    ("(?i)s", r#"substring:"s" +FOLDS"#),
    (r"(?-u:\xff)foo", r#"substring:"\xfffoo" +NOT_UTF8"#),
    ("[[:^ascii:]]x", r#"substring:"x""#),
    (r"foo\nbar", r#"AND(prefix:"bar", suffix:"foo")"#),
    ("TODO|FIXME|XXX", r#"OR(substring:"fixme", substring:"todo", substring:"xxx")"#),
    ("(?i)todo|fixme", r#"OR(substring:"fixme", substring:"todo")"#),
    (r"(get|put)_(user|page)\(", r#"AND(OR(exact:"page", exact:"user"), OR(suffix:"get", suffix:"put"))"#),
    (r"if \(!?ret\)", r#"AND(exact:"ret", suffix:"if")"#),
    (r"\d+\.\d+", "ALL"),
    ("0x[0-9a-f]{8}", r#"substring:"0x""#),
    (
        r"dev_(err|warn|info|dbg)\(.*%s",
        r#"AND(OR(exact:"info", exact:"warn", exact:"dbg", exact:"err"), suffix:"dev")"#,
    ),
    (
        r"static\s+(inline\s+)?(int|void)\s+\w+_probe\(",
        r#"AND(exact:"probe", substring:"static", OR(substring:"void", substring:"int"))"#,
    ),
    (r"(?m)^\s*#\s*define\s+CONFIG_", r#"AND(suffix:"config", substring:"define")"#),
    (r"return\s+-E(INVAL|NOMEM);", r#"AND(OR(exact:"einval", exact:"enomem"), substring:"return")"#),
    (r"foo[^\s\S]|bar", r#"substring:"bar""#),
    ("a+b+c", r#"AND(substring:"ab", substring:"bc")"#),
    (r"spin_lock_irqsave\(&\w+->lock, flags\)", r#"AND(exact:"irqsave", exact:"flags", exact:"lock", suffix:"spin")"#),
    ("[01]{2}", r#"OR(substring:"00", substring:"01", substring:"10", substring:"11")"#),
    ("foo( bar)?$", r#"suffix:"foo""#),
    ("(^|_)foo(_|$)", r#"exact:"foo""#),
    ("(^|[^a-z])foo", r#"substring:"foo""#),
    (r#""quoted words""#, r#"AND(exact:"quoted", exact:"words")"#),
    ("std::mem::swap", r#"AND(exact:"mem", prefix:"swap", suffix:"std")"#),
    ("x86_64", r#"AND(prefix:"64", suffix:"x86")"#),
    (r"fn\b", r#"substring:"fn""#),
    ("(?i)CamelCase", r#"substring:"camelcase" +FOLDS"#),
    (r"foo\.bar\(\)", r#"AND(exact:"bar", suffix:"foo")"#),
    ("[“”]foo", r#"OR(substring:"“foo", substring:"”foo") +NOT_UTF8"#),
    ("naïve café", r#"AND(prefix:"café", suffix:"naïve") +NOT_UTF8"#),
    ("foo{2,}", r#"substring:"fooo""#),
    (r"\w+@\w+\.com", r#"prefix:"com""#),
];

/// Those whose plans are better where the index flags `ODD_RUN` files.
const PLANS_WITH_ODD_RUNS: &[(&str, &str)] = &[
    (r"struct\s+page", r#"AND(prefix:"page", suffix:"struct") +ODD_RUN"#),
    (r"\bfoo\b", r#"exact:"foo" +ODD_RUN"#),
    (
        r"static\s+(inline\s+)?(int|void)\s+\w+_probe\(",
        r#"AND(exact:"probe", OR(exact:"void", exact:"int"), suffix:"static") +ODD_RUN"#,
    ),
    (r"(?m)^\s*#\s*define\s+CONFIG_", r#"AND(exact:"config", exact:"define") +ODD_RUN"#),
    (r"return\s+-E(INVAL|NOMEM);", r#"AND(OR(exact:"einval", exact:"enomem"), suffix:"return") +ODD_RUN"#),
    (r"fn\b", r#"suffix:"fn" +ODD_RUN"#),
];

fn plan(pattern: &str, case_insensitive: bool, limits: &Limits) -> Planned {
    plan_regex(pattern, case_insensitive, limits).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn patterns_have_the_expected_plans() {
    for (pattern, expected) in PLANS {
        assert_eq!(plan(pattern, false, &Limits::default()).to_string(), *expected, "{pattern}");
    }
}

#[test]
fn flagged_odd_runs_make_word_boundaries_tell() {
    let limits = Limits { odd_runs: true, ..Limits::default() };
    for (pattern, plain) in PLANS {
        let better = PLANS_WITH_ODD_RUNS.iter().find(|(other, _)| other == pattern);
        let expected = better.map_or(*plain, |(_, better)| *better);
        assert_eq!(plan(pattern, false, &limits).to_string(), expected, "{pattern}");
    }
}

#[test]
fn case_insensitivity_folds_k_and_s_only_where_unicode_does() {
    let limits = Limits::default();
    let check = |pattern: &str, expected: &str| assert_eq!(plan(pattern, true, &limits).to_string(), expected);
    check("Page", r#"substring:"page""#);
    check("task_lock", r#"AND(prefix:"lock", suffix:"task") +FOLDS"#);
    check("(?-u:Task)", r#"substring:"task""#);
    check("(?-i:Task)", r#"substring:"task""#);
    assert_eq!(plan_literal(b"Disk_", true, &limits).to_string(), r#"suffix:"disk" +FOLDS"#);
    assert_eq!(plan_literal(b"Disk_", false, &limits).to_string(), r#"suffix:"disk""#);
    assert_eq!(plan_literal(b"\xffd", true, &limits).to_string(), r#"substring:"\xffd" +NOT_UTF8"#);
    assert_eq!(plan_literal(b"", true, &limits).plan, Plan::All);
}

#[test]
fn a_run_that_is_no_term_needs_no_plan() {
    let limits = Limits { max_unroll: 300, ..Limits::default() };
    assert_eq!(plan("a{200}", false, &limits).plan.node_count(), 1);
    assert_eq!(plan("a{201}", false, &limits).plan, Plan::None);
    let few = Limits { max_unroll: 2, ..Limits::default() };
    assert_eq!(plan("_a{3}_", false, &few).to_string(), r#"prefix:"aa""#);
    assert_eq!(plan("_a{2}_", false, &few).to_string(), r#"exact:"aa""#);
    assert_eq!(plan("a{201}_b|c", false, &limits).to_string(), r#"substring:"c""#);
    let literal = [b"ab_".as_slice(), &[b'x'; 201]].concat();
    assert_eq!(plan_literal(&literal, false, &limits).plan, Plan::None);
}

#[test]
fn long_alternations_are_coarsened() {
    let words: Vec<String> = (0..2000).map(|n: u32| format!("w{:x}_{n}", n.wrapping_mul(2_654_435_761))).collect();
    let limits = Limits::default();
    let planned = plan(&words.join("|"), false, &limits);
    assert!(planned.plan.node_count() <= limits.max_nodes);
    assert!(!matches!(planned.plan, Plan::All | Plan::None));
    for word in &words {
        let terms: Vec<&[u8]> = runs(word.as_bytes()).collect();
        assert!(planned.plan.matches(&|fragment| terms.iter().any(|term| fragment.accepts(term))), "{word}");
    }
    let check = |pattern: &str, max_nodes: usize, expected: &str| {
        let limits = Limits { max_nodes, ..Limits::default() };
        assert_eq!(plan(pattern, false, &limits).to_string(), expected);
    };
    let both = "(alpha|alphabet|betaalpha)_[0-9]|_gamma_delta_";
    check(both, 6, r#"OR(AND(exact:"delta", exact:"gamma"), suffix:"alphabet", suffix:"alpha")"#);
    check(both, 5, r#"OR(exact:"delta", suffix:"alphabet", suffix:"alpha")"#);
    check("(alphabet|betabet|gammabet|deltabet)_", 3, r#"suffix:"abet""#);
    check("_(one|only|once|on1)", 4, r#"prefix:"on""#);
    check("foo_(one|two|three)_bar", 2, r#"prefix:"bar""#);
    check("a|b|c", 3, "ALL");
}

#[test]
fn an_error_tells_pattern_and_place() {
    let error = plan_regex("ab(c", false, &Limits::default()).expect_err("no regex");
    assert_eq!((error.pattern(), error.offset()), ("ab(c", 2));
    assert_eq!(error.to_string(), r#"invalid regex "ab(c" at byte 2 (line 1, column 3): unclosed group"#);
    let error = plan_regex(r"a\p{Nope}", false, &Limits::default()).expect_err("no regex");
    assert_eq!(error.offset(), 1);
}
