//! A unit of work: everything that changes a conversation, in one transaction. Either all of it
//! is on disk when [`Unit::commit`] returns, or none of it ever was (law 5).

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::Value;

use super::db::{missing, now_ms};
use super::room::Claim;
use super::{
    DbError, MessageId, MessageState, ReceiptSums, Result, SessionId, Span, chunks, fault,
};
use crate::ledger::{Finish, Token};

/// Deepest nesting of stored JSON, which is what the parser reads back.
const DEPTH: usize = 127;

/// An open transaction on one session. Dropped without [`Unit::commit`], it leaves nothing; after
/// any call that failed, it can only be dropped.
pub struct Unit<'a> {
    pub(super) tx: Transaction<'a>,
    pub(super) session: SessionId,
    pub(super) head: usize,
    pub(super) len: usize,
    pub(super) pending: usize,
    failed: bool,
    claim: &'a Claim,
}

impl<'a> Unit<'a> {
    pub(super) fn new(
        tx: Transaction<'a>,
        session: SessionId,
        claim: &'a Claim,
    ) -> Result<Unit<'a>> {
        let (head, pending) = tx
            .prepare_cached("SELECT head, pending FROM sessions WHERE id = ?")?
            .query_row([session.0], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()
            .map_err(|error| {
                let what = "its head or its pending token cannot be read";
                chunks::of(&tx, session, what, error)
            })?
            .ok_or_else(|| missing(session))?;
        let len = chunks::length(&tx, session)?;
        Ok(Unit {
            tx,
            session,
            head,
            len,
            pending,
            failed: false,
            claim,
        })
    }

    /// Length of the ledger in tokens, with what this unit changed.
    pub fn ledger_len(&self) -> usize {
        self.len
    }

    /// Adds a message at the end of the conversation. `body` is the canonical message.
    pub fn add_message(
        &mut self,
        role: &str,
        body: &Value,
        state: MessageState,
    ) -> Result<MessageId> {
        self.step(|unit| {
            let body = unit.json(body)?;
            let id = unit.session.0;
            unit.tx
                .prepare_cached(
                    "INSERT INTO messages (session, seq, role, state, created_ms, body)
                     VALUES (?1, (SELECT coalesce(max(seq) + 1, 0) FROM messages
                                  WHERE session = ?1), ?2, ?3, ?4, ?5)",
                )?
                .execute(params![id, role, state.as_str(), now_ms(), body])?;
            Ok(MessageId(unit.tx.last_insert_rowid()))
        })
    }

    /// Replaces a message's body, as a reply grows.
    pub fn set_body(&mut self, message: MessageId, body: &Value) -> Result<()> {
        self.step(|unit| {
            let body = unit.json(body)?;
            unit.update(message, "body = ?, trail = NULL", params![body])
        })
    }

    /// Marks a message as open, answered or withdrawn.
    pub fn set_state(&mut self, message: MessageId, state: MessageState) -> Result<()> {
        self.step(|unit| unit.update(message, "state = ?", params![state.as_str()]))
    }

    /// Says which tokens of the ledger are a message's. They must exist at the commit.
    pub fn set_span(&mut self, message: MessageId, span: Span) -> Result<()> {
        self.step(|unit| {
            if span.start > span.end {
                let what = format!("a span from {} to {}", span.start, span.end);
                return Err(unit.refused(what));
            }
            let values = params![span.start, span.end];
            unit.update(message, "span_start = ?, span_end = ?", values)
        })
    }

    /// Says why a reply ended.
    pub fn set_finish(&mut self, message: MessageId, finish: Finish) -> Result<()> {
        self.step(|unit| unit.update(message, "finish = ?", params![finish.as_str()]))
    }

    /// Adds tokens at the end of the ledger. `at` is where the caller believes that to be:
    /// [`DbError::Gap`] if it is elsewhere. Costs O(tokens added).
    pub fn append_tokens(&mut self, at: usize, tokens: &[Token]) -> Result<()> {
        self.step(|unit| {
            chunks::append(&unit.tx, unit.session, at, tokens)?;
            unit.len += tokens.len();
            Ok(())
        })
    }

    /// Cuts the ledger back to `len` tokens: a named prefix break, a withdrawn message, a pending
    /// token that takes another form. Spans are cut with it, those wholly behind `len` are
    /// cleared, and nothing is pending any more if a token went. [`DbError::Gap`] past the end,
    /// [`DbError::Frozen`] inside the head.
    pub fn cut_tokens(&mut self, len: usize) -> Result<()> {
        self.step(|unit| {
            let session = unit.session.0;
            if len > unit.len {
                return Err(DbError::Gap {
                    session,
                    stored: unit.len,
                    at: len,
                });
            }
            if len < unit.head {
                return Err(DbError::Frozen {
                    session,
                    head: unit.head,
                    len,
                });
            }
            if len == unit.len {
                return Ok(());
            }
            chunks::cut(&unit.tx, unit.session, len)?;
            unit.tx
                .prepare_cached(
                    "UPDATE messages
                     SET span_end = CASE WHEN span_start < ?2 THEN ?2 END,
                         span_start = CASE WHEN span_start < ?2 THEN span_start END
                     WHERE session = ?1 AND branch IS NULL AND span_end > ?2",
                )?
                .execute(params![session, len])?;
            unit.len = len;
            unit.cut_decoded(len)?;
            unit.store_pending(0)
        })
    }

    /// Says whether the last token of the ledger was sampled and not yet decoded: 0 or 1 tokens.
    /// The mark stays through appends, until this is called again or the token is cut.
    pub fn set_pending(&mut self, n: usize) -> Result<()> {
        self.step(|unit| {
            if n > 1 {
                return Err(unit.refused(format!("{n} tokens pending, at most 1 can be")));
            }
            unit.store_pending(n)
        })
    }

    /// Stores what one model call cost, and adds it to the session's sums. `kind` is `turn`, `fork` or
    /// `idle`.
    pub fn add_receipt(
        &mut self,
        kind: &str,
        finish: Option<Finish>,
        json: &Value,
        usage: &ReceiptSums,
    ) -> Result<()> {
        self.step(|unit| {
            let json = unit.json(json)?;
            let finish = finish.map(Finish::as_str);
            unit.tx
                .prepare_cached(
                    "INSERT INTO receipts (session, kind, finish, created_ms, json)
                     VALUES (?, ?, ?, ?, ?)",
                )?
                .execute(params![unit.session.0, kind, finish, now_ms(), json])?;
            unit.tx
                .prepare_cached(
                    "UPDATE sessions SET calls = calls + ?2, evaluated = evaluated + ?3,
                         restored = restored + ?4, kept = kept + ?5, generated = generated + ?6
                     WHERE id = ?1",
                )?
                .execute(params![
                    unit.session.0,
                    usage.calls,
                    usage.evaluated,
                    usage.restored,
                    usage.kept,
                    usage.generated,
                ])?;
            Ok(())
        })
    }

    /// Stores whether the session thinks, where no version of npast has stored it yet.
    pub fn freeze_thinking(&mut self, thinking: bool) -> Result<()> {
        self.step(|unit| {
            unit.tx
                .prepare_cached(
                    "UPDATE sessions SET thinking = ? WHERE id = ? AND thinking IS NULL",
                )?
                .execute(params![thinking, unit.session.0])?;
            Ok(())
        })
    }

    /// Sets when the session was used last, in Unix milliseconds. A session that is used goes on by
    /// itself: it has no successor any more.
    pub fn touch(&mut self, now_ms: i64) -> Result<()> {
        self.step(|unit| {
            unit.tx
                .prepare_cached("UPDATE sessions SET used_ms = ?, successor = NULL WHERE id = ?")?
                .execute(params![now_ms, unit.session.0])?;
            Ok(())
        })
    }

    /// Makes the unit durable: it is on disk when this returns without error. Refuses a unit in
    /// which a call failed, and one that leaves a span or a pending token outside the ledger.
    pub fn commit(self) -> Result<()> {
        if self.failed {
            return Err(self.refused("an earlier part of it failed".into()));
        }
        if self.pending > self.len {
            return Err(self.refused("a token is pending and the ledger is empty".into()));
        }
        let reach: Option<usize> = self
            .tx
            .prepare_cached(
                "SELECT max(span_end) FROM messages WHERE session = ? AND branch IS NULL",
            )?
            .query_row([self.session.0], |r| r.get(0))
            .map_err(|error| chunks::of(&self.tx, self.session, "a span cannot be read", error))?;
        if let Some(end) = reach.filter(|end| *end > self.len) {
            let what = format!("a span ends at token {end} of {}", self.len);
            return Err(self.refused(what));
        }
        let claim = self.claim;
        claim.note(fault::check(fault::StatementKind::Commit))?;
        claim.note(self.tx.commit().map_err(DbError::from))?;
        fault::made()
    }

    /// Runs one change and remembers if it failed: half a unit must not be committed.
    pub(super) fn step<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let done = fault::check(fault::StatementKind::Write).and_then(|()| change(self));
        let done = done.map_err(|error| match error {
            DbError::Damaged { what, .. } => chunks::damaged(&self.tx, self.session, what),
            error => error,
        });
        self.failed |= done.is_err();
        self.claim.note(done)
    }

    pub(super) fn update(
        &self,
        message: MessageId,
        set: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<()> {
        let sql = format!("UPDATE messages SET {set} WHERE id = ? AND session = ?");
        let ids: [&dyn rusqlite::ToSql; 2] = [&message.0, &self.session.0];
        let all = [values, &ids[..]].concat();
        match self.tx.prepare_cached(&sql)?.execute(all.as_slice())? {
            0 => Err(DbError::NotFound(format!(
                "message {} of session {}",
                message.0, self.session.0
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn store_pending(&mut self, n: usize) -> Result<()> {
        if n != self.pending {
            self.tx
                .prepare_cached("UPDATE sessions SET pending = ? WHERE id = ?")?
                .execute(params![n, self.session.0])?;
            self.pending = n;
        }
        Ok(())
    }

    /// The text of a value that can be read back.
    fn json(&self, value: &Value) -> Result<String> {
        let depth = depth(value);
        if depth > DEPTH {
            let what = format!("JSON nested {depth} deep, at most {DEPTH} can be read back");
            return Err(self.refused(what));
        }
        Ok(value.to_string())
    }

    fn refused(&self, what: String) -> DbError {
        DbError::Refused {
            session: self.session.0,
            what,
        }
    }
}

/// Nesting of arrays and objects; 0 for anything else.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;
