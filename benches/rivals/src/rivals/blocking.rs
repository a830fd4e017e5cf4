//! Hands for the walk: plain system calls, one after the other. What any thread variant has to be measured against,
//! since nothing can be left out of it.

use super::Failure;
use super::walk::{Crew, From, Hands};
use super::work::{Counts, Done, Mode};
use leindex_fallback::{Dir, IoStats, Kind, Listing};
use rustix::fs::{AtFlags, CWD, FileType, Mode as Permissions, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::{Errno, pread};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What the entries of a directory are read into.
const LIST_BYTES: usize = 32 << 10;
const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const OPEN_FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// How the metadata of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatBy {
    /// By its name, before it is opened: a second look-up of the name, and no need to open a file that is not to be read.
    Name,
    /// By its descriptor, once it is open. Only for those who read all the files.
    Descriptor,
}

/// Walks with plain calls.
pub(super) fn walk(by: StatBy, crew: Crew, mode: Mode, root: &Path) -> Result<Done, Failure> {
    let open_root = || Ok(Dir::from_fd(openat(CWD, root, OPEN_DIR, Permissions::empty())?));
    let hands = || {
        let (list_buffer, content) = (Vec::with_capacity(LIST_BYTES), Content::default());
        Ok(BlockingHands { by, mode, list_buffer, content })
    };
    crew.walk(open_root, hands)
}

struct BlockingHands {
    by: StatBy,
    mode: Mode,
    list_buffer: Vec<u8>,
    content: Content,
}

impl BlockingHands {
    /// Everything about one entry; what it is.
    fn entry(&mut self, dir: &Dir, name: &CStr, counts: &mut Counts) -> Result<FileType, Errno> {
        match self.by {
            StatBy::Name => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                if kind == FileType::RegularFile {
                    counts.file(size(&stat));
                    if self.mode == Mode::Read {
                        counts.bytes += self.content.read(&open_file(dir, name)?, size(&stat))?;
                    }
                }
                Ok(kind)
            }
            StatBy::Descriptor => {
                let file = open_file(dir, name)?;
                let stat = fstat(&file)?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                if kind == FileType::RegularFile {
                    counts.file(size(&stat));
                    if self.mode == Mode::Read {
                        counts.bytes += self.content.read(&file, size(&stat))?;
                    }
                }
                Ok(kind)
            }
        }
    }
}

impl Hands for BlockingHands {
    fn open_dir(&mut self, parent: &Dir, name: &CStr) -> io::Result<Dir> {
        Ok(Dir::from_fd(openat(parent, name, OPEN_DIR | OFlags::NOFOLLOW, Permissions::empty())?))
    }

    fn list(&mut self, dir: &Dir, into: &mut Listing) -> io::Result<()> {
        let mut entries = RawDir::new(dir, self.list_buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                into.push(name, kind(entry.file_type()), entry.ino())?;
            }
        }
        Ok(())
    }

    fn files(&mut self, from: From<'_>, picks: &[u32], counts: &mut Counts, dirs: &mut Vec<u32>) {
        for &pick in picks {
            match self.entry(from.dir, from.listing.c_name(pick as usize), counts) {
                Ok(FileType::Directory) => dirs.push(pick),
                Ok(_) => {}
                Err(error) => counts.fail(&error),
            }
        }
    }

    fn finish(&mut self, _: &mut Counts) {}

    fn stats(&self) -> IoStats {
        IoStats::default()
    }
}

fn open_file(dir: &Dir, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(dir, name, OPEN_FILE, Permissions::empty())
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => Kind::Unknown,
        _ => Kind::Device,
    }
}

/// The content of one file after the other, each whole.
#[derive(Default)]
struct Content(Vec<u8>);

impl Content {
    /// Reads a file. One byte more than its size is asked for, so that its end shows in the first read.
    fn read(&mut self, file: &OwnedFd, size: u64) -> Result<u64, Errno> {
        let size = usize::try_from(size).map_err(|_| Errno::FBIG)?;
        let mut length = 0;
        loop {
            let needed = size.max(length) + 1;
            if self.0.len() < needed {
                self.0.resize(needed.next_power_of_two().max(256 << 10), 0);
            }
            let asked = &mut self.0[length..];
            let more = asked.len() > size.saturating_sub(length);
            let got = match pread(file, asked, length as u64) {
                Err(Errno::INTR) => continue,
                got => got?,
            };
            length += got;
            if got == 0 || (length == size && more) {
                return Ok(length as u64);
            }
        }
    }
}
