//! Symbols: extracted beside the text index, found by name, and never older than the files they are in.
#![cfg(feature = "symbols")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use leindex_engine::symbols::SymbolKind;
use leindex_engine::{Engine, Mode, OpenError, Query, QueryError, SearchResult, Sort};
use std::time::Duration;
use support::Place;

const TIMER_C: &str = "#include <linux/timer.h>\n\nstatic long schedule_timeout(long timeout)\n{\n\treturn timeout;\n}\n\nlong\nschedule_hrtimeout(void)\n{\n\treturn schedule_timeout(1);\n}\n";

fn tree() -> Place {
    let place = Place::new();
    place.write("kernel/time/timer.c", TIMER_C);
    place.write(
        "include/timer.h",
        "#define TIMER_MAX 8\nstruct timer_list { int a; };\nlong schedule_timeout(long timeout);\n",
    );
    place.write("lib/user.c", "void user(void) { schedule_timeout(3); }\n");
    place
        .write("src/net.rs", "pub struct Socket;\nimpl Socket {\n    pub fn send_all(&self) {}\n}\nfn send_all() {}\n");
    place.write("notes.md", "schedule_timeout is in timer.c\n");
    support::settle(&place.root());
    place
}

fn find(engine: &Engine, name: &str) -> SearchResult {
    engine.snapshot().unwrap().search(&Query::new(Mode::Symbol, name)).unwrap()
}

/// `path:line:column kind name`.
#[track_caller]
fn check(engine: &Engine, name: &str, expect: &[&str]) {
    let found = find(engine, name);
    let hits: Vec<String> = found
        .hits
        .iter()
        .map(|hit| {
            let symbol = hit.symbol.as_ref().unwrap();
            format!("{}:{}:{} {} {}", hit.path.display(), hit.line, hit.column, symbol.kind, symbol.name)
        })
        .collect();
    assert_eq!(hits, expect, "{name}: {found:#?}");
}

fn check_names(engine: &Engine) {
    check(engine, "schedule_timeout", &["kernel/time/timer.c:3:13 function schedule_timeout"]);
    check(engine, "SCHEDULE_TIMEOUT", &["kernel/time/timer.c:3:13 function schedule_timeout"]);
    check(engine, "schedule_hrtimeout", &["kernel/time/timer.c:9:1 function schedule_hrtimeout"]);
    check(engine, "timer_list", &["include/timer.h:2:8 struct timer_list"]);
    check(engine, "Socket::send_all", &["src/net.rs:3:12 method send_all"]);
    check(engine, "send_all", &["src/net.rs:3:12 method send_all", "src/net.rs:5:4 function send_all"]);
}

#[test]
fn names_are_found_with_and_without_stored_symbols() {
    let place = tree();
    let engine = place.engine();
    support::run(&engine);
    check_names(&engine);
    assert_eq!(find(&engine, "schedule_timeout").symbols_pending, 0, "few files are parsed on the spot");
    // Beginnings are looked for in what is stored.
    let beginnings = find(&engine, "sched*");
    assert!(beginnings.hits.is_empty() && beginnings.symbols_pending > 0, "{beginnings:#?}");

    let report = engine.symbols().wait().unwrap();
    assert_eq!((report.pending, report.files, report.changed, report.unreadable), (4, 4, 0, 0));
    assert_eq!(report.symbols, 2 + 2 + 1 + 3);
    check_names(&engine);
    check(
        &engine,
        "sched*",
        &["kernel/time/timer.c:3:13 function schedule_timeout", "kernel/time/timer.c:9:1 function schedule_hrtimeout"],
    );
    check(&engine, "hrSch", &[]);
    check(&engine, "schedHrt", &["kernel/time/timer.c:9:1 function schedule_hrtimeout"]);
    check(&engine, "tim_l", &["include/timer.h:2:8 struct timer_list"]);
    check(&engine, "nothing_of_this", &[]);
    let found = engine.verify().unwrap();
    assert!(found.is_sound(), "{found:#?}");
    let again = engine.symbols().wait().unwrap();
    assert_eq!((again.pending, again.files), (0, 0), "nothing is done twice");
}

/// A definition that no look at its lines tells from a call.
#[test]
fn words_find_the_file_that_defines_them_first() {
    let place = Place::new();
    for number in 0..40 {
        place.write(format!("a/f{number}.c"), "void user(void)\n{\n\tstart_thing(1);\n\tstart_thing(2);\n}\n");
    }
    place.write("z/deep/down/other.c", "int\n(start_thing)\n(int a)\n{\n\treturn a;\n}\n");
    let engine = place.engine();
    support::run(&engine);
    let first = || engine.snapshot().unwrap().search(&Query::text("start_thing")).unwrap().hits[0].path.clone();
    assert!(first().starts_with("a"), "nothing is known yet");
    engine.symbols().wait().unwrap();
    assert_eq!(first(), std::path::Path::new("z/deep/down/other.c"));
}

#[test]
fn filters_limits_and_context_hold_for_symbols() {
    let place = Place::new();
    for number in 0..30 {
        place.write(format!("d{}/f{number:02}.c", number % 3), "int before;\nint wanted(void)\n{\n}\n");
    }
    place.write("d0/x.py", "def wanted():\n    pass\n");
    let engine = place.engine();
    support::run(&engine);
    engine.symbols().wait().unwrap();
    let snapshot = engine.snapshot().unwrap();
    let query = || Query::new(Mode::Symbol, "wanted");
    let count = |query: Query| snapshot.search(&query).map(|found| (found.hits.len(), found.truncated)).unwrap();
    assert_eq!(count(query()), (20, true));
    assert_eq!(count(query().limit(0)), (31, false));
    assert_eq!(count(query().limit(0).path_glob("d1/")), (10, false));
    assert_eq!(count(query().language("python")), (1, false));
    assert_eq!(count(Query::new(Mode::Symbol, "wan*").limit(0).path_glob("d1/")), (10, false));
    assert_eq!(count(Query::new(Mode::Symbol, "wan*").language("python")), (1, false));
    let found = snapshot.search(&query().path_glob("f00.c").context(1, 1)).unwrap();
    assert_eq!(
        (&found.hits[0].before[..], &found.hits[0].after[..]),
        (&["int before;".to_owned()][..], &["{".to_owned()][..])
    );
}

/// The many names of one file are the shorter ones, so they fit better.
#[test]
fn a_file_with_many_names_does_not_hide_others() {
    let place = Place::new();
    let many: String = (0..9000).map(|number| format!("int wanted_{number};\n")).collect();
    place.write("a.c", many);
    place.write("b/b.c", "int wanted_with_a_long_name;\nint wanted_with_another_name;\n");
    let engine = place.engine();
    support::run(&engine);
    engine.symbols().wait().unwrap();
    let snapshot = engine.snapshot().unwrap();
    let query = || Query::new(Mode::Symbol, "wanted*").limit(5);
    let all = snapshot.search(&query()).unwrap();
    assert_eq!((all.hits.len(), all.truncated, all.files), (5, true, 1));
    let found = snapshot.search(&query().per_file(1)).unwrap();
    let paths: Vec<_> = found.hits.iter().map(|hit| hit.path.to_str().unwrap()).collect();
    assert_eq!((paths, found.truncated, found.capped_files), (vec!["a.c", "b/b.c"], false, 2));
    let found = snapshot.search(&query().path_glob("b/")).unwrap();
    assert_eq!((found.hits.len(), found.truncated, found.capped_files), (2, false, 0));
    let none = snapshot.search(&query().path_glob("c/")).unwrap();
    assert_eq!((none.hits.len(), none.truncated), (0, false));
}

/// The first hits do not depend on how many are asked for.
#[test]
fn pages_of_names_agree() {
    let place = Place::new();
    for file in 0..30 {
        let names: String =
            (0..400).map(|number| format!("int name_{:04};\n", (file * 400 + number) * 7 % 9973)).collect();
        place.write(format!("d{}/{file}.c", file % 4), names);
    }
    let engine = place.engine();
    support::run(&engine);
    engine.symbols().wait().unwrap();
    let snapshot = engine.snapshot().unwrap();
    let first = |limit: usize| {
        let found = snapshot.search(&Query::new(Mode::Symbol, "name_*").limit(limit)).unwrap();
        assert!(found.truncated && found.hits.len() == limit);
        found.hits.into_iter().map(|hit| (hit.path, hit.line)).collect::<Vec<_>>()
    };
    let page = first(60);
    assert_eq!((&first(20)[..], &first(40)[..]), (&page[..20], &page[..40]));
}

#[test]
fn matching_files_are_sorted_by_path() {
    let place = Place::new();
    place.write("z.c", "int wanted(void)\n{\n}\n");
    place.write("b/y.c", "int Wanted;\n");
    place.write("a.c", "int wanted;\n");
    let engine = place.engine();
    support::run(&engine);
    let snapshot = engine.snapshot().unwrap();
    let files = |query: Query| {
        let found = snapshot.matching_files(&query).unwrap();
        found.files.into_iter().map(|file| file.path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let query = || Query::new(Mode::Symbol, "wanted");
    assert_eq!(files(query()), ["a.c", "b/y.c", "z.c"]);
    assert_eq!(files(query().sort(Sort::Score, false)), ["z.c", "a.c", "b/y.c"]);
    assert_eq!(files(query().limit(2)), ["a.c", "z.c"], "the best ones come through");
}

#[test]
fn mentions_at_the_old_place_are_no_definitions() {
    let place = Place::new();
    let before = "int f(void)\n{\n\treturn 1;\n}\n\nint g(void)\n{\n\treturn 2;\n}\n";
    place.write("a.c", before);
    place.write("b.c", "#ifdef A\nint twice(void)\n{\n}\n#else\nint twice(void)\n{\n}\n#endif\n");
    support::settle(&place.root());
    let engine = place.engine();
    support::run(&engine);
    engine.symbols().wait().unwrap();
    check(&engine, "f", &["a.c:1:5 function f"]);
    check(&engine, "twice", &["b.c:2:5 function twice", "b.c:6:5 function twice"]);
    // Of the same size, and with the name where it was.
    let after = "int g(void)\n{\n\treturn 2;\n}\n\nint f(void)\n{\n\treturn 1;\n}\n";
    place.write("a.c", after);
    check(&engine, "f", &["a.c:6:5 function f"]);
    place.write("a.c", format!("/* f (void) and g are below */\n\n\n\n\n/* g */\n{before}"));
    check(&engine, "f", &["a.c:7:5 function f"]);
    check(&engine, "g", &["a.c:12:5 function g"]);
    place.write("a.c", "/* f and g are gone */\n");
    let found = find(&engine, "f");
    assert_eq!((found.hits.len(), found.unreadable), (0, 1));
    let moved = format!("{}{}", "/* twice */\n".repeat(20), std::fs::read_to_string(place.root().join("b.c")).unwrap());
    place.write("b.c", moved);
    check(&engine, "twice", &["b.c:22:5 function twice", "b.c:26:5 function twice"]);
}

#[test]
fn symbols_follow_their_files() {
    let place = tree();
    let engine = place.engine();
    support::run(&engine);
    engine.symbols().wait().unwrap();
    std::thread::sleep(support::CLOCK_TICK);
    // Changed, but not indexed again: what is shown is what is there.
    place.write("kernel/time/timer.c", format!("/* moved */\n\n{TIMER_C}"));
    check(&engine, "schedule_timeout", &["kernel/time/timer.c:5:13 function schedule_timeout"]);
    place.write("kernel/time/timer.c", "int other;\n");
    let found = find(&engine, "schedule_timeout");
    assert_eq!((found.hits.len(), found.unreadable), (0, 1));
    std::fs::remove_file(place.root().join("src/net.rs")).unwrap();
    support::run(&engine);
    check(&engine, "schedule_timeout", &[]);
    check(&engine, "send_all", &[]);
    // Before anything was extracted again.
    check(&engine, "other", &["kernel/time/timer.c:1:5 variable other"]);
    let report = engine.symbols().wait().unwrap();
    assert_eq!((report.pending, report.files), (1, 1));
    check(&engine, "oth*", &["kernel/time/timer.c:1:5 variable other"]);
    let found = engine.verify().unwrap();
    assert!(found.is_sound(), "{found:#?}");
}

#[test]
fn a_file_that_changed_before_it_was_read_gets_none() {
    let place = tree();
    let engine = place.engine();
    support::run(&engine);
    place.write("lib/user.c", "int longer_than_before_and_so_another_version_of_the_file;\n");
    std::fs::remove_file(place.root().join("include/timer.h")).unwrap();
    let report = engine.symbols().wait().unwrap();
    assert_eq!((report.files, report.changed, report.unreadable), (2, 1, 1));
}

#[test]
fn extraction_is_cancelled_and_goes_on_where_it_was() {
    let place = Place::new();
    for number in 0..2000 {
        place.write(format!("f{number}.c"), format!("int name{number}(void)\n{{\n\treturn 1;\n}}\n").repeat(20));
    }
    let engine = place.engine();
    support::run(&engine);
    let run = engine.symbols();
    while run.progress().files == 0 && !run.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    run.canceller().cancel();
    let first = run.wait().unwrap();
    let second = engine.symbols().wait().unwrap();
    assert_eq!(first.files + second.files, 2000, "{first:?} {second:?}");
    assert_eq!(second.pending, 2000 - first.files);
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn runs_and_extraction_do_not_refuse_each_other() {
    let place = Place::new();
    for number in 0..600 {
        place.write(format!("f{number}.c"), format!("int name{number};\n"));
    }
    let engine = place.engine();
    support::run(&engine);
    let other = engine.clone();
    for round in 0..5 {
        let symbols = engine.symbols();
        for number in 0..20 {
            place.write(format!("f{number}.c"), format!("int round{round}_{number};\n"));
        }
        support::run(&other);
        symbols.wait().unwrap();
    }
    let last = engine.symbols().wait().unwrap();
    assert_eq!((last.changed, last.unreadable), (0, 0));
    assert_eq!(find(&engine, "round4_7").hits.len(), 1);
    assert_eq!(find(&engine, "round4_*").hits.len(), 20);
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn an_outline_is_of_the_file_as_it_is() {
    let place = tree();
    let engine = place.engine();
    // No index is needed.
    let outline = engine.outline("src/net.rs").unwrap();
    assert_eq!(outline.language, "rust");
    let names: Vec<_> = outline.symbols.iter().map(|s| (s.kind, &s.name[..], s.container.as_deref())).collect();
    let expect = [
        (SymbolKind::Struct, "Socket", None),
        (SymbolKind::Method, "send_all", Some("Socket")),
        (SymbolKind::Function, "send_all", None),
    ];
    assert_eq!(names, expect);
    assert_eq!(engine.outline(place.root().join("src/net.rs")).unwrap(), outline);
}

#[test]
fn outlines_of_what_is_no_source_file_say_why() {
    let place = tree();
    let engine = place.engine();
    let refused = |path: &str| match engine.outline(path).unwrap_err() {
        QueryError::File { path: named, detail } => (named.display().to_string(), detail),
        other => panic!("{path}: {other}"),
    };
    assert!(refused("notes.md").1.contains("no grammar for its language, markdown"));
    assert!(refused("../x.c").1.contains("not a file below"));
    assert!(refused("/etc/passwd").1.contains("not a file below"));
    assert!(refused("").1.contains("not a file below"));
    assert_eq!(refused("missing.c").0, "missing.c");
    assert_eq!(refused("src").0, "src");
    place.write("binary.c", b"int a;\0\x01\x02\xff\xfe");
    assert!(refused("binary.c").1.contains("not text"));
    #[cfg(unix)]
    {
        let outside = support::scratch();
        std::fs::write(outside.path().join("secret.c"), "int secret;\n").unwrap();
        std::os::unix::fs::symlink(outside.path(), place.root().join("out")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.c"), place.root().join("link.c")).unwrap();
        assert!(refused("out/secret.c").1.contains("leads out"));
        refused("link.c");
        std::os::unix::fs::symlink("src", place.root().join("in")).unwrap();
        assert!(!engine.outline("in/net.rs").unwrap().symbols.is_empty(), "a link that stays inside");
    }
}

#[test]
fn without_an_index_there_is_nothing_to_extract() {
    let place = tree();
    let error = place.engine().symbols().wait().unwrap_err();
    assert!(matches!(error, leindex_engine::RunError::Open(OpenError::NoIndex { .. })), "{error:?}");
}
