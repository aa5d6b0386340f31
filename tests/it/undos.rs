//! Turns that are taken back and put back: what the next message costs, what it is told, and that
//! the conversation is the one that never went the other way.

use npast::agent::Receipt;
use npast::ledger::common_prefix;
use npast::session::Why;

use crate::model::{Class, Options, THINKER, tiny_model};
use crate::retries::{facts, open, say};
use crate::talk::{Desk, Talk, branches};
use crate::witness::{Reader, Stored};

/// A conversation of these turns, in one process.
fn talked(class: Class, words: &[&str]) -> (Desk, Vec<Receipt>, Stored) {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    let (_engine, mut talk) = open(&desk, "work");
    let mut all = Vec::new();
    for words in words {
        all.push(say(&mut talk, words).receipt().clone());
    }
    talk.close().expect("a close");
    let stored = Stored::of(&desk, "work");
    (desk, all, stored)
}

/// What a message may cost after a cut: the receipt, whole. `before` is what the session counts as
/// decoded, `alike` how far the abandoned branch goes with the new prompt, `found` where the state
/// is that evaluation starts from.
fn expected(r: &Receipt, prompt: usize, found: usize, alike: usize, restored: bool) -> Receipt {
    let evaluated = prompt - found;
    let appended = prompt - alike;
    assert_eq!(r.miss.is_some(), evaluated > appended, "{r:?}");
    let mut want = facts(r);
    (want.evaluated, want.appended) = (evaluated, appended);
    (want.kept, want.restored) = match restored {
        true => (0, found),
        false => (found, 0),
    };
    want.context = prompt + want.generated - want.pending;
    want
}

#[test]
fn a_message_instead_of_one_that_was_taken_back_costs_itself_on_every_class() {
    for class in Class::ALL {
        let (_, _, plain) = talked(class, &["Hello there.", "Something else."]);
        let (desk, receipts, other) = talked(class, &["Hello there.", "And then?"]);
        let (_engine, mut talk) = open(&desk, "work");
        // The other message is in the slot, as it is in the process that read it.
        say(&mut talk, "More.");
        assert_eq!(talk.undo(2).expect("an undo").text, "And then?");
        let cut = Stored::of(&desk, "work");
        let r = say(&mut talk, "Something else.").receipt().clone();

        let after = Stored::of(&desk, "work");
        let prompt = r.prompt();
        assert_eq!(after.ledger[..prompt], plain.ledger[..prompt], "{class:?}");
        assert_eq!(after.ledger[..cut.ledger.len()], cut.ledger, "{class:?}");
        let alike = common_prefix(&other.ledger, &after.ledger[..prompt]);
        // The state after the first turn is not in this process: dense memory is cut, and others go
        // back to the nearest that is kept.
        assert_eq!(
            facts(&r),
            expected(&r, prompt, r.kept + r.restored, alike, r.restored > 0)
        );
        match class {
            Class::Dense => assert_eq!((r.kept, r.evaluated), (alike, r.appended)),
            _ => assert!(r.kept + r.restored <= alike, "{class:?}: {r:?}"),
        }
        assert!(r.kept + r.restored <= alike && alike > receipts[0].context);
        Reader::of(&desk).render(&after);
    }
}

#[test]
fn an_undo_in_the_same_process_evaluates_nothing_before_the_boundary_on_every_class() {
    for class in Class::ALL {
        let (_, _, plain) = talked(class, &["Hello there.", "Something else."]);
        let mut desk = Desk::new(class, None);
        desk.system = Some("You are brief.".to_owned());
        let (_engine, mut talk) = open(&desk, "work");
        let first = say(&mut talk, "Hello there.").receipt().clone();
        say(&mut talk, "And then?");
        let other = Stored::of(&desk, "work");
        talk.undo(1).expect("an undo");
        let said = say(&mut talk, "Something else.");
        let r = said.receipt();
        let after = Stored::of(&desk, "work");
        let prompt = r.prompt();
        assert_eq!(after.ledger[..prompt], plain.ledger[..prompt], "{class:?}");
        let alike = common_prefix(&other.ledger, &after.ledger[..prompt]);
        // The marks before a user's text are the same in both messages. Where the memory cannot be
        // cut after them, they are read again, and this is said.
        let cuttable = matches!(class, Class::Dense | Class::Swa);
        let found = if cuttable { alike } else { first.context };
        assert_eq!(
            facts(r),
            expected(r, prompt, found, alike, false),
            "{class:?}"
        );
        let reason = r.miss.as_ref().map(|m| (m.at, m.message, m.reason.clone()));
        let why = format!(
            "message 2 (user): what stood here was taken back by undo; this model's memory cannot be \
             cut there, and the nearest kept state is at token {found}"
        );
        assert_eq!(
            reason,
            (!cuttable).then_some((alike, Some(2), why)),
            "{class:?}"
        );
        if !cuttable {
            // The same boundaries, so the same logits and the same reply.
            assert_eq!(after.ledger, plain.ledger, "{class:?}");
        }
        Reader::of(&desk).render(&after);
    }
}

/// Takes the last turn back in a process of its own, without a model.
fn undo_stored(desk: &Desk, turns: usize) -> npast::agent::UndoneTurns {
    let mut db = npast::session::Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let row = db.find("work").expect("a query").expect("a session");
    npast::agent::undo(&mut db, &row, turns).expect("an undo")
}

#[test]
fn after_a_restart_what_is_kept_before_the_cut_is_restored_on_every_class() {
    for class in Class::ALL {
        let (_, _, plain) = talked(class, &["Hello there.", "Something else."]);
        let (desk, receipts, other) = talked(class, &["Hello there.", "And then?"]);
        let taken = undo_stored(&desk, 1);
        assert_eq!(
            (taken.turns, taken.messages, taken.text.as_str()),
            (1, 2, "And then?")
        );
        let (_engine, mut talk) = open(&desk, "work");
        let said = say(&mut talk, "Something else.");
        let r = said.receipt();
        let after = Stored::of(&desk, "work");
        let prompt = r.prompt();
        assert_eq!(after.ledger[..prompt], plain.ledger[..prompt], "{class:?}");
        let boundary = receipts[0].context;
        let alike = common_prefix(&other.ledger, &after.ledger[..prompt]);
        match class {
            // The first rows of the other message's segment are the marks that both begin with.
            Class::Dense => assert_eq!((r.kept, r.restored), (0, alike)),
            // A state is kept at some boundary before; nothing before it is evaluated.
            _ => assert!(
                r.kept == 0 && r.restored > 0 && r.restored <= boundary,
                "{r:?}"
            ),
        }
        assert_eq!(r.evaluated, prompt - r.restored, "{class:?}");
        assert_eq!(r.appended, prompt - alike, "{class:?}");
        assert_eq!(
            r.miss.is_some(),
            r.evaluated > r.appended,
            "{class:?}: {r:?}"
        );
        Reader::of(&desk).render(&after);
    }
}

#[test]
fn what_was_taken_back_is_put_back_as_it_was_and_the_conversation_goes_on() {
    for class in Class::ALL {
        let (_, _, plain) = talked(class, &["One.", "Two.", "Three."]);
        let (desk, _, before) = talked(class, &["One.", "Two."]);
        let (_engine, mut talk) = open(&desk, "work");
        talk.undo(1).expect("an undo");
        talk.undo(1).expect("another");
        let error = talk.undo(1).expect_err("nothing is left");
        assert_eq!(error.to_string(), "session work has no turn to take back");
        assert_eq!(Stored::of(&desk, "work").messages, []);
        talk.redo(None).expect("a redo");
        talk.redo(None).expect("another");
        let error = talk.redo(None).expect_err("nothing is left");
        assert_eq!((error.exit(), error.kind()), (2, "input"));
        let after = Stored::of(&desk, "work");
        assert_eq!(
            (&after.ledger, after.pending),
            (&before.ledger, before.pending)
        );
        assert_eq!(after.messages, before.messages, "{class:?}");
        let said = say(&mut talk, "Three.");
        let r = said.receipt();
        assert_eq!(
            (r.evaluated, r.miss.as_ref()),
            (r.appended, None),
            "{class:?}"
        );
        assert_eq!(Stored::of(&desk, "work").ledger, plain.ledger, "{class:?}");
    }
}

#[test]
fn all_can_be_taken_back_and_the_session_begins_again_with_its_head() {
    for class in Class::ALL {
        let (_, _, plain) = talked(class, &["Three."]);
        let (desk, ..) = talked(class, &["One.", "Two."]);
        assert_eq!(undo_stored(&desk, 2).messages, 4);
        let (_engine, mut talk) = open(&desk, "work");
        let said = say(&mut talk, "Three.");
        assert!(said.receipt().restored > 0, "{class:?}: the head is stored");
        // The marks that both messages begin with were decoded before.
        let reason = said.receipt().miss.as_ref().map(|m| m.reason.as_str());
        match class {
            Class::Dense => assert_eq!(reason, None),
            _ => assert!(
                reason.is_some_and(|r| r.contains("what stood here was taken back by undo; this")),
                "{class:?}: {reason:?}"
            ),
        }
        let after = Stored::of(&desk, "work");
        let prompt = said.receipt().prompt();
        assert_eq!(after.ledger[..prompt], plain.ledger[..prompt], "{class:?}");
    }
}

#[test]
fn more_than_there_is_cannot_be_taken_back_and_nothing_changes() {
    let (desk, _, before) = talked(Class::Dense, &["One."]);
    let (_engine, mut talk) = open(&desk, "work");
    let mut refused = |turns: usize| {
        let error = talk.undo(turns).expect_err("a refusal");
        (
            error.to_string(),
            error.hint().unwrap_or_default(),
            error.exit(),
        )
    };
    let table = [
        (
            2,
            "2 turns cannot be taken back: session work has 1 turn",
            "give a smaller number",
        ),
        (
            0,
            "0 turns to take back",
            "give how many, or nothing for the last one",
        ),
    ];
    for (turns, message, hint) in table {
        assert_eq!(refused(turns), (message.to_owned(), hint.to_owned(), 2));
    }
    assert_eq!(Stored::of(&desk, "work").messages, before.messages);
    assert_eq!(branches(&desk, "work"), []);
}

/// A thinking template whose history the policy rewrites: where the last reply ends in the ledger is
/// not where it ended when it was said.
#[test]
fn a_rewritten_history_is_cut_where_it_still_stands_and_rendered_anew() {
    let path = tiny_model(
        Class::Dense,
        &Options {
            chat_template: Some(THINKER),
            ..Options::default()
        },
    );
    let thought = r#"{"reasoning": "I think about it for a while.", "content": "Yes."}"#;
    let cut_short = thought.replace("Yes.\"", "Yes.\", \"finish\": \"interrupted\"");
    for first in [thought, &cut_short] {
        let mut desk = Desk::with_model(&path);
        desk.policy = npast::agent::Policy::Template;
        let said = |talk: &mut Talk, words: &str, reply: &str| {
            let script = npast::chat::ReplyScript::read(reply.as_bytes()).expect("a script");
            let input = npast::agent::Input::Text(words.to_owned());
            talk.turn(input, &Default::default(), Some(&script))
                .expect("a turn")
        };
        let (engine, mut talk) = open(&desk, "plain");
        said(&mut talk, "One?", first);
        said(&mut talk, "Three?", thought);
        drop((talk, engine));
        let plain = Stored::of(&desk, "plain");
        let (engine, mut talk) = open(&desk, "work");
        said(&mut talk, "One?", first);
        let one = Stored::of(&desk, "work");
        said(&mut talk, "Two?", thought);
        talk.undo(1).expect("an undo");
        drop((talk, engine));
        // Half of its tokens are not read as the reply.
        let (_engine, mut talk) = open(&desk, "work");
        let cut = Stored::of(&desk, "work");
        assert_eq!(cut.reply(), one.reply());
        assert_eq!(cut.last().0.span, None);
        assert!(!talk.info().unfinished, "there is nothing to go on with");
        said(&mut talk, "Three?", thought);
        let after = Stored::of(&desk, "work");
        assert_eq!(after.ledger, plain.ledger);
        assert_eq!(after.outline(), plain.outline());
        assert_eq!(branches(&desk, "work")[0].why, Why::Undo);
    }
}
