//! Hands for the walk: a worker of one of the engine's backends, asked as the engine's shards ask it.

use super::Failure;
use super::walk::{Crew, From, Hands};
use super::work::{Counts, Done, Mode, Unavailable};
use leindex_engine::BackendChoice;
use leindex_engine::io::select;
use leindex_fallback::{Dir, Fetch, IoStats, Kind, Listing, Meta, Worker, WorkerOptions};
use std::ffi::CStr;
use std::io;
use std::path::Path;

/// So many entries are stat'ed at a time, then fetched.
const STATS_AT_ONCE: usize = 32;
/// The most fetches in flight in one worker.
const LOOKAHEAD: usize = 64;

/// Walks with a backend.
pub(super) fn walk(choice: BackendChoice, crew: Crew, mode: Mode, root: &Path) -> Result<Done, Failure> {
    let backend = select(choice).map_err(|error| Unavailable(error.to_string()))?.backend;
    let options = WorkerOptions::default().lookahead(LOOKAHEAD);
    let hands = || {
        let worker = backend.worker(options.clone()).map_err(|error| Unavailable(format!("no worker: {error}")))?;
        Ok(ContractHands { worker, mode, metas: Vec::with_capacity(STATS_AT_ONCE) })
    };
    crew.walk(|| backend.open_root(root), hands)
}

struct ContractHands {
    worker: Box<dyn Worker>,
    mode: Mode,
    metas: Vec<(u32, io::Result<Meta>)>,
}

impl Hands for ContractHands {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        self.worker.open_dir(parent, name)
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        self.worker.list(dir, into)
    }

    fn files(&mut self, from: From<'_>, picks: &[u32], counts: &mut Counts, dirs: &mut Vec<u32>) {
        let From { dir, listing } = from;
        for picks in picks.chunks(STATS_AT_ONCE) {
            let metas = &mut self.metas;
            self.worker.stat_batch(dir, listing, picks, &mut |pick, result| metas.push((pick, result)));
            // They come in any order, and are to be read in that of the inodes.
            metas.sort_unstable_by_key(|(pick, _)| *pick);
            for (pick, result) in metas.drain(..) {
                let (kind, size) = match result {
                    Ok(meta) => (meta.kind, meta.size),
                    Err(error) => {
                        counts.fail(&error);
                        continue;
                    }
                };
                match kind {
                    Kind::File => counts.file(size),
                    Kind::Dir => dirs.push(pick),
                    _ => {}
                }
                if kind == Kind::File && self.mode == Mode::Read {
                    let name = listing.c_name(pick as usize);
                    let request = Fetch { dir, name, size, limit: u64::MAX, cut: false, token: 0 };
                    let mut done = |result: Result<&[u8], _>| counts.read(result.map(|content| content.len() as u64));
                    self.worker.fetch(request, &mut |fetched| done(fetched.result));
                }
            }
        }
    }

    fn finish(&mut self, counts: &mut Counts) {
        self.worker.finish(&mut |fetched| counts.read(fetched.result.map(|content| content.len() as u64)));
    }

    fn stats(&self) -> IoStats {
        self.worker.stats()
    }
}
