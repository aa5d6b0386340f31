//! Cancelled prefills, withdrawn messages, prefixes that differ: what is kept, what is said.

use npast::ledger::Finish;
use npast::slot::Cause;

use crate::model::Class;
use crate::rig::{Rig, UBATCH, cost, tokens};

#[test]
fn a_prefill_that_is_cancelled_half_way_and_sent_again_evaluates_the_second_half_only() {
    for class in Class::ALL {
        let mut rig = Rig::new(class, None);
        // Long enough that the flag is seen well before the end, however the threads run.
        let prompt = tokens(1, 4096);
        let (first, rows) = rig.say_until(&prompt, &tokens(2, 5), 512);
        assert_eq!(first.finish, Finish::Interrupted);
        assert!(rows.is_empty() && first.tokens.is_empty());
        let half = first.evaluated;
        assert!((512..4096).contains(&half) && half % UBATCH == 0, "{half}");
        let (second, rows) = rig.say(&prompt, &tokens(2, 5));
        assert_eq!(
            cost(&second),
            (half, 0, 4096 - half, 4096 - half, false),
            "{class:?}"
        );
        assert_eq!(rows.len(), 5);
    }
}

#[test]
fn a_withdrawn_message_is_free_when_sent_again_and_another_one_costs_itself() {
    for class in Class::ALL {
        let mut rig = Rig::new(class, None);
        let mut ledger = tokens(1, 400);
        let said = tokens(2, 3);
        rig.say(&ledger, &said);
        ledger.extend(said);
        let withdrawn = [&ledger[..], &tokens(3, 96)].concat();
        // Evaluated, and stopped before the first token was sampled.
        rig.rewind(&withdrawn);
        let (again, rows) = rig.say(&withdrawn, &tokens(9, 1));
        assert_eq!((again.evaluated, again.miss), (0, None), "{class:?}");
        assert_eq!(rows.len(), 1);
        // Something else instead: nothing before it is read again.
        let other = [&ledger[..], &tokens(4, 50)].concat();
        let (outcome, _) = rig.say(&other, &tokens(5, 4));
        assert!(
            outcome.evaluated <= outcome.appended + 1,
            "{class:?}: {outcome:?}"
        );
        assert_eq!(outcome.kept + outcome.evaluated, other.len());
        assert!(outcome.kept >= ledger.len() - 1, "{class:?}: {outcome:?}");
    }
}

#[test]
fn a_changed_prefix_names_the_first_differing_token() {
    for class in Class::ALL {
        let mut rig = Rig::new(class, None);
        let prompt = tokens(1, 300);
        rig.say(&prompt, &tokens(2, 3));
        let mut changed = prompt.clone();
        changed[100] = npast::ledger::Token((changed[100].0 + 1) % 256);
        let handle = rig.handle().clone();
        let (events, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let outcome = handle
            .call(npast::slot::SlotCall {
                kind: npast::slot::CallKind::Turn,
                owner: "test".to_owned(),
                target: npast::slot::Target::whole(changed.clone()),
                head: 0,
                common: 0,
                // The session had decoded all of it once, on another branch.
                decoded: 300,
                moved: None,
                reply: None,
                step: false,
                cancel: Default::default(),
                events,
            })
            .expect("a live engine")
            .wait()
            .expect("a call");
        let miss = outcome.miss.expect("a miss");
        assert_eq!(miss.at, 100, "{class:?}");
        match miss.cause {
            Cause::Differs { had, got } | Cause::NoState { had, got, .. } => {
                assert_eq!((had, got), (prompt[100], changed[100]));
            }
            other => panic!("{class:?}: {other:?}"),
        }
    }
}

#[test]
fn a_message_that_was_read_and_withdrawn_before_a_restart_costs_nothing_of_what_was_before_it() {
    for class in Class::ALL {
        for same in [true, false] {
            let home = tempfile::tempdir().expect("a folder");
            let mut rig = Rig::new(class, Some(home.path()));
            let mut ledger = tokens(1, 400);
            let said = tokens(2, 3);
            rig.say(&ledger, &said);
            ledger.extend(said);
            // Cancelled before its first token was sampled: read in part.
            let withdrawn = [&ledger[..], &tokens(3, 4000)].concat();
            let (first, _) = rig.say_until(&withdrawn, &tokens(9, 2), 512);
            assert!(
                first.tokens.is_empty() && first.evaluated < 4000,
                "{class:?}"
            );
            let mut rig = rig.restart();
            let next = match same {
                true => withdrawn.clone(),
                false => [&ledger[..], &tokens(4, 50)].concat(),
            };
            let (outcome, _) = rig.say(&next, &tokens(5, 4));
            let before = match same {
                true => 402 + first.evaluated,
                // The token that was pending after the last whole turn was read with the message; a
                // memory that cannot be cut goes back to before it.
                false => 402 + usize::from(class == Class::Dense),
            };
            let expected = (0, before, next.len() - before);
            assert_eq!(
                (outcome.kept, outcome.restored, outcome.evaluated),
                expected,
                "{class:?} same {same}: {outcome:?}"
            );
        }
    }
}

/// What its caller knew is told by the mark, and what the slot holds is found by comparison.
#[test]
fn a_target_after_a_prefix_that_is_not_held_any_more_is_compared_whole() {
    for class in Class::ALL {
        let mut rig = Rig::new(class, None);
        let (old, _) = rig.say(&tokens(1, 200), &tokens(2, 3));
        let other = tokens(3, 300);
        rig.say(&other, &tokens(4, 3));
        // The mark's own prefix, then more: none of it is held any more but three tokens.
        let again = [&tokens(1, 200)[..], &tokens(2, 2), &tokens(5, 20)].concat();
        let after = |mark| npast::slot::SlotCall {
            kind: npast::slot::CallKind::Turn,
            owner: "test".to_owned(),
            target: npast::slot::Target::after(mark, again.clone()),
            head: 0,
            common: 0,
            decoded: 0,
            moved: None,
            reply: None,
            step: false,
            cancel: Default::default(),
            events: tokio::sync::mpsc::unbounded_channel().0,
        };
        let call = |mark| {
            let answer = rig.handle().call(after(mark)).expect("a live engine");
            answer.wait().expect("a call")
        };
        let outcome = call(old.mark);
        assert_eq!(
            (outcome.kept, outcome.evaluated),
            (0, again.len()),
            "{class:?}"
        );
        // And while it is held, nothing is evaluated.
        let outcome = call(outcome.mark);
        assert_eq!(
            (outcome.kept, outcome.evaluated),
            (again.len(), 0),
            "{class:?}"
        );
        // A mark of more tokens than there are names no prefix of them.
        let longer = npast::ledger::Mark::new(again.len() + 1, outcome.mark.digest());
        assert_eq!(call(longer).kept, again.len(), "{class:?}");
        assert_eq!(rig.held(), again);
    }
}

/// What was stored after a start in the middle of a segment could not be reached by any chain.
#[test]
fn a_prompt_sampled_again_after_a_restart_is_restored_whole_after_the_next_one() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        let mut ledger = tokens(1, 300);
        rig.rewind(&ledger);
        let mut rig = rig.restart();
        let said = tokens(2, 9);
        let (again, _) = rig.say(&ledger, &said);
        assert!(again.evaluated <= 1, "{class:?}: {again:?}");
        ledger.extend(&said[..8]);
        let back = rig.restart().rewind(&ledger);
        assert_eq!((back.restored, back.evaluated), (308, 0), "{class:?}");
    }
}
