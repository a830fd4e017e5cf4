//! What the card reads and writes: pinned memory of the host, one block of its own, and the order of copies and
//! kernels. An island of unsafe code.
//!
//! A slot's pinned memory is in flight from [`Arena::upload`] until an event, or a wait for the whole card, has said
//! that the card is done with it. Meanwhile nobody gets a reference into it, and it is not freed: every path that ends
//! an arena waits for the card first.
//!
//! Copies to the card, kernels, and copies back have a stream each. With one stream for both directions, the next
//! batch's copy would queue behind the last batch's copy back, and so behind its kernels.

#![allow(unsafe_code)]

use super::driver::Found;
use super::error::of_driver;
use super::plan::{Plan, SlotSpans, Span, WORD};
use crate::embed::device::DeviceError;
use cudarc::driver::{result, sys};
use std::ptr::NonNull;
use std::time::Duration;

/// The card's context of this process. It is shared with other users of CUDA in the process, if there are any.
pub(super) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

impl Context {
    /// The context of a card, which is then that of the calling thread.
    ///
    /// # Errors
    /// When there is no such card, or it cannot be used now.
    pub(super) fn open(_: &Found, ordinal: i32) -> Result<Context, DeviceError> {
        let device = result::device::get(ordinal).map_err(|error| of_driver("looking for the card", error))?;
        // SAFETY: the device was just returned by the driver. Test: `vectors_agree_with_the_cpu`, as for every block
        // here.
        let raw = unsafe { result::primary_ctx::retain(device) };
        let context = Context { device, raw: raw.map_err(|error| of_driver("opening the card", error))? };
        context.enter()?;
        Ok(context)
    }

    pub(super) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// Makes this the context of the calling thread: an owner may have moved to another one since.
    pub(super) fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.raw) }.map_err(|error| of_driver("entering the card's context", error))
    }

    /// Bytes that are free on the card, and all.
    pub(super) fn memory(&self) -> Result<(usize, usize), DeviceError> {
        self.enter()?;
        result::mem_get_info().map_err(|error| of_driver("asking for the card's memory", error))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`, released once here. What was made in it is gone: an arena declares its
        // context last, and fields are dropped in order.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Memory of the host that stays where it is, so that the card copies from it and to it on its own.
struct Pinned {
    at: NonNull<u8>,
    bytes: usize,
}

impl Pinned {
    /// `write_combined` memory is not cached: the host writes it quickly and in order, and must not read it.
    fn new(bytes: usize, write_combined: bool) -> Result<Pinned, DeviceError> {
        let flags = if write_combined { sys::CU_MEMHOSTALLOC_WRITECOMBINED } else { 0 };
        // SAFETY: allocates; the size is not zero, and the memory is owned by what is returned.
        let at = unsafe { result::malloc_host(bytes.max(1), flags) };
        let at = at.map_err(|error| of_driver("pinning memory", error))?;
        let at =
            NonNull::new(at.cast::<u8>()).ok_or_else(|| DeviceError::OutOfMemory("no pinned memory".to_owned()))?;
        // SAFETY: the range was just allocated, and nobody else knows it. From here on its bytes are initialised.
        unsafe { at.as_ptr().write_bytes(0, bytes) };
        Ok(Pinned { at, bytes })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: from `malloc_host`, freed once. The card is done with it: an arena waits for it before it drops its
        // slots, and until the first upload the card has never heard of it.
        let _ = unsafe { result::free_host(self.at.as_ptr().cast()) };
    }
}

/// Memory of the card.
struct Block {
    at: sys::CUdeviceptr,
    bytes: usize,
}

impl Block {
    /// Zeroed: what kernels read beyond a batch's tokens is a number then, whatever the card did before.
    fn new(bytes: usize) -> Result<Block, DeviceError> {
        let failed = |error| of_driver(&format!("allocating {} MiB on the card", bytes >> 20), error);
        // SAFETY: allocates; the memory is owned by what is returned.
        let block = Block { at: unsafe { result::malloc_sync(bytes) }.map_err(failed)?, bytes };
        // SAFETY: the range was just allocated.
        unsafe { result::memset_d8_sync(block.at, 0, bytes) }.map_err(failed)?;
        Ok(block)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: from `malloc_sync`, freed once. No kernel uses it: see `Pinned`.
        let _ = unsafe { result::free_sync(self.at) };
    }
}

/// A queue of work on the card.
struct Stream(sys::CUstream);

impl Stream {
    fn new() -> Result<Stream, DeviceError> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        Ok(Stream(stream.map_err(|error| of_driver("making a stream", error))?))
    }

    /// Work that is queued after this waits for what was queued before the event was recorded.
    fn wait(&self, event: &Event) -> Result<(), DeviceError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both live: they belong to the same arena.
        unsafe { result::stream::wait_event(self.0, event.0, flags) }
            .map_err(|error| of_driver("making a stream wait", error))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by `create`, destroyed once.
        let _ = unsafe { result::stream::destroy(self.0) };
    }
}

/// A mark in a stream.
struct Event(sys::CUevent);

impl Event {
    fn new() -> Result<Event, DeviceError> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        Ok(Event(event.map_err(|error| of_driver("making an event", error))?))
    }

    fn record(&self, stream: &Stream) -> Result<(), DeviceError> {
        // SAFETY: both live: they belong to the same arena.
        unsafe { result::event::record(self.0, stream.0) }.map_err(|error| of_driver("recording an event", error))
    }

    fn has_come(&self) -> Result<bool, DeviceError> {
        // SAFETY: the event lives until `drop`.
        match unsafe { result::event::query(self.0) } {
            Ok(()) => Ok(true),
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            Err(error) => Err(of_driver("computing a batch", error)),
        }
    }

    /// Time between two events that have come.
    fn until(&self, later: &Event) -> Option<Duration> {
        // SAFETY: both live, and were recorded in this stream before.
        let milliseconds = unsafe { result::event::elapsed(self.0, later.0) }.ok()?;
        Duration::try_from_secs_f32(milliseconds / 1e3).ok()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `create`, destroyed once; the driver allows it while the event is pending.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

/// When the stages of a slot's batch began and ended.
struct Events {
    upload: [Event; 2],
    compute: [Event; 2],
    download: [Event; 2],
}

impl Events {
    fn new() -> Result<Events, DeviceError> {
        let pair = || Ok::<_, DeviceError>([Event::new()?, Event::new()?]);
        Ok(Events { upload: pair()?, compute: pair()?, download: pair()? })
    }
}

/// What the card has of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    /// Nothing.
    Idle,
    /// Its upload, and what was launched since. Only a wait for the whole card can end this.
    Begun,
    /// All stages. The last event is that of this batch, and ends it.
    Returning,
}

struct Slot {
    input: Pinned,
    output: Pinned,
    input_at: usize,
    output_at: usize,
    events: Events,
    flight: Flight,
}

/// All memory of a device, and the streams that use it. Fields are dropped in order, after `drop` waited for the card.
pub(super) struct Arena {
    slots: Vec<Slot>,
    block: Block,
    up: Stream,
    compute: Stream,
    down: Stream,
    context: Context,
    has_timing: bool,
}

// SAFETY: one owner; the pinned memory is plain memory, and the driver takes its handles from any thread whose context
// is theirs: every method enters it first.
unsafe impl Send for Arena {}

fn refused(what: &str) -> DeviceError {
    DeviceError::Failed(what.to_owned())
}

impl Arena {
    /// Allocates everything that a plan has: the block on the card, and in pinned memory each slot's input and output.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when it does not fit.
    pub(super) fn new(found: &Found, context: Context, plan: &Plan) -> Result<Arena, DeviceError> {
        context.enter()?;
        let slot = |spans: &SlotSpans| {
            Ok(Slot {
                input: Pinned::new(spans.input.bytes, true)?,
                output: Pinned::new(spans.output.bytes, false)?,
                input_at: spans.input.at,
                output_at: spans.output.at,
                events: Events::new()?,
                flight: Flight::Idle,
            })
        };
        Ok(Arena {
            block: Block::new(plan.bytes)?,
            slots: plan.slots.iter().map(slot).collect::<Result<_, DeviceError>>()?,
            up: Stream::new()?,
            compute: Stream::new()?,
            down: Stream::new()?,
            context,
            has_timing: found.has_timing(),
        })
    }

    /// Makes the card's context that of the calling thread.
    pub(super) fn enter(&self) -> Result<(), DeviceError> {
        self.context.enter()
    }

    /// The stream of kernels and products, for `launch`.
    pub(super) fn compute_stream(&self) -> sys::CUstream {
        self.compute.0
    }

    /// The address of byte `at` of the block.
    ///
    /// # Errors
    /// When it is outside.
    pub(super) fn address(&self, at: usize) -> Result<sys::CUdeviceptr, DeviceError> {
        if at >= self.block.bytes {
            return Err(refused("an address outside of the card's block"));
        }
        Ok(self.block.at + at as sys::CUdeviceptr)
    }

    /// Copies bytes to the block, and waits for it: for what is written once, before the first batch.
    pub(super) fn write(&mut self, span: Span, bytes: &[u8]) -> Result<(), DeviceError> {
        self.enter()?;
        if bytes.len() != span.bytes || span.at.checked_add(span.bytes).is_none_or(|end| end > self.block.bytes) {
            return Err(refused("bytes that do not fit their span"));
        }
        let to = self.address(span.at)?;
        // SAFETY: source and destination are as long as the copy, and it has ended when this returns: the source is not
        // pinned.
        unsafe { result::memcpy_htod_sync(to, bytes) }.map_err(|error| of_driver("copying weights", error))
    }

    fn idle(&mut self, slot: usize) -> Result<&mut Slot, DeviceError> {
        match self.slots.get_mut(slot) {
            Some(slot) if slot.flight == Flight::Idle => Ok(slot),
            Some(_) => Err(refused("a slot in flight was used")),
            None => Err(refused("a slot that there is not")),
        }
    }

    /// The input of a slot that is not in flight. It is to be written, and not read: it is not cached.
    pub(super) fn input(&mut self, slot: usize) -> Result<&mut [u32], DeviceError> {
        let input = &self.idle(slot)?.input;
        // SAFETY: initialised in `Pinned::new`, aligned to pages, and as long. The card does not use it: the slot is
        // not in flight. The borrow of the arena keeps `upload` away for as long as the reference lives.
        Ok(unsafe { std::slice::from_raw_parts_mut(input.at.as_ptr().cast(), input.bytes / WORD) })
    }

    /// Begins the copy of a slot's input, its first `words` words; kernels that are launched from here on wait for it.
    /// The slot is in flight until [`has_ended`](Self::has_ended) or [`settle`](Self::settle) says otherwise, errors
    /// included.
    pub(super) fn upload(&mut self, slot: usize, words: usize) -> Result<(), DeviceError> {
        self.enter()?;
        let block = self.block.at;
        let from = self.idle(slot)?;
        if words > from.input.bytes / WORD {
            return Err(refused("an input longer than its slot"));
        }
        from.flight = Flight::Begun;
        let slot = &self.slots[slot];
        let [began, ended] = &slot.events.upload;
        began.record(&self.up)?;
        let to = block + slot.input_at as sys::CUdeviceptr;
        // SAFETY: `words` lie in the pinned memory and in the slot's span of the block, which the plan made as long.
        // Both stay untouched until the copy has ended: the slot is in flight.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, slot.input.at.as_ptr().cast(), words * WORD, self.up.0) }
            .result()
            .map_err(|error| of_driver("copying a batch to the card", error))?;
        ended.record(&self.up)?;
        self.compute.wait(ended)?;
        slot.events.compute[0].record(&self.compute)
    }

    /// Begins the copy of a slot's output, its first `floats` numbers, after the kernels that were launched since its
    /// upload.
    pub(super) fn download(&mut self, slot: usize, floats: usize) -> Result<(), DeviceError> {
        self.enter()?;
        let slot = match self.slots.get_mut(slot) {
            Some(slot) if slot.flight == Flight::Begun && floats <= slot.output.bytes / WORD => slot,
            _ => return Err(refused("an output that is not there")),
        };
        slot.events.compute[1].record(&self.compute)?;
        self.down.wait(&slot.events.compute[1])?;
        slot.events.download[0].record(&self.down)?;
        let from = self.block.at + slot.output_at as sys::CUdeviceptr;
        // SAFETY: `floats` lie in the pinned memory and in the slot's span of the block. Nobody looks at the pinned
        // memory until the copy has ended: the slot is in flight.
        unsafe { sys::cuMemcpyDtoHAsync_v2(slot.output.at.as_ptr().cast(), from, floats * WORD, self.down.0) }
            .result()
            .map_err(|error| of_driver("copying vectors back", error))?;
        slot.events.download[1].record(&self.down)?;
        slot.flight = Flight::Returning;
        Ok(())
    }

    /// Whether the last stage of a slot has ended. It is not in flight any more then.
    pub(super) fn has_ended(&mut self, slot: usize) -> Result<bool, DeviceError> {
        self.enter()?;
        let slot = self.slots.get_mut(slot).ok_or_else(|| refused("a slot that there is not"))?;
        if slot.flight == Flight::Returning && slot.events.download[1].has_come()? {
            slot.flight = Flight::Idle;
        }
        Ok(slot.flight == Flight::Idle)
    }

    /// The output of a slot that is not in flight.
    pub(super) fn output(&mut self, slot: usize) -> Result<&[f32], DeviceError> {
        let output = &self.idle(slot)?.output;
        // SAFETY: as in `input`; every pattern of bits is a number.
        Ok(unsafe { std::slice::from_raw_parts(output.at.as_ptr().cast(), output.bytes / WORD) })
    }

    /// How long the last batch of a slot was copied, computed and copied back, by the card's clock. `None` when the
    /// driver cannot say, which is so before 12.8.
    pub(super) fn times(&self, slot: usize) -> Option<[Duration; 3]> {
        let slot = self.slots.get(slot).filter(|slot| self.has_timing && slot.flight == Flight::Idle)?;
        let Events { upload, compute, download } = &slot.events;
        Some([upload[0].until(&upload[1])?, compute[0].until(&compute[1])?, download[0].until(&download[1])?])
    }

    /// Waits until the card has done all that it was given. No slot is in flight then.
    ///
    /// # Errors
    /// When the card is lost. The slots stay in flight: nobody can say what it still does.
    pub(super) fn settle(&mut self) -> Result<(), DeviceError> {
        self.enter()?;
        result::ctx::synchronize().map_err(|error| of_driver("waiting for the card", error))?;
        self.slots.iter_mut().for_each(|slot| slot.flight = Flight::Idle);
        Ok(())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // Whatever this says, the card is done: with its work, or for good.
        let _ = self.settle();
    }
}
