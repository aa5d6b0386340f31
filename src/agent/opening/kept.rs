//! What a stored session keeps, whatever the flags of this process are: the vocabulary of its tokens,
//! whether it thinks, its seed, policy and shift. A flag that says something else gets a notice.

use crate::agent::conversation::handle::Conversation;
use crate::agent::engine::shared::fits;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::AgentError;
use crate::chat::Message;
use crate::ledger::Token;
use crate::session;

impl Conversation {
    /// A token that the vocabulary lacks would be refused by llama.cpp in the middle of a turn.
    pub(in crate::agent) fn check_tokens(&self) -> Result<(), AgentError> {
        let size = self.shared.model.vocab().size();
        let known = |token: &Token| usize::try_from(token.0).is_ok_and(|id| id < size);
        let strange = self.ledger.iter().position(|token| !known(token));
        match strange.filter(|_| fits(&self.shared, &self.row)) {
            None => Ok(()),
            Some(at) => Err(session::DbError::Damaged {
                place: format!("session \"{}\" (id {})", self.row.name, self.row.id.0),
                what: format!("token {at} of its ledger is not in the vocabulary"),
            }
            .into()),
        }
    }

    /// A session of an npast that did not store whether it thinks keeps what it was surely started
    /// with, else the option of this process.
    pub(in crate::agent) fn freeze_thinking(&mut self) -> Result<(), AgentError> {
        if self.row.thinking.is_some() || !fits(&self.shared, &self.row) {
            return Ok(());
        }
        let first = self.messages.iter().take_while(|m| m.role != "assistant");
        let first: Result<Vec<Message>, _> = first.map(|m| Message::from_json(&m.body)).collect();
        let first = first.unwrap_or_default();
        let reply = self.messages.iter().find(|m| m.role == "assistant");
        let end = match reply {
            Some(reply) => reply.span.map_or(0, |span| span.start),
            None if first.is_empty() => self.row.head,
            None => self.ledger.len(),
        };
        let prompt = &self.ledger[..end.min(self.ledger.len())];
        let surely = FrozenFrame::was_thinking(&self.shared, &self.row, &first, prompt);
        let thinking = surely.unwrap_or_else(|| self.shared.options.thinks());
        let mut unit = self.db.begin(self.row.id)?;
        unit.freeze_thinking(thinking)?;
        unit.commit()?;
        self.row.thinking = Some(thinking);
        self.frozen = FrozenFrame::of(&self.shared, &self.row);
        Ok(())
    }

    /// The options of this process that the session does not take.
    pub(in crate::agent) fn say_what_is_kept(&mut self) {
        let (name, asked) = (&self.row.name, &self.shared.options);
        let mut kept = Vec::new();
        if let (Some(asked), Some(own)) = (asked.thinking, self.row.thinking)
            && asked != own
        {
            let own = if own { "on" } else { "off" };
            kept.push(format!(
                "session {name} keeps the thinking it was started with, {own}"
            ));
        }
        if let Some(asked) = asked.policy
            && asked.as_str() != self.row.policy
        {
            kept.push(format!(
                "session {name} keeps the history policy it was started with, {}",
                self.row.policy
            ));
        }
        if let Some(asked) = asked.shift
            && asked != self.row.shift
        {
            let own = if self.row.shift { "on" } else { "off" };
            kept.push(format!(
                "session {name} keeps the setting of --shift it was started with, {own}"
            ));
        }
        let hint = "start another session to use another";
        let kept = kept.into_iter().map(|text| (text, Some(hint.to_owned())));
        self.notices.extend(kept);
    }
}
