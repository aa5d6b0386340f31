//! llama.cpp's template engine, grammars and reply parsers, through `vendor/chat-bridge`.
//!
//! JSON goes in and comes out; what it means in messages and tokens is the chat room's business.
//! Templates and replies are a stranger's bytes: sizes are bounded here, depth and clock in the
//! bridge, and everything that goes wrong there arrives as a [`BridgeError`].

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;

// The bridge calls into the llama.cpp that this crate links, also where no Rust code names it.
use llama_cpp_sys_2 as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// llama.cpp can derive no reply parser for this template and these tools.
    #[error("no reply parser can be made for the chat template: {0}")]
    NoParser(String),
    /// The reply does not have the form that the template's parser expects.
    #[error("the reply does not have the template's form: {0}")]
    Reply(String),
    /// The answer of the bridge was no JSON, or memory ran out there.
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

#[repr(C)]
struct RawTemplate {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawParser {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn npast_chat_template_new(
        source: *const c_char,
        source_len: usize,
        bos: *const c_char,
        bos_len: usize,
        eos: *const c_char,
        eos_len: usize,
        out: *mut *mut RawTemplate,
    ) -> *mut c_char;
    fn npast_chat_template_free(handle: *mut RawTemplate);
    fn npast_chat_caps(handle: *const RawTemplate) -> *mut c_char;
    fn npast_chat_apply(
        handle: *mut RawTemplate,
        request: *const c_char,
        len: usize,
    ) -> *mut c_char;
    fn npast_chat_render(
        handle: *mut RawTemplate,
        request: *const c_char,
        len: usize,
    ) -> *mut c_char;
    #[cfg(test)]
    fn npast_chat_reference(
        handle: *const RawTemplate,
        request: *const c_char,
        len: usize,
    ) -> *mut c_char;
    fn npast_chat_parser_new(
        applied: *const c_char,
        len: usize,
        out: *mut *mut RawParser,
    ) -> *mut c_char;
    fn npast_chat_parser_free(handle: *mut RawParser);
    fn npast_chat_parse(
        handle: *const RawParser,
        text: *const c_char,
        len: usize,
        partial: c_int,
    ) -> *mut c_char;
    fn npast_chat_string_free(text: *mut c_char);
}

/// A parsed chat template. Requests are JSON objects: `messages` (OpenAI form), and where wanted
/// `tools`, `tool_choice`, `parallel_tool_calls`, `add_generation_prompt`, `enable_thinking`,
/// `now_ms` (the clock the template sees), `kwargs`, `json_schema`, `add_bos`.
#[derive(Debug)]
pub struct Template(NonNull<RawTemplate>);

// SAFETY: the handle owns its memory and is bound to no thread.
unsafe impl Send for Template {}
// SAFETY: the tree is constant after construction; its one lazy part is made under `call_once`.
unsafe impl Sync for Template {}

impl Template {
    /// Parses a template. `bos` and `eos` are the texts of these tokens, empty without one.
    ///
    /// # Errors
    /// `TooLong`, or `Template` with the engine's reason.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template, BridgeError> {
        bounded("chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the three texts are valid for their lengths, `handle` is a place for a pointer.
        let answer = unsafe {
            npast_chat_template_new(
                source.as_ptr().cast(),
                source.len(),
                bos.as_ptr().cast(),
                bos.len(),
                eos.as_ptr().cast(),
                eos.len(),
                &mut handle,
            )
        };
        match NonNull::new(handle) {
            Some(handle) => Ok(Template(handle)),
            None => Err(refusal(answer, BridgeError::Template)),
        }
    }

    /// Renders a conversation and makes its grammar and reply parser.
    ///
    /// # Errors
    /// `Render` where the template raises, `NoParser` where no parser can be derived.
    pub fn apply(&self, request: &Value) -> Result<Applied, BridgeError> {
        let text = request_text(request)?;
        // SAFETY: the handle lives as long as self, the text is valid for its length.
        let answer = unsafe { npast_chat_apply(self.0.as_ptr(), text.as_ptr().cast(), text.len()) };
        read(answer, render_error)
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
        let text = request_text(request)?;
        // SAFETY: as in `apply`.
        let answer =
            unsafe { npast_chat_render(self.0.as_ptr(), text.as_ptr().cast(), text.len()) };
        read::<Prompt>(answer, BridgeError::Render).map(|p| p.prompt)
    }

    /// llama.cpp's own entry point, to compare with.
    #[cfg(test)]
    fn reference(&self, request: &Value) -> Result<Applied, BridgeError> {
        let text = request_text(request)?;
        // SAFETY: as in `apply`.
        let answer =
            unsafe { npast_chat_reference(self.0.as_ptr(), text.as_ptr().cast(), text.len()) };
        read(answer, render_error)
    }

    /// What the template can do, by llama.cpp's names (`supports_tools`, …).
    pub fn caps(&self) -> BTreeMap<String, bool> {
        // SAFETY: the handle lives as long as self.
        let answer = unsafe { npast_chat_caps(self.0.as_ptr()) };
        read(answer, BridgeError::Bridge).unwrap_or_default()
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // SAFETY: made by npast_chat_template_new, freed once.
        unsafe { npast_chat_template_free(self.0.as_ptr()) }
    }
}

/// A reply parser, loaded once for all replies of one grammar.
#[derive(Debug)]
pub struct Parser(NonNull<RawParser>);

// SAFETY: the handle owns its memory and is bound to no thread.
unsafe impl Send for Parser {}
// SAFETY: parsing keeps its state apart from the parser, which is constant.
unsafe impl Sync for Parser {}

impl Parser {
    /// Loads the parser of an applied conversation.
    ///
    /// # Errors
    /// `Bridge` if the serialised parser is not one.
    pub fn new(applied: &Applied) -> Result<Parser, BridgeError> {
        let text = json!({
            "format": applied.format,
            "generation_prompt": applied.generation_prompt,
            "parser": applied.parser,
        })
        .to_string();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the text is valid for its length, `handle` is a place for a pointer.
        let answer =
            unsafe { npast_chat_parser_new(text.as_ptr().cast(), text.len(), &mut handle) };
        match NonNull::new(handle) {
            Some(handle) => Ok(Parser(handle)),
            None => Err(refusal(answer, BridgeError::Bridge)),
        }
    }

    /// Takes a reply apart: what was sampled after the prompt, without the end-of-turn token.
    /// `partial` says that more may come; the cost is O(text) each time.
    ///
    /// # Errors
    /// `Reply` if the text does not have the template's form.
    pub fn parse(&self, text: &str, partial: bool) -> Result<Parsed, BridgeError> {
        bounded("reply", text.len(), MAX_REPLY_BYTES)?;
        // SAFETY: the handle lives as long as self, the text is valid for its length.
        let answer = unsafe {
            npast_chat_parse(
                self.0.as_ptr(),
                text.as_ptr().cast(),
                text.len(),
                c_int::from(partial),
            )
        };
        read(answer, BridgeError::Reply)
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: made by npast_chat_parser_new, freed once.
        unsafe { npast_chat_parser_free(self.0.as_ptr()) }
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

/// Takes an answer's text over and frees it.
fn take(answer: *mut c_char) -> Option<String> {
    if answer.is_null() {
        return None;
    }
    // SAFETY: a non-null answer is a NUL-terminated text of the bridge, freed once, after the copy.
    let text = unsafe { CStr::from_ptr(answer) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: as above.
    unsafe { npast_chat_string_free(answer) };
    Some(text)
}

fn read<T: serde::de::DeserializeOwned>(
    answer: *mut c_char,
    kind: impl Fn(String) -> BridgeError,
) -> Result<T, BridgeError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer<T> {
        Refused { error: String },
        Made(T),
    }
    let text = take(answer).ok_or_else(out_of_memory)?;
    match serde_json::from_str(&text) {
        Ok(Answer::Made(value)) => Ok(value),
        Ok(Answer::Refused { error }) => Err(kind(one_line(&error))),
        Err(error) => Err(BridgeError::Bridge(error.to_string())),
    }
}

fn refusal(answer: *mut c_char, kind: impl Fn(String) -> BridgeError) -> BridgeError {
    match read::<()>(answer, kind) {
        Err(error) => error,
        Ok(()) => out_of_memory(),
    }
}

fn out_of_memory() -> BridgeError {
    BridgeError::Bridge("out of memory".to_owned())
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
