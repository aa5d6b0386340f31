//! The table `pin`: for each owner and model the one digest up to which the owner wants its conversation
//! kept. The writer thread moves a pin when the slot calls `Store::pin` (see `write::pins`), a fork gets
//! its first pin from `Store::hold` or `Folder::hold`, and an eviction moves a pin back when it removes
//! the edge before the pin. Invariant: an owner has at most one pin per model.
//!
//! A rebuild of the index cannot restore the pins, because no record file has them. So the rebuild makes
//! *unclaimed* pins, which are rows with made-up owner names. If no owner reaches the last edge of a
//! chain, the rebuild puts an unclaimed pin at the end of this edge, so that garbage collection does not
//! remove the chain. When a real owner pins a digest later, the unclaimed pins at this digest, and at the
//! digests on the way from position 0 to it, are removed: the real owner reaches these records now.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::ledger::Digest;

use super::models::ModelId;
use super::table::{IndexTable, SqlResult};

/// The highest id is the latest pin. The index `pin_unclaimed` has only rows of unclaimed pins: to look
/// for one costs nothing when there is none.
pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE pin(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE INDEX pin_digest ON pin(model, digest);
CREATE INDEX pin_unclaimed ON pin(model) WHERE owner >= 'rebuilt-' AND owner < 'rebuilt.';",
    unsound: "SELECT 1 FROM pin WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
      AND typeof(digest) = 'blob' AND length(digest) = 32) IS NOT TRUE",
};

/// The owner name of every unclaimed pin begins with this text. Such an owner is no real owner.
pub(in crate::kv) const UNCLAIMED: &str = "rebuilt-";

const HAS: &str = "SELECT 1 FROM pin WHERE model = ?1 AND owner = ?2";
const HAS_UNCLAIMED: &str =
    "SELECT 1 FROM pin WHERE model = ?1 AND owner >= 'rebuilt-' AND owner < 'rebuilt.'";
const CLAIM: &str = "DELETE FROM pin WHERE model = ?1 AND digest = ?2
    AND owner >= 'rebuilt-' AND owner < 'rebuilt.'";
/// `INDEXED BY` is needed: without it SQLite would read all edges of the model in an index that has both
/// columns.
const BEFORE: &str =
    "SELECT \"from\" FROM edge INDEXED BY edge_end WHERE model = ?1 AND \"to\" = ?2";

/// The statements that run at the end of every turn, each with the index that it must use.
#[cfg(test)]
pub(in crate::kv) const SEARCHES: [(&str, &str); 4] = [
    (HAS, "(owner=? AND model=?)"),
    (HAS_UNCLAIMED, "pin_unclaimed (model=?)"),
    (CLAIM, "(model=? AND digest=?)"),
    (BEFORE, "(model=? AND to=?)"),
];

/// The statements of the table, for one model.
pub(in crate::kv) struct Pins<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Pins<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Pins<'a> {
        Pins { db, model }
    }

    /// Sets the pin of an owner, and removes the pin that it had.
    pub(in crate::kv) fn set(&self, owner: &str, digest: Digest) -> SqlResult<()> {
        // A new row is inserted each time, so the highest id is the latest pin.
        self.db.execute(
            "INSERT OR REPLACE INTO pin(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, self.model.0, digest.0],
        )?;
        Ok(())
    }

    /// True when the owner has a pin.
    pub(in crate::kv) fn has(&self, owner: &str) -> SqlResult<bool> {
        self.db
            .prepare_cached(HAS)?
            .exists(params![self.model.0, owner])
    }

    /// At most `most` owners with their pins, the latest pin first.
    pub(in crate::kv) fn latest(&self, most: usize) -> SqlResult<Vec<(String, Digest)>> {
        self.db
            .prepare("SELECT owner, digest FROM pin WHERE model = ?1 ORDER BY id DESC LIMIT ?2")?
            .query_map(params![self.model.0, most], |r| {
                Ok((r.get(0)?, Digest(r.get(1)?)))
            })?
            .collect()
    }

    /// Moves all pins at the digest `from` to `to`, because the segment between the two is removed.
    pub(in crate::kv) fn move_all(&self, from: Digest, to: Digest) -> SqlResult<()> {
        self.db.execute(
            "UPDATE pin SET digest = ?3 WHERE model = ?1 AND digest = ?2",
            params![self.model.0, from.0, to.0],
        )?;
        Ok(())
    }

    /// True when there are unclaimed pins.
    pub(in crate::kv) fn has_unclaimed(&self) -> SqlResult<bool> {
        self.db
            .prepare_cached(HAS_UNCLAIMED)?
            .exists([self.model.0])
    }

    /// Removes the unclaimed pins at `end` and at every digest on the way from position 0 to it, because a
    /// real owner reaches the records there now. The walk goes back from `end`; it stops at digests that
    /// are in `walked`, and adds the digests that it visits. Returns how many it visited.
    pub(in crate::kv) fn claim(
        &self,
        end: Digest,
        walked: &mut HashSet<Digest>,
    ) -> SqlResult<usize> {
        let mut claim = self.db.prepare_cached(CLAIM)?;
        let mut before = self.db.prepare_cached(BEFORE)?;
        let mut visited = 0;
        let mut open = vec![end];
        while let Some(at) = open.pop() {
            if walked.insert(at) {
                visited += 1;
                claim.execute(params![self.model.0, at.0])?;
                for from in before.query_map(params![self.model.0, at.0], |r| r.get(0))? {
                    open.push(Digest(from?));
                }
            }
        }
        Ok(visited)
    }
}
