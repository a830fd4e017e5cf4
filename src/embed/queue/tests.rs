//! The queue over a device that breaks on purpose.

use super::super::device::{DeviceError, DeviceShape, EmbedDevice};
use super::super::faulty::{Fault, Faults, FaultyDevice, Watch, vector_of};
use super::*;
use crossbeam_channel::RecvTimeoutError;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::Builder;

const DIMS: usize = 8;
const MARK: u32 = 7_000_000;
const SHAPE: DeviceShape = DeviceShape { dims: DIMS, slots: 2, batch_tokens: 64, batch_rows: 4, text_tokens: 16 };
/// For devices that hang; others must never be taken for one that does, however slow the machine is.
const SHORT_PATIENCE: Duration = Duration::from_millis(5);
/// A test that gets no answer for this long fails instead of standing still.
const WATCHDOG: Duration = Duration::from_secs(30);

/// How a test uses the queue.
#[derive(Clone, Debug)]
struct Scenario {
    shape: DeviceShape,
    fallback_shape: DeviceShape,
    faults: Faults,
    fallback_faults: Faults,
    config: QueueConfig,
    /// What each producer pushes: the tokens of its texts.
    texts: Vec<Vec<Vec<u32>>>,
    /// After this many answers the consumer leaves.
    leave_after: Option<usize>,
    /// After this many pushes or answers, in all, the run is cancelled.
    cancel_after: Option<usize>,
}

/// What came out.
struct Outcome {
    answers: Vec<Answer>,
    stats: QueueStats,
    device: Watch,
    fallback: Watch,
    /// Whether the fallback was asked for.
    made: bool,
    /// Texts between a push that has returned and the consumer, at most.
    peak: usize,
}

impl Scenario {
    fn new(faults: Faults, texts: Vec<Vec<u32>>) -> Scenario {
        Scenario {
            shape: SHAPE,
            fallback_shape: DeviceShape { slots: 1, ..SHAPE },
            faults,
            fallback_faults: Faults::default(),
            config: QueueConfig::default(),
            texts: vec![texts],
            leave_after: None,
            cancel_after: None,
        }
    }

    fn run(&self) -> Outcome {
        let (device, watch) = FaultyDevice::new("first", self.shape, self.faults.clone());
        let (fallback, fallback_watch) =
            FaultyDevice::new("fallback", self.fallback_shape, self.fallback_faults.clone());
        let made = Arc::new(AtomicBool::new(false));
        let made_now = Arc::clone(&made);
        let make = move || {
            made_now.store(true, Relaxed);
            Ok(Box::new(fallback) as Box<dyn EmbedDevice>)
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let (pusher, answers) =
            start(Box::new(device), Box::new(make), self.config, Arc::clone(&cancelled)).expect("a thread");
        let counts = Counts::default();
        let event = || {
            if self.cancel_after == Some(counts.events.fetch_add(1, Relaxed)) {
                cancelled.store(true, Relaxed);
            }
        };
        let (got, stats) = thread::scope(|scope| {
            for (producer, texts) in self.texts.iter().enumerate() {
                let (pusher, counts, event) = (pusher.clone(), &counts, &event);
                let push = move || push_all(producer, texts, &pusher, counts, event);
                Builder::new().name("producer".into()).spawn_scoped(scope, push).expect("a thread");
            }
            drop(pusher);
            let mut got = Vec::new();
            while self.leave_after.is_none_or(|after| got.len() < after) {
                let Some(answer) = next(&answers) else { break };
                got.push(answer);
                counts.answered.fetch_add(1, SeqCst);
                event();
            }
            (got, answers.finish().expect("the device is used as it should be"))
        });
        let peak = counts.peak.into_inner();
        Outcome { answers: got, stats, device: watch, fallback: fallback_watch, made: made.load(Relaxed), peak }
    }

    fn count(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    fn tokens(&self, key: u64) -> &[u32] {
        &self.texts[(key >> 32) as usize][(key & 0xffff_ffff) as usize]
    }
}

fn next(answers: &Answers) -> Option<Answer> {
    match answers.receiver().recv_timeout(WATCHDOG) {
        Ok(answer) => Some(answer),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("stuck: {:?}", answers.stats()),
    }
}

fn rest(answers: &Answers) -> impl Iterator<Item = Answer> {
    std::iter::from_fn(|| next(answers))
}

#[derive(Default)]
struct Counts {
    pushed: AtomicUsize,
    answered: AtomicUsize,
    peak: AtomicUsize,
    events: AtomicUsize,
}

fn push_all(producer: usize, texts: &[Vec<u32>], pusher: &Pusher, counts: &Counts, event: &dyn Fn()) {
    for (index, tokens) in texts.iter().enumerate() {
        let key = (producer as u64) << 32 | index as u64;
        match pusher.push(Item { key, tokens: tokens.clone() }) {
            Ok(()) => {}
            Err(PushError::Closed) => return,
            Err(error) => panic!("{error:?}"),
        }
        let pushed = counts.pushed.fetch_add(1, SeqCst) + 1;
        // Afterwards: what is answered meanwhile must not look as if it were on its way still.
        let answered = counts.answered.load(SeqCst);
        counts.peak.fetch_max(pushed.saturating_sub(answered), Relaxed);
        event();
    }
}

impl Outcome {
    /// What holds whatever happens.
    fn check(&self, scenario: &Scenario) {
        let mut keys = HashSet::new();
        for Answer { key, vector } in &self.answers {
            assert!(keys.insert(*key), "answered twice");
            if let Ok(vector) = vector {
                assert_eq!(*vector, vector_of(scenario.tokens(*key), DIMS));
            }
        }
        // The consumer may have one that it has not counted yet.
        let bound = scenario.config.items_max() + 1;
        assert!(self.peak <= bound, "{} texts, not {bound}", self.peak);
        assert!(self.device.seen().left.is_some(), "the device was not dropped");
        assert!(self.fallback.seen().left.is_some(), "the fallback was not dropped");
    }

    /// What holds when nobody left early.
    fn check_all(&self, scenario: &Scenario) {
        self.check(scenario);
        assert_eq!(self.answers.len(), scenario.count());
        assert_eq!(self.stats.items + self.stats.failed, scenario.count() as u64);
        let failed = self.answers.iter().filter(|answer| answer.vector.is_err()).count();
        assert_eq!(self.stats.failed, failed as u64);
        if self.stats.fallback.is_none() {
            assert_eq!(self.device.seen().left, Some(0));
        }
    }

    /// What holds when every text can be embedded by one of the devices.
    fn check_vectors(&self, scenario: &Scenario) {
        self.check_all(scenario);
        assert_eq!(self.stats.failed, 0);
        if !self.made || self.stats.fallback.is_some() {
            assert_eq!(self.fallback.seen().left, Some(0));
        }
    }

    fn errors(&self) -> Vec<u64> {
        let mut keys: Vec<u64> =
            self.answers.iter().filter(|answer| answer.vector.is_err()).map(|answer| answer.key).collect();
        keys.sort_unstable();
        keys
    }

    fn reason(&self) -> &str {
        self.stats.fallback.as_deref().unwrap_or_default()
    }
}

/// Texts of 1 to 16 tokens.
fn texts(count: u32) -> Vec<Vec<u32>> {
    (0..count).map(|text| (0..text * 7 % 16 + 1).map(|token| text << 8 | token).collect()).collect()
}

fn fault() -> impl Strategy<Value = Fault> {
    use Fault::{Fail, Hang, Lose, Memory, Nan, Short, Submit, Take, WrongSlot};
    prop::sample::select(vec![Submit, Fail, Take, Nan, Short, Hang, Memory, WrongSlot, Lose])
}

prop_compose! {
    fn faults()(
        seed: u64, delay_max in 0u64..6, disorder: bool, memory in prop::option::of(0usize..80), memory_changes: bool,
        rates in prop::collection::vec((fault(), prop_oneof![0u16..100, 0u16..=1000]), 0..4),
        marked in prop::option::of((0u32..100, fault())),
    ) -> Faults {
        let memory_changes = memory_changes && memory.is_some();
        Faults { seed, delay_max, disorder, memory, memory_changes, rates, marked, ..Faults::default() }
    }
}

fn shape(text_tokens: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = DeviceShape> {
    (text_tokens, 1usize..5, 1usize..9, 1usize..5).prop_map(|(text_tokens, slots, batch_rows, texts)| DeviceShape {
        dims: DIMS,
        slots,
        batch_tokens: text_tokens * texts,
        batch_rows,
        text_tokens,
    })
}

prop_compose! {
    fn scenario()(first in shape(1..=24))(
        shape in Just(first), fallback_shape in shape(first.text_tokens..=24), faults in faults(),
        fallback_faults in faults(), window in 1usize..20, input in 0usize..10, output in 0usize..10,
        texts in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(0u32..100, 1..=first.text_tokens), 0..60), 1..5),
    ) -> Scenario {
        // A device that only delays is waited for longer than any test takes.
        let hangs = [&faults, &fallback_faults].iter().any(|faults| {
            faults.rates.iter().map(|(fault, _)| fault).chain(faults.marked.iter().map(|(_, fault)| fault))
                .any(|fault| *fault == Fault::Hang)
        });
        let patience = if hangs { SHORT_PATIENCE } else { PATIENCE };
        let config = QueueConfig { window, input, output, patience };
        let (leave_after, cancel_after) = (None, None);
        Scenario { shape, fallback_shape, faults, fallback_faults, config, texts, leave_after, cancel_after }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_sound_device_is_enough(mut scenario in scenario()) {
        let Faults { seed, delay_max, disorder, .. } = scenario.faults;
        scenario.faults = Faults { seed, delay_max, disorder, ..Faults::default() };
        scenario.config.patience = PATIENCE;
        let outcome = scenario.run();
        outcome.check_vectors(&scenario);
        prop_assert!(!outcome.made);
        let tokens: usize = scenario.texts.iter().flatten().map(Vec::len).sum();
        prop_assert_eq!(outcome.stats.tokens, tokens as u64);
        prop_assert_eq!(outcome.stats.batches, outcome.device.seen().batches.len() as u64);
        prop_assert_eq!((outcome.stats.retries, outcome.stats.rescued), (0, 0));
    }

    #[test]
    fn a_sound_fallback_is_enough(mut scenario in scenario()) {
        let Faults { seed, delay_max, disorder, .. } = scenario.fallback_faults;
        scenario.fallback_faults = Faults { seed, delay_max, disorder, ..Faults::default() };
        // Ten times as long is more than a fallback needs that has a few delays, unless the machine stands still.
        scenario.config.patience = scenario.config.patience.max(Duration::from_millis(100));
        scenario.run().check_vectors(&scenario);
    }

    #[test]
    fn everything_is_answered_once_when_both_devices_break(scenario in scenario()) {
        scenario.run().check_all(&scenario);
    }

    #[test]
    fn a_consumer_that_leaves_ends_everything(mut scenario in scenario(), after in 0usize..60) {
        scenario.leave_after = Some(after);
        let outcome = scenario.run();
        outcome.check(&scenario);
        prop_assert!(outcome.answers.len() <= after);
    }

    #[test]
    fn a_cancellation_ends_everything(mut scenario in scenario(), after in 0usize..200) {
        scenario.cancel_after = Some(after);
        scenario.run().check(&scenario);
    }
}

#[test]
fn batches_are_of_like_texts() {
    // Every window may have one batch with texts of both lengths.
    let texts: Vec<Vec<u32>> = (0..64).map(|text| vec![text; if text % 2 == 0 { 1 } else { 16 }]).collect();
    let scenario = Scenario { shape: DeviceShape { slots: 1, ..SHAPE }, ..Scenario::new(Faults::default(), texts) };
    let (device, watch) = FaultyDevice::new("first", scenario.shape, Faults::default());
    let (pusher, answers) = start_with(device, scenario.config);
    watch.held_up.store(true, Relaxed);
    push_all(0, &scenario.texts[0], &pusher, &Counts::default(), &|| {});
    drop(pusher);
    watch.held_up.store(false, Relaxed);
    assert_eq!(rest(&answers).count(), 64);
    let stats = answers.finish().unwrap();
    // The windows before the device was held up have one text each, or few; the last ones all that was left.
    assert!(stats.batches >= 16, "{stats:?}");
    assert_eq!(stats.tokens, 32 + 32 * 16);
    let seen = watch.seen();
    let mixed = seen.batches.iter().filter(|texts| texts.first() != texts.last()).count();
    assert!(mixed <= 8, "{:?}", seen.batches);
}

/// With a fallback that cannot be made.
fn start_with(device: FaultyDevice, config: QueueConfig) -> (Pusher, Answers) {
    let none = || Err(DeviceError::Lost("there is none".into()));
    start(Box::new(device), Box::new(none), config, Arc::default()).unwrap()
}

#[test]
fn memory_for_half_a_batch_is_enough() {
    for seed in 0..20 {
        let scenario = Scenario::new(Faults { seed, memory: Some(24), ..Faults::default() }, texts(100));
        let outcome = scenario.run();
        outcome.check_vectors(&scenario);
        assert!(!outcome.made, "{:?}", outcome.stats);
        assert!(outcome.stats.retries > 0);
        // Both batches in flight may have been cut for the first budget; afterwards they fit after two halvings.
        assert!(outcome.device.seen().faults.len() <= 4, "{:?}", outcome.device.seen().faults);
    }
}

#[test]
fn one_of_several_batches_in_flight_halves_the_budget() {
    for seed in 0..20 {
        let faults = Faults { seed, memory: Some(40), ..Faults::default() };
        let (device, watch) = FaultyDevice::new("first", SHAPE, faults);
        watch.held_up.store(true, Relaxed);
        let (pusher, answers) = start_with(device, QueueConfig::default());
        push_all(0, &vec![vec![1; 16]; 100], &pusher, &Counts::default(), &|| {});
        drop(pusher);
        // From here on the batches are full, and both slots are used.
        watch.held_up.store(false, Relaxed);
        assert_eq!(rest(&answers).filter(|answer| answer.vector.is_ok()).count(), 100);
        answers.finish().unwrap();
        let halves = watch.seen().batches.iter().filter(|texts| texts.len() == 2).count();
        assert!(halves > 30, "{halves} batches of 32 tokens");
    }
}

#[test]
fn memory_that_is_taken_by_what_is_in_flight_is_waited_for() {
    let faults = Faults { memory: Some(16), memory_shared: true, delay_max: 3, ..Faults::default() };
    let scenario = Scenario::new(faults, vec![vec![1; 16]; 100]);
    let outcome = scenario.run();
    outcome.check_vectors(&scenario);
    assert!(!outcome.made, "{:?}", outcome.stats);
    assert_eq!(outcome.device.seen().most_in_flight, 1);
}

#[test]
fn a_device_without_memory_for_one_text_is_left() {
    for seed in 0..20 {
        let scenario = Scenario::new(Faults { seed, memory: Some(0), ..Faults::default() }, texts(100));
        let outcome = scenario.run();
        outcome.check_vectors(&scenario);
        assert!(outcome.reason().contains("out of device memory"), "{:?}", outcome.stats);
        assert_eq!(outcome.stats.device, "fallback");
    }
}

#[test]
fn a_fallback_without_memory_for_a_text_goes_on_with_the_others() {
    let mut all = texts(100);
    all[50] = vec![MARK; 3];
    let mut scenario = Scenario::new(Faults::always(Fault::Lose), all);
    scenario.fallback_faults = Faults::of(MARK, Fault::Memory);
    let outcome = scenario.run();
    outcome.check_all(&scenario);
    assert_eq!(outcome.errors(), [50]);
}

#[test]
fn a_text_that_fails_takes_no_other_down() {
    for fault in [Fault::Submit, Fault::Fail, Fault::Take, Fault::Nan, Fault::Short] {
        let mut all = texts(100);
        all[40] = vec![MARK; 5];
        let scenario = Scenario::new(Faults::of(MARK, fault), all);
        let outcome = scenario.run();
        outcome.check_vectors(&scenario);
        assert_eq!((outcome.stats.rescued, &outcome.stats.fallback), (1, &None), "{fault:?}");
        assert_eq!(outcome.device.seen().faults, [fault; 3]);
        assert_eq!(outcome.stats.device, "first");
        assert_eq!(outcome.fallback.seen().batches, [[5]]);
    }
}

#[test]
fn texts_that_fail_now_and_then_do_not_condemn_the_device() {
    let mut all = texts(200);
    all.iter_mut().step_by(10).for_each(|text| *text = vec![MARK; 3]);
    let mut scenario = Scenario::new(Faults::of(MARK, Fault::Fail), all);
    // One text a window: the others come in between.
    scenario.config.window = 1;
    let outcome = scenario.run();
    outcome.check_vectors(&scenario);
    assert_eq!((outcome.stats.rescued, outcome.stats.fallback), (20, None));
}

#[test]
fn a_text_that_fails_everywhere_is_answered_with_its_error() {
    let mut all = texts(100);
    all[40] = vec![MARK; 5];
    let mut scenario = Scenario::new(Faults::of(MARK, Fault::Fail), all);
    scenario.fallback_faults = Faults::of(MARK, Fault::Take);
    let outcome = scenario.run();
    outcome.check_all(&scenario);
    assert_eq!(outcome.errors(), [40]);
    let error = outcome.answers.into_iter().find_map(|answer| answer.vector.err());
    assert_eq!(error, Some(DeviceError::Failed("take".into())));
}

#[test]
fn a_fallback_that_is_lost_over_one_text_is_not_used_again() {
    let mut all = texts(100);
    (all[40], all[60]) = (vec![MARK; 5], vec![MARK; 3]);
    let mut scenario = Scenario::new(Faults::of(MARK, Fault::Fail), all);
    scenario.fallback_faults = Faults::of(MARK, Fault::Lose);
    let outcome = scenario.run();
    outcome.check_all(&scenario);
    assert_eq!(outcome.errors(), [40, 60]);
    assert_eq!(outcome.fallback.seen().faults.len(), 1);
}

#[test]
fn a_device_that_always_fails_is_left() {
    for fault in [Fault::Submit, Fault::Fail, Fault::Take, Fault::Nan, Fault::Short] {
        let scenario = Scenario::new(Faults::always(fault), texts(100));
        let outcome = scenario.run();
        outcome.check_vectors(&scenario);
        assert!(outcome.reason().contains("the device failed"), "{:?}", outcome.stats);
        assert!(outcome.device.seen().faults.len() < 20);
        assert!(outcome.stats.rescued < 16);
    }
}

#[test]
fn a_device_that_is_lost_or_lies_or_hangs_is_left() {
    for (fault, reason) in [(Fault::Lose, "as the test"), (Fault::WrongSlot, "slot"), (Fault::Hang, "did not complete")]
    {
        for (slots, disorder) in [(1, false), (2, false), (3, true)] {
            let mut all = texts(100);
            all[40] = vec![MARK; 5];
            let mut scenario = Scenario::new(Faults { disorder, seed: 1, ..Faults::of(MARK, fault) }, all);
            scenario.shape.slots = slots;
            scenario.config.patience = SHORT_PATIENCE;
            let outcome = scenario.run();
            outcome.check_vectors(&scenario);
            let lost = ["as the test", "completion"].iter().any(|lost| outcome.reason().contains(lost));
            assert!(outcome.reason().contains(reason) || (fault == Fault::Lose && lost), "{:?}", outcome.stats);
        }
    }
}

#[test]
fn without_a_fallback_everything_is_answered() {
    let (device, _) = FaultyDevice::new("first", SHAPE, Faults::of(MARK, Fault::Lose));
    let (pusher, answers) = start_with(device, QueueConfig::default());
    let mut all = texts(1000);
    all[500] = vec![MARK];
    let got = thread::scope(|scope| {
        scope.spawn(|| {
            push_all(0, &all, &pusher, &Counts::default(), &|| {});
            drop(pusher);
        });
        rest(&answers).collect::<Vec<_>>()
    });
    assert_eq!(got.len(), 1000);
    assert!(got.iter().find(|answer| answer.key == 999).unwrap().vector.is_err());
    let stats = answers.finish().unwrap();
    assert_eq!((stats.device.as_str(), stats.items + stats.failed), ("none", 1000));
}

#[test]
fn a_fallback_with_other_vectors_is_none() {
    let mut scenario = Scenario::new(Faults::always(Fault::Lose), texts(10));
    scenario.fallback_shape.dims = DIMS + 1;
    let outcome = scenario.run();
    outcome.check_all(&scenario);
    assert_eq!((outcome.stats.failed, outcome.stats.device.as_str()), (10, "none"));
}

#[test]
fn texts_that_are_too_long_for_the_fallback_are_answered() {
    let mut scenario = Scenario::new(Faults::always(Fault::Lose), texts(100));
    scenario.fallback_shape.text_tokens = 8;
    let outcome = scenario.run();
    outcome.check_all(&scenario);
    let too_long: Vec<u64> = (0..100).filter(|text| text * 7 % 16 + 1 > 8).collect();
    assert_eq!(outcome.errors(), too_long);
}

#[test]
fn texts_that_fit_no_batch_are_refused() {
    let (device, _) = FaultyDevice::new("first", DeviceShape { batch_tokens: 12, ..SHAPE }, Faults::default());
    let (pusher, answers) = start_with(device, QueueConfig::default());
    assert_eq!(pusher.push(Item { key: 0, tokens: vec![] }), Err(PushError::Empty));
    assert_eq!(pusher.push(Item { key: 1, tokens: vec![1; 13] }), Err(PushError::TooLong { tokens: 13, max: 12 }));
    assert_eq!(pusher.push(Item { key: 2, tokens: vec![1; 12] }), Ok(()));
    assert_eq!(answers.receiver().recv().unwrap().key, 2);
    answers.finish().unwrap();
    assert_eq!(pusher.push(Item { key: 3, tokens: vec![1] }), Err(PushError::Closed));
}

#[test]
fn a_device_that_stands_still_blocks_producers() {
    let config = QueueConfig { window: 4, input: 3, output: 2, ..QueueConfig::default() };
    let (device, watch) = FaultyDevice::new("first", SHAPE, Faults::default());
    watch.held_up.store(true, Relaxed);
    let (pusher, answers) = start_with(device, config);
    let counts = Counts::default();
    let all = texts(1000);
    thread::scope(|scope| {
        scope.spawn(|| {
            push_all(0, &all, &pusher, &counts, &|| {});
            drop(pusher);
        });
        // What is held up: a batch at least, the next window, and the channel. Then no push returns any more.
        until(|| counts.pushed.load(Relaxed) >= 1 + 4 + 3 && !watch.seen().batches.is_empty());
        thread::sleep(Duration::from_millis(20));
        assert!(counts.pushed.load(Relaxed) <= config.items_max() - config.output);
        assert!(watch.seen().batches.len() <= SHAPE.slots);
        watch.held_up.store(false, Relaxed);
        for _ in rest(&answers) {
            counts.answered.fetch_add(1, SeqCst);
        }
    });
    assert_eq!(counts.answered.into_inner(), 1000);
    assert!(counts.peak.into_inner() <= config.items_max() + 1);
    assert_eq!(watch.seen().most_in_flight, SHAPE.slots);
    answers.finish().unwrap();
}

#[test]
fn a_slow_consumer_does_not_make_the_device_look_silent() {
    let config = QueueConfig { window: 4, input: 4, output: 0, patience: Duration::from_millis(500) };
    let scenario = Scenario { config, ..Scenario::new(Faults::default(), texts(100)) };
    let (device, _) = FaultyDevice::new("first", SHAPE, Faults::default());
    let (pusher, answers) = start_with(device, config);
    thread::scope(|scope| {
        scope.spawn(|| {
            push_all(0, &scenario.texts[0], &pusher, &Counts::default(), &|| {});
            drop(pusher);
        });
        let first = rest(&answers).take(20).count();
        thread::sleep(Duration::from_millis(700));
        assert_eq!(first + rest(&answers).count(), 100);
    });
    let stats = answers.finish().unwrap();
    assert_eq!((stats.items, stats.fallback), (100, None));
}

#[test]
fn a_device_that_panics_ends_the_queue() {
    let (device, watch) = FaultyDevice::new("first", SHAPE, Faults::always(Fault::Panic));
    let (pusher, answers) = start_with(device, QueueConfig::default());
    pusher.push(Item { key: 0, tokens: vec![1] }).unwrap();
    assert!(answers.receiver().recv().is_err());
    assert_eq!(pusher.push(Item { key: 1, tokens: vec![1] }), Err(PushError::Closed));
    assert!(answers.finish().is_err());
    assert!(watch.seen().left.is_some());
}

#[test]
fn a_hung_device_ends_with_the_consumer() {
    // The patience would last for a minute: it is the consumer's leaving that ends the thread.
    let (device, watch) = FaultyDevice::new("first", SHAPE, Faults::always(Fault::Hang));
    let (pusher, answers) = start_with(device, QueueConfig::default());
    pusher.push(Item { key: 0, tokens: vec![1] }).unwrap();
    drop(answers);
    assert!(watch.seen().left.is_some());
    assert_eq!(pusher.push(Item { key: 1, tokens: vec![1] }), Err(PushError::Closed));
}

#[test]
fn a_cancellation_reaches_a_queue_whose_answers_are_not_taken() {
    let (device, watch) = FaultyDevice::new("first", SHAPE, Faults::default());
    let cancelled = Arc::new(AtomicBool::new(false));
    let none = || Err(DeviceError::Lost("there is none".into()));
    let config = QueueConfig { output: 0, ..QueueConfig::default() };
    let (pusher, answers) = start(Box::new(device), Box::new(none), config, Arc::clone(&cancelled)).unwrap();
    pusher.push(Item { key: 0, tokens: vec![1] }).unwrap();
    until(|| answers.stats().items == 1);
    cancelled.store(true, Relaxed);
    until(|| watch.seen().left.is_some());
    assert_eq!(pusher.push(Item { key: 1, tokens: vec![1] }), Err(PushError::Closed));
    answers.finish().unwrap();
}

fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < WATCHDOG, "stuck");
        thread::yield_now();
    }
}

#[test]
fn one_text_at_a_time() {
    let one = |faults: Faults, tokens: &[u32]| {
        let (mut device, _) = FaultyDevice::new("first", SHAPE, faults);
        embed_within(&mut device, tokens, SHORT_PATIENCE, || false)
    };
    let slow = Faults { delay_max: 20, ..Faults::default() };
    let (mut device, watch) = FaultyDevice::new("first", SHAPE, slow);
    for text in texts(10) {
        assert_eq!(embed_one(&mut device, &text), Ok(vector_of(&text, DIMS)));
    }
    drop(device);
    assert_eq!(watch.seen().left, Some(0));
    for fault in [Fault::Submit, Fault::Fail, Fault::Take, Fault::Nan, Fault::Short] {
        assert!(matches!(one(Faults::always(fault), &[1]), Err(DeviceError::Failed(_))), "{fault:?}");
    }
    for fault in [Fault::Lose, Fault::WrongSlot, Fault::Hang] {
        assert!(matches!(one(Faults::always(fault), &[1]), Err(DeviceError::Lost(_))), "{fault:?}");
    }
    assert!(matches!(one(Faults::always(Fault::Memory), &[1]), Err(DeviceError::OutOfMemory(_))));
    assert!(one(Faults::default(), &[]).is_err());
    assert!(one(Faults::default(), &[1; 17]).is_err());
}
