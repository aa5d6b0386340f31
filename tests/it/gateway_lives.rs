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

/// OpenMP keeps a team of threads for each thread that ever computed, and a second team makes each token
/// of the first one slower ([`npast::llama::Model::load`]).
#[cfg(all(target_os = "linux", feature = "openmp"))]
#[test]
fn one_thread_of_the_program_computes_with_its_team_and_no_other() {
    for class in Class::ALL {
        let mut program = thinker(class);
        program.flags = ["--ubatch", "64", "--threads", "2"]
            .map(str::to_owned)
            .into();
        let server = Server::start(program, &[], &[says("Good.")]);
        let body = json!({"messages": [{"role": "user", "content": "Hello."}]});
        assert_eq!(server.post("/v1/chat/completions", &body).status, 200);
        // A thread of a team has the name of the thread that began it.
        let tasks = format!("/proc/{}/task", server.pid());
        let names = std::fs::read_dir(tasks).expect("threads").map(|task| {
            let name = task.expect("a thread").path().join("comm");
            std::fs::read_to_string(name).unwrap_or_default()
        });
        let names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        let count = |of: &str| names.iter().filter(|name| *name == of).count();
        assert_eq!((count("npast"), count("npast-engine")), (1, 2), "{names:?}");
        server.stop();
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
    // The call has ended when its receipt is stored.
    let generated = loop {
        let shown = server.get(&path, &[("x-api-key", &token)]).json();
        match n(&shown["usage"], "generated") {
            0 => std::thread::yield_now(),
            generated => break generated,
        }
    };
    assert!(
        generated < 10_000,
        "it was stopped after {generated} tokens"
    );
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

/// A conversation of two turns over chat completions: its messages, and its session.
fn talked(server: &Server, tools: &Value) -> (Vec<Value>, String) {
    let mut messages = vec![
        json!({"role": "system", "content": "Be brief."}),
        json!({"role": "user", "content": "Where is a?"}),
    ];
    let mut session = String::new();
    for next in [Some("/b/a"), None] {
        let body = json!({"messages": messages, "tools": tools});
        let answer = server.posted("/v1/chat/completions", &body);
        session = answer
            .header("x-npast-session")
            .expect("a session")
            .to_owned();
        let message = answer.json()["choices"][0]["message"].clone();
        let id = message["tool_calls"][0]["id"].clone();
        messages.push(message);
        if let Some(result) = next {
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
        }
    }
    (messages, session)
}

/// The next message, in whatever form the history is sent: only itself is evaluated.
fn costs_itself(what: &str, server: &Server, body: &Value, session: &str) -> Value {
    let answer = server.posted("/v1/chat/completions", body);
    let receipt = answer.receipt();
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{what}: {receipt}"
    );
    assert_eq!(receipt["miss"], Value::Null, "{what}: {receipt}");
    assert_eq!(answer.header("x-npast-session"), Some(session), "{what}");
    let history = &answer.json()["npast"]["history"];
    assert_eq!(history["difference"], Value::Null, "{what}: {history}");
    receipt
}

#[test]
fn a_title_request_between_two_messages_costs_the_conversation_nothing() {
    for class in Class::ALL {
        let mut title = says("Finding a");
        title["job"] = "side".into();
        let replies = [looks(), says("In b."), title, says("Yes.")];
        let server = Server::start(thinker(class), &[], &replies);
        let tools = json!([{"type": "function", "function": find()}]);
        let (mut messages, session) = talked(&server, &tools);
        let title = json!({"max_tokens": 40, "prompt_cache_key": "s", "messages": [
            {"role": "system", "content": "You write titles."},
            {"role": "user", "content": "Title of: Where is a?"}]});
        let answer = server.posted("/v1/chat/completions", &title);
        let receipt = answer.receipt();
        assert_eq!(answer.header("x-npast-session"), None);
        assert_eq!(receipt["kind"], "fork", "{receipt}");
        assert_eq!(n(&receipt, "evaluated"), n(&receipt, "appended"));
        let reply = answer.json();
        assert_eq!(reply["npast"]["beside"], "quotes", "{reply}");
        assert_eq!(reply["choices"][0]["message"]["content"], "Finding a");
        let cached = &reply["usage"]["prompt_tokens_details"];
        assert_eq!(n(cached, "cached_tokens"), n(&receipt, "kept"));
        messages.push(json!({"role": "user", "content": "Sure?"}));
        let body = json!({"messages": messages, "tools": tools});
        let receipt = costs_itself("after a title", &server, &body, &session);
        assert_eq!(n(&receipt, "restored_bytes"), 0, "{class:?}: {receipt}");
        let list = server.get("/v1/sessions", &[("x-api-key", &server.token())]);
        let all = list.json()["data"].as_array().map(Vec::len);
        assert_eq!(all, Some(1), "nothing of a title is stored");
        server.stop();
    }
}

#[test]
fn a_history_in_another_form_costs_its_new_message() {
    type Form = (&'static str, fn(&mut Value));
    let forms: [Form; 5] = [
        ("trimmed", |m| {
            if let Some(text) = m["content"].as_str() {
                m["content"] = text.trim().into();
            }
        }),
        ("parts", |m| {
            if let Some(text) = m["content"].as_str() {
                m["content"] = json!([{"type": "text", "text": text}]);
            }
        }),
        ("without reasoning", |m| {
            m.as_object_mut()
                .expect("a message")
                .remove("reasoning_content");
        }),
        ("other ids", |m| {
            if m.get("tool_call_id").is_some() {
                m["tool_call_id"] = "toolu_x".into();
            }
            if let Some(id) = m.pointer_mut("/tool_calls/0/id") {
                *id = "toolu_x".into();
            }
        }),
        ("arguments written anew", |m| {
            if let Some(text) = m.pointer_mut("/tool_calls/0/function/arguments") {
                *text = r#"{ "deep": true, "path": "/" }"#.into();
            }
            m["finish_reason"] = "stop".into();
        }),
    ];
    for (what, form) in forms {
        let replies = [looks(), says("In b."), says("Yes.")];
        let server = Server::start(thinker(Class::Hybrid), &[], &replies);
        let tools = json!([{"type": "function", "function": find()}]);
        let (mut messages, session) = talked(&server, &tools);
        messages.iter_mut().for_each(form);
        messages.push(json!({"role": "user", "content": "Sure?"}));
        let body = json!({"messages": messages, "tools": tools});
        costs_itself(what, &server, &body, &session);
        server.stop();
    }
}

#[test]
fn a_conversation_of_one_api_is_gone_on_with_in_another() {
    let replies = [looks(), says("In b."), says("Yes.")];
    let server = Server::start(thinker(Class::Hybrid), &[], &replies);
    let tools = json!([{"type": "function", "function": find()}]);
    let (messages, session) = talked(&server, &tools);
    let mut tool = find();
    tool["input_schema"] = tool["parameters"].take();
    tool.as_object_mut().expect("a tool").remove("parameters");
    let id = &messages[2]["tool_calls"][0]["id"];
    let body = json!({"max_tokens": 99, "system": "Be brief.", "tools": [tool], "messages": [
        {"role": "user", "content": "Where is a?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."},
            {"type": "tool_use", "id": id, "name": "find", "input": {"path": "/", "deep": true}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "/b/a"}]},
        {"role": "assistant", "content": "In b."},
        {"role": "user", "content": "Sure?"}]});
    let answer = server.posted("/v1/messages", &body);
    let receipt = answer.receipt();
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{receipt}"
    );
    assert_eq!(answer.header("x-npast-session"), Some(session.as_str()));
    server.stop();
}

#[test]
fn a_history_that_was_made_elsewhere_is_gone_on_with_and_one_that_changed_says_where() {
    let server = Server::start(
        thinker(Class::Dense),
        &[],
        &[says("Four."), says("Six."), says("Nine.")],
    );
    let mut messages = vec![
        json!({"role": "user", "content": "One and one?"}),
        json!({"role": "assistant", "content": "Two."}),
        json!({"role": "user", "content": "Two and two?"}),
    ];
    let answer = server.posted("/v1/chat/completions", &json!({"messages": messages}));
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Four.");
    messages.push(answer.json()["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "Three and three?"}));
    let answer = server.posted("/v1/chat/completions", &json!({"messages": messages}));
    let receipt = answer.receipt();
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{receipt}"
    );
    // One digit is another, in a message of long ago.
    messages[2]["content"] = "Two and 2?".into();
    let answer = server.posted("/v1/chat/completions", &json!({"messages": messages}));
    let all = answer.json();
    let kept = n(&answer.receipt(), "kept");
    assert!(kept < n(&receipt, "kept"), "{all}");
    server.stop();
}

#[test]
fn a_stream_that_broke_is_taken_up_again_and_nothing_of_it_is_missing() {
    let server = Server::start(Program::new(Class::Dense), &[], &[]);
    let token = server.token();
    let shown = [("x-api-key", token.as_str())];
    let begin = |most: usize| {
        let body = json!({"stream": true, "max_tokens": most,
            "messages": [{"role": "user", "content": "Talk on and on."}]});
        let body = body.to_string();
        let mut socket = server.socket();
        write!(
            socket,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Conversation-Id: here\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a request");
        let lines = BufReader::new(socket).lines();
        let events = lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with("data: "));
        events.take(6).collect::<Vec<String>>()
    };
    let seen = begin(300);
    assert_eq!(server.get("/v1/streams/here", &[]).status, 401);
    assert_eq!(server.get("/v1/streams/other", &shown).status, 404);
    let behind = [shown[0], ("last-event-id", "5")];
    let rest = server.get("/v1/streams/here", &behind);
    assert!(rest.text.starts_with("id: 6\n"), "{}", rest.text);
    let whole = server.get("/v1/streams/here?from=0", &shown);
    let data = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("data: "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!([seen, data(&rest.text)].concat(), data(&whole.text));
    let (_, last) = whole.frames().pop().expect("an end");
    assert_eq!(last, "[DONE]");
    let text: String = whole
        .frames()
        .iter()
        .filter_map(|(_, chunk)| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    let list = server.get("/v1/sessions", &shown).json();
    let name = list["data"][0]["name"]
        .as_str()
        .expect("a session")
        .to_owned();
    let stored = server.get(&format!("/v1/sessions/{name}"), &shown).json();
    let content = stored["messages"][1]["content"].as_str().expect("a text");
    assert_eq!(content.trim(), text.trim());

    // Stopped by who has the token.
    begin(15_000);
    let request = format!(
        "DELETE /v1/streams/here HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {token}\r\n\
         Connection: close\r\n\r\n"
    );
    assert_eq!(server.raw(request.as_bytes()).0, 200);
    while server.metric("llamacpp:requests_processing") > 0 {
        std::thread::yield_now();
    }
    server.stop();
}
