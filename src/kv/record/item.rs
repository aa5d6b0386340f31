//! What is stored, by what a reader needs to find and prove it: segments are edges, snapshots are nodes.

use crate::ledger::Digest;

use super::files;
use super::format::RecordKind;

/// Names a stored edge within an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EdgeId(pub(in crate::kv) i64);

/// Names a stored node within an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub(in crate::kv) i64);

/// A stored segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Its row.
    pub id: EdgeId,
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// D(p0).
    pub from: Digest,
    /// D(p1).
    pub to: Digest,
    /// Bytes of its file.
    pub bytes: u64,
}

impl Edge {
    /// The name of its file.
    pub(in crate::kv) fn name(&self) -> String {
        files::name(RecordKind::Edge, self.from, self.to)
    }
}

/// A stored snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its row.
    pub id: NodeId,
    /// Position P.
    pub at: usize,
    /// D(P).
    pub digest: Digest,
    /// Bytes of its file.
    pub bytes: u64,
    /// True when it carries the logits row of token P-1.
    pub logits: bool,
}

impl Node {
    /// The name of its file.
    pub(in crate::kv) fn name(&self) -> String {
        files::name(RecordKind::Node, self.digest, self.digest)
    }
}
