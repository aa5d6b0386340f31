//! Several sessions in one process: the prefix that they have in common stays in the slot, the rest
//! is put back, and nothing is read twice.

use npast::kv::{KvFolder, StoreLimits, StoredShare as OnDisk};
use npast::ledger::common_prefix;
use npast::service::Service;
use npast::session::Db;

use crate::model::Class;
use crate::retries::{facts, open, say};
use crate::talk::{Desk, Said, Talk};
use crate::witness::Stored;

fn say_in(service: &Service, desk: &Desk, name: &str, words: &str) -> Said {
    let mut talk = Talk::open(service, desk, name).expect("a session");
    let said = say(&mut talk, words);
    talk.close().expect("a close");
    said
}

fn desk(class: Class) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are a very brief helper of few words, and always kind.".to_owned());
    desk
}

#[test]
fn two_sessions_in_turn_keep_what_they_share_and_restore_the_rest_on_every_class() {
    for class in Class::ALL {
        for restart in [false, true] {
            let what = format!("{class:?}, restart {restart}");
            let lone = desk(class);
            let (service, _talk) = open(&lone, "unused");
            for words in ["One.", "Two."] {
                say_in(&service, &lone, "a", words);
            }
            let plain = Stored::of(&lone, "a");
            drop((_talk, service));

            let desk = desk(class);
            let mut service = desk.service().expect("a service");
            let first = say_in(&service, &desk, "a", "One.").receipt().clone();
            let head = Stored::of(&desk, "a").messages[0]
                .span
                .expect("a span")
                .start;
            let other = say_in(&service, &desk, "b", "Other.").receipt().clone();
            assert!(other.kept + other.restored >= head, "{what}: {other:?}");
            assert_eq!(other.miss, None, "{what}");
            if restart {
                drop(service);
                service = desk.service().expect("a service");
            }
            let back = say_in(&service, &desk, "a", "Two.");
            let r = back.receipt();
            let alike = common_prefix(
                &Stored::of(&desk, "a").ledger,
                &Stored::of(&desk, "b").ledger,
            );
            // Positions have KV of their own: what both begin with, up to where a segment ends.
            let kept = match (restart, class) {
                (true, _) | (_, Class::Recurrent) => 0,
                _ => r.kept,
            };
            assert!(
                r.kept <= alike && (kept == 0 || r.kept >= head),
                "{what}: {r:?}"
            );
            let mut want = facts(r);
            (want.kept, want.restored) = (kept, first.context - kept);
            want.evaluated = r.prompt() - first.context;
            want.appended = want.evaluated;
            want.miss = None;
            assert_eq!(facts(r), want, "{what}");
            assert_eq!(Stored::of(&desk, "a").ledger, plain.ledger, "{what}");
            drop(service);
        }
    }
}

#[test]
fn a_list_of_sessions_knows_what_of_each_is_stored_and_shared() {
    for class in Class::ALL {
        let desk = desk(class);
        let service = desk.service().expect("a service");
        let a = say_in(&service, &desk, "a", "One.").receipt().clone();
        let b = say_in(&service, &desk, "b", "Something else.")
            .receipt()
            .clone();
        let mut talk = Talk::open(&service, &desk, "a").expect("a session");
        talk.fork(Some("c"), None).expect("a fork");
        talk.close().expect("a close");
        drop(service);
        let head = Stored::of(&desk, "a").messages[0]
            .span
            .expect("a span")
            .start;
        let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
        let kv = KvFolder::open(&desk.home.join("kv"), StoreLimits::default()).expect("the folder");
        let shelf = kv.expect("a folder").shelf().expect("the index");
        let stored = |name: &str| {
            let row = db.find(name).expect("a query").expect("a session");
            let ledger = db.ledger(row.id).expect("a ledger");
            shelf.stored(&npast::agent::kv_owner(row.id), &ledger)
        };
        let on_disk = |tokens, shared| OnDisk { tokens, shared };
        assert_eq!(stored("a"), on_disk(a.context, a.context), "{class:?}");
        assert_eq!(stored("c"), on_disk(a.context, a.context), "{class:?}");
        assert_eq!(stored("b"), on_disk(b.context, head), "{class:?}");
    }
}

#[test]
fn a_session_that_another_process_has_is_refused_and_the_present_one_goes_on() {
    let desk = desk(Class::Dense);
    let service = desk.service().expect("a service");
    say_in(&service, &desk, "a", "One.");
    let mut held = Talk::open(&service, &desk, "a").expect("a session");
    let another = desk.service().expect("a service");
    let error = Talk::open(&another, &desk, "a").err().expect("a refusal");
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!("the session is in use by process {pid}")
    );
    assert_eq!(say(&mut held, "Two.").receipt().miss, None);
}
