//! Branches: what undo, retry and edit take off the end of a conversation stays, messages and
//! tokens, and can be put back. A conversation and its branches are a tree: each branch says which
//! message it follows, and which branch that message is on. Taking off and putting back are each
//! one change of a [`Unit`], so that a crash leaves the one or the other (law 5).

use rusqlite::{OptionalExtension, Row, params};

use super::db::now_ms;
use super::rows::{MESSAGE, column, damaged};
use super::{Db, DbError, MessageId, Result, SessionId, StoredMessage, Unit, chunks};
use crate::ledger::{Digest, Token};

/// A branch's row. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BranchId(pub i64);

/// Why a branch was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Turns were taken back.
    Undo,
    /// The user wanted another reply.
    Retry,
    /// A message was replaced.
    Edit,
    /// Another branch was put back in its place.
    Redo,
    /// A client sent another history.
    History,
}

impl Why {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Undo => "undo",
            Why::Retry => "retry",
            Why::Edit => "edit",
            Why::Redo => "redo",
            Why::History => "history",
        }
    }

    /// The inverse of [`Why::as_str`].
    pub fn parse(word: &str) -> Option<Why> {
        [Why::Undo, Why::Retry, Why::Edit, Why::Redo, Why::History]
            .into_iter()
            .find(|w| w.as_str() == word)
    }
}

/// A place where a conversation can be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutPoint {
    /// The last message that stays; `None` leaves the head alone.
    pub after: Option<MessageId>,
    /// Tokens of the ledger that stay.
    pub at: usize,
    /// How many of them, at the end, count as not decoded: 0 or 1.
    pub pending: usize,
}

/// A branch, without its messages and tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its row.
    pub id: BranchId,
    /// The branch that it goes off from; `None` when that is the conversation itself.
    pub parent: Option<BranchId>,
    /// The message that it follows.
    pub after: Option<MessageId>,
    /// Tokens of the ledger that it follows.
    pub at: usize,
    /// Tokens of its own.
    pub tokens: usize,
    /// Why it was left.
    pub why: Why,
    /// Unix milliseconds when it was left.
    pub created_ms: i64,
}

const BRANCH: &str = "id, parent, after, at, length(tokens) AS bytes, why, created_ms";

impl Branch {
    pub(super) fn read(row: &Row<'_>, place: &str) -> Result<Branch> {
        let id: i64 = row.get("id")?;
        let bad = |what: &str| damaged(place, format!("branch {id} has {what}"));
        macro_rules! field {
            ($name:literal) => {
                column(row, $name, place)
                    .map_err(|_| bad(concat!("a column ", $name, " that cannot be read")))?
            };
        }
        let (why, bytes): (String, usize) = (field!("why"), field!("bytes"));
        let (parent, after): (Option<i64>, Option<i64>) = (field!("parent"), field!("after"));
        if bytes % 4 != 0 {
            return Err(bad("half a token"));
        }
        Ok(Branch {
            id: BranchId(id),
            parent: parent.map(BranchId),
            after: after.map(MessageId),
            at: field!("at"),
            tokens: bytes / 4,
            why: Why::parse(&why).ok_or_else(|| bad("an unknown reason"))?,
            created_ms: field!("created_ms"),
        })
    }
}

impl Db {
    /// The branches that were left, in the order in which they were.
    pub fn branches(&self, id: SessionId) -> Result<Vec<Branch>> {
        let place = self.place(id)?;
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {BRANCH} FROM branches WHERE session = ? ORDER BY id"
        ))?;
        let mut rows = query.query([id.0])?;
        let mut branches = Vec::new();
        while let Some(row) = rows.next()? {
            branches.push(Branch::read(row, &place)?);
        }
        Ok(branches)
    }

    /// The messages of a branch in order, without withdrawn ones.
    pub fn branch_messages(&self, id: SessionId, branch: BranchId) -> Result<Vec<StoredMessage>> {
        let place = self.place(id)?;
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {MESSAGE} FROM messages WHERE session = ? AND branch = ? \
             AND state IS NOT 'withdrawn' ORDER BY seq"
        ))?;
        let mut rows = query.query([id.0, branch.0])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(StoredMessage::read(row, &place)?);
        }
        Ok(messages)
    }
}

impl Unit<'_> {
    /// Takes what follows a cut off the conversation and keeps it as a branch; branches that went
    /// off from there go off from it. A message before the cut whose tokens reach over it has none
    /// any more. [`DbError::NotFound`] when the message is not in the conversation, [`DbError::Gap`]
    /// past the end, [`DbError::Frozen`] inside the head. Costs O(ledger).
    pub fn abandon(&mut self, cut: CutPoint, why: Why) -> Result<BranchId> {
        self.step(|unit| unit.take_off(cut, why))
    }

    /// Puts a branch back; what stands in its place is taken off. [`DbError::Branch`] when it goes
    /// off from another branch, or what it followed was rewritten since.
    pub fn reattach(&mut self, branch: BranchId) -> Result<()> {
        self.step(|unit| unit.put_back(branch))
    }

    fn take_off(&mut self, cut: CutPoint, why: Why) -> Result<BranchId> {
        let session = self.session.0;
        if cut.at > self.len {
            return Err(DbError::Gap {
                session,
                stored: self.len,
                at: cut.at,
            });
        }
        if cut.at < self.head {
            return Err(DbError::Frozen {
                session,
                head: self.head,
                len: cut.at,
            });
        }
        let after = self.place_of(cut.after)?;
        let ledger = chunks::read(&self.tx, self.session)?;
        let (stays, goes) = ledger.split_at(cut.at);
        self.tx
            .prepare_cached(
                "INSERT INTO branches
                     (session, after, at, prefix, pending, why, created_ms, tokens, decoded)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                     (SELECT max(decoded - ?3, 0) FROM sessions WHERE id = ?1))",
            )?
            .execute(params![
                session,
                cut.after.map(|m| m.0),
                cut.at,
                digest(stays).0,
                self.pending,
                why.as_str(),
                now_ms(),
                Token::to_bytes(goes),
            ])?;
        let branch = self.tx.last_insert_rowid();
        // Branches at the same message stay beside it.
        self.tx
            .prepare_cached(
                "UPDATE branches SET parent = ?2
                 WHERE session = ?1 AND parent IS NULL AND id <> ?2 AND after IN
                     (SELECT id FROM messages
                      WHERE session = ?1 AND branch IS NULL AND seq > ?3)",
            )?
            .execute(params![session, branch, after])?;
        self.tx
            .prepare_cached(
                "UPDATE messages SET branch = ?2
                 WHERE session = ?1 AND branch IS NULL AND seq > ?3",
            )?
            .execute(params![session, branch, after])?;
        // Half of a message's tokens would be read as a shorter message.
        self.tx
            .prepare_cached(
                "UPDATE messages SET span_start = NULL, span_end = NULL
                 WHERE session = ?1 AND branch IS NULL AND span_end > ?2",
            )?
            .execute(params![session, cut.at])?;
        chunks::cut(&self.tx, self.session, cut.at)?;
        self.len = cut.at;
        self.cut_decoded(cut.at)?;
        self.store_pending(cut.pending)?;
        Ok(BranchId(branch))
    }

    fn put_back(&mut self, branch: BranchId) -> Result<()> {
        let session = self.session.0;
        type Found = (
            Option<i64>,
            Option<i64>,
            usize,
            Vec<u8>,
            usize,
            Vec<u8>,
            Option<usize>,
        );
        let found: Option<Found> = self
            .tx
            .prepare_cached(
                "SELECT parent, after, at, prefix, pending, tokens, decoded FROM branches
                 WHERE session = ? AND id = ?",
            )?
            .query_row([session, branch.0], |r| {
                Ok((
                    r.get(0)?,
                    r.get(1)?,
                    r.get(2)?,
                    r.get(3)?,
                    r.get(4)?,
                    r.get(5)?,
                    r.get(6)?,
                ))
            })
            .optional()
            .map_err(|error| {
                let what = format!("branch {} cannot be read", branch.0);
                chunks::of(&self.tx, self.session, &what, error)
            })?;
        let Some((parent, after, at, prefix, pending, tokens, decoded)) = found else {
            return Err(DbError::Branch(format!("there is no branch {}", branch.0)));
        };
        if pending > 1 {
            let what = format!("branch {} says that {pending} tokens are pending", branch.0);
            return Err(chunks::damaged(&self.tx, self.session, what));
        }
        if let Some(parent) = parent {
            return Err(DbError::Branch(format!(
                "branch {} goes off from branch {parent}, which must be put back first",
                branch.0
            )));
        }
        let after = after.map(MessageId);
        let place = self.place_of(after)?;
        let ledger = chunks::read(&self.tx, self.session)?;
        let same = ledger.get(..at).is_some_and(|l| digest(l).0[..] == prefix);
        let tokens = Token::from_bytes(&tokens).filter(|_| same).ok_or_else(|| {
            DbError::Branch(format!(
                "what branch {} followed was rewritten since, so it cannot be put back",
                branch.0
            ))
        })?;
        let followed = self
            .tx
            .prepare_cached(
                "SELECT 1 FROM messages WHERE session = ? AND branch IS NULL AND seq > ?",
            )?
            .exists(params![session, place])?;
        if followed || self.len > at {
            let cut = CutPoint {
                after,
                at,
                pending: 0,
            };
            self.take_off(cut, Why::Redo)?;
        }
        chunks::append(&self.tx, self.session, at, &tokens)?;
        self.len = at + tokens.len();
        let decoded = decoded.unwrap_or(tokens.len().saturating_sub(pending));
        if decoded > 0 {
            // And all before it, or nothing of it could have been.
            self.set_decoded(at + decoded)?;
        }
        let first: Option<String> = self
            .tx
            .prepare_cached("SELECT role FROM messages WHERE branch = ? ORDER BY seq LIMIT 1")?
            .query_row([branch.0], |r| r.get(0))
            .optional()?;
        if first.as_deref() == Some("assistant") {
            // The reply is back, so what it answers is answered.
            self.tx
                .prepare_cached(
                    "UPDATE messages SET state = 'answered'
                     WHERE session = ? AND branch IS NULL AND state = 'open'",
                )?
                .execute([session])?;
        }
        for sql in [
            "UPDATE messages SET branch = NULL WHERE branch = ?",
            "UPDATE branches SET parent = NULL WHERE parent = ?",
            "DELETE FROM branches WHERE id = ?",
        ] {
            self.tx.prepare_cached(sql)?.execute([branch.0])?;
        }
        self.store_pending(pending)
    }

    /// Counts one more try: the next reply is drawn from another seed. Gives the count.
    pub fn add_try(&mut self) -> Result<u64> {
        self.step(|unit| {
            Ok(unit
                .tx
                .prepare_cached(
                    "UPDATE sessions SET tries = tries + 1 WHERE id = ? RETURNING tries",
                )?
                .query_row([unit.session.0], |r| r.get(0))?)
        })
    }

    /// The order of a message of the conversation; -1 for none.
    fn place_of(&self, message: Option<MessageId>) -> Result<i64> {
        let Some(message) = message else {
            return Ok(-1);
        };
        let seq = self
            .tx
            .prepare_cached(
                "SELECT seq FROM messages WHERE id = ? AND session = ? AND branch IS NULL",
            )?
            .query_row([message.0, self.session.0], |r| r.get(0))
            .optional()
            .map_err(|error| {
                let what = "the place of a message cannot be read";
                chunks::of(&self.tx, self.session, what, error)
            })?;
        seq.ok_or_else(|| {
            DbError::NotFound(format!(
                "message {} of session {}",
                message.0, self.session.0
            ))
        })
    }
}

fn digest(tokens: &[Token]) -> Digest {
    Digest::of(&Token::to_bytes(tokens))
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
