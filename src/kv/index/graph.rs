//! [`Graph`]: the edges and nodes of one model in memory, and which owner reaches which of them.
//! Eviction, status and removing an owner load it from the index, and keep it for one operation; a lookup
//! never loads it. Invariant: what a graph calls *anchored* can be restored from position 0 through
//! stored edges.

use std::collections::{HashMap, HashSet};

use crate::kv::record::item::{Edge, Node};
use crate::kv::record::role::SnapshotRole;
use crate::ledger::{Digest, RunningDigest};

use super::connection::Index;
use super::models::{ModelId, StoredModel};
use super::owners::Hold;
use super::table::SqlResult;

/// A record in a graph, as a number: 0 to `edges.len() - 1` are the edges, and the numbers after them are
/// the nodes.
pub(in crate::kv) type GraphItem = usize;

/// Everything that is stored for one model.
pub(in crate::kv) struct Graph {
    pub(in crate::kv) model: ModelId,
    pub(in crate::kv) hard: Digest,
    pub(in crate::kv) edges: Vec<Edge>,
    pub(in crate::kv) nodes: Vec<(Node, Option<SnapshotRole>)>,
    pub(in crate::kv) holds: Vec<Hold>,
    /// D(0): the digest of the empty prefix.
    root: Digest,
    /// The edges by the digest at which they end.
    ends: HashMap<Digest, Vec<GraphItem>>,
    /// The edges by the digest at which they begin.
    starts: HashMap<Digest, Vec<GraphItem>>,
    /// The nodes by their digest.
    at: HashMap<Digest, Vec<GraphItem>>,
    /// The digests to which a chain of edges leads from position 0, and D(0).
    anchored: HashSet<Digest>,
}

impl Graph {
    /// Reads all rows of a model.
    pub(in crate::kv) fn load(index: &Index, model: &StoredModel) -> SqlResult<Graph> {
        let edges = index.edges(model.id).all()?;
        let nodes = index.nodes(model.id).all()?;
        let roles = index.nodes(model.id).roles()?;
        let nodes = nodes.into_iter().map(|node| {
            let role = roles.get(&node.id).copied();
            (node, role)
        });
        let mut graph = Graph {
            model: model.id,
            hard: model.hard,
            holds: index.owners().holds(model.id)?,
            root: RunningDigest::new(model.hard).digest(),
            ends: HashMap::new(),
            starts: HashMap::new(),
            at: HashMap::new(),
            anchored: HashSet::new(),
            edges,
            nodes: nodes.collect(),
        };
        for (i, edge) in graph.edges.iter().enumerate() {
            graph.ends.entry(edge.to).or_default().push(i);
            graph.starts.entry(edge.from).or_default().push(i);
        }
        for (i, (node, _)) in graph.nodes.iter().enumerate() {
            let item = graph.edges.len() + i;
            graph.at.entry(node.digest).or_default().push(item);
        }
        let mut open = vec![graph.root];
        while let Some(digest) = open.pop() {
            if graph.anchored.insert(digest) {
                let next = graph.starting(digest).iter();
                open.extend(next.map(|i| graph.edges[*i].to));
            }
        }
        Ok(graph)
    }

    /// All records of the graph.
    pub(in crate::kv) fn items(&self) -> std::ops::Range<GraphItem> {
        0..self.edges.len() + self.nodes.len()
    }

    /// The edge with this number; `None` if the number is a node's.
    pub(in crate::kv) fn edge(&self, item: GraphItem) -> Option<&Edge> {
        self.edges.get(item)
    }

    /// The node with this number; `None` if the number is an edge's.
    pub(in crate::kv) fn node(&self, item: GraphItem) -> Option<&Node> {
        let at = item.checked_sub(self.edges.len())?;
        self.nodes.get(at).map(|(node, _)| node)
    }

    /// The length of a record's file in bytes.
    pub(in crate::kv) fn bytes(&self, item: GraphItem) -> u64 {
        let node = || self.node(item).map_or(0, |n| n.bytes);
        self.edge(item).map_or_else(node, |e| e.bytes)
    }

    /// The position at which a record ends, in tokens.
    pub(in crate::kv) fn end(&self, item: GraphItem) -> usize {
        let node = || self.node(item).map_or(0, |n| n.at);
        self.edge(item).map_or_else(node, |e| e.p1)
    }

    /// The name of a record's file.
    pub(in crate::kv) fn name(&self, item: GraphItem) -> String {
        match (self.edge(item), self.node(item)) {
            (Some(edge), _) => edge.name(),
            (None, Some(node)) => node.name(),
            (None, None) => String::new(),
        }
    }

    /// The edges that end at a digest.
    pub(in crate::kv) fn ending(&self, digest: Digest) -> &[GraphItem] {
        self.ends.get(&digest).map_or(&[], Vec::as_slice)
    }

    /// The edges that begin at a digest.
    pub(in crate::kv) fn starting(&self, digest: Digest) -> &[GraphItem] {
        self.starts.get(&digest).map_or(&[], Vec::as_slice)
    }

    /// The nodes at a digest (at most one).
    pub(in crate::kv) fn standing(&self, digest: Digest) -> &[GraphItem] {
        self.at.get(&digest).map_or(&[], Vec::as_slice)
    }

    /// Every record that a restore to `digest` can use: all edges on the way back to position 0, also if
    /// several edges cover the same positions, and the nodes between them. Edges to which no chain leads
    /// from position 0 are left out, because no restore can use them.
    pub(in crate::kv) fn behind(&self, digest: Digest) -> HashSet<GraphItem> {
        let mut found = HashSet::new();
        let mut seen = HashSet::new();
        let mut open = vec![digest];
        while let Some(digest) = open.pop() {
            if !seen.insert(digest) {
                continue;
            }
            found.extend(self.standing(digest));
            for item in self.ending(digest) {
                let edge = &self.edges[*item];
                if self.anchored.contains(&edge.from) {
                    found.insert(*item);
                    open.push(edge.from);
                }
            }
        }
        if self.edges.is_empty() {
            // Only whole states are stored. Without edges nothing says which conversations begin with
            // which head, so every owner reaches all nodes except the turns of others.
            let shared = |role: &Option<SnapshotRole>| *role != Some(SnapshotRole::Turn);
            let heads = self.nodes.iter().enumerate().filter(|(_, n)| shared(&n.1));
            found.extend(heads.map(|(i, _)| i));
        }
        found
    }

    /// Every record that the chosen owners reach.
    pub(in crate::kv) fn reached(&self, whose: impl Fn(&str) -> bool) -> HashSet<GraphItem> {
        let mut found = HashSet::new();
        for hold in self.holds.iter().filter(|h| whose(&h.owner)) {
            found.extend(self.behind(hold.digest));
        }
        found
    }

    /// True when a snapshot is stored, and not only logits rows. The segments alone cannot give the state
    /// then.
    pub(in crate::kv) fn has_states(&self) -> bool {
        let state = |role: &Option<SnapshotRole>| *role != Some(SnapshotRole::Row);
        self.nodes.iter().any(|(_, role)| state(role))
    }

    /// True when a record is a snapshot, and not a logits row alone.
    fn is_state(&self, item: GraphItem) -> bool {
        let node = item.checked_sub(self.edges.len()).map(|at| &self.nodes[at]);
        node.is_some_and(|(_, role)| *role != Some(SnapshotRole::Row))
    }

    /// True when a new process can restore exactly the prefix of a digest.
    pub(in crate::kv) fn restores(&self, digest: Digest) -> bool {
        let whole = self.edges.is_empty() || self.anchored.contains(&digest);
        if self.has_states() {
            whole && self.standing(digest).iter().any(|i| self.is_state(*i))
        } else {
            whole && !self.ending(digest).is_empty()
        }
    }

    /// How many tokens a new process can restore on the way to `digest`: up to the last edge, or, for a
    /// model that needs snapshots, up to the last snapshot.
    pub(in crate::kv) fn restorable(&self, digest: Digest) -> usize {
        let behind = self.behind(digest);
        let whole = |d: Digest| self.edges.is_empty() || self.anchored.contains(&d);
        if !self.has_states() {
            let edges = behind.iter().filter_map(|i| self.edge(*i));
            return edges.map(|e| e.p1).max().unwrap_or(0);
        }
        let nodes = behind.iter().filter_map(|i| self.node(*i));
        let usable = nodes.filter(|n| whole(n.digest)).map(|n| n.at);
        usable.max().unwrap_or(0)
    }

    /// True when a chain of edges leads from position 0 to the digest.
    pub(in crate::kv) fn is_anchored(&self, digest: Digest) -> bool {
        self.anchored.contains(&digest)
    }

    /// Every record that ends at one of some digests.
    pub(in crate::kv) fn on(&self, digests: &HashSet<Digest>) -> HashSet<GraphItem> {
        let at = |d: &Digest| self.ending(*d).iter().chain(self.standing(*d));
        digests.iter().flat_map(at).copied().collect()
    }

    /// The parts of merged segments that a crash left on disk: edges whose positions are all in another
    /// edge with the same end, and whose joints nothing else needs.
    pub(in crate::kv) fn covered(&self) -> HashSet<GraphItem> {
        let held: HashSet<Digest> = self.holds.iter().map(|h| h.digest).collect();
        let mut covered = HashSet::new();
        for (whole, edge) in self.edges.iter().enumerate() {
            for end in self.ending(edge.to).iter().filter(|i| **i != whole) {
                let mut path = vec![*end];
                let mut at = &self.edges[*end];
                while at.p0 > edge.p0
                    && !held.contains(&at.from)
                    && self.standing(at.from).is_empty()
                    && self.starting(at.from).len() == 1
                    && let [before] = self.ending(at.from)
                {
                    path.push(*before);
                    at = &self.edges[*before];
                }
                // If the first parts are removed already, no edge leads to the other parts any more.
                let parent_is_gone = at.p0 > edge.p0 && self.ending(at.from).is_empty();
                if at.from == edge.from || parent_is_gone {
                    covered.extend(path);
                }
            }
        }
        covered
    }

    /// Adds to `items` every record that continues one of them, directly or through others, except the
    /// `kept` ones.
    pub(in crate::kv) fn add_later(
        &self,
        items: &mut HashSet<GraphItem>,
        kept: &HashSet<GraphItem>,
    ) {
        let mut open: Vec<GraphItem> = items.iter().copied().collect();
        while let Some(item) = open.pop() {
            let Some(edge) = self.edge(item) else {
                continue;
            };
            for next in self.starting(edge.to).iter().chain(self.standing(edge.to)) {
                if !kept.contains(next) && items.insert(*next) {
                    open.push(*next);
                }
            }
        }
    }

    /// The edges at the ends of chains from position 0: no other edge begins where such an edge ends.
    pub(in crate::kv) fn tips(&self) -> Vec<GraphItem> {
        let tip = |i: &GraphItem| {
            let edge = &self.edges[*i];
            self.starting(edge.to).is_empty() && self.anchored.contains(&edge.from)
        };
        (0..self.edges.len()).filter(tip).collect()
    }

    /// How many tokens must be evaluated again when a record is removed. For an edge: its own tokens. For
    /// a snapshot: the tokens from the previous snapshot on its way to its own position. For a logits
    /// row: 1.
    pub(in crate::kv) fn saves(&self, item: GraphItem) -> usize {
        let Some(node) = self.node(item) else {
            return self.edge(item).map_or(0, |e| e.p1 - e.p0);
        };
        if !self.is_state(item) {
            // Without its logits row the last token of a prompt is evaluated again.
            return 1;
        }
        let mut seen = HashSet::new();
        let mut open = vec![node.digest];
        let mut before = 0;
        while let Some(digest) = open.pop() {
            for edge in self.ending(digest).iter().map(|i| &self.edges[*i]) {
                if !self.standing(edge.from).is_empty() {
                    before = before.max(edge.p0);
                } else if edge.p0 > before && seen.insert(edge.from) {
                    open.push(edge.from);
                }
            }
        }
        node.at - before.min(node.at)
    }
}
