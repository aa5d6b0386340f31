//! The command line through the gateway of its data folder: what it shows, costs and asks is what it
//! would be with a model of its own, and no second model is loaded.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

use npast::ledger::Finish;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::chats::{chat, project, says};
use crate::gateway::Server;
use crate::model::{self, Class};
use crate::program::{Program, Ran, honest, n};

fn served(class: Class) -> Server {
    Server::start(Program::new(class), &[], &[])
}

fn writes() -> Value {
    json!({"content": "", "tool_calls":
        [{"name": "write_file", "arguments": {"path": "note.txt", "content": "from a model\n"}}]})
}

/// A reply that takes a while.
fn long() -> Value {
    says(&"on and on ".repeat(1500))
}

/// One turn in the project's folder, with prepared replies.
fn turn(program: &Program, session: &str, words: &str, replies: &[Value]) -> Command {
    let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
    let script = program.folder.path().join(format!("{session}.jsonl"));
    std::fs::write(&script, lines.join("\n")).expect("a script");
    let mut command = program.command(&["--json", "--session", session]);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model)
        .arg("--script")
        .arg(script)
        .current_dir(project(program));
    command.args(["--seed", "7"]).arg(words);
    command
}

fn ran(mut command: Command) -> Ran {
    Ran::of(&command.output().expect("a run"))
}

/// What a run said, without what belongs to its moment, its process or its machine: text in one piece,
/// and one count for what was in memory or on disk. In a session with tools the prompt names its folder, and
/// two folders may have different numbers of tokens; the ids of calls come from where they stand, so they are
/// numbered.
fn told(ran: &Ran, tools: bool) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for event in &ran.events {
        let mut event = event.clone();
        let kind = event["type"].as_str().expect("a type").to_owned();
        if ["prefill", "queued", "calling", "running"].contains(&&*kind) {
            continue;
        }
        let last = told.last_mut().filter(|last| last["type"] == *kind);
        if let (Some(last), Some(text)) = (last, event["text"].as_str())
            && event.get("id").is_none()
        {
            let joined = format!("{}{text}", last["text"].as_str().expect("a text"));
            last["text"] = joined.into();
            continue;
        }
        let fields = event.as_object_mut().expect("an event");
        if kind == "receipt" || kind == "turn" {
            let had = [fields["kept"].clone(), fields["restored"].clone()];
            let had = had.iter().filter_map(Value::as_u64).sum::<u64>();
            fields.insert("had".into(), had.into());
        }
        for field in [
            "kept",
            "restored",
            "ms",
            "seconds",
            "folder",
            "restored_bytes",
            "saved_bytes",
            "snapshot_bytes",
        ] {
            fields.remove(field);
        }
        if tools {
            for field in ["context", "evaluated", "appended", "had"] {
                fields.remove(field);
            }
            if let Some(Value::String(id)) = fields.get("id") {
                let known = ids.iter().position(|known| known == id);
                let number = known.unwrap_or(ids.len());
                if known.is_none() {
                    ids.push(id.clone());
                }
                fields.insert("id".into(), number.into());
            }
        }
        told.push(event);
    }
    told
}

#[test]
fn a_conversation_through_the_gateway_has_the_events_of_one_that_is_alone() {
    for class in [Class::Dense, Class::Hybrid] {
        let (server, alone) = (served(class), Program::new(class));
        let table: [(&str, &str, &[Value], &[&str]); 6] = [
            (
                "work",
                "Hello.",
                &[says("Good day.")],
                &["--system", "Be brief."],
            ),
            (
                "work",
                "And now?",
                &[says("Fine.")],
                &["--system", "Be long."],
            ),
            (
                "tools",
                "Write.",
                &[writes(), says("Written.")],
                &["--agent", "--approve", "auto"],
            ),
            (
                "tools",
                "Again.",
                &[writes(), says("No.")],
                &["--approve", "deny"],
            ),
            ("tools", "Again.", &[writes(), says("Nobody.")], &[]),
            (
                "tools",
                "Once.",
                &[writes()],
                &["--approve", "auto", "--max-steps", "1"],
            ),
        ];
        for (session, words, replies, flags) in table {
            let note = |program: &Program| {
                let note = project(program).join("note.txt");
                let there = note.exists();
                let _ = std::fs::remove_file(note);
                there
            };
            let run = |program: &Program| {
                let mut command = turn(program, session, words, replies);
                command.args(flags);
                (ran(command), note(program))
            };
            let (through, own) = (run(&server.program), run(&alone));
            let what = format!("{class:?} {session} {words} {flags:?}");
            assert_eq!(
                told(&through.0, session == "tools"),
                told(&own.0, session == "tools"),
                "{what}: {through:?} {own:?}"
            );
            assert_eq!((through.0.code, through.1), (own.0.code, own.1), "{what}");
            let keeps = "keeps the system prompt";
            assert_eq!(through.0.said(keeps), own.0.said(keeps), "{what}");
            for receipt in through.0.all("receipt") {
                // Another session's beginning may be stored already.
                assert!(n(receipt, "evaluated") <= n(receipt, "appended"), "{what}");
            }
        }
        // The session is nobody's when its client has left.
        let undo = ran(server.program.command(&["sessions", "undo", "work"]));
        assert_eq!(undo.code, Some(0), "{undo:?}");
        // Another conversation was in the slot meanwhile. The next message but one finds this one there.
        let more = |words: &str| ran(turn(&server.program, "work", words, &[says("Yes.")]));
        honest("behind another session", more("And later?").receipt());
        let again = more("And then?");
        let r = again.receipt();
        assert_eq!(n(r, "restored"), 0, "{class:?}: {again:?}");
        assert!(n(r, "kept") > 0, "{class:?}: {again:?}");
        assert_eq!(n(r, "evaluated"), n(r, "appended"), "{class:?}: {again:?}");
        server.stop().verify("after a gateway");
    }
}

#[test]
fn a_chat_through_the_gateway_asks_goes_back_and_forks_as_a_chat_does() {
    let server = served(Class::Hybrid);
    let program = &server.program;
    let replies = [
        writes(),
        says("Written."),
        says("Other words."),
        json!({"job": "btw", "content": "Aside."}),
    ];
    let mut screen = chat(program, "work", &replies);
    screen.until("> ");
    screen.keys("Write a note.\r");
    screen.until("Make note.txt? (+1)");
    screen.until("[N]o ");
    let note = project(program).join("note.txt");
    assert!(!note.exists());
    screen.keys("y\r");
    screen.until("Written.");
    screen.until(" written");
    assert!(note.exists(), "files are those of the client's folder");
    screen.until("> ");
    screen.keys("/retry\r");
    screen.until("Other words.");
    screen.until(" written");
    screen.until("> ");
    screen.keys("/btw And beside?\r");
    screen.until("Aside.");
    screen.until(" written");
    screen.until("> ");
    screen.keys("/undo\r");
    screen.until("Taken back: ");
    screen.until("> ");
    screen.keys("/redo\r");
    screen.until("Put back: ");
    screen.until("> ");
    screen.keys("/fork other\r");
    screen.until("other · ");
    screen.until("sandbox: ");
    screen.until("> ");
    // What goes back from another terminal goes through the gateway, which has the session.
    let undone = ran(program.command(&["sessions", "undo", "other", "--json"]));
    assert_eq!(
        (undone.code, &undone.events[0]["turns"]),
        (Some(0), &json!(1)),
        "{undone:?}"
    );
    let removed = ran(program.command(&["sessions", "rm", "other", "--yes"]));
    assert_eq!(
        (removed.code, removed.said("in use by process")),
        (Some(1), 1),
        "{removed:?}"
    );
    screen.keys("/redo\r");
    screen.until("Put back: ");
    screen.until("> ");
    screen.keys("/session\r");
    screen.until("other · ");
    screen.until("> ");
    screen.keys("/quit\r");
    assert_eq!(screen.end().0, Some(0));
    server.stop();
}

#[test]
fn two_chats_in_one_session_have_each_their_own_policy() {
    let mut server = served(Class::Dense);
    let flags = server.program.flags.clone();
    let auto = ["--approve", "auto"].map(str::to_owned);
    server.program.flags.extend(auto);
    let replies = [writes(), says("Written."), writes(), says("Again.")];
    let mut free = chat(&server.program, "work", &replies);
    free.until("sandbox: ");
    free.until("> ");
    server.program.flags = flags;
    let mut asks = chat(&server.program, "work", &[writes(), says("Not at all.")]);
    asks.until("sandbox: ");
    asks.until("> ");
    let note = project(&server.program).join("note.txt");

    free.keys("Write.\r");
    free.until("Written.");
    free.until(" written");
    std::fs::remove_file(&note).expect("a note");
    asks.keys("Write.\r");
    asks.until("Make note.txt? (+1)");
    asks.until("[N]o ");
    asks.keys("n\r");
    asks.until("Not at all.");
    asks.until(" written");
    assert!(!note.exists());
    free.keys("Write again.\r");
    free.until("Again.");
    free.until(" written");
    assert!(note.exists());
    for mut screen in [free, asks] {
        screen.until("> ");
        screen.keys("/quit\r");
        assert_eq!(screen.end().0, Some(0));
    }
    server.stop();
}

#[test]
fn ctrl_c_ends_a_reply_of_the_gateway_and_what_was_written_stays() {
    let server = served(Class::Dense);
    let program = &server.program;
    let mut screen = chat(program, "work", &[long(), says("Yes.")]);
    screen.until("> ");
    screen.keys("Talk.\r");
    screen.until("on and on");
    screen.keys("\u{3}");
    screen.until(" written");
    screen.until("> ");
    screen.keys("Enough?\r");
    screen.until("Yes.");
    screen.until(" written");
    screen.until("> ");
    screen.keys("/quit\r");
    assert_eq!(screen.end().0, Some(0));
    let stored = program.desk.stored("work").messages;
    let finishes: Vec<_> = stored.iter().filter_map(|m| m.finish).collect();
    assert_eq!(finishes, [Finish::Interrupted, Finish::Stop]);

    let (mut child, mut events) = begun(turn(program, "once", "Talk.", &[long()]));
    kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
    let turn = events.find(|event| event["type"] == "turn");
    assert_eq!(turn.expect("a turn")["finish"], "interrupted");
    assert_eq!(child.wait().expect("its end").code(), Some(130));
    server.stop();
}

/// Starts a run, and waits for the first words of its reply.
fn begun(mut command: Command) -> (Child, impl Iterator<Item = Value>) {
    let mut child = command.spawn().expect("a run");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let mut events = out.lines().map(|line| {
        let line = line.expect("a line");
        serde_json::from_str::<Value>(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    });
    let text = events.find(|event| event["type"] == "text");
    text.expect("a text");
    (child, events)
}

#[test]
fn a_gateway_that_is_killed_costs_the_reply_alone_and_the_next_start_goes_on() {
    let server = served(Class::Recurrent);
    let (mut child, events) = begun(turn(&server.program, "work", "Talk.", &[long()]));
    let pid = server.pid();
    let program = server.kill();
    let last = events.last().expect("an error");
    assert_eq!(
        (&last["type"], &last["kind"], last["message"].as_str()),
        (
            &json!("error"),
            &json!("engine"),
            Some(format!("the gateway (process {pid}) has ended").as_str())
        )
    );
    assert_eq!(child.wait().expect("its end").code(), Some(1));
    assert_eq!(
        program.desk.stored("work").messages[0].body["content"],
        "Talk."
    );
    // The socket is still there, and nobody behind it.
    assert!(program.desk.home.join("gateway.sock").exists());
    let ran = ran(turn(&program, "work", "Go on.", &[says("Yes.")]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let stored = program.desk.stored("work").messages;
    let roles: Vec<&str> = stored.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles.last(), Some(&"assistant"), "{roles:?}");
    // Another gateway takes the place.
    let server = Server::start(program, &[], &[]);
    let ran = self::ran(turn(&server.program, "work", "And now?", &[says("Now.")]));
    assert_eq!(n(ran.receipt(), "evaluated"), n(ran.receipt(), "appended"));
    server.stop();
}

#[test]
fn programs_at_the_same_time_work_through_one_gateway_and_each_is_answered() {
    let server = served(Class::Dense);
    let runs: Vec<Child> = [("work", "One."), ("work", "Two."), ("other", "Three.")]
        .map(|(session, words)| {
            turn(&server.program, session, words, &[says("Yes.")])
                .spawn()
                .expect("a run")
        })
        .into();
    for run in runs {
        let ran = Ran::of(&run.wait_with_output().expect("its end"));
        assert_eq!((ran.code, ran.all("turn").len()), (Some(0), 1), "{ran:?}");
        assert_eq!(ran.said("loaded too"), 0, "{ran:?}");
    }
    assert_eq!(server.program.desk.stored("work").messages.len(), 4);
    assert_eq!(server.program.desk.stored("other").messages.len(), 2);
    let second = ran(Server::command(&server.program, &[], &[]));
    let message = second.events[0]["message"].as_str();
    let want = format!("the gateway is in use by process {}", server.pid());
    assert_eq!((second.code, message), (Some(1), Some(want.as_str())));
    server.stop();
}

#[test]
fn what_the_gateway_does_not_serve_is_said_and_alone_loads_it_here() {
    let server = served(Class::Dense);
    let program = &server.program;
    let mut alone = turn(program, "alone", "Hello.", &[says("Yes.")]);
    alone.arg("--alone");
    let alone = ran(alone);
    assert_eq!(
        (alone.code, alone.said("has this model loaded too")),
        (Some(0), 1),
        "{alone:?}"
    );

    let other = model::tiny_model(Class::Hybrid, &model::Options::default());
    let mut command = program.command(&["--json", "--session", "work", "-m"]);
    command.arg(&other).arg("Hello.");
    let refused = ran(command);
    let message = refused.events[0]["message"].as_str().expect("a message");
    assert!(
        message.contains("serves ") && message.contains("and not "),
        "{message}"
    );
    assert_eq!(refused.code, Some(2));

    let mut command = turn(program, "work", "Hello.", &[says("Yes.")]);
    command.args(["--threads-batch", "3"]);
    let said = ran(command);
    assert_eq!(
        (said.code, said.said("--threads-batch of this run")),
        (Some(0), 1),
        "{said:?}"
    );
    let mut command = turn(program, "work", "Hello.", &[says("Yes.")]);
    command.args(["--sandbox", "off"]);
    assert_eq!(ran(command).code, Some(2));
    server.stop();
}
