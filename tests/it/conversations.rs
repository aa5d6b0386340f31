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
                npast::agent::Open::Named("c".to_owned()),
                desk.new_session(),
            )
            .expect("a conversation");
        let stop = |event: &npast::agent::Event| matches!(event, npast::agent::Event::Text(_));
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
