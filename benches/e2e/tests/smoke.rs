//! The whole program, small: every section runs, and both sides of every comparison did the same work.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the program small, with its files in `out`.
fn smoke(out: &Path, arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_leindex-bench");
    let output = Command::new(program).args(["--smoke", "--out"]).arg(out).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn every_section_runs_and_its_counts_agree() {
    let out = tempfile::tempdir().unwrap();
    let printed = smoke(out.path(), &[]);

    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    // Sections 9 and 12 start the command, which the tests of the whole workspace build.
    let watches = !printed.contains("**SKIPPED** a new file under watch");
    let serves = !printed.contains("**SKIPPED** MCP");
    let missing = [
        ("5", "rg", has("rg")),
        ("9", "the command leindex-engine", watches),
        ("12", "the command leindex-engine", serves),
    ];
    for section in ["1", "2", "3", "4", "5", "6", "8", "9", "10", "11", "12", "13", "14"] {
        if let Some((_, needs, false)) = missing.iter().find(|(of, ..)| *of == section) {
            println!("SKIPPED: section {section} needs {needs}");
            continue;
        }
        let checks = printed.lines().filter(|line| line.starts_with(&format!("[agree] {section} "))).count();
        assert!(checks > 0, "section {section} has compared nothing:\n{printed}");
    }
    let differ: Vec<&str> = printed.lines().filter(|line| line.starts_with("[DIFFER]")).collect();
    assert!(differ.is_empty(), "{differ:#?}\n{printed}");

    // Counts are the same on every machine; only times may miss their targets in a test.
    let figures = fs::read_to_string(out.path().join("figures.csv")).unwrap();
    if has("git") {
        assert!(printed.contains("[agree] 2 files and links: git "), "{printed}");
    }
    let counts = ["stat calls", "content hashes", "files read", "that differ from ripgrep's"];
    for figure in figures.lines().filter(|figure| counts.iter().any(|count| figure.contains(count))) {
        assert!(!figure.ends_with("MISSES"), "{figure}");
    }
    for file in [
        "summary.md",
        "command.txt",
        "checks.csv",
        "index.csv",
        "searches.csv",
        "processes.csv",
        "changes.csv",
        "churn.csv",
        "cancel.csv",
        "ranking.csv",
    ] {
        assert!(fs::metadata(out.path().join(file)).is_ok_and(|file| file.len() > 0), "{file} is missing");
    }
}

#[test]
fn sections_are_selected() {
    let out = tempfile::tempdir().unwrap();
    let printed = smoke(out.path(), &["--only", "3,4", "--skip", "4"]);
    let headings: Vec<&str> = printed.lines().filter(|line| line.starts_with("## ")).collect();
    let prepared = "## An index for the sections that search or update one";
    assert_eq!(headings, [prepared, "## 3. Searches in process", "## Figures"]);
}
