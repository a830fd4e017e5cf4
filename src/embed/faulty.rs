//! A device for tests: it computes vectors that anyone can check, breaks on purpose, and breaks off the test when it is
//! used against the contract of [`EmbedDevice`].
//!
//! What breaks is drawn from a seed. Time is counted in calls of `wait`, so nothing depends on the machine.

use super::device::{Completion, DeviceError, DeviceShape, EmbedDevice, TokenBatch};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// How long a call of `wait` sleeps that has nothing to report.
const NAP: Duration = Duration::from_micros(50);

/// What may happen to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `submit` fails.
    Submit,
    /// It completes with a failure.
    Fail,
    /// `take` fails.
    Take,
    /// The vectors are not numbers.
    Nan,
    /// A number is missing.
    Short,
    /// It never completes.
    Hang,
    /// It does not fit: `submit` says so, or the completion.
    Memory,
    /// It completes under the number of another slot.
    WrongSlot,
    /// The device is lost, when it is submitted or later.
    Lose,
    /// The device panics.
    Panic,
}

/// What breaks, and how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) seed: u64,
    /// Calls of `wait` that a batch takes at most.
    pub(super) delay_max: u64,
    /// Whether batches complete in any order.
    pub(super) disorder: bool,
    /// Padded tokens from which on a batch does not fit.
    pub(super) memory: Option<usize>,
    /// Whether that changes all the time, with `memory` for its maximum.
    pub(super) memory_changes: bool,
    /// Whether all that is in flight has to fit together.
    pub(super) memory_shared: bool,
    /// Faults by chance, per mille of the batches.
    pub(super) rates: Vec<(Fault, u16)>,
    /// Faults of batches with a text that begins with this token.
    pub(super) marked: Option<(u32, Fault)>,
}

impl Faults {
    /// All batches suffer this.
    pub(super) fn always(fault: Fault) -> Faults {
        Faults { rates: vec![(fault, 1000)], ..Faults::default() }
    }

    /// Batches with a text that begins with this token suffer this.
    pub(super) fn of(token: u32, fault: Fault) -> Faults {
        Faults { marked: Some((token, fault)), ..Faults::default() }
    }
}

/// What a device has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The tokens of the texts of each batch that was accepted.
    pub(super) batches: Vec<Vec<usize>>,
    /// Faults that happened.
    pub(super) faults: Vec<Fault>,
    pub(super) most_in_flight: usize,
    /// What was in flight, or completed and not taken, when the device was dropped.
    pub(super) left: Option<usize>,
}

/// The test's end of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// While this is set, nothing completes.
    pub(super) held_up: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The vector of a text: of length one, and another one for any other text.
pub(super) fn vector_of(tokens: &[u32], dims: usize) -> Vec<f32> {
    let mut random = Random(sum_of(tokens));
    let numbers: Vec<f32> = (0..dims).map(|_| (random.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    numbers.iter().map(|number| number / length).collect()
}

fn sum_of(tokens: &[u32]) -> u64 {
    tokens.iter().fold(tokens.len() as u64, |sum, &token| Random(sum ^ u64::from(token)).next())
}

/// A batch in a slot. The input stays here until it is taken: the vectors are computed that late.
struct Work {
    batch: TokenBatch,
    sum: u64,
    fault: Option<Fault>,
    /// The number of the batch.
    order: usize,
    /// The call of `wait` from which on it may complete.
    due: u64,
    completed: bool,
}

/// See the module documentation.
pub(super) struct FaultyDevice {
    name: &'static str,
    shape: DeviceShape,
    faults: Faults,
    random: Random,
    slots: Vec<Option<Work>>,
    submitted: usize,
    waits: u64,
    /// It said that it is lost, or something that no sound device says: whoever goes on with it has not listened.
    ended: bool,
    user: Option<ThreadId>,
    watch: Watch,
}

impl FaultyDevice {
    pub(super) fn new(name: &'static str, shape: DeviceShape, faults: Faults) -> (FaultyDevice, Watch) {
        let watch = Watch::default();
        let (random, slots) = (Random(faults.seed), (0..shape.slots).map(|_| None).collect());
        let device = FaultyDevice {
            name,
            shape,
            faults,
            random,
            slots,
            submitted: 0,
            waits: 0,
            ended: false,
            user: None,
            watch: watch.clone(),
        };
        (device, watch)
    }

    /// What every call begins with.
    fn begin(&mut self) {
        assert!(!self.ended, "{}: used after it was lost", self.name);
        assert_eq!(*self.user.get_or_insert(thread::current().id()), thread::current().id(), "used by two threads");
    }

    fn end<T>(&mut self) -> Result<T, DeviceError> {
        self.ended = true;
        Err(DeviceError::Lost("as the test wants it".into()))
    }

    /// What happens to a batch.
    fn draw(&mut self, batch: &TokenBatch) -> Option<Fault> {
        let mut drawn = None;
        for &(fault, per_mille) in &self.faults.rates {
            // Always drawn, so that one rate does not shift the others.
            if self.random.below(1000) < u64::from(per_mille) {
                drawn = Some(fault);
            }
        }
        let mark = self.faults.marked.filter(|(token, _)| batch.iter().any(|text| text.first() == Some(token)));
        let mut memory = self.faults.memory.unwrap_or(usize::MAX);
        if self.faults.memory_changes {
            memory = self.random.below(memory as u64 + 1) as usize;
        }
        if self.faults.memory_shared {
            let in_flight = self.slots.iter().flatten().map(|work| work.batch.tokens().len());
            memory = memory.saturating_sub(in_flight.sum());
        }
        let too_large = batch.tokens().len() > memory;
        mark.map(|(_, fault)| fault).or(too_large.then_some(Fault::Memory)).or(drawn)
    }

    fn note(&self, fault: Fault) {
        self.watch.seen().faults.push(fault);
    }

    /// The slot that completes next, when one does now.
    fn due(&mut self) -> Option<usize> {
        if self.watch.held_up.load(Relaxed) {
            return None;
        }
        let works = self.slots.iter().enumerate().filter_map(|(slot, work)| Some((slot, work.as_ref()?)));
        let mut going: Vec<_> = works.filter(|(_, work)| !work.completed).collect();
        going.sort_by_key(|(_, work)| work.order);
        if !self.faults.disorder {
            going.truncate(1);
        }
        let due: Vec<usize> = going.iter().filter(|(_, work)| work.due <= self.waits).map(|&(slot, _)| slot).collect();
        (!due.is_empty()).then(|| due[self.random.below(due.len() as u64) as usize])
    }

    fn free(&mut self, slot: usize) -> Work {
        let work = self.slots[slot].take().expect("the slot holds a batch");
        assert_eq!(sum_of(work.batch.tokens()), work.sum, "the input was overwritten in flight");
        work
    }
}

impl EmbedDevice for FaultyDevice {
    fn name(&self) -> String {
        self.name.into()
    }

    fn shape(&self) -> DeviceShape {
        self.shape
    }

    fn submit(&mut self, slot: usize, batch: &TokenBatch) -> Result<(), DeviceError> {
        self.begin();
        let (rows, longest) = (batch.rows(), batch.longest());
        assert!(self.slots[slot].is_none(), "slot {slot} is not free");
        assert!((1..=self.shape.batch_rows).contains(&rows), "{rows} rows");
        assert!((1..=self.shape.text_tokens).contains(&longest), "{longest} tokens in a text");
        assert!(batch.tokens().len() <= self.shape.batch_tokens, "{} tokens", batch.tokens().len());
        let fault = self.draw(batch);
        fault.iter().for_each(|&fault| self.note(fault));
        let now = self.random.below(2) == 0;
        match fault {
            Some(Fault::Submit) => return Err(DeviceError::Failed("submit".into())),
            Some(Fault::Memory) if now || self.faults.memory_shared => {
                return Err(DeviceError::OutOfMemory("submit".into()));
            }
            Some(Fault::Lose) if now => return self.end(),
            Some(Fault::Panic) => panic!("as the test wants it"),
            _ => {}
        }
        let delay = self.random.below(self.faults.delay_max + 1);
        let due = if fault == Some(Fault::Hang) { u64::MAX } else { self.waits + 1 + delay };
        let sum = sum_of(batch.tokens());
        self.slots[slot] =
            Some(Work { batch: batch.clone(), sum, fault, order: self.submitted, due, completed: false });
        self.submitted += 1;
        let in_flight = self.slots.iter().flatten().count();
        let mut seen = self.watch.seen();
        seen.batches.push(batch.iter().map(<[u32]>::len).collect());
        seen.most_in_flight = seen.most_in_flight.max(in_flight);
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Completion>, DeviceError> {
        self.begin();
        assert!(self.slots.iter().any(Option::is_some), "nothing to wait for");
        self.waits += 1;
        let Some(slot) = self.due() else {
            thread::sleep(patience.min(NAP));
            return Ok(None);
        };
        let work = self.slots[slot].as_mut().expect("it is due");
        let failed = match work.fault {
            Some(Fault::Fail) => DeviceError::Failed("completion".into()),
            Some(Fault::Memory) => DeviceError::OutOfMemory("completion".into()),
            Some(Fault::Lose) if self.random.below(2) == 0 => return self.end(),
            Some(Fault::Lose) => {
                self.ended = true;
                DeviceError::Lost("completion".into())
            }
            Some(Fault::WrongSlot) => {
                self.ended = true;
                let wrong = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
                return Ok(Some(Completion { slot: wrong, result: Ok(()) }));
            }
            _ => {
                work.completed = true;
                return Ok(Some(Completion { slot, result: Ok(()) }));
            }
        };
        self.free(slot);
        Ok(Some(Completion { slot, result: Err(failed) }))
    }

    fn take(&mut self, slot: usize, into: &mut Vec<f32>) -> Result<(), DeviceError> {
        self.begin();
        assert!(self.slots[slot].as_ref().is_some_and(|work| work.completed), "slot {slot} has not completed");
        let work = self.free(slot);
        if work.fault == Some(Fault::Take) {
            return Err(DeviceError::Failed("take".into()));
        }
        // Only the marked texts, if it is they who have none.
        let mark = self.faults.marked.filter(|(_, fault)| *fault == Fault::Nan);
        for text in work.batch.iter() {
            let has_none = mark.is_none_or(|(token, _)| text.first() == Some(&token));
            if work.fault == Some(Fault::Nan) && has_none {
                into.extend(vec![f32::NAN; self.shape.dims]);
            } else {
                into.extend(vector_of(text, self.shape.dims));
            }
        }
        if work.fault == Some(Fault::Short) {
            into.pop();
        }
        Ok(())
    }
}

impl Drop for FaultyDevice {
    fn drop(&mut self) {
        self.watch.seen().left = Some(self.slots.iter().flatten().count());
    }
}

/// SplitMix64: a few lines, and good enough to draw faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
