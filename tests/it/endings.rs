//! Law 5 and law 1 where a reply ends: however it ended, its finish and its message say so, the
//! template renders the history, and the next turn costs what it appends.

use npast::agent::{AgentError, Input, TurnOptions, WhichSession};
use npast::chat::Message;
use npast::ledger::Finish;
use npast::llama::Sampling;
use serde_json::json;

use crate::model::{self, Class};
use crate::talk::{Desk, Said, greedy, turn};
use crate::witness::{Reader, Stored};

/// Templates with thinking and tools: ours, and Qwen3.5's where it lies beside the checkout.
fn templates() -> Vec<(&'static str, String)> {
    let mut all = vec![("own", model::THINKER.to_owned())];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/chat-templates");
    match std::fs::read_to_string(format!("{folder}/Qwen3.5-4B.jinja")) {
        Ok(source) => all.push(("qwen3.5", source)),
        Err(_) => println!("skipped: Qwen3.5, no folder of chat templates beside the checkout"),
    }
    all
}

pub fn desk(class: Class, template: &str) -> Desk {
    let mut desk = Desk::new(class, Some(template));
    desk.system = Some("You are brief.".to_owned());
    desk.tools = Some(json!([{"type": "function", "function": {
        "name": "read", "description": "Reads a file.",
        "parameters": {"type": "object", "properties": {
            "path": {"type": "string"}, "all": {"type": "boolean"}
        }, "required": ["path"]}
    }}]));
    desk
}

/// A way in which a reply ends.
struct Ending {
    name: &'static str,
    /// The script's line.
    line: serde_json::Value,
    stop: Option<&'static str>,
    max_tokens: Option<usize>,
    finish: Finish,
    /// What the message holds then.
    reasoning: Option<&'static str>,
    text: &'static str,
    calls: usize,
    /// Text of the reply's tokens that the message does not hold.
    kept_in_ledger: &'static str,
    /// It ended inside the reasoning: the next turn closes it.
    open: bool,
}

const CRAB: &str = "hm\n</think>\n\nA crab: \u{1F980}\u{1F980}";

fn endings(template: &str, reader: &Reader) -> Vec<Ending> {
    let base = || Ending {
        name: "",
        line: json!({}),
        stop: None,
        max_tokens: None,
        finish: Finish::Interrupted,
        reasoning: Some("hm"),
        text: "",
        calls: 0,
        kept_in_ledger: "",
        open: false,
    };
    let half_call = match template {
        "own" => "<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a",
        _ => "<tool_call>\n<function=read>\n<parameter=path>\na",
    };
    let crab = reader.vocab().tokenize(CRAB, true).expect("tokens").len();
    vec![
        Ending {
            name: "stop",
            line: json!({"reasoning": "hm", "content": "Fine."}),
            finish: Finish::Stop,
            text: "Fine.",
            ..base()
        },
        Ending {
            name: "a call",
            line: json!({"reasoning": "hm", "content": "", "tool_calls": [
                {"name": "read", "arguments": {"path": "a b"}}]}),
            finish: Finish::ToolCalls,
            calls: 1,
            ..base()
        },
        Ending {
            name: "a stop string",
            line: json!({"text": "hm\n</think>\n\nOne, two. END, three."}),
            stop: Some("END"),
            finish: Finish::StopString,
            text: "One, two. ",
            kept_in_ledger: "One, two. END",
            ..base()
        },
        Ending {
            name: "length",
            line: json!({"text": "hm\n</think>\n\nOne, two.", "finish": "length"}),
            finish: Finish::Length,
            text: "One, two.",
            ..base()
        },
        Ending {
            name: "length in the middle of a character",
            line: json!({"text": CRAB}),
            max_tokens: Some(crab - 2),
            finish: Finish::Length,
            text: "A crab: \u{1F980}\u{FFFD}",
            ..base()
        },
        Ending {
            name: "length in the reasoning",
            line: json!({"text": "I wonder whether", "finish": "length"}),
            finish: Finish::Length,
            reasoning: Some("I wonder whether"),
            open: true,
            ..base()
        },
        Ending {
            name: "Ctrl-C in the reasoning",
            line: json!({"text": "I wonder whether", "finish": "interrupted"}),
            reasoning: Some("I wonder whether"),
            open: true,
            ..base()
        },
        Ending {
            name: "Ctrl-C after the reasoning",
            line: json!({"text": "hm\n</think>\n\n", "finish": "interrupted"}),
            ..base()
        },
        Ending {
            name: "Ctrl-C in the text",
            line: json!({"text": "hm\n</think>\n\nOne, tw", "finish": "interrupted"}),
            text: "One, tw",
            ..base()
        },
        Ending {
            name: "Ctrl-C in a call",
            line: json!({"text": format!("hm\n</think>\n\n{half_call}"), "finish": "interrupted"}),
            text: half_call.to_owned().leak(),
            ..base()
        },
        Ending {
            name: "Ctrl-C in a call after text",
            line: json!({"text": format!("hm\n</think>\n\nI look.\n\n{half_call}"),
                "finish": "interrupted"}),
            text: format!("I look.\n\n{half_call}").leak(),
            ..base()
        },
    ]
}

fn say(desk: &Desk, name: &str, input: Input, line: &serde_json::Value) -> Said {
    say_with(desk, name, input, line, &TurnOptions::default()).expect("a turn")
}

fn say_with(
    desk: &Desk,
    name: &str,
    input: Input,
    line: &serde_json::Value,
    options: &TurnOptions,
) -> Result<Said, AgentError> {
    desk.turn(name, input, options, Some(&line.to_string()))
}

fn text(words: &str) -> Input {
    Input::Text(words.to_owned())
}

/// The next turn holds all that was there, evaluates what it appends, and changes no decoded token.
fn extends(what: &str, before: &Stored, context: usize, said: &Said, after: &Stored) {
    let r = said.receipt();
    assert_eq!(r.miss, None, "{what}: {r:?}");
    assert_eq!(r.evaluated, r.appended, "{what}: {r:?}");
    assert_eq!(r.kept + r.restored, context, "{what}: {r:?}");
    assert!(after.ledger.starts_with(before.decoded()), "{what}");
    assert_eq!(after.ledger.len(), r.context + r.pending, "{what}");
    assert_eq!(r.context, r.prompt() + r.generated - r.pending, "{what}");
}

#[test]
fn every_ending_leaves_a_history_that_renders_and_that_the_next_turn_extends() {
    let fine = json!({"reasoning": "yes", "content": "Done."});
    for class in [Class::Dense, Class::Hybrid] {
        for (template, source) in templates() {
            let reader = Reader::of(&desk(class, &source));
            for ending in endings(template, &reader) {
                let what = format!("{class:?}, {template}, {}", ending.name);
                // A folder of its own: what another session stored would be found.
                let (desk, name) = (desk(class, &source), "work");
                let options = TurnOptions {
                    stop: ending.stop.iter().map(|s| (*s).to_owned()).collect(),
                    max_tokens: ending.max_tokens,
                    ..TurnOptions::default()
                };
                let said = say_with(&desk, name, text("Hello."), &ending.line, &options);
                let said = said.unwrap_or_else(|e| panic!("{what}: {e}"));
                let context = said.receipt().context;
                assert_eq!(said.receipt().finish, ending.finish, "{what}");
                assert_eq!(said.text, ending.text, "{what}");
                // While it streams nobody knows yet that a line end is the reasoning's last.
                let shown = said.reasoning.trim_end();
                assert_eq!(shown, ending.reasoning.unwrap_or(""), "{what}");

                let before = Stored::of(&desk, name);
                let (reply, finish) = before.reply();
                assert_eq!(finish, Some(ending.finish), "{what}");
                assert_eq!(reply.text, ending.text, "{what}");
                let thought = reply.reasoning.as_deref().map(str::trim_end);
                assert_eq!(thought, ending.reasoning, "{what}");
                assert_eq!(reply.calls.len(), ending.calls, "{what}");
                reader.render(&before);
                let held = reader.text(&before.ledger);
                assert!(held.contains(ending.kept_in_ledger), "{what}: {held}");

                let input = match ending.calls {
                    0 => text("Go on."),
                    _ => Input::Messages(vec![Message::tool_result("", "read", "Go on.")]),
                };
                let next = say(&desk, name, input, &fine);
                let after = Stored::of(&desk, name);
                extends(&what, &before, context, &next, &after);
                reader.render(&after);
                let (reply, finish) = after.reply();
                assert_eq!((reply.text.as_str(), finish), ("Done.", Some(Finish::Stop)));

                // What stands between the reply and the new message.
                let added = reader.text(&after.ledger[before.ledger.len()..]);
                let close = match (ending.open, finish) {
                    (true, _) => reader.thinking_close(),
                    _ => "",
                };
                let end = match ending.finish {
                    Finish::Stop | Finish::ToolCalls => "",
                    _ => "<|im_end|>",
                };
                let start = format!("{close}{end}\n<|im_start|>user\n");
                assert!(added.starts_with(&start), "{what}: {added:?}");

                let third = say(&desk, name, text("And?"), &fine);
                let last = Stored::of(&desk, name);
                extends(&what, &after, next.receipt().context, &third, &last);
            }
        }
    }
}

#[test]
fn a_cut_reply_is_continued_as_if_it_had_not_been_cut() {
    let more = json!({"text": " and more.", "finish": "length"});
    let fine = json!({"content": "Done."});
    for class in [Class::Dense, Class::Hybrid] {
        // Once is enough for a template whose examination takes long.
        let first = if class == Class::Dense { 1 } else { 2 };
        for (template, source) in templates().into_iter().take(first) {
            let reader = Reader::of(&desk(class, &source));
            for ending in endings(template, &reader) {
                let what = format!("{class:?}, {template}, {}", ending.name);
                // A folder of its own: what another session stored would be found.
                let (desk, name) = (desk(class, &source), "work");
                let options = TurnOptions {
                    stop: ending.stop.iter().map(|s| (*s).to_owned()).collect(),
                    max_tokens: ending.max_tokens,
                    ..TurnOptions::default()
                };
                let said = say_with(&desk, name, text("Hello."), &ending.line, &options);
                let context = said.expect("a turn").receipt().context;
                let before = Stored::of(&desk, name);
                let goes_on = desk.turn(
                    name,
                    Input::Continue,
                    &TurnOptions::default(),
                    Some(&more.to_string()),
                );
                if matches!(ending.finish, Finish::Stop | Finish::ToolCalls) {
                    let refused = goes_on.err().expect("a finished reply");
                    assert_eq!(refused.exit(), 2, "{what}: {refused}");
                    assert_eq!(Stored::of(&desk, name).ledger, before.ledger);
                    continue;
                }
                let goes_on = goes_on.unwrap_or_else(|e| panic!("{what}: {e}"));
                let after = Stored::of(&desk, name);
                extends(&what, &before, context, &goes_on, &after);
                assert!(after.ledger.starts_with(&before.ledger), "{what}");
                assert_eq!(after.messages.len(), before.messages.len(), "{what}");
                let r = goes_on.receipt();
                assert_eq!((r.appended, r.finish), (before.pending, Finish::Length));
                let (reply, finish) = after.reply();
                assert_eq!(finish, Some(Finish::Length), "{what}");
                let said = match ending.open {
                    true => reply.reasoning.as_deref().unwrap_or_default(),
                    false => reply.text.as_str(),
                };
                assert!(said.ends_with("and more."), "{what}: {reply:?}");
                reader.render(&after);

                let next = say(&desk, name, text("And?"), &fine);
                let last = Stored::of(&desk, name);
                extends(&what, &after, r.context, &next, &last);
                reader.render(&last);
            }
        }
    }
}

#[test]
fn a_character_that_was_cut_in_two_is_whole_after_it_was_continued() {
    // A random model writes random bytes. Sooner or later one that opens a character of two is
    // the last before the cut, and the reply goes on with one that completes it.
    let any = |n| TurnOptions {
        sampling: Sampling {
            temperature: 3.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Sampling::default()
        },
        ..greedy(n)
    };
    let desk = Desk::new(Class::Hybrid, None);
    let reader = Reader::of(&desk);
    let engine = desk.engine().expect("an engine");
    let mut cuts = 0;
    for i in 0..20 {
        let open = WhichSession::Named(format!("s{i}"));
        let talk = engine.conversation(open, desk.new_session());
        let mut talk = talk.expect("a session");
        let mut say = |input, n| {
            turn(&mut talk, input, &any(n), None, &|_| false).expect("a turn");
            Stored::of(&desk, &format!("s{i}"))
        };
        let mut stored = say(text(&format!("Hello {i}.")), 1);
        // Token by token: each step is a cut.
        for _ in 0..40 {
            let span = stored.last().0.span.expect("a span");
            let held = reader.vocab().bytes(&stored.ledger[span.start..], true);
            let opens = matches!(held.last(), Some(0xC2..=0xDF));
            let (reply, finish) = stored.reply();
            assert_eq!(finish, Some(Finish::Length));
            assert_eq!(reply.text, String::from_utf8_lossy(&held));
            stored = say(Input::Continue, 1);
            let more = reader.vocab().bytes(&stored.ledger[span.start..], true);
            if opens && matches!(more[held.len()], 0x80..=0xBF) {
                cuts += 1;
                let (reply, _) = stored.reply();
                assert_eq!(reply.text, String::from_utf8_lossy(&more));
                assert!(!reply.text.ends_with('\u{FFFD}'));
            }
        }
        if cuts > 0 {
            return;
        }
    }
    panic!("no character was ever cut in two");
}

#[test]
fn calls_without_results_are_answered_for_before_the_next_message() {
    for (template, source) in templates() {
        let desk = desk(Class::Hybrid, &source);
        let reader = Reader::of(&desk);
        let calls = json!({"content": "", "tool_calls": [
            {"name": "read", "arguments": {"path": "a"}},
            {"name": "read", "arguments": {"path": "b"}}]});
        let fine = json!({"content": "Done."});
        let said = say(&desk, "s", text("Hello."), &calls);
        assert_eq!(said.receipt().finish, Finish::ToolCalls);
        let before = Stored::of(&desk, "s");
        let input = Input::Messages(vec![
            Message::tool_result("", "read", "of a"),
            Message::user("Enough."),
        ]);
        let next = say(&desk, "s", input, &fine);
        let after = Stored::of(&desk, "s");
        extends(template, &before, said.receipt().context, &next, &after);
        let outline: Vec<_> = after.outline().iter().map(|(r, _, t)| (*r, *t)).collect();
        assert_eq!(
            outline[2..],
            [
                ("tool", "of a"),
                ("tool", "This call was not run."),
                ("user", "Enough."),
                ("assistant", "Done."),
            ],
            "{template}"
        );
        reader.render(&after);
    }
}

#[test]
fn a_full_context_ends_a_reply_and_keeps_the_session() {
    for class in [Class::Dense, Class::Hybrid] {
        let mut desk = Desk::new(class, None);
        desk.limit = 256;
        let reader = Reader::of(&desk);
        let said = desk
            .turn("s", text("Hello."), &greedy(10_000), None)
            .expect("a turn");
        let r = said.receipt();
        assert_eq!((r.finish, r.context, r.pending), (Finish::Context, 256, 1));
        let before = Stored::of(&desk, "s");
        assert_eq!(before.reply().1, Some(Finish::Context));
        reader.render(&before);
        let refused = desk.turn("s", text("More."), &greedy(5), None).err();
        let refused = refused.expect("no room");
        assert_eq!((refused.kind(), refused.exit()), ("too_long", 2));
        let after = Stored::of(&desk, "s");
        assert_eq!(after.ledger, before.ledger);
        assert_eq!(after.messages, before.messages, "nothing was stored");
        // With more room the session goes on.
        desk.limit = 512;
        let next = desk.turn("s", text("More."), &greedy(5), None);
        let next = next.expect("a turn");
        extends("more room", &before, 256, &next, &Stored::of(&desk, "s"));
    }
}
