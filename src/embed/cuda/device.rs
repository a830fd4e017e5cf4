//! The device: slots that are filled, copied, computed and copied back, several at a time.

use super::driver::{self, CAPABILITY};
use super::forward::{Batch, forward};
use super::launch::{self, Blas, Card, Module};
use super::memory::{Arena, Context};
use super::pack::pack;
use super::plan::Plan;
use crate::embed::device::{Completion, DeviceError, DeviceShape, EmbedDevice, StageTimes, TokenBatch};
use crate::embed::weights::BertWeights;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long the thread sleeps between two looks at an event. A batch takes milliseconds, and while it is being slept
/// the next one is computed.
const NAP: Duration = Duration::from_micros(100);

/// What a device on a card is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CudaOptions {
    /// The number of the card, in the order of the driver.
    pub(crate) card: usize,
    /// Batches in flight: with three, one is filled while one is computed and one is read.
    pub(crate) slots: usize,
    /// Tokens a batch.
    pub(crate) batch_tokens: usize,
    /// Texts a batch.
    pub(crate) batch_rows: usize,
}

impl Default for CudaOptions {
    /// Sizes that ought to fill a large card, of which nothing has been measured.
    fn default() -> CudaOptions {
        CudaOptions { card: 0, slots: 3, batch_tokens: 16 << 10, batch_rows: 512 }
    }
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    InFlight { rows: usize },
    Completed { rows: usize },
}

/// An encoder on an NVIDIA card.
pub(crate) struct CudaDevice {
    // Dropped in this order, after `drop` waited for the card: the arena holds the context of the others.
    module: Module,
    blas: Blas,
    arena: Arena,
    plan: Plan,
    states: Vec<State>,
    /// Slots in flight, the oldest first. The card computes them in this order.
    order: VecDeque<usize>,
    lost: Option<String>,
    times: StageTimes,
    name: String,
}

impl CudaDevice {
    /// Opens a card, allocates all memory that the device will ever have, and copies the weights there.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when it does not fit, which it may with fewer tokens a batch;
    /// [`DeviceError::Failed`] when something is missing, or the model has a shape that the kernels do not know. Each
    /// says what.
    pub(crate) fn open(weights: &BertWeights<'_>, options: CudaOptions) -> Result<CudaDevice, DeviceError> {
        let plan = Plan::new(&weights.config, &options)?;
        let found = driver::find().map_err(DeviceError::Failed)?;
        let ordinal = i32::try_from(options.card).unwrap_or(i32::MAX);
        let context = Context::open(&found, ordinal)?;
        let capability = launch::capability(&context)?;
        let name = driver::name(&context);
        if capability < CAPABILITY {
            let (major, minor) = capability;
            return Err(DeviceError::Failed(format!("{name} has capability {major}.{minor}, and 8.0 is needed")));
        }
        let (free, _) = context.memory()?;
        if plan.bytes > free {
            return Err(DeviceError::OutOfMemory(format!(
                "the model and batches of {} tokens need {} MiB, and {} MiB are free on {name}",
                plan.shape.batch_tokens,
                plan.bytes >> 20,
                free >> 20
            )));
        }
        let mut arena = Arena::new(&found, context, &plan)?;
        pack(weights, &plan, &mut |span, bytes| arena.write(span, bytes))?;
        arena.settle()?;
        Ok(CudaDevice {
            module: Module::load(&arena)?,
            blas: Blas::open(&found, &arena, &plan)?,
            arena,
            states: vec![State::Free; plan.shape.slots],
            order: VecDeque::with_capacity(plan.shape.slots),
            plan,
            lost: None,
            times: StageTimes::default(),
            name: format!("{name} (CUDA, half precision)"),
        })
    }

    /// Remembers that the card is lost, if this is what an error says.
    fn noted(&mut self, error: DeviceError) -> DeviceError {
        if let DeviceError::Lost(detail) = &error {
            self.lost.get_or_insert_with(|| detail.clone());
        }
        error
    }

    fn alive(&self) -> Result<(), DeviceError> {
        self.lost.as_ref().map_or(Ok(()), |detail| Err(DeviceError::Lost(detail.clone())))
    }

    /// Queues all stages of a batch, whose input has been filled.
    fn begin(&mut self, batch: &Batch) -> Result<(), DeviceError> {
        self.arena.upload(batch.slot, self.plan.ids_at() + 2 * batch.tokens)?;
        let mut card = Card { arena: &self.arena, module: &self.module, blas: &self.blas };
        forward(&mut card, &self.plan, batch)?;
        self.arena.download(batch.slot, batch.rows * self.plan.shape.dims)
    }

    /// After a stage could not be queued: waits for those before it, so that nothing in flight is used again.
    fn after_failure(&mut self, error: DeviceError) -> DeviceError {
        let settled = self.arena.settle();
        // A card that is lost says so here at the latest.
        self.noted(settled.err().filter(|worse| matches!(worse, DeviceError::Lost(_))).unwrap_or(error))
    }

    /// The oldest slot has ended, one way or the other.
    fn complete(&mut self, slot: usize, result: Result<(), DeviceError>) -> Completion {
        self.order.retain(|other| *other != slot);
        self.states[slot] = match (self.states[slot], &result) {
            (State::InFlight { rows }, Ok(())) => State::Completed { rows },
            _ => State::Free,
        };
        if let Some([upload, compute, download]) = self.arena.times(slot).filter(|_| result.is_ok()) {
            self.times.batches += 1;
            self.times.upload += upload;
            self.times.compute += compute;
            self.times.download += download;
        }
        Completion { slot, result }
    }
}

impl EmbedDevice for CudaDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn shape(&self) -> DeviceShape {
        self.plan.shape
    }

    fn times(&self) -> Option<StageTimes> {
        (self.times.batches > 0).then_some(self.times)
    }

    fn submit(&mut self, slot: usize, tokens: &TokenBatch) -> Result<(), DeviceError> {
        self.alive()?;
        if self.states.get(slot) != Some(&State::Free) {
            return Err(DeviceError::Failed(format!("slot {slot} is not free")));
        }
        check(&self.plan, tokens).map_err(DeviceError::Failed)?;
        let input = self.arena.input(slot)?;
        fill(input, self.plan.ids_at(), tokens);
        let batch = Batch::of(slot, tokens);
        match self.begin(&batch) {
            Ok(()) => {
                self.states[slot] = State::InFlight { rows: batch.rows };
                self.order.push_back(slot);
                Ok(())
            }
            Err(error) => Err(self.after_failure(error)),
        }
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Completion>, DeviceError> {
        self.alive()?;
        let begun = Instant::now();
        // The card computes in order, so it is enough to look at the oldest.
        while let Some(slot) = self.order.front().copied() {
            match self.arena.has_ended(slot) {
                Ok(true) => return Ok(Some(self.complete(slot, Ok(())))),
                Ok(false) => {}
                Err(error) => {
                    return match self.after_failure(error) {
                        lost @ DeviceError::Lost(_) => Err(lost),
                        failed => Ok(Some(self.complete(slot, Err(failed)))),
                    };
                }
            }
            let Some(left) = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            std::thread::sleep(NAP.min(left));
        }
        Ok(None)
    }

    fn take(&mut self, slot: usize, into: &mut Vec<f32>) -> Result<(), DeviceError> {
        self.alive()?;
        let Some(State::Completed { rows }) = self.states.get(slot).copied() else {
            return Err(DeviceError::Failed(format!("slot {slot} has no vectors")));
        };
        self.states[slot] = State::Free;
        let vectors = &self.arena.output(slot)?[..rows * self.plan.shape.dims];
        into.extend_from_slice(vectors);
        Ok(())
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // The module must not be unloaded while its kernels run.
        let _ = self.arena.settle();
    }
}

/// What the kernels rely on: they do not look at bounds.
pub(super) fn check(plan: &Plan, batch: &TokenBatch) -> Result<(), String> {
    let shape = &plan.shape;
    let within = |what: &str, is: usize, most: usize| match is {
        is if is > most => Err(format!("{is} {what}, and at most {most} are possible")),
        _ => Ok(()),
    };
    within("texts in a batch", batch.rows(), shape.batch_rows)?;
    within("tokens in a batch", batch.tokens().len(), shape.batch_tokens)?;
    within("tokens in a text", batch.longest(), shape.text_tokens)?;
    if batch.rows() == 0 || batch.iter().any(<[u32]>::is_empty) {
        return Err("a batch without texts, or a text without tokens".to_owned());
    }
    match batch.tokens().iter().find(|id| **id as usize >= plan.config.vocab) {
        Some(id) => Err(format!("token {id} is not in a vocabulary of {}", plan.config.vocab)),
        None => Ok(()),
    }
}

/// Lays out a batch as the kernels read it: where texts begin, ids from `ids_at` on, positions after them.
pub(super) fn fill(input: &mut [u32], ids_at: usize, batch: &TokenBatch) {
    // A batch was checked, so nothing here is over its bounds, or over 32 bits.
    let (starts, rest) = input.split_at_mut(ids_at);
    let (ids, positions) = rest.split_at_mut(batch.tokens().len());
    starts[0] = 0;
    for (start, end) in starts[1..].iter_mut().zip(batch.ends()) {
        *start = *end as u32;
    }
    ids.copy_from_slice(batch.tokens());
    let place = batch.iter().flat_map(|text| 0..text.len() as u32);
    for (position, place) in positions.iter_mut().zip(place) {
        *position = place;
    }
}
