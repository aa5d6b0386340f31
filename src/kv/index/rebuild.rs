//! Making index and files agree at open: rows without files go, files without rows are read and
//! added. With an empty index that is a rebuild.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::ledger::{Digest, Token};

use crate::kv::error::{Damage, Error};
use crate::kv::index::connection::{Edge, Index, ModelId, Node};
use crate::kv::index::graph::Graph;
use crate::kv::index::holdings::UNCLAIMED;
use crate::kv::model::fingerprint::{Fingerprint, canonical};
use crate::kv::record::files::{self, Files};
use crate::kv::record::format::{Header, Kind, Limits};
use crate::kv::record::put::SnapshotRole;
use crate::kv::record::read::{self, Fault};
use crate::kv::record::storage::Storage;

/// The file that says what a folder's hard fingerprint means.
pub(in crate::kv) const FACTS: &str = "facts.json";
/// Bytes of it that a reader accepts.
const MOST_FACTS: u64 = 1 << 20;
/// Files whose rows are added in one transaction.
pub(in crate::kv) const AT_ONCE: usize = 256;

/// What was found out of step.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::kv) struct Mended {
    /// Files that had no row.
    pub(in crate::kv) added: usize,
    /// Files that were refused and set aside.
    pub(in crate::kv) refused: usize,
    /// Rows that had no file.
    pub(in crate::kv) dropped: usize,
}

/// The folder of a hard fingerprint.
pub(in crate::kv) fn short(hard: Digest) -> String {
    hard.hex()[..16].to_string()
}

/// The contents of [`FACTS`].
pub(in crate::kv) fn facts_text(hard: Digest, facts: &Value) -> String {
    canonical(&json!({"hard": hard.hex(), "facts": facts}))
}

/// Reads [`FACTS`]: the hard fingerprint and the facts. `None` when there is nothing of use.
pub(in crate::kv) fn read_facts(files: &Files) -> Option<(Digest, Value)> {
    let (input, len) = files.open(FACTS).ok()?;
    if len > MOST_FACTS {
        return None;
    }
    let mut bytes = Vec::new();
    input.take(MOST_FACTS).read_to_end(&mut bytes).ok()?;
    let mut value: Value = serde_json::from_slice(&bytes).ok()?;
    let hard = Digest::from_hex(value.get("hard")?.as_str()?)?;
    Some((hard, value.get_mut("facts")?.take()))
}

/// Notes a fingerprint, and makes the rows of its model agree with its folder.
pub(in crate::kv) fn own_model(
    index: &Index,
    print: &Fingerprint,
    files: &Files,
    limits: &Limits,
) -> Result<(ModelId, Mended), Error> {
    let (facts, soft) = (canonical(&print.facts), canonical(&print.soft));
    let model = index.model(print.hard, &facts, &soft)?;
    let mended = mend(index, model, files, print.hard, limits)?;
    Ok((model, mended))
}

/// Makes the rows of one model agree with its folder.
pub(in crate::kv) fn mend(
    index: &Index,
    model: ModelId,
    files: &Files,
    hard: Digest,
    limits: &Limits,
) -> Result<Mended, Error> {
    let mut mended = Mended::default();
    // Rows before files: another process may be writing, and its rows come after its files.
    let (edges, nodes) = index.all(model)?;
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
        .map(|e| (files::name(Kind::Edge, e.from, e.to), e))
        .filter(|(name, _)| !there(name.clone()))
        .collect();
    let nodes: Vec<(String, &Node)> = nodes
        .iter()
        .map(|n| (files::name(Kind::Node, n.digest, n.digest), n))
        .filter(|(name, _)| !there(name.clone()))
        .collect();
    if !edges.is_empty() || !nodes.is_empty() {
        // Another process may have stored one of them again since: look once more, where it cannot
        // add a row.
        let gone = |name: &str| {
            let opened = files.open(name);
            opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        mended.dropped = index.at_once(|| {
            let mut dropped = 0;
            for (_, edge) in edges.iter().filter(|(name, _)| gone(name)) {
                index.drop_edge(model, edge)?;
                dropped += 1;
            }
            for (_, node) in nodes.iter().filter(|(name, _)| gone(name)) {
                index.drop_node(model, node.digest)?;
                dropped += 1;
            }
            Ok(dropped)
        })?;
    }
    let unknown: Vec<&String> = names.difference(&noted).collect();
    let found_edges = unknown.iter().any(|n| n.ends_with(Kind::Edge.ending()));
    // Files are read before rows are written: others have their turns between two steps.
    for names in unknown.chunks(AT_ONCE) {
        let mut found = Vec::new();
        for name in names {
            match look(files, hard, limits, name) {
                Ok(record) => found.push(record),
                Err(Fault::Damage(Damage::Gone | Damage::Memory(_)) | Fault::Io(_)) => {}
                Err(Fault::Damage(damage)) => {
                    tracing::warn!(%name, %damage, "kv file refused");
                    let _ = files.quarantine(name);
                    mended.refused += 1;
                }
            }
        }
        index.at_once(|| {
            found
                .iter()
                .try_for_each(|record| add(index, model, record))
        })?;
        mended.added += found.len();
    }
    if found_edges {
        drop_covered(index, model, files)?;
    }
    Ok(mended)
}

/// Finishes what a crash left of a merge: the merged edge is there, and its parts are.
fn drop_covered(index: &Index, model: ModelId, files: &Files) -> Result<(), Error> {
    for model in index.models()?.iter().filter(|m| m.id == model) {
        // Row first: if the file cannot be removed it is found again at the next open.
        let (graph, covered) = index.at_once(|| {
            let graph = Graph::load(index, model)?;
            let covered = graph.covered();
            let mut edges = covered.iter().filter_map(|item| graph.edge(*item));
            edges.try_for_each(|edge| index.drop_edge(graph.model, edge))?;
            Ok((graph, covered))
        })?;
        for item in &covered {
            if let Err(error) = files.remove(&graph.name(*item)) {
                tracing::warn!(%error, "a merged kv segment cannot be removed");
            }
        }
        tracing::debug!(covered = covered.len(), "merged kv segments removed");
    }
    Ok(())
}

/// What a file says of itself.
struct Record {
    header: Header,
    tokens: Vec<Token>,
    owner: String,
    len: u64,
}

/// Reads all of a file but its payload, which is proven when it is used.
fn look(files: &Files, hard: Digest, limits: &Limits, name: &str) -> Result<Record, Fault> {
    let (mut input, len) = files.open(name)?;
    let (header, tokens) = read::head(&mut input, len, limits)?;
    if header.hard != hard {
        return Err(Damage::Other("model").into());
    }
    if files::name(header.kind, header.from, header.to) != name {
        return Err(Damage::Other("digest").into());
    }
    let owner = read::owner(&mut input, &header)?;
    Ok(Record {
        header,
        tokens,
        owner,
        len,
    })
}

/// Adds a file's row, and what it says of its owner.
fn add(index: &Index, model: ModelId, record: &Record) -> Result<(), rusqlite::Error> {
    let Record {
        header,
        tokens,
        owner,
        len,
    } = record;
    let Some(role) = header.role else {
        let edge = (header.from, header.to, header.p0, header.p1);
        return index.add_edge(model, edge, *len, tokens);
    };
    let node = (header.to, header.p1, role);
    index.add_node(model, node, *len, header.logits > 0, tokens)?;
    if !owner.is_empty() && role != SnapshotRole::Row {
        index.found_state(model, owner, header.to)?;
    }
    if matches!(role, SnapshotRole::Turn | SnapshotRole::Row) && !owner.is_empty() {
        index.turn_if_deeper(model, owner, header.to)?;
    }
    Ok(())
}

/// Reads from the files whose the snapshots are, for an index that is older than `state`: of those
/// who hold something still.
pub(in crate::kv) fn own_states(
    index: &Index,
    storage: &Arc<dyn Storage>,
    root: &Path,
    limits: &Limits,
) -> Result<(), Error> {
    for model in index.models()? {
        let files = Files::new(storage.clone(), root, &short(model.hard));
        let owners: HashSet<String> = index
            .holds(model.id)?
            .into_iter()
            .map(|h| h.owner)
            .collect();
        let (_, nodes) = index.all(model.id)?;
        let mut found = Vec::new();
        for node in nodes {
            let name = files::name(Kind::Node, node.digest, node.digest);
            // What is not as it was is told when it is used.
            if let Ok(record) = look(&files, model.hard, limits, &name)
                && owners.contains(&record.owner)
                && record.header.role != Some(SnapshotRole::Row)
            {
                found.push((node.at, record));
            }
        }
        // The highest id was put last.
        found.sort_by_key(|(at, _)| *at);
        index.at_once(|| {
            let mut found = found.iter();
            found.try_for_each(|(_, r)| index.found_state(model.id, &r.owner, r.header.to))
        })?;
    }
    Ok(())
}

/// Puts the lengths of all files right.
pub(in crate::kv) fn measure(
    index: &Index,
    storage: &Arc<dyn Storage>,
    root: &Path,
) -> Result<(), Error> {
    for model in index.models()? {
        let files = Files::new(storage.clone(), root, &short(model.hard));
        let len = |name: String| files.open(&name).ok().map(|(_, len)| len);
        let (edges, nodes) = index.all(model.id)?;
        for edge in &edges {
            let len = len(files::name(Kind::Edge, edge.from, edge.to));
            if let Some(len) = len.filter(|len| *len != edge.bytes) {
                index.set_edge_bytes(model.id, edge, len)?;
            }
        }
        for node in &nodes {
            let len = len(files::name(Kind::Node, node.digest, node.digest));
            if let Some(len) = len.filter(|len| *len != node.bytes) {
                index.set_node_bytes(model.id, node.digest, len)?;
            }
        }
    }
    index.count_total()?;
    Ok(())
}

/// Makes the rows of all models agree with their folders.
pub(in crate::kv) fn mend_all(
    index: &Index,
    storage: &Arc<dyn Storage>,
    root: &Path,
    limits: &Limits,
) -> Result<Mended, Error> {
    let mut all = Mended::default();
    for folder in &folders(storage, root)? {
        let files = Files::new(storage.clone(), root, folder);
        // Without facts the folder waits for a run of its own model, which writes them again.
        let Some((hard, facts)) = read_facts(&files).filter(|(h, _)| short(*h) == *folder) else {
            continue;
        };
        let model = index.model(hard, &canonical(&facts), "{}")?;
        let mended = mend(index, model, &files, hard, limits)?;
        all.added += mended.added;
        all.refused += mended.refused;
    }
    Ok(all)
}

/// After an index was made anew nobody holds anything: what no turn reaches is held in nobody's name,
/// until its owner pins again or the quota needs it.
pub(in crate::kv) fn hold_tips(index: &Index) -> Result<(), Error> {
    for model in index.models()? {
        index.at_once(|| {
            let graph = Graph::load(index, &model)?;
            let reached = graph.reached(|_| true);
            for item in graph.tips().into_iter().filter(|i| !reached.contains(i)) {
                if let Some(edge) = graph.edge(item) {
                    let owner = format!("{UNCLAIMED}{}", short(edge.to));
                    index.pin(model.id, &owner, edge.to)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Removes what crashed writes left, under every fingerprint.
pub(in crate::kv) fn sweep(storage: &Arc<dyn Storage>, root: &Path) -> Result<(), Error> {
    for folder in folders(storage, root)? {
        let files = Files::new(storage.clone(), root, &folder);
        let swept = files.sweep().map_err(Error::folder(&files.folder))?;
        if swept > 0 {
            tracing::info!(swept, "unfinished kv files removed");
        }
    }
    Ok(())
}

/// The folders of all fingerprints.
pub(in crate::kv) fn folders(
    storage: &Arc<dyn Storage>,
    root: &Path,
) -> Result<Vec<String>, Error> {
    let place = root.join("v1");
    let mut names = storage.list(&place).map_err(Error::folder(&place))?;
    names.retain(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(names)
}
