//! What is in force in a directory that was just listed: whether the verdicts on its names stand, and its rule files.

use super::context::ScanContext;
use super::in_force::{InForce, Place, Rules, Unread};
use super::published::{Published, is_unchanged};
use super::repository::Repository;
use super::rules_in_dir::{RuleFileName, RulePlace, rule_file_names, rules_of};
use super::scan::{DirJob, Scanner, Sink, Stat};
use crate::limits::RULE_DIRS_HELD;
use crate::record::bytes_path;
use crate::rules::Stack;
use leindex_fallback::{Dir, Kind, Listing, Worker};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

/// The rule files of a listing, by their index there, and what was asked about them: before their content, so that no
/// change of it can pass for what was read.
pub(super) type RuleStats = Vec<(usize, io::Result<Stat>)>;

/// The rule files of a listing.
#[derive(Default)]
struct RuleFiles {
    /// Those that can be read.
    files: Vec<RuleFileName>,
    stats: RuleStats,
    /// One is not what it was when the names were judged that are published.
    changed: bool,
}

impl Scanner<'_> {
    /// What is in force in the directory of `job`, and its rule files.
    pub(super) fn enter(
        &mut self,
        job: &DirJob,
        dir: &Arc<Dir>,
        listing: &Listing,
        published: &Published,
        sink: &mut dyn Sink,
    ) -> (Arc<InForce>, RuleStats) {
        let nested = self.nested_repository(job, listing);
        let git = nested.is_some() || job.above.repository.is_some() || self.context.rule_options.git_everywhere;
        let RuleFiles { files, stats, changed } = self.rule_files(dir, listing, published, git);
        // Nobody would notice when it is a repository no more; nor, in a run that is held to other names, that rule files go
        // back to what they were.
        if nested.is_some() || changed && job.only.is_some() {
            self.context.standing.doubt();
        }
        let stand = job.above.stand && !changed && nested.is_none();
        let has_own = !files.is_empty() || nested.is_some();
        let repository = nested.as_ref().or(job.above.repository.as_ref());
        // Where there is no git, nothing is tracked.
        let only_tracked = if nested.is_some() || repository.is_none() { Some(false) } else { job.only_tracked };
        if !has_own && job.above.serves(stand, only_tracked) {
            return (Arc::clone(&job.above), stats);
        }
        let above = Some(Arc::clone(&job.above));
        let path = [&self.context.rule_prefix[..], &job.path].concat();
        let repository = repository.cloned();
        let held = &self.context.held;
        let unread = has_own.then(|| Unread { dir: Arc::clone(dir), files, nested, _held: Arc::clone(held) });
        let rules = OnceLock::new();
        let mut in_force = InForce { above, path, repository, stand, only_tracked, unread, rules };
        if has_own {
            self.context.rules_unread.fetch_add(1, Relaxed);
            if !stand || Arc::strong_count(&self.context.held) > RULE_DIRS_HELD {
                self.rules(&in_force, sink);
                in_force.unread = None;
            }
        }
        (Arc::new(in_force), stats)
    }

    /// Finds the rule files of a listing and compares them with those that are published.
    fn rule_files(&mut self, dir: &Dir, listing: &Listing, published: &Published, git: bool) -> RuleFiles {
        let mut found = RuleFiles::default();
        if !self.context.rule_options.files {
            return found;
        }
        let is_likely = |name: &[u8]| name.first() == Some(&b'.') && name.ends_with(b"ignore");
        let likely: Vec<usize> = (0..listing.len()).filter(|&index| is_likely(listing.name(index))).collect();
        for file in rule_file_names(git) {
            let name = file.name();
            let known = published.find(name).and_then(|at| published.entries[at].1.file());
            let is_one =
                |index: usize| listing.name(index) == name && matches!(listing.kind(index), Kind::File | Kind::Unknown);
            let Some(index) = likely.iter().copied().find(|&index| is_one(index)) else {
                found.changed |= known.is_some();
                continue;
            };
            let stat = self.stat(dir, listing, index);
            let meta = stat.as_ref().ok().map(|stat| stat.meta).filter(|meta| meta.kind == Kind::File);
            found.stats.push((index, stat));
            found.files.extend(meta.map(|_| file));
            let bytes_max = self.context.file_bytes_max;
            found.changed |= !known.zip(meta).is_some_and(|(known, meta)| is_unchanged(&known, &meta, bytes_max));
        }
        found
    }

    /// The repository that begins in this directory, unless it is the one that the tree lies in.
    fn nested_repository(&self, job: &DirJob, listing: &Listing) -> Option<Arc<Repository>> {
        if !(0..listing.len()).any(|i| listing.name(i) == b".git") {
            return None;
        }
        let base = [&self.context.rule_prefix[..], &job.path].concat();
        let root = self.context.root_path.join(bytes_path(&job.path));
        let repository = Repository::begins(&root, base, job.above.repository.as_deref()).map(Arc::new)?;
        if let Some(watches) = &self.context.watches {
            repository.files().iter().for_each(|file| watches.file(file, &job.path));
        }
        Some(repository)
    }

    /// What decides about names in a directory, read if nobody has had to know.
    pub(super) fn rules<'i>(&mut self, in_force: &'i InForce, sink: &mut dyn Sink) -> &'i Rules {
        if let Some(rules) = in_force.rules.get() {
            return rules;
        }
        // Fetching a rule file uses the same queue as files of content do; those come first.
        self.finish(sink);
        let Scanner { context, io, scratch, .. } = self;
        in_force.make(scratch, &mut |path, unread, outer| read_rules(context, &mut **io, path, unread, outer))
    }

    /// What decides about the entries of a directory whose path has this length.
    pub(super) fn place<'i>(&self, in_force: &'i InForce, rules: &'i Rules, path_bytes: usize) -> Place<'i> {
        let hidden = self.context.rule_options.hidden;
        Place::new(&self.path[..path_bytes], rules, in_force.repository.as_deref(), hidden)
    }
}

/// The rules in force in the directory `path`, below those of the directory above.
fn read_rules(
    context: &ScanContext,
    io: &mut dyn Worker,
    path: &[u8],
    unread: &Unread,
    outer: &Arc<Stack>,
) -> Arc<Stack> {
    let Unread { dir, files, nested, .. } = unread;
    context.rules_unread.fetch_sub(1, Relaxed);
    let nested = nested.as_deref().filter(|_| context.rule_options.files);
    let place = RulePlace { path, case: context.rule_options.case, nested, global: context.global.as_ref() };
    // The file is skipped and counted when its own turn comes, for the same reason.
    let mut failed = |name: &[u8], reason: String| {
        tracing::warn!(path = %[path, name].concat().escape_ascii(), reason, "rules not read");
        context.standing.doubt();
    };
    let rules = rules_of(io, dir, files, outer, &place, &mut failed);
    if !Arc::ptr_eq(&rules, outer) {
        context.note_rules(&rules, path);
    }
    rules
}
