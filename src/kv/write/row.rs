//! Rows: logits at the end of a prompt, where the memory can be cut and needs no state. An owner has
//! one, replaced at each of its turns.

use rusqlite::{OptionalExtension, params};

use crate::ledger::Digest;

use crate::kv::index::connection::{Index, ModelId};
use crate::kv::record::files;
use crate::kv::record::format::Kind;
use crate::kv::record::put::{Record, SnapshotRole};
use crate::kv::store::handle::Live;
use crate::kv::write::writer::Failure;

/// Takes note of an owner's row that is stored, and removes the one it had before unless somebody
/// else holds that.
pub(in crate::kv) fn replace(live: &Live, record: &Record) -> Result<(), Failure> {
    if record.role != Some(SnapshotRole::Row) || record.owner.is_empty() {
        return Ok(());
    }
    let before = live
        .index()
        .replace_row(live.model(), &record.owner, record.to)?;
    if let Some(digest) = before {
        // File first: a crash in between leaves a row of the index without a file, which open drops.
        live.files
            .remove(&files::name(Kind::Node, digest, digest))?;
        live.index().drop_node(live.model(), digest)?;
    }
    Ok(())
}

impl Index {
    /// Makes `digest` the owner's turn. Gives the row that was it before, if nothing keeps it.
    pub(in crate::kv) fn replace_row(
        &self,
        model: ModelId,
        owner: &str,
        digest: Digest,
    ) -> Result<Option<Digest>, rusqlite::Error> {
        self.at_once(|| {
            let free = self
                .db
                .query_row(
                    "SELECT node.digest FROM turn
                     JOIN node ON node.model = turn.model AND node.digest = turn.digest
                     WHERE turn.owner = ?2 AND turn.model = ?1 AND turn.digest != ?3 AND node.role = ?4
                     AND NOT EXISTS (SELECT 1 FROM pin AS p
                         WHERE p.model = ?1 AND p.digest = node.digest AND p.owner != ?2)
                     AND NOT EXISTS (SELECT 1 FROM turn AS t
                         WHERE t.model = ?1 AND t.digest = node.digest AND t.owner != ?2)",
                    params![model.0, owner, digest.0, SnapshotRole::Row as u8],
                    |r| Ok(Digest(r.get(0)?)),
                )
                .optional()?;
            self.db.execute(
                "INSERT OR REPLACE INTO turn(owner, model, digest) VALUES (?1, ?2, ?3)",
                params![owner, model.0, digest.0],
            )?;
            Ok(free)
        })
    }
}
