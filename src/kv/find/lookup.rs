//! From tokens to what is stored for them. Candidates come from the index; equality is by digest of
//! the target, computed only where the few tokens kept in a row agree.

use std::collections::{BTreeMap, HashMap};

use crate::ledger::{Digest, Token, common_prefix};

use crate::kv::error::Error;
use crate::kv::index::connection::{Edge, EdgeRow, Node};
use crate::kv::index::search::MOST_ALIKE;
use crate::kv::record::read;
use crate::kv::store::handle::Live;

/// What is stored for a target.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Found {
    /// A contiguous chain from position 0, as far as whole edges reach; of chains that reach as
    /// far, one with the fewest edges.
    pub edges: Vec<Edge>,
    /// An edge of another conversation that goes on matching after the chain's end: up to m,
    /// p0 < m < p1. Its p0 is a boundary of the chain, so the edges before p0 and its first m - p0
    /// rows cover [0, m). Read it with [`crate::kv::store::handle::Store::read_first_rows`].
    pub partial: Option<(Edge, usize)>,
    /// Every snapshot at a boundary that whole edges reach, ascending; where no edges are stored at
    /// all, every snapshot on the target.
    pub nodes: Vec<Node>,
}

/// Positions that whole edges reach, with how many it takes and the last of them.
type Reached = BTreeMap<usize, (usize, Option<Edge>)>;

/// Also how many rows were read for it.
pub(in crate::kv) fn lookup(
    live: &Live,
    target: &[Token],
    digests: &dyn Fn(usize) -> Digest,
) -> Result<(Found, usize), Error> {
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
        // Held for one boundary at a time: the writer has its turns.
        let index = live.asked();
        let ways = index.ways(live.model(), from, here, &target[here..])?;
        nodes.extend(index.node(live.model(), from)?);
        drop(index);
        rows += ways.len() + 1;
        for row in ways {
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
    let partial = partial(live, target, &edges, open);
    if edges.is_empty() && !live.asked().has_edges(live.model())? {
        nodes = live.asked().nodes_along(live.model(), target)?;
        rows += nodes.len();
        nodes.retain(|node| digest(node.at) == node.digest);
    }
    let found = Found {
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
    live: &Live,
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
            // A file that cannot be read is no candidate; who wants it whole will be told.
            let Ok(tokens) = read::tokens(&live.files, &live.limits, &edge) else {
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
