//! The whole program, small: every way that can be gone here has done the same work.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Output};

fn rivals(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_leindex-rivals")).args(arguments).output();
    let output = output.expect("the program can be started");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, printed)
}

#[test]
fn every_way_that_is_not_skipped_agrees() {
    let out = tempfile::tempdir().unwrap();
    let (output, printed) = rivals(&["--smoke", "--out", out.path().to_str().unwrap()]);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));

    let (_, list) = rivals(&["--list"]);
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{list}");
    let mut skipped = 0;
    for name in &names {
        if let Some(line) = printed.lines().find(|line| line.starts_with(&format!("**SKIPPED** {name}: "))) {
            println!("{line}");
            skipped += 1;
            continue;
        }
        assert!(printed.lines().any(|line| line.starts_with(&format!("[agree] {name}: "))), "{name}:\n{printed}");
    }
    // Rings and programs may be missing. Threads are not.
    assert!(skipped < names.len() / 2, "{printed}");
    for name in ["threads-cores", "blocking-path-cores", "naive-4", "ignore-cores", "jwalk-cores", "walkdir"] {
        assert!(printed.contains(&format!("[agree] {name}: ")), "{name}:\n{printed}");
    }
    assert!(!printed.contains("[DIFFER]") && !printed.contains("**FAILED**"), "{printed}");
    for file in ["summary.md", "command.txt", "samples.csv", "figures.csv"] {
        assert!(fs::metadata(out.path().join(file)).is_ok_and(|file| file.len() > 0), "{file} is missing");
    }
}

#[test]
fn wrong_usage_is_refused() {
    assert_eq!(rivals(&[]).0.status.code(), Some(2));
    assert_eq!(rivals(&["--smoke", "--only", "nothing"]).0.status.code(), Some(1));
    assert_eq!(rivals(&["child", "walkdir", "stat"]).0.status.code(), Some(1));
}
