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
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

/// Files that are answered about: `0.rs`, `1.rs`, ...
pub(super) const QUICK: u64 = 40;
/// Files of which one operation is never answered.
pub(super) const HANGING: [&str; 3] = ["lookup.rs", "open.rs", "read.rs"];
/// Files whose open fails for want of descriptors, on the server's side.
pub(super) const REFUSED: [&str; 2] = ["full-1.rs", "full-2.rs"];
/// Directories of which one operation is never answered.
pub(super) const HANGING_DIRS: [&str; 2] = ["entering", "listing"];
/// The number of the root is 1.
const FIRST: u64 = 2;
const TTL: Duration = Duration::from_secs(600);
/// Where the server mounts itself; set for its process only.
const MOUNT: &str = "LEINDEX_TEST_MOUNT";
const MOUNTED: &str = "mounted";
const HANGS: &str = "hangs";
const ANSWERED: &str = "answered";
const FROZEN: &str = "frozen";
const FREEZE: &str = "freeze";
/// Set when lookups are to be late.
const LATE: &str = "LEINDEX_TEST_LATE";

pub(super) fn content(index: u64) -> String {
    format!("fn number_{index}() {{}}\n")
}

fn name(index: u64) -> String {
    let odd = HANGING.into_iter().chain(REFUSED).chain(HANGING_DIRS).nth(index.wrapping_sub(QUICK) as usize);
    odd.map_or_else(|| format!("{index}.rs"), str::to_owned)
}

fn names() -> impl Iterator<Item = String> {
    (0..QUICK + (HANGING.len() + REFUSED.len() + HANGING_DIRS.len()) as u64).map(name)
}

fn is_dir(name: &str) -> bool {
    HANGING_DIRS.contains(&name)
}

/// Lookups that are not answered before somebody writes to this process.
type Late = Arc<Mutex<Option<Vec<Box<dyn FnOnce() + Send>>>>>;

struct Server {
    /// Answers that nobody gets.
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
    /// `None` when lookups are answered at once.
    late: Late,
    /// Nothing is answered any more.
    frozen: Arc<AtomicBool>,
}

impl Server {
    fn is_frozen(&self) -> bool {
        self.frozen.load(Relaxed)
    }

    fn keep(&self, reply: impl Any + Send) {
        self.kept.lock().unwrap().push(Box::new(reply));
        say(HANGS);
    }
}

fn look_up(entry: &OsStr, reply: ReplyEntry) {
    match names().position(|name| *entry == *name) {
        Some(index) => reply.entry(&TTL, &attributes(FIRST + index as u64), Generation(0)),
        None => reply.error(Errno::ENOENT),
    }
}

/// Tells the process that has started this one.
fn say(line: &str) {
    // Past the test harness, which would keep it back.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn is(inode: INodeNo, name: &str) -> bool {
    names().position(|each| each == name).is_some_and(|position| u64::from(inode) == FIRST + position as u64)
}

fn attributes(inode: u64) -> FileAttr {
    let is_dir = inode < FIRST || is_dir(&name(inode - FIRST));
    FileAttr {
        ino: INodeNo(inode),
        size: if is_dir { 0 } else { content(inode - FIRST).len() as u64 },
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_dir { FileType::Directory } else { FileType::RegularFile },
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
        if self.is_frozen() || entry == HANGING[0] {
            return self.keep(reply);
        }
        if let Some(late) = &mut *self.late.lock().unwrap() {
            let entry = entry.to_owned();
            late.push(Box::new(move || look_up(&entry, reply)));
            return say(HANGS);
        }
        look_up(entry, reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if self.is_frozen() {
            return self.keep(reply);
        }
        reply.attr(&TTL, &attributes(inode.into()));
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.is_frozen() || is(inode, "open.rs") {
            return self.keep(reply);
        }
        if REFUSED.iter().any(|name| is(inode, name)) {
            return reply.error(Errno::ENFILE);
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
        if self.is_frozen() || is(inode, "read.rs") {
            return self.keep(reply);
        }
        let content = content(u64::from(inode) - FIRST);
        reply.data(content.as_bytes().get(offset as usize..).unwrap_or_default());
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.is_frozen() || is(inode, HANGING_DIRS[0]) {
            return self.keep(reply);
        }
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if self.is_frozen() || is(inode, HANGING_DIRS[1]) {
            return self.keep(reply);
        }
        for (index, name) in (0..).zip(names()).skip(offset as usize) {
            let kind = if is_dir(&name) { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(FIRST + index), index + 1, kind, name) {
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
    let late: Late = Arc::new(Mutex::new(std::env::var_os(LATE).map(|_| Vec::new())));
    let frozen = Arc::new(AtomicBool::new(false));
    let server = Server { kept: Mutex::default(), late: Arc::clone(&late), frozen: Arc::clone(&frozen) };
    match fuser::spawn_mount(server, &path, &config) {
        Ok(session) => {
            say(MOUNTED);
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if line == FREEZE {
                    frozen.store(true, Relaxed);
                    say(FROZEN);
                } else {
                    let late = late.lock().unwrap().take();
                    late.into_iter().flatten().for_each(|answer| answer());
                    say(ANSWERED);
                }
            }
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
    /// With `late`, no lookup is answered before [`answer`](Mounted::answer).
    pub(super) fn new(test: &str, late: bool) -> Result<Mounted, String> {
        let path = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MOUNT, path.path());
        if late {
            command.env(LATE, "1");
        }
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
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

    /// Has the lookups answered that were not, and all that follow.
    pub(super) fn answer(&mut self) {
        self.tell("answer", ANSWERED);
    }

    /// From now on nothing is answered.
    pub(super) fn freeze(&mut self) {
        self.tell(FREEZE, FROZEN);
    }

    fn tell(&mut self, what: &str, answer: &str) {
        writeln!(self.server.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.wait_for(answer).unwrap();
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
