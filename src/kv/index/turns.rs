//! The table `turn`: for each owner and model the digest of its turn node. If the model needs snapshots,
//! this is the snapshot at the end of the owner's last turn. If the model's KV can be cut at any position,
//! no snapshot is needed, and the turn node is the logits row at the end of the owner's last prompt, where
//! the reply begins. The pin says up to where the owner wants segments kept; the turn node says from which
//! node the owner's conversation goes on. The writer thread sets the turn node when it stores a snapshot
//! with the role `Turn`, or a logits row, for an owner; other puts leave it as it is. A fork gets its
//! first turn node from `index::points::hold`, and a rebuild of the index takes the node at the highest
//! position. Invariant: an owner has at most one turn node per model.

use rusqlite::{Connection, OptionalExtension, params};

use crate::kv::record::role::SnapshotRole;
use crate::ledger::Digest;

use super::models::ModelId;
use super::table::{IndexTable, SqlResult};
use super::transaction::at_once;

pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE turn(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE INDEX turn_digest ON turn(model, digest);",
    unsound: "SELECT 1 FROM turn WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
      AND typeof(digest) = 'blob' AND length(digest) = 32) IS NOT TRUE",
};

/// The statements of the table, for one model.
pub(in crate::kv) struct Turns<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Turns<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Turns<'a> {
        Turns { db, model }
    }

    /// Makes the node at `digest` the turn node of an owner.
    pub(in crate::kv) fn set(&self, owner: &str, digest: Digest) -> SqlResult<()> {
        self.db.execute(
            "INSERT OR REPLACE INTO turn(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, self.model.0, digest.0],
        )?;
        Ok(())
    }

    /// Makes the node at `digest` the turn node of an owner, unless the owner's turn node is at the same
    /// or a later position. A rebuild reads the record files in any order, and ends with the last
    /// position.
    pub(in crate::kv) fn set_if_deeper(&self, owner: &str, digest: Digest) -> SqlResult<()> {
        self.db.execute(
            "INSERT INTO turn(owner, model, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET digest = ?3 WHERE
             (SELECT at FROM node WHERE model = ?2 AND digest = ?3)
             > coalesce((SELECT at FROM node WHERE model = ?2 AND digest = turn.digest), -1)",
            params![owner, self.model.0, digest.0],
        )?;
        Ok(())
    }

    /// Makes the logits row at `digest` the turn node of an owner. If the owner's previous turn node is a
    /// logits row too, and no other owner has its pin or its turn node there, the digest of the previous
    /// one is returned: its file can be removed.
    pub(in crate::kv) fn replace_row(
        &self,
        owner: &str,
        digest: Digest,
    ) -> SqlResult<Option<Digest>> {
        at_once(self.db, || {
            let free = self
                .db
                .query_row(
                    "SELECT node.digest FROM turn
                     JOIN node ON node.model = turn.model AND node.digest = turn.digest
                     WHERE turn.owner = ?2 AND turn.model = ?1 AND turn.digest != ?3 AND node.role = ?4
                     AND NOT EXISTS (SELECT 1 FROM pin AS p
                         WHERE p.model = ?1 AND p.digest = node.digest AND p.owner != ?2)
                     AND NOT EXISTS (SELECT 1 FROM turn AS t
                         WHERE t.model = ?1 AND t.digest = node.digest AND t.owner != ?2)",
                    params![self.model.0, owner, digest.0, SnapshotRole::Row as u8],
                    |r| Ok(Digest(r.get(0)?)),
                )
                .optional()?;
            self.set(owner, digest)?;
            Ok(free)
        })
    }
}
