//! A reply that repeats itself is stopped with a reason; `--repeats off` lets it go on.

use serde_json::{Value, json};

use crate::gateway::Server;
use crate::model::Class;
use crate::program::{Program, Ran, honest, n};
use crate::screen::Screen;

const PHRASE: &str = "I am sorry, but I cannot find that file. ";

fn program() -> Program {
    let mut program = Program::new(Class::Dense);
    program.env.push(("NPAST_REPEATS".into(), String::new()));
    program
}

fn turn(program: &Program, reply: &Value, flags: &[&str]) -> Ran {
    let mut command = program.turn("work", "Look.", Some(reply));
    // Flags stand before the message.
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let args: Vec<&str> = words
        .iter()
        .map(|word| word.to_str().expect("text"))
        .collect();
    command = program.command(&[flags, &args].concat());
    Ran::of(&command.output().expect("a run"))
}

#[test]
fn a_reply_that_repeats_itself_is_stopped_with_a_reason() {
    let program = program();
    let reply = json!({"content": format!("Well. {}", PHRASE.repeat(60))});
    let ran = turn(&program, &reply, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let receipt = ran.receipt().clone();
    assert_eq!(receipt["finish"], "repeats");
    assert_eq!(
        ran.said("the reply was stopped: it said \"I am sorry, but I cannot find that file.\" "),
        1,
        "{ran:?}"
    );
    let stopped = n(&receipt, "generated");
    // The session goes on behind it.
    let next = turn(&program, &json!({"content": "Fine."}), &[]);
    honest("next", next.receipt());
    assert_eq!(next.receipt()["finish"], "stop");
    let ran = turn(&program, &reply, &["--repeats", "off"]);
    assert_eq!(ran.receipt()["finish"], "stop");
    assert!(2 * stopped < n(ran.receipt(), "generated"), "{stopped}");
    // A table of equal rows is no loop.
    let table = json!({"content": "| yes it is | no it is not |\n".repeat(100)});
    assert_eq!(turn(&program, &table, &[]).receipt()["finish"], "stop");
}

#[test]
fn thinking_that_repeats_itself_is_stopped_too_and_a_gateway_stops_for_its_clients() {
    let program = program();
    let reply = json!({"reasoning": PHRASE.repeat(60), "content": "x"});
    let mut program = program;
    program.desk = crate::talk::Desk::new(Class::Dense, Some(crate::model::THINKER));
    assert_eq!(turn(&program, &reply, &[]).receipt()["finish"], "repeats");
    let reply = json!({"content": PHRASE.repeat(60)});
    let server = Server::start(program, &[], &[reply]);
    let asked = json!({"messages": [{"role": "user", "content": "Look."}]});
    let answer = server.post("/v1/chat/completions", &asked).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
}

#[test]
fn a_person_sees_why_a_reply_was_stopped() {
    let program = program();
    for columns in [40, 100] {
        let script = program.folder.path().join("script.jsonl");
        let reply = json!({"content": PHRASE.repeat(60)});
        std::fs::write(&script, reply.to_string()).expect("a script");
        let mut command = program.command(&["--no-tools"]);
        command
            .args(&program.flags)
            .arg("-m")
            .arg(&program.desk.model);
        command.arg("--script").arg(script);
        let mut screen = Screen::sized(command, columns, 24);
        screen.until("> ");
        screen.keys("Look.\r");
        screen.until("it repeated itself");
        screen.until("> ");
        screen.keys("/quit\r");
        let all = screen.all();
        assert!(all.contains("the reply was stopped: it said"), "{all}");
    }
}
