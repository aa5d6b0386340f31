//! Statements over all tables with a column `owner`: which digests every owner holds under a model, and
//! removing an owner. Eviction, status and `npast sessions rm` use them. Invariant: after an owner is
//! removed, no table names it.

use rusqlite::{Connection, OptionalExtension, params};

use crate::ledger::Digest;

use super::models::{ModelId, StoredModel, stored_model};
use super::table::SqlResult;
use super::transaction::at_once;

/// The tables with a column `owner`.
const TABLES: [&str; 5] = ["pin", "turn", "state", "sample", "agreed"];

/// A digest that an owner holds: that of its pin, of its turn node, or of one of its snapshots.
#[derive(Clone, Debug)]
pub(in crate::kv) struct Hold {
    pub(in crate::kv) owner: String,
    pub(in crate::kv) digest: Digest,
    /// For a pin: the id of its row, so a later pin has a higher number. 0 for turn nodes and snapshots.
    pub(in crate::kv) order: i64,
    /// True for a row of the table `state`: one of the owner's snapshots. False for a pin or a turn node,
    /// which say where the conversation ends now.
    pub(in crate::kv) past: bool,
}

/// The statements over these tables.
pub(in crate::kv) struct Owners<'a> {
    db: &'a Connection,
}

impl<'a> Owners<'a> {
    pub(in crate::kv) fn new(db: &'a Connection) -> Owners<'a> {
        Owners { db }
    }

    /// All digests that owners hold under a model: of pins, turn nodes and snapshots.
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

    /// The model under which an owner has its latest pin, and the digest of that pin.
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

    /// Removes an owner from all tables, under every model.
    pub(in crate::kv) fn forget(&self, owner: &str) -> SqlResult<()> {
        at_once(self.db, || {
            for table in TABLES {
                let forget = format!("DELETE FROM {table} WHERE owner = ?1");
                self.db.execute(&forget, [owner])?;
            }
            Ok(())
        })
    }

    /// Removes an owner from all tables, under one model.
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
