//! The tables `total` (the bytes of all record files) and `merged` (the bytes that merging has written,
//! per model). The writer thread compares `total` with the quota at the end of each turn, without reading
//! all rows. Invariant: `total` is the sum of the column `bytes` of the tables `edge` and `node`.

use rusqlite::{Connection, OptionalExtension, params};

use super::models::ModelId;
use super::table::{IndexTable, SqlResult};

/// Triggers change `total` when a row of `edge` or `node` is inserted or deleted, so no statement can
/// forget it. An update of a length has no trigger: `rebuild::correct_lengths` calls [`Totals::recount`]
/// after its updates.
pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE merged(model INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE total(one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL);
INSERT INTO total(one, bytes) VALUES (1, 0);
CREATE TRIGGER edge_added AFTER INSERT ON edge
  BEGIN UPDATE total SET bytes = bytes + new.bytes WHERE one = 1; END;
CREATE TRIGGER edge_gone AFTER DELETE ON edge
  BEGIN UPDATE total SET bytes = bytes - old.bytes WHERE one = 1; END;
CREATE TRIGGER node_added AFTER INSERT ON node
  BEGIN UPDATE total SET bytes = bytes + new.bytes WHERE one = 1; END;
CREATE TRIGGER node_gone AFTER DELETE ON node
  BEGIN UPDATE total SET bytes = bytes - old.bytes WHERE one = 1; END;",
    unsound: "SELECT 1 FROM merged WHERE (typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 60) IS NOT TRUE",
};

const TOTAL: &str = "SELECT bytes FROM total WHERE one = 1";

/// The statement that runs at the end of every turn, with the index that it must use.
#[cfg(test)]
pub(in crate::kv) const SEARCHES: [(&str, &str); 1] = [(TOTAL, "PRIMARY KEY (rowid=?)")];

/// The statements of both tables.
pub(in crate::kv) struct Totals<'a> {
    db: &'a Connection,
}

impl<'a> Totals<'a> {
    pub(in crate::kv) fn new(db: &'a Connection) -> Totals<'a> {
        Totals { db }
    }

    /// The bytes of all record files of all models.
    pub(in crate::kv) fn bytes(&self) -> SqlResult<u64> {
        self.db.prepare_cached(TOTAL)?.query_row([], |r| r.get(0))
    }

    /// True when `total` has its row and the number is the sum over all rows.
    pub(in crate::kv) fn is_right(&self) -> SqlResult<bool> {
        let right = "SELECT (SELECT bytes FROM total) IS (SELECT coalesce(sum(bytes), 0) FROM edge)
            + (SELECT coalesce(sum(bytes), 0) FROM node)";
        self.db.query_row(right, [], |r| r.get(0))
    }

    /// Computes the sum again from all rows; creates the row of `total` if it is missing.
    pub(in crate::kv) fn recount(&self) -> SqlResult<()> {
        self.db.execute(
            "INSERT OR REPLACE INTO total(one, bytes) SELECT 1,
             (SELECT coalesce(sum(bytes), 0) FROM edge) + (SELECT coalesce(sum(bytes), 0) FROM node)",
            [],
        )?;
        Ok(())
    }

    /// The bytes that merging has written for a model since the index was made.
    pub(in crate::kv) fn merged(&self, model: ModelId) -> SqlResult<u64> {
        let bytes = self
            .db
            .query_row(
                "SELECT bytes FROM merged WHERE model = ?1",
                [model.0],
                |r| r.get(0),
            )
            .optional()?;
        Ok(bytes.unwrap_or(0))
    }

    /// Adds to the bytes that merging has written.
    pub(in crate::kv) fn add_merged(&self, model: ModelId, bytes: u64) -> SqlResult<()> {
        self.db.execute(
            "INSERT INTO merged(model, bytes) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET bytes = bytes + ?2",
            params![model.0, bytes],
        )?;
        Ok(())
    }
}
