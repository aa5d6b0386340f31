//! Sessions that are damaged: which they are, and what of them can still be read. One session's damage
//! is no other session's: nothing here fails because of it, unless SQLite itself cannot read the file.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde_json::{Value, json};

use super::db::summary;
use super::rows::{MESSAGE, SESSION, damaged, handle, place};
use super::{
    Branch, BranchId, Db, DbError, MessageId, MessageState, Result, Session, SessionId,
    StoredMessage, Summary, chunks,
};
use crate::ledger::Token;

/// A session of which not everything can be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Its id.
    pub id: SessionId,
    /// Its name; `id:N` where that cannot be read. Both are taken by [`Db::known_as`].
    pub name: String,
    /// The first thing that was found.
    pub what: String,
}

/// All sessions, each in one of the lists.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Survey {
    /// Those that can be read whole, last used first.
    pub whole: Vec<Summary>,
    /// The others, oldest first.
    pub damaged: Vec<Damaged>,
}

/// A message as far as it can be read.
#[derive(Clone, PartialEq, Debug)]
pub struct SalvagedMessage {
    /// What cannot be read of it is empty, and named in [`Salvage::missing`].
    pub message: StoredMessage,
    /// The branch that it is on; `None` in the conversation.
    pub branch: Option<BranchId>,
}

/// What can be read of a session.
#[derive(Clone, PartialEq, Debug)]
pub struct Salvage {
    /// As in [`Damaged::name`].
    pub name: String,
    /// Its row, if that can be read.
    pub session: Option<Session>,
    /// The system prompt, if that can be read.
    pub system: Option<String>,
    /// Messages in order, without withdrawn ones.
    pub messages: Vec<SalvagedMessage>,
    /// The ledger's tokens up to the first damage.
    pub tokens: Vec<Token>,
    /// What cannot be read, a sentence each; empty for a session that is whole.
    pub missing: Vec<String>,
}

impl Db {
    /// Reads every session and says which of them are damaged. Costs O(all that is stored).
    pub fn survey(&self) -> Result<Survey> {
        let tx = self.snapshot()?;
        let mut query = tx.prepare_cached(&format!(
            "SELECT {SESSION} FROM sessions ORDER BY used_ms DESC, id DESC"
        ))?;
        let mut rows = query.query([])?;
        let mut survey = Survey::default();
        while let Some(row) = rows.next()? {
            let id = SessionId(row.get("id")?);
            let name: Option<String> = row.get("name").ok();
            let read = Session::read(row)
                .and_then(|session| summary(&tx, session))
                .and_then(|summary| self.check(id).map(|()| summary));
            match read {
                Ok(summary) => survey.whole.push(summary),
                Err(DbError::Damaged { what, .. }) => survey.damaged.push(Damaged {
                    id,
                    name: name.unwrap_or_else(|| handle(id)),
                    what,
                }),
                Err(error) => return Err(error),
            }
        }
        for id in orphans(&tx)? {
            survey.damaged.push(Damaged {
                id,
                name: handle(id),
                what: "its own row is gone, and others refer to it".into(),
            });
        }
        survey.damaged.sort_by_key(|d| d.id);
        Ok(survey)
    }

    /// Whether everything of a session can be read. [`DbError::Damaged`] with the first thing that
    /// cannot.
    pub fn check(&self, id: SessionId) -> Result<()> {
        let session = self.get(id)?;
        let messages = self.messages(id)?;
        self.ledger(id)?;
        self.pending(id)?;
        self.receipts(id)?;
        let branches = self.branches(id)?;
        for branch in &branches {
            self.branch_messages(id, branch.id)?;
        }
        let place = place(id, Some(&session.name));
        if let Some(what) = wrong_tree(&branches) {
            return Err(damaged(&place, what));
        }
        let lost: usize = self.conn.query_row(LOST, [id.0], |row| row.get(0))?;
        if lost > 0 {
            let what = format!("{lost} of its messages are on a branch that is gone");
            return Err(damaged(&place, what));
        }
        for reply in messages.iter().filter(|m| m.role == "assistant") {
            self.runs(reply.id)?;
        }
        Ok(())
    }

    /// The session of this name, or with this id (`id:N`), whatever state it is in.
    pub fn known_as(&self, name: &str) -> Result<Option<SessionId>> {
        if let Some(id) = self.id_of(name)? {
            return Ok(Some(id));
        }
        let id = name.strip_prefix("id:").and_then(|n| n.parse().ok());
        let Some(id) = id.map(SessionId) else {
            return Ok(None);
        };
        let known = self.ids()?.contains(&id) || orphans(&self.conn)?.contains(&id);
        Ok(known.then_some(id))
    }

    /// Everything of a session that can be read, and what cannot.
    pub fn salvage(&self, id: SessionId) -> Result<Salvage> {
        let tx = self.snapshot()?;
        let mut missing = Vec::new();
        let mut note = |error: DbError| match error {
            DbError::Damaged { what, .. } => {
                missing.push(what);
                Ok(())
            }
            error => Err(error),
        };
        let mut query =
            tx.prepare_cached(&format!("SELECT {SESSION} FROM sessions WHERE id = ?"))?;
        let mut rows = query.query([id.0])?;
        let (mut session, mut name, mut system) = (None, None, None);
        match rows.next()? {
            Some(row) => {
                name = row.get("name").ok();
                system = text(row, "system").filter(|text| !text.is_empty());
                match Session::read(row) {
                    Ok(read) => session = Some(read),
                    Err(error) => note(error)?,
                }
            }
            None => note(damaged("", "its own row is gone, and others refer to it"))?,
        }
        let (tokens, broken) = chunks::readable(&tx, id)?;
        if let Some(what) = broken {
            note(damaged("", what))?;
        }
        // What the strict reading says beside that, in its own words.
        for check in [
            self.ledger(id).map(drop),
            self.pending(id).map(drop),
            self.receipts(id).map(drop),
            self.branches(id).and_then(|all| match wrong_tree(&all) {
                Some(what) => Err(damaged("", what)),
                None => Ok(()),
            }),
        ] {
            match check {
                Ok(()) | Err(DbError::NotFound(_)) => {}
                Err(error) => note(error)?,
            }
        }
        let place = place(id, name.as_deref());
        let known: Vec<i64> = tx
            .prepare_cached("SELECT id FROM branches WHERE session = ?")?
            .query_map([id.0], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut query = tx.prepare_cached(&format!(
            "SELECT {MESSAGE}, branch FROM messages WHERE session = ? ORDER BY seq, id"
        ))?;
        let mut rows = query.query([id.0])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            let branch: rusqlite::Result<Option<i64>> = row.get("branch");
            let strict = StoredMessage::read(row, &place);
            let message = match strict {
                Ok(message) => message,
                Err(error) => {
                    note(error)?;
                    legible(row)?
                }
            };
            if message.state == MessageState::Withdrawn {
                continue;
            }
            let gone = match &branch {
                Ok(Some(branch)) => !known.contains(branch),
                Ok(None) => false,
                Err(_) => true,
            };
            if gone {
                let what = format!("message {} is on a branch that is gone", message.seq);
                note(damaged("", what))?;
            }
            if message.role == "assistant"
                && let Err(error) = self.runs(message.id)
            {
                note(error)?;
            }
            messages.push(SalvagedMessage {
                message,
                branch: branch.unwrap_or_default().map(BranchId),
            });
        }
        missing.dedup();
        Ok(Salvage {
            name: name.unwrap_or_else(|| handle(id)),
            session,
            system,
            messages,
            tokens,
            missing,
        })
    }
}

/// Messages on branches that do not exist.
const LOST: &str = "SELECT count(*) FROM messages m WHERE session = ?1 AND branch IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM branches b WHERE b.id = m.branch AND b.session = ?1)";

/// Ids that rows refer to as their session, and no session has.
fn orphans(conn: &Connection) -> Result<Vec<SessionId>> {
    let mut query = conn.prepare_cached(
        "SELECT session FROM (SELECT session FROM messages UNION SELECT session FROM chunks
             UNION SELECT session FROM receipts UNION SELECT session FROM branches)
         WHERE typeof(session) = 'integer' AND session NOT IN (SELECT id FROM sessions)",
    )?;
    let ids = query.query_map([], |row| row.get(0).map(SessionId))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// What is wrong with how branches go off from each other.
fn wrong_tree(branches: &[Branch]) -> Option<String> {
    let parents: HashMap<BranchId, Option<BranchId>> =
        branches.iter().map(|b| (b.id, b.parent)).collect();
    for branch in branches {
        let mut here = branch.parent;
        for _ in 0..=branches.len() {
            let Some(parent) = here else { break };
            match parents.get(&parent) {
                Some(above) => here = *above,
                None => {
                    let (one, gone) = (branch.id.0, parent.0);
                    return Some(format!("branch {one} goes off from {gone}, which is gone"));
                }
            }
        }
        if here.is_some() {
            return Some(format!("branch {} goes off from itself", branch.id.0));
        }
    }
    None
}

/// A message of a row that breaks a rule: each column for itself.
fn legible(row: &Row<'_>) -> Result<StoredMessage> {
    let role = text(row, "role").unwrap_or_else(|| "?".into());
    let body = text(row, "body").unwrap_or_default();
    let body: Value = serde_json::from_str(&body)
        .unwrap_or_else(|_| json!({"role": role.clone(), "content": body}));
    let state = text(row, "state").and_then(|word| MessageState::parse(&word));
    Ok(StoredMessage {
        id: MessageId(row.get("id")?),
        seq: row.get("seq").unwrap_or_default(),
        role,
        body,
        state: state.unwrap_or(MessageState::Answered),
        finish: None,
        span: None,
        created_ms: row.get("created_ms").unwrap_or_default(),
        trail: None,
    })
}

/// A column as text, whatever it is; nothing for NULL.
fn text(row: &Row<'_>, column: &str) -> Option<String> {
    Some(match row.get_ref(column).ok()? {
        ValueRef::Null => return None,
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    })
}

#[cfg(test)]
#[path = "salvage_tests.rs"]
mod tests;
