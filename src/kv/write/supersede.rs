//! Removes the snapshots and logits rows that a new one of the same owner replaces. The writer thread
//! calls it after each put of a snapshot or logits row. Invariants: nothing is removed before the new
//! record is durable, and the file of a node is removed only if no other owner holds the digest of this
//! node.

use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::format::RecordKind;
use crate::kv::record::put::PendingRecord;
use crate::kv::record::role::SnapshotRole;

use super::failure::WriteFailure;

/// Removes what `record` replaces. The caller has made the record durable. Files are removed before their
/// index rows: a crash in between leaves index rows without files, which the next open removes.
pub(in crate::kv) fn supersede(
    store: &OpenStore,
    record: &PendingRecord,
) -> Result<(), WriteFailure> {
    match record.role {
        Some(_) if record.owner.is_empty() => Ok(()),
        Some(role @ (SnapshotRole::Turn | SnapshotRole::Step)) => snapshots(store, record, role),
        Some(SnapshotRole::Row) => row(store, record),
        Some(SnapshotRole::Head) | None => Ok(()),
    }
}

/// Gives a snapshot to its owner in the table `state`, and removes the snapshots that it replaces. If a
/// crash interrupts this, the owner's next snapshot removes the rest.
fn snapshots(
    store: &OpenStore,
    record: &PendingRecord,
    role: SnapshotRole,
) -> Result<(), WriteFailure> {
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

/// Makes a logits row its owner's turn node, and removes the logits row that was the turn node before.
fn row(store: &OpenStore, record: &PendingRecord) -> Result<(), WriteFailure> {
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
