//! The values that the bridge takes and returns, with the bounds of both.

use serde::{Deserialize, Serialize};

/// Longest template source that is tried, in bytes (the longest known one has 40 thousand).
pub const MAX_TEMPLATE_BYTES: usize = 512 * 1024;
/// Longest request to a template, in bytes of JSON.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024 * 1024;
/// Longest reply that is parsed, in bytes.
pub const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;

/// What the chat bridge refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// The text is longer than the bound.
    #[error("the {what} has {bytes} bytes, more than the {limit} that are allowed")]
    TooLong {
        /// What was too long.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// The template cannot be parsed.
    #[error("the chat template cannot be parsed: {0}")]
    Template(String),
    /// The template raised an error, or refused these messages.
    #[error("the chat template refused the conversation: {0}")]
    Render(String),
    /// The template met a bound of time, memory or stack.
    #[error("the chat template was stopped: {0}")]
    Stopped(String),
    /// The user stopped the rendering.
    #[error("the chat template was interrupted")]
    Interrupted,
    /// llama.cpp can derive no reply parser for this template and these tools.
    #[error("no reply parser can be made for the chat template: {0}")]
    NoParser(String),
    /// The reply does not have the form that the template's parser expects.
    #[error("the reply does not have the template's form: {0}")]
    Reply(String),
    /// The answer of the bridge was no JSON, or its process does not start.
    #[error("the chat bridge failed: {0}")]
    Bridge(String),
}

/// One lazy trigger of a grammar, as llama.cpp counts them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// 0 token, 1 word, 2 pattern, 3 pattern over the whole reply.
    #[serde(rename = "type")]
    pub kind: i32,
    /// The word or pattern.
    pub value: String,
    /// The token id, for kind 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<i32>,
}

/// What [`Template::apply`] makes of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The rendered text.
    pub prompt: String,
    /// llama.cpp's number of the reply format.
    pub format: i32,
    /// The grammar (GBNF) of replies, empty without one.
    pub grammar: String,
    /// Whether the grammar waits for a trigger.
    pub grammar_lazy: bool,
    /// What wakes a lazy grammar.
    pub triggers: Vec<Trigger>,
    /// The end of `prompt` that opens the reply.
    pub generation_prompt: String,
    /// Whether replies may hold reasoning.
    pub supports_thinking: bool,
    /// The text that opens reasoning, such as `<think>`.
    pub thinking_start: String,
    /// The texts that close reasoning.
    pub thinking_ends: Vec<String>,
    /// Texts that should be single tokens where the vocabulary has them.
    pub preserved_tokens: Vec<String>,
    /// Stop strings that the format needs beside the end-of-turn token.
    pub stops: Vec<String>,
    /// The reply parser in llama.cpp's own serialisation, empty for plain content.
    pub parser: String,
}

impl Applied {
    /// A reply that is content and nothing else: for templates without a parser.
    pub fn plain(prompt: String, generation_prompt: String) -> Applied {
        Applied {
            prompt,
            format: 0,
            grammar: String::new(),
            grammar_lazy: false,
            triggers: Vec::new(),
            generation_prompt,
            supports_thinking: false,
            thinking_start: String::new(),
            thinking_ends: Vec::new(),
            preserved_tokens: Vec::new(),
            stops: Vec::new(),
            parser: String::new(),
        }
    }
}

/// A tool call as a reply wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ParsedCall {
    /// The call's id where the format has one, else empty.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, JSON text; may be unfinished while the reply is partial.
    pub arguments: String,
}

/// A reply taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct ParsedReply {
    /// The text beside reasoning and calls.
    pub content: String,
    /// The reasoning, empty without one.
    #[serde(rename = "reasoning_content")]
    pub reasoning: String,
    /// The calls in the order of the reply.
    #[serde(rename = "tool_calls")]
    pub calls: Vec<ParsedCall>,
}

/// Refuses a text that is longer than its bound.
pub(super) fn bounded(what: &'static str, bytes: usize, limit: usize) -> Result<(), BridgeError> {
    if bytes > limit {
        return Err(BridgeError::TooLong { what, bytes, limit });
    }
    Ok(())
}

/// What an answer of the bridge says; `None` is an answer that there was no memory for.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    answer: Option<String>,
    kind: impl Fn(String) -> BridgeError,
) -> Result<T, BridgeError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum AnswerForm<T> {
        Refused { error: String },
        Stopped { stopped: String },
        Made(T),
    }
    let text = answer.ok_or_else(out_of_memory)?;
    match serde_json::from_str(&text) {
        Ok(AnswerForm::Made(value)) => Ok(value),
        Ok(AnswerForm::Refused { error }) => Err(kind(one_line(&error))),
        Ok(AnswerForm::Stopped { stopped }) => Err(BridgeError::Stopped(stopped)),
        Err(error) => Err(BridgeError::Bridge(error.to_string())),
    }
}

/// The error of an answer that is not a value.
pub(super) fn refusal(answer: Option<String>, kind: impl Fn(String) -> BridgeError) -> BridgeError {
    match read::<()>(answer, kind) {
        Err(error) => error,
        Ok(()) => out_of_memory(),
    }
}

fn out_of_memory() -> BridgeError {
    BridgeError::Stopped("what it builds is too large".to_owned())
}

/// The engine quotes the template over several lines; the last `Error:` is the reason.
fn one_line(reason: &str) -> String {
    let reason = reason.trim();
    let from = reason.rfind("Error: ").map_or(0, |at| at + "Error: ".len());
    let mut line = reason[from..].split_whitespace().fold(
        String::with_capacity(reason.len()),
        |mut line, word| {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            line
        },
    );
    if let Some((end, _)) = line.char_indices().nth(300) {
        line.truncate(end);
        line.push('…');
    }
    line
}
