//! A whole history as a client sends it, in the form in which it is compared.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::pins::Pinned;
use crate::chat::same::{self, NormalMessage};
use crate::ledger::Digest;

/// A conversation as a client sends it, all of it each time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientHistory {
    /// The system text.
    pub system: Option<String>,
    /// The tools, OpenAI form.
    pub tools: Option<Value>,
    /// All messages. System messages before all others are part of the system text.
    pub messages: Vec<Message>,
}

/// A history in the form in which it is compared, and known to be a conversation.
pub(in crate::agent) struct Sent {
    pub system: Option<String>,
    pub tools: Option<Value>,
    pub said: Vec<NormalMessage>,
    /// Messages before those, which are known to be stored.
    pub before: usize,
}

impl ClientHistory {
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
pub(in crate::agent) fn disordered(disorder: same::Disorder) -> AgentError {
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
        let step = |s: &NormalMessage| {
            let first = s.message.role == Role::User && !spoken;
            spoken |= first;
            last = same::chain(last, &s.message, first);
            last
        };
        self.said.iter().map(step).collect()
    }

    /// All messages, known ones included.
    pub fn count(&self) -> usize {
        self.before + self.said.len()
    }

    /// The messages from one on.
    pub fn behind(&self, at: usize) -> &[NormalMessage] {
        &self.said[at.saturating_sub(self.before).min(self.said.len())..]
    }

    /// The same as messages.
    pub fn from(&self, at: usize) -> Vec<Message> {
        let behind = self.behind(at).iter();
        behind.map(|s| s.message.clone()).collect()
    }
}
