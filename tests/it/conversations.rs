//! The main job: a conversation over several processes, each of which evaluates only what is new.

use npast::agent::Input;
use npast::ledger::Finish;

use crate::model::Class;
use crate::talk::{Desk, greedy, turn};

#[test]
fn four_turns_in_four_processes_evaluate_only_what_is_new_on_every_class() {
    for class in Class::ALL {
        let mut desk = Desk::new(class, None);
        desk.system = Some("You are brief.".to_owned());
        let mut context = 0;
        for (i, words) in ["Hello there.", "And then?\n\n", "Third", "Fourth one"]
            .iter()
            .enumerate()
        {
            let said = desk
                .turn("work", Input::Text((*words).to_owned()), &greedy(20), None)
                .expect("a turn");
            let r = said.receipt();
            assert_eq!(r.finish, Finish::Length);
            assert_eq!(r.evaluated, r.appended, "{class:?} {r:?}");
            assert_eq!(r.miss, None, "{class:?}");
            assert_eq!(r.kept + r.restored, context, "{class:?} turn {i}");
            context = r.context;
            assert_eq!(
                said.info.as_ref().map(|i| i.context),
                Some(context + r.pending)
            );
        }
    }
}

#[test]
fn a_reply_that_is_stopped_and_continued_reads_its_pending_token_only() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let engine = desk.engine().expect("an engine");
        let mut talk = engine
            .conversation(
                npast::agent::WhichSession::Named("c".to_owned()),
                desk.new_session(),
            )
            .expect("a conversation");
        let stop = |event: &npast::agent::Event| matches!(event, npast::agent::Event::Text { .. });
        let said = turn(
            &mut talk,
            Input::Text("Go on.".to_owned()),
            &greedy(4000),
            None,
            &stop,
        )
        .expect("a turn");
        let cut = said.receipt().clone();
        assert_eq!(
            (cut.finish, cut.pending),
            (Finish::Interrupted, 1),
            "{class:?}"
        );
        let said = turn(&mut talk, Input::Continue, &greedy(20), None, &|_| false).expect("a turn");
        let r = said.receipt();
        assert_eq!(
            (r.kept, r.evaluated, r.appended),
            (cut.context, 1, 1),
            "{class:?}"
        );
        assert_eq!(r.miss, None);
    }
}

#[test]
fn a_session_that_was_started_for_a_refused_input_leaves_nothing_behind() {
    let desk = Desk::new(Class::Dense, None);
    let long = "word ".repeat(desk.limit);
    let refused = desk.turn("new", Input::Text(long), &greedy(5), None);
    let error = refused.err().expect("a refusal");
    assert_eq!((error.kind(), error.exit()), ("too_long", 2), "{error}");
    let db = npast::session::Db::open(&desk.home.join("npast.db")).expect("a database");
    assert!(db.list().expect("a list").is_empty());
}

#[test]
fn a_model_of_an_unknown_architecture_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.gguf");
    let bytes = std::fs::read(Desk::new(Class::Hybrid, None).model).expect("a model");
    let (known, unknown) = (b"qwen35", b"qwenXX");
    let mut at = 0;
    let mut bytes = bytes;
    while at + known.len() <= bytes.len() {
        if &bytes[at..at + known.len()] == known {
            bytes[at..at + known.len()].copy_from_slice(unknown);
        }
        at += 1;
    }
    std::fs::write(&path, bytes).expect("a file");
    let error = Desk::with_model(&path).engine().err().expect("a refusal");
    assert!(
        error
            .to_string()
            .contains("unknown model architecture: 'qwenXX'"),
        "{error}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("architecture"))
    );
}
