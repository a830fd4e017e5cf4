//! Damaged indexes: every file of an index, definitions and vectors included, has single bits flipped and is cut short, one
//! damage at a time. Searches, which come first, have to refuse or to answer as if nothing had happened; then `verify` has
//! to say so, or the damage has to make no difference.
//!
//! LMDB may crash on damaged pages, so a child process verifies: a crash is put down to the damage that it was given.
//! `LEINDEX_FLIPS=N` flips N bits of each file, `LEINDEX_FLIP_SEED` chooses others.
#![cfg(unix)]
// What was covered belongs to the test's output.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod support;

use leindex_engine::{Engine, EngineBuilder, Mode, Query, QueryError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;
use support::{At, Known, Place, Random, SetOnDrop, Vocabulary};

const CHILD: &str = "LEINDEX_CORRUPTION_CHILD";
const FLIPS: u64 = 4;
/// The metadata is one file, the largest, and the one that is not covered by a checksum of its own.
const FLIPS_OF_METADATA: u64 = 40;
const PAGE: usize = 4096;
const SEED: u64 = 20_260_301;
const FILES: usize = 300;
const VERIFICATIONS: usize = 40;
const QUERIES: usize = 50;
/// A child that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to a file of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Damage {
    Flip { at: usize, bit: u32 },
    Cut { len: usize },
}

/// A file of the index, relative to its directory, and what is done to it.
#[derive(Clone, Debug)]
struct Case {
    file: PathBuf,
    damage: Damage,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.damage {
            Damage::Flip { at, bit } => write!(f, "flip {at} {bit} {}", self.file.display()),
            Damage::Cut { len } => write!(f, "cut {len} 0 {}", self.file.display()),
        }
    }
}

impl Case {
    fn parse(line: &str) -> Case {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let [what, at, bit, file] = parts[..] else { panic!("{line}") };
        let (at, bit) = (at.parse().unwrap(), bit.parse().unwrap());
        let damage = if what == "flip" { Damage::Flip { at, bit } } else { Damage::Cut { len: at } };
        Case { file: file.into(), damage }
    }

    fn apply(&self, content: &[u8]) -> Vec<u8> {
        let mut content = content.to_vec();
        match self.damage {
            Damage::Flip { at, bit } => content[at] ^= 1 << bit,
            Damage::Cut { len } => content.truncate(len),
        }
        content
    }
}

/// The files of an index as they were.
struct Pristine {
    index: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Pristine {
    fn read(index: &Path) -> Pristine {
        let files = support::walk(index).into_iter().filter(|path| path.is_file());
        let read = |path: PathBuf| (path.strip_prefix(index).unwrap().to_path_buf(), fs::read(&path).unwrap());
        Pristine { index: index.to_path_buf(), files: files.map(read).collect() }
    }

    /// Puts everything back that was damaged, or written since.
    fn restore(&self) {
        for path in support::walk(&self.index).into_iter().filter(|path| path.is_file()) {
            if !self.files.contains_key(path.strip_prefix(&self.index).unwrap()) {
                fs::remove_file(&path).unwrap();
            }
        }
        for (path, content) in &self.files {
            let path = self.index.join(path);
            if fs::read(&path).ok().as_ref() != Some(content) {
                fs::write(&path, content).unwrap();
            }
        }
    }

    /// Whether an answer may come from a file: not from segments that only older generations had.
    fn is_alive(&self, file: &Path) -> bool {
        let ids = String::from_utf8_lossy(&self.files[Path::new("text/meta.json")]).replace('-', "");
        let name = file.file_name().unwrap().to_string_lossy();
        !file.starts_with("text") || name.split('.').next().is_some_and(|id| ids.contains(id))
    }

    fn cases(&self, random: &mut Random, flips: u64) -> Vec<Case> {
        let mut cases = Vec::new();
        for (file, content) in &self.files {
            let mut add = |damage| cases.push(Case { file: file.clone(), damage });
            let is_metadata = file.ends_with("data.mdb");
            let flips = if is_metadata { flips * FLIPS_OF_METADATA } else { flips.min(8 * content.len() as u64) };
            let flips = if self.is_alive(file) { flips } else { flips.min(1) };
            for _ in 0..flips {
                let at = if is_metadata { place_in_page(random, content.len()) } else { random.below(content.len()) };
                add(Damage::Flip { at, bit: random.below(8) as u32 });
            }
            let mut lens = BTreeSet::from([0, random.below(content.len()), content.len().saturating_sub(1)]);
            if is_metadata {
                lens.extend((0..12).map(|_| random.below(content.len() / PAGE) * PAGE));
            }
            lens.into_iter().filter(|len| *len < content.len()).for_each(|len| add(Damage::Cut { len }));
        }
        cases
    }
}

/// Anywhere, but mostly where pages of a metadata store have something: at their beginnings and ends.
fn place_in_page(random: &mut Random, len: usize) -> usize {
    let page = random.below(len / PAGE) * PAGE;
    page + match random.below(4) {
        0 => random.below(PAGE),
        1 => random.below(160),
        _ => PAGE - 1 - random.below(1000),
    }
}

/// All that an index says.
#[derive(PartialEq)]
struct Answers {
    files: BTreeMap<Vec<u8>, Known>,
    hits: Vec<BTreeSet<At>>,
}

impl Answers {
    /// Or what keeps the index from answering.
    fn of(engine: &Engine, queries: &[Query]) -> Result<Answers, QueryError> {
        let snapshot = engine.snapshot()?;
        let answer = |query: &Query| {
            let hits = snapshot.search(&query.clone().limit(0))?.hits;
            Ok(hits.into_iter().map(|hit| (hit.path, hit.line, hit.column)).collect())
        };
        let hits = queries.iter().map(answer).collect::<Result<_, QueryError>>()?;
        Ok(Answers { files: support::contents(&snapshot), hits })
    }

    fn compare(&self, expected: &Answers) -> String {
        let differ = self.hits.iter().zip(&expected.hits).filter(|(found, expected)| found != expected).count();
        format!("files are equal: {}, {differ} queries are not", self.files == expected.files)
    }
}

fn open(place: &Path) -> Engine {
    Engine::builder().index_dir(place.join("index")).open(place.join("tree")).unwrap()
}

fn vocabulary() -> Vocabulary {
    Vocabulary::new(3000)
}

fn queries() -> Vec<Query> {
    let (vocabulary, mut random) = (vocabulary(), Random(SEED));
    let mut queries = vocabulary.queries(&mut random, QUERIES);
    for n in 0..QUERIES / 10 {
        queries.push(Query::new(Mode::Symbol, format!("defined{}", n * 31)));
        queries.push(Query::new(Mode::Semantic, vocabulary.text(&mut random, 4)));
    }
    queries
}

/// What comes of one damage: `seen`, `harmless`, or what is wrong.
fn outcome(place: &Path, expected: &Answers, queries: &[Query]) -> String {
    match catch_unwind(AssertUnwindSafe(|| Answers::of(&open(place), queries))) {
        Ok(Ok(answers)) if answers != *expected => return format!("ANSWERED: {}", answers.compare(expected)),
        Ok(_) => {}
        Err(_) => return "PANIC in a search".to_owned(),
    }
    let engine = open(place);
    let result = catch_unwind(AssertUnwindSafe(|| match engine.verify() {
        Err(error) => format!("seen {error}"),
        Ok(found) if !found.is_sound() => format!("seen {} {}", found.problem_count, found.problems[0]),
        Ok(_) => {
            let answers = catch_unwind(AssertUnwindSafe(|| Answers::of(&engine, queries)));
            match answers {
                Ok(Ok(answers)) if answers == *expected => "harmless".to_owned(),
                Ok(Ok(answers)) => format!("MISSED: {}", answers.compare(expected)),
                Ok(Err(error)) => format!("MISSED: {error}"),
                Err(_) => "MISSED: the index cannot be read".to_owned(),
            }
        }
    }));
    result.unwrap_or_else(|_| "PANIC in verify".to_owned())
}

/// Not a test but the process that may crash: takes cases from a file, from the one with the given number on.
#[test]
fn child_process() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let place = Path::new(&place);
    let cases = fs::read_to_string(place.join("cases")).unwrap();
    let from: usize = fs::read_to_string(place.join("from")).unwrap().parse().unwrap();
    let pristine = Pristine::read(&place.join("index"));
    let queries = queries();
    let expected = Answers::of(&open(place), &queries).unwrap();
    assert!(expected.hits.iter().filter(|hits| !hits.is_empty()).count() > queries.len() / 2);
    pristine.restore();
    for (number, line) in cases.lines().enumerate().skip(from) {
        let case = Case::parse(line);
        println!("\ncase {number}");
        fs::write(pristine.index.join(&case.file), case.apply(&pristine.files[&case.file])).unwrap();
        let outcome = outcome(place, &expected, &queries);
        println!("\noutcome {}", outcome.replace('\n', " "));
        pristine.restore();
    }
    println!("\nended");
}

/// Lines of a child, until it ends or hangs.
struct Lines {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Lines {
    fn start(place: &Place) -> Lines {
        let mut child = support::child("child_process", CHILD, place.dir());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Lines { child, lines }
    }

    fn next(&mut self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }

    fn end(mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }
}

/// What came of every case.
fn run_cases(place: &Place, pristine: &Pristine, cases: &[Case]) -> Vec<String> {
    let lines: Vec<String> = cases.iter().map(Case::to_string).collect();
    fs::write(place.dir().join("cases"), lines.join("\n")).unwrap();
    let mut outcomes: Vec<String> = Vec::new();
    while outcomes.len() < cases.len() {
        fs::write(place.dir().join("from"), outcomes.len().to_string()).unwrap();
        let mut child = Lines::start(place);
        let (mut began, mut ended) = (false, false);
        while let Some(line) = child.next() {
            if let Some(number) = line.strip_prefix("case ") {
                assert_eq!(number.parse(), Ok(outcomes.len()));
                began = true;
            } else if let Some(outcome) = line.strip_prefix("outcome ") {
                outcomes.push(outcome.to_owned());
                began = false;
            }
            ended |= line == "ended";
        }
        let status = child.end();
        assert!(began || ended, "the child has failed without a case: {status:?}");
        if began {
            outcomes.push(format!("CRASH {status:?}"));
        }
        pristine.restore();
    }
    outcomes
}

/// Several runs, so that the index has free pages, deleted documents and more than one segment.
fn indexed_place() -> Place {
    let place = Place::new();
    let (vocabulary, mut random) = (vocabulary(), Random(SEED));
    for round in 0..4 {
        for n in (0..FILES).filter(|n| round == 0 || n % 7 == round) {
            let words = 1 + random.below(80);
            let text = vocabulary.text(&mut random, words);
            let content = format!("int defined{n}(void)\n{{\n    return {n};\n}}\n/* {text} */\n");
            place.write(format!("d{}/s{}/file{n}.c", n % 11, n % 3), content);
        }
        if round == 2 {
            fs::remove_dir_all(place.root().join("d4")).unwrap();
        }
        support::settle(&place.root());
        let engine = place.engine();
        support::run(&engine);
        engine.symbols().wait().unwrap();
        engine.embed().wait().unwrap();
    }
    place
}

#[test]
fn damage_is_seen_or_makes_no_difference() {
    let flips = support::number("LEINDEX_FLIPS", FLIPS);
    let seed = support::number("LEINDEX_FLIP_SEED", SEED);
    let place = indexed_place();
    let pristine = Pristine::read(&place.index());
    let cases = pristine.cases(&mut Random(seed), flips);
    println!("{} cases in {} files, seed {seed}", cases.len(), pristine.files.len());
    let outcomes = run_cases(&place, &pristine, &cases);
    let mut tally: BTreeMap<String, [u32; 3]> = BTreeMap::new();
    let mut failed = Vec::new();
    for (case, outcome) in cases.iter().zip(&outcomes) {
        let kind = case.file.extension().map_or(case.file.as_os_str(), |extension| extension);
        let what = if matches!(case.damage, Damage::Cut { .. }) { "cut" } else { "flipped" };
        let counts = tally.entry(format!("{} {what}", kind.display())).or_default();
        match outcome.split(' ').next() {
            Some("seen") => counts[0] += 1,
            Some("harmless") => counts[1] += 1,
            _ => {
                counts[2] += 1;
                failed.push(format!("{case}: {outcome}"));
            }
        }
    }
    for (kind, [seen, harmless, failed]) in &tally {
        println!("{kind}: {seen} seen, {harmless} harmless, {failed} failed");
    }
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), cases.len());
    support::assert_sound(&place.engine(), "the index that was put back");
}

/// The walk over the pages is no transaction: pages may be reused under it.
#[test]
fn an_index_is_sound_while_it_is_written() {
    let place = indexed_place();
    let hasty = |builder: EngineBuilder| builder.checkpoint(Duration::from_millis(5)).batch_files(20);
    let engine = place.engine_with(hasty);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = SetOnDrop(&done);
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Relaxed) {
                round += 1;
                (0..100).for_each(|n| place.write(format!("d{}/file{n}.c", n % 11), format!("round{round} of {n}")));
                support::run(&engine);
            }
        });
        for _ in 0..VERIFICATIONS {
            support::assert_sound(&engine, "while it is written");
        }
    });
}
