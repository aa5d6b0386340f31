//! Lineage: a session that is continued as another one names that one, its successor. A successor is made
//! together with the name in one transaction, so a crash leaves a session that goes on by itself or one
//! whose successor is whole. Nothing here looks at a clock.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::Value;

use super::db::{insert, missing, one};
use super::{
    Db, DbError, MessageId, MessageState, Result, Session, SessionId, SessionRecord, Span, chunks,
    fault,
};
use crate::ledger::{Finish, Token};

/// How a session continues its parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuation {
    /// A part of the parent's messages was replaced by a summary.
    Compressed,
    /// The parent's messages were rendered under another vocabulary or chat template.
    Rendered,
}

impl Continuation {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Continuation::Compressed => "compressed",
            Continuation::Rendered => "rendered",
        }
    }

    /// The inverse of [`Continuation::as_str`].
    pub fn parse(word: &str) -> Option<Continuation> {
        [Continuation::Compressed, Continuation::Rendered]
            .into_iter()
            .find(|made| made.as_str() == word)
    }
}

/// A message of a session that is about to be made as a successor.
#[derive(Clone, PartialEq, Debug)]
pub struct Carried {
    /// The parent's message that it is, with its time and its marks of calls; `None` for a new one.
    pub of: Option<MessageId>,
    /// `user`, `assistant`, `tool`, `system`.
    pub role: String,
    /// The canonical message.
    pub body: serde_json::Value,
    /// Where it stands.
    pub state: MessageState,
    /// Why a reply ended.
    pub finish: Option<Finish>,
    /// Its tokens in the new ledger.
    pub span: Option<Span>,
}

/// What a successor is made with, beside the row of [`SessionRecord`].
#[derive(Clone, Copy, Debug)]
pub struct Heir<'a> {
    /// How it continues its parent.
    pub made: Continuation,
    /// Its ledger behind the head.
    pub tokens: &'a [Token],
    /// Its messages, in order.
    pub messages: &'a [Carried],
    /// How many tokens at the end of its ledger were not decoded: 0 or 1.
    pub pending: usize,
    /// How many of its first tokens it counts as decoded.
    pub decoded: usize,
    /// Marks of calls (reply as a place among `messages`, call, effect, result), in the place of the
    /// parent's.
    pub runs: &'a [(usize, usize, &'a str, &'a str)],
}

impl Db {
    /// Makes a session and makes it the successor of its parent. [`DbError::NotFound`] when the parent is
    /// gone or none is named, [`DbError::Exists`] if the name is taken, [`DbError::Refused`] where a span or
    /// a count is outside of the new ledger.
    pub fn succeed(&self, new: &SessionRecord<'_>, heir: &Heir<'_>) -> Result<Session> {
        let tx = self.write()?;
        let id = insert(&tx, new)?;
        let parent = new
            .parent
            .ok_or_else(|| DbError::NotFound("a parent".into()))?;
        chunks::append(&tx, id, new.head.len(), heir.tokens)?;
        let len = new.head.len() + heir.tokens.len();
        let outside = heir
            .messages
            .iter()
            .filter_map(|m| m.span)
            .any(|s| s.start > s.end || s.end > len);
        if outside || heir.pending > len.min(1) || heir.decoded > len {
            return Err(DbError::Refused {
                session: id.0,
                what: format!("a span or a count is outside of its {len} tokens"),
            });
        }
        let mut ids = Vec::with_capacity(heir.messages.len());
        for (seq, message) in heir.messages.iter().enumerate() {
            ids.push(carry(&tx, id, seq, message)?);
        }
        for (at, call, effect, result) in heir.runs {
            let reply = ids
                .get(*at)
                .ok_or_else(|| DbError::NotFound(format!("message {at}")))?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO runs (reply, call, effect, started_ms, ok, result)
                 VALUES (?, ?, ?, ?, 1, ?)",
            )?
            .execute(params![reply, call, effect, super::db::now_ms(), result])?;
        }
        tx.prepare_cached(
            "UPDATE sessions SET pending = ?2, decoded = ?3, made = ?4, carried = ?5 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            heir.pending,
            heir.decoded,
            heir.made.as_str(),
            heir.messages.len()
        ])?;
        super::title::inherit(&tx, parent, id)?;
        fault::check(fault::StatementKind::Write)?;
        let named = tx.execute(
            "UPDATE sessions SET successor = ?2 WHERE id = ?1",
            params![parent.0, id.0],
        )?;
        if named == 0 {
            return Err(missing(parent));
        }
        let session = one(&tx, "id = ?", id.0)?.ok_or_else(|| missing(id))?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(session)
    }

    /// Follows the successors of a session: the last of those that `fits` accepts, `from` itself
    /// included; where it accepts none, the last of all.
    pub fn newest(&self, from: Session, fits: &dyn Fn(&Session) -> bool) -> Result<Session> {
        let mut chain = self.continued(from)?;
        let at = chain.iter().rposition(fits).unwrap_or(chain.len() - 1);
        Ok(chain.swap_remove(at))
    }

    /// The sessions that this one continues, oldest first, then itself, then those that continue it. An
    /// ancestor that was removed ends it.
    pub fn lineage(&self, id: SessionId) -> Result<Vec<Session>> {
        let mut chain = self.continued(self.get(id)?)?;
        let mut seen: HashSet<SessionId> = chain.iter().map(|session| session.id).collect();
        let mut before = Vec::new();
        let mut here = chain[0].clone();
        while let (Some(parent), Some(_)) = (here.parent, here.made) {
            let Some(parent) = one(&self.conn, "id = ?", parent.0)?.filter(|p| seen.insert(p.id))
            else {
                break;
            };
            before.push(parent.clone());
            here = parent;
        }
        before.reverse();
        before.append(&mut chain);
        Ok(before)
    }

    /// A session and its successors, in order. Rows that damage made into a circle end it.
    fn continued(&self, from: Session) -> Result<Vec<Session>> {
        let mut seen = HashSet::from([from.id]);
        let mut chain = vec![from];
        while let Some(next) = chain.last().and_then(|session| session.successor) {
            if !seen.insert(next) {
                break;
            }
            match one(&self.conn, "id = ?", next.0)? {
                Some(next) => chain.push(next),
                None => break,
            }
        }
        Ok(chain)
    }
}

impl Db {
    /// The body of a message of a session, or of one that it came from (forks too), whether or not it was taken
    /// back since; nothing where no such message is there.
    pub fn earlier_message(&self, id: SessionId, message: MessageId) -> Result<Option<Value>> {
        let found: Option<(i64, String)> = self
            .conn
            .prepare_cached("SELECT session, body FROM messages WHERE id = ?")?
            .query_row([message.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((session, body)) = found else {
            return Ok(None);
        };
        // Rows that damage made into a circle end it.
        let mut seen = HashSet::new();
        let mut here = Some(id);
        while let Some(id) = here.filter(|id| seen.insert(*id)) {
            if id.0 == session {
                // What damage made of the body is no message.
                return Ok(serde_json::from_str(&body).ok());
            }
            here = one(&self.conn, "id = ?", id.0)?.and_then(|session| session.parent);
        }
        Ok(None)
    }

    /// The sessions whose text may name long results of one that was removed.
    pub fn keepers(&self, gone: SessionId) -> Result<Vec<SessionId>> {
        let mut query = self
            .conn
            .prepare_cached("SELECT session FROM kept_results WHERE gone = ? ORDER BY session")?;
        let ids = query.query_map([gone.0], |row| row.get(0).map(SessionId))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    /// The session whose folder the long results of a session are in: the first of those that were
    /// compressed to it, also where that one was removed since.
    pub fn results_of(&self, id: SessionId) -> Result<SessionId> {
        let chain = self.lineage(id)?;
        let compressed = |session: &Session| session.made == Some(Continuation::Compressed);
        let mut at = chain.iter().position(|session| session.id == id);
        while let Some(here) = at.filter(|here| *here > 0 && compressed(&chain[*here])) {
            at = Some(here - 1);
        }
        let first = at.map(|at| &chain[at]).ok_or_else(|| missing(id))?;
        if !compressed(first) {
            return Ok(first.id);
        }
        // What it continues is gone.
        let gone: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(gone) FROM kept_results WHERE session = ?")?
            .query_row([first.id.0], |row| row.get(0))?;
        Ok(gone.map_or(first.id, SessionId))
    }
}

/// Stores one message of a successor; its row.
fn carry(tx: &Transaction<'_>, id: SessionId, seq: usize, message: &Carried) -> Result<i64> {
    fault::check(fault::StatementKind::Write)?;
    tx.prepare_cached(
        "INSERT INTO messages (session, seq, role, state, finish, span_start, span_end, created_ms,
             body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
             coalesce((SELECT created_ms FROM messages WHERE id = ?8), ?9), ?10)",
    )?
    .execute(params![
        id.0,
        seq,
        message.role,
        message.state.as_str(),
        message.finish.map(Finish::as_str),
        message.span.map(|s| s.start),
        message.span.map(|s| s.end),
        message.of.map(|m| m.0),
        super::db::now_ms(),
        message.body.to_string(),
    ])?;
    let row = tx.last_insert_rowid();
    if let Some(of) = message.of {
        tx.prepare_cached(
            "INSERT INTO runs (reply, call, effect, started_ms, ok, result)
             SELECT ?1, call, effect, started_ms, ok, result FROM runs WHERE reply = ?2",
        )?
        .execute(params![row, of.0])?;
    }
    Ok(row)
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod tests;
