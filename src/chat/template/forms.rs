//! What goes into a rendering and what comes out of one: values that every part of the template's code
//! uses.

use serde_json::{Map, Value};

use super::names::TrueNames;
use super::pieces::{Piece, PlaceError};
use crate::chat::tokens::tokenize::Tokenizer;
use crate::llama::bridge::{Applied, BridgeError};

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
    /// The template needs whole renderings: see [`super::battery::RenderMode::Fallback`].
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
pub struct TemplateFrame {
    /// The system text.
    pub system: Option<String>,
    /// The tools in OpenAI form.
    pub tools: Option<Value>,
    /// What the first user message begins with, before the user's own words: a rendering that begins with
    /// the first message has it, behind the system text and the tools. No message has it.
    pub preface: Option<String>,
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
    /// Calls are written in the plain format (see [`crate::chat::plain`]).
    pub plain_calls: bool,
    /// The names of the tools as the model reads them, where calls are in the plain format.
    pub plain_tools: Vec<String>,
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
            plain_tools: Vec::new(),
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
pub struct RenderedReply {
    /// The text after the generation prompt, up to the end of turn.
    pub pieces: Vec<Piece>,
    /// The end of turn.
    pub end_of_turn: String,
}
