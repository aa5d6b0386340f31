//! What a client asks for, whichever API it speaks: the one value that every request becomes.

use serde_json::Value;

use crate::chat::Message;
use crate::chat::wish::Calls;

/// A request for one reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// The model's name as the client wrote it. One process has one model, so nothing hangs on it.
    pub model: Option<String>,
    /// The leading system messages, joined by empty lines.
    pub system: Option<String>,
    /// The history behind them, the newest message last. System messages may stand among them.
    pub messages: Vec<Message>,
    /// Tools that the client runs: a list in OpenAI's form, at least one; `None` without any.
    pub tools: Option<Value>,
    /// Whether the reply may or must call one.
    pub choice: Calls,
    /// Whether one reply may have several calls; `None` where the client did not say.
    pub parallel: Option<bool>,
    /// How tokens are chosen; what is `None` is as this process was set.
    pub sampling: SamplingAsk,
    /// Texts that end the reply; none is empty.
    pub stop: Vec<String>,
    /// Most tokens of the reply, at least 1.
    pub max_tokens: Option<usize>,
    /// The form of the answer.
    pub format: Format,
    /// Whether the model is to think; `None` where the client did not say.
    pub think: Option<bool>,
    /// Whether to say how likely the tokens of the answer were, with so many of the likeliest in the
    /// place of each.
    pub odds: Option<usize>,
    /// How the reply is sent.
    pub show: Show,
    /// By what the session may be found.
    pub keys: SessionKeys,
    /// What the request holds and this server does not do, such as `logit_bias`; each once. It is
    /// named in a header of the response.
    pub ignored: Vec<String>,
}

impl Ask {
    /// Notes a part of the request that changes nothing here.
    pub fn ignore(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.ignored.contains(&what) {
            self.ignored.push(what);
        }
    }

    /// Puts the messages of a request in their places: the leading system messages become the
    /// system text, behind `system` where the API has such a field.
    pub fn place(&mut self, system: Option<String>, messages: Vec<Message>) {
        let leading = messages
            .iter()
            .take_while(|m| m.role == crate::chat::message::Role::System)
            .count();
        let mut messages = messages;
        let rest = messages.split_off(leading);
        let texts: Vec<String> = system
            .into_iter()
            .chain(messages.into_iter().map(|m| m.text))
            .filter(|text| !text.is_empty())
            .collect();
        self.system = (!texts.is_empty()).then(|| texts.join("\n\n"));
        self.messages = rest;
    }
}

/// How tokens are chosen; `None` is as this process was set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingAsk {
    /// 0 takes the most likely token.
    pub temperature: Option<f32>,
    /// 0 keeps all.
    pub top_k: Option<u32>,
    /// 1 keeps all.
    pub top_p: Option<f32>,
    /// 0 keeps all.
    pub min_p: Option<f32>,
    /// 1 is off.
    pub repeat_penalty: Option<f32>,
    /// Seed.
    pub seed: Option<u64>,
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    Object,
    /// JSON that this schema describes.
    Schema(Value),
}

/// How a reply is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// As events while it comes.
    pub stream: bool,
    /// With a last chunk of usage (chat completions and completions).
    pub usage: bool,
    /// With `prompt_progress` while the prompt is evaluated.
    pub progress: bool,
}

/// By what the session of a request may be found, the surest first. None is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionKeys {
    /// A session of npast by name: the header `x-npast-session`.
    pub name: Option<String>,
    /// A key that the client keeps for one conversation, with where it stood.
    pub conversation: Option<String>,
    /// The response that this request goes on from (Responses API).
    pub previous: Option<String>,
    /// Which of several agents that share a conversation's key this is.
    pub agent: Option<String>,
    /// What npast gave out and got back: ids of calls and items, signatures; in order, each once.
    pub given: Vec<String>,
    /// Whether the response is to be kept for a later `previous_response_id`.
    pub store: bool,
}

impl SessionKeys {
    /// Notes something that npast may have given out.
    pub fn given(&mut self, key: &str) {
        if !key.is_empty() && !self.given.iter().any(|k| k == key) {
            self.given.push(key.to_owned());
        }
    }
}
