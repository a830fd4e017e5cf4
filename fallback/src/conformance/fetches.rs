//! Content: of all sizes, changed under way, many at once.

use super::{Bench, Ended, Ends, evict, fetch, finish, pattern};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Around every boundary that a backend is likely to have: block, read-ahead, buffer, and past the largest of them.
const SIZES: [usize; 15] = [
    0,
    1,
    511,
    4095,
    4096,
    4097,
    (128 << 10) - 1,
    128 << 10,
    (128 << 10) + 1,
    (256 << 10) - 1,
    256 << 10,
    (256 << 10) + 1,
    (1 << 20) + 3,
    (5 << 20) + 1,
    17,
];

pub(super) fn sizes(bench: &Bench<'_>) {
    all_sizes(bench, false);
}

pub(super) fn sizes_cold(bench: &Bench<'_>) {
    all_sizes(bench, true);
}

fn all_sizes(bench: &Bench<'_>, cold: bool) {
    for (index, size) in SIZES.into_iter().enumerate() {
        let name = index.to_string();
        bench.write(&name, &pattern(size, index as u64));
    }
    if cold {
        bench.evict_numbered(0..SIZES.len() as u64);
    }
    let (root, mut worker, mut ends) = (bench.root(), bench.worker(), Ends::new());
    for (index, size) in SIZES.into_iter().enumerate() {
        fetch(&mut *worker, &root, &index.to_string(), (size as u64, size as u64), index as u64, &mut ends);
    }
    finish(&mut *worker, &mut ends);
    assert_eq!(ends.len(), SIZES.len());
    for (index, size) in SIZES.into_iter().enumerate() {
        let end = &ends[&(index as u64)];
        assert_eq!(end.len(), 1, "{end:?}");
        bench.expect_content(&end[0], &pattern(size, index as u64));
    }
    let stats = worker.stats();
    assert_eq!(stats.bytes, SIZES.iter().sum::<usize>() as u64);
    assert_eq!((stats.stats, stats.fetch_errors), (0, 0), "no stat is hidden in a fetch");
    if cold && stats.misses == 0 {
        bench.skip("no fetch missed the page cache: this file system keeps everything, or the backend cannot tell");
    }
}

/// The page cache holds the start of a file only: a read that takes what is there must not be taken for all.
pub(super) fn half_cached(bench: &Bench<'_>) {
    let content = pattern(1 << 20, 1);
    bench.write("file", &content);
    evict(&[bench.path("file")]);
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        // Without read-ahead, one page comes in. (To evict all but the start fails where pages come in large folios.)
        let file = std::fs::File::open(bench.path("file")).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
        assert_eq!(rustix::io::pread(&file, &mut [0; 4096], 0).unwrap(), 4096);
    }
    bench.expect_content(&bench.fetch_one("file", 1 << 20, 1 << 20), &content);
}

/// Whatever was stat'ed, what is there now comes back.
pub(super) fn grown(bench: &Bench<'_>) {
    for (stated, size) in [(0, 1), (0, 5000), (1, 2), (10, 4096), (4095, 4096), (4096, 1 << 20), (100, 5 << 20)] {
        let content = pattern(size, 1);
        bench.write("file", &content);
        bench.expect_content(&bench.fetch_one("file", stated, u64::MAX), &content);
        evict(&[bench.path("file")]);
        bench.expect_content(&bench.fetch_one("file", stated, size as u64), &content);
    }
}

pub(super) fn shrunk(bench: &Bench<'_>) {
    for (stated, size) in [(1, 0), (5000, 0), (2, 1), (4097, 4096), (1 << 20, 4096), (5 << 20, 100)] {
        let content = pattern(size, 1);
        bench.write("file", &content);
        bench.expect_content(&bench.fetch_one("file", stated, u64::MAX), &content);
        evict(&[bench.path("file")]);
        bench.expect_content(&bench.fetch_one("file", stated, stated), &content);
    }
}

pub(super) fn limits(bench: &Bench<'_>) {
    for length in [0_u64, 1, 4095, 4096, 300_000] {
        let content = pattern(length as usize, 1);
        bench.write("file", &content);
        bench.expect_content(&bench.fetch_one("file", length, length), &content);
        let Some(limit) = length.checked_sub(1) else { continue };
        // Known to be too long; stat'ed when it just fitted; stat'ed when it was empty.
        for stated in [length, limit, 0] {
            let ended = bench.fetch_one("file", stated, limit);
            assert!(matches!(ended, Ended::TooLarge(l) if l == limit), "{length} bytes stat'ed as {stated}: {ended:?}");
        }
    }
}

/// Of a longer file its beginning, whatever was stat'ed; a shorter one as ever.
pub(super) fn cut(bench: &Bench<'_>) {
    for length in [0_u64, 1, 4095, 4096, 300_000] {
        let content = pattern(length as usize, 1);
        bench.write("file", &content);
        for limit in [0, 1, 4096, 65_536, length, length + 1, u64::MAX] {
            let expected = &content[..length.min(limit) as usize];
            for stated in [length, length.min(limit), length / 2, 0, length + 7] {
                bench.expect_content(&bench.fetch_alone("file", stated, limit, true), expected);
            }
            evict(&[bench.path("file")]);
            bench.expect_content(&bench.fetch_alone("file", length, limit, true), expected);
        }
    }
    bench.expect_failure(&bench.fetch_alone("none", 3, 10, true), Some(std::io::ErrorKind::NotFound));
}

pub(super) fn many_in_flight(bench: &Bench<'_>) {
    const COUNT: u64 = 500;
    let content = |index: u64| pattern(index as usize * 7, index);
    for index in 0..COUNT {
        bench.write(&index.to_string(), &content(index));
    }
    let (root, mut worker) = (bench.root(), bench.worker());
    // A worker is as good as new after `finish`.
    for round in 0..2 {
        bench.evict_numbered((0..COUNT).step_by(2));
        let mut ends = Ends::new();
        for index in 0..COUNT {
            fetch(&mut *worker, &root, &index.to_string(), (index * 7, 10_000), index, &mut ends);
            assert!(worker.in_flight() <= bench.options.lookahead, "{} in flight", worker.in_flight());
            let completed: usize = ends.values().map(Vec::len).sum();
            assert_eq!(completed + worker.in_flight(), index as usize + 1, "started is completed or in flight");
        }
        finish(&mut *worker, &mut ends);
        assert!(ends.keys().copied().eq(0..COUNT), "round {round}: tokens {:?}", ends.keys());
        for (index, end) in &ends {
            assert_eq!(end.len(), 1, "round {round}: {index} completed {} times", end.len());
            bench.expect_content(&end[0], &content(*index));
        }
    }
    finish(&mut *worker, &mut Ends::new());
}

pub(super) fn equal_tokens(bench: &Bench<'_>) {
    bench.write("a", b"a");
    evict(&[bench.path("a")]);
    let (root, mut worker, mut ends) = (bench.root(), bench.worker(), Ends::new());
    for (name, token) in [("a", 9), ("missing", 9), ("a", u64::MAX), ("a", 9)] {
        fetch(&mut *worker, &root, name, (1, 10), token, &mut ends);
    }
    finish(&mut *worker, &mut ends);
    let contents = ends[&9].iter().filter(|end| matches!(end, Ended::Content(content) if content == b"a")).count();
    assert_eq!((ends[&9].len(), contents, ends[&u64::MAX].len()), (3, 2, 1));
}

/// Workers of several threads in one directory.
pub(super) fn shared_directory(bench: &Bench<'_>) {
    const COUNT: u64 = 64;
    for index in 0..COUNT {
        bench.write(&index.to_string(), &pattern(5000, index));
    }
    let root = bench.root();
    let ends: Vec<Ends> = std::thread::scope(|scope| {
        let spawn = |_| {
            let (root, mut worker) = (Arc::clone(&root), bench.worker());
            scope.spawn(move || {
                let mut ends = Ends::new();
                for index in 0..COUNT {
                    fetch(&mut *worker, &root, &index.to_string(), (5000, 5000), index, &mut ends);
                }
                finish(&mut *worker, &mut ends);
                ends
            })
        };
        let threads: Vec<_> = (0..4).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for ends in ends {
        assert_eq!(ends.len(), COUNT as usize);
        ends.iter().for_each(|(index, end)| bench.expect_content(&end[0], &pattern(5000, *index)));
    }
}

/// Nothing completes twice or late: the directory can go, and another worker finds all as it was.
pub(super) fn dropped_in_flight(bench: &Bench<'_>) {
    for index in 0..20 {
        bench.write(&index.to_string(), &pattern(100_000, index));
    }
    bench.evict_numbered(0..20);
    let (root, mut worker, mut ends) = (bench.root(), bench.worker(), Ends::new());
    for index in 0..20 {
        fetch(&mut *worker, &root, &index.to_string(), (100_000, 100_000), index, &mut ends);
    }
    let in_flight = worker.in_flight();
    drop(worker);
    assert_eq!(Arc::strong_count(&root), 1, "a dropped worker keeps no directory");
    assert_eq!(ends.len(), 20 - in_flight);
    ends.iter().for_each(|(index, end)| bench.expect_content(&end[0], &pattern(100_000, *index)));
    bench.expect_content(&bench.fetch_one("19", 100_000, 100_000), &pattern(100_000, 19));
}

/// Files that the kernel makes up say that they are empty.
pub(super) fn size_says_nothing(bench: &Bench<'_>) {
    // The second is longer than a page on most machines, and is handed out in pieces.
    let names = ["version", "crypto"];
    let Ok(root) = bench.backend.open_root("/proc".as_ref()) else { return bench.skip("no /proc") };
    let (root, mut worker, mut ends) = (Arc::new(root), bench.worker(), Ends::new());
    for (token, name) in names.into_iter().enumerate() {
        fetch(&mut *worker, &root, name, (0, 16 << 20), token as u64, &mut ends);
    }
    finish(&mut *worker, &mut ends);
    for (token, name) in names.into_iter().enumerate() {
        match std::fs::read(format!("/proc/{name}")) {
            Ok(expected) => bench.expect_content(&ends[&(token as u64)][0], &expected),
            Err(_) => bench.skip("a file of /proc is missing"),
        }
    }
}

/// Many files at once that are all longer than what they were asked with, so that all want more room at the same time.
pub(super) fn grown_together(bench: &Bench<'_>) {
    for (files, stated, size) in [(64, 61 << 10, 200 << 10), (3, 6 << 20, 13 << 20)] {
        for index in 0..files {
            bench.write(&index.to_string(), &pattern(size, index));
        }
        bench.evict_numbered(0..files);
        let (root, mut worker, mut ends) = (bench.root(), bench.worker(), Ends::new());
        for index in 0..files {
            fetch(&mut *worker, &root, &index.to_string(), (stated, u64::MAX), index, &mut ends);
        }
        finish(&mut *worker, &mut ends);
        assert_eq!(ends.len() as u64, files);
        for (index, end) in &ends {
            assert_eq!(end.len(), 1, "{index} has completed {} times", end.len());
            bench.expect_content(&end[0], &pattern(size, *index));
        }
    }
}

/// After a cancel everything still completes once: with its content, or with an error that says so.
pub(super) fn cancelled(bench: &Bench<'_>) {
    const FILES: u64 = 100;
    for index in 0..FILES {
        bench.write(&index.to_string(), &pattern(5000, index));
    }
    bench.evict_numbered(0..FILES);
    for cancel_at in [0, 50, FILES] {
        let flag = Arc::new(AtomicBool::new(false));
        let mut worker = bench.backend.worker(bench.options.clone().cancelled(Arc::clone(&flag))).unwrap();
        let (root, mut ends) = (bench.root(), Ends::new());
        for index in 0..FILES {
            if index == cancel_at {
                flag.store(true, Relaxed);
            }
            fetch(&mut *worker, &root, &index.to_string(), (5000, 5000), index, &mut ends);
        }
        flag.store(true, Relaxed);
        finish(&mut *worker, &mut ends);
        assert_eq!(ends.len() as u64, FILES);
        for (index, end) in &ends {
            match &end[..] {
                [Ended::Failed(_, error)] if error.kind() == ErrorKind::Interrupted => {}
                [end] => bench.expect_content(end, &pattern(5000, *index)),
                more => panic!("{index} has completed {} times", more.len()),
            }
        }
    }
}
