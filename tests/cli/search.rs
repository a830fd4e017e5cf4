//! `search`.

use super::support::{Done, Tree, odd_name, shape};
use std::fs;

const HIT: &str = r#"{"path":"rel/path","line":12,"column":5,"score":1.0,"text":"the line"}"#;
const SUMMARY: &str =
    r#"{"summary":{"hits":0,"files":0,"seconds":0.0,"generation":1,"fresh":{"state":"","as_of_ms":0}}}"#;

fn indexed() -> Tree {
    let tree = Tree::with(&[
        ("src/lock.rs", "use std;\nfn take_lock() {}\nfn drop_lock() {}\n"),
        ("src/deep/lock.c", "int take_lock(void);\n"),
        ("doc/Read me.md", "takeLock, the LOCK\n"),
        ("src/deep/[x].c", "int other(void);\n"),
    ]);
    tree.expect(0, &[]);
    tree
}

#[track_caller]
fn check(tree: &Tree, args: &[&str], expect: &[&str]) -> Done {
    let done = tree.expect(0, &[&["search"], args].concat());
    let mut lines = done.lines();
    lines.sort();
    assert_eq!(lines, expect, "{args:?}");
    done
}

#[test]
fn modes() {
    let tree = indexed();
    let words = check(
        &tree,
        &["take_lock"],
        &[
            "doc/Read me.md:1:1:takeLock, the LOCK",
            "src/deep/lock.c:1:5:int take_lock(void);",
            "src/lock.rs:2:4:fn take_lock() {}",
        ],
    );
    assert!(words.err.contains("3 hits in 3 files"), "{}", words.err);
    check(
        &tree,
        &["-F", "ake_lock("],
        &["src/deep/lock.c:1:6:int take_lock(void);", "src/lock.rs:2:5:fn take_lock() {}"],
    );
    let regex = ["src/lock.rs:2:1:fn take_lock() {}", "src/lock.rs:3:1:fn drop_lock() {}"];
    check(&tree, &["-E", r"^fn \w+_lock"], &regex);
    check(&tree, &["--mode", "regex", r"^fn \w+_lock"], &regex);
    check(&tree, &["--mode", "substring", "the lock", "-i"], &["doc/Read me.md:1:11:takeLock, the LOCK"]);
    check(&tree, &["--mode", "substring", "the lock"], &[]);
}

#[test]
fn filters_and_limits() {
    let tree = indexed();
    let c = ["src/deep/lock.c:1:5:int take_lock(void);"];
    check(&tree, &["-F", "take_lock", "--lang", "c"], &c);
    check(&tree, &["-F", "take_lock", "--path-glob", "*.c"], &c);
    check(&tree, &["-F", "take_lock", "--path-glob", "!*.rs"], &c);
    let done = tree.expect(0, &["search", "-F", "lock", "--limit", "1"]);
    assert_eq!(done.lines().len(), 1);
    assert!(done.err.contains("--limit 0 shows all"), "{}", done.err);
    let all = tree.expect(0, &["search", "-F", "lock", "--limit", "0"]);
    assert_eq!(all.lines().len(), 3);
    assert!(!all.err.contains("--limit"), "{}", all.err);
    assert!(tree.expect(0, &["search", "--lang-list"]).lines().contains(&"rust".to_owned()));
}

#[test]
fn questions_are_answered_by_meaning() {
    let tree = Tree::with(&[
        ("io.c", "/* Reads a whole file into memory. */\nchar *load_document(const char *path)\n{\n\treturn 0;\n}\n"),
        ("gfx.c", "void paint_circle(int radius, int colour)\n{\n}\n"),
    ]);
    let indexed = tree.expect(0, &[]);
    assert!(
        indexed.lines().iter().any(|line| line.starts_with("embedded 2 chunks of 2 files")),
        "{:?}",
        indexed.lines()
    );
    check(
        &tree,
        &["--mode", "semantic", "draw a round shape", "--limit", "1"],
        &["gfx.c:1:1:void paint_circle(int radius, int colour)"],
    );
    let json = tree.expect(0, &["search", "--json", "--mode", "hybrid", "get the contents of a file"]).json_lines();
    assert_eq!((&json[0]["path"], json[0]["line"].as_u64()), (&"io.c".into(), Some(1)), "{json:?}");
    let again = tree.expect(0, &["index", "--json"]).json_lines();
    assert_eq!((&again[0]["embedded"]["pending"], &again[0]["embedded"]["outcome"]), (&0.into(), &"done".into()));
    let status = tree.expect(0, &["status", "--json"]).json_lines();
    assert_eq!((&status[0]["vectors"]["files"], &status[0]["vectors"]["chunks"]), (&2.into(), &2.into()));
    assert!(tree.expect(0, &["status"]).lines().iter().any(|line| line.ends_with("of 2 chunks in 2 files")));
}

#[test]
fn no_hits_are_no_failure() {
    let tree = indexed();
    let done = tree.expect(0, &["search", "nowhere_to_be_found"]);
    assert!(done.out.is_empty());
    assert!(done.err.contains("no hits"), "{}", done.err);
    assert!(tree.expect(0, &["search", "()"]).err.contains("-F"), "no word in it");
}

#[test]
fn what_cannot_be_answered() {
    let tree = indexed();
    let wrong = tree.expect(2, &["search", "-E", "a(b"]);
    assert!(wrong.error().contains("unclosed group"), "{}", wrong.err);
    assert!(tree.expect(2, &["search", "x", "--lang", "klingon"]).error().contains("klingon"));
    assert!(tree.expect(2, &["search", "x", "--path-glob", "a["]).error().contains("--path-glob"));
    let bare = Tree::with(&[("a.c", "int take_lock(void);\n")]);
    bare.expect(0, &["--embed", "off"]);
    for mode in ["semantic", "hybrid"] {
        let done = bare.expect(1, &["search", "take a lock", "--mode", mode]);
        assert!(done.error().contains("run `leindex-engine embed`"), "{}", done.err);
    }
    assert!(bare.expect(0, &["embed"]).lines()[0].starts_with("embedded 1 chunk of 1 file"));
    assert_eq!(bare.expect(0, &["search", "take a lock", "--mode", "hybrid"]).lines().len(), 1);
    let wrong = bare.expect(2, &["--model", "nowhere"]);
    assert!(wrong.error().contains("nowhere: there is no config.json"), "{}", wrong.err);
    assert!(bare.expect(2, &["--embed", "cuda"]).error().contains("--model DIR"));
    let none = Tree::with(&[("a", "x")]);
    let done = none.expect(1, &["search", "x"]);
    assert!(done.error().contains("no index here: run `leindex-engine"), "{}", done.err);
    assert!(!none.path(".leindex-engine").exists(), "a search leaves nothing behind");
}

#[test]
fn json_is_as_designed() {
    let tree = indexed();
    let done = tree.expect(0, &["search", "--json", "take_lock"]);
    let lines = done.lines();
    let (summary, hits) = lines.split_last().unwrap();
    assert_eq!(hits.len(), 3);
    assert!(hits.iter().all(|hit| shape(hit) == shape(HIT)), "{hits:?}");
    assert_eq!(shape(summary), shape(SUMMARY));
    assert_eq!(done.err, "", "the summary is on stdout");
    let json = done.json_lines();
    assert_eq!(json[3]["summary"]["hits"], 3);
    assert_eq!(json[3]["summary"]["files"], 3);
    assert_eq!(json[3]["summary"]["generation"], 1);
    let line = tree.expect(0, &["search", "--json", "-F", "drop_lock"]).json_lines()[0].clone();
    let expect = serde_json::json!({"path": "src/lock.rs", "line": 3, "column": 4, "score": 1.0,
        "text": "fn drop_lock() {}"});
    assert_eq!(line, expect);
    let none = tree.expect(0, &["search", "--json", "nowhere"]);
    assert_eq!(none.lines().len(), 1, "only the summary");
}

#[test]
fn a_path_below_the_root() {
    let tree = indexed();
    let both = ["deep/lock.c:1:5:int take_lock(void);", "lock.rs:2:4:fn take_lock() {}"];
    check(&tree, &["-F", "take_lock", "src"], &both);
    check(&tree, &["-F", "take_lock", "./src/../src/"], &both);
    check(&tree, &["-F", "take_lock", "src", "--path-glob", "*.c"], &both[..1]);
    check(&tree, &["-F", "take_lock", "src", "--path-glob", "/*.c"], &[]);
    check(&tree, &["-F", "take_lock", "src", "--path-glob", "!*.c"], &both[1..]);
    check(&tree, &["-F", "take_lock", "doc"], &[]);
    check(&tree, &["-F", "other", "src/deep/[x].c"], &["[x].c:1:5:int other(void);"]);
    let mut below = tree.command(&["search", "-F", "take_lock", "--json"]);
    let done = Done::from(below.current_dir(tree.path("src/deep")).output().unwrap());
    assert_eq!(done.json_lines()[0]["path"], "lock.c", "{}", done.err);
    // What is not in the index is not in the answer, and a limit counts only what is below.
    fs::create_dir(tree.path("src/empty")).unwrap();
    check(&tree, &["-F", "take_lock", "src/empty"], &[]);
    check(&tree, &["-F", "lock", "src/deep", "--limit", "1"], &["lock.c:1:10:int take_lock(void);"]);
}

#[test]
fn the_innermost_index_answers() {
    let tree = indexed();
    tree.write("src/deep/new.c", "int brand_new;\n");
    check(&tree, &["brand_new"], &[]);
    tree.expect(0, &["src/deep"]);
    check(&tree, &["brand_new", "src/deep"], &["new.c:1:5:int brand_new;"]);
    check(&tree, &["brand_new", "src"], &[]);
}

#[test]
fn names_that_are_not_plain() {
    let tree = Tree::new();
    tree.write(odd_name(), "needle one\n");
    tree.write("new\nline.txt", "needle two\n");
    tree.write("sub/b\tc.txt", "needle three\n");
    tree.expect(0, &[]);
    let done = tree.expect(0, &["search", "-F", "needle"]);
    let has = |wanted: &[u8]| done.out.windows(wanted.len()).any(|window| window == wanted);
    assert!(has(b"odd\xff.txt:1:1:needle one\n"), "{}", done.text());
    assert!(has(b"new\nline.txt:1:1:needle two\n"), "{}", done.text());
    let json = tree.expect(0, &["search", "-F", "needle", "--json"]).json_lines();
    let paths: Vec<_> = json.iter().map(|line| line["path"].clone()).collect();
    assert!(paths.contains(&serde_json::json!({"bytes": "b2Rk/y50eHQ="})), "{paths:?}");
    assert!(paths.contains(&serde_json::json!("new\nline.txt")), "{paths:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let tree = Tree::with(&[("many.txt", &"needle\n".repeat(50_000))]);
    tree.expect(0, &[]);
    for args in [&["search", "-F", "needle", "--limit", "0"][..], &["search", "--json", "-F", "needle", "--limit", "0"]]
    {
        let mut command = tree.command(args);
        let piped = std::process::Stdio::piped;
        let mut child = command.stdout(piped()).stderr(piped()).spawn().unwrap();
        let mut first = [0; 10];
        std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut first).unwrap();
        let done = Done::from(child.wait_with_output().unwrap());
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    }
}

#[test]
fn files_that_are_gone_are_told_of() {
    let tree = indexed();
    fs::remove_file(tree.path("src/lock.rs")).unwrap();
    let done = check(&tree, &["-F", "take_lock"], &["src/deep/lock.c:1:5:int take_lock(void);"]);
    assert!(done.err.contains("1 indexed file"), "{}", done.err);
    assert!(done.err.contains("updates the index"), "{}", done.err);
}
