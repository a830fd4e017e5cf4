//! `check-ignore` beside `git check-ignore`: the same arguments and the same stdin give the same output and exit code.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::Place;

/// Runs a program in `dir`, free of the settings of whoever runs the tests: exit code and stdout.
fn run(program: &str, dir: &Path, args: &[&str], stdin: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent");
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("these tests compare with git, which must be installed and on the PATH");
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // Whoever refuses its arguments does not read.
    let writer = std::thread::spawn(move || drop(input.write_all(&stdin)));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[track_caller]
fn same(dir: &Path, args: &[&str], stdin: &[u8]) {
    let args: Vec<&str> = ["check-ignore"].iter().chain(args).copied().collect();
    let theirs = run("git", dir, &args, stdin);
    let ours = run(env!("CARGO_BIN_EXE_leindex-engine"), dir, &args, stdin);
    assert_eq!(ours, theirs, "{args:?} in {}, stdin {}", dir.display(), stdin.escape_ascii());
}

/// A repository with rules of all sources of git's, tracked files that rules ignore, odd names and a submodule.
fn repository(place: &Place) -> PathBuf {
    let root = place.root().join("repo");
    let git = |dir: &Path, args: &[&str]| {
        let settings = ["-c", "user.name=a", "-c", "user.email=b", "-c", "protocol.file.allow=always"];
        let (code, out) = run("git", dir, &[&settings, args].concat(), b"");
        assert_eq!(code, Some(0), "git {args:?}: {out}");
    };
    let write = |path: &str, text: &str| place.write(format!("repo/{path}"), text);
    write(".gitignore", "*.log\nbuild/\n!keep.log\n/only\n\"quoted\"\n*.\\\n#comment\nodd*\n");
    write("star/.gitignore", "*\n");
    write("sub/.gitignore", "!x.log\n*.tmp\n/deep/*\n!/deep/kept\n");
    for path in [
        "a.rs",
        "t.log",
        "x.log",
        "keep.log",
        "build/in",
        "build/sub/out",
        "only",
        "sub/x.log",
        "sub/a.tmp",
        "sub/deep/gone",
        "sub/deep/kept",
        "odd\tname",
        "odd\"q",
        "oddé",
        "dir/f",
    ] {
        write(path, "text");
    }
    git(&root, &["init", "--quiet"]);
    write(".git/info/exclude", "*.swp\n");
    git(&root, &["add", "--force", "a.rs", "t.log", "build/in"]);
    place.write("inner/file", "text");
    let inner = place.root().join("inner");
    git(&inner, &["init", "--quiet"]);
    git(&inner, &["add", "file"]);
    git(&inner, &["commit", "--quiet", "--message", "one"]);
    git(&root, &["submodule", "--quiet", "add", "../inner", "module"]);
    std::os::unix::fs::symlink("sub", root.join("link")).unwrap();
    root
}

const PATHS: [&str; 46] = [
    "a.rs",
    "t.log",
    "x.log",
    "keep.log",
    "build",
    "build/",
    "build/in",
    "build/sub",
    "build/sub/out",
    "build/none",
    "only",
    "sub/x.log",
    "sub/a.tmp",
    "sub/deep",
    "sub/deep/gone",
    "sub/deep/kept",
    "sub",
    "sub/",
    "none.log",
    "none/none.log",
    "none/build",
    "none/build/",
    "none/build/x",
    "./x.log",
    "sub/../x.log",
    "dir//../x.log",
    ".",
    "link",
    "odd\tname",
    "odd\"q",
    "oddé",
    "f.swp",
    "sub/f.swp",
    "\"quoted\"",
    "module",
    "dir",
    "dir/f",
    "build/../a.rs",
    "a.rs/",
    "t.log/",
    "star",
    "star/",
    "star/x",
    "sub/deep/",
    ".gitignore",
    "sub/./a.tmp",
];

#[test]
fn answers_are_those_of_git() {
    let place = Place::new();
    let root = repository(&place);
    let absolute: Vec<String> = PATHS.iter().map(|path| root.join(path).to_str().unwrap().to_owned()).collect();
    for flags in [&[][..], &["-v"], &["-v", "-n"], &["--no-index"], &["-v", "--no-index"], &["-v", "-n", "--no-index"]]
    {
        for path in PATHS {
            same(&root, &[flags, &[path]].concat(), b"");
        }
        same(&root, &[flags, &PATHS].concat(), b"");
        same(&root, &[flags, &absolute.iter().map(String::as_str).collect::<Vec<_>>()].concat(), b"");
        same(
            &root.join("sub"),
            &[flags, &["x.log", "../x.log", "a.tmp", "deep/gone", ".", "..", "../build/in"]].concat(),
            b"",
        );
        let lines =
            PATHS.iter().filter(|path| !path.starts_with('"')).flat_map(|path| [path, "\n"].concat().into_bytes());
        same(&root, &[flags, &["--stdin"]].concat(), &lines.collect::<Vec<u8>>());
        let ended = PATHS.iter().flat_map(|path| [path, "\0"].concat().into_bytes()).collect::<Vec<u8>>();
        same(&root, &[flags, &["--stdin", "-z"]].concat(), &ended);
        same(&root, &[flags, &["--stdin"]].concat(), b"\"odd\\tname\"\n\"odd\\303\\251\"\nx.log");
    }
    for path in PATHS {
        same(&root, &["-q", path], b"");
    }
    same(&root, &["--stdin"], b"");
}

#[test]
fn what_git_refuses_is_refused_with_its_code() {
    let place = Place::new();
    let root = repository(&place);
    for args in [
        &[][..],
        &["-q"],
        &["-q", "a.rs", "x.log"],
        &["-q", "-v", "a.rs"],
        &["-n", "a.rs"],
        &["-z", "a.rs"],
        &["--stdin", "a.rs"],
        &["../inner/file"],
        &["/"],
        &["module/file"],
        &["link/x.log"],
        &["link/"],
        &["x.log", "../inner/file"],
        &["--no-index", "module/file"],
        &[""],
    ] {
        same(&root, args, b"");
    }
    same(&root, &["--stdin"], b"\"bad\n");
}

/// Beyond git: rules of our own files, outside of repositories as well.
#[test]
fn other_rule_files_count_too() {
    let place = Place::new();
    place.write(".leindexignore", "*.min.js\n");
    place.write(".gitignore", "*.o\n");
    let ours = |args: &[&str]| run(env!("CARGO_BIN_EXE_leindex-engine"), &place.root(), args, b"");
    let (code, out) = ours(&["check-ignore", "-v", "a.min.js", "a.o"]);
    assert_eq!((code, out.as_str()), (Some(0), ".leindexignore:1:*.min.js\ta.min.js\n"));
    assert_eq!(ours(&["check-ignore", "a.js"]).0, Some(1));
    // They leave out what git tracks, too.
    place.write("a.min.js", "text");
    assert_eq!(run("git", &place.root(), &["init", "--quiet"], b"").0, Some(0));
    assert_eq!(run("git", &place.root(), &["add", "a.min.js"], b"").0, Some(0));
    assert_eq!(ours(&["check-ignore", "a.min.js"]), (Some(0), "a.min.js\n".into()));
    assert_eq!(ours(&["check-ignore", "--no-require-git", "a.o"]), (Some(0), "a.o\n".into()));
}

#[test]
fn explanations_name_the_reason() {
    let place = Place::new();
    let root = repository(&place);
    let ours = |args: &[&str]| run(env!("CARGO_BIN_EXE_leindex-engine"), &root, args, b"");
    place.write("repo/large.txt", "x".repeat(5000));
    place.write("repo/binary", b"\0\0\0");
    place.write("repo/.leindex.toml", "max-file-size = '4K'\n");
    assert_eq!(ours(&[]).0, Some(0));
    for (path, expected) in [
        ("a.rs", &["a.rs: accepted: no rule ignores it", "tracked  by git", "generation 1 has it"][..]),
        ("t.log", &["accepted: git tracks it", ".gitignore:1:*.log"]),
        ("x.log", &["left out: ignored by .gitignore:1", "rule     .gitignore:1:*.log", "does not have it", "next"]),
        ("keep.log", &["accepted: a rule says that it is not ignored", ".gitignore:3:!keep.log"]),
        ("build/sub/out", &["left out: ignored by .gitignore:2"]),
        ("large.txt", &["left out: 5000 bytes are more than", "knows it as too large"]),
        ("binary", &["accepted", "knows it as binary"]),
        ("link", &["left out: symbolic link"]),
        (".git/config", &["left out: it belongs to a version control system"]),
        ("nothing.rs", &["left out: it is not there", "kind     missing"]),
        ("sub", &["accepted: a directory that is walked"]),
    ] {
        let (code, out) = ours(&["explain", path]);
        assert_eq!(code, Some(0), "{path}: {out}");
        for expected in expected {
            assert!(out.contains(expected), "{path}: {expected:?} is not in\n{out}");
        }
    }
    let (_, json) = ours(&["explain", "--json", "x.log"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["accepted"], &json["rule"]), (&false.into(), &".gitignore:1:*.log".into()));
    // Without an index it is about a run here.
    let (_, out) = run(env!("CARGO_BIN_EXE_leindex-engine"), &place.root().join("inner"), &["explain", "file"], b"");
    assert!(out.contains("file: accepted: no rule") && out.contains("there is none yet"), "{out}");
}
