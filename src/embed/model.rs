//! A model in a folder, as sentence-transformers saves it: opened and checked, and run on the CPU.
//!
//! Owns the reading of the folder's files and the identity of a model. What cannot be run as its authors meant it is
//! refused by name. Knows nothing of chunks, indexes, or of how many batches there are.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::bert::Bert;
use super::device::{Completion, DeviceError, DeviceShape, EmbedDevice, TokenBatch};
use super::map::MappedFile;
use super::weights::{BertConfig, BertWeights, Number, Pooling, Tensor, WeightsError};
use super::wordpiece::{VocabularyError, WordCache, WordPiece, WordPieceOptions};

#[cfg(test)]
pub(super) mod tests;

/// Batches in flight: while one multiplies matrices on all threads, the other does what one thread does.
const CPU_SLOTS: usize = 2;
/// Texts a batch. More do not make a CPU faster, and a search would wait for them.
const CPU_ROWS: usize = 8;
/// Tokens a batch: that many texts of usual length.
const CPU_TOKENS: usize = 1024;

/// Why a folder is no model that can be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; a model is a folder as sentence-transformers saves it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what its name says, or contradicts itself.
    #[error("{} is damaged: {detail}; fetch the model again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The model is of a kind that this engine does not run.
    #[error("{}: {detail}; use a BERT model with a WordPiece tokenizer, such as all-MiniLM-L6-v2", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What is not supported.
        detail: String,
    },
    /// The vocabulary cannot be used.
    #[error("{}: {source}; fetch the model again", path.display())]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// What is wrong with it.
        source: VocabularyError,
    },
    /// A tensor is missing or of the wrong kind.
    #[error("{}: {source}; config.json is of another model, or the file is damaged: fetch the model again", path.display())]
    Weights {
        /// The file of weights.
        path: PathBuf,
        /// What is wrong, with the tensor's name.
        source: WeightsError,
    },
    /// The threads of a device cannot be started.
    #[error("cannot start threads for the model: {0}")]
    Threads(String),
}

/// A model: its tokenizer, its weights and how they are used.
#[derive(Debug)]
pub(crate) struct Model {
    id: u128,
    name: String,
    tokenizer: WordPiece,
    first: u32,
    last: u32,
    text_tokens: usize,
    config: BertConfig,
    weights_path: PathBuf,
    weights: MappedFile,
}

impl Model {
    /// Opens the model in the folder `dir`. Its weights stay in their file, which is mapped.
    ///
    /// # Errors
    /// As [`ModelError`] says.
    pub(crate) fn open(dir: &Path) -> Result<Model, ModelError> {
        let mut files = Files { hash: Xxh3::new() };
        let layout = Layout::read(dir, &mut files)?;
        let config_path = layout.dir.join("config.json");
        let config = files.json::<ConfigFile>(&config_path)?.check(&config_path, layout.pooling)?;
        let settings_path = layout.dir.join("sentence_bert_config.json");
        let settings: SettingsFile = files.optional_json(&settings_path)?.unwrap_or_default();
        let tokenizer_path = layout.dir.join("tokenizer.json");
        let tokenizer: TokenizerFile = files.json(&tokenizer_path)?;
        let (tokenizer, first, last) = tokenizer.check(&tokenizer_path, settings.do_lower_case)?;
        if tokenizer.len() > config.vocab {
            return malformed(
                &tokenizer_path,
                format!("{} tokens, and {} in config.json", tokenizer.len(), config.vocab),
            );
        }
        let text_tokens = settings.max_seq_length.unwrap_or(config.positions).min(config.positions);
        if text_tokens < 3 {
            return malformed(&settings_path, format!("texts of {text_tokens} tokens have no room for a word"));
        }
        let weights_path = layout.dir.join("model.safetensors");
        let weights = files.map(&weights_path)?;
        let name = dir.file_name().map_or_else(|| dir.to_string_lossy(), |name| name.to_string_lossy()).into_owned();
        let id = files.hash.digest128();
        let model = Model { id, name, tokenizer, first, last, text_tokens, config, weights_path, weights };
        let wrong = |source| ModelError::Weights { path: model.weights_path.clone(), source };
        Bert::check(&model.weights()?).map_err(wrong)?;
        Ok(model)
    }

    /// Tells models apart: vectors of two models have nothing to do with each other. A hash (XXH3, 128 bits) of all files
    /// that a vector depends on.
    pub(crate) fn id(&self) -> u128 {
        self.id
    }

    /// The folder's name, for people.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Numbers a vector.
    pub(crate) fn dims(&self) -> usize {
        self.config.hidden
    }

    /// Tokens a text, with the special ones; what a text has beyond is ignored.
    #[cfg(test)]
    pub(crate) fn text_tokens(&self) -> usize {
        self.text_tokens
    }

    /// The tokens of a text with the special ones around them, `[CLS]` and `[SEP]` in most models: between two and
    /// [`text_tokens`](Self::text_tokens).
    pub(crate) fn tokens(&self, text: &str, cache: &mut WordCache) -> Vec<u32> {
        let mut tokens = vec![self.first];
        self.tokenizer.encode(text, cache, self.text_tokens - 2, &mut tokens);
        tokens.push(self.last);
        tokens
    }

    /// The model's sizes and tensors, for a device to take.
    ///
    /// # Errors
    /// The file of weights is damaged.
    pub(crate) fn weights(&self) -> Result<BertWeights<'_>, ModelError> {
        Ok(BertWeights { config: self.config, tensors: tensors(&self.weights_path, &self.weights)? })
    }

    /// A device that runs the model on `threads` threads of this machine, or on one for each processor.
    ///
    /// # Errors
    /// [`ModelError::Threads`]. Those of the weights were seen when the model was opened.
    pub(crate) fn cpu(&self, threads: Option<usize>) -> Result<CpuDevice, ModelError> {
        let wrong = |source| ModelError::Weights { path: self.weights_path.clone(), source };
        let bert = Arc::new(Bert::load(&self.weights()?).map_err(wrong)?);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|index| format!("embed-{index}"))
            .build()
            .map_err(|error| ModelError::Threads(error.to_string()))?;
        let (done, completed) = crossbeam_channel::unbounded();
        let slots = std::iter::repeat_with(|| Slot::Free).take(CPU_SLOTS).collect();
        let name = format!("{} on the CPU, {} threads", self.name, pool.current_num_threads());
        Ok(CpuDevice { name, text_tokens: self.text_tokens, bert, pool, done, completed, slots })
    }
}

/// The files of a model as they are read, and the hash of all of them.
struct Files {
    hash: Xxh3,
}

impl Files {
    fn map(&mut self, path: &Path) -> Result<MappedFile, ModelError> {
        let map = MappedFile::open(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
        self.add(&map);
        Ok(map)
    }

    fn json<T: DeserializeOwned>(&mut self, path: &Path) -> Result<T, ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
        self.add(&bytes);
        serde_json::from_slice(&bytes).or_else(|error| malformed(path, error.to_string()))
    }

    fn add(&mut self, bytes: &[u8]) {
        // The length parts the files.
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// `None` when there is no such file.
    fn optional_json<T: DeserializeOwned>(&mut self, path: &Path) -> Result<Option<T>, ModelError> {
        match self.json(path) {
            Err(ModelError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.hash.update(&u64::MAX.to_le_bytes());
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

fn malformed<T>(path: &Path, detail: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Malformed { path: path.into(), detail: detail.into() })
}

fn unsupported<T>(path: &Path, detail: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Unsupported { path: path.into(), detail: detail.into() })
}

/// What `modules.json` says: where the encoder's files are, and what follows it.
struct Layout {
    dir: PathBuf,
    pooling: Pooling,
}

#[derive(Deserialize)]
struct ModuleFile {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Layout {
    /// A folder without `modules.json` holds an encoder only, and is pooled by the mean, as sentence-transformers does it.
    fn read(dir: &Path, files: &mut Files) -> Result<Layout, ModelError> {
        let path = dir.join("modules.json");
        let mut layout = Layout { dir: dir.into(), pooling: Pooling::Mean };
        let Some(modules) = files.optional_json::<Vec<ModuleFile>>(&path)? else { return Ok(layout) };
        for module in &modules {
            let below = Path::new(&module.path);
            if !below.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
                return malformed(&path, format!("`{}` is no folder of the model", module.path));
            }
            // Later releases moved the modules about, but kept their names.
            match module.kind.rsplit('.').next() {
                Some("Transformer") => layout.dir = dir.join(below),
                Some("Pooling") => {
                    let path = dir.join(below).join("config.json");
                    layout.pooling = pooling(&path, &files.json(&path)?)?;
                }
                // Vectors have length one anyway.
                Some("Normalize") => {}
                _ => return unsupported(&path, format!("there is no support for the module {}", module.kind)),
            }
        }
        Ok(layout)
    }
}

fn pooling(path: &Path, file: &Value) -> Result<Pooling, ModelError> {
    let modes: Vec<&str> = match file.get("pooling_mode").and_then(Value::as_str) {
        Some(mode) => vec![mode],
        None => {
            let Some(file) = file.as_object() else { return malformed(path, "it is no object") };
            let on = file.iter().filter(|(_, value)| **value == Value::Bool(true));
            on.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")).collect()
        }
    };
    match modes[..] {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::First),
        _ => unsupported(path, format!("there is no support for pooling by {}", modes.join(" and "))),
    }
}

#[derive(Default, Deserialize)]
struct SettingsFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
    #[serde(default = "gelu")]
    hidden_act: String,
    position_embedding_type: Option<String>,
}

fn epsilon() -> f32 {
    1e-12
}

fn gelu() -> String {
    "gelu".into()
}

impl ConfigFile {
    fn check(self, path: &Path, pooling: Pooling) -> Result<BertConfig, ModelError> {
        if self.model_type != "bert" {
            return unsupported(path, format!("there is no support for models of type {}", self.model_type));
        }
        if self.hidden_act != "gelu" {
            return unsupported(path, format!("there is no support for the activation {}", self.hidden_act));
        }
        if let Some(kind) = self.position_embedding_type.filter(|kind| kind != "absolute") {
            return unsupported(path, format!("there is no support for {kind} positions"));
        }
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        let sizes = [hidden, heads, self.intermediate_size, self.vocab_size];
        if sizes.contains(&0) || self.max_position_embeddings == 0 || hidden % heads != 0 {
            return malformed(path, format!("a size is nothing, or {hidden} is no multiple of {heads} heads"));
        }
        Ok(BertConfig {
            hidden,
            layers: self.num_hidden_layers,
            heads,
            intermediate: self.intermediate_size,
            vocab: self.vocab_size,
            positions: self.max_position_embeddings,
            layer_norm_eps: self.layer_norm_eps,
            pooling,
        })
    }
}

#[derive(Deserialize)]
struct TokenizerFile {
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    model: Value,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct NormalizerPart {
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    lowercase: bool,
}

#[derive(Deserialize)]
struct WordPiecePart {
    vocab: HashMap<String, u32>,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
}

impl TokenizerFile {
    /// The tokenizer, and the tokens before and behind every text.
    fn check(self, path: &Path, lowered: bool) -> Result<(WordPiece, u32, u32), ModelError> {
        let parts = [
            (&self.model, "WordPiece"),
            (&self.normalizer, "BertNormalizer"),
            (&self.pre_tokenizer, "BertPreTokenizer"),
        ];
        for (part, kind) in parts {
            if part["type"] != kind {
                return unsupported(path, format!("there is no support for {} in place of {kind}", part["type"]));
            }
        }
        let (first, last) = around(path, &self.post_processor)?;
        let normalizer: NormalizerPart = self::part(path, self.normalizer)?;
        let model: WordPiecePart = self::part(path, self.model)?;
        if lowered && !normalizer.lowercase {
            return unsupported(path, "there is no support for texts in lower case for a tokenizer that minds case");
        }
        let tokens = in_order(path, model.vocab)?;
        for token in &self.added_tokens {
            if tokens.get(token.id as usize) != Some(&token.content) {
                return unsupported(path, format!("the token {} is not in the vocabulary", token.content));
            }
            if token.normalized || token.single_word || token.lstrip || token.rstrip {
                return unsupported(path, format!("there is no support for how {} is looked for", token.content));
            }
        }
        let options = WordPieceOptions {
            lowercase: normalizer.lowercase,
            strip_accents: normalizer.strip_accents,
            chinese_chars: normalizer.handle_chinese_chars,
            clean_text: normalizer.clean_text,
            unknown: model.unk_token,
            prefix: model.continuing_subword_prefix,
            word_chars: model.max_input_chars_per_word,
            // A text that is put into lower case first spells none of them.
            special: self.added_tokens.into_iter().map(|token| token.content).filter(|_| !lowered).collect(),
        };
        if (first.max(last) as usize) >= tokens.len() {
            return malformed(path, "the tokens around a text are not in the vocabulary");
        }
        let made = WordPiece::new(tokens, options);
        Ok((made.map_err(|source| ModelError::Vocabulary { path: path.into(), source })?, first, last))
    }
}

fn part<T: DeserializeOwned>(path: &Path, part: Value) -> Result<T, ModelError> {
    serde_json::from_value(part).or_else(|error| malformed(path, error.to_string()))
}

/// The vocabulary in the order of its ids, which have no gaps.
fn in_order(path: &Path, vocabulary: HashMap<String, u32>) -> Result<Vec<String>, ModelError> {
    let mut tokens: Vec<Option<String>> = vec![None; vocabulary.len()];
    for (token, id) in vocabulary {
        match tokens.get_mut(id as usize) {
            Some(place @ None) => *place = Some(token),
            _ => return malformed(path, format!("the id {id} of {token} is taken or beyond the vocabulary")),
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// The ids of the tokens before and behind a text.
fn around(path: &Path, processor: &Value) -> Result<(u32, u32), ModelError> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let found = match processor["type"].as_str() {
        Some("BertProcessing") => id(&processor["cls"][1]).zip(id(&processor["sep"][1])),
        Some("TemplateProcessing") => match processor["single"].as_array().map(Vec::as_slice) {
            Some([before, text, behind]) if text.get("Sequence").is_some() => {
                let special = |item: &Value| {
                    let name = item["SpecialToken"]["id"].as_str()?;
                    match processor["special_tokens"][name]["ids"].as_array().map(Vec::as_slice) {
                        Some([only]) => id(only),
                        _ => None,
                    }
                };
                special(before).zip(special(behind))
            }
            _ => None,
        },
        _ => None,
    };
    found.map_or_else(|| unsupported(path, "it does not put one token before a text and one behind it"), Ok)
}

/// The tensors in the file of weights.
fn tensors<'a>(path: &Path, bytes: &'a [u8]) -> Result<HashMap<String, Tensor<'a>>, ModelError> {
    let tensors = SafeTensors::deserialize(bytes).or_else(|error| malformed(path, error.to_string()))?;
    let mut found = HashMap::new();
    for (name, view) in tensors.tensors() {
        let number = match view.dtype() {
            Dtype::F32 => Number::F32,
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::Bf16,
            // Some files hold the numbers of positions, which count from nothing.
            _ if name.ends_with("_ids") => continue,
            other => return unsupported(path, format!("{name} holds {other:?} in place of F32, F16 or BF16")),
        };
        let Some(tensor) = Tensor::new(number, view.shape(), view.data()) else {
            return malformed(path, format!("the tensor {name} has another size than its shape"));
        };
        found.insert(name, tensor);
    }
    Ok(found)
}

/// A model on threads of its own.
#[derive(Debug)]
pub(crate) struct CpuDevice {
    name: String,
    text_tokens: usize,
    bert: Arc<Bert>,
    pool: rayon::ThreadPool,
    done: Sender<(usize, Result<Vec<f32>, DeviceError>)>,
    completed: Receiver<(usize, Result<Vec<f32>, DeviceError>)>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
enum Slot {
    Free,
    Running,
    /// The vectors of its batch.
    Completed(Vec<f32>),
}

impl EmbedDevice for CpuDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn shape(&self) -> DeviceShape {
        DeviceShape {
            dims: self.bert.config().hidden,
            slots: self.slots.len(),
            batch_tokens: CPU_TOKENS.max(self.text_tokens),
            batch_rows: CPU_ROWS,
            text_tokens: self.text_tokens,
        }
    }

    fn submit(&mut self, slot: usize, batch: &TokenBatch) -> Result<(), DeviceError> {
        match self.slots.get_mut(slot) {
            Some(state @ Slot::Free) => *state = Slot::Running,
            _ => return Err(DeviceError::Failed(format!("slot {slot} is not free"))),
        }
        let (bert, batch, done) = (Arc::clone(&self.bert), batch.clone(), self.done.clone());
        self.pool.spawn(move || {
            // A panic on a thread of the pool would end the process.
            let result = match catch_unwind(AssertUnwindSafe(|| bert.encode(&batch))) {
                Ok(result) => result.map_err(|error| DeviceError::Failed(error.to_string())),
                Err(_) => Err(DeviceError::Failed("the model panicked".into())),
            };
            // Nobody waits for it once the device is dropped.
            let _ = done.send((slot, result));
        });
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<Completion>, DeviceError> {
        let (slot, result) = match self.completed.recv_timeout(patience) {
            Ok(completed) => completed,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(DeviceError::Lost("its threads are gone".into())),
        };
        let (state, result) = match result {
            Ok(vectors) => (Slot::Completed(vectors), Ok(())),
            Err(error) => (Slot::Free, Err(error)),
        };
        self.slots[slot] = state;
        Ok(Some(Completion { slot, result }))
    }

    fn take(&mut self, slot: usize, into: &mut Vec<f32>) -> Result<(), DeviceError> {
        match self.slots.get_mut(slot) {
            Some(state @ Slot::Completed(_)) => {
                if let Slot::Completed(vectors) = std::mem::replace(state, Slot::Free) {
                    into.extend_from_slice(&vectors);
                }
                Ok(())
            }
            _ => Err(DeviceError::Failed(format!("slot {slot} has no vectors"))),
        }
    }
}
