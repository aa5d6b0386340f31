//! A whole history as a client sends it, and what of it is stored: compared by digests, message by
//! message, so that it costs O(bytes sent) and nothing of what is stored is read again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::conversation::handle::{Conversation, text_of};
use crate::agent::engine::handle::Notice;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::pins::{self, Pinned, Rules, Verdict};
use crate::chat::same::{self, Difference, Said, What};
use crate::ledger::Digest;
use crate::session;

/// A conversation as a client sends it, all of it each time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The system text.
    pub system: Option<String>,
    /// The tools, OpenAI form.
    pub tools: Option<Value>,
    /// Everything that was said. System messages before all others are part of the system text.
    pub messages: Vec<Message>,
}

/// A history in the form in which it is compared, and known to be a conversation.
pub(in crate::agent) struct Sent {
    pub system: Option<String>,
    pub tools: Option<Value>,
    pub said: Vec<Said>,
    /// Messages before those, which are known to be stored.
    pub before: usize,
}

impl History {
    /// The history in normal form.
    ///
    /// # Errors
    /// When it is no conversation.
    pub(in crate::agent) fn sent(&self) -> Result<Sent, AgentError> {
        let leading = self.messages.iter();
        let leading = leading.take_while(|m| m.role == Role::System).count();
        let (heads, messages) = self.messages.split_at(leading);
        let texts = self.system.iter().chain(heads.iter().map(|m| &m.text));
        let texts: Vec<&str> = texts
            .map(|t| t.as_str())
            .filter(|t| !t.is_empty())
            .collect();
        let mut said = same::normal(&same::from_outside(messages));
        for one in &mut said {
            // As it was sent.
            one.at += leading;
        }
        same::check(&said).map_err(disordered)?;
        let some = |tools: &&Value| tools.as_array().is_some_and(|list| !list.is_empty());
        Ok(Sent {
            system: (!texts.is_empty()).then(|| texts.join("\n\n")),
            tools: self.tools.as_ref().filter(some).cloned(),
            said,
            before: 0,
        })
    }
}

/// What to say of messages that are no conversation.
pub(super) fn disordered(disorder: same::Disorder) -> AgentError {
    AgentError::new(ErrorKind::Input, disorder.to_string())
        .hinted("nothing was stored; send the conversation from its first user message on")
}

impl Sent {
    /// The text of the first user message, where it was sent.
    fn first(&self) -> Option<&str> {
        if self.before > 0 {
            return None;
        }
        let user = self.said.iter().find(|s| s.message.role == Role::User);
        user.map(|s| s.message.text.as_str())
    }

    /// What a session compares its pins with.
    pub fn pinned(&self) -> Pinned<'_> {
        Pinned {
            system: self.system.as_deref(),
            tools: self.tools.as_ref(),
            first: self.first(),
        }
    }

    /// The digests after each message. Costs O(bytes).
    pub fn trails(&self) -> Vec<Digest> {
        let mut last = same::START;
        let mut spoken = false;
        let step = |s: &Said| {
            let first = s.message.role == Role::User && !spoken;
            spoken |= first;
            last = same::chain(last, &s.message, first);
            last
        };
        self.said.iter().map(step).collect()
    }

    /// All messages, known ones included.
    pub fn len(&self) -> usize {
        self.before + self.said.len()
    }

    /// The messages from one on.
    pub fn behind(&self, at: usize) -> &[Said] {
        &self.said[at.saturating_sub(self.before).min(self.said.len())..]
    }

    /// The same as messages.
    pub fn from(&self, at: usize) -> Vec<Message> {
        let behind = self.behind(at).iter();
        behind.map(|s| s.message.clone()).collect()
    }
}

/// A stored message that a client knows of.
pub(in crate::agent) struct Known {
    /// Its place among the session's messages.
    pub place: usize,
    /// It is a reply.
    pub reply: bool,
}

/// What of a sent history is stored.
pub(in crate::agent) struct Match {
    /// The stored messages that a client knows of, in order.
    pub known: Vec<Known>,
    /// How many of them are the first messages of the history.
    pub same: usize,
    /// What differs then.
    pub difference: Option<Difference>,
}

/// A stored message as a client knows it; nothing for a note and for one that says nothing.
fn as_known(message: &session::Message) -> Result<Option<Message>, AgentError> {
    let message = Message::from_json(&message.body)?;
    let said = same::normal(std::slice::from_ref(&message)).pop();
    Ok(said.map(|s| s.message))
}

impl Conversation {
    /// What of a history is stored here.
    pub(in crate::agent) fn matching(&self, sent: &Sent) -> Result<Match, AgentError> {
        let trails = sent.trails();
        let mut known: Vec<Known> = Vec::with_capacity(self.messages.len());
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
            known.push(Known {
                place,
                reply: row.role == "assistant",
            });
            let first = row.role == "user" && !spoken;
            spoken |= first;
            if same < at {
                continue;
            }
            let what = match (sent.said.get(at), row.trail, message) {
                (None, ..) => Some(What::Missing),
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
                what: What::New,
            }),
        };
        Ok(Match {
            known,
            same,
            difference,
        })
    }

    /// The stored messages that a client knows of. Costs O(messages); none with a digest is looked at.
    pub(super) fn known(&self) -> Result<Vec<Known>, AgentError> {
        let mut known = Vec::with_capacity(self.messages.len());
        for (place, row) in self.messages.iter().enumerate() {
            if row.trail.is_some() || as_known(row)?.is_some() {
                let reply = row.role == "assistant";
                known.push(Known { place, reply });
            }
        }
        Ok(known)
    }

    /// What becomes of the head under a history.
    pub(in crate::agent) fn verdict(
        &self,
        sent: &Sent,
        rules: Rules,
    ) -> Result<Verdict, AgentError> {
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

    /// The text of the note that was said last in the first `stays` messages.
    pub(in crate::agent) fn last_note(&self, stays: usize) -> Option<&str> {
        let note = |m: &&session::Message| m.role == "system" && m.body["note"] == true;
        let last = self.messages[..stays].iter().rfind(note)?;
        Some(text_of(&last.body))
    }
}

/// What to say of a head that cannot stay.
pub(in crate::agent) fn new_prefix(why: &str, from: &str, to: &str) -> Notice {
    (
        format!("session {from} goes on as {to}, and all of it is read anew: {why}"),
        None,
    )
}
