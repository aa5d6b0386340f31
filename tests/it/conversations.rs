//! The main job: a conversation over several processes, each of which evaluates only what is new.

use npast::agent::Input;
use npast::ledger::Finish;

use crate::model::Class;
use crate::talk::{Desk, greedy};

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
