//! Checks every record file of one model, for `npast kv verify`. Each record is checked alone first; then
//! the digests of all edges on chains from position 0 are computed from their tokens. Invariant: nothing
//! is changed here; the caller moves damaged files to quarantine.

use std::collections::{BTreeMap, HashMap};

use crate::kv::error::{Damage, Error};
use crate::kv::limits::StoreLimits;
use crate::kv::model::facts::short;
use crate::kv::record::files::{self, Files};
use crate::kv::record::format::{Header, RecordKind};
use crate::kv::record::read::ReadFault;
use crate::ledger::{Digest, RunningDigest, Token};

use super::inspect;

/// The result for one model.
#[derive(Default)]
pub(in crate::kv) struct Proved {
    /// The number of files whose records passed when they were checked alone. An edge whose digests do not
    /// fit the chain before it counts here, and is in `bad` too.
    pub(in crate::kv) files: u64,
    /// The bytes of these files.
    pub(in crate::kv) bytes: u64,
    /// The names of files that failed a check or could not be read, with the reason.
    pub(in crate::kv) bad: Vec<(String, ReadFault)>,
}

/// Reads and checks all record files of the model folder named `model`: checksums, structure, file name,
/// and the digests of all edges on chains from position 0.
pub(in crate::kv) fn prove_all(
    files: &Files,
    model: &str,
    limits: &StoreLimits,
) -> Result<Proved, Error> {
    let mut proved = Proved::default();
    let mut edges = BTreeMap::new();
    for name in files.list().map_err(Error::folder(&files.folder))? {
        if !files::is_record(&name) {
            continue;
        }
        match prove(files, model, &name, limits) {
            Ok((header, tokens, len)) => {
                proved.files += 1;
                proved.bytes += len;
                if header.kind == RecordKind::Edge {
                    edges.insert((header.p0, name), (header, tokens));
                }
            }
            // Another process has removed the file in the meantime.
            Err(ReadFault::Damage(Damage::Gone)) => {}
            Err(fault) => proved.bad.push((name, fault)),
        }
    }
    for name in unchained(&edges) {
        proved.bad.push((name, Damage::Other("digest").into()));
    }
    Ok(proved)
}

/// Checks one record alone, and whether its file belongs into this model folder and under this name.
fn prove(
    files: &Files,
    model: &str,
    name: &str,
    limits: &StoreLimits,
) -> Result<(Header, Vec<Token>, u64), ReadFault> {
    let (mut input, len) = files.open(name)?;
    let record = inspect::record(&mut input, len, limits)?;
    let header = record.header;
    if short(header.hard) != model {
        return Err(Damage::Other("model").into());
    }
    if files::name(header.kind, header.from, header.to) != name {
        return Err(Damage::Other("digest").into());
    }
    Ok((header, record.tokens, len))
}

/// The header and tokens of each edge that passed when it was checked alone, ordered by p0.
type ProvedEdges = BTreeMap<(usize, String), (Header, Vec<Token>)>;

/// The edges on chains from position 0 whose tokens do not give their digests.
fn unchained(edges: &ProvedEdges) -> Vec<String> {
    let mut known: HashMap<Digest, RunningDigest> = HashMap::new();
    let mut bad = Vec::new();
    for ((p0, name), (header, tokens)) in edges {
        let root = || (*p0 == 0).then(|| RunningDigest::new(header.hard));
        let Some(mut running) = known.get(&header.from).cloned().or_else(root) else {
            continue;
        };
        running.extend(tokens);
        if running.len() == header.p1 && running.digest() == header.to {
            known.insert(header.to, running);
        } else {
            bad.push(name.clone());
        }
    }
    bad
}
