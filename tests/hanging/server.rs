//! A file system that answers about most of its files at once, and about a few never.
//!
//! It is served by a process of its own: whatever waits for an answer is let go when that process is killed.

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen,
    Request,
};
use std::any::Any;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

/// Files that are answered about: `0.rs`, `1.rs`, ...
pub(super) const QUICK: u64 = 40;
/// Files of which one operation is never answered.
pub(super) const HANGING: [&str; 3] = ["lookup.rs", "open.rs", "read.rs"];
/// The number of the root is 1.
const FIRST: u64 = 2;
const TTL: Duration = Duration::from_secs(600);
/// Where the server mounts itself; set for its process only.
const MOUNT: &str = "LEINDEX_TEST_MOUNT";
const MOUNTED: &str = "mounted";
const HANGS: &str = "hangs";

pub(super) fn content(index: u64) -> String {
    format!("fn number_{index}() {{}}\n")
}

fn name(index: u64) -> String {
    HANGING.get(index.wrapping_sub(QUICK) as usize).map_or_else(|| format!("{index}.rs"), |name| (*name).to_owned())
}

/// Answers that nobody gets.
#[derive(Default)]
struct Server(Mutex<Vec<Box<dyn Any + Send>>>);

impl Server {
    fn keep(&self, reply: impl Any + Send) {
        self.0.lock().unwrap().push(Box::new(reply));
        say(HANGS);
    }
}

/// Tells the process that has started this one.
fn say(line: &str) {
    // Past the test harness, which would keep it back.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn is(inode: INodeNo, name: &str) -> bool {
    let position = HANGING.iter().position(|each| *each == name);
    position.is_some_and(|position| u64::from(inode) == FIRST + QUICK + position as u64)
}

fn attributes(inode: u64) -> FileAttr {
    let is_root = inode < FIRST;
    FileAttr {
        ino: INodeNo(inode),
        size: if is_root { 0 } else { content(inode - FIRST).len() as u64 },
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_root { FileType::Directory } else { FileType::RegularFile },
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Server {
    /// Without this a lookup that is not answered would hold up all others in its directory, in the kernel.
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        config
            .add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS)
            .map_err(|flags| std::io::Error::other(format!("{flags:?}")))
    }

    fn lookup(&self, _: &Request, _: INodeNo, entry: &OsStr, reply: ReplyEntry) {
        if entry == HANGING[0] {
            return self.keep(reply);
        }
        match (0..QUICK + HANGING.len() as u64).find(|index| *entry == *name(*index)) {
            Some(index) => reply.entry(&TTL, &attributes(FIRST + index), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(inode.into()));
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if is(inode, "open.rs") {
            return self.keep(reply);
        }
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if is(inode, "read.rs") {
            return self.keep(reply);
        }
        let content = content(u64::from(inode) - FIRST);
        reply.data(content.as_bytes().get(offset as usize..).unwrap_or_default());
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        for index in offset..QUICK + HANGING.len() as u64 {
            if reply.add(INodeNo(FIRST + index), index + 1, FileType::RegularFile, name(index)) {
                break;
            }
        }
        reply.ok();
    }
}

/// Serves until it is killed, in the process that is to do so; does nothing in others.
pub(super) fn serve() {
    let Some(path) = std::env::var_os(MOUNT) else { return };
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("leindex-hanging".into())];
    match fuser::spawn_mount(Server::default(), &path, &config) {
        Ok(session) => {
            say(MOUNTED);
            let _ = session.guard.join();
        }
        Err(error) => say(&format!("no file system can be mounted here: {error}")),
    }
}

/// A mounted file system. Dropping it kills the server, which ends what hangs.
pub(super) struct Mounted {
    path: tempfile::TempDir,
    server: Child,
    says: BufReader<ChildStdout>,
}

impl Mounted {
    /// Starts a server by running `test`, which calls [`serve`], in another process; says why not where it cannot be done.
    pub(super) fn new(test: &str) -> Result<Mounted, String> {
        let path = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MOUNT, path.path());
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let says = BufReader::new(server.stdout.take().unwrap());
        let mut mounted = Mounted { path, server, says };
        mounted.wait_for(MOUNTED).map(|()| mounted)
    }

    /// Waits until the server says `line`; otherwise what it said before its end.
    fn wait_for(&mut self, line: &str) -> Result<(), String> {
        let mut said = String::new();
        while self.says.read_line(&mut said).is_ok_and(|read| read > 0) {
            if said.trim_end().ends_with(line) {
                return Ok(());
            }
        }
        Err(said)
    }

    /// Waits until somebody waits for an answer that does not come.
    pub(super) fn wait_until_it_hangs(&mut self) {
        self.wait_for(HANGS).unwrap();
    }

    pub(super) fn path(&self) -> &Path {
        self.path.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        // Threads that have just been let go may still be in it.
        let _ = rustix::mount::unmount(self.path.path(), rustix::mount::UnmountFlags::DETACH);
    }
}
