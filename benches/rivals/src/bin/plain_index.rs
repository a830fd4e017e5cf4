//! A rival: `ignore` and tantivy as their documentation puts them together. A parallel walk with ignore's defaults and hidden
//! files, every text file read whole, one document a file with its path and its words, tantivy's default tokenizer and
//! memory budget, one commit.
//!
//! ```text
//! plain_index TREE INDEX    prints {"files": n, "bytes": n, "seconds": s}
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

use ignore::{WalkBuilder, WalkState};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tantivy::schema::{STORED, STRING, Schema, TEXT};
use tantivy::{Index, doc};

/// As the example of tantivy's documentation has it.
const WRITER_BYTES: usize = 50_000_000;

fn run(tree: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    std::fs::create_dir_all(to)?;
    let mut schema = Schema::builder();
    let path = schema.add_text_field("path", STRING | STORED);
    let body = schema.add_text_field("body", TEXT);
    let index = Index::create_in_dir(to, schema.build())?;
    let mut writer = index.writer(WRITER_BYTES)?;
    let (files, bytes, failed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None));
    WalkBuilder::new(tree).hidden(false).build_parallel().run(|| {
        Box::new(|entry| {
            let Ok(entry) = entry else { return WalkState::Continue };
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            if let Some(text) = is_file.then(|| std::fs::read_to_string(entry.path()).ok()).flatten() {
                files.fetch_add(1, Relaxed);
                bytes.fetch_add(text.len() as u64, Relaxed);
                let document = doc!(path => entry.path().to_string_lossy().into_owned(), body => text);
                if let Err(error) = writer.add_document(document) {
                    *failed.lock().expect("no thread panics with it") = Some(error);
                    return WalkState::Quit;
                }
            }
            WalkState::Continue
        })
    });
    if let Some(error) = failed.into_inner().expect("no thread panics with it") {
        return Err(error.into());
    }
    writer.commit()?;
    writer.wait_merging_threads()?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{{\"files\": {}, \"bytes\": {}, \"seconds\": {seconds:.4}}}", files.into_inner(), bytes.into_inner());
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [tree, to] = &args[..] else {
        eprintln!("usage: plain_index TREE INDEX");
        return ExitCode::from(2);
    };
    match run(tree.as_ref(), to.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plain_index: {error}");
            ExitCode::FAILURE
        }
    }
}
