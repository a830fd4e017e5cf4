//! What makes vectors: one of the ways there are, behind one face.

#[cfg(feature = "models")]
use super::runner::{ModelEmbedder, ModelSession};
use super::words::{Kind, TableError, WordScratch, WordTable};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Texts that a thread takes at a time: a millisecond of work.
const TAKEN: usize = 64;

/// Takes the number of a text and its vector; called on any thread, in any order.
pub(crate) type Take<'t> = &'t (dyn Fn(usize, &[f32]) + Sync);

/// See the module documentation.
#[derive(Debug)]
pub(crate) enum Embedder {
    /// The table of word vectors that comes with the program.
    Words(Box<Words>),
    /// A model from a folder.
    #[cfg(feature = "models")]
    Model(Box<ModelEmbedder>),
}

/// An embedding of many texts: what a device needs is set up once.
pub(crate) enum Session<'e> {
    /// With nothing, for nothing.
    Idle,
    /// With the table.
    Words(&'e Words, &'e WordTable, Arc<AtomicBool>),
    /// With a model on a device.
    #[cfg(feature = "models")]
    Model(ModelSession<'e>),
}

impl Embedder {
    /// The word table that comes with the program.
    pub(crate) fn words() -> Result<Embedder, TableError> {
        let (id, dims) = WordTable::built_in_id()?;
        Ok(Embedder::Words(Box::new(Words { id, dims, table: OnceLock::new(), scratches: Mutex::default() })))
    }

    /// What tells its vectors from those of others.
    pub(crate) fn id(&self) -> u128 {
        match self {
            Embedder::Words(words) => words.id,
            #[cfg(feature = "models")]
            Embedder::Model(model) => model.id(),
        }
    }

    /// Whether somebody chose it.
    pub(crate) fn is_model(&self) -> bool {
        !matches!(self, Embedder::Words(_))
    }

    /// Numbers a vector.
    pub(crate) fn dims(&self) -> usize {
        match self {
            Embedder::Words(words) => words.dims,
            #[cfg(feature = "models")]
            Embedder::Model(model) => model.dims(),
        }
    }

    /// The vector of what somebody looks for; `None` when it has no words.
    ///
    /// # Errors
    /// What went wrong with a model.
    pub(crate) fn question(&self, text: &str) -> Result<Option<Vec<f32>>, String> {
        match self {
            Embedder::Words(words) => words.question(text),
            #[cfg(feature = "models")]
            Embedder::Model(model) => model.question(text),
        }
    }

    /// Begins to embed; ends soon when it is `cancelled`.
    ///
    /// # Errors
    /// What went wrong with a device.
    pub(crate) fn session(&self, cancelled: &Arc<AtomicBool>) -> Result<Session<'_>, String> {
        match self {
            Embedder::Words(words) => Ok(Session::Words(words, words.table()?, Arc::clone(cancelled))),
            #[cfg(feature = "models")]
            Embedder::Model(model) => model.session(cancelled).map(Session::Model),
        }
    }
}

impl Session<'_> {
    /// One that has nothing to do.
    pub(crate) fn idle() -> Session<'static> {
        Session::Idle
    }

    /// Embeds texts. Not those without words, and not all of them once it is cancelled. Returns the numbers of those that
    /// failed.
    ///
    /// # Errors
    /// What went wrong with all of them.
    pub(crate) fn embed(&mut self, texts: &[&str], take: Take<'_>) -> Result<Vec<usize>, String> {
        match self {
            Session::Idle => Ok((0..texts.len()).collect()),
            Session::Words(words, table, cancelled) => {
                words.embed(table, texts, cancelled, take);
                Ok(Vec::new())
            }
            #[cfg(feature = "models")]
            Session::Model(session) => session.embed(texts, take),
        }
    }

    /// On what it runs, for people, and how that went.
    pub(crate) fn device(&self) -> String {
        match self {
            Session::Idle => String::new(),
            Session::Words(..) => "the table of words".into(),
            #[cfg(feature = "models")]
            Session::Model(session) => session.device(),
        }
    }

    /// Tokens that a model has taken, and how long the device was at work, if it tells.
    pub(crate) fn work(&self) -> (u64, Option<Duration>) {
        match self {
            Session::Idle | Session::Words(..) => (0, None),
            #[cfg(feature = "models")]
            Session::Model(session) => session.work(),
        }
    }
}

/// The table of word vectors, on all cores.
#[derive(Debug)]
pub(crate) struct Words {
    id: u128,
    dims: usize,
    /// Made when something is to be embedded: most runs find that nothing is.
    table: OnceLock<Result<WordTable, String>>,
    /// Of threads that have ended.
    scratches: Mutex<Vec<WordScratch>>,
}

impl Words {
    fn table(&self) -> Result<&WordTable, String> {
        let made =
            self.table.get_or_init(|| WordTable::built_in().map_err(|error| format!("the table of words: {error}")));
        made.as_ref().map_err(Clone::clone)
    }

    fn question(&self, text: &str) -> Result<Option<Vec<f32>>, String> {
        let table = self.table()?;
        let mut vector = vec![0.0; table.dims()];
        let mut scratch = self.scratch();
        let has = table.embed(text, Kind::Question, &mut scratch, &mut vector);
        self.give_back(scratch);
        Ok(has.then_some(vector))
    }

    fn embed(&self, table: &WordTable, texts: &[&str], cancelled: &AtomicBool, take: Take<'_>) {
        on_all_cores(texts, |next| {
            let mut vector = vec![0.0; table.dims()];
            let mut scratch = self.scratch();
            while let Some((start, texts)) = next().filter(|_| !cancelled.load(Relaxed)) {
                for (number, text) in (start..).zip(texts) {
                    if table.embed(text, Kind::Code, &mut scratch, &mut vector) {
                        take(number, &vector);
                    }
                }
            }
            self.give_back(scratch);
        });
    }

    fn scratch(&self) -> WordScratch {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: WordScratch) {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

/// Gives the next texts, and the number of the first of them.
type Next<'n, 't> = &'n (dyn Fn() -> Option<(usize, &'n [&'t str])> + Sync);

/// Runs `work` on as many threads as there are cores, and waits for its end. It asks for the next texts until there are none.
pub(super) fn on_all_cores<'t>(texts: &[&'t str], work: impl for<'n> Fn(Next<'n, 't>) + Sync) {
    let taken = AtomicUsize::new(0);
    let next = || {
        let start = taken.fetch_add(TAKEN, Relaxed);
        let rest = texts.get(start..).filter(|rest| !rest.is_empty())?;
        Some((start, &rest[..rest.len().min(TAKEN)]))
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(texts.len().div_ceil(TAKEN));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| work(&next));
        }
        work(&next);
    });
}
