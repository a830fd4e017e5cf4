//! The engine: opens an index, runs updates in the background, and gives out snapshots to search.
//!
//! Wires shards and commit together and owns the layout of the index directory and its lock. It decides; the floors
//! below do. It never prints, reads the environment, installs signal handlers or exits.

mod base_rules;
mod config;
mod embed;
mod explain;
mod files;
mod freshness;
mod layout;
mod lock;
mod outline;
mod repair;
mod report;
mod rules_database;
mod run;
mod snapshot;
mod stage;
mod symbols;
mod verdicts;
mod verify;
mod watch;

pub use config::{Config, EngineBuilder, RulesConfig, Shards};
pub use embed::{Cards, EmbedChoice, EmbedReport, cards};
pub use explain::Explanation;
pub use files::FileList;
pub use freshness::{Freshness, WatchState};
pub use outline::Outline;
pub use repair::Repair;
pub use report::{Outcome, Report, Seconds};
pub use run::{Canceller, Event, Progress, Run};
pub use snapshot::{Snapshot, Status};
pub use stage::{StageProgress, StageRun};
pub use symbols::SymbolReport;
pub use verdicts::{Rule, Verdicts};
pub use verify::Verification;
pub use watch::{Watch, WatchEvent, WatchOptions, WatchStopper};

use crate::embed::Embedder;
use crate::error::{OpenError, QueryError, RunError};
use crate::io::remote_in;
use crate::query::GetEmbedder;
use crate::shard::is_rule_file;
use crate::store::{Store, StoreReader, seal};
use layout::Layout;
use leindex_fallback::within;
use rules_database::Compiled;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An index of one directory tree. Cheap to clone; all clones share one metadata environment.
///
/// ```no_run
/// # fn main() -> Result<(), leindex_engine::Error> {
/// use leindex_engine::{Engine, Query};
///
/// let engine = Engine::builder().open("path/to/tree")?;
/// let report = engine.index().wait()?;
/// println!("{} files, generation {}", report.files.indexed, report.generation);
/// for hit in engine.snapshot()?.search(&Query::regex(r"fn \w+_lock").limit(20))?.hits {
///     println!("{}:{}:{}", hit.path.display(), hit.line, hit.text);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Not for trees that another program writes an index of at the same time: there is one writer a tree, and a second one
/// is refused with [`OpenError::Busy`].
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    layout: Layout,
    /// Opened when first needed: LMDB allows one environment a directory and process.
    store: Mutex<Option<Store>>,
    /// Loaded by the first run.
    rules: Mutex<Option<Compiled>>,
    /// Loaded by the first embedding, or the first question.
    embedder: Mutex<Option<Arc<Embedder>>>,
}

impl Engine {
    /// Starts to configure an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    fn open(config: Config, root: &Path) -> Result<Engine, OpenError> {
        let (of, index_dir) = (root.to_path_buf(), config.index_dir.clone());
        let patience = config.patience();
        let layout = within(patience, None, move || Layout::new(&of, index_dir.as_deref(), patience))
            .map_err(|source| OpenError::Root { path: root.to_path_buf(), source })??;
        let (store, rules, embedder) = (Mutex::new(None), Mutex::new(None), Mutex::new(None));
        Ok(Engine { inner: Arc::new(Inner { config, layout, store, rules, embedder }) })
    }

    /// Brings the index up to date with the tree: the first run builds it, later runs read what has changed. Returns at
    /// once; the work is done in the background, and whatever goes wrong is told by [`Run::wait`].
    pub fn index(&self) -> Run {
        run::start(self.clone(), run::Request::default())
    }

    /// As [`Engine::index`] for a caller that knows what has changed: only these paths are looked at, relative to the
    /// root or absolute; directories with all that is below them. Paths outside of the root are ignored.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tree = tempfile::tempdir()?;
    /// # let engine = leindex_engine::Engine::builder().open(tree.path())?;
    /// # engine.index().wait()?;
    /// std::fs::write(tree.path().join("new.rs"), "fn main() {}\n")?;
    /// let report = engine.update(&["new.rs"]).wait()?;
    /// assert_eq!(report.files.indexed, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn update<P: AsRef<Path>>(&self, changed: &[P]) -> Run {
        run::start(self.clone(), run::Request { only: self.only(changed), watches: None })
    }

    /// Keeps the index equal to the tree from now on, in the background. On Linux the kernel tells what changes; elsewhere,
    /// and where that cannot be had, the tree is gone over every few seconds, which the watcher says.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), leindex_engine::Error> {
    /// use leindex_engine::{Engine, WatchEvent, WatchOptions};
    /// use std::time::Duration;
    ///
    /// let engine = Engine::builder().open("path/to/tree")?;
    /// let watch = engine.watch(WatchOptions::default())?; // `watch.stopper()` stops it from anywhere
    /// while !watch.is_finished() {
    ///     match watch.next_event(Duration::from_millis(500)) {
    ///         Some(WatchEvent::Updated(report)) => println!("generation {}", report.generation),
    ///         Some(WatchEvent::Failed(why)) => eprintln!("is tried again: {why}"),
    ///         _ => {}
    ///     }
    /// }
    /// watch.wait()?; // what has ended it, if nobody stopped it
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OpenError::Watched`] when the tree is watched already, [`OpenError::IndexDir`] when the index directory cannot be
    /// written, [`OpenError::Setting`] when no thread can be started.
    pub fn watch(&self, options: WatchOptions) -> Result<Watch, OpenError> {
        watch::start(self.clone(), options)
    }

    /// How fresh the published generation is: what the last run and a watcher, of any process, have left word of.
    pub fn freshness(&self) -> Freshness {
        freshness::read(&self.inner.layout)
    }

    /// How long to wait for a file of the tree that is read outside of runs; `None` where the file system is a local one.
    pub(crate) fn read_patience(&self) -> Option<Duration> {
        remote_in(self.root()).map(|_| self.inner.config.io_timeout)
    }

    /// What of the tree a run has to look at when these paths have changed; `None` for all of it.
    fn only<P: AsRef<Path>>(&self, changed: &[P]) -> Option<Vec<PathBuf>> {
        let paths: Vec<PathBuf> = changed.iter().filter_map(|path| self.in_root(path.as_ref())).collect();
        let whole = paths.iter().any(|path| path.as_os_str().is_empty());
        (!whole).then_some(paths)
    }

    /// A path that was named as changed, relative to the root; a rule file stands for its directory. `None` outside.
    fn in_root(&self, path: &Path) -> Option<PathBuf> {
        let mut normal = self.relative(path)?;
        // What git tracks and excludes concerns all of a work tree.
        let git = normal.iter().position(|name| name == ".git");
        if let Some(git) = git {
            return Some(normal.iter().take(git).collect());
        }
        let is_rules = normal.file_name().is_some_and(|name| is_rule_file(name.as_encoded_bytes()));
        if is_rules {
            normal.pop();
        }
        Some(normal)
    }

    /// A path relative to the root, without dots. `None` outside.
    fn relative(&self, path: &Path) -> Option<PathBuf> {
        let root = &self.inner.layout.root;
        let relative = match path.strip_prefix(root) {
            Ok(relative) => relative.to_path_buf(),
            Err(_) if path.is_absolute() => {
                // Reached by another way, such as a link: compare what it leads to.
                let parent = path.parent()?.canonicalize().ok()?;
                parent.join(path.file_name()?).strip_prefix(root).ok()?.to_path_buf()
            }
            Err(_) => path.to_path_buf(),
        };
        let mut normal = PathBuf::new();
        for component in relative.components() {
            match component {
                std::path::Component::Normal(name) => normal.push(name),
                std::path::Component::CurDir => {}
                _ => return None,
            }
        }
        Some(normal)
    }

    /// One published generation, to search. It stays as it is however often the index is updated.
    ///
    /// # Errors
    /// [`OpenError::NoIndex`] before the first run has published anything.
    pub fn snapshot(&self) -> Result<Snapshot, QueryError> {
        Snapshot::open(self)
    }

    /// The published generation, without opening it: what tells whether a [`Snapshot`] that is kept open is the newest.
    ///
    /// # Errors
    /// As [`Engine::snapshot`].
    pub fn generation(&self) -> Result<u64, QueryError> {
        Ok(self.published()?.1)
    }

    /// Extracts the symbols of those files of the published generation that have none yet, in the background, as a stage
    /// of its own: text is searched before, and while, this goes on. See [`Mode::Symbol`](crate::Mode::Symbol). A build without
    /// the feature `symbols` extracts nothing, which is no error.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), leindex_engine::Error> {
    /// use leindex_engine::{Engine, Mode, Query};
    /// use std::time::Duration;
    ///
    /// let engine = Engine::builder().open("path/to/tree")?;
    /// engine.index().wait()?;
    /// let stage = engine.symbols();
    /// while !stage.is_finished() {
    ///     let now = stage.progress();
    ///     println!("{} of {} files", now.files, now.of);
    ///     std::thread::sleep(Duration::from_millis(250));
    /// }
    /// println!("{} symbols", stage.wait()?.symbols);
    /// let found = engine.snapshot()?.search(&Query::new(Mode::Symbol, "pubInt"))?;
    /// # drop(found);
    /// # Ok(())
    /// # }
    /// ```
    pub fn symbols(&self) -> StageRun<SymbolReport> {
        symbols::start(self.clone())
    }

    /// Embeds the files of the published generation that were not embedded yet, in the background, as a stage of its own.
    /// Chunks whose content was embedded before, in this file or another, are not embedded again. See
    /// [`Mode::Semantic`](crate::Mode::Semantic). With [`EmbedChoice::Off`] it ends at once, with an empty report.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), leindex_engine::Error> {
    /// use leindex_engine::{Engine, Mode, Query};
    ///
    /// let engine = Engine::builder().open("path/to/tree")?;
    /// engine.index().wait()?;
    /// let embedded = engine.embed().wait()?;
    /// println!("{} chunks of {} files", embedded.chunks, embedded.files);
    /// let question = Query::new(Mode::Hybrid, "how is a file that hangs given up");
    /// for hit in engine.snapshot()?.search(&question)?.hits {
    ///     println!("{}:{}", hit.path.display(), hit.line);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn embed(&self) -> StageRun<EmbedReport> {
        embed::start(self.clone())
    }

    /// What a file below the root defines, as it is now; it need not be in the index.
    ///
    /// # Errors
    /// [`QueryError::File`] for a path outside of the root, a file that cannot be read, or one in a language without a
    /// grammar.
    pub fn outline(&self, path: impl AsRef<Path>) -> Result<Outline, QueryError> {
        outline::outline(self, path.as_ref())
    }

    /// The files that an index run would accept, sorted by the bytes of their paths, without an index.
    ///
    /// # Errors
    /// When the root cannot be read, a file of rules that was named cannot be read, or the backend cannot be used.
    pub fn files(&self) -> Result<FileList, RunError> {
        files::list(self)
    }

    /// Checks every page of the metadata, every record, every checksum, and that the stores agree.
    ///
    /// # Errors
    /// When there is no index, or it cannot be opened at all; damage is part of the result.
    pub fn verify(&self) -> Result<Verification, QueryError> {
        verify::verify(self)
    }

    /// Makes a damaged index sound, keeping what is not damaged. The next run reads what is missing, and has to come before
    /// the index can be relied on. Of an index that is sound everything is kept. To be called without any snapshot open.
    ///
    /// # Errors
    /// As [`Engine::reset`].
    pub fn repair(&self) -> Result<Repair, OpenError> {
        repair::repair(self)
    }

    /// Throws the index away, to be built anew by the next run.
    ///
    /// # Errors
    /// [`OpenError::Busy`] while a run is writing, [`OpenError::Watched`] while it is watched, [`OpenError::IndexDir`] when a
    /// snapshot of this process is open or its files cannot be written or deleted.
    pub fn reset(&self) -> Result<(), OpenError> {
        let layout = &self.inner.layout;
        let _lock = lock::acquire(layout)?;
        self.refuse_if_watched()?;
        // Held until the files are gone: a search must not open them again before that.
        let mut store = self.inner.store.lock().unwrap_or_else(PoisonError::into_inner);
        self.close(store.take())?;
        freshness::forget(layout);
        layout.remove_stores().map_err(|source| OpenError::IndexDir { path: layout.index_dir.clone(), source })
    }

    /// Lets go of the metadata store, waiting some seconds for whoever in this process uses it.
    fn close(&self, store: Option<Store>) -> Result<(), OpenError> {
        if store.is_none_or(Store::close) { Ok(()) } else { Err(self.inner.layout.store_in_use()) }
    }

    /// A watcher would take what is missing for a moment for the truth.
    fn refuse_if_watched(&self) -> Result<(), OpenError> {
        match freshness::watcher(&self.inner.layout) {
            Some(pid) => Err(OpenError::Watched { path: self.inner.layout.index_dir.clone(), pid }),
            None => Ok(()),
        }
    }

    /// The root, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.layout.root
    }

    /// Where the index is.
    pub fn index_dir(&self) -> &Path {
        &self.inner.layout.index_dir
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The metadata store of an index that exists.
    fn existing_store(&self) -> Result<Store, OpenError> {
        Ok(self.published()?.0)
    }

    /// The metadata store of an index that exists, and its published generation.
    fn published(&self) -> Result<(Store, u64), OpenError> {
        let layout = &self.inner.layout;
        let no_index = || OpenError::NoIndex { path: layout.index_dir.clone(), root: layout.root.clone() };
        if !layout.meta_file().exists() {
            return Err(no_index());
        }
        let store = self.store()?;
        let reader = StoreReader::begin(&store).map_err(|error| layout.store_error(error))?;
        let published = reader.published().map_err(|error| layout.store_error(error))?;
        if published.generation == 0 { Err(no_index()) } else { Ok((store, published.generation)) }
    }

    /// The metadata store, opened or created, of a format that this program knows.
    fn store(&self) -> Result<Store, OpenError> {
        let layout = &self.inner.layout;
        let mut store = self.inner.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*store {
            Some(open) if !open.has_failed() && !open.is_replaced() => return Ok(open.clone()),
            Some(open) if !open.is_last_handle() => return Err(layout.failed_store()),
            _ => *store = None,
        }
        seal::check_data(&layout.meta_dir()).map_err(|error| layout.store_error(error))?;
        let opened = Store::open(&layout.meta_dir()).map_err(|error| layout.store_error(error))?;
        check_format(&opened, layout)?;
        *store = Some(opened.clone());
        Ok(opened)
    }

    /// What makes vectors; `None` when that is off.
    fn embedder(&self) -> Result<Option<Arc<Embedder>>, OpenError> {
        if self.inner.config.embed == EmbedChoice::Off {
            return Ok(None);
        }
        let mut embedder = self.inner.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(embedder) = &*embedder {
            return Ok(Some(Arc::clone(embedder)));
        }
        let made = embed::make(&self.inner.config)?;
        Ok(Some(Arc::clone(embedder.insert(Arc::new(made)))))
    }

    /// The same for later: searches that need none do not wait for it.
    fn get_embedder(&self) -> GetEmbedder {
        let engine = self.clone();
        Box::new(move || engine.embedder())
    }

    /// The compiled rules, from the index the first time.
    fn compiled_rules(&self, store: &Store) -> Compiled {
        let mut rules = self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.get_or_insert_with(|| rules_database::load(store)).clone()
    }

    fn set_compiled_rules(&self, compiled: Compiled) {
        *self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(compiled);
    }

    fn text_dir(&self) -> PathBuf {
        self.inner.layout.text_dir()
    }
}

fn check_format(store: &Store, layout: &Layout) -> Result<(), OpenError> {
    let reader = StoreReader::begin(store).map_err(|error| layout.store_error(error))?;
    let format = reader.format().map_err(|error| layout.store_error(error))?;
    drop(reader);
    match format {
        Some(crate::store::schema::FORMAT) => Ok(()),
        Some(found) => {
            let supported = crate::store::schema::FORMAT;
            Err(OpenError::Format { path: layout.index_dir.clone(), found, supported })
        }
        None if store.is_read_only() => {
            Err(OpenError::NoIndex { path: layout.index_dir.clone(), root: layout.root.clone() })
        }
        None => store.write_format().map_err(|error| layout.store_error(error)),
    }
}
