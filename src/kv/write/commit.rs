//! Stores one record: its file and its index row. The writer thread calls [`commit`] for each put. The
//! steps:
//! 1. The index is asked whether the record should be stored. It is not stored if a record of the same
//!    name is stored already. A segment is also not stored if no stored segment ends where it begins
//!    (except at position 0), or if more of its tokens are stored than the slot has taken the bytes of
//!    (see `find::ahead`).
//! 2. The file is written under a temporary name and flushed, which may take long.
//! 3. A transaction of the index begins. No other process can change the index until it ends. The
//!    questions of step 1 are asked again, because another process may have changed the index meanwhile.
//! 4. The file is renamed to its final name, the index row is added, and the transaction is committed.
//!
//! So if two processes store the same record, one stores it, and the other one finds it stored and
//! compares the checksums. Invariant: no index row is added before its file is durable.

use std::io::Read;

use crate::kv::find::ahead::ahead;
use crate::kv::index::connection::Index;
use crate::kv::index::edges::NewEdge;
use crate::kv::index::nodes::NewNode;
use crate::kv::index::table::SqlResult;
use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::format::{HEADER, Header, RecordKind, Sums};
use crate::kv::record::put::PendingRecord;

use super::failure::WriteFailure;

/// The result of [`commit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Committed {
    /// The record was stored.
    New,
    /// The record was stored already, with the same bytes.
    Same,
    /// The record was not stored. Either a record with the same name is stored with other bytes, or more
    /// of its tokens are stored than the slot took the bytes of (see `find::ahead`).
    Other,
    /// The record was not stored, because no segment ends where it begins: no lookup could find it.
    NoParent,
}

/// Stores a record, unless it is stored already or could not be used. `room` is called before a file of
/// that many bytes is written, and may refuse it for lack of disk space.
pub(in crate::kv) fn commit(
    store: &OpenStore,
    record: &PendingRecord,
    room: impl FnOnce(u64) -> Result<(), WriteFailure>,
) -> Result<Committed, WriteFailure> {
    // These questions are asked before anything is written: most records that will not be stored are
    // found here.
    let found = fit(store, &store.index(), record)?;
    match found {
        Fit::NoParent => return Ok(Committed::NoParent),
        Fit::MoreStored => return Ok(Committed::Other),
        Fit::Free | Fit::There => {}
    }
    // While the slot has bytes that differ from the stored ones, no other process can evaluate this
    // record again from stored KV: so it is stored without runs.
    let runs = if store.changes.has_others() {
        &[][..]
    } else {
        &record.runs
    };
    let (header, sections) = record
        .encode(runs, store.fingerprint.hard, store.soft, &store.limits)
        .map_err(WriteFailure::Invalid)?;
    let name = files::name(record.kind, record.from, record.to);
    let parts = [
        &header[..],
        &sections.tokens,
        &sections.owner,
        &sections.logits,
        &record.payload,
    ];
    let bytes = parts.iter().map(|p| p.len() as u64).sum();
    let parsed = Header::parse(&header, bytes, &store.limits);
    let sums = parsed.map_err(WriteFailure::Invalid)?.sums;
    if found == Fit::There {
        return Ok(compare(store, &name, record, sums));
    }
    room(bytes)?;
    let draft = store.files.prepare(&name, &parts)?;
    let index = store.index();
    let tx = match index.begin() {
        Ok(tx) => tx,
        Err(error) => {
            // The index cannot be changed now. The file is renamed all the same: the next open finds it
            // and adds its index row.
            if matches!(fit(store, &index, record), Ok(Fit::Free)) {
                draft.publish()?;
            }
            return Err(error.into());
        }
    };
    match fit(store, &index, record)? {
        Fit::Free => {}
        Fit::There => return Ok(compare(store, &name, record, sums)),
        Fit::MoreStored => return Ok(Committed::Other),
        Fit::NoParent => return Ok(Committed::NoParent),
    }
    draft.publish()?;
    add_row(&index, store, record, bytes)?;
    tx.commit()?;
    Ok(Committed::New)
}

/// Whether a record can be stored, by what the index has now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It can be stored.
    Free,
    /// A record with its name is stored.
    There,
    /// More of its tokens are stored than the slot took the bytes of.
    MoreStored,
    /// No segment ends where the record begins.
    NoParent,
}

/// Asks the index whether a record can be stored.
fn fit(store: &OpenStore, index: &Index, record: &PendingRecord) -> SqlResult<Fit> {
    if record.kind == RecordKind::Node {
        let there = index.nodes(store.model()).has(record.to)?;
        return Ok(if there { Fit::There } else { Fit::Free });
    }
    let edges = index.edges(store.model());
    if edges.has(record.from, record.to)? {
        return Ok(Fit::There);
    }
    if record.p0 > 0 && !edges.has_end(record.from)? {
        return Ok(Fit::NoParent);
    }
    if record.shared < record.tokens.len() {
        let stored = ahead(store, index, (record.from, record.p0), &record.tokens)?;
        if stored.is_some_and(|(_, upto)| upto - record.p0 > record.shared) {
            return Ok(Fit::MoreStored);
        }
    }
    Ok(Fit::Free)
}

/// Whether the stored file with a record's name has the same bytes as the record, by the checksums. A
/// file that cannot be read counts as the same; its next reader gets the error.
fn compare(store: &OpenStore, name: &str, record: &PendingRecord, sums: Sums) -> Committed {
    let stored = || {
        let (mut input, len) = store.files.open(name).ok()?;
        let mut bytes = [0u8; HEADER];
        input.read_exact(&mut bytes).ok()?;
        Header::parse(&bytes, len, &store.limits).ok()
    };
    let same = stored().is_none_or(|header| {
        let no_row = record.logits.is_empty() || header.logits == 0;
        header.sums.payload == sums.payload && (no_row || header.sums.logits == sums.logits)
    });
    if same {
        Committed::Same
    } else {
        Committed::Other
    }
}

/// Adds the index row of a record.
fn add_row(index: &Index, store: &OpenStore, record: &PendingRecord, bytes: u64) -> SqlResult<()> {
    match record.role {
        None => index.edges(store.model()).add(&NewEdge {
            from: record.from,
            to: record.to,
            p0: record.p0,
            p1: record.p1,
            bytes,
            tokens: &record.tokens,
        }),
        Some(role) => index.nodes(store.model()).add(&NewNode {
            digest: record.to,
            at: record.p1,
            role,
            bytes,
            logits: !record.logits.is_empty(),
            tail: &record.tokens,
        }),
    }
}
