//! One compiled rule file: its rules, filed so that a path meets only the few that can match it.

use super::glob::{Compiled, Glob, Token, compile};
use super::parse::{lines, pattern, until_nul};
use super::table::{Table, hash};
use super::{Case, Source};

/// A larger file is taken to be empty, as git takes it.
pub const RULE_FILE_BYTES_MAX: usize = 100 << 20;

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
        RuleFile {
            names: Table::new(names, case, shadows),
            extensions: Table::new(extensions, case, shadows),
            paths: Table::new(paths, case, shadows),
            source,
            text: text.into(),
            rules: rules.into(),
            rest: rest.into(),
        }
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
        let relative = candidate.path.strip_prefix(&self.source.base[..]).filter(|rest| !rest.is_empty())?;
        // The id after the best match so far; 0 for none.
        let mut best = self.best(self.names.get(candidate.name_hash, candidate.name), 0, relative, candidate);
        if let Some((extension, hash)) = candidate.extension {
            best = self.best(self.extensions.get(hash, extension), best, relative, candidate);
        }
        if !self.paths.is_empty() {
            best = self.best(self.paths.get(hash(relative), relative), best, relative, candidate);
        }
        self.best(&self.rest, best, relative, candidate).checked_sub(1)
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

    /// Whether rule `id` ignores, its line, and its pattern as written.
    pub(super) fn describe(&self, id: usize) -> (bool, usize, &[u8]) {
        let rule = &self.rules[id];
        (!rule.negated, rule.line, &self.text[rule.text_start..rule.text_end])
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
