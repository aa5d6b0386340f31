//! What a reply is made of, whichever API it is sent in: its parts as they come, and the whole.

use serde_json::{Value, json};

use super::RequestRefusal;
use crate::agent::{Receipt, Weighed};
use crate::ledger::Finish;

/// What is said of a token with the probability 0: JSON has no minus infinity.
pub const NEVER: f32 = -9999.0;

/// What every response says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The response's id without the API's prefix.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// What the client may give back so that the stored tokens are found at once: the signature of
    /// thinking, and encrypted reasoning.
    pub stamp: String,
}

/// One thing that a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyPart {
    /// Tokens of the prompt that are evaluated.
    Prefill(PrefillProgress),
    /// More of the model's thinking.
    Reasoning(String),
    /// The tokens of the text that comes next, and how likely they were.
    Odds(Vec<Weighed>),
    /// More of its answer.
    Text(String),
    /// A call, whole.
    Call(WireCall),
    /// The reply ended.
    End(WireEnd),
    /// The reply did not come to its end.
    Failed(RequestRefusal),
}

/// How far a prompt is evaluated; tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefillProgress {
    /// Evaluated.
    pub done: usize,
    /// To be evaluated.
    pub total: usize,
    /// Found in the slot or on disk.
    pub cached: usize,
}

impl PrefillProgress {
    /// `prompt_progress`, as llama.cpp's server has it.
    pub fn openai(&self) -> Value {
        json!({
            "total": self.total + self.cached,
            "cache": self.cached,
            "processed": self.done + self.cached,
        })
    }
}

/// A call of a tool that the client runs.
#[derive(Clone, Debug, PartialEq)]
pub struct WireCall {
    /// Given out by npast.
    pub id: String,
    /// The tool.
    pub name: String,
    /// An object.
    pub arguments: Value,
}

/// How a reply ended, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct WireEnd {
    /// Why.
    pub finish: Finish,
    /// What it cost.
    pub usage: WireUsage,
    /// What npast has to say of it besides, as the field `npast` of every API: the receipt, and how the
    /// history was followed.
    pub npast: Option<Value>,
}

/// What a reply cost; tokens and milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WireUsage {
    /// The prompt in all.
    pub prompt: usize,
    /// Of the prompt: not evaluated, for it was in the slot or on disk.
    pub cached: usize,
    /// Sampled.
    pub generated: usize,
    /// Evaluating the prompt.
    pub prompt_ms: u64,
    /// Decoding the reply.
    pub decode_ms: u64,
}

impl WireUsage {
    /// The figures of a receipt.
    pub fn of(receipt: &Receipt) -> WireUsage {
        WireUsage {
            prompt: receipt.prompt(),
            cached: receipt.kept + receipt.restored,
            generated: receipt.generated,
            prompt_ms: receipt.ms.restore + receipt.ms.prefill,
            decode_ms: receipt.ms.decode,
        }
    }

    /// `usage` of chat completions and completions.
    pub fn openai(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt + self.generated,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }

    /// `timings` as llama.cpp's server has it.
    pub fn timings(&self) -> Value {
        let evaluated = self.prompt.saturating_sub(self.cached);
        let rate = |n: usize, ms: u64| match ms {
            0 => 0.0,
            ms => n as f64 * 1000.0 / ms as f64,
        };
        let each = |n: usize, ms: u64| match n {
            0 => 0.0,
            n => ms as f64 / n as f64,
        };
        json!({
            "cache_n": self.cached,
            "prompt_n": evaluated,
            "prompt_ms": self.prompt_ms,
            "prompt_per_token_ms": each(evaluated, self.prompt_ms),
            "prompt_per_second": rate(evaluated, self.prompt_ms),
            "predicted_n": self.generated,
            "predicted_ms": self.decode_ms,
            "predicted_per_token_ms": each(self.generated, self.decode_ms),
            "predicted_per_second": rate(self.generated, self.decode_ms),
        })
    }
}

/// A reply as far as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WireReply {
    /// The model's thinking.
    pub reasoning: String,
    /// Its answer.
    pub text: String,
    /// How likely the answer's tokens were; none where nobody asked.
    pub odds: Vec<Weighed>,
    /// Its calls.
    pub calls: Vec<WireCall>,
    /// How it ended.
    pub end: Option<WireEnd>,
}

impl WireReply {
    /// Adds a part.
    ///
    /// # Errors
    /// The refusal of a reply that failed.
    pub fn add(&mut self, part: ReplyPart) -> Result<(), RequestRefusal> {
        match part {
            ReplyPart::Prefill(_) => {}
            ReplyPart::Reasoning(more) => self.reasoning.push_str(&more),
            ReplyPart::Odds(more) => self.odds.extend(more),
            ReplyPart::Text(more) => self.text.push_str(&more),
            ReplyPart::Call(call) => self.calls.push(call),
            ReplyPart::End(end) => self.end = Some(end),
            ReplyPart::Failed(refusal) => return Err(refusal),
        }
        Ok(())
    }

    /// What it cost.
    pub fn usage(&self) -> WireUsage {
        self.end.as_ref().map(|end| end.usage).unwrap_or_default()
    }

    /// Why it ended.
    pub fn finish(&self) -> Finish {
        self.end
            .as_ref()
            .map_or(Finish::Interrupted, |end| end.finish)
    }

    /// Adds what npast has to say besides to a response.
    pub fn note(&self, response: &mut Value) {
        if let Some(note) = self.end.as_ref().and_then(|end| end.npast.as_ref()) {
            response["npast"] = note.clone();
        }
    }
}

/// One event of a stream of server-sent events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` line, where the API has one.
    pub event: Option<&'static str>,
    /// The `data` line: JSON, or `[DONE]`; without a line break.
    pub data: String,
}

impl SseEvent {
    /// An event without a name.
    pub fn data(value: &Value) -> SseEvent {
        SseEvent {
            event: None,
            data: value.to_string(),
        }
    }

    /// An event with a name.
    pub fn named(event: &'static str, value: &Value) -> SseEvent {
        SseEvent {
            event: Some(event),
            data: value.to_string(),
        }
    }

    /// The end of a stream of OpenAI's.
    pub fn done() -> SseEvent {
        SseEvent {
            event: None,
            data: "[DONE]".to_owned(),
        }
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.data.len() + 48);
        if let Some(event) = self.event {
            text.push_str("event: ");
            text.push_str(event);
            text.push('\n');
        }
        text.push_str("data: ");
        text.push_str(&self.data);
        text.push_str("\n\n");
        text.into_bytes()
    }
}
