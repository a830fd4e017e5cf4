//! Watches by inotify.

use super::Changes;
use crate::record::{bytes_path, path_bytes};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
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
    /// Told apart by the kernel when something is mounted or unmounted.
    mounts: Option<File>,
    root: PathBuf,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    by_number: HashMap<i32, Directory>,
    /// Why a directory could not be watched.
    failure: Option<String>,
    /// Counts the walks of the whole tree.
    walk: u64,
}

/// A directory with a watch.
#[derive(Debug, Default)]
struct Directory {
    /// Where it is in the tree: relative, ends in a slash unless empty. None outside of what is walked, more than one where
    /// it is mounted a second time.
    paths: Vec<Box<[u8]>>,
    /// The last walk that has come by.
    walk: u64,
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
        let mounts = File::open("/proc/self/mountinfo").ok();
        Ok(Watches { inotify, wake, mounts, root: root.to_path_buf(), watched: Mutex::default() })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a directory of the tree from now on; `path` is relative and ends in a slash unless empty. To be called
    /// before the directory is listed. When that succeeds although this has failed, the tree is not watched: [`Watches::fail`].
    pub(crate) fn directory(&self, path: &[u8]) -> Result<(), io::Error> {
        let full = self.root.join(bytes_path(path));
        // The lock is held over the call: an event of the new number waits until its path is known.
        let mut watched = self.watched();
        let number = match inotify::add_watch(&self.inotify, &full, flags()) {
            Ok(number) => number,
            // Gone, or something else by now: the directory above tells that.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let walk = watched.walk;
        let directory = watched.by_number.entry(number).or_default();
        directory.walk = walk;
        if !directory.paths.iter().any(|known| **known == *path) {
            directory.paths.push(path.into());
        }
        Ok(())
    }

    /// A directory that was listed is not watched.
    pub(crate) fn fail(&self, path: &[u8], error: &io::Error) {
        let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC) => "the limit of inotify watches is reached (sysctl fs.inotify.max_user_watches)".into(),
            _ => error.to_string(),
        };
        let path = self.root.join(bytes_path(path));
        self.watched().failure.get_or_insert_with(|| format!("{}: {why}", path.display()));
    }

    /// A walk of the whole tree begins.
    pub(crate) fn walk_begins(&self) {
        self.watched().walk += 1;
    }

    /// It has come by everything that is to be watched: other directories have left the tree, or are ignored by now.
    pub(crate) fn walk_ended(&self) {
        let mut watched = self.watched();
        let Watched { by_number, walk, .. } = &mut *watched;
        by_number.retain(|number, directory| {
            if directory.walk == *walk {
                return true;
            }
            directory.paths.clear();
            let keep = !directory.deciding.is_empty();
            if !keep && let Err(error) = inotify::remove_watch(&self.inotify, *number) {
                tracing::debug!(%error, "a watch went by itself");
            }
            keep
        });
    }

    /// Watches a file that decides about `concerns`, a path of the tree. It need not exist, but its directory has to.
    pub(crate) fn file(&self, file: &Path, concerns: &[u8]) {
        self.deciding(file, concerns);
        // What a link leads to decides as well.
        if let Ok(target) = file.canonicalize()
            && target != file
        {
            self.deciding(&target, concerns);
        }
    }

    fn deciding(&self, file: &Path, concerns: &[u8]) {
        let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else { return };
        // The directory may be a link to another one.
        let Ok(dir) = dir.canonicalize() else { return };
        let mut watched = self.watched();
        match inotify::add_watch(&self.inotify, &dir, flags()) {
            Ok(number) => {
                let entry = Deciding { name: name.as_encoded_bytes().into(), concerns: concerns.into() };
                let deciding = &mut watched.by_number.entry(number).or_default().deciding;
                if !deciding.contains(&entry) {
                    deciding.push(entry);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
            Err(error) => {
                drop(watched);
                self.fail(path_bytes(&dir).as_slice(), &error.into());
            }
        }
    }

    /// Why a directory could not be watched, if there was one.
    pub(crate) fn failure(&self) -> Option<String> {
        self.watched().failure.clone()
    }

    /// Waits for a change, a [`Watches::wake`], or the end of the time. Says whether something was mounted or unmounted.
    pub(crate) fn wait(&self, time: Option<Duration>) -> io::Result<bool> {
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        fds.extend(self.mounts.as_ref().map(|mounts| PollFd::new(mounts, PollFlags::PRI)));
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mounted = fds.get(2).is_some_and(|mounts| mounts.revents().intersects(PollFlags::PRI | PollFlags::ERR));
        // Whether there was a number to take makes no difference.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        Ok(mounted)
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
            changes.root_gone |= gone && directory.paths.iter().any(|path| path.is_empty());
            return;
        };
        for deciding in directory.deciding.iter().filter(|deciding| *deciding.name == *name) {
            changes.add(deciding.concerns.to_vec());
        }
        let paths: Vec<Vec<u8>> = directory.paths.iter().map(|path| [path, name].concat()).collect();
        for path in paths {
            if what.contains(ReadFlags::MOVED_FROM | ReadFlags::ISDIR) {
                self.forget_below(&path);
            }
            changes.add(path);
        }
    }

    /// Forgets the paths of a directory that was moved away and of those in it: where it is now, if in the tree, it is
    /// listed anew. Its watches stay; when it has left the tree, what they tell is of no path.
    fn forget_below(&mut self, path: &[u8]) {
        for directory in self.by_number.values_mut() {
            let below = |dir: &[u8]| dir.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
            directory.paths.retain(|path| !below(path));
        }
    }
}
