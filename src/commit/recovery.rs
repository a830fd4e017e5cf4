//! Makes the two stores agree after a crash, before anything is written.

use crate::error::StoreError;
use crate::failpoint::reached;
use crate::store::schema::Published;
use crate::store::{Store, StoreReader};
use crate::text::index::{TextIndex, committed_generation, missing_segment_file};
use std::path::Path;

/// The stores, ready to be written.
pub(crate) struct Opened {
    pub(crate) text: TextIndex,
    pub(crate) published: Published,
    /// The published generation has no text index any more: one has to be published even if no file is left.
    pub(crate) text_lost: bool,
    /// Documents without a record, when the index was repaired and no whole run has ended since.
    pub(crate) orphans: Option<Vec<u32>>,
}

/// Opens the stores for writing: completes a publication whose text was committed, drops one whose text was not, and
/// deletes files that belong to no generation.
pub(crate) fn open_for_writing(store: &Store, text_dir: &Path) -> Result<Opened, StoreError> {
    store.forget_dead_readers();
    if let Some((intent, len)) = store.pending()? {
        match committed_generation(text_dir) {
            Some((generation, meta)) if generation == intent.generation => match store.pending_batches(len) {
                Ok(batches) => {
                    tracing::info!(generation, "completing a publication that was interrupted");
                    reached("before-completing");
                    store.publish_intent(&intent, &batches, &meta, None)?;
                    reached("after-completing");
                }
                // The text index goes back to what was published last; what is lost is read again.
                Err(error) => {
                    tracing::warn!(generation, %error, "dropping an interrupted publication that cannot be read");
                    drop_intent(store)?;
                }
            },
            _ => {
                tracing::info!(generation = intent.generation, "dropping a publication that was interrupted");
                drop_intent(store)?;
            }
        }
    }
    let reader = StoreReader::begin(store)?;
    let (mut published, mut meta, orphans) = (reader.published()?, reader.text_meta()?, reader.orphans()?);
    drop(reader);
    if let Some(bytes) = &meta
        && let Some(missing) = missing_segment_file(text_dir, bytes)
    {
        tracing::warn!(%missing, "the text index is incomplete; every file is read again");
        store.forget_files()?;
        reached("after-forgetting-files");
        published.complete = false;
        meta = None;
    }
    let text_lost = meta.is_none() && published.generation > 0;
    let text = TextIndex::open(text_dir, meta.as_deref())?;
    Ok(Opened { text, published, text_lost, orphans })
}

fn drop_intent(store: &Store) -> Result<(), StoreError> {
    reached("before-dropping");
    store.drop_intent()?;
    reached("after-dropping");
    Ok(())
}
