//! A KV folder opened for one model: what the handle, the writer thread and the readers share.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kv::error::Error;
use crate::kv::index::connection::Index;
use crate::kv::index::location::{IndexLocation, IndexUsers};
use crate::kv::index::models::ModelId;
use crate::kv::index::rebuild;
use crate::kv::limits::{Limits, quota};
use crate::kv::model::facts::{describe, short};
use crate::kv::model::fingerprint::Fingerprint;
use crate::kv::notice::Notices;
use crate::kv::record::files::{self, Files};
use crate::kv::record::storage::Storage;
use crate::ledger::Digest;

use super::changes::ChangeCounts;
use super::index::{IndexOwner, OpenIndex, report};
use super::lock::FolderLock;

/// An open store.
pub(in crate::kv) struct OpenStore {
    pub(in crate::kv) fingerprint: Fingerprint,
    /// The digest of the fingerprint's soft facts.
    pub(in crate::kv) soft: Digest,
    pub(in crate::kv) limits: Limits,
    pub(in crate::kv) files: Files,
    pub(in crate::kv) notices: Notices,
    pub(in crate::kv) changes: ChangeCounts,
    /// The most bytes of all files of the folder.
    pub(in crate::kv) quota: u64,
    /// This model's number in the index.
    model: AtomicI64,
    /// Dropped before `index`: the last connection that closes removes the write-ahead log, and this one
    /// only reads.
    reader: Mutex<Index>,
    pub(in crate::kv) index: OpenIndex,
    /// Held until the store is dropped, so no process removes unfinished files while this one writes.
    _lock: FolderLock,
}

impl OpenStore {
    /// Opens or makes the store in `dir`, removes what crashes left, and rebuilds the index if it is
    /// missing, damaged or of another version.
    ///
    /// # Errors
    /// When KV cannot be saved there.
    pub(in crate::kv) fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        fingerprint: Fingerprint,
        limits: Limits,
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

    /// This model's number. Read it while you hold the connection that you use it with: a rebuild
    /// exchanges both.
    pub(in crate::kv) fn model(&self) -> ModelId {
        ModelId(self.model.load(Ordering::Acquire))
    }

    /// The connection for queries. The writer, its files and other processes that write never hold it
    /// up. It sees all that was flushed.
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
        // Both connections, and the model's number with them: it is of the index they are open on.
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
        // Callers that know boundaries of segments look them up again.
        self.changes.add_lost();
        report(&self.notices, opened.origin, opened.reconciled);
        Ok(())
    }
}

fn make_folders(storage: &dyn Storage, dir: &Path, files: &Files) -> Result<(), Error> {
    let (versioned, quarantine) = (dir.join("v1"), dir.join("quarantine"));
    for folder in [dir, &versioned, &files.folder, &quarantine] {
        storage.make_folder(folder).map_err(Error::folder(folder))?;
    }
    // A file is durable when the folders above it are.
    for folder in [&versioned, dir] {
        storage.sync_folder(folder).map_err(Error::folder(folder))?;
    }
    // The folder above is not npast's own: it may be closed to this user.
    let above = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if let Err(error) = storage.sync_folder(above.unwrap_or(Path::new("."))) {
        tracing::debug!(%error, "the folder above kv is not synced");
    }
    Ok(())
}
