//! One connection to npast.db: sessions as wholes, and all that reads. Opening it is in `open`, what
//! changes a conversation in `unit`.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde_json::Value;

use super::record::first_words;
use super::room::Claim;
use super::rows::{self, MESSAGE, SESSION, damaged, place};
use super::{
    DbError, Result, Session, SessionId, SessionRecord, StoredMessage, Summary, Unit, check_name,
    chunks, fault, kept_results, model_file, name, words,
};
use crate::ledger::Token;

/// Characters of the first user message in a [`Summary`].
const FIRST_WORDS: usize = 80;

/// One connection to the session database. `Send`, so a thread can own it; not shared.
pub struct Db {
    pub(super) conn: Connection,
    pub(super) claim: Claim,
}

impl Db {
    /// Makes a session with its frozen head as the beginning of its ledger. [`DbError::Exists`] if
    /// the name is taken, [`DbError::NotFound`] if the parent is gone.
    pub fn create(&self, new: &SessionRecord<'_>) -> Result<Session> {
        let tx = self.write()?;
        let id = insert(&tx, new)?;
        let session = one(&tx, "id = ?", id.0)?.ok_or_else(|| missing(id))?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(session)
    }

    /// The session of this name.
    pub fn find(&self, name: &str) -> Result<Option<Session>> {
        one(&self.conn, "name = ?", name)
    }

    /// The session with this id; [`DbError::NotFound`] if it was removed.
    pub fn get(&self, id: SessionId) -> Result<Session> {
        one(&self.conn, "id = ?", id.0)?.ok_or_else(|| missing(id))
    }

    /// The id behind a name, also of a session too damaged for [`Db::find`].
    pub fn id_of(&self, name: &str) -> Result<Option<SessionId>> {
        Ok(self
            .conn
            .query_row("SELECT id FROM sessions WHERE name = ?", [name], |r| {
                r.get(0).map(SessionId)
            })
            .optional()?)
    }

    /// The ids of all sessions, of damaged ones too.
    pub fn ids(&self) -> Result<Vec<SessionId>> {
        let mut query = self.conn.prepare("SELECT id FROM sessions ORDER BY id")?;
        let ids = query.query_map([], |row| row.get(0).map(SessionId))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    /// The session of this folder that was used last.
    pub fn last_in_folder(&self, folder: &str) -> Result<Option<Session>> {
        let last = "folder = ? ORDER BY used_ms DESC, id DESC LIMIT 1";
        one(&self.conn, last, folder)
    }

    /// The sessions that can be listed, last used first, without a look at all that they hold:
    /// see [`Db::survey`].
    pub fn list(&self) -> Result<Vec<Summary>> {
        let tx = self.snapshot()?;
        let mut query = tx.prepare_cached(&format!(
            "SELECT {SESSION} FROM sessions ORDER BY used_ms DESC, id DESC"
        ))?;
        let mut rows = query.query([])?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            match Session::read(row).and_then(|session| summary(&tx, session)) {
                Ok(summary) => list.push(summary),
                Err(DbError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    /// Gives a session the name that the user wants. [`DbError::Exists`] if it is taken.
    pub fn rename(&self, id: SessionId, name: &str) -> Result<()> {
        check_name(name)?;
        let tx = self.write()?;
        let changed = tx
            .execute(
                "UPDATE sessions SET name = ? WHERE id = ?",
                params![name, id.0],
            )
            .map_err(|e| taken(e, name))?;
        if changed == 0 {
            return Err(missing(id));
        }
        super::title::forget(&tx, id)?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()
    }

    /// Removes a session with its messages, ledger and receipts, in whatever state they are. Its
    /// children stay, without a parent; the session that it continued is continued by its successor
    /// from then on. KV is not ours: release the pins of this owner as well. Gives the sessions that are
    /// gone and whose long results no text names any more: this one, unless a child of it may.
    pub fn remove(&self, id: SessionId) -> Result<Vec<SessionId>> {
        // Damaged rows may refer to each other in ways that SQLite would not let go.
        self.conn.pragma_update(None, "foreign_keys", false)?;
        let removed = self.remove_rows(id);
        self.conn.pragma_update(None, "foreign_keys", true)?;
        let free = removed?;
        // The session is gone whatever becomes of its words; the next search brings that up to date.
        if let Err(error) = words::forget_removed(&self.conn) {
            tracing::warn!(%error, "the search index still has words of a removed session");
        }
        Ok(free)
    }

    fn remove_rows(&self, id: SessionId) -> Result<Vec<SessionId>> {
        let tx = self.write()?;
        // Before the row goes: a chain of successors closes over the gap.
        self.close_gap(&tx, id)?;
        let mut gone = 0;
        for sql in [
            "DELETE FROM runs WHERE reply IN (SELECT id FROM messages WHERE session = ?)",
            "DELETE FROM plans WHERE session = ?",
            "DELETE FROM messages WHERE session = ?",
            "DELETE FROM chunks WHERE session = ?",
            "DELETE FROM receipts WHERE session = ?",
            "DELETE FROM ways WHERE session = ?",
            "DELETE FROM handles WHERE session = ?",
            "DELETE FROM titles WHERE session = ?",
            "DELETE FROM session_models WHERE session = ?",
            "DELETE FROM branches WHERE session = ?",
            "DELETE FROM sessions WHERE id = ?",
        ] {
            gone += tx.execute(sql, [id.0])?;
        }
        if gone == 0 {
            return Err(missing(id));
        }
        let children: Vec<i64> = tx
            .prepare("SELECT id FROM sessions WHERE parent = ?")?
            .query_map([id.0], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let free = kept_results::hand_on(&tx, id, &children)?;
        for child in children {
            match tx.execute("UPDATE sessions SET parent = NULL WHERE id = ?", [child]) {
                Ok(_) => {}
                // A child whose own row is damaged cannot be changed; its parent is gone all the same.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                }
                Err(error) => return Err(error.into()),
            }
        }
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(free)
    }

    /// A session that named this one as its successor names this one's successor from now on.
    fn close_gap(&self, tx: &Transaction<'_>, id: SessionId) -> Result<()> {
        let heir = "UPDATE sessions SET successor =
                 (SELECT nullif(gone.successor, sessions.id) FROM sessions AS gone WHERE gone.id = ?1)
             WHERE successor = ?1";
        match tx.execute(heir, [id.0]) {
            Ok(_) => Ok(()),
            // A damaged row cannot be changed; the name of a session that is gone leads nowhere.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `base`, or `base-2`, `base-3`, …: the first that is free now. Another process may take it
    /// before [`Db::create`], which then says so.
    pub fn free_name(&self, base: &str) -> Result<String> {
        check_name(base)?;
        let mut free = base.to_string();
        let mut n = 2;
        while self.id_of(&free)?.is_some() {
            free = name::numbered(base, n);
            n += 1;
        }
        Ok(free)
    }

    /// The messages in order, without withdrawn ones.
    pub fn messages(&self, id: SessionId) -> Result<Vec<StoredMessage>> {
        // By its type: SQLite takes `IS NULL` of a column that is NOT NULL for false.
        let nowhere = "SELECT 1 FROM messages
             WHERE session = ? AND (typeof(seq) <> 'integer' OR seq < 0)";
        if self.conn.prepare_cached(nowhere)?.exists([id.0])? {
            let what = "the place of a message cannot be read";
            return Err(chunks::damaged(&self.conn, id, what.into()));
        }
        self.messages_after(id, None)
    }

    /// The messages that came after one of them (all without one), in order, without withdrawn
    /// ones. Costs O(messages given).
    pub fn messages_after(
        &self,
        id: SessionId,
        last: Option<super::MessageId>,
    ) -> Result<Vec<StoredMessage>> {
        fault::check(fault::StatementKind::Read)?;
        let place = self.place(id)?;
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {MESSAGE} FROM messages WHERE session = ? AND branch IS NULL AND state IS NOT 'withdrawn' \
             AND seq > coalesce((SELECT seq FROM messages WHERE id = ?), -1) ORDER BY seq"
        ))?;
        let mut rows = query.query((id.0, last.map(|m| m.0)))?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(StoredMessage::read(row, &place)?);
        }
        Ok(messages)
    }

    /// The exact tokens, head first. [`DbError::Damaged`] if they are not whole, or the head or a
    /// message's span reaches past them.
    pub fn ledger(&self, id: SessionId) -> Result<Vec<Token>> {
        let head: usize = self.column(id, "head")?;
        let tokens = chunks::read(&self.conn, id)?;
        if tokens.len() < head {
            let what = format!("its head has {head} tokens, its ledger {}", tokens.len());
            return Err(chunks::damaged(&self.conn, id, what));
        }
        let reach: Option<usize> = self
            .conn
            .prepare_cached(
                "SELECT max(span_end) FROM messages WHERE session = ? AND branch IS NULL",
            )?
            .query_row([id.0], |row| row.get(0))
            .map_err(|error| chunks::of(&self.conn, id, "a span cannot be read", error))?;
        if let Some(end) = reach.filter(|end| *end > tokens.len()) {
            let what = format!(
                "a message's tokens end at {end}, its ledger at {}",
                tokens.len()
            );
            return Err(chunks::damaged(&self.conn, id, what));
        }
        Ok(tokens)
    }

    /// Tokens of the ledger, without reading them.
    pub fn length(&self, id: SessionId) -> Result<usize> {
        chunks::length(&self.conn, id)
    }

    /// How many tokens at the end of the ledger were not decoded: 0 or 1.
    pub fn pending(&self, id: SessionId) -> Result<usize> {
        let pending: usize = self.column(id, "pending")?;
        if pending > 1 || pending > chunks::length(&self.conn, id)? {
            let what = format!("{pending} tokens are said to be pending");
            return Err(chunks::damaged(&self.conn, id, what));
        }
        Ok(pending)
    }

    /// The receipts of a session, oldest first.
    pub fn receipts(&self, id: SessionId) -> Result<Vec<Value>> {
        let place = self.place(id)?;
        let mut query = self
            .conn
            .prepare_cached("SELECT json FROM receipts WHERE session = ? ORDER BY id")?;
        let mut rows = query.query([id.0])?;
        let mut receipts = Vec::new();
        while let Some(row) = rows.next()? {
            let json: String = rows::column(row, "json", &place)?;
            receipts.push(rows::json(&json, &place)?);
        }
        Ok(receipts)
    }

    /// Whether the receipt of the session's last own call says that the state was approximate. Receipts that are
    /// no JSON are passed over.
    pub fn was_approximate(&self, id: SessionId) -> Result<bool> {
        let said: Option<Option<bool>> = self
            .conn
            .prepare_cached(
                "SELECT json_extract(json, '$.approximate') FROM receipts
                 WHERE session = ? AND kind <> 'fork'
                     AND CASE WHEN json_valid(json) THEN json_extract(json, '$.call') <> 0 END
                 ORDER BY id DESC LIMIT 1",
            )?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        Ok(said.flatten().unwrap_or(false))
    }

    /// A transaction that may write. It takes the write lock at its beginning: SQLite refuses at once
    /// one that has read, when another process has written since.
    pub(super) fn write(&self) -> Result<Transaction<'_>> {
        self.claim.assert();
        fault::check(fault::StatementKind::Write)?;
        fault::limit(&self.conn)?;
        Ok(Transaction::new_unchecked(
            &self.conn,
            TransactionBehavior::Immediate,
        )?)
    }

    /// Begins a unit of work on a session. It holds the database's only write lock: prepare
    /// first, and never decode while it is open. Waits for another process that has that lock;
    /// [`DbError::Interrupted`] if the user ends the wait.
    pub fn begin(&mut self, id: SessionId) -> Result<Unit<'_>> {
        self.claim.assert();
        fault::check(fault::StatementKind::Write)?;
        fault::limit(&self.conn)?;
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        Unit::new(tx, id, &self.claim)
    }

    fn column<T: rusqlite::types::FromSql>(&self, id: SessionId, column: &str) -> Result<T> {
        fault::check(fault::StatementKind::Read)?;
        self.conn
            .prepare_cached(&format!("SELECT {column} FROM sessions WHERE id = ?"))?
            .query_row([id.0], |r| r.get(0))
            .optional()
            .map_err(|error| {
                chunks::of(
                    &self.conn,
                    id,
                    &format!("its {column} cannot be read"),
                    error,
                )
            })?
            .ok_or_else(|| missing(id))
    }

    /// How errors name this session; [`DbError::NotFound`] if there is none.
    pub(super) fn place(&self, id: SessionId) -> Result<String> {
        match name_of(&self.conn, id) {
            Ok(Some(name)) => Ok(place(id, Some(&name))),
            Ok(None) => Err(missing(id)),
            Err(DbError::Damaged { .. }) => Ok(place(id, None)),
            Err(error) => Err(error),
        }
    }

    /// One snapshot for several queries, whatever others write meanwhile.
    pub(super) fn snapshot(&self) -> Result<Transaction<'_>> {
        Ok(Transaction::new_unchecked(
            &self.conn,
            TransactionBehavior::Deferred,
        )?)
    }
}

/// Stores the row of a session and its head.
pub(super) fn insert(tx: &Transaction<'_>, new: &SessionRecord<'_>) -> Result<SessionId> {
    check_name(new.name)?;
    if let Some(parent) = new.parent
        && name_of(tx, parent)?.is_none()
    {
        return Err(DbError::NotFound(format!(
            "the parent session {}",
            parent.0
        )));
    }
    tx.execute(
        "INSERT INTO sessions (name, folder, model, class, vocab, template, fingerprint,
             system, tools, head, started_ms, seed, policy, parent, created_ms, used_ms,
             runs_tools, thinking, shift, preface, common)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16,
             ?17, ?18, ?19, ?20)",
        params![
            new.name,
            new.folder,
            new.model,
            new.class,
            new.vocab.0,
            new.template.0,
            new.fingerprint.0,
            new.system,
            new.tools.map(Value::to_string),
            new.head.len(),
            new.started_ms,
            new.seed.cast_signed(),
            new.policy,
            new.parent.map(|p| p.0),
            now_ms(),
            new.runs_tools,
            new.thinking,
            new.shift,
            new.preface,
            new.common,
        ],
    )
    .map_err(|e| taken(e, new.name))?;
    let id = SessionId(tx.last_insert_rowid());
    chunks::append(tx, id, 0, new.head)?;
    if let Some(parent) = new.parent {
        model_file::inherit(tx, id, parent)?;
    }
    Ok(id)
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

pub(super) fn missing(id: SessionId) -> DbError {
    DbError::NotFound(format!("session {}", id.0))
}

fn name_of(conn: &Connection, id: SessionId) -> Result<Option<String>> {
    Ok(conn
        .prepare_cached("SELECT name FROM sessions WHERE id = ?")?
        .query_row([id.0], |r| r.get(0))
        .optional()?)
}

pub(super) fn one(
    conn: &Connection,
    condition: &str,
    value: impl rusqlite::ToSql,
) -> Result<Option<Session>> {
    fault::check(fault::StatementKind::Read)?;
    let mut query =
        conn.prepare_cached(&format!("SELECT {SESSION} FROM sessions WHERE {condition}"))?;
    let mut rows = query.query([value])?;
    rows.next()?.map(Session::read).transpose()
}

pub(super) fn summary(conn: &Connection, session: Session) -> Result<Summary> {
    let id = session.id;
    let messages = conn
        .prepare_cached(
            "SELECT count(*) FROM messages
             WHERE session = ? AND branch IS NULL AND state IS NOT 'withdrawn'",
        )?
        .query_row([id.0], |r| r.get(0))?;
    let first: Option<String> = conn
        .prepare_cached(
            "SELECT body FROM messages
             WHERE session = ? AND branch IS NULL AND role = 'user' AND state <> 'withdrawn'
             ORDER BY seq LIMIT 1",
        )?
        .query_row([id.0], |r| r.get(0))
        .optional()
        .map_err(|error| chunks::of(conn, id, "its first message cannot be read", error))?;
    let place = place(id, Some(&session.name));
    let first_words = match first {
        Some(text) => first_words(&rows::json(&text, &place)?, FIRST_WORDS),
        None => String::new(),
    };
    let title = super::title::title(conn, id)?;
    let tokens = chunks::length(conn, id)?;
    if tokens < session.head {
        return Err(damaged(&place, "its ledger is shorter than its head"));
    }
    Ok(Summary {
        session,
        messages,
        tokens,
        first_words,
        title,
    })
}

/// A unique name that is there already, or whatever else the error is.
pub(super) fn taken(error: rusqlite::Error, name: &str) -> DbError {
    match &error {
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE =>
        {
            DbError::Exists(name.into())
        }
        _ => error.into(),
    }
}

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
