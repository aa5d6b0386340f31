//! The handle: everything other rooms do with stored KV goes through [`Store`].

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::ledger::Digest;

use crate::kv::check::deep::{self, Sampled};
use crate::kv::error::Error;
use crate::kv::index::connection::{Edge, Index, ModelId};
use crate::kv::index::location::{Place, Users};
use crate::kv::index::rebuild;
use crate::kv::model::fingerprint::{Fingerprint, canonical};
use crate::kv::notice::{Notice, Notices};
use crate::kv::open::repair::{Remakes, report};
use crate::kv::queue::{Ended, Queue};
use crate::kv::record::files::Files;
use crate::kv::record::format::Limits;
use crate::kv::record::put::{PutSegment, PutSnapshot, Record};
use crate::kv::record::runs::Run;
use crate::kv::record::storage::{Disk, Storage, private};
use crate::kv::write::evict::{self, Collected};
use crate::kv::write::merge::{Join, Merged};
use crate::kv::write::writer::{self, Job};

/// KV on disk for one fingerprint. A cheap handle; the last one dropped waits for the writer to
/// finish what was put.
#[derive(Clone)]
pub struct Store {
    pub(in crate::kv) inner: Arc<Inner>,
    /// Nothing is changed through this handle.
    reading: bool,
}

pub(in crate::kv) struct Inner {
    pub(in crate::kv) fingerprint: Fingerprint,
    /// `None` when KV is not saved.
    pub(in crate::kv) live: Option<Arc<Live>>,
    writer: Option<JoinHandle<()>>,
}

/// Counts of what happened to segments after they were handed over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Not stored after all: a write failed, a file was set aside, the one before it was missing.
    /// Then [`Store::is_whole`] tells what is left.
    pub lost: u64,
    /// Merged into longer ones: a boundary may be inside of one now, see [`Store::is_end`].
    pub moved: u64,
    /// Stored by somebody else meanwhile, in other bytes: [`Store::take_others`] tells which.
    pub other: u64,
}

/// What the handle and the writer thread share.
pub(in crate::kv) struct Live {
    pub(in crate::kv) fingerprint: Fingerprint,
    pub(in crate::kv) soft: Digest,
    pub(in crate::kv) limits: Limits,
    pub(in crate::kv) files: Files,
    /// This model's number in the index, which is another one after the index was made anew.
    model: AtomicI64,
    pub(in crate::kv) place: Place,
    pub(in crate::kv) remakes: Remakes,
    pub(in crate::kv) notices: Notices,
    pub(in crate::kv) queue: Queue<Job>,
    /// Closed before the other connection, which puts the journal away.
    asked: Mutex<Index>,
    pub(in crate::kv) index: Mutex<Index>,
    /// The most bytes that all files of the folder may have.
    pub(in crate::kv) quota: u64,
    /// See [`Changes`].
    lost: AtomicU64,
    moved: AtomicU64,
    others: Mutex<Vec<Digest>>,
    other: AtomicU64,
    /// Held shared as long as the store lives: nobody sweeps under it.
    _lock: File,
}

impl Live {
    /// This model's number in the index that is in use; ask for it with the index in hand.
    pub(in crate::kv) fn model(&self) -> ModelId {
        ModelId(self.model.load(Ordering::Acquire))
    }

    pub(in crate::kv) fn set_model(&self, model: ModelId) {
        self.model.store(model.0, Ordering::Release);
    }

    /// For questions: never held up by the writer, its files, or another process that writes. What
    /// was flushed before is seen.
    pub(in crate::kv) fn asked(&self) -> MutexGuard<'_, Index> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For changes.
    pub(in crate::kv) fn index(&self) -> MutexGuard<'_, Index> {
        // Every change is a transaction, so a panic leaves nothing half done in there.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment that was handed over is not there.
    pub(in crate::kv) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Release);
    }

    /// Segments are one longer segment now.
    pub(in crate::kv) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Release);
    }

    /// What was handed over for a digest is there in other bytes.
    pub(in crate::kv) fn other(&self, digest: Digest) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(digest);
        self.other.fetch_add(1, Ordering::Release);
    }

    /// Whether there are such that nobody has asked for.
    pub(in crate::kv) fn has_others(&self) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        !others.is_empty()
    }

    pub(in crate::kv) fn take_others(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.queue.close();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Store {
    /// Opens or makes the store in `dir` ($NPAST_HOME/kv), sweeps what crashes left, rebuilds the
    /// index if it is gone or damaged, and starts the writer. An error means that KV cannot be
    /// saved there; [`Store::off`] goes on without.
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
        let short = rebuild::short(fingerprint.hard);
        let files = Files::new(storage.clone(), dir, &short);
        let quarantine = dir.join("quarantine");
        for folder in [dir, &dir.join("v1"), &files.folder, &quarantine] {
            storage.make_folder(folder).map_err(Error::folder(folder))?;
        }
        // A file is as durable as the folders above it.
        for folder in [&dir.join("v1"), dir] {
            storage.sync_folder(folder).map_err(Error::folder(folder))?;
        }
        // The one above is not ours; it may be closed to us.
        let above = dir.parent().filter(|p| !p.as_os_str().is_empty());
        if let Err(error) = storage.sync_folder(above.unwrap_or(Path::new("."))) {
            tracing::debug!(%error, "the folder above kv is not synced");
        }
        let (lock, alone) = lock(&dir.join("lock"))?;
        files.probe().map_err(Error::folder(&files.folder))?;
        if alone {
            rebuild::sweep(&storage, dir)?;
        }
        describe(&files, &fingerprint)?;
        let place = Place::new(storage.clone(), dir, limits);
        let users = if alone { Users::Nobody } else { Users::Some };
        let ready = place.open(users, |index| {
            rebuild::own_model(index, &fingerprint, &files, &limits)
        })?;
        let (model, own) = ready.first;
        let asked = Index::reader(&place.path())?;
        if alone {
            let path = dir.join("lock");
            lock.unlock()
                .and_then(|()| lock.lock_shared())
                .map_err(Error::folder(&path))?;
        }

        let live = Arc::new(Live {
            soft: fingerprint.soft_digest(),
            fingerprint: fingerprint.clone(),
            limits,
            files,
            model: AtomicI64::new(model.0),
            place,
            remakes: Remakes::default(),
            notices: Notices::default(),
            queue: Queue::new(limits.queue_bytes),
            asked: Mutex::new(asked),
            index: Mutex::new(ready.index),
            quota: evict::quota(dir, limits.quota_bytes),
            lost: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            others: Mutex::default(),
            other: AtomicU64::new(0),
            _lock: lock,
        });
        let mut mended = ready.mended;
        mended.added += own.added;
        mended.refused += own.refused;
        report(&live.notices, ready.opened, mended);
        let shared = live.clone();
        let writer = thread::Builder::new()
            .name("npast-kv".to_string())
            .spawn(move || writer::run(&shared))
            .map_err(Error::folder(dir))?;
        Ok(Store {
            inner: Arc::new(Inner {
                fingerprint,
                live: Some(live),
                writer: Some(writer),
            }),
            reading: false,
        })
    }

    /// A store that finds nothing and drops what is put.
    pub fn off() -> Store {
        Store {
            inner: Arc::new(Inner {
                fingerprint: Fingerprint::new(Value::Null, Value::Null),
                live: None,
                writer: None,
            }),
            reading: false,
        }
    }

    /// The same store, through which nothing is put, pinned, noted or set aside.
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

    /// At most `most` segments, spread over all that are stored for this fingerprint, with what it
    /// takes to evaluate them again.
    ///
    /// # Errors
    /// When the index or a file cannot be read.
    pub fn sampled(&self, most: usize) -> Result<Vec<Sampled>, Error> {
        self.live()
            .map_or(Ok(Vec::new()), |l| l.sound(|| deep::sampled(l, most)))
    }

    /// Whether this store keeps nothing.
    pub fn is_off(&self) -> bool {
        self.inner.live.is_none()
    }

    pub(in crate::kv) fn live(&self) -> Option<&Live> {
        self.inner.live.as_deref()
    }

    pub(in crate::kv) fn changing(&self) -> Option<&Live> {
        self.live().filter(|_| !self.reading)
    }

    /// What stored KV must agree with.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.inner.fingerprint
    }

    /// The digest of this run's soft facts; files say which they were written under.
    pub fn soft(&self) -> Digest {
        self.inner.fingerprint.soft_digest()
    }

    /// Notes what the state at a digest gives here, at most 1,024 values; the last 32 of an owner
    /// are kept. In the index alone, by the writer, in order with the puts.
    pub fn put_sample(&self, owner: &str, digest: Digest, values: Vec<f32>) {
        let owner = owner.to_owned();
        self.push(Job::Sample {
            owner,
            digest,
            values,
        });
    }

    /// Notes that it was: what leads there and the snapshot there need not be asked again. By the
    /// writer, in order with the puts.
    pub fn agree(&self, owner: &str, digest: Digest) {
        let owner = owner.to_owned();
        self.push(Job::Agree { owner, digest });
    }

    /// What a user should be told since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.live().map_or_else(Vec::new, |l| l.notices.take())
    }

    /// What happened to segments that were handed over. When it is not what it was, boundaries that
    /// a caller has in mind are asked for again, after a [`Store::flush`].
    pub fn changes(&self) -> Changes {
        self.live().map_or(Changes::default(), |live| Changes {
            lost: live.lost.load(Ordering::Acquire),
            moved: live.moved.load(Ordering::Acquire),
            other: live.other.load(Ordering::Acquire),
        })
    }

    /// Hands a segment to the writer. One that is stored already is dropped there. Blocks only
    /// while more than `Limits::queue_bytes` wait. A failure becomes a notice.
    pub fn put_segment(&self, put: PutSegment) {
        self.put_segment_of(put, Vec::new());
    }

    /// [`Store::put_segment`] with how it was evaluated: without a gap from p0 or before it to p1,
    /// or nothing where that is not known.
    pub fn put_segment_of(&self, put: PutSegment, runs: Vec<Run>) {
        let record = Record { runs, ..put.into() };
        self.push(Job::Put(record));
    }

    /// [`Store::put_segment_of`] for one of whose tokens the first `shared` have the bytes that
    /// [`Store::ahead`] found for them. If more of them are stored when the writer comes to it, it
    /// is not stored, and [`Store::take_others`] says so.
    pub fn put_version(&self, put: PutSegment, runs: Vec<Run>, shared: usize) {
        let record = Record {
            runs,
            shared,
            ..put.into()
        };
        self.push(Job::Put(record));
    }

    /// Makes two segments of one: [p0, at) and [at, p1). `middle` is D(at). Done by the writer, in
    /// order with the puts; one that is not there any more stays as it is.
    pub fn split(&self, edge: &Edge, at: usize, middle: Digest) {
        self.push(Job::Split {
            edge: edge.clone(),
            at,
            middle,
        });
    }

    /// Hands a snapshot to the writer; as [`Store::put_segment`]. When one with an owner is durable,
    /// the owner's older ones are thinned (docs/kv-format.md); files that another owner wants stay.
    pub fn put_snapshot(&self, put: PutSnapshot<'_>) {
        self.push(Job::Put(put.into()));
    }

    /// Makes `digest` what this owner wants kept under this fingerprint, instead of what it pinned
    /// before. Done by the writer, in order with the puts.
    pub fn pin(&self, owner: &str, digest: Digest) {
        let owner = owner.to_string();
        self.push(Job::Pin { owner, digest });
    }

    /// [`Store::pin`] for an owner whose conversation the slot does not hold: what is in use stays.
    pub(in crate::kv) fn hold_at(&self, owner: &str, digest: Digest) {
        let owner = owner.to_string();
        self.push(Job::Hold { owner, digest });
    }

    /// Forgets an owner, under every fingerprint.
    pub fn unpin(&self, owner: &str) {
        let owner = owner.to_string();
        self.push(Job::Unpin { owner });
    }

    /// Removes what no owner reaches under any fingerprint, then, if more than the quota is left,
    /// leaves of what is reached, those first that save the fewest tokens per byte; never what
    /// the owner needs that pinned or put last. Done by the writer, in order with the puts; it
    /// does the part that the quota asks for by itself, at the end of a turn.
    ///
    /// # Errors
    /// When the writer has stopped, or files or index fail.
    pub fn collect(&self) -> Result<Collected, Error> {
        if self.changing().is_none() {
            return Ok(Collected::default());
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(Job::Collect { reply });
        done.recv().unwrap_or(Err(Error::Stopped))
    }

    /// From now on small segments that follow each other are merged when nothing has been asked of
    /// the store for `Limits::merge_after`: those of chains that are pinned, and of those that were
    /// pinned last before.
    pub fn merge_with(&self, join: Arc<dyn Join>) {
        self.push(Job::MergeWith { join });
    }

    /// Merges now what would be merged in idle time. Nothing before [`Store::merge_with`].
    ///
    /// # Errors
    /// When the writer has stopped. What fails on the way is a notice, and ends it.
    pub fn merge(&self) -> Result<Merged, Error> {
        if self.is_off() {
            return Ok(Merged::default());
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(Job::Merge { reply });
        done.recv().map_err(|_| Error::Stopped)
    }

    /// Waits until all that was put before is durable, or failed with a notice.
    pub fn flush(&self) -> Result<(), Error> {
        match self.live().map(|live| live.queue.flush()) {
            Some(Ended::Dead) => Err(Error::Stopped),
            Some(Ended::Done) | None => Ok(()),
        }
    }

    pub(in crate::kv) fn push(&self, job: Job) {
        if let Some(live) = self.changing() {
            let bytes = job.bytes();
            // Without a writer there is one notice already; the job is dropped.
            live.queue.push(job, bytes);
        }
    }

    #[cfg(test)]
    pub(in crate::kv) fn with_index<T>(&self, ask: impl FnOnce(&Index, ModelId) -> T) -> T {
        let live = self.live().expect("a store that is on");
        ask(&live.index(), live.model())
    }

    #[cfg(test)]
    pub(in crate::kv) fn with_asked<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        ask(&self.live().expect("a store that is on").asked())
    }

    /// Whether the index is being changed, or waited for.
    #[cfg(test)]
    pub(in crate::kv) fn is_changing(&self) -> bool {
        self.live()
            .is_some_and(|live| live.index.try_lock().is_err())
    }

    #[cfg(test)]
    pub(in crate::kv) fn pressure(&self) -> (usize, usize) {
        self.live().map_or((0, 0), |l| l.queue.pressure())
    }
}

/// Takes the folder's lock: exclusive and `true` when no other process uses it, else shared. Some
/// file systems have no locks: then nobody is known to be alone, and nothing is swept.
pub(in crate::kv) fn lock(path: &Path) -> Result<(File, bool), Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = private(&mut options, path).map_err(Error::folder(path))?;
    match file.try_lock() {
        Ok(()) => Ok((file, true)),
        Err(std::fs::TryLockError::WouldBlock) => {
            file.lock_shared().map_err(Error::folder(path))?;
            Ok((file, false))
        }
        Err(std::fs::TryLockError::Error(error)) => {
            tracing::warn!(%error, "no lock on the kv folder");
            Ok((file, false))
        }
    }
}

/// Writes what the fingerprint means beside the files it names.
pub(in crate::kv) fn describe(files: &Files, fingerprint: &Fingerprint) -> Result<(), Error> {
    let facts = files.folder.join(rebuild::FACTS);
    match rebuild::read_facts(files) {
        Some((hard, _)) if hard == fingerprint.hard => {}
        Some((hard, _)) if rebuild::short(hard) == rebuild::short(fingerprint.hard) => {
            let source = io::Error::other("it belongs to another fingerprint of the same name");
            return Err(Error::folder(&facts)(source));
        }
        _ => {
            let text = rebuild::facts_text(fingerprint.hard, &fingerprint.facts);
            files
                .commit(rebuild::FACTS, &[text.as_bytes()])
                .map_err(Error::folder(&facts))?;
        }
    }
    let soft = soft_name(fingerprint.soft_digest());
    if files.open(&soft).is_err() {
        let text = canonical(&fingerprint.soft);
        files
            .commit(&soft, &[text.as_bytes()])
            .map_err(Error::folder(&files.folder))?;
    }
    Ok(())
}

/// The file that says what a soft fingerprint means.
pub(in crate::kv) fn soft_name(soft: Digest) -> String {
    format!("soft-{}.json", rebuild::short(soft))
}
