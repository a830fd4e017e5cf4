//! `leindex_engine::rules` against the real git: generated trees and rule files, whose every path is given to
//! `git check-ignore --verbose --non-matching`. Verdict, source, line and text of the deciding rule must be equal; there
//! is no list of known differences.
//!
//! By default 100,000 random verdicts are compared, by the portable matcher and, where it is built, by Hyperscan. `LEINDEX_DIFF_CASES=1000000` compares a million (do so before
//! touching the parser or the matcher), and `LEINDEX_DIFF_SEED` starts from the seed that a failure printed.
//!
//! Only directories are created on disk. git looks at the file system to tell directories from the rest and for
//! nothing else, so that names no file system would take can be tried as well.
#![cfg(unix)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use leindex_engine::rules::{Case, Database, RuleFile, Scratch, Source, SourceKind, Stack};
use tempfile::TempDir;

const VERDICTS_DEFAULT: usize = 100_000;
const CASES_PER_TREE: usize = 40;
const DIFFERENCES_SHOWN_MAX: usize = 10;

/// The rule that decides about a path: its source, line and text. git's verdict is in the text: `!` comes first.
type Decision = Option<(Vec<u8>, usize, Vec<u8>)>;

/// A deterministic generator (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

/// A repository in a temporary directory, with all paths that are asked about.
struct Repository {
    root: TempDir,
    /// Path relative to the root, and whether it is a directory.
    paths: BTreeMap<Vec<u8>, bool>,
}

/// One file of rules, before it is compiled.
struct Rules {
    kind: SourceKind,
    display: Vec<u8>,
    base: Vec<u8>,
    content: Vec<u8>,
}

impl Rules {
    fn compile(&self, case: Case) -> RuleFile {
        let source = Source { kind: self.kind, display: self.display.clone(), base: self.base.clone() };
        RuleFile::parse(source, &self.content, case)
    }
}

impl Repository {
    fn new() -> Repository {
        // Thousands of tiny files: in memory where the system has a place for that, it takes a tenth of the time.
        let root = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a temporary directory");
        let repository = Repository { root, paths: BTreeMap::new() };
        fs::create_dir(repository.home()).expect("the home directory");
        fs::create_dir(repository.tree()).expect("the work tree");
        let output = repository.git().args(["init", "--quiet"]).output();
        let output = output.expect("these tests compare with git, which must be installed and on the PATH");
        assert!(output.status.success(), "git init: {}", output.stderr.escape_ascii());
        repository
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    fn tree(&self) -> PathBuf {
        self.root.path().join("tree")
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.tree().join(OsStr::from_bytes(path))
    }

    /// git, free of the settings of whoever runs the tests.
    fn git(&self) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"GIT_")) {
            command.env_remove(name);
        }
        command.current_dir(self.tree());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", self.home()).env("XDG_CONFIG_HOME", self.home());
        command
    }

    /// Adds a directory and those above it. Names that this file system refuses are left out.
    fn add_dir(&mut self, path: &[u8]) -> bool {
        if fs::create_dir_all(self.on_disk(path)).is_err() {
            return false;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        for end in ends.chain([path.len()]) {
            self.paths.insert(path[..end].to_vec(), true);
        }
        true
    }

    /// Adds the path of something that is not a directory, unless it is known as one.
    fn add_other(&mut self, path: Vec<u8>) {
        self.paths.entry(path).or_insert(false);
    }

    fn rules_path(&self, rules: &Rules) -> PathBuf {
        // An absolute path, such as that of core.excludesFile, replaces the tree's.
        self.on_disk(&rules.display)
    }

    /// What git says about every path.
    fn ask_git(&self, case: Case, global: &Path) -> Vec<Decision> {
        let mut command = self.git();
        command.arg("-c").arg(format!("core.ignoreCase={}", case == Case::Insensitive));
        command.args(["-c", "core.precomposeUnicode=false", "-c"]);
        command.arg([OsStr::new("core.excludesFile="), global.as_os_str()].join(OsStr::new("")));
        command.args(["check-ignore", "--verbose", "--non-matching", "-z", "--stdin", "--no-index"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("git starts");
        let mut input = child.stdin.take().expect("a pipe to git");
        // A first `:` would be taken for the magic of a pathspec.
        let text: Vec<u8> = self.paths.keys().flat_map(|path| [b"./", &path[..], b"\0"].concat()).collect();
        let writer = std::thread::spawn(move || input.write_all(&text));
        let output = child.wait_with_output().expect("git ends");
        let written = writer.join().expect("the writer ends");
        assert!(output.stderr.is_empty(), "git check-ignore: {}", output.stderr.escape_ascii());
        written.expect("git reads all paths");
        let fields: Vec<&[u8]> = output.stdout.split(|&byte| byte == 0).collect();
        assert_eq!(fields.len(), self.paths.len() * 4 + 1, "git answers for every path");
        let answers = fields.chunks_exact(4).zip(self.paths.keys());
        answers.map(|(answer, path)| Self::decision(answer, path)).collect()
    }

    /// Reads one answer: source, line, pattern, path.
    fn decision(answer: &[&[u8]], path: &[u8]) -> Decision {
        assert_eq!(answer[3].strip_prefix(b"./"), Some(path), "git answers in order");
        let line = std::str::from_utf8(answer[1]).expect("a number");
        (!answer[0].is_empty()).then(|| (answer[0].to_vec(), line.parse().expect("a number"), answer[2].to_vec()))
    }
}

/// Walks as the engine does: directories first, and what is excluded is not entered.
struct Walker<'r> {
    /// The `.gitignore` of every directory that has one, by its base.
    gitignores: HashMap<Vec<u8>, &'r Rules>,
    case: Case,
    /// The rules in force in a directory, or the decision that excludes it.
    directories: HashMap<Vec<u8>, Result<Arc<Stack>, Decision>>,
    scratch: Scratch,
}

impl<'r> Walker<'r> {
    /// With a database its scans are used, without one the portable matcher.
    fn new(rules: &'r [Rules], case: Case, database: Option<Arc<Database>>) -> Walker<'r> {
        let (inside, outside): (Vec<&Rules>, Vec<&Rules>) =
            rules.iter().partition(|rules| rules.kind == SourceKind::Gitignore);
        let gitignores = inside.into_iter().map(|rules| (rules.base.clone(), rules)).collect();
        let mut walker = Walker { gitignores, case, directories: HashMap::new(), scratch: Scratch::default() };
        let root = Stack::with_database(outside.iter().map(|rules| rules.compile(case)).collect(), database);
        let root = root.child(walker.gitignore(b""));
        walker.directories.insert(Vec::new(), Ok(root));
        walker
    }

    fn gitignore(&self, base: &[u8]) -> Vec<RuleFile> {
        self.gitignores.get(base).map(|rules| rules.compile(self.case)).into_iter().collect()
    }

    fn directory(&mut self, path: &[u8]) -> Result<Arc<Stack>, Decision> {
        if let Some(known) = self.directories.get(path) {
            return known.clone();
        }
        let state = self.directory(parent(path)).and_then(|stack| {
            let found = stack.in_dir(dir_of(path)).verdict(path, true, &mut self.scratch);
            match found {
                Some(found) if found.ignored => Err(Self::decision(&found)),
                _ => Ok(stack.child(self.gitignore(&[path, b"/"].concat()))),
            }
        });
        self.directories.insert(path.to_vec(), state.clone());
        state
    }

    fn decide(&mut self, path: &[u8], is_dir: bool) -> Decision {
        match self.directory(parent(path)) {
            Ok(stack) => {
                let found = stack.in_dir(dir_of(path)).verdict(path, is_dir, &mut self.scratch);
                found.as_ref().and_then(Self::decision)
            }
            Err(decision) => decision,
        }
    }

    fn decision(found: &leindex_engine::rules::Match<'_>) -> Decision {
        assert_eq!(found.ignored, !found.pattern.starts_with(b"!"));
        Some((found.source.display.clone(), found.line, found.pattern.to_vec()))
    }
}

/// The expressions of all rules in one database; `None` where there is no Hyperscan, or nothing for it.
fn database(rules: &[Rules], case: Case) -> Option<Arc<Database>> {
    let stack = Stack::new(rules.iter().map(|rules| rules.compile(case)).collect());
    Database::compile(&stack.expressions()).ok().map(Arc::new)
}

/// The directory of a path, with its slash.
fn dir_of(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)]
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(b"", |slash| &path[..slash])
}

/// Writes the rules, asks both, and returns how many verdicts were compared. Panics when any differ.
fn compare(repository: &Repository, rules: Vec<Rules>, case: Case, hint: &str) -> usize {
    for file in &rules {
        fs::write(repository.rules_path(file), &file.content).expect("a rule file is written");
    }
    let written: Vec<PathBuf> = rules.iter().map(|file| repository.rules_path(file)).collect();
    let theirs = repository.ask_git(case, &repository.home().join("global"));
    let database = database(&rules, case);
    let mut compiled = database.map(|database| Walker::new(&rules, case, Some(database)));
    let mut walker = Walker::new(&rules, case, None);
    let mut differences = Vec::new();
    for ((path, &is_dir), theirs) in repository.paths.iter().zip(&theirs) {
        let ours = walker.decide(path, is_dir);
        if let Some(compiled) = &mut compiled {
            let compiled = compiled.decide(path, is_dir);
            assert_eq!(compiled, ours, "{hint}, {case:?}: Hyperscan on {}", path.escape_ascii());
        }
        if ours != *theirs {
            let kind = if is_dir { "directory" } else { "file" };
            let (ours, theirs) = (show(&ours), show(theirs));
            differences.push(format!("{kind} {}\n  git:  {theirs}\n  ours: {ours}", path.escape_ascii()));
        }
    }
    if !differences.is_empty() {
        let count = differences.len();
        differences.truncate(DIFFERENCES_SHOWN_MAX);
        panic!("{hint}, {case:?}: {count} differences\n{}", differences.join("\n"));
    }
    for path in written {
        fs::remove_file(path).expect("a rule file is removed");
    }
    theirs.len()
}

fn show(decision: &Decision) -> String {
    match decision {
        Some((source, line, pattern)) => {
            format!("{}:{line}: {}", source.escape_ascii(), pattern.escape_ascii())
        }
        None => "no rule".to_owned(),
    }
}

/// Names that patterns may stumble over.
#[rustfmt::skip]
const NAMES: &[&[u8]] = &[
    b"a", b"b", b"ab", b"abc", b"aab", b"c", b"A", b"aB", b"a.o", b"b.a.o", b".o", b"x.O", b"a.", b"a.b", b"o", b".a",
    b"a b", b"a ", b" a", b" ", b"a\t", b"a\nb", b"\n", b"a\r", b"\r", b"\x0b", b"\x7f", b"[a]", b"[", b"]", b"[]",
    b"a\\b", b"\\", b"\\a", b"a\\", b"*", b"**", b"a*", b"?", b"!a", b"!", b"#a", b"#", b"{a,b}", b"(a)", b"a+", b"$",
    b"^", b"-", b":a", b"|", b"~", b"\xc3\xa9", b"a\xc3\xa9", b"\xff\xfe", b"\xff", b"\xf0\x9f\xa6\x80", b"0", b"z",
];

/// Names of directories, which more paths share.
#[rustfmt::skip]
const DIRECTORIES: &[&[u8]] = &[
    b"a", b"b", b"ab", b"c", b"a.o", b"A", b"a b", b"a\nb", b"[a]", b"a\\b", b"\xc3\xa9", b"\xff", b"b ", b"*", b"a\r",
];

/// What rules are put together from.
#[rustfmt::skip]
const TOKENS: &[&[u8]] = &[
    b"a", b"a", b"a", b"b", b"b", b"ab", b"c", b"o", b".o", b".o", b".", b"A", b"B", b"*", b"*", b"*", b"*", b"**",
    b"**", b"***", b"/", b"/", b"/", b"/", b"**/", b"**/", b"/**", b"/**", b"/**/", b"?", b"[ab]", b"[!a]", b"[^b-]",
    b"[]a]", b"[!]a]", b"[a-c]", b"[c-a]", b"[A-C]", b"[A]", b"[a-]", b"[-a]", b"[--0]", b"[a-c-e]", b"[*-/]", b"[/]",
    b"[a/b]", b"[[]", b"[!-~]", b"[\\]]", b"[a\\-c]", b"[\\a-\\c]", b"[\\\\]", b"[[:alpha:]]", b"[[:space:]]",
    b"[[:upper:]b]", b"[^[:alpha:]]", b"[[:alnum:]-z]", b"[[:punct:]]", b"[[:foo:]]", b"[[:a]", b"[[:]", b"[[::]]",
    b"[a", b"[", b"]", b"\\", b"\\a", b"\\A", b"\\*", b"\\[", b"\\/", b"\\\\", b"\\ ", b"\\!", b"\\#", b" ", b" ",
    b"\t", b"\r", b"\0", b"!", b"#", b"{a,b}", b"(a)", b"+", b"$", b"^", b"|", b"-", b"~", b"\xc3\xa9", b"[\xc3\xa9]",
    b"[\xc3\xa0-\xc3\xbf]", b"\xff", b"[\x80-\xff]", b"a/b", b"a/**/b", b"**/a", b"a/**", b"a**/b", b"*.o",
];

fn random_tree(random: &mut Random) -> Repository {
    let mut repository = Repository::new();
    let mut directories: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..24 {
        let deep = directories[random.below(directories.len())].clone();
        let above = if deep.iter().filter(|&&byte| byte == b'/').count() < 4 { deep } else { Vec::new() };
        // Short names come first in the list; prefer them, so that rules meet them often.
        let range = if random.one_in(2) { 3 } else { DIRECTORIES.len() };
        let path = [&above, random.pick(&DIRECTORIES[..range])].concat();
        if repository.add_dir(&path) {
            directories.push([&path, &b"/"[..]].concat());
        }
    }
    directories.sort();
    directories.dedup();
    for directory in &directories {
        for name in NAMES {
            if directory.is_empty() || random.one_in(3) {
                repository.add_other([directory, *name].concat());
            }
        }
    }
    repository
}

fn random_content(random: &mut Random) -> Vec<u8> {
    let mut content = Vec::new();
    if random.one_in(20) {
        content.extend_from_slice(b"\xef\xbb\xbf");
    }
    let rules = match random.below(12) {
        0 => 20 + random.below(180),
        1..=4 => 1,
        _ => 1 + random.below(8),
    };
    for _ in 0..rules {
        if random.one_in(5) {
            content.push(b'!');
        }
        if random.one_in(8) {
            content.push(b'/');
        }
        for _ in 0..1 + random.below(4) {
            content.extend_from_slice(random.pick(TOKENS));
        }
        for (chance, end) in [(6, &b"/"[..]), (20, b"  "), (25, b"\r"), (40, b"\n\n"), (60, b"\n# a")] {
            if random.one_in(chance) {
                content.extend_from_slice(end);
            }
        }
        content.push(b'\n');
    }
    if random.one_in(6) {
        content.pop();
    }
    content
}

fn random_rules(random: &mut Random, repository: &Repository) -> Vec<Rules> {
    let mut rules = Vec::new();
    if random.one_in(3) {
        let display = repository.home().join("global").as_os_str().as_bytes().to_vec();
        let content = random_content(random);
        rules.push(Rules { kind: SourceKind::Global, display, base: Vec::new(), content });
    }
    if random.one_in(3) {
        let display = b".git/info/exclude".to_vec();
        let content = random_content(random);
        rules.push(Rules { kind: SourceKind::Exclude, display, base: Vec::new(), content });
    }
    let directories =
        repository.paths.iter().filter(|(_, is_dir)| **is_dir).map(|(path, _)| [path, &b"/"[..]].concat());
    for base in directories.chain([Vec::new()]) {
        if random.one_in(if base.is_empty() { 1 } else { 5 }) {
            let content = random_content(random);
            rules.push(gitignore(base, content));
        }
    }
    rules
}

fn gitignore(base: Vec<u8>, content: Vec<u8>) -> Rules {
    Rules { kind: SourceKind::Gitignore, display: [&base, &b".gitignore"[..]].concat(), base, content }
}

fn from_environment(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")),
        Err(_) => default,
    }
}

#[test]
fn random_trees_and_rules() {
    let wanted = from_environment("LEINDEX_DIFF_CASES", VERDICTS_DEFAULT);
    let mut seed = from_environment("LEINDEX_DIFF_SEED", 1);
    let mut compared = 0;
    while compared < wanted {
        let mut random = Random(seed as u64);
        let repository = random_tree(&mut random);
        for _ in 0..CASES_PER_TREE {
            let case = if random.one_in(5) { Case::Insensitive } else { Case::Sensitive };
            let rules = random_rules(&mut random, &repository);
            compared += compare(&repository, rules, case, &format!("LEINDEX_DIFF_SEED={seed}"));
        }
        seed += 1;
    }
}

/// Gives every pattern a directory of its own, in which it is the only rule, and asks about the same paths in each.
fn one_rule_each(patterns: &[Vec<u8>], directories: &[&[u8]], others: &[Vec<u8>], hint: &str) {
    let mut repository = Repository::new();
    let base = |index: usize| format!("{index}/").into_bytes();
    for index in 0..patterns.len() {
        for directory in directories {
            repository.add_dir(&[&base(index), *directory].concat());
        }
        repository.add_dir(&base(index)[..base(index).len() - 1]);
        for other in others {
            repository.add_other([base(index), other.clone()].concat());
        }
    }
    for case in [Case::Sensitive, Case::Insensitive] {
        let rules = patterns.iter().enumerate().map(|(index, pattern)| gitignore(base(index), pattern.clone()));
        compare(&repository, rules.collect(), case, hint);
    }
}

#[test]
fn every_byte_in_every_class() {
    let classes =
        ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"];
    let patterns: Vec<Vec<u8>> = classes
        .iter()
        .flat_map(|class| [format!("[[:{class}:]]"), format!("[![:{class}:]]"), format!("/[[:{class}:]]")])
        .map(String::into_bytes)
        .collect();
    let others: Vec<Vec<u8>> = (1..=255).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![byte]).collect();
    one_rule_each(&patterns, &[], &others, "classes");
}

#[test]
fn odd_patterns_one_by_one() {
    #[rustfmt::skip]
    let patterns: &[&[u8]] = &[
        b"a\t", b"a \t", b"a\t ", b"a ", b"a\\ ", b"a\\  ", b"a \\", b"a\\\\ ", b"  ", b" a", b"#a", b"\\#a", b"!a",
        b"!!a", b"\\!a", b"a\r", b"a\r\r", b"a\0b", b"\xef\xbb\xbfa", b"\xef\xbb\xbf#a", b"/", b"//", b"///", b"!",
        b"!/", b"/*", b"/**", b"/**/", b"a//", b"//a", b"a/**\\/b", b"/**\\/b", b"**\\/b", b"a*\\/b", b"a\\/b",
        b"a\\/", b"\\a/b", b"a/\\**", b"a**/b", b"a**b", b"a/b**", b"a/b**/", b"?**/b", b"*/**/b", b"**/**/b",
        b"a/***/b", b"**a/b", b"[a-c-e]", b"[a-a-e]", b"[e-a-c]", b"[]-a]", b"[!]-a]", b"[a-]", b"[--/]", b"[a-\\c]",
        b"[[:alpha:]-e]", b"[[:digit:][:upper:]]", b"[[:ALPHA:]]", b"[[:alpha:", b"[\\", b"[a\\]", b"a[/]b", b"a[!x]b",
    ];
    let patterns: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.to_vec()).collect();
    let mut others: Vec<Vec<u8>> = NAMES.iter().map(|name| name.to_vec()).collect();
    others.extend((b'b'..=b'f').map(|byte| vec![byte]));
    for deep in ["a/a", "a/b", "a/bb", "a/bb/c", "a/x/b", "a/x/y/b", "ax/b", "ax/y/b", "b/b", "c/d/b", "a/**", "a/*x"] {
        others.push(deep.as_bytes().to_vec());
    }
    one_rule_each(&patterns, &[b"a/b/c", b"a/c/b", b"ab/b", b"b/a/b"], &others, "odd patterns");
}

#[test]
fn short_patterns_over_a_small_alphabet() {
    // All patterns of up to three tokens, over what git treats specially; of four when a long run was asked for.
    let length = if from_environment("LEINDEX_DIFF_CASES", 0) > 500_000 { 4 } else { 3 };
    let tokens: [&[u8]; 7] = [b"a", b"b", b"*", b"**", b"/", b"?", b"\\"];
    let mut patterns: Vec<Vec<u8>> = vec![Vec::new()];
    let mut last = patterns.clone();
    for _ in 0..length {
        last = last.iter().flat_map(|start| tokens.iter().map(|token| [start, *token].concat())).collect();
        patterns.extend(last.iter().cloned());
    }
    patterns.sort();
    patterns.dedup();
    let others = ["aa", "ba", "aab", "b/a", "b/b", "b/ab", "b/a/a", "b/a/b", "ab/b", "ab/a/b", "b/ab/b", "b/b/b/b"];
    let others: Vec<Vec<u8>> = others.iter().map(|path| path.as_bytes().to_vec()).collect();
    one_rule_each(&patterns, &[b"a", b"b/b/b", b"ab", b"b/ab/a"], &others, "short patterns");
}
