//! Makes the index and the record files agree: a row without a file is removed, and a file without a row
//! is read and gets a row. This is done when the index is opened, and after a model folder has
//! disappeared. If the index is empty, this is a complete rebuild. Invariant: a file that cannot be read
//! as a record of its model folder gets no row.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::kv::error::{Damage, Error};
use crate::kv::limits::StoreLimits;
use crate::kv::model::facts::{self, short};
use crate::kv::model::fingerprint::{Fingerprint, canonical};
use crate::kv::record::files::{self, Files};
use crate::kv::record::format::{Header, RecordKind};
use crate::kv::record::item::{Edge, Node};
use crate::kv::record::read::{self, ReadFault};
use crate::kv::record::role::SnapshotRole;
use crate::kv::record::storage::Storage;
use crate::ledger::{Digest, Token};

use super::connection::Index;
use super::edges::NewEdge;
use super::graph::Graph;
use super::models::ModelId;
use super::nodes::NewNode;
use super::pins::UNCLAIMED;
use super::table::SqlResult;

/// The number of files whose rows are added in one transaction.
pub(in crate::kv) const AT_ONCE: usize = 256;

/// How the index and the files differed.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::kv) struct Reconciled {
    /// The number of files that had no row.
    pub(in crate::kv) added: usize,
    /// The number of files that were refused and moved to quarantine.
    pub(in crate::kv) refused: usize,
    /// The number of rows that had no file.
    pub(in crate::kv) dropped: usize,
}

/// Adds the model of a fingerprint to the index, and makes its rows agree with its model folder.
pub(in crate::kv) fn own_model(
    index: &Index,
    print: &Fingerprint,
    files: &Files,
    limits: &StoreLimits,
) -> Result<(ModelId, Reconciled), Error> {
    let (facts, soft) = (canonical(&print.facts), canonical(&print.soft));
    let model = index.models().put(print.hard, &facts, &soft)?;
    let reconciled = reconcile(index, model, files, print.hard, limits)?;
    Ok((model, reconciled))
}

/// Makes the rows of one model agree with its model folder.
pub(in crate::kv) fn reconcile(
    index: &Index,
    model: ModelId,
    files: &Files,
    hard: Digest,
    limits: &StoreLimits,
) -> Result<Reconciled, Error> {
    let mut reconciled = Reconciled::default();
    // The rows are read before the file names: another process may be storing records, and it adds each
    // row after its file.
    let edges = index.edges(model).all()?;
    let nodes = index.nodes(model).all()?;
    let names: HashSet<String> = files
        .list()
        .map_err(Error::folder(&files.folder))?
        .into_iter()
        .filter(|name| files::is_record(name))
        .collect();
    let mut noted = HashSet::new();
    let mut there = |name: String| names.contains(&name) && noted.insert(name);
    let edges: Vec<(String, &Edge)> = edges
        .iter()
        .map(|e| (e.name(), e))
        .filter(|(name, _)| !there(name.clone()))
        .collect();
    let nodes: Vec<(String, &Node)> = nodes
        .iter()
        .map(|n| (n.name(), n))
        .filter(|(name, _)| !there(name.clone()))
        .collect();
    if !edges.is_empty() || !nodes.is_empty() {
        // Another process may have stored one of these records again in the meantime. So they are looked
        // for once more inside a transaction, during which no other process can add a row.
        let gone = |name: &str| {
            let opened = files.open(name);
            opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        reconciled.dropped = index.at_once(|| {
            let mut dropped = 0;
            for (_, edge) in edges.iter().filter(|(name, _)| gone(name)) {
                index.edges(model).remove(edge)?;
                dropped += 1;
            }
            for (_, node) in nodes.iter().filter(|(name, _)| gone(name)) {
                index.nodes(model).remove(node.digest)?;
                dropped += 1;
            }
            Ok(dropped)
        })?;
    }
    let unknown: Vec<&String> = names.difference(&noted).collect();
    let found_edges = unknown
        .iter()
        .any(|n| n.ends_with(RecordKind::Edge.ending()));
    // Files are read outside of the transactions that add their rows, so that other processes can write
    // in between.
    for names in unknown.chunks(AT_ONCE) {
        let mut found = Vec::new();
        for name in names {
            match look(files, hard, limits, name) {
                Ok(record) => found.push(record),
                Err(ReadFault::Damage(Damage::Gone | Damage::Memory(_)) | ReadFault::Io(_)) => {}
                Err(ReadFault::Damage(damage)) => {
                    tracing::warn!(%name, %damage, "kv file refused");
                    let _ = files.quarantine(name);
                    reconciled.refused += 1;
                }
            }
        }
        index.at_once(|| {
            found
                .iter()
                .try_for_each(|record| add(index, model, record))
        })?;
        reconciled.added += found.len();
    }
    if found_edges {
        drop_covered(index, model, files)?;
    }
    Ok(reconciled)
}

/// Completes a merge that a crash interrupted: the merged edge is stored, and its parts are not removed
/// yet.
fn drop_covered(index: &Index, model: ModelId, files: &Files) -> Result<(), Error> {
    let Some(model) = index.models().get(model)? else {
        return Ok(());
    };
    // The rows are removed before the files: if a file cannot be removed, the next open finds it again.
    let (graph, covered) = index.at_once(|| {
        let graph = Graph::load(index, &model)?;
        let covered = graph.covered();
        let edges = index.edges(graph.model);
        let mut parts = covered.iter().filter_map(|item| graph.edge(*item));
        parts.try_for_each(|edge| edges.remove(edge))?;
        Ok((graph, covered))
    })?;
    for item in &covered {
        if let Err(error) = files.remove(&graph.name(*item)) {
            tracing::warn!(%error, "a merged kv segment cannot be removed");
        }
    }
    tracing::debug!(covered = covered.len(), "merged kv segments removed");
    Ok(())
}

/// The parts of a record that the index needs.
struct RecordHead {
    header: Header,
    tokens: Vec<Token>,
    owner: String,
    len: u64,
}

/// Reads header, tokens and owner of a file. Logits and payload are not read; they are proven when they
/// are used.
fn look(
    files: &Files,
    hard: Digest,
    limits: &StoreLimits,
    name: &str,
) -> Result<RecordHead, ReadFault> {
    let (mut input, len) = files.open(name)?;
    let (header, tokens) = read::head(&mut input, len, limits)?;
    if header.hard != hard {
        return Err(Damage::Other("model").into());
    }
    if files::name(header.kind, header.from, header.to) != name {
        return Err(Damage::Other("digest").into());
    }
    let owner = read::owner(&mut input, &header)?;
    Ok(RecordHead {
        header,
        tokens,
        owner,
        len,
    })
}

/// Adds the row of a record, and the rows of the owner that the record names.
fn add(index: &Index, model: ModelId, record: &RecordHead) -> SqlResult<()> {
    let RecordHead {
        header,
        tokens,
        owner,
        len,
    } = record;
    let Some(role) = header.role else {
        return index.edges(model).add(&NewEdge {
            from: header.from,
            to: header.to,
            p0: header.p0,
            p1: header.p1,
            bytes: *len,
            tokens,
        });
    };
    index.nodes(model).add(&NewNode {
        digest: header.to,
        at: header.p1,
        role,
        bytes: *len,
        logits: header.logits > 0,
        tail: tokens,
    })?;
    if owner.is_empty() {
        return Ok(());
    }
    if role != SnapshotRole::Row {
        index.states(model).found(owner, header.to)?;
    }
    if matches!(role, SnapshotRole::Turn | SnapshotRole::Row) {
        index.turns(model).set_if_deeper(owner, header.to)?;
    }
    Ok(())
}

/// Corrects the lengths of all files in the index.
pub(in crate::kv) fn correct_lengths(
    index: &Index,
    storage: &Arc<dyn Storage>,
    root: &Path,
) -> Result<(), Error> {
    for model in index.models().all()? {
        let files = Files::new(storage.clone(), root, &short(model.hard));
        let len = |name: String| files.open(&name).ok().map(|(_, len)| len);
        let (edges, nodes) = (index.edges(model.id), index.nodes(model.id));
        for edge in &edges.all()? {
            let len = len(edge.name());
            if let Some(len) = len.filter(|len| *len != edge.bytes) {
                edges.set_bytes(edge, len)?;
            }
        }
        for node in &nodes.all()? {
            let len = len(node.name());
            if let Some(len) = len.filter(|len| *len != node.bytes) {
                nodes.set_bytes(node.digest, len)?;
            }
        }
    }
    index.totals().recount()?;
    Ok(())
}

/// Makes the rows of all models agree with their model folders.
pub(in crate::kv) fn reconcile_all(
    index: &Index,
    storage: &Arc<dyn Storage>,
    root: &Path,
    limits: &StoreLimits,
) -> Result<Reconciled, Error> {
    let mut all = Reconciled::default();
    for folder in &files::folders(storage, root)? {
        let files = Files::new(storage.clone(), root, folder);
        // A model folder without valid facts gets no rows now. When its own model is loaded, the store
        // writes the facts again.
        let Some((hard, facts)) = facts::read(&files).filter(|(h, _)| short(*h) == *folder) else {
            continue;
        };
        let model = index.models().put(hard, &canonical(&facts), "{}")?;
        let reconciled = reconcile(index, model, &files, hard, limits)?;
        all.added += reconciled.added;
        all.refused += reconciled.refused;
    }
    Ok(all)
}

/// Makes an unclaimed pin (see `index::pins`) for each chain whose last edge no owner reaches after a
/// rebuild: the record files do not say who pinned it. Such a pin is removed when an owner pins the same
/// digest or one further on, or by eviction when the quota needs space.
pub(in crate::kv) fn pin_unheld(index: &Index) -> Result<(), Error> {
    for model in index.models().all()? {
        index.at_once(|| {
            let graph = Graph::load(index, &model)?;
            let reached = graph.reached(|_| true);
            for item in graph.tips().into_iter().filter(|i| !reached.contains(i)) {
                if let Some(edge) = graph.edge(item) {
                    let owner = format!("{UNCLAIMED}{}", short(edge.to));
                    index.pins(model.id).set(&owner, edge.to)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
