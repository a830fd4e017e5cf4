//! What a round of each part does.

use crate::Round;
use crate::input::{Random, names, rules, source};
use leindex_engine::parts::{Queue, VectorScan, WordVectors};
use leindex_engine::query::plan::{Limits, plan_regex};
use leindex_engine::rules::{Case, RuleFile, Scratch, Source, SourceKind, Stack};
use leindex_engine::text::{FileTerms, Inverter};
use leindex_engine::{BackendChoice, Engine, Mode, Query, Shards};
use leindex_fallback::{Dir, Fetch, Fetched, Listing, Worker, WorkerOptions};
use std::ffi::CString;
use std::sync::Arc;

/// Parts whose instructions are the same every time: one thread, and nothing that waits.
pub const COUNTED: &[&str] = &[
    "rules",
    "tokenizer",
    "inverter",
    "plan",
    "vocabulary-scan",
    "line-search",
    "words",
    "vector-scan",
    "vector-scan-all",
];
/// The others: what the kernel does, and threads.
pub const TIMED: &[&str] = &["ring", "threads", "queue", "index"];

/// The part with this name, if there is one.
///
/// # Panics
/// When its input cannot be made, for want of space for temporary files for example.
pub fn part(name: &str) -> Option<Round> {
    Some(match name {
        "rules" => of_rules(),
        "tokenizer" => tokenizer(),
        "inverter" => inverter(),
        "plan" => plan(),
        "vocabulary-scan" => {
            search((b'a'..=b'z').map(|letter| substring(&format!("q{}z", char::from(letter)))).collect(), 150)
        }
        // Few enough files that one thread reads them.
        "line-search" => search(vec![substring("mutex_lock")], 40),
        "words" => words(),
        "vector-scan" => vectors(VectorScan::nearest),
        "vector-scan-all" => vectors(VectorScan::all),
        "ring" => backend(BackendChoice::Uring),
        "threads" => backend(BackendChoice::Threads),
        "queue" => Box::new(|| Queue::round(2000)),
        "index" => index(),
        _ => return None,
    })
}

/// Verdicts on the names of a directory, by three hundred rules.
fn of_rules() -> Round {
    let source = Source { kind: SourceKind::Gitignore, display: b".gitignore".to_vec(), base: Vec::new() };
    let stack = Stack::new(vec![RuleFile::parse(source, rules(300).as_bytes(), Case::Sensitive)]);
    let names = names(&mut Random::new(), 2000);
    Box::new(move || {
        let in_dir = stack.in_dir(b"dir/sub");
        let mut scratch = Scratch::default();
        let verdicts = names.iter().map(|name| {
            let path = format!("dir/sub/{name}");
            u64::from(in_dir.verdict(path.as_bytes(), false, &mut scratch).is_some())
        });
        verdicts.sum::<u64>() + names.len() as u64
    })
}

fn texts(files: usize, lines: usize) -> Vec<String> {
    let mut random = Random::new();
    (0..files).map(|_| source(&mut random, lines)).collect()
}

/// Text to terms.
fn tokenizer() -> Round {
    let texts = texts(20, 400);
    let mut terms = FileTerms::default();
    Box::new(move || {
        let count = |text: &String| {
            terms.collect(text.as_bytes());
            terms.terms().len() as u64
        };
        texts.iter().map(count).sum()
    })
}

/// Terms to postings, and these in order.
fn inverter() -> Round {
    let texts = texts(60, 150);
    let mut terms = FileTerms::default();
    Box::new(move || {
        let mut inverter = Inverter::default();
        for text in &texts {
            terms.collect(text.as_bytes());
            inverter.add(&terms, &[]);
        }
        let mut sum = 0;
        let _: Result<(), ()> = inverter.for_each_term(|term, postings| {
            sum += (term.len() * postings.len()) as u64;
            Ok(())
        });
        sum
    })
}

/// Patterns to what terms must be.
fn plan() -> Round {
    const PATTERNS: [&str; 6] = [
        r"fn \w+_lock\(",
        "(?i)schedule_timeout",
        "(read|write)_(page|buffer)[0-9]+",
        r"\bstruct\s+\w+ \{",
        "a{3,9}b",
        "x.*y",
    ];
    Box::new(|| {
        let limits = Limits::default();
        let planned = PATTERNS.iter().filter_map(|pattern| plan_regex(pattern, false, &limits).ok());
        planned.map(|planned| format!("{planned:?}").len() as u64).sum()
    })
}

/// A tree on disk, indexed by one thread.
fn tree(files: usize, lines: usize) -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    for (number, text) in texts(files, lines).iter().enumerate() {
        let folder = dir.path().join(format!("d{}", number % 7));
        std::fs::create_dir_all(&folder).expect("space for a tree");
        std::fs::write(folder.join(format!("f{number}.c")), text).expect("space for a tree");
    }
    let engine = Engine::builder().shards(Shards::Count(1)).backend(BackendChoice::Threads).open(dir.path());
    (dir, engine.expect("the tree that was just made"))
}

fn substring(needle: &str) -> Query {
    Query::new(Mode::Substring, needle).limit(0)
}

/// Queries over an index of a small tree.
fn search(queries: Vec<Query>, files: usize) -> Round {
    let (dir, engine) = tree(files, 120);
    engine.index().wait().expect("an index of the tree");
    let snapshot = engine.snapshot().expect("what was just published");
    let round = move || {
        let _tree = &dir;
        let found = queries.iter().map(|query| snapshot.search(query).expect("the query can be answered"));
        found.map(|found| (found.hits.len() + found.files_read) as u64).sum()
    };
    // The first scan of a vocabulary goes by blocks, the second one puts it together: what is counted is what comes then.
    let _ = round() + round();
    Box::new(round)
}

/// Chunks to vectors, by the table of words.
fn words() -> Round {
    let texts = texts(40, 40);
    let mut words = WordVectors::new();
    Box::new(move || texts.iter().map(|text| words.embed(text)).sum())
}

fn vectors(scan: impl Fn(&VectorScan) -> u64 + 'static) -> Round {
    let vectors = VectorScan::new(20_000, 256);
    Box::new(move || scan(&vectors))
}

/// Lists a directory and reads its files.
#[allow(clippy::print_stderr, reason = "what is not measured is said")]
fn backend(choice: BackendChoice) -> Round {
    let (dir, _) = tree(700, 40);
    let selected = leindex_engine::io::select(choice).unwrap_or_else(|why| {
        eprintln!("SKIPPED: {why}: the threads are run instead");
        leindex_engine::io::select(BackendChoice::Threads).expect("threads are everywhere")
    });
    Box::new(move || {
        let mut worker = selected.backend.worker(WorkerOptions::default()).expect("a worker");
        let root = selected.backend.open_root(dir.path()).expect("the tree");
        let mut bytes = 0;
        for folder in 0..7 {
            let name = CString::new(format!("d{folder}")).expect("no zero");
            let below = Arc::new(worker.open_dir(&root, &name).expect("a directory of the tree"));
            let mut listing = Listing::new();
            worker.list(&below, &mut listing).expect("a directory of the tree");
            bytes += read_all(&mut *worker, &below, &listing);
        }
        bytes
    })
}

/// Stats all entries of a directory, and reads them.
fn read_all(worker: &mut dyn Worker, dir: &Arc<Dir>, listing: &Listing) -> u64 {
    let picks: Vec<u32> = (0..listing.len() as u32).collect();
    let mut files = Vec::new();
    worker.stat_batch(dir, listing, &picks, &mut |index, meta| files.extend(meta.ok().map(|meta| (index, meta.size))));
    let mut bytes = 0;
    let mut read = |fetched: Fetched<'_>| bytes += fetched.result.map_or(0, |content| content.len() as u64);
    for (index, size) in files {
        let name = listing.c_name(index as usize);
        worker.fetch(Fetch { dir, name, size, limit: 1 << 20, cut: false, token: 0 }, &mut read);
    }
    worker.finish(&mut read);
    bytes
}

/// A small tree to an index, from nothing, on all cores.
fn index() -> Round {
    let (dir, _) = tree(400, 120);
    Box::new(move || {
        let index = tempfile::tempdir().expect("a directory for temporary files");
        let engine = Engine::builder().index_dir(index.path().join("index")).open(dir.path()).expect("the tree");
        engine.index().wait().expect("an index of the tree").files.indexed
    })
}
