//! Sections 1, 2 and 6: a full index from nothing, a run with nothing changed, and a full index with a cold cache.

use crate::child::{self, Answer};
use crate::copy;
use crate::git::Repository;
use crate::machine;
use crate::report::Samples;
use crate::rival::{self, Indexed};
use crate::walk::Walk;
use crate::{Bench, Failure};
use std::fs;
use std::path::PathBuf;

/// Runs that take a tenth of a second are made this many times as often as those that take seconds.
const QUICK: usize = 5;
/// Threads of the bare cold read.
const COLD_READERS: usize = 16;
const RAW_INDEX: &str = "run,what,cache,wall_s,in_process_s,files,bytes_read,peak_rss_bytes,index_bytes,index_blocks";

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn mb(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

/// Median, least and most in MB.
fn samples_mb(bytes: &Samples) -> String {
    format!("{} ({}–{})", mb(bytes.median()), mb(bytes.percentile(0.0)), mb(bytes.max()))
}

/// Our runs of one kind.
#[derive(Default)]
struct Ours {
    wall: Samples,
    seconds: Samples,
    rss: Samples,
    bytes: Samples,
    blocks: Samples,
}

impl Ours {
    fn add(&mut self, answer: &Answer) {
        self.wall.add(answer.wall);
        self.seconds.add(answer.seconds());
        self.rss.add(answer.count("peak_rss") as f64);
        self.bytes.add(answer.count("index_bytes") as f64);
        self.blocks.add(answer.count("index_blocks") as f64);
    }
}

/// Files that a run has taken in, however they ended.
pub(crate) fn taken(answer: &Answer) -> u64 {
    ["indexed", "unchanged", "binary", "too_large"].iter().map(|name| answer.count(name)).sum()
}

/// Section 1. Returns the directory of the index that was made last.
pub(crate) fn full(bench: &mut Bench) -> Result<PathBuf, Failure> {
    let bare = child::walk(&bench.tree, Walk { threads: cores(), pinned: true, fetch: true })?;
    let rival_index = bench.scratch.join("csearchindex");
    let has_rival = rival::is_installed();
    let (mut ours, mut theirs, mut their_rss) = (Ours::default(), Samples::default(), Samples::default());
    let mut index_dir = PathBuf::new();
    let mut last = None;
    for run in 0..bench.options.runs {
        if run > 0 {
            fs::remove_dir_all(&index_dir)?;
        }
        index_dir = bench.scratch.join(format!("index-{run}"));
        machine::sync();
        let answer = child::index(&bench.tree, &index_dir)?;
        ours.add(&answer);
        raw_index(bench, run, "warm", &answer);
        let mut rival = None;
        if has_rival {
            machine::sync();
            let indexed = rival::index(&bench.tree, &rival_index)?;
            theirs.add(indexed.seconds);
            their_rss.add(indexed.rss_bytes as f64);
            raw_rival(bench, run, &indexed);
            rival = Some(indexed);
        }
        last = Some((answer, rival));
    }
    let Some((answer, rival)) = last else { return Err("no runs".into()) };
    let rival = rival.map(|indexed| (indexed, theirs, their_rss));
    tell_full(bench, &bare, &ours, &answer, rival.as_ref());
    first_run_checks(bench, &bare, &answer);
    if rival.is_some() {
        fs::remove_file(rival_index)?;
    }
    Ok(index_dir)
}

fn tell_full(
    bench: &mut Bench,
    bare: &Answer,
    ours: &Ours,
    answer: &Answer,
    rival: Option<&(Indexed, Samples, Samples)>,
) {
    let mut rows = vec![vec![
        "leindex-engine".to_owned(),
        format!("{:.2}", ours.wall),
        format!("{:.2}", ours.seconds),
        taken(answer).to_string(),
        samples_mb(&ours.rss),
        samples_mb(&ours.bytes),
        samples_mb(&ours.blocks),
    ]];
    if let Some((indexed, seconds, rss)) = rival {
        let files = indexed.files.map_or_else(|| "unknown".into(), |files| files.to_string());
        let index = mb(indexed.index_bytes as f64);
        let (seconds, dash) = (format!("{seconds:.2}"), "-".to_owned());
        rows.push(vec!["cindex".into(), seconds, dash.clone(), files, samples_mb(rss), index, dash]);
    }
    let dash = || "-".to_owned();
    let files = bare.count("files").to_string();
    let (wall, seconds) = (format!("{:.2}", bare.wall), format!("{:.2}", bare.seconds()));
    rows.push(vec!["bare list+stat+read, once".into(), wall, seconds, files, dash(), dash(), dash()]);
    let header = ["what", "wall", "in process", "files", "peak RSS MB", "index MB", "index blocks MB"];
    bench.report.table(&header, &rows);
    let shares = ["indexed", "binary", "too_large", "ignored", "skipped", "dirs", "publications", "shards"];
    let counts: Vec<String> = shares.iter().map(|name| format!("{name} {}", answer.count(name))).collect();
    bench.report.say(format!("The last run of ours: {}.", counts.join(", ")));
    bench.report.say("Peak memory is VmHWM: our own at the end of a run, cindex's as seen every 10 ms from outside.");
    bench.report.say("cindex passes over names that begin with a dot, files that are not UTF-8, and very long lines.");
    match rival {
        Some((_, seconds, _)) => {
            let ratio = ours.wall.median() / seconds.median();
            bench.report.at_most("full index, warm: wall / cindex's wall (aim 0.2)", ratio, 0.35, "");
        }
        None => bench.report.skipped("full index against cindex", "cindex is not installed (package codesearch)"),
    }
    bench.report.told("full index, warm: wall", format!("{:.2} s", ours.wall));
    bench.report.at_most("full index: peak RSS", ours.rss.max() / 1e6, 500.0, " MB");
    bench.report.at_most("index: bytes of its files", ours.bytes.max() / 1e6, 60.0, " MB");
    bench.report.at_most("index: disk blocks", ours.blocks.max() / 1e6, 60.0, " MB");
}

fn first_run_checks(bench: &mut Bench, bare: &Answer, answer: &Answer) {
    let report = &mut bench.report;
    report.check("1 files", ("ours", taken(answer) + answer.count("ignored")), ("bare walk", bare.count("files")));
    report.check("1 bytes read", ("ours", answer.count("bytes_read")), ("bare read", bare.count("bytes")));
    report.check("1 directories", ("ours", answer.count("dirs")), ("bare walk", bare.count("dirs")));
    report.check("1 files that could not be read", ("ours", answer.count("failed")), ("bare", bare.count("errors")));
    report.exactly("first index: stat calls beyond one a file", answer.count("stat_calls").abs_diff(taken(answer)), 0);
    report.exactly("first index: content hashes", answer.count("hashes"), 0);
}

/// An index that is not measured. Returns its directory.
pub(crate) fn prepare(bench: &mut Bench) -> Result<PathBuf, Failure> {
    let index_dir = bench.scratch.join("index-0");
    let answer = child::index(&bench.tree, &index_dir)?;
    bench.report.say(format!("Indexed {} files; not measured.", answer.count("indexed")));
    Ok(index_dir)
}

/// What section 2 compares: a bare walk, a run of ours, git.
#[derive(Default)]
struct Unchanged {
    bare: Samples,
    bare_wall: Samples,
    ours: Ours,
    git: Samples,
}

/// Section 2. In a copy, which is a git repository where there is git: rules and what is tracked count, as they do for users.
pub(crate) fn unchanged(bench: &mut Bench) -> Result<(), Failure> {
    let walk = Walk { threads: cores(), pinned: true, fetch: false };
    let (tree, index_dir) = (copy::of(bench)?, bench.scratch.join("unchanged"));
    let git = Repository::of(&tree, bench.scratch.join("git"))?;
    // The first runs after an index read files again whose times could hide a change; they are not timed.
    copy::settled_index(&tree, &index_dir)?;
    let mut samples = Unchanged::default();
    let mut last = None;
    for run in 0..bench.options.runs * QUICK {
        let walked = child::walk(&tree, walk)?;
        samples.bare.add(walked.seconds());
        samples.bare_wall.add(walked.wall);
        raw_walk(bench, run, "bare walk and stat", "warm", &walked);
        let answer = child::index(&tree, &index_dir)?;
        samples.ours.add(&answer);
        raw_index(bench, run, "warm, nothing changed", &answer);
        if let Some(git) = &git {
            let seconds = git.status()?;
            samples.git.add(seconds);
            let none = "";
            let cells: [&dyn std::fmt::Display; 10] =
                [&run, &"git status", &"warm", &seconds, &none, &git.tracked, &none, &none, &none, &none];
            bench.report.raw("index.csv", RAW_INDEX, &cells);
        }
        last = Some((answer, walked));
    }
    let Some((answer, walked)) = last else { return Err("no runs".into()) };
    tell_unchanged(bench, &samples, &answer, &walked, git.as_ref());
    check_unchanged(bench, &answer, &walked, git.as_ref());
    fs::remove_dir_all(index_dir)?;
    git.map_or(Ok(()), Repository::remove)
}

fn tell_unchanged(
    bench: &mut Bench,
    Unchanged { bare, bare_wall, ours, git: git_wall }: &Unchanged,
    answer: &Answer,
    walked: &Answer,
    git: Option<&Repository>,
) {
    let row = |name: &str, wall: &Samples, seconds: &Samples, answer: &Answer, [files, stats]: [&str; 2]| {
        let counts = [answer.count(files).to_string(), answer.count(stats).to_string()];
        [vec![name.to_owned(), format!("{wall:.3}"), format!("{seconds:.3}")], counts.to_vec()].concat()
    };
    let mut rows = vec![
        row("leindex-engine", &ours.wall, &ours.seconds, answer, ["unchanged", "stat_calls"]),
        row("bare walk+stat", bare_wall, bare, walked, ["files", "stats"]),
    ];
    if let Some(git) = git {
        let cells = [format!("{git_wall:.3}"), "-".into(), git.tracked.to_string(), "-".into()];
        rows.push([vec!["git status --porcelain".to_owned()], cells.to_vec()].concat());
    }
    let report = &mut bench.report;
    report.table(&["what", "wall of the process", "in process", "files", "stat calls"], &rows);
    report.at_most("nothing changed: seconds / bare walk+stat", ours.seconds.median() / bare.median(), 1.3, "");
    report.told(
        "nothing changed: wall of the processes, ratio",
        format!("{:.3}", ours.wall.median() / bare_wall.median()),
    );
    report.told("nothing changed: in process", format!("{:.3} s", ours.seconds));
    let name = "nothing changed: wall / git status's";
    match git {
        Some(_) => {
            report.say("All are in one repository. git has every file in its index, ignored or not.");
            report.say("So ours goes by the rules and by that index, and takes in what is tracked.");
            report.below(name, ours.wall.median() / git_wall.median(), 1.0, "");
            report.told("nothing changed: wall of git status", format!("{git_wall:.3} s"));
        }
        None => report.skipped(name, "git is not installed"),
    }
}

fn check_unchanged(bench: &mut Bench, answer: &Answer, walked: &Answer, git: Option<&Repository>) {
    let report = &mut bench.report;
    let (files, stats) = (answer.count("unchanged"), answer.count("stat_calls"));
    // A bare walk does not know what `.git` is; to ours it is an ignored file, which is not stat'ed.
    let own = u64::from(git.is_some());
    report.check("2 stat calls", ("ours", stats), ("bare walk but for .git", walked.count("stats") - own));
    report.check("2 files", ("ours", files + answer.count("ignored")), ("bare walk", walked.count("files")));
    if let Some(git) = git {
        // Links are tracked, too.
        let entries = walked.count("files") - own + walked.count("others");
        report.check("2 files and links", ("git", git.tracked), ("bare walk but for .git", entries));
    }
    report.exactly("nothing changed: stat calls beyond one a file", stats.abs_diff(files), 0);
    report.exactly("nothing changed: files read", answer.count("reads"), 0);
    report.exactly("nothing changed: content hashes", answer.count("hashes"), 0);
}

/// Section 6.
pub(crate) fn cold(bench: &mut Bench) -> Result<(), Failure> {
    let cache = if machine::can_drop_caches(bench) { "cold" } else { "warm: could not be dropped" };
    if cache != "cold" {
        bench.report.skipped("full index, cold cache", "the caches are not dropped here: what follows is warm");
    }
    let (mut ours, mut bare, mut bare_wall) = (Ours::default(), Samples::default(), Samples::default());
    let mut last = None;
    for run in 0..bench.options.cold_runs {
        machine::drop_caches(bench)?;
        let read = child::walk(&bench.tree, Walk { threads: COLD_READERS, pinned: false, fetch: true })?;
        bare.add(read.seconds());
        bare_wall.add(read.wall);
        raw_walk(bench, run, "bare read", cache, &read);
        machine::drop_caches(bench)?;
        let index_dir = bench.scratch.join(format!("cold-{run}"));
        let answer = child::index(&bench.tree, &index_dir)?;
        ours.add(&answer);
        raw_index(bench, run, cache, &answer);
        fs::remove_dir_all(index_dir)?;
        last = Some((answer, read));
    }
    let Some((answer, read)) = last else { return Err("no runs".into()) };
    let row = |name: &str, wall: &Samples, seconds: &Samples, files: u64, bytes: u64| {
        [name.into(), format!("{wall:.2}"), format!("{seconds:.2}"), files.to_string(), mb(bytes as f64)]
    };
    let (files, bytes) = (taken(&answer), answer.count("bytes_read"));
    let rows = [
        row("leindex-engine", &ours.wall, &ours.seconds, files, bytes),
        row("bare list+stat+read, 16 threads", &bare_wall, &bare, read.count("files"), read.count("bytes")),
    ];
    bench.report.table(&["what", "wall of the process", "in process", "files", "MB read"], &rows);
    bench.report.check("6 files", ("ours", files + answer.count("ignored")), ("bare read", read.count("files")));
    bench.report.check("6 bytes read", ("ours", bytes), ("bare read", read.count("bytes")));
    if cache == "cold" {
        let ratio = ours.seconds.median() / bare.median();
        bench.report.told("full index, cold: in process", format!("{:.2} s", ours.seconds));
        bench.report.told("full index, cold: seconds / bare cold read", format!("{ratio:.2}"));
    }
    Ok(())
}

fn raw_index(bench: &mut Bench, run: usize, cache: &str, answer: &Answer) {
    let (files, bytes, rss) = (taken(answer), answer.count("bytes_read"), answer.count("peak_rss"));
    let (index, blocks) = (answer.count("index_bytes"), answer.count("index_blocks"));
    let (wall, seconds) = (answer.wall, answer.seconds());
    bench.report.raw(
        "index.csv",
        RAW_INDEX,
        &[&run, &"leindex-engine", &cache, &wall, &seconds, &files, &bytes, &rss, &index, &blocks],
    );
}

fn raw_walk(bench: &mut Bench, run: usize, what: &str, cache: &str, answer: &Answer) {
    let (files, bytes) = (answer.count("files"), answer.count("bytes"));
    let (wall, seconds) = (answer.wall, answer.seconds());
    let none = "";
    bench.report.raw(
        "index.csv",
        RAW_INDEX,
        &[&run, &what, &cache, &wall, &seconds, &files, &bytes, &none, &none, &none],
    );
}

fn raw_rival(bench: &mut Bench, run: usize, indexed: &Indexed) {
    let files = indexed.files.map_or_else(String::new, |files| files.to_string());
    let none = "";
    bench.report.raw(
        "index.csv",
        RAW_INDEX,
        &[
            &run,
            &"cindex",
            &"warm",
            &indexed.seconds,
            &none,
            &files,
            &none,
            &indexed.rss_bytes,
            &indexed.index_bytes,
            &none,
        ],
    );
}
