//! Runs under a filter that refuses io_uring, as container runtimes have one by default.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// The same number on every architecture.
const IO_URING_SETUP: i64 = 425;
const IO_URING_ENTER: i64 = 426;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Runs the command under a filter that answers `call` with `errno`.
fn run(call: i64, errno: u32, dir: &Path, args: &[&str]) -> Output {
    let rules = BTreeMap::from([(call, Vec::new())]);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leindex-engine"));
    command.args(args).current_dir(dir).env_remove("RUST_LOG");
    // The filter holds for the thread that takes it and for what that thread starts; the other tests go on without.
    let under_filter = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).unwrap();
        command.output().unwrap()
    });
    under_filter.join().unwrap()
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for index in 0..50 {
        std::fs::write(tree.path().join(format!("{index}.rs")), format!("fn number_{index}() {{}}")).unwrap();
    }
    tree
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_without_io_uring_takes_threads_and_says_why_in_one_line() {
    let cases = [
        (IO_URING_SETUP, EPERM, "seccomp"),
        (IO_URING_SETUP, ENOSYS, "ENOSYS"),
        (IO_URING_ENTER, EPERM, "io_uring_enter"),
        (IO_URING_ENTER, ENOSYS, "io_uring_enter"),
    ];
    for (call, errno, cause) in cases {
        let tree = tree();
        let done = run(call, errno, tree.path(), &["--json"]);
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.status.code(), Some(0), "{err}");
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&json["backend"], &json["files"]["indexed"]), (&"threads".into(), &50.into()), "{out}");
        assert_eq!((&json["io"]["entries"], &json["io"]["ring_opens"]), (&0.into(), &0.into()), "{out}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.contains("io_uring is not used: ") && err.contains("--backend threads"), "{err}");
        // A machine that has no io_uring at all has another cause; what it says is tested where it is made.
        assert!(err.contains(cause) || err.contains("io_uring_disabled"), "{cause}: {err}");
        let found = run(call, errno, tree.path(), &["search", "number_7"]);
        assert!(text(&found.stdout).starts_with("7.rs:1:"), "{}", text(&found.stdout));
    }
}

/// Searches open directories by a call that older kernels do not have, and that filters refuse.
#[test]
fn a_search_without_openat2_finds_the_same() {
    const OPENAT2: i64 = 437;
    let tree = tree();
    std::fs::create_dir_all(tree.path().join("a/b")).unwrap();
    std::fs::write(tree.path().join("a/b/deep.rs"), "fn deep_down() {}").unwrap();
    assert_eq!(run(OPENAT2, ENOSYS, tree.path(), &[]).status.code(), Some(0));
    for errno in [EPERM, ENOSYS] {
        for words in [&["deep_down"][..], &["--mode", "regex", "deep_d.wn"]] {
            let found = run(OPENAT2, errno, tree.path(), &[&["search"], words].concat());
            assert!(text(&found.stdout).starts_with("a/b/deep.rs:1:"), "{}", text(&found.stderr));
        }
    }
}

#[test]
fn whoever_asks_for_threads_is_told_nothing_and_whoever_asks_for_io_uring_is_told_why() {
    let tree = tree();
    let done = run(IO_URING_SETUP, EPERM, tree.path(), &["--backend", "threads"]);
    assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(0), ""));
    let done = run(IO_URING_SETUP, EPERM, tree.path(), &["--backend", "uring"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("or use --backend threads"), "{}", text(&done.stderr));
    let doctor = text(&run(IO_URING_SETUP, EPERM, tree.path(), &["doctor"]).stdout);
    assert!(doctor.contains("note  backend     threads: "), "{doctor}");
    assert!(doctor.contains("note  io_uring    cannot be used: "), "{doctor}");
}
