//! A graph along the tokens of one conversation: what of them is stored, and where an owner that goes
//! on after some of them must hold it.

use crate::ledger::{Digest, Running, Token};

use super::connection::Index;
use super::graph::{Graph, GraphItem};
use super::table::SqlResult;

/// A position on a ledger at which something stored ends.
pub(in crate::kv) struct Point {
    /// The position, in tokens.
    pub(in crate::kv) end: usize,
    /// D(end).
    pub(in crate::kv) digest: Digest,
    /// The edges and nodes that end here.
    pub(in crate::kv) items: Vec<GraphItem>,
}

/// The points of a graph on a ledger, ascending.
pub(in crate::kv) fn points(graph: &Graph, ledger: &[Token]) -> Vec<Point> {
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
        let items: Vec<GraphItem> = edges.chain(graph.standing(digest)).copied().collect();
        if !items.is_empty() {
            points.push(Point { end, digest, items });
        }
    }
    points
}

/// Makes `owner` hold, in one graph, what is stored of a ledger's first `len` tokens; returns the
/// digest that it must pin. To be called in the transaction in which the graph was read, or another
/// process may evict it in between.
pub(in crate::kv) fn hold(
    index: &Index,
    graph: &Graph,
    owner: &str,
    ledger: &[Token],
    len: usize,
) -> SqlResult<Option<Digest>> {
    let points = points(graph, ledger);
    // The next turn of the other owner removes its last snapshot, unless that is this owner's turn too.
    let node = |p: &&Point| p.end <= len && !graph.standing(p.digest).is_empty();
    if let Some(turn) = points.iter().rfind(node) {
        let turns = index.turns(graph.model);
        turns.set_if_deeper(owner, turn.digest)?;
    }
    Ok(pin_for(graph, &points, len))
}

/// The digest of the deepest point up to position `len` that a process can restore. Where the last positions
/// before `len` are stored only in a segment that ends after `len`, the end of that segment.
fn pin_for(graph: &Graph, points: &[Point], len: usize) -> Option<Digest> {
    let restores = |p: &Point| graph.restores(p.digest);
    let before = points.iter().rfind(|p| p.end <= len && restores(p));
    if before.is_some_and(|p| p.end == len) || graph.has_states() {
        return before.map(|p| p.digest);
    }
    let over = points.iter().find(|p| p.end > len && restores(p));
    over.or(before).map(|p| p.digest)
}
