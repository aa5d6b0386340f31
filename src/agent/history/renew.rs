//! A client's history has another head than the pinned one: the conversation goes on as another session.

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::NewSession;
use crate::chat::Message;

use super::matching::Match;
use super::sent::Sent;

/// What to say of a head that cannot stay.
pub(in crate::agent) fn new_prefix(why: &str, from: &str, to: &str) -> Notice {
    (
        format!("session {from} goes on as {to}, and all of it is read again: {why}"),
        None,
    )
}

impl Conversation {
    /// The messages of a history for a session that begins again: those that are stored with what the
    /// client does not know of them.
    pub(in crate::agent) fn renewed_tail(
        &self,
        sent: &Sent,
        found: &Match,
    ) -> Result<Vec<Message>, AgentError> {
        let mut tail = Vec::with_capacity(sent.said.len());
        for known in &found.known[..found.same] {
            tail.push(Message::from_json(&self.messages[known.place].body)?);
        }
        tail.extend(sent.from(found.same));
        Ok(tail)
    }

    /// Makes the conversation another session with the head that a history has: it continues this one,
    /// and has all its names.
    pub(in crate::agent) fn renew(&mut self, sent: &Sent, why: &str) -> Result<(), AgentError> {
        let old = self.row.clone();
        let new = NewSession {
            folder: old.folder.clone(),
            system: sent.system.clone(),
            tools: sent.tools.clone(),
            seed: Some(old.seed),
            setup: None,
        };
        let mut child = self.begin_child(&new)?;
        let notice = new_prefix(why, &old.name, &child.row.name);
        child.notices.push(notice);
        child.next_receipt.broke(0, why.to_owned());
        // An error from here on leaves nothing of it behind.
        child.resumed = false;
        *self = child;
        Ok(())
    }
}
