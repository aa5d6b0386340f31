//! Law 8: side work runs on a fork; sequence 0's tokens and next logits are bit-equal before and
//! after.

use npast::slot::{Base, SlotError};

use crate::model::Class;
use crate::rig::{Rig, cost, tokens};

#[test]
fn a_fork_of_60_tokens_leaves_tokens_and_next_logits_as_they_were_on_every_class() {
    for class in Class::ALL {
        for main in [true, false] {
            let prompt = tokens(1, 500);
            let said = tokens(2, 4);
            let mut next = [&prompt[..], &said].concat();
            next.extend(tokens(3, 30));
            let more = tokens(4, 40);

            let mut plain = Rig::new(class, None);
            plain.say(&prompt, &said);
            let (_, expected) = plain.say(&next, &more);

            let mut forked = Rig::new(class, None);
            let mark = forked.say(&prompt, &said).0.mark;
            let base = match main {
                true => Base::Main(mark),
                false => Base::Nothing,
            };
            let before = forked.held();
            let (side, rows) = forked.fork(base, &tokens(5, 21), &tokens(6, 60));
            assert_eq!(rows.len(), 60);
            assert_eq!(side.evaluated, 21);
            // Nothing is left on scratch: the same again gives the same again.
            let (side, again) = forked.fork(base, &tokens(5, 21), &tokens(6, 60));
            assert!(side.error.is_none(), "{class:?}: {:?}", side.error);
            assert!(again == rows, "{class:?}, {base:?}");
            assert_eq!(forked.held(), before);
            let (outcome, seen) = forked.say(&next, &more);
            assert_eq!(cost(&outcome), (503, 0, 31, 31, false), "{class:?}");
            assert!(seen == expected, "{class:?}, {base:?}");
        }
    }
}

/// An instruction, what the model writes, a result, and what it writes then: each is evaluated once.
#[test]
fn side_work_goes_on_from_what_scratch_keeps_and_the_conversation_is_as_it_was_on_every_class() {
    for class in Class::ALL {
        for main in [true, false] {
            let (prompt, said) = (tokens(1, 500), tokens(2, 4));
            let next = [&prompt[..], &said, &tokens(3, 30)].concat();
            let more = tokens(4, 40);
            let mut plain = Rig::new(class, None);
            plain.say(&prompt, &said);
            let (_, expected) = plain.say(&next, &more);

            let mut rig = Rig::new(class, None);
            let mark = rig.say(&prompt, &said).0.mark;
            let (base, start) = match main {
                true => (Base::Main(mark), mark.len()),
                false => (Base::Nothing, 0),
            };
            let (first, _) = rig.try_fork(base, true, &tokens(5, 21), &tokens(6, 10));
            let first = first.expect("a fork");
            // The last token of the reply waits to be decoded, as in a conversation.
            assert_eq!((first.kept, first.evaluated, first.pending), (start, 21, 1));
            assert_eq!(first.mark.len(), start + 21 + 9, "{class:?}");
            let result = [&tokens(6, 10)[9..], &tokens(7, 13)].concat();
            let base = Base::Side(first.mark);
            let (second, rows) = rig.try_fork(base, true, &result, &tokens(8, 6));
            let second = second.expect("more of it");
            assert_eq!(
                (second.kept, second.evaluated),
                (start + 30, 14),
                "{class:?}"
            );
            assert_eq!(second.appended, 14);

            // The same in one piece, token by token where it was sampled: the same rows.
            let whole = [&tokens(6, 10)[..], &tokens(7, 13), &tokens(8, 6)].concat();
            let base = match main {
                true => Base::Main(mark),
                false => Base::Nothing,
            };
            let (_, all) = rig.fork(base, &tokens(5, 21), &whole);
            let best = |row: &Vec<u32>| {
                let row = row.iter().map(|bits| f32::from_bits(*bits));
                row.enumerate()
                    .max_by(|a, b| a.1.total_cmp(&b.1))
                    .map(|m| m.0)
            };
            let last = rows.iter().map(best).collect::<Vec<_>>();
            let same = all[all.len() - rows.len()..].iter().map(best);
            assert_eq!(last, same.collect::<Vec<_>>(), "{class:?}");

            // What it continued was dropped when it was not kept.
            let (gone, _) = rig.try_fork(Base::Side(second.mark), false, &result, &tokens(8, 6));
            assert!(matches!(gone, Err(SlotError::Moved)), "{class:?}: {gone:?}");
            let (outcome, seen) = rig.say(&next, &more);
            assert_eq!(cost(&outcome), (503, 0, 31, 31, false), "{class:?}");
            assert!(seen == expected, "{class:?}, {base:?}");
        }
    }
}

#[test]
fn the_conversations_next_call_drops_side_work_that_is_kept_and_what_moved_on_is_not_continued() {
    for class in Class::ALL {
        let (prompt, said) = (tokens(1, 300), tokens(2, 4));
        let next = [&prompt[..], &said, &tokens(3, 30)].concat();
        let more = tokens(4, 8);
        let mut plain = Rig::new(class, None);
        plain.say(&prompt, &said);
        let (_, expected) = plain.say(&next, &more);

        let mut rig = Rig::new(class, None);
        let mark = rig.say(&prompt, &said).0.mark;
        let (side, _) = rig.try_fork(Base::Main(mark), true, &tokens(5, 21), &tokens(6, 10));
        let side = side.expect("a fork");
        let (outcome, seen) = rig.say(&next, &more);
        assert_eq!(cost(&outcome), (303, 0, 31, 31, false), "{class:?}");
        assert!(seen == expected, "{class:?}");
        let held = rig.held();
        for base in [Base::Side(side.mark), Base::Main(mark)] {
            let (refused, _) = rig.try_fork(base, false, &tokens(7, 5), &tokens(8, 3));
            assert!(
                matches!(refused, Err(SlotError::Moved)),
                "{class:?}, {base:?}"
            );
        }
        assert_eq!(rig.held(), held);
    }
}
