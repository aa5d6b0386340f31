//! Servers as they come: good, dumb, dead, loud. The server is this test program itself, run again
//! with one test that serves; what the test harness prints is the first garbage of each.

use std::io::{BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::*;
use crate::tools::testing::{Place, make_fifo};
use crate::tools::{Effect, Registry, Subject, ToolAnswer};

const MODE: &str = "NPAST_TEST_MCP";
const FIFO: &str = "NPAST_TEST_MCP_FIFO";

/// No test but a server, where a test asks for it.
#[test]
fn the_server_of_these_tests() {
    if let Ok(mode) = std::env::var(MODE) {
        serve(&mode);
    }
}

fn config(name: &str, mode: &str) -> ServerConfig {
    let own = std::env::current_exe().unwrap();
    let test = "tools::mcp::tests::the_server_of_these_tests";
    ServerConfig {
        name: name.to_owned(),
        command: own.to_str().unwrap().to_owned(),
        args: ["--exact", test, "--nocapture"].map(str::to_owned).to_vec(),
        env: BTreeMap::from([(MODE.to_owned(), mode.to_owned())]),
        tools: None,
        start_limit: Duration::from_secs(60),
        call_limit: Duration::from_secs(60),
        network: false,
        write: Vec::new(),
        sandbox: true,
    }
}

fn start(place: &Place, configs: &[ServerConfig]) -> Servers {
    Servers::start(
        configs,
        &ServerSurroundings {
            project: &place.project(),
            env: &[("PATH".into(), std::env::var_os("PATH").unwrap())],
            command: &|launch| launch.bare(),
        },
    )
}

/// A server's tools in a registry, and what went wrong meanwhile.
fn registry(servers: &mut Servers) -> (Registry, Vec<String>) {
    let tools = servers.tools(&["list", "taken_echo"]);
    (Registry::new(tools).unwrap(), servers.notices())
}

fn names(registry: &Registry) -> Vec<&str> {
    registry
        .tools()
        .map(|tool| tool.spec().name.as_str())
        .collect()
}

fn call(place: &Place, registry: &Registry, name: &str, arguments: Value) -> ToolAnswer {
    place.room(None, |room| registry.run(name, &arguments, room))
}

#[test]
fn tools_of_servers_are_named_sorted_and_called() {
    let place = Place::new();
    let mut servers = start(&place, &[config("two", "good"), config("one", "good")]);
    let (registry, notices) = registry(&mut servers);
    assert_eq!(notices, Vec::<String>::new());
    let own = ["add", "echo", "env", "fail", "large", "odd_name_"];
    let both: Vec<String> = ["one", "two"]
        .iter()
        .flat_map(|server| own.map(|tool| format!("{server}_{tool}")))
        .collect();
    assert_eq!(names(&registry), both);
    let run = |name: &str, arguments: Value| call(&place, &registry, name, arguments);
    assert_eq!(
        run("one_add", json!({"a": 2, "b": 3})),
        ToolAnswer::good("5")
    );
    assert_eq!(
        run("one_add", json!({"a": 2})),
        ToolAnswer::bad("one_add cannot be called like this: \"b\" is missing.")
    );
    assert_eq!(
        run("two_odd_name_", json!({})),
        ToolAnswer::good("odd name!")
    );
    assert_eq!(
        run("two_fail", json!({})),
        ToolAnswer::bad("The MCP server two refused: it cannot be done")
    );
    assert_eq!(
        run("one_echo", json!({"text": "a\u{1b}[31mb", "error": true})),
        ToolAnswer::bad("ab\n[an image, image/png, 3 bytes]")
    );
    let tool = registry.get("one_add").unwrap();
    assert_eq!(tool.effect(&json!({})), Effect::Runs);
    assert_eq!(
        tool.subject(&json!({"a": 1}), &place.project()),
        Subject::Call("one_add {\"a\":1}".into())
    );
}

/// Nothing of the user's environment reaches a server but what it was given.
#[test]
fn a_server_sees_the_environment_it_was_given_and_the_project() {
    let place = Place::new();
    let mut given = config("one", "good");
    given.env.insert("TOKEN".into(), "mine".into());
    let mut servers = start(&place, &[given]);
    let (registry, _) = registry(&mut servers);
    let seen = call(&place, &registry, "one_env", json!({}));
    let project = place.project().display().to_string();
    assert_eq!(
        seen,
        ToolAnswer::good(format!("{MODE} PATH TOKEN in {project}"))
    );
}

#[test]
fn a_result_of_5_mb_is_shrunk_and_one_of_9_mb_is_no_answer() {
    let place = Place::new();
    let mut config = config("one", "good");
    config.call_limit = Duration::from_secs(3);
    let mut servers = start(&place, &[config]);
    let (registry, _) = registry(&mut servers);
    let large = call(&place, &registry, "one_large", json!({"megabytes": 5}));
    assert!(
        large.ok && large.text.len() <= 16 << 10,
        "{} bytes",
        large.text.len()
    );
    assert!(large.text.contains("left out; all of it is in "));
    assert_eq!(
        call(&place, &registry, "one_large", json!({"megabytes": 9})),
        ToolAnswer::bad("The MCP server one did not answer within 3 s. What it did is not known.")
    );
    assert_eq!(
        call(&place, &registry, "one_add", json!({"a": 1, "b": 1})),
        ToolAnswer::good("2")
    );
}

#[test]
fn servers_that_do_not_start_are_left_out_with_a_sentence_and_the_others_work() {
    let place = Place::new();
    let mut missing = config("a-missing", "good");
    missing.command = "/nothing/here".into();
    let mut silent = config("b-silent", "silent");
    silent.start_limit = Duration::from_millis(300);
    let mut servers = start(
        &place,
        &[
            missing,
            silent,
            config("c-dies", "dies"),
            config("d-noise", "noise"),
            config("e-good", "good"),
        ],
    );
    let (registry, notices) = registry(&mut servers);
    let left = |name: &str| format!("the MCP server {name} is left out of this session: ");
    assert_eq!(
        notices[0],
        left("a-missing")
            + "/nothing/here cannot be started: No such file or directory (os error 2)"
    );
    assert_eq!(
        notices[1],
        left("b-silent") + "it did not answer within 300 ms"
    );
    assert!(
        notices[2].starts_with(&left("c-dies")) && notices[2].ends_with("it said: no more memory"),
        "{notices:?}"
    );
    assert_eq!(notices.len(), 3);
    // Garbage before, between and after its messages, and the server still works.
    assert_eq!(
        call(&place, &registry, "d-noise_add", json!({"a": 1, "b": 2})),
        ToolAnswer::good("3")
    );
    assert_eq!(
        call(&place, &registry, "e-good_add", json!({"a": 1, "b": 2})),
        ToolAnswer::good("3")
    );
}

#[test]
fn a_server_that_dies_in_a_call_costs_sentences_and_a_new_session_has_it_again() {
    let place = Place::new();
    let mut servers = start(&place, &[config("one", "dies-in-call")]);
    let (first, _) = registry(&mut servers);
    let gone = ToolAnswer::bad(
        "The MCP server one has ended. Its last words: cannot add. Its tools are back with the \
         next session: go on without them.",
    );
    let run = |registry: &Registry| call(&place, registry, "one_add", json!({"a": 1, "b": 2}));
    assert_eq!(run(&first), gone);
    assert_eq!(run(&first), gone);
    drop(servers);
    assert_eq!(run(&first), gone);
    // The session's frozen tools on a server that lives.
    let mut servers = start(&place, &[config("one", "good")]);
    let again = Registry::frozen(&first.specs_json(), servers.tools(&[])).unwrap();
    assert_eq!(run(&again), ToolAnswer::good("3"));
    assert_eq!(again.specs_json(), first.specs_json());
}

#[test]
fn a_call_that_is_never_answered_ends_by_its_limit_or_by_the_user() {
    let place = Place::new();
    let mut config = config("one", "mute");
    config.call_limit = Duration::from_millis(200);
    let mut servers = start(&place, std::slice::from_ref(&config));
    let (mute, _) = registry(&mut servers);
    let run = |registry: &Registry| call(&place, registry, "one_add", json!({"a": 1, "b": 2}));
    assert_eq!(
        run(&mute),
        ToolAnswer::bad(
            "The MCP server one did not answer within 200 ms. What it did is not known."
        )
    );
    config.call_limit = Duration::from_secs(600);
    let mut servers = start(&place, &[config]);
    let (mute, _) = registry(&mut servers);
    place.cancel();
    assert_eq!(
        run(&mute),
        ToolAnswer::bad(
            "The call of the MCP server one was interrupted. What it did is not known."
        )
    );
}

/// A server that does not go by itself, with a child that ignores SIGTERM: both are gone when the
/// session ends. The child holds a pipe, which is at its end when nobody holds it any more.
#[test]
fn a_server_ends_with_all_that_it_started() {
    let place = Place::new();
    let fifo = fifo_in(&place);
    let mut config = config("one", "stays");
    config
        .env
        .insert(FIFO.into(), fifo.to_str().unwrap().into());
    let (send, ended) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(fifo).unwrap();
        let mut up = [0; 3];
        pipe.read_exact(&mut up).unwrap();
        send.send(up).unwrap();
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).unwrap();
        send.send(*b"end").unwrap();
    });
    let servers = start(&place, &[config]);
    let patience = Duration::from_secs(60);
    assert_eq!(&ended.recv_timeout(patience).unwrap(), b"up\n");
    drop(servers);
    assert_eq!(
        &ended.recv_timeout(patience).expect("the child lives on"),
        b"end"
    );
    reader.join().unwrap();
}

fn fifo_in(place: &Place) -> PathBuf {
    let fifo = place.temp().join("fifo");
    make_fifo(&fifo);
    fifo
}

/// Twelve servers that say nothing and do not end when they are asked to, each of which takes two
/// seconds to be killed, on a runtime of two threads. The healthy one answers when the first of them
/// is being ended.
#[test]
fn servers_that_hang_do_not_hold_up_a_healthy_one() {
    let place = Place::new();
    let fifo = fifo_in(&place).to_str().unwrap().to_owned();
    let hung = (0..12).map(|n| {
        let mut hung = config(&format!("hung-{n:02}"), "");
        hung.command = "sh".into();
        let script = format!("trap 'echo ended > {fifo}' TERM; while :; do sleep 99; done");
        hung.args = vec!["-c".into(), script];
        hung.start_limit = Duration::from_millis(200);
        hung
    });
    let mut configs: Vec<ServerConfig> = hung.collect();
    let mut healthy = config("healthy", "waits");
    healthy.env.insert(FIFO.into(), fifo);
    healthy.start_limit = Duration::from_secs(10);
    configs.push(healthy);
    let begun = Instant::now();
    let mut servers = start(&place, &configs);
    assert_eq!(servers.names().collect::<Vec<_>>(), ["healthy"]);
    let (registry, notices) = registry(&mut servers);
    assert_eq!(notices.len(), 12, "{notices:?}");
    assert_eq!(
        call(&place, &registry, "healthy_add", json!({"a": 1, "b": 2})),
        ToolAnswer::good("3")
    );
    drop(servers);
    // One after another they would take 24 seconds.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// What one tool or one block lacks costs that alone; names that only other characters tell apart
/// are numbered.
#[test]
fn a_server_that_does_not_follow_the_protocol_in_all_parts_is_used_all_the_same() {
    let place = Place::new();
    let mut servers = start(&place, &[config("one", "odd")]);
    let (registry, notices) = registry(&mut servers);
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!(
        names(&registry),
        ["one_add", "one_bare", "one_get_it", "one_get_it_2"]
    );
    let run = |name: &str, arguments: Value| call(&place, &registry, name, arguments);
    assert_eq!(
        run("one_add", json!({"a": 1, "b": 2})),
        ToolAnswer::good("3")
    );
    assert_eq!(
        run("one_bare", json!({"any": 1})),
        ToolAnswer::good("one\n[a part of type video, which cannot be shown]\ntwo")
    );
    let got = [
        run("one_get_it", json!({})).text,
        run("one_get_it_2", json!({})).text,
    ];
    assert_eq!(got, ["get it", "get.it"]);
}

#[test]
fn what_is_offered_is_chosen_bounded_and_unique() {
    let place = Place::new();
    let mut chosen = config("chosen", "good");
    chosen.tools = Some(vec!["add".into(), "nothing".into()]);
    let mut servers = start(
        &place,
        &[chosen, config("taken", "good"), config("many", "many")],
    );
    let (registry, notices) = registry(&mut servers);
    assert_eq!(
        notices,
        [
            "the MCP server chosen has no tool nothing",
            "the MCP server many has 100 tools, and the first 64 are offered: choose with tools = \
             [...] in its configuration",
            "the tool echo of the MCP server taken is left out: there is another taken_echo",
        ]
    );
    let names = names(&registry);
    assert_eq!(names.len(), 1 + 64 + 5);
    assert_eq!(names[0], "chosen_add");
    let long = registry.get("many_t000").unwrap().spec();
    assert!(long.description.len() <= 410 && long.description.starts_with("word word"));
    // A schema that is large keeps its parameters, and what explains them as far as there is room.
    let explained = &long.parameters["properties"]["description"];
    let words = explained["description"].as_str().unwrap();
    assert!(
        words.starts_with("word word") && words.len() < 500,
        "{words}"
    );
    assert_eq!(explained["type"], "string");
    let huge = registry.get("many_t001").unwrap().spec();
    assert_eq!(
        huge.parameters,
        json!({"type": "object", "properties": {"x": {"type": "string"}}})
    );
}

// What follows runs in the server.

static NOISE: OnceLock<bool> = OnceLock::new();

fn serve(mode: &str) {
    let _ = NOISE.set(mode == "noise");
    let mut child = None;
    match mode {
        "silent" => {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            return;
        }
        "dies" => {
            eprintln!("no more \u{1b}[1mmemory\u{1b}[0m");
            std::process::exit(7);
        }
        "waits" => {
            let mut pipe = std::fs::File::open(std::env::var(FIFO).unwrap()).unwrap();
            pipe.read_exact(&mut [0]).unwrap();
        }
        "stays" => {
            let fifo = std::env::var(FIFO).unwrap();
            let script =
                format!("trap '' TERM; exec > '{fifo}'; echo up; while :; do sleep 99; done");
            child = Some(Command::new("sh").args(["-c", &script]).spawn().unwrap());
        }
        _ => {}
    }
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else {
            continue;
        };
        let Some(id) = message.get("id").cloned() else {
            continue;
        };
        let answer = match message["method"].as_str() {
            Some("initialize") => json!({"result": {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "fake", "version": "1"},
            }}),
            Some("tools/list") => json!({"result": listed(mode, &message)}),
            Some("tools/call") => {
                match mode {
                    "dies-in-call" => {
                        eprintln!("cannot add");
                        std::process::exit(7);
                    }
                    "mute" => continue,
                    _ => {}
                }
                called(&message["params"])
            }
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        };
        let mut whole = json!({"jsonrpc": "2.0", "id": id});
        let fields = answer.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(fields);
        say(&whole.to_string());
    }
    // The end of stdin is not enough for a server with a child.
    if let Some(mut child) = child {
        child.wait().unwrap();
    }
}

/// Writes a message, with garbage around it where that is the mode.
fn say(message: &str) {
    let mut out = std::io::stdout().lock();
    if NOISE.get() == Some(&true) {
        out.write_all(
            b"\xff\x00 garbage\n{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"re\n\n{}\n[1,2]\n7\n",
        )
        .unwrap();
        out.write_all(&vec![b'x'; 9 << 20]).unwrap();
        out.write_all(b"\n").unwrap();
        if !message.contains("serverInfo") {
            // An answer to what nobody asked; before the handshake that would be an error.
            out.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}\n")
                .unwrap();
        }
    }
    out.write_all(message.as_bytes()).unwrap();
    out.write_all(b"\n").unwrap();
    out.flush().unwrap();
}

fn listed(mode: &str, message: &Value) -> Value {
    let number = json!({"type": "number"});
    let any = json!({"type": "object"});
    if mode == "many" {
        let tool = |i: usize| {
            let words = "word ".repeat(1000);
            let schema = match i {
                0 => json!({"$schema": "x", "type": "object", "properties": {
                    "description": {"type": "string", "description": words}}}),
                1 => json!({"type": "object", "properties": {"x": {"enum": [words]}}}),
                _ => any.clone(),
            };
            json!({"name": format!("t{i:03}"), "description": words, "inputSchema": schema})
        };
        // In two pages.
        return match message["params"]["cursor"].as_str() {
            None => json!({"tools": (50..100).map(tool).collect::<Vec<_>>(), "nextCursor": "2"}),
            Some(_) => json!({"tools": (0..50).map(tool).collect::<Vec<_>>()}),
        };
    }
    if mode == "odd" {
        return json!({"tools": [
            {"name": "bare"},
            {"description": "nameless", "inputSchema": any},
            {"name": "get.it", "inputSchema": any},
            {"name": "get it", "inputSchema": any},
            {"name": "add", "inputSchema": any, "annotations": "none"},
        ]});
    }
    json!({"tools": [
        {"name": "odd name!", "inputSchema": any},
        {"name": "add", "description": "Adds.", "inputSchema": {"type": "object",
            "properties": {"a": number, "b": number}, "required": ["a", "b"]}},
        {"name": "echo", "inputSchema": any, "annotations": {"readOnlyHint": true}},
        {"name": "env", "inputSchema": any},
        {"name": "fail", "inputSchema": any},
        {"name": "large", "inputSchema": any},
    ]})
}

fn called(params: &Value) -> Value {
    let arguments = &params["arguments"];
    let text = |text: String| json!({"result": {"content": [{"type": "text", "text": text}]}});
    match params["name"].as_str() {
        Some("add") => {
            let sum = arguments["a"].as_i64().unwrap() + arguments["b"].as_i64().unwrap();
            text(sum.to_string())
        }
        Some("echo") => json!({"result": {
            "content": [
                {"type": "text", "text": arguments["text"]},
                {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            ],
            "isError": arguments["error"],
        }}),
        Some("env") => {
            let mut names: Vec<String> = std::env::vars_os()
                .map(|(name, _)| String::from_utf8_lossy(name.as_bytes()).into_owned())
                .collect();
            names.sort();
            let folder = std::env::current_dir().unwrap();
            text(format!("{} in {}", names.join(" "), folder.display()))
        }
        Some("large") => {
            let bytes = arguments["megabytes"].as_u64().unwrap() as usize * 1_000_000;
            text("line of text\n".repeat(bytes / 13))
        }
        Some("odd name!") => text("odd name!".to_owned()),
        Some(name @ ("get.it" | "get it")) => text(name.to_owned()),
        Some("bare") => json!({"result": {"content": [
            {"type": "text", "text": "one"},
            {"type": "video", "data": "AAAA"},
            {"type": "text", "text": "two"},
        ]}}),
        _ => json!({"error": {"code": -32000, "message": "it cannot\nbe done"}}),
    }
}
