//! Peers that do not behave: they never end what they begin, ask for what cannot be, ask too often. Each is
//! told so in its API's own words, others are served, and nothing is stored.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use npast::config::{ConfigLayer, Places, Settings as Config};
use npast::gateway::http::{self, Access, AccessToken, BodyLimits, Gateway, ServerLimits};
use npast::service::{Projects, Service};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::gateway::Server;
use crate::gateway_apis::says;
use crate::model::Class;
use crate::program::Program;
use crate::talk::Desk;

/// A server of this process, with little patience.
struct Here {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

const PATIENCE: Duration = Duration::from_millis(400);

impl Here {
    fn start(desk: &Desk) -> Here {
        let places = Places {
            home: desk.home.clone(),
            config: desk.home.join("config.toml"),
            config_named: false,
        };
        let config = Config::new(ConfigLayer::default()).expect("settings");
        let projects = Arc::new(Projects::new(places, config));
        let service = Service::new(desk.engine().expect("an engine"), projects, true);
        let settings = http::GatewaySettings {
            access: Access {
                token: AccessToken::of(&desk.home).expect("a token"),
                required: false,
                beyond: false,
                hosts: Vec::new(),
                origins: Vec::new(),
            },
            home: desk.home.clone(),
            folder: "folder".to_owned(),
            turn: crate::talk::greedy(4),
            script: None,
            body: BodyLimits {
                pause: PATIENCE,
                whole: 3 * PATIENCE,
                ..BodyLimits::default()
            },
            replies: 4,
            rate: None,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let router = http::router(Gateway::new(service.clone(), settings));
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
                let listener = listener.expect("a port");
                told.send(listener.local_addr().expect("an address"))
                    .expect("a test");
                let limits = ServerLimits {
                    headers: PATIENCE,
                    ..ServerLimits::default()
                };
                let (_routers, router) = tokio::sync::watch::channel(router);
                let stop = async { drop(stopped.await) };
                http::serve(listener, router, http::ending(), limits, stop, async {}).await;
            });
            drop(runtime);
            service.close().expect("everything is stored");
        });
        Here {
            address: address.recv().expect("an address"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("a connection");
        let most = Some(Duration::from_secs(60));
        socket.set_read_timeout(most).expect("a socket");
        socket
    }

    /// Sends bytes, and reads until the server closes.
    fn raw(&self, bytes: &str) -> String {
        let mut socket = self.socket();
        socket.write_all(bytes.as_bytes()).expect("a request");
        rest(socket)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

fn rest(mut socket: TcpStream) -> String {
    let mut came = Vec::new();
    let _ = socket.read_to_end(&mut came);
    String::from_utf8_lossy(&came).into_owned()
}

#[test]
fn who_never_ends_a_request_is_let_go_and_holds_up_nobody() {
    let desk = Desk::new(Class::Dense, None);
    let here = Here::start(&desk);
    let begin = Instant::now();
    // Headers that do not end.
    let mut silent: Vec<TcpStream> = (0..40).map(|_| here.socket()).collect();
    for socket in &mut silent {
        let head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-A: b";
        socket.write_all(head.as_bytes()).expect("a head");
    }
    // Bodies that do not end: one says nothing more, one says a little again and again.
    let head =
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"a\":";
    let mut stuck = here.socket();
    stuck.write_all(head.as_bytes()).expect("a head");
    let mut slow = here.socket();
    slow.write_all(head.as_bytes()).expect("a head");
    let mut feed = slow.try_clone().expect("a socket");
    let feeder = std::thread::spawn(move || {
        let every = PATIENCE / 4;
        let gone = Duration::from_secs(30);
        let (begin, pause) = (Instant::now(), std::sync::mpsc::channel::<()>().1);
        while begin.elapsed() < gone && feed.write_all(b" ").is_ok() {
            let _ = pause.recv_timeout(every);
            std::thread::park_timeout(every);
        }
        begin.elapsed() < gone
    });
    // Somebody else.
    let body = r#"{"messages":[{"role":"user","content":"Hello"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(here.raw(&request).starts_with("HTTP/1.1 200"));

    for socket in silent {
        let came = rest(socket);
        assert!(
            came.is_empty() || came.starts_with("HTTP/1.1 408"),
            "{came}"
        );
    }
    let came = rest(stuck);
    assert!(
        came.starts_with("HTTP/1.1 408") && came.contains("\"type\":\"error\""),
        "{came}"
    );
    let came = rest(slow);
    assert!(
        came.is_empty() || came.contains("did not come within"),
        "{came}"
    );
    assert!(
        feeder.join().expect("a feeder"),
        "the connection was closed"
    );
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// The body's own shape: its kind in each API.
fn kind(answer: &crate::gateway::Answer) -> (u16, Value) {
    let body = answer.json();
    assert!(
        body["error"]["message"]
            .as_str()
            .is_some_and(|m| m.len() > 10),
        "{body}"
    );
    (answer.status, body["error"]["type"].clone())
}

#[test]
fn what_is_no_conversation_is_refused_in_each_apis_words_and_nothing_is_stored() {
    let server = Server::start(Program::new(Class::Dense), &[], &[]);
    let user = |content: Value| json!({"role": "user", "content": content});
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]);
    let chat = [
        json!([user(image)]),
        json!([user(
            json!([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])
        )]),
        json!([user("".into())]),
        json!([]),
        json!([{"role": "assistant", "content": "I begin."}]),
        json!([{"role": "tool", "tool_call_id": "x", "content": "a result"}]),
        json!([user("Hi".into()), {"role": "tool", "tool_call_id": "x", "content": "a result"}]),
        json!([user("Hi".into()), {"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]),
        json!([user("Hi".into()), {"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, user("And?".into())]),
        json!([{"role": "nobody", "content": "x"}]),
        json!([{"content": "x"}]),
        json!([7]),
        json!("Hi"),
        json!([user(json!({"a": 1}))]),
    ];
    for stream in [false, true] {
        for messages in &chat {
            let body = json!({"messages": messages, "stream": stream});
            let answer = server.post("/v1/chat/completions", &body);
            assert_eq!(
                kind(&answer),
                (400, json!("invalid_request_error")),
                "{body}: {answer:?}"
            );
        }
        let picture = json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]);
        let result = json!([{"type": "tool_result", "tool_use_id": "x", "content": "a result"}]);
        for messages in [
            json!([user(picture)]),
            json!([]),
            json!([user("".into())]),
            json!([{"role": "assistant", "content": "I begin."}]),
            json!([user(result)]),
        ] {
            let body = json!({"max_tokens": 9, "messages": messages, "stream": stream});
            let answer = server.post("/v1/messages", &body);
            assert_eq!(
                kind(&answer),
                (400, json!("invalid_request_error")),
                "{body}: {answer:?}"
            );
            assert_eq!(answer.json()["type"], "error");
        }
        for input in [
            json!([{"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
            json!([]),
            json!([{"type": "function_call_output", "call_id": "x", "output": "a result"}]),
        ] {
            let body = json!({"input": input, "stream": stream});
            let answer = server.post("/v1/responses", &body);
            assert_eq!(
                kind(&answer),
                (400, json!("invalid_request_error")),
                "{body}: {answer:?}"
            );
        }
    }
    assert_eq!(server.metric("llamacpp:prompt_tokens_total"), 0);
    let token = server.token();
    while server.get("/v1/sessions", &[("x-api-key", &token)]).json()["data"] != json!([]) {
        std::thread::yield_now();
    }
    server.stop();
}

#[test]
fn any_models_name_is_this_model_and_unknown_fields_say_nothing() {
    let server = Server::start(Program::new(Class::Dense), &[], &[says("Hi.")]);
    let body = json!({"model": "gpt-99", "messages": [{"role": "user", "content": "Hi"}],
        "made_up": {"a": [1]}, "tools": [], "user": "me"});
    let reply = server.posted("/v1/chat/completions", &body).json();
    assert_eq!(reply["model"], "gpt-99");
    assert_eq!(reply["choices"][0]["message"]["content"], "Hi.");
    assert_eq!(server.get("/v1/models/gpt-99", &[]).status, 404);
    server.stop();
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again_in_each_apis_words() {
    let server = Server::start(Program::new(Class::Dense), &["--rate-limit", "3"], &[]);
    // What tells nothing is not counted.
    assert!((0..9).all(|_| server.get("/health", &[]).status == 200));
    assert!((0..3).all(|_| server.get("/v1/models", &[]).status == 200));
    for (path, kind) in [
        ("/v1/chat/completions", "rate_limit_error"),
        ("/v1/messages", "rate_limit_error"),
        ("/v1/completions", "rate_limit_error"),
    ] {
        let answer = server.post(path, &json!({}));
        assert_eq!(
            (answer.status, &answer.json()["error"]["type"]),
            (429, &json!(kind))
        );
        let wait: u64 = answer
            .header("retry-after")
            .expect("a time")
            .parse()
            .expect("seconds");
        assert!((1..=20).contains(&wait), "{wait}");
    }
    server.stop();
}

#[test]
fn one_reply_more_than_may_wait_is_told_to_try_again() {
    let server = Server::start(Program::new(Class::Dense), &["--max-replies", "1"], &[]);
    let body = json!({"stream": true, "max_tokens": 15_000,
        "messages": [{"role": "user", "content": "Talk on and on."}]});
    let body = body.to_string();
    let mut socket = server.socket();
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request");
    let mut came = [0; 64];
    assert!(socket.read(&mut came).expect("a reply begins") > 0);
    for (path, body, kind) in [
        (
            "/v1/completions",
            json!({"prompt": "x"}),
            "unavailable_error",
        ),
        (
            "/v1/messages",
            json!({"max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}),
            "overloaded_error",
        ),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(
            (answer.status, &answer.json()["error"]["type"]),
            (503, &json!(kind)),
            "{answer:?}"
        );
        assert_eq!(answer.header("retry-after"), Some("2"));
    }
    drop(socket);
    server.stop();
}
