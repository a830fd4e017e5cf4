//! Ctrl-C and SIGTERM: the first one stops the run, a second one the process.

use super::exit::Exit;
use super::output;
use leindex_engine::Canceller;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// Whether the process was asked to stop, and what is to be stopped then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: AtomicBool,
    canceller: OnceLock<Canceller>,
}

impl Interrupts {
    /// Catches signals from now on. To be called before there is a run, so that none is missed.
    pub(crate) fn catch() -> Interrupts {
        let interrupts = Interrupts::default();
        let state = Arc::clone(&interrupts.0);
        let caught = ctrlc::set_handler(move || {
            if state.asked.swap(true, SeqCst) {
                std::process::exit(Exit::Interrupted as i32);
            }
            output::note("stopping; what was published stays (once more to stop at once)");
            if let Some(canceller) = state.canceller.get() {
                canceller.cancel();
            }
        });
        if let Err(error) = caught {
            tracing::warn!(%error, "signals are not caught: Ctrl-C ends the run without a summary");
        }
        interrupts
    }

    /// Stops the run of `canceller` on a signal, also on one that has come already.
    pub(crate) fn stop(&self, canceller: Canceller) {
        let canceller = self.0.canceller.get_or_init(|| canceller);
        if self.0.asked.load(SeqCst) {
            canceller.cancel();
        }
    }
}
