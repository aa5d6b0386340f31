//! The tables `sample` and `agreed`. They answer one question about the stored state after a prefix (the
//! KV in its segments, and the snapshot at its end if there is one): is this state right on this machine,
//! although another build, device or number of threads has evaluated it? `sample` has a few logits, found
//! by the digest of the prefix: the slot computes them after a turn, in idle time or before the process
//! ends, by evaluating a fixed text after the prefix (see `src/slot/sample.rs`). When the slot has
//! restored the state under another soft fingerprint, it computes these logits again, and compares them
//! before it uses the state. If they agree, a row is added to `agreed`, and the comparison is not
//! repeated. Both tables exist only in the index. If they are lost, records of another soft fingerprint
//! are not used without a sample, and their tokens are evaluated again. Invariant: each of the two tables
//! has at most 32 rows of the same owner and model; older rows are removed.

use rusqlite::{Connection, OptionalExtension, params};

use crate::ledger::Digest;

use super::models::ModelId;
use super::table::{IndexTable, SqlResult};
use super::transaction::at_once;

/// The maximum number of values of a sample.
pub(in crate::kv) const MOST_VALUES: usize = 1024;
/// The maximum number of rows of one owner in each of the two tables; older rows are removed.
const MOST: usize = 32;

pub(in crate::kv) const TABLE: IndexTable = IndexTable {
    create: "
CREATE TABLE sample(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL,
  digest BLOB NOT NULL, soft BLOB NOT NULL, numbers BLOB NOT NULL, UNIQUE(model, digest, soft));
CREATE INDEX sample_owner ON sample(owner, model);
CREATE TABLE agreed(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL,
  digest BLOB NOT NULL, soft BLOB NOT NULL, UNIQUE(model, digest, soft));
CREATE INDEX agreed_owner ON agreed(owner, model);",
    unsound: "SELECT 1 FROM (SELECT owner, model, digest, soft, numbers FROM sample
        UNION ALL SELECT owner, model, digest, soft, x'' FROM agreed)
      WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
      AND typeof(digest) = 'blob' AND length(digest) = 32
      AND typeof(soft) = 'blob' AND length(soft) = 32
      AND typeof(numbers) = 'blob' AND length(numbers) <= 4096 AND length(numbers) % 4 = 0) IS NOT TRUE",
};

/// The statements of both tables, for one model.
pub(in crate::kv) struct Samples<'a> {
    db: &'a Connection,
    model: ModelId,
}

impl<'a> Samples<'a> {
    pub(in crate::kv) fn new(db: &'a Connection, model: ModelId) -> Samples<'a> {
        Samples { db, model }
    }

    /// Stores the sample of the state at `digest`, computed under the soft fingerprint `soft`.
    pub(in crate::kv) fn put(
        &self,
        owner: &str,
        (digest, soft): (Digest, Digest),
        values: &[f32],
    ) -> SqlResult<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        at_once(self.db, || {
            self.db
                .prepare_cached(
                    "INSERT OR REPLACE INTO sample(owner, model, digest, soft, numbers)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![owner, self.model.0, digest.0, soft.0, bytes])?;
            self.keep_last("sample", owner)
        })
    }

    /// The sample of the state at `digest`: the one computed under `soft`, or else the one that was
    /// stored last.
    pub(in crate::kv) fn get(&self, digest: Digest, soft: Digest) -> SqlResult<Option<Vec<f32>>> {
        let bytes: Option<Vec<u8>> = self
            .db
            .prepare_cached(
                "SELECT numbers FROM sample WHERE model = ?1 AND digest = ?2
                 ORDER BY soft = ?3 DESC, id DESC LIMIT 1",
            )?
            .query_row(params![self.model.0, digest.0, soft.0], |r| r.get(0))
            .optional()?;
        Ok(bytes.and_then(|bytes| {
            let (words, rest) = bytes.as_chunks::<4>();
            let fits = rest.is_empty() && words.len() <= MOST_VALUES;
            fits.then(|| words.iter().map(|w| f32::from_le_bytes(*w)).collect())
        }))
    }

    /// Stores the result of a comparison under `soft`: the state at `digest`, and everything on the way
    /// from position 0 to it, is right.
    pub(in crate::kv) fn agree(
        &self,
        owner: &str,
        (digest, soft): (Digest, Digest),
    ) -> SqlResult<()> {
        at_once(self.db, || {
            self.db
                .prepare_cached(
                    "INSERT OR REPLACE INTO agreed(owner, model, digest, soft)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![owner, self.model.0, digest.0, soft.0])?;
            self.keep_last("agreed", owner)
        })
    }

    /// Whether a comparison under `soft` has found the state at `digest` right.
    pub(in crate::kv) fn agrees(&self, digest: Digest, soft: Digest) -> SqlResult<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM agreed WHERE model = ?1 AND digest = ?2 AND soft = ?3")?
            .exists(params![self.model.0, digest.0, soft.0])
    }

    /// Removes all but the last [`MOST`] rows of an owner.
    fn keep_last(&self, table: &str, owner: &str) -> SqlResult<()> {
        self.db
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE owner = ?1 AND model = ?2 AND id NOT IN
                 (SELECT id FROM {table} WHERE owner = ?1 AND model = ?2 ORDER BY id DESC LIMIT ?3)"
            ))?
            .execute(params![owner, self.model.0, MOST])?;
        Ok(())
    }
}
