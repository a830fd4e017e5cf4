//! The two settings of git that change what is ignored: `core.excludesFile` and `core.ignoreCase`.
//!
//! The library never looks at the environment or at the home directory; this is where the command does it for it. Only
//! what these two keys need of git's syntax is understood: no includes, no system-wide file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// What git is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitConfig {
    /// The user's own ignore file, if there is one.
    pub(crate) excludes_file: Option<PathBuf>,
    /// Whether rules are blind to case.
    pub(crate) ignore_case: bool,
}

/// Reads git's settings as they hold for `root`.
pub(crate) fn read(root: &Path) -> GitConfig {
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let xdg = env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    read_from(root, home.as_deref(), xdg)
}

fn read_from(root: &Path, home: Option<&Path>, xdg: Option<PathBuf>) -> GitConfig {
    let git_dir = xdg.or_else(|| home.map(|home| home.join(".config"))).map(|dir| dir.join("git"));
    // Later files override earlier ones.
    let files = [
        git_dir.as_ref().map(|dir| dir.join("config")),
        home.map(|home| home.join(".gitconfig")),
        repository_config(root),
    ];
    let mut core = Core::default();
    for text in files.iter().flatten().filter_map(|path| read_file(path)) {
        core.read(&text);
    }
    let excludes_file = match core.excludes_file {
        Some(value) => expand(&value, home),
        None => git_dir.map(|dir| dir.join("ignore")),
    };
    GitConfig { excludes_file: excludes_file.filter(|path| path.is_file()), ignore_case: core.ignore_case }
}

/// The config of the repository that holds `root`, which all its work trees share.
fn repository_config(root: &Path) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let (_, common) = leindex_engine::git_directories(leindex_engine::find_repository(&root)?)?;
    Some(common.join("config"))
}

fn read_file(path: &Path) -> Option<String> {
    let bytes = path.is_file().then(|| fs::read(path).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A leading `~/` stands for the home directory; a relative path means nothing here.
fn expand(value: &str, home: Option<&Path>) -> Option<PathBuf> {
    let path = match value.strip_prefix("~/") {
        Some(rest) => home?.join(rest),
        None => PathBuf::from(value),
    };
    path.is_absolute().then_some(path)
}

/// The keys of `[core]` that are of interest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Core {
    excludes_file: Option<String>,
    ignore_case: bool,
}

impl Core {
    fn read(&mut self, text: &str) {
        let mut in_core = false;
        for line in text.lines() {
            let mut line = line.trim();
            if let Some(rest) = line.strip_prefix('[') {
                let Some((section, rest)) = rest.split_once(']') else { continue };
                in_core = section.trim().eq_ignore_ascii_case("core");
                line = rest.trim();
            }
            if !in_core || line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key.trim(), plain_value(value)),
                // A key without a value is true.
                None => (line, "true".to_owned()),
            };
            if key.eq_ignore_ascii_case("excludesfile") {
                self.excludes_file = Some(value);
            } else if key.eq_ignore_ascii_case("ignorecase") {
                self.ignore_case = matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
            }
        }
    }
}

/// A value without its quotes, escapes and comment.
fn plain_value(value: &str) -> String {
    let mut plain = String::new();
    let mut quoted = false;
    // Blanks at the end count only when they are quoted.
    let mut kept = 0;
    let mut chars = value.trim_start().chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => break,
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
        if quoted || !char.is_whitespace() {
            kept = plain.len();
        }
    }
    plain.truncate(kept);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, excludes_file: Option<&str>, ignore_case: bool) {
        let mut core = Core::default();
        core.read(text);
        assert_eq!(core, Core { excludes_file: excludes_file.map(str::to_owned), ignore_case }, "{text:?}");
    }

    #[test]
    fn the_syntax_of_git() {
        check("", None, false);
        check("[core]\n\texcludesFile = ~/ignore\n", Some("~/ignore"), false);
        check("[CORE] EXCLUDESFILE=/x # y\n", Some("/x"), false);
        check("[core]\nexcludesfile = \"/a b # c\" ; d\n", Some("/a b # c"), false);
        check("[core]\nexcludesfile = C:\\\\x\\\"y  \n", Some("C:\\x\"y"), false);
        check("[core]\nignorecase\n", None, true);
        check("[core]\nignoreCase = true\nignoreCase = false\n", None, false);
        check("[user]\nexcludesfile = /x\n[core \"sub\"]\nexcludesfile = /y\n", None, false);
        check("[core]\n# excludesfile = /x\n[alias]\nx = y\n", None, false);
    }

    #[test]
    fn later_files_override_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let read = || read_from(home, Some(home), None).excludes_file;
        let file = |name: &str, content: &str| {
            let path = home.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        };
        assert_eq!(read(), None);
        let by_default = file(".config/git/ignore", "*.o\n");
        assert_eq!(read(), Some(by_default));
        let named = file("one", "*.o\n");
        file(".config/git/config", "[core]\nexcludesFile = ~/one\n");
        assert_eq!(read(), Some(named));
        let other = file("two", "*.o\n");
        file(".gitconfig", &format!("[core]\nexcludesFile = {}\n", other.display()));
        assert_eq!(read(), Some(other));
        file(".gitconfig", "[core]\nexcludesFile = ~/missing\n");
        assert_eq!(read(), None, "a file that is named but not there is no file");
        let elsewhere = file("xdg/git/ignore", "");
        assert_eq!(read_from(home, None, Some(home.join("xdg"))).excludes_file, Some(elsewhere));
    }

    #[test]
    fn the_repository_says_whether_case_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("sub");
        fs::create_dir_all(dir.path().join(".git")).unwrap();
        fs::create_dir_all(&root).unwrap();
        assert!(!read_from(&root, None, None).ignore_case);
        fs::write(dir.path().join(".git/config"), "[core]\n\tignorecase = true\n").unwrap();
        assert!(read_from(&root, None, None).ignore_case);
    }
}
