//! The log on stderr: `-v`, `-vv`, `-vvv`, or what `RUST_LOG` says. And the trace: `--trace FILE`.

use super::exit::Failure;
use super::options::Options;
use super::output::{self, Ui};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// What a trace holds: stages and their steps. Whatever is done once a file would slow down what is measured.
const TRACED: &str = "leindex_engine=debug,leindex_fallback=debug";

/// What writes the rest of the trace when it is dropped; where, and why that has failed, if it has.
static TRACE: Mutex<Option<(FlushGuard, PathBuf, Failed)>> = Mutex::new(None);

/// The first error of a trace's file.
type Failed = Arc<Mutex<Option<io::Error>>>;

/// Starts to log, and to trace if that is asked for. Warnings are always shown.
pub(crate) fn start(options: &Options, ui: &Ui) -> Result<(), Failure> {
    let verbose = options.verbose.unwrap_or(0);
    let level = match verbose {
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
    // How long each stage took is told at its end, to those who want to know.
    let spans = if verbose > 0 || from_environment.is_some() { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let log = fmt::layer()
        .with_ansi(ui.color_err)
        .with_timer(fmt::time::uptime())
        .with_span_events(spans)
        .with_writer(|| LogWriter)
        .with_filter(filter);
    let trace = options.trace.as_deref().map(trace).transpose()?;
    let started = tracing_subscriber::registry().with(log).with(trace).try_init();
    // There is one already only if this is called twice.
    debug_assert!(started.is_ok());
    Ok(())
}

fn trace<S>(path: &Path) -> Result<impl Layer<S>, Failure>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    let file = File::create(path).map_err(|error| {
        Failure::Usage(format!("--trace {}: {error}: name a file that can be written", path.display()))
    })?;
    let failed = Arc::new(Mutex::new(None));
    let writer = TraceWriter { file, failed: Arc::clone(&failed) };
    let (layer, guard) = ChromeLayerBuilder::new().writer(writer).include_args(true).build();
    *TRACE.lock().unwrap_or_else(PoisonError::into_inner) = Some((guard, path.to_path_buf(), failed));
    Ok(layer.with_filter(EnvFilter::new(TRACED)))
}

/// Writes what is left of the trace, and says so if it is not whole.
pub(crate) fn finish() {
    let Some((guard, path, failed)) = TRACE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    drop(guard);
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        output::note(&format!("--trace {}: {error}: the trace is not whole", path.display()));
    }
}

/// The file of a trace. The thread that writes it would panic at an error: the first one is kept for the end instead.
struct TraceWriter {
    file: File,
    failed: Failed,
}

impl TraceWriter {
    fn noted(&self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

impl io::Write for TraceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_all(bytes);
        self.noted(written);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.noted(flushed);
        Ok(())
    }
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
