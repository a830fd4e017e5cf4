//! What of an indexed tree was asked for: globs made to count there only, and paths as they are seen from there.

use super::output;
use super::root::Tree;
use std::path::{Path, PathBuf};

/// The path that hits are shown relative to: what was asked for, or the directory of the file that was.
pub(crate) fn base(tree: &Tree) -> PathBuf {
    if tree.is_file { tree.below.parent().unwrap_or(Path::new("")).to_path_buf() } else { tree.below.clone() }
}

/// A path as it is shown.
pub(crate) fn relative<'p>(path: &'p Path, base: &Path) -> &'p Path {
    path.strip_prefix(base).unwrap_or(path)
}

/// The globs of the user, made to count below the path that was asked for only, and relative to it.
pub(crate) fn scoped(globs: &[String], tree: &Tree) -> Vec<String> {
    let below = output::path_bytes(&tree.below);
    let prefix = escaped(&String::from_utf8_lossy(&below));
    if prefix.is_empty() {
        return globs.to_vec();
    }
    if tree.is_file {
        // A file that is named is meant, as with ripgrep.
        return vec![format!("/{prefix}")];
    }
    let mut scoped = Vec::with_capacity(globs.len() + 1);
    if globs.iter().all(|glob| glob.starts_with('!')) {
        scoped.push(format!("/{prefix}/"));
    }
    scoped.extend(globs.iter().map(|glob| {
        let (not, glob) = match glob.strip_prefix('!') {
            Some(glob) => ("!", glob),
            None => ("", glob.as_str()),
        };
        match glob.strip_prefix('/') {
            Some(anchored) => format!("{not}/{prefix}/{anchored}"),
            None if glob.trim_end_matches('/').contains('/') => format!("{not}/{prefix}/{glob}"),
            None => format!("{not}/{prefix}/**/{glob}"),
        }
    }));
    scoped
}

/// The text with everything escaped that means something in a glob.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '\\' | ',') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    #[track_caller]
    fn check(below: &str, globs: &[&str], expect: &[&str]) {
        let tree = Tree { root: "/r".into(), below: below.into(), is_file: false, options: Options::default() };
        let globs: Vec<String> = globs.iter().map(|&glob| glob.to_owned()).collect();
        assert_eq!(scoped(&globs, &tree), expect);
    }

    #[test]
    fn globs_count_below_the_path() {
        check("", &["*.c", "!x"], &["*.c", "!x"]);
        check("a", &[], &["/a/"]);
        check("a/b", &["!*.c"], &["/a/b/", "!/a/b/**/*.c"]);
        check("a", &["*.c", "!/x.c", "y/*.h", "z/"], &["/a/**/*.c", "!/a/x.c", "/a/y/*.h", "/a/**/z/"]);
        check("a[1]*", &[], &[r"/a\[1\]\*/"]);
    }
}
