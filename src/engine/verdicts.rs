//! Which rule decides about single paths, without a walk: what `git check-ignore` answers.

use super::Engine;
use super::base_rules::{self, BaseRules, read_rules};
use crate::error::OpenError;
use crate::record::bytes_path;
use crate::rules::{Match, SourceKind, Stack};
use crate::shard::{Repository, repository_rules, rule_file_names};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A rule that decides about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Whether it ignores; `false` for a `!` rule.
    pub ignored: bool,
    /// Whether git knows such rules too; the others are of `.ignore`, `.leindexignore` and the command line.
    pub is_gits: bool,
    /// Where it stands, as git says it: `a/.gitignore`.
    pub source: Vec<u8>,
    /// Its line there, from 1.
    pub line: usize,
    /// Its text.
    pub pattern: Vec<u8>,
}

impl Rule {
    fn new(found: &Match<'_>) -> Rule {
        let Match { ignored, source, line, pattern } = *found;
        let is_gits = source.kind <= SourceKind::Gitignore;
        Rule { ignored, is_gits, source: source.display.clone(), line, pattern: pattern.to_vec() }
    }
}

/// Answers about paths, keeping the rules of the directories that it has seen. Made by [`Engine::verdicts`].
#[derive(Debug)]
pub struct Verdicts {
    root: PathBuf,
    base: BaseRules,
    /// By their path relative to the root, without a slash at its end.
    dirs: HashMap<Vec<u8>, Directory>,
}

#[derive(Clone, Debug)]
struct Directory {
    /// The rules in force in it, or the rule that excludes it.
    rules: Result<Arc<Stack>, Rule>,
    repository: Option<Arc<Repository>>,
}

impl Engine {
    /// Answers about single paths of the tree, from the rules as they are on disk now.
    ///
    /// # Errors
    /// When a file of rules that was named in the configuration cannot be read.
    pub fn verdicts(&self) -> Result<Verdicts, OpenError> {
        let base = base_rules::load(&self.inner.layout, &self.inner.config, None, None)?;
        Ok(Verdicts { root: self.root().to_path_buf(), base, dirs: HashMap::new() })
    }
}

impl Verdicts {
    /// The rule that decides about `path`, relative to the root and without `.` and `..`; `None` when no rule does. A slash
    /// at its end makes it a directory. Built-in rules are not among the answers.
    pub fn rule(&mut self, path: &[u8], is_dir: bool) -> Option<Rule> {
        let Directory { rules, .. } = self.directory(parent(path));
        match rules {
            Err(rule) => Some(rule),
            // The root itself. What has a slash at its end is looked at by git once more, with an empty name.
            Ok(_) if path.is_empty() => None,
            Ok(rules) => self.ask(&rules, path, is_dir),
        }
    }

    /// Whether git tracks `path`, or anything below it.
    pub fn is_tracked(&mut self, path: &[u8]) -> bool {
        let (plain, must_be_dir) = path.strip_suffix(b"/").map_or((path, false), |plain| (plain, true));
        let repository = self.directory(parent(plain)).repository;
        let path = [&self.base.prefix[..], plain].concat();
        repository.is_some_and(|git| if must_be_dir { git.tracks_below(&path) } else { git.tracks(&path, true) })
    }

    /// The submodule that `path` lies in, if there is one.
    pub fn submodule(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let above: Vec<&[u8]> = ends.map(|end| &path[..end]).collect();
        // A file that git tracks has nothing below it, so what is tracked and has is the root of another repository.
        let is_entry = |dir: &&[u8], verdicts: &mut Verdicts| {
            verdicts.is_tracked(dir) && !verdicts.is_tracked(&[dir, &b"/"[..]].concat())
        };
        above.into_iter().find(|dir| is_entry(dir, self)).map(<[u8]>::to_vec)
    }

    fn ask(&self, rules: &Stack, path: &[u8], is_dir: bool) -> Option<Rule> {
        let found = rules.verdict(&[&self.base.prefix[..], path].concat(), is_dir);
        found.filter(|found| found.source.kind != SourceKind::Default).map(|found| Rule::new(&found))
    }

    fn directory(&mut self, path: &[u8]) -> Directory {
        if let Some(known) = self.dirs.get(path) {
            return known.clone();
        }
        let found = if path.is_empty() {
            self.enter(path, &Arc::clone(&self.base.stack), self.base.repository.clone())
        } else {
            let above = self.directory(parent(path));
            match above.rules.clone() {
                Err(_) => above,
                Ok(rules) => match self.ask(&rules, path, true) {
                    Some(rule) if rule.ignored => Directory { rules: Err(rule), ..above },
                    _ => self.enter(path, &rules, above.repository),
                },
            }
        };
        self.dirs.insert(path.to_vec(), found.clone());
        found
    }

    /// The rules in a directory that is not excluded.
    fn enter(&self, path: &[u8], outer: &Arc<Stack>, repository: Option<Arc<Repository>>) -> Directory {
        let slash = if path.is_empty() { &b""[..] } else { b"/" };
        let base = [&self.base.prefix[..], path, slash].concat();
        let dir = self.root.join(bytes_path(path));
        let case = self.base.options.case;
        let has_git = dir.join(".git").exists();
        let nested =
            has_git.then(|| Repository::begins(&dir, base.clone(), repository.as_deref())).flatten().map(Arc::new);
        let git = repository.is_some() || nested.is_some() || self.base.options.git_everywhere;
        let mut files = Vec::new();
        if self.base.options.files {
            let global = self.base.global.as_ref();
            files.extend(nested.iter().flat_map(|nested| repository_rules(nested, global, case)));
            for file in rule_file_names(git) {
                let display = [&base[..], file.name()].concat();
                files.extend(read_rules(&dir.join(bytes_path(file.name())), file.kind, &display, &base, case));
            }
        }
        let outer = if nested.is_some() { outer.at_repository() } else { Arc::clone(outer) };
        Directory { rules: Ok(outer.child(files)), repository: nested.or(repository) }
    }
}

/// The directory of a path; of one that ends in a slash, the path without it.
fn parent(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)]
}
