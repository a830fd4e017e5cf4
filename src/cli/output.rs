//! Stdout and stderr: the only place that opens them, and how numbers and paths look to people.

use super::args::{Progress, When};
use super::options::Options;
use indicatif::ProgressBar;
use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Text is never cut to less than this, however narrow the terminal.
const WIDTH_MIN: usize = 20;

/// The bar that is on the terminal now: it has to step aside for anything else on stderr.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How this process shows things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    /// JSON on stdout.
    pub(crate) json: bool,
    /// Stdout is a terminal.
    pub(crate) terminal: bool,
    /// Colours on stdout.
    pub(crate) color: bool,
    /// Colours on stderr.
    pub(crate) color_err: bool,
    /// What was asked for.
    pub(crate) progress: Progress,
    /// Columns of the terminal.
    pub(crate) width: usize,
}

impl Ui {
    /// As the options say.
    pub(crate) fn new(options: &Options) -> Ui {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let wanted = |terminal| match options.color.unwrap_or_default() {
            When::Auto => terminal && may_color(),
            When::Always => true,
            When::Never => false,
        };
        let width = console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns));
        Ui {
            json: options.json.unwrap_or(false),
            terminal: out,
            color: wanted(out),
            color_err: wanted(err),
            progress: options.progress.unwrap_or_default(),
            width: width.max(WIDTH_MIN),
        }
    }
}

/// <https://no-color.org>, and terminals that know no colours.
fn may_color() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Stdout, locked and buffered. What is not flushed is written on drop, without a word if that fails: call `flush`.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Writes to stderr, past a bar if there is one. That nobody reads stderr is no reason to fail.
pub(crate) fn to_stderr(bytes: &[u8]) {
    let write = || {
        let _ = io::stderr().lock().write_all(bytes);
    };
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Says which bar is on the terminal, if any.
pub(crate) fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// A line on stderr that is no error.
pub(crate) fn note(message: &str) {
    to_stderr(format!("leindex-engine: {}\n", one_line(message)).as_bytes());
}

/// The line that says why the command failed.
pub(crate) fn error(message: &str) {
    note(&format!("error: {message}"));
}

/// The text with control characters written as escapes, so that a name cannot break a line or talk to the terminal.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if char.is_control() {
            escaped.extend(char.escape_default());
        } else {
            escaped.push(char);
        }
    }
    escaped.into()
}

/// A path for people.
pub(crate) fn shown(path: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(path)).into_owned()
}

/// The bytes of a path, as the engine keeps them.
#[cfg(unix)]
pub(crate) fn path_bytes(path: &Path) -> Cow<'_, [u8]> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().into()
}

/// The bytes of a path, as the engine keeps them: with forward slashes.
#[cfg(not(unix))]
pub(crate) fn path_bytes(path: &Path) -> Cow<'_, [u8]> {
    path.to_string_lossy().replace('\\', "/").into_bytes().into()
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `count` things, in the right number.
pub(crate) fn things(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Bytes in powers of 1000, as disks are sold.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    if number < 1000 {
        return format!("{number} B");
    }
    for unit in ["kB", "MB", "GB", "TB"] {
        value /= 1000.0;
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} PB", value / 1000.0)
}

/// A time span, with as many digits as are of use.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 120.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (36_200_000, "36.2 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [(0.0123, "12.3 ms"), (0.9999, "1.00 s"), (3.214, "3.21 s"), (125.9, "2 min 05 s")] {
            assert_eq!(seconds(number), text);
        }
        assert_eq!(things(1, "file", "files"), "1 file");
        assert_eq!(things(2000, "file", "files"), "2,000 files");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line("plain ä"), "plain ä");
        assert_eq!(one_line("a\nb\x1b[31m\t\u{9b}"), "a\\nb\\u{1b}[31m\\t\\u{9b}");
        assert_eq!(shown(b"a\xff\n"), "a\u{fffd}\\n");
    }
}
