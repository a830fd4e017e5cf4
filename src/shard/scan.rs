//! One directory, or one chunk of a large one: list, rules, stat, compare with the published generation, fetch.

use super::context::ScanContext;
use super::ingest::{FileInfo, Found};
use super::only::{Part, wanted};
use super::outbox::Outbox;
use super::published::{Fate, Published, is_unchanged};
use super::queue::Queue;
use super::repository::Repository;
use super::rules_in_dir::{RulePlace, is_private_data, rules_of};
use crate::counters::{self, Counters};
use crate::error::{Skip, StoreError, may_pass};
use crate::limits::{CHUNK_FILES, DEPTH_MAX, NAME_BYTES_MAX, STAT_FILES};
use crate::record::{DirId, DirRecord, FileMeta, Gone, Removal, bytes_path, now_ns};
use crate::rules::{InDir, Scratch, SourceKind, Stack};
use crate::store::schema::Entry;
use leindex_fallback::{Dir, Fetch, FetchError, Fetched, Kind, Listing, Meta, Worker};
use std::ffi::CString;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

/// A piece of the walk.
pub(super) enum Job {
    Dir(DirJob),
    Files(FilesJob),
}

/// A directory that is to be listed.
pub(super) struct DirJob {
    pub(super) at: DirAt,
    pub(super) id: DirId,
    /// The published generation knows the directory.
    pub(super) known: bool,
    /// Path relative to the root, ending in a slash unless empty.
    pub(super) path: Vec<u8>,
    /// What of the directory to look at.
    pub(super) only: Part,
    pub(super) rules: Arc<Stack>,
    /// The git repository that it lies in.
    pub(super) repository: Option<Arc<Repository>>,
    /// A rule excludes it, and git tracks something below it: only that is accepted.
    pub(super) only_tracked: bool,
    pub(super) depth: usize,
}

/// How to get at a directory.
pub(super) enum DirAt {
    Open(Arc<Dir>),
    In(Arc<Dir>, CString),
}

/// Files of one directory that are to be compared and read.
pub(super) struct FilesJob {
    dir: Arc<Dir>,
    id: DirId,
    path: Arc<[u8]>,
    listing: Arc<Listing>,
    picks: Vec<Pick>,
}

struct Pick {
    index: u32,
    published: Option<FileMeta>,
    /// Known already when the listing did not say what kind of entry it is.
    meta: Option<Meta>,
}

/// What becomes of content: indexed on the spot, or handed to a shard.
pub(super) trait Sink {
    fn content(&mut self, file: FileInfo, bytes: &[u8], context: &ScanContext, counters: &Counters);
    fn outbox(&mut self) -> &mut Outbox;
}

/// The scanning half of a worker.
pub(super) struct Scanner<'r> {
    pub(super) context: &'r ScanContext,
    pub(super) queue: &'r Queue,
    pub(super) counters: &'r Counters,
    io: Box<dyn Worker>,
    in_flight: InFlight,
    path: Vec<u8>,
    jobs: Vec<Job>,
    /// A listing whose directory is done, for its memory.
    spare: Listing,
    scratch: Scratch,
}

/// Files whose content was asked for.
#[derive(Default)]
struct InFlight {
    files: Vec<Option<(FileInfo, Arc<[u8]>)>>,
    free: Vec<u32>,
}

impl InFlight {
    fn put(&mut self, file: FileInfo, path: Arc<[u8]>) -> u64 {
        let index = self.free.pop().unwrap_or(self.files.len() as u32);
        if index as usize == self.files.len() {
            self.files.push(None);
        }
        self.files[index as usize] = Some((file, path));
        u64::from(index)
    }

    fn take(&mut self, token: u64) -> Option<(FileInfo, Arc<[u8]>)> {
        let taken = self.files.get_mut(token as usize)?.take();
        self.free.push(token as u32);
        taken
    }
}

/// What decides about the entries of a directory.
struct Place<'a> {
    rules: &'a InDir<'a>,
    repository: Option<&'a Repository>,
    only_tracked: bool,
}

/// A directory found in another one.
struct SubDir<'a> {
    name: &'a [u8],
    entry: Option<Entry>,
    only: Part,
    rules: Arc<Stack>,
    repository: Option<Arc<Repository>>,
    only_tracked: bool,
}

/// The listing of a directory, sorted out.
#[derive(Default)]
struct Sorted {
    picks: Vec<Pick>,
    new_dirs: Vec<DirRecord>,
}

impl<'r> Scanner<'r> {
    pub(super) fn new(context: &'r ScanContext, queue: &'r Queue, counters: &'r Counters, io: Box<dyn Worker>) -> Self {
        let in_flight = InFlight::default();
        Scanner {
            context,
            queue,
            counters,
            io,
            in_flight,
            path: Vec::new(),
            jobs: Vec::new(),
            spare: Listing::new(),
            scratch: Scratch::default(),
        }
    }

    /// Works on one job.
    pub(super) fn job(&mut self, job: Job, sink: &mut dyn Sink) {
        match job {
            Job::Dir(job) => self.dir(job, sink),
            Job::Files(job) => self.files(&job, sink),
        }
        self.queue.job_done();
    }

    /// Completes what is in flight.
    pub(super) fn finish(&mut self, sink: &mut dyn Sink) {
        let Scanner { context, counters, io, in_flight, .. } = self;
        io.finish(&mut |fetched| fetched_file(in_flight, context, counters, sink, fetched));
    }

    /// What this worker has done, for the report.
    pub(super) fn end(self) {
        *self.context.io.lock().unwrap_or_else(PoisonError::into_inner) += self.io.stats();
    }

    /// Reads and cache misses so far.
    pub(super) fn reads_and_misses(&self) -> (u64, u64) {
        let stats = self.io.stats();
        (stats.opens, stats.misses)
    }

    fn dir(&mut self, job: DirJob, sink: &mut dyn Sink) {
        let opened = match &job.at {
            DirAt::Open(dir) => Ok(Arc::clone(dir)),
            DirAt::In(parent, name) => self.open_dir(parent, name, sink).map(Arc::new),
        };
        let listed = opened.map_err(|error| ("open directory", error)).and_then(|dir| {
            let watched = self.context.watches.as_ref().map(|watches| (watches, watches.directory(&job.path)));
            let mut listing = std::mem::take(&mut self.spare);
            self.io.list(&dir, &mut listing).map_err(|error| ("list", error))?;
            if let Some((watches, Err(why))) = watched {
                watches.fail(&job.path, &why);
            }
            Ok((dir, listing))
        });
        let (dir, mut listing) = match listed {
            Ok(listed) => listed,
            Err((op, error)) => return self.skip_dir(&job, op, &error, sink),
        };
        counters::add(&self.counters.dirs, 1);
        listing.sort_by_inode();
        let sorted = match self.sort_out(&job, &dir, &mut listing, sink) {
            Ok(sorted) => sorted,
            Err(error) => return self.context.fail(error),
        };
        sink.outbox().dirs(sorted.new_dirs);
        let path: Arc<[u8]> = job.path.into();
        let listing = Arc::new(listing);
        let mut picks = sorted.picks;
        // The first chunk is done here and now; the others may be taken by anyone.
        while picks.len() > CHUNK_FILES * 3 / 2 {
            let picks = picks.split_off(picks.len() - CHUNK_FILES);
            let (dir, path, listing) = (Arc::clone(&dir), Arc::clone(&path), Arc::clone(&listing));
            self.jobs.push(Job::Files(FilesJob { dir, id: job.id, path, listing, picks }));
        }
        self.queue.push(&mut self.jobs);
        let job = FilesJob { dir, id: job.id, path, listing, picks };
        self.files(&job, sink);
        // Unless others work on the rest of it.
        if let Some(mut listing) = Arc::into_inner(job.listing) {
            listing.clear();
            self.spare = listing;
        }
    }

    /// Opens a directory; when descriptors have run out, what is in flight is completed first.
    fn open_dir(&mut self, parent: &Arc<Dir>, name: &CString, sink: &mut dyn Sink) -> io::Result<Dir> {
        match self.io.open_dir(parent, name) {
            Err(_) if self.io.in_flight() > 0 => {
                self.finish(sink);
                self.io.open_dir(parent, name)
            }
            opened => opened,
        }
    }

    fn skip_dir(&mut self, job: &DirJob, op: &'static str, error: &io::Error, sink: &mut dyn Sink) {
        // What nobody may read is not answered from. After other failures, which may be over by the next run, what the
        // index holds of the directory stays: whether it is still true cannot be told.
        if error.kind() == io::ErrorKind::PermissionDenied {
            match Published::load(self.context.store.as_ref(), job) {
                Ok(published) => published.report_gone(job, &vec![Fate::Gone; published.entries.len()], sink.outbox()),
                Err(error) => self.context.fail(error),
            }
        }
        let path = job.path.strip_suffix(b"/").unwrap_or(&job.path).to_vec();
        let gone = error.kind() == io::ErrorKind::NotFound;
        let reason = if gone { "vanished while indexing".into() } else { error.to_string() };
        counters::add(&self.counters.seen, 1);
        counters::add(&self.counters.unsettled, u64::from(may_pass(error)));
        self.context.skip(self.counters, Skip { path, op, reason, failure: !gone });
    }

    /// Applies the rules to every entry, finds what is gone, and makes jobs of the directories.
    fn sort_out(
        &mut self,
        job: &DirJob,
        dir: &Arc<Dir>,
        listing: &mut Listing,
        sink: &mut dyn Sink,
    ) -> Result<Sorted, StoreError> {
        let nested = self.nested_repository(job, listing);
        let rules = self.rules(job, dir, listing, nested.as_deref(), sink);
        let only_tracked = job.only_tracked && nested.is_none();
        let repository = nested.or_else(|| job.repository.clone());
        let published = Published::load(self.context.store.as_ref(), job)?;
        let mut fates = vec![Fate::Gone; published.entries.len()];
        let mut sorted = Sorted::default();
        self.path.clear();
        self.path.extend_from_slice(&self.context.rule_prefix);
        self.path.extend_from_slice(&job.path);
        let base = self.path.len();
        let in_dir = rules.in_dir(&self.path);
        for index in 0..listing.len() {
            let Some(only) = wanted(&job.only, listing.name(index)) else { continue };
            let mut meta = None;
            if listing.kind(index) == Kind::Unknown {
                meta = self.stat(dir, listing, index, &job.path);
                listing.set_kind(index, meta.map_or(Kind::Unknown, |meta: Meta| meta.kind));
            }
            self.path.truncate(base);
            self.path.extend_from_slice(listing.name(index));
            let place = Place { rules: &in_dir, repository: repository.as_deref(), only_tracked };
            let Some(only_tracked) = self.accepts(job, listing, index, &place) else { continue };
            let known = published.find(listing.name(index));
            let entry = known.map(|at| published.entries[at].1);
            match (listing.kind(index), entry) {
                (Kind::Dir, _) => {
                    if let Some(at) = known {
                        fates[at] = if matches!(entry, Some(Entry::Dir(_))) { Fate::Same } else { Fate::Swapped };
                    }
                    let (name, rules, repository) = (listing.name(index), Arc::clone(&rules), repository.clone());
                    let sub = SubDir { name, entry, only, rules, repository, only_tracked };
                    self.sub_dir(job, dir, sub, &mut sorted);
                }
                (_, entry) => {
                    let file = match entry {
                        Some(Entry::File(meta)) => Some(meta),
                        _ => None,
                    };
                    if let Some(at) = known {
                        fates[at] = if file.is_some() { Fate::Same } else { Fate::Swapped };
                    }
                    sorted.picks.push(Pick { index: index as u32, published: file, meta });
                }
            }
        }
        published.report_gone(job, &fates, sink.outbox());
        Ok(sorted)
    }

    /// The repository that begins in this directory, unless it is the one that the tree lies in.
    fn nested_repository(&self, job: &DirJob, listing: &Listing) -> Option<Arc<Repository>> {
        if !(0..listing.len()).any(|i| listing.name(i) == b".git") {
            return None;
        }
        let base = [&self.context.rule_prefix[..], &job.path].concat();
        let root = self.context.root_path.join(bytes_path(&job.path));
        let repository = Repository::begins(&root, base, job.repository.as_deref()).map(Arc::new)?;
        if let Some(watches) = &self.context.watches {
            repository.files().iter().for_each(|file| watches.file(file, &job.path));
        }
        Some(repository)
    }

    fn rules(
        &mut self,
        job: &DirJob,
        dir: &Arc<Dir>,
        listing: &Listing,
        nested: Option<&Repository>,
        sink: &mut dyn Sink,
    ) -> Arc<Stack> {
        let options = &self.context.rule_options;
        let git = job.repository.is_some() || nested.is_some() || options.git_everywhere;
        let is_rule_file =
            |i: usize| listing.name(i).ends_with(b"ignore") && matches!(listing.name(i).first(), Some(b'.'));
        if !options.files || nested.is_none() && !(0..listing.len()).any(is_rule_file) {
            return Arc::clone(&job.rules);
        }
        // Fetching a rule file uses the same queue as files of content do; those come first.
        self.finish(sink);
        let path = [&self.context.rule_prefix[..], &job.path].concat();
        let place = RulePlace { path: &path, git, case: options.case, nested, global: self.context.global.as_ref() };
        // The file is skipped and counted when its own turn comes, for the same reason.
        let mut failed = |name: &[u8], reason: String| {
            tracing::warn!(path = %[&job.path[..], name].concat().escape_ascii(), reason, "rules not read");
        };
        let rules = rules_of(&mut *self.io, dir, listing, &job.rules, &place, &mut failed);
        if !Arc::ptr_eq(&rules, &job.rules) {
            self.context.note_rules(&rules, &path);
        }
        rules
    }

    /// Whether the entry is to be looked at, and of a directory whether only what git tracks in it is; counts it if not.
    /// `self.path` holds its path as rules see it.
    fn accepts(&mut self, job: &DirJob, listing: &Listing, index: usize, place: &Place<'_>) -> Option<bool> {
        let name = listing.name(index);
        let kind = listing.kind(index);
        let is_dir = kind == Kind::Dir;
        if is_dir && self.is_index_dir(&job.path, name) {
            return None;
        }
        if !is_dir {
            counters::add(&self.counters.seen, 1);
        }
        let hidden = !self.context.rule_options.hidden && name.first() == Some(&b'.');
        let verdict = place.rules.verdict(&self.path, is_dir, &mut self.scratch);
        let by_command_line = verdict.is_some_and(|found| found.source.kind == SourceKind::CommandLine);
        let data = (is_dir || name == b".git") && is_private_data(name) && !by_command_line;
        // Rules of git's do not ignore what it tracks; other rules do.
        let by_rule = verdict.is_some_and(|found| found.ignored);
        let is_gits = verdict.is_none_or(|found| found.source.kind <= SourceKind::Gitignore);
        let ignored = by_rule || place.only_tracked && !by_command_line;
        let may_be_lifted = !hidden && !data && ignored && (is_gits || !by_rule);
        let tracked = may_be_lifted && place.repository.is_some_and(|git| git.tracks(&self.path, is_dir));
        if hidden || data || ignored && !tracked {
            counters::add(if is_dir { &self.counters.ignored_dirs } else { &self.counters.ignored }, 1);
            if let (Some(found), false) = (verdict, hidden || data) {
                self.note_ignored(&found);
            }
            return None;
        }
        let reason = match kind {
            Kind::File | Kind::Dir if name.len() > NAME_BYTES_MAX => "the name is too long",
            Kind::File => return Some(tracked),
            Kind::Dir if job.depth >= DEPTH_MAX => "nested too deeply",
            Kind::Dir => return Some(tracked),
            Kind::Symlink => "symbolic link, not followed",
            Kind::Fifo => "FIFO, not a regular file",
            Kind::Socket => "socket, not a regular file",
            Kind::Device => "device, not a regular file",
            // The stat that was to tell the kind has failed and was reported.
            _ => return None,
        };
        let failure = matches!(kind, Kind::File | Kind::Dir);
        counters::add(&self.counters.seen, u64::from(is_dir));
        let path = [&job.path[..], name].concat();
        self.context.skip(self.counters, Skip { path, op: "list", reason: reason.into(), failure });
        None
    }

    fn is_index_dir(&self, path: &[u8], name: &[u8]) -> bool {
        self.context.index_dir.as_deref().and_then(|index| index.strip_prefix(path)) == Some(name)
    }

    fn note_ignored(&self, found: &crate::rules::Match<'_>) {
        let mut first = self.context.first_ignored.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| {
            let source = String::from_utf8_lossy(&found.source.display);
            format!("{source}:{}:{}", found.line, String::from_utf8_lossy(found.pattern))
        });
    }

    fn sub_dir(&mut self, job: &DirJob, dir: &Arc<Dir>, sub: SubDir<'_>, sorted: &mut Sorted) {
        let SubDir { name, entry, only, rules, repository, only_tracked } = sub;
        let (id, known) = match entry {
            Some(Entry::Dir(id)) => (id, true),
            _ => (self.context.ids.dir(), false),
        };
        if !known {
            sorted.new_dirs.push(DirRecord { id, parent: job.id, name: name.to_vec() });
        }
        let Ok(c_name) = CString::new(name) else { return };
        let path = [&job.path[..], name, b"/"].concat();
        let at = DirAt::In(Arc::clone(dir), c_name);
        let depth = job.depth + 1;
        self.jobs.push(Job::Dir(DirJob { at, id, known, path, only, rules, repository, only_tracked, depth }));
    }

    fn files(&mut self, job: &FilesJob, sink: &mut dyn Sink) {
        if job.picks.is_empty() {
            return;
        }
        if let Some(listed) = &self.context.listed {
            let path = |pick: &Pick| [&job.path[..], job.listing.name(pick.index as usize)].concat();
            listed.lock().unwrap_or_else(PoisonError::into_inner).extend(job.picks.iter().map(path));
            return;
        }
        let stat_ns = now_ns();
        let mut stats = Vec::with_capacity(STAT_FILES);
        for picks in job.picks.chunks(STAT_FILES) {
            if self.context.cancelled.load(Relaxed) {
                return;
            }
            self.stat_batch(job, picks, &mut stats);
            for (pick, stat) in picks.iter().zip(stats.drain(..)) {
                if self.context.cancelled.load(Relaxed) {
                    return;
                }
                let meta = stat.and_then(|stat| self.judge(stat, &job.listing, pick.index as usize, &job.path));
                match meta.or(pick.meta) {
                    Some(meta) => self.file(job, pick, meta, stat_ns, sink),
                    None => remove_published(pick.published, job, pick.index as usize, sink.outbox()),
                }
            }
        }
    }

    /// The one stat of each of `picks`, in their order; `None` for one whose metadata is known already.
    fn stat_batch(&mut self, job: &FilesJob, picks: &[Pick], stats: &mut Vec<Option<io::Result<Meta>>>) {
        let wanted: Vec<u32> = picks.iter().filter(|pick| pick.meta.is_none()).map(|pick| pick.index).collect();
        counters::add(&self.counters.stat_calls, wanted.len() as u64);
        stats.clear();
        stats.resize_with(picks.len(), || None);
        self.io.stat_batch(&job.dir, &job.listing, &wanted, &mut |index, stat| {
            // Picks are in the order of their indices: that of the listing.
            if let Ok(position) = picks.binary_search_by_key(&index, |pick| pick.index) {
                stats[position] = Some(stat);
            }
        });
    }

    fn file(&mut self, job: &FilesJob, pick: &Pick, meta: Meta, stat_ns: i64, sink: &mut dyn Sink) {
        let index = pick.index as usize;
        if pick.published.is_some_and(|published| is_unchanged(&published, &meta, self.context.file_bytes_max)) {
            return counters::add(&self.counters.unchanged, 1);
        }
        let name = job.listing.name(index);
        let info = FileInfo { parent: job.id, name: name.to_vec(), meta, stat_ns, published: pick.published };
        if meta.size > self.context.file_bytes_max {
            return too_large(info, self.context, self.counters, sink);
        }
        let token = self.in_flight.put(info, Arc::clone(&job.path));
        let limit = self.context.file_bytes_max;
        let request =
            Fetch { dir: &job.dir, name: job.listing.c_name(index), size: meta.size, limit, cut: false, token };
        let Scanner { context, counters, io, in_flight, .. } = self;
        io.fetch(request, &mut |fetched| fetched_file(in_flight, context, counters, sink, fetched));
    }

    /// The one stat of an entry whose kind the listing did not say.
    fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize, path: &[u8]) -> Option<Meta> {
        counters::add(&self.counters.stat_calls, 1);
        let stat = self.io.stat(dir, listing, index);
        self.judge(stat, listing, index, path)
    }

    /// The metadata of an entry, if it is to be had and says what the listing said. A failure is reported here.
    fn judge(&self, stat: io::Result<Meta>, listing: &Listing, index: usize, path: &[u8]) -> Option<Meta> {
        let error = match stat {
            Ok(meta) if meta.kind == Kind::File || listing.kind(index) == Kind::Unknown => return Some(meta),
            Ok(_) => io::Error::other("is no longer a regular file"),
            Err(error) => error,
        };
        let path = [path, listing.name(index)].concat();
        let gone = error.kind() == io::ErrorKind::NotFound;
        let reason = if gone { "vanished while indexing".into() } else { error.to_string() };
        counters::add(&self.counters.unsettled, u64::from(may_pass(&error)));
        self.context.skip(self.counters, Skip { path, op: "stat", reason, failure: !gone });
        None
    }
}

/// A file of the last generation that cannot be read any more is not answered from.
fn remove_published(published: Option<FileMeta>, job: &FilesJob, index: usize, outbox: &mut Outbox) {
    if let Some(published) = published {
        let name = job.listing.name(index).to_vec();
        outbox.removal(Removal { parent: job.id, name, gone: Gone::File(published.id) });
    }
}

fn too_large(info: FileInfo, context: &ScanContext, counters: &Counters, sink: &mut dyn Sink) {
    counters::add(&counters.too_large, 1);
    let found = Found::too_large(&info.name);
    sink.outbox().file(info.record(context.ids.file(), found, None));
}

/// Content has arrived, or has not.
fn fetched_file(
    in_flight: &mut InFlight,
    context: &ScanContext,
    counters: &Counters,
    sink: &mut dyn Sink,
    fetched: Fetched<'_>,
) {
    let Some((info, path)) = in_flight.take(fetched.token) else { return };
    counters::add(&counters.reads, 1);
    counters::add(&counters.misses, u64::from(fetched.missed));
    match fetched.result {
        // After a cancel it is let go, content or error: it would be published in no generation.
        _ if context.cancelled.load(Relaxed) => {}
        Ok(bytes) => {
            counters::add(&counters.bytes_read, bytes.len() as u64);
            sink.content(info, bytes, context, counters);
        }
        Err(FetchError::TooLarge { .. }) => too_large(info, context, counters, sink),
        Err(error) => {
            let (op, gone, reason) = match &error {
                FetchError::Io { op, source } if source.kind() == io::ErrorKind::NotFound => {
                    (op.as_str(), true, "vanished while indexing".to_string())
                }
                FetchError::Io { op, source } => (op.as_str(), false, source.to_string()),
                other => ("read", false, other.to_string()),
            };
            let settled = matches!(&error, FetchError::Io { source, .. } if !may_pass(source));
            counters::add(&counters.unsettled, u64::from(!settled));
            let skipped = [&path[..], &info.name].concat();
            context.skip(counters, Skip { path: skipped, op, reason, failure: !gone });
            if let Some(published) = info.published {
                let removal = Removal { parent: info.parent, name: info.name, gone: Gone::File(published.id) };
                sink.outbox().removal(removal);
            }
        }
    }
}
