//! Opens the index of a KV folder, and rebuilds it from the record files when it is missing, damaged or
//! of another version. Used when a store or a folder is opened, and when damage is met later. Invariant:
//! one process at a time opens or rebuilds the index (`index.lock`); other processes may have it open
//! meanwhile.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::kv::error::Error;
use crate::kv::limits::StoreLimits;
use crate::kv::record::storage::{Storage, private_file};

use super::connection::Index;
use super::file;
use super::rebuild::{self, Reconciled};
use super::schema::{self, Condition};

/// How long emptying the index waits for another process that is changing it.
const RESET_WAIT: Duration = Duration::from_secs(10);

/// Where the rows of an opened index come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum IndexOrigin {
    /// The index existed and was sound: its rows are unchanged.
    Kept,
    /// There was no index, or an empty one: the rows were made from the record files.
    New,
    /// The index was damaged: the rows were made from the record files.
    Damaged,
    /// The index was of another version: the rows were made from the record files.
    OtherVersion,
}

/// Whether other connections may have the index open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum IndexUsers {
    /// No connection has it open: an index that must be rebuilt is moved to quarantine first.
    Nobody,
    /// This process or another one may have it open: an index that must be rebuilt is emptied where it
    /// is.
    Some,
}

/// An opened index, and the result of the first operation on it.
pub(in crate::kv) struct OpenedIndex<T> {
    pub(in crate::kv) index: Index,
    pub(in crate::kv) origin: IndexOrigin,
    pub(in crate::kv) reconciled: Reconciled,
    pub(in crate::kv) first: T,
}

/// The place of an index: the KV folder, and the storage of the record files from which it is rebuilt.
pub(in crate::kv) struct IndexLocation {
    storage: Arc<dyn Storage>,
    root: PathBuf,
    limits: StoreLimits,
}

impl IndexLocation {
    /// The index of the KV folder `root`. Nothing is opened yet.
    pub(in crate::kv) fn new(
        storage: Arc<dyn Storage>,
        root: &Path,
        limits: StoreLimits,
    ) -> IndexLocation {
        IndexLocation {
            storage,
            root: root.to_path_buf(),
            limits,
        }
    }

    /// The KV folder.
    pub(in crate::kv) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the database file.
    pub(in crate::kv) fn path(&self) -> PathBuf {
        self.root.join("index.db")
    }

    /// Opens the index; creates it if it is missing, and rebuilds it if it is damaged or of another
    /// version. `first` is the first operation of the caller on the index; if it meets damage, the index
    /// is rebuilt too.
    pub(in crate::kv) fn open<T>(
        &self,
        users: IndexUsers,
        mut first: impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<OpenedIndex<T>, Error> {
        let _lock = self.lock();
        let origin = match self.attempt(&mut first) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => IndexOrigin::OtherVersion,
            Err(error) if is_of_damaged_index(&error) => {
                tracing::warn!(%error, "the kv index is damaged");
                IndexOrigin::Damaged
            }
            Err(error) => return Err(error),
        };
        self.rebuild(users, origin, &mut first)
    }

    /// [`IndexLocation::open`] for an index in which a damaged row or page was met later, although all
    /// checks at its opening passed: it is rebuilt in any case.
    pub(in crate::kv) fn open_rebuilt<T>(
        &self,
        mut first: impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<OpenedIndex<T>, Error> {
        let _lock = self.lock();
        self.rebuild(IndexUsers::Some, IndexOrigin::Damaged, &mut first)
    }

    /// The lock that is held while the index is opened: a process that wants to open it waits, and finds
    /// it complete. On a file system without locks nobody waits.
    fn lock(&self) -> Option<File> {
        let path = self.root.join("index.lock");
        private_file(&path)
            .and_then(|file| file.lock().map(|()| file))
            .inspect_err(|error| tracing::warn!(%error, "no lock on the kv index"))
            .ok()
    }

    /// Empties the index or moves it away, and fills a new one.
    fn rebuild<T>(
        &self,
        users: IndexUsers,
        origin: IndexOrigin,
        first: &mut impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<OpenedIndex<T>, Error> {
        self.clear(users)?;
        let opened = self
            .attempt(first)?
            .ok_or(Error::Index(schema::damaged()))?;
        Ok(OpenedIndex { origin, ..opened })
    }

    /// Opens the index, and fills it if it is empty. `None` if it is of another version.
    fn attempt<T>(
        &self,
        first: &mut impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<Option<OpenedIndex<T>>, Error> {
        let path = self.path();
        if !path.exists() {
            // Journal files without a database file belong to no index.
            file::remove_journals(&path).map_err(Error::folder(&path))?;
        }
        let (index, condition) = Index::open(&path)?;
        index.wait(self.limits.index_wait)?;
        let mut origin = IndexOrigin::Kept;
        let mut reconciled = Reconciled::default();
        let (storage, root) = (&self.storage, &self.root);
        match condition {
            Condition::Sound => {}
            Condition::OtherVersion => return Ok(None),
            Condition::Miscounted => rebuild::correct_lengths(&index, storage, root)?,
            Condition::Empty => {
                origin = IndexOrigin::New;
                reconciled = rebuild::reconcile_all(&index, storage, root, &self.limits)?;
                rebuild::pin_unheld(&index)?;
                index.commit()?;
            }
        }
        Ok(Some(OpenedIndex {
            first: first(&index)?,
            index,
            origin,
            reconciled,
        }))
    }

    /// Empties the index, or moves it to quarantine if nobody has it open.
    fn clear(&self, users: IndexUsers) -> Result<(), Error> {
        let path = self.path();
        if users == IndexUsers::Nobody {
            let quarantined = self.root.join("quarantine").join("index.db");
            fs::rename(&path, &quarantined).map_err(Error::folder(&quarantined))?;
            return file::remove_journals(&path).map_err(Error::folder(&path));
        }
        // An index that is open is not moved: SQLite finds the journal files by their name, and the last
        // process that closes the moved database would remove the journal files of the new one. So it is
        // emptied in one transaction. Other processes then find no tables, wait for the lock, and find
        // the new tables.
        let db = Connection::open(&path)?;
        db.busy_timeout(RESET_WAIT)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
        db.execute_batch("VACUUM")?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
        Ok(())
    }
}

fn is_of_damaged_index(error: &Error) -> bool {
    matches!(error, Error::Index(error) if schema::is_damage(error))
}
