//! Reads an LMDB data file without LMDB: finds damage, and gets out what can still be reached.
//!
//! LMDB trusts its pages. A damaged one may crash the process, or, worse, hide records without a word: a flipped bit in
//! the key of a branch page sends a search into the wrong page. So the file is read here as bytes, with every offset and
//! number checked, before it is opened.
//!
//! What is not seen, because it makes no difference: free pages; free space within pages, and what pads nodes, values and
//! meta pages; the older meta page, but for what says that it is the older; the size of the map; first keys of branch
//! pages; bits of other branch keys that leave them between the keys on both sides; the number of a transaction in the
//! free list, while it stays in order; and pages that are lost, because a record of the free list says it has none.

mod layout;

use super::env::TABLES;
use super::schema::{META_FORMAT, split_entry_key, unseal};
use crate::error::StoreError;
use layout::{
    BRANCH, Counts, DEPTH_MAX, Header, IN_OVERFLOW, INTEGER_KEYS, IS_TREE, KEY_MAX, LEAF, META_PAGES, Meta, NO_PAGE,
    NO_SUB_DIR, Node, OVERFLOW, PAGE_HEADER, PAGE_SIZES, TreeRecord, WORD, read_at, word_at,
};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// Problems that are described; all of them are counted.
const LISTED_MAX: usize = 100;
/// The table with the format and the published generation.
const META_TABLE: &str = TABLES[0];
/// More tables than an environment of ours may have; a damaged main tree could name any number.
const TABLES_MAX: usize = 16;

/// What walking the pages of a data file has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageCheck {
    /// The first problems, described.
    pub(crate) problems: Vec<String>,
    /// How many problems there are.
    pub(crate) problem_count: u64,
    /// Records of the tables.
    pub(crate) records: u64,
    /// Pages that a tree uses.
    pub(crate) pages: u64,
    /// Pages that are neither used nor free. LMDB makes none, but they do no harm.
    pub(crate) lost: u64,
    /// The transaction that was read: the newest.
    pub(crate) txnid: u64,
    /// The transaction after it, when its trees stand in a meta page that says that it is older. LMDB leaves this behind
    /// when it cannot write the meta page, and so does a flipped bit. Who knows the last transaction can tell.
    pub(crate) unpublished: Option<u64>,
    /// The format of the records, when it could be read.
    pub(crate) format: Option<u32>,
}

impl PageCheck {
    /// Whether nothing is wrong.
    pub(crate) fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    pub(super) fn problem(&mut self, what: fmt::Arguments<'_>) {
        self.problem_count += 1;
        if self.problems.len() < LISTED_MAX {
            self.problems.push(what.to_string());
        }
    }
}

/// Walks every page that the newest meta page leads to, and checks the pages, how they hang together, the free list, and
/// the checksum of every record.
///
/// Nobody must write the file meanwhile: a writer reuses pages that were freed two transactions ago. Who cannot rule that
/// out compares the `txnid` of two checks, one after the other: when they are the same, no transaction ended during the
/// first.
pub(crate) fn check(file: &Path) -> Result<PageCheck, StoreError> {
    salvage(file, |_, _, _| {})
}

/// As [`check`], and calls `each(table, key, value)` with every record that can still be reached and whose node is well
/// formed, going on past damage. What it is called with may be damaged itself, be there twice, out of order, or in the
/// wrong table: checksums are counted, not enforced.
pub(crate) fn salvage(file: &Path, each: impl FnMut(&str, &[u8], &[u8])) -> Result<PageCheck, StoreError> {
    let file = File::open(file)?;
    let len = file.metadata()?.len();
    Ok(walk(file, len, each))
}

fn walk<S: Read + Seek>(mut source: S, len: u64, each: impl FnMut(&str, &[u8], &[u8])) -> PageCheck {
    let mut found = PageCheck::default();
    let Some(meta) = newest_meta(&mut source, &mut found) else { return found };
    found.txnid = meta.txnid;
    check_meta(&meta, &mut found);
    let in_file = len / meta.page_size as u64;
    let end = meta.last_page.saturating_add(1);
    let known = usize::try_from(in_file.min(end)).unwrap_or(0);
    let mut walk = Walk {
        source,
        page_size: meta.page_size,
        txnid: meta.txnid,
        end,
        in_file,
        pages: vec![Page::Unknown; known],
        freed_by: 0,
        free_behind: HashSet::new(),
        buffers: Vec::new(),
        spans: Vec::new(),
        value: Vec::new(),
        tables: Vec::new(),
        counted: Counts::default(),
        found,
        each,
    };
    walk.all(&meta);
    walk.found
}

/// The newest meta page that can be used.
fn newest_meta(source: &mut (impl Read + Seek), found: &mut PageCheck) -> Option<Meta> {
    let first = Meta::read(source, 0, 0);
    let second = match &first {
        Ok(first) => Meta::read(source, first.page_size as u64, 1).and_then(|second| {
            let same = second.page_size == first.page_size;
            if same { Ok(second) } else { Err(format!("says that pages have {} bytes", second.page_size)) }
        }),
        // Without the first nobody knows where the second is.
        Err(_) => {
            let sizes = PAGE_SIZES.filter(|size| size.is_power_of_two());
            let metas = sizes.map(|size| (size, Meta::read(source, size as u64, 1)));
            let mut fitting = metas.filter_map(|(size, meta)| meta.ok().filter(|meta| meta.page_size == size));
            fitting.next().ok_or_else(|| "is not where it should be".to_owned())
        }
    };
    if let (Ok(first), Ok(second)) = (&first, &second) {
        check_order(source, first, second, found);
    }
    let mut newest: Option<Meta> = None;
    for (number, meta) in [first, second].into_iter().enumerate() {
        match meta {
            Ok(meta) if newest.is_none_or(|newest| newest.txnid < meta.txnid) => newest = Some(meta),
            Ok(_) => {}
            Err(why) => found.problem(format_args!("meta page {number} {why}")),
        }
    }
    newest
}

/// Checks which meta page is newer: with the wrong one, LMDB shows the transaction before the last.
fn check_order(source: &mut (impl Read + Seek), first: &Meta, second: &Meta, found: &mut PageCheck) {
    let ids = (first.txnid, second.txnid);
    if ids.0.abs_diff(ids.1) != 1 && ids != (0, 0) {
        found.problem(format_args!("the meta pages are of transactions {} and {}, not in a row", ids.0, ids.1));
    }
    let (older, newer) = if ids.0 < ids.1 { (first, second) } else { (second, first) };
    match last_freed(source, older).filter(|freed| *freed > older.txnid) {
        None => {}
        Some(freed) if freed == newer.txnid.saturating_add(1) => found.unpublished = Some(freed),
        Some(freed) => {
            found.problem(format_args!("the meta page of transaction {} is of transaction {freed}", older.txnid));
        }
    }
}

/// The last transaction in the free list. Every one but the first has freed pages.
fn last_freed(source: &mut (impl Read + Seek), meta: &Meta) -> Option<u64> {
    let mut page = vec![0; meta.page_size];
    let mut number = meta.free.root;
    for _ in 0..DEPTH_MAX {
        read_at(source, number.checked_mul(meta.page_size as u64)?, &mut page).ok()?;
        let header = Header::parse(&page)?;
        let leaf = header.flags == LEAF;
        let last = header.nodes(meta.page_size)?.checked_sub(1)?;
        let node = Node::parse(&page, &header, leaf, last)?;
        if leaf {
            return word_at(node.key, 0);
        }
        number = node.child();
    }
    None
}

/// Checks what does not show in the trees.
fn check_meta(meta: &Meta, found: &mut PageCheck) {
    if meta.address != 0 || meta.free.flags != INTEGER_KEYS | NO_SUB_DIR {
        found.problem(format_args!("the newest meta page asks for what this index does not use"));
    }
    if meta.last_page < META_PAGES - 1 {
        found.problem(format_args!("the newest meta page says that page {} is the last", meta.last_page));
    }
}

/// What is known of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Unknown,
    Used,
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The free list: keys are integers.
    Free,
    /// The tree of the tables.
    Main,
    Table,
}

#[derive(Clone, Copy, Debug)]
struct Tree<'t> {
    kind: Kind,
    name: &'t str,
    depth: u16,
}

impl Tree<'_> {
    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self.kind {
            Kind::Free => word_at(a, 0).cmp(&word_at(b, 0)),
            Kind::Main | Kind::Table => a.cmp(b),
        }
    }

    fn within(&self, bounds: Bounds<'_>, key: &[u8]) -> bool {
        bounds.low.is_none_or(|low| self.compare(low, key) != Ordering::Greater)
            && bounds.high.is_none_or(|high| self.compare(key, high) == Ordering::Less)
    }
}

/// The keys that a page may hold: `low <= key < high`.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds<'k> {
    low: Option<&'k [u8]>,
    high: Option<&'k [u8]>,
}

/// A page of nodes.
struct Nodes<'p> {
    bytes: &'p [u8],
    header: Header,
    leaf: bool,
    nodes: usize,
    number: u64,
    level: u16,
}

impl<'p> Nodes<'p> {
    /// The nodes that lie within the page, with their indices.
    fn iter(&self) -> impl Iterator<Item = (usize, Node<'p>)> {
        let node = |index| Some((index, Node::parse(self.bytes, &self.header, self.leaf, index)?));
        (0..self.nodes).filter_map(node)
    }
}

struct Walk<S, F> {
    source: S,
    page_size: usize,
    txnid: u64,
    /// One more than the last page.
    end: u64,
    /// Whole pages that the file has.
    in_file: u64,
    /// Those below both.
    pages: Vec<Page>,
    /// The last transaction in the free list.
    freed_by: u64,
    /// Free pages behind the end of the file: LMDB need not have written them.
    free_behind: HashSet<u64>,
    /// Pages to read into, one a level.
    buffers: Vec<Vec<u8>>,
    /// Where the nodes of a page lie.
    spans: Vec<(usize, usize)>,
    /// An overflow run.
    value: Vec<u8>,
    tables: Vec<(String, TreeRecord)>,
    counted: Counts,
    found: PageCheck,
    each: F,
}

impl<S: Read + Seek, F: FnMut(&str, &[u8], &[u8])> Walk<S, F> {
    fn all(&mut self, meta: &Meta) {
        self.tree(Kind::Main, "main tree", &meta.main);
        let tables = std::mem::take(&mut self.tables);
        for (name, record) in &tables {
            self.tree(Kind::Table, name, record);
        }
        let missing = TABLES.iter().filter(|table| !tables.iter().any(|(name, _)| name == *table));
        // A new environment has none of them.
        for name in missing.filter(|_| !tables.is_empty()) {
            self.found.problem(format_args!("there is no table {name}"));
        }
        // Last, when it is known which pages must not be free.
        self.tree(Kind::Free, "free list", &meta.free);
        if self.freed_by != self.txnid && self.txnid > 1 {
            let (freed_by, txnid) = (self.freed_by, self.txnid);
            self.found.problem(format_args!("free list: the last transaction in it is {freed_by}, not {txnid}"));
        }
        self.found.lost = self.pages.iter().skip(2).filter(|page| **page == Page::Unknown).count() as u64;
        let behind = self.end.saturating_sub(self.in_file);
        if behind != self.free_behind.len() as u64 {
            let (end, in_file) = (self.end, self.in_file);
            self.found.problem(format_args!("the file ends at page {in_file}: it should have {end} pages"));
        }
    }

    fn tree(&mut self, kind: Kind, name: &str, record: &TreeRecord) {
        let odd = match kind {
            // Its flags and padding are those of the meta page.
            Kind::Free => false,
            Kind::Main | Kind::Table => record.flags != 0 || record.pad != 0,
        };
        if odd || record.depth > DEPTH_MAX || (record.depth == 0) != (record.root == NO_PAGE) {
            let TreeRecord { flags, pad, depth, root, .. } = record;
            let record = format_args!("flags {flags:#x}, padding {pad}, depth {depth}, root {root}");
            self.found.problem(format_args!("{name}: its record is not possible: {record}"));
        }
        self.counted = Counts::default();
        if record.root != NO_PAGE {
            self.page(Tree { kind, name, depth: record.depth }, record.root, 1, Bounds::default());
        }
        if self.counted != record.counts {
            let (counted, expected) = (self.counted, record.counts);
            self.found.problem(format_args!("{name}: its record says {expected:?}, but it has {counted:?}"));
        }
    }

    /// Marks pages as used; says whether they were unknown, and are in the file.
    fn claim(&mut self, name: &str, first: u64, count: u64) -> bool {
        let range = first.checked_add(count).filter(|end| first >= META_PAGES && *end <= self.end);
        let range = range.and_then(|end| Some(usize::try_from(first).ok()?..usize::try_from(end).ok()?));
        let Some(pages) = range.and_then(|range| self.pages.get_mut(range)) else {
            self.found.problem(format_args!("{name}: page {first} ({count}) is not in the file"));
            return false;
        };
        let is_new = pages.iter().all(|page| *page == Page::Unknown);
        pages.fill(Page::Used);
        self.found.pages += count;
        if !is_new {
            self.found.problem(format_args!("{name}: page {first} ({count}) is reached twice"));
        }
        is_new
    }

    fn read(&mut self, name: &str, number: u64, bytes: &mut [u8]) -> bool {
        let at = number.saturating_mul(self.page_size as u64);
        match read_at(&mut self.source, at, bytes) {
            Ok(()) => true,
            Err(error) => {
                self.found.problem(format_args!("{name}: page {number} cannot be read: {error}"));
                false
            }
        }
    }

    /// Walks a page and what is below it.
    fn page(&mut self, tree: Tree<'_>, number: u64, level: u16, bounds: Bounds<'_>) {
        if !self.claim(tree.name, number, 1) {
            return;
        }
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.resize(self.page_size, 0);
        if self.read(tree.name, number, &mut bytes)
            && let Some(header) = Header::parse(&bytes)
        {
            self.check_header(tree, number, level, &header);
            // A page that says neither is what it should be at its level.
            let leaf = match header.flags {
                LEAF => true,
                BRANCH => false,
                _ => level >= tree.depth,
            };
            match header.nodes(self.page_size) {
                Some(nodes) => self.nodes(tree, &Nodes { bytes: &bytes, header, leaf, nodes, number, level }, bounds),
                None => self.found.problem(format_args!("{}: page {number}: its bounds are not possible", tree.name)),
            }
        }
        self.buffers.push(bytes);
    }

    fn check_header(&mut self, tree: Tree<'_>, number: u64, level: u16, header: &Header) {
        if header.number != number || header.pad != 0 {
            let (says, pad) = (header.number, header.pad);
            self.found.problem(format_args!("{}: page {number} says it is page {says}, padding {pad}", tree.name));
        }
        let expected = if level == tree.depth { LEAF } else { BRANCH };
        if header.flags != expected {
            let flags = header.flags;
            self.found.problem(format_args!("{}: page {number}: flags {flags:#x}, {expected:#x} expected", tree.name));
        }
    }

    fn nodes(&mut self, tree: Tree<'_>, page: &Nodes<'_>, bounds: Bounds<'_>) {
        self.check_nodes(tree, page);
        self.check_keys(tree, page, bounds);
        if page.leaf {
            self.counted.leaves += 1;
            for (_, node) in page.iter() {
                self.counted.entries += 1;
                self.record(tree, page.number, &node);
            }
            return;
        }
        self.counted.branches += 1;
        if page.level >= DEPTH_MAX {
            self.found.problem(format_args!("{}: page {} is too deep", tree.name, page.number));
            return;
        }
        let mut nodes = page.iter().peekable();
        while let Some((index, node)) = nodes.next() {
            let low = if index == 0 { bounds.low } else { Some(node.key) };
            let high = nodes.peek().map_or(bounds.high, |(_, next)| Some(next.key));
            self.page(tree, node.child(), page.level + 1, Bounds { low, high });
        }
    }

    /// Checks where the nodes of a page lie: they fill its end exactly, in whatever order.
    fn check_nodes(&mut self, tree: Tree<'_>, page: &Nodes<'_>) {
        let (name, number) = (tree.name, page.number);
        // LMDB aborts where it searches a branch with one child, but in the free list.
        let least = if page.leaf || tree.kind == Kind::Free { 1 } else { 2 };
        if page.nodes < least {
            self.found.problem(format_args!("{name}: page {number} has {} nodes", page.nodes));
        }
        self.spans.clear();
        self.spans.extend(page.iter().map(|(_, node)| node.span));
        if self.spans.len() < page.nodes {
            let out = page.nodes - self.spans.len();
            self.found.problem(format_args!("{name}: page {number}: {out} nodes are not within it"));
        }
        self.spans.sort_unstable();
        let mut spans = self.spans.iter();
        let end = spans.try_fold(page.header.upper, |at, (start, end)| (at == *start).then_some(*end));
        if end != Some(self.page_size) {
            self.found.problem(format_args!("{name}: page {number}: nodes overlap, or leave gaps"));
        }
    }

    /// Checks the order of the keys, within the page and as the pages above it have it.
    fn check_keys(&mut self, tree: Tree<'_>, page: &Nodes<'_>, bounds: Bounds<'_>) {
        let mut before = None;
        // No search looks at the first key of a branch.
        for (_, Node { key, .. }) in page.iter().filter(|(index, _)| page.leaf || *index > 0) {
            let possible = match tree.kind {
                Kind::Free => key.len() == WORD,
                Kind::Main | Kind::Table => (1..=KEY_MAX).contains(&key.len()),
            };
            let follows = before.is_none_or(|before| tree.compare(before, key) == Ordering::Less);
            if !possible || !follows || !tree.within(bounds, key) {
                let key = key.escape_ascii();
                self.found.problem(format_args!("{}: page {}: key {key} is out of order", tree.name, page.number));
            }
            before = Some(key);
        }
    }

    fn record(&mut self, tree: Tree<'_>, number: u64, node: &Node<'_>) {
        let flags = if tree.kind == Kind::Main { IS_TREE } else { node.flags & IN_OVERFLOW };
        if node.flags != flags {
            let (key, flags) = (node.key.escape_ascii(), node.flags);
            self.found.problem(format_args!("{}: page {number}: key {key} has flags {flags:#x}", tree.name));
        }
        if tree.kind == Kind::Main {
            self.table(node);
        } else if node.flags & IN_OVERFLOW == 0 {
            self.value(tree, node.key, node.data);
        } else {
            let mut value = std::mem::take(&mut self.value);
            if self.overflow(tree, node, &mut value)
                && let Some(data) = value.get(PAGE_HEADER..)
            {
                self.value(tree, node.key, data);
            }
            self.value = value;
        }
    }

    fn table(&mut self, node: &Node<'_>) {
        let name = String::from_utf8_lossy(node.key);
        if !TABLES.contains(&&*name) {
            self.found.problem(format_args!("main tree: there is a table {}", node.key.escape_ascii()));
        }
        match TreeRecord::parse_whole(node.data) {
            Some(record) if self.tables.len() < TABLES_MAX => self.tables.push((name.into_owned(), record)),
            _ => self.found.problem(format_args!("main tree: the record of table {name} is not possible")),
        }
    }

    /// Reads the overflow run of a node, its header included.
    fn overflow(&mut self, tree: Tree<'_>, node: &Node<'_>, value: &mut Vec<u8>) -> bool {
        let (Some(first), Ok(size)) = (word_at(node.data, 0), usize::try_from(node.size)) else { return false };
        let bytes = PAGE_HEADER.saturating_add(size);
        let needed = bytes.div_ceil(self.page_size) as u64;
        if !self.claim(tree.name, first, needed) {
            return false;
        }
        // What was claimed is in the file, so this is no more than the file has.
        value.resize(bytes, 0);
        if !self.read(tree.name, first, value) {
            return false;
        }
        let Some(header) = Header::parse(value) else { return false };
        let run = u64::from(header.run);
        if (header.number, header.flags, header.pad) != (first, OVERFLOW, 0) || run < needed {
            self.found.problem(format_args!("{}: page {first} does not begin {needed} pages of a value", tree.name));
        } else if run > needed {
            // A value that was written again by the same transaction, and has become shorter, keeps its pages.
            self.claim(tree.name, first + needed, run - needed);
        }
        self.counted.overflow += run;
        true
    }

    fn value(&mut self, tree: Tree<'_>, key: &[u8], value: &[u8]) {
        if tree.kind == Kind::Free {
            self.freed(key, value);
            return;
        }
        self.found.records += 1;
        if tree.name == META_TABLE && key == META_FORMAT {
            let format = value.try_into().map(u32::from_le_bytes).ok();
            self.found.format = format;
            if format.is_none() {
                self.found.problem(format_args!("{}: the format has {} bytes", tree.name, value.len()));
            }
        } else if TABLES.contains(&tree.name) && unseal(tree.name, key, value).is_err() {
            let key = Readable(tree.name, key);
            self.found.problem(format_args!("{}: {key}: checksum does not match", tree.name));
        }
        (self.each)(tree.name, key, value);
    }

    /// A record of the free list.
    fn freed(&mut self, key: &[u8], value: &[u8]) {
        let by = word_at(key, 0).unwrap_or(0);
        let count = word_at(value, 0).unwrap_or(0);
        self.freed_by = by;
        let room = (value.len() / WORD).saturating_sub(1) as u64;
        // LMDB may have kept room in a record and then not needed the record at all.
        let fits = count == room || count == 0;
        if by == 0 || by > self.txnid || value.len() < WORD || !value.len().is_multiple_of(WORD) || !fits {
            let len = value.len();
            self.found
                .problem(format_args!("free list: the record of transaction {by} has {count} pages, {len} bytes"));
        }
        let mut before = u64::MAX;
        for index in 0..count.min(room) {
            let number = usize::try_from(index + 1).ok().and_then(|at| word_at(value, at.checked_mul(WORD)?));
            let Some(number) = number else { return };
            if number >= before || number < META_PAGES || number >= self.end {
                self.found.problem(format_args!("free list: page {number} follows page {before}, of {}", self.end));
            } else {
                self.free(number);
            }
            before = number;
        }
    }

    fn free(&mut self, number: u64) {
        let page = usize::try_from(number).ok().and_then(|index| self.pages.get_mut(index));
        let before = match page {
            Some(page) => std::mem::replace(page, Page::Free),
            None if self.free_behind.insert(number) => Page::Unknown,
            None => Page::Free,
        };
        if before != Page::Unknown {
            let what = if before == Page::Used { "used" } else { "free twice" };
            self.found.problem(format_args!("free list: page {number} is {what}"));
        }
    }
}

/// The key of a record, for people.
struct Readable<'k>(&'k str, &'k [u8]);

impl fmt::Display for Readable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Readable(table, key) = self;
        match split_entry_key(key) {
            Ok((parent, name)) if *table != META_TABLE => {
                write!(f, "directory {parent}")?;
                if name.is_empty() { Ok(()) } else { write!(f, ", name {}", name.escape_ascii()) }
            }
            _ => write!(f, "record {}", key.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests;
