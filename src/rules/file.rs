//! One compiled rule file: its rules, filed so that a path meets only the few that can match it.
//!
//! Most rules look at names only, the others at the path. Which of the others can match at all is decided once for a
//! directory, see `in_dir`.

use super::class::ByteSet;
use super::glob::{Compiled, Glob, Token, compile};
use super::hyperscan::Database;
use super::parse::{Pattern, lines, pattern, until_nul};
use super::screen::{Outline, Screen};
use super::table::{Table, hash};
use super::translate::expression;
use super::{Case, Source, hash_parts};
use xxhash_rust::xxh3::Xxh3Default;

/// A larger file is taken to be empty, as git takes it.
pub const RULE_FILE_BYTES_MAX: usize = 100 << 20;

/// From so many rules on, the rest is screened. A screen takes four kilobytes, and most rule files are short.
const SCREENED_RULES_MIN: usize = 6;

/// The rules of one source, compiled.
#[derive(Debug)]
pub struct RuleFile {
    source: Source,
    case: Case,
    /// The patterns as written, back to back.
    text: Box<[u8]>,
    /// In the order of the file, so that the last match has the highest index. An index is called an id.
    rules: Box<[Rule]>,
    names: NameRules,
    /// Rules without wildcards that look at the path, by the directory that it lies in.
    literals: Table,
    /// The other rules that look at the path, the last one first.
    globs: Box<[PathGlob]>,
    /// The rules for names by the numbers that a database knows them by, once for each; `None` when it lacks some.
    numbers: Option<Box<[(u32, u32)]>>,
}

/// Rules that look at names only.
#[derive(Debug)]
struct NameRules {
    /// Those without wildcards, by the name.
    literals: Table,
    /// Those that end in a literal with a dot, by what follows the last dot.
    extensions: Table,
    /// All others, the last one first.
    rest: Box<[usize]>,
    /// One for every [`Screen::RULES`] of the rest; none when the rest is short.
    screens: Box<[Box<Screen>]>,
}

#[derive(Debug)]
struct Rule {
    text_start: usize,
    text_end: usize,
    line: usize,
    negated: bool,
    dir_only: bool,
    by_name: bool,
    /// What is left to test once the rule was found through its table; `None` when the key says it all.
    glob: Option<Box<Glob>>,
}

#[derive(Debug)]
struct PathGlob {
    id: usize,
    /// What it asks of a directory, if that can be told.
    directory: Option<Box<Glob>>,
}

/// A name with what every rule file asks about it, worked out once.
pub(super) struct Name<'p> {
    name: &'p [u8],
    hash: u64,
    /// What follows the last dot of the name, and its hash.
    extension: Option<(&'p [u8], u64)>,
    is_dir: bool,
}

impl<'p> Name<'p> {
    #[inline]
    pub(super) fn new(name: &'p [u8], is_dir: bool) -> Name<'p> {
        let dot = name.iter().rposition(|&byte| byte == b'.');
        let extension = dot.map(|dot| &name[dot + 1..]).map(|extension| (extension, hash(extension)));
        Name { name, hash: hash(name), extension, is_dir }
    }
}

/// Where a rule is filed.
enum Place {
    Name(Vec<u8>),
    Extension(Vec<u8>),
    RestOfNames,
    /// With the directory that its path lies in.
    Literal(Vec<u8>),
    Glob,
}

/// Rules on their way into a [`RuleFile`].
#[derive(Default)]
struct Builder {
    text: Vec<u8>,
    rules: Vec<Rule>,
    names: Vec<(Vec<u8>, usize)>,
    extensions: Vec<(Vec<u8>, usize)>,
    rest: Vec<usize>,
    literals: Vec<(Vec<u8>, usize)>,
    globs: Vec<PathGlob>,
}

impl RuleFile {
    /// Compiles the content of a rule file. There are no errors: as in git, a line that makes no sense matches nothing,
    /// and a file of more than [`RULE_FILE_BYTES_MAX`] bytes counts as empty.
    pub fn parse(source: Source, content: &[u8], case: Case) -> RuleFile {
        let content = if content.len() > RULE_FILE_BYTES_MAX { &[] } else { content };
        RuleFile::build(source, lines(content), case)
    }

    /// Compiles patterns that were given one by one, as git does for `--exclude=PATTERN`: nothing is a comment and
    /// trailing spaces count. The line of a pattern is its position, from 1.
    pub fn from_patterns<'a>(source: Source, patterns: impl IntoIterator<Item = &'a [u8]>, case: Case) -> RuleFile {
        let numbered = patterns.into_iter().enumerate();
        RuleFile::build(source, numbered.map(|(index, line)| (index + 1, until_nul(line))), case)
    }

    fn build<'a>(source: Source, lines: impl Iterator<Item = (usize, &'a [u8])>, case: Case) -> RuleFile {
        let mut builder = Builder::default();
        for (line, text) in lines {
            builder.add(line, text, case);
        }
        let Builder { text, rules, names, extensions, mut rest, literals, mut globs } = builder;
        rest.reverse();
        globs.reverse();
        let shadows = |id: usize| rules[id].glob.is_none() && !rules[id].dir_only;
        let screens: Box<[_]> = match rest.len() {
            ..SCREENED_RULES_MIN => Box::default(),
            _ => rest.chunks(Screen::RULES).map(|ids| Screen::new(ids.iter().map(|&id| rules[id].outline()))).collect(),
        };
        let names = NameRules {
            literals: Table::new(names, case, shadows),
            extensions: Table::new(extensions, case, shadows),
            rest: rest.into(),
            screens,
        };
        RuleFile {
            source,
            case,
            names,
            literals: Table::new(literals, case, |_| false),
            globs: globs.into(),
            text: text.into(),
            rules: rules.into(),
            numbers: None,
        }
    }

    /// Whether it has a `!` rule.
    pub(super) fn lifts(&self) -> bool {
        self.rules.iter().any(|rule| rule.negated)
    }

    /// Adds all that verdicts depend on to a hash.
    pub(super) fn hash_into(&self, hasher: &mut Xxh3Default) {
        let Source { kind, display, base } = &self.source;
        hasher.update(&[*kind as u8, u8::from(self.case == Case::Sensitive)]);
        let texts = self.rules.iter().map(|rule| &self.text[rule.text_start..rule.text_end]);
        hash_parts(hasher, [&display[..], base].into_iter().chain(texts));
        hasher.update(&u64::MAX.to_le_bytes());
    }

    /// The rules for names as expressions, with their ids.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = (usize, String)> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.by_name).filter_map(|(id, rule)| {
            let (_, compiled) = shape(&pattern(&self.text[rule.text_start..rule.text_end]), self.case)?;
            Some((id, expression(&compiled, rule.dir_only, self.case)?))
        })
    }

    /// Looks the rules for names up in a database, whose scans are used from then on if it has all of them.
    pub(super) fn attach(&mut self, database: &Database) {
        let numbers = self.expressions().map(|(id, text)| Some((database.number(&text)?, id as u32)));
        self.numbers = numbers.collect::<Option<Vec<(u32, u32)>>>().map(|mut numbers| {
            // Of the same rule twice the last one counts.
            numbers.sort_unstable_by_key(|&(number, id)| (number, std::cmp::Reverse(id)));
            numbers.dedup_by_key(|(number, _)| *number);
            numbers.into()
        });
    }

    /// Whether a database has the rules for names.
    pub(super) fn is_attached(&self) -> bool {
        self.numbers.is_some()
    }

    /// How many rules for names have no key: what a scan spares.
    pub(super) fn name_globs(&self) -> usize {
        self.names.rest.len()
    }

    /// Where the rules come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The number of rules that can match something.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether no rule can match anything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules without wildcards for paths in `dir`, which is relative to the base and ends in a slash unless empty; in
    /// descending order.
    pub(super) fn literals_in(&self, dir: &[u8]) -> &[usize] {
        if self.literals.is_empty() {
            return &[];
        }
        let dir = dir.strip_suffix(b"/").unwrap_or(dir);
        self.literals.get(hash(dir), dir)
    }

    /// The globs that may match something in `dir`, in descending order.
    pub(super) fn globs_in(&self, dir: &[u8]) -> Vec<usize> {
        let fits = |each: &&PathGlob| match (&each.directory, &self.rules[each.id].glob) {
            (Some(directory), _) => directory.matches(dir),
            (None, Some(glob)) => glob.may_match_in(dir),
            (None, None) => true,
        };
        self.globs.iter().filter(fits).map(|glob| glob.id).collect()
    }

    /// The id after that of the last rule for names that matches; 0 for none.
    #[inline]
    pub(super) fn best_name(&self, name: &Name<'_>) -> usize {
        let mut best = self.best(self.names.literals.get(name.hash, name.name), 0, name.name, name.is_dir);
        if let Some((extension, hash)) = name.extension {
            best = self.best(self.names.extensions.get(hash, extension), best, name.name, name.is_dir);
        }
        if self.names.screens.is_empty() {
            return self.best(&self.names.rest, best, name.name, name.is_dir);
        }
        for (ids, screen) in self.names.rest.chunks(Screen::RULES).zip(&self.names.screens) {
            if ids[0] < best {
                break;
            }
            for index in screen.indexes(name.name, name.is_dir) {
                let id = self.best(&ids[index..=index], best, name.name, name.is_dir);
                if id > best || ids[index] < best {
                    return id;
                }
            }
        }
        best
    }

    /// The same, from the numbers of the expressions that match.
    #[inline]
    pub(super) fn best_number(&self, matched: &[u32]) -> usize {
        let numbers = self.numbers.as_deref().unwrap_or_default();
        let rule = |number: &u32| numbers.binary_search_by_key(number, |(number, _)| *number).ok();
        matched.iter().filter_map(rule).map(|index| numbers[index].1 as usize + 1).max().unwrap_or(0)
    }

    /// The id after the first of `ids` (they descend) that matches `text`, if that is beyond `best`; `best` otherwise. The
    /// text is the name or the path relative to the base: what these rules look at.
    #[inline]
    pub(super) fn best(&self, ids: &[usize], best: usize, text: &[u8], is_dir: bool) -> usize {
        for &id in ids {
            if id < best {
                break;
            }
            let rule = &self.rules[id];
            let fits = !rule.dir_only || is_dir;
            if fits && rule.glob.as_ref().is_none_or(|glob| glob.matches(text)) {
                return id + 1;
            }
        }
        best
    }

    /// Whether some rule for names matches.
    #[cfg(test)]
    pub(super) fn decides(&self, name: &[u8], is_dir: bool) -> bool {
        self.best_name(&Name::new(name, is_dir)) > 0
    }

    /// Whether rule `id` ignores, its line, and its pattern as written.
    pub(super) fn describe(&self, id: usize) -> (bool, usize, &[u8]) {
        let rule = &self.rules[id];
        (!rule.negated, rule.line, &self.text[rule.text_start..rule.text_end])
    }
}

impl Rule {
    /// What the bytes of a name say about this rule.
    fn outline(&self) -> Outline {
        let (first, last) = match &self.glob {
            None => (ByteSet::ALL, ByteSet::ALL),
            Some(glob) => (glob.first_bytes(), glob.last_bytes()),
        };
        Outline { first, last, dir_only: self.dir_only }
    }
}

/// A pattern compiled, and whether it looks at names only; `None` when it matches nothing.
fn shape(pattern: &Pattern<'_>, case: Case) -> Option<(bool, Compiled)> {
    match compile(pattern, case) {
        Compiled::Never => None,
        Compiled::Glob(glob) if !pattern.name_only => Some(match glob.by_name() {
            Ok(compiled) => (true, compiled),
            Err(glob) => (false, Compiled::Glob(glob)),
        }),
        compiled => Some((pattern.name_only, compiled)),
    }
}

impl Builder {
    fn add(&mut self, line: usize, text: &[u8], case: Case) {
        let pattern = pattern(text);
        let Some((by_name, compiled)) = shape(&pattern, case) else { return };
        let id = self.rules.len();
        let (place, glob) = match compiled {
            Compiled::Never => return,
            Compiled::Literal(literal) if by_name => (Place::Name(literal), None),
            Compiled::Literal(literal) => {
                let dir = literal.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                (Place::Literal(literal[..dir].to_vec()), Some(Glob::literal(literal, case)))
            }
            Compiled::Glob(glob) if by_name => {
                let (place, is_exact) = place_of_name(&glob);
                (place, (!is_exact).then_some(glob))
            }
            Compiled::Glob(glob) => (Place::Glob, Some(glob)),
        };
        match place {
            Place::Name(key) => self.names.push((key, id)),
            Place::Extension(key) => self.extensions.push((key, id)),
            Place::RestOfNames => self.rest.push(id),
            Place::Literal(dir) => self.literals.push((dir, id)),
            Place::Glob => {
                let directory = glob.as_ref().and_then(Glob::directory_part).map(Box::new);
                self.globs.push(PathGlob { id, directory });
            }
        }
        let text_start = self.text.len();
        self.text.extend_from_slice(text);
        self.rules.push(Rule {
            text_start,
            text_end: self.text.len(),
            line,
            negated: pattern.negated,
            dir_only: pattern.dir_only,
            by_name,
            glob: glob.map(Box::new),
        });
    }
}

/// Where to file a glob for names, and whether having its key is all it takes to match.
fn place_of_name(glob: &Glob) -> (Place, bool) {
    let (head, tail) = (glob.head(), glob.tail());
    match tail.iter().rposition(|&byte| byte == b'.') {
        None => (Place::RestOfNames, false),
        Some(dot) => {
            let is_exact = head.is_empty() && glob.tokens() == [Token::Star] && dot == 0;
            (Place::Extension(tail[dot + 1..].to_vec()), is_exact)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceKind;
    use super::*;

    fn parse(content: &[u8], case: Case) -> RuleFile {
        let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
        RuleFile::parse(source, content, case)
    }

    fn last_match(rules: &RuleFile, path: &[u8], is_dir: bool) -> Option<usize> {
        let dir = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let mut best = rules.best_name(&Name::new(&path[dir..], is_dir));
        best = rules.best(rules.literals_in(&path[..dir]), best, path, is_dir);
        rules.best(&rules.globs_in(&path[..dir]), best, path, is_dir).checked_sub(1)
    }

    /// Checks which line of `content` decides about `path`; a slash at its end makes it a directory.
    fn check(content: &str, path: &str, expect: Option<usize>) {
        let rules = parse(content.as_bytes(), Case::Sensitive);
        let (name, is_dir) = path.strip_suffix('/').map_or((path, false), |name| (name, true));
        let found = last_match(&rules, name.as_bytes(), is_dir).map(|id| rules.describe(id).1);
        assert_eq!(found, expect, "{path} by {content:?}");
    }

    #[test]
    fn the_last_match_decides_wherever_it_is_filed() {
        // One rule of every place, each of which matches the path.
        let rules = ["b.o", "*.o", "/a/b.o", "a/?.?", "*b.o", "a/*.o", "**/b.o", "a/**", "b?o"];
        for turn in 0..rules.len() {
            let mut turned = rules;
            turned.rotate_left(turn);
            for count in 1..=turned.len() {
                check(&turned[..count].join("\n"), "a/b.o", Some(count));
                let negated = format!("{}\n!no\n*/\n*.c/\nb.o/\n/a/b.o/", turned[..count].join("\n"));
                check(&negated, "a/b.o", Some(count));
                check(&negated, "a/b.o/", Some(count + 5));
            }
        }
    }

    #[test]
    fn rules_for_directories_hide_none_for_files() {
        check("a\na/", "a", Some(1));
        check("a\na/", "a/", Some(2));
        check("a/\na", "a/", Some(2));
        check("*.o\n!*.o/", "x.o", Some(1));
        check("*.o\n!*.o/", "x.o/", Some(2));
        check("*.o\n*.tar.o\n*.o/", "x.tar.o", Some(2));
        check("*.o\n*.tar.o\n*.o/", "x.o", Some(1));
    }

    #[test]
    fn names_and_extensions_of_every_shape() {
        check("*.", "a.", Some(1));
        check("*.", "a", None);
        check(".o", ".o", Some(1));
        check("*.o", ".o", Some(1));
        check("a*.o", "b.o", None);
        check("*.a.o", "b.o", None);
        check("a/**/b", "a/x/b", Some(1));
        check("a**/b", "ab", Some(1));
        check("/*.o", "a/b.o", None);
        check("a/", "b/a/", Some(1));
    }

    #[test]
    fn patterns_given_one_by_one_are_not_trimmed() {
        let source = Source { kind: SourceKind::CommandLine, display: Vec::new(), base: Vec::new() };
        let rules = RuleFile::from_patterns(source, [&b"#a"[..], b"", b"b ", b"c\0d"], Case::Sensitive);
        assert_eq!((rules.len(), rules.source().kind), (3, SourceKind::CommandLine));
        let describe = |path: &[u8]| last_match(&rules, path, false).map(|id| rules.describe(id));
        assert_eq!(describe(b"#a"), Some((true, 1, &b"#a"[..])));
        assert_eq!(describe(b"b "), Some((true, 3, &b"b "[..])));
        assert_eq!(describe(b"c"), Some((true, 4, &b"c"[..])));
        assert_eq!(describe(b"b"), None);
    }

    #[test]
    fn rules_that_never_match_are_left_out() {
        let rules = parse(b"[a\n/\n!\n\\\n[[:nope:]]\n\n# a\n//\n  \n", Case::Sensitive);
        assert!(rules.is_empty(), "{} rules", rules.len());
    }

    #[test]
    fn huge_files_are_read_in_linear_space() {
        let mut content = Vec::new();
        for line in 0..50_000 {
            let line = match line % 5 {
                0 => format!("packages/{line}/dist\n"),
                1 => format!("{}{line}\n", "x".repeat(600)),
                2 => format!("*.{line}\n"),
                3 => format!("{}{line}/*[ab]\n", "[xy]".repeat(100)),
                _ => format!("*{line}*\n"),
            };
            content.extend_from_slice(line.as_bytes());
        }
        assert!(content.len() > 10 << 20);
        let rules = parse(&content, Case::Sensitive);
        assert_eq!(rules.len(), 50_000);
        let line = |path: &[u8]| last_match(&rules, path, false).map(|id| rules.describe(id).1);
        assert_eq!(line(b"packages/49995/dist"), Some(49_996));
        assert_eq!(line(b"a/b.49997"), Some(49_998));
        assert_eq!(line(b"a49999b"), Some(50_000));
        let of_rules = |rule: &Rule| {
            let glob = rule.glob.as_ref().map_or(0, |glob| glob.heap_bytes());
            size_of::<Rule>() + glob
        };
        let bytes: usize = rules.rules.iter().map(of_rules).sum::<usize>() + rules.text.len();
        assert!(bytes < 4 * content.len(), "{bytes} bytes for {}", content.len());
    }

    #[test]
    fn too_large_a_file_counts_as_empty() {
        let mut content = vec![b'#'; RULE_FILE_BYTES_MAX];
        content[..2].copy_from_slice(b"a\n");
        assert_eq!(parse(&content, Case::Sensitive).len(), 1);
        content.push(b'\n');
        assert!(parse(&content, Case::Sensitive).is_empty());
    }
}
