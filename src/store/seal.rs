//! The seal: sizes and times of the index's files as they were when they were last known to be sound.
//!
//! A page of LMDB carries no checksum, and neither it nor tantivy looks at more of a file than a search needs: damage would
//! be answered from, or end the process. Checking everything each time would take longer than a search. So whoever has
//! written the files, or has checked them, notes how they look in a file of its own; whoever opens them compares, and
//! checks only what looks different: after a kill in the middle of a publication, when the index was copied from elsewhere,
//! or when something else has written to it. What a disk changes by itself shows in no time; for that there is `verify`.
//!
//! It proves nothing that it does not say, and losing it costs one check. So it is not made durable.

use super::pages::{self, PageCheck};
use crate::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// In the directory of the metadata store.
const FILE: &str = "seal";
const DATA: &str = "data.mdb";
/// How often the metadata store is walked again because a run has published meanwhile.
const WALKS_AGAIN: usize = 8;

/// How a file looks: bytes, and nanoseconds since the epoch of its modification and of its last change.
type Look = (u64, i64, i64);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Seal {
    data: Option<Look>,
    /// The last transaction of the metadata store.
    #[serde(default)]
    txnid: Option<u64>,
    text: BTreeMap<String, Look>,
    #[serde(default)]
    vectors: BTreeMap<String, Look>,
}

/// Which files are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Files {
    /// Those of the text index.
    Text,
    /// Parts of vectors.
    Vectors,
}

impl Seal {
    fn of(&mut self, files: Files) -> &mut BTreeMap<String, Look> {
        match files {
            Files::Text => &mut self.text,
            Files::Vectors => &mut self.vectors,
        }
    }

    fn load(meta_dir: &Path) -> Seal {
        let bytes = std::fs::read(meta_dir.join(FILE)).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// In one piece, for somebody may be reading it.
    fn save(&self, meta_dir: &Path) {
        let path = meta_dir.join(FILE);
        let made = path.with_extension("new");
        let text = serde_json::to_vec(self).unwrap_or_default();
        if let Err(error) = std::fs::write(&made, text).and_then(|()| std::fs::rename(&made, &path)) {
            tracing::debug!(%error, "the index is not sealed: the next to open it checks it");
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    let metadata = path.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let changed = 0;
    Some((metadata.len(), i64::try_from(modified.as_nanos()).ok()?, changed))
}

/// The metadata store is sound as it is, and this is its last transaction.
pub(crate) fn seal_data(meta_dir: &Path, txnid: u64) {
    Seal { data: look(&meta_dir.join(DATA)), txnid: Some(txnid), ..Seal::load(meta_dir) }.save(meta_dir);
}

/// Of the directory `dir`, these files and no others of their kind are named by what is published. Those that are new or were
/// just `checked` are sound as they are now; the others, which are never written again, are if they look as before.
pub(crate) fn seal_files(meta_dir: &Path, kind: Files, dir: &Path, files: &[String], checked: &[String]) {
    let mut seal = Seal::load(meta_dir);
    let sealed = std::mem::take(seal.of(kind));
    let now_or_before = |file: &String| {
        let before = sealed.get(file).filter(|_| !checked.contains(file));
        Some((file.clone(), before.copied().or_else(|| look(&dir.join(file)))?))
    };
    *seal.of(kind) = files.iter().filter_map(now_or_before).collect();
    seal.save(meta_dir);
}

/// Files of the directory `dir` that do not look as they were sealed.
pub(crate) fn unsealed_files(meta_dir: &Path, kind: Files, dir: &Path, files: &[String]) -> Vec<String> {
    if files.is_empty() {
        return Vec::new();
    }
    let mut seal = Seal::load(meta_dir);
    let sealed = seal.of(kind);
    let differs = |file: &&String| {
        let sealed = sealed.get(*file);
        sealed.is_none() || look(&dir.join(file)).as_ref() != sealed
    };
    files.iter().filter(differs).cloned().collect()
}

/// Checks the metadata store in `meta_dir` unless it looks as it was sealed. To be called before LMDB opens it.
pub(crate) fn check_data(meta_dir: &Path) -> Result<(), StoreError> {
    let looks = look(&meta_dir.join(DATA));
    // None at all, or an empty one, is no damage.
    if looks.is_none_or(|(bytes, ..)| bytes == 0) || Seal::load(meta_dir).data == looks {
        return Ok(());
    }
    let Some(found) = undisturbed_check(meta_dir)? else { return Ok(()) };
    // What is odd to this program may be right in another format, which is found out next.
    let is_other_format = found.format.is_some_and(|format| format != super::schema::FORMAT);
    match found.problems.first() {
        Some(problem) if !is_other_format => Err(StoreError::Unsound(format!("meta/{DATA}: {problem}"))),
        _ => {
            // Written to meanwhile, it would be sealed as it was before; then the next to open it checks it once more.
            Seal { data: looks, txnid: Some(found.txnid), ..Seal::load(meta_dir) }.save(meta_dir);
            Ok(())
        }
    }
}

/// Checks the pages until no run publishes meanwhile, which looks like damage. `None` when the file was written all the
/// time: then nobody can tell.
pub(crate) fn undisturbed_check(meta_dir: &Path) -> Result<Option<PageCheck>, StoreError> {
    let mut check = sealed_check(meta_dir)?;
    for _ in 0..WALKS_AGAIN {
        if check.is_sound() {
            return Ok(Some(check));
        }
        let next = sealed_check(meta_dir)?;
        // Nothing was published during the walk before.
        if next.txnid == check.txnid {
            return Ok(Some(check));
        }
        check = next;
    }
    Ok(check.is_sound().then_some(check))
}

/// Checks the pages, and with what the seal says whether their last transaction is the last that was published.
fn sealed_check(meta_dir: &Path) -> Result<PageCheck, StoreError> {
    // Read first: it follows a transaction, and must not be ahead of the pages because one ends in between.
    let sealed = Seal::load(meta_dir).txnid;
    let mut found = pages::check(&meta_dir.join(DATA))?;
    if let Some(missing) = found.unpublished.filter(|missing| sealed >= Some(*missing)) {
        found.problem(format_args!("transaction {missing} was published, and its meta page says that it is older"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use std::fs::{self, File, FileTimes};

    #[test]
    fn a_store_is_sealed_by_each_write_and_checked_when_it_looks_different() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write_format().unwrap();
        store.close();
        let (data, seal) = (dir.path().join(DATA), dir.path().join(FILE));
        assert_eq!(Seal::load(dir.path()).data, look(&data));
        let sound = fs::read(&data).unwrap();
        // The same size and time of modification: the time of change tells.
        let modified = data.metadata().unwrap().modified().unwrap();
        let mut bytes = sound.clone();
        bytes[4096 * 2 + 10] ^= 0xff;
        bytes[4096 * 3 + 10] ^= 0xff;
        let write = |bytes: &[u8]| {
            fs::write(&data, bytes).unwrap();
            File::options()
                .write(true)
                .open(&data)
                .unwrap()
                .set_times(FileTimes::new().set_modified(modified))
                .unwrap();
        };
        write(&bytes);
        assert!(check_data(dir.path()).unwrap_err().to_string().contains("data.mdb"));
        write(&sound);
        check_data(dir.path()).unwrap();
        assert_eq!(Seal::load(dir.path()).data, look(&data), "and sealed anew");
        fs::write(&seal, "no seal").unwrap();
        check_data(dir.path()).unwrap();
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn files_are_compared_one_by_one_and_kind_by_kind() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a.idx".to_owned(), "a.term".to_owned()];
        files.iter().for_each(|file| fs::write(dir.path().join(file), "sound").unwrap());
        let unsealed = |kind| unsealed_files(dir.path(), kind, dir.path(), &files);
        assert_eq!(unsealed(Files::Text), files);
        seal_files(dir.path(), Files::Text, dir.path(), &files, &[]);
        assert!(unsealed(Files::Text).is_empty());
        assert_eq!(unsealed(Files::Vectors), files);
        seal_files(dir.path(), Files::Vectors, dir.path(), &files[..1], &[]);
        assert_eq!(unsealed(Files::Vectors), ["a.term"]);
        fs::write(dir.path().join("a.term"), "longer").unwrap();
        assert_eq!(unsealed(Files::Text), ["a.term"]);
        seal_files(dir.path(), Files::Text, dir.path(), &files, &[]);
        assert_eq!(unsealed(Files::Text), ["a.term"], "nobody has looked at it");
        seal_files(dir.path(), Files::Text, dir.path(), &files, &files[1..]);
        assert!(unsealed(Files::Text).is_empty());
        fs::remove_file(dir.path().join("a.idx")).unwrap();
        assert_eq!(unsealed(Files::Text), ["a.idx"]);
    }
}
