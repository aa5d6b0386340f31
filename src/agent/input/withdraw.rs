//! An input is withdrawn when the user interrupts before the first token was sampled (law 5).

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::{NOT_RUN, text_of};
use crate::agent::values::error::AgentError;
use crate::session::{MessageId, MessageState};

use super::appended::Appended;

impl Conversation {
    /// Ctrl-C before the first token: the ledger goes back, the text is handed back, KV stays.
    /// No user can type results of calls again: they stay, open, for the next message.
    pub(in crate::agent) fn withdraw(&mut self, appended: &Appended) -> Result<(), AgentError> {
        let before = &appended.before;
        let len = before.from + before.tail.len();
        let reached = self.ledger.decoded().min(before.from);
        // A last token that was pending may have been evaluated with the message.
        let pending = match before.tail.is_empty() && reached == len {
            true => 0,
            false => before.pending.min(len),
        };
        let result = |id: &MessageId| {
            let row = self.messages.iter().find(|m| m.id == *id);
            row.is_some_and(|m| m.role == "tool" && text_of(&m.body) != NOT_RUN)
        };
        let spoken: Vec<MessageId> = appended
            .inputs
            .iter()
            .copied()
            .filter(|id| !result(id))
            .collect();
        let decoded = reached.max(before.decoded.min(len));
        // It may be sent again, from another process too.
        let gone = self.ledger[before.from..self.ledger.decoded().max(before.from)].to_vec();
        let mut unit = self.db.begin(self.row.id)?;
        if !gone.is_empty() {
            unit.add_way(&self.ledger[..before.from], &gone)?;
        }
        unit.cut_tokens(before.from)?;
        unit.append_tokens(before.from, &before.tail)?;
        unit.set_decoded(decoded)?;
        for (id, span) in &before.spans {
            unit.set_span(*id, *span)?;
        }
        for id in spoken {
            unit.set_state(id, MessageState::Withdrawn)?;
        }
        unit.set_pending(pending)?;
        unit.commit()?;
        self.ledger.withdraw(before.from, &before.tail, decoded);
        self.messages = self.refresh(before.messages)?;
        Ok(())
    }
}
