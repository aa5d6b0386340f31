//! What npast.db stores, as values.

use serde_json::Value;

use super::Continuation;
use crate::ledger::{Digest, Finish, Token};

/// A session's row. Never used again after the session is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub i64);

/// A message's row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MessageId(pub i64);

/// What a session is made of. All of it but the name stays as it is until the session is removed.
#[derive(Clone, Copy, Debug)]
pub struct SessionRecord<'a> {
    /// Unique; must pass [`super::check_name`].
    pub name: &'a str,
    /// The folder it was started in, for [`super::Db::last_in_folder`].
    pub folder: &'a str,
    /// The model's file name, shown to people.
    pub model: &'a str,
    /// The model's memory class.
    pub class: &'a str,
    /// Hash of the vocabulary: the ledger belongs to it.
    pub vocab: Digest,
    /// Hash of the chat template.
    pub template: Digest,
    /// Hard fingerprint of the model: KV belongs to it.
    pub fingerprint: Digest,
    /// The system prompt's text, if any.
    pub system: Option<&'a str>,
    /// The tool list in OpenAI form, if any.
    pub tools: Option<&'a Value>,
    /// What stands before the user's words in the first user message, if anything.
    pub preface: Option<&'a str>,
    /// The frozen head: the first tokens of the ledger.
    pub head: &'a [Token],
    /// How many of the head's first tokens do not depend on the preface; `None` without one.
    pub common: Option<usize>,
    /// Unix milliseconds: the clock a template sees, in this and every later process.
    pub started_ms: i64,
    /// The session's sampling seed.
    pub seed: u64,
    /// History policy: `exact` or `template`.
    pub policy: &'a str,
    /// The session it was made from; see [`super::Db::succeed`] and [`super::Db::fork`].
    pub parent: Option<SessionId>,
    /// npast runs the session's tools; if false, calls are shown and the caller answers them.
    pub runs_tools: bool,
    /// Whether a template with a thinking switch is rendered with thinking on.
    pub thinking: bool,
    /// Whether a compression moves the last turns in memory instead of having them read again.
    pub shift: bool,
}

/// A stored session, without its messages and tokens. Fields as in [`SessionRecord`].
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Session {
    pub id: SessionId,
    pub name: String,
    pub folder: String,
    pub model: String,
    pub class: String,
    pub vocab: Digest,
    pub template: Digest,
    pub fingerprint: Digest,
    pub system: Option<String>,
    pub tools: Option<Value>,
    pub preface: Option<String>,
    /// Length of the frozen head in tokens.
    pub head: usize,
    pub common: Option<usize>,
    pub started_ms: i64,
    pub seed: u64,
    pub policy: String,
    /// `None` also when the parent was removed.
    pub parent: Option<SessionId>,
    pub runs_tools: bool,
    /// `None` in a session of an npast that did not store it, until [`super::Unit::freeze_thinking`].
    pub thinking: Option<bool>,
    pub shift: bool,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds of the last [`super::Unit::touch`], at first of the creation.
    pub used_ms: i64,
    /// Sums over all model calls.
    pub usage: ReceiptSums,
    /// How often a reply was sampled again: part of each call's seed.
    pub tries: u64,
    /// Tokens that it took over from its parent; `None` where it is no fork.
    pub forked: Option<usize>,
    /// The session that continues this one.
    pub successor: Option<SessionId>,
    /// How it continues its parent; `None` where it does not.
    pub made: Option<Continuation>,
    /// Its first messages, as many as it was made with as a successor.
    pub carried: usize,
}

/// Sums of receipts, in tokens but for `calls`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs)]
pub struct ReceiptSums {
    pub calls: u64,
    pub evaluated: u64,
    pub restored: u64,
    pub kept: u64,
    pub generated: u64,
}

/// One line of a list of sessions.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// The session.
    pub session: Session,
    /// Messages, without withdrawn ones.
    pub messages: usize,
    /// Tokens in the ledger.
    pub tokens: usize,
    /// The beginning of the first user message, on one line; empty if there is none.
    pub first_words: String,
    /// What it is about; nothing where the user named it.
    pub title: Option<super::Title>,
}

/// Where an input message stands (law 5). Messages of the assistant are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageState {
    /// Stored, not answered yet.
    Open,
    /// A reply to it has begun.
    Answered,
    /// Taken back, by Ctrl-C before the first sampled token or by undo; kept, not shown.
    Withdrawn,
}

impl MessageState {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Open => "open",
            MessageState::Answered => "answered",
            MessageState::Withdrawn => "withdrawn",
        }
    }

    /// The inverse of [`MessageState::as_str`].
    pub fn parse(word: &str) -> Option<MessageState> {
        [
            MessageState::Open,
            MessageState::Answered,
            MessageState::Withdrawn,
        ]
        .into_iter()
        .find(|s| s.as_str() == word)
    }
}

/// Tokens `start..end` of the ledger, in positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// A stored message.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredMessage {
    /// Its row.
    pub id: MessageId,
    /// Rising within the session; withdrawn messages leave holes.
    pub seq: usize,
    /// `user`, `assistant`, `tool`, `system`.
    pub role: String,
    /// The canonical message.
    pub body: Value,
    /// Where it stands.
    pub state: MessageState,
    /// Why a reply ended; `None` for input, and for a reply that a crash cut off.
    pub finish: Option<Finish>,
    /// Its tokens; `None` while it has none in the ledger.
    pub span: Option<Span>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// The digest of the conversation up to and with it, as clients' histories are compared; `None`
    /// where it is not known, or the message is no part of that.
    pub trail: Option<Digest>,
}

/// The beginning of a message's text on one line, at most `limit` characters.
pub(super) fn first_words(body: &Value, limit: usize) -> String {
    let parts: Vec<&str> = match &body["content"] {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => Vec::new(),
    };
    let mut line = String::new();
    let mut left = limit;
    for word in parts.iter().flat_map(|part| part.split_whitespace()) {
        if !line.is_empty() && left > 0 {
            line.push(' ');
            left -= 1;
        }
        for c in word.chars().filter(|c| !c.is_control()) {
            if left == 0 {
                return line.trim_end().into();
            }
            line.push(c);
            left -= 1;
        }
    }
    line.trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn first_words_are_one_short_line_of_text_or_parts() {
        let table = [
            (json!({"content": "a\n b\tc"}), "a b c"),
            (json!({"content": "0123456789 tail"}), "0123456789"),
            (json!({"content": "012345678 tail"}), "012345678"),
            (
                json!({"content": [{"type": "text", "text": "x"}, {"type": "image"}, {"text": "y"}]}),
                "x y",
            ),
            (json!({"content": "a\u{1b}[2J"}), "a[2J"),
            (json!({"content": null}), ""),
            (json!("odd"), ""),
        ];
        for (body, line) in table {
            assert_eq!(first_words(&body, 10), line, "{body}");
        }
    }

    #[test]
    fn states_have_words_that_are_read_back() {
        for state in [
            MessageState::Open,
            MessageState::Answered,
            MessageState::Withdrawn,
        ] {
            assert_eq!(MessageState::parse(state.as_str()), Some(state));
        }
        assert_eq!(MessageState::parse("Open"), None);
    }
}
