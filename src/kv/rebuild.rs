//! Making index and files agree at open: rows without files go, files without rows are read and
//! added. With an empty index that is a rebuild.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::ledger::Digest;

use super::error::{Damage, Error};
use super::files::{self, Files};
use super::fingerprint::canonical;
use super::format::{Kind, Limits};
use super::graph::Graph;
use super::holdings::UNCLAIMED;
use super::index::{Index, ModelId};
use super::put::SnapshotRole;
use super::read::{self, Fault};
use super::storage::Storage;

/// The file that says what a folder's hard fingerprint means.
pub(super) const FACTS: &str = "facts.json";
/// Bytes of it that a reader accepts.
const MOST_FACTS: u64 = 1 << 20;

/// What was found out of step.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Mended {
    /// Files that had no row.
    pub(super) added: usize,
    /// Files that were refused and set aside.
    pub(super) refused: usize,
    /// Rows that had no file.
    pub(super) dropped: usize,
}

/// The folder of a hard fingerprint.
pub(super) fn short(hard: Digest) -> String {
    hard.hex()[..16].to_string()
}

/// The contents of [`FACTS`].
pub(super) fn facts_text(hard: Digest, facts: &Value) -> String {
    canonical(&json!({"hard": hard.hex(), "facts": facts}))
}

/// Reads [`FACTS`]: the hard fingerprint and the facts. `None` when there is nothing of use.
pub(super) fn read_facts(files: &Files) -> Option<(Digest, Value)> {
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

/// Makes the rows of one model agree with its folder.
pub(super) fn mend(
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
    for edge in edges {
        let name = files::name(Kind::Edge, edge.from, edge.to);
        if names.contains(&name) {
            noted.insert(name);
        } else {
            index.drop_edge(edge.id)?;
            mended.dropped += 1;
        }
    }
    for node in nodes {
        let name = files::name(Kind::Node, node.digest, node.digest);
        if names.contains(&name) {
            noted.insert(name);
        } else {
            index.drop_node(node.id)?;
            mended.dropped += 1;
        }
    }
    for name in names.difference(&noted) {
        match add(index, model, files, hard, limits, name)? {
            Ok(()) => mended.added += 1,
            Err(Fault::Damage(Damage::Gone | Damage::Memory(_)) | Fault::Io(_)) => {}
            Err(Fault::Damage(damage)) => {
                tracing::warn!(%name, %damage, "kv file refused");
                let _ = files.quarantine(name);
                mended.refused += 1;
            }
        }
    }
    Ok(mended)
}

/// Reads all of a file but its payload, which is proven when it is used, and adds its row.
fn add(
    index: &Index,
    model: ModelId,
    files: &Files,
    hard: Digest,
    limits: &Limits,
    name: &str,
) -> Result<Result<(), Fault>, Error> {
    let look = || -> Result<_, Fault> {
        let (mut input, len) = files.open(name)?;
        let (header, tokens) = read::head(&mut input, len, limits)?;
        if header.hard != hard {
            return Err(Damage::Other("model").into());
        }
        if files::name(header.kind, header.from, header.to) != name {
            return Err(Damage::Other("digest").into());
        }
        let owner = read::owner(&mut input, &header)?;
        Ok((header, tokens, owner, len))
    };
    let (header, tokens, owner, len) = match look() {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    match header.role {
        None => {
            let edge = (header.from, header.to, header.p0, header.p1);
            index.add_edge(model, edge, len, &tokens)?;
        }
        Some(role) => {
            let node = (header.to, header.p1, role);
            index.add_node(model, node, len, header.logits > 0, &tokens)?;
            if matches!(role, SnapshotRole::Turn | SnapshotRole::Row) && !owner.is_empty() {
                index.turn_if_deeper(model, &owner, header.to)?;
            }
        }
    }
    Ok(Ok(()))
}

/// Adds what other fingerprints have stored, after the index was made anew: their facts explain
/// misses, and their files count.
pub(super) fn mend_others(
    index: &Index,
    storage: &Arc<dyn Storage>,
    root: &Path,
    own: &str,
    limits: &Limits,
) -> Result<Mended, Error> {
    let mut all = Mended::default();
    for folder in folders(storage, root)?.iter().filter(|f| *f != own) {
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
pub(super) fn hold_tips(index: &Index) -> Result<(), Error> {
    for model in index.models()? {
        let graph = Graph::load(index, &model)?;
        let reached = graph.reached(|_| true);
        for item in graph.tips().into_iter().filter(|i| !reached.contains(i)) {
            if let Some(edge) = graph.edge(item) {
                let owner = format!("{UNCLAIMED}{}", short(edge.to));
                index.pin(model.id, &owner, edge.to)?;
            }
        }
    }
    Ok(())
}

/// Removes what crashed writes left, under every fingerprint.
pub(super) fn sweep(storage: &Arc<dyn Storage>, root: &Path) -> Result<(), Error> {
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
pub(super) fn folders(storage: &Arc<dyn Storage>, root: &Path) -> Result<Vec<String>, Error> {
    let place = root.join("v1");
    let mut names = storage.list(&place).map_err(Error::folder(&place))?;
    names.retain(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(names)
}
