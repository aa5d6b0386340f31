//! The lookup: finds which stored segments and snapshots fit the tokens of a conversation, the target. A
//! restore begins with it. The index gives candidates: the edges that begin at a digest of the target. The
//! index row of an edge has the last tokens of the edge. They are compared first with the target's tokens
//! before position p1, because that is cheap. Only if these tokens are equal, D(p1) of the target is
//! computed and compared with the digest at the end of the edge. (If the model has no edges at all, nodes
//! are found in the same way, by the last tokens before their position.) Invariant: each edge of the chain
//! that a lookup returns, and each node, has the digests that the target has at the same positions.

use std::collections::{BTreeMap, HashMap};

use crate::kv::error::Error;
use crate::kv::index::edges::{EdgeRow, MOST_ALIKE};
use crate::kv::open::store::OpenStore;
use crate::kv::record::item::{Edge, Node};
use crate::kv::record::read;
use crate::ledger::{Digest, Token, common_prefix};

/// What is stored for a target.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StoredPrefix {
    /// A chain from position 0 that goes as far as stored edges fit the target as a whole. If several
    /// chains go that far, one with the fewest edges.
    pub edges: Vec<Edge>,
    /// An edge whose first tokens fit the target beyond the end of the chain, while its later tokens
    /// differ (it belongs to another conversation), and the position m up to which it fits: p0 < m < p1.
    /// Its p0 is a boundary of the chain. So the edges of the chain before p0, together with the first m
    /// - p0 KV rows of this edge, cover [0, m). Read it with `Store::read_first_rows`.
    pub partial: Option<(Edge, usize)>,
    /// All snapshots at boundaries to which a chain of fitting edges leads, in ascending order. If no
    /// edges are stored for the model at all: all snapshots that fit the target.
    pub nodes: Vec<Node>,
}

/// The positions to which chains of fitting edges lead. For each: the smallest number of edges, and the
/// last edge of such a chain.
type Reached = BTreeMap<usize, (usize, Option<Edge>)>;

/// Finds what is stored for `target`; also returns how many index rows were read. `digests(p)` must be
/// D(p) of the target.
pub(in crate::kv) fn lookup(
    store: &OpenStore,
    target: &[Token],
    digests: &dyn Fn(usize) -> Digest,
) -> Result<(StoredPrefix, usize), Error> {
    let mut known: HashMap<usize, Digest> = HashMap::new();
    let mut digest = |at: usize| *known.entry(at).or_insert_with(|| digests(at));

    let mut reached: Reached = BTreeMap::from([(0, (0, None))]);
    let mut open: Vec<EdgeRow> = Vec::new();
    let mut nodes = Vec::new();
    let mut rows = 0;
    let mut at = Some(0);
    while let Some(here) = at {
        let steps = reached[&here].0 + 1;
        let from = digest(here);
        // The connection is locked for one boundary at a time, because a rebuild of the index waits for
        // the lock.
        let index = store.reader();
        let candidates = index
            .edges(store.model())
            .candidates(from, here, &target[here..])?;
        nodes.extend(index.nodes(store.model()).get(from)?);
        drop(index);
        rows += candidates.len() + 1;
        for row in candidates {
            let edge = &row.edge;
            if edge.p0 != here || edge.p1 <= here {
                continue;
            }
            if ends_with(target, edge.p1, &row.tail) && digest(edge.p1) == edge.to {
                let best = reached.entry(edge.p1).or_insert((usize::MAX, None));
                if steps < best.0 {
                    *best = (steps, Some(edge.clone()));
                }
            } else {
                open.push(row);
            }
        }
        at = reached.range(here + 1..).next().map(|(next, _)| *next);
    }

    let edges = chain(&reached);
    let partial = partial(store, target, &edges, open);
    if edges.is_empty() && !store.reader().edges(store.model()).any()? {
        nodes = store.reader().nodes(store.model()).along(target)?;
        rows += nodes.len();
        nodes.retain(|node| digest(node.at) == node.digest);
    }
    let found = StoredPrefix {
        edges,
        partial,
        nodes,
    };
    Ok((found, rows))
}

/// True when the target has at least `at` tokens and `tail` are the last ones of the first `at`.
fn ends_with(target: &[Token], at: usize, tail: &[Token]) -> bool {
    target.get(..at).is_some_and(|t| t.ends_with(tail))
}

/// The chain to the last position in `reached`, found backwards from its end.
fn chain(reached: &Reached) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut last = reached.last_key_value().map(|(at, _)| *at);
    while let Some((_, Some(edge))) = last.and_then(|at| reached.get(&at)) {
        last = Some(edge.p0);
        edges.push(edge.clone());
    }
    edges.reverse();
    edges
}

/// The edge that fits the target furthest beyond the end of the chain but not as a whole, if there is
/// one.
fn partial(
    store: &OpenStore,
    target: &[Token],
    edges: &[Edge],
    open: Vec<EdgeRow>,
) -> Option<(Edge, usize)> {
    let end = edges.last().map_or(0, |e| e.p1);
    if end == target.len() {
        return None;
    }
    let mut best: Option<(Edge, usize)> = None;
    let mut files = 0;
    for EdgeRow { edge, head, .. } in open {
        let boundary = edge.p0 == 0 || edges.iter().any(|e| e.p1 == edge.p0);
        let far = best.as_ref().map_or(end, |(_, m)| *m);
        if !boundary || edge.p1 <= far {
            continue;
        }
        let ahead = &target[edge.p0..];
        let mut matching = common_prefix(&head, ahead);
        if matching == head.len() && head.len() < edge.p1 - edge.p0 && matching < ahead.len() {
            if files == MOST_ALIKE {
                continue;
            }
            files += 1;
            // A file that cannot be read is not used here. A restore that reads all of it gets the error.
            let Ok(tokens) = read::tokens(&store.files, &store.limits, &edge) else {
                continue;
            };
            matching = common_prefix(&tokens, ahead);
        }
        let m = edge.p0 + matching;
        if m > far && m < edge.p1 {
            best = Some((edge, m));
        }
    }
    best
}
