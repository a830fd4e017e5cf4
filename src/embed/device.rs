//! What the queue asks of a device that runs a model: batches of tokens in, vectors out, several in flight.

use std::fmt;
use std::time::Duration;

/// Token ids of several texts, one text after the other. They carry the model's special tokens already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenBatch {
    tokens: Vec<u32>,
    ends: Vec<usize>,
}

impl TokenBatch {
    /// Adds a text.
    pub(crate) fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.ends.push(self.tokens.len());
    }

    /// Number of texts.
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// The tokens of all texts, one after the other.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Where each text ends in [`tokens`](Self::tokens).
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// The tokens of each text.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.ends.len()).map(|row| {
            let start = if row == 0 { 0 } else { self.ends[row - 1] };
            &self.tokens[start..self.ends[row]]
        })
    }

    /// Tokens of the longest text.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn longest(&self) -> usize {
        self.iter().map(<[u32]>::len).max().unwrap_or(0)
    }

    /// Removes all texts and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.ends.clear();
    }
}

/// What a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceShape {
    /// Numbers a vector.
    pub(crate) dims: usize,
    /// Batches that may be in flight at once, at least one.
    pub(crate) slots: usize,
    /// Tokens a batch. Texts lie one after the other: nothing is padded.
    pub(crate) batch_tokens: usize,
    /// Texts a batch.
    pub(crate) batch_rows: usize,
    /// Tokens a text.
    pub(crate) text_tokens: usize,
}

/// How long a device was at work since it was opened, by its own clock. Stages of different batches overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageTimes {
    /// Batches that were timed.
    pub(crate) batches: u64,
    /// Copying tokens to it.
    pub(crate) upload: Duration,
    /// The work itself.
    pub(crate) compute: Duration,
    /// Copying vectors back.
    pub(crate) download: Duration,
}

/// Why a device did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum DeviceError {
    /// There is not enough memory on the device; a smaller batch may fit.
    #[cfg_attr(not(any(test, feature = "cuda")), allow(dead_code, reason = "only cards say so"))]
    OutOfMemory(String),
    /// This batch failed; the device still works.
    Failed(String),
    /// The device is gone, and with it all that was in flight.
    Lost(String),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::OutOfMemory(detail) => write!(f, "out of device memory: {detail}"),
            DeviceError::Failed(detail) => write!(f, "the device failed: {detail}"),
            DeviceError::Lost(detail) => write!(f, "the device was lost: {detail}"),
        }
    }
}

impl std::error::Error for DeviceError {}

/// A batch that has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// The slot it was submitted to.
    pub(crate) slot: usize,
    /// How it ended. After an error the slot is free again; otherwise once its vectors were taken.
    pub(crate) result: Result<(), DeviceError>,
}

/// Something that turns tokens into vectors.
///
/// A slot goes round: free, submitted (uploading, computing, downloading), completed, free. Batches may complete in any
/// order. A device is used by one thread at a time.
pub(crate) trait EmbedDevice: Send {
    /// What it is, for people.
    fn name(&self) -> String;

    /// What it takes.
    fn shape(&self) -> DeviceShape;

    /// How long it was at work; `None` when it has no clock. A card has one with drivers from 12.8 on.
    fn times(&self) -> Option<StageTimes> {
        None
    }

    /// Begins a batch in a slot that is free. The tokens were copied when this returns; the work need not have begun.
    ///
    /// # Errors
    /// As [`DeviceError`] says. The slot is free then.
    fn submit(&mut self, slot: usize, batch: &TokenBatch) -> Result<(), DeviceError>;

    /// Waits for the next batch to complete, at most as long as `patience`; `None` when none has.
    ///
    /// # Errors
    /// [`DeviceError::Lost`]: no slot will complete any more.
    fn wait(&mut self, patience: Duration) -> Result<Option<Completion>, DeviceError>;

    /// Appends the vectors of a completed slot to `into`, a row of [`DeviceShape::dims`] numbers of length one for each
    /// text, in the order of the batch. The slot is free afterwards.
    ///
    /// # Errors
    /// As [`DeviceError`] says. The slot is free then, too.
    fn take(&mut self, slot: usize, into: &mut Vec<f32>) -> Result<(), DeviceError>;
}
