//! Ctrl-C and SIGTERM: the first one stops the run, a second one the process.

use super::exit::Exit;
use super::output;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether the process was asked to stop, and what is to be stopped then.
#[derive(Clone, Default)]
pub(crate) struct Interrupts(Arc<State>);

#[derive(Default)]
struct State {
    asked: AtomicBool,
    stop: Mutex<Option<Box<dyn Fn() + Send>>>,
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
            state.stop();
        });
        if let Err(error) = caught {
            tracing::warn!(%error, "signals are not caught: Ctrl-C ends the run without a summary");
        }
        interrupts
    }

    /// Whether a signal has come.
    pub(crate) fn has_come(&self) -> bool {
        self.0.asked.load(SeqCst)
    }

    /// Calls `stop` on a signal, also on one that has come already, instead of what was to be called before.
    pub(crate) fn stop(&self, stop: impl Fn() + Send + 'static) {
        *self.0.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
        if self.0.asked.load(SeqCst) {
            self.0.stop();
        }
    }
}

impl State {
    fn stop(&self) {
        if let Some(stop) = &*self.stop.lock().unwrap_or_else(PoisonError::into_inner) {
            stop();
        }
    }
}
