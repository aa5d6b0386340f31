//! Takes record files out of use: moves each file to quarantine, removes its index row, and adds a notice
//! with the reason. Called when a file proves to be damaged, and when KV of another machine proves to be
//! wrong on this one. Invariant: a file that was taken out of use has no index row any more; if the index
//! could not remove the index row, the notice says so.

use crate::kv::record::item::{Edge, Node};

use super::index::IndexOwner;
use super::store::OpenStore;

const HINT: &str = "Nothing to do: what it held is evaluated again; kv/quarantine can be deleted.";

/// Takes an edge out of use. `reason` is a part of a sentence for the user.
pub(in crate::kv) fn edge(open: &OpenStore, edge: &Edge, reason: &str) {
    let removed = remove_edge(open, edge);
    open.changes.add_lost();
    one(open, &edge.name(), removed, reason);
}

/// Takes a node out of use.
pub(in crate::kv) fn node(open: &OpenStore, node: &Node, reason: &str) {
    let removed = remove_node(open, node);
    one(open, &node.name(), removed, reason);
}

/// Takes edges and a node out of use, with one notice for all of them.
pub(in crate::kv) fn all(open: &OpenStore, edges: &[Edge], node: Option<&Node>, reason: &str) {
    let mut trouble = String::new();
    for edge in edges {
        let removed = remove_edge(open, edge);
        trouble = move_file(open, &edge.name(), removed).unwrap_or(trouble);
    }
    if let Some(node) = node {
        let removed = remove_node(open, node);
        trouble = move_file(open, &node.name(), removed).unwrap_or(trouble);
    }
    let files = edges.len() + usize::from(node.is_some());
    open.notices.add(
        format!("Stored KV was not used ({files} files): {reason}.{trouble}"),
        HINT,
    );
}

fn remove_edge(open: &OpenStore, edge: &Edge) -> Result<(), rusqlite::Error> {
    open.sound(|| open.index().edges(open.model()).remove(edge))
}

fn remove_node(open: &OpenStore, node: &Node) -> Result<(), rusqlite::Error> {
    open.sound(|| open.index().nodes(open.model()).remove(node.digest))
}

/// Moves one file away and adds its notice.
fn one(open: &OpenStore, name: &str, removed: Result<(), rusqlite::Error>, reason: &str) {
    let trouble = move_file(open, name, removed).unwrap_or_default();
    // A file that cannot be moved is found again and again; its notice is added once.
    open.notices.add_once(
        name,
        format!("A KV file was not used: {reason}.{trouble}"),
        HINT,
    );
}

/// Moves a file to quarantine. If that failed, or if `removed` says that its index row could not be
/// removed, returns a sentence about it.
fn move_file(open: &OpenStore, name: &str, removed: Result<(), rusqlite::Error>) -> Option<String> {
    match (open.files.quarantine(name), removed) {
        (Ok(()), Ok(())) => None,
        (Err(error), _) => Some(format!(" It could not be moved away: {error}.")),
        (_, Err(error)) => Some(format!(" Its index row could not be removed: {error}.")),
    }
}
