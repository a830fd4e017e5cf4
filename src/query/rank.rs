//! How good a file is for a query, from what is known of it: features to a score.
//!
//! Pure. Knows what paths look like (tests, documentation, generated and vendored files, names that are the words of the
//! query), and nothing of any one tree; what a file defines is for `definition` and the stored symbols to say. The weights
//! were chosen on two thirds of the queries of `benches/ranking`; the other third was held out.

use super::text::{Closeness, Word};

/// Words of a query that are looked for in paths.
const TOKENS_MAX: usize = 12;

/// What a file is for. Later is further from what a developer looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    #[default]
    Source,
    /// Tools, scripts and build files beside the program.
    Beside,
    Documentation,
    Sample,
    Test,
    /// Written by a program, or for one.
    Generated,
    /// Copied from elsewhere.
    Vendored,
}

/// Names of directories, sorted, and what lies below them.
const DIRS: [(&[u8], Kind); 46] = [
    (b"3rdparty", Kind::Vendored),
    (b"__mocks__", Kind::Test),
    (b"__tests__", Kind::Test),
    (b"bench", Kind::Sample),
    (b"benches", Kind::Sample),
    (b"benchmark", Kind::Sample),
    (b"benchmarks", Kind::Sample),
    (b"bower_components", Kind::Vendored),
    (b"contrib", Kind::Beside),
    (b"demo", Kind::Sample),
    (b"demos", Kind::Sample),
    (b"dist", Kind::Generated),
    (b"doc", Kind::Documentation),
    (b"docs", Kind::Documentation),
    (b"documentation", Kind::Documentation),
    (b"e2e", Kind::Test),
    (b"example", Kind::Sample),
    (b"examples", Kind::Sample),
    (b"extern", Kind::Vendored),
    (b"external", Kind::Vendored),
    (b"fixtures", Kind::Test),
    (b"generated", Kind::Generated),
    (b"integration_tests", Kind::Test),
    (b"man", Kind::Documentation),
    (b"mocks", Kind::Test),
    (b"node_modules", Kind::Vendored),
    (b"sample", Kind::Sample),
    (b"samples", Kind::Sample),
    (b"script", Kind::Beside),
    (b"scripts", Kind::Beside),
    (b"selftest", Kind::Test),
    (b"selftests", Kind::Test),
    (b"site-packages", Kind::Vendored),
    (b"spec", Kind::Test),
    (b"specs", Kind::Test),
    (b"test", Kind::Test),
    (b"testcases", Kind::Test),
    (b"testdata", Kind::Test),
    (b"testing", Kind::Test),
    (b"tests", Kind::Test),
    (b"testsuite", Kind::Test),
    (b"third-party", Kind::Vendored),
    (b"third_party", Kind::Vendored),
    (b"thirdparty", Kind::Vendored),
    (b"tools", Kind::Beside),
    (b"vendor", Kind::Vendored),
];

/// Endings of files that are read by people, not by compilers.
const DOCUMENT_ENDINGS: [&[u8]; 9] = [b"md", b"rst", b"txt", b"adoc", b"html", b"tex", b"org", b"po", b"svg"];
/// Endings of files that configure, describe or list.
const BESIDE_ENDINGS: [&[u8]; 16] = [
    b"yaml",
    b"yml",
    b"json",
    b"toml",
    b"xml",
    b"cfg",
    b"conf",
    b"ini",
    b"mk",
    b"cmake",
    b"lock",
    b"csv",
    b"tsv",
    b"gitignore",
    b"dts",
    b"dtsi",
];
/// Names of such files.
const BESIDE_NAMES: [&[u8]; 5] = [b"kconfig", b"makefile", b"kbuild", b"cmakelists", b"dockerfile"];

/// A part of the query that paths are compared with.
#[derive(Clone, Debug)]
struct Token {
    text: Vec<u8>,
    /// Its share of the query, by rarity; all of them together are 1.
    weight: f32,
}

/// How well each token matches; 0 to 1.
type Matches = [f32; TOKENS_MAX];

/// What a directory says about its files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DirRank {
    kind: Kind,
    depth: u8,
    matches: Matches,
}

/// What a path says about its file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PathRank {
    pub(super) kind: Kind,
    depth: u8,
    /// The share of the query that the path says, and the share of the name that the query says.
    said: f32,
    name_covered: f32,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) path: PathRank,
    /// BM25, as a share of the best file's.
    pub(super) relevance: f32,
    pub(super) closeness: Closeness,
    /// How much it looks like a definition of what was asked for; 0 to 1.
    pub(super) definition: f32,
    /// The share of the query's terms in its best line.
    pub(super) in_line: f32,
    /// Its content looks generated.
    pub(super) generated: bool,
}

/// Compares files with one query.
#[derive(Clone, Debug)]
pub(super) struct Ranker {
    tokens: Vec<Token>,
    /// Whether an identifier was asked for, not a subject.
    identifier: bool,
}

impl Ranker {
    /// For the words of a query; `rarity` tells how rare a term is.
    pub(super) fn new(words: &[Word], identifier: bool, rarity: impl Fn(&[u8]) -> f32) -> Ranker {
        let mut tokens: Vec<Token> = Vec::new();
        for needle in words.iter().flat_map(Word::needles).filter(|needle| needle.len() > 1) {
            if tokens.len() < TOKENS_MAX && !tokens.iter().any(|token| token.text == needle) {
                tokens.push(Token { text: needle.to_vec(), weight: rarity(needle).max(0.1) });
            }
        }
        let all: f32 = tokens.iter().map(|token| token.weight).sum();
        for token in &mut tokens {
            token.weight /= all;
        }
        Ranker { tokens, identifier }
    }

    /// A directory; the path may end in a slash.
    pub(super) fn dir(&self, path: &[u8]) -> DirRank {
        let mut rank = DirRank::default();
        for component in path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            rank.depth = rank.depth.saturating_add(1);
            rank.kind = rank.kind.max(kind_of_dir(component));
            self.for_each_match(component, |index, matched, _| {
                rank.matches[index] = rank.matches[index].max(matched);
            });
        }
        rank
    }

    /// A file of a directory.
    pub(super) fn file(&self, dir: &DirRank, name: &[u8]) -> PathRank {
        let stem = stem(name);
        let mut matches: Matches = [0.0; TOKENS_MAX];
        // Of each part of the name, how much of it the query says.
        let (mut covered, mut length) = (0.0, 0usize);
        for_each_part(stem, |part| {
            let mut best: f32 = 0.0;
            for (index, token) in self.tokens.iter().enumerate() {
                let matched = similarity(&token.text, part);
                matches[index] = matches[index].max(matched);
                best = best.max(matched);
            }
            covered += best * part.len() as f32;
            length += part.len();
        });
        let said = |(index, token): (usize, &Token)| {
            let (of_name, of_dir) = (matches[index], dir.matches[index] * DIR_SHARE);
            token.weight * if of_dir > of_name { of_dir } else { of_name + (1.0 - of_name) * of_dir * 0.3 }
        };
        PathRank {
            kind: dir.kind.max(kind_of_file(name)),
            depth: dir.depth,
            said: self.tokens.iter().enumerate().map(said).sum(),
            name_covered: covered / length.max(1) as f32,
        }
    }

    fn for_each_match(&self, component: &[u8], mut each: impl FnMut(usize, f32, usize)) {
        for_each_part(component, |part| {
            for (index, token) in self.tokens.iter().enumerate() {
                let matched = similarity(&token.text, part);
                if matched > 0.0 {
                    each(index, matched, part.len());
                }
            }
        });
    }

    /// Before a file is read: what decides which ones are.
    pub(super) fn before_reading(&self, path: &PathRank, relevance: f32) -> f32 {
        self.of_path(path) + RELEVANCE * relevance
    }

    /// The score of a file.
    pub(super) fn score(&self, features: &Features) -> f32 {
        let closeness = match features.closeness {
            Closeness::Exact => 2.0 * SPELLING,
            Closeness::OtherSpelling => SPELLING,
            Closeness::Terms | Closeness::Missing => 0.0,
        };
        let path = PathRank {
            kind: if features.generated { features.path.kind.max(Kind::Generated) } else { features.path.kind },
            ..features.path
        };
        let definition = if self.identifier { DEFINITION } else { DEFINITION_OF_SUBJECT };
        self.before_reading(&path, features.relevance)
            + closeness
            + definition * features.definition
            + IN_LINE * features.in_line
    }

    fn of_path(&self, path: &PathRank) -> f32 {
        let (said, covered) =
            if self.identifier { (SAID, NAME_COVERED) } else { (SAID_OF_SUBJECT, COVERED_OF_SUBJECT) };
        said * path.said + covered * path.name_covered * path.said - penalty(path.kind) - DEPTH * f32::from(path.depth)
    }
}

/// What a match in a directory's name is worth against one in the file's.
const DIR_SHARE: f32 = 0.6;
/// Points of the best BM25.
const RELEVANCE: f32 = 8.0;
/// Points for what the path says of an identifier, and for a name that says nothing else.
const SAID: f32 = 6.0;
const NAME_COVERED: f32 = 4.0;
/// The same where several words were given: a subject is what a path names.
const SAID_OF_SUBJECT: f32 = 14.0;
const COVERED_OF_SUBJECT: f32 = 8.0;
/// Points for each step towards the identifier as typed.
const SPELLING: f32 = 20.0;
/// Points of a definition of the identifier.
pub(super) const DEFINITION: f32 = 30.0;
/// Points of a definition of all words as one name.
const DEFINITION_OF_SUBJECT: f32 = 6.0;
/// Points for all terms in one line.
const IN_LINE: f32 = 3.0;
/// Points that every directory on the way costs.
const DEPTH: f32 = 0.5;

fn penalty(kind: Kind) -> f32 {
    match kind {
        Kind::Source => 0.0,
        Kind::Beside => 7.0,
        Kind::Documentation => 8.0,
        Kind::Sample => 9.0,
        Kind::Test => 11.0,
        Kind::Generated => 12.0,
        Kind::Vendored => 12.0,
    }
}

fn kind_of_dir(component: &[u8]) -> Kind {
    let mut buffer = [0u8; 20];
    let Some(lowered) = buffer.get_mut(..component.len()) else { return Kind::Source };
    lowered.copy_from_slice(component);
    lowered.make_ascii_lowercase();
    DIRS.binary_search_by_key(&&lowered[..], |(name, _)| name).map_or(Kind::Source, |at| DIRS[at].1)
}

fn kind_of_file(name: &[u8]) -> Kind {
    let lowered = name.to_ascii_lowercase();
    let stem = stem(&lowered);
    let ending = lowered.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    let holds = |part: &[u8]| memchr::memmem::find(&lowered, part).is_some();
    if holds(b"generated") || holds(b".min.") || holds(b".pb.") || holds(b"_pb2.") || holds(b".g.") {
        return Kind::Generated;
    }
    let is_test = [&b"test_"[..], b"test-"].iter().any(|start| lowered.starts_with(start))
        || [&b"_test"[..], b"-test", b"_tests", b"_spec", b".test", b".spec", b"_kunit"]
            .iter()
            .any(|end| stem.ends_with(end))
        || holds(b".test.")
        || holds(b".spec.")
        || stem == b"conftest"
        || stem == b"test"
        || stem == b"tests";
    if is_test {
        return Kind::Test;
    }
    if DOCUMENT_ENDINGS.contains(&ending) || stem == b"readme" || stem == b"changelog" {
        return Kind::Documentation;
    }
    if BESIDE_ENDINGS.contains(&ending) || BESIDE_NAMES.contains(&stem) {
        return Kind::Beside;
    }
    Kind::Source
}

/// The name up to its first dot, or the whole where that would leave nothing.
fn stem(name: &[u8]) -> &[u8] {
    let stem = name.split(|&byte| byte == b'.').next().unwrap_or_default();
    if stem.is_empty() { name } else { stem }
}

/// The words of a name: cut at everything that is no letter or digit.
fn for_each_part(name: &[u8], mut each: impl FnMut(&[u8])) {
    let mut start = 0;
    for at in 0..=name.len() {
        let ends = name.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte < 0x80);
        let humps = at > start && at < name.len() && name[at].is_ascii_uppercase() && name[at - 1].is_ascii_lowercase();
        if ends || humps {
            if at > start {
                each(&name[start..at]);
            }
            start = if humps { at } else { at + 1 };
        }
    }
}

/// How much `part` of a name says `token`, from 0 to 1: names are abbreviated (`cong` for congestion), bent (`recover` for
/// recovery) and grown together (`memcontrol`).
fn similarity(token: &[u8], part: &[u8]) -> f32 {
    let common = token.iter().zip(part).take_while(|(a, b)| **a == b.to_ascii_lowercase()).count();
    let (short, long) = (token.len().min(part.len()), token.len().max(part.len()));
    if common == long {
        return 1.0;
    }
    if common == short && short >= 3 {
        return if long - short <= 3 { 0.8 } else { 0.6 };
    }
    if common >= 5 && common * 3 >= long * 2 {
        return 0.6;
    }
    // A word that another has swallowed.
    let holds =
        |outer: &[u8], inner: &[u8]| outer.windows(inner.len()).any(|window| window.eq_ignore_ascii_case(inner));
    if token.len() >= 4 && part.len() > token.len() && holds(part, token) {
        return 0.5;
    }
    if token.len() == 2 && part.len() > 2 && part.len() <= 5 && part[part.len() - 2..].eq_ignore_ascii_case(token) {
        return 0.4;
    }
    0.0
}

/// Bytes at the start of a file in which it may say that it was generated.
const HEAD_BYTES: usize = 1024;
/// Lines of source are shorter than this on average.
const LINE_BYTES_MAX: usize = 400;
/// Bytes that are looked at for the length of lines.
const LINES_BYTES: usize = 16 << 10;

/// Whether content looks written by a program: it says so, or nobody writes such lines.
pub(super) fn looks_generated(content: &[u8]) -> bool {
    let head = &content[..content.len().min(HEAD_BYTES)];
    let says = |text: &[u8]| memchr::memmem::find(head, text).is_some();
    if says(b"@generated")
        || says(b"DO NOT EDIT")
        || says(b"do not edit")
        || says(b"Do not edit")
        || says(b"utogenerated")
    {
        return true;
    }
    let start = &content[..content.len().min(LINES_BYTES)];
    start.len() > 4 * LINE_BYTES_MAX && start.len() / (memchr::memchr_iter(b'\n', start).count() + 1) > LINE_BYTES_MAX
}
