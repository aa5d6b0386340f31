//! Whether a session thinks is fixed at its start, as its prompt and tools are: another process that is
//! asked for something else says so, and writes what the first one would have written.

use npast::agent::{Input, Policy};
use npast::session::{Db, Span};

use crate::model::{self, Class, THINKER};
use crate::talk::{Desk, Said, Stored, greedy};

const KEEPS: &str = "session work keeps the thinking it was started with";

fn desk(class: Class, thinking: Option<bool>) -> Desk {
    let mut desk = Desk::new(class, Some(THINKER));
    desk.thinking = thinking;
    desk
}

fn say(desk: &Desk, session: &str, words: &str) -> Said {
    let reply = r#"{"reasoning": "hm", "content": "Yes."}"#;
    let input = Input::Text(words.to_owned());
    desk.turn(session, input, &greedy(50), Some(reply))
        .unwrap_or_else(|e| panic!("{session}: {e}"))
}

fn kept(said: &Said) -> usize {
    said.notices.iter().filter(|n| n.contains(KEEPS)).count()
}

fn spans(stored: &Stored) -> Vec<Option<Span>> {
    stored.messages.iter().map(|m| m.span).collect()
}

/// A session as an npast of format 3 left it.
fn forget(desk: &Desk) {
    rusqlite::Connection::open(desk.home.join("npast.db"))
        .and_then(|c| c.execute("UPDATE sessions SET thinking = NULL", []))
        .expect("a change");
}

#[test]
fn a_session_thinks_as_it_was_started_whatever_a_later_process_is_asked_for_on_every_class() {
    for class in Class::ALL {
        for start in [true, false] {
            let what = format!("{class:?}, started with {start}");
            let plain = desk(class, Some(start));
            let mut other = desk(class, Some(start));
            for words in ["One?", "Two?", "Three?"] {
                say(&plain, "work", words);
            }
            say(&other, "work", "One?");
            other.thinking = Some(!start);
            let said = say(&other, "work", "Two?");
            assert_eq!(kept(&said), 1, "{what}: {:?}", said.notices);
            let r = said.receipt();
            assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{what}");
            // Without a word of it there is nothing to say.
            other.thinking = None;
            assert_eq!(kept(&say(&other, "work", "Three?")), 0, "{what}");
            let (plain, other) = (plain.stored("work"), other.stored("work"));
            assert_eq!(other.ledger, plain.ledger, "{what}");
            // What opens a thought is the prompt's or the reply's.
            assert_eq!(spans(&other), spans(&plain), "{what}");
            assert_eq!(other.canonical(), plain.canonical(), "{what}");
        }
    }
}

#[test]
fn a_session_of_an_older_npast_keeps_what_it_was_surely_started_with() {
    for start in [true, false] {
        let plain = desk(Class::Dense, Some(start));
        say(&plain, "work", "One?");
        say(&plain, "work", "Two?");
        let mut old = desk(Class::Dense, Some(start));
        say(&old, "work", "One?");
        forget(&old);
        old.thinking = Some(!start);
        assert_eq!(kept(&say(&old, "work", "Two?")), 1);
        assert_eq!(old.stored("work").session.thinking, Some(start));
        let (old, plain) = (old.stored("work"), plain.stored("work"));
        assert_eq!(old.ledger, plain.ledger);
        assert_eq!(spans(&old), spans(&plain));
    }
}

#[test]
fn a_session_of_an_older_npast_that_cannot_tell_takes_what_is_asked_for_and_keeps_that() {
    for asked in [Some(false), Some(true), None] {
        // A template without a switch.
        let mut old = Desk::new(Class::Dense, None);
        say(&old, "work", "One?");
        forget(&old);
        old.thinking = asked;
        assert_eq!(kept(&say(&old, "work", "Two?")), 0);
        let own = asked.unwrap_or(true);
        assert_eq!(old.stored("work").session.thinking, Some(own));
        old.thinking = Some(!own);
        assert_eq!(kept(&say(&old, "work", "Three?")), 1);
        assert_eq!(old.stored("work").session.thinking, Some(own));
    }
}

#[test]
fn forks_and_children_think_and_keep_history_as_their_parents() {
    let mut desk = desk(Class::Dense, Some(false));
    desk.policy = Policy::Template;
    say(&desk, "work", "One?");
    let path = desk.home.join("npast.db");
    let db = Db::open(&path).expect("npast.db");
    let work = db.find("work").expect("a query").expect("a session");
    npast::agent::fork(&db, &work, Some("aside"), None).expect("a fork");
    drop(db);
    (desk.thinking, desk.policy) = (Some(true), Policy::Exact);
    let said = say(&desk, "aside", "Two?");
    let about =
        |said: &Said, words: &str| said.notices.iter().filter(|n| n.contains(words)).count();
    assert_eq!(about(&said, "session aside keeps the thinking"), 1);
    assert_eq!(about(&said, "session aside keeps the history policy"), 1);
    desk.model = model::tiny_model(
        Class::Dense,
        &model::Options {
            chat_template: Some(&THINKER.replace("You may call", "You can call")),
            ..model::Options::default()
        },
    );
    say(&desk, "work", "Two?");
    for name in ["work", "aside", "work-2"] {
        let row = desk.stored(name).session;
        let own = (row.thinking, row.policy.as_str());
        assert_eq!(own, (Some(false), "template"), "{name}");
    }
}
