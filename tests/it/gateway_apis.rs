//! The four APIs as programs use them: whole and as events, with tools, with figures that are the
//! receipt's own.

use serde_json::{Value, json};

use crate::gateway::{Frame, Server};
use crate::model::{self, Class};
use crate::program::{Program, honest, n};
use crate::talk::Desk;

/// A program whose model thinks and calls tools.
pub fn thinker(class: Class) -> Program {
    Program {
        desk: Desk::new(class, Some(model::THINKER)),
        ..Program::new(class)
    }
}

pub fn looks() -> Value {
    json!({"reasoning": "Where?", "content": "I look.", "tool_calls": [
        {"name": "find", "arguments": {"path": "/", "deep": true}}]})
}

pub fn says(text: &str) -> Value {
    json!({ "content": text })
}

pub fn find() -> Value {
    json!({"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {
        "path": {"type": "string"}, "deep": {"type": "boolean"}}, "required": ["path"]}})
}

/// What a receipt says, beside what a response says of it: prompt, cached, generated.
fn figures(receipt: &Value) -> [usize; 3] {
    let cached = n(receipt, "kept") + n(receipt, "restored");
    [
        cached + n(receipt, "evaluated"),
        cached,
        n(receipt, "generated"),
    ]
}

#[test]
fn a_tool_loop_over_chat_completions_evaluates_what_is_new_and_nothing_else() {
    for class in Class::ALL {
        let replies = [looks(), says("It is in b."), says("Yes.")];
        let server = Server::start(thinker(class), &[], &replies);
        let tools = json!([{"type": "function", "function": find()}]);
        let mut messages = vec![
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": "Where is a?"}),
        ];
        let mut session = None;
        for step in 0..3 {
            let body = json!({"model": "any", "messages": messages, "tools": tools});
            let answer = server.posted("/v1/chat/completions", &body);
            let receipt = answer.receipt();
            honest("a step", &receipt);
            assert_eq!(
                n(&receipt, "evaluated"),
                n(&receipt, "appended"),
                "{class:?} {receipt}"
            );
            let reply = answer.json();
            let usage = &reply["usage"];
            let told = [
                n(usage, "prompt_tokens"),
                n(&usage["prompt_tokens_details"], "cached_tokens"),
                n(usage, "completion_tokens"),
            ];
            assert_eq!(told, figures(&receipt));
            assert_eq!(told[1] > 0, step > 0, "{class:?} step {step}: {receipt}");
            let name = answer
                .header("x-npast-session")
                .expect("a session")
                .to_owned();
            assert_eq!(*session.get_or_insert(name.clone()), name);
            let message = reply["choices"][0]["message"].clone();
            if step == 0 {
                assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
                assert_eq!(message["reasoning_content"], "Where?\n");
                let call = &message["tool_calls"][0];
                assert_eq!(call["function"]["name"], "find");
                assert_eq!(call["function"]["arguments"], r#"{"path":"/","deep":true}"#);
                let id = call["id"].clone();
                messages.push(message);
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": "/b/a"}));
            } else {
                messages.push(message);
                messages.push(json!({"role": "user", "content": "Sure?"}));
            }
        }
        server.stop();
    }
}

#[test]
fn a_stream_says_what_the_whole_response_says_in_each_api() {
    let replies: Vec<Value> = (0..6).map(|_| looks()).collect();
    let server = Server::start(thinker(Class::Dense), &[], &replies);
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    let call = json!({"path": "/", "deep": true});

    let tools = json!([{"type": "function", "function": find()}]);
    let mut body = json!({"messages": user("One?"), "tools": tools});
    let whole = server.posted("/v1/chat/completions", &body).json();
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    body["messages"] = user("Two?");
    let frames = server.posted("/v1/chat/completions", &body).frames();
    let deltas = |field: &str| -> String {
        let each = frames
            .iter()
            .filter_map(|(_, c)| c["choices"][0]["delta"][field].as_str());
        each.collect()
    };
    let message = &whole["choices"][0]["message"];
    assert_eq!(deltas("content"), message["content"]);
    assert_eq!(deltas("reasoning_content"), message["reasoning_content"]);
    let calls: Vec<&Value> = frames
        .iter()
        .filter_map(|(_, c)| c["choices"][0]["delta"].get("tool_calls"))
        .collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0][0]["function"],
        message["tool_calls"][0]["function"]
    );
    let usage = &frames[frames.len() - 2].1["usage"];
    assert_eq!(
        n(usage, "completion_tokens"),
        n(&whole["usage"], "completion_tokens")
    );
    assert_eq!(frames.last().expect("an end").1, "[DONE]");

    let mut tool = find();
    tool["input_schema"] = tool["parameters"].take();
    let mut body = json!({"max_tokens": 500, "messages": user("Three?"), "tools": [tool]});
    let whole = server.posted("/v1/messages?beta=true", &body).json();
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][2]["input"], call);
    body["stream"] = true.into();
    body["messages"] = user("Four?");
    let frames = server.posted("/v1/messages", &body).frames();
    let kind = |kind: &str| -> Vec<&Value> {
        let named = |f: &&Frame| f.0.as_deref() == Some(kind);
        frames.iter().filter(named).map(|f| &f.1).collect()
    };
    let text: String = kind("content_block_delta")
        .iter()
        .filter_map(|d| d["delta"]["text"].as_str())
        .collect();
    assert_eq!(text, whole["content"][1]["text"].as_str().expect("a text"));
    let json: String = kind("content_block_delta")
        .iter()
        .filter_map(|d| d["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON"), call);
    assert_eq!(kind("content_block_start").len(), 3);
    assert_eq!(kind("message_delta")[0]["delta"]["stop_reason"], "tool_use");
    assert_eq!(kind("message_stop").len(), 1);

    let mut tool = find();
    tool["type"] = "function".into();
    let mut body = json!({"input": "Five?", "tools": [tool]});
    let whole = server.posted("/v1/responses", &body).json();
    assert_eq!(whole["status"], "completed");
    body["stream"] = true.into();
    body["input"] = "Six?".into();
    let frames = server.posted("/v1/responses", &body).frames();
    let (name, last) = frames.last().expect("an end");
    assert_eq!(name.as_deref(), Some("response.completed"));
    let output = |response: &Value| -> Vec<Value> {
        let items = response["output"].as_array().expect("items");
        let what = ["content", "name", "arguments"];
        items
            .iter()
            .map(|item| json!(what.map(|field| item.get(field))))
            .collect()
    };
    assert_eq!(output(&last["response"]), output(&whole));
    server.stop();
}

#[test]
fn a_response_is_gone_on_from_by_its_id() {
    let replies = [says("Good day."), says("Fine."), says("Well.")];
    let server = Server::start(Program::new(Class::Hybrid), &[], &replies);
    let first = server
        .posted("/v1/responses", &json!({"input": "Hello there"}))
        .json();
    let body = json!({"input": "How are you?", "previous_response_id": first["id"]});
    let second = server.posted("/v1/responses", &body);
    let receipt = second.receipt();
    assert_eq!(n(&receipt, "evaluated"), n(&receipt, "appended"));
    assert!(n(&receipt, "kept") > 0);
    let reply = second.json();
    assert_eq!(reply["output"][0]["content"][0]["text"], "Fine.");
    assert_eq!(reply["previous_response_id"], first["id"]);
    let unknown = json!({"input": "x", "previous_response_id": "resp_of_another"});
    assert_eq!(server.post("/v1/responses", &unknown).status, 404);
    // Another way from the first response on; what it cost is named.
    let body = json!({"input": "And you?", "previous_response_id": first["id"]});
    let third = server.posted("/v1/responses", &body);
    honest("another way", &third.receipt());
    let history = &third.json()["npast"]["history"];
    assert_eq!(
        (n(history, "same"), n(history, "sent")),
        (2, 3),
        "{history}"
    );
    // After another start a response is known by its session.
    let id = third.json()["id"].clone();
    let server = Server::start(server.stop(), &[], &[says("Good.")]);
    let body = json!({"input": "Still there?", "previous_response_id": id});
    let last = server.posted("/v1/responses", &body);
    let receipt = last.receipt();
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{receipt}"
    );
    let history = &last.json()["npast"]["history"];
    assert_eq!(
        (n(history, "same"), n(history, "sent")),
        (4, 5),
        "{history}"
    );
    server.stop();
}

#[test]
fn a_reply_is_held_to_a_schema_to_a_call_or_to_none() {
    // Every token that is allowed is as likely as any other.
    let random = [
        "--temp", "100", "--top-k", "0", "--top-p", "1", "--min-p", "0",
    ];
    let args = [&random[..], &["--no-thinking"]].concat();
    let server = Server::start(thinker(Class::Dense), &args, &[]);
    let user = json!([{"role": "user", "content": "Tell me."}]);
    let schema = json!({"type": "object", "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"], "additionalProperties": false});
    let tools = json!([{"type": "function", "function": {"name": "flag", "parameters": schema}},
        {"type": "function", "function": {"name": "mark", "parameters": schema}}]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let body = json!({"messages": user, "response_format": format, "max_tokens": 4000});
    let reply = server.posted("/v1/chat/completions", &body).json();
    let text = reply["choices"][0]["message"]["content"]
        .as_str()
        .expect("a text");
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {reply}"));
    assert!(value["sure"].is_boolean(), "{reply}");

    // One token of some hundred ends a reply, and none does before the call: where nothing is required,
    // eight such replies all but surely have one that stops.
    let named = json!({"type": "function", "function": {"name": "mark"}});
    let body = json!({"messages": user, "tools": tools, "tool_choice": named, "max_tokens": 400});
    for _ in 0..8 {
        let reply = server.posted("/v1/chat/completions", &body).json();
        let choice = &reply["choices"][0];
        let call = &choice["message"]["tool_calls"][0]["function"]["name"];
        match choice["finish_reason"].as_str() {
            Some("length") => {}
            Some("tool_calls") => assert_eq!(call, "mark", "{reply}"),
            _ => panic!("it ends with a call or at its limit: {reply}"),
        }
    }
    let body = json!({"messages": user, "tools": tools, "max_tokens": 400});
    let stops = (0..8).filter(|_| {
        let reply = server.posted("/v1/chat/completions", &body).json();
        reply["choices"][0]["finish_reason"] == "stop"
    });
    assert!(stops.count() > 0, "without a wish a reply stops by itself");

    // Nothing was stored of a request that cannot be done.
    let before = server.metric("npast_replies_total");
    let body = json!({"messages": user, "tools": tools, "tool_choice":
        {"type": "function", "function": {"name": "other"}}});
    let refused = server.post("/v1/chat/completions", &body);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(before < server.metric("npast_replies_total"));
    server.stop();
}

#[test]
fn tokens_are_counted_before_they_are_sent() {
    let server = Server::start(Program::new(Class::Dense), &[], &[says("Good day.")]);
    let body = json!({"system": "Be brief.", "max_tokens": 9, "messages": [
        {"role": "user", "content": "Hello there"}]});
    let counted = server.posted("/v1/messages/count_tokens", &body).json();
    let reply = server.posted("/v1/messages", &body).json();
    let usage = &reply["usage"];
    let prompt = n(usage, "input_tokens") + n(usage, "cache_read_input_tokens");
    assert_eq!(n(&counted, "input_tokens"), prompt);
    let text = "Hello <|im_end|> there";
    let tokens = server.posted("/tokenize", &json!({"content": text})).json();
    let back = server.posted("/detokenize", &tokens).json();
    assert_eq!(back, json!({"content": text}));
    let wrong = server.post("/detokenize", &json!({"tokens": [1_000_000]}));
    assert_eq!(wrong.status, 400);
    server.stop();
}
