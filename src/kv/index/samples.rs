//! What tells whether a state that another build, device or thread count made is right here: a few
//! numbers that it gave when it was made, and the word that they agreed. In the index alone: losing
//! them costs an evaluation.

use rusqlite::{OptionalExtension, params};

use crate::ledger::Digest;

use crate::kv::index::connection::{Index, ModelId};

/// Values of a sample; the slot says what they are.
pub(in crate::kv) const MOST_VALUES: usize = 1024;
/// Samples of one owner; the oldest go.
const MOST: usize = 32;

/// Younger than the schema, and no part of what it says.
pub(in crate::kv) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS sample(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL,
  digest BLOB NOT NULL, soft BLOB NOT NULL, numbers BLOB NOT NULL, UNIQUE(model, digest, soft));
CREATE INDEX IF NOT EXISTS sample_owner ON sample(owner, model);
CREATE TABLE IF NOT EXISTS agreed(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL,
  digest BLOB NOT NULL, soft BLOB NOT NULL, UNIQUE(model, digest, soft));
CREATE INDEX IF NOT EXISTS agreed_owner ON agreed(owner, model);";

type Result<T> = std::result::Result<T, rusqlite::Error>;

impl Index {
    /// Notes what the state at `digest` gave under a soft fingerprint.
    pub(in crate::kv) fn add_sample(
        &self,
        model: ModelId,
        owner: &str,
        (digest, soft): (Digest, Digest),
        values: &[f32],
    ) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.at_once(|| {
            self.db
                .prepare_cached(
                    "INSERT OR REPLACE INTO sample(owner, model, digest, soft, numbers)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![owner, model.0, digest.0, soft.0, bytes])?;
            self.keep_last("sample", model, owner)
        })
    }

    /// A sample of the state at `digest`: one of this soft fingerprint, or else the last.
    pub(in crate::kv) fn sample(
        &self,
        model: ModelId,
        digest: Digest,
        soft: Digest,
    ) -> Result<Option<Vec<f32>>> {
        let bytes: Option<Vec<u8>> = self
            .db
            .prepare_cached(
                "SELECT numbers FROM sample WHERE model = ?1 AND digest = ?2
                 ORDER BY soft = ?3 DESC, id DESC LIMIT 1",
            )?
            .query_row(params![model.0, digest.0, soft.0], |r| r.get(0))
            .optional()?;
        Ok(bytes.and_then(|bytes| {
            let (words, rest) = bytes.as_chunks::<4>();
            let fits = rest.is_empty() && words.len() <= MOST_VALUES;
            fits.then(|| words.iter().map(|w| f32::from_le_bytes(*w)).collect())
        }))
    }

    /// Notes that all that leads to `digest`, and the snapshot there, is right under a soft
    /// fingerprint.
    pub(in crate::kv) fn agree(
        &self,
        model: ModelId,
        owner: &str,
        (digest, soft): (Digest, Digest),
    ) -> Result<()> {
        self.at_once(|| {
            self.db
                .prepare_cached(
                    "INSERT OR REPLACE INTO agreed(owner, model, digest, soft)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![owner, model.0, digest.0, soft.0])?;
            self.keep_last("agreed", model, owner)
        })
    }

    /// Whether that was noted.
    pub(in crate::kv) fn agrees(
        &self,
        model: ModelId,
        digest: Digest,
        soft: Digest,
    ) -> Result<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM agreed WHERE model = ?1 AND digest = ?2 AND soft = ?3")?
            .exists(params![model.0, digest.0, soft.0])
    }

    fn keep_last(&self, table: &str, model: ModelId, owner: &str) -> Result<()> {
        self.db
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE owner = ?1 AND model = ?2 AND id NOT IN
                 (SELECT id FROM {table} WHERE owner = ?1 AND model = ?2 ORDER BY id DESC LIMIT ?3)"
            ))?
            .execute(params![owner, model.0, MOST])?;
        Ok(())
    }
}
