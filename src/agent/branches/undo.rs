//! Undo, edit and redo: turns are taken back, and put back.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::agent::values::error::AgentError;
use crate::agent::values::outcome::UndoneTurns;
use crate::session::{BranchId, Continuation, Db, Session, Why, now_ms};

use super::turns::{counted, cut_of, refused, turns};

/// Takes the last `n` turns of a session back, for good or until [`redo`].
///
/// # Errors
/// Wrong usage when there are not so many; npast.db's.
pub fn undo(db: &mut Db, session: &Session, n: usize) -> Result<UndoneTurns, AgentError> {
    take_back(db, session, n, Why::Undo)
}

/// The session in which the last `n` turns of this one were said, and how many of them there: turns from
/// before a compression are taken back in the session that was compressed, which has all of them whole.
/// That session goes on from there then.
///
/// # Errors
/// npast.db's.
pub fn behind(db: &Db, session: &Session, n: usize) -> Result<(Session, usize), AgentError> {
    let (mut here, mut n) = (session.clone(), n);
    while here.made == Some(Continuation::Compressed)
        && let Some(parent) = here.parent
    {
        let messages = db.messages(here.id)?;
        let turns = turns(&messages, here.head);
        let new = turns
            .iter()
            .filter(|t| messages[t.first].seq >= here.carried)
            .count();
        if n <= new {
            break;
        }
        n -= new;
        here = db.get(parent)?;
    }
    Ok((here, n))
}

fn take_back(
    db: &mut Db,
    session: &Session,
    n: usize,
    why: Why,
) -> Result<UndoneTurns, AgentError> {
    let messages = db.messages(session.id)?;
    let turns = turns(&messages, session.head);
    if n == 0 {
        return Err(refused(
            "0 turns to take back",
            "give how many, or nothing for the last one",
        ));
    }
    let keep = turns
        .len()
        .checked_sub(n)
        .ok_or_else(|| match turns.len() {
            0 => refused(
                format!("session {} has no turn to take back", session.name),
                "a turn begins with a user's message",
            ),
            have => refused(
                format!(
                    "{} cannot be taken back: session {} has {}",
                    counted(n),
                    session.name,
                    counted(have)
                ),
                "give a smaller number",
            ),
        })?;
    let cut = cut_of(&turns, keep)?;
    let first = turns[keep].first;
    let spoken = messages[first..].iter().find(|m| m.role == "user");
    let mut unit = db.begin(session.id)?;
    let tokens = unit.ledger_len() - cut.at.min(unit.ledger_len());
    unit.abandon(cut, why)?;
    unit.touch(now_ms())?;
    unit.commit()?;
    Ok(UndoneTurns {
        session: session.name.clone(),
        turns: n,
        messages: messages.len() - first,
        tokens,
        text: spoken
            .map(|m| text_of(&m.body))
            .unwrap_or_default()
            .to_owned(),
    })
}

/// Puts back what was taken off last, or a branch by its number; what stands in its place becomes a
/// branch. Gives the number of tokens that the session has then.
///
/// # Errors
/// Wrong usage when there is none, or it cannot be put back; npast.db's.
pub fn redo(db: &mut Db, session: &Session, branch: Option<i64>) -> Result<usize, AgentError> {
    let branches = db.branches(session.id)?;
    let last = || branches.iter().rfind(|b| b.parent.is_none()).map(|b| b.id);
    let branch = branch.map(BranchId).or_else(last).ok_or_else(|| {
        refused(
            format!("session {} has nothing to put back", session.name),
            "undo, retry and edit leave branches that can be put back",
        )
    })?;
    let mut unit = db.begin(session.id)?;
    unit.reattach(branch)?;
    unit.touch(now_ms())?;
    let len = unit.ledger_len();
    unit.commit()?;
    Ok(len)
}

impl Conversation {
    /// Takes the last `n` turns back.
    ///
    /// # Errors
    /// As [`undo`].
    pub fn undo(&mut self, n: usize) -> Result<UndoneTurns, AgentError> {
        self.take_back(n, Why::Undo)
    }

    /// Takes the last turn back because another message comes in its place.
    ///
    /// # Errors
    /// As [`undo`].
    pub fn edit(&mut self) -> Result<UndoneTurns, AgentError> {
        self.take_back(1, Why::Edit)
    }

    fn take_back(&mut self, n: usize, why: Why) -> Result<UndoneTurns, AgentError> {
        self.operation(|talk| {
            let here = talk.row.clone();
            let (there, n) = behind(&talk.db, &here, n)?;
            if there.id != here.id {
                talk.enter(there)?;
            }
            let taken = take_back(&mut talk.db, &talk.row, n, why);
            if taken.is_err() && talk.row.id != here.id {
                talk.enter(here)?;
                return taken;
            }
            let taken = taken?;
            talk.row = talk.db.get(talk.row.id)?;
            let words = match why {
                Why::Edit => "what stood here was replaced by edit",
                _ => "what stood here was taken back by undo",
            };
            talk.next_receipt.left(words);
            talk.read_again()?;
            Ok(taken)
        })
    }

    /// Puts back what was taken off last, or a branch by its number.
    ///
    /// # Errors
    /// As [`redo`].
    pub fn redo(&mut self, branch: Option<i64>) -> Result<usize, AgentError> {
        self.operation(|talk| {
            let len = redo(&mut talk.db, &talk.row, branch)?;
            talk.next_receipt
                .left("another branch was put back here by redo");
            talk.read_again()?;
            Ok(len)
        })
    }

    /// The text of the message that [`Conversation::edit`] would take back.
    pub fn last_text(&self) -> Option<String> {
        let turn = turns(&self.messages, self.row.head).pop()?;
        let mut from = self.messages[turn.first..].iter();
        let spoken = from.find(|m| m.role == "user")?;
        Some(text_of(&spoken.body).to_owned())
    }
}
