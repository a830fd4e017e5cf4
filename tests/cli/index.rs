//! `index`: what it counts, prints, and returns.

use super::support::{Tree, odd_name, permissions_count, shape};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

/// As the design has it.
const DESIGN: &str = r#"{"outcome":"done|cancelled","generation":1,"root":"...","backend":"uring|threads","shards":8,
"files":{"seen":0,"ignored":0,"indexed":0,"unchanged":0,"removed":0,"binary":0,"too_large":0,"skipped":0},
"bytes_read":0,"stat_calls":0,"hashes":0,"skips":[{"path":"...","op":"...","reason":"..."}],
"seconds":{"total":0.0,"scan":0.0,"index":0.0,"commit":0.0,"text_published":0.0,"embed":0.0},
"embedded":{"outcome":"done","pending":0,"files":0,"bytes":0,"chunks":0,"reused":0,"wordless":0,"cut":0,"changed":0,"unreadable":0,"failed":0,"device":"","tokens":0,"card_busy_seconds":null,"seconds":0.0},"peak_rss_bytes":0,"index_bytes":0,"compiled_rules":0,
"io":{"dir_opens":0,"lists":0,"stats":0,"ring_stats":0,"opens":0,"ring_opens":0,"reads":0,"ring_reads":0,"advises":0,
"misses":0,"retries":0,"timeouts":0,"entries":0,"enters":0,"punts":0}}"#;

#[test]
fn builds_then_updates() {
    let tree = Tree::with(&[("a.rs", "fn one() {}"), ("sub/b.c", "int two;"), ("sub/c.txt", "three")]);
    let first = tree.expect(0, &[]);
    let text = first.text();
    assert!(text.contains("indexed 3 files"), "{text}");
    assert!(text.contains("generation 1"), "{text}");
    assert!(text.contains("MB/s"), "{text}");
    assert_eq!(first.err, "", "nothing to say on stderr");

    let second = tree.expect(0, &["index", "."]);
    assert!(second.text().contains("indexed 0 files"), "{}", second.text());
    assert!(second.text().contains("unchanged 3"), "{}", second.text());
    assert!(second.text().contains("generation 1,"), "{}", second.text());

    fs::remove_file(tree.path("a.rs")).unwrap();
    tree.write("new.py", "import os");
    let third = tree.expect(0, &[tree.root().to_str().unwrap()]).text();
    assert!(third.contains("indexed 1 file ("), "{third}");
    assert!(third.contains("unchanged 2, removed 1, binary 0, too large 0, ignored 0, skipped 0"), "{third}");
    assert!(third.contains("generation 2"), "{third}");
}

#[test]
fn json_is_as_designed() {
    let tree = Tree::with(&[("a.rs", "fn one() {}"), ("big.txt", &"x ".repeat(2000)), ("x.log", "no")]);
    tree.write("image.bin", b"\0\0\0\0");
    std::os::unix::fs::symlink("a.rs", tree.path("link")).unwrap();
    let done = tree.expect(0, &["index", "--json", "--exclude", "*.log", "--max-file-size", "3K"]);
    assert_eq!(shape(&done.text()), shape(DESIGN));
    assert_eq!(done.text().matches('\n').count(), 1, "one object on one line");
    assert_eq!(done.err, "");
    let json = done.json();
    assert_eq!(json["outcome"], "done");
    assert_eq!(json["generation"], 1);
    assert_eq!(json["root"], tree.root().to_str().unwrap());
    assert!(json["backend"] == "uring" || json["backend"] == "threads", "{json}");
    assert_eq!((&json["io"]["stats"], &json["io"]["opens"]), (&3.into(), &2.into()), "{json}");
    let files = &json["files"];
    let counts = ["seen", "ignored", "indexed", "unchanged", "removed", "binary", "too_large", "skipped"];
    assert_eq!(counts.map(|name| files[name].as_u64().unwrap()), [5, 1, 1, 0, 0, 1, 1, 1], "{files}");
    assert_eq!(json["stat_calls"], 3);
    assert_eq!(json["hashes"], 0);
    assert_eq!(json["skips"][0]["path"], "link");
    assert!(json["seconds"]["embed"].as_f64() > Some(0.0), "{json}");
    assert_eq!((&json["embedded"]["files"], &json["embedded"]["chunks"]), (&1.into(), &1.into()));
}

#[test]
fn paths_that_are_not_utf8_are_given_as_bytes() {
    let tree = Tree::with(&[("a.txt", "x")]);
    std::os::unix::fs::symlink("a.txt", tree.path(odd_name())).unwrap();
    let json = tree.expect(0, &["--json"]).json();
    assert_eq!(json["skips"][0]["path"], serde_json::json!({"bytes": "b2Rk/y50eHQ="}));
}

#[test]
fn what_is_no_regular_file_is_named_and_no_failure() {
    let tree = Tree::with(&[("a.txt", "x")]);
    fs::create_dir(tree.path("dir")).unwrap();
    std::os::unix::fs::symlink("..", tree.path("dir/loop")).unwrap();
    let _socket = UnixListener::bind(tree.path("sock")).unwrap();
    let (cwd, mode) = (rustix::fs::CWD, rustix::fs::Mode::from_raw_mode(0o644));
    rustix::fs::mknodat(cwd, tree.path("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for number in 0..7 {
        std::os::unix::fs::symlink("a.txt", tree.path(format!("link\n{number}"))).unwrap();
    }
    let done = tree.expect(0, &[]);
    let text = done.text();
    assert!(text.contains("indexed 1 file ("), "{text}");
    assert!(text.contains("skipped 8: list: symbolic link, not followed\n"), "{text}");
    assert!(text.contains("skipped 1: list: FIFO, not a regular file\n    fifo\n"), "{text}");
    assert!(text.contains("skipped 1: list: socket, not a regular file\n    sock\n"), "{text}");
    assert!(text.contains("    and 3 more\n"), "{text}");
    assert!(text.contains("link\\n"), "a name cannot break a line: {text}");
}

#[test]
fn files_that_cannot_be_read_make_exit_code_3() {
    if !permissions_count() {
        return;
    }
    let tree = Tree::with(&[("a.txt", "x"), ("secret.txt", "y"), ("closed/b.txt", "z")]);
    fs::set_permissions(tree.path("secret.txt"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(tree.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let done = tree.run(&[]);
    let json = tree.run(&["--json"]);
    let listed = tree.run(&["files"]);
    fs::set_permissions(tree.path("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(done.code, Some(3), "{}", done.err);
    let text = done.text();
    assert!(text.contains("failed 1: open: Permission denied (os error 13)\n    secret.txt\n"), "{text}");
    assert!(text.contains("    closed\n"), "{text}");
    assert_eq!(json.code, Some(3));
    assert_eq!(json.json()["files"]["skipped"], 2);
    assert_eq!(listed.code, Some(3), "what is in the directory is not known");
    assert!(listed.err.contains("closed"), "{}", listed.err);
    tree.expect(3, &[]);
}

#[test]
fn a_root_that_cannot_be_read_is_fatal() {
    let tree = Tree::with(&[("a.txt", "x")]);
    for args in [&["missing"][..], &["index", "missing"], &["files", "missing"], &["search", "x", "missing"]] {
        let done = tree.expect(1, args);
        assert!(done.error().contains("missing"), "{}", done.err);
        assert!(done.out.is_empty());
    }
    for args in [&["a.txt"][..], &["files", "a.txt"]] {
        let done = tree.expect(1, args);
        assert!(done.error().contains("a.txt: is not a directory: give"), "{}", done.err);
    }
    assert_eq!(tree.expect(1, &["a\nb"]).error().matches("a\\nb").count(), 1, "a name cannot break the line");
    if permissions_count() {
        fs::create_dir(tree.path("closed")).unwrap();
        fs::set_permissions(tree.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let done = tree.run(&["closed"]);
        fs::set_permissions(tree.path("closed"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(done.code, Some(1));
        assert!(done.error().contains("Permission denied"), "{}", done.err);
    }
}

#[test]
fn an_index_directory_that_cannot_be_written_is_fatal() {
    let tree = Tree::with(&[("a.txt", "x"), (".leindex-engine", "a file in its place")]);
    let done = tree.expect(1, &[]);
    assert!(done.error().contains("cannot write the index"), "{}", done.err);
    assert!(done.error().contains("--index-dir"), "{}", done.err);
    let elsewhere = tree.home().join("index");
    tree.expect(0, &["--index-dir", elsewhere.to_str().unwrap()]);
    assert!(elsewhere.join("CACHEDIR.TAG").is_file());
    let hits = tree.expect(0, &["search", "x", "--index-dir", elsewhere.to_str().unwrap()]);
    assert_eq!(hits.text(), "a.txt:1:1:x\n");
    if permissions_count() {
        fs::set_permissions(tree.home(), fs::Permissions::from_mode(0o555)).unwrap();
        let done = tree.run(&["--index-dir", tree.home().join("new").to_str().unwrap()]);
        fs::set_permissions(tree.home(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(done.code, Some(1));
        assert!(done.error().contains("Permission denied"), "{}", done.err);
    }
}

#[test]
fn when_all_is_ignored_the_rule_is_named_and_can_be_lifted() {
    let tree = Tree::with(&[(".ignore", "# all\n/*\n!/debian/\n"), ("a.rs", "x"), ("sub/b.rs", "y")]);
    let done = tree.expect(0, &[]);
    assert!(done.err.contains("nothing was accepted"), "{}", done.err);
    assert!(done.err.contains(".ignore:2:/*"), "{}", done.err);
    assert!(done.err.contains("--no-ignore"), "{}", done.err);
    assert!(done.err.contains("--exclude '!/*'"), "{}", done.err);
    let files = tree.run(&["files"]);
    assert!(files.err.contains(".ignore:2:/*"), "{}", files.err);
    assert_eq!(tree.files(&["--exclude", "!/*"]), [".ignore", "a.rs", "sub/b.rs"], "the advice holds");
    assert_eq!(tree.files(&["--no-ignore"]), [".ignore", "a.rs", "sub/b.rs"]);

    let tree = Tree::with(&[(".a", "x")]);
    assert!(tree.expect(0, &["--no-hidden"]).err.contains("--hidden"));
    let empty = Tree::new().expect(0, &[]);
    assert_eq!(empty.err, "", "an empty tree was not ignored");
}

#[test]
fn plain_progress_is_lines_and_no_progress_is_nothing() {
    let tree = Tree::with(&[("a.txt", "x")]);
    let plain = tree.expect(0, &["--progress", "plain"]);
    let lines: Vec<&str> = plain.err.lines().collect();
    assert!((2..=3).contains(&lines.len()), "{lines:?}");
    assert_eq!(lines[0], format!("leindex-engine: indexing {}", tree.root().display()));
    assert!(lines[1].starts_with("leindex-engine: 1 file,"), "{lines:?}");
    // A stage that is done at once is not shown.
    assert!(lines.get(2).is_none_or(|line| *line == "leindex-engine: embedding"), "{lines:?}");
    assert!(!plain.err.contains('\x1b') && !plain.text().contains('\x1b'));
    assert_eq!(tree.expect(0, &["--progress", "off"]).err, "");
    let both = tree.expect(0, &["--progress", "plain", "--json"]);
    assert!(both.err.contains("indexing"), "plain was asked for: {}", both.err);
    both.json();
}

#[test]
fn stdout_that_is_closed_or_full() {
    let tree = Tree::with(&[("a.txt", "x")]);
    let mut child =
        tree.command(&[]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = super::support::Done::from(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "nobody reads: no error");
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        let done = super::support::Done::from(tree.command(&[]).stdout(full).output().unwrap());
        assert_eq!(done.code, Some(1));
        assert!(done.error().starts_with("stdout: No space left"), "{}", done.err);
    }
}

#[test]
fn a_trace_has_the_stages_with_their_threads() {
    let tree = Tree::with(&[("a.rs", "fn one() {}")]);
    let file = tree.path(".git/trace.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let trace = ["--trace", file.to_str().unwrap()];
    let events = |args: &[&str]| -> Vec<serde_json::Value> {
        tree.expect(0, &[args, &trace].concat());
        serde_json::from_slice(&fs::read(&file).unwrap()).unwrap()
    };
    let names = |events: &[serde_json::Value], phase: &str| -> Vec<String> {
        let of_phase = events.iter().filter(|event| event["ph"] == phase);
        let mut names: Vec<_> = of_phase.map(|event| event["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let run = events(&["index"]);
    let begun = names(&run, "B");
    for stage in ["run", "scan", "shard", "seal", "publish", "commit text", "embed", "publish vectors"] {
        assert!(begun.iter().any(|name| name == stage), "{stage}: {begun:?}");
    }
    assert_eq!(begun, names(&run, "E"), "what begins ends");
    let search = names(&events(&["search", "one"]), "B");
    assert!(
        ["open generation", "search", "read files"].iter().all(|stage| search.contains(&(*stage).to_owned())),
        "{search:?}"
    );

    let done = tree.expect(2, &["--trace", "missing/trace.json"]);
    assert!(done.err.contains("--trace missing/trace.json") && done.err.contains("can be written"), "{}", done.err);
}

#[test]
fn the_log_is_on_stderr() {
    let tree = Tree::with(&[("a.txt", "x")]);
    std::os::unix::fs::symlink("a.txt", tree.path("link")).unwrap();
    assert!(!tree.expect(0, &["--progress", "off"]).err.contains("publish"));
    let log = tree.expect(0, &["-vv", "--json"]);
    assert!(log.err.contains("DEBUG") && log.err.contains("link"), "{}", log.err);
    assert!(!log.err.contains('\x1b'), "no colours in a file");
    log.json();
    let mut command = tree.command(&["--progress", "off"]);
    let done = super::support::Done::from(command.env("RUST_LOG", "leindex_engine=debug").output().unwrap());
    assert!(done.err.contains("DEBUG"), "{}", done.err);
}
