//! Who has what of a ledger: the point at which a fork holds what it takes over, and how much of a
//! session is on disk and shared, for a list of sessions.

use std::collections::{HashMap, HashSet};

use crate::ledger::{Digest, Running, Token};

use crate::kv::error::Error;
use crate::kv::folder::handle::Folder;
use crate::kv::index::connection::Index;
use crate::kv::index::graph::{Graph, Item};
use crate::kv::index::holdings::UNCLAIMED;
use crate::kv::store::handle::Store;

/// What of a ledger is on disk, in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stored {
    /// A new process restores so many of its first tokens, at least.
    pub tokens: usize,
    /// So many of those another owner holds too.
    pub shared: usize,
}

/// The folder's graphs with who reaches what, read once for many questions.
pub struct Shelf {
    models: Vec<(Graph, HashMap<Item, HashSet<String>>)>,
}

impl Shelf {
    /// What is stored of a ledger under the model that has the most of it.
    pub fn stored(&self, owner: &str, ledger: &[Token]) -> Stored {
        let of = |(graph, reach): &(Graph, HashMap<Item, HashSet<String>>)| {
            let points = along(graph, ledger);
            let usable = |p: &&Point| p.restores;
            let tokens = points.iter().rfind(usable).map_or(0, |p| p.end);
            let others = |p: &&Point| {
                let owners = p.items.iter().filter_map(|i| reach.get(i)).flatten();
                p.end <= tokens && owners.into_iter().any(|o| o != owner)
            };
            Stored {
                tokens,
                shared: points.iter().rfind(others).map_or(0, |p| p.end),
            }
        };
        let all = self.models.iter().map(of);
        all.max_by_key(|s| (s.tokens, s.shared)).unwrap_or_default()
    }
}

/// A place on a ledger at which something stored ends.
struct Point {
    end: usize,
    digest: Digest,
    items: Vec<Item>,
    /// A new process can begin there.
    restores: bool,
}

/// The places of a graph on a ledger, ascending.
fn along(graph: &Graph, ledger: &[Token]) -> Vec<Point> {
    let mut ends: Vec<usize> = graph.items().map(|i| graph.end(i)).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut points = Vec::new();
    let mut running = Running::new(graph.hard);
    for end in ends {
        let Some(tokens) = ledger.get(running.len()..end) else {
            break;
        };
        running.extend(tokens);
        let digest = running.digest();
        let edges = graph.ending(digest).iter();
        let items: Vec<Item> = edges.chain(graph.standing(digest)).copied().collect();
        if !items.is_empty() {
            points.push(Point {
                end,
                digest,
                restores: graph.restores(digest),
                items,
            });
        }
    }
    points
}

/// Where an owner holds what it needs to go on after the first `len` tokens of a ledger: the
/// deepest place up to there from which a process can begin. Positions that are stored beyond it in
/// one segment are held with the segment's end.
fn point(graph: &Graph, ledger: &[Token], len: usize) -> Option<Digest> {
    let points = along(graph, ledger);
    let before = points.iter().rfind(|p| p.end <= len && p.restores);
    if before.is_some_and(|p| p.end == len) || graph.has_states() {
        return before.map(|p| p.digest);
    }
    let over = points.iter().find(|p| p.end > len && p.restores);
    over.or(before).map(|p| p.digest)
}

/// Holds in one graph; gives the digest to pin. In the transaction in which the graph was read: what
/// is to be held may be collected by another process.
fn hold(
    index: &Index,
    graph: &Graph,
    owner: &str,
    ledger: &[Token],
    len: usize,
) -> Result<Option<Digest>, rusqlite::Error> {
    // Another owner's next turn removes its last snapshot, unless that is somebody else's turn too.
    let node = |p: &&Point| p.end <= len && !graph.standing(p.digest).is_empty();
    if let Some(turn) = along(graph, ledger).iter().rfind(node) {
        index.turn_if_deeper(graph.model, owner, turn.digest)?;
    }
    Ok(point(graph, ledger, len))
}

impl Folder {
    /// Makes `owner` a holder of what is stored of a ledger's first `len` tokens, under every model;
    /// of what goes on after them only what cannot be told apart.
    ///
    /// # Errors
    /// When the index fails.
    pub fn hold(&self, owner: &str, ledger: &[Token], len: usize) -> Result<(), Error> {
        self.sound(|| {
            let index = self.index();
            index.at_once(|| {
                for model in index.models()? {
                    let graph = Graph::load(&index, &model)?;
                    if let Some(digest) = hold(&index, &graph, owner, ledger, len)? {
                        index.pin(graph.model, owner, digest)?;
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
            let mut reach: HashMap<Item, HashSet<String>> = HashMap::new();
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

impl Store {
    /// [`Folder::hold`] under this store's model, for a process that has it open.
    ///
    /// # Errors
    /// When the index fails or the writer has died.
    pub fn hold(&self, owner: &str, ledger: &[Token], len: usize) -> Result<(), Error> {
        self.flush()?;
        let Some(live) = self.live() else {
            return Ok(());
        };
        let digest = live.sound(|| {
            let index = live.index();
            index.at_once(|| {
                let models = index.models()?;
                let Some(model) = models.iter().find(|m| m.id == live.model()) else {
                    return Ok(None);
                };
                hold(&index, &Graph::load(&index, model)?, owner, ledger, len)
            })
        })?;
        if let Some(digest) = digest {
            self.hold_at(owner, digest);
        }
        Ok(())
    }
}
