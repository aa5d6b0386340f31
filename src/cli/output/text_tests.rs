use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::super::receipt::samples;
use super::*;

/// What a turn of these events leaves on the two streams.
fn shown(looks: Looks, events: Vec<Event>) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let pipe = Pipe::new(&mut out, Arc::new(AtomicBool::new(false)));
    let mut text = Text::new(pipe, &mut err, looks);
    for event in events {
        text.event(event);
    }
    text.end();
    drop(text);
    (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

fn turn() -> Vec<Event> {
    vec![
        Event::Prefill { done: 1, total: 21 },
        Event::Reasoning("let me".into()),
        Event::Reasoning(" see".into()),
        Event::Text("He".into()),
        Event::Text("llo\u{1b}".into()),
        Event::Receipt(Box::new(samples::missed())),
        Event::Turn(samples::turn()),
    ]
}

const LINES: &str = "9,310 kept · 21 read · 15 written · 0.2 s\n\
    read again from token 62, message 1: system prompt differs: \"a\" became \"b\"\n";

#[test]
fn a_pipe_gets_the_answer_alone_and_the_receipt_goes_to_standard_error() {
    let (out, err) = shown(Looks::default(), turn());
    assert_eq!(out, "Hello\u{1b}\n", "bytes for programs stay as they are");
    assert_eq!(err, LINES);
}

#[test]
fn a_terminal_gets_dimmed_thinking_and_no_control_characters() {
    let looks = Looks {
        out: true,
        err: true,
        color: true,
        quiet: false,
    };
    let (out, err) = shown(looks, turn());
    assert_eq!(out, "Hello\n");
    let dimmed: String = LINES
        .lines()
        .map(|line| format!("\u{1b}[2m{line}\u{1b}[0m\n"))
        .collect();
    assert_eq!(
        err,
        format!("\u{1b}[2mlet me\u{1b}[0m\u{1b}[2m see\u{1b}[0m\n\n{dimmed}")
    );
    let plain = Looks {
        color: false,
        ..looks
    };
    let (_, err) = shown(plain, turn());
    assert_eq!(err, format!("[thinking] let me see\n\n{LINES}"));
}

#[test]
fn quiet_leaves_the_answer_and_the_notices() {
    let looks = Looks {
        err: true,
        quiet: true,
        ..Looks::default()
    };
    let mut events = turn();
    events.push(Event::Notice {
        text: "a file was refused".into(),
        hint: Some("delete it".into()),
    });
    let (out, err) = shown(looks, events);
    assert_eq!(out, "Hello\u{1b}\n");
    assert_eq!(err, "npast: a file was refused\n  hint: delete it\n");
}

#[test]
fn an_answer_that_ends_its_line_gets_no_second_newline_and_a_call_is_shown() {
    let events = vec![
        Event::Text("done\n".into()),
        Event::ToolCall {
            id: "1".into(),
            name: "read".into(),
            arguments: json!({"path": "b"}),
        },
    ];
    let (out, err) = shown(Looks::default(), events);
    assert_eq!(out, "done\n");
    assert_eq!(err, "call: read {\"path\":\"b\"}\n");
}

#[test]
fn the_first_line_says_what_programs_are_kept_from_where_somebody_looks() {
    let first = |err: bool, quiet: bool, held: Option<&str>| {
        let (mut out, mut err_bytes) = (Vec::new(), Vec::new());
        let pipe = Pipe::new(&mut out, Arc::new(AtomicBool::new(false)));
        let looks = Looks {
            err,
            quiet,
            ..Looks::default()
        };
        Text::new(pipe, &mut err_bytes, looks).session(held);
        String::from_utf8(err_bytes).unwrap()
    };
    let held = Some("writing files, network (Landlock)");
    assert_eq!(
        first(true, false, held),
        "sandbox: writing files, network (Landlock)\n"
    );
    assert_eq!(first(true, false, None), "", "there are no tools");
    assert_eq!(first(true, true, held), "");
    assert_eq!(first(false, false, held), "", "a script asks --json");
}
