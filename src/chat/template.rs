//! A model's chat template: how conversations become text, with what its battery found out.

use std::borrow::Cow;

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value, json};

use super::adapt::Plan;
use super::battery::{self, Battery, Mode};
use super::message::Message;
use super::names::TrueNames;
use super::pieces::{Piece, PlaceError};
use super::tokenize::Tokenizer;
use super::wish::Wish;
use crate::llama::Apart;
use crate::llama::bridge::{Applied, BridgeError, Template};

/// Why a conversation cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The template engine.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
    /// The rendering cannot be taken apart.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The template leaves the reply before the new messages out.
    #[error("the template does not write the reply that the new messages follow")]
    NoAnchor,
    /// A tool cannot be described without letting its text speak as the template.
    #[error("a tool's name or schema holds the text of a control token")]
    HostileTools,
    /// The template needs whole renderings: see [`super::battery::Mode::Fallback`].
    #[error("the template cannot be rendered piece by piece: {0}")]
    Fallback(String),
    /// Nothing to append.
    #[error("there is no message to append")]
    Empty,
}

/// The texts of the vocabulary that matter to templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The BOS token's text, empty without one.
    pub bos: String,
    /// The EOS token's text, empty without one.
    pub eos: String,
    /// The texts of all end-of-generation tokens.
    pub eog: Vec<String>,
    /// The texts of all tokens that only the template may write: control tokens, and user-defined
    /// ones that it uses as marks (gpt-oss has `<|start|>` and `<|message|>` among these).
    pub control: Vec<String>,
}

impl Marks {
    /// The marks of a vocabulary, for the template that its tokenizer was made for.
    pub fn of(tokenizer: &Tokenizer) -> Marks {
        let vocab = tokenizer.vocab();
        let text = |token| String::from_utf8_lossy(&vocab.piece(token, true)).into_owned();
        Marks {
            bos: vocab.bos().map(text).unwrap_or_default(),
            eos: vocab.eos().map(text).unwrap_or_default(),
            eog: vocab
                .tokens()
                .filter(|token| vocab.is_end(*token))
                .map(text)
                .collect(),
            control: tokenizer.guarded_tokens().map(text).collect(),
        }
    }
}

/// What a session fixes at its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    /// The system text.
    pub system: Option<String>,
    /// The tools in OpenAI form.
    pub tools: Option<Value>,
    /// Whether the model may think where the template lets one choose.
    pub thinking: bool,
    /// The session's start (ms since 1970): the clock that templates see.
    pub started_ms: i64,
    /// Further variables of the template, such as `reasoning_effort`.
    pub kwargs: Map<String, Value>,
}

/// What the reply comes after; grammars and generation prompts may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// A user message.
    User,
    /// Tool results.
    Results,
}

/// How replies are constrained and read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyFormat {
    /// Grammar, triggers, stops and parser; its `prompt` is empty.
    pub applied: Applied,
    /// Calls are written in the plain format (see [`super::plain`]).
    pub plain_calls: bool,
    /// Texts that end a reply, since a reply goes on no further there: those of the format, and
    /// where role marks are ordinary text, those that begin the next message.
    pub ends: Vec<String>,
    /// What the tools' own names are, where others are written.
    pub names: TrueNames,
    /// The text is held to a JSON schema: what the grammar has around it (a fence of Markdown) is no
    /// part of it.
    pub held: bool,
}

impl ReplyFormat {
    /// Replies that are text and nothing else.
    pub fn plain() -> ReplyFormat {
        ReplyFormat {
            applied: Applied::plain(String::new(), String::new()),
            plain_calls: false,
            ends: Vec::new(),
            names: TrueNames::default(),
            held: false,
        }
    }
}

/// The start of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The text, generation prompt included.
    pub pieces: Vec<Piece>,
    /// How many bytes of it do not depend on the first user message.
    pub head_bytes: usize,
}

/// What is appended after a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The text from the reply's end-of-turn on, generation prompt included.
    pub pieces: Vec<Piece>,
    /// The end-of-turn that `pieces` begin with, in the form history has: the pending sampled
    /// end-of-turn token is dropped for it. Empty where templates write none.
    pub end_of_turn: String,
    /// What the template writes between a reply's last content and the end of turn, and a
    /// finished reply therefore wrote itself; a reply that was cut lacks it.
    pub closing: String,
}

/// A scripted or imported reply in the form the model would have sampled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text after the generation prompt, up to the end of turn.
    pub pieces: Vec<Piece>,
    /// The end of turn.
    pub end_of_turn: String,
}

/// A chat template, examined.
#[derive(Debug)]
pub struct ChatTemplate {
    pub(super) engine: Engine,
    battery: Battery,
}

impl ChatTemplate {
    /// Parses and examines a template, in this process; about 0.1 s.
    ///
    /// # Errors
    /// If the template cannot be parsed, or meets a bound of time, memory or stack. What it cannot
    /// write is in [`ChatTemplate::battery`].
    pub fn new(source: &str, marks: Marks) -> Result<ChatTemplate, ChatError> {
        let bridge = Template::new(source, &marks.bos, &marks.eos)?;
        ChatTemplate::examine(bridge, marks)
    }

    /// As [`ChatTemplate::new`], in a process of its own: for a template that a stranger made.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`]; also where the user stops it.
    pub fn apart(source: &str, marks: Marks, apart: &Apart) -> Result<ChatTemplate, ChatError> {
        let bridge = Template::apart(source, &marks.bos, &marks.eos, apart)?;
        ChatTemplate::examine(bridge, marks)
    }

    fn examine(bridge: Template, marks: Marks) -> Result<ChatTemplate, ChatError> {
        let mut engine = Engine::new(bridge, marks);
        let battery = battery::examine(&mut engine);
        engine.bridge.examined()?;
        Ok(ChatTemplate { engine, battery })
    }

    /// What the template can write.
    pub fn battery(&self) -> &Battery {
        &self.battery
    }

    /// The first messages of a session, up to the first reply.
    pub fn opening(&self, frame: &Frame, first: &[Message]) -> Result<Opening, ChatError> {
        self.engine.opening(frame, first, true)
    }

    /// What is appended when `messages` follow `reply`. All results of a reply come together, in
    /// call order. Cost: O(reply's calls + messages + tools).
    pub fn delta(
        &self,
        frame: &Frame,
        reply: &Message,
        messages: &[Message],
    ) -> Result<Delta, ChatError> {
        if let Mode::Fallback { reason } = &self.battery.mode {
            return Err(ChatError::Fallback(reason.clone()));
        }
        self.engine.delta(frame, reply, messages, true)
    }

    /// A whole conversation. Cost: O(conversation); for fallback templates and new histories.
    pub fn full(&self, frame: &Frame, messages: &[Message]) -> Result<Vec<Piece>, ChatError> {
        self.engine.full(frame, messages, true)
    }

    /// A reply as the model would have written it after the generation prompt.
    pub fn reply(&self, frame: &Frame, reply: &Message) -> Result<Rendered, ChatError> {
        self.engine.reply(frame, reply, &self.battery.thinking)
    }

    /// Grammar and parser for the replies of a session. Cost: O(tools); worth keeping.
    pub fn format(&self, frame: &Frame, after: After) -> Result<ReplyFormat, ChatError> {
        self.format_for(frame, after, &Wish::default())
    }

    /// The same for one reply of which more is asked.
    pub fn format_for(
        &self,
        frame: &Frame,
        after: After,
        wish: &Wish,
    ) -> Result<ReplyFormat, ChatError> {
        let mut format = self.engine.format_for(frame, after, wish)?;
        let next = &self.battery.next_messages;
        format.ends.clone_from(&format.applied.stops);
        format.ends.extend(next.iter().cloned());
        Ok(format)
    }

    /// Whether a text holds the text of a control token, or of a mark of the template.
    pub fn hostile(&self, text: &str) -> bool {
        self.engine.hostile(text)
    }

    /// The template engine's own capability map.
    pub fn caps(&self) -> std::collections::BTreeMap<String, bool> {
        self.engine.bridge.caps()
    }
}

/// The template with the plan in force; the battery tries plans on it.
#[derive(Debug)]
pub(super) struct Engine {
    pub bridge: Template,
    pub marks: Marks,
    pub plan: Plan,
    /// The end of turn of plain replies, where it is no end-of-generation token.
    pub turn_end: Option<String>,
    control: Option<AhoCorasick>,
}

impl Engine {
    pub fn new(bridge: Template, marks: Marks) -> Engine {
        // SentencePiece has `▁` for a space, and puts one before a text.
        let texts = marks.control.iter().map(|t| spaced(t).trim().to_owned());
        let control = AhoCorasick::new(texts.filter(|t| !t.is_empty())).ok();
        Engine {
            bridge,
            marks,
            plan: Plan::default(),
            turn_end: None,
            control,
        }
    }

    /// Whether a text holds the text of a control token or a mark, as it is or as a vocabulary
    /// that escapes spaces reads it.
    pub fn hostile(&self, text: &str) -> bool {
        let control = self.control.as_ref();
        control.is_some_and(|c| c.is_match(spaced(text).as_ref()))
    }

    pub fn request(
        &self,
        frame: &Frame,
        tools: Option<&Value>,
        messages: Vec<Value>,
        generation: bool,
    ) -> Value {
        let mut request = json!({
            "messages": messages,
            "add_generation_prompt": generation,
            "enable_thinking": frame.thinking,
            "now_ms": frame.started_ms,
            "kwargs": frame.kwargs,
            "parallel_tool_calls": !self.plan.results_one_by_one,
        });
        if let Some(tools) = tools {
            request["tools"] = tools.clone();
        }
        request
    }
}

/// A text with spaces for `▁`.
fn spaced(text: &str) -> Cow<'_, str> {
    match text.contains('▁') {
        true => Cow::Owned(text.replace('▁', " ")),
        false => Cow::Borrowed(text),
    }
}
