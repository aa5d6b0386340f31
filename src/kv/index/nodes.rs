//! The table `node`: the nodes of one model, which are the stored snapshots and the logits rows that are
//! stored alone. The writer thread adds and removes table rows; a lookup searches them. Invariant: there
//! is at most one node per digest. If a node is put several times, its table row gets the strongest of the
//! roles. (Its record file keeps the role of the first put, so after a rebuild of the index the node has
//! that role.)

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::kv::record::item::{Node, NodeId};
use crate::kv::record::role::SnapshotRole;
use crate::ledger::{Digest, Token};

use super::edges::filter_tail;
use super::models::ModelId;
use super::table::{IndexTable, SqlResult};

/// `tail` has the last 16 tokens before position `at`, as a filter for lookups; the record file has up to
/// 64. `role` is the strongest role with which the node was put.
pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE node(id INTEGER PRIMARY KEY, model INTEGER NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
  bytes INTEGER NOT NULL, logits INTEGER NOT NULL, role INTEGER NOT NULL, tail BLOB NOT NULL,
  UNIQUE(model, digest));
CREATE INDEX node_way ON node(model, at, tail);",
    unsound: "SELECT 1 FROM node WHERE (typeof(model) = 'integer'
      AND typeof(digest) = 'blob' AND length(digest) = 32
      AND typeof(at) = 'integer' AND at BETWEEN 0 AND 0x7fffffff
      AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 40
      AND logits IN (0, 1) AND typeof(role) = 'integer' AND role BETWEEN 1 AND 255
      AND typeof(tail) = 'blob') IS NOT TRUE",
};

const AT_DIGEST: &str = "SELECT id, digest, at, bytes, logits FROM node
    WHERE model = ?1 AND digest = ?2";
const NEXT_POSITION: &str = "SELECT at FROM node
    WHERE model = ?1 AND at > ?2 AND at <= ?3 ORDER BY at LIMIT 1";
const AT_POSITION: &str = "SELECT id, digest, at, bytes, logits FROM node
    WHERE model = ?1 AND at = ?2 AND tail = ?3";

/// The statements of a lookup, each with a text that its query plan must contain.
#[cfg(test)]
pub(in crate::kv) const SEARCHES: [(&str, &str); 3] = [
    (AT_DIGEST, "SEARCH"),
    (NEXT_POSITION, "SEARCH"),
    (AT_POSITION, "SEARCH"),
];

/// A node to add.
#[derive(Clone, Copy)]
pub(in crate::kv) struct NewNode<'a> {
    /// D(at).
    pub(in crate::kv) digest: Digest,
    /// Its position: the number of tokens before it.
    pub(in crate::kv) at: usize,
    pub(in crate::kv) role: SnapshotRole,
    /// The length of its record file in bytes.
    pub(in crate::kv) bytes: u64,
    /// True when its record file has a logits row.
    pub(in crate::kv) logits: bool,
    /// Tokens that end directly before position `at`; the table row keeps the last 16.
    pub(in crate::kv) tail: &'a [Token],
}

/// The statements of the table, for one model.
pub(in crate::kv) struct Nodes<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Nodes<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Nodes<'a> {
        Nodes { db, model }
    }

    /// Adds a node. If there is a node at the digest already, it only gets the stronger one of the two
    /// roles.
    pub(in crate::kv) fn add(&self, node: &NewNode<'_>) -> SqlResult<()> {
        self.db.execute(
            "INSERT INTO node(model, digest, at, bytes, logits, role, tail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET role = min(role, ?6)",
            params![
                self.model.0,
                node.digest.0,
                node.at,
                node.bytes,
                node.logits,
                node.role as u8,
                filter_tail(node.tail)
            ],
        )?;
        Ok(())
    }

    /// Removes the table row of the node at a digest.
    pub(in crate::kv) fn remove(&self, digest: Digest) -> SqlResult<()> {
        self.db
            .prepare_cached("DELETE FROM node WHERE model = ?1 AND digest = ?2")?
            .execute(params![self.model.0, digest.0])?;
        Ok(())
    }

    /// Corrects the file length of a node, in bytes.
    pub(in crate::kv) fn set_bytes(&self, digest: Digest, bytes: u64) -> SqlResult<()> {
        self.db.execute(
            "UPDATE node SET bytes = ?3 WHERE model = ?1 AND digest = ?2",
            params![self.model.0, digest.0, bytes],
        )?;
        Ok(())
    }

    /// Gives the node at a digest the role `role`, if that is stronger than the role it has.
    pub(in crate::kv) fn strengthen(&self, digest: Digest, role: SnapshotRole) -> SqlResult<()> {
        self.db.execute(
            "UPDATE node SET role = min(role, ?3) WHERE model = ?1 AND digest = ?2",
            params![self.model.0, digest.0, role as u8],
        )?;
        Ok(())
    }

    /// True when there is a node at the digest.
    pub(in crate::kv) fn has(&self, digest: Digest) -> SqlResult<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM node WHERE model = ?1 AND digest = ?2")?
            .exists(params![self.model.0, digest.0])
    }

    /// The node at a digest.
    pub(in crate::kv) fn get(&self, digest: Digest) -> SqlResult<Option<Node>> {
        self.db
            .prepare_cached(AT_DIGEST)?
            .query_row(params![self.model.0, digest.0], node_row)
            .optional()
    }

    /// All nodes of the model.
    pub(in crate::kv) fn all(&self) -> SqlResult<Vec<Node>> {
        self.db
            .prepare("SELECT id, digest, at, bytes, logits FROM node WHERE model = ?1")?
            .query_map([self.model.0], node_row)?
            .collect()
    }

    /// The role of each node. A node with a role that this build does not know is left out.
    pub(in crate::kv) fn roles(&self) -> SqlResult<HashMap<NodeId, SnapshotRole>> {
        let mut find = self
            .db
            .prepare("SELECT id, role FROM node WHERE model = ?1")?;
        let mut rows = find.query([self.model.0])?;
        let mut roles = HashMap::new();
        while let Some(row) = rows.next()? {
            if let Some(role) = SnapshotRole::from_u8(row.get(1)?) {
                roles.insert(NodeId(row.get(0)?), role);
            }
        }
        Ok(roles)
    }

    /// The number of nodes of the model, and the bytes of their files.
    pub(in crate::kv) fn usage(&self) -> SqlResult<(u64, u64)> {
        self.db.query_row(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM node WHERE model = ?1",
            [self.model.0],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
    }

    /// The nodes whose last tokens are the target's tokens before their position, in ascending order. For
    /// models of which only whole states are stored: they have no edges that lead from one node to the
    /// next.
    pub(in crate::kv) fn along(&self, target: &[Token]) -> SqlResult<Vec<Node>> {
        let model = self.model.0;
        let mut found = Vec::new();
        let mut at = -1;
        let mut next = self.db.prepare_cached(NEXT_POSITION)?;
        let mut nodes = self.db.prepare_cached(AT_POSITION)?;
        while let Some(here) = next
            .query_row(params![model, at, target.len()], |r| r.get::<_, usize>(0))
            .optional()?
        {
            let tail = filter_tail(&target[..here]);
            for node in nodes.query_map(params![model, here, tail], node_row)? {
                found.push(node?);
            }
            at = here as i64;
        }
        Ok(found)
    }
}

/// Reads a node from a table row that begins with the columns `id, digest, at, bytes, logits`.
pub(in crate::kv) fn node_row(row: &Row<'_>) -> SqlResult<Node> {
    Ok(Node {
        id: NodeId(row.get(0)?),
        digest: Digest(row.get(1)?),
        at: row.get(2)?,
        bytes: row.get(3)?,
        logits: row.get(4)?,
    })
}
