//! The table `pin`: what each owner wants kept under a model. Also the pins that a rebuild makes in
//! nobody's name, until the owner pins again.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::ledger::Digest;

use super::models::ModelId;
use super::table::{SqlResult, Table};

/// The highest id is the latest pin. `pin_unclaimed` makes the search for unclaimed pins cost nothing
/// where there are none.
pub(in crate::kv) const TABLE: Table = Table {
    create: "
CREATE TABLE pin(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE INDEX pin_digest ON pin(model, digest);
CREATE INDEX pin_unclaimed ON pin(model) WHERE owner >= 'rebuilt-' AND owner < 'rebuilt.';",
    unsound: "SELECT 1 FROM pin WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
      AND typeof(digest) = 'blob' AND length(digest) = 32) IS NOT TRUE",
};

/// How the name of an owner begins that stands for nobody: a rebuild pins under it what no owner is
/// known to hold.
pub(in crate::kv) const UNCLAIMED: &str = "rebuilt-";

const HAS: &str = "SELECT 1 FROM pin WHERE model = ?1 AND owner = ?2";
const HAS_UNCLAIMED: &str =
    "SELECT 1 FROM pin WHERE model = ?1 AND owner >= 'rebuilt-' AND owner < 'rebuilt.'";
const CLAIM: &str = "DELETE FROM pin WHERE model = ?1 AND digest = ?2
    AND owner >= 'rebuilt-' AND owner < 'rebuilt.'";
/// With `INDEXED BY`, or SQLite reads all edges of the model in an index that has both columns.
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

/// The table's statements, for one model.
pub(in crate::kv) struct Pins<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Pins<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Pins<'a> {
        Pins { db, model }
    }

    /// Sets the owner's pin, in the place of the one it had.
    pub(in crate::kv) fn set(&self, owner: &str, digest: Digest) -> SqlResult<()> {
        // A new row each time: the highest id is the latest pin.
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

    /// At most `most` owners and their pins, the latest first.
    pub(in crate::kv) fn latest(&self, most: usize) -> SqlResult<Vec<(String, Digest)>> {
        self.db
            .prepare("SELECT owner, digest FROM pin WHERE model = ?1 ORDER BY id DESC LIMIT ?2")?
            .query_map(params![self.model.0, most], |r| {
                Ok((r.get(0)?, Digest(r.get(1)?)))
            })?
            .collect()
    }

    /// Moves all pins at `from` to `to`: the segment between the two is removed.
    pub(in crate::kv) fn move_all(&self, from: Digest, to: Digest) -> SqlResult<()> {
        self.db.execute(
            "UPDATE pin SET digest = ?3 WHERE model = ?1 AND digest = ?2",
            params![self.model.0, from.0, to.0],
        )?;
        Ok(())
    }

    /// True when a rebuild left pins that no owner has claimed.
    pub(in crate::kv) fn has_unclaimed(&self) -> SqlResult<bool> {
        self.db
            .prepare_cached(HAS_UNCLAIMED)?
            .exists([self.model.0])
    }

    /// Removes the unclaimed pins at `end` and at every place that leads to it: an owner holds them
    /// now. The walk back stops at places in `walked`, and adds those it visits; returns how many it
    /// visited.
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
