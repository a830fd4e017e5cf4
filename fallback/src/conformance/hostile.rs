//! What must fail, and must fail alone.

use super::{Bench, Ends, fetch, finish, pattern};
use crate::Listing;
use std::{fs, io};

pub(super) fn vanished(bench: &Bench<'_>) {
    bench.write("file", b"abc");
    fs::create_dir(bench.path("dir")).unwrap();
    let (root, mut worker, mut listing) = (bench.root(), bench.worker(), Listing::new());
    worker.list(&root, &mut listing).unwrap();
    fs::remove_file(bench.path("file")).unwrap();
    fs::remove_dir(bench.path("dir")).unwrap();
    for index in 0..listing.len() {
        assert_eq!(worker.stat(&root, &listing, index).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    let mut failed = 0;
    worker.stat_batch(&root, &listing, &[0, 1], &mut |_, result| failed += u32::from(result.is_err()));
    assert_eq!(failed, 2);
    assert_eq!(worker.open_dir(&root, c"dir").unwrap_err().kind(), io::ErrorKind::NotFound);
    bench.expect_failure(&bench.fetch_one("file", 3, 10), Some(io::ErrorKind::NotFound));

    // Opened, then removed: there is nothing to list, whatever the system calls that.
    fs::create_dir(bench.path("dir")).unwrap();
    let dir = worker.open_dir(&root, c"dir").unwrap();
    fs::remove_dir(bench.path("dir")).unwrap();
    listing.clear();
    let result = worker.list(&dir, &mut listing);
    assert!(listing.is_empty(), "{result:?}");
}

/// No name leads out of its directory.
pub(super) fn not_components(bench: &Bench<'_>) {
    fs::create_dir(bench.path("dir")).unwrap();
    fs::create_dir(bench.path("dir/below")).unwrap();
    bench.write("secret", b"abc");
    bench.write("dir/file", b"abc");
    let mut worker = bench.worker();
    let dir = std::sync::Arc::new(worker.open_dir(&bench.root(), c"dir").unwrap());
    for name in [c"..", c".", c"", c"/", c"/tmp", c"below/..", c"../dir", c"below/"] {
        let error = worker.open_dir(&dir, name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}: {error}");
    }
    for name in ["../secret", "below/../file", "./file", "", ".."] {
        let mut ends = Ends::new();
        fetch(&mut *worker, &dir, name, (3, 10), 1, &mut ends);
        finish(&mut *worker, &mut ends);
        bench.expect_failure(&bench.only(ends, 1), Some(io::ErrorKind::InvalidInput));
    }
}

/// Links are seen and never followed, wherever they lead.
pub(super) fn links(bench: &Bench<'_>) {
    #[cfg(not(unix))]
    bench.skip("making links needs a privilege here");
    #[cfg(unix)]
    {
        use crate::Kind;
        use std::os::unix::fs::symlink;
        bench.write("file", b"abc");
        fs::create_dir(bench.path("dir")).unwrap();
        symlink("file", bench.path("to-file")).unwrap();
        symlink("dir", bench.path("to-dir")).unwrap();
        symlink("nowhere", bench.path("to-nothing")).unwrap();
        symlink("to-itself", bench.path("to-itself")).unwrap();
        let (root, mut worker, mut listing) = (bench.root(), bench.worker(), Listing::new());
        worker.list(&root, &mut listing).unwrap();
        let mut links = 0;
        for index in (0..listing.len()).filter(|&index| listing.name(index).starts_with(b"to-")) {
            assert!(matches!(listing.kind(index), Kind::Symlink | Kind::Unknown));
            assert_eq!(worker.stat(&root, &listing, index).unwrap().kind, Kind::Symlink);
            links += 1;
        }
        assert_eq!(links, 4);
        for name in ["to-file", "to-dir", "to-nothing", "to-itself"] {
            assert!(worker.open_dir(&root, &super::c_name(name)).is_err(), "{name} opened as a directory");
            bench.expect_failure(&bench.fetch_one(name, 3, 10), None);
        }
        // A file that was one when it was stat'ed.
        fs::remove_file(bench.path("file")).unwrap();
        bench.write("elsewhere", b"abc");
        symlink("elsewhere", bench.path("file")).unwrap();
        bench.expect_failure(&bench.fetch_one("file", 3, 10), None);
    }
}

/// A pipe or socket in the place of a file is an error, and nothing waits for its other end.
pub(super) fn pipes(bench: &Bench<'_>) {
    #[cfg(not(all(target_os = "linux", not(miri))))]
    bench.skip("no pipes in directories here, or no call to make one");
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use crate::Kind;
        let path = bench.path("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket"));
        let (root, mut worker, mut listing) = (bench.root(), bench.worker(), Listing::new());
        worker.list(&root, &mut listing).unwrap();
        for index in 0..listing.len() {
            let expected = if listing.name(index) == b"pipe" { Kind::Fifo } else { Kind::Socket };
            assert_eq!(worker.stat(&root, &listing, index).unwrap().kind, expected);
        }
        bench.expect_failure(&bench.fetch_one("pipe", 5, 10), None);
        assert!(worker.open_dir(&root, c"pipe").is_err());
        // With a writer that writes nothing, a read that waits would wait for ever.
        let writer = fs::File::options().read(true).write(true).open(&path).unwrap();
        bench.expect_failure(&bench.fetch_one("pipe", 5, 10), None);
        drop(writer);
        if listing.len() == 2 {
            bench.expect_failure(&bench.fetch_one("socket", 5, 10), None);
        } else {
            bench.skip("the path is too long for a socket");
        }
    }
}

pub(super) fn directory_for_file(bench: &Bench<'_>) {
    fs::create_dir(bench.path("name")).unwrap();
    for stated in [0, 5, 4096] {
        bench.expect_failure(&bench.fetch_one("name", stated, 10_000), None);
    }
    bench.write("file", b"abc");
    let (root, mut worker) = (bench.root(), bench.worker());
    assert_eq!(worker.open_dir(&root, c"file").unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

pub(super) fn unreadable(bench: &Bench<'_>) {
    #[cfg(not(unix))]
    bench.skip("no permission bits here");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str, mode| {
            fs::set_permissions(bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        bench.write("file", b"abc");
        fs::create_dir(bench.path("dir")).unwrap();
        mode("file", 0o000);
        mode("dir", 0o000);
        if fs::File::open(bench.path("file")).is_ok() {
            bench.skip("this user may read everything; run it as another one");
        } else {
            bench.expect_failure(&bench.fetch_one("file", 3, 10), Some(io::ErrorKind::PermissionDenied));
            let error = bench.worker().open_dir(&bench.root(), c"dir").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        mode("dir", 0o700);
    }
}

/// A failure concerns one fetch only.
pub(super) fn errors_among_files(bench: &Bench<'_>) {
    fs::create_dir(bench.path("dir")).unwrap();
    for index in (0..90).step_by(3) {
        bench.write(&index.to_string(), &pattern(3000, index));
    }
    bench.evict_numbered((0..90).step_by(3));
    let (root, mut worker, mut ends) = (bench.root(), bench.worker(), Ends::new());
    for index in 0..90 {
        let name = if index % 3 == 1 { "dir".to_owned() } else { index.to_string() };
        fetch(&mut *worker, &root, &name, (3000, 3000), index, &mut ends);
    }
    finish(&mut *worker, &mut ends);
    assert!(ends.keys().copied().eq(0..90));
    for (index, end) in &ends {
        assert_eq!(end.len(), 1);
        match index % 3 {
            0 => bench.expect_content(&end[0], &pattern(3000, *index)),
            1 => bench.expect_failure(&end[0], None),
            _ => bench.expect_failure(&end[0], Some(io::ErrorKind::NotFound)),
        }
    }
    assert_eq!(worker.stats().fetch_errors, 60);
}
