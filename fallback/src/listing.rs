//! The names of one directory.
//!
//! They lie in one arena, each with its NUL, so that a listing of any length costs no allocation once the arena has
//! grown, and so that a name goes to a system call as it is.

use crate::Kind;
use crate::op::{is_component, not_a_component};
use std::ffi::CStr;
use std::io;

/// The entries of one directory. Cleared and filled again, it keeps its memory.
///
/// An index is stable until the next [`clear`](Listing::clear), [`truncate`](Listing::truncate) or
/// [`sort_by_inode`](Listing::sort_by_inode). The methods that take one panic when it is not below
/// [`len`](Listing::len), as slices do.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

/// 16 bytes, so that sorting moves little.
#[derive(Clone, Copy, Debug)]
struct Entry {
    inode: u64,
    offset: u32,
    /// Without the NUL.
    length: u16,
    kind: Kind,
}

const _: () = assert!(size_of::<Entry>() == 16);

impl Listing {
    /// An empty listing. Allocates nothing.
    pub fn new() -> Listing {
        Listing::default()
    }

    /// Forgets the entries and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets the entries from `len` on, counted in the present order.
    pub fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
        // After a sort the names that are left may lie anywhere, so the arena starts anew only when none is.
        if self.entries.is_empty() {
            self.names.clear();
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name of entry `index`: any bytes but NUL and `/`. On Windows, what `OsStr::as_encoded_bytes` gives.
    pub fn name(&self, index: usize) -> &[u8] {
        let Entry { offset, length, .. } = self.entries[index];
        &self.names[offset as usize..][..usize::from(length)]
    }

    /// The same with its NUL, as a [`Fetch`](crate::Fetch) wants it.
    pub fn c_name(&self, index: usize) -> &CStr {
        let Entry { offset, length, .. } = self.entries[index];
        let bytes = &self.names[offset as usize..][..usize::from(length) + 1];
        // `push` lets no NUL in; were there one, the shorter name would fail to open, which is reported.
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }

    /// What the directory said that entry `index` is; [`Kind::Unknown`] when it did not.
    pub fn kind(&self, index: usize) -> Kind {
        self.entries[index].kind
    }

    /// The inode number that the directory gave for entry `index`: good for ordering, not for identity, since at a
    /// mount point it is that of the directory underneath. 0 where there is none.
    pub fn inode(&self, index: usize) -> u64 {
        self.entries[index].inode
    }

    /// Notes what a stat found entry `index` to be.
    pub fn set_kind(&mut self, index: usize, kind: Kind) {
        self.entries[index].kind = kind;
    }

    /// Adds an entry at the end.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be the name of an entry: empty, `.`, `..`, with a separator or a NUL, or longer
    /// than 65,535 bytes. `OutOfMemory` when the names of this listing would pass 4 GiB.
    pub fn push(&mut self, name: &[u8], kind: Kind, inode: u64) -> io::Result<()> {
        let Ok(length) = u16::try_from(name.len()) else { return Err(not_a_component()) };
        if name.contains(&0) || !is_component(name) {
            return Err(not_a_component());
        }
        let Ok(offset) = u32::try_from(self.names.len()) else { return Err(io::ErrorKind::OutOfMemory.into()) };
        self.names.extend_from_slice(name);
        self.names.push(0);
        self.entries.push(Entry { inode, offset, length, kind });
        Ok(())
    }

    /// Orders the entries by inode number, then by name: nearly the order on disk of most file systems, and the same
    /// order however the directory is hashed.
    pub fn sort_by_inode(&mut self) {
        let names = &self.names;
        let name = |entry: &Entry| &names[entry.offset as usize..][..usize::from(entry.length)];
        self.entries.sort_unstable_by(|a, b| a.inode.cmp(&b.inode).then_with(|| name(a).cmp(name(b))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_kinds_and_inodes() {
        let mut listing = Listing::new();
        assert!(listing.is_empty());
        listing.push(b"z\xff\n", Kind::Unknown, 9).unwrap();
        listing.push(b"a", Kind::Dir, 3).unwrap();
        listing.push(b"b", Kind::File, 3).unwrap();
        listing.set_kind(0, Kind::File);
        listing.sort_by_inode();
        let got: Vec<_> = (0..listing.len()).map(|i| (listing.name(i), listing.kind(i), listing.inode(i))).collect();
        let expected: Vec<(&[u8], Kind, u64)> =
            vec![(b"a", Kind::Dir, 3), (b"b", Kind::File, 3), (b"z\xff\n", Kind::File, 9)];
        assert_eq!(got, expected);
        assert_eq!(listing.c_name(2).to_bytes(), b"z\xff\n");
    }

    #[test]
    fn refuses_what_is_no_name() {
        let mut listing = Listing::new();
        let long = vec![b'a'; 65_536];
        let bad: &[&[u8]] = &[b"", b".", b"..", b"a/b", b"a\0b", &long];
        for name in bad {
            let error = listing.push(name, Kind::File, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(listing.len(), 0);
        listing.push(&long[1..], Kind::File, 1).unwrap();
        assert_eq!(listing.name(0).len(), 65_535);
    }

    #[test]
    fn cleared_and_truncated_it_can_be_filled_again() {
        let mut listing = Listing::new();
        for (name, inode) in [(b"a", 3), (b"b", 2), (b"c", 1)] {
            listing.push(name, Kind::File, inode).unwrap();
        }
        listing.sort_by_inode();
        listing.truncate(1);
        listing.push(b"d", Kind::Dir, 4).unwrap();
        assert_eq!((listing.name(0), listing.name(1)), (&b"c"[..], &b"d"[..]));
        let capacity = listing.names.capacity();
        listing.clear();
        listing.push(b"e", Kind::Dir, 5).unwrap();
        assert_eq!((listing.len(), listing.name(0), listing.names.capacity()), (1, &b"e"[..], capacity));
    }
}
