//! Embedding: a stage that trails the text index, in the background and in pieces.
//!
//! It reads the files of the published generation whose versions were not dealt with yet, in the order of their ids, cuts them
//! into chunks, embeds those whose content has no vector yet, and publishes a part at a time together with how far it has
//! come. For that moment it holds the writer's lock. Stopped or killed, it goes on where it was.

use super::stage::{self, Shared, StageRun};
use super::{Config, Engine, lock};
use crate::commit::vectors::{Progress, VectorWriter};
use crate::embed::{Chunk, Embedder, Owner, Quantised, Session, chunks, content_hash};
#[cfg(feature = "models")]
use crate::embed::{DeviceChoice, ModelEmbedder};
use crate::error::{OpenError, RunError, StoreError};
use crate::query::{Candidate, Readers, read_indexed};
use crate::record::{DirId, FileId, FileMeta, Flags};
use crate::store::schema::Published;
use crate::store::{Store, StoreReader};
use crate::symbols::{SymbolKind, Symbols};
use crate::text::encoding::{Decoded, decode};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Files that are read before their chunks are embedded.
const ROUND_FILES: usize = 512;
/// Bytes of a round, unless one file has more: their text is held in memory.
const ROUND_BYTES: u64 = 16 << 20;
/// Files that could not be embedded are tried again by the next embedding. With more than this, something else is wrong.
const AGAIN_MAX: usize = 4096;
/// How old rows get before they are published: what a kill costs at most.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// How often embedding begins again because another process has embedded meanwhile.
const ATTEMPTS: usize = 3;

/// Whether, and by what, files are embedded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmbedChoice {
    /// Not at all.
    Off,
    /// By what is there: a model on a card if there is one, or else on the CPU; without a model, the table of word vectors that
    /// comes with the program, which keeps up with any tree.
    #[default]
    Auto,
    /// On the CPU.
    Cpu,
    /// On an NVIDIA card, or not at all: for a model, see [`EngineBuilder::model`](crate::EngineBuilder::model).
    Cuda,
}

/// What an embedding has done.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EmbedReport {
    /// Files to do when it began.
    pub pending: u64,
    /// Files whose chunks have vectors.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks of them.
    pub chunks: u64,
    /// Chunks among those whose content was embedded before, in this embedding or an earlier one.
    pub reused: u64,
    /// Chunks without a word; they have no vector.
    pub wordless: u64,
    /// Files that have more chunks than are embedded.
    pub cut: u64,
    /// Files that are not what was indexed any more; a run finds that out.
    pub changed: u64,
    /// Files that could not be read; the next embedding tries again.
    pub unreadable: u64,
    /// Chunks that the device failed on; the next embedding tries their files again.
    pub failed: u64,
    /// What embedded them, and how that went; empty when there was nothing to do.
    pub device: String,
    /// Tokens of a model that the chunks were cut into, with its special ones; 0 with the table of words.
    pub tokens: u64,
    /// How long a card computed, by its own clock; `None` without one, and with drivers before 12.8.
    pub card_busy: Option<Duration>,
    /// Whether nothing was done because the index has the vectors of a model that was chosen, and none is chosen now: see
    /// [`EngineBuilder::replace_vectors`](crate::EngineBuilder::replace_vectors).
    pub kept_model: bool,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// What there is of NVIDIA cards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cards {
    /// Whether a model can run on one.
    pub usable: bool,
    /// Libraries and cards that were found, and what is missing, a line each.
    pub says: String,
}

/// Looks for NVIDIA cards and what they need. Opens libraries, never panics, and ends within half a minute.
pub fn cards() -> Cards {
    #[cfg(feature = "cuda")]
    {
        let probe = crate::embed::probe();
        Cards { usable: probe.is_usable(), says: probe.to_string() }
    }
    #[cfg(not(feature = "cuda"))]
    Cards { usable: false, says: "missing: this program was built without the feature `cuda`\n".into() }
}

/// What is to embed, by the configuration.
pub(super) fn make(config: &Config) -> Result<Embedder, OpenError> {
    let wrong = |setting, detail: String| OpenError::Setting { setting, detail };
    let Some(dir) = &config.model else {
        if config.embed == EmbedChoice::Cuda {
            return Err(wrong(
                "embed",
                "the table of words needs no card: name a model as well, or choose auto".into(),
            ));
        }
        return Embedder::words().map_err(|error| wrong("embed", format!("the table of words: {error}")));
    };
    #[cfg(feature = "models")]
    {
        let choice = match config.embed {
            EmbedChoice::Cuda => DeviceChoice::Cuda,
            EmbedChoice::Cpu => DeviceChoice::Cpu,
            _ => DeviceChoice::Auto,
        };
        let model = ModelEmbedder::open(dir, choice).map_err(|error| wrong("model", error.to_string()))?;
        Ok(Embedder::Model(Box::new(model)))
    }
    #[cfg(not(feature = "models"))]
    Err(wrong("model", format!("{}: this program was built without the feature `models`", dir.display())))
}

/// Starts an embedding.
pub(super) fn start(engine: Engine) -> StageRun<EmbedReport> {
    stage::start("leindex-embed", move |shared| {
        for _ in 1..ATTEMPTS {
            if let Some(report) = embed(&engine, shared)? {
                return Ok(report);
            }
        }
        let detail = "another process embeds all the time: embed when it has ended".into();
        embed(&engine, shared)?.ok_or_else(|| RunError::Store { path: engine.index_dir().to_path_buf(), detail })
    })
}

/// A file that was not dealt with.
struct Pending {
    parent: DirId,
    name: Vec<u8>,
    meta: FileMeta,
}

/// What became of one.
enum Outcome {
    Cut { text: String, chunks: Vec<(Chunk, u64)>, more: bool },
    Changed,
    Unreadable(io::Error),
    Cancelled,
}

/// What is there to do.
struct Found {
    pending: Vec<Pending>,
    /// The ids of all versions that are published, one bit each.
    living: Vec<u64>,
    published: Published,
    /// Which file the metadata store is: another one when the index was made anew.
    index: Option<(u64, u64)>,
}

impl Found {
    /// Whether the version of a file is published.
    fn lives(&self, id: FileId) -> bool {
        self.living.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }
}

/// An embedding under way.
struct Embedding<'e> {
    engine: &'e Engine,
    session: Session<'e>,
    cancelled: &'e AtomicBool,
    found: Found,
    writer: VectorWriter,
    progress: Progress,
    report: EmbedReport,
    published: Instant,
}

/// `None` when another process has embedded meanwhile.
fn embed(engine: &Engine, shared: &Shared) -> Result<Option<EmbedReport>, RunError> {
    let _span = tracing::info_span!("embed").entered();
    let started = Instant::now();
    let layout = &engine.inner.layout;
    let failed = |error: StoreError| layout.run_error(error);
    let Some(embedder) = engine.embedder()? else { return Ok(Some(EmbedReport::default())) };
    let (store, reader) = match lock::between_runs(layout, &shared.cancelled, || {
        let store = engine.existing_store()?;
        let reader = StoreReader::begin(&store).map_err(|error| layout.store_error(error))?;
        Ok((store, reader))
    }) {
        Err(OpenError::Busy { .. }) => return Ok(Some(EmbedReport { cancelled: true, ..EmbedReport::default() })),
        begun => begun?,
    };
    // What a run has left in the middle of a publication, the next one publishes first.
    if store.pending().map_err(failed)?.is_some() {
        return Ok(Some(EmbedReport::default()));
    }
    let published = reader.published().map_err(failed)?;
    let known = match reader.vectors_state() {
        Ok(state) => state,
        Err(error) => {
            drop(reader);
            return forget(engine, &store, &error, &shared.cancelled).map(|()| None);
        }
    };
    if known.chosen && known.model != embedder.id() && !embedder.is_model() && !engine.config().replace_vectors {
        return Ok(Some(EmbedReport { kept_model: true, ..EmbedReport::default() }));
    }
    let maker = (embedder.id(), embedder.is_model());
    let writer = VectorWriter::open(&layout.vectors_dir(), &store, known.clone(), &published, maker, embedder.dims());
    if !writer.is_whole() {
        let now = StoreReader::begin(&store).and_then(|reader| reader.vectors_state()).map_err(failed)?;
        // Parts that are not there any more were replaced meanwhile.
        if now != known {
            return Ok(None);
        }
    }
    // Nothing was published since, and nothing is left to do.
    let is_current = writer.state() == &known && known.generation == published.generation && known.again.is_empty();
    if is_current && known.done_below >= published.next_file {
        return Ok(Some(EmbedReport { seconds: started.elapsed().as_secs_f64(), ..EmbedReport::default() }));
    }
    let mut found = find_pending(&reader, &writer, published).map_err(failed)?;
    found.index = store.identity();
    drop((reader, store));
    let report = EmbedReport { pending: found.pending.len() as u64, ..EmbedReport::default() };
    shared.of.store(report.pending, Relaxed);
    let state = writer.state();
    let mut progress = Progress { done_below: state.done_below, again: state.again.clone() };
    progress.again.retain(|id| found.lives(*id));
    let cancelled = &*shared.cancelled;
    // There is nothing to be set up for nothing.
    let session = if report.pending == 0 { Session::idle() } else { session(&embedder, shared)? };
    let mut embedding = Embedding { engine, session, cancelled, found, writer, progress, report, published: started };
    if !embedding.run(shared)? {
        return Ok(None);
    }
    let Embedding { mut report, session, .. } = embedding;
    report.device = session.device();
    (report.tokens, report.card_busy) = session.work();
    report.cancelled = cancelled.load(Relaxed);
    report.seconds = started.elapsed().as_secs_f64();
    Ok(Some(report))
}

fn session<'e>(embedder: &'e Embedder, shared: &Shared) -> Result<Session<'e>, RunError> {
    embedder.session(&shared.cancelled).map_err(|detail| OpenError::Setting { setting: "embed", detail }.into())
}

/// What was noted cannot be read: everything is embedded again.
fn forget(engine: &Engine, store: &Store, error: &StoreError, cancelled: &AtomicBool) -> Result<(), RunError> {
    tracing::warn!(%error, "everything is embedded again");
    let layout = &engine.inner.layout;
    let _lock = lock::wait(layout, cancelled)?;
    store.forget_vectors().map_err(|error| layout.run_error(error))
}

fn find_pending(reader: &StoreReader, writer: &VectorWriter, published: Published) -> Result<Found, StoreError> {
    let state = writer.state();
    let mut living = vec![0u64; published.next_file as usize / 64 + 1];
    let mut pending = Vec::new();
    reader.for_each_file(|parent, name, meta| {
        if meta.flags.has(Flags::INDEXED) {
            if let Some(word) = living.get_mut(meta.id as usize / 64) {
                *word |= 1 << (meta.id % 64);
            }
            if !state.is_done(meta.id) {
                pending.push(Pending { parent, name: name.to_vec(), meta: *meta });
            }
        }
        Ok(())
    })?;
    // As they were found, a directory at a time; and so everything before a file was dealt with when it was.
    pending.sort_unstable_by_key(|file| file.meta.id);
    Ok(Found { pending, living, published, index: None })
}

impl Embedding<'_> {
    /// Returns false when another process has embedded meanwhile.
    fn run(&mut self, shared: &Shared) -> Result<bool, RunError> {
        let pending = std::mem::take(&mut self.found.pending);
        let (engine, cancelled) = (self.engine, self.cancelled);
        let is_current = std::thread::scope(|scope| -> Result<bool, RunError> {
            // The next round is read while this one is embedded.
            let (sender, rounds) = crossbeam_channel::bounded(1);
            scope.spawn(move || read_rounds(engine, pending, cancelled, &sender));
            for round in rounds {
                let (round, outcomes) = round?;
                let more: usize = outcomes.iter().map(Outcome::chunks).sum();
                let is_due = self.published.elapsed() > CHECKPOINT;
                if (is_due || self.writer.is_full(more)) && !self.publish()? {
                    return Ok(false);
                }
                self.take(&round, &outcomes)?;
                shared.done.fetch_add(round.len() as u64, Relaxed);
            }
            Ok(true)
        })?;
        if !is_current {
            return Ok(false);
        }
        if !self.cancelled.load(Relaxed) {
            self.progress.done_below = self.found.published.next_file;
        }
        self.publish()
    }

    /// Adds the vectors of a round to what is to be written.
    fn take(&mut self, round: &[Pending], outcomes: &[Outcome]) -> Result<(), RunError> {
        let _span = tracing::debug_span!("embed chunks", files = round.len()).entered();
        let mut wanted: HashMap<u64, Option<Quantised>> = HashMap::new();
        let mut new = Vec::new();
        for outcome in outcomes {
            if let Outcome::Cut { text, chunks, .. } = outcome {
                for (chunk, hash) in chunks {
                    if wanted.insert(*hash, None).is_none() {
                        new.push((*hash, &text[chunk.bytes.clone()]));
                    }
                }
            }
        }
        self.writer.find(&mut wanted);
        new.retain(|(hash, _)| wanted.get(hash).is_none_or(Option::is_none));
        let (hashes, texts): (Vec<u64>, Vec<&str>) = new.into_iter().unzip();
        let made = Mutex::new(&mut wanted);
        let failed = self.session.embed(&texts, &|number, vector| {
            let quantised = Quantised::new(vector);
            made.lock().unwrap_or_else(PoisonError::into_inner).insert(hashes[number], Some(quantised));
        });
        let failed = failed.map_err(|detail| OpenError::Setting { setting: "embed", detail })?;
        let failed: HashSet<u64> = failed.into_iter().map(|number| hashes[number]).collect();
        self.report.failed += failed.len() as u64;
        if !texts.is_empty() && failed.len() == texts.len() {
            let detail = format!("{} has failed on all of {} chunks", self.session.device(), texts.len());
            return Err(OpenError::Setting { setting: "embed", detail }.into());
        }
        // Some of the round may have no vector yet: it is left to the next embedding.
        if self.cancelled.load(Relaxed) {
            return Ok(());
        }
        let before = self.report.chunks;
        for (file, outcome) in round.iter().zip(outcomes) {
            self.progress.again.retain(|id| *id != file.meta.id);
            if !failed.is_empty() && outcome.has_any(&failed) {
                // Nothing of it is kept: what was embedded is found again by its content, or embedded again.
                self.again(file.meta.id)?;
            } else {
                self.take_file(file, outcome, &wanted)?;
            }
            self.progress.done_below = self.progress.done_below.max(file.meta.id + 1);
        }
        self.report.reused += (self.report.chunks - before).saturating_sub(texts.len() as u64);
        Ok(())
    }

    fn take_file(
        &mut self,
        file: &Pending,
        outcome: &Outcome,
        vectors: &HashMap<u64, Option<Quantised>>,
    ) -> Result<(), RunError> {
        let report = &mut self.report;
        match outcome {
            Outcome::Cut { chunks, more, .. } => {
                report.files += 1;
                report.bytes += file.meta.size;
                report.cut += u64::from(*more);
                for (chunk, hash) in chunks {
                    let Some(Some(vector)) = vectors.get(hash) else {
                        report.wordless += 1;
                        continue;
                    };
                    report.chunks += 1;
                    let FileMeta { id, language, .. } = file.meta;
                    let lines = u16::try_from(chunk.lines).unwrap_or(u16::MAX);
                    let owner = Owner { file: id, dir: file.parent, line: chunk.line, lines, language };
                    self.writer.add(owner, *hash, vector.row());
                }
            }
            // The run that finds the change gives the file another id, unless it is changed back before.
            Outcome::Changed => {
                report.changed += 1;
                self.again(file.meta.id)?;
            }
            Outcome::Unreadable(error) => {
                tracing::debug!(name = %file.name.escape_ascii(), %error, "not embedded");
                report.unreadable += 1;
                self.again(file.meta.id)?;
            }
            Outcome::Cancelled => {}
        }
        Ok(())
    }

    /// The next embedding is to try this file again.
    fn again(&mut self, id: FileId) -> Result<(), RunError> {
        if self.progress.again.len() >= AGAIN_MAX {
            let path = self.engine.index_dir().to_path_buf();
            let detail =
                format!("{AGAIN_MAX} files could not be embedded: see whether the tree can be read, and embed again");
            return Err(RunError::Store { path, detail });
        }
        self.progress.again.push(id);
        Ok(())
    }

    /// Publishes what there is, as soon as no run is writing; not at all when it is cancelled before that. Returns false when
    /// another process has embedded meanwhile.
    fn publish(&mut self) -> Result<bool, RunError> {
        let _span = tracing::info_span!("publish vectors").entered();
        let layout = &self.engine.inner.layout;
        let failed = |error: StoreError| layout.run_error(error);
        let _lock = match lock::wait(layout, self.cancelled) {
            Err(OpenError::Busy { .. }) => return Ok(true),
            lock => lock?,
        };
        let store = self.engine.existing_store()?;
        let now = StoreReader::begin(&store).and_then(|reader| reader.published()).map_err(failed)?;
        let found = &self.found;
        // Ids are counted from the beginning in an index that was made anew.
        let is_older = now.generation < found.published.generation || now.next_file < found.published.next_file;
        if is_older || store.identity() != found.index {
            return Ok(false);
        }
        self.progress.again.sort_unstable();
        self.published = Instant::now();
        // What lives is known of the generation that it began with.
        self.writer.publish(&store, &found.published, &self.progress, &|id| found.lives(id)).map_err(failed)
    }
}

impl Outcome {
    fn chunks(&self) -> usize {
        match self {
            Outcome::Cut { chunks, .. } => chunks.len(),
            _ => 0,
        }
    }

    fn has_any(&self, hashes: &HashSet<u64>) -> bool {
        matches!(self, Outcome::Cut { chunks, .. } if chunks.iter().any(|(_, hash)| hashes.contains(hash)))
    }
}

/// A round: files, and what became of them.
type Round = (Vec<Pending>, Vec<Outcome>);

/// Reads round after round, until there is nothing left or nobody takes them.
fn read_rounds(
    engine: &Engine,
    pending: Vec<Pending>,
    cancelled: &AtomicBool,
    to: &crossbeam_channel::Sender<Result<Round, RunError>>,
) {
    let readers = Readers::new(engine.root(), engine.read_patience());
    let mut pending = pending.into_iter().peekable();
    while pending.peek().is_some() && !cancelled.load(Relaxed) {
        let mut round = Vec::new();
        let mut bytes = 0;
        while round.len() < ROUND_FILES
            && let Some(file) = pending.next_if(|file| round.is_empty() || bytes + file.meta.size <= ROUND_BYTES)
        {
            bytes += file.meta.size;
            round.push(file);
        }
        let read = read_round(engine, &readers, &round, cancelled);
        let is_last = read.is_err();
        if to.send(read.map(|outcomes| (round, outcomes))).is_err() || is_last {
            return;
        }
    }
}

/// Reads files and cuts them into chunks, on all cores.
fn read_round(
    engine: &Engine,
    readers: &Readers,
    round: &[Pending],
    cancelled: &AtomicBool,
) -> Result<Vec<Outcome>, RunError> {
    let _span = tracing::debug_span!("cut chunks", files = round.len()).entered();
    let layout = &engine.inner.layout;
    let (candidates, definitions) = look_up(engine, round).map_err(|error| layout.run_error(error))?;
    let there: Vec<Candidate> = candidates.iter().flatten().cloned().collect();
    let of_there: Vec<usize> = (0..round.len()).filter(|at| candidates[*at].is_some()).collect();
    let mut results = read_indexed(readers, &there, String::new, |scratch, index, content| {
        let at = of_there[index];
        if cancelled.load(Relaxed) {
            return Outcome::Cancelled;
        }
        match content {
            Ok(content) => cut(content, &round[at].meta, &definitions[at], scratch),
            Err(error) => Outcome::Unreadable(error),
        }
    })
    .into_iter();
    // Those that were not read are gone with their directory.
    let outcome =
        |candidate: &Option<Candidate>| candidate.as_ref().and_then(|_| results.next()).unwrap_or(Outcome::Changed);
    Ok(candidates.iter().map(outcome).collect())
}

/// Where files are, unless they are gone; and the lines of the definitions of each.
type Places = Vec<Option<Candidate>>;
type Definitions = Vec<Vec<u32>>;

/// Where the files are, and the lines of their definitions as far as these are known.
fn look_up(engine: &Engine, round: &[Pending]) -> Result<(Places, Definitions), StoreError> {
    let store = engine.existing_store().map_err(|error| StoreError::Io(io::Error::other(error.to_string())))?;
    let reader = StoreReader::begin(&store)?;
    let places = round.iter().map(|file| (file.parent, &file.name[..], file.meta.size));
    let candidates = stage::candidates(&reader, places)?;
    let mut bytes = Vec::new();
    let mut definitions = Vec::with_capacity(round.len());
    for file in round {
        reader.symbols(file.meta.id, &mut bytes)?;
        definitions.push(definition_lines(&bytes));
    }
    Ok((candidates, definitions))
}

/// Cuts a file into chunks, unless it is not what was indexed any more.
fn cut(content: &[u8], meta: &FileMeta, definitions: &[u32], scratch: &mut String) -> Outcome {
    if content.len() as u64 != meta.size || meta.hash.is_some_and(|known| known != xxh3_64(content)) {
        return Outcome::Changed;
    }
    let Decoded::Text { text, .. } = decode(content, scratch) else { return Outcome::Changed };
    let (mut found, more) = chunks(text, definitions);
    // No more of the text than has chunks is kept.
    let end = found.last().map_or(0, |chunk| chunk.bytes.end);
    let chunks = found.drain(..).map(|chunk| {
        let hash = content_hash(&text[chunk.bytes.clone()]);
        (chunk, hash)
    });
    Outcome::Cut { chunks: chunks.collect(), text: text[..end].to_owned(), more }
}

/// The lines, from 0, at which something begins that is worth a chunk.
fn definition_lines(bytes: &[u8]) -> Vec<u32> {
    let mut symbols = Symbols::new(bytes);
    let mut lines = Vec::new();
    while let Some(symbol) = symbols.next() {
        let is_small = matches!(
            symbol.kind,
            SymbolKind::Variant | SymbolKind::Constant | SymbolKind::Variable | SymbolKind::Macro | SymbolKind::Type
        );
        if !is_small {
            lines.push(symbol.line.saturating_sub(1));
        }
    }
    lines.sort_unstable();
    lines
}

#[cfg(all(test, feature = "models"))]
mod tests;
