//! Trails: the digests of the conversation after each message. A client's history is compared by them.

use crate::agent::values::error::AgentError;
use crate::chat::message::Role;
use crate::chat::{Message, same};
use crate::ledger::Digest;

use super::handle::Conversation;

impl Conversation {
    /// The digests of the conversation after each of some messages that follow its first `kept` ones;
    /// nothing for those that no client knows of. Costs O(new).
    pub(in crate::agent) fn trails(
        &self,
        kept: usize,
        new: &[Message],
    ) -> Result<Vec<Option<Digest>>, AgentError> {
        let stored = &self.messages[..kept];
        let known = stored.iter().rposition(|m| m.trail.is_some());
        let from = known.map_or(0, |at| at + 1);
        let mut last = known.and_then(|at| stored[at].trail).unwrap_or(same::START);
        let mut spoken = stored[..from].iter().any(|m| m.role == "user");
        let mut step = |message: &Message| {
            let said = same::normal(std::slice::from_ref(message)).pop()?;
            let first = message.role == Role::User && !spoken;
            spoken |= first;
            last = same::chain(last, &said.message, first);
            Some(last)
        };
        for row in &stored[from..] {
            step(&Message::from_json(&row.body)?);
        }
        Ok(new.iter().map(step).collect())
    }
}
