//! llama.cpp's template engine, grammars and reply parsers, through `vendor/chat-bridge`.
//!
//! JSON goes in and comes out; what it means in messages and tokens is the chat room's business.
//! Templates and replies are a stranger's bytes: sizes are bounded here, depth and clock in the
//! bridge, and everything that goes wrong there arrives as a [`BridgeError`]. What one step of a
//! template may take of time, memory and stack is bounded by the process that runs it: `remote` is a
//! child of npast that holds one template; `raw` is the engine in this process.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod parser;
mod raw;
mod remote;

use super::apart::Apart;
pub use parser::Parser;
use raw::{Handle, Op};
use remote::Remote;
pub use remote::{TASK, serve};

/// Longest template source that is tried, in bytes (the longest known one has 40 thousand).
pub const MAX_TEMPLATE_BYTES: usize = 512 * 1024;
/// Longest request to a template, in bytes of JSON.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024 * 1024;
/// Longest reply that is parsed, in bytes.
pub const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;

/// Processor time in which a child must examine a template; known ones take 0.1 s.
const EXAMINATION: Duration = Duration::from_secs(2);

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
pub struct Parsed {
    /// The text beside reasoning and calls.
    pub content: String,
    /// The reasoning, empty without one.
    #[serde(rename = "reasoning_content")]
    pub reasoning: String,
    /// The calls in the order of the reply.
    #[serde(rename = "tool_calls")]
    pub calls: Vec<ParsedCall>,
}

/// A parsed chat template. Requests are JSON objects: `messages` (OpenAI form), and where wanted
/// `tools`, `tool_choice`, `parallel_tool_calls`, `add_generation_prompt`, `enable_thinking`,
/// `now_ms` (the clock the template sees), `kwargs`, `json_schema`, `add_bos`.
///
/// From its making until [`Template::examined`] it is being examined: a bound that it meets then is
/// its answer to everything that follows, since an examination renders some hundred times.
#[derive(Debug)]
pub struct Template {
    place: Place,
    /// What its examination took so far, and the bound that it met.
    examination: Mutex<(Duration, Option<BridgeError>)>,
    examining: AtomicBool,
}

/// Where a template runs.
#[derive(Debug)]
enum Place {
    Here(Handle),
    Apart(Remote),
}

impl Template {
    /// Parses a template, in this process. `bos` and `eos` are the texts of these tokens, empty
    /// without one.
    ///
    /// # Errors
    /// `TooLong`, or `Template` with the engine's reason.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template, BridgeError> {
        bounded("chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        match Handle::new(source, bos, eos) {
            Ok(handle) => Ok(Template::at(Place::Here(handle))),
            Err(answer) => Err(refusal(answer, BridgeError::Template)),
        }
    }

    /// Parses a template, in a child of npast.
    ///
    /// # Errors
    /// As [`Template::new`]; `Stopped`, `Interrupted`.
    pub fn apart(
        source: &str,
        bos: &str,
        eos: &str,
        apart: &Apart,
    ) -> Result<Template, BridgeError> {
        bounded("chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        let remote = Remote::new(source, bos, eos, apart.clone())?;
        Ok(Template::at(Place::Apart(remote)))
    }

    fn at(place: Place) -> Template {
        Template {
            place,
            examination: Mutex::new((Duration::ZERO, None)),
            examining: AtomicBool::new(true),
        }
    }

    /// The examination is over. A bound that the template met in it is an error.
    ///
    /// # Errors
    /// `Stopped` or `Interrupted`.
    pub fn examined(&self) -> Result<(), BridgeError> {
        self.examining.store(false, Ordering::SeqCst);
        let found = self.examination.lock();
        let found = found.map_or_else(|poison| poison.into_inner().1.take(), |mut f| f.1.take());
        found.map_or(Ok(()), Err)
    }

    /// Renders a conversation and makes its grammar and reply parser.
    ///
    /// # Errors
    /// `Render` where the template raises, `NoParser` where no parser can be derived.
    pub fn apply(&self, request: &Value) -> Result<Applied, BridgeError> {
        self.call(Op::Apply, &request_text(request)?, render_error)
    }

    /// Renders a conversation: the same text as [`Applied::prompt`], made faster.
    ///
    /// # Errors
    /// `Render` where the template raises.
    pub fn render(&self, request: &Value) -> Result<String, BridgeError> {
        #[derive(Deserialize)]
        struct Prompt {
            prompt: String,
        }
        let made = self.call::<Prompt>(Op::Render, &request_text(request)?, BridgeError::Render);
        made.map(|p| p.prompt)
    }

    /// llama.cpp's own entry point, to compare with.
    #[cfg(test)]
    fn reference(&self, request: &Value) -> Result<Applied, BridgeError> {
        self.call(Op::Reference, &request_text(request)?, render_error)
    }

    /// What the template can do, by llama.cpp's names (`supports_tools`, …).
    pub fn caps(&self) -> BTreeMap<String, bool> {
        self.call(Op::Caps, "", BridgeError::Bridge)
            .unwrap_or_default()
    }

    fn call<T: serde::de::DeserializeOwned>(
        &self,
        op: Op,
        text: &str,
        kind: impl Fn(String) -> BridgeError,
    ) -> Result<T, BridgeError> {
        self.still_examined()?;
        let (answer, took) = match &self.place {
            Place::Here(handle) => (Ok(handle.call(op, text)), Duration::ZERO),
            Place::Apart(remote) => match remote.call(op, text) {
                Ok((answer, took)) => (Ok(answer), took),
                Err(error) => (Err(error), Duration::ZERO),
            },
        };
        let read = answer.and_then(|answer| read(answer, kind));
        if let Err(error @ (BridgeError::Stopped(_) | BridgeError::Interrupted)) = &read {
            self.met(error);
        }
        self.took(took);
        read
    }

    /// The bound that was met in an examination that goes on, if one was.
    fn still_examined(&self) -> Result<(), BridgeError> {
        if !self.examining.load(Ordering::SeqCst) {
            return Ok(());
        }
        let found = self.examination.lock();
        let met = found.ok().and_then(|found| found.1.clone());
        met.map_or(Ok(()), Err)
    }

    /// Counts processor time of an examination.
    fn took(&self, time: Duration) {
        let Ok(mut found) = self.examination.lock() else {
            return;
        };
        found.0 += time;
        if self.examining.load(Ordering::SeqCst) && found.1.is_none() && found.0 > EXAMINATION {
            found.1 = Some(BridgeError::Stopped(format!(
                "some small conversations take it more than {} s of processor time",
                EXAMINATION.as_secs()
            )));
        }
    }

    fn met(&self, bound: &BridgeError) {
        if self.examining.load(Ordering::SeqCst)
            && let Ok(mut found) = self.examination.lock()
        {
            found.1.get_or_insert_with(|| bound.clone());
        }
    }
}

fn bounded(what: &'static str, bytes: usize, limit: usize) -> Result<(), BridgeError> {
    if bytes > limit {
        return Err(BridgeError::TooLong { what, bytes, limit });
    }
    Ok(())
}

fn request_text(request: &Value) -> Result<String, BridgeError> {
    let text = request.to_string();
    bounded("conversation", text.len(), MAX_REQUEST_BYTES)?;
    Ok(text)
}

fn render_error(reason: String) -> BridgeError {
    match reason.strip_prefix("Unable to generate parser for this template") {
        Some(rest) => BridgeError::NoParser(rest.trim_start_matches([':', '.', ' ']).to_owned()),
        None => BridgeError::Render(reason),
    }
}

/// What an answer of the bridge says; `None` is an answer that there was no memory for.
fn read<T: serde::de::DeserializeOwned>(
    answer: Option<String>,
    kind: impl Fn(String) -> BridgeError,
) -> Result<T, BridgeError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer<T> {
        Refused { error: String },
        Stopped { stopped: String },
        Made(T),
    }
    let text = answer.ok_or_else(out_of_memory)?;
    match serde_json::from_str(&text) {
        Ok(Answer::Made(value)) => Ok(value),
        Ok(Answer::Refused { error }) => Err(kind(one_line(&error))),
        Ok(Answer::Stopped { stopped }) => Err(BridgeError::Stopped(stopped)),
        Err(error) => Err(BridgeError::Bridge(error.to_string())),
    }
}

fn refusal(answer: Option<String>, kind: impl Fn(String) -> BridgeError) -> BridgeError {
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

#[cfg(test)]
mod tests;
