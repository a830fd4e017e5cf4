//! The files that git tracks: the names in its index (`.git/index`, versions 2 to 4). Tracked files are not ignored,
//! whatever the rules say.
//!
//! The format is that of git's own documentation, gitformat-index(5). Only names are of interest; checksums are not
//! checked, for git itself writes the file anew and moves it into place.

/// Sorted names, back to back: a large index has some hundred thousand, and all of them are read in each run.
#[derive(Debug, Default)]
pub struct Tracked {
    names: Vec<u8>,
    /// Where each name ends.
    ends: Vec<usize>,
}

/// Bytes of an entry before the hash: times, device, inode, mode, owner, size.
const STAT_BYTES: usize = 40;
/// Set in the flags when two more bytes of flags follow.
const EXTENDED: u16 = 0x4000;

/// A longer name is nowhere to be found: Linux stops there with paths.
const NAME_BYTES_MAX: usize = 4096;
/// All names are at most so many times as long as their index: an entry has sixty bytes beside its name.
const NAMES_TO_INDEX: usize = 8;

/// The names of an index, and what it builds on if it is split.
type Parsed = (Tracked, Option<Base>);

/// The shared part of a split index.
struct Base {
    /// The hash in its name, hexadecimal.
    hash: String,
    /// A bit for each of its entries that is gone.
    deleted: Vec<u64>,
}

impl Tracked {
    /// Reads an index. `shared` is given the name of a file beside it, when the index is split into two, and returns that
    /// file's bytes. `None` when it is no index that we understand.
    pub fn parse(index: &[u8], shared: impl FnOnce(&str) -> Option<Vec<u8>>) -> Option<Tracked> {
        let (mut tracked, base) = parse(index)?;
        if let Some(Base { hash, deleted }) = base {
            let (below, _) = parse(&shared(&format!("sharedindex.{hash}"))?)?;
            let is_deleted = |index: usize| deleted.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0);
            (0..below.len()).filter(|index| !is_deleted(*index)).for_each(|index| tracked.push(below.name(index)));
        }
        Some(tracked.sorted())
    }

    fn push(&mut self, name: &[u8]) {
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
    }

    /// In order, each name once: as git writes it, but for split indexes and merges with conflicts.
    fn sorted(self) -> Tracked {
        if (1..self.len()).all(|index| self.name(index - 1) < self.name(index)) {
            return self;
        }
        let mut names: Vec<&[u8]> = (0..self.len()).map(|index| self.name(index)).collect();
        names.sort_unstable();
        names.dedup();
        let mut sorted = Tracked::default();
        names.into_iter().for_each(|name| sorted.push(name));
        sorted
    }

    /// How many files are tracked.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no file is tracked.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn name(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start..self.ends[index]]
    }

    /// The index of the first name that is not before `wanted`.
    fn position(&self, wanted: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.name(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Whether `path`, relative to the repository's root, is a tracked file or the root of a submodule.
    pub fn has(&self, path: &[u8]) -> bool {
        let position = self.position(path);
        position < self.ends.len() && self.name(position) == path
    }

    /// Whether anything below the directory `dir` is tracked.
    pub fn has_below(&self, dir: &[u8]) -> bool {
        let start = [dir, b"/"].concat();
        let position = self.position(&start);
        position < self.ends.len() && self.name(position).starts_with(&start)
    }
}

fn parse(index: &[u8]) -> Option<Parsed> {
    // A repository uses SHA-1 or SHA-256, and the index does not say which: with the wrong one the entries do not fit.
    [20, 32].into_iter().find_map(|hash_bytes| parse_with(index, hash_bytes))
}

fn parse_with(index: &[u8], hash_bytes: usize) -> Option<Parsed> {
    let mut rest = index.strip_prefix(b"DIRC")?;
    let version = take_u32(&mut rest)?;
    let count = take_u32(&mut rest)?;
    if !(2..=4).contains(&version) {
        return None;
    }
    // What is reserved and not needed is never touched.
    let entries = (count as usize).min(rest.len() / STAT_BYTES);
    let mut found = Tracked { names: Vec::with_capacity(rest.len()), ends: Vec::with_capacity(entries) };
    let mut last = 0..0;
    for _ in 0..count {
        let before = rest.len();
        take(&mut rest, STAT_BYTES + hash_bytes)?;
        let flags = take_u16(&mut rest)?;
        if flags & EXTENDED != 0 {
            (version >= 3).then_some(())?;
            take(&mut rest, 2)?;
        }
        let kept = if version == 4 { last.len().checked_sub(take_offset(&mut rest)?)? } else { 0 };
        let start = found.names.len();
        found.names.extend_from_within(last.start..last.start + kept);
        let end = memchr::memchr(0, rest)?;
        found.names.extend_from_slice(take(&mut rest, end)?);
        last = start..found.names.len();
        // Each name may repeat the one before in one byte, so few bytes can stand for very many.
        if last.len() > NAME_BYTES_MAX || found.names.len() > index.len().saturating_mul(NAMES_TO_INDEX) {
            return None;
        }
        let length = usize::from(flags & 0xfff);
        if length < 0xfff && length != last.len() {
            return None;
        }
        // Entries of the older versions fill whole eights, with one NUL at least.
        let used = before - rest.len();
        take(&mut rest, if version == 4 { 1 } else { 8 - used % 8 })?;
        // In a split index an entry without a name replaces one of the shared index.
        if !last.is_empty() {
            found.ends.push(last.end);
        }
    }
    let link = extension(&rest[..rest.len().checked_sub(hash_bytes)?], *b"link")?;
    let base = match link.and_then(|link| link.split_at_checked(hash_bytes)) {
        Some((hash, mut bitmaps)) if hash.iter().any(|&byte| byte != 0) => {
            let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let deleted = if bitmaps.is_empty() { Vec::new() } else { take_bitmap(&mut bitmaps)? };
            Some(Base { hash, deleted })
        }
        _ => None,
    };
    Some((found, base))
}

/// A bitmap in git's form of EWAH: words that say how many words of equal bits follow, and how many of any bits.
fn take_bitmap(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let bits = take_u32(bytes)? as usize;
    let count = take_u32(bytes)? as usize;
    let mut words = take(bytes, count.checked_mul(8)?)?.chunks_exact(8);
    take(bytes, 4)?;
    let mut bitmap = Vec::new();
    let limit = bits.div_ceil(64);
    while let Some(marker) = words.next() {
        let marker = u64::from_be_bytes(marker.try_into().ok()?);
        let (ones, equal, any) = (marker & 1 != 0, (marker >> 1 & 0xffff_ffff) as usize, (marker >> 33) as usize);
        let equal = equal.min(limit.checked_sub(bitmap.len())?);
        bitmap.resize(bitmap.len() + equal, if ones { u64::MAX } else { 0 });
        for _ in 0..any {
            bitmap.push(u64::from_be_bytes(words.next()?.try_into().ok()?));
        }
    }
    Some(bitmap)
}

/// The content of an extension, if there is one of that name; `None` outside when the extensions do not fit.
fn extension(mut rest: &[u8], wanted: [u8; 4]) -> Option<Option<&[u8]>> {
    while !rest.is_empty() {
        let name = take(&mut rest, 4)?;
        let length = take_u32(&mut rest)? as usize;
        let content = take(&mut rest, length)?;
        if name == wanted {
            return Some(Some(content));
        }
    }
    Some(None)
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes, 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes, 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// A number in the encoding of offsets in pack files: seven bits a byte, and one more for each byte that follows.
fn take_offset(bytes: &mut &[u8]) -> Option<usize> {
    let mut byte = take(bytes, 1)?[0];
    let mut value = usize::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = take(bytes, 1)?[0];
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; STAT_BYTES + 20];
        bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len() + 8 - bytes.len() % 8, 0);
        bytes
    }

    fn index(names: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x02".to_vec();
        bytes.extend_from_slice(&(names.len() as u32).to_be_bytes());
        names.iter().for_each(|name| bytes.extend(entry(name)));
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn names_are_found() {
        let tracked = Tracked::parse(&index(&[b"a", b"a-b", b"a/x", b"dir/sub/file", b"sub"]), |_| None).unwrap();
        assert_eq!((tracked.len(), tracked.is_empty()), (5, false));
        for path in [&b"a"[..], b"a-b", b"a/x", b"dir/sub/file", b"sub"] {
            assert!(tracked.has(path), "{}", path.escape_ascii());
        }
        for path in [&b""[..], b"b", b"dir", b"dir/sub", b"z", b"a/xy"] {
            assert!(!tracked.has(path), "{}", path.escape_ascii());
        }
        for (dir, expected) in [(&b"a"[..], true), (b"dir", true), (b"dir/sub", true), (b"di", false), (b"sub", false)]
        {
            assert_eq!(tracked.has_below(dir), expected, "{}", dir.escape_ascii());
        }
    }

    /// A name of a million bytes, and entries that repeat it: as much memory as anyone likes, from few bytes.
    #[test]
    fn names_do_not_multiply() {
        let mut bytes = b"DIRC\0\0\0\x04".to_vec();
        bytes.extend_from_slice(&1001_u32.to_be_bytes());
        for entry in 0..1001 {
            bytes.extend([0; STAT_BYTES + 20]);
            bytes.extend_from_slice(&0xfff_u16.to_be_bytes());
            bytes.push(0);
            bytes.extend(vec![b'a'; if entry == 0 { 4000 } else { 0 }]);
            bytes.push(0);
        }
        bytes.extend([0; 20]);
        assert!(Tracked::parse(&bytes, |_| None).is_none());
    }

    #[test]
    fn what_is_cut_short_is_no_index() {
        let whole = index(&[b"a", b"dir/file"]);
        for length in 0..whole.len() {
            assert!(Tracked::parse(&whole[..length], |_| None).is_none(), "cut to {length}");
        }
        assert!(Tracked::parse(&index(&[]), |_| None).is_some_and(|tracked| tracked.is_empty()));
    }
}
