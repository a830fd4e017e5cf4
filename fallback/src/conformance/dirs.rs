//! Directories: opening, listing, stat.

use super::{Bench, Ends, c_name, entries, fetch, finish};
use crate::{Dir, Kind, Listing, Worker};
use std::sync::Arc;
use std::{fs, io};

pub(super) fn root(bench: &Bench<'_>) {
    bench.write("file", b"");
    let missing = bench.backend.open_root(&bench.path("missing")).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let file = bench.backend.open_root(&bench.path("file")).unwrap_err();
    assert_eq!(file.kind(), io::ErrorKind::NotADirectory);
    #[cfg(unix)]
    {
        fs::create_dir(bench.path("real")).unwrap();
        bench.write("real/inside", b"");
        std::os::unix::fs::symlink("real", bench.path("link")).unwrap();
        let root = bench.backend.open_root(&bench.path("link")).unwrap();
        assert_eq!(list(&mut *bench.worker(), &root), [(b"inside".to_vec(), Kind::File)]);
    }
}

/// Lists `dir`, and fills in by stat the kinds that the file system keeps to itself.
fn list(worker: &mut dyn Worker, dir: &Dir) -> Vec<(Vec<u8>, Kind)> {
    let mut listing = Listing::new();
    worker.list(dir, &mut listing).unwrap();
    for index in 0..listing.len() {
        if listing.kind(index) == Kind::Unknown {
            let kind = worker.stat(dir, &listing, index).unwrap().kind;
            listing.set_kind(index, kind);
        }
    }
    entries(&listing)
}

pub(super) fn listing(bench: &Bench<'_>) {
    let mut worker = bench.worker();
    assert_eq!(list(&mut *worker, &bench.root()), [], "an empty directory");
    fs::create_dir(bench.path("dir")).unwrap();
    bench.write("dir/below", b"");
    bench.write("file", b"abc");
    bench.write(".hidden", b"");
    let expected = [(".hidden", Kind::File), ("dir", Kind::Dir), ("file", Kind::File)];
    let expected = expected.map(|(name, kind)| (name.as_bytes().to_vec(), kind));
    assert_eq!(list(&mut *worker, &bench.root()), expected);

    // It appends, and reports the inode numbers that a stat does.
    let (root, mut listing) = (bench.root(), Listing::new());
    listing.push(b"before", Kind::Device, 1).unwrap();
    worker.list(&root, &mut listing).unwrap();
    assert_eq!((listing.len(), listing.name(0), listing.kind(0)), (4, &b"before"[..], Kind::Device));
    for index in 1..listing.len() {
        assert_eq!(listing.inode(index), worker.stat(&root, &listing, index).unwrap().inode);
    }
    assert_eq!(worker.stats().lists, 3);
}

pub(super) fn listing_again(bench: &Bench<'_>) {
    bench.write("one", b"");
    let (root, mut worker) = (bench.root(), bench.worker());
    assert_eq!(list(&mut *worker, &root).len(), 1);
    bench.write("two", b"");
    assert_eq!(list(&mut *worker, &root).len(), 2, "the second time, from the start");
    assert_eq!(list(&mut *bench.worker(), &root).len(), 2, "by another worker");
}

pub(super) fn large_directory(bench: &Bench<'_>) {
    const COUNT: usize = 10_000;
    // Long names, so that no buffer holds them all.
    let name = |index: usize| format!("{index:05}-{}", "n".repeat(60));
    for index in 0..COUNT {
        bench.write(&name(index), &[]);
    }
    let (root, mut worker, mut listing) = (bench.root(), bench.worker(), Listing::new());
    worker.list(&root, &mut listing).unwrap();
    let names: Vec<_> = entries(&listing).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().map(Vec::as_slice).eq((0..COUNT).map(name).collect::<Vec<_>>().iter().map(|n| n.as_bytes())));

    // Every second one, in a batch.
    listing.sort_by_inode();
    let picks: Vec<u32> = (0..COUNT as u32).step_by(2).collect();
    let before = worker.stats().stats;
    let mut seen = Vec::new();
    worker.stat_batch(&root, &listing, &picks, &mut |index, result| {
        let meta = result.unwrap();
        assert_eq!((meta.kind, meta.inode), (Kind::File, listing.inode(index as usize)));
        seen.push(index);
    });
    seen.sort_unstable();
    assert_eq!(seen, picks, "each pick exactly once");
    assert_eq!(worker.stats().stats - before, picks.len() as u64, "one call each");
}

/// Deeper than any path can say, so it is only reached by steps.
pub(super) fn deep_chain(bench: &Bench<'_>) {
    const DEPTH: usize = 200;
    let name = if cfg!(all(unix, not(miri))) { "d".repeat(50) } else { "d".to_owned() };
    make_chain(bench, &name, DEPTH);
    let (mut worker, mut dir) = (bench.worker(), bench.root());
    for level in 0..DEPTH {
        let listed = list(&mut *worker, &dir);
        assert_eq!(listed, [(name.as_bytes().to_vec(), Kind::Dir)], "level {level}");
        // The parent is closed here: a child does not need it.
        dir = Arc::new(worker.open_dir(&dir, &c_name(&name)).unwrap());
    }
    assert_eq!(worker.stats().dir_opens, DEPTH as u64);
    // At once, though it is longer than what one call takes.
    let below = worker.open_below(&bench.root(), vec![name; DEPTH].join("/").as_bytes()).unwrap();
    assert_eq!(list(&mut *worker, &below), list(&mut *worker, &dir));
    let mut ends = Ends::new();
    fetch(&mut *worker, &dir, "bottom", (6, 100), 1, &mut ends);
    drop(dir);
    finish(&mut *worker, &mut ends);
    bench.expect_content(&bench.only(ends, 1), b"bottom");
}

/// Directories by their paths: within the root, and through no link, on the way as at the end.
pub(super) fn below(bench: &Bench<'_>) {
    use std::io::ErrorKind;
    fs::create_dir_all(bench.path("a/b")).unwrap();
    bench.write("a/b/file", b"abc");
    bench.write("a/file", b"a");
    let (root, mut worker) = (bench.root(), bench.worker());
    for (path, entry) in [("", "a"), ("a", "b"), ("a/b", "file"), ("a/b/", "file"), ("a//b", "file")] {
        let dir = worker.open_below(&root, path.as_bytes()).unwrap();
        assert!(list(&mut *worker, &dir).iter().any(|(name, _)| name == entry.as_bytes()), "{path:?}");
    }
    for (path, kind) in [
        ("..", ErrorKind::InvalidInput),
        ("/", ErrorKind::InvalidInput),
        ("/a", ErrorKind::InvalidInput),
        ("a/..", ErrorKind::InvalidInput),
        ("a/./b", ErrorKind::InvalidInput),
        ("a\0b", ErrorKind::InvalidInput),
        ("none", ErrorKind::NotFound),
        ("a/none", ErrorKind::NotFound),
        ("a/file", ErrorKind::NotADirectory),
        ("a/file/b", ErrorKind::NotADirectory),
    ] {
        assert_eq!(worker.open_below(&root, path.as_bytes()).unwrap_err().kind(), kind, "{path:?}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("a", bench.path("link")).unwrap();
        std::os::unix::fs::symlink(bench.path("a/b"), bench.path("a/away")).unwrap();
        for path in ["link", "link/b", "a/away", "a/away/"] {
            assert!(worker.open_below(&root, path.as_bytes()).is_err(), "{path}");
        }
    }
}

#[cfg(all(unix, not(miri)))]
fn make_chain(bench: &Bench<'_>, name: &str, depth: usize) {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let mut dir = rustix::fs::open(&bench.dir, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = openat(&dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let bottom = openat(&dir, "bottom", flags, Mode::RUSR | Mode::WUSR).unwrap();
    assert_eq!(rustix::io::write(bottom, b"bottom").unwrap(), 6);
}

#[cfg(any(not(unix), miri))]
fn make_chain(bench: &Bench<'_>, name: &str, depth: usize) {
    let deepest = bench.dir.canonicalize().unwrap().join(vec![name; depth].join(std::path::MAIN_SEPARATOR_STR));
    fs::create_dir_all(&deepest).unwrap();
    fs::write(deepest.join("bottom"), b"bottom").unwrap();
}

/// Names that are no text, or look like something else.
pub(super) fn odd_names(bench: &Bench<'_>) {
    let mut names: Vec<Vec<u8>> = ["-rf", " ", "a b", "ünï", "..."].map(|name| name.as_bytes().to_vec()).into();
    names.push(vec![b'x'; 255]);
    if cfg!(windows) {
        // Windows drops a trailing space or dot, so such files cannot be made there.
        names.retain(|name| !matches!(name.last(), Some(b' ' | b'.')));
    }
    // File systems of the others refuse them.
    if cfg!(target_os = "linux") {
        names.extend([&b"new\nline"[..], b"\xff\xfe", b"back\\slash", b"*?[]", b"\x01\x1b[2J"].map(<[u8]>::to_vec));
    }
    for name in &names {
        fs::write(bench.dir.join(os_name(name)), name).unwrap();
    }
    let (root, mut worker, mut listing, mut ends) = (bench.root(), bench.worker(), Listing::new(), Ends::new());
    worker.list(&root, &mut listing).unwrap();
    assert_eq!(listing.len(), names.len());
    for index in 0..listing.len() {
        assert!(names.iter().any(|name| name == listing.name(index)), "{:?}", listing.c_name(index));
        let size = worker.stat(&root, &listing, index).unwrap().size;
        let request = crate::Fetch {
            dir: &root,
            name: listing.c_name(index),
            size,
            limit: 1000,
            cut: false,
            token: index as u64,
        };
        worker.fetch(request, &mut super::keep(&mut ends));
    }
    finish(&mut *worker, &mut ends);
    for index in 0..listing.len() {
        let end = ends.remove(&(index as u64)).unwrap();
        assert_eq!(end.len(), 1);
        bench.expect_content(&end[0], listing.name(index));
    }
}

#[cfg(unix)]
fn os_name(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(not(unix))]
fn os_name(name: &[u8]) -> &str {
    str::from_utf8(name).unwrap()
}

/// The same as what the standard library says.
pub(super) fn metadata(bench: &Bench<'_>) {
    bench.write("file", &[1; 12_345]);
    fs::create_dir(bench.path("dir")).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
    bench.write("old", b"");
    fs::File::options().write(true).open(bench.path("old")).unwrap().set_modified(old).unwrap();
    let (root, mut worker, mut listing) = (bench.root(), bench.worker(), Listing::new());
    worker.list(&root, &mut listing).unwrap();
    assert_eq!(listing.len(), 3);
    for index in 0..listing.len() {
        let meta = worker.stat(&root, &listing, index).unwrap();
        let expected = fs::symlink_metadata(bench.dir.join(os_name(listing.name(index)))).unwrap();
        assert_eq!(meta.kind, if expected.is_dir() { Kind::Dir } else { Kind::File });
        assert_eq!(meta.size, expected.len());
        match listing.name(index) {
            b"old" => assert_eq!(meta.mtime_ns, -1_500_000_000),
            _ => assert!(meta.mtime_ns > 1_600_000_000_000_000_000),
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let ns = |seconds: i64, nanoseconds: i64| seconds * 1_000_000_000 + nanoseconds;
            assert_eq!(meta.mtime_ns, ns(expected.mtime(), expected.mtime_nsec()));
            assert_eq!(meta.ctime_ns, ns(expected.ctime(), expected.ctime_nsec()));
            let found = (meta.inode, meta.device, meta.mode);
            assert_eq!(found, (expected.ino(), expected.dev(), expected.mode()));
        }
    }
    assert_eq!(worker.stats().stats, 3);
}

/// An open directory stays what it was when its path becomes something else.
pub(super) fn renamed_directory(bench: &Bench<'_>) {
    if cfg!(any(not(unix), miri)) {
        return bench.skip("a directory is a path here");
    }
    fs::create_dir(bench.path("dir")).unwrap();
    bench.write("dir/file", b"right");
    let mut worker = bench.worker();
    let dir = Arc::new(worker.open_dir(&bench.root(), c"dir").unwrap());
    fs::rename(bench.path("dir"), bench.path("moved")).unwrap();
    fs::create_dir(bench.path("dir")).unwrap();
    bench.write("dir/file", b"wrong");
    let mut ends = Ends::new();
    fetch(&mut *worker, &dir, "file", (5, 100), 1, &mut ends);
    finish(&mut *worker, &mut ends);
    bench.expect_content(&bench.only(ends, 1), b"right");
}
