//! Another reply to the same prompt: nothing is evaluated, another seed draws it, and the reply
//! before it is kept.

use npast::agent::{Input, Receipt, TurnOptions};
use npast::chat::ReplyScript;
use npast::ledger::Finish;
use npast::llama::Sampling;
use npast::service::Service;
use npast::session::{MessageState, Why};
use npast::slot::{CallKind, Cause};

use crate::model::Class;
use crate::rig::{Rig, cost, tokens};
use crate::talk::{Desk, Said, Talk, branches, greedy};
use crate::witness::{Reader, Stored};

pub fn open(desk: &Desk, name: &str) -> (Service, Talk) {
    let service = desk.service().expect("a service");
    let talk = Talk::open(&service, desk, name).expect("a session");
    (service, talk)
}

pub fn say(talk: &mut Talk, words: &str) -> Said {
    let input = Input::Text(words.to_owned());
    talk.turn(input, &greedy(24), None).expect("a turn")
}

pub fn retry(talk: &mut Talk, options: &TurnOptions, script: Option<&str>) -> Said {
    let script = script.map(|text| ReplyScript::read(text.as_bytes()).expect("a script"));
    let said = talk.retry(options, script.as_ref());
    said.expect("another reply")
}

/// What a receipt says but its number and its times.
pub fn facts(r: &Receipt) -> Receipt {
    Receipt {
        call: 0,
        ms: Default::default(),
        restored_bytes: 0,
        saved_bytes: 0,
        snapshot_bytes: 0,
        ..r.clone()
    }
}

/// The receipt of a reply for which nothing was evaluated.
fn free(prompt: usize, restored: bool, generated: usize) -> Receipt {
    let (kept, restored) = match restored {
        true => (0, prompt),
        false => (prompt, 0),
    };
    Receipt {
        kind: CallKind::Turn,
        job: None,
        call: 0,
        context: prompt + generated - 1,
        kept,
        shifted: 0,
        approximate: false,
        restored,
        evaluated: 0,
        appended: 0,
        generated,
        pending: 1,
        finish: Finish::Length,
        pruned: None,
        miss: None,
        restored_bytes: 0,
        saved_bytes: 0,
        snapshot_bytes: 0,
        ms: Default::default(),
    }
}

#[test]
fn another_reply_in_the_same_process_evaluates_nothing_on_every_class() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let (_engine, mut talk) = open(&desk, "work");
        say(&mut talk, "Hello there.");
        let said = say(&mut talk, "And then?");
        let before = Stored::of(&desk, "work");
        let prompt = said.receipt().prompt();
        for _ in 0..3 {
            let again = retry(&mut talk, &greedy(24), None);
            assert_eq!(facts(again.receipt()), free(prompt, false, 24), "{class:?}");
            // Greedy: the same prompt and the same logits give the same reply.
            assert_eq!(again.text, said.text, "{class:?}");
        }
        let after = Stored::of(&desk, "work");
        assert_eq!(after.ledger, before.ledger, "{class:?}");
        assert_eq!(after.outline(), before.outline(), "{class:?}");
        let left = branches(&desk, "work");
        assert_eq!(left.len(), 3, "{class:?}: each reply is kept");
        assert!(left.iter().all(|b| b.why == Why::Retry && b.at == prompt));
        // It goes on as after any reply.
        let next = say(&mut talk, "Third.").receipt().clone();
        assert_eq!(
            (next.evaluated, next.miss),
            (next.appended, None),
            "{class:?}"
        );
        Reader::of(&desk).render(&Stored::of(&desk, "work"));
    }
}

/// The reply that is sampled again is cut where it is still the one before it: the token that waits
/// to be decoded was decoded on the way that retry left.
#[test]
fn a_reply_sampled_again_that_is_cut_and_goes_on_says_no_token_of_the_one_before_it_is_new() {
    for class in Class::ALL {
        for restart in [false, true] {
            let desk = Desk::new(class, None);
            let (mut engine, mut talk) = open(&desk, "work");
            let said = say(&mut talk, "Hello there.");
            let prompt = said.receipt().prompt();
            retry(&mut talk, &greedy(4), None);
            if restart {
                talk.close().expect("a close");
                drop(engine);
                (engine, talk) = open(&desk, "work");
            }
            let more = talk.turn(Input::Continue, &greedy(4), None);
            let more = more.expect("the reply goes on").receipt().clone();
            assert_eq!(more.prompt(), prompt + 4, "{class:?}: {more:?}");
            assert_eq!(more.appended, 0, "{class:?}, restart {restart}: {more:?}");
            if let Some(miss) = &more.miss {
                assert!(miss.reason.contains("before retry"), "{miss:?}");
            }
            assert_eq!(
                more.miss.is_some(),
                more.evaluated > 0,
                "{class:?}: {more:?}"
            );
            talk.close().expect("a close");
            drop(engine);
        }
    }
}

#[test]
fn another_reply_after_a_restart_evaluates_nothing_where_the_prompt_ended_at_something_stored() {
    let desk = Desk::new(Class::Dense, None);
    let (engine, mut talk) = open(&desk, "work");
    say(&mut talk, "Hello there.");
    let said = say(&mut talk, "And then?");
    talk.close().expect("a close");
    drop(engine);
    for _ in 0..2 {
        let (_engine, mut talk) = open(&desk, "work");
        let again = retry(&mut talk, &greedy(24), None);
        let prompt = said.receipt().prompt();
        assert_eq!(facts(again.receipt()), free(prompt, true, 24));
        assert_eq!(again.text, said.text);
        talk.close().expect("a close");
    }
}

#[test]
fn a_stored_prompt_is_sampled_again_after_a_restart_for_nothing_on_every_class() {
    for class in Class::ALL {
        let mut plain = Rig::new(class, None);
        let (prompt, reply) = (tokens(1, 300), tokens(2, 9));
        plain.rewind(&prompt);
        let (_, rows) = plain.say(&prompt, &reply);

        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        // Where a state cannot be cut, the one at a prompt's end is stored when nothing followed.
        match class {
            Class::Dense => drop(rig.say(&prompt, &reply)),
            _ => drop(rig.rewind(&prompt)),
        }
        let (again, seen) = rig.restart().say(&prompt, &reply);
        assert_eq!(cost(&again), (0, 300, 0, 0, false), "{class:?}");
        assert!(seen == rows, "{class:?}");
    }
}

/// Another conversation was in the slot meanwhile, and rows in RAM are another process's.
#[test]
fn a_reply_to_a_prompt_that_is_resident_takes_its_row_from_disk() {
    let home = tempfile::tempdir().expect("a folder");
    let mut rig = Rig::new(Class::Dense, Some(home.path()));
    let (prompt, reply) = (tokens(1, 300), tokens(2, 9));
    let (_, rows) = rig.say(&prompt, &reply);
    let mut rig = rig.restart();
    rig.rewind(&[&prompt[..], &reply[..8]].concat());
    let (again, seen) = rig.say(&prompt, &reply);
    assert_eq!(cost(&again), (300, 0, 0, 0, false));
    assert!(seen == rows);
}

#[test]
fn another_reply_stores_no_more_than_itself() {
    for class in [Class::Dense, Class::Hybrid] {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        let prompt = tokens(1, 600);
        let (first, _) = rig.say(&prompt, &tokens(2, 9));
        let (again, _) = rig.say(&prompt, &tokens(3, 9));
        let (third, _) = rig.say(&prompt, &tokens(4, 9));
        assert_eq!(again.saved_bytes, third.saved_bytes, "{class:?}");
        // Eight tokens' KV, and where the state cannot be cut its snapshot.
        assert!(again.saved_bytes * 4 < first.saved_bytes, "{class:?}");
    }
}

#[test]
fn another_try_draws_from_another_seed_also_after_a_restart() {
    let drawn = TurnOptions {
        sampling: Sampling::default(),
        max_tokens: Some(24),
        stop: Vec::new(),
        ..TurnOptions::default()
    };
    let texts = |restart: bool| {
        let desk = Desk::new(Class::Dense, None);
        let (mut engine, mut talk) = open(&desk, "work");
        let hello = Input::Text("Hello.".to_owned());
        let said = talk.turn(hello, &drawn, None).expect("a turn");
        let mut texts = vec![said.text];
        for _ in 0..3 {
            if restart {
                talk.close().expect("a close");
                drop(engine);
                (engine, talk) = open(&desk, "work");
            }
            texts.push(retry(&mut talk, &drawn, None).text);
        }
        drop((talk, engine));
        texts
    };
    let stayed = texts(false);
    for (i, text) in stayed.iter().enumerate() {
        assert!(!stayed[..i].contains(text), "{stayed:?}");
    }
    assert_eq!(texts(true), stayed);
}

#[test]
fn a_try_that_is_stopped_before_its_first_token_leaves_the_reply_as_it_was() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let (_engine, mut talk) = open(&desk, "work");
        say(&mut talk, "Hello there.");
        let before = Stored::of(&desk, "work");
        let nothing = r#"{"text":"","finish":"interrupted"}"#;
        let said = retry(&mut talk, &greedy(24), Some(nothing));
        assert_eq!(said.notices, ["the reply before was put back"], "{class:?}");
        let after = Stored::of(&desk, "work");
        assert_eq!(after.ledger, before.ledger, "{class:?}");
        assert_eq!(after.messages, before.messages, "{class:?}");
        assert_eq!(after.pending, before.pending, "{class:?}");
        let next = say(&mut talk, "Go on.").receipt().clone();
        assert!(
            next.evaluated >= next.appended.min(1),
            "{class:?}: {next:?}"
        );
        Reader::of(&desk).render(&Stored::of(&desk, "work"));
    }
}

#[test]
fn a_crash_between_the_cut_and_the_reply_leaves_a_message_to_be_answered() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let (engine, mut talk) = open(&desk, "work");
        let said = say(&mut talk, "Hello there.");
        // What the disk has at that moment: the cut, and nothing else.
        let db = desk.home.join("npast.db");
        let mut npast = npast::session::Db::open(&db).expect("npast.db");
        let row = npast.find("work").expect("a query").expect("a session");
        let messages = npast.messages(row.id).expect("messages");
        let mut unit = npast.begin(row.id).expect("a unit");
        let cut = npast::session::CutPoint {
            after: Some(messages[0].id),
            at: said.receipt().prompt(),
            pending: 0,
        };
        unit.abandon(cut, Why::Retry).expect("a cut");
        unit.set_state(messages[0].id, MessageState::Open)
            .expect("open");
        unit.commit().expect("a commit");
        drop((talk, engine));
        let (_engine, mut talk) = open(&desk, "work");
        assert_eq!(talk.info().open_message.as_deref(), Some("Hello there."));
        let again = talk.turn(Input::Open, &greedy(24), None).expect("a turn");
        assert_eq!(again.text, said.text, "{class:?}");
        // All of the prompt was decoded. Where its end is no state that is kept, it is read again.
        let r = again.receipt();
        assert_eq!(r.appended, 0, "{class:?}: {r:?}");
        let reason = r.miss.as_ref().map(|m| m.reason.as_str());
        match class {
            Class::Dense => assert_eq!((r.evaluated, reason), (0, None)),
            _ => assert!(
                reason.is_some_and(|r| r.contains("memory cannot be cut")),
                "{class:?}: {r:?}"
            ),
        }
    }
}

#[test]
fn there_must_be_a_reply_to_be_sampled_again() {
    let desk = Desk::new(Class::Dense, None);
    let (_engine, mut talk) = open(&desk, "work");
    let asked = talk.retry(&greedy(5), None);
    let error = asked.err().expect("a refusal");
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("there is no reply to sample again", 2)
    );
    assert_eq!(error.hint().as_deref(), Some("say something first"));
}

#[test]
fn a_row_that_is_not_kept_is_read_again_and_said() {
    let mut rig = Rig::new(Class::Dense, None);
    rig.say(&tokens(1, 200), &tokens(2, 5));
    // No prompt ended here.
    let (again, _) = rig.say(&tokens(1, 150), &tokens(3, 5));
    let miss = again.miss.clone().expect("a miss");
    assert_eq!((miss.at, miss.cause), (149, Cause::Row));
    assert_eq!(cost(&again), (149, 0, 1, 0, true));
}
