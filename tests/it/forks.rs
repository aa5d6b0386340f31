//! Law 8: side work runs on a fork; sequence 0's tokens and next logits are bit-equal before and
//! after.

use crate::model::Class;
use crate::rig::{Rig, cost, tokens};

#[test]
fn a_fork_of_60_tokens_leaves_tokens_and_next_logits_as_they_were_on_every_class() {
    for class in Class::ALL {
        for after_main in [true, false] {
            let prompt = tokens(1, 500);
            let said = tokens(2, 4);
            let mut next = [&prompt[..], &said].concat();
            next.extend(tokens(3, 30));
            let more = tokens(4, 40);

            let mut plain = Rig::new(class, None);
            plain.say(&prompt, &said);
            let (_, expected) = plain.say(&next, &more);

            let mut forked = Rig::new(class, None);
            forked.say(&prompt, &said);
            let before = forked.held();
            let (side, rows) = forked.fork(after_main, &tokens(5, 21), &tokens(6, 60));
            assert_eq!(rows.len(), 60);
            assert_eq!(side.evaluated, 21);
            // Nothing is left on scratch: the same again gives the same again.
            let (side, again) = forked.fork(after_main, &tokens(5, 21), &tokens(6, 60));
            assert!(side.error.is_none(), "{class:?}: {:?}", side.error);
            assert!(again == rows, "{class:?}, after_main {after_main}");
            assert_eq!(forked.held(), before);
            let (outcome, seen) = forked.say(&next, &more);
            assert_eq!(cost(&outcome), (503, 0, 31, 31, false), "{class:?}");
            assert!(seen == expected, "{class:?}, after_main {after_main}");
        }
    }
}
