//! Where there is no inotify, watchers poll.

use super::Changes;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Never made.
#[derive(Debug)]
pub(crate) enum Watches {}

impl Watches {
    pub(crate) fn new(_: &Path) -> io::Result<Watches> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no inotify"))
    }

    pub(crate) fn directory(&self, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn file(&self, _: &Path, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn failure(&self) -> Option<String> {
        match *self {}
    }

    pub(crate) fn wait(&self, _: Option<Duration>) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn wake(&self) {
        match *self {}
    }

    pub(crate) fn collect(&self, _: &mut Changes) -> io::Result<()> {
        match *self {}
    }
}
