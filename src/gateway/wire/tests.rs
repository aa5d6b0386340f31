//! Requests as real clients send them, and replies as those clients read them.

mod any;
mod chat;
mod completions;
mod messages;
mod responses;

use serde_json::{Value, json};

use super::{Call, End, Frame, Head, Manner, Part, Reply, Usage};
use crate::agent::{Likely, Weighed};
use crate::ledger::{Finish, Token};

fn head() -> Head {
    Head {
        id: "7".into(),
        created: 1_700_000_000,
        model: "tiny".into(),
        stamp: "npast-s3".into(),
    }
}

fn end(finish: Finish) -> Part {
    Part::End(End {
        finish,
        usage: Usage {
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
fn parts() -> Vec<Part> {
    vec![
        Part::Reasoning("Where ".into()),
        Part::Reasoning("is it?".into()),
        Part::Text("I look".into()),
        Part::Text(" for it.".into()),
        Part::Call(Call {
            id: "call_1".into(),
            name: "find".into(),
            arguments: json!({"path": "/", "deep": true}),
        }),
        Part::Call(Call {
            id: "call_2".into(),
            name: "now".into(),
            arguments: json!({}),
        }),
        end(Finish::ToolCalls),
    ]
}

/// A reply of three tokens, the last one a part of a character.
fn weighed() -> Vec<Part> {
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
        Part::Odds(vec![full(1, "up", -0.5), full(2, "on", -0.75)]),
        Part::Text("upon".into()),
        Part::Odds(vec![Weighed {
            chosen: likely(3, b"\xc3", None),
            top: Vec::new(),
        }]),
        Part::Text("\u{fffd}".into()),
        end(Finish::Length),
    ]
}

fn reply(parts: Vec<Part>) -> Reply {
    let mut reply = Reply::default();
    for part in parts {
        reply.add(part).expect("no failure");
    }
    reply
}

/// All events of a reply: name and JSON, without what every event repeats.
fn events(manner: Manner, parts: Vec<Part>) -> Vec<(Option<&'static str>, Value)> {
    let mut writer = manner.stream(head());
    let mut frames = writer.start();
    for part in parts {
        frames.extend(writer.part(&part));
    }
    frames.into_iter().map(event).collect()
}

fn event(frame: Frame) -> (Option<&'static str>, Value) {
    let value = match frame.data.as_str() {
        "[DONE]" => json!("[DONE]"),
        text => serde_json::from_str(text).expect("JSON"),
    };
    (frame.event, value)
}
