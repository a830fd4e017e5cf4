//! Paths that clients name: they stay within the root of the project, also through links.

use super::answer::Refusal;
use std::path::{Component, Path, PathBuf};

/// A path within the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Where it is on disk. Its directories are no links; it may be one itself only if [`within`] was told not to follow it.
    pub(crate) absolute: PathBuf,
    /// Relative to the root, without `.` and `..`.
    pub(crate) relative: PathBuf,
}

/// The path that `asked` stands for: relative to the root, or absolute and within it. With `follow` a link at its end is
/// followed, which must not lead out.
pub(crate) fn within(root: &Path, asked: &str, follow: bool) -> Result<Inside, Refusal> {
    let refuse = |what: &str| {
        let shown = asked.escape_debug();
        Err(Refusal::Wrong(format!("{shown}: {what}: give a path inside of {}", root.display())))
    };
    if asked.contains('\0') {
        return refuse("a path cannot hold a NUL byte");
    }
    let Ok(real_root) = root.canonicalize() else { return refuse("the root of the project is not there") };
    let Some(lexical) = normal(root, &real_root, Path::new(asked)) else { return refuse("leads out of the project") };
    let path = real_root.join(&lexical);
    let resolved = match (follow, lexical.file_name()) {
        (false, Some(name)) => existing(path.parent().unwrap_or(&real_root)).map(|dir| dir.join(name)),
        _ => existing(&path),
    };
    let Some(resolved) = resolved else { return refuse("cannot be looked at") };
    match resolved.strip_prefix(&real_root) {
        Ok(relative) => Ok(Inside { relative: relative.to_path_buf(), absolute: resolved }),
        Err(_) => refuse("leads out of the project through a link"),
    }
}

/// `asked` relative to the root, without `.` and `..`; `None` when it leads out of it.
fn normal(root: &Path, real_root: &Path, asked: &Path) -> Option<PathBuf> {
    let relative = if asked.is_absolute() {
        asked.strip_prefix(root).or_else(|_| asked.strip_prefix(real_root)).ok()?
    } else {
        asked
    };
    let mut normal = PathBuf::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

/// The path with all links followed, as far down as there is something; the rest as it stands.
fn existing(path: &Path) -> Option<PathBuf> {
    for above in path.ancestors() {
        match above.canonicalize() {
            Ok(real) => {
                let rest = path.strip_prefix(above).ok()?;
                // Joined with nothing it would end in a slash.
                return Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            // A link to nowhere would be followed by whoever makes what is missing.
            Err(_) if above.symlink_metadata().is_ok() => return None,
            Err(_) => {}
        }
    }
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), "x").unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        for (to, name) in
            [("..", "up"), ("../secret", "out"), ("sub", "in"), ("sub/file", "link"), ("../none", "dangling")]
        {
            symlink(to, root.join(name)).unwrap();
        }
        let relative = |asked: &str| within(&root, asked, true).ok().map(|inside| inside.relative);
        let absolute = root.join("sub/file");
        for asked in ["sub/file", "./sub//file", "sub/../sub/file", "in/file", "link", absolute.to_str().unwrap()] {
            assert_eq!(relative(asked), Some("sub/file".into()), "{asked}");
        }
        let content = within(&root, "link", true).ok().and_then(|inside| fs::read(inside.absolute).ok());
        assert_eq!(content.as_deref(), Some(&b"x"[..]));
        assert_eq!(relative("none/at/all"), Some("none/at/all".into()));
        assert_eq!(relative(""), Some("".into()));
        for asked in [
            "..",
            "../secret",
            "sub/../../secret",
            "/etc/passwd",
            "/",
            "out",
            "up",
            "up/secret",
            "up/root/../secret",
            "dangling",
            "a\0b",
        ] {
            let refused = within(&root, asked, true).err().map(|refusal| refusal.message());
            assert!(refused.is_some_and(|message| message.contains("give a path inside of")), "{asked}");
        }
        assert_eq!(within(&root, "out", false).ok().map(|inside| inside.relative), Some("out".into()));
        assert!(within(&root, "up/secret", false).is_err());
    }
}
