//! `get_diagnostics`: what there is to know about the server, its project and its index, by subject.

use super::status::{index_json, now_ms};
use super::{Call, Cost, Effect, Entry, For, job_json, schema};
use crate::mcp::answer::{Answer, Outcome, Refusal, freshness_json, keeping_json};
use crate::mcp::server::Project;
use leindex_engine::{BackendChoice, EmbedChoice, Report, Shards, Skip};
use serde_json::{Value, json};
use std::sync::Arc;

/// Skips that are listed; all of them are counted.
const SKIPS: usize = 50;
const TYPES: [&str; 9] =
    ["index", "memory", "backend", "performance", "operations", "settings", "ignore", "filtering", "ranking"];

pub(super) const TOOL: Entry = Entry {
    name: "get_diagnostics",
    title: "Diagnostics",
    description: "Facts by type: memory (of this process), index (what it holds, freshness, who keeps it), backend (how files are \
                  read), performance (the last run, latencies of calls), operations, settings, ignore (rules), filtering (what was \
                  left out and why), ranking (how results are ordered). Of the last run means: of the last one of this server.",
    effect: Effect::Reads,
    whom: For::LeIndex,
    cost: Cost::Light,
    input,
    output,
    run,
};

fn input() -> Value {
    let what = "What to tell about";
    schema(json!({"type": {"type": "string", "enum": TYPES, "default": "index", "description": what}}), &[])
}

fn output() -> Value {
    let properties = json!({"type": {"type": "string"}, "data": {"type": "object"}, "timestamp": {"type": "integer"}});
    schema(properties, &["type", "data"])
}

fn run(call: &Call) -> Result<Outcome, Refusal> {
    let kind = call.args.choice("type", &TYPES)?;
    let data = match kind {
        "memory" => memory(),
        "operations" => {
            json!({"operations": call.server.jobs.all().iter().map(|job| job_json(job)).collect::<Vec<_>>()})
        }
        "ranking" => ranking(),
        "performance" => performance(call),
        kind => {
            let project = call.server.project()?;
            match kind {
                "backend" => backend(&project),
                "settings" => settings(&project),
                "ignore" => ignore(&project),
                "filtering" => filtering(call, &project)?,
                _ => index(call, &project)?,
            }
        }
    };
    Ok(Answer::json(json!({"type": kind, "data": data, "timestamp": now_ms()})).into())
}

fn last_report(project: &Project) -> Option<Arc<Report>> {
    project.keeper.with(|kept| kept.report.clone())
}

/// A field of `/proc/self/status` in bytes; `None` where there is no such file.
fn memory_bytes(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

fn memory() -> Value {
    json!({
        "resident_bytes": memory_bytes("VmRSS"),
        "resident_most_bytes": memory_bytes("VmHWM"),
        "anonymous_bytes": memory_bytes("RssAnon"),
        "note": "the rest of the resident memory is the index's files, mapped, which the system takes back when it needs to",
    })
}

fn index(call: &Call, project: &Project) -> Result<Value, Refusal> {
    let open = call.open()?;
    let status = open.snapshot.status().map_err(|error| call.server.refuse(&error))?;
    let mut value = index_json(&status);
    value["root"] = json!(project.engine.root());
    value["index_dir"] = json!(project.engine.index_dir());
    value["freshness"] = freshness_json(project.engine.freshness());
    value["keeping"] = keeping_json(project);
    Ok(value)
}

fn backend(project: &Project) -> Value {
    let config = project.engine.config();
    let report = last_report(project);
    json!({
        "asked_for": match config.backend {
            BackendChoice::Uring => "uring",
            BackendChoice::Threads => "threads",
            _ => "auto",
        },
        "used_by_the_last_run": report.as_ref().map(|report| json!({
            "name": report.backend,
            "why": report.backend_why,
            "fell_back_to_threads": report.backend_fell_back,
            "workers": report.shards,
        })),
        "embedding": {
            "asked_for": match config.embed {
                EmbedChoice::Off => "off",
                EmbedChoice::Cpu => "cpu",
                EmbedChoice::Cuda => "cuda",
                _ => "auto",
            },
            "model": config.model.as_ref().map_or("the table of words".into(), |dir| dir.display().to_string()),
        },
    })
}

fn performance(call: &Call) -> Value {
    let report = call.server.project().ok().and_then(|project| last_report(&project));
    let run = report.map(|report| {
        json!({
            "generation": report.generation,
            "seconds": {
                "total": report.seconds.total, "scan": report.seconds.scan, "index": report.seconds.index,
                "commit": report.seconds.commit, "text_published": report.seconds.text_published,
            },
            "files": files_json(&report),
            "bytes_read": report.files.bytes_read,
            "stat_calls": report.files.stat_calls,
            "reads_that_missed_the_cache": report.files.misses,
            "publications": report.publications,
            "peak_rss_bytes": report.peak_rss_bytes,
        })
    });
    json!({"last_run": run, "calls": call.server.latencies.summary()})
}

fn files_json(report: &Report) -> Value {
    let files = &report.files;
    json!({
        "seen": files.seen, "indexed": files.indexed, "unchanged": files.unchanged, "removed": files.removed,
        "ignored": files.ignored, "ignored_dirs": files.ignored_dirs, "binary": files.binary,
        "too_large": files.too_large, "skipped": files.skipped, "failed": files.failed,
    })
}

fn settings(project: &Project) -> Value {
    let config = project.engine.config();
    json!({
        "root": project.engine.root(),
        "index_dir": project.engine.index_dir(),
        "shards": match config.shards { Shards::Count(count) => json!(count), _ => json!("auto") },
        "max_file_size": config.file_bytes_max,
        "batch_files": config.batch_files,
        "io_timeout_seconds": config.io_timeout.as_secs_f64(),
        "rules": rules_json(project),
        "change_them_with": "options of `leindex-engine mcp`, or .leindex.toml in the root of the project",
    })
}

fn rules_json(project: &Project) -> Value {
    let rules = &project.engine.config().rules;
    json!({
        "rule_files": rules.rule_files,
        "gitignore_in_git_repositories_only": rules.require_git,
        "hidden_files": rules.hidden,
        "case_sensitive": rules.case_sensitive,
        "global_file": rules.global_file,
        "extra_files": rules.extra_files,
        "patterns": rules.patterns,
    })
}

fn ignore(project: &Project) -> Value {
    let last = last_report(project).map(|report| {
        json!({
            "ignored_files": report.files.ignored,
            "ignored_dirs": report.files.ignored_dirs,
            "first_ignored_by": report.first_ignored,
            "rules_in_a_compiled_database": report.compiled_rules,
        })
    });
    json!({"rules": rules_json(project), "last_run": last, "for_one_path": "the tool explain names the rule and its line"})
}

fn filtering(call: &Call, project: &Project) -> Result<Value, Refusal> {
    let open = call.open()?;
    let status = open.snapshot.status().map_err(|error| call.server.refuse(&error))?;
    let last = last_report(project).map(|report| {
        let skip = |skip: &Skip| {
            let path = String::from_utf8_lossy(&skip.path);
            json!({"path": path, "op": skip.op, "reason": skip.reason, "failure": skip.failure})
        };
        json!({
            "skipped": report.files.skipped,
            "failed": report.files.failed,
            "skips": report.skips.iter().take(SKIPS).map(skip).collect::<Vec<_>>(),
            "skips_not_listed": report.files.skipped.saturating_sub(report.skips.len().min(SKIPS) as u64),
        })
    });
    Ok(json!({
        "searchable": status.indexed,
        "binary": status.binary,
        "too_large": status.too_large,
        "max_file_size": project.engine.config().file_bytes_max,
        "languages": status.languages,
        "last_run": last,
    }))
}

fn ranking() -> Value {
    json!({
        "words": "mode text, rank and fuzzy: files that hold all words; those that define what is asked for, hold the identifier as typed or are \
                  called so come first, then by BM25; source before tests, documentation, generated and vendored files; the best line of \
                  each is shown",
        "lines": "substring, regex and search: no ranking; file by file, line by line, score 1",
        "paths": "find: 1 for a name that is the pattern or a path that matches the glob, more than 0.5 for a part of a name, less for a \
                  part of the path",
        "semantic": "by the cosine of the question and the nearest chunk of a file, which is the score; hybrid adds BM25, each relative to how \
                     it varies over all files",
    })
}
