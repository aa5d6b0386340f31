//! npast's own sessions over HTTP: an agent's turn with its questions, what is taken back and put back, copies,
//! removal.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::gateway::{Answer, Server};
use crate::gateway_apis::{says, thinker};
use crate::model::Class;
use crate::program::{Program, n};

/// A client with the token.
struct Owner<'a> {
    server: &'a Server,
    token: String,
}

impl Owner<'_> {
    fn of(server: &Server) -> Owner<'_> {
        Owner {
            server,
            token: server.token(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(path, &[("x-api-key", &self.token)])
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let shown = [("x-api-key", self.token.as_str())];
        self.server.post_with(path, &shown, &body.to_string())
    }

    /// A request of a session, which must go well: what it came to.
    fn done(&self, session: &str, body: &Value) -> Value {
        let answer = self.post(&format!("/v1/sessions/{session}/requests"), body);
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        let events = answer.json()["data"].clone();
        let last = events.as_array().and_then(|events| events.last()).cloned();
        let last = last.unwrap_or_else(|| panic!("{body}: an end"));
        assert_eq!(last["type"], "done", "{body}: {events}");
        last
    }

    /// A request whose events are read while others are made.
    fn begin(&self, method: &str, path: &str, body: &Value) -> BufReader<TcpStream> {
        let mut socket = self.server.socket();
        let body = body.to_string();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .expect("a request");
        BufReader::new(socket)
    }

    fn remove(&self, session: &str) -> (u16, String) {
        let request = format!(
            "DELETE /v1/sessions/{session} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {}\r\n\
             Connection: close\r\n\r\n",
            self.token
        );
        self.server.raw(request.as_bytes())
    }

    fn names(&self) -> Vec<String> {
        let list = self.get("/v1/sessions").json();
        let list = list["data"].as_array().expect("sessions").iter();
        let mut names: Vec<String> = list
            .map(|s| s["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    }
}

/// The next event of this type.
fn event(lines: &mut impl BufRead, kind: &str) -> Value {
    for line in lines.lines() {
        let line = line.expect("a line");
        if let Some(data) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(data).expect("JSON");
            if event["type"] == kind {
                return event;
            }
        }
    }
    panic!("no {kind}");
}

#[test]
fn a_session_is_made_asked_taken_back_copied_and_removed() {
    for class in [Class::Dense, Class::Recurrent] {
        let replies = [says("One."), says("Two."), says("Three.")];
        let server = Server::start(Program::new(class), &[], &replies);
        let owner = Owner::of(&server);
        let made = owner.post(
            "/v1/sessions",
            &json!({"name": "work", "system": "Be brief."}),
        );
        assert_eq!((made.status, &made.json()["name"]), (200, &json!("work")));
        let say = |text: &str| json!({"request": "say", "input": {"text": text}});
        owner.done("work", &say("First?"));
        owner.done("work", &say("Second?"));
        let forked = owner.done(
            "work",
            &json!({"request": "fork", "name": "copy", "keep": 1}),
        );
        assert_eq!(forked["name"], "copy");
        owner.done("work", &json!({"request": "undo", "turns": 1}));
        owner.done("work", &json!({"request": "redo", "branch": null}));
        owner.done("copy", &say("Other?"));
        assert_eq!(owner.names(), ["copy", "work"]);
        let said = |name: &str| -> Vec<Value> {
            let shown = owner.get(&format!("/v1/sessions/{name}")).json();
            let all = shown["messages"].as_array().expect("messages").iter();
            all.map(|m| m["content"].clone()).collect()
        };
        assert_eq!(said("work"), ["First?", "One.", "Second?", "Two."]);
        assert_eq!(said("copy"), ["First?", "One.", "Other?", "Three."]);
        let why = owner.get("/v1/sessions/copy/why").json();
        // The beginning of its message stands in the session that it was copied from.
        let (evaluated, appended) = (
            n(&why["receipt"], "evaluated"),
            n(&why["receipt"], "appended"),
        );
        assert!(0 < evaluated && evaluated <= appended, "{why}");
        assert_eq!(why["receipt"]["miss"], Value::Null, "{why}");
        let found = owner.get("/v1/sessions/search?q=Three").json();
        assert_eq!(found["data"][0]["session"], "copy");

        // Not while somebody hears of it.
        let mut watch = owner.begin("GET", "/v1/sessions/work/events", &json!({}));
        let mut line = String::new();
        watch.read_line(&mut line).expect("a status");
        assert!(line.contains("200"), "{line}");
        let (status, text) = owner.remove("work");
        assert_eq!(status, 409, "{text}");
        assert_eq!(owner.names(), ["copy", "work"]);
        drop(watch);
        // The server sees that the watcher is gone a moment later.
        while owner.remove("work").0 == 409 {
            std::thread::yield_now();
        }
        assert_eq!(owner.names(), ["copy"]);
        assert_eq!(owner.get("/v1/sessions/work").status, 404);
        assert_eq!(owner.remove("work").0, 404);
        assert_eq!(server.raw(b"DELETE /v1/sessions/copy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 401);
        let (status, text) = owner.remove("copy");
        assert_eq!(
            (status, text.contains("\"deleted\":true")),
            (200, true),
            "{text}"
        );
        assert_eq!(
            owner.get("/v1/sessions/search?q=Three").json()["data"],
            json!([])
        );
        let program = server.stop();
        program.verify("after a removal");
    }
}

#[test]
fn a_question_of_an_agents_tool_is_answered_by_a_request() {
    let write = json!({"content": "", "tool_calls": [
        {"name": "write_file", "arguments": {"path": "made.txt", "content": "a line\n"}}]});
    let server = Server::start(
        thinker(Class::Dense),
        &["--approve", "ask"],
        &[write.clone(), says("Made."), write, says("Not made.")],
    );
    let owner = Owner::of(&server);
    let folder = tempfile::tempdir().expect("a project");
    let new = json!({"name": "agent", "agent": true, "folder": folder.path()});
    assert_eq!(owner.post("/v1/sessions", &new).status, 200);
    // What it knows of its folder stands before the first message.
    let shown = owner.get("/v1/sessions/agent").json();
    let preface = shown["preface"].as_str().unwrap_or_default();
    let name = folder.path().file_name().expect("a name").to_string_lossy();
    assert!(preface.contains(&*name), "{shown}");
    let file = folder.path().join("made.txt");
    for (grant, there) in [("once", true), ("no", false)] {
        let _ = std::fs::remove_file(&file);
        let say = json!({"request": "say", "input": {"text": "Make it."}, "stream": true});
        let mut events = owner.begin("POST", "/v1/sessions/agent/requests", &say);
        let question = event(&mut events, "question");
        assert_eq!(question["tool"], "write_file");
        assert_eq!(question["verb"], "make", "{question}");
        assert_eq!(question["change"]["diff"], "@@ -0,0 +1 @@\n+a line\n");
        assert!(!file.exists(), "nothing is done before the answer");
        // An answer to another question is none.
        let wrong = json!({"request": "answer", "question": 9_999, "grant": "once"});
        assert_eq!(
            owner.post("/v1/sessions/agent/requests", &wrong).status,
            400
        );
        owner.done(
            "agent",
            &json!({"request": "answer", "question": question["id"], "grant": grant,
                "reason": "use a folder"}),
        );
        let result = event(&mut events, "tool_result");
        assert_eq!(result["ok"], there, "{result}");
        let text = result["text"].as_str().unwrap_or_default();
        assert_eq!(text.ends_with("and says: use a folder"), !there, "{result}");
        event(&mut events, "done");
        assert_eq!(file.exists(), there);
    }
    // What the gateway's owner set is no client's to change.
    let free = json!({"request": "say", "input": {"text": "Make it."},
        "options": {"approve": "auto"}});
    let answer = owner.post("/v1/sessions/agent/requests", &free);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text.contains("options.approve"), "{answer:?}");
    server.stop();
}
