//! Whether a tree lies on, or holds, a file system behind a network or another program: a call there may never return,
//! and nobody tells what others change.

use std::path::Path;

/// Types of such file systems, as the kernel names them; all of FUSE counts.
#[cfg(target_os = "linux")]
const REMOTE: [&[u8]; 24] = [
    b"nfs",
    b"nfs4",
    b"fuse",
    b"fuseblk",
    b"virtiofs",
    b"9p",
    b"cifs",
    b"smb3",
    b"smbfs",
    b"ceph",
    b"afs",
    b"coda",
    b"autofs",
    b"vboxsf",
    b"vmhgfs",
    b"prl_fs",
    b"lustre",
    b"gpfs",
    b"beegfs",
    b"gfs2",
    b"ocfs2",
    b"orangefs",
    b"pvfs2",
    b"glusterfs",
];

/// The remote file system that holds `root`, or the first one mounted below it: its type and where it is mounted. `root`
/// must have no links in it.
#[cfg(target_os = "linux")]
pub(crate) fn remote_in(root: &Path) -> Option<(String, std::path::PathBuf)> {
    find_remote(&std::fs::read("/proc/self/mountinfo").ok()?, root)
}

/// What is mounted at `root` or below it, to be compared with later.
#[cfg(target_os = "linux")]
pub(crate) fn mounted_in(root: &Path) -> Vec<u8> {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let below = |line: &&[u8]| {
        let point = line.split(|&byte| byte == b' ').nth(4);
        point.is_some_and(|point| crate::record::bytes_path(&unescaped(point)).starts_with(root))
    };
    mounts.split(|&byte| byte == b'\n').filter(below).collect::<Vec<_>>().join(&b'\n')
}

/// Elsewhere nobody knows.
#[cfg(not(target_os = "linux"))]
pub(crate) fn mounted_in(_: &Path) -> Vec<u8> {
    Vec::new()
}

/// Elsewhere nobody knows.
#[cfg(not(target_os = "linux"))]
pub(crate) fn remote_in(_: &Path) -> Option<(String, std::path::PathBuf)> {
    None
}

/// The format is that of proc_pid_mountinfo(5): the fifth field is the mount point, the type follows a lone hyphen.
#[cfg(target_os = "linux")]
fn find_remote(mounts: &[u8], root: &Path) -> Option<(String, std::path::PathBuf)> {
    let mut holds_root = None;
    let mut below = None;
    for line in mounts.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let Some(point) = fields.nth(4).map(|point| crate::record::bytes_path(&unescaped(point))) else { continue };
        let Some(kind) = fields.skip_while(|field| *field != b"-").nth(1) else { continue };
        let is_remote = REMOTE.contains(&kind) || kind.starts_with(b"fuse.");
        // Later lines lie above earlier ones; of the mount points above the root the longest counts.
        if root.starts_with(&point) {
            if holds_root.as_ref().is_none_or(|(_, before): &(_, std::path::PathBuf)| point.starts_with(before)) {
                holds_root = Some((is_remote.then(|| String::from_utf8_lossy(kind).into_owned()), point));
            }
        } else if is_remote && point.starts_with(root) && below.is_none() {
            below = Some((String::from_utf8_lossy(kind).into_owned(), point));
        }
    }
    match holds_root {
        Some((Some(kind), point)) => Some((kind, point)),
        _ => below,
    }
}

/// Blanks and backslashes are written as three octal digits.
#[cfg(target_os = "linux")]
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
        30 22 0:40 / /net rw - nfs4 server:/export rw\n\
        31 30 254:1 / /net/local rw shared:1 master:2 - ext4 /dev/vdb rw\n\
        32 22 0:41 / /home/a\\040b/mnt rw - fuse.sshfs host: rw\n";

    #[test]
    fn the_file_system_of_the_root_counts_and_those_below_it() {
        let remote =
            |root: &str| find_remote(MOUNTS, Path::new(root)).map(|(kind, point)| (kind, point.display().to_string()));
        assert_eq!(remote("/usr"), None);
        assert_eq!(remote("/net/x"), Some(("nfs4".into(), "/net".into())));
        assert_eq!(remote("/network"), None);
        assert_eq!(remote("/net/local/x"), None);
        assert_eq!(remote("/home"), Some(("fuse.sshfs".into(), "/home/a b/mnt".into())));
        assert_eq!(remote("/home/a b/mnt/deep"), Some(("fuse.sshfs".into(), "/home/a b/mnt".into())));
        assert_eq!(remote("/"), Some(("nfs4".into(), "/net".into())));
    }
}
