//! The two runtimes over io_uring: a thread a core, up to 64 files of each in flight, directories listed by blocking
//! calls, since neither library lists them (and no kernel does so asynchronously).

use super::naive::list;
use super::queue::Queue;
use super::work::{Counts, Done, Mode, Unavailable};
use super::{Failure, machine};
use futures_util::stream::{FuturesUnordered, StreamExt};
use glommio::{LocalExecutorBuilder, Placement};
use rustix::fs::{AtFlags, StatxFlags};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio_uring::buf::BoundedBuf;

/// The most files of one thread in flight.
const FILES_AT_ONCE: usize = 64;
/// What a buffer holds at first.
const BUFFER_BYTES: usize = 64 << 10;

/// One thread: `one` does everything about one file.
async fn drive<F>(queue: &Queue<PathBuf>, one: impl Fn(PathBuf) -> F) -> Counts
where
    F: Future<Output = io::Result<Counts>>,
{
    let mut counts = Counts::default();
    let mut files = VecDeque::new();
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < FILES_AT_ONCE {
            let Some(file) = files.pop_front() else { break };
            flying.push(one(file));
        }
        if flying.len() < FILES_AT_ONCE {
            // Only when nothing is in flight may the thread sleep until another one finds a directory.
            let dir = if flying.is_empty() { queue.next() } else { queue.try_next() };
            if let Some(dir) = dir {
                list(&dir, queue, &mut files, &mut counts);
                queue.done();
                continue;
            }
        }
        match flying.next().await {
            Some(Ok(more)) => counts += more,
            Some(Err(error)) => counts.fail(&error),
            None => return counts,
        }
    }
}

/// Walks with `tokio-uring`: statx by path where files are only stat'ed; open, statx, read and close otherwise.
pub(super) fn tokio_uring(mode: Mode, root: &Path) -> Result<Done, Failure> {
    let started = Instant::now();
    let queue = Queue::new(root.to_owned());
    let counts = std::thread::scope(|scope| {
        let start = |number| {
            let queue = &queue;
            scope.spawn(move || tokio_uring_thread(number, mode, queue))
        };
        let threads: Vec<_> = (0..machine::cores()).map(start).collect();
        let mut total = Counts::default();
        for thread in threads {
            total += thread.join().map_err(|_| "a thread of tokio-uring panicked")??;
        }
        Ok::<_, Failure>(total)
    })?;
    Ok(Done { seconds: started.elapsed().as_secs_f64(), counts, extra: String::new() })
}

fn tokio_uring_thread(number: usize, mode: Mode, queue: &Queue<PathBuf>) -> Result<Counts, Failure> {
    machine::pin(number);
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder());
    let runtime = runtime.map_err(|error| Unavailable(format!("no runtime: {error}")))?;
    let buffers = RefCell::new(Vec::new());
    let counts = runtime.block_on(async {
        match mode {
            Mode::Stat => drive(queue, tokio_uring_stat).await,
            Mode::Read => drive(queue, |path| tokio_uring_read(path, &buffers)).await,
        }
    });
    Ok(counts)
}

async fn tokio_uring_stat(path: PathBuf) -> io::Result<Counts> {
    let mut builder = tokio_uring::fs::StatxBuilder::new();
    let flags = AtFlags::SYMLINK_NOFOLLOW.bits() as i32;
    let statx = builder.flags(flags).mask(StatxFlags::BASIC_STATS.bits()).pathname(path)?.statx().await?;
    let mut counts = Counts::default();
    counts.file(statx.stx_size);
    Ok(counts)
}

async fn tokio_uring_read(path: PathBuf, buffers: &RefCell<Vec<Vec<u8>>>) -> io::Result<Counts> {
    let file = tokio_uring::fs::File::open(path).await?;
    let size = file.statx().await?.stx_size;
    let mut counts = Counts::default();
    counts.file(size);
    let idle = buffers.borrow_mut().pop();
    let mut buffer = idle.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
    buffer.clear();
    loop {
        let length = buffer.len();
        buffer.reserve((size as usize).max(length) + 1 - length);
        // More than what is left was asked for, so that a read which brings just that was the last one.
        let (got, slice) = file.read_at(buffer.slice(length..), length as u64).await;
        buffer = slice.into_inner();
        let got = got?;
        if got == 0 || (length + got) as u64 == size {
            counts.bytes += (length + got) as u64;
            break;
        }
    }
    buffers.borrow_mut().push(buffer);
    file.close().await?;
    Ok(counts)
}

/// Walks with `glommio`. Its files can be stat'ed only once they are open, and opening one stats it already: a file
/// costs an open, two statx and a close, and a read if it is to be read.
pub(super) fn glommio(mode: Mode, root: &Path) -> Result<Done, Failure> {
    let started = Instant::now();
    let queue = Arc::new(Queue::new(root.to_owned()));
    let mut executors = Vec::new();
    for core in machine::allowed_cores() {
        let queue = Arc::clone(&queue);
        let builder = LocalExecutorBuilder::new(Placement::Fixed(core));
        let executor = builder.spawn(move || async move { drive(&queue, |path| glommio_file(path, mode)).await });
        executors.push(executor.map_err(|error| Unavailable(format!("no executor: {error}")))?);
    }
    let mut counts = Counts::default();
    for executor in executors {
        counts += executor.join().map_err(|error| Unavailable(format!("an executor ended early: {error}")))?;
    }
    Ok(Done { seconds: started.elapsed().as_secs_f64(), counts, extra: String::new() })
}

async fn glommio_file(path: PathBuf, mode: Mode) -> io::Result<Counts> {
    let file = glommio::io::BufferedFile::open(path).await?;
    let size = file.file_size().await?;
    let mut counts = Counts::default();
    counts.file(size);
    if mode == Mode::Read {
        counts.bytes = glommio_read(&file, size).await?;
    }
    file.close().await?;
    Ok(counts)
}

/// Reads a file to its end. The library brings each read in a buffer of its own; one is enough unless the file changes.
async fn glommio_read(file: &glommio::io::BufferedFile, size: u64) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let asked = size.saturating_sub(length) as usize + 1;
        let got = file.read_at(length, asked).await?.len() as u64;
        length += got;
        if got == 0 || length == size {
            return Ok(length);
        }
    }
}
