//! Rule files that somebody wrote to do harm, or a program wrote without thinking: they are matched as ever, in time and
//! memory that grow with their size and not faster, and a warning names them.
#![cfg(unix)]

mod support;

use leindex_engine::rules::{Case, Database, RuleFile, Scratch, Source, SourceKind, Stack};
use proptest::prelude::*;
use std::process::Command;
use std::sync::Arc;
use support::Place;

fn file(content: &[u8], case: Case) -> RuleFile {
    let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
    RuleFile::parse(source, content, case)
}

/// Fifty thousand rules of every shape, ten megabytes of them, over a tree of two thousand files.
#[test]
fn very_many_rules_are_obeyed_and_named() {
    let place = Place::new();
    let shapes: [fn(usize) -> String; 6] = [
        |n| format!("packages/{n}/dist/*.js"),
        |n| format!("name-{n}-{}", "x".repeat(1000)),
        |n| format!("**/a{n}?/b*[0-9]c"),
        |n| format!("*{n}*x*y*z"),
        |n| format!("/dir{n}/**/*.o"),
        |n| format!("a**/{n}*b"),
    ];
    let rules: String = (0..50_000).map(|n| shapes[n % shapes.len()](n) + "\n").collect();
    assert!(rules.len() > 8 << 20);
    place.write(".leindexignore", rules);
    for n in 0..2000 {
        place.write(format!("packages/{}/dist/{n}.js", n % 40), "word");
        place.write(format!("packages/{}/src/{n}.js", n % 40), "word");
    }
    place.write("dir4/deep/er/x.o", "word");
    // An index of them, too: nothing is compiled that takes for ever.
    let report = support::run(&place.engine());
    assert_eq!(report.files.indexed, 4000 - 7 * 50 + 1, "{report:?}");
    let done =
        Command::new(env!("CARGO_BIN_EXE_leindex-engine")).arg("files").current_dir(place.root()).output().unwrap();
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    // Rules 0, 6, 12, ... are those for packages: of 40 seven are named.
    let ignored = |line: &&str| line.contains("/dist/");
    assert_eq!(out.lines().filter(ignored).count(), 2000 - 7 * 50, "{err}");
    assert!(!out.contains("x.o") && out.contains("packages/0/src/0.js"));
    assert_eq!(
        err.lines().filter(|line| line.contains(".leindexignore") && line.contains("rules=50000")).count(),
        1,
        "{err}"
    );
}

/// Patterns that make a matcher that tries everything try everything.
#[test]
fn patterns_built_to_explode_do_not() {
    let bombs = [
        "*a".repeat(200) + "b",
        "**/a/".repeat(100) + "b",
        "[a-z]*".repeat(150) + "0",
        "?*".repeat(200) + "0",
        "*/**/".repeat(100) + "b*",
        "a*?".repeat(100) + "/b",
    ];
    let text = bombs.join("\n");
    let portable = Stack::new(vec![file(text.as_bytes(), Case::Sensitive)]);
    let database = Database::compile(&portable.expressions()).ok().map(Arc::new);
    let stacks = [portable, Stack::with_database(vec![file(text.as_bytes(), Case::Sensitive)], database)];
    let paths = ["a".repeat(250), vec!["a"; 1000].join("/"), vec!["a".repeat(250); 15].join("/")];
    for path in paths {
        for stack in &stacks {
            let dir = path.rfind('/').map_or(0, |slash| slash + 1);
            let in_dir = stack.in_dir(&path.as_bytes()[..dir]);
            assert!(in_dir.verdict(path.as_bytes(), false, &mut Scratch::default()).is_none());
        }
    }
}

/// Bytes that mean something to rules, and some that do not.
fn rule_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => prop::sample::select(&b"*?[]!/\\-^#.ab"[..]),
        2 => prop::sample::select(&b"AZaz09 \t\r\n\0:"[..]),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..60)
}

fn path_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![6 => prop::sample::select(&b"ab.AB/-"[..]), 1 => 1..=u8::MAX];
    prop::collection::vec(byte, 1..20).prop_map(|bytes| {
        let parts: Vec<&[u8]> = bytes.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { b"a".to_vec() } else { parts.join(&b'/') }
    })
}

proptest! {
    /// Any bytes are a rule file: nothing panics, the translation compiles, and both back ends say the same. What they say
    /// is compared with git in `differential_git`. More cases: PROPTEST_CASES.
    #[test]
    fn any_bytes_are_rules(content in rule_bytes(), paths in prop::collection::vec((path_bytes(), any::<bool>()), 1..20), blind: bool) {
        let case = if blind { Case::Insensitive } else { Case::Sensitive };
        let portable = Stack::new(vec![file(&content, case)]);
        for expression in portable.expressions().texts().into_iter().flatten() {
            let compiled = regex::bytes::Regex::new(&format!("(?s-u){expression}"));
            prop_assert!(compiled.is_ok(), "{}: {expression}", content.escape_ascii());
        }
        // Four more without a key, so that the scan is worth it.
        let more = [&content[..], b"\nq?\nq*w\nq[w]\n*q\n"].concat();
        let expected = Stack::new(vec![file(&more, case)]);
        let database = Database::compile(&expected.expressions()).ok().map(Arc::new);
        let scanned = Stack::with_database(vec![file(&more, case)], database);
        let mut scratch = Scratch::default();
        for (path, is_dir) in &paths {
            let dir = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            let line = |stack: &Stack, scratch: &mut Scratch| {
                stack.in_dir(&path[..dir]).verdict(path, *is_dir, scratch).map(|found| (found.line, found.ignored))
            };
            prop_assert_eq!(line(&expected, &mut scratch), line(&scanned, &mut scratch), "{} on {}", more.escape_ascii(), path.escape_ascii());
        }
    }
}
