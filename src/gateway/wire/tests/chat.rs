use serde_json::{Value, json};

use super::super::openai::read;
use super::super::{
    Ask, Calls, Format, Manner, RefusalKind, ReplyPart, RequestRefusal, SamplingAsk, Show,
};
use super::{end, events, head, parts, reply, weighed};
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::ledger::Finish;

fn calling(id: &str, name: &str, arguments: Value) -> Message {
    let mut message = Message::assistant("");
    message.calls = vec![ToolCall {
        id: id.into(),
        name: name.into(),
        arguments,
    }];
    message
}

fn result(id: &str, text: &str) -> Message {
    let mut message = Message::tool_result(id, "", text);
    message.name = None;
    message
}

#[test]
fn a_request_of_an_agent_with_tools_is_read_whole() {
    let body = json!({
        "model": "npast", "stream": true, "stream_options": {"include_usage": true},
        "temperature": 0.6, "top_p": 0.9, "max_tokens": 8000, "stop": "\nEND", "seed": 7,
        "parallel_tool_calls": false, "prompt_cache_key": "s-1", "user": "u", "new_field": {"x": []},
        "tool_choice": "auto", "frequency_penalty": 0, "presence_penalty": 0.5, "logit_bias": {},
        "tools": [
            {"type": "function", "function": {"name": "read", "description": "Reads.", "strict": true,
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}},
            {"type": "web_search"},
            {"type": "function", "function": {"name": "now"}},
        ],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Really."}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "reasoning": "hm", "refusal": null, "annotations": [],
             "tool_calls": [{"index": 0, "id": "c1", "type": "function",
                "function": {"name": "read", "arguments": "{\"path\":\"x\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "text of x"},
            {"role": "system", "content": "It is noon."},
            {"role": "user", "content": "go on"},
        ],
    });
    let ask = read(&body).unwrap();
    let mut thinking = calling("c1", "read", json!({"path": "x"}));
    thinking.reasoning = Some("hm".into());
    let tools = json!([
        {"type": "function", "function": {"name": "read", "description": "Reads.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}},
        {"type": "function", "function": {"name": "now",
            "parameters": {"type": "object", "properties": {}}}},
    ]);
    let mut want = Ask {
        model: Some("npast".into()),
        system: Some("Be brief.\n\nReally.".into()),
        messages: vec![
            Message::user("a\nb"),
            thinking,
            result("c1", "text of x"),
            Message::system("It is noon."),
            Message::user("go on"),
        ],
        tools: Some(tools),
        parallel: Some(false),
        sampling: SamplingAsk {
            temperature: Some(0.6),
            top_p: Some(0.9),
            seed: Some(7),
            ..SamplingAsk::default()
        },
        stop: vec!["\nEND".into()],
        max_tokens: Some(8000),
        show: Show {
            stream: true,
            usage: true,
            progress: false,
        },
        ignored: vec!["presence_penalty".into(), "tool:web_search".into()],
        ..Ask::default()
    };
    want.keys.conversation = Some("prompt_cache_key:s-1".into());
    want.keys.given = vec!["c1".into()];
    assert_eq!(ask, want);
}

#[test]
fn the_forms_that_clients_give_to_one_history_are_one_history() {
    let table = [
        json!({"role": "assistant", "content": "yes", "reasoning_content": "hm", "tool_calls": null}),
        json!({"role": "assistant", "content": [{"type": "text", "text": "yes"}], "reasoning": "hm", "tool_calls": []}),
        json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "yes", "cache_control": {"type": "ephemeral"}}], "finish_reason": "stop"}),
        json!({"role": "assistant", "content": "yes", "reasoning": "hm", "reasoning_details": [{"text": "hm"}]}),
    ];
    let mut want = Message::assistant("yes");
    want.reasoning = Some("hm".into());
    for form in table {
        let body = json!({"messages": [{"role": "user", "content": "?"}, form]});
        let ask = read(&body).unwrap();
        assert_eq!(ask.messages, [Message::user("?"), want.clone()], "{body}");
    }
    let calls = [
        json!({"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}),
        json!({"content": "", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]}),
    ];
    for form in calls {
        let mut message = form.clone();
        message["role"] = "assistant".into();
        let ask = read(&json!({"messages": [message]})).unwrap();
        assert_eq!(ask.messages, [calling("c", "f", json!({"a": 1}))]);
    }
}

#[test]
fn choices_formats_and_limits_are_read_and_null_says_nothing() {
    let with = |field: &str, value: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}], "tools": []});
        body[field] = value;
        read(&body)
    };
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let named = json!({"type": "function", "function": {"name": "f"}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
    assert_eq!(
        with("tool_choice", named).unwrap().choice,
        Calls::Only("f".into())
    );
    assert_eq!(
        with("tool_choice", json!("required")).unwrap().choice,
        Calls::Required
    );
    assert_eq!(
        with("tool_choice", json!("none")).unwrap().choice,
        Calls::None
    );
    assert_eq!(
        with("response_format", format).unwrap().format,
        Format::Schema(schema)
    );
    let object = json!({"type": "json_object"});
    assert_eq!(
        with("response_format", object).unwrap().format,
        Format::Object
    );
    assert_eq!(
        with("max_completion_tokens", json!(5)).unwrap().max_tokens,
        Some(5)
    );
    assert_eq!(with("max_tokens", json!(-1)).unwrap().max_tokens, None);
    let off = json!({"enable_thinking": false});
    assert_eq!(
        with("chat_template_kwargs", off).unwrap().think,
        Some(false)
    );
    for field in [
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "stream",
        "n",
        "seed",
        "model",
    ] {
        let ask = with(field, Value::Null).unwrap();
        assert_eq!(
            (ask.tools, ask.choice, ask.ignored),
            (None, Calls::Auto, vec![]),
            "{field}"
        );
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_the_field_and_a_sentence() {
    let table = [
        (
            json!({}),
            "messages",
            "messages must hold at least one message",
        ),
        (
            json!({"messages": 3}),
            "messages",
            "messages must be a list, not a number",
        ),
        (
            json!({"messages": [7]}),
            "messages[0]",
            "messages[0] must be an object, not a number",
        ),
        (
            json!({"messages": [{"role": "god"}]}),
            "messages[0]",
            "messages[0] has the role \"god\"; it must be system, developer, user, assistant or tool",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}),
            "messages[0].content[0]",
            "messages[0].content[0] is a part of type \"image_url\": images cannot be read: the model of this server reads text",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}),
            "messages[0].tool_calls[0].arguments",
            "messages[0].tool_calls[0].arguments must be a JSON object, or a string that holds one: EOF while parsing an object at line 1 column 1",
        ),
        (
            json!({"n": 2}),
            "n",
            "n must be 1: this server gives one reply to a request; ask again for another",
        ),
        (
            json!({"temperature": "hot"}),
            "temperature",
            "temperature must be a number from 0 to 100, not a string",
        ),
        (
            json!({"temperature": -1}),
            "temperature",
            "temperature must be a number from 0 to 100, not -1",
        ),
        (
            json!({"max_tokens": 0}),
            "max_tokens",
            "max_tokens must be at least 1: a reply has at least one token",
        ),
        (
            json!({"stop": [1]}),
            "stop",
            "stop must be a string or a list of strings, not a number",
        ),
        (
            json!({"logprobs": 1}),
            "logprobs",
            "logprobs must be true or false, not a number",
        ),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
            "top_logprobs must be a whole number from 0 to 20, not 21",
        ),
        (
            json!({"top_logprobs": 2}),
            "top_logprobs",
            "top_logprobs is given with logprobs alone: set logprobs to true",
        ),
    ];
    for (body, param, sentence) in table {
        let want = RequestRefusal {
            kind: RefusalKind::Invalid,
            message: sentence.to_owned(),
            param: Some(param.to_owned()),
        };
        assert_eq!(read(&body), Err(want), "{body}");
    }
}

#[test]
fn a_whole_completion_has_thinking_calls_usage_and_timings() {
    let whole = Manner::Chat(Show::default()).whole(&head(), &reply(parts()));
    assert_eq!(
        whole["choices"],
        json!([{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "I look for it.", "reasoning_content": "Where is it?",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{\"path\":\"/\",\"deep\":true}"}},
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ]}}])
    );
    assert_eq!(
        (&whole["id"], &whole["object"], &whole["usage"]),
        (
            &json!("chatcmpl-7"),
            &json!("chat.completion"),
            &json!({
            "prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
            "prompt_tokens_details": {"cached_tokens": 90}})
        )
    );
    let timings = &whole["timings"];
    assert_eq!(
        (
            &timings["cache_n"],
            &timings["prompt_n"],
            &timings["predicted_per_second"]
        ),
        (&json!(90), &json!(10), &json!(100.0))
    );
}

#[test]
fn chunks_carry_the_same_reply_and_end_in_usage_and_done() {
    let show = Show {
        stream: true,
        usage: true,
        progress: false,
    };
    let all = events(Manner::Chat(show), parts());
    let deltas: Vec<&Value> = all
        .iter()
        .filter(|(_, chunk)| chunk["choices"][0].is_object())
        .map(|(_, chunk)| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(
        json!(deltas),
        json!([
            {"role": "assistant", "content": ""},
            {"reasoning_content": "Where "}, {"reasoning_content": "is it?"},
            {"content": "I look"}, {"content": " for it."},
            {"tool_calls": [{"id": "call_1", "type": "function", "index": 0,
                "function": {"name": "find", "arguments": "{\"path\":\"/\",\"deep\":true}"}}]},
            {"tool_calls": [{"id": "call_2", "type": "function", "index": 1,
                "function": {"name": "now", "arguments": "{}"}}]},
            {},
        ])
    );
    let [.., finish, usage, done] = all.as_slice() else {
        panic!("three at the end: {all:?}");
    };
    assert_eq!(finish.1["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(finish.1["usage"], Value::Null);
    assert_eq!(usage.1["choices"], json!([]));
    assert_eq!(
        usage.1["usage"]["prompt_tokens_details"]["cached_tokens"],
        90
    );
    assert_eq!(done.1, "[DONE]");
}

#[test]
fn a_failure_in_the_middle_of_a_stream_is_an_error_object() {
    let refusal = RequestRefusal::new(RefusalKind::Broken, "the engine is gone");
    let all = events(
        Manner::Chat(Show::default()),
        vec![ReplyPart::Text("a".into()), ReplyPart::Failed(refusal)],
    );
    assert_eq!(
        all.last().unwrap().1,
        json!({"error": {"message": "the engine is gone", "type": "server_error", "param": null, "code": null}})
    );
    let length = events(Manner::Chat(Show::default()), vec![end(Finish::Length)]);
    assert_eq!(length[1].1["choices"][0]["finish_reason"], "length");
}

#[test]
fn how_likely_each_token_was_goes_with_its_text() {
    let whole = Manner::Chat(Show::default()).whole(&head(), &reply(weighed()));
    let one = |token: &str, logprob: f32| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let full = |token: &str, logprob: f32| {
        let mut value = one(token, logprob);
        value["top_logprobs"] = json!([one("b", -0.25), one(token, logprob)]);
        value
    };
    let cut = json!({"token": "\u{fffd}", "logprob": -9999.0, "bytes": [0xc3], "top_logprobs": []});
    let logprobs = json!({"content": [full("up", -0.5), full("on", -0.75), cut], "refusal": null});
    assert_eq!(whole["choices"][0]["logprobs"], logprobs);
    let chunks = events(Manner::Chat(Show::default()), weighed());
    let told: Vec<&Value> = chunks
        .iter()
        .filter_map(|(_, c)| c["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .collect();
    assert_eq!(json!(told), logprobs["content"]);
    assert_eq!(chunks[1].1["choices"][0]["delta"]["content"], "upon");
    assert_eq!(
        chunks[1].1["choices"][0]["logprobs"]["content"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}
