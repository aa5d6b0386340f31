//! What a stored session is, whatever this process was asked for: its tokens are the model's.

use super::AgentError;
use super::conversation::{Conversation, fits};
use crate::ledger::Token;
use crate::session;

impl Conversation {
    /// A token that the vocabulary lacks would be refused by llama.cpp in the middle of a turn.
    pub(super) fn check_tokens(&self) -> Result<(), AgentError> {
        let size = self.shared.model.vocab().size();
        let known = |token: &Token| usize::try_from(token.0).is_ok_and(|id| id < size);
        let strange = self.ledger.iter().position(|token| !known(token));
        match strange.filter(|_| fits(&self.shared, &self.row)) {
            None => Ok(()),
            Some(at) => Err(session::Error::Damaged {
                place: format!("session \"{}\" (id {})", self.row.name, self.row.id.0),
                what: format!("token {at} of its ledger is not in the vocabulary"),
            }
            .into()),
        }
    }
}
