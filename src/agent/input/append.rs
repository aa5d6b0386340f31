//! From input to a durable message and its tokens. Law 5: fit is checked, then the message is
//! committed, then decoding begins. Law 1: what was decoded stays; only what follows is rendered.

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::Input;
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::template::After;
use crate::session::{MessageId, MessageState, Span, now_ms};

use super::appended::{Appended, LedgerBefore, Tokens};

impl Conversation {
    /// Makes an input durable. Nothing is decoded here.
    pub(in crate::agent) fn append(&mut self, input: Input) -> Result<Appended, AgentError> {
        let open: Vec<MessageId> = self.open_messages().map(|m| m.id).collect();
        let new = match input {
            Input::Continue => return self.continue_reply(),
            Input::Open => Vec::new(),
            Input::Text(text) if text.trim().is_empty() => Vec::new(),
            Input::Text(text) => vec![Message::user(text)],
            Input::Messages(messages) => messages,
        };
        if new.is_empty() {
            if open.is_empty() {
                return Err(AgentError::new(ErrorKind::Input, "the prompt is empty")
                    .hinted("type a message, or pipe one in"));
            }
            if self.unsent() {
                // Its tokens were not committed with it; they are made now.
                return self.append_messages(Vec::new(), &open, true);
            }
            return Ok(Appended {
                // The reply changes them: they are answered then.
                before: self.before(self.ledger.len(), open.len())?,
                inputs: open,
                text: None,
                after: self.after_last_input(),
                continued: false,
            });
        }
        if let Some(bad) = new
            .iter()
            .find(|m| !matches!(m.role, Role::User | Role::Tool))
        {
            return Err(AgentError::new(
                ErrorKind::Input,
                format!("a message of role {} cannot be appended", bad.role.as_str()),
            )
            .hinted("user messages and tool results can be"));
        }
        self.append_messages(new, &open, true)
    }

    /// An open message without tokens in the ledger.
    fn unsent(&self) -> bool {
        self.open_messages().any(|m| m.span.is_none())
    }

    /// The ledger before an input that changes it from `from` on and takes `open` messages along.
    fn before(&self, from: usize, open: usize) -> Result<LedgerBefore, AgentError> {
        let kept = self.open_messages().find_map(|m| m.span).map(|s| s.start);
        let kept = kept.filter(|_| open > 0).unwrap_or(self.ledger.len());
        let messages = self.messages.len() - open;
        let behind = |m: &crate::session::StoredMessage| {
            let span = m.span.filter(|s| s.end > from)?;
            Some((m.id, span))
        };
        Ok(LedgerBefore {
            from,
            tail: self.ledger[from.min(kept)..kept].to_vec(),
            spans: self.messages[..messages]
                .iter()
                .filter_map(behind)
                .collect(),
            decoded: self.ledger.decoded(),
            pending: self.db.pending(self.row.id)?,
            messages,
        })
    }

    fn continue_reply(&mut self) -> Result<Appended, AgentError> {
        if !self.unfinished() {
            return Err(
                AgentError::new(ErrorKind::Input, "there is no reply to go on with").hinted(
                    "only a reply that was cut (length, stop string, Ctrl-C) can be continued",
                ),
            );
        }
        Ok(Appended {
            inputs: Vec::new(),
            before: self.before(self.ledger.len(), 0)?,
            text: None,
            after: self.after_last_input(),
            continued: true,
        })
    }

    /// Makes messages durable behind those that are open. `joined`: a message that a crash left open
    /// and the user's next one become one message; a client's history keeps them apart.
    pub(in crate::agent) fn append_messages(
        &mut self,
        new: Vec<Message>,
        open: &[MessageId],
        joined: bool,
    ) -> Result<Appended, AgentError> {
        let mut all = Vec::new();
        for message in self.open_messages() {
            all.push(Message::from_json(&message.body)?);
        }
        let spoken = new.iter().any(|m| m.role == Role::User);
        if joined && spoken && all.iter().any(|m| m.role == Role::User) {
            self.notices.push((
                "the message that was left without an answer was joined with this one".to_owned(),
                None,
            ));
        }
        for message in new {
            match all.last_mut() {
                Some(last) if joined && last.role == Role::User && message.role == Role::User => {
                    last.text = format!("{}\n\n{}", last.text, message.text);
                }
                _ => all.push(message),
            }
        }
        // If the input is withdrawn, the user gets all of the joined message back.
        let last = all.iter().rfind(|m| m.role == Role::User && spoken);
        let text = last.map(|m| m.text.clone());
        let all = self.with_results(all)?;

        let cut = self.open_messages().find_map(|m| m.span).map(|s| s.start);
        let kept = cut.unwrap_or(self.ledger.len());
        let Tokens {
            from,
            tokens,
            broken,
        } = self.tokens_of(&all, kept)?;
        let needed = from + tokens.len() + 1;
        if needed > self.shared.limit {
            return Err(AgentError::new(
                ErrorKind::TooLong,
                format!(
                    "this message would make the conversation {needed} tokens long, the context \
                     has {}",
                    self.shared.limit
                ),
            )
            .hinted(self.shared.room_hint(
                "nothing was stored; shorten it, compress the conversation, take turns back, go on \
                 in a fork of an earlier turn, or start a new session",
            )));
        }

        let before = self.before(from, open.len())?;
        let span = Span {
            start: kept.min(from + tokens.len()),
            end: from + tokens.len(),
        };
        let answered = self.unanswered_reply();
        let trails = self.trails(before.messages, &all)?;
        let stays = self.ledger.stays(from, &tokens);
        let mut unit = self.db.begin(self.row.id)?;
        if from < self.ledger.len() {
            unit.cut_tokens(from)?;
        }
        unit.append_tokens(from, &tokens)?;
        unit.set_pending(0)?;
        unit.set_decoded(self.ledger.decoded().min(stays))?;
        if from + 1 == kept {
            // An exchanged end of turn still belongs to its reply.
            for (id, span) in &before.spans {
                unit.set_span(*id, *span)?;
            }
        }
        let mut inputs = Vec::new();
        for (i, message) in all.iter().enumerate() {
            let body = message.to_json();
            let id = match open.get(i) {
                Some(id) => {
                    unit.set_body(*id, &body)?;
                    *id
                }
                None => unit.add_message(message.role.as_str(), &body, MessageState::Open)?,
            };
            unit.set_span(id, span)?;
            if let Some(trail) = trails[i] {
                unit.set_trail(id, trail)?;
            }
            inputs.push(id);
        }
        for spare in open.iter().skip(all.len()) {
            unit.set_state(*spare, MessageState::Withdrawn)?;
        }
        if let Some(reply) = answered {
            // Its results are messages from here on.
            unit.forget_runs(reply)?;
        }
        unit.touch(now_ms())?;
        unit.commit()?;
        self.committed += 1;
        self.hold(from, &tokens);
        self.next_receipt.broke_if(broken);
        self.messages = self.refresh(before.messages)?;
        let after = match all.last().is_some_and(|m| m.role == Role::Tool) {
            true => After::Results,
            false => After::User,
        };
        Ok(Appended {
            inputs,
            before,
            text,
            after,
            continued: false,
        })
    }
}
