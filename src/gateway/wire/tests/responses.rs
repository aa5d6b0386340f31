use serde_json::{Value, json};

use super::super::responses::{Echo, read};
use super::super::{Calls, Format, Manner, RefusalKind, ReplyPart, RequestRefusal};
use super::{end, events, head, parts, reply};
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::ledger::Finish;

#[test]
fn a_request_of_codex_is_read_whole() {
    let body = json!({
        "model": "npast", "instructions": "You are Codex.", "store": false, "stream": true,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0199-ab", "tool_choice": "auto",
        "parallel_tool_calls": false, "reasoning": {"effort": "medium", "summary": "auto"},
        "tools": [
            {"type": "function", "name": "shell", "description": "Runs.", "strict": false,
             "parameters": {"type": "object", "properties": {"command": {"type": "array"}}}},
            {"type": "web_search"}, {"type": "custom", "name": "apply_patch", "format": {}},
        ],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "sandbox"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list"}]},
            {"type": "reasoning", "id": "rs_7", "summary": [], "encrypted_content": "npast-s3",
             "content": [{"type": "reasoning_text", "text": "ls?"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I list."}]},
            {"type": "function_call", "name": "shell", "arguments": "{\"command\":[\"ls\"]}", "call_id": "call_1"},
            {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "call_2"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a b"},
            {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "c"}]},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"role": "user", "content": "and then"},
        ],
    });
    let (ask, echo) = read(&body).unwrap();
    let mut calling = Message::assistant("I list.");
    calling.reasoning = Some("ls?".into());
    let call = |id: &str, arguments: Value| ToolCall {
        id: id.into(),
        name: "shell".into(),
        arguments,
    };
    calling.calls = vec![
        call("call_1", json!({"command": ["ls"]})),
        call("call_2", json!({})),
    ];
    let result = |id: &str, text: &str| {
        let mut message = Message::tool_result(id, "", text);
        message.name = None;
        message
    };
    assert_eq!(ask.system.as_deref(), Some("You are Codex.\n\nsandbox"));
    assert_eq!(
        ask.messages,
        [
            Message::user("<environment_context>"),
            Message::user("list"),
            calling,
            result("call_1", "a b"),
            result("call_2", "c"),
            Message::user("and then"),
        ]
    );
    assert_eq!(
        ask.tools,
        Some(
            json!([{"type": "function", "function": {"name": "shell", "description": "Runs.",
            "parameters": {"type": "object", "properties": {"command": {"type": "array"}}}}}])
        )
    );
    assert_eq!(
        ask.ignored,
        ["tool:web_search", "tool:custom", "item:web_search_call"]
    );
    assert_eq!(
        ask.keys.conversation.as_deref(),
        Some("prompt_cache_key:0199-ab")
    );
    assert_eq!(
        ask.keys.given,
        ["rs_7", "npast-s3", "call_1", "call_2", "ws_1"]
    );
    assert!(!ask.keys.store && echo.encrypted && ask.show.stream);
}

#[test]
fn a_text_alone_a_response_before_and_a_schema_are_read() {
    let (ask, _) = read(&json!({"input": "hello"})).unwrap();
    assert_eq!(
        (ask.messages, ask.keys.store),
        (vec![Message::user("hello")], true)
    );
    let (ask, echo) = read(&json!({
        "previous_response_id": "resp_9", "input": [{"role": "user", "content": "x"}],
        "conversation": {"id": "conv_1"},
        "tools": [], "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    }))
    .unwrap();
    assert_eq!(ask.keys.previous.as_deref(), Some("resp_9"));
    assert_eq!(echo.previous.as_deref(), Some("resp_9"));
    assert_eq!(
        ask.keys.conversation.as_deref(),
        Some("conversation:conv_1")
    );
    assert_eq!(ask.choice, Calls::Only("f".into()));
    assert_eq!(ask.format, Format::Schema(json!({"type": "object"})));
}

#[test]
fn replies_of_several_items_are_told_apart() {
    let message = |text: &str| json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]});
    let thought = |text: &str| json!({"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": text}]});
    let (ask, _) = read(&json!({"input": [
        {"role": "user", "content": "?"},
        thought("a"), message("one"), message("two"), thought("b"), thought("c"), message("three"),
    ]}))
    .unwrap();
    let reply = |text: &str, reasoning: Option<&str>| {
        let mut message = Message::assistant(text);
        message.reasoning = reasoning.map(str::to_owned);
        message
    };
    assert_eq!(
        ask.messages,
        [
            Message::user("?"),
            reply("one", Some("a")),
            reply("two", None),
            reply("three", Some("b\nc")),
        ]
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_the_field() {
    let table = [
        (json!({}), "input"),
        (json!({"input": 3}), "input"),
        (json!({"input": "x", "background": true}), "background"),
        (
            json!({"input": [{"type": "item_reference", "id": "m"}]}),
            "input[0]",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0]",
        ),
        (
            json!({"input": [{"type": "function_call", "name": "f", "arguments": "["}]}),
            "input[0].arguments",
        ),
        (json!({"input": "x", "top_logprobs": 3}), "top_logprobs"),
    ];
    for (body, param) in table {
        let refusal = read(&body).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.param.as_deref()),
            (RefusalKind::Invalid, Some(param)),
            "{body}"
        );
        assert!(refusal.message.len() > 10);
    }
}

#[test]
fn a_whole_response_has_an_item_for_each_thing_the_model_did() {
    let echo = Echo {
        encrypted: true,
        ..Echo::default()
    };
    let whole = Manner::Responses(Box::new(echo)).whole(&head(), &reply(parts()));
    assert_eq!(
        whole["output"],
        json!([
            {"type": "reasoning", "id": "rs_7", "summary": [], "status": "completed",
             "content": [{"type": "reasoning_text", "text": "Where is it?"}], "encrypted_content": "npast-s3"},
            {"type": "message", "id": "msg_7", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "I look for it.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_7_0", "call_id": "call_1", "name": "find",
             "arguments": "{\"path\":\"/\",\"deep\":true}", "status": "completed"},
            {"type": "function_call", "id": "fc_7_1", "call_id": "call_2", "name": "now",
             "arguments": "{}", "status": "completed"},
        ])
    );
    assert_eq!(
        (&whole["id"], &whole["status"], &whole["usage"]),
        (
            &json!("resp_7"),
            &json!("completed"),
            &json!({
            "input_tokens": 100, "input_tokens_details": {"cached_tokens": 90}, "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 107})
        )
    );
    let cut = reply(vec![end(Finish::Length)]);
    let whole = Manner::Responses(Box::default()).whole(&head(), &cut);
    assert_eq!(
        (&whole["status"], &whole["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
}

#[test]
fn the_events_of_a_response_are_numbered_and_each_item_is_added_and_done() {
    let all = events(Manner::Responses(Box::default()), parts());
    let names: Vec<&str> = all
        .iter()
        .map(|(name, _)| name.unwrap_or_default())
        .collect();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (at, (name, event)) in all.iter().enumerate() {
        assert_eq!(
            (&event["sequence_number"], &event["type"]),
            (&json!(at), &json!(name))
        );
    }
    let last = &all.last().unwrap().1["response"];
    let mut whole = Manner::Responses(Box::default()).whole(&head(), &reply(parts()));
    assert_eq!(last["output"], whole["output"].take());
    assert_eq!(all[15].1["output_index"], 2);
    assert_eq!(all[21].1["item"]["arguments"], "{}");
    let failed = ReplyPart::Failed(RequestRefusal::new(RefusalKind::TooLong, "too long"));
    let all = events(
        Manner::Responses(Box::default()),
        vec![ReplyPart::Text("a".into()), failed],
    );
    let (name, event) = all.last().unwrap();
    assert_eq!(*name, Some("response.failed"));
    assert_eq!(
        event["response"]["error"],
        json!({"code": "context_length_exceeded", "message": "too long"})
    );
}
