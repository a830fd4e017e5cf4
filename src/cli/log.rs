//! The log on stderr: `-v`, `-vv`, `-vvv`, or what `RUST_LOG` says.

use super::options::Options;
use super::output::{self, Ui};
use std::io;
use tracing_subscriber::EnvFilter;

/// Starts to log. Warnings are always shown.
pub(crate) fn start(options: &Options, ui: &Ui) {
    let level = match options.verbose.unwrap_or(0) {
        // A request that is refused is no news to anybody but the client, who is told.
        0 => "warn,rmcp=error",
        1 => "warn,rmcp=error,leindex_engine=info,leindex_fallback=info",
        2 => "warn,leindex_engine=debug,leindex_fallback=debug",
        _ => "info,leindex_engine=trace,leindex_fallback=trace",
    };
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = match from_environment.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            output::note(&format!("RUST_LOG: {error}: it is not used"));
            EnvFilter::new(level)
        }
        None => EnvFilter::new(level),
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ui.color_err)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_writer(|| LogWriter)
        .try_init();
    // There is one already only if this is called twice.
    debug_assert!(started.is_ok());
}

/// Writes whole events past the progress bar.
struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        output::to_stderr(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
