//! Linux: `/proc`, `/sys` and a few calls.

use super::super::doctor::Finding;
use super::super::output::{bytes, count, shown};
use leindex_engine::BackendChoice;
use leindex_engine::io::select;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::{Resource, getrlimit};
use std::fs::{self, File};
use std::io::IoSliceMut;
use std::path::Path;

/// Less memory than this is little for a large tree.
const MEMORY_LITTLE: u64 = 1 << 30;
/// Open files that a run can make use of.
const FILES_WANTED: u64 = 4096;
/// Locked memory that deep io_uring queues take.
const MEMLOCK_WANTED: u64 = 8 << 20;
/// A watched tree takes one inotify watch a directory.
const WATCHES_WANTED: u64 = 65_536;

/// Kernel, processor, memory and limits.
pub(super) fn machine() -> Vec<Finding> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut findings = vec![Finding::ok("kernel", format!("Linux {kernel}")), processor(), cores()];
    findings.extend(memory());
    findings.extend([open_files(), locked_memory(), io_uring(), nowait()]);
    findings.extend(inotify());
    findings
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

fn processor() -> Finding {
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let known = ["sse4_2", "avx", "avx2", "bmi2", "avx512f", "avx512bw", "asimd", "sve"];
    let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
    let has: Vec<&str> =
        known.into_iter().filter(|known| flags.split_whitespace().any(|flag| flag == *known)).collect();
    let value = format!("{model} ({})", if has.is_empty() { "no vector units known".into() } else { has.join(" ") });
    if cfg!(target_arch = "x86_64") && !has.contains(&"avx2") {
        Finding::note("cpu", value, "without avx2 words are found about half as fast; nothing to be done about it")
    } else {
        Finding::ok("cpu", value)
    }
}

fn cores() -> Finding {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let online = rustix::thread::sched_getaffinity(None).map_or(usable, |set| set.count() as usize);
    let there =
        read("/proc/cpuinfo").map_or(0, |info| info.lines().filter(|line| line.starts_with("processor")).count());
    let value = format!("{usable} usable, {online} allowed by affinity, {there} there");
    if usable < there.min(online) {
        Finding::note("cores", value, "a CPU quota of the container holds the rest back; raise it to index faster")
    } else if online < there {
        Finding::note("cores", value, "the affinity mask (taskset, cpuset) holds the rest back")
    } else {
        Finding::ok("cores", value)
    }
}

fn memory() -> Option<Finding> {
    let info = read("/proc/meminfo")?;
    let field = |name: &str| -> Option<u64> {
        let rest = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(rest.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    };
    let (total, mut free) = (field("MemTotal:")?, field("MemAvailable:")?);
    let mut value = format!("{} available of {}", bytes(free), bytes(total));
    if let Some(limit) = number("/sys/fs/cgroup/memory.max") {
        free = free.min(limit);
        value += &format!(", {} allowed by the control group", bytes(limit));
    }
    Some(if free < MEMORY_LITTLE {
        Finding::warn("memory", value, "indexing a large tree takes up to 500 MB: close something else first")
    } else {
        Finding::ok("memory", value)
    })
}

fn limit(value: Option<u64>, show: impl Fn(u64) -> String) -> String {
    value.map_or_else(|| "unlimited".into(), show)
}

fn open_files() -> Finding {
    let limits = getrlimit(Resource::Nofile);
    let value = format!("{} soft, {} hard", limit(limits.current, count), limit(limits.maximum, count));
    if limits.maximum.is_some_and(|hard| hard < FILES_WANTED) {
        let next = format!("raise the hard limit (ulimit -Hn) to {FILES_WANTED} for deep trees and many workers");
        Finding::warn("open files", value, next)
    } else {
        // The soft limit is raised by every run.
        Finding::ok("open files", value)
    }
}

fn locked_memory() -> Finding {
    let limits = getrlimit(Resource::Memlock);
    let value = format!("{} soft, {} hard", limit(limits.current, bytes), limit(limits.maximum, bytes));
    if limits.maximum.is_some_and(|hard| hard < MEMLOCK_WANTED) {
        Finding::note(
            "memlock",
            value,
            "buffers of io_uring are not registered beyond that; reads are a little slower (ulimit -Hl)",
        )
    } else {
        Finding::ok("memlock", value)
    }
}

/// Whether io_uring can be used, and which of its parts.
fn io_uring() -> Finding {
    const SUBJECT: &str = "io_uring";
    match select(BackendChoice::Uring) {
        Ok(selected) => Finding::ok(SUBJECT, selected.why),
        Err(error) => Finding::note(SUBJECT, "cannot be used", error.to_string()),
    }
}

/// Tries a read that must not wait, on this program's own file.
fn nowait() -> Finding {
    const SUBJECT: &str = "nowait read";
    let tried = std::env::current_exe().and_then(File::open).map_err(|error| error.to_string()).and_then(|file| {
        let mut buffer = [0u8; 1];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match rustix::io::preadv2(&file, &mut parts, 0, ReadWriteFlags::NOWAIT) {
            // "Would wait" is an answer too.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    });
    match tried {
        Ok(()) => Finding::ok(SUBJECT, "RWF_NOWAIT works: what is cached is told from what is not"),
        Err(error) => Finding::note(
            SUBJECT,
            format!("RWF_NOWAIT: {error}"),
            "cold reads are slower; another file system may help",
        ),
    }
}

fn inotify() -> Option<Finding> {
    let watches = number("/proc/sys/fs/inotify/max_user_watches")?;
    let instances = number("/proc/sys/fs/inotify/max_user_instances").unwrap_or(0);
    let value = format!("{} watches, {} instances a user", count(watches), count(instances));
    Some(if watches < WATCHES_WANTED {
        let next = format!(
            "`watch` and `mcp` take one a directory, and look at larger trees every few seconds; \
             `sysctl fs.inotify.max_user_watches={WATCHES_WANTED}` allows more"
        );
        Finding::note("inotify", value, next)
    } else {
        Finding::ok("inotify", value)
    })
}

/// The file system that `path` lies on.
pub(super) fn place(subject: &'static str, path: &Path) -> Option<Finding> {
    let mounts = read("/proc/self/mountinfo")?;
    let (kind, mounted) = mount_of(&mounts, path)?;
    let value = format!("{kind} on {}", shown(mounted.as_bytes()));
    let is_remote = ["nfs", "cifs", "smb", "9p", "fuse", "ceph", "afs", "virtiofs", "drvfs"];
    Some(if is_remote.iter().any(|remote| kind.starts_with(remote)) {
        let next = "reads go over a network or another program: give more workers (--shards 32); keep the index on a \
                    local disk (--index-dir)";
        Finding::note(subject, value, next)
    } else {
        Finding::ok(subject, value)
    })
}

/// Type and mount point of the mount that holds `path`: the longest one, and of several in one place the last.
fn mount_of(mounts: &str, path: &Path) -> Option<(String, String)> {
    let mut best: Option<(String, String)> = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else { continue };
        let point = unescaped(point);
        let longer = best.as_ref().is_none_or(|(_, known)| point.len() >= known.len());
        if longer && path.starts_with(&point) {
            best = Some((kind.to_owned(), point));
        }
    }
    best
}

/// The kernel writes blanks as `\040`.
fn unescaped(point: &str) -> String {
    let replaced = point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    replaced.replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_holds_a_path() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      23 22 0:5 / /home rw shared:1 - xfs /dev/vdb rw\n\
                      24 23 0:6 / /home/a\\040b rw - nfs4 server:/x rw\n\
                      25 22 0:7 / /home rw - btrfs /dev/vdc rw\n";
        let kind = |path: &str| mount_of(mounts, Path::new(path)).unwrap().0;
        assert_eq!(kind("/etc"), "ext4");
        assert_eq!(kind("/homes/x"), "ext4");
        assert_eq!(kind("/home/x"), "btrfs");
        assert_eq!(kind("/home/a b/c"), "nfs4");
    }

    #[test]
    fn every_finding_has_a_value_and_every_trouble_a_next_step() {
        let findings = machine();
        assert!(findings.len() >= 9, "{findings:?}");
        for finding in findings {
            assert!(!finding.value.is_empty(), "{finding:?}");
            let is_ok = finding.level == super::super::super::doctor::Level::Ok;
            assert_eq!(finding.next_step.is_none(), is_ok, "{finding:?}");
        }
    }
}
