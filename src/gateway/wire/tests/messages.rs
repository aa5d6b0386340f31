use serde_json::{Value, json};

use super::super::anthropic::{read, read_to_count};
use super::super::{Calls, Manner, RefusalKind, ReplyPart, RequestRefusal};
use super::{end, events, head, parts, reply};
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::ledger::Finish;

#[test]
fn a_request_of_claude_code_is_read_whole() {
    let body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 32000, "stream": true, "temperature": 1,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2;"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        ],
        "metadata": {"user_id": "user_ab_account__session_12-34"},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "context_management": {"edits": []}, "betas": ["x"],
        "tools": [
            {"name": "Bash", "description": "Runs.", "input_schema": {"type": "object", "properties": {}},
             "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>r</system-reminder>"},
                {"type": "text", "text": "list", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "ls?", "signature": "npast-s3"},
                {"type": "text", "text": "I list."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
                {"type": "tool_use", "id": "toolu_2", "name": "Bash", "input": {}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "and then"},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a b"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true,
                 "content": [{"type": "text", "text": "no"}]}]},
        ],
    });
    let ask = read(&body).unwrap();
    let mut calling = Message::assistant("I list.");
    calling.reasoning = Some("ls?".into());
    let call = |id: &str, arguments: Value| ToolCall {
        id: id.into(),
        name: "Bash".into(),
        arguments,
    };
    calling.calls = vec![
        call("toolu_1", json!({"command": "ls"})),
        call("toolu_2", json!({})),
    ];
    let result = |id: &str, text: &str| {
        let mut message = Message::tool_result(id, "", text);
        message.name = None;
        message
    };
    assert_eq!(
        ask.system.as_deref(),
        Some("x-anthropic-billing-header: cc_version=2;\nYou are an agent.")
    );
    assert_eq!(
        ask.messages,
        [
            Message::user("<system-reminder>r</system-reminder>\nlist"),
            calling,
            result("toolu_1", "a b"),
            result("toolu_2", "no"),
            Message::user("and then"),
        ]
    );
    assert_eq!(
        ask.tools,
        Some(
            json!([{"type": "function", "function": {"name": "Bash", "description": "Runs.",
            "parameters": {"type": "object", "properties": {}}}}])
        )
    );
    assert_eq!(ask.ignored, ["tool:web_search_20250305"]);
    assert_eq!(ask.keys.conversation.as_deref(), Some("user_id:12-34"));
    assert_eq!(ask.keys.given, ["npast-s3", "toolu_1", "toolu_2"]);
    assert_eq!(
        (ask.think, ask.max_tokens, ask.show.stream),
        (Some(true), Some(32000), true)
    );
}

#[test]
fn choices_and_counts_are_read() {
    let with = |field: &str, value: Value| {
        let mut body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        read(&body)
    };
    let table = [
        (
            json!({"type": "auto", "disable_parallel_tool_use": true}),
            Calls::Auto,
            Some(false),
        ),
        (json!({"type": "any"}), Calls::Required, None),
        (json!({"type": "none"}), Calls::None, None),
        (
            json!({"type": "tool", "name": "f"}),
            Calls::Only("f".into()),
            None,
        ),
    ];
    for (value, choice, parallel) in table {
        let ask = with("tool_choice", value).unwrap();
        assert_eq!((ask.choice, ask.parallel), (choice, parallel));
    }
    let user = json!({"user_id": "{\"device_id\":\"d\",\"session_id\":\"56\"}"});
    let ask = with("metadata", user).unwrap();
    assert_eq!(ask.keys.conversation.as_deref(), Some("user_id:56"));
    let alone = with("metadata", json!({"user_id": "somebody"})).unwrap();
    assert_eq!(alone.keys.conversation, None);
    let count = read_to_count(&json!({"messages": [{"role": "user", "content": "x"}]})).unwrap();
    assert_eq!(
        (count.messages, count.max_tokens),
        (vec![Message::user("x")], None)
    );
}

#[test]
fn what_cannot_be_done_is_refused_in_anthropics_words() {
    let image = json!({"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]});
    let table = [
        (
            json!({"messages": [{"role": "user", "content": "x"}]}),
            "max_tokens: Field required",
        ),
        (
            json!({"max_tokens": 1, "messages": []}),
            "messages: at least one message is required",
        ),
        (
            json!({"max_tokens": 1, "messages": [{"role": "tool"}]}),
            "messages[0] must have the role user, assistant or system, not \"tool\"",
        ),
        (
            image,
            "messages[0].content[0] is a part of type \"image\": images cannot be read: the model of this server reads text",
        ),
    ];
    for (body, sentence) in table {
        let refusal = read(&body).unwrap_err();
        assert_eq!(
            refusal.body(super::super::Api::Messages),
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": sentence}})
        );
    }
}

#[test]
fn a_whole_message_has_signed_thinking_and_tool_use() {
    let whole = Manner::Messages(vec![]).whole(&head(), &reply(parts()));
    assert_eq!(
        whole,
        json!({
            "id": "msg_7", "type": "message", "role": "assistant", "model": "tiny",
            "content": [
                {"type": "thinking", "thinking": "Where is it?", "signature": "npast-s3"},
                {"type": "text", "text": "I look for it."},
                {"type": "tool_use", "id": "call_1", "name": "find", "input": {"path": "/", "deep": true}},
                {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 90, "output_tokens": 7},
        })
    );
    let stopped = reply(vec![end(Finish::StopString)]);
    let whole = Manner::Messages(vec!["END".into()]).whole(&head(), &stopped);
    assert_eq!(
        (&whole["stop_reason"], &whole["stop_sequence"]),
        (&json!("stop_sequence"), &json!("END"))
    );
}

#[test]
fn the_events_of_a_message_open_and_close_each_block() {
    let all = events(Manner::Messages(vec![]), parts());
    let short: Vec<String> = all
        .iter()
        .map(|(name, event)| {
            assert_eq!(json!(name), event["type"]);
            let delta = ["thinking", "signature", "text", "partial_json"]
                .into_iter()
                .find_map(|field| event["delta"].get(field))
                .and_then(Value::as_str)
                .unwrap_or_default();
            let index = event.get("index").map(Value::to_string).unwrap_or_default();
            format!("{} {index} {delta}", name.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        short,
        [
            "message_start  ",
            "ping  ",
            "content_block_start 0 ",
            "content_block_delta 0 Where ",
            "content_block_delta 0 is it?",
            "content_block_delta 0 npast-s3",
            "content_block_stop 0 ",
            "content_block_start 1 ",
            "content_block_delta 1 I look",
            "content_block_delta 1  for it.",
            "content_block_stop 1 ",
            "content_block_start 2 ",
            "content_block_delta 2 {\"path\":\"/\",\"deep\":true}",
            "content_block_stop 2 ",
            "content_block_start 3 ",
            "content_block_delta 3 {}",
            "content_block_stop 3 ",
            "message_delta  ",
            "message_stop  ",
        ]
    );
    let delta = &all[17].1;
    assert_eq!(
        (
            &delta["delta"]["stop_reason"],
            &delta["usage"]["cache_read_input_tokens"]
        ),
        (&json!("tool_use"), &json!(90))
    );
    let failed = ReplyPart::Failed(RequestRefusal::new(RefusalKind::Busy, "the queue is full"));
    let all = events(Manner::Messages(vec![]), vec![failed]);
    assert_eq!(
        all.last().unwrap(),
        &(
            Some("error"),
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "the queue is full"}})
        )
    );
}
