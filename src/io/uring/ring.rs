//! One submission ring, and the memory that the kernel reads and writes through it. An island of unsafe code.
//!
//! Everything here serves one rule: **what the kernel was given stays where it is, and is not touched, until its
//! completion was taken.** Names, metadata, buffers and directories of an operation belong to its slot; a slot with an
//! operation in the kernel refuses to be used or released; and a ring that is dropped cancels what is in flight and
//! waits for it. If that takes too long (a dead network mount), ring and memory stay until the thread ends, see `remains`.
//!
//! ```text
//!  worker                              kernel
//!  read(slot): unfinished = 1             |
//!  submit() -------------------------> |  writes into the slot's buffer
//!  release(slot)  -> refused           |  ...
//!  drop(ring): cancel, wait ---------> |  completes: ECANCELED or the result
//!  next_completion(): unfinished = 0 <--- |
//!  free the buffer                     |  knows it no longer
//! ```
//!
//! The crate `io-uring` is used as it is: one level below an executor, which would want futures where the contract has
//! none. See docs/unsafe.md for each block, its invariant and its test.

#![allow(unsafe_code)]

use super::memory::Block;
use super::op::{Action, Completion, from_user_data, user_data};
use super::pages::{PAGE, Pages, Span};
use super::probe::Caps;
use super::remains::Remains;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use leindex_fallback::Dir;
use rustix::fs::{AtFlags, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest name that a slot takes, with its NUL. Some file systems allow longer ones (FUSE, vfat in UTF-8): calls do those.
pub(super) const NAME_BYTES: usize = 256;
/// How long a dropped ring waits for operations that were cancelled. What takes longer is waited for at the end of the
/// thread, when nobody waits for the thread's work any more.
const DRAIN_PATIENCE: Duration = Duration::from_millis(50);
/// A buffer for a large file has this much at least, so that it does for the next one too. What is never written to is
/// no memory, only a range of addresses.
const OWN_BYTES_MIN: usize = 16 << 20;
/// The largest read in one entry: what the kernel itself cuts reads to.
const READ_BYTES_MAX: usize = 0x7fff_f000;
/// As the portable backend opens files (see there why each). `CLOEXEC` means nothing to a direct descriptor and is refused.
const OPEN_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// As fstatat(2) does: a look must not mount anything.
const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);
/// The user data of cancellations, whose own completion means nothing.
const CANCEL: u64 = u64::MAX;

/// What a ring has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingStats {
    pub(super) enters: u64,
    pub(super) entries: u64,
}

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingSize {
    /// Slots with a direct descriptor; those behind them, up to `slots`, can only stat.
    pub(super) files: u32,
    pub(super) slots: u32,
    /// Entries of the submission queue; fewer than the slots need is slow, not wrong.
    pub(super) entries: u32,
    /// The buffer that the slots' reads share.
    pub(super) buffer_bytes: usize,
}

/// Where a slot's content goes.
#[derive(Default)]
enum Buffer {
    #[default]
    None,
    /// A part of the shared buffer.
    Shared(Span),
    /// Memory of its own: the file is large.
    Own(Block),
}

/// One slot and what it keeps alive.
#[derive(Default)]
struct Cell {
    /// Operations that the kernel has and has not completed.
    unfinished: u32,
    /// The kernel looks a relative name up when it gets to it, not when it is told to.
    dir: Option<Arc<Dir>>,
    /// An ordinary descriptor instead of the slot's direct one.
    file: Option<OwnedFd>,
    buffer: Buffer,
    /// Bytes that may be used of the buffer, and how many of them are content.
    room: usize,
    filled: usize,
    /// A stat has completed and nothing was done with the slot since.
    has_stat: bool,
}

/// What the kernel may hold addresses of. Moving it moves none of that.
pub(super) struct Memory {
    cells: Vec<Cell>,
    names: Block,
    stats: Block,
    shared: Block,
}

/// See the module documentation.
pub(super) struct Ring {
    io: ManuallyDrop<IoUring>,
    memory: ManuallyDrop<Memory>,
    pages: Pages,
    /// Block of a large file that is done with, for the next one.
    spare: Option<Block>,
    ready: VecDeque<Completion>,
    caps: Caps,
    files: u32,
    /// The shared buffer is registered.
    fixed: bool,
    /// Entries in the submission queue that the kernel has not seen, and operations that it has not completed.
    queued: u32,
    unfinished: u32,
    /// Some of what was queued were cancellations.
    cancelled: bool,
    /// The highest slot that may hold a direct descriptor, and one more.
    opened: u32,
    stats: RingStats,
}

impl Ring {
    /// A ring for the calling thread.
    ///
    /// # Errors
    /// What the system says when it lacks memory or descriptors, or refuses.
    pub(super) fn new(caps: Caps, size: RingSize) -> io::Result<Ring> {
        let io = caps.build(size.entries)?;
        if caps.open_direct && size.files > 0 {
            io.submitter().register_files_sparse(size.files)?;
        }
        let block = |bytes| Block::new(bytes).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory));
        let slots = size.slots as usize;
        let memory = Memory {
            cells: (0..slots).map(|_| Cell::default()).collect(),
            names: block(slots * NAME_BYTES)?,
            stats: block(slots * size_of::<Statx>())?,
            shared: block(size.buffer_bytes)?,
        };
        Ok(Ring {
            io: ManuallyDrop::new(io),
            memory: ManuallyDrop::new(memory),
            pages: Pages::new(size.buffer_bytes / PAGE),
            spare: None,
            ready: VecDeque::with_capacity(slots),
            caps,
            files: size.files,
            fixed: false,
            queued: 0,
            unfinished: 0,
            cancelled: false,
            opened: 0,
            stats: RingStats::default(),
        })
    }

    /// Registers the shared buffer, so that reads into it need not map it each time. It counts as locked memory, so it
    /// may be refused; then everything goes on as before.
    pub(super) fn register_buffer(&mut self) -> bool {
        if !self.fixed && self.caps.read_fixed {
            let shared = &self.memory.shared;
            let part = libc::iovec { iov_base: shared.address(0).cast(), iov_len: shared.len() };
            // SAFETY: the memory is the ring's until it is dropped, and by then nothing is in the kernel (`Drop`); closing
            // the ring takes the registration back. Test: `reads_arrive_where_they_belong` (registered and not).
            self.fixed = unsafe { self.io.submitter().register_buffers(&[part]) }.is_ok();
        }
        self.fixed
    }

    /// Queues the opening of a file into the slot's direct descriptor, which closes the file that was there. With `wait`,
    /// by a thread of the kernel that may wait for it.
    pub(super) fn open(&mut self, slot: u32, dir: &Arc<Dir>, name: &CStr, wait: bool) {
        assert!(slot < self.files && self.caps.open_direct, "slot {slot} has no direct descriptor");
        self.keep_name(slot, dir, name);
        self.open_again(slot, wait);
    }

    /// Queues the same opening once more.
    pub(super) fn open_again(&mut self, slot: u32, wait: bool) {
        let (fd, name) = self.kept_name(slot);
        let target = types::DestinationSlot::try_from_slot_target(slot).ok();
        let flags = OPEN_FLAGS.bits() as i32;
        self.opened = self.opened.max(slot + 1);
        self.push(slot, Action::Open, opcode::OpenAt::new(fd, name).flags(flags).file_index(target).build(), wait);
    }

    /// Gives the slot an ordinary descriptor to read from.
    pub(super) fn adopt(&mut self, slot: u32, file: OwnedFd) {
        self.idle_cell(slot).file = Some(file);
    }

    /// Queues a harmless request that a pipe refuses: a read by itself would take another program's data from it. (Unlike
    /// pread(2), the ring's read does not ask whether a file has positions.)
    pub(super) fn check(&mut self, slot: u32) {
        let entry = match self.target(slot) {
            Target::Call(fd) => opcode::Fadvise::new(fd, 0, libc::POSIX_FADV_NORMAL).build(),
            Target::Direct(fd) => opcode::Fadvise::new(fd, 0, libc::POSIX_FADV_NORMAL).build(),
        };
        self.push(slot, Action::Check, entry, false);
    }

    /// Makes room for `bytes` of content, keeping what is there. False when the shared buffer is full: take completions
    /// and try again.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn reserve(&mut self, slot: u32, bytes: usize, own: bool) -> Result<bool, Errno> {
        let taken = if own {
            let fits = self.spare.take_if(|block| block.len() >= bytes);
            let size = bytes.checked_next_power_of_two().unwrap_or(bytes).max(OWN_BYTES_MIN);
            Buffer::Own(fits.or_else(|| Block::new(size)).ok_or(Errno::NOMEM)?)
        } else {
            match self.pages.take(bytes) {
                Some(span) => Buffer::Shared(span),
                None => return Ok(false),
            }
        };
        let cell = self.idle_cell(slot);
        let (filled, old) = (cell.filled, std::mem::replace(&mut cell.buffer, taken));
        cell.room = bytes;
        if filled > 0 {
            assert!(filled <= bytes, "content does not fit");
            let (from, to) = (self.address(&old), self.address(&self.memory.cells[slot as usize].buffer));
            // SAFETY: two buffers of which the kernel writes to neither (the slot is idle); both are longer than `filled`,
            // and they are different allocations or different spans of one. Test: `a_buffer_grows_and_keeps_its_content`.
            unsafe { std::ptr::copy_nonoverlapping(from, to, filled) };
        }
        self.free_buffer(old);
        Ok(true)
    }

    /// Queues a read of what is missing to fill the room. With `wait`, by a thread of the kernel that may wait for it.
    pub(super) fn read(&mut self, slot: u32, wait: bool) {
        let cell = self.idle_cell(slot);
        let (offset, room) = (cell.filled, cell.room);
        let shared = matches!(cell.buffer, Buffer::Shared(_));
        let length = (room - offset).min(READ_BYTES_MAX) as u32;
        let to = self.address(&self.memory.cells[slot as usize].buffer).wrapping_add(offset);
        let at = offset as u64;
        let entry = match self.target(slot) {
            Target::Call(fd) => opcode::Read::new(fd, to, length).offset(at).build(),
            Target::Direct(fd) if self.fixed && shared => opcode::ReadFixed::new(fd, to, length, 0).offset(at).build(),
            Target::Direct(fd) => opcode::Read::new(fd, to, length).offset(at).build(),
        };
        self.push(slot, Action::Read, entry, wait);
    }

    /// Queues a stat.
    pub(super) fn stat(&mut self, slot: u32, dir: &Arc<Dir>, name: &CStr) {
        self.keep_name(slot, dir, name);
        let (fd, name) = self.kept_name(slot);
        let to = self.memory.stats.address(slot as usize * size_of::<Statx>());
        let entry = opcode::Statx::new(fd, name, to.cast())
            .flags(STAT_FLAGS.bits() as i32)
            .mask(StatxFlags::BASIC_STATS.bits())
            .build();
        self.push(slot, Action::Stat, entry, false);
    }

    /// Asks the kernel to give up what the slot has in flight. It still completes, sooner or later.
    pub(super) fn cancel(&mut self, slot: u32) {
        if !self.caps.cancel {
            return;
        }
        self.cancelled = true;
        for action in [Action::Open, Action::Check, Action::Read, Action::Stat] {
            let entry = opcode::AsyncCancel::new(user_data(slot, action)).build().user_data(CANCEL);
            self.push_entry(&entry);
        }
    }

    /// How many bytes of content the slot has room for.
    pub(super) fn room(&self, slot: u32) -> usize {
        self.memory.cells[slot as usize].room
    }

    /// The content of the slot so far.
    pub(super) fn content(&self, slot: u32) -> &[u8] {
        let cell = &self.memory.cells[slot as usize];
        assert_eq!(cell.unfinished, 0, "slot {slot} is in the kernel");
        if cell.filled == 0 {
            return &[];
        }
        // SAFETY: the kernel has written the first `filled` bytes of the buffer (it said so, read by read, from offset 0 on)
        // and has no operation of this slot any more; the borrow of `self` keeps others from starting one, and the span or
        // block is the slot's alone. Test: `reads_arrive_where_they_belong`.
        unsafe { std::slice::from_raw_parts(self.address(&cell.buffer), cell.filled) }
    }

    /// The result of the stat that the slot has completed.
    pub(super) fn statx(&self, slot: u32) -> Option<Statx> {
        let cell = &self.memory.cells[slot as usize];
        if cell.unfinished > 0 || !cell.has_stat {
            return None;
        }
        let at: *const Statx = self.memory.stats.address(slot as usize * size_of::<Statx>()).cast();
        // SAFETY: `has_stat` says that the kernel has filled these bytes, a C structure of integers, and `unfinished` that it is
        // done with them; their place is aligned, for a block is aligned to pages and the structure's size is a multiple of
        // its alignment. Test: `a_stat_is_that_of_the_system`.
        Some(unsafe { at.read() })
    }

    /// Ends the use of a slot that has nothing in the kernel. Its direct descriptor stays open until it is used again.
    pub(super) fn release(&mut self, slot: u32) {
        let cell = self.idle_cell(slot);
        let done = std::mem::take(cell);
        self.free_buffer(done.buffer);
    }

    /// Closes the files of the direct descriptors. Nothing may be in flight.
    pub(super) fn close_files(&mut self) {
        if self.opened > 0 && self.unfinished == 0 {
            let none = vec![-1; self.opened as usize];
            // What cannot be closed now is closed when its slot is used again, or with the ring.
            if self.io.submitter().register_files_update(0, &none).is_ok() {
                self.opened = 0;
            }
        }
    }

    /// Operations that are queued or in the kernel.
    pub(super) fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// Whether the kernel has, or is about to get, an operation of the slot.
    pub(super) fn is_unfinished(&self, slot: u32) -> bool {
        self.memory.cells[slot as usize].unfinished > 0
    }

    /// Forgets that a large file was there.
    pub(super) fn give_spare_back(&mut self) {
        self.spare = None;
    }

    pub(super) fn stats(&self) -> RingStats {
        self.stats
    }

    /// Hands everything that is queued to the kernel, without waiting for anything.
    ///
    /// # Errors
    /// When the ring cannot be used any more.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        while self.queued > 0 {
            self.enter(0, None)?;
        }
        self.collect();
        Ok(())
    }

    /// Submits, and waits until something has completed or `patience` is over.
    ///
    /// # Errors
    /// When the ring cannot be used any more.
    pub(super) fn wait(&mut self, patience: Duration) -> io::Result<()> {
        if self.unfinished > 0 && self.ready.is_empty() {
            self.enter(1, Some(patience))?;
            self.collect();
        }
        Ok(())
    }

    /// The next completion that has arrived.
    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        self.ready.pop_front()
    }

    /// Enters the kernel. What it refuses for now (the completion queue is full, memory is short) is tried again after
    /// completions were taken; that it was interrupted or timed out is no error.
    fn enter(&mut self, want: usize, patience: Option<Duration>) -> io::Result<()> {
        loop {
            self.stats.enters += 1;
            let entered = match patience {
                None => self.io.submitter().submit_and_wait(want),
                Some(patience) => {
                    let time = types::Timespec::from(patience);
                    self.io.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&time))
                }
            };
            let error = match entered {
                Ok(submitted) => {
                    self.queued -= (submitted as u32).min(self.queued);
                    return Ok(());
                }
                Err(error) => error,
            };
            // Whatever the error, the queue tells how much the kernel has taken.
            self.queued = self.io.submission().len() as u32;
            match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(Errno::TIME) => return Ok(()),
                Some(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) if self.collect() > 0 => {}
                Some(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) if self.unfinished > self.queued => {
                    // Completions that do not fit are flushed by asking for one.
                    let time = types::Timespec::from(Duration::from_millis(1));
                    let _ = self.io.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time));
                    self.queued = self.io.submission().len() as u32;
                    self.collect();
                }
                _ => return Err(error),
            }
            if self.queued == 0 && want == 0 {
                return Ok(());
            }
        }
    }

    /// Takes what has completed. Returns how much that was.
    fn collect(&mut self) -> usize {
        let mut count = 0;
        for entry in self.io.completion() {
            count += 1;
            if entry.user_data() == CANCEL {
                continue;
            }
            let Some((slot, action)) = from_user_data(entry.user_data()) else { continue };
            let Some(cell) = self.memory.cells.get_mut(slot as usize) else { continue };
            cell.unfinished -= 1;
            self.unfinished -= 1;
            self.ready.push_back(completed(cell, slot, action, &entry));
        }
        count
    }

    fn push(&mut self, slot: u32, action: Action, entry: squeue::Entry, wait: bool) {
        let flags = if wait { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        self.memory.cells[slot as usize].unfinished += 1;
        self.unfinished += 1;
        self.push_entry(&entry.user_data(user_data(slot, action)).flags(flags));
    }

    fn push_entry(&mut self, entry: &squeue::Entry) {
        self.stats.entries += 1;
        loop {
            // SAFETY: what the entry points to (a name, a statx, a buffer) is in `memory` and belongs to a slot whose
            // `unfinished` was just raised; so it is neither touched, nor freed, nor given to another operation until
            // `collect` has taken the completion: `idle_cell` refuses, and `Drop` waits. The directory or file whose
            // number it holds is kept open by the cell. A cancellation points to nothing. Tests:
            // `a_slot_in_flight_is_refused`, `a_ring_dropped_in_flight_waits`.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                self.queued += 1;
                return;
            }
            if self.submit().is_err() {
                // The ring is dead; the next `submit` or `wait` says so. The operation stays unfinished, so its memory stays.
                return;
            }
        }
    }

    /// Copies the name to where it stays, and keeps its directory open.
    fn keep_name(&mut self, slot: u32, dir: &Arc<Dir>, name: &CStr) {
        let bytes = name.to_bytes_with_nul();
        assert!(bytes.len() <= NAME_BYTES, "a name longer than a slot");
        let cell = self.idle_cell(slot);
        cell.dir = Some(Arc::clone(dir));
        cell.has_stat = false;
        let to = self.memory.names.address(slot as usize * NAME_BYTES);
        // SAFETY: the place has `NAME_BYTES` bytes, all within the block, and the slot has nothing in the kernel that could
        // read them. Test: `reads_arrive_where_they_belong` with names of all lengths.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// The directory and the address of the name that a slot was given.
    fn kept_name(&self, slot: u32) -> (types::Fd, *const libc::c_char) {
        let dir = self.memory.cells[slot as usize].dir.as_ref();
        let fd = dir.map_or(-1, |dir| dir.as_fd().as_raw_fd());
        (types::Fd(fd), self.memory.names.address(slot as usize * NAME_BYTES).cast())
    }

    /// The cell of a slot that has nothing in the kernel.
    ///
    /// # Panics
    /// When it has: the caller has lost count, and going on would hand memory to two at once.
    fn idle_cell(&mut self, slot: u32) -> &mut Cell {
        let cell = &mut self.memory.cells[slot as usize];
        assert_eq!(cell.unfinished, 0, "slot {slot} is in the kernel");
        cell
    }

    fn target(&self, slot: u32) -> Target {
        match &self.memory.cells[slot as usize].file {
            Some(file) => Target::Call(types::Fd(file.as_raw_fd())),
            None => Target::Direct(types::Fixed(slot)),
        }
    }

    fn address(&self, buffer: &Buffer) -> *mut u8 {
        match buffer {
            Buffer::None => self.memory.shared.address(0),
            Buffer::Shared(span) => self.memory.shared.address(span.offset()),
            Buffer::Own(block) => block.address(0),
        }
    }

    fn free_buffer(&mut self, buffer: Buffer) {
        match buffer {
            Buffer::None => {}
            Buffer::Shared(span) => self.pages.give(span),
            // The larger one is kept: large files come in groups, and new memory costs as much as reading them.
            Buffer::Own(block) => {
                if self.spare.as_ref().is_none_or(|spare| spare.len() < block.len()) {
                    self.spare = Some(block);
                }
            }
        }
    }

    /// Cancels everything and waits for it; says whether nothing is left.
    fn drain(&mut self) -> bool {
        if self.unfinished == self.queued && !self.cancelled {
            // The kernel has seen none of it, and with the ring closed it never will.
            return true;
        }
        let begun = Instant::now();
        let slots = self.memory.cells.len() as u32;
        for slot in (0..slots).filter(|slot| self.memory.cells[*slot as usize].unfinished > 0).collect::<Vec<_>>() {
            self.cancel(slot);
        }
        while self.unfinished > 0 && begun.elapsed() < DRAIN_PATIENCE {
            if self.submit().and_then(|()| self.wait(DRAIN_PATIENCE / 8)).is_err() {
                return false;
            }
            self.ready.clear();
        }
        self.unfinished == 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let is_idle = self.unfinished == 0 || self.drain();
        // SAFETY: neither is used again: this is the only place that takes them, and `drop` runs once. Test:
        // `a_ring_dropped_in_flight_waits`.
        let (io, memory) = unsafe { (ManuallyDrop::take(&mut self.io), ManuallyDrop::take(&mut self.memory)) };
        if is_idle {
            // The kernel has completed all that it was given: nothing refers to the memory but the registration of the
            // shared buffer, which ends with the ring.
            drop(io);
            drop(memory);
        } else {
            tracing::warn!(operations = self.unfinished, "reads that do not end: their memory stays with the thread");
            Remains::keep(io, memory, self.unfinished);
        }
    }
}

enum Target {
    /// A descriptor of the process.
    Call(types::Fd),
    /// The slot's direct descriptor.
    Direct(types::Fixed),
}

fn completed(cell: &mut Cell, slot: u32, action: Action, entry: &cqueue::Entry) -> Completion {
    let result = match u32::try_from(entry.result()) {
        Ok(result) => Ok(result),
        Err(_) => Err(Errno::from_raw_os_error(entry.result().wrapping_neg())),
    };
    match (action, result) {
        // The kernel cannot have written more than it was asked to; were it to say so, the rest would not be ours.
        (Action::Read, Ok(read)) => cell.filled = (cell.filled + read as usize).min(cell.room),
        (Action::Stat, Ok(_)) => cell.has_stat = true,
        _ => {}
    }
    Completion { slot, action, result }
}

#[cfg(test)]
mod tests;
