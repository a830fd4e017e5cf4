//! The server for coding agents: the Model Context Protocol over stdio or HTTP. Uses nothing of the library but its public API.
//!
//! * `stdio`, `http`: transports. Nothing but the protocol goes to stdout. `metrics`: what HTTP also tells, for Prometheus.
//! * `handler`: requests to calls. It never blocks; the handshake is answered whatever is being indexed.
//! * `server`, `keeper`, `jobs`, `snapshots`: the project, the thread that keeps its index fresh, operations, the open snapshot.
//! * `tools`, `resources`: what can be asked, on threads that may block.
//! * `args`, `paths`, `lines`, `answer`, `latencies`: what those share.

mod answer;
mod args;
mod handler;
mod http;
mod jobs;
mod keeper;
mod latencies;
mod lines;
mod metrics;
mod paths;
mod resources;
mod server;
mod snapshots;
mod stdio;
mod tools;

pub(crate) use http::Http;
pub(crate) use server::Opener;

use handler::Handler;
use rmcp::ServiceExt;
use server::Server;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Threads for what may block: searches are bound by the cores, and more of them would only wait for each other.
const BLOCKING_THREADS: usize = 32;
/// Threads for the protocol.
const ASYNC_THREADS: usize = 2;
/// How long the end waits for what still hangs somewhere.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long the end waits for a client to take what was answered.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// Exit code when a second signal ends the process at once.
const INTERRUPTED: i32 = 130;

/// What to serve.
pub(crate) struct Settings {
    /// The first project; `None` until a client names one.
    pub(crate) root: Option<PathBuf>,
    pub(crate) opener: Opener,
    /// Whether to keep the index fresh.
    pub(crate) watches: bool,
    /// Over HTTP instead of stdio.
    pub(crate) http: Option<Http>,
}

/// Why the server is to end.
#[derive(Clone, Debug, Default)]
struct End {
    /// A signal has come: whatever goes on is given up.
    stopped: CancellationToken,
    /// That, or the end of stdin: nothing new is begun, what was asked is answered, operations are cancelled.
    ended: CancellationToken,
}

/// Serves until a signal comes or, over stdio, stdin ends.
///
/// # Errors
/// When there is nothing to serve on.
pub(crate) fn serve(settings: Settings) -> Result<(), String> {
    if let Some(http) = &settings.http {
        http.check()?;
    }
    let end = End::default();
    catch_signals(end.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("leindex-mcp")
        .enable_all()
        .build()
        .map_err(|error| format!("no threads could be started: {error}"))?;
    // Whoever starts a server over stdio may read what it may. Over HTTP somebody else may be asking.
    let allowed = settings.http.as_ref().map(|http| settings.root.iter().chain(&http.roots).cloned().collect());
    let server = Arc::new(Server::new(settings.opener, settings.watches, allowed));
    if let Some(root) = settings.root {
        server.open_soon(root);
    }
    let at_end = {
        let (server, ended) = (Arc::clone(&server), end.ended.clone());
        runtime.spawn(async move {
            ended.cancelled().await;
            // Whoever waits for an operation gets an answer.
            server.jobs.cancel_all();
        })
    };
    let served = match &settings.http {
        Some(http) => runtime.block_on(http::serve(Arc::clone(&server), http, end.stopped.clone())),
        None => runtime.block_on(over_stdio(Arc::clone(&server), &end)),
    };
    end.ended.cancel();
    let _ = runtime.block_on(at_end);
    close(server);
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Ends operations and the watcher. In a thread, because a disk that hangs must not keep the process.
fn close(server: Arc<Server>) {
    let (done, is_done) = std::sync::mpsc::channel();
    let closing = std::thread::Builder::new().name("leindex-mcp-end".into()).spawn(move || {
        server.close();
        // Nobody waits any more if this took too long.
        let _ = done.send(());
    });
    if closing.is_err() || is_done.recv_timeout(END_PATIENCE).is_err() {
        tracing::warn!("something still hangs; what was published stays");
    }
}

async fn over_stdio(server: Arc<Server>, end: &End) -> Result<(), String> {
    let started = stdio::start(end.ended.clone());
    let (transport, writer) = started.map_err(|error| format!("no thread could be started: {error}"))?;
    match Handler(server).serve_with_ct(transport, end.stopped.clone()).await {
        Ok(running) => drop(running.waiting().await),
        Err(error) => tracing::debug!(%error, "no session: stdin has ended before the handshake"),
    }
    // What was answered goes out, if anybody reads it.
    let written = tokio::task::spawn_blocking(move || writer.join());
    if tokio::time::timeout(WRITE_PATIENCE, written).await.is_err() {
        tracing::warn!("nobody reads stdout");
    }
    Ok(())
}

/// The first signal ends the server, a second one the process.
fn catch_signals(end: End) {
    let asked = AtomicBool::new(false);
    let caught = ctrlc::set_handler(move || {
        if asked.swap(true, SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        end.stopped.cancel();
        end.ended.cancel();
    });
    if let Err(error) = caught {
        tracing::warn!(%error, "signals are not caught: they end the server without more ado");
    }
}

/// A line on stderr. That nobody reads it is no reason to fail.
fn note(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "leindex-engine: {message}");
}
