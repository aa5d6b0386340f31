use serde_json::json;

use super::super::receipt::samples;
use super::super::screen::tests::piped;
use super::*;

/// What a turn of these events leaves on the two streams.
fn shown(looks: Looks, quiet: bool, events: Vec<Event>) -> (String, String) {
    let (pipe, out, err) = piped(looks);
    let mut text = Text::new(pipe, quiet);
    for event in events {
        text.event(event);
    }
    text.end();
    drop(text);
    (out.text(), err.text())
}

fn turn() -> Vec<Event> {
    vec![
        Event::Prefill { done: 1, total: 21 },
        Event::Reasoning {
            text: "let me".into(),
        },
        Event::Reasoning {
            text: " see".into(),
        },
        Event::Text { text: "He".into() },
        Event::Text {
            text: "llo\u{1b}".into(),
        },
        Event::Receipt(Box::new(samples::missed())),
        Event::Turn(samples::turn()),
    ]
}

const LINES: &str = "9,310 kept · 21 read · 15 written · 0.2 s\n\
    read again from token 62, message 1: system prompt differs: \"a\" became \"b\"\n";

#[test]
fn a_pipe_gets_the_answer_alone_and_the_receipt_goes_to_standard_error() {
    let (out, err) = shown(Looks::default(), false, turn());
    assert_eq!(out, "Hello\u{1b}\n", "bytes for programs stay as they are");
    assert_eq!(err, LINES);
}

#[test]
fn a_terminal_gets_dimmed_thinking_and_no_control_characters() {
    let looks = Looks {
        out: true,
        err: true,
        color: true,
        moves: true,
    };
    let (out, err) = shown(looks, false, turn());
    assert_eq!(out, "Hello␛");
    let dimmed: String = LINES
        .lines()
        .map(|line| format!("\u{1b}[2m{line}\u{1b}[0m\n"))
        .collect();
    assert_eq!(
        err,
        format!("\u{1b}[2mlet\u{1b}[0m\u{1b}[2m me\u{1b}[0m\u{1b}[2m see\u{1b}[0m\n\n\n{dimmed}")
    );
    let plain = Looks {
        color: false,
        ..looks
    };
    let (_, err) = shown(plain, false, turn());
    assert_eq!(err, format!("[thinking] let me see\n\n\n{LINES}"));
}

#[test]
fn quiet_leaves_the_answer_and_the_notices() {
    let looks = Looks {
        err: true,
        ..Looks::default()
    };
    let mut events = turn();
    events.push(Event::Notice {
        text: "a file was refused".into(),
        hint: Some("delete it".into()),
    });
    let (out, err) = shown(looks, true, events);
    assert_eq!(out, "Hello\u{1b}\n");
    assert_eq!(err, "npast: a file was refused\n  hint: delete it\n");
}

#[test]
fn an_answer_that_ends_its_line_gets_no_second_newline_and_a_call_is_shown() {
    let events = vec![
        Event::Text {
            text: "done\n".into(),
        },
        Event::ToolCall {
            id: "1".into(),
            name: "read".into(),
            arguments: json!({"path": "b"}),
        },
    ];
    let mut events = events;
    events.push(result("read", "one\ntwo"));
    let (out, err) = shown(Looks::default(), false, events);
    assert_eq!(out, "done\n");
    assert_eq!(err, "• read {\"path\":\"b\"} · 0.5 s\n    one\n    two\n");
}

fn result(name: &str, text: &str) -> Event {
    Event::ToolResult {
        id: "1".into(),
        name: name.into(),
        ok: true,
        text: text.into(),
        seconds: Some(0.5),
        exit: None,
        refused: None,
        change: None,
    }
}

/// What the terminal shows of a call is in the events: a recorded stream shows the same.
#[test]
fn a_recorded_stream_is_shown_as_it_was() {
    let looks = Looks {
        out: true,
        err: true,
        color: true,
        moves: true,
    };
    let events = || {
        let mut events = turn();
        events.push(Event::ToolCall {
            id: "1".into(),
            name: "edit_file".into(),
            arguments: json!({"path": "a"}),
        });
        let Event::ToolResult {
            id,
            name,
            ok,
            text,
            seconds,
            ..
        } = result("edit_file", "a changed.")
        else {
            unreachable!("it is a result");
        };
        events.push(Event::ToolResult {
            id,
            name,
            ok,
            text,
            seconds,
            exit: None,
            refused: None,
            change: Some(crate::tools::FileDiff {
                file: "a".into(),
                made: false,
                unread: None,
                added: 1,
                removed: 1,
                diff: "@@ -1 +1 @@\n-a\n+b\n".into(),
            }),
        });
        events
    };
    let recorded: Vec<String> = events().iter().map(|e| json!(e).to_string()).collect();
    let again = recorded
        .iter()
        .map(|line| serde_json::from_str(line).unwrap());
    let first = shown(looks, false, events());
    assert!(first.1.contains("\u{1b}[32m  | +b\u{1b}[0m\n"), "{first:?}");
    assert_eq!(shown(looks, false, again.collect()), first);
}

/// A terminal that cannot draw again what it has shown (TERM=dumb, or none), and a file.
#[test]
fn where_nothing_can_be_drawn_again_a_call_that_runs_is_one_line_and_not_shown_twice() {
    let looks = Looks {
        err: true,
        ..Looks::default()
    };
    for looks in [looks, Looks::default()] {
        let running = |seconds| Event::Running {
            id: "1".into(),
            name: "terminal".into(),
            seconds,
            bytes: 4,
            tail: "now\u{1b}[2J".into(),
        };
        let events = vec![
            Event::Calling {
                name: "terminal".into(),
                target: Some("make".into()),
                tokens: 9,
                seconds: 0.5,
            },
            Event::ToolCall {
                id: "1".into(),
                name: "terminal".into(),
                arguments: json!({"command": "make"}),
            },
            running(0.2),
            running(1.2),
            result("terminal", "made\u{1b}"),
        ];
        let (_, err) = shown(looks, false, events);
        assert_eq!(err, "• $ make\n• done · 0.5 s\n    made␛\n");
    }
}

#[test]
fn the_first_line_says_what_programs_are_kept_from_where_somebody_looks() {
    let first = |err: bool, quiet: bool, held: Option<&str>| {
        let looks = Looks {
            err,
            ..Looks::default()
        };
        let (pipe, _, err) = piped(looks);
        Text::new(pipe, quiet).session(held);
        err.text()
    };
    let held = Some("commands write only in this folder");
    assert_eq!(
        first(true, false, held),
        "sandbox: commands write only in this folder\n"
    );
    assert_eq!(first(true, false, None), "", "there are no tools");
    assert_eq!(first(true, true, held), "");
    assert_eq!(first(false, false, held), "", "a script asks --json");
}
