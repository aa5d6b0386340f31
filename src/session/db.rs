//! One connection to npast.db: sessions as wholes, and all that reads. Opening it is in `open`, what
//! changes a conversation in `unit`.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use super::record::first_words;
use super::rows::{self, MESSAGE, SESSION, corrupt, place};
use super::{
    Error, Message, NewSession, Result, Session, SessionId, Summary, Unit, check_name, chunks,
    fault, name,
};
use crate::ledger::Token;

/// Characters of the first user message in a [`Summary`].
const FIRST_WORDS: usize = 80;

/// One connection to the session database. `Send`, so a thread can own it; not shared.
pub struct Db {
    pub(super) conn: Connection,
}

impl Db {
    /// Makes a session with its frozen head as the beginning of its ledger. [`Error::Exists`] if
    /// the name is taken, [`Error::NotFound`] if the parent is gone.
    pub fn create(&self, new: &NewSession<'_>) -> Result<Session> {
        check_name(new.name)?;
        let tools = new.tools.map(Value::to_string);
        let now = now_ms();
        let tx = self.write()?;
        if let Some(parent) = new.parent
            && name_of(&tx, parent)?.is_none()
        {
            return Err(Error::NotFound(format!("the parent session {}", parent.0)));
        }
        tx.execute(
            "INSERT INTO sessions (name, folder, model, class, vocab, template, fingerprint,
                 system, tools, head, started_ms, seed, policy, parent, created_ms, used_ms,
                 runs_tools)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16)",
            params![
                new.name,
                new.folder,
                new.model,
                new.class,
                new.vocab.0,
                new.template.0,
                new.fingerprint.0,
                new.system,
                tools,
                new.head.len(),
                new.started_ms,
                new.seed.cast_signed(),
                new.policy,
                new.parent.map(|p| p.0),
                now,
                new.runs_tools,
            ],
        )
        .map_err(|e| taken(e, new.name))?;
        let id = SessionId(tx.last_insert_rowid());
        chunks::append(&tx, id, 0, new.head)?;
        let session = one(&tx, "id = ?", id.0)?.ok_or_else(|| missing(id))?;
        fault::check(fault::Kind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(session)
    }

    /// The session of this name.
    pub fn find(&self, name: &str) -> Result<Option<Session>> {
        one(&self.conn, "name = ?", name)
    }

    /// The session with this id; [`Error::NotFound`] if it was removed.
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

    /// The session of this folder that was used last.
    pub fn last_in_folder(&self, folder: &str) -> Result<Option<Session>> {
        let last = "folder = ? ORDER BY used_ms DESC, id DESC LIMIT 1";
        one(&self.conn, last, folder)
    }

    /// All sessions, last used first. One that cannot be read is left out, with a warning in the
    /// log that gives its id.
    pub fn list(&self) -> Result<Vec<Summary>> {
        // One snapshot for all queries, whatever others write meanwhile.
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Deferred)?;
        let mut query = tx.prepare_cached(&format!(
            "SELECT {SESSION} FROM sessions ORDER BY used_ms DESC, id DESC"
        ))?;
        let mut rows = query.query([])?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            match Session::read(row).and_then(|session| summary(&tx, session)) {
                Ok(summary) => list.push(summary),
                Err(Error::Corrupt { .. }) => {
                    let id: i64 = row.get("id")?;
                    tracing::warn!(
                        session = id,
                        "a damaged session was left out of the list; `npast sessions rm` removes it"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    /// Gives a session another name. [`Error::Exists`] if it is taken.
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
        fault::check(fault::Kind::Commit)?;
        tx.commit()?;
        fault::made()
    }

    /// Removes a session with its messages, ledger and receipts. Its children stay, without a
    /// parent. KV is not ours: release the pins of this owner as well.
    pub fn remove(&self, id: SessionId) -> Result<()> {
        let tx = self.write()?;
        if tx.execute("DELETE FROM sessions WHERE id = ?", [id.0])? == 0 {
            return Err(missing(id));
        }
        fault::check(fault::Kind::Commit)?;
        tx.commit()?;
        fault::made()
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
    pub fn messages(&self, id: SessionId) -> Result<Vec<Message>> {
        self.messages_after(id, None)
    }

    /// The messages that came after one of them (all without one), in order, without withdrawn
    /// ones. Costs O(messages given).
    pub fn messages_after(
        &self,
        id: SessionId,
        last: Option<super::MessageId>,
    ) -> Result<Vec<Message>> {
        fault::check(fault::Kind::Read)?;
        let place = self.place(id)?;
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {MESSAGE} FROM messages WHERE session = ? AND branch IS NULL AND state <> 'withdrawn' \
             AND seq > coalesce((SELECT seq FROM messages WHERE id = ?), -1) ORDER BY seq"
        ))?;
        let mut rows = query.query((id.0, last.map(|m| m.0)))?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(Message::read(row, &place)?);
        }
        Ok(messages)
    }

    /// The exact tokens, head first. [`Error::Corrupt`] if they are not whole.
    pub fn ledger(&self, id: SessionId) -> Result<Vec<Token>> {
        let head: usize = self.column(id, "head")?;
        let tokens = chunks::read(&self.conn, id)?;
        if tokens.len() < head {
            let what = format!("its head has {head} tokens, its ledger {}", tokens.len());
            return Err(chunks::damaged(&self.conn, id, what));
        }
        Ok(tokens)
    }

    /// How many tokens at the end of the ledger were not decoded: 0 or 1.
    pub fn pending(&self, id: SessionId) -> Result<usize> {
        self.column(id, "pending")
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
            receipts.push(rows::json(&row.get::<_, String>(0)?, &place)?);
        }
        Ok(receipts)
    }

    /// A transaction that may write. It takes the write lock at its beginning: SQLite refuses at once
    /// one that has read, when another process has written since.
    pub(super) fn write(&self) -> Result<Transaction<'_>> {
        fault::check(fault::Kind::Write)?;
        fault::limit(&self.conn)?;
        Ok(Transaction::new_unchecked(
            &self.conn,
            TransactionBehavior::Immediate,
        )?)
    }

    /// Begins a unit of work on a session. It holds the database's only write lock: prepare
    /// first, and never decode while it is open. Waits for another process that has that lock;
    /// [`Error::Interrupted`] if the user ends the wait.
    pub fn begin(&mut self, id: SessionId) -> Result<Unit<'_>> {
        fault::check(fault::Kind::Write)?;
        fault::limit(&self.conn)?;
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        Unit::new(tx, id)
    }

    fn column<T: rusqlite::types::FromSql>(&self, id: SessionId, column: &str) -> Result<T> {
        fault::check(fault::Kind::Read)?;
        self.conn
            .prepare_cached(&format!("SELECT {column} FROM sessions WHERE id = ?"))?
            .query_row([id.0], |r| r.get(0))
            .optional()?
            .ok_or_else(|| missing(id))
    }

    /// How errors name this session; [`Error::NotFound`] if there is none.
    fn place(&self, id: SessionId) -> Result<String> {
        match name_of(&self.conn, id)? {
            Some(name) => Ok(place(id, &name)),
            None => Err(missing(id)),
        }
    }
}

/// Unix milliseconds now.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

pub(super) fn missing(id: SessionId) -> Error {
    Error::NotFound(format!("session {}", id.0))
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
    fault::check(fault::Kind::Read)?;
    let mut query =
        conn.prepare_cached(&format!("SELECT {SESSION} FROM sessions WHERE {condition}"))?;
    let mut rows = query.query([value])?;
    rows.next()?.map(Session::read).transpose()
}

fn summary(conn: &Connection, session: Session) -> Result<Summary> {
    let id = session.id;
    let messages = conn
        .prepare_cached(
            "SELECT count(*) FROM messages
             WHERE session = ? AND branch IS NULL AND state <> 'withdrawn'",
        )?
        .query_row([id.0], |r| r.get(0))?;
    let first: Option<String> = conn
        .prepare_cached(
            "SELECT body FROM messages
             WHERE session = ? AND branch IS NULL AND role = 'user' AND state <> 'withdrawn'
             ORDER BY seq LIMIT 1",
        )?
        .query_row([id.0], |r| r.get(0))
        .optional()?;
    let place = place(id, &session.name);
    let first_words = match first {
        Some(text) => first_words(&rows::json(&text, &place)?, FIRST_WORDS),
        None => String::new(),
    };
    let tokens = chunks::length(conn, id)?;
    if tokens < session.head {
        return Err(corrupt(&place, "its ledger is shorter than its head"));
    }
    Ok(Summary {
        session,
        messages,
        tokens,
        first_words,
    })
}

/// A unique name that is there already, or whatever else the error is.
pub(super) fn taken(error: rusqlite::Error, name: &str) -> Error {
    match &error {
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE =>
        {
            Error::Exists(name.into())
        }
        _ => error.into(),
    }
}

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
