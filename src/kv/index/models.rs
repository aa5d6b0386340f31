//! The table `model`: one row for each hard fingerprint. A store adds the row of its own model when it is
//! opened, and a rebuild of the index adds a row for each model folder with a valid `facts.json`. Other
//! tables refer to a model by its [`ModelId`]. Invariant: a [`ModelId`] is computed from the hard
//! fingerprint alone, so a model has the same one in an index that was rebuilt.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ledger::Digest;

use super::table::{IndexTable, SqlResult};

pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE model(id INTEGER PRIMARY KEY, hard BLOB NOT NULL UNIQUE, facts TEXT NOT NULL, soft TEXT NOT NULL);",
    unsound: "SELECT 1 FROM model WHERE (typeof(hard) = 'blob' AND length(hard) = 32
      AND typeof(facts) = 'text' AND typeof(soft) = 'text') IS NOT TRUE",
};

/// The number of a model in the index: 63 bits of its hard fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) struct ModelId(pub(in crate::kv) i64);

impl ModelId {
    fn of(hard: Digest) -> ModelId {
        let [a, b, c, d, e, f, g, h, ..] = hard.0;
        ModelId(i64::from_le_bytes([a, b, c, d, e, f, g, h]) & i64::MAX)
    }
}

/// A row of `model`.
pub(in crate::kv) struct StoredModel {
    pub(in crate::kv) id: ModelId,
    pub(in crate::kv) hard: Digest,
    /// The hard facts as canonical JSON.
    pub(in crate::kv) facts: String,
}

/// The statements of the table.
pub(in crate::kv) struct Models<'a> {
    db: &'a Connection,
}

impl<'a> Models<'a> {
    pub(in crate::kv) fn new(db: &'a Connection) -> Models<'a> {
        Models { db }
    }

    /// Adds a model, or replaces the facts of a model that has a row already. `facts` and `soft` are
    /// canonical JSON.
    pub(in crate::kv) fn put(&self, hard: Digest, facts: &str, soft: &str) -> SqlResult<ModelId> {
        let id = ModelId::of(hard);
        self.db.execute(
            "INSERT INTO model(id, hard, facts, soft) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(hard) DO UPDATE SET facts = ?3, soft = ?4",
            params![id.0, hard.0, facts, soft],
        )?;
        Ok(id)
    }

    /// All models, ordered by their ids.
    pub(in crate::kv) fn all(&self) -> SqlResult<Vec<StoredModel>> {
        self.db
            .prepare("SELECT id, hard, facts FROM model ORDER BY id")?
            .query_map([], stored_model)?
            .collect()
    }

    /// One model; `None` if it has no row.
    pub(in crate::kv) fn get(&self, id: ModelId) -> SqlResult<Option<StoredModel>> {
        self.db
            .query_row(
                "SELECT id, hard, facts FROM model WHERE id = ?1",
                [id.0],
                stored_model,
            )
            .optional()
    }

    /// The hard facts of the model under which `owner` has its latest pin. `None` when that is `model`,
    /// or when the owner has no pin.
    pub(in crate::kv) fn facts_of_last_pin(
        &self,
        owner: &str,
        model: ModelId,
    ) -> SqlResult<Option<String>> {
        self.db
            .query_row(
                "SELECT facts FROM (SELECT model FROM pin WHERE owner = ?1 ORDER BY id DESC LIMIT 1) AS last
                 JOIN model ON model.id = last.model WHERE last.model != ?2",
                params![owner, model.0],
                |r| r.get(0),
            )
            .optional()
    }
}

/// Reads a model from a table row that begins with the columns `id, hard, facts`.
pub(in crate::kv) fn stored_model(row: &Row<'_>) -> SqlResult<StoredModel> {
    Ok(StoredModel {
        id: ModelId(row.get(0)?),
        hard: Digest(row.get(1)?),
        facts: row.get(2)?,
    })
}
