//! A server over time: clients that go away, an end, another start.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use crate::gateway::Server;
use crate::gateway_apis::{find, looks, says, thinker};
use crate::model::Class;
use crate::program::{Program, n};

#[test]
fn after_a_restart_the_next_message_costs_itself() {
    for class in Class::ALL {
        let tools = json!([{"type": "function", "function": find()}]);
        let mut messages = vec![json!({"role": "user", "content": "Where is a?"})];
        let body = |messages: &[Value]| json!({"messages": messages, "tools": tools});
        let server = Server::start(thinker(class), &[], &[looks()]);
        let reply = server
            .posted("/v1/chat/completions", &body(&messages))
            .json();
        let message = reply["choices"][0]["message"].clone();
        let id = message["tool_calls"][0]["id"].clone();
        messages.push(message);
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "/b/a"}));
        let program = server.stop();

        let server = Server::start(program, &[], &[says("In b.")]);
        let answer = server.posted("/v1/chat/completions", &body(&messages));
        let receipt = answer.receipt();
        assert_eq!(
            n(&receipt, "evaluated"),
            n(&receipt, "appended"),
            "{class:?}: {receipt}"
        );
        assert!(n(&receipt, "restored") > 0, "{class:?}: {receipt}");
        let program = server.stop();
        program.verify("after two servers");
    }
}

#[test]
fn a_client_that_goes_away_stops_its_reply_and_what_was_decoded_stays() {
    let program = Program::new(Class::Dense);
    let server = Server::start(program, &[], &[]);
    let body = json!({"stream": true, "max_tokens": 15_000, "logit_bias": {"1": 1},
        "messages": [{"role": "user", "content": "Talk on and on."}]});
    let body = body.to_string();
    let mut socket = server.socket();
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request");
    let mut lines = BufReader::new(socket).lines();
    let mut head = Vec::new();
    let mut chunks = 0;
    while chunks < 5 {
        let line = lines.next().expect("a line").expect("a text");
        chunks += usize::from(line.starts_with("data: "));
        head.push(line);
    }
    assert!(
        head.iter()
            .any(|line| line == "x-npast-ignored: logit_bias"),
        "{head:?}"
    );
    drop(lines);
    // The server sees it at once, and between two decode calls the reply ends.
    while server.metric("llamacpp:requests_processing") > 0 {
        std::thread::yield_now();
    }
    assert_eq!(server.metric("npast_replies_left_total"), 1);
    let token = server.token();
    let list = server.get("/v1/sessions", &[("x-api-key", &token)]).json();
    let name = list["data"][0]["name"]
        .as_str()
        .expect("a session")
        .to_owned();
    let path = format!("/v1/sessions/{name}");
    let shown = server.get(&path, &[("x-api-key", &token)]).json();
    let said = shown["messages"].as_array().expect("messages");
    assert_eq!((said.len(), &said[1]["role"]), (2, &json!("assistant")));
    server.stop();
}

#[test]
fn a_server_that_is_told_to_end_lets_a_reply_come_to_its_end() {
    let server = Server::start(Program::new(Class::Dense), &[], &[]);
    let body = json!({"stream": true, "max_tokens": 300,
        "messages": [{"role": "user", "content": "Talk on and on."}]});
    let body = body.to_string();
    let mut socket = server.socket();
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request");
    let mut lines = BufReader::new(socket).lines();
    let begun = |line: &String| line.starts_with("data: ");
    lines
        .by_ref()
        .map_while(Result::ok)
        .find(begun)
        .expect("a chunk");
    server.terminate();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(rest.iter().any(|line| line == "data: [DONE]"), "{rest:?}");
    server.stop();
}

#[test]
fn a_configuration_is_printed_with_the_token_of_the_data_folder() {
    let program = Program::new(Class::Dense);
    for client in [
        "codex",
        "claude",
        "opencode",
        "hermes",
        "zed",
        "continue",
        "openwebui",
    ] {
        let mut command = program.command(&["serve", "--print-config", client]);
        command.arg("-m").arg(&program.desk.model);
        let output = command.output().expect("a run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let token = std::fs::read_to_string(program.desk.home.join("token")).expect("a token");
        assert!(text.contains("127.0.0.1:8080"), "{client}: {text}");
        assert_eq!(
            text.contains(token.trim()),
            client != "zed",
            "{client}: {text}"
        );
    }
}
