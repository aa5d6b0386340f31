//! Requests as real clients send them, and replies as those clients read them.

mod any;
mod chat;
mod completions;
mod messages;
mod responses;

use serde_json::{Value, json};

use super::{Manner, ReplyPart, ResponseHead, SseEvent, WireCall, WireEnd, WireReply, WireUsage};
use crate::agent::{Likely, Weighed};
use crate::ledger::{Finish, Token};

fn head() -> ResponseHead {
    ResponseHead {
        id: "7".into(),
        created: 1_700_000_000,
        model: "tiny".into(),
        stamp: "npast-s3".into(),
    }
}

fn end(finish: Finish) -> ReplyPart {
    ReplyPart::End(WireEnd {
        finish,
        usage: WireUsage {
            prompt: 100,
            cached: 90,
            generated: 7,
            prompt_ms: 20,
            decode_ms: 70,
        },
        npast: None,
    })
}

/// A reply that thinks, speaks and calls.
fn parts() -> Vec<ReplyPart> {
    vec![
        ReplyPart::Reasoning("Where ".into()),
        ReplyPart::Reasoning("is it?".into()),
        ReplyPart::Text("I look".into()),
        ReplyPart::Text(" for it.".into()),
        ReplyPart::Call(WireCall {
            id: "call_1".into(),
            name: "find".into(),
            arguments: json!({"path": "/", "deep": true}),
        }),
        ReplyPart::Call(WireCall {
            id: "call_2".into(),
            name: "now".into(),
            arguments: json!({}),
        }),
        end(Finish::ToolCalls),
    ]
}

/// A reply of three tokens, the last one a part of a character.
fn weighed() -> Vec<ReplyPart> {
    let likely = |token: i32, bytes: &[u8], logprob: Option<f32>| Likely {
        token: Token(token),
        bytes: bytes.to_vec(),
        logprob,
    };
    let full = |token: i32, text: &str, logprob: f32| {
        let chosen = likely(token, text.as_bytes(), Some(logprob));
        Weighed {
            top: vec![likely(9, b"b", Some(-0.25)), chosen.clone()],
            chosen,
        }
    };
    vec![
        ReplyPart::Odds(vec![full(1, "up", -0.5), full(2, "on", -0.75)]),
        ReplyPart::Text("upon".into()),
        ReplyPart::Odds(vec![Weighed {
            chosen: likely(3, b"\xc3", None),
            top: Vec::new(),
        }]),
        ReplyPart::Text("\u{fffd}".into()),
        end(Finish::Length),
    ]
}

fn reply(parts: Vec<ReplyPart>) -> WireReply {
    let mut reply = WireReply::default();
    for part in parts {
        reply.add(part).expect("no failure");
    }
    reply
}

/// All events of a reply: name and JSON, without what every event repeats.
fn events(manner: Manner, parts: Vec<ReplyPart>) -> Vec<(Option<&'static str>, Value)> {
    let mut writer = manner.stream(head());
    let mut frames = writer.start();
    for part in parts {
        frames.extend(writer.part(&part));
    }
    frames.into_iter().map(event).collect()
}

fn event(frame: SseEvent) -> (Option<&'static str>, Value) {
    let value = match frame.data.as_str() {
        "[DONE]" => json!("[DONE]"),
        text => serde_json::from_str(text).expect("JSON"),
    };
    (frame.event, value)
}
