//! What can be set, with defaults, ranges and costs.

use super::{EmbedChoice, Engine};
use crate::error::OpenError;
use crate::io::{BackendChoice, Selected, for_tree, select};
use crate::limits;
use crate::shard::placement::Placement;
use leindex_fallback::Backend;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How many I/O workers a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shards {
    /// One a core, and up to eight times as many while reads miss the page cache.
    #[default]
    Auto,
    /// Exactly this many, from 1 to 1024. As many of them as there are cores index what is read; the others only read.
    Count(usize),
}

/// Which rules say what is ignored.
#[derive(Clone, Debug)]
pub struct RulesConfig {
    /// Whether rule files count at all. Default: they do.
    pub rule_files: bool,
    /// Whether `.gitignore` counts inside of git repositories only. Default: yes, as git and ripgrep do.
    pub require_git: bool,
    /// Whether names that begin with a dot are indexed. Default: they are.
    pub hidden: bool,
    /// Whether rules tell upper from lower case: git's `core.ignoreCase` turned around. Default: they do.
    pub case_sensitive: bool,
    /// The file of git's `core.excludesFile`, which counts where `.gitignore` does. The library does not look for it by
    /// itself. Default: none.
    pub global_file: Option<PathBuf>,
    /// Further files of rules, relative to the root or absolute, above those in the tree.
    pub extra_files: Vec<PathBuf>,
    /// Further rules, above all others; `!` lifts a rule.
    pub patterns: Vec<String>,
}

impl Default for RulesConfig {
    fn default() -> Self {
        RulesConfig {
            rule_files: true,
            require_git: true,
            hidden: true,
            case_sensitive: true,
            global_file: None,
            extra_files: Vec::new(),
            patterns: Vec::new(),
        }
    }
}

/// The configuration of an engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// I/O workers.
    pub shards: Shards,
    /// Where shards run.
    pub placement: Placement,
    /// Which I/O backend.
    pub backend: BackendChoice,
    /// A backend of the caller's, instead of that.
    pub own_backend: Option<Arc<dyn Backend>>,
    /// Rules.
    pub rules: RulesConfig,
    /// Where the index is; `None` is `.leindex-engine` in the root.
    pub index_dir: Option<PathBuf>,
    /// A larger file is counted as too large, not read. Bytes.
    pub file_bytes_max: u64,
    /// Files in one database batch, and in one parcel from a reader to a shard.
    pub batch_files: usize,
    /// A segment is published at this age.
    pub checkpoint: Duration,
    /// A shard's inverter is written out at this size. Bytes.
    pub inverter_bytes: usize,
    /// Reads that a worker keeps in flight: 64, which no setter changes.
    pub lookahead: usize,
    /// How long an operation on a file may take before the file is skipped.
    pub io_timeout: Duration,
    /// Whether a run waits while another one is writing.
    pub wait_for_writer: bool,
    /// Whether, and by what, files are embedded.
    pub embed: EmbedChoice,
    /// The folder of the model that embeds them; `None` is the table of word vectors.
    pub model: Option<PathBuf>,
    /// Whether the table of word vectors may take the place of a model's vectors.
    pub replace_vectors: bool,
}

impl Config {
    /// How long to wait for what is asked once: a busy machine may take longer than an operation of many should.
    pub(super) fn patience(&self) -> Duration {
        self.io_timeout.max(Duration::from_secs(1))
    }

    /// The backend for the tree in `root`.
    pub(super) fn select_backend(&self, root: &Path) -> Result<Selected, OpenError> {
        if let Some(backend) = &self.own_backend {
            return Ok(Selected { backend: Arc::clone(backend), why: "given by the caller".into(), fell_back: false });
        }
        let selected = select(self.backend)
            .map_err(|error| OpenError::Setting { setting: "backend", detail: error.to_string() })?;
        Ok(for_tree(selected, root))
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            shards: Shards::Auto,
            placement: Placement::Pinned,
            backend: BackendChoice::Auto,
            own_backend: None,
            rules: RulesConfig::default(),
            index_dir: None,
            file_bytes_max: limits::FILE_BYTES_DEFAULT,
            batch_files: limits::BATCH_FILES,
            checkpoint: limits::CHECKPOINT,
            inverter_bytes: limits::INVERTER_BYTES,
            lookahead: 64,
            io_timeout: limits::IO_TIMEOUT,
            wait_for_writer: false,
            embed: EmbedChoice::Auto,
            model: None,
            replace_vectors: false,
        }
    }
}

/// Configures an [`Engine`]. Every setter says what the default is and what a value costs.
///
/// ```no_run
/// # fn main() -> Result<(), leindex_engine::OpenError> {
/// use leindex_engine::{Engine, Placement, RulesConfig, Shards};
/// use std::time::Duration;
///
/// let engine = Engine::builder()
///     .index_dir("/var/lib/my-daemon/project")
///     .shards(Shards::Count(4))
///     .placement(Placement::Floating)
///     .file_bytes_max(16 << 20) // bytes
///     .io_timeout(Duration::from_secs(10))
///     .rules(RulesConfig { patterns: vec!["*.min.js".into()], ..RulesConfig::default() })
///     .open("/srv/project")?;
/// # drop(engine);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct EngineBuilder {
    config: Config,
}

impl EngineBuilder {
    /// I/O workers. Default [`Shards::Auto`]; [`Shards::Count`] from 1 to 1024. More than the cores help on a cold cache
    /// and cost a little on a warm one.
    pub fn shards(mut self, shards: Shards) -> Self {
        self.config.shards = shards;
        self
    }

    /// Whether shards stay on one core each. Default [`Placement::Pinned`]: warm runs are about a fifth faster, which costs
    /// others on a shared machine.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.config.placement = placement;
        self
    }

    /// How files are read. Default [`BackendChoice::Auto`]: io_uring where it works, threads otherwise. With
    /// [`BackendChoice::Uring`] a run fails with [`OpenError::Setting`] where it does not.
    pub fn backend(mut self, backend: BackendChoice) -> Self {
        self.config.backend = backend;
        self
    }

    /// A backend of the caller's own for all file access of runs: one that injects faults, measures, or knows another way
    /// to the files. It must keep the contract of [`leindex_fallback::Worker`], for which that crate has a test suite. Default:
    /// none, [`EngineBuilder::backend`] decides.
    pub fn own_backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.config.own_backend = Some(backend);
        self
    }

    /// Which files are left out. Default: as git and ripgrep, with hidden files.
    pub fn rules(mut self, rules: RulesConfig) -> Self {
        self.config.rules = rules;
        self
    }

    /// Where the index is, on a local disk; made by the first run. Default `.leindex-engine` in the root.
    pub fn index_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.index_dir = Some(dir.into());
        self
    }

    /// Files larger than `bytes` are counted as too large. Default 64 MiB, at most just under 2 GiB; a shard may hold a
    /// few times this much memory for a moment.
    pub fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.config.file_bytes_max = bytes;
        self
    }

    /// Files in a batch, all of which are published or none. Default 100, from 1 to 100,000.
    pub fn batch_files(mut self, files: usize) -> Self {
        self.config.batch_files = files;
        self
    }

    /// How old a segment may grow before it is published: what a kill costs at most. Default 8 s; any age is taken. Shorter
    /// means more segments, which searches pay for.
    pub fn checkpoint(mut self, age: Duration) -> Self {
        self.config.checkpoint = age;
        self
    }

    /// Memory of one shard's inverter, in bytes, at which it writes a segment. Default 150 MiB, from 1 MiB to 2 GiB. Less
    /// means more and smaller segments.
    pub fn inverter_bytes(mut self, bytes: usize) -> Self {
        self.config.inverter_bytes = bytes;
        self
    }

    /// How long a stat, open or read in a ring may take before the file is skipped; on remote file systems, any call of
    /// either backend, and what searches read. Opening the tree, and reading the rules above it, may take so long on any file
    /// system, and at least a second. Default 30 s, from 1 ms to an hour. On local file systems the other backend, and the
    /// listing of directories, wait for as long as the system does. A thread that the kernel does not let go of outlives the
    /// run: it ends when the file system answers, or with the process.
    pub fn io_timeout(mut self, timeout: Duration) -> Self {
        self.config.io_timeout = timeout;
        self
    }

    /// Whether a run waits for the end of another one that is writing the index, instead of ending with
    /// [`OpenError::Busy`]. Default: it does not.
    pub fn wait_for_writer(mut self, wait: bool) -> Self {
        self.config.wait_for_writer = wait;
        self
    }

    /// Whether, and by what, [`Engine::embed`] makes vectors, and questions are understood. Default [`EmbedChoice::Auto`].
    pub fn embed(mut self, choice: EmbedChoice) -> Self {
        self.config.embed = choice;
        self
    }

    /// Embeds with the model in this folder, as sentence-transformers saves them: of the BERT family, with `config.json`,
    /// `tokenizer.json` and `model.safetensors`. An index has the vectors of one model: with another one, all files are
    /// embedded again. Default: the table of word vectors, which is much faster and finds a little less.
    pub fn model(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.model = Some(dir.into());
        self
    }

    /// Whether an embedding without a model throws away the vectors of a model that was chosen before. Default: it leaves them
    /// as they are, and embeds nothing.
    pub fn replace_vectors(mut self, replace: bool) -> Self {
        self.config.replace_vectors = replace;
        self
    }

    /// Opens the tree. Nothing is written before the first run.
    ///
    /// A model is looked at when it is first needed, not here.
    ///
    /// # Errors
    /// [`OpenError::Root`] or [`OpenError::NotADirectory`] when the root is no directory that can be read, or does not answer in
    /// time; [`OpenError::Setting`] when a setting is out of range.
    pub fn open(self, root: impl AsRef<Path>) -> Result<Engine, OpenError> {
        self.config.check()?;
        Engine::open(self.config, root.as_ref())
    }
}

impl Config {
    fn check(&self) -> Result<(), OpenError> {
        let out_of_range = |setting, value: u64, least: u64, most: u64| {
            let detail = format!("{value} is out of range: use {least} to {most}");
            if (least..=most).contains(&value) { Ok(()) } else { Err(OpenError::Setting { setting, detail }) }
        };
        if let Shards::Count(count) = self.shards {
            out_of_range("shards", count as u64, 1, 1024)?;
        }
        out_of_range("max-file-size", self.file_bytes_max, 1, limits::FILE_BYTES_MAX)?;
        out_of_range("batch-files", self.batch_files as u64, 1, 100_000)?;
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.io_timeout) {
            let detail = format!("{:?} is out of range: use 1 ms to 1 hour", self.io_timeout);
            return Err(OpenError::Setting { setting: "io-timeout", detail });
        }
        out_of_range("inverter-bytes", self.inverter_bytes as u64, 1 << 20, limits::INVERTER_BYTES_MAX as u64)
    }
}
