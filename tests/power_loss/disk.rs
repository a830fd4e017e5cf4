//! The disk, mounted: a file system in memory that keeps a journal of what has changed it, and fails when it is told to.
//!
//! It is served by the process of the test, which never looks into it; the process that indexes is another one. Locks and
//! the page cache are the kernel's. Files are mapped as on any file system.

use super::state::{Op, State, Tree};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nobody but the kernel changes anything, so what it has been told stays true.
const TTL: Duration = Duration::from_secs(3600);
const BLOCK: u32 = 4096;
/// Blocks of which the disk says that they are free.
const FREE: u64 = 1 << 24;
/// `O_DSYNC`, which `O_SYNC` contains.
const DSYNC: i32 = rustix::fs::OFlags::DSYNC.bits() as i32;
/// Handles of files: writes through the second kind are durable at once.
const PLAIN: FileHandle = FileHandle(0);
const SYNCED: FileHandle = FileHandle(1);

/// Which operations fail, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The number of the first, from 0.
    pub(super) at: usize,
    /// Whether all that follow fail too.
    pub(super) lasting: bool,
    pub(super) error: Errno,
}

#[derive(Debug)]
struct Inner {
    state: State,
    journal: Vec<Op>,
    fault: Option<Fault>,
    /// Operations that were asked for.
    count: usize,
    /// Operations that have failed.
    failed: Vec<Op>,
}

impl Inner {
    /// Does `op`, or has it fail.
    fn perform(&mut self, op: Op) -> Result<(), Errno> {
        let number = self.count;
        self.count += 1;
        let fault = self.fault.filter(|fault| number == fault.at || fault.lasting && number > fault.at);
        self.finish(op, fault)
    }

    /// As [`Inner::perform`] for the pages of a mapped file, which the kernel writes when it likes to: such a write has no
    /// number.
    fn write_page(&mut self, op: Op) -> Result<(), Errno> {
        let fault = self.fault.filter(|fault| fault.lasting && self.count > fault.at);
        self.finish(op, fault)
    }

    fn finish(&mut self, op: Op, fault: Option<Fault>) -> Result<(), Errno> {
        if let Some(fault) = fault {
            self.failed.push(op);
            return Err(fault.error);
        }
        self.state.apply(&op);
        self.journal.push(op);
        Ok(())
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<u64, Errno> {
        self.state.find(parent.into(), name).ok_or(Errno::ENOENT)
    }

    fn attributes(&self, node: u64) -> Result<FileAttr, Errno> {
        let size = match (self.state.data(node), self.state.entries(node)) {
            (Some(data), _) => Some(data.len as u64),
            (None, Some(_)) => None,
            (None, None) => return Err(Errno::ENOENT),
        };
        Ok(FileAttr {
            ino: INodeNo(node),
            size: size.unwrap_or(0),
            blocks: size.unwrap_or(0).div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if size.is_some() { FileType::RegularFile } else { FileType::Directory },
            perm: 0o755,
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        })
    }

    fn make(&mut self, parent: u64, name: &OsStr, op: impl FnOnce(u64) -> Op) -> Result<FileAttr, Errno> {
        if self.state.find(parent, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let node = self.state.unused();
        self.perform(op(node))?;
        self.attributes(node)
    }

    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let node = self.find(parent, name)?;
        if self.state.entries(node).is_some_and(|entries| !entries.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.perform(Op::Unlink { parent: parent.into(), name: name.to_owned() })
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> Result<(), Errno> {
        self.find(from.0, from.1)?;
        if !flags.is_empty() {
            return Err(Errno::EINVAL);
        }
        // Nobody does that, and after a power cut it would not be one change but two.
        if from.0 != to.0 {
            return Err(Errno::EXDEV);
        }
        self.perform(Op::Rename { parent: from.0.into(), from: from.1.to_owned(), to: to.1.to_owned() })
    }
}

/// A disk. All clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    /// A disk on which `tree` is durable, and which fails as `fault` says.
    pub(super) fn new(tree: &Tree, fault: Option<Fault>) -> Disk {
        let (journal, failed) = (Vec::new(), Vec::new());
        Disk(Arc::new(Mutex::new(Inner { state: State::new(tree), journal, fault, count: 0, failed })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the fault. Returns what has failed.
    pub(super) fn lift_fault(&self) -> Vec<Op> {
        let mut inner = self.lock();
        inner.fault = None;
        std::mem::take(&mut inner.failed)
    }

    /// Operations so far.
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    pub(super) fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// What has changed the disk since it was made, in order.
    pub(super) fn journal(&self) -> Vec<Op> {
        self.lock().journal.clone()
    }

    /// Mounts it; says why not where it cannot be done.
    pub(super) fn mount(&self) -> Result<Mounted, String> {
        let path = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("leindex-power".into())];
        match fuser::spawn_mount(self.clone(), path.path(), &config) {
            Ok(session) => Ok(Mounted { path, session: Some(session) }),
            Err(error) => Err(format!("no file system can be mounted here: {error}")),
        }
    }
}

/// A disk that is mounted, until this is dropped. Processes that use it must have ended by then.
pub(super) struct Mounted {
    path: tempfile::TempDir,
    session: Option<BackgroundSession>,
}

impl Mounted {
    pub(super) fn path(&self) -> &Path {
        self.path.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever is still in it must not keep the test from ending.
        let _ = rustix::mount::unmount(self.path.path(), rustix::mount::UnmountFlags::DETACH);
        drop(self.session.take());
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inner = self.lock();
        match inner.find(parent, name).and_then(|node| inner.attributes(node)) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.lock().attributes(node.into()) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    /// Lengths only: nobody cares for owners and times in an index.
    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let node = node.into();
        let mut inner = self.lock();
        let cut = size.map_or(Ok(()), |len| inner.perform(Op::Truncate { node, len: len as usize }));
        match cut.and_then(|()| inner.attributes(node)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let parent = parent.into();
        let op = |node| Op::Mkdir { parent, name: name.to_owned(), node };
        match self.lock().make(parent, name, op) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, flags: i32, reply: ReplyCreate) {
        let parent = parent.into();
        let op = |node| Op::Create { parent, name: name.to_owned(), node };
        match self.lock().make(parent, name, op) {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), handle(flags), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.lock().remove(parent, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.lock().remove(parent, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(self.lock().rename((parent, name), (new_parent, new_name), flags), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(handle(flags.0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.lock().state.data(node.into()) {
            Some(data) => reply.data(&data.read(offset as usize, size as usize)),
            None => reply.error(Errno::EISDIR),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let is_page = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        // The handle of a page is any of those that the file is open with.
        let durable = handle == SYNCED && !is_page;
        let op = Op::Write { node: node.into(), at: offset as usize, bytes: data.to_vec(), durable };
        let mut inner = self.lock();
        match if is_page { inner.write_page(op) } else { inner.perform(op) } {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, node: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        // This is how the kernel ends each write through such a handle; it must not make more durable than that write.
        if handle == SYNCED {
            return reply.ok();
        }
        answer(self.lock().perform(Op::Sync { node: node.into() }), reply);
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.lock().perform(Op::Sync { node: node.into() }), reply);
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let inner = self.lock();
        let Some(entries) = inner.state.entries(node.into()) else { return reply.error(Errno::ENOTDIR) };
        // The place of an entry is its number, so that removing entries while they are listed passes over none.
        let mut sorted: Vec<_> = entries.iter().filter(|(_, node)| **node > offset).collect();
        sorted.sort_by_key(|(_, node)| **node);
        for (name, &node) in sorted {
            let is_dir = inner.state.entries(node).is_some();
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(node), node, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * FREE, FREE, FREE, FREE, FREE, BLOCK, 255, BLOCK);
    }
}

fn handle(flags: i32) -> FileHandle {
    if flags & DSYNC == 0 { PLAIN } else { SYNCED }
}

fn answer(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}
