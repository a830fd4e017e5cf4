//! Running out of descriptors.

use super::{Bench, Ended, Ends, c_name, finish, keep, pattern};
use crate::{Backend, Fetch, WorkerOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::Path;

/// The case of a process that runs out of descriptors: fetches complete those in flight and go on with what that frees;
/// with none to be had they fail, each alone; and when there are some again, the worker is as good as new.
///
/// It lowers the soft limit of open files of the whole process for as long as it runs, so it needs a process of its
/// own. `scratch` as for [`run`](super::run).
///
/// # Panics
/// At a breach of the contract.
pub fn run_out_of_descriptors(backend: &dyn Backend, scratch: &Path) {
    const COUNT: u64 = 200;
    let dir = scratch.join("out-of-descriptors");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let options = WorkerOptions::default();
    let bench = Bench { backend, case: "out-of-descriptors", dir: dir.clone(), options };
    for index in 0..COUNT {
        bench.write(&index.to_string(), &pattern(2000, index));
    }
    let limit = getrlimit(Resource::Nofile);
    let set = |current| setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).unwrap();
    let (root, mut worker) = (bench.root(), bench.worker());
    for free in [5, 0, 100] {
        // Before the limit falls: it opens them all.
        bench.evict_numbered(0..COUNT);
        set(Some(256));
        let mut taken = take_all_descriptors();
        taken.truncate(taken.len() - free);
        let mut ends = Ends::new();
        for index in 0..COUNT {
            let name = c_name(&index.to_string());
            let request = Fetch { dir: &root, name: &name, size: 2000, limit: 2000, cut: false, token: index };
            worker.fetch(request, &mut keep(&mut ends));
        }
        finish(&mut *worker, &mut ends);
        drop(taken);
        set(limit.current);
        assert!(ends.keys().copied().eq(0..COUNT));
        for (index, end) in &ends {
            match &end[..] {
                [Ended::Failed(_, error)] if free == 0 => assert_eq!(error.raw_os_error(), Some(24), "{error}"),
                [end] => bench.expect_content(end, &pattern(2000, *index)),
                more => panic!("{index} completed {} times", more.len()),
            }
        }
    }
    if worker.stats().retries == 0 {
        bench.skip("no fetch was in flight when descriptors ran out, or the backend needs none");
    }
    drop((root, worker));
    fs::remove_dir_all(dir).unwrap();
}

fn take_all_descriptors() -> Vec<fs::File> {
    let mut taken = Vec::new();
    loop {
        match fs::File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) if error.raw_os_error() == Some(24) => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}
