//! Removes the snapshots and logits rows that a new one of the same owner makes unnecessary, unless
//! another owner holds them.

use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::format::RecordKind;
use crate::kv::record::put::Record;
use crate::kv::record::role::SnapshotRole;

use super::failure::WriteFailure;

/// To be called when the record is durable. Files are removed before their rows: a crash in between
/// leaves rows without files, which the next open removes.
pub(in crate::kv) fn supersede(store: &OpenStore, record: &Record) -> Result<(), WriteFailure> {
    match record.role {
        Some(_) if record.owner.is_empty() => Ok(()),
        Some(role @ (SnapshotRole::Turn | SnapshotRole::Step)) => snapshots(store, record, role),
        Some(SnapshotRole::Row) => row(store, record),
        Some(SnapshotRole::Head) | None => Ok(()),
    }
}

/// Makes a snapshot its owner's, and removes those that it makes unnecessary. What a crash leaves of
/// them is found again at the owner's next snapshot.
fn snapshots(store: &OpenStore, record: &Record, role: SnapshotRole) -> Result<(), WriteFailure> {
    let owner = &record.owner;
    let new = (record.to, record.p1, role);
    let gone = store
        .index()
        .states(store.model())
        .put(owner, new, &record.past)?;
    for superseded in gone.iter().filter(|s| s.free) {
        store.files.remove(&superseded.node.name())?;
    }
    if !gone.is_empty() {
        store.index().states(store.model()).release(owner, &gone)?;
    }
    Ok(())
}

/// Makes a logits row its owner's turn, and removes the row that was it before.
fn row(store: &OpenStore, record: &Record) -> Result<(), WriteFailure> {
    let before = store
        .index()
        .turns(store.model())
        .replace_row(&record.owner, record.to)?;
    if let Some(digest) = before {
        store
            .files
            .remove(&files::name(RecordKind::Node, digest, digest))?;
        store.index().nodes(store.model()).remove(digest)?;
    }
    Ok(())
}
