//! The words that all ways share: what is to be done with each file, and what was counted meanwhile.

use super::Failure;
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::{self, Display};
use std::ops::AddAssign;
use std::sync::Once;

/// What is done with each regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its metadata is read.
    Stat,
    /// Its metadata is read, then its content, whole, into one piece of memory.
    Read,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Stat => "stat",
            Mode::Read => "read",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Mode> {
        [Mode::Stat, Mode::Read].into_iter().find(|mode| mode.name() == name)
    }
}

/// What the kernel remembers of the tree when a way begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// All of it.
    Warm,
    /// Nothing: no names, no metadata, no content.
    Cold,
}

impl Cache {
    pub(super) fn name(self) -> &'static str {
        match self {
            Cache::Warm => "warm",
            Cache::Cold => "cold",
        }
    }
}

/// What one thread, or all of them, has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Directories listed, the root included.
    pub(super) dirs: u64,
    /// Regular files whose metadata was read.
    pub(super) files: u64,
    /// Their sizes as the metadata says.
    pub(super) stat_bytes: u64,
    /// Bytes of content read.
    pub(super) bytes: u64,
    pub(super) errors: u64,
}

impl Counts {
    /// Counts a file whose metadata was read.
    pub(super) fn file(&mut self, size: u64) {
        self.files += 1;
        self.stat_bytes += size;
    }

    /// Counts something that could not be done. The first one of a process is told, so that a count can be explained.
    pub(super) fn fail(&mut self, error: &dyn Display) {
        static FIRST: Once = Once::new();
        self.errors += 1;
        FIRST.call_once(|| eprintln!("the first error: {error}"));
    }

    /// Counts the bytes of a read that came to its end.
    pub(super) fn read<E: Display>(&mut self, result: Result<u64, E>) {
        match result {
            Ok(bytes) => self.bytes += bytes,
            Err(error) => self.fail(&error),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        let Counts { dirs, files, stat_bytes, bytes, errors } = other;
        self.dirs += dirs;
        self.files += files;
        self.stat_bytes += stat_bytes;
        self.bytes += bytes;
        self.errors += errors;
    }
}

/// One measurement, as a child tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Done {
    /// From before the root is opened until the last file is done.
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    /// What a backend says about itself.
    pub(super) extra: String,
}

impl Done {
    pub(super) fn to_json(&self) -> Value {
        let Counts { dirs, files, stat_bytes, bytes, errors } = self.counts;
        json!({ "seconds": self.seconds, "files": files, "dirs": dirs, "bytes": bytes, "stat_bytes": stat_bytes,
            "errors": errors, "extra": self.extra })
    }

    pub(super) fn from_json(json: &Value) -> Result<Done, Failure> {
        let count = |name: &str| json[name].as_u64().ok_or_else(|| format!("the child did not tell {name}"));
        let counts = Counts {
            dirs: count("dirs")?,
            files: count("files")?,
            stat_bytes: count("stat_bytes")?,
            bytes: count("bytes")?,
            errors: count("errors")?,
        };
        let seconds = json["seconds"].as_f64().ok_or("the child did not tell its seconds")?;
        Ok(Done { seconds, counts, extra: json["extra"].as_str().unwrap_or_default().to_owned() })
    }
}

/// A way cannot be gone here: the kernel, a limit or an installation lacks something. It is skipped, and said.
#[derive(Debug)]
pub(super) struct Unavailable(pub(super) String);

impl Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unavailable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_survives_the_pipe() {
        let counts = Counts { dirs: 1, files: 2, stat_bytes: 3, bytes: 4, errors: 5 };
        let done = Done { seconds: 0.25, counts, extra: "misses 7".into() };
        assert_eq!(Done::from_json(&done.to_json()).unwrap(), done);
        assert!(Done::from_json(&json!({ "seconds": 1.0 })).is_err());
    }
}
