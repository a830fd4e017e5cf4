//! Text search as a person expects it: spellings of an identifier find each other, the one that was typed comes first, and
//! filters hold.
#![allow(clippy::unwrap_used)]

use leindex_engine::{Engine, Query, Ranking, SearchResult, Snapshot};
use std::path::Path;

/// A tree and its index.
struct Indexed {
    tree: tempfile::TempDir,
    snapshot: Snapshot,
}

fn indexed(files: &[(&str, &str)]) -> Indexed {
    let files: Vec<_> = files.iter().map(|(path, content)| (*path, content.as_bytes())).collect();
    indexed_bytes(&files)
}

fn indexed_bytes(files: &[(&str, &[u8])]) -> Indexed {
    let tree = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let engine = Engine::builder().open(tree.path()).unwrap();
    let report = engine.index().wait().unwrap();
    assert_eq!(report.files.indexed, files.len() as u64);
    let snapshot = engine.snapshot().unwrap();
    Indexed { tree, snapshot }
}

impl Indexed {
    fn search(&self, query: &Query) -> SearchResult {
        self.snapshot.search(query).unwrap()
    }

    /// Paths of the hits, in order.
    #[track_caller]
    fn check(&self, query: &Query, expect: &[&str]) {
        let found = self.search(query);
        let paths: Vec<&Path> = found.hits.iter().map(|hit| hit.path.as_path()).collect();
        let expect: Vec<&Path> = expect.iter().map(Path::new).collect();
        assert_eq!(paths, expect, "{query:?}: {:#?}", found.hits);
    }

    /// Paths of the hits, in any order.
    #[track_caller]
    fn check_set(&self, query: &Query, expect: &[&str]) {
        let mut paths: Vec<_> = self.search(query).hits.into_iter().map(|hit| hit.path).collect();
        paths.sort();
        let expect: Vec<_> = expect.iter().map(std::path::PathBuf::from).collect();
        assert_eq!(paths, expect, "{query:?}");
    }
}

fn spellings() -> Indexed {
    indexed(&[
        ("camel.js", "function scheduleTimeout(delay) {}\n"),
        ("snake.c", "long schedule_timeout(long timeout);\n"),
        ("shout.h", "#define SCHEDULE_TIMEOUT 1\n"),
        ("apart.txt", "a timeout of the schedule\n"),
        ("neither.c", "int nothing;\n"),
    ])
}

#[test]
fn the_spelling_that_was_typed_comes_first_and_brings_the_others() {
    let indexed = spellings();
    for (typed, first) in
        [("schedule_timeout", "snake.c"), ("scheduleTimeout", "camel.js"), ("SCHEDULE_TIMEOUT", "shout.h")]
    {
        let found = indexed.search(&Query::text(typed));
        assert_eq!(found.hits[0].path, Path::new(first), "{typed}");
        assert_eq!(found.hits[3].path, Path::new("apart.txt"), "the words alone come last: {typed}");
    }
    indexed.check_set(&Query::text("schedule_timeout"), &["apart.txt", "camel.js", "shout.h", "snake.c"]);
    indexed.check_set(&Query::text("timeout"), &["apart.txt", "camel.js", "shout.h", "snake.c"]);
    let hit = &indexed.search(&Query::text("schedule_timeout")).hits[0];
    assert_eq!((hit.line, hit.column, &hit.text[..]), (1, 6, "long schedule_timeout(long timeout);"));
}

#[test]
fn an_exact_identifier_is_found_below_many_files_that_only_hold_its_words() {
    let mut files: Vec<(String, String)> = (0..600)
        .map(|number| (format!("d{}/f{number}.txt", number % 20), "the state of a lock, lock state\n".repeat(9)))
        .collect();
    let padding = "other words on other lines\n".repeat(400);
    files.push(("zz/defined.c".into(), format!("{padding}int lock_state;\n")));
    let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, content)| (&path[..], &content[..])).collect();
    let indexed = indexed(&borrowed);
    indexed.check(&Query::text("lock_state").limit(1), &["zz/defined.c"]);
}

#[test]
fn prefixes_phrases_and_words_that_are_not_all_there() {
    let indexed = spellings();
    indexed.check_set(&Query::text("sched*"), &["apart.txt", "camel.js", "shout.h", "snake.c"]);
    indexed.check(&Query::text("\"of the schedule\""), &["apart.txt"]);
    indexed.check(&Query::text("\"the of schedule\""), &[]);
    // No file holds both: those that hold one are better than nothing.
    indexed.check_set(&Query::text("nothing delay"), &["camel.js", "neither.c"]);
    indexed.check(&Query::text("absent"), &[]);
    indexed.check(&Query::text(" -- "), &[]);
}

#[test]
fn filters_hold_in_every_mode() {
    let indexed = indexed(&[
        ("a/one.rs", "needle\n"),
        ("a/two.c", "needle\n"),
        ("b/three.rs", "needle\nNEEDLE\n"),
        ("b/test/four.rs", "needle\n"),
    ]);
    for query in [Query::text("needle"), Query::substring("needle"), Query::regex("ne+dle")] {
        indexed.check_set(&query.clone().language("rust"), &["a/one.rs", "b/test/four.rs", "b/three.rs"]);
        indexed.check_set(&query.clone().language("rs").language("C").path_glob("a/**"), &["a/one.rs", "a/two.c"]);
        indexed.check_set(&query.clone().path_glob("*.rs").path_glob("!test/"), &["a/one.rs", "b/three.rs"]);
        indexed.check_set(&query.clone().path_glob("!**/test/**"), &["a/one.rs", "a/two.c", "b/three.rs"]);
        let limited = indexed.search(&query.limit(2));
        assert_eq!((limited.hits.len(), limited.truncated), (2, true));
    }
    let lines = |query: Query| indexed.search(&query.path_glob("b/three.rs")).hits.len();
    assert_eq!(lines(Query::substring("needle")), 1);
    assert_eq!(lines(Query::substring("needle").case_insensitive(true)), 2);
    assert_eq!(lines(Query::regex("^NEEDLE$")), 1);
}

#[test]
fn a_filter_does_not_hide_what_ranks_low() {
    let mut files: Vec<(String, String)> =
        (0..2300).map(|number| (format!("many/f{number}"), "state of the lock\n".repeat(3))).collect();
    files.push(("few/low.txt".into(), format!("{}state of the lock\n", "other words\n".repeat(300))));
    let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, content)| (&path[..], &content[..])).collect();
    let indexed = indexed(&borrowed);
    indexed.check(&Query::text("\"of the lock\"").path_glob("few/*"), &["few/low.txt"]);
    indexed.check(&Query::text("state lock").path_glob("few/*"), &["few/low.txt"]);
}

/// Numbers have no frequencies in the index. tantivy's scorer of intersections panics when it is asked for them.
#[test]
fn words_and_numbers_can_be_combined() {
    let files: Vec<(String, String)> =
        (0..300).map(|number| (format!("f{number}"), format!("alpha beta 7 {number}\n"))).collect();
    let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, content)| (&path[..], &content[..])).collect();
    let indexed = indexed(&borrowed);
    indexed.check(&Query::text("alpha 123"), &["f123"]);
    assert_eq!(indexed.search(&Query::text("alpha 7").limit(0)).hits.len(), 300);
    assert_eq!(indexed.search(&Query::text("7 beta alpha").limit(0)).hits.len(), 300);
    indexed.check_set(
        &Query::text("29* alpha"),
        &["f29", "f290", "f291", "f292", "f293", "f294", "f295", "f296", "f297", "f298", "f299"],
    );
}

#[test]
fn the_plan_can_be_read() {
    let indexed = spellings();
    assert_eq!(indexed.search(&Query::text("schedule_timeout")).plan, "AND(schedule, timeout)");
    assert_eq!(indexed.search(&Query::substring("le_time")).plan, "AND(prefix:\"time\", suffix:\"le\")");
}

#[test]
fn the_definition_comes_before_its_uses() {
    let uses = "\tread_pages(a);\n".repeat(40);
    let indexed = indexed(&[
        ("a/read_pages_user.c", &uses),
        ("b/header.h", "int read_pages(int a);\n"),
        ("z/z/z/deep.c", &format!("{}int read_pages(int a)\n{{\n\treturn a;\n}}\n", "int filler;\n".repeat(500))),
    ]);
    let found = indexed.search(&Query::text("read_pages"));
    assert_eq!(found.hits[0].path, Path::new("z/z/z/deep.c"));
    assert_eq!((found.hits[0].line, found.hits[0].column), (501, 5), "the line is that of the definition");
    let found = indexed.search(&Query::text("readPages"));
    assert_eq!(found.hits[0].path, Path::new("z/z/z/deep.c"), "in another spelling too");
}

#[test]
fn a_kind_of_definition_can_be_asked_for() {
    let indexed = indexed(&[
        ("page.c", "struct page *page(struct page *page)\n{\n\tpage = next(page);\n\treturn page;\n}\n"),
        ("types.h", "int before;\nstruct page {\n\tint flags;\n};\n"),
    ]);
    let hit = &indexed.search(&Query::text("struct page")).hits[0];
    assert_eq!((hit.path.as_path(), hit.line), (Path::new("types.h"), 2));
}

#[test]
fn names_of_files_and_directories_say_what_they_are_about() {
    let text = "the hub and its port, and a reset of the hub port\n";
    let indexed = indexed(&[
        ("net/other.c", text),
        ("usb/core/hub.c", text),
        ("usb/core/other.c", text),
        ("usb/usb_hub_port_reset.c", text),
    ]);
    let query = Query::text("hub port reset");
    let found = indexed.search(&query);
    let paths: Vec<_> = found.hits.iter().map(|hit| hit.path.display().to_string()).collect();
    assert_eq!(paths[..2], ["usb/usb_hub_port_reset.c", "usb/core/hub.c"]);
}

#[test]
fn source_comes_before_what_is_beside_it() {
    let text = "int frob_count(void)\n{\n\treturn 1;\n}\n";
    let generated = format!("// Generated by frob. DO NOT EDIT.\n{text}");
    let indexed = indexed(&[
        ("deep/er/source.c", text),
        ("tests/source.c", text),
        ("vendor/source.c", text),
        ("api.c", &generated),
        ("docs/source.md", text),
        ("examples/source.c", text),
    ]);
    for query in ["frob_count", "frob count"] {
        let found = indexed.search(&Query::text(query));
        assert_eq!(found.hits.len(), 6, "nothing is dropped");
        assert_eq!(found.hits[0].path, Path::new("deep/er/source.c"), "{query}");
    }
}

#[test]
fn the_order_can_be_that_of_bm25_alone() {
    let indexed = indexed(&[
        ("tests/short.c", "frob_count frob_count frob_count\n"),
        ("long.c", &format!("{}int frob_count(void)\n{{\n}}\n", "other words\n".repeat(300))),
    ]);
    indexed.check(&Query::text("frob_count"), &["long.c", "tests/short.c"]);
    indexed.check(&Query::text("frob_count").ranking(Ranking::Bm25), &["tests/short.c", "long.c"]);
}

/// The beginning of a long file is looked at for words; the rest when they are not there.
#[test]
fn words_are_found_far_down_in_long_files() {
    let content = format!("{}needle in the hay\n{}", "hay and straw\n".repeat(20_000), "hay\n".repeat(9));
    let indexed = indexed(&[("long.txt", &content)]);
    let hit = &indexed.search(&Query::text("needle")).hits[0];
    assert_eq!((hit.line, hit.column, &hit.text[..]), (20_001, 1, "needle in the hay"));
}

/// Files are read in steps of 16 and 64 KiB; a word is found on whichever side of these it stands.
#[test]
fn words_are_found_around_the_ends_of_what_is_read() {
    let filler = |bytes: usize| "filler\n".repeat(bytes / 7 + 1)[..bytes].to_owned();
    let last_line = |size: usize| format!("{}\nneedle", filler(size - 7));
    let one_line = format!("{}needle", "x ".repeat(35_000));
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(bytes).collect() };
    let mut files: Vec<(String, Vec<u8>)> = [16_383, 16_384, 16_385, 65_535, 65_536, 65_537]
        .map(|size| (format!("last-{size}"), last_line(size).into_bytes()))
        .to_vec();
    for size in [10_000, 100_000] {
        let text = format!("\u{feff}{}\nneedle\n", filler(size));
        files.push((format!("le-{size}"), utf16(&text, u16::to_le_bytes)));
        files.push((format!("be-{size}"), utf16(&text, u16::to_be_bytes)));
    }
    files.push(("one-line".into(), one_line.into_bytes()));
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (&path[..], &content[..])).collect();
    let indexed = indexed_bytes(&borrowed);
    for query in [Query::text("needle"), Query::text("needle").context(1, 0)] {
        let found = indexed.search(&query.limit(0));
        assert_eq!((found.hits.len(), found.unreadable), (files.len(), 0));
        for hit in &found.hits {
            assert!(hit.text.contains("needle"), "{}: {}", hit.path.display(), hit.text);
            assert_eq!(hit.line > 1, !hit.path.ends_with("one-line"), "{}:{}", hit.path.display(), hit.line);
        }
    }
}

#[test]
fn lines_around_hits_change_neither_hits_nor_scores() {
    let far = format!("one\n{}one two\n{}", "filler\n".repeat(7_000), "filler\n".repeat(7_000));
    let indexed = indexed(&[("far", &far), ("near", "two\none\n")]);
    let hits = |context| {
        let found = indexed.search(&Query::text("one two").context(context, context));
        found.hits.into_iter().map(|hit| (hit.path, hit.line, hit.score)).collect::<Vec<_>>()
    };
    assert_eq!(hits(0), hits(2));
}

#[test]
fn a_licence_does_not_hide_that_a_file_is_minified() {
    let minified = format!("/*! needle 1.0 */\n{}\n", "f(needle);".repeat(20_000));
    let indexed = indexed(&[("a/one.js", &minified), ("b/two.js", "needle();\n")]);
    indexed.check(&Query::text("needle"), &["b/two.js", "a/one.js"]);
}

/// What has taken the place of a directory since it was indexed is not followed.
#[test]
#[cfg(unix)]
fn a_link_above_a_file_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("a.c"), "int needle;\n").unwrap();
    let indexed = indexed(&[("d/a.c", "int needle;\n")]);
    let queries = [Query::text("needle"), Query::substring("needle"), Query::regex("need.e")];
    for query in &queries {
        indexed.check(query, &["d/a.c"]);
    }
    std::fs::rename(indexed.tree.path().join("d"), indexed.tree.path().join("away")).unwrap();
    std::os::unix::fs::symlink(outside.path(), indexed.tree.path().join("d")).unwrap();
    for query in &queries {
        let found = indexed.search(query);
        assert_eq!((found.hits.len(), found.unreadable), (0, 1), "{query:?}");
    }
}

/// A word boundary lies within the run `“foo`: the file is a candidate, while one with another odd run is none.
#[test]
fn of_files_with_odd_runs_those_with_the_word_are_candidates() {
    let files = [("odd", "\u{201c}foo bar\n"), ("other", "\u{201c}other\n"), ("plain", "a foo\n"), ("not", "foobar\n")];
    let indexed = indexed(&files);
    let query = Query::regex(r"\bfoo\b");
    indexed.check_set(&query, &["odd", "plain"]);
    assert_eq!(indexed.search(&query).candidates, 2);
}

#[test]
fn too_many_words_are_refused() {
    let indexed = indexed(&[("a.txt", "word\n")]);
    let snapshot = &indexed.snapshot;
    let query = Query::text("word ".repeat(65));
    for refused in [
        snapshot.search(&query).map(drop),
        snapshot.matching_files(&query).map(drop),
        snapshot.suggest(&Query::text("wrod ".repeat(65))).map(drop),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("65 words") && refused.contains("use fewer"), "{refused}");
    }
    indexed.check(&Query::text("word ".repeat(64)), &["a.txt"]);
}
