//! The service's events become the parts of a reply.

use serde_json::json;

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
            Event::Odds { tokens } => Said::Part(Part::Odds(tokens)),
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
            Event::Done(done) => Said::Part(Part::End(self.end(&done))),
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
            | Event::Compress { .. }
            | Event::Steered { .. }
            | Event::Turn(_) => Said::Nothing,
        }
    }

    /// The receipts so far.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    fn end(&self, done: &Done) -> End {
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
            _ => Finish::Interrupted,
        };
        let mut usage = Usage::default();
        for receipt in &self.receipts {
            let one = Usage::of(receipt);
            usage.prompt += one.prompt;
            usage.cached += one.cached;
            usage.generated += one.generated;
            usage.prompt_ms += one.prompt_ms;
            usage.decode_ms += one.decode_ms;
        }
        End {
            finish,
            usage,
            npast: Some(npast),
        }
    }
}

/// An error of the service, as a refusal.
pub fn refusal(kind: &str, message: String, hint: Option<String>) -> Refusal {
    let kind = match kind {
        "too_long" => Kind::TooLong,
        "input" | "template" | "usage" => Kind::Invalid,
        "busy" | "interrupted" => Kind::Busy,
        "locked" | "in_use" => Kind::Conflict,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::TurnEnd;

    fn all(events: Vec<Event>) -> Vec<Said> {
        let mut parts = Parts::default();
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
                session: "s".into(),
            }),
        ]);
        let progress = Progress {
            done: 4,
            total: 8,
            cached: 90,
        };
        assert_eq!(
            said[..5],
            [
                Said::Waiting("waits behind 2 others".into()),
                Said::Waiting("puts back 90 tokens".into()),
                Said::Part(Part::Prefill(progress)),
                Said::Part(Part::Text("a".into())),
                Said::Nothing,
            ]
        );
        let Said::Part(Part::End(end)) = &said[5] else {
            panic!("an end: {said:?}");
        };
        assert_eq!(end.finish, Finish::Stop);
        let history = &end.npast.as_ref().expect("a note")["history"];
        assert_eq!(history["overlooked"], json!(["date"]));
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
