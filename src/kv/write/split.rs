//! One segment made into two, where another conversation ends inside of it: both have the same bytes
//! up to there (one version, see `ahead`), and what each says next follows from one place. The
//! reverse of a merge, with the same order of steps.

use crate::ledger::Digest;

use crate::kv::error::Damage;
use crate::kv::index::connection::Edge;
use crate::kv::record::files;
use crate::kv::record::format::Kind;
use crate::kv::record::put::Record;
use crate::kv::record::read::{self, Fault};
use crate::kv::record::runs::Run;
use crate::kv::store::handle::Live;
use crate::kv::write::merge::{Join, Part};
use crate::kv::write::writer::Failure;

/// Makes [p0, at) and [at, p1) of an edge. False when it is not there any more, or cannot be cut.
pub(in crate::kv) fn split(
    live: &Live,
    join: &dyn Join,
    edge: &Edge,
    (at, middle): (usize, Digest),
) -> Result<bool, Failure> {
    if at <= edge.p0 || at >= edge.p1 {
        return Ok(false);
    }
    let hard = live.fingerprint.hard;
    let whole = match read::part(&live.files, hard, &live.limits, edge) {
        Ok(whole) => whole,
        Err(Fault::Damage(Damage::Gone)) => return Ok(false),
        Err(Fault::Damage(damage)) if !matches!(damage, Damage::Memory(_)) => {
            live.set_aside_edge(edge, &damage.to_string());
            return Ok(false);
        }
        Err(Fault::Damage(damage)) => return Err(Failure::Invalid(damage)),
        Err(Fault::Io(error)) => return Err(error.into()),
    };
    let part = Part {
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
        let record = Record {
            runs: within(&whole.runs, p0, p1),
            ..Record::edge(ends, (p0, p1), tokens.to_vec(), payload)
        };
        let (header, sections) = record
            .encode(&record.runs, hard, whole.soft, &live.limits)
            .map_err(Failure::Invalid)?;
        let parts = [
            &header[..],
            &sections.tokens,
            &sections.owner,
            &record.payload,
        ];
        let name = files::name(Kind::Edge, ends.0, ends.1);
        drafts.push(live.files.prepare(&name, &parts)?);
        let bytes: u64 = parts.iter().map(|p| p.len() as u64).sum();
        rows.push(((ends.0, ends.1, p0, p1), bytes, tokens));
    }
    let (Ok(rows), mut drafts) = (<[_; 2]>::try_from(rows), drafts) else {
        return Ok(false);
    };
    let publish = || drafts.drain(..).try_for_each(files::Draft::publish);
    if !live.index().exchange(live.model(), edge, rows, publish)? {
        return Ok(false);
    }
    live.files
        .remove(&files::name(Kind::Edge, edge.from, edge.to))?;
    live.files.storage.sync_folder(&live.files.folder)?;
    Ok(true)
}

/// The runs of an edge as those of a part of it: none where a batch is cut in its middle.
fn within(runs: &[Run], p0: usize, p1: usize) -> Vec<Run> {
    let mut part: Vec<Run> = runs
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
