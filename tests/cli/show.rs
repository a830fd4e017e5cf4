//! How `search` shows what it has found: lines around hits, paths only, counts, links, suggestions.

use super::support::{Tree, shape};
use super::terminal::on_terminal;

fn indexed() -> Tree {
    let lines = |range: std::ops::Range<usize>| range.map(|n| format!("line {n}\n")).collect::<String>();
    let tree = Tree::with(&[
        ("a b/c.rs", &format!("{}schedule_timeout();\n{}schedule_timeout(2);\n", lines(1..4), lines(5..9))),
        ("d.c", "schedule_timeout();\nlast\n"),
    ]);
    // Or they would be racy, and the next run would read them again.
    std::thread::sleep(std::time::Duration::from_millis(30));
    tree.expect(0, &[]);
    tree
}

/// The hits are two in one file and one in the other.
const ASKED: [&str; 5] = ["search", "-F", "schedule_timeout", "--sort", "path"];

#[track_caller]
fn text(tree: &Tree, more: &[&str]) -> String {
    tree.expect(0, &[&ASKED[..], more].concat()).text()
}

#[test]
fn context_in_a_pipe_and_under_headings() {
    let tree = indexed();
    let plain = "a b/c.rs-3-line 3\na b/c.rs:4:1:schedule_timeout();\na b/c.rs-5-line 5\n--\na b/c.rs-8-line 8\n\
                 a b/c.rs:9:1:schedule_timeout(2);\n--\nd.c:1:1:schedule_timeout();\nd.c-2-last\n";
    assert_eq!(text(&tree, &["-C1"]), plain);
    let heading =
        "a b/c.rs\n4:1:schedule_timeout();\n--\n9:1:schedule_timeout(2);\n\nd.c\n1:1:schedule_timeout();\n2-last\n";
    assert_eq!(text(&tree, &["-C9", "-B0", "-A1", "--heading"]).replace("5-line 5\n", ""), heading);
    let words = tree.expect(0, &["search", "schedule_timeout", "--sort", "path", "-A1"]).text();
    assert_eq!(
        words,
        "a b/c.rs:4:1:schedule_timeout();\na b/c.rs-5-line 5\n--\nd.c:1:1:schedule_timeout();\nd.c-2-last\n"
    );
    assert!(tree.expect(2, &["search", "x", "-C", "101"]).err.contains("from 0 to 100"));
    assert!(tree.expect(2, &["search", "x", "-A", "-1"]).err.contains("-1"));
}

#[test]
fn files_and_counts() {
    let tree = indexed();
    assert_eq!(text(&tree, &["-l"]), "a b/c.rs\nd.c\n");
    assert_eq!(text(&tree, &["-l", "-0"]), "a b/c.rs\0d.c\0");
    assert_eq!(text(&tree, &["-c"]), "a b/c.rs:2\nd.c:1\n");
    assert_eq!(text(&tree, &["-c", "a b"]), "c.rs:2\n");
    let done = tree.expect(0, &[&ASKED[..], &["-c", "--limit", "1"]].concat());
    assert_eq!(done.text(), "a b/c.rs:2\n");
    assert!(done.err.contains("1 file, 2 lines") && done.err.contains("--limit 0"), "{}", done.err);
    // In text mode the best come first; a line counts if it holds any word.
    let words = tree.expect(0, &["search", "-c", "line timeout"]).text();
    assert_eq!(words, "a b/c.rs:9\n");
    let none = tree.expect(0, &["search", "-l", "nowhere_at_all"]);
    assert!(none.out.is_empty() && none.err.contains("no hits"), "{}", none.err);
    assert!(tree.expect(2, &["search", "x", "-0"]).error().contains("-l and -c show"));
    assert_eq!(tree.run(&["search", "x", "-l", "-c"]).code, Some(2));
}

#[test]
fn hits_of_one_file_and_huge_lines_are_cut_and_that_is_said() {
    let tree = indexed();
    let done = tree.expect(0, &[&ASKED[..], &["-m", "1"]].concat());
    assert_eq!(done.text(), "a b/c.rs:4:1:schedule_timeout();\nd.c:1:1:schedule_timeout();\n");
    assert!(done.err.contains("1 file has more hits than --max-per-file"), "{}", done.err);
    tree.write("huge.json", format!("{}needle{}", "x ".repeat(100_000), " y".repeat(100_000)));
    tree.expect(0, &[]);
    let done = tree.expect(0, &["search", "-F", "needle"]);
    assert!(done.out.len() < 70_000 && done.text().starts_with("huge.json:1:200001:x x"), "{}", done.out.len());
    assert!(done.text().contains("needle") && done.err.contains("1 line is longer than 64 KiB"), "{}", done.err);
    let json = tree.expect(0, &["search", "-F", "needle", "--json"]).json_lines();
    assert_eq!((&json[0]["cut"], &json[0]["column"]), (&true.into(), &200_001.into()));
    let shown = on_terminal(&tree, 40, &["search", "-F", "needle", "--color", "never"], &[]);
    let line = shown.lines().nth(1).unwrap();
    assert!(line.contains("x needle y") && line.chars().count() == 40, "{shown}");
}

#[test]
fn json_shapes() {
    let tree = indexed();
    let check = |args: &[&str], first: &str, summary: &str| {
        let lines = tree.expect(0, &[&["search", "--json"], args].concat()).lines();
        if !first.is_empty() {
            assert_eq!(shape(&lines[0]), shape(first), "{args:?}");
        }
        assert_eq!(shape(lines.last().unwrap()), shape(&format!(r#"{{"summary":{summary}}}"#)), "{args:?}");
    };
    let hit = r#"{"path":"","line":1,"column":1,"score":1.0,"text":"","before":[""],"after":[""]}"#;
    let rest = r#""seconds":0.1,"generation":1,"fresh":{"state":"","as_of_ms":0}"#;
    let hits = format!(r#"{{"hits":1,"files":1,{rest}}}"#);
    check(&["schedule_timeout", "-g", "*.rs", "-C2"], hit, &hits);
    check(&["-E", "schedule_timeout", "-g", "*.rs", "-C2"], hit, &hits);
    let no_lines = r#"{"path":"","line":1,"column":1,"score":1.0,"text":"","before":[],"after":[""]}"#;
    check(&["-F", "schedule_timeout", "-g", "*.c", "-C2"], no_lines, &hits);
    let capped = format!(r#"{{"hits":1,"files":1,"capped_files":1,{rest}}}"#);
    check(&["-F", "schedule_timeout", "-m1"], "", &capped);
    check(&["-F", "schedule_timeout", "-l"], r#"{"path":""}"#, &format!(r#"{{"files":1,{rest}}}"#));
    let counted = format!(r#"{{"files":1,"lines":3,{rest}}}"#);
    check(&["-F", "schedule_timeout", "-c"], r#"{"path":"","lines":1}"#, &counted);
    let cut = format!(r#"{{"hits":1,"files":1,"truncated":true,{rest}}}"#);
    check(&["-F", "schedule_timeout", "--limit", "1"], "", &cut);
    let cut = format!(r#"{{"files":1,"lines":1,"truncated":true,{rest}}}"#);
    check(&["-F", "schedule_timeout", "-c", "--limit", "1"], "", &cut);
    let suggested = format!(r#"{{"hits":0,"files":0,{rest},"suggestions":[""]}}"#);
    check(&["schedule_timeuot"], "", &suggested);
    check(&["zzyzxzzyzx"], "", &format!(r#"{{"hits":0,"files":0,{rest}}}"#));
    let json = tree.expect(0, &["search", "--json", "-F", "schedule_timeuot"]).json_lines();
    assert_eq!(json[0]["summary"]["suggestions"], serde_json::json!(["schedule_timeout"]));
    std::fs::remove_file(tree.path("d.c")).unwrap();
    check(&["-F", "schedule_timeout"], "", &format!(r#"{{"hits":2,"files":1,"unreadable":1,{rest}}}"#));
    check(&["-F", "schedule_timeout", "-l"], "", &format!(r#"{{"files":1,"unreadable":1,{rest}}}"#));
}

#[test]
fn what_was_meant_is_suggested() {
    let tree = indexed();
    for args in [&["schedule_timeuot"][..], &["-F", "schedule_timeuot"], &["-l", "schedule_timeuot"]] {
        let done = tree.expect(0, &[&["search"], args].concat());
        assert!(done.out.is_empty() && done.err.contains("did you mean: schedule_timeout?\n"), "{}", done.err);
    }
    assert!(!tree.expect(0, &["search", "zzyzxzzyzx"]).err.contains("did you mean"));
}

#[test]
fn case_by_the_last_option() {
    let tree = Tree::with(&[("a", "Needle\nneedle\n")]);
    tree.expect(0, &[]);
    for (args, hits) in [
        (&["needle"][..], 1),
        (&["needle", "-i"], 2),
        (&["needle", "-S"], 2),
        (&["Needle", "-S"], 1),
        (&["Needle", "-S", "-i"], 2),
        (&["needle", "-i", "-s"], 1),
        (&["needle", "-s", "-S"], 2),
    ] {
        let done = tree.expect(0, &[&["search", "-F"], args].concat());
        assert_eq!(done.lines().len(), hits, "{args:?}");
    }
}

#[test]
fn paths_are_links_where_that_is_wanted() {
    let tree = indexed();
    let links = |text: &str| text.matches("\x1b]8;;file://").count();
    assert_eq!(links(&text(&tree, &[])), 0);
    assert_eq!(links(&text(&tree, &["--hyperlink", "auto", "--color", "always"])), 0, "never in pipes");
    let forced = text(&tree, &["--hyperlink", "always"]);
    assert_eq!(links(&forced), 3);
    let root = tree.root().to_str().unwrap().to_owned();
    assert!(forced.contains(&format!("{root}/a%20b/c.rs\x1b\\a b/c.rs\x1b]8;;\x1b\\:4:1:")), "{forced:?}");
    let below = tree.expect(0, &["search", "-F", "schedule_timeout", "a b", "-l", "--hyperlink", "always"]).text();
    assert!(below.contains("/a%20b/c.rs\x1b\\c.rs\x1b]8;;\x1b\\\n"), "{below:?}");
    let shown = |environment: &[(&str, &str)], more: &[&str]| {
        links(&on_terminal(&tree, 80, &[&ASKED[..], more].concat(), environment))
    };
    assert_eq!(shown(&[("TERM", "xterm-kitty")], &[]), 2, "a heading a file");
    assert_eq!(shown(&[("TERM", "xterm-kitty")], &["--no-heading"]), 3);
    assert_eq!(shown(&[("TERM", "xterm-kitty")], &["--hyperlink", "never"]), 0);
    assert_eq!(shown(&[("VTE_VERSION", "4000")], &[]), 0);
    assert_eq!(shown(&[], &["--hyperlink", "always"]), 2);
}

#[test]
fn on_a_terminal() {
    let tree = indexed();
    let shown = on_terminal(&tree, 80, &[&ASKED[..], &["-C1", "--color", "never"]].concat(), &[]);
    let expect = "a b/c.rs\n3-line 3\n4:1:schedule_timeout();\n5-line 5\n--\n8-line 8\n9:1:schedule_timeout(2);\n\n\
                  d.c\n1:1:schedule_timeout();\n2-last\n";
    assert!(shown.starts_with(expect), "{shown}");
    let colors = on_terminal(&tree, 80, &[&ASKED[..], &["-B1"]].concat(), &[]);
    assert!(
        colors.contains("\x1b[32m3\x1b[0m-line 3\n\x1b[32m4\x1b[0m:1:\x1b[1;31mschedule_timeout\x1b[0m();"),
        "{colors:?}"
    );
    let paged = text(&tree, &["--heading", "--color", "always"]);
    assert!(paged.starts_with("\x1b[35ma b/c.rs\x1b[0m\n\x1b[32m4\x1b[0m:1:\x1b[1;31mschedule"), "{paged:?}");
    // Nothing is wider than a narrow terminal but what stands before a text that is still worth reading.
    tree.write("wide.c", format!("{}\nschedule_timeout\x1b[2J{}\n", "before ".repeat(20), " after".repeat(20)));
    tree.expect(0, &[]);
    for columns in [1, 10, 20, 33, 60] {
        for more in [&["-C1"][..], &["-C1", "--no-heading"], &["-l"], &["-c"]] {
            let shown = on_terminal(&tree, columns, &[&ASKED[..], &["--color", "never"], more].concat(), &[]);
            let (wide, _) = shown.split_once("leindex-engine: ").unwrap();
            let most = wide.lines().map(|line| line.chars().count()).max().unwrap();
            let before = if more.contains(&"--no-heading") { 13 } else { 4 };
            assert!(most <= usize::from(columns).max(20).max(before + 12), "{columns} {more:?}: {shown}");
            assert!(!shown.contains('\x1b'), "{shown:?}");
        }
    }
}

#[test]
fn definitions_are_shown_the_same_way() {
    let tree = Tree::with(&[
        ("b.rs", "struct A;\nimpl A {\n    fn make() {}\n}\nstruct B;\nimpl B {\n    fn make() {}\n}\nfn make() {}\n"),
        ("a.rs", "// one\nfn make() {}\n"),
    ]);
    tree.expect(0, &[]);
    let text = |args: &[&str]| tree.expect(0, &[&["search", "--mode", "symbol", "make"], args].concat()).text();
    assert_eq!(text(&["-l", "--sort", "path"]), "a.rs\nb.rs\n");
    assert_eq!(text(&["-c", "--sortr", "path"]), "b.rs:3\na.rs:1\n");
    assert_eq!(text(&["-c", "--limit", "1", "--sort", "path"]).lines().count(), 1);
    let capped = tree.expect(0, &["search", "--mode", "symbol", "make", "-m", "1"]);
    assert_eq!(capped.lines().len(), 2, "{}", capped.text());
    assert!(capped.err.contains("1 file has more hits"), "{}", capped.err);
    // However the hits of a file are ordered, each line is there, and none under a wrong number.
    let shown = text(&["-C1", "--sort", "path"]);
    for line in ["a.rs-1-// one", "a.rs:2:4:fn make() {}", "b.rs-2-impl A {", "b.rs:3:8:    fn make() {}", "b.rs-4-}"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert_eq!(shown.lines().filter(|line| line.contains("make")).count(), 4, "{shown}");
    let meant = tree.expect(0, &["search", "--mode", "symbol", "mkae"]);
    assert!(meant.err.contains("did you mean: make?"), "{}", meant.err);
}
