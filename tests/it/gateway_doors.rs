//! Who gets in, what is read of a request, and what a request that is wrong is told.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::gateway::{Answer, Server};
use crate::gateway_apis::says;
use crate::model::Class;
use crate::program::{Program, n};

/// Status and kind of an error, in the shape of OpenAI and in Anthropic's.
fn refused(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    let kind = body["error"]["type"].as_str().unwrap_or_default();
    let whole = body["type"].as_str().unwrap_or_default();
    assert!(
        body["error"]["message"]
            .as_str()
            .is_some_and(|m| m.len() > 10),
        "{body}"
    );
    (answer.status, whole.to_owned(), kind.to_owned())
}

fn message() -> Value {
    json!({"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]})
}

#[test]
fn a_server_that_wants_its_token_tells_each_client_in_its_own_words() {
    let server = Server::start(
        Program::new(Class::Dense),
        &["--require-token"],
        &[says("Hi.")],
    );
    let token = server.token();
    let bearer = format!("Bearer {token}");
    let body = message().to_string();
    let call = |path: &str, headers: &[(&str, &str)]| server.post_with(path, headers, &body);
    let openai = (401, String::new(), "authentication_error".to_owned());
    let anthropic = (401, "error".to_owned(), "authentication_error".to_owned());
    assert_eq!(refused(&call("/v1/chat/completions", &[])), openai);
    let wrong = [("authorization", "Bearer sk-none")];
    assert_eq!(refused(&call("/v1/responses", &wrong)), openai);
    assert_eq!(
        refused(&call("/v1/messages", &[("x-api-key", "none")])),
        anthropic
    );
    assert_eq!(refused(&server.get("/v1/models", &[])), openai);
    assert_eq!(server.get("/health", &[]).status, 200);
    let shown = [("authorization", bearer.as_str())];
    assert_eq!(server.get("/v1/models", &shown).status, 200);
    assert_eq!(call("/v1/messages", &[("x-api-key", &token)]).status, 200);
    server.stop();
}

#[test]
fn a_page_that_a_browser_shows_cannot_reach_the_server() {
    let server = Server::start(Program::new(Class::Dense), &[], &[says("Hi.")]);
    let body = message().to_string();
    let call = |name: &str, value: &str| {
        let length = body.len();
        let host = if name == "Host" { value } else { "127.0.0.1" };
        let other = if name == "Host" {
            String::new()
        } else {
            format!("{name}: {value}\r\n")
        };
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: {host}\r\n{other}Content-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        server.raw(request.as_bytes())
    };
    for (name, value) in [
        ("Host", "evil.example"),
        ("Host", "127.0.0.1.evil.example:80"),
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let (status, text) = call(name, value);
        assert_eq!(status, 403, "{name}: {value}: {text}");
        assert!(text.contains("permission_error"), "{text}");
        assert!(!text.contains("access-control-allow-origin"), "{text}");
    }
    assert_eq!(server.metric("npast_replies_total"), 0);
    assert_eq!(call("Host", "localhost:9").0, 200);
    server.stop();
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let server = Server::start(Program::new(Class::Dense), &[], &[]);
    let post = |body: &[u8], length: usize| {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        server.raw(&[head.as_bytes(), body].concat())
    };
    let bad = b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}";
    let (status, text) = post(bad, bad.len());
    assert_eq!(status, 400);
    assert!(text.contains("not UTF-8"), "{text}");
    let (status, text) = post(b"{\"messages\":[", 13);
    assert_eq!(status, 400);
    assert!(text.contains("the body is not JSON"), "{text}");
    let deep = "[".repeat(100_000);
    assert_eq!(post(deep.as_bytes(), deep.len()).0, 400);
    // Refused by its length, before anything of it was sent.
    let (status, text) = post(b"", 1 << 40);
    assert_eq!(status, 413);
    assert!(text.contains("larger than the 32 MiB"), "{text}");
    // One that does not say its length is read up to the limit.
    let mut socket = server.socket();
    let head =
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).expect("a head");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let sent = (0..40)
        .take_while(|_| socket.write_all(&chunk).is_ok())
        .count();
    assert!(sent >= 32, "{sent} MiB were taken");
    let mut came = String::new();
    let _ = socket.read_to_string(&mut came);
    assert!(
        came.is_empty() || came.contains("request_too_large"),
        "{came}"
    );
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let status = server.raw(long.as_bytes()).0;
    assert!(matches!(status, 0 | 414 | 431), "{status}");
    assert_eq!(server.raw(b"no HTTP at all\r\n\r\n").0, 400);

    let table = [
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("HEAD", "/", 200),
        ("GET", "/", 200),
        ("GET", "/v1/models/other", 404),
    ];
    for (method, path, want) in table {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(server.raw(request.as_bytes()).0, want, "{method} {path}");
    }
    let n_2 = json!({"n": 2, "messages": [{"role": "user", "content": "x"}]});
    let answer = server.post("/v1/chat/completions", &n_2);
    assert_eq!(
        (answer.status, &answer.json()["error"]["param"]),
        (400, &json!("n"))
    );
    let long = "word ".repeat(40_000);
    for path in ["/v1/chat/completions", "/v1/messages"] {
        for stream in [false, true] {
            let mut body = message();
            body["messages"][0]["content"] = long.as_str().into();
            body["stream"] = stream.into();
            let answer = server.post(path, &body);
            assert_eq!(answer.status, 400, "{path} {answer:?}");
        }
    }
    assert_eq!(server.metric("llamacpp:tokens_predicted_total"), 0);
    // What was started for a request that was refused goes with it.
    let token = server.token();
    while server.get("/v1/sessions", &[("x-api-key", &token)]).json()["data"] != json!([]) {
        std::thread::yield_now();
    }
    server.stop();
}

#[test]
fn npasts_own_sessions_are_shown_and_asked_by_who_has_the_token() {
    let server = Server::start(
        Program::new(Class::Dense),
        &[],
        &[says("Good day."), says("Fine.")],
    );
    let token = server.token();
    let shown = [("x-api-key", token.as_str())];
    for path in ["/v1/sessions", "/v1/sessions/work", "/v1/sessions/work/why"] {
        assert_eq!(server.get(path, &[]).status, 401, "{path}");
        assert_eq!(
            server.get(path, &[("x-api-key", "none")]).status,
            401,
            "{path}"
        );
    }
    let named = [("x-npast-session", "work")];
    let body = message().to_string();
    assert_eq!(server.post_with("/v1/messages", &named, &body).status, 401);
    let named = [named[0], shown[0]];
    let answer = server.post_with("/v1/messages", &named, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-npast-session"), Some("work"));

    let list = server.get("/v1/sessions", &shown).json();
    assert_eq!(list["data"][0]["name"], "work");
    let work = server.get("/v1/sessions/work", &shown).json();
    let said: Vec<&Value> = work["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .collect();
    assert_eq!(said[0]["content"], "Hello");
    assert_eq!(said[1]["content"], "Good day.");
    let why = server.get("/v1/sessions/work/why", &shown).json();
    assert_eq!(why["miss"], Value::Null);
    let found = server.get("/v1/sessions/search?q=day", &shown).json();
    assert_eq!(found["data"][0]["session"], "work");

    let say = json!({"request": "say", "input": {"text": "How are you?"}, "stream": true});
    let asked = server.post_with("/v1/sessions/work/requests", &shown, &say.to_string());
    assert_eq!(asked.status, 200, "{asked:?}");
    let events: Vec<Value> = asked.frames().into_iter().map(|(_, event)| event).collect();
    let receipt = events
        .iter()
        .find(|e| e["type"] == "receipt")
        .expect("a receipt");
    assert_eq!(n(receipt, "evaluated"), n(receipt, "appended"));
    assert_eq!(events.last().expect("an end")["type"], "done");
    let undo = json!({"request": "undo", "turns": 1});
    let undone = server.post_with("/v1/sessions/work/requests", &shown, &undo.to_string());
    assert_eq!(undone.json()["data"][0]["type"], "done", "{undone:?}");
    let work = server.get("/v1/sessions/work", &shown).json();
    assert_eq!(work["messages"].as_array().expect("messages").len(), 2);
    let unknown = server.get("/v1/sessions/other", &shown);
    assert_eq!(unknown.status, 404);
    server.stop();
}

#[test]
fn listening_beyond_this_machine_needs_a_flag() {
    let program = Program::new(Class::Dense);
    let mut command = program.command(&["serve", "--listen", "0.0.0.0:0", "--json"]);
    command.arg("-m").arg(&program.desk.model);
    let output = command.output().expect("a run");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("--allow-remote"), "{said}");
}
