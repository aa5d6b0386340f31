//! How a record gets its file and its row. The file is written and made durable first. Then one
//! transaction asks the index again whether the record fits, gives the file its name, and adds the row.
//! So of two processes that store the same record one does, and the other learns whether its bytes are
//! the same.

use std::io::Read;

use crate::kv::find::ahead::ahead;
use crate::kv::index::connection::Index;
use crate::kv::index::edges::NewEdge;
use crate::kv::index::nodes::NewNode;
use crate::kv::index::table::SqlResult;
use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::format::{HEADER, Header, RecordKind, Sums};
use crate::kv::record::put::Record;

use super::failure::WriteFailure;

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Committed {
    /// It is stored.
    New,
    /// It was stored already, with the same bytes.
    Same,
    /// It is not stored: one of its name is there with other bytes, or more of its tokens are stored
    /// than those whose bytes it took.
    Other,
    /// It is not stored: no segment ends where it begins, so no lookup would find it.
    NoParent,
}

/// Stores a record, if it is not there and fits. `room` is called before a file of that many bytes is
/// written.
pub(in crate::kv) fn commit(
    store: &OpenStore,
    record: &Record,
    room: impl FnOnce(u64) -> Result<(), WriteFailure>,
) -> Result<Committed, WriteFailure> {
    // Before anything is written: most records that do not fit are found here.
    let found = fit(store, &store.index(), record)?;
    match found {
        Fit::NoParent => return Ok(Committed::NoParent),
        Fit::MoreStored => return Ok(Committed::Other),
        Fit::Free | Fit::There => {}
    }
    // While the slot has bytes that another process stored differently, no process can evaluate the record
    // again from stored states: so it gets no runs.
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
            // The index cannot be written now. The next open finds the file and adds its row.
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

/// Whether a record fits what the index has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It can be stored.
    Free,
    /// One of its name is stored.
    There,
    /// More of its tokens are stored than those whose bytes it took.
    MoreStored,
    /// No segment ends where it begins.
    NoParent,
}

fn fit(store: &OpenStore, index: &Index, record: &Record) -> SqlResult<Fit> {
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

/// Whether the stored file of a record's name has the record's bytes. A file that cannot be read counts
/// as the same: the next reader reports it.
fn compare(store: &OpenStore, name: &str, record: &Record, sums: Sums) -> Committed {
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

fn add_row(index: &Index, store: &OpenStore, record: &Record, bytes: u64) -> SqlResult<()> {
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
