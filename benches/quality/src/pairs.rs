//! Pairs of a question and the function that answers it, cut out of packages: the first sentence of a doc comment, and the
//! code under it without the comment.

use crate::cut::{Function, Language, Reasons, skip};
use crate::sentence::first_sentence;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

/// Words that a query has.
const WORDS: std::ops::RangeInclusive<usize> = 5..=30;
/// Lines that a body has.
const LINES: std::ops::RangeInclusive<usize> = 4..=60;
/// Bytes that a body has after the signature, at least.
const INNER: usize = 60;
/// Larger files are generated.
const FILE: u64 = 1 << 20;
/// Folders with code that is built, of others, or of tests.
const LEFT_OUT: [&str; 18] = [
    "__tests__",
    "_vendor",
    "benches",
    "build",
    "bundled",
    "conftest",
    "dist",
    "node_modules",
    "selftests",
    "spec",
    "test",
    "testing",
    "tests",
    "third_party",
    "thirdparty",
    "umd",
    "vendor",
    "vendored",
];
/// Queries that begin so say nothing of what a function does.
const EMPTY: [&str; 12] = [
    "alias",
    "deprecated",
    "equivalent",
    "fixme",
    "implement",
    "implements",
    "like",
    "overridden",
    "same",
    "see",
    "todo",
    "xxx",
];
/// A query that ends so goes on in a list.
const CUT_OFF: [&str; 10] = ["a", "an", "and", "either", "following", "if", "like", "or", "that", "the"];

/// How many pairs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of each language.
    pub(crate) language: usize,
    /// Of each package.
    pub(crate) package: usize,
    /// Of each file.
    pub(crate) file: usize,
}

impl Limits {
    /// So many of each language, none of whose packages makes up more than a quarter.
    pub(crate) fn of_language(language: usize) -> Limits {
        Limits { language, package: language.div_ceil(4), file: 25 }
    }
}

/// A query and the function that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) language: Language,
    pub(crate) package: String,
    /// Of the file in its package, with `/`.
    pub(crate) path: String,
    /// Of the function's name, from 1.
    pub(crate) line: usize,
    pub(crate) query: String,
    pub(crate) name: String,
    pub(crate) body: String,
    /// Of the file.
    pub(crate) extension: &'static str,
}

/// What was cut out of a folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    /// By language, package, path and line.
    pub(crate) pairs: Vec<Pair>,
    /// Functions and files that were left out.
    pub(crate) skipped: BTreeMap<Language, Reasons>,
}

/// Cuts pairs out of `root`, which holds `LANGUAGE/PACKAGE/...`. The same files give the same pairs, in the same order.
pub(crate) fn cut(root: &Path, limits: &Limits) -> io::Result<Cut> {
    let mut cut = Cut::default();
    let mut pairs = Vec::new();
    for language in Language::ALL {
        let folder = root.join(language.name());
        if !folder.is_dir() {
            continue;
        }
        let reasons = cut.skipped.entry(language).or_default();
        for package in sorted(&folder)?.into_iter().filter(|path| path.is_dir()) {
            cut_package(language, &package, &mut pairs, reasons)?;
        }
    }
    let pairs = distinct(pairs, &mut cut.skipped);
    cut.pairs = sample(pairs, limits, &mut cut.skipped);
    Ok(cut)
}

/// Writes each body into a file of its own, `LANGUAGE/PACKAGE/NNNN.EXT` under `dir`: no name of a file tells anything of
/// the function. Returns the path of each pair, relative to `dir`.
pub(crate) fn write_tree(pairs: &[Pair], dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbers: HashMap<(Language, &str), usize> = HashMap::new();
    let mut paths = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let number = numbers.entry((pair.language, &pair.package)).or_default();
        *number += 1;
        let folder = Path::new(pair.language.name()).join(&pair.package);
        let path = folder.join(format!("{number:04}.{}", pair.extension));
        std::fs::create_dir_all(dir.join(folder))?;
        std::fs::write(dir.join(&path), &pair.body)?;
        paths.push(path);
    }
    Ok(paths)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn cut_package(language: Language, package: &Path, pairs: &mut Vec<Pair>, reasons: &mut Reasons) -> io::Result<()> {
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The last folder first: paths come out in their order.
    let mut folders = vec![package.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut deeper = Vec::new();
        for path in sorted(&folder)? {
            let kind = path.symlink_metadata()?;
            if kind.is_dir() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
                if !LEFT_OUT.contains(&&name[..]) && !name.starts_with('.') {
                    deeper.push(path);
                }
                continue;
            }
            let Some(extension) = language.extension_of(&path).filter(|_| kind.is_file() && kind.len() <= FILE) else {
                continue;
            };
            if is_test_file(&path) {
                skip(reasons, "file of tests");
                continue;
            }
            let Ok(text) = String::from_utf8(std::fs::read(&path)?) else {
                skip(reasons, "file that is not UTF-8");
                continue;
            };
            let within = path.strip_prefix(package).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            for function in language.cut(&text, reasons) {
                match query(&function, language) {
                    Ok(query) => pairs.push(Pair {
                        language,
                        package: name.clone(),
                        path: within.clone(),
                        line: function.line,
                        query,
                        name: function.name,
                        body: function.body,
                        extension,
                    }),
                    Err(reason) => skip(reasons, reason),
                }
            }
        }
        folders.extend(deeper.into_iter().rev());
    }
    Ok(())
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    stem.starts_with("test_")
        || ["_test", "_tests", "-test", "_kunit"].iter().any(|end| stem.ends_with(end))
        || matches!(stem, "test" | "tests" | "conftest")
        || [".test.", ".spec."].iter().any(|middle| name.contains(middle))
}

/// The query of a function, or why it is not taken.
fn query(function: &Function, language: Language) -> Result<String, &'static str> {
    let lines = function.body.lines().count();
    if is_test_name(&function.name) {
        return Err("test");
    }
    if lines < *LINES.start() || function.inner < INNER {
        return Err("body too short");
    }
    if lines > *LINES.end() {
        return Err("body too long");
    }
    if function.body.contains("NotImplementedError") {
        return Err("body of others to write");
    }
    let query = first_sentence(&function.doc, language);
    let words = query.split(' ').filter(|word| word.contains(|c: char| c.is_alphanumeric())).count();
    if words < *WORDS.start() {
        return Err("query too short");
    }
    if words > *WORDS.end() {
        return Err("query too long");
    }
    let plain = query.bytes().filter(|byte| byte.is_ascii_alphabetic() || *byte == b' ').count();
    if plain * 100 < query.len() * 85 || query.contains("://") {
        return Err("query not in plain words");
    }
    let lower = query.to_ascii_lowercase();
    let first = lower.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if CUT_OFF.contains(&lower.rsplit(' ').next().unwrap_or_default()) {
        return Err("query cut off");
    }
    if EMPTY.contains(&first) || lower.starts_with("this is used") || lower.starts_with("internal ") {
        return Err("query says nothing");
    }
    let name = function.name.trim_matches('_').to_ascii_lowercase();
    let identifiers = lower.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
    if identifiers.map(|word| word.trim_matches('_')).any(|word| word == name) {
        return Err("name in the query");
    }
    if normal(&function.body).contains(&normal(&query)) {
        return Err("query in the body");
    }
    Ok(query)
}

fn is_test_name(name: &str) -> bool {
    let rest = name.trim_start_matches('_').strip_prefix("test");
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|c: char| c == '_' || c.is_uppercase() || c.is_numeric())
    })
}

/// In small letters, with single spaces.
fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Without pairs that another one is the same as. Of equal bodies the first stays; of equal queries none, since each of the
/// functions would be right.
fn distinct(mut pairs: Vec<Pair>, skipped: &mut BTreeMap<Language, Reasons>) -> Vec<Pair> {
    let mut bodies = HashSet::new();
    pairs.retain(|pair| {
        let new = bodies.insert(normal(&pair.body));
        if !new {
            skip(skipped.entry(pair.language).or_default(), "body of another pair");
        }
        new
    });
    let mut queries: HashMap<String, usize> = HashMap::new();
    for pair in &pairs {
        *queries.entry(normal(&pair.query)).or_default() += 1;
    }
    pairs.retain(|pair| {
        let new = queries[&normal(&pair.query)] == 1;
        if !new {
            skip(skipped.entry(pair.language).or_default(), "query of another pair");
        }
        new
    });
    pairs
}

/// As many as the limits allow, in the order of a hash; those that stay keep their order.
fn sample(pairs: Vec<Pair>, limits: &Limits, skipped: &mut BTreeMap<Language, Reasons>) -> Vec<Pair> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&index| (hash(&pairs[index]), index));
    let mut taken: HashMap<(Language, &str, &str), usize> = HashMap::new();
    let mut stays = vec![false; pairs.len()];
    for index in order {
        let pair = &pairs[index];
        let package: &str = &pair.package;
        let keys = [(pair.language, "", ""), (pair.language, package, ""), (pair.language, package, &pair.path[..])];
        let room = keys.iter().zip([limits.language, limits.package, limits.file]);
        if room.clone().all(|(key, limit)| taken.get(key).is_none_or(|&taken| taken < limit)) {
            stays[index] = true;
            for (key, _) in room {
                *taken.entry(*key).or_default() += 1;
            }
        } else {
            skip(skipped.entry(pair.language).or_default(), "not in the sample");
        }
    }
    pairs.into_iter().zip(stays).filter_map(|(pair, stays)| stays.then_some(pair)).collect()
}

/// FNV-1a of where the function is, mixed as in SplitMix64: FNV alone leaves the names of neighbours close together.
fn hash(pair: &Pair) -> u64 {
    let text = format!("{}/{}/{}:{}:{}", pair.language.name(), pair.package, pair.path, pair.line, pair.name);
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    crate::ir::mix(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, doc: &str, lines: usize) -> Function {
        let body = format!("fn {name}() {{\n{}}}\n", "    let number = one + two;\n".repeat(lines));
        Function { line: 1, name: name.to_owned(), doc: doc.to_owned(), inner: body.len(), body }
    }

    #[test]
    fn queries_and_reasons() {
        let of = |name: &str, doc: &str, lines| query(&function(name, doc, lines), Language::Rust);
        assert_eq!(of("add_all", "Adds up all of the numbers. More.", 4).as_deref(), Ok("Adds up all of the numbers"));
        assert_eq!(of("test_add", "Adds up all of the numbers.", 4), Err("test"));
        assert_eq!(of("testament", "Adds up all of the numbers.", 4).map(|_| ()), Ok(()));
        assert_eq!(of("add_all", "Adds up all of the numbers.", 1), Err("body too short"));
        assert_eq!(of("add_all", "Adds up all of the numbers.", 90), Err("body too long"));
        assert_eq!(of("add_all", "Adds up numbers.", 4), Err("query too short"));
        assert_eq!(of("add_all", &"word ".repeat(31), 4), Err("query too long"));
        assert_eq!(of("add_all", "Adds up with `add_all` all numbers.", 4), Err("name in the query"));
        assert_eq!(of("_numbers", "Adds up all of the Numbers.", 4), Err("name in the query"));
        assert_eq!(of("add_all", "Adds up the numbers if either", 4), Err("query cut off"));
        assert_eq!(of("add_all", "See the other one for it.", 4), Err("query says nothing"));
        assert_eq!(of("add_all", "a + b = {c} + {d} / 2 - 3", 4), Err("query not in plain words"));
    }

    fn pair(path: &str, line: usize, query: &str, body: &str) -> Pair {
        Pair {
            language: Language::Rust,
            package: "p".to_owned(),
            path: path.to_owned(),
            line,
            query: query.to_owned(),
            name: "name".to_owned(),
            body: body.to_owned(),
            extension: "rs",
        }
    }

    #[test]
    fn doubles_are_dropped() {
        let pairs = vec![
            pair("a", 1, "one", "a  b"),
            pair("a", 2, "two", "A\nb"),
            pair("a", 3, "Three three", "c"),
            pair("b", 4, "three  three", "d"),
            pair("b", 5, "five", "e"),
        ];
        let mut skipped = BTreeMap::new();
        let lines: Vec<usize> = distinct(pairs, &mut skipped).iter().map(|pair| pair.line).collect();
        assert_eq!(lines, [1, 5]);
        let reasons: Vec<(&str, usize)> = skipped[&Language::Rust].clone().into_iter().collect();
        assert_eq!(reasons, [("body of another pair", 1), ("query of another pair", 2)]);
    }

    #[test]
    fn samples_keep_to_their_limits() {
        let pairs: Vec<Pair> =
            (0..90).map(|n| pair(["a", "b", "c"][n % 3], n, &n.to_string(), &n.to_string())).collect();
        let limits = Limits { language: 60, package: 50, file: 20 };
        let mut skipped = BTreeMap::new();
        let taken = sample(pairs.clone(), &limits, &mut skipped);
        assert_eq!(taken.len(), 50);
        assert!(taken.is_sorted_by_key(|pair| pair.line));
        assert!(taken.iter().filter(|pair| pair.path == "a").count() <= 20);
        assert_eq!(skipped[&Language::Rust]["not in the sample"], 40);
        // Where a pair stands in the list does not matter.
        let mut turned = sample(pairs.into_iter().rev().collect(), &limits, &mut skipped);
        turned.reverse();
        assert_eq!(taken, turned);
    }

    #[test]
    fn from_a_folder_to_a_tree() {
        let root = std::env::temp_dir().join(format!("pairs-{}", std::process::id()));
        let package = root.join("in/rust/p-1.0");
        for (path, line) in
            [("src/b.rs", "one"), ("src/a.rs", "two"), ("src/tests/c.rs", "no"), ("src/d_test.rs", "no")]
        {
            let path = package.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let body = format!("    let {line} = one + two + three;\n").repeat(3);
            std::fs::write(path, format!("/// Adds up number {line} and more.\nfn f() {{\n{body}}}\n")).unwrap();
        }
        let cut = cut(&root.join("in"), &Limits::of_language(100)).unwrap();
        let found: Vec<(&str, &str)> = cut.pairs.iter().map(|pair| (&pair.path[..], &pair.query[..])).collect();
        assert_eq!(found, [("src/a.rs", "Adds up number two and more"), ("src/b.rs", "Adds up number one and more")]);
        assert_eq!(cut.skipped[&Language::Rust]["file of tests"], 1);
        let paths = write_tree(&cut.pairs, &root.join("out")).unwrap();
        assert_eq!(paths, [Path::new("rust/p-1.0/0001.rs"), Path::new("rust/p-1.0/0002.rs")]);
        assert_eq!(std::fs::read_to_string(root.join("out").join(&paths[1])).unwrap(), cut.pairs[1].body);
        std::fs::remove_dir_all(root).unwrap();
    }
}
