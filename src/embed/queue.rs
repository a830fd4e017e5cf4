//! The queue between tokenised chunks and the device that embeds them.
//!
//! One thread owns the device. It gathers a window of texts, sorts them by length, since attention over texts of one
//! length has little to leave out, submits batches to free slots, longest first, and gathers the next window while they
//! are in flight. A window is
//! whatever has come by the time a slot is free: nothing waits for a window to fill up, and a device that falls behind
//! finds full ones. Every text that was pushed is answered once, with a vector or an error, unless the run is cancelled
//! or nobody listens any more.
//!
//! Memory is bounded: a full channel blocks whoever sends, on both ends, and the thread holds [`HELD_WINDOWS`] windows.
//!
//! A device that fails is not trusted further than needed. Out of memory halves the batches; a batch that failed is
//! tried again; a text that keeps failing goes to the fallback device on its own; and a device that is lost, silent or
//! wrong about its slots is left for the fallback for good.

mod worker;

use super::device::{DeviceError, DeviceShape, EmbedDevice, StageTimes, TokenBatch};
use crossbeam_channel::{Receiver, Sender, bounded, never};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};
use worker::{Ends, Worker};

/// Texts that are sorted together: 50 to 100 files of 5 to 10 chunks. At 512 tokens of 4 bytes they are 1 MiB.
pub(crate) const WINDOW_ITEMS: usize = 512;
/// Texts in the channel to the thread: one window more, so that producers go on while a window is being cut. 1 MiB.
pub(crate) const INPUT_ITEMS: usize = 512;
/// Answers in the channel to the consumer: a window. At 768 numbers of 4 bytes they are 1.5 MiB.
pub(crate) const OUTPUT_ITEMS: usize = 512;
/// Windows that the thread holds: one that is gathered, one that is being cut, one in flight or waiting to be sent.
/// With the defaults 1536 texts: 3 MiB as tokens, 4.5 MiB as vectors.
pub(crate) const HELD_WINDOWS: usize = 3;
/// How long a batch may take: a batch of a GPU takes 10 to 100 ms, so this is hundreds of them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long the thread sleeps at most without a look at the cancellation: half of what a person notices.
const TICK: Duration = Duration::from_millis(50);
/// How far the squared length of a vector may be from one. Numbers of bfloat16 are off by up to 2^-9 of themselves, so
/// their squares, and the sum, by up to 2^-8; this is five times as much.
const UNIT_SLACK: f32 = 0.02;

/// A text to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// What the answer is to carry; the queue does not look at it.
    pub(crate) key: u64,
    /// With the special tokens of the model.
    pub(crate) tokens: Vec<u32>,
}

/// What became of an [`Item`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// That of the item.
    pub(crate) key: u64,
    /// The vector, or the last error of the last device that was tried.
    pub(crate) vector: Result<Vec<f32>, DeviceError>,
}

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// It has no tokens.
    Empty,
    /// It would not fit any batch, and so block the head of the queue for ever.
    TooLong {
        /// Tokens it has.
        tokens: usize,
        /// Tokens the device takes.
        max: usize,
    },
    /// The thread has ended: cancelled, nobody listens, or a device panicked.
    Closed,
}

/// Makes the device to go over to when the first one fails.
pub(crate) type MakeFallback = Box<dyn FnOnce() -> Result<Box<dyn EmbedDevice>, DeviceError> + Send>;

/// Bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueConfig {
    /// See [`WINDOW_ITEMS`].
    pub(crate) window: usize,
    /// See [`INPUT_ITEMS`].
    pub(crate) input: usize,
    /// See [`OUTPUT_ITEMS`].
    pub(crate) output: usize,
    /// See [`PATIENCE`].
    pub(crate) patience: Duration,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { window: WINDOW_ITEMS, input: INPUT_ITEMS, output: OUTPUT_ITEMS, patience: PATIENCE }
    }
}

impl QueueConfig {
    /// Texts that the thread holds at most.
    fn held_max(&self) -> usize {
        self.window.max(1).saturating_mul(HELD_WINDOWS)
    }

    /// Texts and answers between a push that has returned and the consumer, at most.
    #[cfg(test)]
    pub(crate) fn items_max(&self) -> usize {
        self.held_max().saturating_add(self.input).saturating_add(self.output)
    }
}

/// What a queue has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueStats {
    /// The device that is used now.
    pub(crate) device: String,
    /// Vectors.
    pub(crate) items: u64,
    /// Texts that were answered with an error.
    pub(crate) failed: u64,
    /// Batches that brought vectors.
    pub(crate) batches: u64,
    /// Tokens in those batches.
    pub(crate) tokens: u64,
    /// How long the device in use was at work, if it tells.
    pub(crate) times: Option<StageTimes>,
    /// Texts that had to be tried again, each time.
    pub(crate) retries: u64,
    /// Texts that only the fallback could embed, while the first device was used for the others.
    pub(crate) rescued: u64,
    /// Why the first device was left, when it was.
    pub(crate) fallback: Option<String>,
}

/// The producers' end. When the last clone is dropped, the thread answers what it has and ends.
#[derive(Clone, Debug)]
pub(crate) struct Pusher {
    sender: Sender<Item>,
    tokens_max: usize,
}

impl Pusher {
    /// Hands a text over; waits while the queue is full.
    pub(crate) fn push(&self, item: Item) -> Result<(), PushError> {
        let (tokens, max) = (item.tokens.len(), self.tokens_max);
        match tokens {
            0 => Err(PushError::Empty),
            _ if tokens > max => Err(PushError::TooLong { tokens, max }),
            _ => self.sender.send(item).map_err(|_| PushError::Closed),
        }
    }
}

/// The consumer's end. Dropping it ends the thread and waits for that.
#[derive(Debug)]
pub(crate) struct Answers {
    receiver: Receiver<Answer>,
    gone: Arc<AtomicBool>,
    stats: Arc<Mutex<QueueStats>>,
    thread: Option<JoinHandle<()>>,
}

impl Answers {
    /// Where answers come out, in any order. It is disconnected once all pushers are gone and all texts are answered, or
    /// when the thread has ended early.
    pub(crate) fn receiver(&self) -> &Receiver<Answer> {
        &self.receiver
    }

    /// What has been done so far.
    pub(crate) fn stats(&self) -> QueueStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives up what was not received yet, and waits for the end of the thread. The error is what a device panicked with.
    #[cfg(test)]
    pub(crate) fn finish(mut self) -> thread::Result<QueueStats> {
        self.end().map(|()| self.stats())
    }

    fn end(&mut self) -> thread::Result<()> {
        self.gone.store(true, Relaxed);
        self.receiver = never();
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Starts the thread that owns `device`. Setting `cancelled` ends it soon; what is unanswered then stays so.
///
/// # Errors
/// No thread could be started.
pub(crate) fn start(
    device: Box<dyn EmbedDevice>,
    fallback: MakeFallback,
    config: QueueConfig,
    cancelled: Arc<AtomicBool>,
) -> io::Result<(Pusher, Answers)> {
    let (sender, input) = bounded(config.input);
    let (output, receiver) = bounded(config.output);
    let gone = Arc::new(AtomicBool::new(false));
    let stats = Arc::new(Mutex::new(QueueStats { device: device.name(), ..QueueStats::default() }));
    let shape = device.shape();
    let stops = [cancelled, Arc::clone(&gone)];
    let worker = Worker::new(device, fallback, config, Ends { input, output, stops, stats: Arc::clone(&stats) });
    let thread = thread::Builder::new().name("leindex-embed".into()).spawn(move || worker.run())?;
    Ok((Pusher { sender, tokens_max: tokens_max(&shape) }, Answers { receiver, gone, stats, thread: Some(thread) }))
}

/// Embeds one text on a device that has nothing in flight, as a query needs it.
///
/// # Errors
/// As [`DeviceError`] says. A device that was lost must not be used again: it may still be at work on the text.
pub(crate) fn embed_one(device: &mut dyn EmbedDevice, tokens: &[u32]) -> Result<Vec<f32>, DeviceError> {
    embed_within(device, tokens, PATIENCE, || false)
}

fn embed_within(
    device: &mut dyn EmbedDevice,
    tokens: &[u32],
    patience: Duration,
    is_stopped: impl Fn() -> bool,
) -> Result<Vec<f32>, DeviceError> {
    let shape = device.shape();
    if tokens.is_empty() || tokens.len() > tokens_max(&shape) {
        return Err(DeviceError::Failed(format!("it does not take a text of {} tokens", tokens.len())));
    }
    let mut batch = TokenBatch::default();
    batch.push(tokens);
    device.submit(0, &batch)?;
    let begun = Instant::now();
    let completion = loop {
        let left = patience.saturating_sub(begun.elapsed());
        match device.wait(left.min(TICK))? {
            Some(completion) => break completion,
            None if left.is_zero() || is_stopped() => return Err(silent(patience)),
            None => {}
        }
    };
    if completion.slot != 0 {
        return Err(wrong_slot(completion.slot));
    }
    completion.result?;
    let mut vector = Vec::with_capacity(shape.dims);
    device.take(0, &mut vector)?;
    if vector.len() == shape.dims && is_unit(&vector) { Ok(vector) } else { Err(no_vector()) }
}

/// Tokens of the longest text that a device takes.
fn tokens_max(shape: &DeviceShape) -> usize {
    shape.text_tokens.min(shape.batch_tokens)
}

/// Whether these are the numbers of a vector of length one. What is not a number is not near to one either.
fn is_unit(vector: &[f32]) -> bool {
    let squared: f32 = vector.iter().map(|number| number * number).sum();
    (squared - 1.0).abs() <= UNIT_SLACK
}

fn is_set(stops: &[Arc<AtomicBool>]) -> bool {
    stops.iter().any(|stop| stop.load(Relaxed))
}

fn silent(patience: Duration) -> DeviceError {
    DeviceError::Lost(format!("a batch did not complete within {patience:?}"))
}

fn wrong_slot(slot: usize) -> DeviceError {
    DeviceError::Lost(format!("it completed slot {slot}, which has nothing in flight"))
}

fn no_vector() -> DeviceError {
    DeviceError::Failed("what it returned are not vectors of length one".into())
}

#[cfg(test)]
mod tests;
