//! A message that is replaced by another text: the first one and its reply are kept as a branch.

use npast::agent::Input;
use npast::ledger::common_prefix;
use npast::session::Why;

use crate::model::Class;
use crate::retries::{open, say};
use crate::talk::{Desk, branches, greedy};
use crate::witness::{Reader, Stored};

#[test]
fn a_replaced_message_costs_what_is_new_in_it_on_every_class() {
    for class in Class::ALL {
        let plain = Desk::new(class, None);
        let (_engine, mut talk) = open(&plain, "work");
        say(&mut talk, "Hello there.");
        say(&mut talk, "What is a borrow?");
        let plain = Stored::of(&plain, "work");

        let desk = Desk::new(class, None);
        let (_engine, mut talk) = open(&desk, "work");
        let first = say(&mut talk, "Hello there.").receipt().clone();
        say(&mut talk, "What is a burrow?");
        let other = Stored::of(&desk, "work");
        assert_eq!(talk.last_text().as_deref(), Some("What is a burrow?"));
        assert_eq!(talk.edit().expect("an edit").text, "What is a burrow?");
        let said = say(&mut talk, "What is a borrow?");
        let r = said.receipt();
        let after = Stored::of(&desk, "work");
        let prompt = r.prompt();
        assert_eq!(after.ledger[..prompt], plain.ledger[..prompt], "{class:?}");
        let alike = common_prefix(&other.ledger, &after.ledger[..prompt]);
        let cuttable = matches!(class, Class::Dense | Class::Swa);
        let found = if cuttable { alike } else { first.context };
        assert_eq!(
            (r.kept, r.restored, r.evaluated, r.appended),
            (found, 0, prompt - found, prompt - alike),
            "{class:?}"
        );
        let reason = r.miss.as_ref().map(|m| m.reason.as_str());
        assert_eq!(reason.is_some(), !cuttable, "{class:?}");
        assert!(
            reason.is_none_or(|r| r.contains("was replaced by edit")),
            "{reason:?}"
        );
        let users: Vec<_> = after
            .outline()
            .into_iter()
            .map(|(_, _, text)| text)
            .collect();
        assert_eq!((users[0], users[2]), ("Hello there.", "What is a borrow?"));
        assert_eq!(branches(&desk, "work")[0].why, Why::Edit);
        Reader::of(&desk).render(&after);
        // And back: the first wording with its reply.
        talk.redo(None).expect("a redo");
        assert_eq!(
            Stored::of(&desk, "work").messages,
            other.messages,
            "{class:?}"
        );
    }
}

#[test]
fn a_message_that_has_no_answer_yet_can_be_replaced() {
    let desk = Desk::new(Class::Dense, None);
    let (_engine, mut talk) = open(&desk, "work");
    say(&mut talk, "Hello there.");
    let before = Stored::of(&desk, "work");
    // A turn whose message is durable and whose decoding never begins, as a crash leaves it.
    let empty = npast::chat::ReplyScript::read(&b""[..]).expect("a script");
    let input = Input::Text("Wrnog.".to_owned());
    let crashed = talk.turn(input, &greedy(5), Some(&empty));
    assert!(crashed.is_err());
    assert_eq!(talk.last_text().as_deref(), Some("Wrnog."));
    talk.edit().expect("an edit");
    assert_eq!(Stored::of(&desk, "work").messages, before.messages);
    let said = say(&mut talk, "Wrong.");
    assert!(said.notices.is_empty(), "{:?}", said.notices);
    assert_eq!(said.receipt().miss, None);
    let after = Stored::of(&desk, "work");
    assert_eq!(after.outline().len(), 4);
    assert_eq!(after.outline()[2].2, "Wrong.");
}

#[test]
fn there_must_be_a_message_to_edit() {
    let desk = Desk::new(Class::Dense, None);
    let (_engine, mut talk) = open(&desk, "work");
    assert_eq!(talk.last_text(), None);
    let error = talk.edit().expect_err("a refusal");
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("session work has no turn to take back", 2)
    );
}
