//! Gathers vectors and writes them: a part at a time, and then how far that has come.
//!
//! A part is a file that is never changed. It is durable before the metadata name it; what they do not name is deleted
//! afterwards. New parts are small when little has changed, so parts of similar size are merged, which keeps their number at
//! the logarithm of that of the rows. Rows of versions that have ended stay for a while: the same chunks may come back with
//! the next branch, and are not embedded again.

use crate::embed::{
    Owner, PART_EXTENSION, Quantised, Row, SEGMENT_ROWS_MAX, SegmentRows, VectorSegment, part_name, part_names,
    part_path,
};
use crate::error::StoreError;
use crate::failpoint;
use crate::record::FileId;
use crate::store::schema::{Published, VectorsPart, VectorsState};
use crate::store::{Store, StoreReader, seal};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bits that say which hashes may be wanted: a round has some thousands, so one in ten of the others is looked up in vain.
const FILTER_BITS: usize = 1 << 16;
/// Rows of versions that have ended may be as many as the others, and this many more.
const DEAD_ROWS_SPARED: usize = SEGMENT_ROWS_MAX;

/// How far embedding has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Every file whose id is smaller was dealt with,
    pub(crate) done_below: FileId,
    /// but for these.
    pub(crate) again: Vec<FileId>,
}

/// Writes vectors. Only the holder of the writer's lock may publish.
#[derive(Debug)]
pub(crate) struct VectorWriter {
    dir: PathBuf,
    /// As it was last read or written, and what is to be written next.
    known: VectorsState,
    state: VectorsState,
    parts: Vec<VectorSegment>,
    /// Whether all parts that are named could be opened.
    is_whole: bool,
    rows: SegmentRows,
}

impl VectorWriter {
    /// Goes on from `known`, with vectors of this model. Parts of another model, of an index that is not there any more, or
    /// that cannot be read or are damaged are left out; then everything is to be dealt with again.
    pub(crate) fn open(
        dir: &Path,
        store: &Store,
        known: VectorsState,
        published: &Published,
        (model, chosen): (u128, bool),
        dims: usize,
    ) -> VectorWriter {
        let same = known.model == model && known.dims as usize == dims;
        let mut state = if same && known.is_of(published.generation, published.next_file) {
            known.clone()
        } else {
            VectorsState { model, chosen, dims: dims as u32, next_part: known.next_part, ..VectorsState::default() }
        };
        // What lies there unnamed may still be mapped by somebody.
        state.next_part = state.next_part.max(first_free(dir));
        let mut parts = Vec::new();
        let all = state.parts.len();
        // Vectors are taken from them, under a new checksum.
        let files = part_names(state.parts.iter().map(|part| part.number));
        let unsealed = seal::unsealed_files(store.dir(), seal::Files::Vectors, dir, &files);
        state.parts.retain(|part| {
            let check = unsealed.contains(&part_name(part.number));
            match VectorSegment::open_part(dir, (part.number, part.rows), model, dims as u32, check) {
                Ok(segment) => {
                    parts.push(segment);
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, "what it held is embedded again");
                    false
                }
            }
        });
        let is_whole = parts.len() == all;
        if is_whole && !unsealed.is_empty() {
            seal::seal_files(store.dir(), seal::Files::Vectors, dir, &files, &unsealed);
        }
        if !is_whole {
            (state.done_below, state.again) = (0, Vec::new());
        }
        VectorWriter { is_whole, dir: dir.to_path_buf(), known, state, parts, rows: SegmentRows::new(dims) }
    }

    /// Whether all parts that are named could be opened.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How far it has come.
    pub(crate) fn state(&self) -> &VectorsState {
        &self.state
    }

    /// Looks for the vectors of chunks that were embedded already, under the hashes of their content.
    pub(crate) fn find(&self, wanted: &mut HashMap<u64, Option<Quantised>>) {
        let mut missing = wanted.len();
        // Most rows are not wanted: one bit says so for nearly all of them, without a look at the table.
        let mut maybe = vec![0u64; FILTER_BITS / 64];
        let bit = |hash: u64| (hash as usize % FILTER_BITS / 64, 1 << (hash % 64));
        wanted.keys().map(|hash| bit(*hash)).for_each(|(word, bit)| maybe[word] |= bit);
        let mut take = |hashes: &mut dyn Iterator<Item = u64>, vector: &dyn Fn(usize) -> Quantised| {
            for (row, hash) in hashes.enumerate() {
                if missing == 0 {
                    return;
                }
                let (word, bit) = bit(hash);
                if maybe[word] & bit == 0 {
                    continue;
                }
                if let Some(found @ None) = wanted.get_mut(&hash) {
                    *found = Some(vector(row));
                    missing -= 1;
                }
            }
        };
        take(&mut self.rows.hashes(), &|row| self.rows.vector(row).to_quantised());
        for part in self.parts.iter().rev() {
            take(&mut part.hashes(), &|row| part.vector(row).to_quantised());
        }
    }

    /// Adds the vector of a chunk.
    pub(crate) fn add(&mut self, owner: Owner, hash: u64, vector: Row<'_>) {
        self.rows.push(owner, hash, vector);
    }

    /// Whether there is no room for `more` chunks.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.rows.len() + more > SEGMENT_ROWS_MAX
    }

    /// Publishes what was added, and how far this has come. `lives` says whether the version of a file is published. Returns
    /// false, and changes nothing, if another process has embedded meanwhile or the index was made anew.
    pub(crate) fn publish(
        &mut self,
        store: &Store,
        published: &Published,
        progress: &Progress,
        lives: &dyn Fn(FileId) -> bool,
    ) -> Result<bool, StoreError> {
        // Before any file is written: numbers of parts are only this one's to give if nobody else has.
        if StoreReader::begin(store)?.vectors_state()? != self.known {
            return Ok(false);
        }
        fs::create_dir_all(&self.dir)?;
        let Progress { done_below, again } = progress.clone();
        self.state.generation = published.generation;
        self.state.next_file = published.next_file;
        (self.state.done_below, self.state.again) = (done_below, again);
        for (part, segment) in self.state.parts.iter_mut().zip(&self.parts) {
            part.live = live_rows(segment, lives);
        }
        if !self.rows.is_empty() {
            let dims = self.state.dims as usize;
            let rows = std::mem::replace(&mut self.rows, SegmentRows::new(dims));
            self.write(&rows, lives)?;
        }
        // One at a time: whoever wants to write waits for this.
        if let Some(merge) = self.to_merge() {
            self.merge(merge, lives)?;
            failpoint::reached("after-vectors-merge");
        }
        File::open(&self.dir)?.sync_all()?;
        failpoint::reached("before-vectors-named");
        if !store.write_vectors(&self.known, &self.state)? {
            return Ok(false);
        }
        failpoint::reached("after-vectors-named");
        self.known = self.state.clone();
        let files = part_names(self.state.parts.iter().map(|part| part.number));
        seal::seal_files(store.dir(), seal::Files::Vectors, &self.dir, &files, &[]);
        self.forget_old_files();
        failpoint::reached("after-old-vectors-deleted");
        Ok(true)
    }

    /// Writes rows as a part.
    fn write(&mut self, rows: &SegmentRows, lives: &dyn Fn(FileId) -> bool) -> Result<(), StoreError> {
        failpoint::reached("before-vectors-part");
        let number = self.state.next_part;
        let path = part_path(&self.dir, number);
        let mut file = File::create_new(&path)?;
        file.write_all(&rows.to_bytes(self.state.model)?)?;
        file.sync_all()?;
        failpoint::reached("after-vectors-part");
        let segment = VectorSegment::open(&path, self.state.model, self.state.dims as usize)?;
        let too_many = || io::Error::other("there are too many parts of vectors");
        self.state.next_part = number.checked_add(1).ok_or_else(too_many)?;
        let part = VectorsPart { number, rows: rows.len() as u32, live: live_rows(&segment, lives) };
        self.state.parts.push(part);
        self.parts.push(segment);
        Ok(())
    }

    fn has_too_many_dead(&self) -> bool {
        let (rows, live) = self
            .state
            .parts
            .iter()
            .fold((0, 0), |(rows, live), part| (rows + part.rows as usize, live + part.live as usize));
        rows - live > live + DEAD_ROWS_SPARED
    }

    /// What is to become one part, if anything.
    fn to_merge(&self) -> Option<Merge> {
        let parts = &self.state.parts;
        if self.has_too_many_dead() {
            let dead = |part: &VectorsPart| part.rows - part.live;
            return (0..parts.len()).max_by_key(|at| dead(&parts[*at])).map(Merge::Alone);
        }
        // The newest ones, as long as what comes before is not twice as large: so each is at least that, and few are left.
        let (mut first, mut rows) = (parts.len(), 0);
        while let Some(before) = first.checked_sub(1) {
            let more = parts[before].rows as usize;
            if first < parts.len() && (more >= 2 * rows || more + rows > SEGMENT_ROWS_MAX) {
                break;
            }
            (first, rows) = (before, rows + more);
        }
        (parts.len() - first > 1).then_some(Merge::From(first))
    }

    fn merge(&mut self, merge: Merge, lives: &dyn Fn(FileId) -> bool) -> Result<(), StoreError> {
        let (range, keep_dead) = match merge {
            Merge::Alone(at) => (at..at + 1, false),
            Merge::From(first) => (first..self.parts.len(), true),
        };
        // What is damaged must not get a new checksum: it stays as it is, for `verify` to find.
        if !self.parts[range.clone()].iter().all(VectorSegment::check) {
            tracing::warn!("vectors are damaged: run `leindex-engine verify --repair`");
            return Ok(());
        }
        let mut rows = SegmentRows::new(self.state.dims as usize);
        for part in &self.parts[range.clone()] {
            for (row, (owner, hash)) in part.owners().zip(part.hashes()).enumerate() {
                if keep_dead || lives(owner.file) {
                    rows.push(owner, hash, part.vector(row));
                }
            }
        }
        self.parts.drain(range.clone());
        self.state.parts.drain(range);
        if rows.is_empty() { Ok(()) } else { self.write(&rows, lives) }
    }

    /// Deletes parts that nothing names. What cannot be deleted is tried again by the next publication.
    fn forget_old_files(&self) {
        let named: HashSet<PathBuf> = self.state.parts.iter().map(|part| part_path(&self.dir, part.number)).collect();
        for path in part_files(&self.dir).unwrap_or_default().into_iter().filter(|path| !named.contains(path)) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "an old part stays");
            }
        }
    }
}

/// Deletes parts in which anything is damaged. The caller holds the writer's lock.
pub(crate) fn drop_damaged(dir: &Path) -> Result<(), StoreError> {
    for path in part_files(dir)?.into_iter().filter(|path| !VectorSegment::is_sound(path)) {
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// The files of parts in the directory, named or not; none when it is not there.
fn part_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == PART_EXTENSION)).collect())
}

/// The first number above those of all parts in the directory.
fn first_free(dir: &Path) -> u32 {
    let number = |path: PathBuf| path.file_stem()?.to_str()?.parse::<u32>().ok();
    let numbers = part_files(dir).unwrap_or_default().into_iter().filter_map(number);
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

/// What becomes one part.
#[derive(Clone, Copy)]
enum Merge {
    /// One that loses its dead rows.
    Alone(usize),
    /// This one and all that are newer.
    From(usize),
}

fn live_rows(segment: &VectorSegment, lives: &dyn Fn(FileId) -> bool) -> u32 {
    segment.owners().filter(|owner| lives(owner.file)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};
    use tempfile::TempDir;

    const MODEL: u128 = 5;
    const DIMS: usize = 8;

    struct Place {
        dir: TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("meta")).unwrap();
            Place { dir, store }
        }

        fn vectors(&self) -> PathBuf {
            self.dir.path().join("vectors")
        }

        fn writer(&self) -> VectorWriter {
            let known = StoreReader::begin(&self.store).unwrap().vectors_state().unwrap();
            VectorWriter::open(&self.vectors(), &self.store, known, &published(), (MODEL, false), DIMS)
        }

        fn publish(&self, writer: &mut VectorWriter, done_below: FileId, lives: &dyn Fn(FileId) -> bool) -> bool {
            let progress = Progress { done_below, again: Vec::new() };
            writer.publish(&self.store, &published(), &progress, lives).unwrap()
        }

        fn files(&self) -> usize {
            fs::read_dir(self.vectors()).unwrap().count()
        }
    }

    fn published() -> Published {
        Published { generation: 1, next_file: 1 << 30, ..Published::default() }
    }

    fn vector(number: i8) -> Quantised {
        Quantised::new(&[f32::from(number); DIMS])
    }

    fn add(writer: &mut VectorWriter, file: FileId, rows: u64) {
        for row in 0..rows {
            let owner = Owner { file, dir: 0, line: row as u32, lines: 1, language: 0 };
            writer.add(owner, u64::from(file) << 32 | row, vector(row as i8).row());
        }
    }

    fn rows(writer: &VectorWriter) -> Vec<u32> {
        writer.state().parts.iter().map(|part| part.rows).collect()
    }

    #[test]
    fn parts_are_merged_and_each_is_twice_the_next() {
        let place = Place::new();
        let mut writer = place.writer();
        for file in 0..100 {
            add(&mut writer, file, 3);
            assert!(place.publish(&mut writer, file + 1, &|_| true));
            let sizes = rows(&writer);
            assert!(sizes.windows(2).all(|pair| pair[0] >= 2 * pair[1]), "{sizes:?}");
            assert_eq!((sizes.iter().sum::<u32>(), place.files()), (3 * (file + 1), sizes.len()));
        }
        let again = place.writer();
        assert!(again.is_whole() && again.state().is_done(99) && !again.state().is_done(100));
        let mut wanted = HashMap::from([(7 << 32 | 2, None), (200 << 32, None)]);
        again.find(&mut wanted);
        assert_eq!(wanted[&(7 << 32 | 2)], Some(vector(2)));
        assert_eq!(wanted[&(200 << 32)], None);
    }

    #[test]
    fn rows_of_the_dead_stay_until_they_are_too_many() {
        let place = Place::new();
        let mut writer = place.writer();
        for file in 0..3 {
            add(&mut writer, file, 50_000);
            assert!(place.publish(&mut writer, file + 1, &|_| true));
        }
        assert!(place.publish(&mut writer, 3, &|id| id == 2), "100,000 dead, 50,000 living");
        assert_eq!(rows(&writer), [50_000; 3]);
        add(&mut writer, 3, 20_000);
        assert!(place.publish(&mut writer, 4, &|id| id == 3), "150,000 dead, 20,000 living");
        assert_eq!(rows(&writer).iter().sum::<u32>(), 120_000, "one part a publication");
        assert!(place.publish(&mut writer, 4, &|id| id == 3));
        assert_eq!(rows(&writer).iter().sum::<u32>(), 70_000, "50,000 dead are spared");
    }

    #[test]
    fn of_two_who_embed_the_second_changes_nothing() {
        let place = Place::new();
        let (mut one, mut two) = (place.writer(), place.writer());
        add(&mut one, 1, 5);
        add(&mut two, 2, 9);
        assert!(place.publish(&mut one, 2, &|_| true));
        let part = part_path(&place.vectors(), 0);
        let before = fs::read(&part).unwrap();
        assert!(!place.publish(&mut two, 3, &|_| true));
        assert_eq!((fs::read(&part).unwrap(), place.files()), (before, 1));
    }

    #[test]
    fn no_number_is_used_twice_while_a_file_has_it() {
        let place = Place::new();
        let mut writer = place.writer();
        add(&mut writer, 1, 5);
        assert!(place.publish(&mut writer, 2, &|_| true));
        place.store.forget_vectors().unwrap();
        let before = fs::read(part_path(&place.vectors(), 0)).unwrap();
        let mapped = VectorSegment::open_part(&place.vectors(), (0, 5), MODEL, DIMS as u32, true).unwrap();
        let mut writer = place.writer();
        assert!(!writer.state().is_done(1));
        add(&mut writer, 1, 7);
        assert!(place.publish(&mut writer, 2, &|_| true));
        assert_eq!((writer.state().parts[0].number, place.files()), (1, 1), "the old one is deleted, not written over");
        assert!(mapped.check() && before.len() > 64);
    }

    #[test]
    fn a_part_that_is_lost_makes_everything_pending_and_the_rest_is_reused() {
        let place = Place::new();
        let mut writer = place.writer();
        for (file, count) in [(1, 9), (2, 2)] {
            add(&mut writer, file, count);
            assert!(place.publish(&mut writer, file + 1, &|_| true));
        }
        assert_eq!(rows(&writer), [9, 2]);
        fs::remove_file(part_path(&place.vectors(), writer.state().parts[1].number)).unwrap();
        let writer = place.writer();
        assert!(!writer.is_whole() && !writer.state().is_done(1));
        let mut wanted = HashMap::from([(1 << 32 | 8, None)]);
        writer.find(&mut wanted);
        assert!(wanted[&(1 << 32 | 8)].is_some());
    }

    #[test]
    fn damage_does_not_get_a_new_checksum() {
        let place = Place::new();
        let mut writer = place.writer();
        add(&mut writer, 1, 5);
        assert!(place.publish(&mut writer, 2, &|_| true));
        let part = part_path(&place.vectors(), 0);
        // In its place, for it is mapped; and not within the tick of the clock in which it was written.
        let flip = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let last = *fs::read(&part).unwrap().last().unwrap();
            let mut file = File::options().write(true).open(&part).unwrap();
            file.seek(SeekFrom::End(-1)).unwrap();
            file.write_all(&[last ^ 1]).unwrap();
        };
        let mut mapped = place.writer();
        flip();
        add(&mut mapped, 2, 5);
        assert!(place.publish(&mut mapped, 3, &|_| true));
        assert_eq!(rows(&mapped), [5, 5], "they are not merged");
        flip();
        assert!(place.writer().is_whole());
        flip();
        let writer = place.writer();
        assert!(!writer.is_whole() && rows(&writer) == [5], "it is noticed when it is opened");
        drop_damaged(&place.vectors()).unwrap();
        assert_eq!(place.files(), 1);
    }
}
