//! Files of vectors: quantised, written once, mapped for searching.
//!
//! A row is a chunk: whose it is, its content hash and its vector. docs/format.md has the bytes.

use super::map::MappedFile;
use super::quantise::{Row, rest_bytes, sign_words, signs};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"LEIVEC02";
const HEADER_BYTES: usize = 64;
/// Sections begin at multiples of this: rows of numbers lie on whole cache lines.
const ALIGN: usize = 64;
const OWNER_BYTES: usize = 16;
/// What the names of these files end in.
pub(crate) const PART_EXTENSION: &str = "vec";
/// Rows of a segment at most: with 256 numbers a row these are 18 MB, which a writer holds in memory.
pub(crate) const SEGMENT_ROWS_MAX: usize = 1 << 16;

/// Whose a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The version of the file, and its directory.
    pub(crate) file: u32,
    pub(crate) dir: u32,
    /// Its first line, from 0, and how many there are.
    pub(crate) line: u32,
    pub(crate) lines: u16,
    /// The code of the file's language.
    pub(crate) language: u16,
}

impl Owner {
    fn to_bytes(self) -> [u8; OWNER_BYTES] {
        let mut bytes = [0; OWNER_BYTES];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.dir.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.line.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.lines.to_le_bytes());
        bytes[14..].copy_from_slice(&self.language.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; OWNER_BYTES]) -> Owner {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Owner {
            file: u32::from_le_bytes([a, b, c, d]),
            dir: u32::from_le_bytes([e, f, g, h]),
            line: u32::from_le_bytes([i, j, k, l]),
            lines: u16::from_le_bytes([m, n]),
            language: u16::from_le_bytes([o, p]),
        }
    }
}

/// Where the sections of a segment lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sections {
    owners: usize,
    hashes: usize,
    scales: usize,
    signs: usize,
    levels: usize,
    rests: usize,
    end: usize,
}

impl Sections {
    fn new(rows: usize, dims: usize) -> Option<Sections> {
        let after =
            |start: usize, bytes: usize| start.checked_add(rows.checked_mul(bytes)?)?.checked_next_multiple_of(ALIGN);
        let owners = HEADER_BYTES;
        let hashes = after(owners, OWNER_BYTES)?;
        let scales = after(hashes, size_of::<u64>())?;
        let signs = after(scales, size_of::<f32>())?;
        let levels = after(signs, sign_words(dims) * size_of::<u64>())?;
        let rests = after(levels, dims)?;
        let end = rests.checked_add(rows.checked_mul(rest_bytes(dims))?)?;
        Some(Sections { owners, hashes, scales, signs, levels, rests, end })
    }

    fn ranges(self) -> [std::ops::Range<usize>; 6] {
        let Sections { owners, hashes, scales, signs, levels, rests, end } = self;
        [owners..hashes, hashes..scales, scales..signs, signs..levels, levels..rests, rests..end]
    }
}

/// Rows that become a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentRows {
    dims: usize,
    owners: Vec<Owner>,
    hashes: Vec<u64>,
    scales: Vec<f32>,
    levels: Vec<i8>,
    rests: Vec<u8>,
}

impl SegmentRows {
    /// No rows, of vectors of `dims` numbers.
    pub(crate) fn new(dims: usize) -> SegmentRows {
        SegmentRows { dims, ..SegmentRows::default() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, owner: Owner, hash: u64, vector: Row<'_>) {
        debug_assert_eq!(vector.levels.len(), self.dims);
        self.owners.push(owner);
        self.hashes.push(hash);
        self.scales.push(vector.scale);
        self.levels.extend_from_slice(vector.levels);
        self.rests.extend_from_slice(vector.rests);
    }

    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// The content hashes of all rows.
    pub(crate) fn hashes(&self) -> impl ExactSizeIterator<Item = u64> {
        self.hashes.iter().copied()
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, row: usize) -> Row<'_> {
        let bytes = rest_bytes(self.dims);
        Row {
            scale: self.scales[row],
            levels: &self.levels[row * self.dims..][..self.dims],
            rests: &self.rests[row * bytes..][..bytes],
        }
    }

    /// The bytes of the segment.
    pub(crate) fn to_bytes(&self, model: u128) -> io::Result<Vec<u8>> {
        let too_large = || io::Error::other("too many vectors for one segment");
        let (rows, dims) = (self.len(), self.dims);
        let sections = Sections::new(rows, dims).ok_or_else(too_large)?;
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.reserve_exact(sections.end - HEADER_BYTES);
        self.owners.iter().for_each(|owner| bytes.extend_from_slice(&owner.to_bytes()));
        bytes.resize(sections.hashes, 0);
        self.hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
        bytes.resize(sections.scales, 0);
        self.scales.iter().for_each(|scale| bytes.extend_from_slice(&scale.to_le_bytes()));
        bytes.resize(sections.signs, 0);
        self.levels
            .chunks_exact(dims.max(1))
            .flat_map(signs)
            .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.resize(sections.levels, 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&self.levels));
        bytes.resize(sections.rests, 0);
        bytes.extend_from_slice(&self.rests);
        let number = |number: usize| u32::try_from(number).map(u32::to_le_bytes).map_err(|_| too_large());
        let mut head = [&MAGIC[..], &model.to_le_bytes(), &number(dims)?, &number(rows)?].concat();
        for range in sections.ranges() {
            head.extend_from_slice(&crc32fast::hash(&bytes[range]).to_le_bytes());
        }
        head.resize(HEADER_BYTES - 4, 0);
        head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
        bytes[..HEADER_BYTES].copy_from_slice(&head);
        Ok(bytes)
    }
}

/// A segment that is mapped.
#[derive(Debug)]
pub(crate) struct VectorSegment {
    map: MappedFile,
    rows: usize,
    dims: usize,
    sections: Sections,
}

/// The name of the file of a part.
pub(crate) fn part_name(number: u32) -> String {
    format!("{number:08}.{PART_EXTENSION}")
}

/// The names of the files of these parts.
pub(crate) fn part_names(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(part_name).collect()
}

/// The file of a part in the directory `dir`.
pub(crate) fn part_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(part_name(number))
}

impl VectorSegment {
    /// Opens the part with this number in the directory `dir`, which has `rows` rows. With `check` every byte of it is
    /// looked at.
    ///
    /// # Errors
    /// As [`open`](VectorSegment::open), and when a check finds damage, with the path.
    pub(crate) fn open_part(
        dir: &Path,
        (number, rows): (u32, u32),
        model: u128,
        dims: u32,
        check: bool,
    ) -> io::Result<VectorSegment> {
        let path = part_path(dir, number);
        let with_path = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let segment = VectorSegment::open(&path, model, dims as usize).map_err(with_path)?;
        if segment.rows != rows as usize {
            return Err(with_path(io::Error::other("it has another number of rows")));
        }
        if check && !segment.check() {
            return Err(with_path(io::Error::other("vectors are damaged: a checksum does not match")));
        }
        Ok(segment)
    }

    /// Opens a file that holds vectors of this model, of `dims` numbers each.
    ///
    /// # Errors
    /// When it cannot be read, is cut short, or is of something else. The content is not checked: see
    /// [`check`](VectorSegment::check).
    pub(crate) fn open(path: &Path, model: u128, dims: usize) -> io::Result<VectorSegment> {
        let map = MappedFile::open(path)?;
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let header = map.first_chunk::<HEADER_BYTES>().ok_or_else(|| damaged("cut short"))?;
        let number = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if header.starts_with(&MAGIC[..6]) && !header.starts_with(MAGIC) {
            return Err(damaged("it is of another version of this program"));
        }
        if !header.starts_with(MAGIC) || number(HEADER_BYTES - 4) != crc32fast::hash(&header[..HEADER_BYTES - 4]) {
            return Err(damaged("no segment of vectors, or its header is damaged"));
        }
        if header[8..24] != model.to_le_bytes() || number(24) as usize != dims {
            return Err(damaged("it is of another model"));
        }
        let rows = number(28) as usize;
        let sections = Sections::new(rows, dims).filter(|sections| sections.end == map.len());
        let sections = sections.ok_or_else(|| damaged("cut short"))?;
        Ok(VectorSegment { rows, dims, sections, map })
    }

    /// Whether there is a segment in the file, of any model, and all of it is what was written.
    pub(crate) fn is_sound(path: &Path) -> bool {
        let header = |map: &MappedFile| -> Option<(u128, usize)> {
            let model = u128::from_le_bytes(*map.get(8..)?.first_chunk()?);
            let dims = u32::from_le_bytes(*map.get(24..)?.first_chunk()?);
            Some((model, dims as usize))
        };
        let of = MappedFile::open(path).ok().as_ref().and_then(header);
        of.and_then(|(model, dims)| VectorSegment::open(path, model, dims).ok()).is_some_and(|segment| segment.check())
    }

    /// Whether the content is what was written.
    pub(crate) fn check(&self) -> bool {
        let stored = self.map[32..].as_chunks::<4>().0;
        let mut sections = self.sections.ranges().into_iter().zip(stored);
        sections.all(|(range, crc)| crc32fast::hash(&self.map[range]) == u32::from_le_bytes(*crc))
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whose the rows are.
    pub(crate) fn owners(&self) -> impl ExactSizeIterator<Item = Owner> {
        let (owners, _) = self.map[self.sections.owners..].as_chunks::<OWNER_BYTES>();
        owners[..self.rows].iter().map(Owner::from_bytes)
    }

    /// Whose a row is.
    pub(crate) fn owner(&self, row: usize) -> Owner {
        let (owners, _) = self.map[self.sections.owners..].as_chunks::<OWNER_BYTES>();
        Owner::from_bytes(&owners[row])
    }

    /// The content hashes of all rows.
    pub(crate) fn hashes(&self) -> impl ExactSizeIterator<Item = u64> {
        let (hashes, _) = self.map[self.sections.hashes..].as_chunks::<8>();
        hashes[..self.rows].iter().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The scales of these rows.
    pub(crate) fn scales(&self, rows: std::ops::Range<usize>) -> impl ExactSizeIterator<Item = f32> {
        let (scales, _) = self.map[self.sections.scales..].as_chunks::<4>();
        scales[rows].iter().map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// The signs of these rows, in words, one row after the other.
    pub(crate) fn signs(&self, rows: std::ops::Range<usize>) -> &[[u8; 8]] {
        let words = sign_words(self.dims);
        let (signs, _) = self.map[self.sections.signs..].as_chunks::<8>();
        &signs[rows.start * words..rows.end * words]
    }

    /// The numbers of these rows, one row after the other.
    pub(crate) fn levels(&self, rows: std::ops::Range<usize>) -> &[i8] {
        let start = self.sections.levels;
        bytemuck::cast_slice(&self.map[start + rows.start * self.dims..start + rows.end * self.dims])
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, row: usize) -> Row<'_> {
        let bytes = rest_bytes(self.dims);
        Row {
            scale: self.scales(row..row + 1).next().unwrap_or_default(),
            levels: self.levels(row..row + 1),
            rests: &self.map[self.sections.rests + row * bytes..][..bytes],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    pub(crate) fn owner(file: u32, line: u32) -> Owner {
        Owner { file, dir: file / 10, line, lines: 7, language: 3 }
    }

    fn rows(count: u32, dims: usize) -> SegmentRows {
        let mut rows = SegmentRows::new(dims);
        for row in 0..count {
            let levels: Vec<i8> = (0..dims).map(|dim| (dim as u32 * 7 + row * 13) as i8).collect();
            let rests: Vec<u8> = (0..rest_bytes(dims)).map(|pair| (pair as u32 * 11 + row * 17) as u8).collect();
            let vector = Row { scale: row as f32 / 8.0, levels: &levels, rests: &rests };
            rows.push(owner(row * 3, row), u64::from(row) << 40 | 5, vector);
        }
        rows
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.vec");
        for (count, dims) in [(1, 4), (5, 256), (100, 33)] {
            let written = rows(count, dims);
            fs::write(&path, written.to_bytes(9).unwrap()).unwrap();
            let read = VectorSegment::open(&path, 9, dims).unwrap();
            assert!(read.check());
            assert_eq!((read.rows(), read.owners().len()), (count as usize, count as usize));
            assert!(read.hashes().eq(written.hashes()));
            for row in 0..read.rows() {
                assert_eq!(
                    (read.owner(row), read.vector(row)),
                    (owner(row as u32 * 3, row as u32), written.vector(row))
                );
            }
            assert_eq!(read.levels(0..read.rows()), written.levels);
            let of_rows = written.levels.chunks_exact(dims).flat_map(signs).map(u64::to_le_bytes);
            assert!(read.signs(0..read.rows()).iter().copied().eq(of_rows));
            assert!(VectorSegment::open(&path, 8, dims).is_err(), "another model");
            assert!(VectorSegment::open(&path, 9, dims + 1).is_err(), "other vectors");
        }
    }

    #[test]
    fn no_damage_is_overlooked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.vec");
        let sound = rows(9, 20).to_bytes(9).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, damaged).unwrap();
            assert!(VectorSegment::open(&path, 9, 20).map_or(true, |segment| !segment.check()), "byte {at}");
        }
        for len in [0, 1, 63, 64, 100, sound.len() - 1] {
            fs::write(&path, &sound[..len]).unwrap();
            assert!(VectorSegment::open(&path, 9, 20).is_err(), "{len} bytes");
        }
    }
}
