//! The writer thread: one record at a time, in the order of the calls, each durable before its row
//! exists. A failure costs that record and a notice, never the thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;

use crate::ledger::Digest;

use super::collect::Collected;
use super::error::{Damage, Error};
use super::files;
use super::format::Kind;
use super::keeper::Keeper;
use super::put::{Record, SnapshotRole};
use super::row;
use super::store::Live;

/// What the thread is asked to do.
pub(super) enum Job {
    Put(Record),
    Pin {
        owner: String,
        digest: Digest,
    },
    Unpin {
        owner: String,
    },
    Collect {
        reply: Sender<Result<Collected, Error>>,
    },
}

impl Job {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Job::Put(record) => record.bytes(),
            Job::Pin { .. } | Job::Unpin { .. } | Job::Collect { .. } => 0,
        }
    }
}

/// Why a job failed.
pub(super) enum Failure {
    Io(io::Error),
    Index(rusqlite::Error),
    Invalid(Damage),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Index(error)
    }
}

/// The thread's whole life: works until the queue is closed and empty.
pub(super) fn run(live: &Live) {
    let mut keeper = Keeper::default();
    let worked = catch_unwind(AssertUnwindSafe(|| {
        while let Some((job, bytes)) = live.queue.next() {
            if let Err(failure) = work(live, &mut keeper, &job) {
                tell(live, failure);
            }
            drop(job);
            live.queue.done(bytes);
        }
    }));
    if worked.is_err() {
        live.notices.add(
            Error::Stopped.to_string(),
            "Conversations are safe; restart to save KV again, and report this.",
        );
        live.queue.die();
    }
}

fn work(live: &Live, keeper: &mut Keeper, job: &Job) -> Result<(), Failure> {
    match job {
        Job::Put(record) => {
            put(live, record)?;
            row::replace(live, record)?;
            keeper.put(record);
        }
        Job::Pin { owner, digest } => {
            keeper.pin(live, owner, *digest)?;
            keeper.mind_the_quota(live);
        }
        Job::Unpin { owner } => {
            live.index().unpin(owner)?;
            keeper.unpin(owner);
        }
        Job::Collect { reply } => {
            // Who asked may have gone.
            let _ = reply.send(keeper.collect(live));
        }
    }
    Ok(())
}

fn put(live: &Live, record: &Record) -> Result<(), Failure> {
    let known = match record.kind {
        Kind::Edge => live.index().has_edge(live.model, record.from, record.to)?,
        Kind::Node => live.index().has_node(live.model, record.to)?,
    };
    if !known {
        let (header, sections) = record
            .encode(live.fingerprint.hard, live.soft, &live.limits)
            .map_err(Failure::Invalid)?;
        let parts = [
            &header[..],
            &sections.tokens,
            &sections.owner,
            &sections.logits,
            &record.payload,
        ];
        let name = files::name(record.kind, record.from, record.to);
        live.files.commit(&name, &parts)?;
        let bytes = parts.iter().map(|p| p.len() as u64).sum();
        add_row(live, record, bytes)?;
        live.notices.well();
    } else if let Some(role) = record.role {
        live.index().strengthen(live.model, record.to, role)?;
    }
    if record.role == Some(SnapshotRole::Turn) && !record.owner.is_empty() {
        let mut index = live.index();
        if let Some(free) = index.turn(live.model, &record.owner, record.to)? {
            // File first: a crash in between leaves a row without a file, which open drops; the
            // other order would leave a file that nothing ever replaces again.
            live.files
                .remove(&files::name(Kind::Node, free.digest, free.digest))?;
            index.drop_node(free.id)?;
        }
    }
    Ok(())
}

fn add_row(live: &Live, record: &Record, bytes: u64) -> Result<(), rusqlite::Error> {
    match record.role {
        None => {
            let edge = (record.from, record.to, record.p0, record.p1);
            live.index()
                .add_edge(live.model, edge, bytes, &record.tokens)
        }
        Some(role) => {
            let node = (record.to, record.p1, role);
            let logits = !record.logits.is_empty();
            live.index()
                .add_node(live.model, node, bytes, logits, &record.tokens)
        }
    }
}

fn tell(live: &Live, failure: Failure) {
    let (reason, text, hint) = match failure {
        Failure::Io(error) => (
            format!("io {:?} {:?}", error.kind(), error.raw_os_error()),
            format!("KV could not be saved: {error}."),
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "Free some space; until then what is not saved is evaluated again after a restart."
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "Make the data folder writable; until then KV is evaluated again after a restart."
                }
                _ => "Check the disk of the data folder; saving is tried again with the next turn.",
            },
        ),
        Failure::Index(error) => (
            format!("index {:?}", error.sqlite_error_code()),
            format!("KV could not be noted in its index: {error}."),
            "A restart rebuilds the index from the files.",
        ),
        Failure::Invalid(damage) => (
            format!("invalid {damage:?}"),
            format!("A part of the KV state cannot be stored: {damage}."),
            "It is evaluated again after a restart; please report this.",
        ),
    };
    live.notices.add_once(&reason, text, hint);
}
