//! A session made from another one: the same frozen head, messages and tokens up to a cut, one
//! transaction. Nothing of the parent changes.

use rusqlite::params;

use super::db::{missing, now_ms, one, taken};
use super::{
    CutPoint, Db, DbError, Result, Session, SessionId, StoredMessage, check_name, chunks, fault,
    model_file,
};

impl Db {
    /// Makes a session called `name` that has what `parent` has before the cut. Its messages and
    /// tokens are its own; its branches stay the parent's. `seen` are the parent's messages that the
    /// cut was made for: another process may talk in it. [`DbError::Locked`] if they are others now,
    /// [`DbError::Exists`] if the name is taken, [`DbError::NotFound`] if the parent is gone.
    pub fn fork(
        &self,
        parent: SessionId,
        name: &str,
        cut: CutPoint,
        seen: &[StoredMessage],
    ) -> Result<Session> {
        check_name(name)?;
        let tx = self.write()?;
        let old = one(&tx, "id = ?", parent.0)?.ok_or_else(|| missing(parent))?;
        // On the connection of this transaction: nothing changes from here on.
        if self.messages(parent)? != seen {
            return Err(DbError::Locked);
        }
        let ledger = chunks::read(&tx, parent)?;
        let stored = ledger.len();
        let session = parent.0;
        let tokens = ledger.get(..cut.at).ok_or(DbError::Gap {
            session,
            stored,
            at: cut.at,
        })?;
        if cut.at < old.head {
            return Err(DbError::Frozen {
                session,
                head: old.head,
                len: cut.at,
            });
        }
        tx.execute(
            "INSERT INTO sessions (name, folder, model, class, vocab, template, fingerprint, system,
                 tools, head, started_ms, seed, policy, parent, pending, created_ms, used_ms, tries,
                 forked, runs_tools, thinking, given, shift, preface, common)
             SELECT ?2, folder, model, class, vocab, template, fingerprint, system,
                 tools, head, started_ms, seed, policy, id, ?3, ?4, ?4, tries, ?5, runs_tools,
                 thinking, given, shift, preface, common
             FROM sessions WHERE id = ?1",
            params![parent.0, name, cut.pending, now_ms(), cut.at],
        )
        .map_err(|e| taken(e, name))?;
        let id = SessionId(tx.last_insert_rowid());
        if let Some(after) = cut.after {
            let last: Option<i64> = tx.query_row(
                "SELECT max(seq) FROM messages WHERE id = ? AND session = ? AND branch IS NULL",
                params![after.0, parent.0],
                |r| r.get(0),
            )?;
            let last = last.ok_or_else(|| {
                DbError::NotFound(format!("message {} of session {}", after.0, parent.0))
            })?;
            tx.execute(
                "INSERT INTO messages (session, seq, role, state, finish, span_start, span_end,
                     created_ms, body, trail)
                 SELECT ?2, seq, role, state, finish, CASE WHEN span_end <= ?4 THEN span_start END,
                     CASE WHEN span_end <= ?4 THEN span_end END, created_ms, body, trail
                 FROM messages
                 WHERE session = ?1 AND branch IS NULL AND state <> 'withdrawn' AND seq <= ?3
                 ORDER BY seq",
                params![parent.0, id.0, last, cut.at],
            )?;
        }
        chunks::append(&tx, id, 0, tokens)?;
        model_file::inherit(&tx, id, parent)?;
        let session = one(&tx, "id = ?", id.0)?.ok_or_else(|| missing(id))?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(session)
    }
}
