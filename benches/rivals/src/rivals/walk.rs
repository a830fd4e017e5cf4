//! A parallel walk over whatever opens, lists, stats and reads: the engine's backends and plain system calls do it with
//! the same queue, in the same order and in the same portions, so that what differs is how the kernel is asked.

use super::queue::Queue;
use super::work::{Counts, Done};
use super::{Failure, machine};
use leindex_fallback::{Dir, IoStats, Kind, Listing};
use std::ffi::{CStr, CString};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// The files of a larger directory are shared out in portions of so many.
const PORTION_FILES: usize = 128;

/// One thread's way to the file system.
pub(super) trait Hands {
    /// Opens a directory of a directory.
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir>;

    /// Appends the entries of `dir`.
    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()>;

    /// Stats the entries `picks`, each once, and reads those that are files if that is asked for; counts all of it.
    /// Adds to `dirs` those that turn out to be directories, which a listing does not always say.
    fn files(&mut self, from: From<'_>, picks: &[u32], counts: &mut Counts, dirs: &mut Vec<u32>);

    /// Completes what is in flight.
    fn finish(&mut self, counts: &mut Counts);

    /// What they tell about themselves.
    fn stats(&self) -> IoStats;
}

/// Where files are taken from.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) dir: &'a Arc<Dir>,
    pub(super) listing: &'a Listing,
}

/// How many threads walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crew {
    pub(super) threads: usize,
    /// Each on a core of its own.
    pub(super) pinned: bool,
}

enum Job {
    /// The root.
    Root(Arc<Dir>),
    /// A name in a directory that is open.
    Dir(Arc<Dir>, CString),
    /// A part of `Large::picks`.
    Files(Arc<Large>, Range<usize>),
}

/// A directory whose files are shared out.
struct Large {
    dir: Arc<Dir>,
    listing: Listing,
    picks: Vec<u32>,
}

impl Crew {
    /// Walks the tree. The time begins before the root is opened and before any thread is started, and ends when the
    /// last one has ended: to set up a thread is a part of every way's price.
    pub(super) fn walk<H: Hands>(
        self,
        open_root: impl FnOnce() -> io::Result<Dir>,
        hands: impl Fn() -> Result<H, Failure> + Sync,
    ) -> Result<Done, Failure> {
        let started = Instant::now();
        let queue = Queue::new(Job::Root(Arc::new(open_root()?)));
        let (counts, stats) = std::thread::scope(|scope| {
            let start = |number| {
                let (queue, hands) = (&queue, &hands);
                scope.spawn(move || {
                    if self.pinned {
                        machine::pin(number);
                    }
                    Ok::<_, Failure>(Walker::new(hands()?, queue).run())
                })
            };
            let threads: Vec<_> = (0..self.threads).map(start).collect();
            let mut total = (Counts::default(), IoStats::default());
            for thread in threads {
                let (counts, stats) = thread.join().map_err(|_| "a walking thread panicked")??;
                total.0 += counts;
                total.1 += stats;
            }
            Ok::<_, Failure>(total)
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let extra = if stats == IoStats::default() { String::new() } else { format!("{stats:?}") };
        Ok(Done { seconds, counts, extra })
    }
}

/// One thread of a walk. Its vectors are kept from one directory to the next.
struct Walker<'a, H> {
    hands: H,
    queue: &'a Queue<Job>,
    counts: Counts,
    listing: Listing,
    picks: Vec<u32>,
    jobs: Vec<Job>,
}

impl<'a, H: Hands> Walker<'a, H> {
    fn new(hands: H, queue: &'a Queue<Job>) -> Walker<'a, H> {
        let counts = Counts::default();
        Walker { hands, queue, counts, listing: Listing::new(), picks: Vec::new(), jobs: Vec::new() }
    }

    fn run(mut self) -> (Counts, IoStats) {
        while let Some(job) = self.next() {
            match job {
                Job::Root(dir) => self.directory(dir),
                Job::Dir(parent, name) => match self.hands.open_dir(&parent, &name) {
                    Ok(dir) => self.directory(Arc::new(dir)),
                    Err(error) => self.counts.fail(&error),
                },
                Job::Files(large, range) => self.files(&large.dir, &large.listing, &large.picks[range]),
            }
            self.queue.done();
        }
        self.hands.finish(&mut self.counts);
        (self.counts, self.hands.stats())
    }

    /// A thread that would have to wait completes what it has in flight instead, and waits then.
    fn next(&mut self) -> Option<Job> {
        let job = self.queue.try_next();
        job.or_else(|| {
            self.hands.finish(&mut self.counts);
            self.queue.next()
        })
    }

    fn directory(&mut self, dir: Arc<Dir>) {
        let mut listing = std::mem::take(&mut self.listing);
        listing.clear();
        if let Err(error) = self.hands.list(&dir, &mut listing) {
            self.counts.fail(&error);
        }
        listing.sort_by_inode();
        self.counts.dirs += 1;
        self.sort_out(&dir, &listing);
        if self.picks.len() <= PORTION_FILES {
            self.queue.add(&mut self.jobs);
            let picks = std::mem::take(&mut self.picks);
            self.files(&dir, &listing, &picks);
            (self.picks, self.listing) = (picks, listing);
            return;
        }
        let large = Arc::new(Large { dir, listing, picks: std::mem::take(&mut self.picks) });
        let portions = (PORTION_FILES..large.picks.len()).step_by(PORTION_FILES).rev();
        let portions = portions.map(|start| start..(start + PORTION_FILES).min(large.picks.len()));
        self.jobs.extend(portions.map(|range| Job::Files(Arc::clone(&large), range)));
        self.queue.add(&mut self.jobs);
        self.files(&large.dir, &large.listing, &large.picks[..PORTION_FILES]);
    }

    /// Fills `picks` with what is a file or may be one, and `jobs` with what is a directory: the first of them last,
    /// since it is to be taken first.
    fn sort_out(&mut self, dir: &Arc<Dir>, listing: &Listing) {
        self.picks.clear();
        for index in 0..listing.len() {
            if matches!(listing.kind(index), Kind::File | Kind::Unknown) {
                self.picks.push(index as u32);
            }
        }
        let dirs = (0..listing.len()).rev().filter(|&index| listing.kind(index) == Kind::Dir);
        self.jobs.extend(dirs.map(|index| Job::Dir(Arc::clone(dir), listing.c_name(index).to_owned())));
    }

    fn files(&mut self, dir: &Arc<Dir>, listing: &Listing, picks: &[u32]) {
        let mut dirs = Vec::new();
        self.hands.files(From { dir, listing }, picks, &mut self.counts, &mut dirs);
        if !dirs.is_empty() {
            let name = |index| listing.c_name(index as usize).to_owned();
            self.jobs.extend(dirs.into_iter().map(|index| Job::Dir(Arc::clone(dir), name(index))));
            self.queue.add(&mut self.jobs);
        }
    }
}
