//! What the system says of itself, for `doctor`. Only Linux is asked much; elsewhere there is little to choose.

use super::doctor::Finding;
use super::output::bytes;
use std::path::Path;

#[cfg(target_os = "linux")]
mod linux;

/// Kernel, processor, memory and limits.
#[cfg(target_os = "linux")]
pub(crate) fn machine() -> Vec<Finding> {
    linux::machine()
}

/// What there is to say elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn machine() -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        Finding::ok("system", format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH)),
        Finding::ok("cores", cores.to_string()),
    ]
}

/// The file system that `path` lies on.
#[cfg(target_os = "linux")]
pub(crate) fn place(subject: &'static str, path: &Path) -> Option<Finding> {
    linux::place(subject, path)
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn place(_subject: &'static str, _path: &Path) -> Option<Finding> {
    None
}

/// Less than this is little: an index has a twentieth of the size of its tree.
const SPACE_LITTLE: u64 = 1 << 30;

/// Free space for the index in `dir`.
#[cfg(unix)]
pub(crate) fn free_space(dir: &Path) -> Option<Finding> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let value = format!("{} free for the index", bytes(free));
    Some(if free < SPACE_LITTLE {
        Finding::warn("space", value, "free some, or choose another place with --index-dir")
    } else {
        Finding::ok("space", value)
    })
}

/// Not known here.
#[cfg(not(unix))]
pub(crate) fn free_space(_dir: &Path) -> Option<Finding> {
    let _ = (bytes, SPACE_LITTLE);
    None
}
