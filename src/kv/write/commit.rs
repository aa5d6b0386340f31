//! How a record gets its file and its row. The file is written and made durable first; then, in one
//! transaction, the index is asked whether the record still belongs there, the file gets its name, and
//! the row is added. So of two processes that store the same, one does, and the other learns whether
//! its bytes are the same.

use std::io::Read;

use rusqlite::{Transaction, TransactionBehavior};

use crate::kv::find::ahead::ahead;
use crate::kv::index::connection::Index;
use crate::kv::record::files;
use crate::kv::record::format::{HEADER, Header, Kind, Sums};
use crate::kv::record::put::Record;
use crate::kv::store::handle::Live;
use crate::kv::write::writer::Failure;

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Committed {
    /// It is stored.
    New,
    /// One of its name is there, with the same bytes.
    Same,
    /// One of its name is there with other bytes, or more of its tokens are stored than it took its
    /// bytes from.
    Other,
    /// It begins where no segment ends: nothing would ever lead to it.
    Loose,
}

/// Stores a record, if it is not there and fits. `room` is asked before a file of so many bytes is
/// written.
pub(in crate::kv) fn commit(
    live: &Live,
    record: &Record,
    room: impl FnOnce(u64) -> Result<(), Failure>,
) -> Result<Committed, Failure> {
    // Before anything is written: most records that do not fit are found here.
    let look = look(live, &live.index(), record)?;
    if look == Look::Loose {
        return Ok(Committed::Loose);
    }
    if look == Look::Ahead {
        return Ok(Committed::Other);
    }
    // Evaluated after rows or a state that the slot is to exchange for those of another process:
    // nobody can evaluate it like this again.
    let runs = match live.has_others() {
        true => &[][..],
        false => &record.runs,
    };
    let (header, sections) = record
        .encode(runs, live.fingerprint.hard, live.soft, &live.limits)
        .map_err(Failure::Invalid)?;
    let name = files::name(record.kind, record.from, record.to);
    let parts = [
        &header[..],
        &sections.tokens,
        &sections.owner,
        &sections.logits,
        &record.payload,
    ];
    let bytes = parts.iter().map(|p| p.len() as u64).sum();
    let parsed = Header::parse(&header, bytes, &live.limits);
    let sums = parsed.map_err(Failure::Invalid)?.sums;
    if look == Look::There {
        return Ok(compared(live, &name, record, sums));
    }
    room(bytes)?;
    let draft = live.files.prepare(&name, &parts)?;
    let index = live.index();
    let tx = match Transaction::new_unchecked(&index.db, TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(error) => {
            // Nobody can note anything now. The file is found at the next start.
            if matches!(self::look(live, &index, record), Ok(Look::Free)) {
                draft.publish()?;
            }
            return Err(error.into());
        }
    };
    match self::look(live, &index, record)? {
        Look::Free => {}
        Look::There => return Ok(compared(live, &name, record, sums)),
        Look::Ahead => return Ok(Committed::Other),
        Look::Loose => return Ok(Committed::Loose),
    }
    draft.publish()?;
    add(&index, live, record, bytes)?;
    tx.commit()?;
    Ok(Committed::New)
}

/// What the index says of a record's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Free,
    There,
    Ahead,
    Loose,
}

fn look(live: &Live, index: &Index, record: &Record) -> Result<Look, rusqlite::Error> {
    let model = live.model();
    if record.kind == Kind::Node {
        return Ok(match index.has_node(model, record.to)? {
            true => Look::There,
            false => Look::Free,
        });
    }
    if index.has_edge(model, record.from, record.to)? {
        return Ok(Look::There);
    }
    if record.p0 > 0 && !index.has_end(model, record.from)? {
        return Ok(Look::Loose);
    }
    if record.shared < record.tokens.len() {
        let stored = ahead(live, index, (record.from, record.p0), &record.tokens)?;
        if stored.is_some_and(|(_, upto)| upto - record.p0 > record.shared) {
            return Ok(Look::Ahead);
        }
    }
    Ok(Look::Free)
}

/// Whether the file that is there has this record's bytes. One that cannot be read is somebody else's
/// to find.
fn compared(live: &Live, name: &str, record: &Record, sums: Sums) -> Committed {
    let stored = || {
        let (mut input, len) = live.files.open(name).ok()?;
        let mut bytes = [0u8; HEADER];
        input.read_exact(&mut bytes).ok()?;
        Header::parse(&bytes, len, &live.limits).ok()
    };
    let same = stored().is_none_or(|header| {
        let rows = record.logits.is_empty() || header.logits == 0;
        header.sums.payload == sums.payload && (rows || header.sums.logits == sums.logits)
    });
    match same {
        true => Committed::Same,
        false => Committed::Other,
    }
}

fn add(index: &Index, live: &Live, record: &Record, bytes: u64) -> Result<(), rusqlite::Error> {
    match record.role {
        None => {
            let edge = (record.from, record.to, record.p0, record.p1);
            index.add_edge(live.model(), edge, bytes, &record.tokens)
        }
        Some(role) => {
            let node = (record.to, record.p1, role);
            let logits = !record.logits.is_empty();
            index.add_node(live.model(), node, bytes, logits, &record.tokens)
        }
    }
}
