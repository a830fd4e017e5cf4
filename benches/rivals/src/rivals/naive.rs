//! What one would write first: the standard library, a queue of directories, some threads. No order, no reuse of
//! buffers, a path for everything. `fs::read` asks for the metadata once more to size its buffer, and reads until it
//! gets nothing.

use super::Failure;
use super::queue::Queue;
use super::work::{Counts, Done, Mode};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

/// Walks with so many threads.
pub(super) fn walk(threads: usize, mode: Mode, root: &Path) -> Result<Done, Failure> {
    let started = Instant::now();
    let queue = Queue::new(root.to_owned());
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| thread(&queue, mode))).collect();
        let mut total = Counts::default();
        for thread in threads {
            total += thread.join().map_err(|_| "a naive thread panicked")?;
        }
        Ok::<_, Failure>(total)
    })?;
    Ok(Done { seconds: started.elapsed().as_secs_f64(), counts, extra: String::new() })
}

fn thread(queue: &Queue<PathBuf>, mode: Mode) -> Counts {
    let mut counts = Counts::default();
    let mut files = Vec::new();
    while let Some(dir) = queue.next() {
        list(&dir, queue, &mut files, &mut counts);
        for path in files.drain(..) {
            if let Err(error) = file(&path, mode, &mut counts) {
                counts.fail(&error);
            }
        }
        queue.done();
    }
    counts
}

fn file(path: &Path, mode: Mode, counts: &mut Counts) -> io::Result<()> {
    counts.file(fs::symlink_metadata(path)?.len());
    if mode == Mode::Read {
        counts.bytes += fs::read(path)?.len() as u64;
    }
    Ok(())
}

/// Lists a directory: its regular files are added to `files` and its directories to the queue. The caller has yet to say
/// that it is done with it.
pub(super) fn list(dir: &Path, queue: &Queue<PathBuf>, files: &mut impl Extend<PathBuf>, counts: &mut Counts) {
    let mut dirs = Vec::new();
    let mut entries = || -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                files.extend([entry.path()]);
            }
        }
        Ok(())
    };
    if let Err(error) = entries() {
        counts.fail(&error);
    }
    counts.dirs += 1;
    queue.add(&mut dirs);
}
