//! What the index knows of owners, and of all models at once: for housekeeping, which looks at the
//! whole folder where a lookup looks at one chain.

use std::collections::{HashMap, HashSet};

use rusqlite::params;

use crate::ledger::Digest;

use crate::kv::index::connection::{Index, ModelId, NodeId};
use crate::kv::record::put::SnapshotRole;

/// Owners of this name hold what a rebuild found and nobody has claimed again.
pub(in crate::kv) const UNCLAIMED: &str = "rebuilt-";

/// The index by which [`HAS_UNCLAIMED`] costs nothing; younger than the schema, and no part of what
/// it says.
pub(in crate::kv) const INDEX: &str = "CREATE INDEX IF NOT EXISTS pin_unclaimed ON pin(model)
  WHERE owner >= 'rebuilt-' AND owner < 'rebuilt.';";

const TOTAL: &str = "SELECT bytes FROM total WHERE one = 1";
const HAS_AT: &str = "SELECT 1 FROM edge WHERE model = ?1 AND \"to\" = ?2
  UNION ALL SELECT 1 FROM node WHERE model = ?1 AND digest = ?2";
const HAS_PIN: &str = "SELECT 1 FROM pin WHERE model = ?1 AND owner = ?2";
const HAS_UNCLAIMED: &str =
    "SELECT 1 FROM pin WHERE model = ?1 AND owner >= 'rebuilt-' AND owner < 'rebuilt.'";
const CLAIM: &str = "DELETE FROM pin WHERE model = ?1 AND digest = ?2
  AND owner >= 'rebuilt-' AND owner < 'rebuilt.'";
/// SQLite would rather walk all of a model's in an index that has both columns.
const BEFORE: &str =
    "SELECT \"from\" FROM edge INDEXED BY edge_end WHERE model = ?1 AND \"to\" = ?2";

/// What a turn's end asks of the index, beside one insertion, and by what it is found.
#[cfg(test)]
pub(in crate::kv) const PIN_SQL: [(&str, &str); 6] = [
    (TOTAL, "PRIMARY KEY (rowid=?)"),
    (HAS_AT, "(model=? AND to=?)"),
    (HAS_PIN, "(owner=? AND model=?)"),
    (HAS_UNCLAIMED, "pin_unclaimed (model=?)"),
    (CLAIM, "(model=? AND digest=?)"),
    (BEFORE, "(model=? AND to=?)"),
];

/// What an owner wants kept: its pin, its present turn, or an older snapshot.
#[derive(Clone, Debug)]
pub(in crate::kv) struct Hold {
    pub(in crate::kv) owner: String,
    pub(in crate::kv) digest: Digest,
    /// Rises with time among pins; 0 for turns and older snapshots.
    pub(in crate::kv) order: i64,
    /// An older snapshot: it holds what leads to it, and is not where the owner is.
    pub(in crate::kv) past: bool,
}

/// A model of the folder.
pub(in crate::kv) struct Model {
    pub(in crate::kv) id: ModelId,
    pub(in crate::kv) hard: Digest,
    /// Canonical JSON.
    pub(in crate::kv) facts: String,
}

type Result<T> = std::result::Result<T, rusqlite::Error>;

impl Index {
    /// All models, in the order they came.
    pub(in crate::kv) fn models(&self) -> Result<Vec<Model>> {
        self.db
            .prepare("SELECT id, hard, facts FROM model ORDER BY id")?
            .query_map([], |r| {
                Ok(Model {
                    id: ModelId(r.get(0)?),
                    hard: Digest(r.get(1)?),
                    facts: r.get(2)?,
                })
            })?
            .collect()
    }

    /// Bytes of all files of all models.
    pub(in crate::kv) fn total(&self) -> Result<u64> {
        self.db.prepare_cached(TOTAL)?.query_row([], |r| r.get(0))
    }

    /// The pins, turns and older snapshots of a model.
    pub(in crate::kv) fn holds(&self, model: ModelId) -> Result<Vec<Hold>> {
        self.db
            .prepare(
                "SELECT owner, digest, id, 0 FROM pin WHERE model = ?1
                 UNION ALL SELECT owner, digest, 0, 0 FROM turn WHERE model = ?1
                 UNION ALL SELECT owner, digest, 0, 1 FROM state WHERE model = ?1",
            )?
            .query_map([model.0], |r| {
                Ok(Hold {
                    owner: r.get(0)?,
                    digest: Digest(r.get(1)?),
                    order: r.get(2)?,
                    past: r.get(3)?,
                })
            })?
            .collect()
    }

    /// The strongest role that each stored node was put with.
    pub(in crate::kv) fn roles(&self, model: ModelId) -> Result<HashMap<NodeId, SnapshotRole>> {
        let mut find = self
            .db
            .prepare("SELECT id, role FROM node WHERE model = ?1")?;
        let mut rows = find.query([model.0])?;
        let mut roles = HashMap::new();
        while let Some(row) = rows.next()? {
            if let Some(role) = SnapshotRole::from_u8(row.get(1)?) {
                roles.insert(NodeId(row.get(0)?), role);
            }
        }
        Ok(roles)
    }

    /// True when a segment ends at `digest`, or a snapshot is there.
    pub(in crate::kv) fn has_at(&self, model: ModelId, digest: Digest) -> Result<bool> {
        self.db
            .prepare_cached(HAS_AT)?
            .exists(params![model.0, digest.0])
    }

    /// True when the owner has a pin under this model.
    pub(in crate::kv) fn has_pin(&self, model: ModelId, owner: &str) -> Result<bool> {
        self.db
            .prepare_cached(HAS_PIN)?
            .exists(params![model.0, owner])
    }

    /// Pins at `from` are at `to` now: the segment between is gone.
    pub(in crate::kv) fn move_pins(&self, model: ModelId, from: Digest, to: Digest) -> Result<()> {
        self.db.execute(
            "UPDATE pin SET digest = ?3 WHERE model = ?1 AND digest = ?2",
            params![model.0, from.0, to.0],
        )?;
        Ok(())
    }

    /// True when a rebuild left something that nobody has claimed under this model.
    pub(in crate::kv) fn has_unclaimed(&self, model: ModelId) -> Result<bool> {
        self.db.prepare_cached(HAS_UNCLAIMED)?.exists([model.0])
    }

    /// What a rebuild left in nobody's name at `end` and on the way back from it is somebody's now.
    /// The walk ends where one was before: at places that are `walked`. How many were looked at.
    pub(in crate::kv) fn claim(
        &self,
        model: ModelId,
        end: Digest,
        walked: &mut HashSet<Digest>,
    ) -> Result<usize> {
        let mut claim = self.db.prepare_cached(CLAIM)?;
        let mut before = self.db.prepare_cached(BEFORE)?;
        let mut looked = 0;
        let mut open = vec![end];
        while let Some(at) = open.pop() {
            if walked.insert(at) {
                looked += 1;
                claim.execute(params![model.0, at.0])?;
                for from in before.query_map(params![model.0, at.0], |r| r.get(0))? {
                    open.push(Digest(from?));
                }
            }
        }
        Ok(looked)
    }

    /// Forgets one owner under one model: pin, turn, snapshots, samples.
    pub(in crate::kv) fn release(&self, model: ModelId, owner: &str) -> Result<()> {
        for table in ["pin", "turn", "state", "sample", "agreed"] {
            self.db.execute(
                &format!("DELETE FROM {table} WHERE model = ?1 AND owner = ?2"),
                params![model.0, owner],
            )?;
        }
        Ok(())
    }
}
