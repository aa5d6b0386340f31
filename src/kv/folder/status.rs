//! What is stored in a KV folder, per model and owner, for `npast kv status`. Invariant: nothing is
//! changed.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::index::pins::UNCLAIMED;
use crate::kv::open::index::IndexOwner;
use crate::ledger::Digest;

use super::handle::KvFolder;

/// What is stored for one model.
#[derive(Clone, Debug)]
pub struct ModelStatus {
    /// The hard fingerprint of the model.
    pub hard: Digest,
    /// The hard facts of the model.
    pub facts: Value,
    /// The number of segments.
    pub edges: u64,
    /// The number of snapshots and separate logits rows.
    pub nodes: u64,
    /// The bytes of all their files.
    pub bytes: u64,
    /// The bytes of records that no owner reaches; [`KvFolder::collect`] removes them.
    pub unreached: u64,
    /// The bytes that merging has written since the index was made.
    pub merged: u64,
    /// The owners, ordered by name.
    pub owners: Vec<OwnerStatus>,
}

/// What is stored for one owner under one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerStatus {
    /// The name of the owner. `None` for an unclaimed pin (see `index::pins`): records that a rebuild of
    /// the index found and that no owner has pinned since.
    pub owner: Option<String>,
    /// How many tokens of its conversation a new process can restore; the tokens after them are
    /// evaluated.
    pub tokens: usize,
    /// The bytes of the files that it reaches.
    pub bytes: u64,
    /// How many of these bytes another owner reaches too.
    pub shared: u64,
}

impl KvFolder {
    /// What is stored, per model and owner.
    ///
    /// # Errors
    /// When the index fails.
    pub fn status(&self) -> Result<Vec<ModelStatus>, Error> {
        self.sound(|| self.models())
    }

    fn models(&self) -> Result<Vec<ModelStatus>, Error> {
        let graphs = self.graphs()?;
        let index = self.index();
        let status = graphs.into_iter().map(|(graph, facts)| {
            let merged = index.totals().merged(graph.model)?;
            let sum =
                |items: &mut dyn Iterator<Item = GraphItem>| items.map(|i| graph.bytes(i)).sum();
            let owners = owners(&graph);
            let mut reaching: HashMap<GraphItem, usize> = HashMap::new();
            for (_, _, items) in &owners {
                for item in items {
                    *reaching.entry(*item).or_default() += 1;
                }
            }
            Ok(ModelStatus {
                hard: graph.hard,
                facts,
                merged,
                edges: graph.edges.len() as u64,
                nodes: graph.nodes.len() as u64,
                bytes: sum(&mut graph.items()),
                unreached: sum(&mut graph.items().filter(|i| !reaching.contains_key(i))),
                owners: owners
                    .iter()
                    .map(|(owner, tokens, items)| OwnerStatus {
                        owner: owner.clone(),
                        tokens: *tokens,
                        bytes: sum(&mut items.iter().copied()),
                        shared: sum(&mut items.iter().copied().filter(|i| reaching[i] > 1)),
                    })
                    .collect(),
            })
        });
        status.collect()
    }
}

/// The owners of a graph, ordered by name: how many tokens each can restore, and which records it
/// reaches.
fn owners(graph: &Graph) -> Vec<(Option<String>, usize, HashSet<GraphItem>)> {
    let names: HashSet<&String> = graph.holds.iter().map(|h| &h.owner).collect();
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort();
    let mut owners = Vec::new();
    for name in names {
        let held = graph.holds.iter().filter(|h| h.owner == *name && !h.past);
        let tokens = held.map(|h| graph.restorable(h.digest)).max().unwrap_or(0);
        let owner = (!name.starts_with(UNCLAIMED)).then(|| name.clone());
        owners.push((owner, tokens, graph.reached(|o| o == name)));
    }
    owners
}
