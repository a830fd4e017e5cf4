//! The list of ways. A name stands for one thing on every machine; numbers of threads that depend on it are in words.

use super::Failure;
use super::blocking::{self, StatBy};
use super::programs::{PROGRAMS, Prints, Program};
use super::walk::Crew;
use super::work::{Cache, Done, Mode};
use super::{contract, naive, rings, walkers};
use leindex_engine::BackendChoice;
use std::path::Path;

/// So many threads a core are enough to keep a disk busy with blocking reads.
const THREADS_A_CORE_COLD: usize = 8;
const NAIVE_THREADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const BLOCKING_THREADS_COLD: [usize; 2] = [16, 32];

/// What a way is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Uring,
    Threads,
    Blocking,
    Naive,
    Ignore,
    Jwalk,
    Walkdir,
    TokioUring,
    Glommio,
    Program(&'static str),
}

impl Group {
    /// Whether it asks the kernel by blocking calls on threads, and by nothing but these. Walkers of other crates are
    /// compared on their own.
    pub(super) fn is_threads(self) -> bool {
        matches!(self, Group::Threads | Group::Blocking | Group::Naive)
    }
}

/// How it is done.
#[derive(Clone, Copy, Debug)]
enum How {
    Contract(BackendChoice, Crew),
    Blocking(StatBy, Crew),
    Naive(usize),
    Ignore(usize),
    Jwalk(usize),
    Walkdir,
    TokioUring,
    Glommio,
    Program(Program),
}

/// One way.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) group: Group,
    how: How,
    /// Where it is measured.
    tables: Vec<(Cache, Mode)>,
}

/// The three tables.
const WARM_STAT: (Cache, Mode) = (Cache::Warm, Mode::Stat);
const WARM_READ: (Cache, Mode) = (Cache::Warm, Mode::Read);
const COLD_READ: (Cache, Mode) = (Cache::Cold, Mode::Read);
const ALL_TABLES: [(Cache, Mode); 3] = [WARM_STAT, WARM_READ, COLD_READ];

impl Way {
    fn new(name: impl Into<String>, group: Group, how: How, tables: &[(Cache, Mode)], what: impl Into<String>) -> Way {
        Way { name: name.into(), what: what.into(), group, how, tables: tables.to_vec() }
    }

    pub(super) fn is_in(&self, cache: Cache, mode: Mode) -> bool {
        self.tables.contains(&(cache, mode))
    }

    /// Whether it runs as a process of another program, in the parent's hands.
    pub(super) fn program(&self) -> Option<Program> {
        match self.how {
            How::Program(program) => Some(program),
            _ => None,
        }
    }

    /// What it tells of [`Counts`](super::work::Counts): directories, sizes.
    pub(super) fn tells(&self) -> (bool, bool) {
        match self.program() {
            Some(program) => (false, program.prints == Prints::Sizes),
            None => (true, true),
        }
    }

    /// Whether it does less than is asked of all.
    pub(super) fn does_less(&self) -> bool {
        self.program().is_some_and(|program| program.prints == Prints::NamesUnstatted)
    }

    /// Goes this way once, in this process.
    pub(super) fn run(&self, mode: Mode, tree: &Path) -> Result<Done, Failure> {
        match self.how {
            How::Contract(choice, crew) => contract::walk(choice, crew, mode, tree),
            How::Blocking(by, crew) => blocking::walk(by, crew, mode, tree),
            How::Naive(threads) => naive::walk(threads, mode, tree),
            How::Ignore(threads) => walkers::ignore(threads, mode, tree),
            How::Jwalk(threads) => walkers::jwalk(threads, mode, tree),
            How::Walkdir => walkers::walkdir(mode, tree),
            How::TokioUring => rings::tokio_uring(mode, tree),
            How::Glommio => rings::glommio(mode, tree),
            How::Program(program) => program.run(tree),
        }
    }
}

/// All of them, on a machine with so many cores.
pub(super) fn all(cores: usize) -> Vec<Way> {
    let mut ways = ours(cores);
    ways.extend(loops(cores));
    ways.extend(crates(cores));
    ways.extend(PROGRAMS.map(|program| {
        let group = Group::Program(program.name);
        let less = if program.prints == Prints::NamesUnstatted { ": lists only, and stats nothing" } else { "" };
        let what = format!("`{}`{less}", program.shown());
        Way::new(program.name, group, How::Program(program), &[WARM_STAT], what)
    }));
    ways
}

/// The engine's backends, with the crews that it would use, and one between them.
fn ours(cores: usize) -> Vec<Way> {
    let many = cores * THREADS_A_CORE_COLD;
    let backends = [
        ("uring", Group::Uring, BackendChoice::Uring, "the engine's io_uring backend"),
        ("threads", Group::Threads, BackendChoice::Threads, "the engine's thread backend"),
    ];
    let crews = [
        ("cores", Crew { threads: cores, pinned: true }, format!("{cores} pinned threads")),
        ("2x", Crew { threads: 2 * cores, pinned: false }, format!("{} threads", 2 * cores)),
        ("8x", Crew { threads: many, pinned: false }, format!("{many} threads")),
    ];
    let mut ways = Vec::new();
    for (backend, group, choice, what) in backends {
        for (suffix, crew, threads) in &crews {
            let how = How::Contract(choice, *crew);
            ways.push(Way::new(format!("{backend}-{suffix}"), group, how, &ALL_TABLES, format!("{what}, {threads}")));
        }
    }
    ways
}

/// Plain loops: careful ones and naive ones.
fn loops(cores: usize) -> Vec<Way> {
    let pinned = ("cores".to_owned(), Crew { threads: cores, pinned: true });
    let many = BLOCKING_THREADS_COLD.map(|threads| (threads.to_string(), Crew { threads, pinned: false }));
    let calls = [
        ("path", StatBy::Name, "stat by name, open, read, close, in the order of the inodes"),
        ("fd", StatBy::Descriptor, "open, stat by descriptor, read, close, in the order of the inodes"),
    ];
    let mut ways = Vec::new();
    for (name, by, what) in calls {
        for (suffix, crew) in [&pinned].into_iter().chain(&many) {
            let mut tables = vec![COLD_READ];
            if crew.pinned {
                tables.push(WARM_READ);
                // To open files only to stat them would be a way that nobody goes.
                tables.extend((by == StatBy::Name).then_some(WARM_STAT));
            }
            let what = format!("{what}, {}{} threads", crew.threads, if crew.pinned { " pinned" } else { "" });
            let how = How::Blocking(by, *crew);
            ways.push(Way::new(format!("blocking-{name}-{suffix}"), Group::Blocking, how, &tables, what));
        }
    }
    ways.extend(NAIVE_THREADS.map(|threads| {
        let what = format!("`std::fs`: `read_dir`, `symlink_metadata`, `read`; threads: {threads}");
        Way::new(format!("naive-{threads}"), Group::Naive, How::Naive(threads), &ALL_TABLES, what)
    }));
    ways
}

/// Other crates.
fn crates(cores: usize) -> Vec<Way> {
    let many = cores * THREADS_A_CORE_COLD;
    let mut ways = Vec::new();
    for (suffix, threads) in [("cores", cores), ("8x", many)] {
        let what = format!("`WalkBuilder::build_parallel` without filters, `metadata`, read; threads: {threads}");
        ways.push(Way::new(format!("ignore-{suffix}"), Group::Ignore, How::Ignore(threads), &ALL_TABLES, what));
    }
    for (suffix, threads) in [("cores", cores), ("8x", many)] {
        let what = format!("`metadata` and read in the pool's `process_read_dir`; threads: {threads}");
        ways.push(Way::new(format!("jwalk-{suffix}"), Group::Jwalk, How::Jwalk(threads), &ALL_TABLES, what));
    }
    let what = "one thread, `metadata`, read";
    ways.push(Way::new("walkdir", Group::Walkdir, How::Walkdir, &ALL_TABLES, what));
    let what = format!("{cores} pinned threads, 64 files in flight each: statx by path; or open, statx, read, close");
    ways.push(Way::new("tokio-uring", Group::TokioUring, How::TokioUring, &ALL_TABLES, what));
    let what = format!(
        "{cores} pinned executors, 64 files in flight each: open (which stats), `file_size` (which stats again), read, \
         close; it has no stat without an open"
    );
    ways.push(Way::new("glommio", Group::Glommio, How::Glommio, &ALL_TABLES, what));
    ways
}

/// Those that were asked for by name or by the first words of their names; all when none was.
pub(super) fn chosen(cores: usize, only: &[String]) -> Result<Vec<Way>, Failure> {
    let asked = |way: &Way, name: &str| {
        way.name == name || way.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    let ways = all(cores);
    if let Some(unknown) = only.iter().find(|name| !ways.iter().any(|way| asked(way, name))) {
        return Err(format!("there is no way named {unknown}: --list names them").into());
    }
    Ok(ways.into_iter().filter(|way| only.is_empty() || only.iter().any(|name| asked(way, name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_choose() {
        let ways = all(2);
        let mut names: Vec<&str> = ways.iter().map(|way| way.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ways.len());

        let choose = |only: &str| {
            let only: Vec<String> = only.split(',').map(str::to_owned).collect();
            chosen(2, &only).map(|ways| ways.into_iter().map(|way| way.name).collect::<Vec<_>>())
        };
        assert_eq!(choose("uring,find").unwrap(), ["uring-cores", "uring-2x", "uring-8x", "find"]);
        assert_eq!(choose("naive-1").unwrap(), ["naive-1"]);
        assert_eq!(choose("blocking-fd").unwrap().len(), 3);
        assert!(choose("uri").is_err());
        assert_eq!(chosen(2, &[]).unwrap().len(), ways.len());
    }
}
