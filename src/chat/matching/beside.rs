//! Whether a request stands beside the conversations that are open: a title, tags, follow-up questions, a
//! ping. Clients send these between two messages of a conversation, and want a few words once. They are
//! answered on scratch, and nothing of them is stored. Pure.
//!
//! No client is known by its own words. A request stands beside when it has the form of one question and
//! answer ([`is_one_question`]), continues nothing that is stored (which the caller knows), and shows one
//! of the signs of [`Sign`]. What is taken for one by mistake is answered all the same; its second message
//! then reads the first once more.

#[cfg(test)]
#[path = "beside_tests.rs"]
mod tests;

use super::blocks;
use super::pins::{self, PinRules, PinVerdict, Pinned};
use crate::chat::message::{Message, Role};

/// Most user messages of such a request.
const MOST_MESSAGES: usize = 3;
/// Most bytes of its texts.
const MOST_BYTES: usize = 256 << 10;
/// A reply of at most so many tokens is none of a conversation.
pub const FEW_TOKENS: usize = 16;
/// Most tokens of a reply for which words alone are a sign.
pub const SOME_TOKENS: usize = 256;
/// Bytes of a conversation's words that are looked for.
const QUOTED: usize = 48;
/// Fewer bytes are found anywhere.
const LEAST_QUOTED: usize = 8;
/// Bytes of the instruction that are looked through.
const INSTRUCTION: usize = 1200;

/// What is asked for beside a conversation, in any client's words.
const WORDS: [&str; 14] = [
    "title",
    "tags",
    "follow-up",
    "follow up",
    "topic",
    "summar",
    "keyword",
    "categor",
    "classif",
    "emoji",
    "search quer",
    "autocomplet",
    "suggest",
    "commit message",
];

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The system text.
    pub system: Option<&'a str>,
    /// It may call tools.
    pub tools: bool,
    /// All messages behind the system text.
    pub messages: &'a [Message],
    /// Most tokens of the reply, where the client says.
    pub most: Option<usize>,
}

/// A conversation that is open, or that the client calls by the same name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Open {
    /// Its system text.
    pub system: Option<String>,
    /// It has tools.
    pub tools: bool,
    /// The texts of its first and its last user message.
    pub said: Vec<String>,
    /// The request has the client's name of this conversation.
    pub named: bool,
}

/// By what a request is known to stand beside a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// It wants at most [`FEW_TOKENS`] tokens.
    FewTokens,
    /// It has the name of a conversation whose system text or tools are others.
    SharedName,
    /// It quotes a conversation whose system text or tools are others, or asks for such a thing about
    /// one that it quotes.
    Quotes,
    /// It asks for such a thing in at most [`SOME_TOKENS`] tokens, and has the head of no conversation.
    Asks,
}

impl Sign {
    /// The word in receipts and logs.
    pub fn name(self) -> &'static str {
        match self {
            Sign::FewTokens => "few_tokens",
            Sign::SharedName => "shared_name",
            Sign::Quotes => "quotes",
            Sign::Asks => "asks",
        }
    }
}

/// Whether a request has the form of one question and its answer: no tools, up to [`MOST_MESSAGES`] user
/// messages and nothing between them but instructions, and at its end perhaps the beginning of the reply.
pub fn is_one_question(asked: &Asked<'_>) -> bool {
    let messages = match asked.messages.split_last() {
        Some((last, rest)) if last.role == Role::Assistant && last.calls.is_empty() => rest,
        _ => asked.messages,
    };
    let users = messages.iter().filter(|m| m.role == Role::User).count();
    let bytes: usize = messages.iter().map(|m| m.text.len()).sum();
    let form = |m: &Message| matches!(m.role, Role::User | Role::System);
    !asked.tools
        && (1..=MOST_MESSAGES).contains(&users)
        && messages.iter().all(form)
        && bytes <= MOST_BYTES
}

/// The sign by which a request stands beside one of these conversations; nothing where none is open. The
/// request continues nothing that is stored.
pub fn sign(asked: &Asked<'_>, open: &[Open]) -> Option<Sign> {
    if open.is_empty() || !is_one_question(asked) {
        return None;
    }
    if asked.most.is_some_and(|most| most <= FEW_TOKENS) {
        return Some(Sign::FewTokens);
    }
    let other = |one: &&Open| other_head(asked, one);
    if open.iter().filter(other).any(|one| one.named) {
        return Some(Sign::SharedName);
    }
    let asks = asks(asked);
    if open
        .iter()
        .any(|one| (asks || other_head(asked, one)) && quotes(asked, one))
    {
        return Some(Sign::Quotes);
    }
    let short = asked.most.is_some_and(|most| most <= SOME_TOKENS);
    (short && asks && open.iter().all(|one| other_head(asked, one))).then_some(Sign::Asks)
}

/// Whether a conversation has another system text, or tools. What a pin would overlook is no other text.
fn other_head(asked: &Asked<'_>, one: &Open) -> bool {
    let head = |system| Pinned {
        system,
        ..Pinned::default()
    };
    let verdict = pins::compare(
        head(one.system.as_deref()),
        head(asked.system),
        PinRules::all(),
    );
    one.tools || matches!(verdict, PinVerdict::New(_))
}

/// Whether a request has words of a conversation among others. One that begins as the conversation does
/// is another conversation that begins with the same words.
fn quotes(asked: &Asked<'_>, one: &Open) -> bool {
    let first = asked.messages.iter().find(|m| m.role == Role::User);
    let same = |text: &String| first.is_some_and(|m| m.text.trim() == text.trim());
    if one.said.iter().any(same) {
        return false;
    }
    let texts = asked.messages.iter().map(|m| m.text.as_str());
    let texts: Vec<&str> = texts.chain(asked.system).collect();
    let words = one.said.iter().flat_map(|text| quotable(text));
    words.into_iter().any(|words| {
        // A client may quote it inside of JSON.
        let escaped = serde_json::Value::from(words.as_str()).to_string();
        let escaped = &escaped[1..escaped.len() - 1];
        let found = |text: &&str| text.contains(&words) || text.contains(escaped);
        texts.iter().any(found)
    })
}

/// What of a message is looked for: the beginnings of its first and of its longest line, without the
/// blocks that clients write into it.
fn quotable(text: &str) -> Vec<String> {
    let own = blocks::own_words(text);
    let lines = || own.lines().map(str::trim).filter(|l| !l.is_empty());
    let chosen = [lines().next(), lines().max_by_key(|line| line.len())];
    let mut all: Vec<String> = chosen
        .into_iter()
        .flatten()
        .map(|line| beginning(line, QUOTED).to_owned())
        .filter(|line| line.len() >= LEAST_QUOTED)
        .collect();
    all.dedup();
    all
}

/// The first bytes of a text, at most so many, without a part of a character.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Whether the instruction asks for what is asked beside conversations: the system text, or the beginning
/// of the first message where there is none.
fn asks(asked: &Asked<'_>) -> bool {
    let first = asked.messages.iter().find(|m| m.role == Role::User);
    let text = asked.system.or(first.map(|m| m.text.as_str()));
    let text = text.unwrap_or_default();
    let text = beginning(text, INSTRUCTION).to_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}
