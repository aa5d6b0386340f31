//! Law 3 across conversations: what two have in common stays in the slot and only the difference
//! moves, and the logits are those of a process that never left the conversation.

use npast::ledger::Token;
use npast::llama::CacheType;
use npast::slot::Outcome;

use crate::model::{Class, SWA_WINDOW};
use crate::rig::{Rig, Rows, Settings, Stop, UBATCH, cost, tokens};

/// f16, and q8_0 where there is a cache; with all that is read held in RAM, and with nothing of it.
fn settings(class: Class) -> Vec<Settings> {
    let held = Settings::default();
    let read_twice = Settings {
        restore_budget: 0,
        ..held
    };
    let coarse = Settings {
        cache: CacheType::Q8_0,
        ..held
    };
    match class {
        Class::Recurrent => vec![held, read_twice],
        _ => vec![held, read_twice, coarse],
    }
}

fn ask(rig: &mut Rig, owner: &str, target: &[Token], said: &[Token]) -> (Outcome, Rows) {
    let (outcome, rows) = rig.ask(owner, target, Some(said), Stop::Never);
    (outcome.expect("a call"), rows)
}

#[test]
fn turns_of_two_conversations_that_begin_alike_are_bit_equal_to_each_alone_on_every_class() {
    let singles = SWA_WINDOW as usize + 64;
    for class in Class::ALL {
        for settings in settings(class) {
            let what = format!("{class:?}, {settings:?}");
            let home = tempfile::tempdir().expect("a folder");
            let mut rig = Rig::with(class, Some(home.path()), settings);
            let mut alone = [(); 2].map(|()| Rig::with(class, None, settings));
            let beginning = [tokens(1, 450), tokens(2, 4)].concat();
            let (first, said) = beginning.split_at(450);
            ask(&mut rig, "a", first, said);
            for lone in &mut alone {
                ask(lone, "test", first, said);
            }
            // What was sampled last is no part of what both have: it was not decoded.
            let parted = [&beginning[..453], &[Token(beginning[453].0 ^ 1)]].concat();
            let mut ledgers = [beginning, parted];
            for turn in 0..3 {
                for (who, owner) in ["a", "b"].into_iter().enumerate() {
                    let seed = 10 + 2 * turn + who as u64;
                    let ledger = &mut ledgers[who];
                    let new = ledger.len();
                    ledger.extend(tokens(seed, 90));
                    let said = tokens(seed + 100, singles + 1);
                    let (outcome, rows) = ask(&mut rig, owner, ledger, &said);
                    let (lone, theirs) = ask(&mut alone[who], "test", ledger, &said);
                    assert!(rows == theirs, "{what}: turn {turn} of {owner}");
                    assert_eq!(outcome.evaluated, lone.evaluated, "{what}: {outcome:?}");
                    assert_eq!(outcome.miss, None, "{what}");
                    if turn > 0 {
                        let kept = if class == Class::Recurrent { 0 } else { 453 };
                        let back = (outcome.kept, outcome.restored);
                        assert_eq!(back, (kept, new - 1 - kept), "{what}");
                    }
                    ledger.extend(said);
                }
            }
        }
    }
}

#[test]
fn the_first_rows_of_anothers_segment_are_bit_equal_to_evaluating_them() {
    for class in Class::ALL {
        for settings in settings(class) {
            let what = format!("{class:?}, {settings:?}");
            let home = tempfile::tempdir().expect("a folder");
            let mut rig = Rig::with(class, Some(home.path()), settings);
            let theirs = tokens(1, 450);
            ask(&mut rig, "theirs", &theirs, &tokens(2, 4));
            let mut rig = rig.restart();
            let alike = 10 * UBATCH;
            let mut ours = [&theirs[..alike], &tokens(3, 200)].concat();
            let said = tokens(4, 100);
            let (outcome, rows) = ask(&mut rig, "test", &ours, &said);
            let restored = if class == Class::Dense { alike } else { 0 };
            let expected = (0, restored, ours.len() - restored, ours.len(), false);
            assert_eq!(cost(&outcome), expected, "{what}");

            let mut fresh = Rig::with(class, None, settings);
            if restored > 0 {
                fresh.rewind(&ours[..restored]);
            }
            assert!(fresh.say(&ours, &said).1 == rows, "{what}");
            // And once more from what this one has stored beside the other.
            ours.extend(said);
            ours.extend(tokens(5, 30));
            let said = tokens(6, 100);
            let (outcome, rows) = rig.restart().say(&ours, &said);
            let (lone, theirs) = fresh.say(&ours, &said);
            assert_eq!(outcome.evaluated, lone.evaluated, "{what}");
            assert!(theirs == rows, "{what}");
        }
    }
}

/// A new conversation whose beginning is on disk, while the slot holds one that shares two tokens
/// with it: those two are no reason not to ask the disk.
#[test]
fn a_stored_beginning_is_found_beside_a_conversation_that_shares_two_tokens_on_every_class() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        let theirs = tokens(1, 600);
        rig.ask("theirs", &theirs, None, Stop::Never)
            .0
            .expect("a call");
        let mut rig = rig.restart();
        let resident = [&theirs[..2], &tokens(2, 300)].concat();
        ask(&mut rig, "resident", &resident, &tokens(3, 4));
        let ours = [&theirs[..], &tokens(4, 40)].concat();
        let (outcome, _) = ask(&mut rig, "ours", &ours, &tokens(5, 4));
        let found = outcome.kept + outcome.restored;
        assert_eq!((found, outcome.evaluated), (600, 40), "{class:?}");
    }
}
