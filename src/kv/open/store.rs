//! [`OpenStore`]: a KV folder opened for one model, with everything that the handle, the writer thread and
//! the readers share. It exists from `Store::open` until the last handle is dropped. Invariant: an
//! `OpenStore` has the folder's lock as long as it exists, so no other process removes the temporary files
//! that this store writes.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kv::error::Error;
use crate::kv::index::connection::Index;
use crate::kv::index::location::{IndexLocation, IndexUsers};
use crate::kv::index::models::ModelId;
use crate::kv::index::rebuild;
use crate::kv::limits::{StoreLimits, quota};
use crate::kv::model::facts::{describe, short};
use crate::kv::model::fingerprint::Fingerprint;
use crate::kv::notice::Notices;
use crate::kv::record::files::{self, Files};
use crate::kv::record::storage::Storage;
use crate::ledger::Digest;

use super::changes::ChangeCounts;
use super::index::{IndexOwner, OpenIndex, report};
use super::lock::FolderLock;

/// A KV folder opened for one model.
pub(in crate::kv) struct OpenStore {
    pub(in crate::kv) fingerprint: Fingerprint,
    /// The digest of this run's soft facts.
    pub(in crate::kv) soft: Digest,
    pub(in crate::kv) limits: StoreLimits,
    pub(in crate::kv) files: Files,
    pub(in crate::kv) notices: Notices,
    pub(in crate::kv) changes: ChangeCounts,
    /// The maximum number of bytes of all record files of all models.
    pub(in crate::kv) quota: u64,
    /// The id of this model in the index.
    model: AtomicI64,
    /// The connection for queries. It is dropped before `index`: the last connection that closes removes
    /// the write-ahead log, and this one only reads and could not.
    reader: Mutex<Index>,
    pub(in crate::kv) index: OpenIndex,
    /// Held until the store is dropped.
    _lock: FolderLock,
}

impl OpenStore {
    /// Opens the store in the KV folder `dir`, or creates it; removes temporary files that crashed
    /// processes left, and rebuilds the index if it is missing, damaged or of another version.
    ///
    /// # Errors
    /// When KV cannot be saved in this folder.
    pub(in crate::kv) fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        fingerprint: Fingerprint,
        limits: StoreLimits,
    ) -> Result<OpenStore, Error> {
        let files = Files::new(storage.clone(), dir, &short(fingerprint.hard));
        make_folders(&*storage, dir, &files)?;
        let lock = FolderLock::take(dir)?;
        files.probe().map_err(Error::folder(&files.folder))?;
        if lock.was_alone() {
            files::sweep_all(&storage, dir)?;
        }
        describe(&files, &fingerprint)?;
        let location = IndexLocation::new(storage, dir, limits);
        let users = if lock.was_alone() {
            IndexUsers::Nobody
        } else {
            IndexUsers::Some
        };
        let opened = location.open(users, |index| {
            rebuild::own_model(index, &fingerprint, &files, &limits)
        })?;
        let (model, own) = opened.first;
        let reader = Index::reader(&location.path())?;
        if lock.was_alone() {
            lock.share()?;
        }
        let mut reconciled = opened.reconciled;
        reconciled.added += own.added;
        reconciled.refused += own.refused;
        let notices = Notices::default();
        report(&notices, opened.origin, reconciled);
        Ok(OpenStore {
            soft: fingerprint.soft_digest(),
            fingerprint,
            limits,
            files,
            notices,
            changes: ChangeCounts::default(),
            quota: quota(dir, limits.quota_bytes),
            model: AtomicI64::new(model.0),
            reader: Mutex::new(reader),
            index: OpenIndex::new(location, opened.index),
            _lock: lock,
        })
    }

    /// The id of this model. Call it while you hold the connection with which you use the id: a rebuild
    /// replaces both.
    pub(in crate::kv) fn model(&self) -> ModelId {
        ModelId(self.model.load(Ordering::Acquire))
    }

    /// The connection for queries. A caller never waits for the writer thread or for another process that
    /// writes. It sees everything that was flushed.
    pub(in crate::kv) fn reader(&self) -> MutexGuard<'_, Index> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection for changes.
    pub(in crate::kv) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

impl IndexOwner for OpenStore {
    fn open_index(&self) -> &OpenIndex {
        &self.index
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    fn reopen(&self, rebuild: bool) -> Result<(), Error> {
        // Both connections are locked while they are replaced, together with the model's id, which
        // belongs to the index that they are open on.
        let (mut index, mut reader) = (self.index(), self.reader());
        let location = self.index.location();
        let own =
            |index: &Index| rebuild::own_model(index, &self.fingerprint, &self.files, &self.limits);
        let opened = if rebuild {
            location.open_rebuilt(own)?
        } else {
            location.open(IndexUsers::Some, own)?
        };
        *reader = Index::reader(&location.path())?;
        *index = opened.index;
        self.model.store(opened.first.0.0, Ordering::Release);
        drop((index, reader));
        // Callers that remember boundaries of segments ask for them again.
        self.changes.add_lost();
        report(&self.notices, opened.origin, opened.reconciled);
        Ok(())
    }
}

/// Creates the KV folder and the folders in it.
fn make_folders(storage: &dyn Storage, dir: &Path, files: &Files) -> Result<(), Error> {
    let (versioned, quarantine) = (dir.join("v1"), dir.join("quarantine"));
    for folder in [dir, &versioned, &files.folder, &quarantine] {
        storage.make_folder(folder).map_err(Error::folder(folder))?;
    }
    // A file is durable only when the entries of the folders above it are.
    for folder in [&versioned, dir] {
        storage.sync_folder(folder).map_err(Error::folder(folder))?;
    }
    // The folder above the KV folder does not belong to npast, and this user may not be allowed to open
    // it.
    let above = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if let Err(error) = storage.sync_folder(above.unwrap_or(Path::new("."))) {
        tracing::debug!(%error, "the folder above kv is not synced");
    }
    Ok(())
}
