//! What a disk holds: everything twice, as programs see it now, and as it is durable.
//!
//! The model is what POSIX promises, which is less than file systems do:
//!
//! * data of a file is durable after fsync or fdatasync of that file, or at once through a descriptor with `O_DSYNC`;
//! * an entry of a directory (created, removed, renamed) is durable after fsync of that directory. Neither fsync of the
//!   file nor that of a directory further up will do. (ext4, XFS and btrfs keep the entry of a new file that is synced.)
//!
//! Of what is not durable, a power cut keeps or drops each 4 KiB block, each file's length and each change of an entry for
//! itself, in no order. Two things are left whole, as they are everywhere: a rename within a directory, and a block.

use crate::support::Random;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// What is kept or dropped as a whole: a page of the page cache, a sector of a disk.
const BLOCK: usize = 4096;
/// The number of the root.
pub(super) const ROOT: u64 = 1;

/// `None` stands for zeros.
type Block = Option<Arc<[u8; BLOCK]>>;

/// The bytes of a file. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub(super) len: usize,
    blocks: Vec<Block>,
}

impl Data {
    fn block(&self, index: usize) -> Block {
        self.blocks.get(index).cloned().flatten()
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.set_len(self.len.max(end));
        let mut from = at;
        while from < end {
            let (index, offset) = (from / BLOCK, from % BLOCK);
            let len = (BLOCK - offset).min(end - from);
            let block = self.blocks[index].get_or_insert_with(|| Arc::new([0; BLOCK]));
            // Another block, even if only this state has it: whether a block was written shows in its address.
            let mut changed = **block;
            changed[offset..offset + len].copy_from_slice(&bytes[from - at..from - at + len]);
            *block = Arc::new(changed);
            from += len;
        }
    }

    fn set_len(&mut self, len: usize) {
        self.blocks.resize(len.div_ceil(BLOCK), None);
        if len < self.len
            && let Some(Some(last)) = self.blocks.last_mut()
        {
            let mut cut = **last;
            cut[len - (len - 1) / BLOCK * BLOCK..].fill(0);
            *last = Arc::new(cut);
        }
        self.len = len;
    }

    pub(super) fn read(&self, at: usize, len: usize) -> Vec<u8> {
        let end = self.len.min(at.saturating_add(len));
        let mut bytes = Vec::with_capacity(end.saturating_sub(at));
        let mut from = at;
        while from < end {
            let (index, offset) = (from / BLOCK, from % BLOCK);
            let len = (BLOCK - offset).min(end - from);
            match &self.blocks[index] {
                Some(block) => bytes.extend_from_slice(&block[offset..offset + len]),
                None => bytes.resize(bytes.len() + len, 0),
            }
            from += len;
        }
        bytes
    }
}

#[derive(Clone, Debug, Default)]
struct FileNode {
    current: Data,
    durable: Data,
    /// Lengths that it has had since it was synced.
    lengths: Vec<usize>,
}

impl FileNode {
    fn change(&mut self, change: impl FnOnce(&mut Data)) {
        change(&mut self.current);
        if self.lengths.last() != Some(&self.current.len) {
            self.lengths.push(self.current.len);
        }
    }

    fn sync(&mut self) {
        self.durable = self.current.clone();
        self.lengths.clear();
    }

    fn after_power_cut(&self, chance: &mut Chance) -> Data {
        let kept = self.lengths.iter().rev().find(|_| chance.keeps_data());
        let longest = self.current.blocks.len().max(self.durable.blocks.len());
        let blocks = (0..longest).map(|index| {
            let (new, old) = (self.current.block(index), self.durable.block(index));
            let same = match (&new, &old) {
                (Some(new), Some(old)) => Arc::ptr_eq(new, old),
                (None, None) => true,
                _ => false,
            };
            if same || chance.keeps_data() { new } else { old }
        });
        let mut left = Data { len: longest * BLOCK, blocks: blocks.collect() };
        left.set_len(kept.copied().unwrap_or(self.durable.len));
        left
    }
}

/// A change of one directory.
#[derive(Clone, Debug)]
enum Change {
    Link(OsString, u64),
    Unlink(OsString),
    Rename(OsString, OsString, u64),
}

type Entries = BTreeMap<OsString, u64>;

impl Change {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Change::Link(name, node) => drop(entries.insert(name.clone(), *node)),
            Change::Unlink(name) => drop(entries.remove(name)),
            Change::Rename(from, to, node) => {
                entries.remove(from);
                entries.insert(to.clone(), *node);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct DirNode {
    current: Entries,
    durable: Entries,
    /// What lies between the two, in order.
    pending: Vec<Change>,
}

impl DirNode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.durable = self.current.clone();
        self.pending.clear();
    }

    fn after_power_cut(&self, chance: &mut Chance) -> Entries {
        let mut left = self.durable.clone();
        self.pending.iter().filter(|_| chance.keeps_entry()).for_each(|change| change.apply(&mut left));
        left
    }
}

#[derive(Clone, Debug)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// An operation that changes what is on the disk. The disk has checked that it can be done.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create { parent: u64, name: OsString, node: u64 },
    Mkdir { parent: u64, name: OsString, node: u64 },
    Unlink { parent: u64, name: OsString },
    Rename { parent: u64, from: OsString, to: OsString },
    Write { node: u64, at: usize, bytes: Vec<u8>, durable: bool },
    Truncate { node: u64, len: usize },
    Sync { node: u64 },
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Op::Write { node, at, bytes, durable } => {
                write!(f, "Write {{ node: {node}, at: {at}, len: {}, durable: {durable} }}", bytes.len())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// The whole of a disk.
#[derive(Clone, Debug)]
pub(super) struct State {
    nodes: HashMap<u64, Node>,
    last: u64,
}

impl State {
    /// A disk on which `tree` is durable.
    pub(super) fn new(tree: &Tree) -> State {
        let mut state = State { nodes: HashMap::new(), last: ROOT };
        state.take_in(ROOT, tree);
        state
    }

    fn take_in(&mut self, number: u64, tree: &Tree) {
        let node = match tree {
            Tree::File(data) => {
                Node::File(FileNode { current: data.clone(), durable: data.clone(), lengths: Vec::new() })
            }
            Tree::Dir(children) => {
                let mut entries = Entries::new();
                for (name, child) in children {
                    let number = self.unused();
                    self.take_in(number, child);
                    entries.insert(name.clone(), number);
                }
                Node::Dir(DirNode { current: entries.clone(), durable: entries, pending: Vec::new() })
            }
        };
        self.nodes.insert(number, node);
    }

    /// A number for a new node.
    pub(super) fn unused(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn file(&mut self, node: u64) -> &mut FileNode {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => file,
            other => panic!("{node} is no file: {other:?}"),
        }
    }

    fn dir(&mut self, node: u64) -> &mut DirNode {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => dir,
            other => panic!("{node} is no directory: {other:?}"),
        }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { parent, name, node } => {
                self.nodes.insert(*node, Node::File(FileNode::default()));
                self.dir(*parent).change(Change::Link(name.clone(), *node));
            }
            Op::Mkdir { parent, name, node } => {
                self.nodes.insert(*node, Node::Dir(DirNode::default()));
                self.dir(*parent).change(Change::Link(name.clone(), *node));
            }
            Op::Unlink { parent, name } => self.dir(*parent).change(Change::Unlink(name.clone())),
            Op::Rename { parent, from, to } => {
                let dir = self.dir(*parent);
                let node = dir.current[from];
                dir.change(Change::Rename(from.clone(), to.clone(), node));
            }
            Op::Write { node, at, bytes, durable } => {
                let file = self.file(*node);
                file.change(|data| data.write(*at, bytes));
                if *durable {
                    file.durable.write(*at, bytes);
                }
            }
            Op::Truncate { node, len } => self.file(*node).change(|data| data.set_len(*len)),
            Op::Sync { node } => match self.nodes.get_mut(node) {
                Some(Node::File(file)) => file.sync(),
                Some(Node::Dir(dir)) => dir.sync(),
                None => panic!("{node} was never made"),
            },
        }
    }

    /// The bytes of a file, as programs see them.
    pub(super) fn data(&self, node: u64) -> Option<&Data> {
        match self.nodes.get(&node)? {
            Node::File(file) => Some(&file.current),
            Node::Dir(_) => None,
        }
    }

    /// The entries of a directory, as programs see them.
    pub(super) fn entries(&self, node: u64) -> Option<&Entries> {
        match self.nodes.get(&node)? {
            Node::Dir(dir) => Some(&dir.current),
            Node::File(_) => None,
        }
    }

    pub(super) fn find(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.entries(parent)?.get(name).copied()
    }

    /// What programs see.
    pub(super) fn current(&self) -> Tree {
        self.tree(ROOT, &mut |file| file.current.clone(), &mut |dir| dir.current.clone())
    }

    /// What is left after a power cut.
    pub(super) fn after_power_cut(&self, chance: Chance) -> Tree {
        let chance = std::cell::RefCell::new(chance);
        let mut data = |file: &FileNode| file.after_power_cut(&mut chance.borrow_mut());
        let mut entries = |dir: &DirNode| dir.after_power_cut(&mut chance.borrow_mut());
        self.tree(ROOT, &mut data, &mut entries)
    }

    fn tree(
        &self,
        node: u64,
        data: &mut dyn FnMut(&FileNode) -> Data,
        entries: &mut dyn FnMut(&DirNode) -> Entries,
    ) -> Tree {
        match &self.nodes[&node] {
            Node::File(file) => Tree::File(data(file)),
            Node::Dir(dir) => {
                let children = entries(dir).into_iter();
                Tree::Dir(children.map(|(name, node)| (name, self.tree(node, data, entries))).collect())
            }
        }
    }
}

/// How likely each thing that is not durable outlasts a power cut: in eighths, for data and for entries.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    random: Random,
    data: usize,
    entries: usize,
}

impl Chance {
    /// Drawn from a seed. All and nothing are among the likely ones.
    pub(super) fn new(seed: u64) -> Chance {
        let mut random = Random(seed);
        let [data, entries] = [(); 2].map(|()| *random.pick(&[0, 0, 1, 4, 7, 8]));
        Chance { random, data, entries }
    }

    /// Every entry is kept, and half of the data.
    pub(super) fn of_data(seed: u64) -> Chance {
        Chance { random: Random(seed), data: 4, entries: 8 }
    }

    /// Nothing is kept.
    pub(super) fn none() -> Chance {
        Chance { random: Random(0), data: 0, entries: 0 }
    }

    fn keeps_data(&mut self) -> bool {
        self.random.below(8) < self.data
    }

    fn keeps_entry(&mut self) -> bool {
        self.random.below(8) < self.entries
    }
}

/// What a disk holds at one moment, apart from any disk.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    File(Data),
    Dir(BTreeMap<OsString, Tree>),
}

impl Tree {
    pub(super) fn empty() -> Tree {
        Tree::Dir(BTreeMap::new())
    }

    /// Reads what is in `path`.
    pub(super) fn read_from(path: &Path) -> Tree {
        if path.is_file() {
            let mut data = Data::default();
            data.write(0, &fs::read(path).unwrap());
            return Tree::File(data);
        }
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        Tree::Dir(entries.map(|entry| (entry.file_name(), Tree::read_from(&entry.path()))).collect())
    }

    /// Writes it to `path`, which is not there yet.
    pub(super) fn write_to(&self, path: &Path) {
        match self {
            Tree::File(data) => {
                let mut file = fs::File::create(path).unwrap();
                for (index, block) in data.blocks.iter().enumerate() {
                    if let Some(block) = block {
                        file.seek(SeekFrom::Start((index * BLOCK) as u64)).unwrap();
                        file.write_all(&block[..]).unwrap();
                    }
                }
                file.set_len(data.len as u64).unwrap();
            }
            Tree::Dir(children) => {
                fs::create_dir(path).unwrap();
                children.iter().for_each(|(name, child)| child.write_to(&path.join(name)));
            }
        }
    }
}
