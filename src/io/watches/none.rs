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

    pub(crate) fn directory(&self, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn fail(&self, _: &[u8], _: &io::Error) {
        match *self {}
    }

    pub(crate) fn walk_begins(&self) {
        match *self {}
    }

    pub(crate) fn walk_ended(&self) {
        match *self {}
    }

    pub(crate) fn file(&self, _: &Path, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn failure(&self) -> Option<String> {
        match *self {}
    }

    pub(crate) fn wait(&self, _: Option<Duration>) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn wake(&self) {
        match *self {}
    }

    pub(crate) fn collect(&self, _: &mut Changes) -> io::Result<()> {
        match *self {}
    }
}
