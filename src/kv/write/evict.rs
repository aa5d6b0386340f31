//! What is removed when the store is too large, and in which order. Files nobody reaches go first;
//! among the others leaves go first, by the tokens they save per byte, and what is in use stays.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ledger::Digest;

use crate::kv::index::connection::{Index, ModelId};
use crate::kv::index::graph::{Graph, Item};
use crate::kv::index::rebuild::short;
use crate::kv::record::files::Files;

/// Without a setting: this, or a tenth of the disk, whichever is less.
const QUOTA: u64 = 20 << 30;

/// What a collection removed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collected {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a collection stopped.
#[derive(Debug)]
pub(in crate::kv) enum Trouble {
    Io(io::Error),
    Index(rusqlite::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        Trouble::Index(error)
    }
}

/// What must stay whatever the quota says.
#[derive(Default)]
pub(in crate::kv) struct InUse {
    /// Owners whose conversations are held.
    pub(in crate::kv) owners: HashSet<String>,
    /// Ends of what was written for this model since the last pin: nobody holds it yet.
    pub(in crate::kv) fresh: Option<(ModelId, Vec<Digest>)>,
}

/// What is to be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::kv) enum Want {
    /// Only as much as the quota asks for.
    Quota,
    /// Also everything that nobody reaches.
    Unreached,
}

/// The quota of a folder, in bytes: as `given`, else 20 GiB or a tenth of the disk that holds `dir`,
/// whichever is less.
pub fn quota(dir: &Path, given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let disk = rustix::fs::statvfs(dir);
        let size = disk.map_or(u64::MAX, |d| d.f_blocks.saturating_mul(d.f_frsize));
        QUOTA.min(size / 10)
    })
}

/// Removes what `want` says, and what the quota asks for; nothing that is in use. Also the bytes
/// that are left, which are above the quota when what is in use is.
pub(in crate::kv) fn collect(
    index: &Mutex<Index>,
    files: &Files,
    quota: u64,
    want: Want,
    used: &InUse,
) -> Result<(Collected, u64), Trouble> {
    let graphs = {
        let index = locked(index);
        let models = index.models()?;
        let graphs = models.iter().map(|model| Graph::load(&index, model));
        graphs.collect::<Result<Vec<_>, _>>()?
    };
    let mut left: u64 = graphs
        .iter()
        .flat_map(|g| g.items().map(|i| g.bytes(i)))
        .sum();
    let mut collected = Collected::default();
    let mut covered = vec![HashSet::new(); graphs.len()];
    if want == Want::Unreached {
        for (graph, covered) in graphs.iter().zip(&mut covered) {
            *covered = graph.covered();
            let done = remove_all(index, files, graph, covered)?;
            collected.files += done.files;
            collected.bytes += done.bytes;
            left -= done.bytes;
        }
    }
    let mut round = Round::new(&graphs, used, covered);
    while let Some(candidate) = round.next() {
        let unreached = want == Want::Unreached && !candidate.reached;
        if left <= quota && !unreached {
            break;
        }
        let graph = &graphs[candidate.graph];
        let bytes = remove(index, files, graph, candidate.item)?;
        round.gone(candidate.graph, candidate.item);
        collected.files += 1;
        collected.bytes += bytes;
        left -= bytes;
    }
    sync(files, &graphs, collected)?;
    Ok((collected, left))
}

/// Removes some items of a graph, the deepest first.
pub(in crate::kv) fn remove_all(
    index: &Mutex<Index>,
    files: &Files,
    graph: &Graph,
    items: &HashSet<Item>,
) -> Result<Collected, Trouble> {
    let mut order: Vec<Item> = items.iter().copied().collect();
    // Nodes before the edge that ends there.
    order.sort_by_key(|i| Reverse((graph.end(*i), graph.node(*i).is_some(), *i)));
    let mut collected = Collected::default();
    for item in order {
        collected.bytes += remove(index, files, graph, item)?;
        collected.files += 1;
    }
    sync(files, std::slice::from_ref(graph), collected)?;
    Ok(collected)
}

/// File first, then row: a crash in between leaves a row without a file, which open drops. Pins at
/// the end of an edge go back to its start, so that an owner goes on holding what is left.
fn remove(index: &Mutex<Index>, files: &Files, graph: &Graph, item: Item) -> Result<u64, Trouble> {
    let files = files.of(&short(graph.hard));
    files.remove(&graph.name(item))?;
    let index = locked(index);
    // Another process may store what ends there again: look and move the pins in one step.
    index.at_once(|| {
        if let Some(edge) = graph.edge(item) {
            index.drop_edge(graph.model, edge)?;
            if !index.has_at(graph.model, edge.to)? {
                index.move_pins(graph.model, edge.to, edge.from)?;
            }
        }
        if let Some(node) = graph.node(item) {
            index.drop_node(graph.model, node.digest)?;
        }
        Ok(())
    })?;
    Ok(graph.bytes(item))
}

/// Held for a row at a time: others look things up meanwhile.
fn locked(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// A leaf that may go. The order is that of going: what nobody reaches, then what saves fewer
/// tokens per byte (in powers of two, so that headers decide nothing), then what was pinned longest
/// ago, then the deepest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    reached: bool,
    saves: u32,
    pinned: i64,
    depth: Reverse<usize>,
    graph: usize,
    item: Item,
}

/// One collection: the leaves of all graphs, and what becomes a leaf as they go.
struct Round<'a> {
    graphs: &'a [Graph],
    /// The latest pin that reaches an item.
    pinned: Vec<HashMap<Item, i64>>,
    used: Vec<HashSet<Item>>,
    removed: Vec<HashSet<Item>>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl<'a> Round<'a> {
    /// A round over what is there but for the `removed` items.
    fn new(graphs: &'a [Graph], used: &InUse, removed: Vec<HashSet<Item>>) -> Round<'a> {
        let mut round = Round {
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
            round.pinned.push(pinned);
            round.used.push(kept);
            for item in graph.items() {
                round.offer(i, item);
            }
        }
        round
    }

    fn next(&mut self) -> Option<Candidate> {
        loop {
            let Reverse(candidate) = self.heap.pop()?;
            if !self.removed[candidate.graph].contains(&candidate.item) {
                return Some(candidate);
            }
        }
    }

    /// Takes note of a removal; the edges it leaned on may be leaves now.
    fn gone(&mut self, graph: usize, item: Item) {
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

    /// Makes an item a candidate if it is a leaf, and not in use.
    fn offer(&mut self, graph: usize, item: Item) {
        let g = &self.graphs[graph];
        let removed = &self.removed[graph];
        if self.used[graph].contains(&item) || removed.contains(&item) {
            return;
        }
        if let Some(edge) = g.edge(item) {
            let after = g.starting(edge.to).iter().chain(g.standing(edge.to));
            // What nothing leads to holds nothing up.
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
