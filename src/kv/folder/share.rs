//! How much of each conversation is stored, and how much of that is shared: for a list of sessions. Also
//! the hold of a fork on what it shares with its parent.

use std::collections::{HashMap, HashSet};

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::index::points::{Point, hold, points};
use crate::kv::index::pins::UNCLAIMED;
use crate::kv::open::index::IndexOwner;
use crate::ledger::Token;

use super::handle::Folder;

/// What of a ledger is on disk, in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoredShare {
    /// How many of its first tokens a new process restores, at least.
    pub tokens: usize,
    /// How many of those another owner holds too.
    pub shared: usize,
}

/// The folder's graphs, and which owners reach each file: read once for many conversations.
pub struct Shelf {
    models: Vec<(Graph, HashMap<GraphItem, HashSet<String>>)>,
}

impl Shelf {
    /// What is stored of a ledger under the model that has the most of it.
    pub fn stored(&self, owner: &str, ledger: &[Token]) -> StoredShare {
        let of = |(graph, reach): &(Graph, HashMap<GraphItem, HashSet<String>>)| {
            let points = points(graph, ledger);
            let usable = |p: &&Point| graph.restores(p.digest);
            let tokens = points.iter().rfind(usable).map_or(0, |p| p.end);
            let others = |p: &&Point| {
                let owners = p.items.iter().filter_map(|i| reach.get(i)).flatten();
                p.end <= tokens && owners.into_iter().any(|o| o != owner)
            };
            StoredShare {
                tokens,
                shared: points.iter().rfind(others).map_or(0, |p| p.end),
            }
        };
        let all = self.models.iter().map(of);
        all.max_by_key(|s| (s.tokens, s.shared)).unwrap_or_default()
    }
}

impl Folder {
    /// Makes `owner` hold what is stored of a ledger's first `len` tokens, under every model; of what
    /// is stored after them only the rest of a segment that the last of these tokens is in.
    ///
    /// # Errors
    /// When the index fails.
    pub fn hold(&self, owner: &str, ledger: &[Token], len: usize) -> Result<(), Error> {
        self.sound(|| {
            let index = self.index();
            index.at_once(|| {
                for model in index.models().all()? {
                    let graph = Graph::load(&index, &model)?;
                    if let Some(digest) = hold(&index, &graph, owner, ledger, len)? {
                        index.pins(graph.model).set(owner, digest)?;
                    }
                }
                Ok(())
            })
        })?;
        Ok(())
    }

    /// What is stored, for [`Shelf::stored`].
    ///
    /// # Errors
    /// When the index fails.
    pub fn shelf(&self) -> Result<Shelf, Error> {
        let with_owners = |graph: Graph| {
            let mut reach: HashMap<GraphItem, HashSet<String>> = HashMap::new();
            let named = graph.holds.iter().map(|h| &h.owner);
            let owners: HashSet<&String> = named.filter(|o| !o.starts_with(UNCLAIMED)).collect();
            for owner in owners {
                for item in graph.reached(|o| o == owner) {
                    reach.entry(item).or_default().insert(owner.clone());
                }
            }
            (graph, reach)
        };
        let graphs = self.sound(|| self.graphs())?.into_iter();
        Ok(Shelf {
            models: graphs.map(|(graph, _)| with_owners(graph)).collect(),
        })
    }
}
