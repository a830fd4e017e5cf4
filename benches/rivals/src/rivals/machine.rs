//! What the numbers were measured on: its page cache, its disk's counters, its cores.

use super::Failure;
use super::options::Options;
use super::programs::PROGRAMS;
use super::report::{Report, command};
use rustix::fs::{Dev, major, minor};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Writing to it drops clean pages, names and inodes of the whole machine.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
const SECTOR_BYTES: u64 = 512;

/// How many cores this process may use.
pub(super) fn cores() -> usize {
    allowed_cores().len()
}

/// The cores that this process may use.
pub(super) fn allowed_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Pins the calling thread to the `number`th core that it may use, as the engine does with its shards.
pub(super) fn pin(number: usize) {
    let cores = allowed_cores();
    let mut one = CpuSet::new();
    one.set(cores[number % cores.len()]);
    // Unpinned threads are slower, not wrong.
    let _ = sched_setaffinity(None, &one);
}

/// Prints the header of a report.
pub(super) fn describe(report: &mut Report, options: &Options, tree: &Path) {
    let cache = match can_drop_caches() {
        _ if options.smoke => "warm throughout: --smoke drops nothing",
        true => "warm; dropped before every run that is called cold",
        false => "warm throughout: to drop it needs root",
    };
    let programs = PROGRAMS.map(|program| program.installed().map_or(format!("no {}", program.name), |(_, is)| is));
    let device = Device::of(tree).map_or_else(|| "unknown".into(), |device| device.name);
    let rows = [
        ("command", command()),
        ("engine", format!("leindex-engine {}", env!("CARGO_PKG_VERSION"))),
        ("built with", format!("{}, {}", env!("LEINDEX_RIVALS_RUSTC"), env!("LEINDEX_RIVALS_PROFILE"))),
        ("crates", env!("LEINDEX_RIVALS_CRATES").to_owned()),
        ("programs", programs.join("; ")),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("cpu", field("/proc/cpuinfo", "model name")),
        ("cores", cores().to_string()),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("tree", tree.display().to_string()),
        ("file system of the tree", file_system(tree)),
        ("disk of the tree", device),
        ("load at the start", read("/proc/loadavg")),
        ("cache", cache.into()),
    ];
    report.say("# Ways to walk, stat and read a tree\n");
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    report.table(&["what", "value"], &rows);
    if env!("LEINDEX_RIVALS_PROFILE") != "release" && !options.smoke {
        report.say("**This is not a release build: its times mean nothing.**");
    }
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

/// A line of the table of mounts.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    device: &'a str,
    point: &'a str,
    kind: &'a str,
    source: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (device, point) = (before.next()?, before.nth(1)?);
        let mut after = after.split(' ');
        Some(Mount { device, point, kind: after.next()?, source: after.next()? })
    }
}

/// Type and source of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let holding = mounts.lines().filter_map(Mount::parse).filter(|mount| path.starts_with(mount.point));
    // Of two mounts at one place the later one is on top.
    let mount = holding.max_by_key(|mount| mount.point.len());
    mount.map_or_else(|| "unknown".into(), |mount| format!("{} on {}", mount.kind, mount.source))
}

/// The disk or partition that holds a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    major: u32,
    minor: u32,
    name: String,
}

/// What a device has read since the machine was started, or between two looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceReads {
    /// Completed requests, after neighbours have been merged.
    pub(super) reads: u64,
    pub(super) bytes: u64,
}

impl Device {
    /// `None` when the kernel counts nothing for it: a file system in memory, over a network, or over others.
    pub(super) fn of(tree: &Path) -> Option<Device> {
        let device = fs::metadata(tree).ok()?.dev();
        Device::counted(device).or_else(|| Device::counted(behind(device)?))
    }

    fn counted(device: Dev) -> Option<Device> {
        let (major, minor) = (major(device), minor(device));
        let stats = fs::read_to_string("/proc/diskstats").ok()?;
        let (name, _) = stats.lines().find_map(|line| disk(line, major, minor))?;
        Some(Device { major, minor, name: name.to_owned() })
    }

    /// What it has read until now.
    pub(super) fn reads(&self) -> Option<DeviceReads> {
        let stats = fs::read_to_string("/proc/diskstats").ok()?;
        stats.lines().find_map(|line| disk(line, self.major, self.minor)).map(|(_, reads)| reads)
    }
}

/// Name and reads of a line of the disks' counters, when it is that of the device.
fn disk(line: &str, major: u32, minor: u32) -> Option<(&str, DeviceReads)> {
    let mut words = line.split_whitespace();
    if (words.next()?.parse(), words.next()?.parse()) != (Ok(major), Ok(minor)) {
        return None;
    }
    let name = words.next()?;
    let reads = words.next()?.parse().ok()?;
    let sectors: u64 = words.nth(1)?.parse().ok()?;
    Some((name, DeviceReads { reads, bytes: sectors * SECTOR_BYTES }))
}

/// The device that a file system says it is on, where the number that its files carry is not that of a device.
fn behind(device: Dev) -> Option<Dev> {
    let number = format!("{}:{}", major(device), minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().filter_map(Mount::parse).find(|mount| mount.device == number)?;
    fs::metadata(mount.source).ok().map(|metadata| metadata.rdev())
}

/// Whether the page cache can be emptied here.
pub(super) fn can_drop_caches() -> bool {
    fs::OpenOptions::new().write(true).open(DROP_CACHES).is_ok()
}

/// Empties the page cache, all but this program: what a child reads of it must not be counted as the tree's.
pub(super) fn drop_caches() -> Result<(), Failure> {
    // Dirty pages would stay.
    rustix::fs::sync();
    fs::write(DROP_CACHES, "3\n")?;
    fs::read(std::env::current_exe()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_disks_are_read() {
        let line = "36 25 254:1 / /mnt/a rw,noatime master:1 - ext4 /dev/vdb1 rw,discard";
        let mount = Mount { device: "254:1", point: "/mnt/a", kind: "ext4", source: "/dev/vdb1" };
        assert_eq!(Mount::parse(line), Some(mount));
        assert_eq!(Mount::parse("36 25"), None);

        let line = " 254       0 vda 1201 33 8008 77 5 6 7 8 0 9 10";
        assert_eq!(disk(line, 254, 0), Some(("vda", DeviceReads { reads: 1201, bytes: 8008 * 512 })));
        assert_eq!(disk(line, 254, 1), None);
    }
}
