//! What of a client's history is stored: compared by digests, message by message, so that it costs O(bytes
//! sent) and nothing of what is stored is read again.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::agent::values::error::AgentError;
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::pins::{self, PinRules, PinVerdict, Pinned};
use crate::chat::same::{self, Difference, DifferenceKind};
use crate::session;

use super::sent::Sent;

/// A stored message that a client knows of.
pub(in crate::agent) struct KnownMessage {
    /// Its place among the session's messages.
    pub place: usize,
    /// It is a reply.
    pub reply: bool,
}

/// What of a sent history is stored.
pub(in crate::agent) struct Match {
    /// The stored messages that a client knows of, in order.
    pub known: Vec<KnownMessage>,
    /// How many of them are the first messages of the history.
    pub same: usize,
    /// What differs then.
    pub difference: Option<Difference>,
}

/// A stored message as a client knows it; nothing for a note and for one that says nothing.
fn as_known(message: &session::StoredMessage) -> Result<Option<Message>, AgentError> {
    let message = Message::from_json(&message.body)?;
    let said = same::normal(std::slice::from_ref(&message)).pop();
    Ok(said.map(|s| s.message))
}

impl Conversation {
    /// What of a history is stored here.
    pub(in crate::agent) fn matching(&self, sent: &Sent) -> Result<Match, AgentError> {
        let trails = sent.trails();
        let mut known: Vec<KnownMessage> = Vec::with_capacity(self.messages.len());
        let (mut same, mut differs) = (0, None);
        let mut spoken = false;
        for (place, row) in self.messages.iter().enumerate() {
            // A digest says that the message counts; without one it has to be looked at.
            let message = match row.trail {
                Some(_) => None,
                None => match as_known(row)? {
                    None => continue,
                    some => some,
                },
            };
            let at = known.len();
            known.push(KnownMessage {
                place,
                reply: row.role == "assistant",
            });
            let first = row.role == "user" && !spoken;
            spoken |= first;
            if same < at {
                continue;
            }
            let what = match (sent.said.get(at), row.trail, message) {
                (None, ..) => Some(DifferenceKind::Missing),
                (Some(_), Some(trail), _) if trail == trails[at] => None,
                (Some(said), _, Some(stored)) => same::differs(&stored, &said.message, first),
                (Some(said), _, None) => {
                    let stored = as_known(row)?;
                    // The digest is of all messages: one before it that has none may be the other.
                    stored.and_then(|stored| same::differs(&stored, &said.message, first))
                }
            };
            match what {
                None => same += 1,
                Some(what) => differs = Some((at, place, what)),
            }
        }
        let difference = match differs {
            Some((at, place, what)) => {
                let said = sent.said.get(at);
                let role = Role::parse(&self.messages[place].role).unwrap_or(Role::User);
                Some(Difference {
                    stored: Some(place),
                    incoming: said.map(|s| s.at),
                    role: said.map_or(role, |s| s.message.role),
                    what,
                })
            }
            None => sent.said.get(same).map(|said| Difference {
                stored: None,
                incoming: Some(said.at),
                role: said.message.role,
                what: DifferenceKind::New,
            }),
        };
        Ok(Match {
            known,
            same,
            difference,
        })
    }

    /// The stored messages that a client knows of. Costs O(messages); none with a digest is looked at.
    pub(in crate::agent) fn known(&self) -> Result<Vec<KnownMessage>, AgentError> {
        let mut known = Vec::with_capacity(self.messages.len());
        for (place, row) in self.messages.iter().enumerate() {
            if row.trail.is_some() || as_known(row)?.is_some() {
                let reply = row.role == "assistant";
                known.push(KnownMessage { place, reply });
            }
        }
        Ok(known)
    }

    /// What becomes of the head under a history.
    pub(in crate::agent) fn verdict(
        &self,
        sent: &Sent,
        rules: PinRules,
    ) -> Result<PinVerdict, AgentError> {
        let given = self.db.given(self.row.id)?;
        let first = self.messages.iter().find(|m| m.role == "user");
        Ok(pins::compare(
            Pinned {
                system: self.row.system.as_deref(),
                tools: given.as_ref().or(self.row.tools.as_ref()),
                first: first.map(|m| text_of(&m.body)),
            },
            sent.pinned(),
            rules,
        ))
    }

    /// The text of the last note in the first `stays` messages.
    pub(in crate::agent) fn last_note(&self, stays: usize) -> Option<&str> {
        let note = |m: &&session::StoredMessage| m.role == "system" && m.body["note"] == true;
        let last = self.messages[..stays].iter().rfind(note)?;
        Some(text_of(&last.body))
    }
}
