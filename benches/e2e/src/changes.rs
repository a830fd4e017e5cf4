//! Section 8: how long an update takes when 100 files have changed.

use crate::index::taken;
use crate::report::Samples;
use crate::{Bench, Failure, child, copy, machine};
use leindex_engine::{Engine, Query};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Files that are changed at a time.
pub(crate) const FILES: usize = 100;
/// Updates of each kind take a fraction of a second, so there are enough of them to tell the median.
const ROUNDS: usize = 15;
const MUST_SECONDS: f64 = 0.5;
const RAW: &str = "round,way,change,wall_s,in_process_s,seen,unchanged,indexed";

/// Two ways to bring an index up to date.
#[derive(Clone, Copy)]
enum Way {
    /// A run over the whole tree, as a process.
    Index,
    /// `Engine::update` with the paths, in process.
    Update,
}

/// Putting a file back is a change as well.
#[derive(Clone, Copy)]
enum Change {
    Append,
    Restore,
}

const WAYS: [(Way, &str); 2] = [(Way::Index, "index, as a process"), (Way::Update, "update(paths), in process")];
const CHANGES: [(Change, &str); 2] = [(Change::Append, "a line appended"), (Change::Restore, "put back")];

/// A file, and what it was.
struct Changed {
    path: PathBuf,
    content: Vec<u8>,
    modified: SystemTime,
}

/// What a run has done.
struct Done {
    wall: f64,
    seconds: f64,
    seen: u64,
    unchanged: u64,
    indexed: u64,
}

struct Updates {
    copy: PathBuf,
    index_dir: PathBuf,
    engine: Engine,
    changed: Vec<Changed>,
    paths: Vec<PathBuf>,
    /// All files that a run takes in.
    total: u64,
}

/// Section 8.
pub(crate) fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let updates = Updates::new(bench)?;
    let rounds = if bench.options.smoke { 2 } else { ROUNDS.max(bench.options.runs) };
    let mut samples = [(); 4].map(|()| Samples::default());
    let (mut found, mut expected) = (0, 0);
    for round in 0..rounds {
        let mut kinds = samples.iter_mut();
        for (way, way_name) in WAYS {
            let word = format!("leindexbenchline{round}{}x", if matches!(way, Way::Index) { 'a' } else { 'b' });
            for (change, change_name) in CHANGES {
                updates.make(change, &word)?;
                // So that the run does not pay for what was written here.
                machine::sync();
                let done = updates.run(way)?;
                updates.check(way, &done)?;
                found += updates.files_with(&word)?;
                expected += if matches!(change, Change::Append) { updates.paths.len() } else { 0 };
                if let Some(kind) = kinds.next() {
                    kind.add(done.wall);
                }
                let Done { wall, seconds, seen, unchanged, indexed } = done;
                let cells: [&dyn std::fmt::Display; 8] =
                    [&round, &way_name, &change_name, &wall, &seconds, &seen, &unchanged, &indexed];
                bench.report.raw("changes.csv", RAW, &cells);
            }
        }
    }
    tell(bench, &samples, updates.paths.len(), updates.total);
    bench.report.check("8 files with the line of their round", ("found", found), ("changed", expected));
    Ok(())
}

fn tell(bench: &mut Bench, samples: &[Samples; 4], changed: usize, total: u64) {
    let names = WAYS.iter().flat_map(|(_, way)| CHANGES.iter().map(move |(_, change)| format!("{way}: {change}")));
    let row = |(name, samples): (String, &Samples)| [name, format!("{samples:.3}")];
    let rows: Vec<_> = names.zip(samples).map(row).collect();
    bench.report.table(&["update", "wall"], &rows);
    let counts = format!("{changed} of {total} files had changed, each was indexed");
    bench.report.say(format!("{counts}, and after each update exactly those with the new line were found."));
    bench.report.say(format!("{} updates of each kind; the figure is the larger of two medians.", samples[0].len()));
    for ((_, way), samples) in WAYS.iter().zip(samples.chunks(CHANGES.len())) {
        let median = samples.iter().map(Samples::median).fold(0.0, f64::max);
        bench.report.below(&format!("{changed} files changed: {way}, median"), median, MUST_SECONDS, " s");
    }
}

impl Updates {
    fn new(bench: &mut Bench) -> Result<Updates, Failure> {
        let copy = copy::of(bench)?;
        let index_dir = bench.scratch.join("changes");
        let total = taken(&copy::settled_index(&copy, &index_dir)?);
        let engine = Engine::builder().index_dir(&index_dir).open(&copy)?;
        let candidates = copy::candidates(&engine.snapshot()?)?;
        let changed = spread(&copy, &candidates)?;
        let paths = changed.iter().map(|file| file.path.clone()).collect();
        Ok(Updates { copy, index_dir, engine, changed, paths, total })
    }

    fn make(&self, change: Change, word: &str) -> io::Result<()> {
        self.changed.iter().try_for_each(|file| match change {
            Change::Append => file.append(word),
            Change::Restore => file.restore(),
        })
    }

    fn run(&self, way: Way) -> Result<Done, Failure> {
        match way {
            Way::Index => {
                let answer = child::index(&self.copy, &self.index_dir)?;
                let [seen, unchanged, indexed] = ["seen", "unchanged", "indexed"].map(|name| answer.count(name));
                Ok(Done { wall: answer.wall, seconds: answer.seconds(), seen, unchanged, indexed })
            }
            Way::Update => {
                let started = Instant::now();
                let report = self.engine.update(&self.paths).wait()?;
                let (wall, seconds) = (started.elapsed().as_secs_f64(), report.seconds.total);
                let files = report.files;
                let (seen, unchanged, indexed) = (files.seen, files.unchanged, files.indexed);
                Ok(Done { wall, seconds, seen, unchanged, indexed })
            }
        }
    }

    /// A time says nothing if the work was another.
    fn check(&self, way: Way, done: &Done) -> Result<(), Failure> {
        let changed = self.paths.len() as u64;
        if done.indexed != changed {
            return Err(format!("{} files were indexed when {changed} had changed", done.indexed).into());
        }
        let unchanged = self.total - changed;
        if matches!(way, Way::Index) && done.unchanged != unchanged {
            return Err(format!("{} files were taken as unchanged, not {unchanged}", done.unchanged).into());
        }
        Ok(())
    }

    fn files_with(&self, word: &str) -> Result<usize, Failure> {
        Ok(self.engine.snapshot()?.search(&Query::substring(word).limit(0))?.files)
    }
}

/// Files at even distances, in the order of their paths, of which each is UTF-8: the line that is appended is.
fn spread(root: &Path, candidates: &[copy::Candidate]) -> Result<Vec<Changed>, Failure> {
    let count = FILES.min(candidates.len());
    let mut chosen = Vec::with_capacity(count);
    for slot in 0..count {
        let at = |slot: usize| slot * candidates.len() / count;
        for candidate in &candidates[at(slot)..at(slot + 1)] {
            let path = root.join(&candidate.path);
            let content = fs::read(&path)?;
            if std::str::from_utf8(&content).is_ok() {
                let modified = fs::metadata(&path)?.modified()?;
                chosen.push(Changed { path, content, modified });
                break;
            }
        }
    }
    Ok(chosen)
}

impl Changed {
    fn append(&self, word: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(format!("\n{word}\n").as_bytes())
    }

    fn restore(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        file.write_all(&self.content)?;
        file.set_modified(self.modified)
    }
}
