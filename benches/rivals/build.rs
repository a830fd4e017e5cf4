//! Notes the compiler and the versions of the rivals for the header of a report.

use std::process::Command;

const LOCK: &str = "../../Cargo.lock";
const CRATES: [&str; 6] = ["ignore", "jwalk", "walkdir", "tokio-uring", "glommio", "rustix"];

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok().filter(|output| output.status.success());
    let version =
        version.map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    println!("cargo::rustc-env=LEINDEX_RIVALS_RUSTC={}", version.trim());
    println!("cargo::rustc-env=LEINDEX_RIVALS_PROFILE={}", std::env::var("PROFILE").unwrap_or_default());
    let lock = std::fs::read_to_string(LOCK).unwrap_or_default();
    let crates = CRATES.map(|name| format!("{name} {}", locked(&lock, name)));
    println!("cargo::rustc-env=LEINDEX_RIVALS_CRATES={}", crates.join(", "));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LOCK}");
}

/// The versions of a crate that the lock file names: more than one when others want an older one.
fn locked(lock: &str, name: &str) -> String {
    let heading = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    let mut versions = Vec::new();
    while lines.any(|line| line == heading) {
        let version = lines.next().and_then(|line| line.strip_prefix("version = "));
        versions.push(version.unwrap_or("unknown").trim_matches('"'));
    }
    if versions.is_empty() { "unknown".into() } else { versions.join(" and ") }
}
