//! `outline`, `symbols`, `index --symbols` and `search --mode symbol`.

use super::support::{Tree, shape};

const SYMBOL: &str = r#"{"path":"rel","name":"x","kind":"function","line":1,"end_line":2,"container":null}"#;
const HIT: &str = r#"{"path":"rel","line":1,"column":1,"score":1.0,"text":"x","symbol":
    {"name":"x","kind":"function","line":1,"end_line":2,"container":null}}"#;
const EXTRACTED: &str = r#"{"type":"symbols","outcome":"done","pending":3,"files":3,"bytes":1,"symbols":4,
    "cut":{"time":0,"size":0,"count":0},"changed":0,"unreadable":0,"seconds":0.1}"#;

fn tree() -> Tree {
    Tree::with(&[
        ("lock.c", "struct lock;\nint take_lock(void)\n{\n\treturn 0;\n}\n"),
        ("lock.h", "#define LOCK_MAX 1\nint take_lock(void);\n"),
        ("lock.rs", "pub struct Lock;\nimpl Lock {\n    fn take_lock() {}\n}\n"),
        ("notes.txt", "take_lock\n"),
    ])
}

#[test]
fn an_outline_needs_no_index() {
    let tree = tree();
    assert_eq!(
        tree.expect(0, &["outline", "lock.rs"]).lines(),
        ["1  struct     Lock", "3  method     Lock::take_lock"]
    );
    let json = tree.expect(0, &["outline", "lock.c", "--json"]).json_lines();
    assert_eq!(json.len(), 1);
    assert_eq!(shape(&tree.expect(0, &["outline", "lock.c", "--json"]).text()), shape(SYMBOL));
    assert_eq!(
        (&json[0]["path"], &json[0]["name"], &json[0]["line"]),
        (&"lock.c".into(), &"take_lock".into(), &2.into())
    );
    let refused = tree.expect(1, &["outline", "notes.txt"]);
    assert!(refused.err.contains("notes.txt: there is no grammar for its language, text"), "{}", refused.err);
    let refused = tree.expect(1, &["outline", "missing.c"]);
    assert!(refused.err.contains("missing.c"), "{}", refused.err);
}

#[test]
fn names_are_searched_with_and_without_extraction() {
    let tree = tree();
    tree.expect(0, &[]);
    let hits = ["lock.c:2:5:int take_lock(void)", "lock.rs:3:8:    fn take_lock() {}"];
    assert_eq!(tree.expect(0, &["search", "--mode", "symbol", "take_lock"]).lines(), hits);
    let early = tree.expect(0, &["search", "--mode", "symbol", "take*"]);
    assert!(
        early.err.contains("the symbols of 3 files are not extracted yet: `leindex-engine symbols"),
        "{}",
        early.err
    );
    for shown in [&[][..], &["-l"]] {
        let args = [&["search", "--mode", "symbol", "take*", "--json"], shown].concat();
        assert_eq!(tree.expect(0, &args).json_lines()[0]["summary"]["symbols_pending"], 3, "{args:?}");
    }
    let status = tree.expect(0, &["status", "--json"]).json_lines();
    assert_eq!(status[0]["symbols"].to_string(), r#"{"files":0,"pending":3}"#);

    let done = tree.expect(0, &["symbols"]);
    assert!(done.lines()[0].starts_with("4 symbols in 3 files"), "{:?}", done.lines());
    for args in [&["take_lock"][..], &["take*"], &["tL"]] {
        assert_eq!(tree.expect(0, &[&["search", "--mode", "symbol"], args].concat()).lines(), hits, "{args:?}");
    }
    assert_eq!(tree.expect(0, &["search", "--mode", "symbol", "Lock::take_lock"]).lines(), [hits[1]]);
    let json = tree.expect(0, &["search", "--mode", "symbol", "take_lock", "--json"]);
    assert_eq!(shape(json.text().lines().next().unwrap()), shape(HIT));
    assert_eq!(tree.expect(0, &["search", "--mode", "symbol", "take_lock", "-c"]).lines(), ["lock.c:1", "lock.rs:1"]);
    let status = tree.expect(0, &["status", "--json"]).json_lines();
    assert_eq!(status[0]["symbols"].to_string(), r#"{"files":3,"pending":0}"#);
    assert!(tree.expect(0, &["status"]).text().contains("symbols     of 3 files\n"));
    tree.expect(0, &["verify"]);
}

#[test]
fn an_index_run_extracts_symbols_when_it_is_asked_to() {
    let tree = tree();
    let done = tree.expect(0, &["--symbols", "--json"]);
    let json = done.json_lines();
    assert_eq!(json.len(), 2);
    assert_eq!(json[0]["outcome"], "done");
    assert_eq!(shape(done.text().lines().last().unwrap()), shape(EXTRACTED));
    assert_eq!((&json[1]["files"], &json[1]["symbols"]), (&3.into(), &4.into()));
    let again = tree.expect(0, &["symbols", "--json"]).json_lines();
    assert_eq!((&again[0]["pending"], &again[0]["files"]), (&0.into(), &0.into()));
    let none = Tree::with(&[("a.c", "int a;\n")]).expect(1, &["symbols"]);
    assert!(none.err.contains("index"), "{}", none.err);
}
