//! Section 9: how soon a watcher has a new file in the index, and what memory it takes.

use crate::queries::Rng;
use crate::report::Samples;
use crate::{Bench, Failure, child, copy, machine};
use leindex_engine::{Engine, Query};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 20;
/// Between two searches for the new file.
const POLL: Duration = Duration::from_millis(1);
/// Between two looks at whether the watcher has caught up, and before a file is written.
const PAUSE: Duration = Duration::from_millis(50);
/// Longer than indexing a large tree takes.
const START_PATIENCE: Duration = Duration::from_secs(600);
/// A file that is not found by then will not be.
const PATIENCE: Duration = Duration::from_secs(30);
const MUST_MS: f64 = 300.0;
const MUST_MB: f64 = 60.0;
/// Exit code of a command that was interrupted.
const INTERRUPTED: i32 = 130;
const RAW: &str = "watcher,round,ms,directory";

/// A watcher that finds an index may have less memory to its name than one that has made it.
const STARTS: [(&str, char); 2] = [("that made the index", 'a'), ("that found an index", 'b')];

/// What came of one watcher.
struct Watched {
    latencies: Samples,
    ready: f64,
    rss: u64,
    anonymous: u64,
    watches: usize,
    dirs: u64,
    exit_code: i32,
    ended_ms: f64,
}

/// Section 9.
pub(crate) fn measure(bench: &mut Bench) -> Result<(), Failure> {
    let Some(program) = program(bench)? else { return Ok(()) };
    let copy = copy::of(bench)?;
    let place = Place { program, copy, index_dir: bench.scratch.join("watched"), scratch: bench.scratch.clone() };
    let mut rows = Vec::new();
    for (name, letter) in STARTS {
        let watched = place.watch(bench, name, letter)?;
        let latencies = &watched.latencies;
        rows.push([
            name.to_owned(),
            format!("{:.2}", watched.ready),
            format!("{latencies:.1}"),
            mb(watched.rss),
            mb(watched.anonymous),
            format!("{}; {} directories below the root", watched.watches, watched.dirs),
            format!("{:.0}", watched.ended_ms),
        ]);
        let report = &mut bench.report;
        report.check(&format!("9 exit code {name}"), ("watch", watched.exit_code), ("interrupted", INTERRUPTED));
        report.below(&format!("watcher {name}: a new file found, P50"), latencies.median(), MUST_MS, " ms");
        report.below(&format!("watcher {name}: a new file found, most"), latencies.max(), MUST_MS, " ms");
        report.told(&format!("watcher {name}: found in less than {MUST_MS} ms"), in_time(latencies));
        report.below(&format!("watcher {name}: VmRSS"), watched.rss as f64 / 1e6, MUST_MB, " MB");
        report.told(&format!("watcher {name}: RssAnon"), format!("{} MB", mb(watched.anonymous)));
    }
    bench.report.say("");
    let columns = [
        "watcher",
        "current and embedded after s",
        "file found, ms",
        "VmRSS MB",
        "RssAnon MB",
        "inotify watches",
        "SIGINT to end, ms",
    ];
    bench.report.table(&columns, &rows);
    let how = "From the close of a new file until a search of a new snapshot, each millisecond, finds the word in it.";
    bench.report.say(format!("{how} {ROUNDS} files each; memory after them."));
    Ok(())
}

fn in_time(latencies: &Samples) -> String {
    format!("{} of {ROUNDS}", latencies.below(MUST_MS))
}

fn mb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// The command that watches; `None`, and said, where there is none or a watcher cannot be measured.
fn program(bench: &mut Bench) -> Result<Option<PathBuf>, Failure> {
    let name = "a new file under watch";
    if !cfg!(target_os = "linux") {
        bench.report.skipped(name, "its memory and its end are looked at on Linux only");
        return Ok(None);
    }
    child::command(bench, name, "watch")
}

struct Place {
    program: PathBuf,
    copy: PathBuf,
    index_dir: PathBuf,
    scratch: PathBuf,
}

impl Place {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--index-dir").arg(&self.index_dir).arg(&self.copy);
        command
    }

    /// From the start of a watcher to its end. The new files are gone afterwards, whatever happens.
    fn watch(&self, bench: &mut Bench, name: &str, letter: char) -> Result<Watched, Failure> {
        let mut written = Vec::new();
        let watched = self.watch_new_files(bench, name, letter, &mut written);
        for file in written {
            fs::remove_file(file)?;
        }
        watched
    }

    fn watch_new_files(
        &self,
        bench: &mut Bench,
        name: &str,
        letter: char,
        written: &mut Vec<PathBuf>,
    ) -> Result<Watched, Failure> {
        machine::sync();
        let started = Instant::now();
        let mut watcher = Watcher::start(self, letter)?;
        self.wait_until_current(&mut watcher)?;
        let ready = started.elapsed().as_secs_f64();
        let engine = Engine::builder().index_dir(&self.index_dir).open(&self.copy)?;
        let dirs = directories(&engine)?;
        let mut rng = Rng::new(bench.options.seed ^ u64::from(letter));
        let mut latencies = Samples::default();
        for round in 0..ROUNDS {
            let dir = &dirs[rng.below(dirs.len())];
            let word = format!("leindexbenchfile{round}{letter}x");
            let file = self.copy.join(dir).join(format!("{word}.txt"));
            // Not in step with anything the watcher does every so often.
            std::thread::sleep(PAUSE + Duration::from_millis(rng.next() % 100));
            written.push(file.clone());
            let ms = found_after(&engine, &file, &word)? * 1e3;
            latencies.add(ms);
            bench.report.raw("watch.csv", RAW, &[&name, &round, &ms, &dir.display()]);
        }
        self.wait_until_current(&mut watcher)?;
        let (rss, anonymous) = (watcher.memory_bytes("VmRSS:"), watcher.memory_bytes("RssAnon:"));
        let (watches, dirs) = (watcher.watches()?, engine.snapshot()?.status()?.dirs);
        let (exit_code, ended_ms) = watcher.interrupt()?;
        Ok(Watched { latencies, ready, rss, anonymous, watches, dirs, exit_code, ended_ms })
    }

    fn wait_until_current(&self, watcher: &mut Watcher) -> Result<(), Failure> {
        let until = Instant::now() + START_PATIENCE;
        while Instant::now() < until {
            watcher.check_alive()?;
            // There is no status before the first generation.
            let output = child::output(&mut self.command(&["status", "--json"]))?;
            let status = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default();
            // Vectors follow the text.
            if status["fresh"]["state"] == "current" && status["vectors"]["pending"] == 0 {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("the index is not current and embedded after {START_PATIENCE:?}").into())
    }
}

/// The directories of searchable files, relative to the root: a file that comes there is not ignored, presumably.
fn directories(engine: &Engine) -> Result<Vec<PathBuf>, Failure> {
    let candidates = copy::candidates(&engine.snapshot()?)?;
    let dirs: BTreeSet<&Path> = candidates.iter().filter_map(|candidate| candidate.path.parent()).collect();
    Ok(dirs.into_iter().map(Path::to_path_buf).collect())
}

/// Writes a file with a word that is in no other, and waits until it is found. Seconds since it was closed.
fn found_after(engine: &Engine, file: &Path, word: &str) -> Result<f64, Failure> {
    let query = Query::substring(word);
    let is_found = || Ok::<bool, Failure>(!engine.snapshot()?.search(&query)?.hits.is_empty());
    if is_found()? {
        return Err(format!("{word} is found before it is written").into());
    }
    fs::write(file, format!("a line with {word}\n"))?;
    let closed = Instant::now();
    while closed.elapsed() < PATIENCE {
        if is_found()? {
            return Ok(closed.elapsed().as_secs_f64());
        }
        std::thread::sleep(POLL);
    }
    Err(format!("{}: not found after {PATIENCE:?}", file.display()).into())
}

/// A process that watches. It does not outlive this.
struct Watcher {
    child: Child,
    errors: PathBuf,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Mostly it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watcher {
    fn start(place: &Place, letter: char) -> Result<Watcher, Failure> {
        let errors = place.scratch.join(format!("watcher-{letter}.stderr"));
        let mut command = place.command(&["watch"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
        Ok(Watcher { child: command.spawn()?, errors })
    }

    fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let errors = fs::read_to_string(&self.errors)?;
                Err(format!("the watcher has ended: {status}: {}", errors.trim()).into())
            }
        }
    }

    fn memory_bytes(&self, field: &str) -> u64 {
        child::memory_bytes(&format!("/proc/{}/status", self.child.id()), field)
    }

    /// Files and directories that it has asked the kernel about.
    fn watches(&self) -> Result<usize, Failure> {
        let mut watches = 0;
        for entry in fs::read_dir(format!("/proc/{}/fdinfo", self.child.id()))? {
            // Descriptors come and go.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            watches += text.lines().filter(|line| line.starts_with("inotify ")).count();
        }
        Ok(watches)
    }

    /// Interrupts it. Returns its exit code, -1 when a signal has ended it, and milliseconds until its end.
    fn interrupt(&mut self) -> Result<(i32, f64), Failure> {
        machine::interrupt(&self.child)?;
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status.code().unwrap_or(-1), asked.elapsed().as_secs_f64() * 1e3));
            }
            std::thread::sleep(POLL);
        }
        Err(format!("the watcher has not ended {PATIENCE:?} after SIGINT").into())
    }
}
