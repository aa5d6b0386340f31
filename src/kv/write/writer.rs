//! The writer thread: one record at a time, in the order of the calls, each durable before its row
//! exists. A failure costs that record and a notice, never the thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rusqlite::ErrorCode;

use crate::ledger::Digest;

use crate::kv::error::{Damage, Error};
use crate::kv::index::connection::Edge;
use crate::kv::index::rebuild;
use crate::kv::queue::Next;
use crate::kv::record::files;
use crate::kv::record::format::Kind;
use crate::kv::record::put::{Record, SnapshotRole};
use crate::kv::store::handle::{Live, describe};
use crate::kv::write::commit::{Committed, commit};
use crate::kv::write::evict::Collected;
use crate::kv::write::keeper::Keeper;
use crate::kv::write::merge::{Join, Merged};
use crate::kv::write::row;
use crate::kv::write::split::split;

/// Chains of before that are looked at for what to merge, the latest first.
const LATEST: usize = 8;

/// What the thread is asked to do.
pub(in crate::kv) enum Job {
    Put(Record),
    Pin {
        owner: String,
        digest: Digest,
    },
    Hold {
        owner: String,
        digest: Digest,
    },
    Unpin {
        owner: String,
    },
    Sample {
        owner: String,
        digest: Digest,
        values: Vec<f32>,
    },
    Agree {
        owner: String,
        digest: Digest,
    },
    Collect {
        reply: Sender<Result<Collected, Error>>,
    },
    MakeRoom {
        bytes: u64,
        reply: Sender<Collected>,
    },
    MergeWith {
        join: Arc<dyn Join>,
    },
    Merge {
        reply: Sender<Merged>,
    },
    Split {
        edge: Edge,
        at: usize,
        middle: Digest,
    },
}

impl Job {
    pub(in crate::kv) fn bytes(&self) -> usize {
        match self {
            Job::Put(record) => record.bytes(),
            Job::Sample { values, .. } => 4 * values.len(),
            _ => 0,
        }
    }
}

/// Why a job failed.
pub(in crate::kv) enum Failure {
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
pub(in crate::kv) fn run(live: &Live) {
    let mut keeper = Keeper::default();
    let mut patience = Patience::default();
    let worked = catch_unwind(AssertUnwindSafe(|| {
        loop {
            let idle = keeper.merger.is_due().then_some(live.limits.merge_after);
            match live.queue.next(idle) {
                Next::Job(job, bytes) => {
                    let done = live.sound(|| work(live, &mut keeper, &job));
                    patience.after(live, done.as_ref().err());
                    if let Err(failure) = done {
                        tell(live, failure);
                    }
                    drop(job);
                    live.queue.done(bytes);
                }
                Next::Idle => {
                    // One at a time: a put that comes meanwhile waits for one merge at most.
                    if let Err(failure) = live.sound(|| keeper.merge(live)) {
                        tell_merging(live, failure);
                    }
                }
                Next::Closed => break,
            }
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

/// How long the writer waits for another process that changes the index; see `Limits::index_wait`.
#[derive(Default)]
struct Patience {
    short: bool,
}

impl Patience {
    fn after(&mut self, live: &Live, failure: Option<&Failure>) {
        let in_vain = matches!(failure, Some(Failure::Index(error))
            if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if in_vain == self.short {
            return;
        }
        self.short = in_vain;
        let long = live.limits.index_wait;
        let most = if in_vain { long / 100 } else { long };
        if let Err(error) = live.index().wait(most) {
            tracing::debug!(%error, "the index waits as long as before");
        }
    }
}

fn work(live: &Live, keeper: &mut Keeper, job: &Job) -> Result<(), Failure> {
    match job {
        Job::Put(record) => {
            if let Err(failure) = put(live, keeper, record) {
                live.lost();
                return match vanished(live, &failure) {
                    true => make_again(live),
                    false => Err(failure),
                };
            }
            keeper.put(record);
        }
        Job::Pin { owner, digest } => {
            keeper.pin(live, owner, *digest)?;
            keeper.mind_the_quota(live);
        }
        Job::Hold { owner, digest } => {
            keeper.hold(live, owner, *digest)?;
        }
        Job::Unpin { owner } => {
            live.index().unpin(owner)?;
            keeper.unpin(owner);
        }
        Job::Sample {
            owner,
            digest,
            values,
        } => {
            let at = (*digest, live.soft);
            live.index().add_sample(live.model(), owner, at, values)?;
        }
        Job::Agree { owner, digest } => {
            live.index()
                .agree(live.model(), owner, (*digest, live.soft))?;
        }
        Job::Collect { reply } => {
            // Who asked may have gone.
            let _ = reply.send(keeper.collect(live));
        }
        Job::MakeRoom { bytes, reply } => {
            let _ = reply.send(keeper.make_room(live, *bytes));
        }
        Job::MergeWith { join } => {
            let pins = live.index().latest_pins(live.model(), LATEST)?;
            keeper.merger.begin(join.clone(), pins);
        }
        Job::Split { edge, at, middle } => {
            let Some(join) = keeper.merger.join() else {
                live.lost();
                return Ok(());
            };
            let done = split(live, join.as_ref(), edge, (*at, *middle));
            if !matches!(done, Ok(true)) {
                // Its caller takes it for a boundary.
                live.lost();
            }
            done?;
        }
        Job::Merge { reply } => {
            let mut all = Merged::default();
            loop {
                match live.sound(|| keeper.merge(live)) {
                    Ok(Some(merged)) => {
                        all.replaced += merged.replaced;
                        all.written += merged.written;
                        all.bytes += merged.bytes;
                    }
                    Ok(None) => break,
                    Err(failure) => {
                        tell_merging(live, failure);
                        break;
                    }
                }
            }
            let _ = reply.send(all);
        }
    }
    Ok(())
}

/// Somebody deleted the folder while it was in use.
fn vanished(live: &Live, failure: &Failure) -> bool {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    matches!(failure, Failure::Io(error) if missing(error))
        && live.files.list().is_err_and(|error| missing(&error))
}

/// Makes the folder again, and forgets what was in there: the next turn stores all of its own anew.
fn make_again(live: &Live) -> Result<(), Failure> {
    live.files.storage.make_folder(&live.files.folder)?;
    let again = describe(&live.files, &live.fingerprint).and_then(|()| {
        let hard = live.fingerprint.hard;
        live.sound(|| rebuild::mend(&live.index(), live.model(), &live.files, hard, &live.limits))
    });
    if let Err(error) = again {
        tracing::warn!(%error, "the kv folder was made again and is not in order");
    }
    live.notices.add(
        "The KV folder has vanished; it is made again.".to_owned(),
        "Nothing to do: what is in use is stored anew with the next turn, the rest is evaluated again.",
    );
    Ok(())
}

/// Stores a record, or says to whom it belongs that it could not be: see `Store::changes`.
fn put(live: &Live, keeper: &mut Keeper, record: &Record) -> Result<(), Failure> {
    let room = |bytes| keeper.leave_the_reserve(live, bytes);
    match commit(live, record, room)? {
        Committed::New => live.notices.well(),
        Committed::Loose => {
            live.lost();
            return Ok(());
        }
        Committed::Other if record.kind == Kind::Edge => {
            live.other(record.to);
            return Ok(());
        }
        placed => {
            if placed == Committed::Other {
                live.other(record.to);
            }
            if let Some(role) = record.role {
                live.index().strengthen(live.model(), record.to, role)?;
            }
        }
    }
    match record.role {
        Some(_) if record.owner.is_empty() => Ok(()),
        Some(role @ (SnapshotRole::Turn | SnapshotRole::Step)) => thin(live, record, role),
        Some(SnapshotRole::Row) => row::replace(live, record),
        Some(SnapshotRole::Head) | None => Ok(()),
    }
}

/// The new snapshot is durable and its owner's; those that it makes needless go.
fn thin(live: &Live, record: &Record, role: SnapshotRole) -> Result<(), Failure> {
    let (owner, past) = (&record.owner, &record.past);
    let new = (record.to, record.p1, role);
    let gone = live.index().new_state(live.model(), owner, new, past)?;
    // Files first: a crash in between leaves rows without files, which open drops, and what was not
    // reached is found needless again at the next put.
    for superseded in gone.iter().filter(|s| s.free) {
        let digest = superseded.node.digest;
        live.files
            .remove(&files::name(Kind::Node, digest, digest))?;
    }
    if !gone.is_empty() {
        live.index().let_go(live.model(), owner, &gone)?;
    }
    Ok(())
}

const FULL: &str =
    "Free some space; until then what is not saved is evaluated again after a restart.";
const CLOSED: &str =
    "Make the data folder writable; until then KV is evaluated again after a restart.";
const BROKEN: &str = "Check the disk of the data folder; saving is tried again with the next turn.";

fn tell(live: &Live, failure: Failure) {
    let (reason, text, hint) = match failure {
        Failure::Io(error) => {
            let (reason, hint) = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    ("full".to_owned(), FULL)
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ("closed".to_owned(), CLOSED)
                }
                kind => (format!("io {kind:?} {:?}", error.raw_os_error()), BROKEN),
            };
            (reason, format!("KV could not be saved: {error}."), hint)
        }
        Failure::Index(error) => {
            let (reason, hint) = index_trouble(&error);
            let text = format!("KV could not be noted in its index: {error}.");
            (reason, text, hint)
        }
        Failure::Invalid(damage) => (
            format!("invalid {damage:?}"),
            format!("A part of the KV state cannot be stored: {damage}."),
            "It is evaluated again after a restart; please report this.",
        ),
    };
    live.notices.add_once(&reason, text, hint);
}

/// What failed was idle work: nothing is less saved than before.
fn tell_merging(live: &Live, failure: Failure) {
    let error = match failure {
        Failure::Io(error) => error.to_string(),
        Failure::Index(error) => error.to_string(),
        Failure::Invalid(damage) => damage.to_string(),
    };
    live.notices.add_once(
        "merge",
        format!("Small KV files could not be merged: {error}."),
        "Nothing is lost, and it is tried again with the next turn; check the disk of the data folder.",
    );
}

/// Under which reason an index's failure is told, and what to do. A full disk is one trouble,
/// whichever file met it first.
fn index_trouble(error: &rusqlite::Error) -> (String, &'static str) {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ("full".to_owned(), FULL),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            ("closed".to_owned(), CLOSED)
        }
        Some(code @ ErrorCode::SystemIoFailure) => (format!("index {code:?}"), BROKEN),
        Some(code @ (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => (
            format!("index {code:?}"),
            "Another npast held the index for long; what was not noted is found at the next start.",
        ),
        code => (
            format!("index {code:?}"),
            "Check the disk of the data folder; what was not noted is found at the next start.",
        ),
    }
}
