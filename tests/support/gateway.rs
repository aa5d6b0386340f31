//! A server as its clients have it: the program on a port of its own, called over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::Program;

/// A server that runs.
pub struct Server {
    child: ServerProcess,
    pub program: Program,
    /// Standard output; the server may write there as long as it lives.
    out: BufReader<ChildStdout>,
    pub url: String,
    agent: ureq::Agent,
}

/// Its process. A test that does not end it, or fails before, leaves none behind.
struct ServerProcess(Child);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

/// One event of a stream.
pub type Frame = (Option<String>, Value);

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn receipt(&self) -> Value {
        let text = self.header("x-npast-receipt");
        let text = text.unwrap_or_else(|| panic!("a receipt: {self:?}"));
        serde_json::from_str(text).expect("a receipt is JSON")
    }

    /// The events of a stream.
    pub fn frames(&self) -> Vec<Frame> {
        let blocks = self.text.split("\n\n").filter(|b| !b.is_empty());
        blocks.filter_map(frame).collect()
    }
}

/// An event; nothing where it is a comment.
fn frame(block: &str) -> Option<Frame> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    let data = match data {
        "[DONE]" => Value::from("[DONE]"),
        data => serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}")),
    };
    Some((field("event: ").map(str::to_owned), data))
}

impl Server {
    /// Starts the program; `replies` are prepared, in the order of calls.
    pub fn start(program: Program, args: &[&str], replies: &[Value]) -> Server {
        let command = Server::command(&program, args, replies);
        Server::run(program, command)
    }

    /// How the program is started.
    pub fn command(program: &Program, args: &[&str], replies: &[Value]) -> Command {
        let mut command = program.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
        command
            .args(&program.flags)
            .arg("-m")
            .arg(&program.desk.model)
            .args(args);
        if !args.contains(&"--temp") {
            command.args(["--temp", "0"]);
        }
        if !replies.is_empty() {
            let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
            let script = program.folder.path().join("replies.jsonl");
            std::fs::write(&script, lines.join("\n")).expect("a script");
            command.arg("--script").arg(script);
        }
        command
    }

    /// Starts it so, and waits until it serves.
    pub fn run(program: Program, mut command: Command) -> Server {
        command.stderr(Stdio::inherit());
        let mut child = command.spawn().expect("a server");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let event = event(&mut out);
        assert_eq!(event["type"], "listening", "{event}");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        Server {
            program,
            child: ServerProcess(child),
            out,
            url: event["url"].as_str().expect("an address").to_owned(),
            agent: config.into(),
        }
    }

    /// The next event that it prints.
    pub fn event(&mut self) -> Value {
        event(&mut self.out)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// What callers must show.
    pub fn token(&self) -> String {
        let path = self.program.desk.home.join("token");
        let text = std::fs::read_to_string(path).expect("a token");
        text.trim().to_owned()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], &body.to_string())
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(
            request
                .header("content-type", "application/json")
                .send(body),
        )
    }

    /// A request that must go well.
    pub fn posted(&self, path: &str, body: &Value) -> Answer {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        answer
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call())
    }

    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics", &[]).text;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let figure = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        figure.trim().parse().expect("a figure")
    }

    /// A socket on which a test writes what it likes.
    pub fn socket(&self) -> TcpStream {
        let address = self.url.strip_prefix("http://").expect("an address");
        let socket = TcpStream::connect(address).expect("a connection");
        let most = Some(Duration::from_secs(60));
        socket.set_read_timeout(most).expect("a socket");
        socket
    }

    /// Writes bytes on a socket, reads until the server closes it; the status, and all that came.
    pub fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut socket = self.socket();
        // The server may answer and close before it has all.
        let _ = socket.write_all(bytes);
        let mut came = Vec::new();
        let _ = socket.read_to_end(&mut came);
        let text = String::from_utf8_lossy(&came).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.unwrap_or(0), text)
    }

    /// Ends it as a service manager does; it must end well.
    pub fn stop(self) -> Program {
        self.terminate();
        self.ended()
    }

    /// Waits for its end, which must be a good one.
    pub fn ended(self) -> Program {
        let Server {
            program, mut child, ..
        } = self;
        let ended = child.0.wait().expect("its end");
        assert_eq!(ended.code(), Some(0));
        program
    }

    /// Ends it as a power cut does.
    pub fn kill(self) -> Program {
        let Server {
            program, mut child, ..
        } = self;
        child.0.kill().expect("a signal");
        child.0.wait().expect("its end");
        program
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).expect("a signal");
    }
}

fn event(out: &mut impl BufRead) -> Value {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = result.expect("a response");
    let text = response.body_mut().read_to_string().expect("a body");
    let headers = response.headers().iter();
    Answer {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.as_str().to_owned(), value.into_owned())
            })
            .collect(),
        text,
    }
}
