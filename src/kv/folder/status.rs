//! What is stored in a KV folder, by model and owner: for `npast kv status`.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::index::pins::UNCLAIMED;
use crate::kv::open::index::IndexOwner;
use crate::ledger::Digest;

use super::handle::Folder;

/// What is stored for one model.
#[derive(Clone, Debug)]
pub struct ModelStatus {
    /// Its hard fingerprint.
    pub hard: Digest,
    /// The facts of that fingerprint.
    pub facts: Value,
    /// Segments.
    pub edges: u64,
    /// Snapshots.
    pub nodes: u64,
    /// Bytes of the files of both.
    pub bytes: u64,
    /// Bytes that no owner reaches: what [`Folder::collect`] removes.
    pub unreached: u64,
    /// Bytes that merging has written since the index was made.
    pub merged: u64,
    /// Whose it is, by name.
    pub owners: Vec<OwnerStatus>,
}

/// What is stored for one owner under one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerStatus {
    /// The opaque owner id; `None` for what a rebuild found and no owner has pinned since.
    pub owner: Option<String>,
    /// Tokens that a new process finds restorable; the rest of the conversation is evaluated.
    pub tokens: usize,
    /// Bytes of the files it reaches.
    pub bytes: u64,
    /// Those of them that another owner reaches too.
    pub shared: u64,
}

impl Folder {
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

/// The owners of a graph by name: how many tokens each can restore, and which files it reaches.
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
