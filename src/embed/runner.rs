//! A model at work: its texts as tokens through the queue to a device, its questions one at a time on the CPU.

#[cfg(feature = "cuda")]
use super::cuda::{CudaDevice, CudaOptions};
use super::device::{DeviceError, EmbedDevice};
use super::embedder::{Take, on_all_cores};
use super::model::{CpuDevice, Model, ModelError};
use super::queue::{Answers, Item, PATIENCE, PushError, Pusher, QueueConfig, embed_one, start};
use super::wordpiece::WordCache;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at whether embedding was cancelled.
const TICK: Duration = Duration::from_millis(50);
/// The queue gives a fallback ten times its patience.
const LOST: Duration = Duration::from_secs(12 * PATIENCE.as_secs());

/// Which device runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// A card if there is one that can be used, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A card, or none.
    Cuda,
}

/// A model, and where it is to run.
#[derive(Debug)]
pub(crate) struct ModelEmbedder {
    model: Arc<Model>,
    choice: DeviceChoice,
    /// For questions; made by the first one.
    asked: Mutex<Option<CpuDevice>>,
}

impl ModelEmbedder {
    /// Opens the model in a folder.
    pub(crate) fn open(dir: &Path, choice: DeviceChoice) -> Result<ModelEmbedder, ModelError> {
        Ok(ModelEmbedder { model: Arc::new(Model::open(dir)?), choice, asked: Mutex::new(None) })
    }

    pub(super) fn id(&self) -> u128 {
        self.model.id()
    }

    pub(super) fn dims(&self) -> usize {
        self.model.dims()
    }

    pub(super) fn question(&self, text: &str) -> Result<Option<Vec<f32>>, String> {
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(None);
        }
        let tokens = self.model.tokens(text, &mut WordCache::default());
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut device = match asked.take() {
            Some(device) => device,
            None => self.model.cpu(None).map_err(|error| error.to_string())?,
        };
        let vector = embed_one(&mut device, &tokens);
        // One that was lost is not used again.
        if !matches!(vector, Err(DeviceError::Lost(_))) {
            *asked = Some(device);
        }
        vector.map(Some).map_err(|error| error.to_string())
    }

    pub(super) fn session(&self, cancelled: &Arc<AtomicBool>) -> Result<ModelSession<'_>, String> {
        let device = self.device()?;
        tracing::info!(device = device.name(), "embedding");
        let model = Arc::clone(&self.model);
        let fallback = Box::new(move || -> Result<Box<dyn EmbedDevice>, DeviceError> {
            let cpu = model.cpu(None).map_err(|error| DeviceError::Failed(error.to_string()))?;
            Ok(Box::new(cpu))
        });
        let (pusher, answers) = start(device, fallback, QueueConfig::default(), Arc::clone(cancelled))
            .map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(ModelSession { model: &self.model, pusher, answers, cancelled: Arc::clone(cancelled) })
    }

    fn device(&self) -> Result<Box<dyn EmbedDevice>, String> {
        if self.choice != DeviceChoice::Cpu {
            match self.card() {
                Ok(card) => return Ok(card),
                Err(error) if self.choice == DeviceChoice::Cuda => return Err(error),
                Err(error) => tracing::info!(error, "no card is used"),
            }
        }
        Ok(Box::new(self.model.cpu(None).map_err(|error| error.to_string())?))
    }

    #[cfg(feature = "cuda")]
    fn card(&self) -> Result<Box<dyn EmbedDevice>, String> {
        let weights = self.model.weights().map_err(|error| error.to_string())?;
        let card = CudaDevice::open(&weights, CudaOptions::default()).map_err(|error| error.to_string())?;
        Ok(Box::new(card))
    }

    #[cfg(not(feature = "cuda"))]
    fn card(&self) -> Result<Box<dyn EmbedDevice>, String> {
        Err("this program was built without the feature `cuda`".into())
    }
}

/// Says that something is over, however it ends.
struct SetOnDrop<'f>(&'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A model on a device that is fed through a queue.
pub(crate) struct ModelSession<'e> {
    model: &'e Model,
    pusher: Pusher,
    answers: Answers,
    cancelled: Arc<AtomicBool>,
}

impl ModelSession<'_> {
    pub(super) fn device(&self) -> String {
        let stats = self.answers.stats();
        match stats.fallback {
            Some(why) => format!("{}, after {why}", stats.device),
            None => stats.device,
        }
    }

    /// Tokens that were embedded, and how long the card was at work.
    pub(super) fn work(&self) -> (u64, Option<Duration>) {
        let stats = self.answers.stats();
        (stats.tokens, stats.times.map(|times| times.compute))
    }

    pub(super) fn embed(&mut self, texts: &[&str], take: Take<'_>) -> Result<Vec<usize>, String> {
        let (model, pusher, cancelled) = (self.model, &self.pusher, &*self.cancelled);
        let refused = Mutex::new(Vec::new());
        let is_over = AtomicBool::new(false);
        let push = || {
            // Also when a thread panics.
            let _over = SetOnDrop(&is_over);
            on_all_cores(texts, |next| {
                let mut cache = WordCache::default();
                while let Some((start, texts)) = next().filter(|_| !cancelled.load(Relaxed)) {
                    for (number, text) in (start..).zip(texts) {
                        let item = Item { key: number as u64, tokens: model.tokens(text, &mut cache) };
                        match pusher.push(item) {
                            Ok(()) => {}
                            // The queue has ended: whoever waits for its answers finds out.
                            Err(PushError::Closed) => return,
                            Err(error) => {
                                tracing::warn!(?error, "a chunk is not for this device");
                                refused.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                            }
                        }
                    }
                }
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(push);
            self.receive(texts.len(), take, &refused, &is_over)
        })
    }

    fn receive(
        &self,
        mut missing: usize,
        take: Take<'_>,
        refused: &Mutex<Vec<usize>>,
        is_over: &AtomicBool,
    ) -> Result<Vec<usize>, String> {
        let mut failed = Vec::new();
        let mut last = Instant::now();
        while missing > 0 && !self.cancelled.load(Relaxed) {
            let refused = std::mem::take(&mut *refused.lock().unwrap_or_else(PoisonError::into_inner));
            missing -= refused.len();
            failed.extend(refused);
            match self.answers.receiver().recv_timeout(TICK) {
                Ok(answer) => {
                    missing -= 1;
                    last = Instant::now();
                    let number = usize::try_from(answer.key).unwrap_or(usize::MAX);
                    match answer.vector {
                        Ok(vector) => take(number, &vector),
                        Err(error) => {
                            tracing::warn!(%error, "a chunk was not embedded");
                            failed.push(number);
                        }
                    }
                }
                // Nothing more comes, and the queue gives no answer for longer than it lets any device take.
                Err(crossbeam_channel::RecvTimeoutError::Timeout) if is_over.load(Relaxed) && last.elapsed() > LOST => {
                    return Err(format!("{missing} chunks were lost on their way to {}", self.answers.stats().device));
                }
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) if self.cancelled.load(Relaxed) => break,
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                    return Err(format!("the queue to {} has ended", self.answers.stats().device));
                }
            }
        }
        Ok(failed)
    }
}
