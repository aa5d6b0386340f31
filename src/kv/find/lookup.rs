//! The lookup: from the tokens of a conversation to what is stored for them. The index gives candidates;
//! the digest of the target decides, and is computed only where the few tokens kept in a row agree.

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
    /// A contiguous chain from position 0, as far as whole edges reach; of chains that reach as
    /// far, one with the fewest edges.
    pub edges: Vec<Edge>,
    /// An edge of another conversation that matches after the chain's end too: up to m,
    /// p0 < m < p1. Its p0 is a boundary of the chain, so the edges before p0 and its first m - p0
    /// rows cover [0, m). Read it with `Store::read_first_rows`.
    pub partial: Option<(Edge, usize)>,
    /// Every snapshot at a boundary that whole edges reach, ascending; where no edges are stored at
    /// all, every snapshot on the target.
    pub nodes: Vec<Node>,
}

/// Positions that whole edges reach, with how many it takes and the last of them.
type Reached = BTreeMap<usize, (usize, Option<Edge>)>;

/// What is stored for `target`; also how many rows of the index were read. `digests(p)` is D(p).
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
        // Locked for one boundary at a time: a rebuild of the index waits for the lock.
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

/// True when `target[..at]` exists and ends with `tail`.
fn ends_with(target: &[Token], at: usize, tail: &[Token]) -> bool {
    target.get(..at).is_some_and(|t| t.ends_with(tail))
}

/// The chain to the farthest position, walked back from its end.
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

/// The edge that matches farthest beyond the chain's end, if any.
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
            // A file that cannot be read is no candidate. Reading it whole gives the error.
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
