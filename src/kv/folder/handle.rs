//! [`KvFolder`]: a KV folder with the records of any number of models, opened when no model is loaded: for
//! `npast kv` and for commands on sessions. It opens the same index as a store, makes it agree with the
//! files, and has no writer thread. Invariant: [`KvFolder::collect`] (garbage collection by `npast kv gc`)
//! fails if another process used the KV folder when this [`KvFolder`] was opened. (`Store::collect` does not
//! look for other processes: see `store/upkeep.rs`.)

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use serde_json::Value;

use crate::kv::error::Error;
use crate::kv::index::connection::Index;
use crate::kv::index::graph::Graph;
use crate::kv::index::location::{IndexLocation, IndexUsers};
use crate::kv::index::rebuild;
use crate::kv::index::table::SqlResult;
use crate::kv::limits::{StoreLimits, quota};
use crate::kv::notice::{KvNotice, Notices};
use crate::kv::open::index::{IndexOwner, OpenIndex, report};
use crate::kv::open::lock::FolderLock;
use crate::kv::record::files::{self, Files};
use crate::kv::record::storage::{Disk, Storage};
use crate::kv::write::evict::{self, Collected, EvictWhat};
use crate::kv::write::in_use::InUse;

/// A KV folder with all its models.
pub struct KvFolder {
    root: PathBuf,
    /// The files without a model folder; [`Files::of`] gives those of one model.
    files: Files,
    limits: StoreLimits,
    index: OpenIndex,
    notices: Notices,
    lock: FolderLock,
}

impl KvFolder {
    /// Opens the KV folder `dir` ($NPAST_HOME/kv), and makes index and files agree, as a store does at
    /// its start. `None` if nothing was ever stored there.
    ///
    /// # Errors
    /// When the folder cannot be read or its index cannot be written.
    pub fn open(dir: &Path, limits: StoreLimits) -> Result<Option<KvFolder>, Error> {
        if !dir.join("v1").is_dir() {
            return Ok(None);
        }
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let quarantine = dir.join("quarantine");
        storage
            .make_folder(&quarantine)
            .map_err(Error::folder(&quarantine))?;
        let lock = FolderLock::take(dir)?;
        let mut users = IndexUsers::Some;
        if lock.was_alone() {
            files::sweep_all(&storage, dir)?;
            users = IndexUsers::Nobody;
        }
        let location = IndexLocation::new(storage.clone(), dir, limits);
        let opened = location.open(users, |index| {
            rebuild::reconcile_all(index, &storage, dir, &limits)
        })?;
        let notices = Notices::default();
        let mut reconciled = opened.reconciled;
        reconciled.added += opened.first.added;
        reconciled.refused += opened.first.refused;
        report(&notices, opened.origin, reconciled);
        Ok(Some(KvFolder {
            root: dir.to_path_buf(),
            files: Files::new(storage, dir, ""),
            limits,
            index: OpenIndex::new(location, opened.index),
            notices,
            lock,
        }))
    }

    /// Takes the notices for the user that were added since the last call.
    pub fn take_notices(&self) -> Vec<KvNotice> {
        self.notices.take()
    }

    /// The quota: the maximum number of bytes of all record files.
    pub fn quota(&self) -> u64 {
        quota(&self.root, self.limits.quota_bytes)
    }

    /// Garbage collection: removes every record that no owner reaches, and then what is above the quota.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process uses the folder, because no owner may reach yet what that
    /// process has just stored. Otherwise when files or index fail.
    pub fn collect(&self) -> Result<Collected, Error> {
        if !self.lock.was_alone() {
            return Err(Error::Busy);
        }
        let (what, used) = (EvictWhat::Unreached, InUse::default());
        let done = self.sound(|| evict::evict(&self.index, &self.files, self.quota(), what, &used));
        Ok(done.map_err(|error| error.at(&self.root))?.0)
    }

    /// The connection to the index.
    pub(in crate::kv) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    pub(in crate::kv) fn root(&self) -> &Path {
        &self.root
    }

    pub(in crate::kv) fn files(&self) -> &Files {
        &self.files
    }

    pub(in crate::kv) fn limits(&self) -> &StoreLimits {
        &self.limits
    }

    pub(in crate::kv) fn lock(&self) -> &FolderLock {
        &self.lock
    }

    /// The graphs of all models, each with the hard facts of its model.
    pub(in crate::kv) fn graphs(&self) -> SqlResult<Vec<(Graph, Value)>> {
        let index = self.index();
        let mut graphs = Vec::new();
        for model in index.models().all()? {
            let facts = serde_json::from_str(&model.facts).unwrap_or(Value::Null);
            graphs.push((Graph::load(&index, &model)?, facts));
        }
        Ok(graphs)
    }
}

impl IndexOwner for KvFolder {
    fn open_index(&self) -> &OpenIndex {
        &self.index
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    fn reopen(&self, rebuild: bool) -> Result<(), Error> {
        let mut index = self.index();
        let location = self.index.location();
        let first = |_: &Index| Ok(());
        let opened = if rebuild {
            location.open_rebuilt(first)?
        } else {
            location.open(IndexUsers::Some, first)?
        };
        *index = opened.index;
        drop(index);
        report(&self.notices, opened.origin, opened.reconciled);
        Ok(())
    }
}
