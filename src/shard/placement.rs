//! Where the threads of a run are placed.

/// How shards are placed on cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Shard `n` stays on the `n`th core the process may use: warm runs are about a fifth faster.
    #[default]
    Pinned,
    /// Wherever the scheduler puts them: for machines and containers that are shared.
    Floating,
}

/// Cores that this process may use, at least 1.
pub(crate) fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pins the calling thread to one of the cores that it may use. Failure is harmless and only logged.
#[cfg(target_os = "linux")]
pub(crate) fn pin(shard: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = match sched_getaffinity(None) {
        Ok(allowed) => allowed,
        Err(error) => return tracing::debug!(%error, "affinity is not known"),
    };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let Some(&core) = cores.get(shard % cores.len().max(1)) else { return };
    let mut one = CpuSet::new();
    one.set(core);
    if let Err(error) = sched_setaffinity(None, &one) {
        tracing::debug!(%error, core, "could not pin");
    }
}

/// Pinning is done on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_shard: usize) {}
