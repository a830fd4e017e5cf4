//! What the numbers were measured on, and the page cache.

use crate::report::command;
use crate::{Bench, Failure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writing to it drops clean pages, names and inodes of the whole machine.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Prints the header of a report.
pub(crate) fn describe(bench: &mut Bench) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok();
        output.map_or_else(|| "not installed".into(), |output| first_line(&output.stdout))
    };
    let cache = match can_drop_caches(bench) {
        true => "warm; dropped before every run that is called cold",
        false => "warm throughout: not dropped (that needs root, and is not done with --smoke)",
    };
    let rows = [
        ("command", command()),
        ("engine", format!("leindex-engine {}", env!("CARGO_PKG_VERSION"))),
        ("built with", format!("{}, {}", env!("LEINDEX_BENCH_RUSTC"), env!("LEINDEX_BENCH_PROFILE"))),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("cpu", field("/proc/cpuinfo", "model name")),
        ("cores", cores.to_string()),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        ("load at the start", read("/proc/loadavg")),
        ("tree", bench.tree.display().to_string()),
        ("file system of the tree", file_system(&bench.tree)),
        ("file system of the indexes", file_system(&bench.scratch)),
        ("cache", cache.into()),
        ("ripgrep", version("rg")),
        ("git", version("git")),
    ];
    bench.report.say("# leindex-engine, end to end\n");
    let rows = rows.map(|(name, value)| [name.to_owned(), value]);
    bench.report.table(&["what", "value"], &rows);
    bench.report.say("Times are seconds unless said otherwise, as median (least–most); MB are 10^6 bytes.");
    if env!("LEINDEX_BENCH_PROFILE") != "release" && !bench.options.smoke {
        bench.report.say("**This is not a release build: its times mean nothing.**");
    }
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or("unknown").to_owned()
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).map(|text| text.trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// The value of the first `name: value` line of a file.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.map_or_else(|| "unknown".into(), |value| value.trim().to_owned())
}

/// Type and device of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.to_owned();
        let mut after = after.split(' ');
        path.starts_with(&point).then_some((point.len(), format!("{} on {}", after.next()?, after.next()?)))
    };
    // Of two mounts at one place the later one is on top.
    mounts
        .lines()
        .filter_map(parse)
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".into(), |(_, name)| name)
}

/// Whether the page cache can be emptied here. Not in a smoke test: it would slow down everybody else.
pub(crate) fn can_drop_caches(bench: &Bench) -> bool {
    !bench.options.smoke && fs::OpenOptions::new().write(true).open(DROP_CACHES).is_ok()
}

/// Empties the page cache when that is possible.
pub(crate) fn drop_caches(bench: &Bench) -> Result<(), Failure> {
    sync();
    if can_drop_caches(bench) {
        fs::write(DROP_CACHES, "3\n")?;
    }
    Ok(())
}

/// Waits until everything is on the disk, so that one measurement does not pay for the one before it.
#[cfg(target_os = "linux")]
pub(crate) fn sync() {
    rustix::fs::sync();
}

/// Done on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sync() {}

/// Pins the calling thread to the `number`th core that it may use, as the engine does with its shards.
#[cfg(target_os = "linux")]
pub(crate) fn pin(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let Some(&core) = cores.get(number % cores.len().max(1)) else { return };
    let mut one = CpuSet::new();
    one.set(core);
    // Unpinned threads are slower, not wrong.
    let _ = sched_setaffinity(None, &one);
}

/// Done on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_number: usize) {}

/// Sends a process what Ctrl-C sends.
#[cfg(target_os = "linux")]
pub(crate) fn interrupt(child: &std::process::Child) -> Result<(), Failure> {
    use rustix::process::{Pid, Signal, kill_process};
    Ok(kill_process(Pid::from_child(child), Signal::INT)?)
}

/// Done on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn interrupt(_child: &std::process::Child) -> Result<(), Failure> {
    Err("no signals are sent here".into())
}

/// Bytes that the files below `path` hold, and bytes of the disk blocks they take.
pub(crate) fn bytes_on_disk(path: &Path) -> Result<(u64, u64), Failure> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok((metadata.len(), block_bytes(&metadata)));
    }
    let mut total = (0, 0);
    for entry in fs::read_dir(path)? {
        let (bytes, blocks) = bytes_on_disk(&entry?.path())?;
        total = (total.0 + bytes, total.1 + blocks);
    }
    Ok(total)
}

#[cfg(unix)]
fn block_bytes(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn block_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// CPU time of this process so far, in milliseconds and in steps of ten; 0 where the system does not tell.
pub(crate) fn cpu_ms() -> u64 {
    let stat = read("/proc/self/stat");
    // The name may hold anything; the fields behind it do not. User and system time are the 14th and 15th.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}
