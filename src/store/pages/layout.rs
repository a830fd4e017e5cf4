//! What lies where in an LMDB data file.
//!
//! The format is that of LMDB 0.9 (data version 1), as `mdb.c` and `midl.h` of OpenLDAP's liblmdb describe it: see
//! `MDB_page`, `MDB_node`, `MDB_db`, `MDB_meta`, and `mdb_freelist_save` for the free list. Integers are the machine's own,
//! page numbers as wide as a pointer. In short:
//!
//! * A page begins with its number (a word), 2 bytes of padding, flags u16, and two u16 that bound the free space in its
//!   middle; an overflow run has its number of pages, u32, in their place. Offsets of nodes (u16) follow, in the order of
//!   their keys. The nodes are at the end, one behind the other, each at an even offset.
//! * A node has 8 bytes, then key, then data: u32 size of the data, u16 flags, u16 size of the key. In a branch page the
//!   first six bytes are the child's number. Data that is too large lies in an overflow run; the node has its first page.
//! * A search in a branch page takes the last child whose key is not above what is searched; the first key is not looked
//!   at.
//! * Pages 0 and 1 are meta pages, written in turn: transaction N writes page N mod 2. They hold the records of two trees:
//!   the free list, and the main tree, which has such a record for every named table.
//! * The free list maps the number of a transaction to the pages that it has freed: their number, then the pages,
//!   descending. Every page up to the last is a meta page, in one tree, or in the free list, and that once.

use std::io::{self, Read, Seek, SeekFrom};

/// A page number, and every other number that has the width of the machine.
pub(super) const WORD: usize = size_of::<usize>();
pub(super) const PAGE_HEADER: usize = WORD + 8;
pub(super) const NODE_HEADER: usize = 8;
pub(super) const TREE_BYTES: usize = 8 + 5 * WORD;
pub(super) const META_BYTES: usize = PAGE_HEADER + 8 + 4 * WORD + 2 * TREE_BYTES;
pub(super) const META_PAGES: u64 = 2;
pub(super) const MAGIC: u32 = 0xBEEF_C0DE;
pub(super) const VERSION: u32 = 1;
pub(super) const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=32_768;
/// The root of an empty tree.
pub(super) const NO_PAGE: u64 = usize::MAX as u64;
pub(super) const KEY_MAX: usize = 511;
/// LMDB's own limit: more levels than any file has pages for.
pub(super) const DEPTH_MAX: u16 = 32;
// Flags of pages, of nodes and of trees.
pub(super) const BRANCH: u16 = 1;
pub(super) const LEAF: u16 = 2;
pub(super) const OVERFLOW: u16 = 4;
pub(super) const META: u16 = 8;
pub(super) const IN_OVERFLOW: u16 = 1;
pub(super) const IS_TREE: u16 = 2;
pub(super) const INTEGER_KEYS: u16 = 8;
/// Flag of an environment, kept beside it: it was made as a file and not as a directory, as `env` makes it.
pub(super) const NO_SUB_DIR: u16 = 1 << 14;

// Numbers at offsets; `None` past the end.

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| usize::from_ne_bytes(*chunk) as u64)
}

/// The pages and entries of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) branches: u64,
    pub(super) leaves: u64,
    pub(super) overflow: u64,
    pub(super) entries: u64,
}

/// `MDB_db`: the record of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeRecord {
    pub(super) pad: u32,
    pub(super) flags: u16,
    pub(super) depth: u16,
    pub(super) counts: Counts,
    pub(super) root: u64,
}

impl TreeRecord {
    /// Of bytes that hold nothing else.
    pub(super) fn parse_whole(bytes: &[u8]) -> Option<Self> {
        if bytes.len() == TREE_BYTES { TreeRecord::parse(bytes) } else { None }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |index: usize| word_at(bytes, 8 + index * WORD);
        let counts = Counts { branches: word(0)?, leaves: word(1)?, overflow: word(2)?, entries: word(3)? };
        let (pad, flags, depth) = (u32_at(bytes, 0)?, u16_at(bytes, 4)?, u16_at(bytes, 6)?);
        Some(TreeRecord { pad, flags, depth, counts, root: word(4)? })
    }
}

/// `MDB_meta`: where everything begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) address: u64,
    pub(super) page_size: usize,
    pub(super) free: TreeRecord,
    pub(super) main: TreeRecord,
    pub(super) last_page: u64,
    pub(super) txnid: u64,
}

impl Meta {
    /// The meta page of this number, or what is wrong with it.
    pub(super) fn read(source: &mut (impl Read + Seek), at: u64, number: u64) -> Result<Meta, String> {
        let mut bytes = [0; META_BYTES];
        read_at(source, at, &mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
        Meta::parse(&bytes, number).ok_or("has no end")?
    }

    pub(super) fn parse(bytes: &[u8], number: u64) -> Option<Result<Meta, String>> {
        let body = bytes.get(PAGE_HEADER..)?;
        let trees = 8 + 2 * WORD;
        let header = Header::parse(bytes)?;
        let free = TreeRecord::parse(body.get(trees..)?)?;
        let meta = Meta {
            address: word_at(body, 8)?,
            // The record of the free list has it where other trees have padding.
            page_size: usize::try_from(free.pad).ok()?,
            free,
            main: TreeRecord::parse(body.get(trees + TREE_BYTES..)?)?,
            last_page: word_at(body, trees + 2 * TREE_BYTES)?,
            txnid: word_at(body, trees + 2 * TREE_BYTES + WORD)?,
        };
        let (magic, version) = (u32_at(body, 0)?, u32_at(body, 4)?);
        Some(if header.number != number || header.flags != META || header.pad != 0 {
            Err("is not a meta page".to_owned())
        } else if magic != MAGIC {
            Err("is not of an LMDB file".to_owned())
        } else if version != VERSION {
            Err(format!("has version {version}, {VERSION} expected"))
        } else if !PAGE_SIZES.contains(&meta.page_size) || !meta.page_size.is_power_of_two() {
            Err(format!("says that pages have {} bytes", meta.page_size))
        } else if meta.txnid % META_PAGES != number && meta.txnid != 0 {
            Err(format!("is of transaction {}, which writes the other one", meta.txnid))
        } else {
            Ok(meta)
        })
    }
}

pub(super) fn read_at(source: &mut (impl Read + Seek), at: u64, bytes: &mut [u8]) -> io::Result<()> {
    source.seek(SeekFrom::Start(at))?;
    source.read_exact(bytes)
}

/// The header of a page. The last field is free space of a page, or the length of an overflow run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) pad: u16,
    pub(super) flags: u16,
    pub(super) lower: usize,
    pub(super) upper: usize,
    pub(super) run: u32,
}

impl Header {
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        Some(Header {
            number: word_at(page, 0)?,
            pad: u16_at(page, WORD)?,
            flags: u16_at(page, WORD + 2)?,
            lower: u16_at(page, WORD + 4)?.into(),
            upper: u16_at(page, WORD + 6)?.into(),
            run: u32_at(page, WORD + 4)?,
        })
    }

    /// How many nodes there are, if the bounds of the free space are possible.
    pub(super) fn nodes(&self, page_size: usize) -> Option<usize> {
        let offsets = self.lower.checked_sub(PAGE_HEADER)?;
        let possible = self.lower <= self.upper && self.upper <= page_size;
        (possible && offsets.is_multiple_of(2) && self.upper.is_multiple_of(2)).then_some(offsets / 2)
    }
}

/// A node that lies within its page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'p> {
    pub(super) key: &'p [u8],
    /// Of a leaf.
    pub(super) data: &'p [u8],
    /// The size of the data, wherever it is; of a branch, part of the child's number.
    pub(super) size: u32,
    pub(super) flags: u16,
    /// Where it lies in the page.
    pub(super) span: (usize, usize),
}

impl<'p> Node<'p> {
    pub(super) fn parse(page: &'p [u8], header: &Header, leaf: bool, index: usize) -> Option<Self> {
        let start = usize::from(u16_at(page, PAGE_HEADER + 2 * index)?);
        if start < header.upper || !start.is_multiple_of(2) {
            return None;
        }
        let (size, flags) = (u32_at(page, start)?, u16_at(page, start + 4)?);
        let key_len = usize::from(u16_at(page, start + 6)?);
        let data_len = match flags & IN_OVERFLOW {
            _ if !leaf => 0,
            0 => usize::try_from(size).ok()?,
            _ => WORD,
        };
        let (key, rest) = page.get(start + NODE_HEADER..)?.split_at_checked(key_len)?;
        let data = rest.get(..data_len)?;
        let end = start + NODE_HEADER + key_len + data_len;
        Some(Node { key, data, size, flags, span: (start, end.next_multiple_of(2)) })
    }

    pub(super) fn child(&self) -> u64 {
        let high = if WORD > 4 { u64::from(self.flags) << 32 } else { 0 };
        u64::from(self.size) | high
    }
}
