//! Ctrl-C while a reply comes: what was decoded stays, its message says where it was cut, and the
//! next turn goes on after it. The engine does not wait for the key, so each test presses it inside
//! a long stretch and looks at what was reached.

use npast::agent::{Conversation, Event, Input, TurnOptions, WhichSession};
use npast::chat::{Message, ReplyScript};
use npast::ledger::Finish;
use serde_json::json;

use crate::endings;
use crate::model::{Class, THINKER};
use crate::talk::{Said, turn};
use crate::witness::{Reader, Stored};

/// Bytes of the stretch that is cut: seconds of decoding for a key that is pressed at its start.
const LONG: usize = 6000;

fn say(talk: &mut Conversation, words: &str, line: &str, cancel: &dyn Fn(&Event) -> bool) -> Said {
    let mut script = ReplyScript::read(line.as_bytes()).expect("a script");
    let input = Input::Text(words.to_owned());
    let options = TurnOptions::default();
    turn(talk, input, &options, Some(&mut script), cancel).expect("a turn")
}

/// Runs a reply that is cut at `press`, then the next turn; checks what every cut has in common and
/// gives the cut message with the text of its tokens.
fn cut(class: Class, raw: &str, press: &dyn Fn(&Event) -> bool) -> (Message, String) {
    let mut desk = endings::desk(class, THINKER);
    desk.limit = 32_768;
    let reader = Reader::of(&desk);
    let line = json!({ "text": raw }).to_string();
    let (said, before) = {
        let engine = desk.engine().expect("an engine");
        let talk = engine.conversation(WhichSession::Named("work".to_owned()), desk.new_session());
        let mut talk = talk.expect("a session");
        let said = say(&mut talk, "Hello.", &line, press);
        assert!(talk.info().unfinished);
        talk.close().expect("a close");
        (said, Stored::of(&desk, "work"))
    };
    let r = said.receipt();
    assert_eq!(r.finish, Finish::Interrupted, "{class:?}");
    let end = said.end.as_ref().expect("an end");
    assert_eq!((end.finish, &end.withdrawn), (Finish::Interrupted, &None));
    let (row, message) = before.last();
    assert_eq!(row.finish, Some(Finish::Interrupted));
    let span = row.span.expect("a span");
    assert_eq!(
        (span.end - span.start, span.end),
        (r.generated, before.ledger.len())
    );
    let tokens = reader.text(&before.ledger[span.start..]);
    let whole = reader.vocab().bytes(&before.ledger[span.start..], true);
    assert!(
        raw.as_bytes().starts_with(&whole),
        "the tokens are the reply's first ones"
    );
    assert!(
        whole.len() < raw.len() - 100,
        "{class:?}: the key came too late"
    );
    assert_eq!(said.text, message.text);
    reader.render(&before);

    let engine = desk.engine().expect("an engine");
    let talk = engine.conversation(WhichSession::Named("work".to_owned()), desk.new_session());
    let mut talk = talk.expect("a session");
    let next = say(&mut talk, "Go on.", r#"{"content":"Fine."}"#, &|_| false);
    let n = next.receipt();
    assert_eq!(
        (n.evaluated, n.miss.as_ref()),
        (n.appended, None),
        "{class:?}: {n:?}"
    );
    assert_eq!(n.kept + n.restored, r.context, "{class:?}: {n:?}");
    let after = Stored::of(&desk, "work");
    assert!(after.ledger.starts_with(&before.ledger), "{class:?}");
    reader.render(&after);
    (message, tokens)
}

#[test]
fn ctrl_c_in_the_reasoning_keeps_the_thought() {
    for class in [Class::Dense, Class::Hybrid] {
        let raw = format!("{}\n</think>\n\nYes.", "hmm ".repeat(LONG / 4));
        let pressed = |e: &Event| matches!(e, Event::Reasoning { .. });
        let (message, tokens) = cut(class, &raw, &pressed);
        assert_eq!(message.text, "");
        assert_eq!(
            message.reasoning.as_deref().map(str::trim),
            Some(tokens.trim())
        );
    }
}

#[test]
fn ctrl_c_in_a_call_leaves_text_and_no_call() {
    for class in [Class::Dense, Class::Hybrid] {
        let path = "a/".repeat(LONG / 2);
        let call = format!(
            "<tool_call>\n{{\"name\": \"read\", \"arguments\": {{\"path\": \"{path}\"}}}}\n</tool_call>"
        );
        let raw = format!("hm\n</think>\n\nI shall look at it now.\n{call}");
        let (message, tokens) = cut(class, &raw, &|e| matches!(e, Event::Text { .. }));
        assert!(message.calls.is_empty());
        let answer = tokens.strip_prefix("hm\n</think>\n\n").expect("thinking");
        assert_eq!(message.text, answer);
    }
}

#[test]
fn ctrl_c_inside_a_character_shows_that_it_is_cut_and_keeps_its_bytes() {
    for class in [Class::Dense, Class::Hybrid] {
        // Two, three and four bytes are as many tokens: two of three places are inside. The key is
        // pressed later each time, at text that is shifted by one more token: the engine may be a
        // fixed way ahead, and what is shown comes in steps.
        let inside = (0..12).find_map(|skip| {
            let raw = format!(
                "hm\n</think>\n\nCrabs: {}{}",
                "x".repeat(skip),
                "\u{E9}\u{20AC}\u{1F980}".repeat(LONG / 9)
            );
            let shown = std::cell::Cell::new(0);
            let press = |e: &Event| {
                shown.set(shown.get() + usize::from(matches!(e, Event::Text { .. })));
                shown.get() > skip
            };
            let (message, tokens) = cut(class, &raw, &press);
            assert_eq!(message.text, tokens["hm\n</think>\n\n".len()..]);
            message.text.ends_with('\u{FFFD}').then_some(())
        });
        inside.expect("one of twelve cuts is inside a character");
    }
}
