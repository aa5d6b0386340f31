//! Which snapshots are an owner's, in the index: those it put and those it was restored over. What
//! stays of them is decided in `retain`.

use rusqlite::{Row, params};

use crate::ledger::Digest;

use crate::kv::index::connection::{Index, ModelId, Node, node_row};
use crate::kv::record::put::{Past, SnapshotRole};
use crate::kv::write::retain::{self, Now, Older};

/// Younger than the schema, and no part of what it says: a rebuild makes the rows from the files.
pub(in crate::kv) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS state(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL,
  digest BLOB NOT NULL, UNIQUE(owner, model, digest));
CREATE INDEX IF NOT EXISTS state_digest ON state(model, digest);";

/// A snapshot that its owner needs no more.
pub(in crate::kv) struct Superseded {
    pub(in crate::kv) node: Node,
    /// Nobody else wants it either: its file goes.
    pub(in crate::kv) free: bool,
}

/// A row of `state` with its node.
struct Mine {
    node: Node,
    role: Option<SnapshotRole>,
    free: bool,
}

type Result<T> = std::result::Result<T, rusqlite::Error>;

impl Index {
    /// Notes a new snapshot of an owner ([`Index::own_state`]), and gives those that it makes needless
    /// ([`Index::superseded`]).
    pub(in crate::kv) fn new_state(
        &self,
        model: ModelId,
        owner: &str,
        (digest, at, role): (Digest, usize, SnapshotRole),
        past: &Past,
    ) -> Result<Vec<Superseded>> {
        self.at_once(|| {
            self.own_state(model, owner, (digest, role), past)?;
            self.superseded(model, owner, (digest, at, role), past)
        })
    }

    /// Notes that a stored snapshot is `owner`'s, and its present turn if it was put as one. What
    /// stands on the way to it is the owner's as well, whoever put it.
    fn own_state(
        &self,
        model: ModelId,
        owner: &str,
        (digest, role): (Digest, SnapshotRole),
        past: &Past,
    ) -> Result<()> {
        if role == SnapshotRole::Turn {
            self.db.execute(
                "INSERT OR REPLACE INTO turn(owner, model, digest) VALUES (?1, ?2, ?3)",
                params![owner, model.0, digest.0],
            )?;
        }
        {
            let mut claim = self.db.prepare_cached(
                "INSERT OR IGNORE INTO state(owner, model, digest)
                 SELECT ?1, ?2, digest FROM node WHERE model = ?2 AND digest = ?3 AND role != ?4",
            )?;
            for (_, before) in &past.nodes {
                let head = SnapshotRole::Head as u8;
                claim.execute(params![owner, model.0, before.0, head])?;
            }
        }
        // A new row each time: the highest id was put last.
        self.db.execute(
            "INSERT OR REPLACE INTO state(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, model.0, digest.0],
        )?;
        self.db.execute(
            "DELETE FROM state WHERE owner = ?1 AND model = ?2 AND NOT EXISTS
             (SELECT 1 FROM node WHERE node.model = ?2 AND node.digest = state.digest)",
            params![owner, model.0],
        )?;
        Ok(())
    }

    /// A rebuild found a snapshot that was put for `owner`.
    pub(in crate::kv) fn found_state(
        &self,
        model: ModelId,
        owner: &str,
        digest: Digest,
    ) -> Result<()> {
        self.db.execute(
            "INSERT OR IGNORE INTO state(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, model.0, digest.0],
        )?;
        Ok(())
    }

    /// Which of the owner's snapshots a new one at `at` makes needless. A point inside a long
    /// prefix goes with the next one and with the end of its turn; of turns, see [`retain`].
    fn superseded(
        &self,
        model: ModelId,
        owner: &str,
        (digest, at, role): (Digest, usize, SnapshotRole),
        past: &Past,
    ) -> Result<Vec<Superseded>> {
        let mine: Vec<Mine> = self
            .db
            .prepare_cached(
                "SELECT n.id, n.digest, n.at, n.bytes, n.logits, n.role,
                 NOT EXISTS (SELECT 1 FROM pin WHERE model = ?1 AND digest = n.digest AND owner != ?2)
                 AND NOT EXISTS (SELECT 1 FROM turn WHERE model = ?1 AND digest = n.digest AND owner != ?2)
                 AND NOT EXISTS (SELECT 1 FROM state WHERE model = ?1 AND digest = n.digest AND owner != ?2)
                 FROM state AS s JOIN node AS n ON n.model = s.model AND n.digest = s.digest
                 WHERE s.model = ?1 AND s.owner = ?2 ORDER BY s.id",
            )?
            .query_map(params![model.0, owner], mine)?
            .collect::<Result<_>>()?;
        let bytes = mine.iter().find(|m| m.node.digest == digest);
        let now = Now {
            at,
            bytes: bytes.map_or(0, |m| m.node.bytes),
            head: self.head_of(model, past)?,
            kv_bytes: past.kv_bytes,
        };
        let (points, turns): (Vec<Mine>, Vec<Mine>) = mine
            .into_iter()
            .filter(|m| m.node.digest != digest && m.role != Some(SnapshotRole::Head))
            .partition(|m| m.role == Some(SnapshotRole::Step));
        let older: Vec<Older> = turns
            .iter()
            .map(|m| Older {
                at: m.node.at,
                bytes: m.node.bytes,
                on_way: past.nodes.iter().any(|(_, d)| *d == m.node.digest),
            })
            .collect();
        let stays = match role {
            SnapshotRole::Turn => retain::retained(&now, &older),
            _ => vec![true; older.len()],
        };
        let turns = turns.into_iter().zip(stays).filter(|(_, stays)| !stays);
        let gone = points.into_iter().chain(turns.map(|(mine, _)| mine));
        Ok(gone
            .map(|m| Superseded {
                node: m.node,
                free: m.free,
            })
            .collect())
    }

    /// The deepest frozen head on the way: its position and bytes.
    fn head_of(&self, model: ModelId, past: &Past) -> Result<(usize, u64)> {
        let mut find = self.db.prepare_cached(
            "SELECT at, bytes FROM node WHERE model = ?1 AND digest = ?2 AND role = ?3",
        )?;
        let mut deepest = (0, 0);
        for (_, digest) in &past.nodes {
            let head = SnapshotRole::Head as u8;
            let mut rows = find.query(params![model.0, digest.0, head])?;
            if let Some(row) = rows.next()? {
                deepest = deepest.max((row.get(0)?, row.get(1)?));
            }
        }
        Ok(deepest)
    }

    /// The owner has let go of these; the files of those that are free are gone.
    pub(in crate::kv) fn let_go(
        &self,
        model: ModelId,
        owner: &str,
        gone: &[Superseded],
    ) -> Result<()> {
        self.at_once(|| {
            for superseded in gone {
                let digest = superseded.node.digest;
                self.db.execute(
                    "DELETE FROM state WHERE owner = ?1 AND model = ?2 AND digest = ?3",
                    params![owner, model.0, digest.0],
                )?;
                if superseded.free {
                    self.drop_node(model, digest)?;
                }
            }
            Ok(())
        })
    }
}

fn mine(row: &Row<'_>) -> Result<Mine> {
    Ok(Mine {
        node: node_row(row)?,
        role: SnapshotRole::from_u8(row.get(5)?),
        free: row.get(6)?,
    })
}
