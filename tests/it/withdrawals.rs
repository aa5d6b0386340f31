//! Law 5 before the first token: Ctrl-C takes the message back and keeps what was read; a crash
//! leaves it open, to be answered or joined, and never twice in the history.

use std::cell::Cell;

use npast::agent::{Conversation, Event, Input, TurnOptions, WhichSession};
use npast::chat::{Message, ReplyScript};
use npast::ledger::Finish;
use npast::session::MessageState;

use crate::endings;
use crate::model::{Class, Options, THINKER, tiny_model};
use crate::talk::{Desk, Said, turn};
use crate::witness::{Reader, Stored};

const FINE: &str = r#"{"content":"Fine."}"#;

fn text(words: &str) -> Input {
    Input::Text(words.to_owned())
}

/// A prompt of many batches: a cancel during its first ones lands inside.
fn long(seed: usize) -> String {
    (0..4000)
        .map(|i| format!("{} ", (i * i + seed) % 97))
        .collect()
}

fn open(desk: &Desk) -> (npast::agent::Engine, Conversation) {
    let engine = desk.engine().expect("an engine");
    let talk = engine.conversation(WhichSession::Named("work".to_owned()), desk.new_session());
    let talk = talk.expect("a session");
    (engine, talk)
}

fn say(talk: &mut Conversation, input: Input, cancel: &dyn Fn(&Event) -> bool) -> Said {
    let mut script = ReplyScript::read(FINE.as_bytes()).expect("a script");
    turn(
        talk,
        input,
        &TurnOptions::default(),
        Some(&mut script),
        cancel,
    )
    .expect("a turn")
}

fn never(_: &Event) -> bool {
    false
}

/// Ctrl-C at the first progress of a prefill. The engine does not wait for it, so where it lands
/// is not fixed; a prompt of about ninety batches leaves room.
fn early(event: &Event) -> bool {
    matches!(event, Event::Prefill { .. })
}

fn withdrawn(said: &Said, words: &str) {
    let end = said.end.as_ref().expect("an end");
    assert_eq!(end.withdrawn.as_deref(), Some(words));
    assert_eq!(end.finish, Finish::Interrupted);
    assert!(said.text.is_empty() && said.reasoning.is_empty());
}

fn users(stored: &Stored) -> Vec<&str> {
    let all = stored.outline().into_iter();
    all.filter(|(role, ..)| *role == "user")
        .map(|(.., text)| text)
        .collect()
}

fn roomy(class: Class) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.limit = 32_768;
    desk
}

#[test]
fn half_of_a_prefill_is_kept_and_the_message_sent_again_costs_the_other_half() {
    for class in Class::ALL {
        for restart in [false, true] {
            let what = format!("{class:?}, restart {restart}");
            let desk = roomy(class);
            let (mut engine, mut talk) = open(&desk);
            let first = say(&mut talk, text("Hello."), &never);
            let before = Stored::of(&desk, "work");
            let words = long(1);
            let half = say(&mut talk, text(&words), &early);
            withdrawn(&half, &words);
            let h = half.receipt().clone();
            let total = half.prefill[0].1;
            assert!(h.evaluated > 0 && h.evaluated < total, "{what}: {h:?}");
            assert_eq!(h.kept, first.receipt().context, "{what}");
            assert_eq!((h.generated, h.finish), (0, Finish::Interrupted), "{what}");
            let taken = Stored::of(&desk, "work");
            assert_eq!(
                taken.ledger, before.ledger,
                "{what}: the ledger is cut back"
            );
            assert_eq!(taken.messages, before.messages, "{what}");

            if restart {
                talk.close().expect("a close");
                drop(engine);
                (engine, talk) = open(&desk);
            }
            let again = say(&mut talk, text(&words), &never);
            let r = again.receipt();
            assert_eq!(r.miss, None, "{what}: {r:?}");
            assert_eq!(r.kept + r.restored, h.context, "{what}: {r:?}");
            assert_eq!(r.evaluated, total - h.evaluated, "{what}: {r:?}");
            let after = Stored::of(&desk, "work");
            assert_eq!(users(&after), ["Hello.", &words], "{what}: once");
            assert!(after.ledger.starts_with(before.decoded()), "{what}");
            Reader::of(&desk).render(&after);
            drop((talk, engine));
        }
    }
}

#[test]
fn another_message_instead_of_a_withdrawn_one_costs_itself_only() {
    for class in Class::ALL {
        let desk = roomy(class);
        let (_engine, mut talk) = open(&desk);
        let first = say(&mut talk, text("Hello."), &never);
        let before = Stored::of(&desk, "work");
        let words = long(2);
        withdrawn(&say(&mut talk, text(&words), &early), &words);
        let other = say(&mut talk, text("Something else."), &never);
        let r = other.receipt();
        let after = Stored::of(&desk, "work");
        let new = after.ledger.len() - r.generated - (before.ledger.len() - before.pending);
        assert!(
            new < 60,
            "{class:?}: the ledger still holds what was taken back"
        );
        // Where the memory cannot be cut, the marks that both messages begin with are read again.
        let miss = r.miss.as_ref();
        assert!(
            miss.is_none_or(|m| m.at >= before.decoded().len()),
            "{class:?}: {r:?}"
        );
        assert!(r.evaluated <= new, "{class:?}: {r:?}, {new} new");
        assert!(r.kept >= first.receipt().context, "{class:?}: {r:?}");
        assert_eq!(users(&after), ["Hello.", "Something else."]);
        assert!(after.ledger.starts_with(before.decoded()), "{class:?}");
    }
}

#[test]
fn ctrl_c_after_the_whole_prompt_was_read_makes_the_same_text_free() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let (_engine, mut talk) = open(&desk);
        say(&mut talk, text("Hello."), &never);
        let before = Stored::of(&desk, "work");
        // A script that ends at once: the prompt is read and nothing is sampled after it, which is
        // where a Ctrl-C after the last batch lands.
        let mut nothing =
            ReplyScript::read(&br#"{"text":"","finish":"interrupted"}"#[..]).expect("ok");
        let pressed = Cell::new(false);
        let read = turn(
            &mut talk,
            text("And then?"),
            &TurnOptions::default(),
            Some(&mut nothing),
            &|event| {
                let last = matches!(event, Event::Prefill { done, total } if done == total);
                pressed.set(pressed.get() || last);
                last
            },
        )
        .expect("a turn");
        assert!(pressed.get());
        withdrawn(&read, "And then?");
        assert_eq!(Stored::of(&desk, "work").ledger, before.ledger);
        let again = say(&mut talk, text("And then?"), &never);
        let r = again.receipt();
        assert_eq!(
            (r.evaluated, r.miss.as_ref()),
            (0, None),
            "{class:?}: {r:?}"
        );
        assert_eq!(users(&Stored::of(&desk, "work")), ["Hello.", "And then?"]);
    }
}

/// A turn whose message is durable and whose decoding never begins, as a crash leaves it.
fn crash(talk: &mut Conversation, input: Input) {
    let mut empty = ReplyScript::read(&b""[..]).expect("a script");
    let ended = turn(
        talk,
        input,
        &TurnOptions::default(),
        Some(&mut empty),
        &never,
    );
    assert_eq!(ended.err().expect("no line").kind(), "script");
}

#[test]
fn a_message_that_a_crash_left_open_is_answered_by_an_empty_input() {
    for class in [Class::Dense, Class::Hybrid] {
        for input in [Input::Open, text(" \n")] {
            let desk = Desk::new(class, None);
            let (engine, mut talk) = open(&desk);
            let first = say(&mut talk, text("Hello."), &never);
            crash(&mut talk, text("Are you there?"));
            drop((talk, engine));
            let left = Stored::of(&desk, "work");
            assert_eq!(left.last().0.state, MessageState::Open);
            Reader::of(&desk).render(&left);

            let (_engine, mut talk) = open(&desk);
            let open = talk.info().open_message;
            assert_eq!(open.as_deref(), Some("Are you there?"));
            let said = say(&mut talk, input, &never);
            let r = said.receipt();
            assert_eq!(r.kept + r.restored, first.receipt().context);
            assert_eq!((r.evaluated, r.miss.as_ref()), (r.appended, None), "{r:?}");
            let after = Stored::of(&desk, "work");
            assert_eq!(users(&after), ["Hello.", "Are you there?"]);
            assert!(after.ledger.starts_with(&left.ledger));
            assert_eq!(talk.info().open_message, None);
        }
    }
}

#[test]
fn a_new_text_is_joined_with_the_open_message_and_this_is_said() {
    for class in [Class::Dense, Class::Hybrid] {
        let desk = Desk::new(class, None);
        let (engine, mut talk) = open(&desk);
        let first = say(&mut talk, text("Hello."), &never);
        crash(&mut talk, text("Are you there?"));
        drop((talk, engine));
        let (_engine, mut talk) = open(&desk);
        let said = say(&mut talk, text("Please."), &never);
        assert!(
            said.notices.iter().any(|n| n.contains("joined")),
            "{:?}",
            said.notices
        );
        let r = said.receipt();
        assert_eq!((r.evaluated, r.miss.as_ref()), (r.appended, None), "{r:?}");
        assert_eq!(r.kept + r.restored, first.receipt().context, "{r:?}");
        let after = Stored::of(&desk, "work");
        assert_eq!(users(&after), ["Hello.", "Are you there?\n\nPlease."]);
        Reader::of(&desk).render(&after);
    }
}

#[test]
fn a_joined_message_that_is_taken_back_is_handed_back_whole() {
    let desk = roomy(Class::Hybrid);
    let (_engine, mut talk) = open(&desk);
    say(&mut talk, text("Hello."), &never);
    let before = Stored::of(&desk, "work");
    crash(&mut talk, text("Are you there?"));
    let words = long(3);
    let both = format!("Are you there?\n\n{words}");
    withdrawn(&say(&mut talk, text(&words), &early), &both);
    let after = Stored::of(&desk, "work");
    assert_eq!(after.ledger, before.ledger);
    assert_eq!(after.messages, before.messages);
}

#[test]
fn ctrl_c_while_an_open_message_is_answered_leaves_it_open() {
    let desk = roomy(Class::Hybrid);
    let (_engine, mut talk) = open(&desk);
    let words = long(4);
    crash(&mut talk, text(&words));
    let half = say(&mut talk, Input::Open, &early);
    let end = half.end.as_ref().expect("an end");
    assert_eq!((end.finish, &end.withdrawn), (Finish::Interrupted, &None));
    assert_eq!(talk.info().open_message.as_deref(), Some(&words[..]));
    let rest = say(&mut talk, Input::Open, &never);
    let r = rest.receipt();
    assert_eq!((r.kept, r.miss.as_ref()), (half.receipt().context, None));
    assert_eq!(users(&Stored::of(&desk, "work")), [words]);
}

#[test]
fn results_stay_open_when_the_text_after_them_is_taken_back() {
    let calls = r#"{"content":"","tool_calls":[{"name":"read","arguments":{"path":"a"}},{"name":"read","arguments":{"path":"b"}}]}"#;
    for class in [Class::Dense, Class::Hybrid] {
        let mut desk = endings::desk(class, THINKER);
        desk.limit = 32_768;
        let (_engine, mut talk) = open(&desk);
        let mut script = ReplyScript::read(calls.as_bytes()).expect("a script");
        let all = TurnOptions::default();
        turn(&mut talk, text("Hello."), &all, Some(&mut script), &never).expect("a turn");
        let before = Stored::of(&desk, "work");
        let words = long(5);
        let half = say(
            &mut talk,
            Input::Messages(vec![
                Message::tool_result("", "read", "of a"),
                Message::user(&words),
            ]),
            &early,
        );
        withdrawn(&half, &words);
        let taken = Stored::of(&desk, "work");
        assert_eq!(taken.ledger, before.ledger);
        let open_now: Vec<_> = taken.outline()[2..].to_vec();
        assert_eq!(open_now, [("tool", MessageState::Open, "of a")]);
        // The other result comes late; both are there then.
        let late = vec![Message::tool_result("", "read", "of b")];
        let said = say(&mut talk, Input::Messages(late), &never);
        let r = said.receipt();
        let miss = r.miss.as_ref();
        assert!(miss.is_none_or(|m| m.at >= before.decoded().len()), "{r:?}");
        let after = Stored::of(&desk, "work");
        let outline: Vec<_> = after.outline().iter().map(|(r, _, t)| (*r, *t)).collect();
        assert_eq!(
            outline[2..],
            [("tool", "of a"), ("tool", "of b"), ("assistant", "Fine.")]
        );
        assert!(after.ledger.starts_with(before.decoded()));
        Reader::of(&desk).render(&after);
    }
}

#[test]
fn results_that_a_crash_left_open_are_answered() {
    let call = r#"{"content":"","tool_calls":[{"name":"read","arguments":{"path":"a"}}]}"#;
    let desk = endings::desk(Class::Hybrid, THINKER);
    let (engine, mut talk) = open(&desk);
    let mut script = ReplyScript::read(call.as_bytes()).expect("a script");
    let all = TurnOptions::default();
    turn(&mut talk, text("Hello."), &all, Some(&mut script), &never).expect("a turn");
    crash(
        &mut talk,
        Input::Messages(vec![Message::tool_result("", "read", "of a")]),
    );
    drop((talk, engine));
    let (_engine, mut talk) = open(&desk);
    let said = say(&mut talk, Input::Open, &never);
    let r = said.receipt();
    assert_eq!((r.evaluated, r.miss.as_ref()), (r.appended, None), "{r:?}");
    let after = Stored::of(&desk, "work");
    assert_eq!(after.outline()[2], ("tool", MessageState::Answered, "of a"));
    Reader::of(&desk).render(&after);
}

#[test]
fn an_exchanged_end_of_turn_is_not_written_twice_when_an_open_message_is_joined() {
    let desk = Desk::with_model(&tiny_model(
        Class::Hybrid,
        &Options {
            chat_template: Some(RETURNS),
            eos: "<|return|>",
            ..Options::default()
        },
    ));
    let (engine, mut talk) = open(&desk);
    let mut script = ReplyScript::read(&br#"{"text":"Hi.<|return|>"}"#[..]).expect("a script");
    let all = TurnOptions::default();
    turn(&mut talk, text("Hello."), &all, Some(&mut script), &never).expect("a turn");
    crash(&mut talk, text("Are you there?"));
    drop((talk, engine));
    let (_engine, mut talk) = open(&desk);
    let said = say(&mut talk, text("Please."), &never);
    let r = said.receipt();
    assert_eq!((r.evaluated, r.miss.as_ref()), (r.appended, None), "{r:?}");
    let held = Reader::of(&desk).text(&Stored::of(&desk, "work").ledger);
    assert!(
        held.contains("Hi.<|end|><|start|>user<|message|>Are you there?\n\nPlease.<|end|>"),
        "{held}"
    );
}

/// As gpt-oss: a reply ends in `<|return|>`, and history has `<|end|>` there.
const RETURNS: &str = "{%- for m in messages %}{{- '<|start|>' + m.role + '<|message|>' + m.content \
    + '<|end|>' }}{%- endfor %}{%- if add_generation_prompt %}\
    {{- '<|start|>assistant<|message|>' }}{%- endif %}";

#[test]
fn an_end_of_turn_that_took_historys_form_takes_its_own_again_when_the_message_is_withdrawn() {
    for class in Class::ALL {
        let mut desk = Desk::with_model(&tiny_model(
            class,
            &Options {
                chat_template: Some(RETURNS),
                eos: "<|return|>",
                ..Options::default()
            },
        ));
        desk.limit = 32_768;
        let reader = Reader::of(&desk);
        let (_engine, mut talk) = open(&desk);
        let mut script = ReplyScript::read(&br#"{"text":"Hi.<|return|>"}"#[..]).expect("a script");
        let all = TurnOptions::default();
        let said = turn(&mut talk, text("Hello."), &all, Some(&mut script), &never);
        assert_eq!(said.expect("a turn").receipt().finish, Finish::Stop);
        let before = Stored::of(&desk, "work");
        assert!(reader.text(&before.ledger).ends_with("Hi.<|return|>"));
        let words = long(6);
        let half = say(&mut talk, text(&words), &early);
        withdrawn(&half, &words);
        let taken = Stored::of(&desk, "work");
        assert_eq!(taken.ledger, before.ledger, "{class:?}");
        assert_eq!(taken.messages, before.messages, "{class:?}");

        let again = say(&mut talk, text(&words), &never);
        let r = again.receipt();
        assert_eq!((r.kept, r.miss.as_ref()), (half.receipt().context, None));
        let after = Stored::of(&desk, "work");
        assert!(after.ledger.starts_with(before.decoded()));
        let held = reader.text(&after.ledger);
        assert!(held.contains("Hi.<|end|><|start|>user"), "{}", &held[..200]);
        assert!(!held[..held.len() - 20].contains("<|return|>"));
    }
}

#[test]
fn a_history_that_was_rendered_anew_is_the_old_one_again_when_the_message_is_withdrawn() {
    let mut desk = endings::desk(Class::Hybrid, THINKER);
    desk.limit = 32_768;
    desk.policy = npast::agent::Policy::Template;
    let (_engine, mut talk) = open(&desk);
    let thought = r#"{"reasoning":"A long thought that the template drops.","content":"Yes."}"#;
    let mut script = ReplyScript::read(thought.as_bytes()).expect("a script");
    let all = TurnOptions::default();
    turn(&mut talk, text("Hello."), &all, Some(&mut script), &never).expect("a turn");
    let before = Stored::of(&desk, "work");
    let words = long(7);
    let half = say(&mut talk, text(&words), &early);
    withdrawn(&half, &words);
    let taken = Stored::of(&desk, "work");
    assert_eq!(taken.ledger, before.ledger);
    assert_eq!(taken.messages, before.messages);
    let said = say(&mut talk, text("Another."), &never);
    let miss = said.receipt().miss.as_ref().expect("a named break");
    assert!(miss.reason.contains("drops earlier thinking"), "{miss:?}");
    Reader::of(&desk).render(&Stored::of(&desk, "work"));
}
