//! What is in force in a directory that was just listed: whether the verdicts on its names stand, and its rule files.

use super::context::ScanContext;
use super::in_force::{Above, InForce, Made, Place, Unread, is_only_tracked};
use super::published::{Published, is_unchanged};
use super::repository::Repository;
use super::rules_in_dir::{RuleFileName, RulePlace, rule_file_names, rules_of};
use super::scan::{DirJob, Scanner, Sink, Stat};
use crate::limits::RULE_DIRS_HELD;
use crate::record::{FileMeta, bytes_path};
use crate::rules::Stack;
use leindex_fallback::{Dir, Kind, Listing, Worker};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

/// The rule files of a listing.
#[derive(Default)]
struct RuleFiles {
    /// Those that can be read.
    files: Vec<RuleFileName>,
    /// What was asked about each that is listed, by its index; `None` when that has failed.
    stats: Vec<(usize, Option<Stat>)>,
    /// One is not what it was when the names were judged that are published.
    changed: bool,
}

impl Scanner<'_> {
    /// What is in force in the directory of `job`, and the metadata of the rule files in it: by their index in the listing.
    /// That is asked for before their content, so that no change of it can pass for what was read.
    pub(super) fn enter(
        &mut self,
        job: &DirJob,
        dir: &Arc<Dir>,
        listing: &mut Listing,
        published: &Published,
        sink: &mut dyn Sink,
    ) -> (Arc<InForce>, Vec<(usize, Option<Stat>)>) {
        let nested = self.nested_repository(job, listing);
        if nested.is_some() {
            // Nobody would notice when it is a repository no more.
            self.context.standing.doubt();
        }
        let git = nested.is_some() || job.above.repository().is_some() || self.context.rule_options.git_everywhere;
        let RuleFiles { files, stats, changed } = self.rule_files(job, dir, listing, published, git);
        let stand = job.above.stand() && !changed && nested.is_none();
        let path = [&self.context.rule_prefix[..], &job.path].concat();
        if files.is_empty() && nested.is_none() {
            return (InForce::without_files(job.above.clone(), path, job.only_tracked, stand), stats);
        }
        let unread = Unread { dir: Arc::clone(dir), files, nested, held: Arc::clone(&self.context.held) };
        let repository = unread.nested.as_ref().or(job.above.repository()).cloned();
        let only_tracked = if unread.nested.is_some() { Some(false) } else { job.only_tracked };
        let above = job.above.clone();
        let in_force = if stand && Arc::strong_count(&unread.held) <= RULE_DIRS_HELD {
            self.context.rules_unread.store(true, Relaxed);
            InForce { above, path, repository, stand, only_tracked, unread: Some(unread), made: OnceLock::new() }
        } else {
            let outer = self.made_above(&above, sink).clone();
            let only_tracked = only_tracked.unwrap_or_else(|| {
                is_only_tracked(&path, &outer, above.repository().map(|git| &**git), &mut self.scratch)
            });
            self.finish(sink);
            let stack = read_rules(self.context, &mut *self.io, &path, &unread, &outer.stack);
            let made = OnceLock::from(Made { stack, only_tracked });
            InForce { above, path, repository, stand, only_tracked: Some(only_tracked), unread: None, made }
        };
        (Arc::new(in_force), stats)
    }

    /// Finds the rule files of a listing and compares them with those that are published.
    fn rule_files(
        &mut self,
        job: &DirJob,
        dir: &Arc<Dir>,
        listing: &mut Listing,
        published: &Published,
        git: bool,
    ) -> RuleFiles {
        let mut found = RuleFiles::default();
        if !self.context.rule_options.files {
            return found;
        }
        let is_likely = |name: &[u8]| name.first() == Some(&b'.') && name.ends_with(b"ignore");
        let likely: Vec<usize> = (0..listing.len()).filter(|&index| is_likely(listing.name(index))).collect();
        for file in rule_file_names(git) {
            let name = file.name();
            let known = published.find(name).and_then(|at| published.entries[at].1.file());
            let Some(index) = likely.iter().copied().find(|&index| listing.name(index) == name) else {
                found.changed |= known.is_some();
                continue;
            };
            if !matches!(listing.kind(index), Kind::File | Kind::Unknown) {
                found.changed |= known.is_some();
                continue;
            }
            let stat = self.stat(dir, listing, index, &job.path);
            found.stats.push((index, stat));
            let is_file = listing.kind(index) == Kind::File;
            if is_file {
                found.files.push(file);
            }
            let is_same = |known: FileMeta, stat: Stat| is_unchanged(&known, &stat.meta, self.context.file_bytes_max);
            found.changed |= !is_file || !known.zip(stat).is_some_and(|(known, stat)| is_same(known, stat));
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
        let outer = job.above.repository().map(|git| &**git);
        let repository = Repository::begins(&root, base, outer).map(Arc::new)?;
        if let Some(watches) = &self.context.watches {
            repository.files().iter().for_each(|file| watches.file(file, &job.path));
        }
        Some(repository)
    }

    /// What decides about names in a directory, read if nobody has had to know.
    pub(super) fn made<'i>(&mut self, in_force: &'i InForce, sink: &mut dyn Sink) -> &'i Made {
        if let Some(made) = in_force.made.get() {
            return made;
        }
        // Fetching a rule file uses the same queue as files of content do; those come first.
        self.finish(sink);
        let Scanner { context, io, scratch, .. } = self;
        in_force.make(scratch, &mut |path, unread, outer| read_rules(context, &mut **io, path, unread, outer))
    }

    fn made_above<'a>(&mut self, above: &'a Above, sink: &mut dyn Sink) -> &'a Made {
        match above {
            Above::Base(base) => &base.made,
            Above::Dir(above) => self.made(above, sink),
        }
    }

    /// What decides about the entries of a directory whose path has this length.
    pub(super) fn place<'i>(&self, in_force: &'i InForce, made: &'i Made, path_bytes: usize) -> Place<'i> {
        let hidden = self.context.rule_options.hidden;
        Place::new(&self.path[..path_bytes], made, in_force.repository.as_deref(), hidden)
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
    let place =
        RulePlace { path, case: context.rule_options.case, nested: nested.as_deref(), global: context.global.as_ref() };
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
