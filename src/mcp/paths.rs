//! Paths that clients name: they stay within the root of the project, also through links, and also when something else takes their
//! place after they were looked at.

use super::answer::Refusal;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A path within the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// The root, with its links followed.
    root: PathBuf,
    /// Relative to the root, without `.` and `..`. Its directories are no links; it may be one itself only if [`within`] was told
    /// not to follow it.
    pub(crate) relative: PathBuf,
}

impl Inside {
    /// Opens it to be read. Does not wait when it is a FIFO.
    pub(crate) fn open(&self) -> io::Result<File> {
        sys::open(&self.root, &self.relative, sys::READ)
    }

    /// Opens it only to be looked at, which needs no permission to read it.
    pub(crate) fn look(&self) -> io::Result<File> {
        sys::open(&self.root, &self.relative, sys::LOOK)
    }
}

/// Opens one component after the other, and follows no link: what was a directory a moment ago may be one now.
#[cfg(unix)]
mod sys {
    use rustix::fs::{Mode, OFlags, open as open_path, openat};
    use std::fs::File;
    use std::io;
    use std::path::Path;

    const EACH: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
    const DIRECTORY: OFlags = EACH.union(OFlags::RDONLY).union(OFlags::DIRECTORY);
    pub(super) const READ: OFlags = EACH.union(OFlags::RDONLY).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
    #[cfg(target_os = "linux")]
    pub(super) const LOOK: OFlags = EACH.union(OFlags::PATH);
    #[cfg(not(target_os = "linux"))]
    pub(super) const LOOK: OFlags = READ;

    pub(super) fn open(root: &Path, relative: &Path, last: OFlags) -> io::Result<File> {
        let mut at = open_path(root, DIRECTORY, Mode::empty())?;
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            let flags = if components.peek().is_some() { DIRECTORY } else { last };
            at = openat(&at, component.as_os_str(), flags, Mode::empty())?;
        }
        Ok(File::from(at))
    }
}

#[cfg(not(unix))]
mod sys {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) const READ: () = ();
    pub(super) const LOOK: () = ();

    pub(super) fn open(root: &Path, relative: &Path, (): ()) -> io::Result<File> {
        File::open(root.join(relative))
    }
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
        Ok(relative) => Ok(Inside { relative: relative.to_path_buf(), root: real_root.clone() }),
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
    use std::io::Read;
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
        let mut content = String::new();
        within(&root, "link", true).ok().unwrap().open().unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "x");
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

    #[test]
    fn what_is_put_in_the_place_of_a_path_after_it_was_looked_at_does_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        for path in ["root/sub/file", "root/other", "outside/file"] {
            fs::write(dir.path().join(path), path).unwrap();
        }
        let below = within(&root, "sub/file", true).ok().unwrap();
        let itself = within(&root, "other", true).ok().unwrap();
        assert!(below.open().is_ok() && itself.open().is_ok());
        fs::rename(root.join("sub"), root.join("moved")).unwrap();
        symlink("../outside", root.join("sub")).unwrap();
        fs::remove_file(root.join("other")).unwrap();
        symlink("../outside/file", root.join("other")).unwrap();
        assert!(below.open().is_err() && below.look().is_err());
        assert!(itself.open().is_err());
        let is_itself = itself.look().is_ok_and(|file| file.metadata().is_ok_and(|stat| stat.is_symlink()));
        assert!(is_itself || itself.look().is_err());
        let directory = within(&root, "", true).ok().unwrap();
        assert!(directory.look().unwrap().metadata().unwrap().is_dir());
    }
}
