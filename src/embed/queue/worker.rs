//! The thread of the queue: what it holds, and what it does about each error of a device.

use super::super::device::{Completion, DeviceError, DeviceShape, EmbedDevice, TokenBatch};
use super::{Answer, Item, MakeFallback, QueueConfig, QueueStats, TICK};
use super::{embed_within, is_set, is_unit, no_vector, silent, tokens_max, wrong_slot};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError};
use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much longer a batch may take on the fallback: a CPU takes some ten times as long as a GPU.
const FALLBACK_PATIENCE: u32 = 10;
/// How often a text is tried on one device. The last time it is alone in its batch, so that it takes no other down.
const TRIES_MAX: u8 = 3;
/// How often the token budget is halved before a device is left: 16 Ki tokens become 512, which is one text.
const HALVINGS_MAX: u32 = 5;
/// Batches that fail one after the other before a device is left. A text that is at fault itself fails three times, and
/// the texts that were with it succeed in between.
const FAILURES_MAX: u32 = 16;
/// How long it waits for a batch while slots are free and texts may come: a hundredth to a tenth of a batch.
const BRIEF: Duration = Duration::from_millis(1);

/// A text that waits or is in flight.
struct Pending {
    item: Item,
    /// How often it failed on the device in use.
    tries: u8,
}

impl Pending {
    fn len(&self) -> usize {
        self.item.tokens.len()
    }
}

fn tokens(items: &[Pending]) -> usize {
    items.iter().map(Pending::len).sum()
}

/// A batch in a slot.
struct Flight {
    items: Vec<Pending>,
    /// By [`Worker::clock`].
    begun: Duration,
}

fn slots(shape: &DeviceShape) -> Vec<Option<Flight>> {
    (0..shape.slots.max(1)).map(|_| None).collect()
}

/// The fallback device, while it is not the one in use.
enum Spare {
    Unmade(MakeFallback),
    Made(Box<dyn EmbedDevice>),
    Gone,
}

/// What the thread shares with the others.
pub(super) struct Ends {
    pub(super) input: Receiver<Item>,
    pub(super) output: Sender<Answer>,
    /// Each of them ends the thread.
    pub(super) stops: [Arc<AtomicBool>; 2],
    pub(super) stats: Arc<Mutex<QueueStats>>,
}

/// What the thread has.
pub(super) struct Worker {
    ends: Ends,
    /// The device in use; or why there is none any more.
    device: Result<Box<dyn EmbedDevice>, DeviceError>,
    shape: DeviceShape,
    spare: Spare,
    /// Tokens a batch: what the device takes, or less since it ran out of memory.
    budget: usize,
    halvings: u32,
    /// It ran out of memory: what is in flight has to complete, and give back what it has, before more is submitted.
    crowded: bool,
    /// Batches that failed since the last one that did not.
    failures: u32,
    patience: Duration,
    /// Time spent waiting for the device. A slow consumer, or a stopped process, must not make the device look silent.
    clock: Duration,
    /// Whether texts may still come.
    open: bool,
    /// Texts that were received and whose answer was not sent yet.
    held: usize,
    held_max: usize,
    window: usize,
    /// The window that is gathered, as it came.
    next: Vec<Pending>,
    /// The window that is cut, and what has to be tried again; shortest first, since it is cut at its end.
    ready: Vec<Pending>,
    /// What is in flight, by slot.
    flights: Vec<Option<Flight>>,
    answers: VecDeque<Answer>,
    /// Memory for the batch that is submitted, and for the vectors that are taken.
    batch: TokenBatch,
    vectors: Vec<f32>,
}

impl Worker {
    pub(super) fn new(device: Box<dyn EmbedDevice>, fallback: MakeFallback, config: QueueConfig, ends: Ends) -> Worker {
        let shape = device.shape();
        Worker {
            ends,
            device: Ok(device),
            shape,
            spare: Spare::Unmade(fallback),
            budget: shape.batch_tokens,
            halvings: 0,
            crowded: false,
            failures: 0,
            patience: config.patience,
            clock: Duration::ZERO,
            open: true,
            held: 0,
            held_max: config.held_max(),
            window: config.window.max(1),
            next: Vec::new(),
            ready: Vec::new(),
            flights: slots(&shape),
            answers: VecDeque::new(),
            batch: TokenBatch::default(),
            vectors: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        while (self.open || self.held > 0) && !self.is_stopped() {
            self.gather();
            // Slots are filled first, so that the device works while the consumer is waited for.
            self.fill();
            if !self.send() {
                return;
            }
            self.reap();
        }
    }

    fn is_stopped(&self) -> bool {
        is_set(&self.ends.stops)
    }

    fn in_flight(&self) -> usize {
        self.flights.iter().flatten().count()
    }

    /// Receives what there is and may be held. Waits only when there is nothing else to do.
    fn gather(&mut self) {
        if self.open && self.held == 0 {
            match self.ends.input.recv_timeout(TICK) {
                Ok(item) => self.hold(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.open = false,
            }
        }
        while self.open && self.held < self.held_max && self.next.len() < self.window {
            match self.ends.input.try_recv() {
                Ok(item) => self.hold(item),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.open = false,
            }
        }
    }

    fn hold(&mut self, item: Item) {
        self.held += 1;
        self.next.push(Pending { item, tries: 0 });
    }

    /// Submits batches as long as there are texts and free slots.
    fn fill(&mut self) {
        while !self.is_stopped() {
            if self.crowded && self.in_flight() > 0 {
                return;
            }
            self.crowded = false;
            if self.ready.is_empty() {
                mem::swap(&mut self.ready, &mut self.next);
                self.sort();
            }
            // Nothing is ready afterwards when there is no device.
            self.refuse();
            let slot = self.flights.iter().position(Option::is_none);
            let (Some(slot), false) = (slot, self.ready.is_empty()) else { return };
            let items = self.cut();
            self.batch.clear();
            items.iter().for_each(|each| self.batch.push(&each.item.tokens));
            let Ok(device) = &mut self.device else { return };
            let Err(error) = device.submit(slot, &self.batch) else {
                self.flights[slot] = Some(Flight { items, begun: self.clock });
                continue;
            };
            self.trouble(items, error);
        }
    }

    fn sort(&mut self) {
        self.ready.sort_by_key(Pending::len);
    }

    /// Answers what no device can take: all when there is none, and texts that are too long for the fallback.
    fn refuse(&mut self) {
        let max = self.device.as_ref().map_or(0, |_| tokens_max(&self.shape));
        while let Some(Pending { item, .. }) = self.ready.pop_if(|each| each.len() > max) {
            let error = match &self.device {
                Ok(_) => DeviceError::Failed(format!("it does not take a text of {} tokens", item.tokens.len())),
                Err(error) => error.clone(),
            };
            self.answer(item.key, Err(error));
        }
    }

    /// The next batch: the longest texts that are ready, as many as the budget allows.
    fn cut(&mut self) -> Vec<Pending> {
        let mut sum = 0;
        let fits = |each: &&Pending| {
            sum += each.len();
            sum <= self.budget && each.tries + 1 < TRIES_MAX
        };
        let rows = self.ready.iter().rev().take(self.shape.batch_rows).take_while(fits).count().max(1);
        self.ready.split_off(self.ready.len() - rows)
    }

    /// Waits for a batch to complete, and deals with it.
    fn reap(&mut self) {
        let Ok(device) = &mut self.device else { return };
        if self.flights.iter().all(Option::is_none) {
            return;
        }
        let has_room = self.ready.is_empty() && self.flights.iter().any(Option::is_none);
        let patience = if self.open && has_room { BRIEF } else { TICK }.min(self.patience);
        let begun = Instant::now();
        let waited = device.wait(patience);
        self.clock += begun.elapsed().min(patience);
        match waited {
            Ok(None) => {}
            Ok(Some(Completion { slot, result })) => match self.flights.get_mut(slot).and_then(Option::take) {
                Some(flight) => match result {
                    Ok(()) => self.take(slot, flight),
                    Err(error) => self.trouble(flight.items, error),
                },
                None => self.go_over(wrong_slot(slot)),
            },
            Err(error) => self.go_over(error),
        }
        if self.flights.iter().flatten().any(|flight| self.clock - flight.begun >= self.patience) {
            self.go_over(silent(self.patience));
        }
    }

    /// Answers a batch that has completed.
    fn take(&mut self, slot: usize, flight: Flight) {
        let Flight { items, .. } = flight;
        let Ok(device) = &mut self.device else { return };
        let dims = self.shape.dims.max(1);
        let mut vectors = mem::take(&mut self.vectors);
        vectors.clear();
        match device.take(slot, &mut vectors) {
            Err(error) => self.trouble(items, error),
            Ok(()) if vectors.len() != items.len() * dims => self.trouble(items, no_vector()),
            Ok(()) => {
                let times = device.times();
                self.count(|stats| {
                    stats.batches += 1;
                    stats.tokens += tokens(&items) as u64;
                    stats.times = times;
                });
                let mut bad = Vec::new();
                for (each, vector) in items.into_iter().zip(vectors.chunks_exact(dims)) {
                    if is_unit(vector) {
                        self.failures = 0;
                        self.answer(each.item.key, Ok(vector.to_vec()));
                    } else {
                        bad.push(each);
                    }
                }
                if !bad.is_empty() {
                    self.failed(bad, &no_vector());
                }
            }
        }
        self.vectors = vectors;
    }

    /// Deals with a batch that is not in flight any more and brought an error.
    fn trouble(&mut self, items: Vec<Pending>, error: DeviceError) {
        match error {
            DeviceError::OutOfMemory(_) => self.shrink(items, error),
            DeviceError::Failed(_) => self.failed(items, &error),
            DeviceError::Lost(_) => {
                self.ready.extend(items);
                self.go_over(error);
            }
        }
    }

    /// A batch of this size did not fit.
    fn shrink(&mut self, items: Vec<Pending>, error: DeviceError) {
        self.crowded = true;
        // Of several that were cut for the same budget, the first one halves it.
        if tokens(&items) <= self.budget {
            self.budget = (self.budget / 2).max(1);
            self.halvings += 1;
            tracing::debug!(budget = self.budget, %error, "smaller batches");
        }
        let is_alone = items.len() == 1;
        let is_hopeless = self.halvings > HALVINGS_MAX || (is_alone && self.in_flight() == 0);
        if is_hopeless && self.spare().is_some() {
            self.ready.extend(items);
            self.go_over(error);
        } else if is_alone {
            // It cannot be made smaller, so it must not be tried for ever.
            self.failed(items, &error);
        } else {
            self.count(|stats| stats.retries += items.len() as u64);
            self.ready.extend(items);
            self.sort();
        }
    }

    /// These texts failed together; they are tried again, or on the fallback.
    fn failed(&mut self, items: Vec<Pending>, error: &DeviceError) {
        self.failures += 1;
        for mut each in items {
            each.tries += 1;
            if each.tries < TRIES_MAX {
                self.count(|stats| stats.retries += 1);
                self.ready.push(each);
            } else {
                self.rescue(each.item, error);
            }
        }
        self.sort();
        if self.failures >= FAILURES_MAX && self.spare().is_some() {
            self.go_over(error.clone());
        }
    }

    /// Embeds a text on the fallback, if that is not what has failed.
    fn rescue(&mut self, item: Item, error: &DeviceError) {
        let patience = self.patience.saturating_mul(FALLBACK_PATIENCE);
        let stops = self.ends.stops.clone();
        let Some(spare) = self.spare() else { return self.answer(item.key, Err(error.clone())) };
        let vector = embed_within(spare, &item.tokens, patience, || is_set(&stops));
        if let Err(DeviceError::Lost(_)) = vector {
            // It may be at work on the text still.
            self.spare = Spare::Gone;
        }
        let rescued = self.count(|stats| {
            stats.rescued += u64::from(vector.is_ok());
            stats.rescued
        });
        if rescued == 1 && vector.is_ok() {
            tracing::warn!(%error, "a text was left to the fallback; others may follow without a word");
        }
        self.answer(item.key, vector);
    }

    /// The fallback, made when it is first asked for; `None` when there is none, or it is in use already.
    fn spare(&mut self) -> Option<&mut dyn EmbedDevice> {
        if let Spare::Unmade(_) = self.spare
            && let Spare::Unmade(make) = mem::replace(&mut self.spare, Spare::Gone)
        {
            match make() {
                Ok(device) if device.shape().dims == self.shape.dims => self.spare = Spare::Made(device),
                Ok(device) => tracing::warn!(device = device.name(), "its vectors have another number of dimensions"),
                Err(error) => tracing::warn!(%error, "there is no fallback for the device"),
            }
        }
        match &mut self.spare {
            Spare::Made(device) => Some(device.as_mut()),
            Spare::Unmade(_) | Spare::Gone => None,
        }
    }

    /// Leaves the device for the fallback, for good. What is in flight is begun anew there.
    fn go_over(&mut self, error: DeviceError) {
        let in_flight = self.flights.drain(..).flatten().flat_map(|flight| flight.items);
        self.ready.extend(in_flight);
        self.ready.iter_mut().for_each(|each| each.tries = 0);
        self.sort();
        let why = error.to_string();
        // Its memory is free before the other one asks for some.
        self.device = Err(error);
        self.spare();
        let (device, budget) = match mem::replace(&mut self.spare, Spare::Gone) {
            Spare::Made(device) => {
                self.shape = device.shape();
                let name = device.name();
                self.device = Ok(device);
                (name, self.shape.batch_tokens)
            }
            Spare::Unmade(_) | Spare::Gone => ("none".into(), 0),
        };
        (self.budget, self.halvings, self.failures) = (budget, 0, 0);
        self.patience = self.patience.saturating_mul(FALLBACK_PATIENCE);
        self.flights = slots(&self.shape);
        let from = self.count(|stats| {
            stats.fallback.get_or_insert_with(|| why.clone());
            mem::replace(&mut stats.device, device.clone())
        });
        tracing::warn!(from, to = device, why, "embedding goes on without the device");
    }

    fn answer(&mut self, key: u64, vector: Result<Vec<f32>, DeviceError>) {
        self.count(|stats| *if vector.is_ok() { &mut stats.items } else { &mut stats.failed } += 1);
        self.answers.push_back(Answer { key, vector });
    }

    /// Sends the answers there are; waits while the channel is full. Whether anyone still wants them.
    fn send(&mut self) -> bool {
        while let Some(mut answer) = self.answers.pop_front() {
            loop {
                match self.ends.output.send_timeout(answer, TICK) {
                    Ok(()) => break,
                    Err(SendTimeoutError::Timeout(back)) if !self.is_stopped() => answer = back,
                    Err(_) => return false,
                }
            }
            self.held -= 1;
        }
        true
    }

    fn count<T>(&self, change: impl FnOnce(&mut QueueStats) -> T) -> T {
        change(&mut self.ends.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
