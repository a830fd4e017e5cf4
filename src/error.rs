//! One error enum a verb, one umbrella, and [`Skip`]: the counted reason why one file is not in the index.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why an index could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The root does not exist or cannot be entered.
    #[error("{}: {source}: give the path of a directory that exists and can be read", path.display())]
    Root {
        /// The root as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The root is not a directory.
    #[error("{}: is not a directory: give the directory that holds it", path.display())]
    NotADirectory {
        /// The root as given.
        path: PathBuf,
    },
    /// The index directory cannot be created, read or written, or a snapshot or run of this process has the store open:
    /// `source` says which.
    #[error("{}: cannot write the index: {source}: {}choose another place with --index-dir", path.display(),
        if source.kind() == io::ErrorKind::StorageFull { "free some space, or " } else { "" })]
    IndexDir {
        /// The index directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no index yet.
    #[error("{}: no index here: run `leindex-engine {}` first", path.display(), root.display())]
    NoIndex {
        /// The index directory.
        path: PathBuf,
        /// The root that would be indexed.
        root: PathBuf,
    },
    /// The index was written in another format.
    #[error("{}: the index has format {found}, this program reads format {supported}: {}", path.display(),
        if found > supported { "use a newer leindex-engine, or another --index-dir" }
        else { "remove the index directory and index again" })]
    Format {
        /// The index directory.
        path: PathBuf,
        /// Format on disk.
        found: u32,
        /// Format of this program.
        supported: u32,
    },
    /// Another run, of this process or another, is writing.
    #[error("{}: being indexed by pid {pid}: wait until it is done, or stop it", path.display())]
    Busy {
        /// The index directory.
        path: PathBuf,
        /// The process that holds the lock; 0 when it is not known.
        pid: u32,
    },
    /// A watcher, of this process or another, is there already.
    #[error("{}: being watched by pid {pid}: one watcher keeps the index fresh for everybody", path.display())]
    Watched {
        /// The index directory.
        path: PathBuf,
        /// The watcher; 0 when it is not known.
        pid: u32,
    },
    /// The stores are damaged.
    #[error("{}: the index is damaged: {detail}: run `leindex-engine verify --repair`", path.display())]
    Damaged {
        /// The index directory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A setting cannot be used.
    #[error("{setting}: {detail}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with its value.
        detail: String,
    },
}

/// Why a run ended without doing its work. The last published generation stays as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The index could not be opened or locked: another run is writing it, it is damaged or of another format, or a setting
    /// is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The metadata store failed.
    #[error("{}: metadata store: {detail}{}", path.display(), advice(detail))]
    Store {
        /// The index directory.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The text index failed.
    #[error("{}: text index: {detail}{}", path.display(), advice(detail))]
    Text {
        /// The index directory.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The root could not be read.
    #[error("{}: {source}: nothing was changed; check that the directory is still there", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A worker died of a bug; its message is in the log.
    #[error("a worker of the run panicked ({detail}): nothing was published since; please report this")]
    Panicked {
        /// The panic's message.
        detail: String,
    },
}

fn advice(detail: &str) -> &'static str {
    if detail.contains("os error 28") || detail.contains("No space") {
        ": the disk is full; free some space and run again, what was published is intact"
    } else {
        ": what was published is intact; run again"
    }
}

/// Why a search could not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The index could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The pattern is not a valid regular expression.
    #[error("{detail}")]
    Pattern {
        /// Pattern, place and reason, ready to print.
        detail: String,
    },
    /// A filter is not valid.
    #[error("{filter}: {detail}")]
    Filter {
        /// The option.
        filter: &'static str,
        /// What is wrong with its value.
        detail: String,
    },
    /// A file that was named cannot be used.
    #[error("{}: {detail}", path.display())]
    File {
        /// As it was named.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// What was asked for needs vectors, and there are none.
    #[error("no search by meaning in {}: {detail}", path.display())]
    NoVectors {
        /// The index directory.
        path: PathBuf,
        /// Why, and what to do.
        detail: String,
    },
    /// The index failed while it was read.
    #[error("{}: {detail}: run `leindex-engine verify`", path.display())]
    Index {
        /// The index directory.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
}

/// Any error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Opening failed.
    #[error(transparent)]
    Open(OpenError),
    /// A run failed.
    #[error(transparent)]
    Run(RunError),
    /// A search failed.
    #[error(transparent)]
    Query(QueryError),
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Error::Open(error)
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Error::Run(error)
    }
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        Error::Query(error)
    }
}

/// Whether another attempt may end otherwise, without a change that somebody would be told of.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
}

/// Why one entry of the tree is not in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Path relative to the root, as bytes.
    pub path: Vec<u8>,
    /// What was tried: `list`, `open`, `stat`, `read`.
    pub op: &'static str,
    /// What came of it.
    pub reason: String,
    /// Whether something went wrong; a FIFO or a symbolic link is passed over by design.
    pub failure: bool,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", String::from_utf8_lossy(&self.path), self.op, self.reason)
    }
}

/// What a store says when it fails, before the engine adds where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Lmdb(#[from] heed::Error),
    #[error("{0}")]
    Text(#[from] tantivy::TantivyError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("record of {0} is damaged")]
    Damaged(String),
    #[error("format {found}, and this program knows {supported}")]
    Format { found: u32, supported: u32 },
    /// A file that is not as it was written: which, and what is wrong with it.
    #[error("{0}")]
    Unsound(String),
}

impl StoreError {
    /// As the failure of a run on the index in `path`.
    pub(crate) fn into_run(self, path: &Path) -> RunError {
        let path = path.to_path_buf();
        match self {
            // Another run would meet the same damage.
            damage @ (StoreError::Damaged(_) | StoreError::Unsound(_) | StoreError::Format { .. }) => {
                RunError::Open(damage.into_open(&path))
            }
            StoreError::Text(error) => RunError::Text { path, detail: error.to_string() },
            other => RunError::Store { path, detail: other.to_string() },
        }
    }

    /// As the failure of a search of the index in `path`.
    pub(crate) fn into_query(self, path: &Path) -> QueryError {
        QueryError::Index { path: path.to_path_buf(), detail: self.to_string() }
    }

    /// As damage found while opening the index in `path`.
    pub(crate) fn into_open(self, path: &Path) -> OpenError {
        let path = path.to_path_buf();
        match self {
            StoreError::Format { found, supported } => OpenError::Format { path, found, supported },
            other => OpenError::Damaged { path, detail: other.to_string() },
        }
    }
}

impl From<tantivy::directory::error::OpenReadError> for StoreError {
    fn from(error: tantivy::directory::error::OpenReadError) -> Self {
        StoreError::Text(error.into())
    }
}

impl From<tantivy::directory::error::OpenWriteError> for StoreError {
    fn from(error: tantivy::directory::error::OpenWriteError) -> Self {
        StoreError::Text(error.into())
    }
}
