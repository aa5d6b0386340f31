//! The table `state`: which snapshots belong to which owner. (Each row is about a snapshot. The word
//! *state* in comments means more; see `kv/mod.rs`.) Two kinds of snapshots belong to an owner:
//! - the snapshots with the role `Turn` or `Step` that were put for this owner;
//! - the snapshots that stand before these in the same conversation, also if they were put for another
//!   owner.
//!
//! A snapshot with the role `Head` is not added, because all conversations with the same frozen head share
//! the frozen head's snapshot.
//!
//! The writer thread adds the rows when it stores a snapshot. A new snapshot makes older snapshots of its
//! owner unnecessary: all those with the role `Step`, and those with the role `Turn` that `index::retain`
//! chooses. The rows of these older snapshots are then removed. Invariant: the file of an older snapshot
//! is removed only if no other owner holds its digest.

use rusqlite::{Connection, Row, params};

use crate::kv::record::item::Node;
use crate::kv::record::put::Past;
use crate::kv::record::role::SnapshotRole;
use crate::ledger::Digest;

use super::models::ModelId;
use super::nodes::{Nodes, node_row};
use super::retain::{self, Now, Older};
use super::table::{IndexTable, SqlResult};
use super::transaction::at_once;
use super::turns::Turns;

/// The row with the highest id was put last. A rebuild of the index makes the rows again from the owner
/// names in the record files.
pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE state(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL,
  digest BLOB NOT NULL, UNIQUE(owner, model, digest));
CREATE INDEX state_digest ON state(model, digest);",
    unsound: "SELECT 1 FROM state WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
      AND typeof(digest) = 'blob' AND length(digest) = 32) IS NOT TRUE",
};

/// A snapshot that its owner does not need any more.
pub(in crate::kv) struct Superseded {
    pub(in crate::kv) node: Node,
    /// True when no other owner holds it, so that its file can be removed.
    pub(in crate::kv) free: bool,
}

/// A row of `state` with its node.
struct OwnedNode {
    node: Node,
    role: Option<SnapshotRole>,
    free: bool,
}

/// A snapshot that is put: D(at), at, and its role.
pub(in crate::kv) type NewState = (Digest, usize, SnapshotRole);

/// The statements of the table, for one model.
pub(in crate::kv) struct States<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> States<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> States<'a> {
        States { db, model }
    }

    /// Gives a stored snapshot to an owner, together with all snapshots that stand before it in the
    /// conversation. If its role is `Turn`, it becomes the owner's turn node. Returns the owner's
    /// snapshots that are not needed any more; the caller removes the files of the free ones and then
    /// calls [`States::release`].
    pub(in crate::kv) fn put(
        &self,
        owner: &str,
        new: NewState,
        past: &Past,
    ) -> SqlResult<Vec<Superseded>> {
        at_once(self.db, || {
            self.own(owner, new, past)?;
            self.superseded(owner, new, past)
        })
    }

    /// Gives a snapshot to the owner that its record file names. A rebuild calls this.
    pub(in crate::kv) fn found(&self, owner: &str, digest: Digest) -> SqlResult<()> {
        self.db.execute(
            "INSERT OR IGNORE INTO state(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, self.model.0, digest.0],
        )?;
        Ok(())
    }

    /// Takes snapshots away from their owner. The node rows of free ones are removed too, because their
    /// files are removed already.
    pub(in crate::kv) fn release(&self, owner: &str, gone: &[Superseded]) -> SqlResult<()> {
        at_once(self.db, || {
            for superseded in gone {
                let digest = superseded.node.digest;
                self.db.execute(
                    "DELETE FROM state WHERE owner = ?1 AND model = ?2 AND digest = ?3",
                    params![owner, self.model.0, digest.0],
                )?;
                if superseded.free {
                    Nodes::new(self.db, self.model).remove(digest)?;
                }
            }
            Ok(())
        })
    }

    /// Adds the rows of a put, and removes the owner's rows whose node does not exist any more.
    fn own(&self, owner: &str, (digest, _, role): NewState, past: &Past) -> SqlResult<()> {
        if role == SnapshotRole::Turn {
            Turns::new(self.db, self.model).set(owner, digest)?;
        }
        {
            let mut claim = self.db.prepare_cached(
                "INSERT OR IGNORE INTO state(owner, model, digest)
                 SELECT ?1, ?2, digest FROM node WHERE model = ?2 AND digest = ?3 AND role != ?4",
            )?;
            for (_, before) in &past.nodes {
                let head = SnapshotRole::Head as u8;
                claim.execute(params![owner, self.model.0, before.0, head])?;
            }
        }
        // A new row is inserted each time, so the highest id was put last.
        self.db.execute(
            "INSERT OR REPLACE INTO state(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, self.model.0, digest.0],
        )?;
        self.db.execute(
            "DELETE FROM state WHERE owner = ?1 AND model = ?2 AND NOT EXISTS
             (SELECT 1 FROM node WHERE node.model = ?2 AND node.digest = state.digest)",
            params![owner, self.model.0],
        )?;
        Ok(())
    }

    /// The owner's snapshots that a new one makes unnecessary. Every other snapshot with the role `Step`
    /// is unnecessary; when the new one is a `Turn`, [`retain`] decides about the older turns.
    fn superseded(
        &self,
        owner: &str,
        (digest, at, role): NewState,
        past: &Past,
    ) -> SqlResult<Vec<Superseded>> {
        let owned: Vec<OwnedNode> = self
            .db
            .prepare_cached(
                "SELECT n.id, n.digest, n.at, n.bytes, n.logits, n.role,
                 NOT EXISTS (SELECT 1 FROM pin WHERE model = ?1 AND digest = n.digest AND owner != ?2)
                 AND NOT EXISTS (SELECT 1 FROM turn WHERE model = ?1 AND digest = n.digest AND owner != ?2)
                 AND NOT EXISTS (SELECT 1 FROM state WHERE model = ?1 AND digest = n.digest AND owner != ?2)
                 FROM state AS s JOIN node AS n ON n.model = s.model AND n.digest = s.digest
                 WHERE s.model = ?1 AND s.owner = ?2 ORDER BY s.id",
            )?
            .query_map(params![self.model.0, owner], owned_node)?
            .collect::<SqlResult<_>>()?;
        let new = owned.iter().find(|o| o.node.digest == digest);
        let now = Now {
            at,
            bytes: new.map_or(0, |o| o.node.bytes),
            head: self.head_of(past)?,
            kv_bytes: past.kv_bytes,
        };
        let (steps, turns): (Vec<OwnedNode>, Vec<OwnedNode>) = owned
            .into_iter()
            .filter(|o| o.node.digest != digest && o.role != Some(SnapshotRole::Head))
            .partition(|o| o.role == Some(SnapshotRole::Step));
        let older: Vec<Older> = turns
            .iter()
            .map(|o| Older {
                at: o.node.at,
                bytes: o.node.bytes,
                on_way: past.nodes.iter().any(|(_, d)| *d == o.node.digest),
            })
            .collect();
        let stays = match role {
            SnapshotRole::Turn => retain::retained(&now, &older),
            _ => vec![true; older.len()],
        };
        let turns = turns.into_iter().zip(stays).filter(|(_, stays)| !stays);
        let gone = steps.into_iter().chain(turns.map(|(turn, _)| turn));
        Ok(gone
            .map(|o| Superseded {
                node: o.node,
                free: o.free,
            })
            .collect())
    }

    /// The position and the file length in bytes of the last frozen head's snapshot before the new one; 0
    /// and 0 if there is none.
    fn head_of(&self, past: &Past) -> SqlResult<(usize, u64)> {
        let mut find = self.db.prepare_cached(
            "SELECT at, bytes FROM node WHERE model = ?1 AND digest = ?2 AND role = ?3",
        )?;
        let mut deepest = (0, 0);
        for (_, digest) in &past.nodes {
            let head = SnapshotRole::Head as u8;
            let mut rows = find.query(params![self.model.0, digest.0, head])?;
            if let Some(row) = rows.next()? {
                deepest = deepest.max((row.get(0)?, row.get(1)?));
            }
        }
        Ok(deepest)
    }
}

fn owned_node(row: &Row<'_>) -> SqlResult<OwnedNode> {
    Ok(OwnedNode {
        node: node_row(row)?,
        role: SnapshotRole::from_u8(row.get(5)?),
        free: row.get(6)?,
    })
}
