//! Options, the config file, and what git is set to.

use super::support::Tree;
use std::fs;

#[test]
fn wrong_arguments_are_exit_code_2() {
    let tree = Tree::with(&[("a.txt", "x")]);
    for args in [
        &["--shards", "0"][..],
        &["--shards", "2000"],
        &["--shards", "many"],
        &["--max-file-size", "10X"],
        &["--max-file-size", "0"],
        &["--max-file-size", "5G"],
        &["--batch-files", "0"],
        &["--backend", "magic"],
        &["--progress", "loud"],
        &["--color", "blue"],
        &["--embed", "maybe"],
        &["a", "b"],
        &["search"],
        &["search", "x", "--mode", "fuzzy"],
        &["search", "x", "--limit", "-1"],
        &["search", "x", "--regex", "-F"],
        &["--json", "--shards", "2", "search", "x"],
        &["completions", "tcsh"],
        &["watch", "x", "y"],
        &["--ignore-file", "missing"],
    ] {
        let done = tree.expect(2, args);
        assert!(done.out.is_empty(), "{args:?}");
        assert!(done.err.contains("error: "), "{args:?}: {}", done.err);
    }
    assert!(!tree.path(".leindex-engine").exists(), "nothing was done");
}

#[test]
fn backends_are_chosen_by_name() {
    let tree = Tree::with(&[("a.txt", "x")]);
    tree.expect(0, &["--backend", "threads", "--shards", "3"]);
    tree.expect(0, &["--backend", "auto", "--shards", "auto"]);
    match tree.run(&["--backend", "uring"]) {
        done if done.code == Some(0) => assert!(done.err.is_empty(), "{}", done.err),
        done => assert!(done.error().contains("--backend threads"), "{}", done.err),
    }
}

#[test]
fn a_path_with_the_name_of_a_subcommand() {
    let tree = Tree::with(&[("status/a.txt", "x")]);
    tree.expect(1, &["status"]);
    tree.expect(0, &["./status"]);
    assert!(tree.path("status/.leindex-engine").is_dir());
    tree.expect(0, &["status", "./status"]);
}

#[test]
fn the_command_line_wins_over_the_config_file() {
    let tree = Tree::with(&[("a.txt", "x"), ("b.log", "y"), (".h", "z"), ("big", &"w ".repeat(4000))]);
    tree.write(".leindex.toml", "exclude = ['*.log', '.leindex.toml']\nhidden = false\nmax-file-size = '2K'\n");
    assert_eq!(tree.files(&[]), ["a.txt", "big"]);
    assert_eq!(tree.files(&["--hidden", "--exclude", "!*.log"]), [".h", "a.txt", "b.log", "big"]);
    let files = |args: &[&str]| tree.expect(0, args).json()["files"].clone();
    assert_eq!(files(&["--json"])["too_large"], 1);
    let over = files(&["--json", "--max-file-size", "1M"]);
    assert_eq!((&over["too_large"], &over["indexed"]), (&0.into(), &1.into()));

    fs::remove_dir_all(tree.path(".leindex-engine")).unwrap();
    tree.write(".leindex.toml", "json = true\nindex-dir = 'elsewhere'\nshards = 'auto'\nbatch-files = 1\n");
    let json = tree.expect(0, &[]).json();
    assert_eq!(json["files"]["indexed"], 5, "the index directory is not indexed: {json}");
    assert!(tree.path("elsewhere/meta").is_dir());
    assert!(tree.expect(0, &["--no-json"]).text().starts_with("indexed 0 files"));
    let hits = tree.expect(0, &["search", "--no-json", "x", "."]);
    assert_eq!(hits.text(), "a.txt:1:1:x\n", "searches find the index where the config file says");
}

#[test]
fn a_wrong_config_file_is_named_with_the_key() {
    let tree = Tree::with(&[("a.txt", "x")]);
    for (text, expect) in [
        ("shard = 3", "shard: unknown key"),
        ("exclude = 3", "exclude: use a list"),
        ("shards = 0", "shards: use"),
        ("a = 1\nb = ", "line 2: "),
    ] {
        tree.write(".leindex.toml", text);
        for args in [&[][..], &["files"], &["search", "x"], &["status"], &["verify"]] {
            let done = tree.expect(2, args);
            let message = format!("{}: {expect}", tree.path(".leindex.toml").display());
            let short = message.replace(&format!("{}/", tree.root().display()), "./");
            assert!(done.error().contains(&message) || done.error().contains(&short), "{}", done.err);
        }
        let doctor = tree.expect(0, &["doctor"]);
        assert!(doctor.text().contains("warn  config"), "{}", doctor.text());
    }
    fs::remove_file(tree.path(".leindex.toml")).unwrap();
    fs::create_dir(tree.path(".leindex.toml")).unwrap();
    assert!(tree.expect(2, &[]).error().contains("no regular file"));
}

#[test]
fn rules_can_be_changed_from_the_command_line() {
    let tree = Tree::with(&[(".gitignore", "*.log\n"), (".ignore", "*.tmp\n"), ("a.txt", ""), ("b.log", "")]);
    tree.write("c.tmp", "");
    tree.write("extra", "a.*\n");
    assert_eq!(tree.files(&["--no-hidden"]), ["a.txt", "b.log", "extra"], "no repository: .gitignore does not count");
    assert_eq!(tree.files(&["--no-hidden", "--no-require-git"]), ["a.txt", "extra"]);
    assert_eq!(tree.files(&["--no-hidden", "--no-ignore"]), ["a.txt", "b.log", "c.tmp", "extra"]);
    assert_eq!(tree.files(&["--no-hidden", "--no-ignore", "--ignore"]), ["a.txt", "b.log", "extra"]);
    assert_eq!(tree.files(&["--no-hidden", "--ignore-file", "extra"]), ["b.log", "extra"]);
    let all = [".gitignore", ".ignore", "a.txt", "b.log", "extra"];
    assert_eq!(tree.files(&["--no-hidden", "--hidden"]), all);
    assert_eq!(tree.files(&["--exclude", "-x", "--exclude", ".*"]), ["a.txt", "b.log", "extra"]);

    // The file of rules is looked for from where the command is run, not from the tree.
    fs::create_dir(tree.path("sub")).unwrap();
    tree.write("sub/a.txt", "");
    assert_eq!(tree.files(&["--ignore-file", "extra", "sub"]), Vec::<String>::new());
}

#[test]
fn git_settings_of_the_user_count() {
    let tree = Tree::with(&[("a.o", ""), ("B.TXT", ""), ("c.rs", "")]);
    fs::create_dir(tree.path(".git")).unwrap();
    assert_eq!(tree.files(&[]), ["B.TXT", "a.o", "c.rs"]);
    fs::write(tree.home().join(".gitconfig"), "[core]\n\texcludesFile = ~/mine\n").unwrap();
    fs::write(tree.home().join("mine"), "*.o\nb.txt\n").unwrap();
    assert_eq!(tree.files(&[]), ["B.TXT", "c.rs"]);
    fs::write(tree.path(".git/config"), "[core]\n\tignoreCase = true\n").unwrap();
    assert_eq!(tree.files(&[]), ["c.rs"]);
    assert_eq!(tree.files(&["--no-ignore"]), ["B.TXT", "a.o", "c.rs"]);
}
