//! The handle of an open store, and the life of its writer thread. The handle's other methods are in the
//! files beside this one.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::kv::error::Error;
use crate::kv::limits::Limits;
use crate::kv::model::fingerprint::Fingerprint;
use crate::kv::notice::Notice;
use crate::kv::open::changes::Changes;
use crate::kv::open::store::OpenStore;
use crate::kv::queue::{Flushed, Queue};
use crate::kv::record::storage::{Disk, Storage};
use crate::kv::write::job::WriterJob;
use crate::kv::write::writer;
use crate::ledger::Digest;

/// KV on disk for one fingerprint. A cheap handle; the last one dropped waits for the writer to
/// finish what was put.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
    /// Nothing is changed through this handle.
    reading: bool,
}

struct StoreInner {
    fingerprint: Fingerprint,
    /// `None` when KV is not saved.
    on: Option<OpenWithWriter>,
}

/// An open store and its writer thread.
struct OpenWithWriter {
    open: Arc<OpenStore>,
    queue: Arc<Queue<WriterJob>>,
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
    /// Opens or makes the store in `dir` ($NPAST_HOME/kv), removes what crashes left, rebuilds the
    /// index if it is missing, damaged or of another version, and starts the writer. An error means
    /// that KV cannot be saved there; [`Store::off`] is a store for that case.
    pub fn open(dir: &Path, fingerprint: Fingerprint, limits: Limits) -> Result<Store, Error> {
        Store::open_on(Arc::new(Disk), dir, fingerprint, limits)
    }

    /// [`Store::open`] on another storage. The index and the lock are always real files in `dir`.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        dir: &Path,
        fingerprint: Fingerprint,
        limits: Limits,
    ) -> Result<Store, Error> {
        let open = OpenStore::open(storage, dir, fingerprint.clone(), limits)?;
        let (open, queue) = (Arc::new(open), Arc::new(Queue::new(limits.queue_bytes)));
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

    /// A store that finds nothing and drops what is put.
    pub fn off() -> Store {
        Store {
            inner: Arc::new(StoreInner {
                fingerprint: Fingerprint::new(Value::Null, Value::Null),
                on: None,
            }),
            reading: false,
        }
    }

    /// The same store, through which nothing is put, pinned or moved to quarantine.
    pub fn reading(&self) -> Store {
        Store {
            inner: self.inner.clone(),
            reading: true,
        }
    }

    /// Whether nothing can be changed through this handle.
    pub fn is_reading(&self) -> bool {
        self.reading
    }

    /// Whether this store keeps nothing.
    pub fn is_off(&self) -> bool {
        self.inner.on.is_none()
    }

    /// What stored KV must agree with.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.inner.fingerprint
    }

    /// The digest of this run's soft facts; files say which they were written under.
    pub fn soft(&self) -> Digest {
        self.inner.fingerprint.soft_digest()
    }

    /// The notices for the user since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.open_store()
            .map_or_else(Vec::new, |open| open.notices.take())
    }

    /// What happened to segments that were handed over. When a count has changed, the caller looks up
    /// the boundaries that it knows again, after a [`Store::flush`].
    pub fn changes(&self) -> Changes {
        self.open_store()
            .map_or(Changes::default(), |open| open.changes.now())
    }

    /// Ends of segments, and digests of snapshots, that were handed over since the last call and that
    /// another process had stored meanwhile with other bytes. Counted in [`Changes::other`].
    pub fn take_others(&self) -> Vec<Digest> {
        self.open_store()
            .map_or_else(Vec::new, |open| open.changes.take_others())
    }

    /// Waits until all that was put before is durable, or failed with a notice.
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

    /// The open store, when this handle may change it.
    pub(in crate::kv) fn changeable(&self) -> Option<&OpenStore> {
        self.open_store()
            .filter(|_| !self.reading)
            .map(|open| &**open)
    }

    /// Gives the writer a job. The job is dropped when this handle may change nothing, and when the writer
    /// has died, of which a notice was given.
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

    /// Whether a thread is changing the index, or waiting for its turn.
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
