//! The rules that hold before the walk begins: built-in ones, git's files outside of the tree, and those given.

use super::config::{Config, RulesConfig};
use super::layout::Layout;
use crate::error::OpenError;
use crate::record::{bytes_path, path_bytes};
use crate::rules::{
    Case, Database, RULE_FILE_BYTES_MAX, RuleFile, Source, SourceKind, Stack, default_rules, hash_parts,
};
use crate::shard::{
    GlobalRules, Repository, RuleOptions, find_repository, read_file, repository_rules, rule_file_names,
};
use leindex_fallback::within;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use xxhash_rust::xxh3::Xxh3Default;

/// What the walk starts with.
#[derive(Debug)]
pub(super) struct BaseRules {
    pub(super) stack: Arc<Stack>,
    /// Where the root lies in its repository: put before paths when rules are asked. Ends in a slash unless empty.
    pub(super) prefix: Vec<u8>,
    /// The git repository that the root lies in.
    pub(super) repository: Option<Arc<Repository>>,
    pub(super) options: RuleOptions,
    /// git's global rules, for repositories within the tree.
    pub(super) global: Option<GlobalRules>,
    /// Of all that decides which names are accepted but the rule files of the tree and repositories within it; `None` when
    /// later changes of it might not show.
    pub(super) fingerprint: Option<u64>,
}

/// Reads the rules for the tree of `layout`, with a time-out: they lie anywhere.
pub(super) fn load(
    layout: &Layout,
    config: &Config,
    database: Option<Arc<Database>>,
    cancelled: Option<&AtomicBool>,
) -> Result<BaseRules, OpenError> {
    let (of, rules) = (layout.clone(), config.rules.clone());
    let read = within(config.patience(), cancelled, move || read(&of, &rules, database));
    read.map_err(|error| OpenError::Setting {
        setting: "ignore rules",
        detail: format!("{error}: git's own file, one above {}, or one that was given", layout.root.display()),
    })?
}

fn read(layout: &Layout, config: &RulesConfig, database: Option<Arc<Database>>) -> Result<BaseRules, OpenError> {
    let case = if config.case_sensitive { Case::Sensitive } else { Case::Insensitive };
    let repository_root = find_repository(&layout.root);
    let prefix = repository_root.map(|repository| prefix_of(&layout.root, repository)).unwrap_or_default();
    let repository = repository_root.map(|root| Arc::new(Repository::open(root, Vec::new())));
    let mut files = vec![default_rules(None)];
    let global = config.global_file.as_ref().filter(|_| config.rule_files).and_then(|path| {
        let content = read_file(path, RULE_FILE_BYTES_MAX as u64)?;
        Some(GlobalRules { display: path_bytes(path), content })
    });
    if config.rule_files {
        match (&repository, repository_root) {
            (Some(repository), Some(root)) => {
                files.extend(repository_rules(repository, global.as_ref(), case));
                files.extend(parents(root, &prefix, case));
            }
            _ => files.extend(global.as_ref().filter(|_| !config.require_git).map(|global| global.rules(b"", case))),
        }
    }
    for path in &config.extra_files {
        let path = &layout.root.join(path);
        let read = std::fs::read(path).map_err(|error| OpenError::Setting {
            setting: "ignore-file",
            detail: format!("{}: {error}", path.display()),
        })?;
        let source = Source { kind: SourceKind::CommandLine, display: path_bytes(path), base: prefix.clone() };
        files.push(RuleFile::parse(source, &read, case));
    }
    if !config.patterns.is_empty() {
        let source = Source { kind: SourceKind::CommandLine, display: b"command line".to_vec(), base: prefix.clone() };
        files.push(RuleFile::from_patterns(source, config.patterns.iter().map(String::as_bytes), case));
    }
    let options =
        RuleOptions { files: config.rule_files, git_everywhere: !config.require_git, hidden: config.hidden, case };
    let stack = Stack::with_database(files, database);
    let fingerprint = fingerprint(layout, &stack, &prefix, repository.as_deref(), options);
    Ok(BaseRules { stack, prefix, repository, options, global, fingerprint })
}

fn fingerprint(
    layout: &Layout,
    stack: &Stack,
    prefix: &[u8],
    repository: Option<&Repository>,
    options: RuleOptions,
) -> Option<u64> {
    let tracked = repository.map(|git| git.index_hash().ok_or(())).transpose().ok()?;
    let mut hasher = Xxh3Default::new();
    // Another version may judge by other rules.
    let settings = format!("{} {options:?} {:?}", env!("CARGO_PKG_VERSION"), layout.index_dir_in_root());
    let has_git = [u8::from(tracked.is_some())];
    hash_parts(&mut hasher, [settings.as_bytes(), prefix, &has_git, &tracked.unwrap_or_default()]);
    stack.hash_into(&mut hasher);
    Some(hasher.digest())
}

/// Files outside of the walk that [`load`] reads, or would read if they were there.
pub(super) fn files(layout: &Layout, config: &RulesConfig) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config.extra_files.iter().map(|path| layout.root.join(path)).collect();
    if config.rule_files {
        files.extend(config.global_file.clone());
        if let Some(root) = find_repository(&layout.root) {
            files.extend(Repository::open(root, Vec::new()).files());
            let above = layout.root.ancestors().skip(1).take_while(|dir| dir.starts_with(root));
            let named = above.flat_map(|dir| rule_file_names(true).map(|file| dir.join(bytes_path(file.name()))));
            files.extend(named);
        }
    }
    files
}

fn prefix_of(root: &Path, repository: &Path) -> Vec<u8> {
    let mut prefix = root.strip_prefix(repository).map(path_bytes).unwrap_or_default();
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    prefix
}

/// Rule files of the directories between the repository's root and ours, without ours.
fn parents(repository: &Path, prefix: &[u8], case: Case) -> Vec<RuleFile> {
    let mut files = Vec::new();
    let mut base = Vec::new();
    let mut dir = repository.to_path_buf();
    for name in prefix.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        for file in rule_file_names(true) {
            let display = [&base[..], file.name()].concat();
            files.extend(read_rules(&dir.join(bytes_path(file.name())), file.kind, &display, &base, case));
        }
        base.extend_from_slice(name);
        base.push(b'/');
        dir.push(bytes_path(name));
    }
    files
}

pub(super) fn read_rules(path: &Path, kind: SourceKind, display: &[u8], base: &[u8], case: Case) -> Option<RuleFile> {
    let content = read_file(path, RULE_FILE_BYTES_MAX as u64)?;
    let source = Source { kind, display: display.to_vec(), base: base.to_vec() };
    Some(RuleFile::parse(source, &content, case))
}
