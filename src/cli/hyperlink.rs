//! Paths as links to the files, for terminals that have links (OSC 8).

use super::args;
use super::output::path_bytes;
use std::path::{Path, PathBuf};

/// Makes links of paths, or does not.
#[derive(Debug)]
pub(crate) struct Links(Option<Target>);

/// Where links lead.
#[derive(Debug)]
struct Target {
    /// The files may be on another machine than the terminal.
    host: String,
    /// What paths are relative to; absolute.
    root: PathBuf,
}

impl Links {
    /// As was asked for.
    pub(crate) fn new(wanted: Option<args::Links>, terminal: bool, root: &Path) -> Links {
        let wanted = match wanted.unwrap_or_default() {
            args::Links::Auto => terminal && is_known(|name| std::env::var(name).ok()),
            args::Links::Always => true,
            args::Links::Never => false,
        };
        Links(wanted.then(|| Target { host: host(), root: root.to_path_buf() }))
    }

    /// What stands before and after the text of a link to a path, which is relative to the root.
    pub(crate) fn around(&self, path: &Path) -> (String, &'static str) {
        match &self.0 {
            Some(target) => (format!("\x1b]8;;{}\x1b\\", target.url(path)), "\x1b]8;;\x1b\\"),
            None => (String::new(), ""),
        }
    }
}

impl Target {
    fn url(&self, path: &Path) -> String {
        let path = self.root.join(path);
        let path = path_bytes(&path);
        let slash = if path.starts_with(b"/") { "" } else { "/" };
        let mut url = format!("file://{}{slash}", self.host);
        for &byte in &*path {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(byte));
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url
    }
}

/// The name of this machine.
#[cfg(unix)]
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A name that would have to be encoded is none.
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_');
    if name.chars().all(is_plain) { name } else { String::new() }
}

#[cfg(not(unix))]
fn host() -> String {
    String::new()
}

/// Whether the environment is that of a terminal which is known to have links. Multiplexers are not: what they pass on
/// depends on their version and their settings.
fn is_known(variable: impl Fn(&str) -> Option<String>) -> bool {
    let term = variable("TERM").unwrap_or_default();
    let of_multiplexer = ["screen", "tmux"].iter().any(|name| term.starts_with(name));
    if of_multiplexer || term == "dumb" {
        return false;
    }
    let version = variable("VTE_VERSION").and_then(|version| version.parse::<u32>().ok());
    // Links came to VTE with 0.50.
    let is_vte = version.is_some_and(|version| version >= 5000);
    let program = variable("TERM_PROGRAM").unwrap_or_default();
    let programs = ["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "rio", "Tabby"];
    let terms = ["xterm-kitty", "xterm-ghostty", "alacritty", "foot", "wezterm", "contour"];
    is_vte
        || programs.contains(&program.as_str())
        || terms.iter().any(|name| term.starts_with(name))
        || ["WT_SESSION", "KONSOLE_VERSION", "DOMTERM"].iter().any(|name| variable(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_percent_encoded() {
        let target = Target { host: "box".into(), root: "/home/ä b".into() };
        let path = Path::new("a+b%#?;\u{1b}/c.rs");
        assert_eq!(target.url(path), "file://box/home/%C3%A4%20b/a%2Bb%25%23%3F%3B%1B/c.rs");
        let (before, after) = Links(Some(target)).around(Path::new("x"));
        assert_eq!((before.as_str(), after), ("\x1b]8;;file://box/home/%C3%A4%20b/x\x1b\\", "\x1b]8;;\x1b\\"));
        assert_eq!(Links(None).around(path), (String::new(), ""));
    }

    #[test]
    fn terminals_that_have_links() {
        let check = |environment: &[(&str, &str)], expect: bool| {
            let found =
                |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(is_known(found), expect, "{environment:?}");
        };
        check(&[("TERM", "xterm-256color")], false);
        check(&[("TERM", "xterm-256color"), ("VTE_VERSION", "6003")], true);
        check(&[("TERM", "xterm-256color"), ("VTE_VERSION", "4205")], false);
        check(&[("TERM", "xterm-kitty")], true);
        check(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")], true);
        check(&[("TERM", "tmux-256color"), ("TERM_PROGRAM", "WezTerm")], false);
        check(&[("TERM", "dumb"), ("VTE_VERSION", "6003")], false);
        check(&[], false);
    }
}
