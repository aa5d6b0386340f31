//! The loop of the writer thread: it does one job after another, in the order of the calls, and merges
//! segments when it has nothing else to do. If a job fails, the user gets a notice, and the thread goes on
//! with the next job. The thread ends when the last handle of the store is dropped and all jobs are done,
//! or after a panic. Invariant: a record is durable before its index row is added.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::ErrorCode;

use crate::kv::error::Error;
use crate::kv::index::rebuild;
use crate::kv::model::facts::describe;
use crate::kv::open::index::IndexOwner;
use crate::kv::open::store::OpenStore;
use crate::kv::queue::{JobQueue, NextJob};
use crate::kv::record::format::RecordKind;
use crate::kv::record::put::PendingRecord;
use crate::ledger::Digest;

use super::commit::{Committed, commit};
use super::failure::{WriteFailure, report, report_merging};
use super::in_use::CurrentOwner;
use super::job::WriterJob;
use super::merge::{Merged, MergedChain, Merger};
use super::pins::PinWriter;
use super::room::{DiskRoom, Evicting};
use super::split::split;
use super::supersede::supersede;

/// How many chains of earlier processes are merged: those of the latest pins.
const LATEST: usize = 8;

/// The body of the thread: does jobs until the queue is closed and empty.
pub(in crate::kv) fn run(store: &OpenStore, queue: &JobQueue<WriterJob>) {
    let mut writer = WriterThread::new(store);
    let worked = catch_unwind(AssertUnwindSafe(|| {
        while let NextJob::Job(job, bytes) = queue.next() {
            let done = store.sound(|| writer.work(&job));
            writer.adjust_wait(done.as_ref().err());
            if let Err(failure) = done {
                report(&store.notices, &failure);
            }
            drop(job);
            queue.done(bytes);
        }
    }));
    if worked.is_err() {
        store.notices.add(
            Error::Stopped.to_string(),
            "Conversations are safe; restart to save KV again, and report this.",
        );
        queue.die();
    }
}

/// What the thread remembers from job to job.
struct WriterThread<'a> {
    store: &'a OpenStore,
    current: CurrentOwner,
    pins: PinWriter,
    room: DiskRoom,
    merger: Merger,
    /// True when the last change has waited for another process without success; see
    /// `Limits::index_wait`.
    waits_shortly: bool,
}

impl<'a> WriterThread<'a> {
    fn new(store: &'a OpenStore) -> WriterThread<'a> {
        WriterThread {
            store,
            current: CurrentOwner::default(),
            pins: PinWriter::default(),
            room: DiskRoom::default(),
            merger: Merger::default(),
            waits_shortly: false,
        }
    }

    /// Does a job. It may run again, when the job met damage in the index and the index was rebuilt.
    fn work(&mut self, job: &WriterJob) -> Result<(), WriteFailure> {
        let store = self.store;
        match job {
            WriterJob::Put(record) => {
                if let Err(failure) = self.put(record) {
                    store.changes.add_lost();
                    if self.is_folder_gone(&failure) {
                        return self.make_folder_again();
                    }
                    return Err(failure);
                }
                self.current.put(record);
            }
            WriterJob::Pin { owner, digest } => {
                self.current.set(owner);
                if self.pin(owner, *digest)? {
                    self.current.all_is_pinned();
                }
                let (room, on) = self.evicting();
                room.keep_quota(on);
            }
            WriterJob::Hold { owner, digest } => {
                // The conversation in the slot stays the current one.
                self.pin(owner, *digest)?;
            }
            WriterJob::Unpin { owner } => {
                store.index().owners().forget(owner)?;
                self.current.forget(owner);
                self.room.owner_forgotten();
            }
            WriterJob::Sample {
                owner,
                digest,
                values,
            } => {
                let at = (*digest, store.soft);
                let index = store.index();
                index.samples(store.model()).put(owner, at, values)?;
            }
            WriterJob::Agree { owner, digest } => {
                let at = (*digest, store.soft);
                let index = store.index();
                index.samples(store.model()).agree(owner, at)?;
            }
            WriterJob::Collect { reply } => {
                let (room, on) = self.evicting();
                // The caller may not wait any more.
                let _ = reply.send(room.collect(on));
            }
            WriterJob::MakeRoom { bytes, reply } => {
                let (room, on) = self.evicting();
                let _ = reply.send(room.make_room(on, *bytes));
            }
            WriterJob::MergeWith { join } => {
                let pins = store.index().pins(store.model()).latest(LATEST)?;
                self.merger.begin(join.clone(), pins);
            }
            WriterJob::Split { edge, at, middle } => {
                let Some(join) = self.merger.join() else {
                    store.changes.add_lost();
                    return Ok(());
                };
                let done = split(store, join.as_ref(), edge, (*at, *middle));
                if !matches!(done, Ok(true)) {
                    // The caller relies on the new boundary.
                    store.changes.add_lost();
                }
                done?;
            }
            WriterJob::Merge { reply } => {
                let _ = reply.send(self.merge_all());
            }
            // One merge at a time: a put that comes meanwhile waits for one at most.
            WriterJob::MergeOne { reply } => {
                let merged = store.sound(|| self.merge_once());
                let merged = merged.unwrap_or_else(|failure| {
                    report_merging(&store.notices, &failure);
                    None
                });
                let _ = reply.send(merged);
            }
        }
        Ok(())
    }

    /// Stores a record, or counts for the slot why it is not stored.
    fn put(&mut self, record: &PendingRecord) -> Result<(), WriteFailure> {
        let store = self.store;
        let (room, on) = self.evicting();
        let committed = commit(store, record, |bytes| room.keep_reserve(on, bytes))?;
        match committed {
            Committed::New => store.notices.well(),
            Committed::NoParent => {
                store.changes.add_lost();
                return Ok(());
            }
            Committed::Other if record.kind == RecordKind::Edge => {
                store.changes.add_other(record.to);
                return Ok(());
            }
            Committed::Same | Committed::Other => {
                if committed == Committed::Other {
                    store.changes.add_other(record.to);
                }
                if let Some(role) = record.role {
                    let index = store.index();
                    index.nodes(store.model()).strengthen(record.to, role)?;
                }
            }
        }
        supersede(store, record)
    }

    /// Moves the pin of an owner; returns whether something is stored at the digest.
    fn pin(&mut self, owner: &str, digest: Digest) -> Result<bool, WriteFailure> {
        let stored = self.pins.pin(self.store, owner, digest)?;
        if stored {
            self.merger.note(owner, digest);
        }
        Ok(stored)
    }

    /// Does one merge, if one is due.
    fn merge_once(&mut self) -> Result<Option<MergedChain>, WriteFailure> {
        let merged = self.merger.step(self.store, self.current.fresh())?;
        if let Some(merged) = &merged {
            tracing::debug!(?merged, "kv merged");
        }
        Ok(merged)
    }

    /// Does all merges that are due.
    fn merge_all(&mut self) -> Merged {
        let store = self.store;
        let mut all = Merged::default();
        loop {
            match store.sound(|| self.merge_once()) {
                Ok(Some(MergedChain { merged, .. })) => {
                    all.replaced += merged.replaced;
                    all.written += merged.written;
                    all.bytes += merged.bytes;
                }
                Ok(None) => return all,
                Err(failure) => {
                    report_merging(&store.notices, &failure);
                    return all;
                }
            }
        }
    }

    /// The parts of this thread that `DiskRoom` needs.
    fn evicting(&mut self) -> (&mut DiskRoom, Evicting<'_>) {
        let on = Evicting {
            store: self.store,
            current: &self.current,
            pins: &mut self.pins,
        };
        (&mut self.room, on)
    }

    /// Sets how long the next change waits for another process, depending on how the last change ended.
    fn adjust_wait(&mut self, failure: Option<&WriteFailure>) {
        let in_vain = matches!(failure, Some(WriteFailure::Index(error))
            if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if in_vain == self.waits_shortly {
            return;
        }
        self.waits_shortly = in_vain;
        let long = self.store.limits.index_wait;
        let most = if in_vain { long / 100 } else { long };
        if let Err(error) = self.store.index().wait(most) {
            tracing::debug!(%error, "the index waits as long as before");
        }
    }

    /// Whether somebody has deleted the model folder while it was in use.
    fn is_folder_gone(&self, failure: &WriteFailure) -> bool {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        matches!(failure, WriteFailure::Io(error) if missing(error))
            && self.store.files.list().is_err_and(|error| missing(&error))
    }

    /// Creates the model folder again, and removes the index rows of the records that were in it. The
    /// next turn stores all of its conversation again.
    fn make_folder_again(&self) -> Result<(), WriteFailure> {
        let store = self.store;
        store.files.storage.make_folder(&store.files.folder)?;
        let again = describe(&store.files, &store.fingerprint).and_then(|()| {
            store.sound(|| {
                rebuild::reconcile(
                    &store.index(),
                    store.model(),
                    &store.files,
                    store.fingerprint.hard,
                    &store.limits,
                )
            })
        });
        if let Err(error) = again {
            tracing::warn!(%error, "the kv folder was made again and is not in order");
        }
        store.notices.add(
            "The KV folder has vanished; it is made again.".to_owned(),
            "Nothing to do: what is in use is stored again with the next turn, the rest is evaluated again.",
        );
        Ok(())
    }
}
