//! Forks: a session that begins with what another one has, shares its KV, and goes its own way.

use npast::kv::{KvFolder, StoreLimits};
use npast::session::Db;

use crate::model::Class;
use crate::retries::{facts, open, retry, say};
use crate::talk::{Desk, Talk, greedy};
use crate::witness::{Reader, Stored, delete_kv};

fn desk(class: Class) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    desk
}

/// What `npast sessions fork` does, without a model.
fn fork(desk: &Desk, name: &str, keep: Option<usize>) {
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let row = db.find("work").expect("a query").expect("a session");
    let child = npast::agent::fork(&db, &row, Some(name), keep).expect("a fork");
    let folder = KvFolder::open(&desk.home.join("kv"), StoreLimits::default()).expect("the folder");
    let decoded = child.forked.expect("a fork") - db.pending(child.id).expect("a session");
    let ledger = db.ledger(row.id).expect("a ledger");
    let owner = npast::agent::kv_owner(child.id);
    let folder = folder.expect("a folder");
    folder.hold(&owner, &ledger, decoded).expect("a hold");
}

#[test]
fn the_first_turn_of_a_fork_costs_its_own_tokens_in_the_same_process_and_after_a_restart() {
    for class in Class::ALL {
        for restart in [false, true] {
            let what = format!("{class:?}, restart {restart}");
            let plain = desk(class);
            let (_engine, mut talk) = open(&plain, "work");
            say(&mut talk, "One.");
            let two = say(&mut talk, "Two.").receipt().clone();
            let three = say(&mut talk, "Three.").receipt().clone();
            let plain = Stored::of(&plain, "work");

            let desk = desk(class);
            let (mut engine, mut talk) = open(&desk, "work");
            say(&mut talk, "One.");
            say(&mut talk, "Two.");
            let parent = Stored::of(&desk, "work");
            if restart {
                talk.close().expect("a close");
                drop(engine);
                fork(&desk, "aside", None);
                (engine, talk) = open(&desk, "aside");
            } else {
                let child = talk.fork(Some("aside"), None).expect("a fork");
                assert_eq!(child.forked, Some(parent.ledger.len()));
                talk.close().expect("a close");
                talk = Talk::open(&engine, &desk, "aside").expect("a session");
            }
            let said = say(&mut talk, "Three.");
            let mut want = facts(&three);
            if restart {
                (want.kept, want.restored) = (0, two.context);
            }
            assert_eq!(facts(said.receipt()), want, "{what}");
            // The same tokens as a conversation that was never forked, the reply included.
            let child = Stored::of(&desk, "aside");
            assert_eq!(child.ledger, plain.ledger, "{what}");
            assert_eq!(child.outline(), plain.outline(), "{what}");
            assert_eq!(Stored::of(&desk, "work").ledger, parent.ledger, "{what}");
            Reader::of(&desk).render(&child);
            drop((talk, engine));
        }
    }
}

#[test]
fn what_a_fork_needs_is_kept_when_its_parent_goes_on_and_the_rest_is_collected() {
    for class in Class::ALL {
        let desk = desk(class);
        let (engine, mut talk) = open(&desk, "work");
        say(&mut talk, "One.");
        let two = say(&mut talk, "Two.").receipt().clone();
        talk.close().expect("a close");
        drop(engine);
        fork(&desk, "aside", None);
        // The parent's next turn replaces its last snapshot; it is the fork's too.
        let (engine, mut talk) = open(&desk, "work");
        say(&mut talk, "Three.");
        talk.close().expect("a close");
        drop(engine);
        let kv = KvFolder::open(&desk.home.join("kv"), StoreLimits::default()).expect("the folder");
        let kv = kv.expect("a folder");
        kv.collect().expect("a collection");
        drop(kv);
        let (engine, mut talk) = open(&desk, "aside");
        let r = say(&mut talk, "Other.").receipt().clone();
        assert_eq!(
            (r.kept, r.restored),
            (0, r.prompt() - r.evaluated),
            "{class:?}"
        );
        assert!(r.restored >= two.context, "{class:?}: {r:?}");
        assert_eq!(r.miss, None, "{class:?}");
        assert!(r.evaluated <= r.appended, "{class:?}: {r:?}");
        drop((talk, engine));
    }
}

#[test]
fn a_fork_of_the_first_turns_goes_on_from_there_on_every_class() {
    for class in Class::ALL {
        for keep in [0, 1] {
            let desk = desk(class);
            let (engine, mut talk) = open(&desk, "work");
            let one = say(&mut talk, "One.").receipt().clone();
            let head = Stored::of(&desk, "work").messages[0]
                .span
                .expect("a span")
                .start;
            say(&mut talk, "Two.");
            let child = talk.fork(Some("aside"), Some(keep)).expect("a fork");
            let boundary = match keep {
                0 => head,
                _ => one.context + 1,
            };
            assert_eq!(child.forked, Some(boundary), "{class:?}");
            talk.close().expect("a close");
            let mut talk = Talk::open(&engine, &desk, "aside").expect("a session");
            let r = say(&mut talk, "Three.").receipt().clone();
            assert_eq!(r.miss, None, "{class:?}, {keep} turns: {r:?}");
            assert!(r.evaluated <= r.appended, "{class:?}: {r:?}");
            let kept = if keep == 0 { head } else { one.context };
            assert!(r.kept + r.restored >= kept, "{class:?}: {r:?}");
            assert_eq!(Stored::of(&desk, "aside").outline().len(), 2 * keep + 2);
            Reader::of(&desk).render(&Stored::of(&desk, "aside"));
        }
    }
}

#[test]
fn a_fork_whose_kv_was_deleted_evaluates_its_tokens_once_and_says_so() {
    let desk = desk(Class::Dense);
    let (engine, mut talk) = open(&desk, "work");
    say(&mut talk, "One.");
    talk.close().expect("a close");
    drop(engine);
    fork(&desk, "aside", None);
    delete_kv(&desk.home);
    let (_engine, mut talk) = open(&desk, "aside");
    let r = say(&mut talk, "Two.").receipt().clone();
    assert_eq!((r.kept, r.restored), (0, 0));
    assert!(r.miss.is_some() && r.evaluated == r.prompt());
    assert_eq!(Stored::of(&desk, "aside").outline()[0].2, "One.");
}

#[test]
fn a_fork_to_a_taken_or_a_bad_name_or_past_the_end_is_refused() {
    let desk = desk(Class::Dense);
    let (_engine, mut talk) = open(&desk, "work");
    say(&mut talk, "One.");
    let mut refused = |name: Option<&str>, keep| {
        let error = talk.fork(name, keep).expect_err("a refusal");
        (error.to_string(), error.exit())
    };
    let table = [
        (
            Some("work"),
            None,
            "a session named \"work\" exists already",
            1,
        ),
        (
            Some("a/b"),
            None,
            "a session name may not contain the separator '/'",
            2,
        ),
        (
            None,
            Some(2),
            "there is no turn 2: session work has 1 turn",
            2,
        ),
    ];
    for (name, keep, message, exit) in table {
        assert_eq!(refused(name, keep), (message.to_owned(), exit));
    }
    let child = talk.fork(None, None).expect("a fork");
    assert_eq!(child.name, "work-2");
}

/// The row at a prompt's end is its owner's, and is replaced at each of its turns.
#[test]
fn a_forks_last_reply_can_be_sampled_again_for_nothing_after_its_parent_went_on() {
    let desk = desk(Class::Dense);
    let (engine, mut talk) = open(&desk, "work");
    let said = say(&mut talk, "One.");
    talk.close().expect("a close");
    drop(engine);
    fork(&desk, "aside", None);
    let (engine, mut talk) = open(&desk, "work");
    say(&mut talk, "Two.");
    talk.close().expect("a close");
    drop(engine);
    let (_engine, mut talk) = open(&desk, "aside");
    let again = retry(&mut talk, &greedy(24), None);
    let r = again.receipt();
    let prompt = said.receipt().prompt();
    assert_eq!(
        (r.kept, r.restored, r.evaluated, r.appended),
        (0, prompt, 0, 0)
    );
    assert_eq!((&again.text, &r.miss), (&said.text, &None));
}
