//! Extraction of symbols: a stage of its own that trails the text index, in the background and in pieces.
//!
//! It reads the files of the published generation whose versions have no symbols yet, parses them on all cores, and writes
//! what it finds a few megabytes at a time. For that moment it holds the writer's lock; runs wait for it, and it waits for
//! runs. Stopped or killed, it goes on where it was.

use super::stage::{self, Shared, StageRun};
use super::{Engine, lock};
use crate::commit::symbols::SymbolWriter;
use crate::error::{OpenError, RunError, StoreError};
use crate::query::{Candidate, Readers, read_indexed};
use crate::record::{DirId, FileMeta, Flags};
use crate::store::schema::Published;
use crate::store::symbols::{FileSymbols, SymbolsState};
use crate::store::{Store, StoreReader};
use crate::symbols::{Cut, Extractor, Grammar, VERSION, encode, filter};
use crate::text::encoding::{Decoded, decode};
use crate::text::language::Language;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Files that are parsed before what was found is looked at: some tens of milliseconds of work for each core.
const ROUND_FILES: usize = 512;
/// Bytes of a round, unless one file has more.
const ROUND_BYTES: u64 = 16 << 20;

/// What an extraction has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SymbolReport {
    /// Files to do when it began.
    pub pending: u64,
    /// Files whose symbols are stored.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Symbols in them.
    pub symbols: u64,
    /// Files that took too long to parse; they have none.
    pub cut_time: u64,
    /// Files that are too long; what their beginning defines is stored.
    pub cut_size: u64,
    /// Files with too many; the first are stored.
    pub cut_count: u64,
    /// Files that are not what was indexed any more; a run finds that out.
    pub changed: u64,
    /// Files that could not be read any more.
    pub unreadable: u64,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// Starts an extraction.
pub(super) fn start(engine: Engine) -> StageRun<SymbolReport> {
    stage::start("leindex-symbols", move |shared| extract(&engine, shared))
}

/// A file without symbols.
struct Pending {
    grammar: Grammar,
    parent: DirId,
    name: Vec<u8>,
    meta: FileMeta,
}

/// What became of one.
enum Outcome {
    Extracted { bytes: Vec<u8>, filter: Vec<u8>, symbols: usize, cut: Option<Cut> },
    Changed,
    Unreadable(io::Error),
    Cancelled,
}

fn extract(engine: &Engine, shared: &Shared) -> Result<SymbolReport, RunError> {
    let _span = tracing::info_span!("extract symbols").entered();
    let started = Instant::now();
    if cfg!(not(feature = "symbols")) {
        // What another build is to extract must not pass for done.
        return Ok(SymbolReport::default());
    }
    let layout = &engine.inner.layout;
    let failed = |error: StoreError| layout.run_error(error);
    let begun = lock::between_runs(layout, &shared.cancelled, || {
        let store = engine.existing_store()?;
        find_pending(&store).map_err(|error| layout.store_error(error))
    });
    let Found { mut pending, known, state, published } = match begun {
        Err(OpenError::Busy { .. }) => return Ok(SymbolReport { cancelled: true, ..SymbolReport::default() }),
        begun => begun?,
    };
    // Files that nothing is known of yet are looked at again.
    let mut settled = published.next_file;
    let mut report = SymbolReport { pending: pending.len() as u64, ..SymbolReport::default() };
    shared.of.store(report.pending, Relaxed);
    let mut writer = SymbolWriter::new(known, state);
    // As they were found, a directory at a time, and as their symbols lie in the store.
    pending.sort_unstable_by_key(|file| file.meta.id);
    let mut rest = &pending[..];
    while !rest.is_empty() && !shared.cancelled.load(Relaxed) {
        let (round, later) = rest.split_at(round_len(rest));
        rest = later;
        for (file, outcome) in round.iter().zip(parse(engine, round, &shared.cancelled).map_err(failed)?) {
            if !take(file, outcome, &mut writer, &mut report) {
                settled = settled.min(file.meta.id);
            }
        }
        shared.done.fetch_add(round.len() as u64, Relaxed);
        if writer.is_full() {
            write(engine, &mut writer, &published, &shared.cancelled)?;
        }
    }
    report.cancelled = shared.cancelled.load(Relaxed);
    if !report.cancelled {
        writer.done_below(settled.max(state.done_below));
    }
    if report.pending > 0 || state.done_below < settled {
        write(engine, &mut writer, &published, &shared.cancelled)?;
    }
    report.changed += writer.changed();
    report.files -= writer.changed() + writer.waiting();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// What there is to do.
struct Found {
    /// Files without symbols.
    pending: Vec<Pending>,
    /// How far extraction has come, and where this one begins.
    known: SymbolsState,
    state: SymbolsState,
    published: Published,
}

fn find_pending(store: &Store) -> Result<Found, StoreError> {
    let reader = StoreReader::begin(store)?;
    let known = reader.symbols_state()?;
    let state = if known.version == VERSION { known } else { SymbolsState { version: VERSION, done_below: 0 } };
    let mut pending = Vec::new();
    reader.for_each_file(|parent, name, meta| {
        if meta.id < state.done_below || !meta.flags.has(Flags::INDEXED) {
            return Ok(());
        }
        let language = Language::from_code(meta.language).unwrap_or_default();
        let Some(grammar) = Grammar::of(language.name(), name) else { return Ok(()) };
        if known.version != VERSION || reader.symbol_filter(meta.id)?.is_none() {
            pending.push(Pending { grammar, parent, name: name.to_vec(), meta: *meta });
        }
        Ok(())
    })?;
    Ok(Found { pending, known, state, published: reader.published()? })
}

/// How many files are parsed next.
fn round_len(pending: &[Pending]) -> usize {
    let mut bytes = 0;
    let fits = |file: &&Pending| {
        bytes += file.meta.size;
        bytes <= ROUND_BYTES
    };
    pending.iter().take(ROUND_FILES).take_while(fits).count().max(1)
}

fn parse(engine: &Engine, round: &[Pending], cancelled: &Arc<AtomicBool>) -> Result<Vec<Outcome>, StoreError> {
    let candidates = {
        let store = engine.existing_store().map_err(|error| StoreError::Io(io::Error::other(error.to_string())))?;
        let reader = StoreReader::begin(&store)?;
        stage::candidates(&reader, round.iter().map(|file| (file.parent, &file.name[..], file.meta.size)))?
    };
    let known = |(file, candidate): (&Pending, &Option<Candidate>)| Some((file.grammar, candidate.clone()?));
    let (grammars, there): (Vec<Grammar>, Vec<Candidate>) = round.iter().zip(&candidates).filter_map(known).unzip();
    let state = || (Extractor::new().cancelled_by(Arc::clone(cancelled)), String::new());
    let readers = Readers::new(engine.root(), engine.read_patience());
    let results = read_indexed(&readers, &there, state, |(extractor, scratch), index, content| {
        if cancelled.load(Relaxed) {
            return (Outcome::Cancelled, None);
        }
        let content = match content {
            Ok(content) => content,
            Err(error) => return (Outcome::Unreadable(error), None),
        };
        let read = Some((content.len() as u64, xxh3_64(content)));
        let Decoded::Text { text, .. } = decode(content, scratch) else { return (Outcome::Changed, read) };
        let found = extractor.extract(grammars[index], text);
        if cancelled.load(Relaxed) {
            return (Outcome::Cancelled, None);
        }
        (
            Outcome::Extracted {
                bytes: encode(&found),
                filter: filter(&found),
                symbols: found.symbols.len(),
                cut: found.cut,
            },
            read,
        )
    });
    let mut results = results.into_iter();
    let outcome = |(file, candidate): (&Pending, &Option<Candidate>)| match candidate
        .as_ref()
        .and_then(|_| results.next())
    {
        // Its directory is gone.
        None => Outcome::Changed,
        Some((_, Some((len, hash)))) if len != file.meta.size || file.meta.hash.is_some_and(|known| known != hash) => {
            Outcome::Changed
        }
        Some((outcome, _)) => outcome,
    };
    Ok(round.iter().zip(&candidates).map(outcome).collect())
}

/// Returns whether the file is done with.
fn take(file: &Pending, outcome: Outcome, writer: &mut SymbolWriter, report: &mut SymbolReport) -> bool {
    let settled = matches!(outcome, Outcome::Extracted { .. });
    match outcome {
        Outcome::Extracted { bytes, filter, symbols, cut } => {
            report.files += 1;
            report.bytes += file.meta.size;
            report.symbols += symbols as u64;
            match cut {
                None => {}
                Some(Cut::Time) => report.cut_time += 1,
                Some(Cut::Size) => report.cut_size += 1,
                Some(Cut::Count) => report.cut_count += 1,
            }
            writer.add(FileSymbols { parent: file.parent, name: file.name.clone(), id: file.meta.id, bytes, filter });
        }
        Outcome::Changed => report.changed += 1,
        Outcome::Unreadable(error) => {
            tracing::debug!(name = %file.name.escape_ascii(), %error, "no symbols");
            report.unreadable += 1;
        }
        Outcome::Cancelled => {}
    }
    settled
}

/// Writes what waits, as soon as no run is writing; not at all when it is cancelled before that.
fn write(
    engine: &Engine,
    writer: &mut SymbolWriter,
    began: &Published,
    cancelled: &AtomicBool,
) -> Result<(), RunError> {
    let layout = &engine.inner.layout;
    let _lock = match lock::wait(layout, cancelled) {
        Err(OpenError::Busy { .. }) => return Ok(()),
        lock => lock?,
    };
    let store = engine.existing_store()?;
    let failed = |error: StoreError| layout.run_error(error);
    let now = StoreReader::begin(&store).and_then(|reader| reader.published()).map_err(failed)?;
    // Ids are counted from the beginning in an index that was made anew.
    let same = now.generation >= began.generation && now.next_file >= began.next_file;
    if same && writer.write(&store).map_err(failed)? {
        return Ok(());
    }
    let detail = "the index was made anew while its symbols were extracted: extract them again".into();
    Err(RunError::Store { path: layout.index_dir.clone(), detail })
}
