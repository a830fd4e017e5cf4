//! `files`, `status`, `verify`, `doctor`, `completions`, `man`, and the help.

use super::support::{Done, Tree, odd_name, shape};
use std::fs;
use std::io::Read;

#[test]
fn files_lists_what_the_walk_accepts() {
    let tree = Tree::with(&[("b.rs", ""), ("a/x.c", ""), (".hidden", ""), (".git/config", "")]);
    tree.write(odd_name(), "");
    tree.write("new\nline", "");
    let lines = tree.expect(0, &["files"]);
    let expect = b".hidden\na/x.c\nb.rs\nnew\nline\nodd\xff.txt\n";
    assert_eq!(lines.out, expect, "{}", lines.text());
    assert_eq!(lines.err, "");
    let null = tree.expect(0, &["files", "-0"]);
    assert_eq!(null.out, b".hidden\0a/x.c\0b.rs\0new\nline\0odd\xff.txt\0");
    let json = tree.expect(0, &["files", "--json"]).json_lines();
    assert_eq!(json.len(), 5);
    assert_eq!(json[3], serde_json::json!({"path": "new\nline"}));
    assert_eq!(json[4], serde_json::json!({"path": {"bytes": "b2Rk/y50eHQ="}}));
    assert_eq!(tree.files(&["a"]), ["x.c"], "relative to PATH");
    assert!(!tree.path(".leindex-engine").exists(), "files leaves nothing behind");
}

#[test]
fn files_ends_quietly_when_its_reader_does() {
    let tree = Tree::new();
    for number in 0..3000 {
        tree.write(format!("{number}-{}", "x".repeat(100)), "");
    }
    let piped = std::process::Stdio::piped;
    let mut child = tree.command(&["files"]).stdout(piped()).stderr(piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
}

#[test]
fn status_says_what_is_there() {
    let tree = Tree::with(&[("a.rs", "fn a() {}"), ("b.rs", "fn b() {}"), ("sub/c.c", "int c;"), ("d", "\0\0")]);
    let none = tree.expect(1, &["status"]);
    assert!(none.error().contains("no index here"), "{}", none.err);
    tree.expect(0, &[]);
    let text = tree.expect(0, &["status"]).text();
    for expect in ["generation  1", "3 files", "1 binary", "rust 2, c 1", tree.root().to_str().unwrap()] {
        assert!(text.contains(expect), "{expect}: {text}");
    }
    let json = tree.expect(0, &["status", "--json", "sub"]);
    let expect = "{root:string,index_dir:string,generation:int,published_ns:int,age_seconds:float,complete:bool,\
                  files:{indexed:int,binary:int,too_large:int},dirs:int,content_bytes:int,index_bytes:int,segments:int,\
                  languages:{c:int,rust:int},symbols:{files:int,pending:int},vectors:{files:int,chunks:int,pending:int},\
                  fresh:{state:string,as_of_ms:int}}";
    assert_eq!(shape(&json.text()), expect);
    let json = json.json();
    assert_eq!(json["root"], tree.root().to_str().unwrap(), "the index of the directory above");
    assert_eq!((&json["files"]["indexed"], &json["complete"]), (&3.into(), &true.into()));
}

/// Overwrites the middle of every segment file.
fn damage(tree: &Tree) {
    let mut damaged = 0;
    for entry in fs::read_dir(tree.path(".leindex-engine/text")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "term" || extension == "idx") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
}

#[test]
fn verify_finds_damage_and_repairs_it() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}"), ("b.rs", "fn b() {}")]);
    tree.expect(1, &["verify"]);
    tree.expect(0, &[]);
    let sound = tree.expect(0, &["verify"]);
    assert!(sound.text().starts_with("sound: generation 1"), "{}", sound.text());
    let kept = tree.expect(0, &["verify", "--repair"]);
    assert!(kept.text().starts_with("sound: generation 1"), "nothing to repair: {}", kept.text());

    damage(&tree);
    let found = tree.expect(1, &["verify"]);
    assert!(found.text().contains("damaged: "), "{}", found.text());
    assert!(found.error().contains("verify --repair"), "{}", found.err);
    let json = tree.run(&["verify", "--json"]);
    assert_eq!(json.code, Some(1));
    assert_eq!((&json.json()["sound"], &json.json()["repaired"]), (&false.into(), &false.into()));

    let repaired = tree.expect(0, &["verify", "--repair"]);
    assert!(repaired.text().contains("damaged: "), "it says what was: {}", repaired.text());
    assert!(repaired.text().contains("indexed 2 files"), "{}", repaired.text());
    assert!(repaired.text().contains("repaired"), "{}", repaired.text());
    tree.expect(0, &["verify"]);
    assert_eq!(tree.expect(0, &["search", "needle"]).text(), "a.rs:1:4:fn needle() {}\n");
}

#[test]
fn verify_repairs_what_does_not_open() {
    let tree = Tree::with(&[("a.rs", "fn needle() {}")]);
    tree.expect(0, &[]);
    let store = tree.path(".leindex-engine/meta/data.mdb");
    fs::write(&store, vec![0xab; 16384]).unwrap();
    tree.expect(1, &["verify"]);
    let json = tree.expect(0, &["verify", "--repair", "--json"]).json();
    assert_eq!((&json["sound"], &json["repaired"]), (&false.into(), &true.into()), "{json}");
    assert_eq!(json["run"]["files"]["indexed"], 1);
    assert_eq!(tree.expect(0, &["search", "needle"]).lines().len(), 1);
}

#[test]
fn doctor_says_what_to_do() {
    let tree = Tree::with(&[("a.rs", "x")]);
    let lines = tree.expect(0, &["doctor"]).lines();
    for line in &lines {
        let level = line.split_whitespace().next().unwrap();
        assert!(matches!(level, "ok" | "note" | "warn"), "{line}");
    }
    let has = |wanted: &str| lines.iter().any(|line| line.contains(wanted));
    for wanted in ["kernel", "cpu", "cores", "memory", "open files", "memlock", "io_uring", "inotify", "Hyperscan"] {
        assert!(has(wanted) || !cfg!(target_os = "linux"), "{wanted}: {lines:?}");
    }
    assert!(has("backend     uring: ") || has("backend     threads: "), "{lines:?}");
    assert!(has("ways taken  1 stats ("), "{lines:?}");
    assert!(has("there is none: run `leindex-engine "), "{lines:?}");
    tree.expect(0, &[]);
    let json = tree.expect(0, &["doctor", "--json"]);
    let finding = "{level:string,subject:string,value:string,next_step:";
    assert!(shape(&json.text()).starts_with(&format!("{{version:string,findings:[{finding}")), "{}", json.text());
    let findings = json.json()["findings"].clone();
    let index = findings.as_array().unwrap().iter().find(|finding| finding["subject"] == "index").unwrap().clone();
    assert_eq!(index["level"], "ok", "{index}");
    assert!(index["value"].as_str().unwrap().contains("generation 1"), "{index}");
    assert!(tree.expect(0, &["doctor", "missing"]).text().contains("warn  path"));
}

#[test]
fn scripts_and_pages_are_generated() {
    let tree = Tree::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = tree.expect(0, &["completions", shell]).text();
        assert!(script.contains("leindex-engine") && script.contains("max-file-size"), "{shell}");
    }
    let page = tree.expect(0, &["man"]).text();
    assert!(page.contains(".TH leindex-engine") && page.contains("leindex\\-engine\\-search"), "{page}");
    let page = tree.expect(0, &["man", "search"]).text();
    assert!(page.contains("path\\-glob"), "{page}");
    assert!(tree.expect(2, &["man", "nope"]).error().contains("nope"));
}

#[test]
fn help_and_version() {
    let tree = Tree::new();
    assert_eq!(tree.expect(0, &["--version"]).text(), format!("leindex-engine {}\n", env!("CARGO_PKG_VERSION")));
    let help = tree.expect(0, &["--help"]);
    assert_eq!(help.err, "");
    let names = [
        "index",
        "search",
        "files",
        "check-ignore",
        "explain",
        "status",
        "verify",
        "watch",
        "doctor",
        "completions",
        "man",
    ];
    for name in names.into_iter().chain(cfg!(feature = "mcp").then_some("mcp")) {
        assert!(help.text().contains(&format!("  {name} ")), "{name}: {}", help.text());
        let page = tree.expect(0, &[name, "--help"]).text();
        assert!(page.contains("Usage: leindex-engine"), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    }
    assert!(help.text().contains("Examples:") && help.text().contains("Exit codes:"));
}
