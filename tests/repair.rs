//! Damaged indexes are not searched, and a repair has only what was damaged read again. What is checked in the end is the
//! same as for any other index: it equals one that was built from nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests; what was read again is worth a line")]

mod support;

use leindex_engine::{Engine, EngineBuilder, OpenError, Query, QueryError, Repair, Report, RunError, Shards};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Place, Random, Vocabulary};

const FILES: u64 = 900;
const SEED: u64 = 20_260_106;

/// Many small segments.
fn hasty(builder: EngineBuilder) -> EngineBuilder {
    builder.checkpoint(Duration::ZERO).batch_files(100).inverter_bytes(1 << 20).shards(Shards::Count(2))
}

fn queries() -> Vec<Query> {
    Vocabulary::new(200).quick_queries(&mut Random(SEED), 60)
}

/// A tree and its index, made by a first run and two updates; nobody has the index open.
fn indexed() -> Place {
    let place = Place::new();
    let (vocabulary, mut random) = (Vocabulary::new(200), Random(SEED));
    for n in 0..FILES {
        place.write(format!("d{}/e{}/file{n}.c", n % 9, n % 7), vocabulary.text(&mut random, 15));
    }
    place.write("binary", b"a\0b");
    support::settle(&place.root());
    let engine = place.engine_with(hasty);
    support::run(&engine);
    for round in 0..2 {
        for n in 0..40 {
            let n = round * 100 + n;
            place.write(format!("d{}/e{}/file{n}.c", n % 9, n % 7), vocabulary.text(&mut random, 15));
        }
        support::settle(&place.root().join("d0"));
        std::thread::sleep(support::CLOCK_TICK);
        support::run(&engine);
    }
    support::run(&engine);
    assert_eq!(support::run(&engine).files.reads, 0, "nothing is racy any more");
    place
}

/// Repairs, runs, and compares with an index from nothing.
fn repair(place: &Place, context: &str) -> (Repair, Report) {
    let engine = place.engine();
    let repaired = engine.repair().unwrap_or_else(|error| panic!("{context}: {error}"));
    let report = support::run(&engine);
    println!("{context}: {repaired:?}, {} files read", report.files.reads);
    support::assert_as_fresh(&engine, &queries(), context);
    assert_eq!(support::run(&engine).files.reads, 0, "{context}: read once more");
    (repaired, report)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn files_of(place: &Place, dir: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.index().join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// Neither a search nor a run nor a verification takes the index for sound.
fn assert_noticed(engine: &Engine, context: &str) {
    match engine.snapshot() {
        Err(QueryError::Open(OpenError::Damaged { detail, .. })) => assert!(!detail.is_empty()),
        other => panic!("{context}: a search is begun: {:?}", other.map(drop)),
    }
    match engine.verify() {
        Ok(found) => assert!(!found.is_sound(), "{context}: verify finds nothing"),
        Err(error) => assert!(matches!(error, QueryError::Open(OpenError::Damaged { .. })), "{context}: {error}"),
    }
}

#[test]
fn of_a_damaged_segment_its_files_are_read_again() {
    for component in ["idx", "term", "fast", "fieldnorm", "vocab", "del"] {
        let place = indexed();
        let files = files_of(&place, "text", component);
        assert!(files.len() > 1, "the test needs more than one segment with {component}");
        // Of a small segment: merging may have put most files into one.
        let file = files.iter().min_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
        flip(file, fs::metadata(file).unwrap().len() as usize / 2);
        assert_noticed(&place.engine(), component);
        let (repaired, report) = repair(&place, component);
        assert!(!repaired.everything && repaired.segments == 1, "{component}: {repaired:?}");
        assert_eq!(repaired.kept + repaired.lost, FILES + 1, "{component}");
        assert_eq!(report.files.reads, repaired.lost, "{component}: what was not damaged was read");
        assert!(repaired.lost < FILES / 2, "{component}: {repaired:?}");
    }
}

#[test]
fn a_missing_segment_costs_its_files_only() {
    let place = indexed();
    fs::remove_file(&files_of(&place, "text", "term")[0]).unwrap();
    assert_noticed(&place.engine(), "a missing file");
    let (repaired, report) = repair(&place, "a missing file");
    assert!(repaired.segments == 1 && report.files.reads == repaired.lost && repaired.kept > 0, "{repaired:?}");
}

#[test]
fn symbols_and_vectors_of_what_is_kept_are_kept() {
    let place = indexed();
    let engine = place.engine();
    let (symbols, vectors) = (engine.symbols().wait().unwrap(), engine.embed().wait().unwrap());
    assert!(symbols.files == FILES && vectors.files == FILES, "{symbols:?} {vectors:?}");
    drop(engine);
    let files = files_of(&place, "text", "term");
    let file = files.iter().min_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    flip(file, fs::metadata(file).unwrap().len() as usize / 2);
    let (repaired, _) = repair(&place, "a damaged segment");
    assert!(repaired.lost > 0 && repaired.lost < FILES / 2, "{repaired:?}");
    let engine = place.engine();
    let (symbols, vectors) = (engine.symbols().wait().unwrap(), engine.embed().wait().unwrap());
    assert_eq!((symbols.files, vectors.files), (repaired.lost, repaired.lost), "{symbols:?} {vectors:?}");
    assert_eq!(vectors.reused, vectors.chunks, "what was not damaged was embedded again");
    support::assert_sound(&engine, "with symbols and vectors");
}

#[test]
fn of_damaged_metadata_what_is_sound_is_kept() {
    let place = indexed();
    let data = place.index().join("meta/data.mdb");
    let sound = fs::read(&data).unwrap();
    let index = place.index();
    let backup = place.dir().join("backup");
    copy(&index, &backup);
    let (mut random, mut noticed, mut partly) = (Random(SEED), 0, 0);
    for case in 0..60 {
        fs::remove_dir_all(&index).unwrap();
        copy(&backup, &index);
        let at = random.below(sound.len());
        flip(&data, at);
        let context = format!("case {case}, byte {at}, page {}", at / 4096);
        let engine = place.engine();
        if engine.verify().is_ok_and(|found| found.is_sound()) {
            // A place that does not matter.
            continue;
        }
        assert_noticed(&engine, &context);
        match engine.index().wait() {
            Err(RunError::Open(OpenError::Damaged { .. })) => {}
            other => panic!("{context}: a run goes on: {other:?}"),
        }
        drop(engine);
        let (repaired, report) = repair(&place, &context);
        noticed += 1;
        partly += usize::from(!repaired.everything && report.files.reads < FILES / 2);
        if noticed == 8 {
            break;
        }
    }
    assert!(noticed > 3 && partly > noticed / 2, "{noticed} noticed, {partly} of them repaired in part");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &to) } else { drop(fs::copy(entry.path(), to)) }
    }
}

#[test]
fn an_index_that_was_copied_is_checked_once_and_then_trusted() {
    let place = indexed();
    let moved = place.dir().join("copied");
    copy(&place.index(), &moved);
    let engine = Engine::builder().index_dir(&moved).open(place.root()).unwrap();
    let seal = || fs::read_to_string(moved.join("meta/seal")).unwrap();
    let before = seal();
    engine.snapshot().unwrap();
    assert_ne!(seal(), before, "it was not sealed anew");
    assert_eq!(support::run(&engine).files.reads, 0);
    support::assert_as_fresh(&engine, &queries(), "a copy");
}

#[test]
fn whatever_is_left_of_an_index_can_be_repaired() {
    type Damage = fn(&Place);
    let damages: [(&str, Damage); 8] = [
        ("metadata cut in half", |place| {
            let data = place.index().join("meta/data.mdb");
            let file = fs::File::options().write(true).open(&data).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("metadata of garbage", |place| fs::write(place.index().join("meta/data.mdb"), vec![0xa5; 100_000]).unwrap()),
        ("no metadata", |place| fs::remove_file(place.index().join("meta/data.mdb")).unwrap()),
        ("no text index", |place| fs::remove_dir_all(place.index().join("text")).unwrap()),
        ("no working copy of the list", |place| fs::remove_file(place.index().join("text/meta.json")).unwrap()),
        ("no index", |place| fs::remove_dir_all(place.index()).unwrap()),
        ("a damaged seal", |place| fs::write(place.index().join("meta/seal"), "{\"data\":[1,2,3]}").unwrap()),
        ("an intent of nothing", |place| fs::write(place.index().join("meta/intent"), "intent").unwrap()),
    ];
    for (name, damage) in damages {
        let place = indexed();
        damage(&place);
        repair(&place, name);
    }
}

/// Between the repair and the run, what was kept is found.
#[test]
fn what_was_kept_can_be_searched_at_once() {
    let place = indexed();
    let files = files_of(&place, "text", "idx");
    flip(&files[0], fs::metadata(&files[0]).unwrap().len() as usize / 2);
    let engine = place.engine();
    let repaired = engine.repair().unwrap();
    let snapshot = engine.snapshot().unwrap();
    let status = snapshot.status().unwrap();
    assert_eq!((status.indexed + 1, status.complete), (repaired.kept, false));
    let found: usize = queries().iter().map(|query| support::hits(&snapshot, query).len()).sum();
    assert!(found > 0);
}
