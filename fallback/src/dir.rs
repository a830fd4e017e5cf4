//! An open directory.

/// An open directory, shared by the jobs that work in it. Opened by [`Backend::open_root`](crate::Backend::open_root)
/// , [`Worker::open_dir`](crate::Worker::open_dir) and [`Worker::open_below`](crate::Worker::open_below), closed when dropped.
///
/// On Unix it holds one descriptor, so it stays the same directory however its path is renamed or replaced meanwhile,
/// and at most as many can be open as the limit of open files allows. Elsewhere it is a path, which makes no such
/// promise.
#[derive(Clone, Debug)]
pub struct Dir(std::sync::Arc<imp::Dir>);

#[cfg(all(unix, not(miri)))]
mod imp {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Debug)]
    pub(super) struct Dir {
        fd: OwnedFd,
        /// The descriptor's position is past the start, so that a listing has to go back first.
        listed: AtomicBool,
    }

    impl super::Dir {
        /// Takes an open directory over. Whether it is one shows when it is used.
        pub fn from_fd(fd: OwnedFd) -> super::Dir {
            super::Dir(Arc::new(Dir { fd, listed: AtomicBool::new(false) }))
        }

        /// Notes that it is being listed; true when it was before.
        pub(crate) fn mark_listed(&self) -> bool {
            // Two listings of one directory at a time are forbidden, so nothing has to be ordered by this.
            self.0.listed.swap(true, Ordering::Relaxed)
        }
    }

    impl AsFd for super::Dir {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.fd.as_fd()
        }
    }
}

#[cfg(any(not(unix), miri))]
mod imp {
    use std::path::{Path, PathBuf};

    pub(super) type Dir = PathBuf;

    impl super::Dir {
        /// The directory at `path`. Whether there is one shows when it is used.
        pub fn from_path(path: PathBuf) -> super::Dir {
            super::Dir(std::sync::Arc::new(path))
        }

        /// Its path.
        pub fn path(&self) -> &Path {
            &self.0
        }
    }
}
