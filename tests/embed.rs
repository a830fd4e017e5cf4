//! Embedding: files are found by what they mean, vectors follow the text, and nothing is embedded twice or lost.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use leindex_engine::{EmbedChoice, EmbedReport, Engine, Mode, Query, QueryError, SearchResult};
use std::fs;
use support::Place;

const READ: &str = "/* Loads the whole document from disk into memory. */\nchar *load_document(const char *path)\n{\n\tFILE *input = fopen(path, \"r\");\n\treturn read_to_end(input);\n}\n";
const DRAW: &str = "pub fn paint_circle(canvas: &mut Canvas, radius: f32, colour: Colour) {\n    canvas.fill_ellipse(radius, radius, colour);\n}\n";
const SORT: &str = "def quicksort(items):\n    pivot = items[0]\n    return quicksort(less(items, pivot)) + [pivot] + quicksort(greater(items, pivot))\n";

fn tree() -> Place {
    let place = Place::new();
    place.write("io/read.c", READ);
    place.write("gfx/draw.rs", DRAW);
    place.write("algo/sort.py", SORT);
    place.write("empty.txt", "{}\n");
    support::settle(&place.root());
    place
}

fn embed(engine: &Engine) -> EmbedReport {
    engine.index().wait().unwrap();
    engine.embed().wait().unwrap()
}

fn find(engine: &Engine, mode: Mode, question: &str) -> SearchResult {
    engine.snapshot().unwrap().search(&Query::new(mode, question)).unwrap()
}

fn first(engine: &Engine, question: &str) -> String {
    find(engine, Mode::Semantic, question).hits[0].path.display().to_string()
}

/// A chunk of its own for each number: its words are no other's.
fn chunk(number: usize) -> String {
    (0..40).map(|line| format!("line {line} of part{number} word{}\n", number * 100 + line)).collect()
}

#[test]
fn files_are_found_by_what_they_mean() {
    let place = tree();
    let engine = place.engine();
    let report = embed(&engine);
    assert_eq!((report.pending, report.files, report.chunks, report.reused), (4, 4, 3, 0), "{report:?}");
    assert_eq!(first(&engine, "open a file and get its contents"), "io/read.c");
    assert_eq!(first(&engine, "draw a shape on the screen"), "gfx/draw.rs");
    assert_eq!(first(&engine, "order a list by comparing its elements"), "algo/sort.py");
    for mode in [Mode::Semantic, Mode::Hybrid] {
        let found = find(&engine, mode, "load the document");
        let hit = &found.hits[0];
        assert_eq!((hit.path.to_str().unwrap(), hit.line, found.not_embedded), ("io/read.c", 1, 0), "{mode:?}");
        assert!(hit.text.contains("Loads the whole document"), "{hit:?}");
        assert!(found.hits.windows(2).all(|hits| hits[0].score >= hits[1].score));
        assert_eq!(found.hits.len(), 3);
    }
    assert!(find(&engine, Mode::Semantic, "{ }").hits.is_empty(), "a question without words");
    let files = engine.snapshot().unwrap().matching_files(&Query::new(Mode::Semantic, "draw").limit(1)).unwrap();
    assert_eq!((files.files.len(), files.files[0].path.to_str()), (1, Some("gfx/draw.rs")));
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn filters_apply_before_the_scan() {
    let place = tree();
    let engine = place.engine();
    embed(&engine);
    let snapshot = engine.snapshot().unwrap();
    for mode in [Mode::Semantic, Mode::Hybrid] {
        let question = || Query::new(mode, "open a file and get its contents");
        let paths = |query: Query| -> Vec<String> {
            snapshot.search(&query).unwrap().hits.iter().map(|hit| hit.path.display().to_string()).collect()
        };
        assert_eq!(paths(question().limit(1).language("rust")), ["gfx/draw.rs"]);
        assert_eq!(paths(question().limit(1).path_glob("algo/")), ["algo/sort.py"]);
        assert_eq!(paths(question().language("go")), [""; 0]);
        let limited = snapshot.search(&question().limit(2)).unwrap();
        assert_eq!((limited.hits.len(), limited.truncated), (2, true));
        assert!(!snapshot.search(&question().limit(3)).unwrap().truncated);
    }
}

#[test]
fn only_what_is_new_is_embedded() {
    let place = tree();
    let long = [chunk(1), chunk(2), chunk(3)].concat();
    place.write("long.txt", &long);
    support::settle(&place.root());
    let engine = place.engine();
    assert_eq!(embed(&engine).chunks, 6);
    let again = engine.embed().wait().unwrap();
    assert_eq!((again.pending, again.chunks), (0, 0));
    // Files that look as if they may have changed are read again, and none of their chunks is embedded again.
    let new = || {
        let report = embed(&engine);
        (report.pending > 0, report.chunks - report.reused)
    };
    // An edit in one of three chunks.
    place.write("long.txt", [chunk(1), chunk(9), chunk(3)].concat());
    assert_eq!(new(), (true, 1));
    // Another name, a copy.
    fs::rename(place.root().join("long.txt"), place.root().join("moved.txt")).unwrap();
    place.write("copy/of.c", READ);
    assert_eq!(new(), (true, 0));
    // Back to what it was, as on another branch.
    place.write("moved.txt", &long);
    assert_eq!(new(), (true, 0));
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn what_is_gone_is_not_found_and_what_is_not_embedded_is_told() {
    let place = tree();
    let engine = place.engine();
    embed(&engine);
    fs::remove_file(place.root().join("io/read.c")).unwrap();
    place.write("new.py", "def parse_arguments(argv):\n    return argv\n");
    engine.index().wait().unwrap();
    let found = find(&engine, Mode::Semantic, "open a file and get its contents");
    assert!(found.hits.iter().all(|hit| hit.path.to_str() != Some("io/read.c")), "{found:?}");
    assert_eq!((found.hits.len(), found.not_embedded), (2, 1));
    assert_eq!(find(&engine, Mode::Hybrid, "parse arguments").hits[0].path.to_str(), Some("new.py"), "by its words");
    let report = engine.embed().wait().unwrap();
    assert_eq!((report.pending, report.chunks), (1, 1));
    assert_eq!(find(&engine, Mode::Semantic, "parse arguments").not_embedded, 0);
    let status = engine.snapshot().unwrap().status().unwrap();
    assert_eq!((status.embedded_files, status.embed_pending, status.embedded_chunks), (4, 0, 3));
}

#[test]
fn an_embedding_that_is_stopped_goes_on_later() {
    let place = Place::new();
    for number in 0..1500 {
        place.write(format!("dir{}/file{number}.txt", number % 9), chunk(number));
    }
    support::settle(&place.root());
    let engine = place.engine();
    engine.index().wait().unwrap();
    let run = engine.embed();
    run.canceller().cancel();
    let first = run.wait().unwrap();
    assert!(first.cancelled && first.files < 1500, "{first:?}");
    // What was embedded before it is stopped stays.
    let run = engine.embed();
    while run.progress().files == 0 && !run.is_finished() {
        std::thread::yield_now();
    }
    run.canceller().cancel();
    let second = run.wait().unwrap();
    assert!(second.files > 0, "{second:?}");
    let rest = engine.embed().wait().unwrap();
    assert_eq!((rest.cancelled, rest.pending), (false, 1500 - second.files));
    assert_eq!(find(&engine, Mode::Semantic, "word70010").not_embedded, 0);
    let status = engine.snapshot().unwrap().status().unwrap();
    assert_eq!((status.embedded_files, status.embedded_chunks), (1500, 1500));
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn many_small_updates_do_not_leave_many_parts() {
    let place = tree();
    let engine = place.engine();
    embed(&engine);
    for round in 0..20 {
        place.write("io/read.c", format!("{READ}int round{round};\n"));
        assert_eq!(embed(&engine).pending, 1);
    }
    let parts = fs::read_dir(place.index().join("vectors")).unwrap().count();
    assert!(parts <= 4, "{parts} parts");
    assert_eq!(first(&engine, "open a file and get its contents"), "io/read.c");
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn without_vectors_the_error_says_what_to_do() {
    let place = tree();
    let engine = place.engine();
    engine.index().wait().unwrap();
    for mode in [Mode::Semantic, Mode::Hybrid] {
        let error = engine.snapshot().unwrap().search(&Query::new(mode, "draw")).unwrap_err();
        assert!(matches!(&error, QueryError::NoVectors { .. }), "{error}");
        assert!(error.to_string().contains("leindex-engine embed"), "{error}");
    }
    drop(engine);
    let off = place.engine_with(|builder| builder.embed(EmbedChoice::Off));
    assert_eq!(off.embed().wait().unwrap(), EmbedReport::default());
    let error = off.snapshot().unwrap().search(&Query::new(Mode::Semantic, "draw")).unwrap_err();
    assert!(error.to_string().contains("off"), "{error}");
}

/// The files of vectors.
fn parts(place: &Place) -> Vec<std::path::PathBuf> {
    let mut parts: Vec<_> =
        fs::read_dir(place.index().join("vectors")).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    parts
}

#[test]
fn damaged_vectors_are_found_out_and_made_anew() {
    let place = tree();
    let engine = place.engine();
    embed(&engine);
    let part = parts(&place).remove(0);
    let sound = fs::read(&part).unwrap();
    let mut damaged = sound.clone();
    *damaged.last_mut().unwrap() ^= 0x40;
    fs::write(&part, &damaged).unwrap();
    let verification = engine.verify().unwrap();
    assert!(verification.problems.iter().any(|problem| problem.contains("vectors")), "{verification:?}");
    engine.repair().unwrap();
    let again = embed(&engine);
    assert_eq!((again.pending, again.chunks), (4, 3), "{again:?}");
    assert!(engine.verify().unwrap().is_sound());
    // One that is not there, cut short, or has another byte, is embedded again without a repair; searches say so until then.
    for change in [None, Some(70), Some(usize::MAX)] {
        let part = parts(&place).remove(0);
        let mut bytes = fs::read(&part).unwrap();
        fs::remove_file(&part).unwrap();
        if let Some(kept) = change {
            bytes.truncate(kept);
            *bytes.last_mut().unwrap() ^= 0x40;
            fs::write(&part, &bytes).unwrap();
        }
        let error = engine.snapshot().unwrap().search(&Query::new(Mode::Semantic, "draw")).unwrap_err();
        assert!(error.to_string().contains("leindex-engine embed"), "{error}");
        assert_eq!(find(&engine, Mode::Text, "paint_circle").hits.len(), 1, "the text does not suffer");
        assert_eq!(embed(&engine).chunks, 3);
        assert_eq!(first(&engine, "draw a shape on the screen"), "gfx/draw.rs");
    }
}

#[test]
fn an_index_that_is_made_anew_has_no_vectors_of_the_old_one() {
    let place = tree();
    let engine = place.engine();
    embed(&engine);
    engine.reset().unwrap();
    assert!(!place.index().join("vectors").exists());
    fs::remove_file(place.root().join("gfx/draw.rs")).unwrap();
    assert_eq!(embed(&engine).chunks, 2);
    assert_eq!(find(&engine, Mode::Semantic, "draw a shape on the screen").hits.len(), 2);
}
