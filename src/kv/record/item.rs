//! `Edge` and `Node`: what the index says about one stored segment, snapshot or logits row. A lookup
//! returns these values, and a reader needs nothing else to find the record file and to prove it.
//! Invariant: the file name follows from the kind and the digests.

use crate::ledger::Digest;

use super::files;
use super::format::RecordKind;

/// The id of a row in the table `edge` of the index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EdgeId(pub(in crate::kv) i64);

/// The id of a row in the table `node` of the index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub(in crate::kv) i64);

/// A stored segment: the KV of positions [p0, p1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The id of its row in the index.
    pub id: EdgeId,
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// D(p0).
    pub from: Digest,
    /// D(p1).
    pub to: Digest,
    /// The length of its record file in bytes.
    pub bytes: u64,
}

impl Edge {
    /// The name of its record file.
    pub(in crate::kv) fn name(&self) -> String {
        files::name(RecordKind::Edge, self.from, self.to)
    }
}

/// A stored snapshot, or a logits row stored alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// The id of its row in the index.
    pub id: NodeId,
    /// Its position P: the number of tokens before it.
    pub at: usize,
    /// D(P).
    pub digest: Digest,
    /// The length of its record file in bytes.
    pub bytes: u64,
    /// True when the record has the logits row of token P - 1.
    pub logits: bool,
}

impl Node {
    /// The name of its record file.
    pub(in crate::kv) fn name(&self) -> String {
        files::name(RecordKind::Node, self.digest, self.digest)
    }
}
