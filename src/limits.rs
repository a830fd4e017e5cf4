//! Every bound of the engine in one place, with the arithmetic behind it.

use std::time::Duration;

/// How long an operation on a file may take before the file is skipped: longer than a disk takes to spin up and a network
/// mount to find its server again.
pub const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// Files in one database batch by default: all of a batch is published, or none of it.
pub const BATCH_FILES: usize = 100;
/// Files of one directory that are handed to another shard as one piece of work.
pub const CHUNK_FILES: usize = 128;
/// Files that are stat'ed together, before the first of them is opened: enough to have a network busy, few enough that
/// what a stat brought into the processor's cache is there when the file is opened.
pub const STAT_FILES: usize = 32;
/// A file of more bytes than this is counted as too large by default. The largest file of linux-6.1 has 23 MB.
pub const FILE_BYTES_DEFAULT: u64 = 64 << 20;
/// The most bytes of a file that can be set: the tokenizer addresses decoded text with 32 bits, and ISO-8859-1 may double
/// when it is decoded.
pub const FILE_BYTES_MAX: u64 = (2 << 30) - 65_536;
/// Content bytes in flight between readers and shards, in all: back-pressure on the readers.
pub const HANDOVER_BYTES: usize = 16 << 20;
/// Batches in the channel to the commit thread: 64 x 100 files x ~150 bytes is about 1 MB.
pub const COMMIT_CHANNEL: usize = 64;
/// Memory of one shard's inverter, in bytes, at which it writes its segment out. Two shards stay below 320 MB together, which
/// leaves room under 500 MB for buffers, the serializers and the allocator.
pub const INVERTER_BYTES: usize = 150 << 20;
/// The most that can be set for it, in bytes.
pub const INVERTER_BYTES_MAX: usize = 2 << 30;
/// A shard's segment is published when it is this old: what a kill can cost.
pub const CHECKPOINT: Duration = Duration::from_secs(8);
/// Readers beyond the core count that a run may start when reads miss the cache, a core.
pub const READERS_PER_CORE: usize = 8;
/// Attempts at one batch after the first, with [`RETRY_PAUSE`] doubling between them.
pub const RETRIES: u32 = 3;
/// Pause before the first retry of a failed batch.
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Skips that a report lists; all of them are counted.
pub const SKIPS_LISTED: usize = 1000;
/// Segments that are allowed to pile up before small ones are merged.
pub const SEGMENTS_MAX: usize = 8;
/// A modification time this close to the time of the stat may hide a later change within one clock tick (ext4 stamps
/// files with the kernel's coarse clock: 4 ms at 250 Hz, 10 ms at 100 Hz).
pub const RACY: Duration = Duration::from_millis(12);
/// Virtual size of the LMDB map, in bytes: address space, not memory or disk. Halved until the system grants it.
pub const MAP_BYTES: usize = if cfg!(target_pointer_width = "64") { 64 << 30 } else { 1 << 30 };
/// Longest file name, in bytes, that fits an LMDB key behind the parent's id (511 bytes less 4).
pub const NAME_BYTES_MAX: usize = 507;
/// Directories that a run holds open for the sake of rule files that it may have to read later. In others it reads them at once.
pub const RULE_DIRS_HELD: usize = 64;
/// Depth of directories that a walk follows.
pub const DEPTH_MAX: usize = 4096;
/// Read transactions that may be open on one index, over all processes.
pub const READERS_MAX: u32 = 1024;
/// Bytes of a file's text that are parsed for its symbols. Longer ones are tables; a tree takes some 20 times their size.
pub const SYMBOL_BYTES_MAX: usize = 8 << 20;
/// Symbols that are kept of a file; the largest headers of registers have about as many.
pub const SYMBOLS_PER_FILE_MAX: usize = 1 << 17;
/// Names of more bytes than this are no symbols.
pub const SYMBOL_NAME_BYTES_MAX: usize = 512;
/// How long parsing a file may take: ten times what the longest takes that is parsed.
pub const SYMBOL_PARSE_TIME: Duration = Duration::from_secs(10);
/// Lines before a hit, and after it, that a query may ask for.
pub const CONTEXT_LINES_MAX: usize = 100;
/// A line of more bytes is cut in hits: nobody writes such lines, and a file of 50 MB without a line end must not make a
/// hit of 50 MB.
pub const LINE_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(BATCH_FILES > 0 && CHUNK_FILES > 0);
const _: () = assert!(FILE_BYTES_DEFAULT <= FILE_BYTES_MAX);
const _: () = assert!(2 * FILE_BYTES_MAX < u32::MAX as u64);
