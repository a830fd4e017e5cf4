//! Damage is found, or makes no difference: shown by a map of every byte that makes none, and by searches as LMDB does
//! them.

use super::super::schema::{FORMAT, Published};
use super::super::symbols::{FileSymbols, SymbolsState};
use super::super::{Store, StoreReader};
use super::layout::*;
use super::*;
use crate::record::{Batch, DirRecord, FileMeta, FileRecord, Flags, Gone, ROOT, Removal};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::OnceLock;

type Records = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// A data file, what LMDB reads in it, and what is known of its bytes.
struct Sample {
    bytes: Vec<u8>,
    records: Records,
    places: Places,
}

impl Sample {
    fn of(fill: impl FnOnce(&Store)) -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write_format().unwrap();
        fill(&store);
        let records = records(&store);
        store.close();
        let bytes = std::fs::read(dir.path().join("data.mdb")).unwrap();
        let places = Places::of(&bytes);
        Sample { bytes, records, places }
    }

    /// Panics unless the change of a byte is seen, or makes no difference.
    fn assert_seen_or_harmless(&self, bytes: &[u8], at: usize) {
        let (found, records) = walked(bytes);
        // The format has no checksum: the engine refuses another one.
        // The seal knows whether a transaction is missing.
        if !found.is_sound() || found.format != Some(FORMAT) || found.unpublished.is_some() {
            assert_eq!(found.problems.is_empty(), found.is_sound());
            return;
        }
        let what = self.places.harmless[at];
        assert!(what.is_some(), "byte {at} (page {}, {}) was changed, and nobody noticed", at / 4096, at % 4096);
        assert!(records == self.records, "byte {at}, {what:?}: other records");
        let reader = Reader::new(bytes);
        for ((table, key), value) in &self.records {
            let found = reader.search_record(table, key);
            assert!(found == Some(value), "byte {at}, {what:?}: {table} {} is not found", key.escape_ascii());
        }
    }
}

/// A few megabytes.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| Sample::of(fill))
}

/// A few dozen pages, with everything in them but a deep tree.
fn small_sample() -> Sample {
    Sample::of(|store| {
        let dirs = (1..=5).map(|id| DirRecord { id, parent: ROOT, name: format!("dir{id}").into_bytes() }).collect();
        let files = (0..100).map(|n| file(n % 5, n, n + 1)).collect();
        publish(store, 1, Batch { dirs, files, removals: vec![] });
        store.write_rules(7, &vec![0xA5; 10_000]).unwrap();
        // The last ones of the first directory keep theirs.
        write_symbols(store, (0..100).step_by(5).map(|n| file(n % 5, n, n + 1)), 150);
        let gone = Removal { parent: ROOT, name: b"dir2".to_vec(), gone: Gone::Dir(2) };
        publish(store, 2, Batch { dirs: vec![], files: vec![file(0, 4, 333)], removals: vec![gone] });
    })
}

fn file(parent: u32, number: u32, id: u32) -> FileRecord {
    let meta = FileMeta {
        id,
        size: u64::from(id) * 7,
        mtime_ns: i64::from(id) << 30,
        ctime_ns: i64::from(id) << 31,
        inode: id.into(),
        flags: Flags::INDEXED,
        encoding: 0,
        language: 3,
        // With a hash, and without one.
        hash: id.is_multiple_of(3).then_some(u64::from(id) << 20),
    };
    // Names of all lengths, so that nodes are even and odd.
    let name = format!("file{number}{}", "x".repeat(number as usize % 23));
    FileRecord { parent, name: name.into_bytes(), meta, replaces: None }
}

fn write_symbols(store: &Store, files: impl Iterator<Item = FileRecord>, len: u32) {
    let symbols = |file: FileRecord| FileSymbols {
        parent: file.parent,
        name: file.name,
        id: file.meta.id,
        bytes: vec![file.meta.id as u8; (file.meta.id % 9 * len) as usize],
        filter: vec![1; 1 + (file.meta.id % 7 * len / 9) as usize],
    };
    let files: Vec<_> = files.map(symbols).collect();
    assert_eq!(
        store.write_symbols(&files, SymbolsState::default(), SymbolsState { version: 1, done_below: 9 }).unwrap(),
        Some(0)
    );
}

fn publish(store: &Store, generation: u64, batch: Batch) {
    let next = Published { generation, next_file: 100_000, next_dir: 1000, ..Published::default() };
    let batches = [batch];
    store.write_intent(&next, &batches, |_, _| false).unwrap();
    store.publish_intent(&next, &batches, &vec![b'm'; 200 + 700 * generation as usize], None).unwrap();
}

/// Many transactions of every kind: new files, changed ones, removed directories, values of many pages that grow and
/// shrink, a free list with a run of its own.
fn fill(store: &Store) {
    let dirs = (1..=40).map(|id| DirRecord { id, parent: ROOT, name: format!("dir{id}").into_bytes() }).collect();
    let files = (0..4000).map(|n| file(n % 41, n, n + 1)).collect();
    publish(store, 1, Batch { dirs, files, removals: vec![] });
    store.write_rules(7, &vec![0xA5; 1_300_000]).unwrap();
    write_symbols(store, (0..2000).map(|n| file(n % 41, n, n + 1)), 700);
    for generation in 2..12 {
        let generation32 = generation as u32;
        let files = (0..300).map(|n| file(n % 41, n * 13 + generation32, 10_000 * generation32 + n)).collect();
        let name = format!("dir{generation}").into_bytes();
        let gone = Removal { parent: ROOT, name, gone: Gone::Dir(generation32) };
        let removals = if generation % 2 == 0 { vec![gone] } else { vec![] };
        publish(store, generation, Batch { dirs: vec![], files, removals });
        if generation % 4 == 0 {
            store.write_rules(8, &vec![generation as u8; 250_000 + 1000 * generation as usize]).unwrap();
        }
    }
}

/// What LMDB reads.
fn records(store: &Store) -> Records {
    let txn = store.read().unwrap();
    let tables = store.tables();
    let mut records = Records::new();
    for (name, table) in
        [("meta", tables.meta), ("entries", tables.entries), ("dirs", tables.dirs), ("symbols", tables.symbols)]
    {
        for item in table.iter(&txn).unwrap() {
            let (key, value) = item.unwrap();
            records.insert((name.to_owned(), key.to_vec()), value.to_vec());
        }
    }
    records
}

fn walked(bytes: &[u8]) -> (PageCheck, Records) {
    let mut records = Records::new();
    let mut count = 0;
    let found = walk(Cursor::new(bytes), bytes.len() as u64, |table, key, value| {
        count += 1;
        records.insert((table.to_owned(), key.to_vec()), value.to_vec());
    });
    assert_eq!(count, found.records);
    assert!(!found.is_sound() || count == records.len() as u64, "a record is there twice, and that is sound");
    (found, records)
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(word_at(bytes, at).unwrap()).unwrap()
}

/// A data file that nothing is wrong with, as far as this test needs to read it.
struct Reader<'b> {
    bytes: &'b [u8],
    page_size: usize,
    newest: usize,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        let page_size = u32_at(bytes, PAGE_HEADER + 8 + 2 * WORD).unwrap() as usize;
        let txnid = |meta: usize| word(bytes, meta * page_size + META_BYTES - WORD);
        Reader { bytes, page_size, newest: usize::from(txnid(0) < txnid(1)) }
    }

    fn page(&self, number: usize) -> &'b [u8] {
        &self.bytes[number * self.page_size..][..self.page_size]
    }

    fn meta_tree(&self, index: usize) -> &'b [u8] {
        &self.page(self.newest)[PAGE_HEADER + 8 + 2 * WORD + index * TREE_BYTES..][..TREE_BYTES]
    }

    fn last_page(&self) -> usize {
        word(self.page(self.newest), META_BYTES - 2 * WORD)
    }

    fn count(page: &[u8]) -> usize {
        (usize::from(u16_at(page, WORD + 4).unwrap()) - PAGE_HEADER) / 2
    }

    /// Offset, key, and the place of the data of a node.
    fn node(page: &'b [u8], index: usize) -> (usize, &'b [u8], usize) {
        let at = usize::from(u16_at(page, PAGE_HEADER + 2 * index).unwrap());
        let len = usize::from(u16_at(page, at + 6).unwrap());
        (at, &page[at + 8..][..len], at + 8 + len)
    }

    fn child(page: &'b [u8], index: usize) -> usize {
        let (at, ..) = Self::node(page, index);
        u32_at(page, at).unwrap() as usize | usize::from(u16_at(page, at + 4).unwrap()) << 32
    }

    /// As LMDB searches: down the last child whose key is not above, and then an equal key.
    fn search(&self, tree: &[u8], key: &[u8]) -> Option<&'b [u8]> {
        let mut page = self.page(word(tree, 8 + 4 * WORD));
        while u16_at(page, WORD + 2) == Some(BRANCH) {
            let (mut low, mut high) = (1, Self::count(page));
            while low < high {
                let middle = low.midpoint(high);
                if Self::node(page, middle).1 <= key { low = middle + 1 } else { high = middle }
            }
            page = self.page(Self::child(page, low - 1));
        }
        let (mut low, mut high) = (0, Self::count(page));
        while low < high {
            let middle = low.midpoint(high);
            if Self::node(page, middle).1 < key { low = middle + 1 } else { high = middle }
        }
        if low == Self::count(page) {
            return None;
        }
        let (at, found, data) = Self::node(page, low);
        let len = u32_at(page, at).unwrap() as usize;
        let in_overflow = u16_at(page, at + 4).unwrap() & IN_OVERFLOW != 0;
        let data = if in_overflow {
            &self.bytes[word(page, data) * self.page_size + PAGE_HEADER..][..len]
        } else {
            &page[data..][..len]
        };
        (found == key).then_some(data)
    }

    fn search_record(&self, table: &str, key: &[u8]) -> Option<&'b [u8]> {
        self.search(self.search(self.meta_tree(1), table.as_bytes())?, key)
    }
}

/// What every byte of a data file is, if a change to it makes no difference.
struct Places {
    harmless: Vec<Option<&'static str>>,
    /// Pages of trees, those of few trees and branches first.
    nodes: Vec<usize>,
    /// How many of these are branches or belong to the main tree or the free list.
    rare: usize,
    /// First byte behind the pages in use.
    needed: usize,
}

impl Places {
    fn of(bytes: &[u8]) -> Places {
        let reader = Reader::new(bytes);
        let mut places = Places { harmless: vec![None; bytes.len()], nodes: vec![], rare: 0, needed: 0 };
        places.metas(&reader);
        let end = (reader.last_page() + 1) * reader.page_size;
        places.mark(end, bytes.len(), "behind the last page");
        let (mut rare, mut leaves) = (Vec::new(), Vec::new());
        places.tree(&reader, reader.meta_tree(0), "free", &mut rare, &mut leaves);
        rare.append(&mut leaves);
        places.tree(&reader, reader.meta_tree(1), "main", &mut rare, &mut leaves);
        rare.append(&mut leaves);
        for table in TABLES {
            let tree = reader.search(reader.meta_tree(1), table.as_bytes()).unwrap();
            places.tree(&reader, tree, table, &mut rare, &mut leaves);
        }
        places.rare = rare.len();
        places.nodes = [rare, leaves].concat();
        places
    }

    fn mark(&mut self, from: usize, to: usize, what: &'static str) {
        self.harmless[from..to].fill(Some(what));
    }

    fn metas(&mut self, reader: &Reader<'_>) {
        for meta in 0..2 {
            let at = meta * reader.page_size;
            let body = at + PAGE_HEADER;
            let trees = body + 8 + 2 * WORD;
            self.mark(at + WORD + 4, body, "bounds of a meta page");
            self.mark(body + 8 + WORD, trees, "size of the map");
            self.mark(at + META_BYTES, at + reader.page_size, "rest of a meta page");
            if meta != reader.newest {
                self.mark(body + 8, trees, "older meta page");
                self.mark(trees + 4, at + META_BYTES - WORD, "older meta page");
            }
        }
    }

    fn tree(&mut self, reader: &Reader<'_>, tree: &[u8], name: &str, rare: &mut Vec<usize>, leaves: &mut Vec<usize>) {
        let root = word(tree, 8 + 4 * WORD);
        let mut pages = if root == usize::MAX { vec![] } else { vec![root] };
        while let Some(number) = pages.pop() {
            let page = reader.page(number);
            let at = number * reader.page_size;
            self.needed = self.needed.max(at + reader.page_size);
            let header = Header::parse(page).unwrap();
            self.mark(at + header.lower, at + header.upper, "middle of a page");
            let leaf = header.flags == LEAF;
            if leaf {
                leaves.push(number)
            } else {
                rare.push(number)
            }
            for index in 0..Reader::count(page) {
                let (node, key, data) = Reader::node(page, index);
                let mut end = data;
                if leaf {
                    end += self.value(reader, name, at, page, index);
                } else {
                    pages.push(Reader::child(page, index));
                    // Another key, or length of it, may separate the pages as well.
                    self.mark(at + node + 6, at + node + 8 + key.len(), "key of a branch");
                }
                if end % 2 == 1 {
                    self.mark(at + end, at + end + 1, "padding of a node");
                }
            }
        }
    }

    /// Returns how many bytes of a node its data has.
    fn value(&mut self, reader: &Reader<'_>, name: &str, at: usize, page: &[u8], index: usize) -> usize {
        let (node, key, data) = Reader::node(page, index);
        let len = u32_at(page, node).unwrap() as usize;
        let in_overflow = u16_at(page, node + 4).unwrap() & IN_OVERFLOW != 0;
        let first = if in_overflow { word(page, data) * reader.page_size } else { 0 };
        let value = if in_overflow { first + PAGE_HEADER } else { at + data };
        if in_overflow {
            let end = first + u32_at(reader.bytes, first + WORD + 4).unwrap() as usize * reader.page_size;
            self.needed = self.needed.max(end);
            self.mark(value + len, end, "behind a value");
        }
        if name == "free" {
            self.mark(at + node + 8, at + node + 8 + key.len(), "transaction of freed pages");
            let count = word(reader.bytes, value);
            if count.is_power_of_two() || count == 0 {
                self.mark(value, value + WORD, "number of freed pages");
            }
            if count == 0 {
                self.mark(value + WORD, value + len, "room for freed pages");
            }
            for free in (1..=count).map(|index| word(reader.bytes, value + index * WORD)) {
                self.mark(free * reader.page_size, (free + 1) * reader.page_size, "free page");
            }
        }
        if in_overflow { WORD } else { len }
    }
}

/// What LMDB does when a write of a meta page fails: the page says again that it is of the transaction before the last,
/// and keeps the trees of the one that failed.
#[test]
fn a_transaction_that_could_not_be_published_is_no_damage_unless_it_was_published() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write_format().unwrap();
    store.write_format().unwrap();
    store.close();
    let path = dir.path().join("data.mdb");
    let mut bytes = std::fs::read(&path).unwrap();
    let newest = walked(&bytes).0.txnid;
    let at = [0, 4096].into_iter().map(|page| page + META_BYTES - WORD);
    let at = at.max_by_key(|at| word(&bytes, *at)).unwrap();
    assert_eq!(word(&bytes, at) as u64, newest);
    bytes[at..at + WORD].copy_from_slice(&(newest as usize - 2).to_ne_bytes());
    let (found, _) = walked(&bytes);
    assert_eq!((found.is_sound(), found.txnid, found.unpublished), (true, newest - 1, Some(newest)));

    std::fs::write(&path, &bytes).unwrap();
    // The seal says that it was published.
    let error = super::super::seal::check_data(dir.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("transaction {newest} was published")), "{error}");
    super::super::seal::seal_data(dir.path(), newest - 1);
    let found = super::super::seal::undisturbed_check(dir.path()).unwrap().unwrap();
    assert!(found.is_sound(), "{found:#?}");
}

#[test]
fn sound_files_are_sound() {
    let Sample { bytes, records, places } = sample();
    let (found, salvaged) = walked(bytes);
    assert!(found.is_sound(), "{found:#?}");
    assert_eq!(found.lost, 0);
    assert_eq!(found.format, Some(FORMAT));
    assert_eq!(salvaged.len(), records.len());
    assert!(salvaged == *records, "salvaged is not what LMDB reads");
    let reader = Reader::new(bytes);
    for ((table, key), value) in records {
        assert!(reader.search_record(table, key) == Some(value));
    }
    // The sample has what is to be tested.
    let kinds: BTreeSet<_> = places.harmless.iter().flatten().copied().collect();
    let expected = ["free page", "behind a value", "key of a branch", "padding of a node", "older meta page"];
    assert!(expected.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert!(places.rare >= 5 && places.nodes.len() > 50, "{} {}", places.rare, places.nodes.len());
}

#[test]
fn new_environments_and_every_transaction_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.mdb");
    let store = Store::open(dir.path()).unwrap();
    let mut before = check(&path).unwrap();
    assert!(before.is_sound() && before.records == 0 && before.format.is_none(), "{before:#?}");
    let mut random = 5u32;
    for generation in 1..60u64 {
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 8
        };
        let files = (0..next() % 400).map(|_| file(next() % 4, next() % 3000, next())).collect();
        publish(&store, generation, Batch { files, ..Batch::default() });
        store.write_rules(1, &vec![1; next() as usize % 3_000_000]).unwrap();
        if generation % 17 == 0 {
            store.forget_files().unwrap();
        }
        let after = check(&path).unwrap();
        assert!(after.is_sound() && after.lost == 0, "{after:#?}");
        assert!(after.txnid > before.txnid);
        before = after;
    }
    assert_eq!(records(&store).len() as u64, before.records);
    drop(StoreReader::begin(&store).unwrap());
}

#[test]
fn old_readers_keep_pages_and_that_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store);
    for generation in 20..30 {
        let reader = StoreReader::begin(&store).unwrap();
        for n in 0..5 {
            let files = (0..200).map(|n| file(n % 41, n, 1_000_000 + n)).collect();
            publish(&store, generation * 10 + n, Batch { files, ..Batch::default() });
            let found = check(&dir.path().join("data.mdb")).unwrap();
            assert!(found.is_sound() && found.lost == 0, "{found:#?}");
        }
        drop(reader);
    }
}

fn flip_bits_of_a_small_file(chosen: impl Fn(usize, u8, bool) -> bool) {
    let sample = small_sample();
    let mut bytes = sample.bytes.clone();
    for at in 0..bytes.len() {
        let means_something = sample.places.harmless[at].is_none();
        for bit in (0..8).filter(|bit| chosen(at, *bit, means_something)) {
            bytes[at] ^= 1 << bit;
            sample.assert_seen_or_harmless(&bytes, at);
            bytes[at] ^= 1 << bit;
        }
    }
}

/// One bit of every byte that means something, and of some others.
#[test]
fn flipped_bits_of_a_small_file_are_seen_or_harmless() {
    flip_bits_of_a_small_file(|at, bit, means_something| {
        usize::from(bit) == at * 5 % 8 && (means_something || at % 31 == 0)
    });
}

#[test]
#[ignore = "takes a minute: every single bit"]
fn all_flipped_bits_of_a_small_file_are_seen_or_harmless() {
    flip_bits_of_a_small_file(|_, _, _| true);
}

#[test]
fn a_writer_is_told_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store);
    let path = dir.path().join("data.mdb");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for generation in 100..160 {
                let files = (0..300).map(|n| file(n % 41, n * 13, 10_000 + n)).collect();
                publish(&store, generation, Batch { files, ..Batch::default() });
                store.write_rules(9, &vec![generation as u8; 400_000]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut before = check(&path).unwrap();
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let after = check(&path).unwrap();
            assert!(before.is_sound() || before.txnid != after.txnid, "{before:#?}");
            before = after;
        }
    });
    assert!(check(&path).unwrap().is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn one_flipped_bit_is_seen_or_harmless(kind in 0..8u8, page: u32, offset: u32, bit in 0..8u8) {
        let Sample { bytes, places, .. } = sample();
        let (page, offset) = (page as usize, offset as usize);
        let size = Reader::new(bytes).page_size;
        let at = match kind {
            0 => (page % 2) * size + offset % META_BYTES,
            1 => places.nodes[page % places.rare] * size + offset % 64,
            2 | 3 => places.nodes[page % places.rare] * size + offset % size,
            4 => places.nodes[page % places.nodes.len()] * size + offset % 64,
            5 | 6 => places.nodes[page % places.nodes.len()] * size + offset % size,
            _ => (page % (bytes.len() / size)) * size + offset % size,
        };
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << bit;
        sample().assert_seen_or_harmless(&bytes, at);
    }

    #[test]
    fn a_file_that_is_cut_is_seen(cut: u32, to_page: bool) {
        let Sample { bytes, records, places } = sample();
        let size = Reader::new(bytes).page_size;
        let len = cut as usize % bytes.len();
        let len = if to_page { len / size * size } else { len };
        let (found, salvaged) = walked(&bytes[..len]);
        prop_assert_eq!(found.is_sound(), len >= places.needed, "{} of {}: {:?}", len, bytes.len(), found);
        prop_assert!(salvaged.iter().all(|(key, value)| records.get(key) == Some(value)));
    }

    /// Whole pages of anything: no panic, no endless walk.
    #[test]
    fn garbage_is_survived(seed: u64, pages in 1..8usize, whole: bool) {
        let mut bytes = if whole { vec![0; 20 * 4096] } else { sample().bytes.clone() };
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for _ in 0..pages {
            let (from, to) = (next() % (bytes.len() / 4096) * 4096, next() % (bytes.len() / 4096) * 4096);
            match next() % 3 {
                0 => bytes.copy_within(from..from + 4096, to),
                1 => bytes[to..to + 4096].fill(next() as u8),
                // Beginnings are more telling than what follows.
                _ => (0..next() % 4096).for_each(|offset| bytes[to + offset] = next() as u8),
            }
        }
        let (found, _) = walked(&bytes);
        prop_assert!(!whole || !found.is_sound());
    }

    /// A file of the right form whose every number may be wrong.
    #[test]
    fn many_flipped_bits_are_survived(flips in proptest::collection::vec((0..100usize, 0..96usize, 0..8u8), 1..40)) {
        let Sample { bytes, places, .. } = sample();
        let mut bytes = bytes.clone();
        for (page, offset, bit) in flips {
            bytes[places.nodes[page % places.nodes.len()] * 4096 + offset] ^= 1 << bit;
        }
        walked(&bytes);
    }
}

#[test]
fn files_that_are_not_lmdb_are_problems() {
    for bytes in [&b""[..], b"x", &[0; 5000], &[0xFF; 100_000]] {
        let (found, records) = walked(bytes);
        assert!(!found.is_sound() && records.is_empty());
    }
    assert!(check(Path::new("/nonexistent/data.mdb")).is_err());
}

#[test]
fn a_checksum_is_reported_with_its_key() {
    let Sample { bytes, records, places } = sample();
    let ((_, key), value) = records.iter().find(|((table, _), _)| table == "entries").unwrap();
    let record = [&key[..], value].concat();
    // Older versions of it are in free pages.
    let mut copies = bytes.windows(record.len()).enumerate().filter(|(_, window)| *window == record);
    let place = copies.find(|(at, _)| places.harmless[*at].is_none()).unwrap().0;
    let mut bytes = bytes.clone();
    bytes[place + key.len() + 2] ^= 1;
    let (found, salvaged) = walked(&bytes);
    let name = key[4..].escape_ascii();
    assert_eq!(found.problems, [format!("entries: directory 0, name {name}: checksum does not match")]);
    assert_eq!(salvaged.len(), records.len());
}
