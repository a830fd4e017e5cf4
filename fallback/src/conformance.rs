//! The suite that every backend passes.
//!
//! [`run`] takes a backend through all [`CASES`], those about content with several [`WorkerOptions`], and panics at the first breach of
//! the contract, naming the case. What cannot be tested here (as root, on this system) is said on standard error and
//! passed over. [`run_out_of_descriptors`] stands apart, because it changes a limit of the whole process.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test suite: it panics, and tells what it skips")]

#[cfg(all(unix, not(miri)))]
mod descriptors;
mod dirs;
mod fetches;
mod hostile;

#[cfg(all(unix, not(miri)))]
pub use descriptors::run_out_of_descriptors;

use crate::{Backend, Dir, Fetch, FetchError, Fetched, Kind, Listing, Op, Worker, WorkerOptions};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

/// One property of the contract and the code that tries to break it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is promised, as a phrase that also serves as a directory name.
    pub name: &'static str,
    check: fn(&Bench<'_>),
    /// Whether it is worth repeating under other [`WorkerOptions`].
    every_setup: bool,
}

/// Every case, in the order of running.
pub const CASES: &[Case] = &[
    Case { name: "root", check: dirs::root, every_setup: false },
    Case { name: "listing", check: dirs::listing, every_setup: false },
    Case { name: "listing-again", check: dirs::listing_again, every_setup: false },
    Case { name: "large-directory", check: dirs::large_directory, every_setup: false },
    Case { name: "deep-chain", check: dirs::deep_chain, every_setup: false },
    Case { name: "below", check: dirs::below, every_setup: false },
    Case { name: "odd-names", check: dirs::odd_names, every_setup: false },
    Case { name: "metadata", check: dirs::metadata, every_setup: false },
    Case { name: "renamed-directory", check: dirs::renamed_directory, every_setup: false },
    Case { name: "sizes", check: fetches::sizes, every_setup: true },
    Case { name: "sizes-cold", check: fetches::sizes_cold, every_setup: true },
    Case { name: "half-cached", check: fetches::half_cached, every_setup: true },
    Case { name: "grown", check: fetches::grown, every_setup: true },
    Case { name: "shrunk", check: fetches::shrunk, every_setup: true },
    Case { name: "limits", check: fetches::limits, every_setup: true },
    Case { name: "cut", check: fetches::cut, every_setup: true },
    Case { name: "many-in-flight", check: fetches::many_in_flight, every_setup: true },
    Case { name: "equal-tokens", check: fetches::equal_tokens, every_setup: true },
    Case { name: "shared-directory", check: fetches::shared_directory, every_setup: true },
    Case { name: "dropped-in-flight", check: fetches::dropped_in_flight, every_setup: true },
    Case { name: "size-says-nothing", check: fetches::size_says_nothing, every_setup: true },
    Case { name: "vanished", check: hostile::vanished, every_setup: true },
    Case { name: "not-components", check: hostile::not_components, every_setup: true },
    Case { name: "links", check: hostile::links, every_setup: true },
    Case { name: "pipes", check: hostile::pipes, every_setup: true },
    Case { name: "directory-for-file", check: hostile::directory_for_file, every_setup: true },
    Case { name: "grown-together", check: fetches::grown_together, every_setup: true },
    Case { name: "cancelled", check: fetches::cancelled, every_setup: true },
    Case { name: "unreadable", check: hostile::unreadable, every_setup: true },
    Case { name: "errors-among-files", check: hostile::errors_among_files, every_setup: true },
];

/// Runs every case on `backend`. Makes and removes directories in `scratch`, which must exist, be writable and be on a
/// real file system for the cold cases to be of use.
///
/// # Panics
/// At the first breach of the contract.
pub fn run(backend: &dyn Backend, scratch: &Path) {
    let default = WorkerOptions::default();
    let setups = [default.clone(), default.clone().lookahead(0), default.lookahead(3).buffer_bytes(1)];
    for (setup, options) in setups.into_iter().enumerate() {
        for case in CASES.iter().filter(|case| setup == 0 || case.every_setup) {
            run_case(backend, case, options.clone(), &scratch.join(format!("{setup}-{}", case.name)));
        }
    }
}

fn run_case(backend: &dyn Backend, case: &Case, options: WorkerOptions, dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    let bench = Bench { backend, case: case.name, dir: dir.to_path_buf(), options };
    (case.check)(&bench);
    fs::remove_dir_all(dir).unwrap();
}

/// An assertion says what differs and not in which case.
impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("BREACH: {} on {} with {:?}", self.case, self.backend.name(), self.options);
        }
    }
}

/// What a case works with: a backend and an empty directory.
struct Bench<'a> {
    backend: &'a dyn Backend,
    case: &'static str,
    dir: PathBuf,
    options: WorkerOptions,
}

/// How a fetch ended, in a form that can be kept and compared.
#[derive(Debug)]
enum Ended {
    Content(Vec<u8>),
    Failed(Op, io::Error),
    TooLarge(u64),
}

/// All ends, by token.
type Ends = BTreeMap<u64, Vec<Ended>>;

impl Bench<'_> {
    fn worker(&self) -> Box<dyn Worker> {
        self.backend.worker(self.options.clone()).unwrap()
    }

    fn root(&self) -> Arc<Dir> {
        Arc::new(self.backend.open_root(&self.dir).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Evicts the files whose names are the numbers of `indices`.
    fn evict_numbered(&self, indices: impl Iterator<Item = u64>) {
        evict(&indices.map(|index| self.path(&index.to_string())).collect::<Vec<_>>());
    }

    fn skip(&self, why: &str) {
        eprintln!("SKIPPED: {} on {}: {why}", self.case, self.backend.name());
    }

    /// Fetches one file with a new worker, and checks that this is all that completes.
    fn fetch_one(&self, name: &str, size: u64, limit: u64) -> Ended {
        self.fetch_alone(name, size, limit, false)
    }

    fn fetch_alone(&self, name: &str, size: u64, limit: u64, cut: bool) -> Ended {
        let (mut worker, root, mut ends) = (self.worker(), self.root(), Ends::new());
        let request = Fetch { dir: &root, name: &c_name(name), size, limit, cut, token: 7 };
        worker.fetch(request, &mut keep(&mut ends));
        finish(&mut *worker, &mut ends);
        self.only(ends, 7)
    }

    /// The single end of `token`, which has to be the single token.
    fn only(&self, mut ends: Ends, token: u64) -> Ended {
        let mut of_token = ends.remove(&token).unwrap_or_default();
        assert!(ends.is_empty() && of_token.len() == 1, "{}: not one completion: {of_token:?}, {ends:?}", self.case);
        of_token.remove(0)
    }

    #[track_caller]
    fn expect_content(&self, ended: &Ended, expected: &[u8]) {
        match ended {
            Ended::Content(content) if content == expected => {}
            Ended::Content(content) => {
                let at = content.iter().zip(expected).position(|(a, b)| a != b);
                let (got, wanted) = (content.len(), expected.len());
                panic!("{}: {got} bytes instead of {wanted}, first difference at {at:?}", self.case);
            }
            other => panic!("{}: {other:?} instead of {} bytes", self.case, expected.len()),
        }
    }

    #[track_caller]
    fn expect_failure(&self, ended: &Ended, kind: Option<io::ErrorKind>) {
        match ended {
            Ended::Failed(Op::Open | Op::Read, error) if kind.is_none_or(|kind| error.kind() == kind) => {}
            other => panic!("{}: {other:?} instead of an error of kind {kind:?}", self.case),
        }
    }
}

/// Starts a fetch; `sizes` are the size to ask with and the limit.
fn fetch(worker: &mut dyn Worker, dir: &Arc<Dir>, name: &str, sizes: (u64, u64), token: u64, ends: &mut Ends) {
    let name = c_name(name);
    let (size, limit) = sizes;
    worker.fetch(Fetch { dir, name: &name, size, limit, cut: false, token }, &mut keep(ends));
}

fn finish(worker: &mut dyn Worker, ends: &mut Ends) {
    worker.finish(&mut keep(ends));
    assert_eq!(worker.in_flight(), 0, "in flight after finish");
}

/// A `done` that keeps what it gets.
fn keep(ends: &mut Ends) -> impl FnMut(Fetched<'_>) {
    |Fetched { token, result, .. }| {
        let ended = match result {
            Ok(content) => Ended::Content(content.to_vec()),
            Err(FetchError::Io { op, source }) => Ended::Failed(op, source),
            Err(FetchError::TooLarge { limit }) => Ended::TooLarge(limit),
        };
        ends.entry(token).or_default().push(ended);
    }
}

fn c_name(name: &str) -> CString {
    CString::new(name).unwrap()
}

/// The entries of a listing, ordered by name.
fn entries(listing: &Listing) -> Vec<(Vec<u8>, Kind)> {
    let mut entries: Vec<_> = (0..listing.len()).map(|i| (listing.name(i).to_vec(), listing.kind(i))).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Bytes that differ at every offset and for every `seed`, so that a read from a wrong place shows.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let word = |index: u64| (index ^ (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..).flat_map(word).take(length).collect()
}

/// Throws the pages of files out of the page cache, as far as the system lets us.
fn evict(paths: &[PathBuf]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let files: Vec<_> = paths.iter().map(|path| fs::File::open(path).unwrap()).collect();
        // Only clean pages can be thrown out. One sync for all: a thousand would take most of the suite's time.
        match &files[..] {
            [only] => only.sync_all().unwrap(),
            [first, ..] => rustix::fs::syncfs(first).unwrap(),
            [] => {}
        }
        for file in files {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = paths;
}
