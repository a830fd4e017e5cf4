//! Other programs, timed as whole processes: their start is a part of their price, as it is for who uses them. What they
//! print is read through a pipe and counted.

use super::Failure;
use super::work::{Counts, Done, Unavailable};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where the tree goes in a program's arguments.
const TREE: &str = "{tree}";

/// A program and what it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// What it may be called, by distribution.
    commands: &'static [&'static str],
    arguments: &'static [&'static str],
    pub(super) prints: Prints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prints {
    /// The size of each file, a line each.
    Sizes,
    /// The path of each file, ended by a NUL, having stat'ed it.
    Names,
    /// The same without any stat: less work than all the others do.
    NamesUnstatted,
}

/// Those that are known. None follows links or leaves anything out.
pub(super) const PROGRAMS: [Program; 4] = [
    Program {
        name: "find",
        commands: &["find"],
        arguments: &[TREE, "-type", "f", "-printf", "%s\\n"],
        prints: Prints::Sizes,
    },
    Program {
        name: "bfs",
        commands: &["bfs"],
        arguments: &[TREE, "-type", "f", "-printf", "%s\\n"],
        prints: Prints::Sizes,
    },
    // A size that every file has: to know that, it has to ask.
    Program {
        name: "fd",
        commands: &["fd", "fdfind"],
        arguments: &["--unrestricted", "--type", "f", "--size", "+0b", "--print0", ".", TREE],
        prints: Prints::Names,
    },
    Program {
        name: "rg",
        commands: &["rg"],
        arguments: &["--no-config", "--files", "--no-ignore", "--hidden", "--null", TREE],
        prints: Prints::NamesUnstatted,
    },
];

impl Program {
    /// The command by which it answers, and what it says its version is.
    pub(super) fn installed(&self) -> Option<(&'static str, String)> {
        self.commands.iter().find_map(|&command| {
            let output = Command::new(command).arg("--version").output().ok()?;
            let version = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
            output.status.success().then_some((command, version))
        })
    }

    /// The command line, as it is to be shown.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.name, self.arguments.join(" ").replace(TREE, "TREE"))
    }

    /// Runs it once.
    pub(super) fn run(&self, tree: &Path) -> Result<Done, Failure> {
        let (name, _) = self.installed().ok_or_else(|| Unavailable("not installed".into()))?;
        let mut command = Command::new(name);
        for &argument in self.arguments {
            if argument == TREE {
                command.arg(tree);
            } else {
                command.arg(argument);
            }
        }
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let counts = self.count(child.stdout.take().ok_or("the program has no output")?)?;
        let status = child.wait()?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            return Err(format!("{name}: {status}").into());
        }
        Ok(Done { seconds, counts, extra: String::new() })
    }

    fn count(&self, mut from: impl Read) -> Result<Counts, Failure> {
        let mut counts = Counts::default();
        let mut buffer = vec![0; 64 << 10];
        let mut size = 0;
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(counts);
            }
            for &byte in &buffer[..length] {
                match (self.prints, byte) {
                    (Prints::Sizes, b'\n') => counts.file(std::mem::take(&mut size)),
                    (Prints::Sizes, b'0'..=b'9') => size = size * 10 + u64::from(byte - b'0'),
                    (Prints::Sizes, _) => return Err(format!("{} printed something else", self.name).into()),
                    (Prints::Names | Prints::NamesUnstatted, 0) => counts.files += 1,
                    (Prints::Names | Prints::NamesUnstatted, _) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_counted() {
        let [find, _, fd, _] = PROGRAMS;
        let counts = find.count(&b"12\n0\n30\n"[..]).unwrap();
        assert_eq!((counts.files, counts.stat_bytes), (3, 42));
        assert!(find.count(&b"12\nx\n"[..]).is_err());
        assert_eq!(fd.count(&b"a\nb\0c\0"[..]).unwrap().files, 2);
        assert_eq!(find.shown(), "find TREE -type f -printf %s\\n");
    }
}
