//! What this kernel's io_uring can do, asked once and never assumed.
//!
//! A sandbox can refuse the whole of it, an old kernel lacks parts. What is missing is done in another way, an operation
//! at a time; only when reading itself is missing is there no point in a ring.

use super::pages::PAGE;
use super::ring::{Ring, RingSize};
use crate::io::Unavailable;
use io_uring::{IoUring, Probe, opcode};
use leindex_fallback::{Backend, Dir, ThreadBackend};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Entries of the ring that asks the questions.
const PROBE_ENTRIES: u32 = 8;
/// Small files that nearly every system has, for the one real read.
const READABLE: [&str; 4] = ["/proc/self/exe", "/etc/passwd", "/etc/os-release", "/etc/hostname"];

/// What can be used. Everything that is false has a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// A refused entry does not stop those behind it (Linux 5.18).
    pub(crate) submit_all: bool,
    /// Completions are worked on when their thread asks, not whenever it enters the kernel (Linux 6.1).
    pub(crate) defer_taskrun: bool,
    /// `IORING_OP_OPENAT` into a table of direct descriptors (Linux 5.15; without it: `openat`).
    pub(crate) open_direct: bool,
    /// `IORING_OP_READ_FIXED` (without it: `IORING_OP_READ`).
    pub(crate) read_fixed: bool,
    /// `IORING_OP_STATX` (without it: `fstatat`, one after the other).
    pub(crate) statx: bool,
    /// `IORING_OP_FADVISE` tells a pipe from a file (without it: `openat` and `fstat`).
    pub(crate) fadvise: bool,
    /// `IORING_OP_ASYNC_CANCEL` (without it a read that hangs keeps its slot).
    pub(crate) cancel: bool,
}

/// The parts of [`Caps`] by name, for reports and for tests that take one away.
type Part = (&'static str, fn(&mut Caps) -> &mut bool);
const PARTS: [Part; 7] = [
    ("SUBMIT_ALL", |caps| &mut caps.submit_all),
    ("DEFER_TASKRUN", |caps| &mut caps.defer_taskrun),
    ("OPENAT direct", |caps| &mut caps.open_direct),
    ("READ_FIXED", |caps| &mut caps.read_fixed),
    ("STATX", |caps| &mut caps.statx),
    ("FADVISE", |caps| &mut caps.fadvise),
    ("ASYNC_CANCEL", |caps| &mut caps.cancel),
];

impl Caps {
    /// The names of what is there, and of what is missing.
    pub(crate) fn names(mut self) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut there, mut missing) = (vec!["READ"], Vec::new());
        for (name, part) in PARTS {
            if *part(&mut self) { there.push(name) } else { missing.push(name) }
        }
        (there, missing)
    }

    /// The same without the part called `name`.
    #[cfg(test)]
    pub(super) fn without(mut self, name: &str) -> Caps {
        let part = PARTS.iter().find(|(each, _)| *each == name).map(|(_, part)| part);
        *part.unwrap_or_else(|| panic!("no part is called {name}"))(&mut self) = false;
        self
    }

    /// The names of all parts that can be missing.
    #[cfg(test)]
    pub(super) fn part_names() -> impl Iterator<Item = &'static str> {
        PARTS.iter().map(|(name, _)| *name)
    }

    /// Makes a ring with the flags that are there.
    pub(super) fn build(self, entries: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork();
        if self.submit_all {
            builder.setup_submit_all();
        }
        if self.defer_taskrun {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        builder.build(entries)
    }
}

/// The answer for this process; the questions are asked on the first call.
///
/// # Errors
/// When a ring cannot be used at all: why, and what to change.
pub(crate) fn caps() -> Result<Caps, Unavailable> {
    static CAPS: OnceLock<Result<Caps, Unavailable>> = OnceLock::new();
    CAPS.get_or_init(ask).clone()
}

fn ask() -> Result<Caps, Unavailable> {
    let mut caps = Caps {
        submit_all: true,
        defer_taskrun: true,
        open_direct: false,
        read_fixed: false,
        statx: false,
        fadvise: false,
        cancel: false,
    };
    let ring = with_fewer_flags(&mut caps).map_err(|error| refused(&error, disabled_setting()))?;
    let too_old = |what: &str| Unavailable(format!("this kernel's io_uring lacks {what}: Linux 5.11 or later has it"));
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        return Err(too_old("waiting with a time-out"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| refused(&error, disabled_setting()))?;
    if !probe.is_supported(opcode::Read::CODE) {
        return Err(too_old("IORING_OP_READ"));
    }
    let has_table = ring.submitter().register_files_sparse(1).is_ok();
    caps.open_direct = has_table && probe.is_supported(opcode::OpenAt::CODE);
    caps.read_fixed = probe.is_supported(opcode::ReadFixed::CODE);
    caps.statx = probe.is_supported(opcode::Statx::CODE);
    caps.fadvise = probe.is_supported(opcode::Fadvise::CODE);
    caps.cancel = probe.is_supported(opcode::AsyncCancel::CODE);
    drop(ring);
    if caps.open_direct {
        // Direct descriptors came later than both the operation and the table: only a real one tells.
        let root = ThreadBackend::new().open_root(Path::new("/"));
        caps.open_direct = root.is_ok_and(|root| try_direct_open(caps, root));
    }
    read_once(caps)?;
    Ok(caps)
}

/// Makes a ring, giving up one flag after the other as long as the kernel does not know them.
fn with_fewer_flags(caps: &mut Caps) -> io::Result<IoUring> {
    loop {
        match caps.build(PROBE_ENTRIES) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) && caps.defer_taskrun => {
                caps.defer_taskrun = false;
            }
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) && caps.submit_all => {
                caps.submit_all = false;
            }
            built => return built,
        }
    }
}

/// Reads a real file through the ring: a filter may let a ring be made and then refuse to enter it.
fn read_once(caps: Caps) -> Result<(), Unavailable> {
    let Some(file) = READABLE.iter().find_map(|path| File::open(path).ok()) else { return Ok(()) };
    let broken = |error: io::Error| {
        Unavailable(format!("io_uring can be set up but does not read ({error}): a sandbox may refuse io_uring_enter"))
    };
    try_read(caps, file.into()).map_err(broken)
}

/// A ring for one operation.
const TRIAL: RingSize = RingSize { files: 1, slots: 1, entries: 8, buffer_bytes: PAGE };
const TRIAL_PATIENCE: Duration = Duration::from_secs(5);

/// Opens one of the directories that every system has into a direct descriptor; says whether that works.
fn try_direct_open(caps: Caps, root: Dir) -> bool {
    let Ok(mut ring) = Ring::new(caps, TRIAL) else { return false };
    let root = Arc::new(root);
    for name in ["proc", "etc", "usr", "tmp", "dev", "bin"] {
        let Ok(name) = CString::new(name) else { return false };
        ring.open(0, &root, &name, false);
        if ring.submit().and_then(|()| ring.wait(TRIAL_PATIENCE)).is_err() {
            return false;
        }
        match ring.next_completion() {
            Some(completion) if completion.result.is_ok() => return true,
            Some(_) => {}
            None => return false,
        }
    }
    false
}

/// Reads the start of a file.
///
/// # Errors
/// What the system says.
fn try_read(caps: Caps, file: OwnedFd) -> io::Result<()> {
    let mut ring = Ring::new(caps, RingSize { files: 0, ..TRIAL })?;
    ring.adopt(0, file);
    ring.reserve(0, PAGE, false)?;
    ring.read(0, false);
    ring.submit()?;
    ring.wait(TRIAL_PATIENCE)?;
    match ring.next_completion() {
        Some(completion) => completion.result.map(drop).map_err(io::Error::from),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// `kernel.io_uring_disabled`, where the kernel has it (Linux 6.6).
fn disabled_setting() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Which of the causes it is, and what to do about it.
fn refused(error: &io::Error, disabled: Option<u32>) -> Unavailable {
    let errno = Errno::from_io_error(error);
    Unavailable(match (errno, disabled) {
        (Some(Errno::PERM), Some(2)) => {
            "kernel.io_uring_disabled is 2: `sysctl kernel.io_uring_disabled=0` allows io_uring".into()
        }
        (Some(Errno::PERM), Some(1)) => "kernel.io_uring_disabled is 1: only root and the group \
                                         kernel.io_uring_group may use io_uring; join it, or set it to 0"
            .into(),
        (Some(Errno::PERM | Errno::ACCESS), _) => {
            "a sandbox refuses io_uring_setup (seccomp): allow io_uring_setup, io_uring_enter and io_uring_register \
             in its profile"
                .into()
        }
        (Some(Errno::NOSYS), _) => "this kernel has no io_uring, or a sandbox hides it (ENOSYS): Linux 5.11 or later \
                                    has it; in a container allow io_uring_setup in the seccomp profile"
            .into(),
        (Some(Errno::NOMEM), _) => "io_uring needs more locked memory: raise the limit (ulimit -l)".into(),
        (Some(Errno::MFILE | Errno::NFILE), _) => {
            "no descriptor is left for io_uring: raise the limit of open files (ulimit -n)".into()
        }
        _ => format!("io_uring cannot be set up: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_change() {
        let says = |errno: Errno, disabled| refused(&errno.into(), disabled).0;
        assert!(says(Errno::PERM, Some(2)).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(says(Errno::PERM, Some(1)).contains("io_uring_group"));
        assert!(says(Errno::PERM, Some(0)).contains("seccomp"));
        assert!(says(Errno::PERM, None).contains("seccomp"));
        assert!(says(Errno::NOSYS, None).contains("ENOSYS"));
        assert!(says(Errno::NOMEM, Some(0)).contains("ulimit -l"));
        assert!(says(Errno::MFILE, Some(0)).contains("ulimit -n"));
        assert!(says(Errno::IO, Some(0)).contains("cannot be set up"));
    }

    #[test]
    fn every_part_can_be_named_and_taken_away() {
        let Ok(caps) = caps() else { return eprintln!("SKIPPED: {}", caps().unwrap_err()) };
        for name in Caps::part_names() {
            let (there, missing) = caps.without(name).names();
            assert!(missing.contains(&name) && !there.contains(&name), "{name}: {there:?} {missing:?}");
            assert_eq!(there.len() + missing.len(), PARTS.len() + 1);
        }
    }
}
