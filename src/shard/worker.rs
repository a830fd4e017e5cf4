//! The loops of shards and readers.

use super::context::ScanContext;
use super::ingest::{FileInfo, Ingest, Parcel};
use super::outbox::Outbox;
use super::placement::{Placement, pin};
use super::queue::{Next, Queue, Work};
use super::scan::{Scanner, Sink};
use crate::counters::Counters;
use std::sync::atomic::Ordering::Relaxed;

/// A parcel is handed over at this size, or at the number of files of a batch.
const PARCEL_BYTES: usize = 1 << 20;
/// A reader that finds this many files in the cache in a row goes home: the shards are faster alone.
const HITS_TO_RETIRE: u64 = 256;

/// Runs a shard until all work is done.
pub(super) fn run_shard(mut scanner: Scanner<'_>, mut ingest: Ingest, shard: usize, placement: Placement) {
    let _span = tracing::info_span!("shard", shard).entered();
    if placement == Placement::Pinned {
        pin(shard);
    }
    let queue = scanner.queue;
    let context = scanner.context;
    let counters = scanner.counters;
    loop {
        let work = match queue.try_next() {
            Next::Work(work) => work,
            Next::Done => break,
            Next::Wait => {
                scanner.finish(&mut ingest);
                match queue.next() {
                    Some(work) => work,
                    None => break,
                }
            }
        };
        match work {
            Work::Job(job) => scanner.job(job, &mut ingest),
            Work::Parcel(mut parcel) => {
                parcel.unpack(|file, content| {
                    if !context.cancelled.load(Relaxed) {
                        ingest.file(file, content, &context.ids, counters);
                    }
                });
                queue.give_back(parcel);
            }
        }
        if context.cancelled.load(Relaxed) {
            queue.close();
        }
    }
    scanner.finish(&mut ingest);
    scanner.end();
    if !context.cancelled.load(Relaxed) {
        ingest.seal(true);
    }
}

impl Sink for Ingest {
    fn content(&mut self, file: FileInfo, bytes: &[u8], context: &ScanContext, counters: &Counters) {
        self.file(file, bytes, &context.ids, counters);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}

/// Runs a reader until all work is done, or, if it `may_retire`, until there is nothing to wait for any more.
pub(super) fn run_reader(mut scanner: Scanner<'_>, outbox: Outbox, may_retire: bool) {
    let _span = tracing::info_span!("reader").entered();
    let queue = scanner.queue;
    let context = scanner.context;
    let mut packer = Packer { queue, parcel: Parcel::default(), outbox, batch_files: context.batch_files };
    let mut hits = Hits::default();
    while !context.cancelled.load(Relaxed) {
        let job = match queue.try_next_job() {
            Ok(Some(job)) => job,
            Ok(None) => {
                scanner.finish(&mut packer);
                packer.hand_over();
                match queue.next_job() {
                    Some(job) => job,
                    None => break,
                }
            }
            Err(_) => break,
        };
        scanner.job(job, &mut packer);
        if may_retire && hits.in_a_row(scanner.reads_and_misses()) > HITS_TO_RETIRE {
            break;
        }
    }
    scanner.finish(&mut packer);
    packer.hand_over();
    packer.outbox.flush();
    scanner.end();
    queue.reader_ends();
}

/// Reads since the last miss.
#[derive(Default)]
struct Hits {
    misses: u64,
    since: u64,
}

impl Hits {
    fn in_a_row(&mut self, (reads, misses): (u64, u64)) -> u64 {
        if misses != self.misses {
            *self = Hits { misses, since: reads };
        }
        reads - self.since
    }
}

/// Collects content into parcels.
struct Packer<'r> {
    queue: &'r Queue,
    parcel: Parcel,
    outbox: Outbox,
    batch_files: usize,
}

impl Packer<'_> {
    fn hand_over(&mut self) {
        if self.parcel.file_count() > 0 {
            let next = self.queue.empty_parcel();
            self.queue.push_parcel(std::mem::replace(&mut self.parcel, next));
        }
    }
}

impl Sink for Packer<'_> {
    fn content(&mut self, file: FileInfo, bytes: &[u8], _: &ScanContext, _: &Counters) {
        self.parcel.push(file, bytes);
        if self.parcel.memory_bytes() >= PARCEL_BYTES || self.parcel.file_count() >= self.batch_files {
            self.hand_over();
        }
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}
