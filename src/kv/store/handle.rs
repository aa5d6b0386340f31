//! [`Store`]: a KV folder opened for one model, and the life of its writer thread. `agent/engine.rs`
//! opens it after the model is loaded; the other files in this folder have the rest of its methods.
//! Invariant: when the last handle is dropped, everything that was put is durable, or a notice was given.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::kv::error::Error;
use crate::kv::limits::StoreLimits;
use crate::kv::model::fingerprint::Fingerprint;
use crate::kv::notice::KvNotice;
use crate::kv::open::changes::Changes;
use crate::kv::open::store::OpenStore;
use crate::kv::queue::{Flushed, JobQueue};
use crate::kv::record::storage::{Disk, Storage};
use crate::kv::write::job::WriterJob;
use crate::kv::write::writer;
use crate::ledger::Digest;

/// Stored KV of one model. Cloning gives another handle of the same store, which is cheap. Dropping the
/// last handle waits until the writer thread has done all jobs.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
    /// True when nothing is changed through this handle.
    reading: bool,
}

struct StoreInner {
    fingerprint: Fingerprint,
    /// `None` when KV is not saved.
    on: Option<OpenWithWriter>,
}

/// An open store with its writer thread.
struct OpenWithWriter {
    open: Arc<OpenStore>,
    queue: Arc<JobQueue<WriterJob>>,
    /// `None` only while the last handle is dropped.
    writer: Option<JoinHandle<()>>,
}

impl Drop for OpenWithWriter {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Store {
    /// Opens the store in the KV folder `dir` ($NPAST_HOME/kv), or creates it; removes temporary files
    /// that crashed processes left, rebuilds the index if it is missing, damaged or of another version,
    /// and starts the writer thread.
    ///
    /// # Errors
    /// When KV cannot be saved in this folder; [`Store::off`] is a store for this case.
    pub fn open(dir: &Path, fingerprint: Fingerprint, limits: StoreLimits) -> Result<Store, Error> {
        Store::open_on(Arc::new(Disk), dir, fingerprint, limits)
    }

    /// [`Store::open`] with another [`Storage`] for the record files. The index and the lock files are
    /// always real files in `dir`.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        dir: &Path,
        fingerprint: Fingerprint,
        limits: StoreLimits,
    ) -> Result<Store, Error> {
        let open = OpenStore::open(storage, dir, fingerprint.clone(), limits)?;
        let (open, queue) = (Arc::new(open), Arc::new(JobQueue::new(limits.queue_bytes)));
        let (shared, jobs) = (open.clone(), queue.clone());
        let writer = thread::Builder::new()
            .name("npast-kv".to_string())
            .spawn(move || writer::run(&shared, &jobs))
            .map_err(Error::folder(dir))?;
        let on = OpenWithWriter {
            open,
            queue,
            writer: Some(writer),
        };
        Ok(Store {
            inner: Arc::new(StoreInner {
                fingerprint,
                on: Some(on),
            }),
            reading: false,
        })
    }

    /// A store that saves no KV: lookups find nothing, and puts are ignored.
    pub fn off() -> Store {
        Store {
            inner: Arc::new(StoreInner {
                fingerprint: Fingerprint::new(Value::Null, Value::Null),
                on: None,
            }),
            reading: false,
        }
    }

    /// A handle of the same store, through which nothing is put, pinned or moved to quarantine.
    pub fn reading(&self) -> Store {
        Store {
            inner: self.inner.clone(),
            reading: true,
        }
    }

    /// Whether nothing is changed through this handle.
    pub fn is_reading(&self) -> bool {
        self.reading
    }

    /// Whether this store saves no KV.
    pub fn is_off(&self) -> bool {
        self.inner.on.is_none()
    }

    /// The fingerprint of this run; the hard part of stored KV must be equal to its hard part.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.inner.fingerprint
    }

    /// The digest of this run's soft facts. Each record has the one under which it was written.
    pub fn soft(&self) -> Digest {
        self.inner.fingerprint.soft_digest()
    }

    /// Takes the notices for the user that were added since the last call.
    pub fn take_notices(&self) -> Vec<KvNotice> {
        self.open_store()
            .map_or_else(Vec::new, |open| open.notices.take())
    }

    /// Counts of what happened to segments that were put. When a count has changed, the caller asks again
    /// for the boundaries that it remembers, after a [`Store::flush`].
    pub fn changes(&self) -> Changes {
        self.open_store()
            .map_or(Changes::default(), |open| open.changes.now())
    }

    /// The digests at the ends of segments, and the digests of snapshots, that were put since the last
    /// call and that another process had stored with other bytes before. [`Changes::other`] counts them.
    pub fn take_others(&self) -> Vec<Digest> {
        self.open_store()
            .map_or_else(Vec::new, |open| open.changes.take_others())
    }

    /// Waits until every earlier put is durable, or has failed with a notice.
    ///
    /// # Errors
    /// When the writer thread has ended.
    pub fn flush(&self) -> Result<(), Error> {
        match self.inner.on.as_ref().map(|on| on.queue.flush()) {
            Some(Flushed::Dead) => Err(Error::Stopped),
            Some(Flushed::Done) | None => Ok(()),
        }
    }

    /// The open store; `None` when KV is not saved.
    pub(in crate::kv) fn open_store(&self) -> Option<&Arc<OpenStore>> {
        self.inner.on.as_ref().map(|on| &on.open)
    }

    /// The open store, if it may be changed through this handle.
    pub(in crate::kv) fn changeable(&self) -> Option<&OpenStore> {
        self.open_store()
            .filter(|_| !self.reading)
            .map(|open| &**open)
    }

    /// Gives a job to the writer thread. The job is dropped when this handle may change nothing, and when
    /// the thread has ended (a notice was given then).
    pub(in crate::kv) fn push(&self, job: WriterJob) {
        if let (Some(on), false) = (&self.inner.on, self.reading) {
            let bytes = job.bytes();
            on.queue.push(job, bytes);
        }
    }

    #[cfg(test)]
    pub(in crate::kv) fn with_index<T>(
        &self,
        ask: impl FnOnce(&crate::kv::index::connection::Index, crate::kv::index::models::ModelId) -> T,
    ) -> T {
        let open = self.open_store().expect("a store that is on");
        ask(&open.index(), open.model())
    }

    #[cfg(test)]
    pub(in crate::kv) fn with_reader<T>(
        &self,
        ask: impl FnOnce(&crate::kv::index::connection::Index) -> T,
    ) -> T {
        ask(&self.open_store().expect("a store that is on").reader())
    }

    /// Whether a thread holds the connection for changes.
    #[cfg(test)]
    pub(in crate::kv) fn is_changing(&self) -> bool {
        self.open_store().is_some_and(|open| open.index.is_locked())
    }

    #[cfg(test)]
    pub(in crate::kv) fn pressure(&self) -> (usize, usize) {
        self.inner
            .on
            .as_ref()
            .map_or((0, 0), |on| on.queue.pressure())
    }
}
