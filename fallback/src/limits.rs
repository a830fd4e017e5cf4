//! The limit of open files.

use std::io;

/// Raises the soft limit of open files of this process to the hard limit, and returns the soft limit as it was and as
/// it is now. Queues of open files are then sized from what was granted: the usual soft limit is only 1,024.
///
/// It is a limit of the whole process, so only a program should call this, not a library on its own. A program that
/// uses `select(2)` should not: descriptors above 1,023 do not fit there.
///
/// `u64::MAX` stands for "no limit", also where there is no such limit (Windows).
///
/// # Errors
/// What the system says when it refuses.
#[cfg(all(unix, not(miri)))]
pub fn raise_open_file_limit() -> io::Result<(u64, u64)> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // macOS refuses "no limit" as a soft limit and takes no more than OPEN_MAX.
    let wanted =
        if cfg!(target_vendor = "apple") { maximum.or(Some(u64::MAX)).map(|m| m.min(10_240)) } else { maximum };
    let before = current.unwrap_or(u64::MAX);
    let after = wanted.unwrap_or(u64::MAX);
    if after <= before {
        return Ok((before, before));
    }
    setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum })?;
    Ok((before, after))
}

/// There is no such limit here: `u64::MAX` twice.
///
/// # Errors
/// None.
#[cfg(any(not(unix), miri))]
pub fn raise_open_file_limit() -> io::Result<(u64, u64)> {
    Ok((u64::MAX, u64::MAX))
}
