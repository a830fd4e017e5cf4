//! Opens the LMDB environment. One of the few modules that may use `unsafe`: opening and resizing a memory map.
#![allow(unsafe_code)]

use super::schema::{FORMAT, META_FORMAT};
use super::seal::seal_data;
use crate::error::StoreError;
use crate::failpoint::reached;
use crate::limits::{MAP_BYTES, READERS_MAX};
use crate::record::identity;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The smallest map that is tried when address space is limited.
const MAP_BYTES_MIN: usize = 64 << 20;
/// A header, and a cache line for each reader.
const LOCK_FILE_BYTES: usize = (READERS_MAX as usize + 4) * 64;
/// The file of the environment, as LMDB names it.
const FILE: &str = "data.mdb";
/// LMDB's table of readers.
const LOCK_FILE: &str = "lock.mdb";
/// Its name while it is made.
const NEW_FILE: &str = "data.new";
/// How long growing the map waits for the readers of this process.
const RESIZE_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Table = Database<'static, Bytes, Bytes>;

/// Names of the tables, in the order of the fields of [`Tables`].
pub(super) const TABLES: [&str; 4] = ["meta", "entries", "dirs", "symbols"];

/// The tables of the environment; `schema` says what is in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    pub(crate) meta: Table,
    pub(crate) entries: Table,
    pub(crate) dirs: Table,
    pub(crate) symbols: Table,
}

/// The environment and its tables. Cheap to clone; one environment a directory and process.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    env: Env<WithoutTls>,
    tables: Tables,
    readers: Arc<ReaderGate>,
    read_only: bool,
    dir: Arc<Path>,
    /// Which file it was when it was opened.
    file: Option<(u64, u64)>,
}

/// Counts the transactions of this process, because LMDB must not be resized while there is one.
#[derive(Debug, Default)]
struct ReaderGate {
    open: Mutex<Open>,
    closed_one: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    transactions: usize,
    /// Somebody waits until there is none.
    awaited: bool,
}

/// A read transaction that counts in the gate until it is dropped.
pub(crate) struct ReadTxn {
    // Dropped before the ticket is: fields drop in the order of their declaration.
    txn: RoTxn<'static, WithoutTls>,
    _ticket: Ticket,
}

impl std::ops::Deref for ReadTxn {
    type Target = RoTxn<'static, WithoutTls>;

    fn deref(&self) -> &Self::Target {
        &self.txn
    }
}

struct Ticket(Arc<ReaderGate>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.transactions -= 1;
        if open.awaited {
            self.0.closed_one.notify_all();
        }
    }
}

impl Store {
    /// Opens the environment in `path`, creating it (and the directory) when it is not there.
    pub(crate) fn open(path: &Path) -> Result<Store, StoreError> {
        Self::open_sized(path, MAP_BYTES)
    }

    /// As [`Store::open`], with a map of `bytes` at most.
    pub(crate) fn open_sized(path: &Path, bytes: usize) -> Result<Store, StoreError> {
        if let Err(error) = std::fs::create_dir_all(path)
            && !path.is_dir()
        {
            return Err(error.into());
        }
        if !path.join(FILE).exists() {
            make_file(path, bytes)?;
        }
        reserve_lock_file(path)?;
        let (env, read_only) = match open_env(path, bytes, EnvFlags::empty()) {
            Err(StoreError::Lmdb(heed::Error::Io(error))) if is_read_only(&error) => {
                // Without the lock file nothing keeps a writer from reusing pages under us; but a writer would need to
                // write here too.
                let flags = EnvFlags::READ_ONLY | EnvFlags::NO_LOCK;
                (open_env(path, bytes, flags).map_err(|_| StoreError::Io(error))?, true)
            }
            opened => (opened?, false),
        };
        let tables = match open_tables(&env)? {
            Some(tables) => tables,
            None => {
                refuse_other_format(&env)?;
                create_tables(&env)?
            }
        };
        let file = identity(&path.join(FILE));
        let store = Store { env, tables, readers: Arc::default(), read_only, dir: path.into(), file };
        store.forget_dead_readers();
        Ok(store)
    }

    /// Frees what readers have held whose processes died: no page that they could see is used again before that, and the file
    /// grows with every publication. So each run asks, also in a process that has had the environment open for months.
    pub(crate) fn forget_dead_readers(&self) {
        if let Ok(stale @ 1..) = self.env.clear_stale_readers() {
            tracing::debug!(stale, "cleared reader slots of processes that died");
        }
    }

    pub(crate) fn tables(&self) -> Tables {
        self.tables
    }

    /// Begins a read transaction. It sees one published state for as long as it lives.
    pub(crate) fn read(&self) -> Result<ReadTxn, StoreError> {
        let ticket = {
            let mut open = self.readers.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.transactions += 1;
            Ticket(Arc::clone(&self.readers))
        };
        Ok(ReadTxn { txn: self.env.clone().static_read_txn()?, _ticket: ticket })
    }

    /// Runs `body` in a write transaction and commits it durably; an error aborts it. When the map is full it is
    /// doubled, and `body` runs again.
    pub(crate) fn write<T>(
        &self,
        mut body: impl FnMut(&mut RwTxn<'_>, Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let mut txn = self.env.write_txn()?;
            let txnid = txn.id() as u64;
            let result = body(&mut txn, self.tables).and_then(|value| {
                txn.commit()?;
                seal_data(&self.dir, txnid);
                Ok(value)
            });
            match result {
                Err(StoreError::Lmdb(heed::Error::Mdb(heed::MdbError::MapFull))) => self.grow()?,
                result => return result,
            }
        }
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file beside the environment that holds the batches of an intent.
    pub(crate) fn intent_file(&self) -> PathBuf {
        self.dir.join("intent")
    }

    /// Makes durable that the directories of both stores are there, and the index directory that holds them. Syncing what
    /// is in a directory says nothing of the directory itself.
    pub(crate) fn sync_directories(&self) -> io::Result<()> {
        let above = self.dir.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
        for (level, dir) in above.enumerate() {
            match sync_directory(dir) {
                // Those above the index directory may be somebody else's, or on a file system that knows no such thing.
                Err(error) if level > 0 && is_refused(&error) => {
                    tracing::debug!(dir = %dir.display(), %error, "not synced")
                }
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Whether the index directory cannot be written, so that the store can only be read.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether LMDB refuses everything in this environment, because a meta page could not be written. Opened again, it is as
    /// it was last published.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.read(), Err(StoreError::Lmdb(heed::Error::Mdb(heed::MdbError::Panic))))
    }

    /// Whether the file of this environment is no longer the one in its directory. Another process may have repaired the index,
    /// or thrown it away.
    pub(crate) fn is_replaced(&self) -> bool {
        self.file != identity(&self.dir.join(FILE))
    }

    /// Which file this environment is: another one when the index was thrown away or repaired.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.file
    }

    /// Whether nobody else in this process has the environment open, so that dropping this handle closes it.
    pub(crate) fn is_last_handle(&self) -> bool {
        Arc::strong_count(&self.readers) == 1
    }

    /// Closes the environment when this was its last handle, waiting for that as long as growing waits for readers. Whether it
    /// is closed.
    pub(crate) fn close(self) -> bool {
        let Store { env, readers, .. } = self;
        let event = env.prepare_for_closing();
        drop(readers);
        event.wait_timeout(RESIZE_PATIENCE)
    }

    fn grow(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + RESIZE_PATIENCE;
        let mut open = self.readers.open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.transactions > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let snapshots = open.transactions;
                let why =
                    format!("the metadata map is full and {snapshots} snapshots of this process keep it from growing");
                return Err(StoreError::Io(io::Error::other(why)));
            }
            open.awaited = true;
            open = self.readers.closed_one.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
            open.awaited = false;
        }
        let bytes = self.env.info().map_size * 2;
        tracing::info!(bytes, "growing the metadata map");
        // SAFETY: LMDB forbids resizing while this process has a transaction open. Every read transaction of the process
        // holds a ticket of the gate, whose lock is held here with no ticket out, so none can begin before this returns;
        // the one writer (`commit`) is the caller and has ended its transaction. Test: `grows_when_full`.
        unsafe { self.env.resize(bytes)? };
        Ok(())
    }
}

/// Makes the file of the environment. LMDB does not open a file of which a power cut has left a part, so the file only gets
/// its name when it is whole and durable. The caller holds the writer's lock.
fn make_file(path: &Path, bytes: usize) -> Result<(), StoreError> {
    make_file_with(path, bytes, |_, _| Ok(()))
}

/// Puts a new file, filled by `fill`, in the place of the one in `path`. Whoever has the old one open keeps it, and its
/// table of readers, in which the numbers of transactions are those of the old file.
pub(super) fn replace_file(
    path: &Path,
    fill: impl FnOnce(&mut RwTxn<'_>, Tables) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    make_file_with(path, MAP_BYTES, fill)?;
    match std::fs::remove_file(path.join(LOCK_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(sync_directory(path)?)
}

fn make_file_with(
    path: &Path,
    bytes: usize,
    fill: impl FnOnce(&mut RwTxn<'_>, Tables) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let new = path.join(NEW_FILE);
    // Empties one that was left behind, too.
    File::create(&new)?;
    let env = open_env(&new, bytes, EnvFlags::NO_SUB_DIR | EnvFlags::NO_LOCK)?;
    let tables = create_tables(&env)?;
    let mut txn = env.write_txn()?;
    fill(&mut txn, tables)?;
    txn.commit()?;
    env.prepare_for_closing().wait();
    reached("before-new-data-file");
    std::fs::rename(&new, path.join(FILE))?;
    reached("after-new-data-file");
    Ok(())
}

/// LMDB maps its table of readers from a file that it only makes long, without writing it: on a full disk, the first touch
/// of such a page would end the process with SIGBUS. So the file is written out before LMDB sees it.
fn reserve_lock_file(path: &Path) -> Result<(), StoreError> {
    let file = path.join(LOCK_FILE);
    if file.exists() {
        return Ok(());
    }
    match std::fs::write(&file, vec![0u8; LOCK_FILE_BYTES]) {
        Err(error) if is_read_only(&error) => Ok(()),
        Err(error) => {
            // Half of it would be worse than none.
            let _ = std::fs::remove_file(&file);
            Err(error.into())
        }
        Ok(()) => Ok(()),
    }
}

/// Makes the entries of a directory durable, where directories can be synced at all.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Whether it was not tried, rather than tried in vain.
fn is_refused(error: &io::Error) -> bool {
    is_read_only(error) || matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Opens the environment with the largest map up to `bytes` that the system grants.
fn open_env(path: &Path, bytes: usize, flags: EnvFlags) -> Result<Env<WithoutTls>, StoreError> {
    let mut bytes = bytes;
    loop {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(bytes).max_dbs(8).max_readers(READERS_MAX);
        // SAFETY: the map is only undefined behaviour when the file is changed by something other than LMDB. The engine
        // never writes it otherwise, keeps it in a directory of its own, and opens it once a process (heed refuses a
        // second time); LMDB's own lock file coordinates processes. The flags disable that where nobody can write, and for
        // a file that is just being made, under a name that nobody else opens.
        // Test: `opens_once_a_process`.
        match unsafe { options.flags(flags).open(path) } {
            Ok(env) => return Ok(env),
            // ENOMEM, and EINVAL under valgrind, whose programs have less room than the map asks for.
            Err(heed::Error::Io(error))
                if matches!(error.raw_os_error(), Some(12 | 22)) && bytes / 2 >= MAP_BYTES_MIN =>
            {
                bytes /= 2;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The tables, when all of them are there.
fn open_tables(env: &Env<WithoutTls>) -> Result<Option<Tables>, StoreError> {
    let opened = env.open_databases_and_commit(env.read_txn()?, |opener, txn| -> heed::Result<_> {
        let mut tables = Vec::with_capacity(TABLES.len());
        for name in TABLES {
            match opener.open_database::<Bytes, Bytes>(txn, Some(name))? {
                Some(table) => tables.push(table),
                None => return Ok(CommitOrAbort::Abort(())),
            }
        }
        Ok(<[_; TABLES.len()]>::try_from(tables).map_or(CommitOrAbort::Abort(()), CommitOrAbort::Commit))
    })?;
    Ok(opened.commit().map(Tables::from))
}

/// An index of another format may have other tables. Nothing is to be added to it.
fn refuse_other_format(env: &Env<WithoutTls>) -> Result<(), StoreError> {
    let opened = env.open_databases_and_commit(env.read_txn()?, |opener, txn| -> heed::Result<_> {
        let meta = opener.open_database::<Bytes, Bytes>(txn, Some(TABLES[0]))?;
        Ok(meta.map_or(CommitOrAbort::Abort(()), CommitOrAbort::Commit))
    })?;
    let Some(meta) = opened.commit() else { return Ok(()) };
    let txn = env.read_txn()?;
    let found = meta.get(&txn, META_FORMAT)?.and_then(|value| value.first_chunk().copied()).map(u32::from_le_bytes);
    match found {
        Some(found) if found != FORMAT => Err(StoreError::Format { found, supported: FORMAT }),
        _ => Ok(()),
    }
}

fn create_tables(env: &Env<WithoutTls>) -> Result<Tables, StoreError> {
    let created = env.create_databases_and_commit(env.write_txn()?, |opener, txn| -> heed::Result<_> {
        let mut create = |name| opener.create_database::<Bytes, Bytes>(txn, Some(name));
        let [meta, entries, dirs, symbols] = TABLES;
        let tables = [create(meta)?, create(entries)?, create(dirs)?, create(symbols)?];
        Ok(CommitOrAbort::<_, std::convert::Infallible>::Commit(tables))
    })?;
    Ok(Tables::from(created.unwrap_commit()))
}

impl From<[Table; TABLES.len()]> for Tables {
    fn from([meta, entries, dirs, symbols]: [Table; TABLES.len()]) -> Self {
        Tables { meta, entries, dirs, symbols }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_when_full() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_sized(dir.path(), 1 << 20).unwrap();
        let value = vec![7u8; 100_000];
        for key in 0..40u32 {
            store.write(|txn, tables| Ok(tables.meta.put(txn, &key.to_be_bytes(), &value)?)).unwrap();
        }
        let txn = store.read().unwrap();
        assert_eq!(store.tables().meta.len(&txn).unwrap(), 40);
        assert!(store.env.info().map_size > 1 << 20);
    }

    #[test]
    fn growing_waits_for_readers() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_sized(dir.path(), 1 << 20).unwrap();
        let txn = store.read().unwrap();
        let writer = {
            let store = store.clone();
            std::thread::spawn(move || {
                let value = vec![7u8; 3 << 20];
                store.write(|txn, tables| Ok(tables.meta.put(txn, b"k", &value)?)).unwrap();
            })
        };
        while store.readers.open.try_lock().is_ok_and(|open| open.transactions != 1) {}
        assert_eq!(store.tables().meta.get(&txn, b"k").unwrap(), None);
        drop(txn);
        writer.join().unwrap();
        let txn = store.read().unwrap();
        assert!(store.tables().meta.get(&txn, b"k").unwrap().is_some());
    }

    #[test]
    fn opens_once_a_process() {
        let dir = tempfile::tempdir().unwrap();
        let _store = Store::open(dir.path()).unwrap();
        assert!(Store::open(dir.path()).is_err());
    }
}
