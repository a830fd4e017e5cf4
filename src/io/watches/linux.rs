//! Watches by inotify.

use super::Changes;
use crate::record::bytes_path;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Events read at once: some hundreds.
const BUFFER_BYTES: usize = 32 << 10;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Watches {
    inotify: OwnedFd,
    /// Written to end a wait.
    wake: OwnedFd,
    root: PathBuf,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    by_number: HashMap<i32, Directory>,
    /// Why a directory could not be watched.
    failure: Option<String>,
}

/// A directory with a watch.
#[derive(Debug, Default)]
struct Directory {
    /// Where it is in the tree: relative, ends in a slash unless empty. `None` outside of what is walked.
    path: Option<Box<[u8]>>,
    deciding: Vec<Deciding>,
}

/// A file that decides about other entries: rules, git's own data.
#[derive(Debug, PartialEq, Eq)]
struct Deciding {
    name: Box<[u8]>,
    /// The path of the tree that it decides about.
    concerns: Box<[u8]>,
}

fn flags() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::DONT_FOLLOW
        | WatchFlags::EXCL_UNLINK
}

impl Watches {
    /// No watches yet. `root` must have no links in it.
    pub(crate) fn new(root: &Path) -> io::Result<Watches> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Watches { inotify, wake, root: root.to_path_buf(), watched: Mutex::default() })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a directory of the tree from now on; `path` is relative and ends in a slash unless empty. To be called
    /// before the directory is listed.
    pub(crate) fn directory(&self, path: &[u8]) {
        let full = self.root.join(bytes_path(path));
        // The lock is held over the call: an event of the new number waits until its path is known.
        let mut watched = self.watched();
        if let Some(number) = watched.add(self, &full) {
            watched.by_number.entry(number).or_default().path = Some(path.into());
        }
    }

    /// Watches a file that decides about `concerns`, a path of the tree. It need not exist, but its directory has to.
    pub(crate) fn file(&self, file: &Path, concerns: &[u8]) {
        let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else { return };
        // The directory may be a link to another one.
        let Ok(dir) = dir.canonicalize() else { return };
        let mut watched = self.watched();
        if let Some(number) = watched.add(self, &dir) {
            let entry = Deciding { name: name.as_encoded_bytes().into(), concerns: concerns.into() };
            let deciding = &mut watched.by_number.entry(number).or_default().deciding;
            if !deciding.contains(&entry) {
                deciding.push(entry);
            }
        }
    }

    /// Why a directory could not be watched, if there was one.
    pub(crate) fn failure(&self) -> Option<String> {
        self.watched().failure.clone()
    }

    /// Waits for a change, a [`Watches::wake`], or the end of the time.
    pub(crate) fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Whether there was a number to take makes no difference.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        Ok(())
    }

    /// Ends a wait, or the next one.
    pub(crate) fn wake(&self) {
        // The only failure is a counter that is full: then the wait ends anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Adds what has changed to `changes`, without waiting.
    pub(crate) fn collect(&self, changes: &mut Changes) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes());
                    self.watched().event(event.wd(), event.events(), name, changes);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Watched {
    fn add(&mut self, watches: &Watches, dir: &Path) -> Option<i32> {
        match inotify::add_watch(&watches.inotify, dir, flags()) {
            Ok(number) => Some(number),
            // Gone, or something else by now: the directory above tells that.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            // What may not be watched may not be listed either.
            Err(Errno::ACCESS) => None,
            Err(error) => {
                let why = match error {
                    Errno::NOSPC => {
                        "the limit of inotify watches is reached (sysctl fs.inotify.max_user_watches)".into()
                    }
                    other => io::Error::from(other).to_string(),
                };
                self.failure.get_or_insert_with(|| format!("{}: {why}", dir.display()));
                None
            }
        }
    }

    fn event(&mut self, number: i32, what: ReadFlags, name: Option<&[u8]>, changes: &mut Changes) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return changes.lose("more changes than the kernel keeps");
        }
        if what.contains(ReadFlags::UNMOUNT) {
            changes.lose("a file system was unmounted");
        }
        if what.contains(ReadFlags::IGNORED) {
            self.by_number.remove(&number);
            return;
        }
        let Some(directory) = self.by_number.get(&number) else { return };
        let Some(name) = name else {
            let gone = what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF);
            changes.root_gone |= gone && directory.path.as_deref() == Some(b"");
            return;
        };
        for deciding in directory.deciding.iter().filter(|deciding| *deciding.name == *name) {
            changes.add(deciding.concerns.to_vec());
        }
        let Some(path) = &directory.path else { return };
        let path = [path, name].concat();
        if what.contains(ReadFlags::MOVED_FROM | ReadFlags::ISDIR) {
            self.forget_below(&path);
        }
        changes.add(path);
    }

    /// Forgets the paths of a directory that was moved away and of those in it: where it is now, if in the tree, it is
    /// listed anew. Its watches stay; when it has left the tree, what they tell is of no path.
    fn forget_below(&mut self, path: &[u8]) {
        for directory in self.by_number.values_mut() {
            let below = |dir: &[u8]| dir.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
            if directory.path.as_deref().is_some_and(below) {
                directory.path = None;
            }
        }
    }
}
