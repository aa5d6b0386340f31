//! Splitting: makes two segments of one, at the position where the tokens of a second conversation begin
//! to differ. Both conversations then share the first part (see `find::ahead`) and continue from its end.
//! The writer thread does it when the slot asks (`Store::split`). Steps: the segment is read and checked
//! alone, both parts are written to temporary files and flushed, one transaction renames both files and
//! exchanges the index rows, and then the file of the whole segment is removed. Invariant: after a crash
//! at any step, the whole segment or both parts are stored.

use crate::kv::error::Damage;
use crate::kv::index::edges::NewEdge;
use crate::kv::open::quarantine;
use crate::kv::open::store::OpenStore;
use crate::kv::record::files;
use crate::kv::record::item::Edge;
use crate::kv::record::put::PendingRecord;
use crate::kv::record::read::{self, ReadFault};
use crate::kv::record::runs::TokenRun;
use crate::ledger::Digest;

use super::failure::WriteFailure;
use super::join::{JoinPayloads, PayloadPart};

/// Makes the segments [p0, at) and [at, p1) out of an edge [p0, p1); `middle` is D(at). False if the edge
/// is not stored any more, or cannot be cut.
pub(in crate::kv) fn split(
    store: &OpenStore,
    join: &dyn JoinPayloads,
    edge: &Edge,
    (at, middle): (usize, Digest),
) -> Result<bool, WriteFailure> {
    if at <= edge.p0 || at >= edge.p1 {
        return Ok(false);
    }
    let hard = store.fingerprint.hard;
    let whole = match read::part(&store.files, hard, &store.limits, edge) {
        Ok(whole) => whole,
        Err(ReadFault::Damage(Damage::Gone)) => return Ok(false),
        Err(ReadFault::Damage(damage)) if !matches!(damage, Damage::Memory(_)) => {
            quarantine::edge(store, edge, &damage.to_string());
            return Ok(false);
        }
        Err(ReadFault::Damage(damage)) => return Err(WriteFailure::Invalid(damage)),
        Err(ReadFault::Io(error)) => return Err(error.into()),
    };
    let part = PayloadPart {
        p0: edge.p0,
        p1: edge.p1,
        payload: &whole.payload,
    };
    let cuts = [
        ((edge.from, middle), (edge.p0, at)),
        ((middle, edge.to), (at, edge.p1)),
    ];
    let mut drafts = Vec::new();
    let mut rows = Vec::new();
    for (ends, (p0, p1)) in cuts {
        let Some(payload) = join.cut(&part, p0, p1) else {
            tracing::warn!("a kv segment cannot be cut");
            return Ok(false);
        };
        let tokens = &whole.tokens[p0 - edge.p0..p1 - edge.p0];
        let record = PendingRecord {
            runs: within(&whole.runs, p0, p1),
            ..PendingRecord::edge(ends, (p0, p1), tokens.to_vec(), payload)
        };
        let (header, sections) = record
            .encode(&record.runs, hard, whole.soft, &store.limits)
            .map_err(WriteFailure::Invalid)?;
        let parts = [
            &header[..],
            &sections.tokens,
            &sections.owner,
            &record.payload,
        ];
        let name = files::name(record.kind, ends.0, ends.1);
        drafts.push(store.files.prepare(&name, &parts)?);
        let bytes: u64 = parts.iter().map(|p| p.len() as u64).sum();
        rows.push(NewEdge {
            from: ends.0,
            to: ends.1,
            p0,
            p1,
            bytes,
            tokens,
        });
    }
    let (Ok(rows), mut drafts) = (<[_; 2]>::try_from(rows), drafts) else {
        return Ok(false);
    };
    let publish = || {
        let published = drafts.drain(..).try_for_each(files::RecordDraft::publish);
        published.map_err(WriteFailure::Io)
    };
    let index = store.index();
    if !index.joints(store.model()).split(edge, &rows, publish)? {
        return Ok(false);
    }
    drop(index);
    store.files.remove(&edge.name())?;
    store.files.storage.sync_folder(&store.files.folder)?;
    Ok(true)
}

/// The runs of an edge, for the part [p0, p1) of it; none if the part ends inside a batch.
fn within(runs: &[TokenRun], p0: usize, p1: usize) -> Vec<TokenRun> {
    let mut part: Vec<TokenRun> = runs
        .iter()
        .filter(|r| r.end > p0 && r.start < p1)
        .copied()
        .collect();
    if let Some(last) = part.last_mut().filter(|r| r.end > p1) {
        if p1 < last.prompt && !(p1 - last.start).is_multiple_of(last.batch.max(1)) {
            return Vec::new();
        }
        last.prompt = last.prompt.min(p1);
        last.end = p1;
    }
    part
}
