//! Another session with the first turns of this one.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::names::kv_owner;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::session::{CutPoint, Db, MessageId, Session};

use super::turns::{counted, cut_before, cut_of, refused, turns};

/// Makes a session with the first `keep` turns of another, all without a number, called `name`, or
/// as the other with a number behind it.
///
/// # Errors
/// Wrong usage when there are not so many turns, or the name breaks a rule; npast.db's.
pub fn fork(
    db: &Db,
    session: &Session,
    name: Option<&str>,
    keep: Option<usize>,
) -> Result<Session, AgentError> {
    let messages = db.messages(session.id)?;
    let turns = turns(&messages, session.head);
    let cut = match keep {
        Some(keep) if keep > turns.len() => {
            return Err(refused(
                format!(
                    "there is no turn {keep}: session {} has {}",
                    session.name,
                    counted(turns.len())
                ),
                "--at N keeps the first N turns",
            ));
        }
        Some(keep) if keep < turns.len() => cut_of(&turns, keep)?,
        _ => CutPoint {
            after: messages.last().map(|m| m.id),
            at: db.ledger(session.id)?.len(),
            pending: db.pending(session.id)?,
        },
    };
    let name = match name {
        Some(name) => name.to_owned(),
        None => db.free_name(&session.name)?,
    };
    Ok(db.fork(session.id, &name, cut, &messages)?)
}

/// Makes a session with the messages of another up to and with one; nothing where the tokens behind that
/// one are not told apart from others.
pub(in crate::agent) fn fork_after(
    db: &Db,
    session: &Session,
    message: MessageId,
) -> Result<Option<Session>, AgentError> {
    let messages = db.messages(session.id)?;
    let Some(last) = messages.iter().position(|m| m.id == message) else {
        return Ok(None);
    };
    let Some(cut) =
        cut_before(&messages, last + 1, session.head).filter(|_| last + 1 < messages.len())
    else {
        return Ok(None);
    };
    let name = db.free_name(&session.name)?;
    Ok(Some(db.fork(session.id, &name, cut, &messages)?))
}

impl Conversation {
    /// Makes a session with the first `keep` turns of this one, and holds what is stored of it.
    ///
    /// # Errors
    /// As [`fork`].
    pub fn fork(&self, name: Option<&str>, keep: Option<usize>) -> Result<Session, AgentError> {
        let child = fork(&self.db, &self.row, name, keep)?;
        // The fork is made, whatever becomes of this.
        if let Err(error) = self.hold_shared(&child) {
            tracing::warn!("what a fork shares may be collected: {error}");
        }
        Ok(child)
    }

    /// What is stored of the tokens that a fork took over is held for it too.
    fn hold_shared(&self, child: &Session) -> Result<(), AgentError> {
        let stored = self.db.ledger(child.id)?.len() - self.db.pending(child.id)?;
        let owner = kv_owner(child.id);
        let ledger = self.db.ledger(self.row.id)?;
        let held = self.shared.store.hold(&owner, &ledger, stored);
        held.map_err(|e| AgentError::new(ErrorKind::Session, e.to_string()))
    }
}
