//! `/metrics`: figures of the server and of the current project in the text format of Prometheus (version 0.0.4).
//!
//! Units are seconds and bytes, as its conventions have it. What is not known (no project, nothing published) is left out.

use super::server::{Project, Server};
use leindex_engine::{Status, WatchState};
use std::fmt::{Display, Write};

/// What the answer's `Content-Type` is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Lines, with a head for each metric.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP leindex_{name} {help}\n# TYPE leindex_{name} {kind}");
    }

    /// A line; `labels` are as they stand between the braces.
    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "leindex_{name}{braced} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    /// A gauge with a line for each value of a label.
    fn gauges<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        self.head(name, "gauge", help);
        for (of, value) in values {
            self.line(name, &format!("{label}=\"{of}\""), value);
        }
    }
}

/// All figures. Reads the index: not for a thread that must not block.
pub(crate) fn text(server: &Server) -> String {
    let mut metrics = Metrics::default();
    metrics.head("build_info", "gauge", "Always 1; its label is the version.");
    metrics.line("build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    calls(server, &mut metrics);
    metrics.gauge(
        "operations",
        "Operations that go on or wait.",
        server.jobs.all().iter().filter(|job| !job.is_ended()).count(),
    );
    if let Some(project) = server.open_project() {
        if let Some(status) = project.snapshots.get().ok().and_then(|(snapshot, _)| snapshot.status().ok()) {
            index(&status, &mut metrics);
        }
        keeping(&project, &mut metrics);
    }
    metrics.0
}

fn calls(server: &Server, metrics: &mut Metrics) {
    metrics.head("call_seconds", "histogram", "Calls of tools that were answered, and how long they took.");
    for (tool, calls) in server.latencies.by_tool() {
        let mut all = 0;
        for (bound, calls) in calls.cumulative() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".into() };
            metrics.line("call_seconds_bucket", &format!("tool=\"{tool}\",le=\"{bound}\""), calls);
            all = calls;
        }
        metrics.line("call_seconds_sum", &format!("tool=\"{tool}\""), calls.sum().as_secs_f64());
        metrics.line("call_seconds_count", &format!("tool=\"{tool}\""), all);
    }
}

fn index(status: &Status, metrics: &mut Metrics) {
    metrics.gauge("generation", "The published generation.", status.generation);
    metrics.gauge(
        "published_timestamp_seconds",
        "When it was published, since 1970.",
        status.published_ns as f64 / 1e9,
    );
    metrics.gauge("complete", "Whether it holds the whole tree.", u8::from(status.complete));
    let files = [("indexed", status.indexed), ("binary", status.binary), ("too_large", status.too_large)];
    metrics.gauges("files", "Files of the index, by what they are to it.", "kind", files);
    metrics.gauge("directories", "Directories of the index.", status.dirs);
    metrics.gauge("content_bytes", "Bytes of the files that can be searched.", status.content_bytes);
    metrics.gauge("index_bytes", "Bytes of the index on disk.", status.index_bytes);
    metrics.gauge("segments", "Segments of the text index.", status.segments);
}

fn keeping(project: &Project, metrics: &mut Metrics) {
    let fresh = project.engine.freshness().state == WatchState::Current;
    metrics.gauge("fresh", "Whether a watcher has no change left that it saw.", u8::from(fresh));
    project.keeper.with(|kept| {
        metrics.counter("watch_updates_total", "Updates by this server's watcher.", kept.updates);
        if let Some(report) = &kept.report {
            let seconds = &report.seconds;
            let phases = [
                ("total", seconds.total),
                ("scan", seconds.scan),
                ("index", seconds.index),
                ("commit", seconds.commit),
            ];
            metrics.gauges("last_run_seconds", "How long this server's last run took, by phase.", "phase", phases);
            let counts = &report.files;
            let files = [
                ("indexed", counts.indexed),
                ("unchanged", counts.unchanged),
                ("removed", counts.removed),
                ("ignored", counts.ignored),
                ("skipped", counts.skipped),
                ("failed", counts.failed),
            ];
            metrics.gauges("last_run_files", "Files of that run, by outcome.", "outcome", files);
            metrics.gauge("last_run_read_bytes", "Bytes that it read.", counts.bytes_read);
            metrics.gauge(
                "peak_resident_memory_bytes",
                "The most memory that this process had by its end.",
                report.peak_rss_bytes,
            );
        }
        if let Some(Ok(report)) = &kept.embedded {
            metrics.gauge("last_embedding_chunks", "Chunks of this server's last embedding.", report.chunks);
            metrics.gauge("last_embedding_seconds", "How long it took.", report.seconds);
        }
        if let Some(Ok(report)) = &kept.extracted {
            metrics.gauge("last_extraction_symbols", "Symbols of this server's last extraction.", report.symbols);
            metrics.gauge("last_extraction_seconds", "How long it took.", report.seconds);
        }
    });
}
