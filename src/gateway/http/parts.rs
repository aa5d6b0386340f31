//! The service's events become the parts of a reply.

use serde_json::json;

use crate::agent::{AgentError, Behind, Done, Event, Receipt};
use crate::gateway::wire::{
    PrefillProgress, RefusalKind, ReplyPart, RequestRefusal, WireCall, WireEnd, WireUsage,
};
use crate::ledger::Finish;
use crate::service::OpenSession;
use crate::slot;

/// What a client is told of an event.
#[derive(Debug, PartialEq)]
pub enum ReplyNews {
    /// A part of the reply.
    Part(ReplyPart),
    /// Nothing of the reply yet, in a few words.
    Waiting(String),
    /// Nothing.
    Nothing,
}

/// Reads the events of one request.
#[derive(Debug, Default)]
pub struct PartReader {
    restored: usize,
    /// Of the request's calls; one where no tools of npast's run.
    receipts: Vec<Receipt>,
    /// Messages of the session at the end.
    messages: Option<usize>,
}

impl PartReader {
    /// What an event says.
    pub fn read(&mut self, event: Event) -> ReplyNews {
        match event {
            Event::Queued { place } => ReplyNews::Waiting(format!("waits behind {place} others")),
            Event::Restoring { tokens } => {
                self.restored = tokens;
                ReplyNews::Waiting(format!("puts back {tokens} tokens"))
            }
            Event::Prefill { done, total } => {
                ReplyNews::Part(ReplyPart::Prefill(PrefillProgress {
                    done,
                    total,
                    cached: self.restored,
                }))
            }
            Event::Reasoning { text } => ReplyNews::Part(ReplyPart::Reasoning(text)),
            Event::Odds { tokens } => ReplyNews::Part(ReplyPart::Odds(tokens)),
            Event::Text { text } => ReplyNews::Part(ReplyPart::Text(text)),
            Event::ToolCall {
                id,
                name,
                arguments,
            } => ReplyNews::Part(ReplyPart::Call(WireCall {
                id,
                name,
                arguments,
            })),
            Event::Receipt(receipt) => {
                self.receipts.push(*receipt);
                ReplyNews::Nothing
            }
            Event::Done(done) => {
                if let Done::Followed { messages, .. } = &done {
                    self.messages = Some(*messages);
                }
                ReplyNews::Part(ReplyPart::End(self.end(&done)))
            }
            Event::Error {
                kind,
                message,
                hint,
                ..
            } => ReplyNews::Part(ReplyPart::Failed(refusal(&kind, message, hint))),
            Event::Session { .. }
            | Event::Notice { .. }
            | Event::Calling { .. }
            | Event::Running { .. }
            | Event::ToolResult { .. }
            | Event::Question(_)
            | Event::Compress { .. }
            | Event::Steered { .. }
            | Event::Turn(_) => ReplyNews::Nothing,
        }
    }

    /// The receipts so far.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// The place in its session at which a reply ended; nothing where it has none.
    pub fn place(&self, session: Option<&OpenSession>) -> Option<Behind> {
        Some(Behind {
            session: session?.info().id,
            messages: Some(self.messages?),
        })
    }

    /// The sums of the receipts. What stood beside the conversations and was stopped for one of their
    /// messages read its prompt and what it had said once more: its prompt counts once.
    fn usage(&self) -> WireUsage {
        let mut usage = WireUsage::default();
        let mut before = 0;
        for receipt in &self.receipts {
            let one = WireUsage::of(receipt);
            if receipt.kind == slot::CallKind::Fork {
                usage.prompt = one.prompt - before.min(one.prompt);
                usage.cached = one.cached.min(usage.prompt);
                before += receipt.generated;
            } else {
                usage.prompt += one.prompt;
                usage.cached += one.cached;
            }
            usage.generated += one.generated;
            usage.prompt_ms += one.prompt_ms;
            usage.decode_ms += one.decode_ms;
        }
        usage
    }

    fn end(&self, done: &Done) -> WireEnd {
        let mut npast = json!({ "receipt": self.receipts.last() });
        let finish = match done {
            Done::Turn(end) => end.finish,
            Done::Followed {
                end,
                same,
                sent,
                difference,
                overlooked,
                renewed,
                messages: _,
                session,
            } => {
                npast["session"] = session.as_str().into();
                npast["history"] = json!({
                    "same": same,
                    "sent": sent,
                    "difference": difference,
                    "overlooked": overlooked,
                    "renewed": renewed,
                });
                end.finish
            }
            Done::Beside { end, sign } => {
                npast["beside"] = json!(sign);
                end.finish
            }
            _ => Finish::Interrupted,
        };
        WireEnd {
            finish,
            usage: self.usage(),
            npast: Some(npast),
        }
    }
}

/// An error of the service, as a refusal.
pub fn refusal(kind: &str, message: String, hint: Option<String>) -> RequestRefusal {
    let kind = match kind {
        "too_long" => RefusalKind::TooLong,
        "input" | "template" | "usage" => RefusalKind::Invalid,
        "busy" | "interrupted" => RefusalKind::Busy,
        "locked" | "in_use" | "refused" => RefusalKind::Conflict,
        "not_found" => RefusalKind::NotFound,
        _ => RefusalKind::Broken,
    };
    let message = match hint {
        Some(hint) => format!("{message}: {hint}"),
        None => message,
    };
    RequestRefusal::new(kind, message)
}

impl From<AgentError> for RequestRefusal {
    fn from(error: AgentError) -> RequestRefusal {
        refusal(error.kind(), error.to_string(), error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::TurnEnd;

    fn all(events: Vec<Event>) -> Vec<ReplyNews> {
        let mut parts = PartReader::default();
        events.into_iter().map(|event| parts.read(event)).collect()
    }

    #[test]
    fn events_become_parts_and_what_is_no_part_of_a_reply_is_left_out() {
        let end = TurnEnd {
            finish: Finish::Stop,
            withdrawn: None,
            stopped: None,
        };
        let said = all(vec![
            Event::Queued { place: 2 },
            Event::Restoring { tokens: 90 },
            Event::Prefill { done: 4, total: 8 },
            Event::Text { text: "a".into() },
            Event::Notice {
                text: "n".into(),
                hint: None,
            },
            Event::Done(Done::Followed {
                end,
                same: 2,
                sent: 3,
                difference: None,
                overlooked: vec!["date".into()],
                renewed: None,
                messages: 4,
                session: "s".into(),
            }),
        ]);
        let progress = PrefillProgress {
            done: 4,
            total: 8,
            cached: 90,
        };
        assert_eq!(
            said[..5],
            [
                ReplyNews::Waiting("waits behind 2 others".into()),
                ReplyNews::Waiting("puts back 90 tokens".into()),
                ReplyNews::Part(ReplyPart::Prefill(progress)),
                ReplyNews::Part(ReplyPart::Text("a".into())),
                ReplyNews::Nothing,
            ]
        );
        let ReplyNews::Part(ReplyPart::End(end)) = &said[5] else {
            panic!("an end: {said:?}");
        };
        assert_eq!(end.finish, Finish::Stop);
        let history = &end.npast.as_ref().expect("a note")["history"];
        assert_eq!(history["overlooked"], json!(["date"]));
    }

    fn receipt(evaluated: usize, generated: usize, finish: &str) -> Event {
        let receipt = json!({"kind": "fork", "call": 1, "context": 0, "kept": 4, "restored": 0,
            "evaluated": evaluated, "appended": 0, "generated": generated, "pending": 0,
            "finish": finish, "miss": null, "restored_bytes": 0, "saved_bytes": 0,
            "snapshot_bytes": 0,
            "ms": {"restore": 0, "prefill": 0, "first_token": 0, "decode": 0, "save": 0}});
        Event::Receipt(serde_json::from_value(receipt).expect("a receipt"))
    }

    #[test]
    fn a_prompt_that_is_read_again_for_a_message_that_came_first_is_one_prompt() {
        let end = TurnEnd {
            finish: Finish::Stop,
            withdrawn: None,
            stopped: None,
        };
        // Of 14 tokens 9 are read; all are, and two are said; those are read too, and three more said.
        let said = all(vec![
            receipt(5, 0, "interrupted"),
            receipt(10, 2, "interrupted"),
            receipt(12, 3, "stop"),
            Event::Done(Done::Beside {
                end,
                sign: "quotes".into(),
            }),
        ]);
        let Some(ReplyNews::Part(ReplyPart::End(end))) = said.last() else {
            panic!("an end: {said:?}");
        };
        let usage = &end.usage;
        assert_eq!((usage.prompt, usage.cached, usage.generated), (14, 4, 5));
        assert_eq!(end.npast.as_ref().expect("a note")["beside"], "quotes");
    }

    #[test]
    fn an_error_of_the_service_has_the_status_of_its_kind() {
        let status = |kind: &str| refusal(kind, "m".into(), Some("h".into())).kind.status();
        let table = [
            ("too_long", 400),
            ("input", 400),
            ("template", 400),
            ("locked", 409),
            ("session", 503),
            ("memory", 503),
            ("engine", 503),
            ("anything", 503),
        ];
        for (kind, want) in table {
            assert_eq!(status(kind), want, "{kind}");
        }
        assert_eq!(
            refusal("input", "m".into(), Some("h".into())).message,
            "m: h"
        );
    }
}
