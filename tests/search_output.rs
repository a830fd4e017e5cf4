//! What `search -F` and `search -E` print in a pipe is what ripgrep prints for the same files: matches, the lines around
//! them, separators, paths, counts, and their order.
//!
//! Two things differ on purpose, and are made equal before comparing: a line is printed without its carriage return, and
//! bytes that are not UTF-8 are replaced.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod support;

use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, SystemTime};
use support::{Place, Random};

struct Compared {
    place: Place,
    compared: usize,
    lines: usize,
}

impl Compared {
    fn new(make: impl FnOnce(&Place)) -> Compared {
        let place = Place::new();
        make(&place);
        support::run(&place.engine());
        Compared { place, compared: 0, lines: 0 }
    }

    /// What the command prints.
    fn ours(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leindex-engine"));
        command.args(["search", "--limit", "0", "--index-dir"]).arg(self.place.index());
        let output = command.args(args).current_dir(self.place.root()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What ripgrep prints, by the same pattern and options.
    fn theirs(&self, args: &[&str]) -> String {
        let mut command = Command::new("rg");
        command.args(["--no-config", "--color=never", "--no-ignore", "--hidden", "--text", "--no-messages"]);
        let files_only = args.iter().any(|arg| matches!(*arg, "-l" | "-c"));
        if !files_only {
            command.args(["--line-number", "--column"]);
        }
        if !args.contains(&"--heading") {
            command.args(["--no-heading", "--with-filename"]);
        }
        // A pattern is a regular expression unless told otherwise.
        command.args(args.iter().filter(|arg| **arg != "-E")).arg("./").current_dir(self.place.root());
        let output =
            command.output().expect("these tests compare with ripgrep: `rg` must be installed and on the PATH");
        let text = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        let mut plain = String::with_capacity(text.len());
        for line in text.split_inclusive(['\n', '\0']) {
            plain.push_str(line.strip_prefix("./").unwrap_or(line));
        }
        plain
    }

    #[track_caller]
    fn check(&mut self, args: &[&str]) {
        let (ours, theirs) = (self.ours(args), self.theirs(args));
        if ours != theirs {
            let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
            let at = ours.by_ref().zip(theirs.by_ref()).enumerate().find(|(_, (ours, theirs))| ours != theirs);
            let rest = (ours.next(), theirs.next());
            panic!("{args:?}: first difference (line, (ours, rg's)): {at:?}, behind it {rest:?}");
        }
        self.compared += 1;
        self.lines += ours.lines().count();
    }
}

/// Trees in which matches are near to each other, at the ends of files, and in every kind of line.
fn make(place: &Place, seed: u64, flat: bool) {
    const LINES: [&str; 12] = [
        "needle",
        "a needle and a Needle",
        "NEEDLE",
        "",
        "",
        "hay",
        "  more hay",
        "näher: hay",
        "needle needle",
        "--",
        "a.c:1:1:needle",
        "\thay\tneedle",
    ];
    let mut random = Random(seed);
    for n in 0..60 {
        let end = *random.pick(&["\n", "\n", "\r\n"]);
        let rare = random.one_in(3);
        let mut text = String::new();
        for _ in 0..random.below(40) {
            let line = if rare && !random.one_in(9) { "hay" } else { *random.pick(&LINES) };
            write!(text, "{line}{end}").unwrap();
        }
        match random.below(6) {
            0 => text.truncate(text.trim_end_matches(['\r', '\n']).len()),
            1 => text.insert(0, '\u{feff}'),
            _ => {}
        }
        let bytes = match random.below(10) {
            0 => [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
            1 => text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect(),
            _ => text.into_bytes(),
        };
        let name = *random.pick(&["f", "x-", "a.", "sub/y", "sub/deep/z", "sub.d/w", "B", ".hidden"]);
        let kind = *random.pick(&["c", "h", "rs", "txt"]);
        let path = format!("{name}{n}.{kind}").replace('/', if flat { "_" } else { "/" });
        place.write(&path, bytes);
        let file = std::fs::File::options().write(true).open(place.root().join(path)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(1000 + random.below(1 << 30) as u64)).unwrap();
    }
}

#[test]
fn output_equals_that_of_ripgrep() {
    const PATTERNS: [&[&str]; 8] = [
        &["-F", "needle"],
        &["-F", "needle", "-i"],
        &["-F", "needle", "-S"],
        &["-F", "Needle", "-S"],
        &["-E", "^needle|hay$"],
        &["-E", r"\bn[e-z]+le\b", "-S"],
        &["-E", "needle.*Needle"],
        &["-F", "nowhere at all"],
    ];
    const SHOWN: [&[&str]; 22] = [
        &[],
        &["-C", "1"],
        &["-C", "2"],
        &["-C", "7"],
        &["-C100"],
        &["-A", "1"],
        &["-A", "3"],
        &["-B", "1"],
        &["-B", "3"],
        &["-A", "2", "-B", "1"],
        &["-A0", "-B2"],
        &["--heading"],
        &["--heading", "-C", "1"],
        &["--heading", "-B", "2"],
        &["-m", "1"],
        &["-m", "3"],
        &["-m2", "-B1"],
        &["-l"],
        &["-c"],
        &["-c", "-m", "2"],
        &["-l", "-0"],
        &["-c", "-0"],
    ];
    for seed in [1, 2] {
        let mut compared = Compared::new(|place| make(place, seed, false));
        for pattern in PATTERNS {
            for shown in SHOWN {
                compared.check(&[pattern, shown, &["--sort", "path"]].concat());
            }
            compared.check(&[pattern, &["-C", "1", "--sortr", "path"][..]].concat());
            compared.check(&[pattern, &["-l", "--sortr", "path"][..]].concat());
            for globs in [&["-g", "*.c"][..], &["-g", "!*.c"], &["-g", "sub/**"], &["-g", "*.{c,h}", "-g", "!B*"]] {
                compared.check(&[pattern, globs, &["--sort", "path"]].concat());
                compared.check(&[pattern, globs, &["-c", "--sort", "path"]].concat());
            }
        }
        assert!(compared.compared == 8 * (22 + 2 + 8) && compared.lines > 20_000, "{}", compared.lines);
    }
}

/// ripgrep sorts times a directory at a time, so that they can be compared in one directory only.
#[test]
fn times_are_sorted_as_ripgrep_sorts_them() {
    let mut compared = Compared::new(|place| make(place, 3, true));
    for order in ["--sort", "--sortr"] {
        for shown in [&["-C", "1"][..], &["-l"], &["-c", "-m", "1"]] {
            compared.check(&[&["-F", "needle", order, "modified"], shown].concat());
        }
    }
    assert!(compared.lines > 1000, "{}", compared.lines);
}
