//! Going on from a place in a session that the client names, as `previous_response_id` does. What stands
//! before that place is known by the place alone: nothing of it is compared or read again, so it costs
//! O(new).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::agent::conversation::handle::Conversation;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::chat::message::Role;
use crate::chat::pins::PinRules;
use crate::chat::same::{self, Difference, DifferenceKind, NormalMessage};
use crate::chat::{Message, ReplyScript};
use crate::session::SessionId;

use super::follow::Followed;
use super::matching::Match;
use super::sent::{ClientHistory, Sent, disordered};

/// A place in a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Behind {
    /// The session's id.
    pub session: i64,
    /// So many of its messages stand before the place; `None` is all of them.
    pub messages: Option<usize>,
}

impl Conversation {
    /// Goes on from a place in this session, or in one that it continues: makes the conversation what it
    /// was there with the messages of `history` behind it, and answers the last one. System text and
    /// tools are the session's where `history` has none.
    ///
    /// # Errors
    /// As [`Conversation::follow`].
    #[allow(clippy::too_many_arguments)]
    pub fn go_on(
        &mut self,
        from: Behind,
        history: &ClientHistory,
        rules: PinRules,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Followed, AgentError> {
        let end = self.operation(|talk| {
            let (sent, found) = match talk.behind(from, history)? {
                Some(known) => known,
                None => {
                    let sent = talk.whole_behind(from, history)?.sent()?;
                    let found = talk.matching(&sent)?;
                    (sent, found)
                }
            };
            talk.follow_found(&sent, found, rules, options, script, cancel, &mut *on)
        });
        self.say(on);
        end
    }

    /// What was sent behind a place, with no more of what is before it than the last reply. Nothing where
    /// the place is in another session, or where the two cannot be told apart.
    fn behind(
        &self,
        from: Behind,
        history: &ClientHistory,
    ) -> Result<Option<(Sent, Match)>, AgentError> {
        if from.session != self.row.id.0 {
            return Ok(None);
        }
        let upto = from.messages.unwrap_or(usize::MAX);
        let known = self.known()?;
        let same = known.iter().take_while(|k| k.place < upto).count();
        let before = known[..same].iter().rposition(|k| k.reply).unwrap_or(0);
        let stored = known[before..same].iter();
        let stored = stored.map(|k| Message::from_json(&self.messages[k.place].body));
        let mut all: Vec<Message> = stored.collect::<Result<_, _>>()?;
        let stored = same::normal(&all);
        all.extend(same::from_outside(&history.messages));
        let mut said = same::normal(&all);
        let alike = |(a, b): (&NormalMessage, &NormalMessage)| a.message == b.message;
        let apart = stored.len() == same - before
            && said.len() >= stored.len()
            && said.iter().zip(&stored).all(alike);
        if !apart {
            return Ok(None);
        }
        for one in &mut said {
            // As it was sent.
            one.at = one.at.saturating_sub(stored.len());
        }
        check(&said)?;
        let given = match &history.tools {
            Some(_) => None,
            None => self.db.given(self.row.id)?,
        };
        let new = said.get(stored.len()).map(|said| Difference {
            stored: None,
            incoming: Some(said.at),
            role: said.message.role,
            what: DifferenceKind::New,
        });
        let tools = history.tools.clone().or(given);
        let sent = Sent {
            system: history.system.clone().or(self.row.system.clone()),
            tools: tools.or(self.row.tools.clone()),
            said,
            before,
        };
        let found = Match {
            known,
            same,
            difference: new,
        };
        Ok(Some((sent, found)))
    }

    /// The history of a client that goes on from a place in any session. Costs O(context).
    fn whole_behind(
        &self,
        from: Behind,
        history: &ClientHistory,
    ) -> Result<ClientHistory, AgentError> {
        let session = self.db.get(SessionId(from.session))?;
        let upto = from.messages.unwrap_or(usize::MAX);
        let mut messages = Vec::new();
        for row in self.db.messages(session.id)?.into_iter().take(upto) {
            let message = Message::from_json(&row.body)?;
            // What npast told the model itself is no part of what the client said.
            if !message.note {
                messages.push(message);
            }
        }
        messages.extend(history.messages.iter().cloned());
        let tools = match &history.tools {
            Some(tools) => Some(tools.clone()),
            None => self.db.given(session.id)?.or(session.tools),
        };
        Ok(ClientHistory {
            system: history.system.clone().or(session.system),
            tools,
            messages,
        })
    }
}

/// Whether a reply and what is behind it are the end of a conversation.
fn check(said: &[NormalMessage]) -> Result<(), AgentError> {
    let begins = said.first().map(|s| s.message.role);
    let user = NormalMessage {
        message: Message::user("said before"),
        at: 0,
    };
    // Somebody said something before a reply.
    let whole: Vec<NormalMessage> = match begins {
        Some(Role::Assistant) => [std::slice::from_ref(&user), said].concat(),
        _ => said.to_vec(),
    };
    same::check(&whole).map_err(disordered)
}
