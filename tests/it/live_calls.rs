//! What a person sees of a call while it is written and while it runs, and of its result: on terminals of
//! any size and kind, alone and through the gateway.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chats::{chat_command, project, says};
use crate::gateway::Server;
use crate::model::Class;
use crate::program::Program;
use crate::screen::Screen;

fn calls(name: &str, arguments: Value) -> Value {
    json!({"content": "", "tool_calls": [{"name": name, "arguments": arguments}]})
}

fn runs(command: &str) -> Value {
    calls("terminal", json!({"command": command}))
}

/// A chat under this policy on a window of this size.
fn chat(program: &Program, approve: &str, replies: &[Value], columns: u16) -> Screen {
    let mut command = chat_command(program, "work", replies);
    command.args(["--approve", approve]);
    Screen::sized(command, columns, 24)
}

fn quits(mut screen: Screen) {
    screen.until("> ");
    screen.keys("/quit\r");
    let (code, last) = screen.end();
    assert_eq!(code, Some(0), "{last}");
}

/// Lets a command end that waits for a file of this name.
fn go(program: &Program) {
    std::fs::write(project(program).join("go"), "").expect("a file");
}

const WAITS: &str = "while ! [ -e go ]; do sleep 0.05; done";

#[test]
fn a_call_that_is_written_shows_its_tool_its_target_its_tokens_and_its_time() {
    for columns in [40, 100] {
        let program = Program::new(Class::Dense);
        let content: String = (0..120).map(|n| format!("line {n}\n")).collect();
        let write = calls(
            "write_file",
            json!({"path": "note.txt", "content": content}),
        );
        let mut screen = chat(&program, "auto", &[write, says("Written.")], columns);
        screen.until("> ");
        screen.keys("Write.\r");
        screen.until("writing: write note.txt · ");
        let tokens = screen.until(" tokens");
        assert!(tokens.replace(',', "").parse::<usize>().is_ok(), "{tokens}");
        // What it changed is shown with its result, since nobody was asked.
        screen.until("• write note.txt · ");
        screen.until("  | +line 0");
        screen.until(" more (/show 1)");
        screen.until("Written.");
        screen.until(" written");
        let rows = screen.rows();
        assert!(
            !rows.iter().any(|row| row.contains("writing:")),
            "{rows:#?}"
        );
        quits(screen);
    }
}

#[test]
fn a_command_shows_its_time_and_its_last_lines_while_it_runs_and_its_first_ones_afterwards() {
    for (columns, attached) in [(40, false), (100, false), (100, true)] {
        let mut program = Program::new(Class::Dense);
        let mut server = None;
        if attached {
            server = Some(Server::start(program, &[], &[]));
            program = Program::new(Class::Dense);
        }
        let at = server.as_ref().map_or(&program, |server| &server.program);
        let command = format!("for n in {{1..30}}; do echo \"line $n\"; done; {WAITS}; echo last");
        let mut screen = chat(at, "ask", &[runs(&command), says("Done.")], columns);
        screen.until("> ");
        screen.keys("Run it.\r");
        screen.until("Run this? (terminal)");
        screen.until("[N]o ");
        screen.keys("y\r");
        screen.shows("  | line 30");
        screen.shows(" · 1.");
        let rows = screen.rows();
        let live = rows
            .iter()
            .filter(|row| row.starts_with("  | line "))
            .count();
        assert_eq!(live, 5, "{rows:#?}");
        go(at);
        screen.until("• exit code 0 · ");
        screen.until("    line 8\n");
        screen.until("    … 23 more (/show 1)");
        screen.until("Done.");
        screen.until(" written");
        let rows = screen.rows();
        assert!(
            !rows.iter().any(|row| row.starts_with("  | line ")),
            "{rows:#?}"
        );
        screen.until("> ");
        screen.keys("/show 1\r");
        screen.until("    line 17\n");
        screen.until("    last\n");
        screen.until("> ");
        screen.keys("/show 2\r");
        screen.until("There is no result 2");
        quits(screen);
    }
}

/// Titles, cleared screens, a bar that rewrites its line, and ten megabytes without a line end.
#[test]
fn nothing_that_a_command_writes_moves_the_terminal_or_floods_it() {
    let program = Program::new(Class::Dense);
    let hostile = format!(
        "printf '\\033[2J\\033]0;title\\007\\033[31mred\\n10%%\\r99%%'; {WAITS}; rm go; \
         head -c 10000000 /dev/zero | tr '\\0' x; {WAITS}"
    );
    let mut screen = chat(&program, "ask", &[runs(&hostile), says("Done.")], 100);
    screen.until("> ");
    screen.keys("Run it.\r");
    screen.until("[N]o ");
    screen.keys("y\r");
    screen.shows("  | 99%");
    screen.shows("  | red");
    go(&program);
    screen.shows("  | xxxxxxxx");
    for columns in [10, 30, 100] {
        screen.resize(columns, 24);
        screen.shows("  | xxx");
    }
    go(&program);
    screen.until("exit code 0");
    screen.until("Done.");
    screen.until(" written");
    let raw = screen.raw();
    for order in ["\u{1b}]0;", "\u{1b}[2J", "\u{1b}[31m"] {
        assert!(!raw.contains(order), "{order:?} is in {raw:?}");
    }
    assert!(raw.len() < 1 << 20, "{} bytes", raw.len());
    quits(screen);
}

#[test]
fn a_terminal_that_is_small_that_stops_and_that_nobody_reads_holds_no_command_up() {
    let program = Program::new(Class::Dense);
    // The question does not hold the word that the command writes.
    let command = format!("printf 'be%s\\n' gun; {WAITS}; echo over; echo over > over");
    let mut screen = chat(&program, "ask", &[runs(&command), says("Done.")], 10);
    screen.until("> ");
    screen.keys("Run it.\r");
    screen.until("[y]es");
    screen.keys("y\r");
    screen.shows("  | begun");
    // npast is stopped and goes on: the command ran meanwhile.
    screen.signal(Signal::STOP);
    go(&program);
    let until = Instant::now() + Duration::from_secs(60);
    while !project(&program).join("over").exists() {
        assert!(Instant::now() < until, "the command ends by itself");
        std::thread::yield_now();
    }
    screen.signal(Signal::CONT);
    screen.until("over");
    screen.until("Done.");
    quits(screen);
}

/// TERM is missing or a dumb one: nothing is drawn again, and each call is shown once.
#[test]
fn a_terminal_that_cannot_go_back_shows_each_call_once() {
    for term in [None, Some("dumb")] {
        let program = Program::new(Class::Dense);
        let command = format!("echo one; {WAITS}");
        let replies = [runs(&command), runs("ls go"), says("Done.")];
        let command = chat_command(&program, "work", &replies);
        let mut screen = Screen::with_term(command, term, 100, 24);
        screen.until("> ");
        screen.keys("Run it.\r");
        screen.until("Run this? (terminal)");
        screen.until("  | echo one; while");
        screen.until("[N]o ");
        screen.keys("y\r");
        go(&program);
        screen.until("• exit code 0 · ");
        screen.until("    one\n");
        screen.until("  | ls go");
        screen.until("[N]o ");
        screen.keys("n not now\r");
        screen.until("not run: you said no");
        screen.until("Done.");
        screen.until(" written");
        let raw = screen.raw();
        assert!(!raw.contains('\u{1b}'), "{raw:?}");
        screen.keys("/quit\r");
        assert_eq!(screen.end().0, Some(0));
    }
}

#[test]
fn the_time_in_which_a_person_decides_is_no_part_of_the_receipts() {
    let program = Program::new(Class::Dense);
    let mut screen = chat(&program, "ask", &[runs("ls"), says("Done.")], 100);
    screen.until("> ");
    let begun = Instant::now();
    screen.keys("Run it.\r");
    screen.until("[N]o ");
    let asked = Instant::now();
    // A person who moves the window about and does not answer.
    for columns in (50..100).cycle() {
        screen.resize(columns, 24);
        screen.until("[N]o ");
        if asked.elapsed() > Duration::from_secs(3) {
            break;
        }
    }
    let waited = asked.elapsed();
    screen.keys("y\r");
    screen.until("Done.");
    screen.until(" written · ");
    let seconds: f64 = screen.until(" s").parse().expect("seconds");
    let all = begun.elapsed();
    let most = (all - waited).as_secs_f64() + 0.2;
    assert!(
        seconds <= most,
        "{seconds} of {all:?}, asked for {waited:?}"
    );
    quits(screen);
}

#[test]
fn a_plan_and_what_is_remembered_are_drawn_for_people() {
    for columns in [40, 100] {
        let program = Program::new(Class::Dense);
        let steps = json!({"steps": [
            {"text": "read", "state": "done"},
            {"text": "think", "state": "doing"},
            {"text": "write", "state": "open"},
        ]});
        let edits = json!({"edits": [{"file": "user", "text": "likes spaces"}]});
        let replies = [calls("todo", steps), calls("memory", edits), says("Done.")];
        let mut screen = chat(&program, "ask", &replies, columns);
        screen.until("> ");
        screen.keys("Plan.\r");
        screen.until("• plan");
        screen.until("    ✓ read\n");
        screen.until("    ▸ think\n");
        screen.until("    ☐ write\n");
        screen.until("• remember");
        screen.until("    Remembers about you: likes spaces");
        screen.until("Done.");
        screen.until(" written");
        quits(screen);
    }
}
