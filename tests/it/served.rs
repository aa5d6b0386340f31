//! A gateway as a service manager has it: told to read its configuration again, to end, and telling how
//! it is.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chats::says;
use crate::gateway::Server;
use crate::model::Class;
use crate::program::{Program, n};

fn configure(program: &Program, text: &str) {
    let folder = program.folder.path().join(".config/npast");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), text).expect("a configuration");
}

fn messages(words: &[&str]) -> Value {
    let roles = ["user", "assistant"].into_iter().cycle();
    let said = words.iter().zip(roles);
    let said: Vec<Value> = said
        .map(|(text, role)| json!({"role": role, "content": text}))
        .collect();
    json!({ "messages": said })
}

#[test]
fn a_configuration_is_read_again_and_the_slot_stays() {
    let program = Program::new(Class::Hybrid);
    configure(&program, "approve = \"deny\"\n");
    let call = json!({"content": "", "tool_calls":
        [{"name": "write_file", "arguments": {"path": "note.txt", "content": "x"}}]});
    let replies = [
        call.clone(),
        says("No."),
        says("Good day."),
        says("Fine."),
        call,
        says("Yes."),
    ];
    let mut server = Server::start(program, &[], &replies);
    let token = server.token();
    let shown = [("x-api-key", token.as_str())];
    // Whether a file is written in a session that starts now.
    let writes = |server: &Server, name: &str| {
        let new = json!({"name": name, "agent": true}).to_string();
        assert_eq!(server.post_with("/v1/sessions", &shown, &new).status, 200);
        let say = json!({"request": "say", "input": {"text": "Write."}}).to_string();
        let path = format!("/v1/sessions/{name}/requests");
        let said = server.post_with(&path, &shown, &say).json();
        let events = said["data"].as_array().expect("events").clone();
        let result = events.into_iter().find(|e| e["type"] == "tool_result");
        result.expect("a result")["ok"].clone()
    };
    assert_eq!(writes(&server, "before"), false);
    server.posted("/v1/chat/completions", &messages(&["Hello."]));

    configure(
        &server.program,
        "approve = \"auto\"\nthreads-batch = 3\n[serve]\nrequire-token = true\nmax-body = 1\n",
    );
    server.signal(Signal::HUP);
    assert_eq!(
        server.event(),
        json!({"type": "reloaded", "kept": ["threads-batch"]})
    );
    let next = messages(&["Hello.", "Good day.", "And now?"]);
    assert_eq!(server.post("/v1/chat/completions", &next).status, 401);
    let answer = server.post_with("/v1/chat/completions", &shown, &next.to_string());
    let receipt = answer.receipt();
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{receipt}"
    );
    assert!(n(&receipt, "kept") > 0, "{receipt}");
    assert_eq!(n(&receipt, "restored"), 0, "{receipt}");
    let large = json!({"messages": [{"role": "user", "content": "x".repeat(2 << 20)}]});
    let large = server.post_with("/v1/chat/completions", &shown, &large.to_string());
    assert_eq!(large.status, 413);
    assert_eq!(writes(&server, "after"), true);

    // What is no configuration changes nothing, and a file that is written needs no signal.
    configure(&server.program, "no such key = 1\n");
    server.signal(Signal::HUP);
    assert_eq!(server.post("/v1/chat/completions", &next).status, 401);
    configure(&server.program, "[serve]\nrequire-token = false\n");
    let event = server.event();
    assert_eq!(event, json!({"type": "reloaded", "kept": []}));
    assert_eq!(server.get("/v1/models", &[]).status, 200);
    server.stop();
}

#[test]
fn a_server_that_ends_refuses_what_is_new_and_stops_what_takes_too_long() {
    let server = Server::start(Program::new(Class::Dense), &["--drain", "1"], &[]);
    let mut command = server.program.command(&["--json", "--session", "work"]);
    command.args(["--max-tokens", "15000", "--temp", "0", "Talk on and on."]);
    let mut child = command.spawn().expect("a run");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let mut events = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("an event"));
    let text = events.find(|event| event["type"] == "text");
    text.expect("a text");
    server.terminate();
    let refused = loop {
        // A request that was there before the signal is answered. A connection that waits for another
        // request is closed by it.
        let answer = server.get("/health", &[("connection", "close")]);
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    let last = events.last().expect("an event");
    assert_eq!(
        (&last["type"], &last["finish"]),
        (&json!("turn"), &json!("interrupted")),
        "{last}"
    );
    assert_eq!(child.wait().expect("its end").code(), Some(130));
    let program = server.ended();
    let stored = program.desk.stored("work").messages;
    assert_eq!(stored.last().expect("a reply").role, "assistant");
    program.verify("after an end");

    // And a client over HTTP.
    let server = Server::start(program, &["--drain", "1"], &[]);
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
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    let chunk = lines.find(|line| line.starts_with("data: "));
    chunk.expect("a chunk");
    server.terminate();
    assert_eq!(lines.find(|line| line == "data: [DONE]"), None);
    server.ended();
}

/// What the service manager hears next.
fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 4096];
    let n = socket.recv(&mut bytes).expect("a message");
    let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_service_manager_hears_how_the_gateway_is_and_gives_it_its_socket() {
    let mut program = Program::new(Class::Dense);
    let path = program.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let patience = Some(Duration::from_secs(60));
    socket.set_read_timeout(patience).expect("a socket");
    let variables = [
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", "50000".to_owned()),
        ("PATH", "/usr/bin:/bin".to_owned()),
    ];
    program.env = variables
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    // As a service manager starts it: the socket is the file of number 3.
    let served = Server::command(&program, &[], &[]);
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"")
        .arg("sh")
        .arg(served.get_program())
        .args(served.get_args())
        .env_clear()
        .current_dir(program.folder.path())
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::piped());
    for (name, value) in served.get_envs() {
        command.env(name, value.expect("a variable"));
    }
    let mut server = Server::run(program, command);
    assert_eq!(server.url, format!("http://{address}"));
    assert_eq!(server.get("/health", &[]).status, 200);

    let until = |wanted: &str| loop {
        let heard = heard(&socket);
        if heard[0] == wanted {
            return heard;
        }
        assert_eq!(heard, ["WATCHDOG=1"], "before {wanted}");
    };
    let ready = until("READY=1");
    assert!(ready[1].ends_with(&format!(" at {address}")), "{ready:?}");
    until("WATCHDOG=1");
    server.signal(Signal::HUP);
    let reloading = until("RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(server.event(), json!({"type": "reloaded", "kept": []}));
    until("READY=1");
    server.terminate();
    until("STOPPING=1");
    server.ended();
}
