//! The rules in force in a directory, which are read when a name there has to be judged. Mostly none has.
//!
//! A published name was accepted by the rules of its time, and would be again while these stand: as long as no rule file
//! from the root down to its directory has changed, nor what decides from outside of the tree (`engine::base_rules`). So
//! where hardly anything is new, hardly any rule file is read, and hardly any name is looked at.

use super::repository::Repository;
use super::rules_in_dir::{RuleFileName, is_private_data};
use crate::rules::{InDir, Match, Scratch, SourceKind, Stack};
use leindex_fallback::Dir;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Whether the verdicts on published names stand: fingerprints of all that decides but the rule files of the tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Of what has accepted all names that are published, if that is known.
    pub(crate) published: Option<u64>,
    /// Of today, if it can be told.
    pub(crate) now: Option<u64>,
    in_doubt: Arc<AtomicBool>,
}

impl Standing {
    pub(crate) fn new(published: Option<u64>, now: Option<u64>) -> Standing {
        Standing { published, now, in_doubt: Arc::default() }
    }

    /// Whether what was accepted is accepted today, wherever rule files are as they are published.
    pub(super) fn holds(&self) -> bool {
        self.published.is_some() && self.published == self.now
    }

    /// Says that the next run has to judge all names anew, whatever stays the same.
    pub(super) fn doubt(&self) {
        self.in_doubt.store(true, Relaxed);
    }

    pub(super) fn doubt_if(&self, is_in_doubt: bool) {
        if is_in_doubt {
            self.doubt();
        }
    }

    /// The fingerprint of what has accepted all names once a run has ended that has looked at the `whole` tree, or at a part.
    pub(crate) fn after_run(&self, whole: bool) -> Option<u64> {
        self.now.filter(|_| (whole || self.holds()) && !self.in_doubt.load(Relaxed))
    }
}

/// What is in force in a directory.
pub(super) struct InForce {
    /// `None` for what holds before the walk begins.
    pub(super) above: Option<Arc<InForce>>,
    /// Where the directory lies, as rules see it: ends in a slash unless empty.
    pub(super) path: Vec<u8>,
    /// The git repository that it lies in.
    pub(super) repository: Option<Arc<Repository>>,
    /// The verdicts on published names stand here.
    pub(super) stand: bool,
    /// As [`Rules::only_tracked`]; `None` for a directory whose own name was not judged.
    pub(super) only_tracked: Option<bool>,
    /// Its rule files, if it has any and nobody has needed them yet.
    pub(super) unread: Option<Unread>,
    pub(super) rules: OnceLock<Rules>,
}

/// What decides about names, worked out once one has to be judged.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) stack: Arc<Stack>,
    /// A rule excludes the directory, and git tracks something below it: only that is accepted.
    pub(super) only_tracked: bool,
}

/// Rule files that can be read later: their directory is held open, for its path may lead elsewhere by then.
pub(super) struct Unread {
    pub(super) dir: Arc<Dir>,
    pub(super) files: Vec<RuleFileName>,
    /// The repository that begins there, within the tree.
    pub(super) nested: Option<Arc<Repository>>,
    /// Shared as often as directories are held open.
    pub(super) _held: Arc<()>,
}

/// Reads rule files of the directory with this path into a stack below that of the directory above.
pub(super) type Read<'r> = &'r mut dyn FnMut(&[u8], &Unread, &Arc<Stack>) -> Arc<Stack>;

impl InForce {
    /// What holds before the walk begins.
    pub(super) fn base(stack: Arc<Stack>, repository: Option<Arc<Repository>>, stand: bool) -> InForce {
        let rules = OnceLock::from(Rules { stack, only_tracked: false });
        InForce { above: None, path: Vec::new(), repository, stand, only_tracked: Some(false), unread: None, rules }
    }

    /// Whether the same is in force in a directory below without rule files, of which this is known.
    pub(super) fn serves(&self, stand: bool, only_tracked: Option<bool>) -> bool {
        let ours = self.rules.get().map(|rules| rules.only_tracked).or(self.only_tracked);
        self.above.is_some() && self.stand == stand && only_tracked.is_some() && only_tracked == ours
    }

    /// Works out what decides about names, for the directories above first. Not by recursion: they nest thousands deep.
    pub(super) fn make(&self, scratch: &mut Scratch, read: Read<'_>) -> &Rules {
        let mut missing = Vec::new();
        let mut at = self;
        let mut rules = loop {
            match (at.rules.get(), &at.above) {
                (Some(rules), _) => break rules,
                (None, Some(above)) => {
                    missing.push((at, &**above));
                    at = above;
                }
                (None, None) => break at.rules.get_or_init(Rules::none),
            }
        };
        for (at, above) in missing.into_iter().rev() {
            let outer = rules;
            rules = at.rules.get_or_init(|| at.make_below(above, outer, scratch, read));
        }
        rules
    }

    fn make_below(&self, above: &InForce, outer: &Rules, scratch: &mut Scratch, read: Read<'_>) -> Rules {
        let judge = || is_only_tracked(&self.path, outer, above.repository.as_deref(), scratch);
        let only_tracked = self.only_tracked.unwrap_or_else(judge);
        let stack = match &self.unread {
            Some(unread) => read(&self.path, unread, &outer.stack),
            None => Arc::clone(&outer.stack),
        };
        Rules { stack, only_tracked }
    }
}

impl Drop for InForce {
    /// Not by recursion either.
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(mut last) = above.and_then(Arc::into_inner) {
            above = last.above.take();
        }
    }
}

impl Rules {
    /// Above everything nothing is in force.
    fn none() -> Rules {
        Rules { stack: Stack::new(Vec::new()), only_tracked: false }
    }
}

/// Whether only what git tracks is accepted in the published directory `path`, within one where `outer` is in force.
fn is_only_tracked(path: &[u8], outer: &Rules, repository: Option<&Repository>, scratch: &mut Scratch) -> bool {
    if repository.is_none() {
        return false;
    }
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let place = Place::new(&path[..start], outer, repository, true);
    // The verdict stands, so it is accepted; were it not, no new name below would be.
    !matches!(place.verdict(path, &path[start..], true, scratch), Verdict::Accepted { tracked: false })
}

/// What decides about the entries of a directory.
pub(super) struct Place<'a> {
    rules: InDir<'a>,
    repository: Option<&'a Repository>,
    only_tracked: bool,
    /// Names that begin with a dot are seen.
    hidden: bool,
}

/// Whether an entry is to be looked at.
pub(super) enum Verdict<'a> {
    /// It is; whether against a rule, because git tracks it or something below it.
    Accepted { tracked: bool },
    /// It is not; the rule that says so, if it is one.
    Ignored(Option<Match<'a>>),
}

impl<'a> Place<'a> {
    /// The directory that rules know as `path`.
    pub(super) fn new(path: &[u8], rules: &'a Rules, repository: Option<&'a Repository>, hidden: bool) -> Place<'a> {
        Place { rules: rules.stack.in_dir(path), repository, only_tracked: rules.only_tracked, hidden }
    }

    /// The verdict on an entry, by its path as rules see it, and its name.
    pub(super) fn verdict(&self, path: &[u8], name: &[u8], is_dir: bool, scratch: &mut Scratch) -> Verdict<'_> {
        let hidden = !self.hidden && name.first() == Some(&b'.');
        let found = self.rules.verdict(path, is_dir, scratch);
        let by_command_line = found.is_some_and(|found| found.source.kind == SourceKind::CommandLine);
        let data = (is_dir || name == b".git") && is_private_data(name) && !by_command_line;
        if hidden || data {
            return Verdict::Ignored(None);
        }
        let by_rule = found.is_some_and(|found| found.ignored);
        if !by_rule && (!self.only_tracked || by_command_line) {
            return Verdict::Accepted { tracked: false };
        }
        // Rules of git's do not ignore what it tracks; other rules do.
        let is_gits = found.is_none_or(|found| found.source.kind <= SourceKind::Gitignore);
        let may_be_lifted = is_gits || !by_rule;
        match may_be_lifted && self.repository.is_some_and(|git| git.tracks(path, is_dir)) {
            true => Verdict::Accepted { tracked: true },
            false => Verdict::Ignored(found),
        }
    }
}
