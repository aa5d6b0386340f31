//! What a server adds to decoding: the time to the first byte of a reply to a long history that is stored,
//! however it is known, and the time that streaming over HTTP adds to each token. The server is the
//! program itself (`NPAST_PROGRAM`), called over loopback as clients call it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use npast::chat::{Message, same};
use npast::ledger::Token;
use npast::llama::{Context, ContextOptions, Seq};
use npast::slot::SlotOptions;
use serde_json::{Value, json};

use super::host::{LEDGER, words};
use super::measure::{UBATCH, load, median, ms, options, threads, timed, title, tokens};
use super::model::{self, Class};

/// Messages of the long history, and bytes of each: together somewhat more than [`LEDGER`] tokens.
const MESSAGES: usize = 100;
const BYTES: usize = 1450;
/// Requests of each kind that are measured.
const ASKED: usize = 21;
/// What the first byte may take besides decoding, in milliseconds.
const FIRST_BYTE: f64 = 50.0;

/// Tokens of a streamed reply, and of the prompt before it.
const REPLY: usize = 128;
const PROMPT: usize = 512;
const ROUNDS: usize = 9;
/// What streaming may add to a token's time.
const ADDED: f64 = 1.02;

/// A server that runs until this is dropped.
struct Server {
    child: Child,
    address: String,
    _home: tempfile::TempDir,
}

impl Server {
    fn start(model: &Path, limit: usize) -> Server {
        let program = std::env::var_os("NPAST_PROGRAM").expect("NPAST_PROGRAM names the program");
        let home = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command
            .env("NPAST_HOME", home.path())
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--temp", "0"])
            .args(["--no-store", "--ctx", &limit.to_string()])
            .args(["--ubatch", &UBATCH.to_string()])
            .args(["--threads", &threads().to_string(), "-m"])
            .arg(model)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("a server");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let event: Value = serde_json::from_str(&line).expect("an event");
        let url = event["url"].as_str().expect("an address");
        Server {
            child,
            address: url.trim_start_matches("http://").to_owned(),
            _home: home,
        }
    }

    /// A reply that is streamed.
    fn ask(&self, path: &str, mut body: Value) -> Streamed {
        body["stream"] = true.into();
        let body = body.to_string();
        let mut socket = TcpStream::connect(&self.address).expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let begun = Instant::now();
        socket.write_all(head.as_bytes()).expect("a request");
        socket.write_all(body.as_bytes()).expect("a body");
        let mut streamed = Streamed::default();
        for line in BufReader::new(socket).lines() {
            let line = line.expect("a line");
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            let Ok(data) = serde_json::from_str::<Value>(data) else {
                continue;
            };
            streamed.take(&data, ms(begun));
        }
        assert!(streamed.receipt.is_object(), "a reply: {body:.300}");
        streamed
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a stream said, and when: milliseconds since the request.
#[derive(Default)]
struct Streamed {
    first: Option<f64>,
    last: f64,
    text: String,
    id: String,
    receipt: Value,
}

impl Streamed {
    fn take(&mut self, data: &Value, at: f64) {
        let chat = data.pointer("/choices/0/delta/content");
        let response = data
            .get("delta")
            .filter(|_| data["type"] == "response.output_text.delta");
        if let Some(text) = chat
            .or(response)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
        {
            self.first.get_or_insert(at);
            self.last = at;
            self.text += text;
        }
        if let Some(id) = data.pointer("/response/id").and_then(Value::as_str) {
            self.id = id.to_owned();
        }
        for place in ["/npast/receipt", "/response/npast/receipt"] {
            if let Some(receipt) = data.pointer(place) {
                self.receipt = receipt.clone();
            }
        }
    }

    fn n(&self, field: &str) -> usize {
        let count = self.receipt.pointer(field).and_then(Value::as_u64);
        count.unwrap_or_else(|| panic!("no {field} in {}", self.receipt)) as usize
    }

    /// Milliseconds to the first byte, besides decoding.
    fn host(&self) -> f64 {
        self.first.unwrap_or(self.last) - self.n("/ms/first_token") as f64
    }
}

/// Runs and prints both.
pub fn run() {
    first_bytes();
    streaming();
}

/// A history that some other program led, another one for each name.
fn history(name: &str) -> Vec<Value> {
    let message = |n: usize| {
        let role = ["user", "assistant"][n % 2];
        json!({"role": role, "content": format!("{name} {n}: {}", words(BYTES))})
    };
    (0..MESSAGES).chain([MESSAGES]).map(message).collect()
}

fn first_bytes() {
    // A recurrent model: 100,000 tokens are evaluated in seconds, and the server does not care.
    let model = model::tiny_model(Class::Recurrent, &model::Options::default());
    let server = Server::start(&model, LEDGER + LEDGER / 2);
    title(&format!(
        "the first byte of a reply to a history of {} KB that is stored, besides decoding: median of \
         {ASKED}",
        history("")
            .iter()
            .map(|m| m.to_string().len())
            .sum::<usize>()
            / 1000
    ));
    let kinds: [(&str, Option<&str>); 2] = [
        ("chat completions, known by the client's key", Some("bench")),
        ("chat completions, found by the longest match", None),
    ];
    for (name, key) in kinds {
        let mut messages = history(name);
        let ask = |messages: &[Value]| {
            let mut body = json!({"messages": messages, "max_tokens": 24});
            if let Some(key) = key {
                body["prompt_cache_key"] = key.into();
            }
            server.ask("/v1/chat/completions", body)
        };
        print(name, || {
            let reply = ask(&messages);
            messages.push(json!({"role": "assistant", "content": reply.text}));
            messages.push(json!({"role": "user", "content": words(100)}));
            reply
        });
    }
    matching();
    let mut previous: Option<String> = None;
    print("responses, gone on from by the response's id", || {
        let body = match &previous {
            None => json!({"input": history("responses"), "max_output_tokens": 24}),
            Some(id) => json!({"input": words(100), "previous_response_id": id,
                "max_output_tokens": 24}),
        };
        let reply = server.ask("/v1/responses", body);
        previous = Some(reply.id.clone());
        reply
    });
}

/// The comparison alone, which is in the figures above: one pass over the bytes that were sent.
fn matching() {
    let wire = history("matching");
    let read = |value: &Value| Message::from_json(value).expect("a message");
    let messages: Vec<Message> = wire.iter().map(read).collect();
    let bytes: usize = messages.iter().map(|m| m.text.len()).sum();
    let took = timed(ASKED, || {
        let mut last = same::START;
        for (at, said) in same::normal(&same::from_outside(&messages))
            .iter()
            .enumerate()
        {
            last = same::chain(last, &said.message, at == 0);
        }
        std::hint::black_box(last);
    });
    println!(
        "{:<50}{took:>8.2} ms   ({:.0} MB/s)",
        "  of that, normal form and digests of all bytes",
        bytes as f64 / took / 1e3
    );
}

/// One request that brings the history, and then those that are measured.
fn print(name: &str, mut ask: impl FnMut() -> Streamed) {
    ask();
    let mut took = Vec::new();
    let mut context = 0;
    for _ in 0..ASKED {
        let reply = ask();
        assert_eq!(
            reply.n("/evaluated"),
            reply.n("/appended"),
            "{}",
            reply.receipt
        );
        context = reply.n("/context");
        took.push(reply.host());
    }
    println!(
        "{name:<50}{:>8.1} ms of {FIRST_BYTE:.0}   ({context} tokens)",
        median(took)
    );
}

fn streaming() {
    let path = model::bench_model();
    let server = Server::start(&path, 4096);
    let model = load(&path);
    let context = ContextOptions {
        cells: SlotOptions::cells(4096),
        ..options(4096).context
    };
    let mut bare = Context::new(&model, &context).expect("a context");
    title(&format!(
        "a token that is streamed over HTTP beside a bare llama.cpp loop: {:.0} million parameters, \
         {REPLY} tokens, threads {}, {ROUNDS} interleaved runs",
        model.parameters() as f64 / 1e6,
        threads(),
    ));
    let (mut loops, mut slots, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up, and is not counted.
    for round in 0..=ROUNDS {
        let mut sides = [0.0; 3];
        for side in 0..2 {
            if (side + round) % 2 == 0 {
                sides[0] = decode(&mut bare, round as u64);
            } else {
                (sides[1], sides[2]) = stream(&server, round);
            }
        }
        if round > 0 {
            loops.push(sides[0]);
            slots.push(sides[1]);
            streams.push(sides[2]);
        }
    }
    let best = |of: &[f64]| of.iter().copied().fold(f64::MAX, f64::min);
    println!("{:<32}{:>12}{:>9}{:>9}", "", "ms a token", "ratio", "best");
    let names = [
        "bare loop",
        "the slot's part of a stream",
        "stream over HTTP",
    ];
    for (name, of) in names.iter().zip([&loops, &slots, &streams]) {
        println!(
            "  {name:<30}{:>12.4}{:>9.3}{:>9.3}",
            median(of.clone()),
            median(of.clone()) / median(loops.clone()),
            best(of) / best(&loops),
        );
    }
    println!("  (aim: at most {ADDED})");
}

/// Milliseconds a token of a loop that any program over llama.cpp has.
fn decode(ctx: &mut Context, seed: u64) -> f64 {
    ctx.clear(Seq::Main);
    let mut at = 0;
    for batch in tokens(seed, PROMPT).chunks(UBATCH) {
        let last = at + batch.len() == PROMPT;
        ctx.decode(Seq::Main, at, batch, last).expect("a prefill");
        at += batch.len();
    }
    let begun = Instant::now();
    for _ in 1..REPLY {
        let row = ctx.logits().expect("a row of logits");
        let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
        let token = Token(best.unwrap_or_default() as i32);
        ctx.decode(Seq::Main, at, &[token], true).expect("a decode");
        at += 1;
    }
    ms(begun) / (REPLY - 1) as f64
}

/// Milliseconds a token: of the slot, and as the client sees it, from the first token on. What the end of
/// a call takes for storing is no part of it.
fn stream(server: &Server, round: usize) -> (f64, f64) {
    let text = format!("{round} {}", words(PROMPT));
    let body = json!({"messages": [{"role": "user", "content": text}], "max_tokens": REPLY});
    let reply = server.ask("/v1/chat/completions", body);
    assert_eq!(reply.n("/generated"), REPLY, "{}", reply.receipt);
    let steps = (REPLY - 1) as f64;
    let save = reply.n("/ms/save") as f64;
    let first = reply.first.expect("a text");
    (
        reply.n("/ms/decode") as f64 / steps,
        (reply.last - first - save) / steps,
    )
}
