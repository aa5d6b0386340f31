//! Opens the index of a KV folder, and rebuilds it from the files where it is missing, damaged or of
//! another version. One process at a time does that; others may have the index open meanwhile.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::kv::error::Error;
use crate::kv::limits::Limits;
use crate::kv::record::storage::{Storage, private_file};

use super::connection::Index;
use super::file;
use super::rebuild::{self, Reconciled};
use super::schema::{self, Condition};

/// How long emptying the index waits for another process that is in the middle of a change.
const RESET_WAIT: Duration = Duration::from_secs(10);

/// Where the rows of an opened index come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum IndexOrigin {
    /// The index was there.
    Kept,
    /// There was no index, or an empty one: the files.
    New,
    /// The index was damaged: the files.
    Damaged,
    /// The index was of another version: the files.
    OtherVersion,
}

/// Which processes have the index open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum IndexUsers {
    /// None: a damaged index is moved to quarantine.
    Nobody,
    /// This process or another one may: a damaged index is emptied where it is.
    Some,
}

/// An opened index, and the result of what its user did first.
pub(in crate::kv) struct OpenedIndex<T> {
    pub(in crate::kv) index: Index,
    pub(in crate::kv) origin: IndexOrigin,
    pub(in crate::kv) reconciled: Reconciled,
    pub(in crate::kv) first: T,
}

/// The place of an index: a KV folder, and the storage of the files it is rebuilt from.
pub(in crate::kv) struct IndexLocation {
    storage: Arc<dyn Storage>,
    root: PathBuf,
    limits: Limits,
}

impl IndexLocation {
    /// The index of the folder `root`; nothing is opened yet.
    pub(in crate::kv) fn new(
        storage: Arc<dyn Storage>,
        root: &Path,
        limits: Limits,
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

    /// The index's file.
    pub(in crate::kv) fn path(&self) -> PathBuf {
        self.root.join("index.db")
    }

    /// Opens the index; makes a missing one, and rebuilds one that is damaged or of another version.
    /// `first` is what the caller does with the index at once; damage that it meets counts too.
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

    /// [`IndexLocation::open`] of an index in which a damaged row or page was met, though all checks at
    /// its open pass: it is rebuilt.
    pub(in crate::kv) fn open_rebuilt<T>(
        &self,
        mut first: impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<OpenedIndex<T>, Error> {
        let _lock = self.lock();
        self.rebuild(IndexUsers::Some, IndexOrigin::Damaged, &mut first)
    }

    /// Held while the index is opened: a process that opens it meanwhile waits, and finds it whole. On
    /// a file system without locks nobody waits.
    fn lock(&self) -> Option<File> {
        let path = self.root.join("index.lock");
        private_file(&path)
            .and_then(|file| file.lock().map(|()| file))
            .inspect_err(|error| tracing::warn!(%error, "no lock on the kv index"))
            .ok()
    }

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

    /// Opens the index; fills it when it is empty. `None` when it is of another version.
    fn attempt<T>(
        &self,
        first: &mut impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<Option<OpenedIndex<T>>, Error> {
        let path = self.path();
        if !path.exists() {
            // A journal without its database belongs to nothing.
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

    /// Leaves an empty index, or none.
    fn clear(&self, users: IndexUsers) -> Result<(), Error> {
        let path = self.path();
        if users == IndexUsers::Nobody {
            let quarantined = self.root.join("quarantine").join("index.db");
            fs::rename(&path, &quarantined).map_err(Error::folder(&quarantined))?;
            return file::remove_journals(&path).map_err(Error::folder(&path));
        }
        // An open index is not moved: SQLite finds its journals by its name, and the last process to
        // close the moved one would remove the journals of the new one. It is emptied in one
        // transaction instead. Other processes find no tables then, wait for the lock, and find them.
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
