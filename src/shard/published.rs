//! What the published generation knows of a directory, and what has become of it.

use super::only::wanted;
use super::outbox::Outbox;
use super::scan::DirJob;
use crate::error::StoreError;
use crate::record::{FileMeta, Flags, Gone, Removal};
use crate::store::schema::Entry;
use crate::store::{Store, StoreReader};
use leindex_fallback::Meta;

/// What the published generation holds of one directory, sorted by name.
#[derive(Default)]
pub(super) struct Published {
    names: Vec<u8>,
    pub(super) entries: Vec<((u32, u32), Entry)>,
}

impl Published {
    pub(super) fn load(store: Option<&Store>, job: &DirJob) -> Result<Published, StoreError> {
        let mut published = Published::default();
        published.load_again(store, job)?;
        Ok(published)
    }

    /// As [`Published::load`], in the memory of another directory's.
    pub(super) fn load_again(&mut self, store: Option<&Store>, job: &DirJob) -> Result<(), StoreError> {
        let Published { names, entries } = self;
        names.clear();
        entries.clear();
        let Some(store) = store.filter(|_| job.known) else { return Ok(()) };
        StoreReader::begin(store)?.for_each_child(job.id, |child| {
            let start = names.len() as u32;
            names.extend_from_slice(child.name);
            entries.push(((start, names.len() as u32), child.entry));
            Ok(())
        })
    }

    fn name(&self, at: usize) -> &[u8] {
        let (start, end) = self.entries[at].0;
        &self.names[start as usize..end as usize]
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|((start, end), _)| self.names[*start as usize..*end as usize].cmp(name)).ok()
    }

    /// Reports what the listing no longer has. Whoever comes in its place under the same name has another id.
    pub(super) fn report_gone(&self, job: &DirJob, fates: &[Fate], outbox: &mut Outbox) {
        let parent = job.id;
        let mut swapped = Vec::new();
        for (at, fate) in fates.iter().enumerate().filter(|(_, fate)| **fate != Fate::Same) {
            let name = self.name(at);
            if wanted(&job.only, name).is_none() {
                continue;
            }
            let gone = match self.entries[at].1 {
                Entry::File(meta) => Gone::File(meta.id),
                Entry::Dir(dir) => Gone::Dir(dir),
            };
            let removal = Removal { parent, name: name.to_vec(), gone };
            match fate {
                Fate::Swapped => swapped.push(removal),
                _ => outbox.removal(removal),
            }
        }
        outbox.swapped(swapped);
    }
}

/// What has become of a published entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its name is not there any more, or not accepted.
    Gone,
    /// It is still of its kind; whether it has changed is another matter.
    Same,
    /// The name stands for something of another kind.
    Swapped,
}

/// Whether the file is as published: its metadata is the same and could not hide a change, and a file that was too large
/// still is.
pub(super) fn is_unchanged(published: &FileMeta, meta: &Meta, file_bytes_max: u64) -> bool {
    let too_large = published.flags.has(Flags::TOO_LARGE);
    published.size == meta.size
        && published.mtime_ns == meta.mtime_ns
        && published.ctime_ns == meta.ctime_ns
        && published.inode == meta.inode
        && !published.flags.has(Flags::DIRTY)
        && too_large == (meta.size > file_bytes_max)
}
