//! One directory, or one chunk of a large one: list, rules, stat, compare with the published generation, fetch.

use super::context::ScanContext;
use super::in_force::{InForce, Place, Verdict};
use super::ingest::{FileInfo, Found};
use super::only::{Part, wanted};
use super::outbox::Outbox;
use super::published::{Fate, Published, is_unchanged};
use super::queue::Queue;
use super::rules_in_dir::is_rule_file;
use crate::counters::{self, Counters};
use crate::error::{Skip, StoreError, may_pass};
use crate::limits::{CHUNK_FILES, DEPTH_MAX, NAME_BYTES_MAX, STAT_FILES};
use crate::record::{DirId, DirRecord, FileMeta, Gone, Removal, now_ns};
use crate::rules::{Match, Scratch};
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
    /// What is in force in the directory that it lies in.
    pub(super) above: Arc<InForce>,
    /// A rule excludes it, and git tracks something below it: only that is accepted. `None` if its name was not judged,
    /// because the verdict on it stands.
    pub(super) only_tracked: Option<bool>,
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
    /// Known already when the listing did not say what kind of entry it is, and of rule files.
    meta: Option<Stat>,
}

/// Metadata, and when it was asked for: nanoseconds since the epoch.
#[derive(Clone, Copy)]
pub(super) struct Stat {
    pub(super) meta: Meta,
    pub(super) at_ns: i64,
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
    pub(super) io: Box<dyn Worker>,
    in_flight: InFlight,
    /// Of the entry that is being looked at, as rules see it.
    pub(super) path: Vec<u8>,
    jobs: Vec<Job>,
    spare: Spare,
    pub(super) scratch: Scratch,
}

/// The memory of larger directories is not kept.
const SPARE_ENTRIES_MAX: usize = 16 << 10;

/// What was made for a directory that is done, for its memory: threads that allocate for each directory anew wait for each
/// other, in an allocator that shares pools.
#[derive(Default)]
struct Spare {
    listing: Listing,
    published: Published,
    fates: Vec<Fate>,
    picks: Vec<Pick>,
    wanted: Vec<u32>,
    stats: Vec<Option<io::Result<Meta>>>,
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

/// A directory found in another one.
struct SubDir<'a> {
    name: &'a [u8],
    entry: Option<Entry>,
    only: Part,
    above: Arc<InForce>,
    only_tracked: Option<bool>,
}

/// The listing of a directory, sorted out.
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
            spare: Spare::default(),
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
            let mut listing = std::mem::take(&mut self.spare.listing);
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
        if let Some(mut listing) = Arc::into_inner(job.listing).filter(|listing| listing.len() <= SPARE_ENTRIES_MAX) {
            listing.clear();
            self.spare.listing = listing;
        }
        if job.picks.capacity() <= SPARE_ENTRIES_MAX {
            self.spare.picks = job.picks;
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
        } else {
            self.context.standing.doubt();
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
        let mut published = std::mem::take(&mut self.spare.published);
        published.load_again(self.context.store.as_ref(), job)?;
        let (in_force, mut stats) = self.enter(job, dir, listing, &published, sink);
        let mut fates = std::mem::take(&mut self.spare.fates);
        fates.clear();
        fates.resize(published.entries.len(), Fate::Gone);
        let mut sorted = Sorted { picks: std::mem::take(&mut self.spare.picks), new_dirs: Vec::new() };
        sorted.picks.clear();
        self.path.clear();
        self.path.extend_from_slice(&self.context.rule_prefix);
        self.path.extend_from_slice(&job.path);
        let base = self.path.len();
        let mut place = None;
        for index in 0..listing.len() {
            let Some(only) = wanted(&job.only, listing.name(index)) else { continue };
            let early = stats.iter().position(|(at, _)| *at == index).map(|at| stats.swap_remove(at).1);
            let is_rules = early.is_some();
            let stat = match early {
                None if listing.kind(index) == Kind::Unknown => Some(self.stat(dir, listing, index)),
                early => early,
            };
            let Ok(meta) = stat.map(|stat| self.judge_early(stat, listing, index, &job.path)).transpose() else {
                self.context.standing.doubt_if(is_rules);
                continue;
            };
            let (name, kind) = (listing.name(index), listing.kind(index));
            let known = published.find(name);
            let entry = known.map(|at| published.entries[at].1);
            let is_as_published =
                matches!((kind, entry), (Kind::File, Some(Entry::File(_))) | (Kind::Dir, Some(Entry::Dir(_))));
            let only_tracked = if is_as_published && in_force.stand {
                counters::add(&self.counters.seen, u64::from(kind == Kind::File));
                None
            } else {
                self.path.truncate(base);
                self.path.extend_from_slice(name);
                let rules = self.rules(&in_force, sink);
                let place = place.get_or_insert_with(|| self.place(&in_force, rules, base));
                let Some(only_tracked) = self.accepts(job, listing, index, place) else {
                    // A rule file that is not published cannot tell the next run that it has gone.
                    self.context.standing.doubt_if(is_rules && rules.stack.lifts(&self.path[..base]));
                    continue;
                };
                Some(only_tracked)
            };
            if let Some(at) = known {
                fates[at] = if is_as_published { Fate::Same } else { Fate::Swapped };
            }
            if kind == Kind::Dir {
                let above = Arc::clone(&in_force);
                self.sub_dir(job, dir, SubDir { name, entry, only, above, only_tracked }, &mut sorted);
            } else {
                let published = entry.and_then(|entry| entry.file());
                sorted.picks.push(Pick { index: index as u32, published, meta });
            }
        }
        published.report_gone(job, &fates, sink.outbox());
        if published.entries.len() <= SPARE_ENTRIES_MAX {
            (self.spare.published, self.spare.fates) = (published, fates);
        }
        Ok(sorted)
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
        let tracked = match place.verdict(&self.path, name, is_dir, &mut self.scratch) {
            Verdict::Accepted { tracked } => tracked,
            Verdict::Ignored(found) => {
                counters::add(if is_dir { &self.counters.ignored_dirs } else { &self.counters.ignored }, 1);
                found.inspect(|found| self.note_ignored(found));
                return None;
            }
        };
        let reason = match kind {
            Kind::File | Kind::Dir if name.len() > NAME_BYTES_MAX => "the name is too long",
            Kind::File => return Some(tracked),
            Kind::Dir if job.depth >= DEPTH_MAX => "nested too deeply",
            Kind::Dir => return Some(tracked),
            Kind::Symlink => "symbolic link, not followed",
            Kind::Fifo => "FIFO, not a regular file",
            Kind::Socket => "socket, not a regular file",
            Kind::Device => "device, not a regular file",
            _ => "neither a file nor a directory",
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

    fn note_ignored(&self, found: &Match<'_>) {
        let mut first = self.context.first_ignored.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| {
            let source = String::from_utf8_lossy(&found.source.display);
            format!("{source}:{}:{}", found.line, String::from_utf8_lossy(found.pattern))
        });
    }

    fn sub_dir(&mut self, job: &DirJob, dir: &Arc<Dir>, sub: SubDir<'_>, sorted: &mut Sorted) {
        let SubDir { name, entry, only, above, only_tracked } = sub;
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
        self.jobs.push(Job::Dir(DirJob { at, id, known, path, only, above, only_tracked, depth }));
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
        let at_ns = now_ns();
        let mut stats = std::mem::take(&mut self.spare.stats);
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
                match meta.map(|meta| Stat { meta, at_ns }).or(pick.meta) {
                    Some(stat) => self.file(job, pick, stat, sink),
                    None => remove_published(pick.published, job, pick.index as usize, sink.outbox()),
                }
            }
        }
        self.spare.stats = stats;
    }

    /// The one stat of each of `picks`, in their order; `None` for one whose metadata is known already.
    fn stat_batch(&mut self, job: &FilesJob, picks: &[Pick], stats: &mut Vec<Option<io::Result<Meta>>>) {
        let wanted = &mut self.spare.wanted;
        wanted.clear();
        wanted.extend(picks.iter().filter(|pick| pick.meta.is_none()).map(|pick| pick.index));
        counters::add(&self.counters.stat_calls, wanted.len() as u64);
        stats.clear();
        stats.resize_with(picks.len(), || None);
        self.io.stat_batch(&job.dir, &job.listing, wanted, &mut |index, stat| {
            // Picks are in the order of their indices: that of the listing.
            if let Ok(position) = picks.binary_search_by_key(&index, |pick| pick.index) {
                stats[position] = Some(stat);
            }
        });
    }

    fn file(&mut self, job: &FilesJob, pick: &Pick, Stat { meta, at_ns }: Stat, sink: &mut dyn Sink) {
        let index = pick.index as usize;
        if pick.published.is_some_and(|published| is_unchanged(&published, &meta, self.context.file_bytes_max)) {
            return counters::add(&self.counters.unchanged, 1);
        }
        let name = job.listing.name(index);
        let info = FileInfo { parent: job.id, name: name.to_vec(), meta, stat_ns: at_ns, published: pick.published };
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

    /// The one stat of an entry, ahead of all others.
    pub(super) fn stat(&mut self, dir: &Dir, listing: &Listing, index: usize) -> io::Result<Stat> {
        counters::add(&self.counters.stat_calls, 1);
        let at_ns = now_ns();
        self.io.stat(dir, listing, index).map(|meta| Stat { meta, at_ns })
    }

    /// As [`Scanner::judge`], of an entry that nobody has judged by rules: notes its kind, or counts it as seen and skipped.
    fn judge_early(
        &self,
        stat: io::Result<Stat>,
        listing: &mut Listing,
        index: usize,
        path: &[u8],
    ) -> Result<Stat, ()> {
        let at_ns = stat.as_ref().map_or(0, |stat| stat.at_ns);
        let Some(meta) = self.judge(stat.map(|stat| stat.meta), listing, index, path) else {
            counters::add(&self.counters.seen, 1);
            return Err(());
        };
        listing.set_kind(index, meta.kind);
        Ok(Stat { meta, at_ns })
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
            // Its rules were read, and have decided.
            context.standing.doubt_if(is_rule_file(&info.name));
            let skipped = [&path[..], &info.name].concat();
            context.skip(counters, Skip { path: skipped, op, reason, failure: !gone });
            if let Some(published) = info.published {
                let removal = Removal { parent: info.parent, name: info.name, gone: Gone::File(published.id) };
                sink.outbox().removal(removal);
            }
        }
    }
}
