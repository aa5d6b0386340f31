//! Proves every file of one model: for `npast kv verify`.

use std::collections::{BTreeMap, HashMap};

use crate::kv::error::{Damage, Error};
use crate::kv::limits::Limits;
use crate::kv::model::facts::short;
use crate::kv::record::files::{self, Files};
use crate::kv::record::format::{Header, RecordKind};
use crate::kv::record::read::ReadFault;
use crate::ledger::{Digest, Running, Token};

use super::inspect;

/// The files of one model, as a proof found them.
#[derive(Default)]
pub(in crate::kv) struct Proved {
    /// Files that are as they were written.
    pub(in crate::kv) files: u64,
    /// Their bytes.
    pub(in crate::kv) bytes: u64,
    /// The names of the others, and what is wrong with them.
    pub(in crate::kv) bad: Vec<(String, ReadFault)>,
}

/// Reads all record files in the folder of a model, named `model`, and proves each: its checksums, its
/// structure, its name, and the digests of every chain from position 0.
pub(in crate::kv) fn prove_all(
    files: &Files,
    model: &str,
    limits: &Limits,
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
            // Another process replaced or removed it meanwhile.
            Err(ReadFault::Damage(Damage::Gone)) => {}
            Err(fault) => proved.bad.push((name, fault)),
        }
    }
    for name in unchained(&edges) {
        proved.bad.push((name, Damage::Other("digest").into()));
    }
    Ok(proved)
}

fn prove(
    files: &Files,
    model: &str,
    name: &str,
    limits: &Limits,
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

type ProvedEdges = BTreeMap<(usize, String), (Header, Vec<Token>)>;

/// The edges on chains from position 0 whose tokens do not give their digests.
fn unchained(edges: &ProvedEdges) -> Vec<String> {
    let mut known: HashMap<Digest, Running> = HashMap::new();
    let mut bad = Vec::new();
    for ((p0, name), (header, tokens)) in edges {
        let root = || (*p0 == 0).then(|| Running::new(header.hard));
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
