//! The points of one conversation in a [`Graph`]: the positions p at which an edge ends or a node stands
//! with the digest D(p) of the conversation's own tokens. Invariant: a record of other tokens never makes
//! a point.
//!
//! There are three uses. The list of sessions shows how many tokens of each conversation are stored.
//! `npast sessions rm` finds the records that are stored for a conversation. A fork, which is a new
//! session that begins with a copy of another session's conversation, finds the digest that the owner of
//! the new session must hold in order to reach the records of the copied tokens.

use crate::ledger::{Digest, RunningDigest, Token};

use super::connection::Index;
use super::graph::{Graph, GraphItem};
use super::table::SqlResult;

/// A position of the conversation at which a stored segment or snapshot ends.
pub(in crate::kv) struct Point {
    /// The position, in tokens.
    pub(in crate::kv) end: usize,
    /// D(end).
    pub(in crate::kv) digest: Digest,
    /// The edges and nodes that end here.
    pub(in crate::kv) items: Vec<GraphItem>,
}

/// All points of a conversation in a graph, in ascending order. `ledger` has the tokens of the
/// conversation.
pub(in crate::kv) fn points(graph: &Graph, ledger: &[Token]) -> Vec<Point> {
    let mut ends: Vec<usize> = graph.items().map(|i| graph.end(i)).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut points = Vec::new();
    let mut running = RunningDigest::new(graph.hard);
    for end in ends {
        let Some(tokens) = ledger.get(running.len()..end) else {
            break;
        };
        running.extend(tokens);
        let digest = running.digest();
        let edges = graph.ending(digest).iter();
        let items: Vec<GraphItem> = edges.chain(graph.standing(digest)).copied().collect();
        if !items.is_empty() {
            points.push(Point { end, digest, items });
        }
    }
    points
}

/// For a fork: makes `owner` reach what is stored of the first `len` tokens of `ledger`, in one graph.
/// Sets the owner's turn node, and returns the digest that the caller must make its pin. The caller calls
/// this in the transaction in which it loaded the graph; otherwise another process could evict the records
/// in between.
pub(in crate::kv) fn hold(
    index: &Index,
    graph: &Graph,
    owner: &str,
    ledger: &[Token],
    len: usize,
) -> SqlResult<Option<Digest>> {
    let points = points(graph, ledger);
    // When the other owner ends its next turn, its last snapshot is removed, unless the snapshot is also
    // the turn node of this owner.
    let node = |p: &&Point| p.end <= len && !graph.standing(p.digest).is_empty();
    if let Some(turn) = points.iter().rfind(node) {
        let turns = index.turns(graph.model);
        turns.set_if_deeper(owner, turn.digest)?;
    }
    Ok(pin_for(graph, &points, len))
}

/// The digest of the last point up to position `len` that a process can restore. If the last tokens
/// before `len` are stored only in a segment that ends after `len`: the digest at the end of that
/// segment.
fn pin_for(graph: &Graph, points: &[Point], len: usize) -> Option<Digest> {
    let restores = |p: &Point| graph.restores(p.digest);
    let before = points.iter().rfind(|p| p.end <= len && restores(p));
    if before.is_some_and(|p| p.end == len) || graph.has_states() {
        return before.map(|p| p.digest);
    }
    let over = points.iter().find(|p| p.end > len && restores(p));
    over.or(before).map(|p| p.digest)
}
