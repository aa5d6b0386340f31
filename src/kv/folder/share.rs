//! How much of a conversation is stored, and keeping what a fork has copied. Both use the points of the
//! conversation (`index::points`).
//! - [`Shelf`] is a picture of everything that is stored, with the owners that reach each record.
//!   [`KvFolder::shelf`] loads it once for the list of sessions. [`Shelf::stored`] then says for each
//!   conversation how many of its tokens are stored, and how many of these tokens another owner reaches
//!   too.
//! - [`KvFolder::hold`] is for a fork, which is a new session that begins with a copy of another session's
//!   conversation. It gives the fork's owner a pin and a turn node, so that this owner reaches the records
//!   of the copied tokens. The records then stay when the other session's owner holds other digests after
//!   its next turn, and when that owner is removed.
//!
//! Invariant: a record counts only if it ends at a point: its digest is the one of the conversation's own
//! tokens.

use std::collections::{HashMap, HashSet};

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::index::pins::UNCLAIMED;
use crate::kv::index::points::{Point, hold, points};
use crate::kv::open::index::IndexOwner;
use crate::ledger::Token;

use super::handle::KvFolder;

/// How much of a conversation is stored, in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoredShare {
    /// How many of its first tokens a new process can restore, at least.
    pub tokens: usize,
    /// How many of these tokens another owner reaches too.
    pub shared: usize,
}

/// A picture of what is stored in the folder at one moment: the graph of each model, and for each record
/// the owners that reach it. It is loaded once and asked about many conversations.
pub struct Shelf {
    models: Vec<(Graph, HashMap<GraphItem, HashSet<String>>)>,
}

impl Shelf {
    /// How much of a conversation is stored, under the model that has the most of it.
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

impl KvFolder {
    /// Gives `owner` a pin and a turn node, under every model, by which it reaches what is stored of the
    /// first `len` tokens of `ledger`. If the last of these tokens are stored only in a segment that ends
    /// later, the owner reaches that segment too.
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

    /// Loads what is stored, for [`Shelf::stored`].
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
