//! Eviction: removes records when the store is larger than its quota, or when disk space is missing. The
//! writer thread does it at the end of a turn, before a write on a full disk, and when npast.db needs
//! space. Garbage collection (`npast kv gc`, `Store::collect`) is an eviction that also removes every
//! record that no owner reaches. The caller says which records are in use (`in_use`), and these stay.
//!
//! Order: only leaves are removed. A leaf is a record that nothing continues: a node, or an edge at whose
//! end no edge begins and no node stands. An edge becomes a leaf when everything after it was removed. (An
//! edge to which no chain leads from position 0 may go at any time.) This decides which leaf goes first:
//! 1. A leaf that no owner reaches goes before one that an owner reaches.
//! 2. Then the leaf goes without which the fewest tokens per byte must be evaluated again.
//! 3. If these numbers are about equal, the leaf goes whose latest pin is the oldest.
//! 4. If these are equal too, the leaf at the highest position goes.
//!
//! Invariant: from every record that is left, a chain still leads back to position 0 if one did before.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io;
use std::path::Path;

use crate::kv::error::Error;
use crate::kv::index::graph::{Graph, GraphItem};
use crate::kv::model::facts::short;
use crate::kv::open::index::{IndexError, OpenIndex};
use crate::kv::record::files::Files;
use crate::ledger::Digest;

use super::in_use::InUse;

/// What an eviction has removed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collected {
    /// The number of removed files.
    pub files: u64,
    /// The bytes of the removed files.
    pub bytes: u64,
}

/// Why an eviction stopped.
#[derive(Debug, thiserror::Error)]
pub(in crate::kv) enum EvictError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Index(#[from] rusqlite::Error),
}

impl EvictError {
    /// This error as an error of the folder at `path`.
    pub(in crate::kv) fn at(self, path: &Path) -> Error {
        match self {
            EvictError::Io(source) => Error::folder(path)(source),
            EvictError::Index(error) => Error::Index(error),
        }
    }
}

impl IndexError for EvictError {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        match self {
            EvictError::Index(error) => Some(error),
            EvictError::Io(_) => None,
        }
    }
}

/// What an eviction removes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::kv) enum EvictWhat {
    /// Only as many records as needed to come down to the given number of bytes.
    OverQuota,
    /// These, and also every record that no owner reaches.
    Unreached,
}

/// Removes records until the others take at most `quota` bytes, and in addition what `what` says. Records
/// in use (`used`) stay. Also returns the bytes that are left; they are more than `quota` if the records
/// in use are.
pub(in crate::kv) fn evict(
    index: &OpenIndex,
    files: &Files,
    quota: u64,
    what: EvictWhat,
    used: &InUse,
) -> Result<(Collected, u64), EvictError> {
    let graphs = {
        let index = index.lock();
        let models = index.models().all()?;
        let graphs = models.iter().map(|model| Graph::load(&index, model));
        graphs.collect::<Result<Vec<_>, _>>()?
    };
    let mut left: u64 = graphs
        .iter()
        .flat_map(|g| g.items().map(|i| g.bytes(i)))
        .sum();
    let mut collected = Collected::default();
    let mut covered = vec![HashSet::new(); graphs.len()];
    if what == EvictWhat::Unreached {
        for (graph, covered) in graphs.iter().zip(&mut covered) {
            *covered = graph.covered();
            let done = remove_all(index, files, graph, covered)?;
            collected.files += done.files;
            collected.bytes += done.bytes;
            left -= done.bytes;
        }
    }
    let mut eviction = Eviction::new(&graphs, used, covered);
    while let Some(candidate) = eviction.next() {
        let unreached = what == EvictWhat::Unreached && !candidate.reached;
        if left <= quota && !unreached {
            break;
        }
        let graph = &graphs[candidate.graph];
        let bytes = remove(index, files, graph, candidate.item)?;
        eviction.gone(candidate.graph, candidate.item);
        collected.files += 1;
        collected.bytes += bytes;
        left -= bytes;
    }
    sync(files, &graphs, collected)?;
    Ok((collected, left))
}

/// Removes some records of a graph, those at the highest positions first.
pub(in crate::kv) fn remove_all(
    index: &OpenIndex,
    files: &Files,
    graph: &Graph,
    items: &HashSet<GraphItem>,
) -> Result<Collected, EvictError> {
    let mut order: Vec<GraphItem> = items.iter().copied().collect();
    // At the same position, a node goes before the edge that ends there.
    order.sort_by_key(|i| Reverse((graph.end(*i), graph.node(*i).is_some(), *i)));
    let mut collected = Collected::default();
    for item in order {
        collected.bytes += remove(index, files, graph, item)?;
        collected.files += 1;
    }
    sync(files, std::slice::from_ref(graph), collected)?;
    Ok(collected)
}

/// Removes the file of a record, then its index row. A crash in between leaves an index row without a
/// file, which the next open removes. Pins at the end of a removed edge move to its start, so their owners
/// still reach the rest of the chain.
fn remove(
    index: &OpenIndex,
    files: &Files,
    graph: &Graph,
    item: GraphItem,
) -> Result<u64, EvictError> {
    let files = files.of(&short(graph.hard));
    files.remove(&graph.name(item))?;
    // The connection is locked for one index row at a time, so that other threads can use the index in
    // between.
    let index = index.lock();
    let model = graph.model;
    // One transaction, because another process may be storing again an edge that ends at the same digest.
    index.at_once(|| {
        if let Some(edge) = graph.edge(item) {
            index.edges(model).remove(edge)?;
            if !index.joints(model).is_stored(edge.to)? {
                index.pins(model).move_all(edge.to, edge.from)?;
            }
        }
        if let Some(node) = graph.node(item) {
            index.nodes(model).remove(node.digest)?;
        }
        Ok(())
    })?;
    Ok(graph.bytes(item))
}

/// Flushes the model folders, so that the removals are durable.
fn sync(files: &Files, graphs: &[Graph], collected: Collected) -> io::Result<()> {
    if collected.files == 0 {
        return Ok(());
    }
    for graph in graphs.iter().filter(|g| !g.items().is_empty()) {
        let files = files.of(&short(graph.hard));
        match files.storage.sync_folder(&files.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A leaf that may be removed. The fields are in the order of comparison, and the smallest candidate goes
/// first: a record that no owner reaches; then the one that saves the fewest tokens per byte (compared in
/// powers of two, so that the length of a header does not decide); then the one whose latest pin is the
/// oldest; then the one at the highest position.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    reached: bool,
    saves: u32,
    pinned: i64,
    depth: Reverse<usize>,
    graph: usize,
    item: GraphItem,
}

/// One eviction: its heap has the leaves of all graphs, and gets new ones when records are removed.
struct Eviction<'a> {
    graphs: &'a [Graph],
    /// For each graph, the latest pin that reaches a record.
    pinned: Vec<HashMap<GraphItem, i64>>,
    /// For each graph, the records in use.
    used: Vec<HashSet<GraphItem>>,
    /// For each graph, the records that were removed.
    removed: Vec<HashSet<GraphItem>>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl<'a> Eviction<'a> {
    /// An eviction over all records except the `removed` ones.
    fn new(graphs: &'a [Graph], used: &InUse, removed: Vec<HashSet<GraphItem>>) -> Eviction<'a> {
        let mut eviction = Eviction {
            graphs,
            pinned: Vec::new(),
            used: Vec::new(),
            removed,
            heap: BinaryHeap::new(),
        };
        for (i, graph) in graphs.iter().enumerate() {
            let mut pinned = HashMap::new();
            let mut latest: HashMap<Digest, i64> = HashMap::new();
            for hold in &graph.holds {
                let order = latest.entry(hold.digest).or_insert(hold.order);
                *order = hold.order.max(*order);
            }
            for (digest, order) in latest {
                for item in graph.behind(digest) {
                    let latest = pinned.entry(item).or_insert(order);
                    *latest = order.max(*latest);
                }
            }
            let mut kept = graph.reached(|owner| used.owners.contains(owner));
            let fresh = used.fresh.iter().filter(|(model, _)| *model == graph.model);
            for digest in fresh.flat_map(|(_, digests)| digests) {
                kept.extend(graph.behind(*digest));
            }
            eviction.pinned.push(pinned);
            eviction.used.push(kept);
            for item in graph.items() {
                eviction.offer(i, item);
            }
        }
        eviction
    }

    /// The leaf that goes next; `None` when no leaf is left.
    fn next(&mut self) -> Option<Candidate> {
        loop {
            let Reverse(candidate) = self.heap.pop()?;
            if !self.removed[candidate.graph].contains(&candidate.item) {
                return Some(candidate);
            }
        }
    }

    /// A record was removed: the edges that end where it began may be leaves now.
    fn gone(&mut self, graph: usize, item: GraphItem) {
        self.removed[graph].insert(item);
        let g = &self.graphs[graph];
        let digest = match (g.edge(item), g.node(item)) {
            (Some(edge), _) => edge.from,
            (None, Some(node)) => node.digest,
            (None, None) => return,
        };
        for before in g.ending(digest) {
            self.offer(graph, *before);
        }
    }

    /// Makes a record a candidate if it is a leaf and not in use.
    fn offer(&mut self, graph: usize, item: GraphItem) {
        let g = &self.graphs[graph];
        let removed = &self.removed[graph];
        if self.used[graph].contains(&item) || removed.contains(&item) {
            return;
        }
        if let Some(edge) = g.edge(item) {
            let after = g.starting(edge.to).iter().chain(g.standing(edge.to));
            // An edge to which no chain leads from position 0 is of no use, whatever continues it.
            if g.is_anchored(edge.from) && after.into_iter().any(|i| !removed.contains(i)) {
                return;
            }
        }
        let pinned = self.pinned[graph].get(&item);
        let per_mib = ((g.saves(item) as u64) << 20) / g.bytes(item).max(1);
        self.heap.push(Reverse(Candidate {
            reached: pinned.is_some(),
            saves: per_mib.checked_ilog2().map_or(0, |log| log + 1),
            pinned: pinned.copied().unwrap_or(0),
            depth: Reverse(g.end(item)),
            graph,
            item,
        }));
    }
}
