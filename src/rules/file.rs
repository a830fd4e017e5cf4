//! One compiled rule file: its rules, filed so that a path meets only the few that can match it.

use super::class::ByteSet;
use super::glob::{Compiled, Glob, Token, compile};
use super::parse::{lines, pattern, until_nul};
use super::screen::{Outline, Screen};
use super::table::{Table, hash};
use super::{Case, Source};

/// A larger file is taken to be empty, as git takes it.
pub const RULE_FILE_BYTES_MAX: usize = 100 << 20;

/// From so many rules on, the rest is screened. A screen takes six kilobytes, and most rule files are short.
const SCREENED_RULES_MIN: usize = 6;

/// The rules of one source, compiled.
#[derive(Debug)]
pub struct RuleFile {
    source: Source,
    /// The patterns as written, back to back.
    text: Box<[u8]>,
    /// In the order of the file, so that the last match has the highest index. An index is called an id.
    rules: Box<[Rule]>,
    /// Rules whose last component is literal, by that component.
    names: Table,
    /// Rules whose last component ends in a literal with a dot, by what follows the last dot.
    extensions: Table,
    /// Rules without wildcards that are anchored, by the whole path.
    paths: Table,
    /// All other rules, the last one first.
    rest: Box<[usize]>,
    /// One for every [`Screen::RULES`] of the rest; none when the rest is short.
    screens: Box<[Box<Screen>]>,
    #[cfg(all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64"))]
    case: Case,
}

/// A rule as tokens, for another back end.
#[cfg(all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64"))]
pub(super) struct Shape {
    pub(super) id: usize,
    pub(super) dir_only: bool,
    pub(super) name_only: bool,
    pub(super) compiled: Compiled,
}

#[derive(Debug)]
struct Rule {
    text_start: usize,
    text_end: usize,
    line: usize,
    negated: bool,
    dir_only: bool,
    name_only: bool,
    /// What is left to test once the rule was found through its table; `None` when the key says it all.
    glob: Option<Box<Glob>>,
}

/// A path with what every rule file asks about it, worked out once.
pub(super) struct Candidate<'p> {
    path: &'p [u8],
    name: &'p [u8],
    name_hash: u64,
    /// What follows the last dot of the name, and its hash.
    extension: Option<(&'p [u8], u64)>,
    is_dir: bool,
}

impl<'p> Candidate<'p> {
    #[inline]
    pub(super) fn new(path: &'p [u8], is_dir: bool) -> Candidate<'p> {
        let after_last = |bytes: &'p [u8], wanted: u8| {
            let index = bytes.iter().rposition(|&byte| byte == wanted)?;
            Some(&bytes[index + 1..])
        };
        let name = after_last(path, b'/').unwrap_or(path);
        let extension = after_last(name, b'.').map(|extension| (extension, hash(extension)));
        Candidate { path, name, name_hash: hash(name), extension, is_dir }
    }
}

/// Where a rule is filed.
enum Place {
    Name(Vec<u8>),
    Extension(Vec<u8>),
    Path(Vec<u8>),
    Rest,
}

/// Rules on their way into a [`RuleFile`].
#[derive(Default)]
struct Builder {
    text: Vec<u8>,
    rules: Vec<Rule>,
    names: Vec<(Vec<u8>, usize)>,
    extensions: Vec<(Vec<u8>, usize)>,
    paths: Vec<(Vec<u8>, usize)>,
    rest: Vec<usize>,
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
        let Builder { text, rules, names, extensions, paths, mut rest } = builder;
        rest.reverse();
        let shadows = |id: usize| rules[id].glob.is_none() && !rules[id].dir_only;
        let screens: Box<[_]> = match rest.len() {
            ..SCREENED_RULES_MIN => Box::default(),
            _ => rest.chunks(Screen::RULES).map(|ids| Screen::new(ids.iter().map(|&id| rules[id].outline()))).collect(),
        };
        RuleFile {
            screens,
            names: Table::new(names, case, shadows),
            extensions: Table::new(extensions, case, shadows),
            paths: Table::new(paths, case, shadows),
            source,
            text: text.into(),
            rules: rules.into(),
            rest: rest.into(),
            #[cfg(all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64"))]
            case,
        }
    }

    /// Every rule once more from its text, in the order of the file.
    #[cfg(all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64"))]
    pub(super) fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.rules.iter().enumerate().map(|(id, rule)| Shape {
            id,
            dir_only: rule.dir_only,
            name_only: rule.name_only,
            compiled: compile(&pattern(&self.text[rule.text_start..rule.text_end]), self.case),
        })
    }

    /// How the rules compare letters.
    #[cfg(all(feature = "hyperscan", target_os = "linux", target_arch = "x86_64"))]
    pub(super) fn case(&self) -> Case {
        self.case
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

    /// The last rule that matches, as its id.
    #[inline]
    pub(super) fn last_match(&self, candidate: &Candidate<'_>) -> Option<usize> {
        let relative = match &self.source.base[..] {
            // Not a prefix of no bytes: see `Case::equal`.
            b"" => candidate.path,
            base => candidate.path.strip_prefix(base)?,
        };
        if relative.is_empty() {
            return None;
        }
        // The id after the best match so far; 0 for none.
        let mut best = self.best(self.names.get(candidate.name_hash, candidate.name), 0, relative, candidate);
        if let Some((extension, hash)) = candidate.extension {
            best = self.best(self.extensions.get(hash, extension), best, relative, candidate);
        }
        if !self.paths.is_empty() {
            best = self.best(self.paths.get(hash(relative), relative), best, relative, candidate);
        }
        self.best_of_rest(best, relative, candidate).checked_sub(1)
    }

    /// As [`RuleFile::best`] among the rest.
    #[inline]
    fn best_of_rest(&self, best: usize, relative: &[u8], candidate: &Candidate<'_>) -> usize {
        if self.screens.is_empty() {
            return self.best(&self.rest, best, relative, candidate);
        }
        for (ids, screen) in self.rest.chunks(Screen::RULES).zip(&self.screens) {
            if ids[0] < best {
                break;
            }
            for index in screen.indexes(relative, candidate.name, candidate.is_dir) {
                let id = self.best(&ids[index..=index], best, relative, candidate);
                if id > best || ids[index] < best {
                    return id;
                }
            }
        }
        best
    }

    /// The id after the first of `ids` (they descend) that matches, if that is beyond `best`; `best` otherwise.
    #[inline]
    fn best(&self, ids: &[usize], best: usize, relative: &[u8], candidate: &Candidate<'_>) -> usize {
        for &id in ids {
            if id < best {
                break;
            }
            let rule = &self.rules[id];
            let fits = !rule.dir_only || candidate.is_dir;
            let text = if rule.name_only { candidate.name } else { relative };
            if fits && rule.glob.as_ref().is_none_or(|glob| glob.matches(text)) {
                return id + 1;
            }
        }
        best
    }

    /// Whether some rule matches.
    #[cfg(test)]
    #[allow(dead_code, reason = "of use with the feature hyperscan")]
    pub(super) fn decides(&self, path: &[u8], is_dir: bool) -> bool {
        self.last_match(&Candidate::new(path, is_dir)).is_some()
    }

    /// Whether rule `id` ignores, its line, and its pattern as written.
    pub(super) fn describe(&self, id: usize) -> (bool, usize, &[u8]) {
        let rule = &self.rules[id];
        (!rule.negated, rule.line, &self.text[rule.text_start..rule.text_end])
    }
}

impl Rule {
    /// What the bytes of a path say about this rule.
    fn outline(&self) -> Outline {
        let (path_first, name_first, last) = match &self.glob {
            None => (ByteSet::ALL, ByteSet::ALL, ByteSet::ALL),
            Some(glob) if self.name_only => (ByteSet::ALL, glob.first_bytes(), glob.last_bytes()),
            Some(glob) => (glob.first_bytes(), glob.name_first_bytes(), glob.last_bytes()),
        };
        Outline { path_first, name_first, last, dir_only: self.dir_only }
    }
}

impl Builder {
    fn add(&mut self, line: usize, text: &[u8], case: Case) {
        let pattern = pattern(text);
        let (place, glob) = match compile(&pattern, case) {
            Compiled::Never => return,
            Compiled::Literal(literal) if pattern.name_only => (Place::Name(literal), None),
            Compiled::Literal(literal) => (Place::Path(literal), None),
            Compiled::Glob(glob) => {
                let (place, exact) = place(&glob, pattern.name_only);
                (place, (!exact).then(|| Box::new(glob)))
            }
        };
        let id = self.rules.len();
        match place {
            Place::Name(key) => self.names.push((key, id)),
            Place::Extension(key) => self.extensions.push((key, id)),
            Place::Path(key) => self.paths.push((key, id)),
            Place::Rest => self.rest.push(id),
        }
        let text_start = self.text.len();
        self.text.extend_from_slice(text);
        self.rules.push(Rule {
            text_start,
            text_end: self.text.len(),
            line,
            negated: pattern.negated,
            dir_only: pattern.dir_only,
            name_only: pattern.name_only,
            glob,
        });
    }
}

/// Where to file a glob, and whether having its key is all it takes to match.
fn place(glob: &Glob, name_only: bool) -> (Place, bool) {
    let (head, tokens, tail) = (glob.head(), glob.tokens(), glob.tail());
    if let Some(slash) = tail.iter().rposition(|&byte| byte == b'/') {
        return (Place::Name(tail[slash + 1..].to_vec()), false);
    }
    // `**/` begins a component, but for `a**/b`, which matches `ab` too.
    let whole_components = tokens.len() > 1 || head.is_empty() || head.ends_with(b"/");
    if tokens.last() == Some(&Token::Directories) {
        let exact = tokens.len() == 1 && head.is_empty();
        return match whole_components {
            true => (Place::Name(tail.to_vec()), exact),
            false => (Place::Rest, false),
        };
    }
    let Some(dot) = tail.iter().rposition(|&byte| byte == b'.') else {
        return (Place::Rest, false);
    };
    let any_name = match tokens {
        [Token::Star] => name_only,
        [Token::Directories, Token::Star] => true,
        _ => false,
    };
    (Place::Extension(tail[dot + 1..].to_vec()), any_name && head.is_empty() && dot == 0)
}

#[cfg(test)]
mod tests {
    use super::super::SourceKind;
    use super::*;

    fn parse(content: &[u8], case: Case) -> RuleFile {
        let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
        RuleFile::parse(source, content, case)
    }

    /// Checks which line of `content` decides about `path`; a slash at its end makes it a directory.
    fn check(content: &str, path: &str, expect: Option<usize>) {
        let rules = parse(content.as_bytes(), Case::Sensitive);
        let (name, is_dir) = path.strip_suffix('/').map_or((path, false), |name| (name, true));
        let found = rules.last_match(&Candidate::new(name.as_bytes(), is_dir)).map(|id| rules.describe(id).1);
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
        let describe = |path: &[u8]| rules.last_match(&Candidate::new(path, false)).map(|id| rules.describe(id));
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
        let line = |path: &[u8]| rules.last_match(&Candidate::new(path, false)).map(|id| rules.describe(id).1);
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
