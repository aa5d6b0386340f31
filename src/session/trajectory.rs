//! A session as a whole, as it leaves this database or comes into it: its row, its conversation with the
//! exact tokens, and its receipts. Branches, withdrawn messages and marks of calls stay where they are.
//! All sessions of one import are one transaction.

use rusqlite::{Transaction, params};

use super::db::{missing, one};
use super::rows;
use super::{Db, DbError, Result, Session, SessionId, StoredMessage, chunks, fault};
use crate::ledger::{Digest, Finish, Token};

/// The vocabulary of a session that has messages and no tokens: no model has it, so its first opening
/// renders the messages.
pub const NO_VOCABULARY: Digest = Digest([0; 32]);

/// A session as a whole. What [`Db::import`] makes of one has other ids.
#[derive(Clone, PartialEq, Debug)]
pub struct Trajectory {
    /// Its row.
    pub session: Session,
    /// The conversation, without withdrawn messages.
    pub messages: Vec<StoredMessage>,
    /// The exact tokens, head first.
    pub tokens: Vec<Token>,
    /// Tokens at the end that were not decoded: 0 or 1.
    pub pending: usize,
    /// The first tokens that were decoded; `None` where that was not counted.
    pub decoded: Option<usize>,
    /// What its model calls cost, oldest first.
    pub receipts: Vec<Recorded>,
}

/// A stored receipt.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// `turn`, `fork` or `idle`.
    pub kind: String,
    /// Why the call ended.
    pub finish: Option<Finish>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// What it cost.
    pub json: serde_json::Value,
}

impl Db {
    /// All of a session, as of one moment. [`DbError::Damaged`] where a part of it cannot be read.
    pub fn trajectory(&self, id: SessionId) -> Result<Trajectory> {
        let _moment = self.snapshot()?;
        self.check(id)?;
        let (mut session, mut messages) = (self.get(id)?, self.messages(id)?);
        // Messages that were withdrawn leave holes, which an import closes.
        session.carried = messages
            .iter()
            .filter(|message| message.seq < session.carried)
            .count();
        for (seq, message) in messages.iter_mut().enumerate() {
            message.seq = seq;
        }
        Ok(Trajectory {
            session,
            messages,
            tokens: self.ledger(id)?,
            pending: self.pending(id)?,
            decoded: self.decoded(id)?,
            receipts: self.recorded(id)?,
        })
    }

    fn recorded(&self, id: SessionId) -> Result<Vec<Recorded>> {
        let place = self.place(id)?;
        let mut query = self.conn.prepare_cached(
            "SELECT kind, finish, created_ms, json FROM receipts WHERE session = ? ORDER BY id",
        )?;
        let mut rows = query.query([id.0])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let json: String = rows::column(row, "json", &place)?;
            let finish: Option<String> = rows::column(row, "finish", &place)?;
            all.push(Recorded {
                kind: rows::column(row, "kind", &place)?,
                finish: finish.as_deref().and_then(Finish::parse),
                created_ms: rows::column(row, "created_ms", &place)?,
                json: rows::json(&json, &place)?,
            });
        }
        Ok(all)
    }

    /// Begins an import. It holds the database's only write lock.
    pub fn import(&self) -> Result<Import<'_>> {
        Ok(Import {
            tx: self.write()?,
            db: self,
        })
    }
}

/// Sessions that are being stored, in one transaction. Dropped without [`Import::commit`], it leaves
/// nothing.
pub struct Import<'a> {
    tx: Transaction<'a>,
    db: &'a Db,
}

impl Import<'_> {
    /// A name that is free now, as [`Db::free_name`] gives it, among those of this import too.
    pub fn free_name(&self, base: &str) -> Result<String> {
        self.db.free_name(base)
    }

    /// Stores a session under its name, which must be free ([`DbError::Exists`]). It has this parent and no
    /// successor; ids and digests of conversations are made anew. [`DbError::Damaged`] where it is not a
    /// session that could be opened.
    pub fn add(&mut self, whole: &Trajectory, parent: Option<SessionId>) -> Result<Session> {
        fault::check(fault::StatementKind::Write)?;
        let row = &whole.session;
        let id = super::db::insert(
            &self.tx,
            &super::SessionRecord {
                name: &row.name,
                folder: &row.folder,
                model: &row.model,
                class: &row.class,
                vocab: row.vocab,
                template: row.template,
                fingerprint: row.fingerprint,
                system: row.system.as_deref(),
                tools: row.tools.as_ref(),
                preface: row.preface.as_deref(),
                head: whole.tokens.get(..row.head).unwrap_or_default(),
                common: row.common,
                started_ms: row.started_ms,
                seed: row.seed,
                policy: &row.policy,
                parent,
                runs_tools: row.runs_tools,
                thinking: row.thinking.unwrap_or_default(),
                shift: row.shift,
            },
        )?;
        let rest = whole.tokens.get(row.head..).unwrap_or_default();
        chunks::append(&self.tx, id, row.head.min(whole.tokens.len()), rest)?;
        self.tx
            .prepare_cached(
                "UPDATE sessions SET head = ?2, pending = ?3, decoded = ?4, thinking = ?5,
                     created_ms = ?6, used_ms = ?7, calls = ?8, evaluated = ?9, restored = ?10,
                     kept = ?11, generated = ?12, tries = ?13, forked = ?14, made = ?15, carried = ?16
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                row.head,
                whole.pending,
                whole.decoded,
                row.thinking,
                row.created_ms,
                row.used_ms,
                row.usage.calls,
                row.usage.evaluated,
                row.usage.restored,
                row.usage.kept,
                row.usage.generated,
                row.tries,
                row.forked,
                row.made.map(super::Continuation::as_str),
                row.carried,
            ])?;
        for (seq, message) in whole.messages.iter().enumerate() {
            fault::check(fault::StatementKind::Write)?;
            self.tx
                .prepare_cached(
                    "INSERT INTO messages (session, seq, role, state, finish, span_start, span_end,
                         created_ms, body)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    id.0,
                    seq,
                    message.role,
                    message.state.as_str(),
                    message.finish.map(Finish::as_str),
                    message.span.map(|s| s.start),
                    message.span.map(|s| s.end),
                    message.created_ms,
                    message.body.to_string(),
                ])?;
        }
        for one in &whole.receipts {
            fault::check(fault::StatementKind::Write)?;
            self.tx
                .prepare_cached(
                    "INSERT INTO receipts (session, kind, finish, created_ms, json)
                     VALUES (?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    id.0,
                    one.kind,
                    one.finish.map(Finish::as_str),
                    one.created_ms,
                    one.json.to_string(),
                ])?;
        }
        // By the same rules as a session that npast wrote itself.
        self.db.check(id)?;
        one(&self.tx, "id = ?", id.0)?.ok_or_else(|| missing(id))
    }

    /// Makes `next` the successor of `before`. Both are of this import.
    pub fn continues(&mut self, before: SessionId, next: SessionId) -> Result<()> {
        fault::check(fault::StatementKind::Write)?;
        let named = self.tx.execute(
            "UPDATE sessions SET successor = ?2 WHERE id = ?1",
            params![before.0, next.0],
        )?;
        match named {
            0 => Err(missing(before)),
            _ => Ok(()),
        }
    }

    /// Makes all of it durable.
    pub fn commit(self) -> Result<()> {
        fault::check(fault::StatementKind::Commit)?;
        self.tx.commit().map_err(DbError::from)?;
        fault::made()
    }
}
