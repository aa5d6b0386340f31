//! Requests that nobody would send.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{Api, Ask, anthropic, completions, openai, responses};
use super::{events, parts, reply};
use crate::gateway::wire::{Manner, Show};

/// Words that mean something to a reader: a random object made of them gets far into it.
const WORDS: &[&str] = &[
    "messages",
    "role",
    "content",
    "type",
    "text",
    "user",
    "assistant",
    "system",
    "tool",
    "tools",
    "function",
    "name",
    "arguments",
    "parameters",
    "tool_calls",
    "tool_call_id",
    "id",
    "input",
    "function_call",
    "function_call_output",
    "call_id",
    "output",
    "reasoning",
    "summary",
    "thinking",
    "signature",
    "tool_use",
    "tool_result",
    "tool_use_id",
    "input_schema",
    "max_tokens",
    "stop",
    "stream",
    "stream_options",
    "response_format",
    "json_schema",
    "schema",
    "tool_choice",
    "prompt",
    "temperature",
    "message",
    "developer",
    "metadata",
    "user_id",
    "conversation",
    "n",
    "document",
    "source",
    "image_url",
    "encrypted_content",
    "previous_response_id",
    "include",
    "custom_tool_call",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(WORDS).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        Just(json!("{\"a\":1}")),
    ];
    leaf.prop_recursive(6, 96, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((word(), inner), 0..8).prop_map(|fields| {
                Value::Object(fields.into_iter().collect::<Map<String, Value>>())
            }),
        ]
    })
}

/// A request that has its list of messages or items.
fn request() -> impl Strategy<Value = Value> {
    let message = vec((word(), value()), 0..8).prop_map(|fields| {
        let mut fields = fields.into_iter().collect::<Map<String, Value>>();
        fields.entry("role").or_insert("assistant".into());
        Value::Object(fields)
    });
    (value(), vec(message, 0..4)).prop_map(|(rest, messages)| {
        let mut body = match rest {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        body.insert("messages".into(), messages.clone().into());
        body.insert("input".into(), messages.into());
        body.insert("max_tokens".into(), 5.into());
        Value::Object(body)
    })
}

/// What the readers make of a value: nothing may panic, and a refusal has a sentence for each API.
fn read_all(body: &Value) -> Vec<Ask> {
    let all = [
        openai::read(body),
        anthropic::read(body),
        anthropic::read_to_count(body),
        responses::read(body).map(|(ask, _)| ask),
        completions::read(body).map(|raw| raw.ask),
    ];
    let mut asks = Vec::new();
    for read in all {
        match read {
            Ok(ask) => asks.push(ask),
            Err(refusal) => {
                assert!(!refusal.message.is_empty());
                for api in [
                    Api::Chat,
                    Api::Messages,
                    Api::Responses,
                    Api::Completions,
                    Api::Own,
                ] {
                    assert_eq!(refusal.body(api)["error"]["message"], refusal.message);
                }
            }
        }
    }
    asks
}

/// What was understood, as a chat client would say it again.
fn again(ask: &Ask) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    messages.extend(
        ask.system
            .as_ref()
            .map(|s| json!({"role": "system", "content": s})),
    );
    messages.extend(ask.messages.iter().map(crate::chat::Message::to_json));
    json!({ "messages": messages, "tools": ask.tools })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_json_brings_a_reader_down(body in value()) {
        read_all(&body);
    }

    #[test]
    fn what_was_read_reads_the_same_when_it_is_said_again(body in request()) {
        for ask in read_all(&body) {
            if ask.messages.is_empty() && ask.system.is_none() {
                continue;
            }
            let said = openai::read(&again(&ask)).expect("what was read can be read");
            prop_assert_eq!(&said.messages, &ask.messages);
            prop_assert_eq!(&said.system, &ask.system);
            prop_assert_eq!(&said.tools, &ask.tools);
            prop_assert_eq!(again(&said), again(&ask));
        }
    }

    #[test]
    fn the_pieces_of_a_stream_are_the_whole(cuts in vec(0_usize..5, 0..6)) {
        // The same reply in other pieces.
        let mut pieces = Vec::new();
        for (at, part) in parts().into_iter().enumerate() {
            match (&part, cuts.get(at)) {
                (super::ReplyPart::Text(text), Some(cut)) => {
                    let (a, b) = text.split_at((*cut).min(text.len()));
                    pieces.push(super::ReplyPart::Text(a.to_owned()));
                    pieces.push(super::ReplyPart::Text(b.to_owned()));
                }
                _ => pieces.push(part),
            }
        }
        let show = Show { stream: true, ..Show::default() };
        let chunks = events(Manner::Chat(show), pieces.clone());
        let text: String = chunks
            .iter()
            .filter_map(|(_, c)| c["choices"][0]["delta"]["content"].as_str())
            .collect();
        prop_assert_eq!(&text, &reply(pieces.clone()).text);
        let responses = events(Manner::Responses(Box::default()), pieces);
        let last = responses.last().map(|(_, e)| e["response"]["output"][1]["content"][0]["text"].clone());
        prop_assert_eq!(last, Some(json!(text)));
    }
}
