//! The walkers that other programs use, each set up as its documentation advises for the most speed, with every filter
//! off. Content is read with `std::fs::File` into a buffer that is used again.

use super::Failure;
use super::work::{Counts, Done, Mode};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

thread_local! {
    /// What files are read into. Of the thread, since not every walker lets a thread keep something of its own.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The counts of a thread, or of a part of its work. When it is dropped it adds them to the sum.
struct Tally {
    counts: Counts,
    mode: Mode,
    sum: Arc<Mutex<Counts>>,
}

impl Tally {
    fn new(mode: Mode, sum: &Arc<Mutex<Counts>>) -> Tally {
        Tally { counts: Counts::default(), mode, sum: Arc::clone(sum) }
    }

    fn file(&mut self, path: &Path, size: u64) {
        self.counts.file(size);
        if self.mode == Mode::Read {
            self.counts.read(read(path));
        }
    }
}

fn read(path: &Path) -> io::Result<u64> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        Ok(File::open(path)?.read_to_end(buffer)? as u64)
    })
}

impl Drop for Tally {
    fn drop(&mut self) {
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner) += self.counts;
    }
}

fn timed(walk: impl FnOnce(&Arc<Mutex<Counts>>) -> Result<(), Failure>) -> Result<Done, Failure> {
    let sum = Arc::default();
    let started = Instant::now();
    walk(&sum)?;
    let seconds = started.elapsed().as_secs_f64();
    let counts = *sum.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Done { seconds, counts, extra: String::new() })
}

/// Walks with the parallel walker of the crate `ignore`.
pub(super) fn ignore(threads: usize, mode: Mode, root: &Path) -> Result<Done, Failure> {
    timed(|sum| {
        let mut builder = ignore::WalkBuilder::new(root);
        builder.standard_filters(false).hidden(false).follow_links(false).threads(threads);
        builder.build_parallel().run(|| {
            let mut tally = Tally::new(mode, sum);
            Box::new(move |entry| {
                match entry.and_then(|entry| ignored_entry(&entry, &mut tally)) {
                    Ok(()) => {}
                    Err(error) => tally.counts.fail(&error),
                }
                ignore::WalkState::Continue
            })
        });
        Ok(())
    })
}

fn ignored_entry(entry: &ignore::DirEntry, tally: &mut Tally) -> Result<(), ignore::Error> {
    match entry.file_type() {
        Some(kind) if kind.is_dir() => tally.counts.dirs += 1,
        Some(kind) if kind.is_file() => tally.file(entry.path(), entry.metadata()?.len()),
        _ => {}
    }
    Ok(())
}

/// Walks with `jwalk`. Its pool lists directories, and calls back with each one there: files are stat'ed and read in
/// that call, so that the one thread that goes over the result has nothing left to do.
pub(super) fn jwalk(threads: usize, mode: Mode, root: &Path) -> Result<Done, Failure> {
    timed(|sum| {
        let for_pool = Arc::clone(sum);
        let walk = jwalk::WalkDir::new(root).skip_hidden(false).follow_links(false).sort(false);
        let walk = walk.parallelism(jwalk::Parallelism::RayonNewPool(threads));
        let walk = walk.process_read_dir(move |_, _, _, entries| {
            let mut tally = Tally::new(mode, &for_pool);
            for entry in entries.iter().flatten() {
                if !entry.file_type().is_file() {
                    continue;
                }
                match entry.metadata() {
                    Ok(metadata) => tally.file(&entry.path(), metadata.len()),
                    Err(error) => tally.counts.fail(&error),
                }
            }
        });
        let mut tally = Tally::new(mode, sum);
        for entry in walk {
            let entry = entry?;
            tally.counts.dirs += u64::from(entry.file_type().is_dir());
            if let Some(error) = &entry.read_children_error {
                tally.counts.fail(error);
            }
        }
        Ok(())
    })
}

/// Walks with `walkdir`, on one thread.
pub(super) fn walkdir(mode: Mode, root: &Path) -> Result<Done, Failure> {
    timed(|sum| {
        let mut tally = Tally::new(mode, sum);
        for entry in walkdir::WalkDir::new(root).follow_links(false) {
            let entry = entry?;
            let kind = entry.file_type();
            tally.counts.dirs += u64::from(kind.is_dir());
            if kind.is_file() {
                tally.file(entry.path(), entry.metadata()?.len());
            }
        }
        Ok(())
    })
}
