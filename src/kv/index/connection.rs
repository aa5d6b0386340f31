//! [`Index`]: one connection to the index. Its statements are grouped by table:
//! `index.edges(model).has(…)`. The writer thread has one connection, and queries have a second one that
//! only reads. The database uses WAL mode with synchronous NORMAL, so a power cut can lose the last
//! committed rows. That is acceptable: the record files are durable, and the next open adds the missing
//! rows. Invariant: an index that [`Index::open`] returns as sound has passed SQLite's integrity check
//! and the check of every row.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction};

use crate::kv::error::Error;

use super::edges::Edges;
use super::file;
use super::joints::Joints;
use super::models::{ModelId, Models};
use super::nodes::Nodes;
use super::owners::Owners;
use super::pins::Pins;
use super::samples::Samples;
use super::schema::{self, Condition};
use super::states::States;
use super::table::SqlResult;
use super::totals::Totals;
use super::transaction;
use super::turns::Turns;

/// How much is stored for one model.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreUsage {
    /// The number of segments.
    pub edges: u64,
    /// The number of snapshots and separate logits rows.
    pub nodes: u64,
    /// The bytes of all their files.
    pub bytes: u64,
    /// The bytes that merging has written since the index was made, in addition to the bytes that were
    /// put.
    pub merged: u64,
}

/// A connection to the index.
pub(in crate::kv) struct Index {
    db: Connection,
}

impl Index {
    /// Opens the index at `path` and checks all of it; an index that does not exist is created with empty
    /// tables. Also returns what the index needs before it can be used.
    pub(in crate::kv) fn open(path: &Path) -> Result<(Index, Condition), Error> {
        file::own(path).map_err(Error::folder(path))?;
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.query_row("PRAGMA schema_version", [], |r| r.get::<_, i64>(0))?;
        if file::is_read_only_by_its_header(&db, path) {
            return Err(Error::Index(schema::damaged()));
        }
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        // Rows have tokens of a conversation: SQLite overwrites the bytes of deleted rows.
        db.pragma_update(None, "secure_delete", "ON")?;
        // Not `quick_check`: that does not compare the indexes of a table with its rows.
        let check: String = db.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
        if check != "ok" {
            return Err(Error::Index(schema::damaged()));
        }
        let condition = schema::prepare(&db)?;
        Ok((Index { db }, condition))
    }

    /// A second connection, which only reads. It never waits for a change on another connection, nor for
    /// a change that is itself waiting.
    pub(in crate::kv) fn reader(path: &Path) -> SqlResult<Index> {
        let index = Index::read_only(path)?;
        // SQLite opens the write-ahead log at the first query, by its name. That query runs now, while
        // the name surely belongs to this index.
        let query = "SELECT count(*) FROM model";
        index.db.query_row(query, [], |_| Ok(()))?;
        Ok(index)
    }

    /// A connection that only reads. Nothing of the index is checked.
    pub(in crate::kv) fn read_only(path: &Path) -> SqlResult<Index> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(Duration::from_secs(1))?;
        Ok(Index { db })
    }

    /// Commits the transaction in which a new index ([`Condition::Empty`]) is filled.
    pub(in crate::kv) fn commit(&self) -> SqlResult<()> {
        self.db.execute_batch("COMMIT")
    }

    /// Sets how long a change waits while another process changes the index.
    pub(in crate::kv) fn wait(&self, most: Duration) -> SqlResult<()> {
        self.db.busy_timeout(most)
    }

    /// Begins a transaction that writes; see [`transaction::begin`].
    pub(in crate::kv) fn begin(&self) -> SqlResult<Transaction<'_>> {
        transaction::begin(&self.db)
    }

    /// Runs `change` in one transaction; see [`transaction::at_once`].
    pub(in crate::kv) fn at_once<T>(&self, change: impl FnOnce() -> SqlResult<T>) -> SqlResult<T> {
        transaction::at_once(&self.db, change)
    }

    /// See [`file::is_read_only_by_its_header`].
    pub(in crate::kv) fn is_read_only_by_its_header(&self, path: &Path) -> bool {
        file::is_read_only_by_its_header(&self.db, path)
    }

    pub(in crate::kv) fn models(&self) -> Models<'_> {
        Models::new(&self.db)
    }

    pub(in crate::kv) fn edges(&self, model: ModelId) -> Edges<'_> {
        Edges::new(&self.db, model)
    }

    pub(in crate::kv) fn nodes(&self, model: ModelId) -> Nodes<'_> {
        Nodes::new(&self.db, model)
    }

    pub(in crate::kv) fn joints(&self, model: ModelId) -> Joints<'_> {
        Joints::new(&self.db, model)
    }

    pub(in crate::kv) fn pins(&self, model: ModelId) -> Pins<'_> {
        Pins::new(&self.db, model)
    }

    pub(in crate::kv) fn turns(&self, model: ModelId) -> Turns<'_> {
        Turns::new(&self.db, model)
    }

    pub(in crate::kv) fn states(&self, model: ModelId) -> States<'_> {
        States::new(&self.db, model)
    }

    pub(in crate::kv) fn samples(&self, model: ModelId) -> Samples<'_> {
        Samples::new(&self.db, model)
    }

    pub(in crate::kv) fn owners(&self) -> Owners<'_> {
        Owners::new(&self.db)
    }

    pub(in crate::kv) fn totals(&self) -> Totals<'_> {
        Totals::new(&self.db)
    }

    /// The number of segments and snapshots of a model, and their bytes.
    pub(in crate::kv) fn usage(&self, model: ModelId) -> SqlResult<StoreUsage> {
        let (edges, edge_bytes) = self.edges(model).usage()?;
        let (nodes, node_bytes) = self.nodes(model).usage()?;
        Ok(StoreUsage {
            edges,
            nodes,
            bytes: edge_bytes + node_bytes,
            merged: self.totals().merged(model)?,
        })
    }

    /// The SQLite connection itself, for tests that damage an index or look at query plans.
    #[cfg(test)]
    pub(in crate::kv) fn db(&self) -> &Connection {
        &self.db
    }
}
