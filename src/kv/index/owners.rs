//! All tables that name owners, at once: what every owner holds under a model, and forgetting one.

use rusqlite::{Connection, OptionalExtension, params};

use crate::ledger::Digest;

use super::models::{ModelId, StoredModel, stored_model};
use super::table::SqlResult;
use super::transaction::at_once;

/// Tables with a column `owner`.
const TABLES: [&str; 5] = ["pin", "turn", "state", "sample", "agreed"];

/// What an owner wants kept: its pin, its present turn, or an older snapshot.
#[derive(Clone, Debug)]
pub(in crate::kv) struct Hold {
    pub(in crate::kv) owner: String,
    pub(in crate::kv) digest: Digest,
    /// Rises with time among pins; 0 for turns and older snapshots.
    pub(in crate::kv) order: i64,
    /// True for an older snapshot: the owner keeps what leads to it, and stands elsewhere.
    pub(in crate::kv) past: bool,
}

/// Statements over those tables.
pub(in crate::kv) struct Owners<'a> {
    db: &'a Connection,
}

impl<'a> Owners<'a> {
    pub(in crate::kv) fn new(db: &'a Connection) -> Owners<'a> {
        Owners { db }
    }

    /// The pins, turns and older snapshots of all owners under a model.
    pub(in crate::kv) fn holds(&self, model: ModelId) -> SqlResult<Vec<Hold>> {
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

    /// The model under which an owner pinned last, and the digest of that pin.
    pub(in crate::kv) fn last_pin(&self, owner: &str) -> SqlResult<Option<(StoredModel, Digest)>> {
        self.db
            .query_row(
                "SELECT model.id, model.hard, model.facts, pin.digest
                 FROM pin JOIN model ON model.id = pin.model
                 WHERE owner = ?1 ORDER BY pin.id DESC LIMIT 1",
                params![owner],
                |r| Ok((stored_model(r)?, Digest(r.get(3)?))),
            )
            .optional()
    }

    /// Forgets an owner under every model.
    pub(in crate::kv) fn forget(&self, owner: &str) -> SqlResult<()> {
        at_once(self.db, || {
            for table in TABLES {
                let forget = format!("DELETE FROM {table} WHERE owner = ?1");
                self.db.execute(&forget, [owner])?;
            }
            Ok(())
        })
    }

    /// Forgets an owner under one model.
    pub(in crate::kv) fn forget_under(&self, model: ModelId, owner: &str) -> SqlResult<()> {
        for table in TABLES {
            self.db.execute(
                &format!("DELETE FROM {table} WHERE model = ?1 AND owner = ?2"),
                params![model.0, owner],
            )?;
        }
        Ok(())
    }
}
