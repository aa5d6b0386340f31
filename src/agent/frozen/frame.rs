//! What a session fixed at its start (system prompt, tools, clock), and how messages become tokens
//! under it. Cost is O(new), but for whole renderings.

use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value};

use crate::agent::engine::shared::EngineShared;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::chat::Message;
use crate::chat::pieces::{self, for_tokenizer};
use crate::chat::script::{Sampled, ScriptError, ScriptLine};
use crate::chat::template::{After, Delta, ReplyFormat, TemplateFrame};
use crate::chat::tokenize::Authored;
use crate::chat::wish::ReplyWish;
use crate::ledger::{Token, common_prefix};
use crate::session::Session;

use super::head;
use super::maker::{Maker, OfferedFormat};

/// What a session fixed at its start.
pub(in crate::agent) struct FrozenFrame {
    frame: TemplateFrame,
}

impl FrozenFrame {
    pub fn new(
        system: Option<String>,
        tools: Option<Value>,
        thinking: bool,
        started_ms: i64,
    ) -> FrozenFrame {
        FrozenFrame {
            frame: TemplateFrame {
                system,
                tools,
                preface: None,
                thinking,
                started_ms,
                kwargs: Map::new(),
            },
        }
    }

    /// Of a session that starts, its tools as they can be offered, its preface where the template can
    /// have it; and what there is to say of the tools.
    pub fn start(
        shared: &EngineShared,
        system: Option<String>,
        tools: Option<Value>,
        preface: Option<String>,
        thinking: bool,
        started_ms: i64,
    ) -> (FrozenFrame, Vec<Notice>) {
        let mut frame = FrozenFrame::new(system, tools, thinking, started_ms).frame;
        let (tools, notices) = Maker::of(shared).freeze(&frame);
        (frame.tools, frame.preface) = (tools, preface);
        let frame = head::placed(&shared.template, &shared.tokenizer, frame);
        (FrozenFrame { frame }, notices)
    }

    /// The system text.
    pub fn system(&self) -> Option<&str> {
        self.frame.system.as_deref()
    }

    /// What stands before the user's words in the first user message.
    pub fn preface(&self) -> Option<&str> {
        self.frame.preface.as_deref()
    }

    /// The tools, in OpenAI form.
    pub fn tools(&self) -> Option<&Value> {
        self.frame.tools.as_ref()
    }

    /// Of a stored session; if it does not say whether it thinks, the option of this process decides.
    pub fn of(shared: &EngineShared, row: &Session) -> FrozenFrame {
        let thinking = row.thinking.unwrap_or_else(|| shared.options.thinks());
        FrozenFrame::thinking(row, thinking)
    }

    fn thinking(row: &Session, thinking: bool) -> FrozenFrame {
        let (system, tools) = (row.system.clone(), row.tools.clone());
        let mut frozen = FrozenFrame::new(system, tools, thinking, row.started_ms);
        frozen.frame.preface.clone_from(&row.preface);
        frozen
    }

    /// The same, where the template is asked not to think.
    pub fn quiet(&self) -> FrozenFrame {
        let mut frame = self.frame.clone();
        frame.thinking = false;
        FrozenFrame { frame }
    }

    /// The same with this tool alone, for the reading of a reply.
    pub fn with_tool(&self, name: &str) -> FrozenFrame {
        let mut frame = self.frame.clone();
        if let Some(Value::Array(tools)) = &mut frame.tools {
            tools.retain(|tool| tool["function"]["name"] == name);
        }
        FrozenFrame { frame }
    }

    /// Whether a stored session without this setting was started with thinking. Renders the messages
    /// `first` both ways: the answer is known if exactly one of the two gives `prompt`, the tokens that the
    /// ledger has before the first reply.
    pub fn was_thinking(
        shared: &EngineShared,
        row: &Session,
        first: &[Message],
        prompt: &[Token],
    ) -> Option<bool> {
        let wrote = |thinking: &bool| {
            let frozen = FrozenFrame::thinking(row, *thinking);
            let written = match first {
                [] => frozen.head(shared),
                first => frozen.opening(shared, first),
            };
            written.is_ok_and(|tokens| tokens == prompt)
        };
        let mut both = [true, false].into_iter().filter(wrote);
        // Most templates have no such switch, and both write the same.
        match (both.next(), both.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// The frozen head: the tokens up to the end of the preface. Without one it is what two openings with
    /// different first messages have in common, cut back to the last control token or mark (some
    /// vocabularies have no control tokens in it).
    pub fn head(&self, shared: &EngineShared) -> Result<Vec<Token>, AgentError> {
        head::head_of(&shared.template, &shared.tokenizer, &self.frame)
    }

    /// How many tokens of the head do not depend on the preface: sessions of other folders and days have
    /// them too.
    pub fn common_len(&self, shared: &EngineShared, head: &[Token]) -> Result<usize, AgentError> {
        head::common_len(&shared.template, &shared.tokenizer, &self.frame, head)
    }

    /// The tokens of a conversation's first messages, generation prompt included.
    pub fn opening(
        &self,
        shared: &EngineShared,
        first: &[Message],
    ) -> Result<Vec<Token>, AgentError> {
        let opening = shared.template.opening(&self.frame, first)?;
        head::tokens_of(&shared.tokenizer, opening.pieces)
    }

    /// The tokens of a whole conversation, generation prompt included.
    pub fn whole(
        &self,
        shared: &EngineShared,
        messages: &[Message],
    ) -> Result<Vec<Token>, AgentError> {
        let pieces = shared.template.full(&self.frame, messages)?;
        head::tokens_of(&shared.tokenizer, pieces)
    }

    /// The tokens of a conversation that ends in a reply, up to its end of turn.
    pub fn closed_tokens(
        &self,
        shared: &EngineShared,
        messages: &[Message],
    ) -> Result<Vec<Token>, AgentError> {
        let with = |text: &str| {
            let mut messages = messages.to_vec();
            messages.push(Message::user(text));
            self.whole(shared, &messages)
        };
        let vocab = shared.model.vocab();
        let one = with("One.")?;
        // What a delta would append is no part of it, but for the end of turn, which waits there
        // as if it had been sampled; where that is no token of the kind, the delta brings it.
        let delta = messages.last().map(|reply| {
            let delta = self.delta(shared, reply, &[Message::user("One.")])?;
            FrozenFrame::continuation(shared, &one, "", delta.pieces)
        });
        if let Some(Ok(delta)) = delta
            && one.ends_with(&delta)
        {
            let ended = delta.first().is_some_and(|t| vocab.is_end(*t));
            return Ok(one[..one.len() - delta.len() + usize::from(ended)].to_vec());
        }
        // Otherwise: what two continuations have in common, up to its last end of turn.
        let other = with("Another one?")?;
        let common = common_prefix(&one, &other);
        let end = one[..common]
            .iter()
            .rposition(|t| vocab.is_end(*t))
            .map_or(common, |i| i + 1);
        Ok(one[..end].to_vec())
    }

    pub fn delta(
        &self,
        shared: &EngineShared,
        reply: &Message,
        messages: &[Message],
    ) -> Result<Delta, AgentError> {
        Ok(shared.template.delta(&self.frame, reply, messages)?)
    }

    /// A reply as the model would have written it after the generation prompt, and its end of turn.
    pub fn written(
        &self,
        shared: &EngineShared,
        reply: &Message,
    ) -> Result<(Vec<pieces::Piece>, String), AgentError> {
        let written = shared.template.reply(&self.frame, reply)?;
        Ok((written.pieces, written.end_of_turn))
    }

    /// A prepared reply as the model would have written it.
    pub fn sampled(
        &self,
        shared: &EngineShared,
        line: &ScriptLine,
    ) -> Result<Sampled, ScriptError> {
        line.sampled(&shared.template, &self.frame)
    }

    /// How replies are read and constrained; nothing where `cancel` came first.
    pub fn format(
        &self,
        shared: &EngineShared,
        after: After,
        cancel: &AtomicBool,
    ) -> Result<Option<OfferedFormat>, AgentError> {
        Maker::of(shared).format(&self.frame, after, cancel)
    }

    /// How one reply with further conditions is read and constrained; `None` when `cancel` came first.
    pub fn wished(
        &self,
        shared: &EngineShared,
        after: After,
        wish: &ReplyWish,
        cancel: &AtomicBool,
    ) -> Result<Option<ReplyFormat>, AgentError> {
        Maker::of(shared).wished(&self.frame, after, wish, cancel)
    }

    /// Tokens of pieces that follow `ledger`.
    pub fn continuation(
        shared: &EngineShared,
        ledger: &[Token],
        before: &str,
        pieces: Vec<pieces::Piece>,
    ) -> Result<Vec<Token>, AgentError> {
        let mut all = Vec::new();
        if !before.is_empty() {
            all.push(Authored::Template(before.to_owned()));
        }
        all.extend(for_tokenizer(pieces));
        Ok(shared.tokenizer.continuation(ledger, &all)?)
    }
}
