//! The service's events become the parts of a reply.

use crate::agent::{AgentError, Done, Event, Receipt};
use crate::gateway::wire::{Call, End, Kind, Part, Progress, Refusal, Usage};
use crate::ledger::Finish;

/// What a client is told of an event.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// A part of the reply.
    Part(Part),
    /// Nothing of the reply yet, in a few words.
    Waiting(String),
    /// Nothing.
    Nothing,
}

/// Reads the events of one request.
#[derive(Debug, Default)]
pub struct Parts {
    restored: usize,
    /// Of the request's calls; one where no tools of npast's run.
    receipts: Vec<Receipt>,
}

impl Parts {
    /// What an event says.
    pub fn read(&mut self, event: Event) -> Said {
        match event {
            Event::Queued { place } => Said::Waiting(format!("waits behind {place} others")),
            Event::Restoring { tokens } => {
                self.restored = tokens;
                Said::Waiting(format!("puts back {tokens} tokens"))
            }
            Event::Prefill { done, total } => Said::Part(Part::Prefill(Progress {
                done,
                total,
                cached: self.restored,
            })),
            Event::Reasoning { text } => Said::Part(Part::Reasoning(text)),
            Event::Text { text } => Said::Part(Part::Text(text)),
            Event::ToolCall {
                id,
                name,
                arguments,
            } => Said::Part(Part::Call(Call {
                id,
                name,
                arguments,
            })),
            Event::Receipt(receipt) => {
                self.receipts.push(*receipt);
                Said::Nothing
            }
            Event::Done(Done::Turn(end)) => Said::Part(Part::End(self.end(end.finish))),
            Event::Done(_) => Said::Part(Part::End(self.end(Finish::Interrupted))),
            Event::Error {
                kind,
                message,
                hint,
                ..
            } => Said::Part(Part::Failed(refusal(&kind, message, hint))),
            Event::Session { .. }
            | Event::Notice { .. }
            | Event::ToolResult { .. }
            | Event::Question(_)
            | Event::Steered { .. }
            | Event::Turn(_) => Said::Nothing,
        }
    }

    /// The receipts so far.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    fn end(&self, finish: Finish) -> End {
        let mut usage = Usage::default();
        for receipt in &self.receipts {
            let one = Usage::of(receipt);
            usage.prompt += one.prompt;
            usage.cached += one.cached;
            usage.generated += one.generated;
            usage.prompt_ms += one.prompt_ms;
            usage.decode_ms += one.decode_ms;
        }
        End { finish, usage }
    }
}

/// An error of the service, as a refusal.
pub fn refusal(kind: &str, message: String, hint: Option<String>) -> Refusal {
    let kind = match kind {
        "too_long" => Kind::TooLong,
        "input" | "template" | "usage" => Kind::Invalid,
        "busy" | "interrupted" => Kind::Busy,
        "locked" => Kind::Conflict,
        _ => Kind::Broken,
    };
    let message = match hint {
        Some(hint) => format!("{message}: {hint}"),
        None => message,
    };
    Refusal::new(kind, message)
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Refusal {
        refusal(error.kind(), error.to_string(), error.hint())
    }
}
