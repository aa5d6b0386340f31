//! Law 4: what is damaged on disk is refused with a reason before sequence 0 is touched, is set
//! aside, and costs an evaluation, never a wrong logit.

use std::fs;
use std::path::{Path, PathBuf};

use npast::ledger::Token;
use npast::slot::Cause;

use crate::history::History;
use crate::model::Class;
use crate::rig::{Rig, Stop, UBATCH, tokens};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Harm {
    Header,
    Tokens,
    /// A byte near the end: of the payload.
    Payload,
    Short,
    Long,
    Gone,
    /// Each of two files under the other's name.
    Swapped,
}

const HARMS: [Harm; 7] = [
    Harm::Header,
    Harm::Tokens,
    Harm::Payload,
    Harm::Short,
    Harm::Long,
    Harm::Gone,
    Harm::Swapped,
];

fn files(home: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(home.join("v1")).expect("a store") {
        for file in fs::read_dir(folder.expect("a folder").path()).expect("files") {
            let path = file.expect("a file").path();
            if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn hurt(paths: &[PathBuf], harm: Harm) {
    for path in paths {
        let mut bytes = fs::read(path).expect("a file");
        let len = bytes.len();
        match harm {
            Harm::Header => bytes[20] ^= 4,
            Harm::Tokens => bytes[260] ^= 1,
            Harm::Payload => bytes[len - 33] ^= 16,
            Harm::Short => bytes.truncate(len - 7),
            Harm::Long => bytes.extend([0; 9]),
            Harm::Gone => {
                fs::remove_file(path).expect("a removal");
                continue;
            }
            Harm::Swapped => continue,
        }
        fs::write(path, bytes).expect("a write");
    }
    if let (Harm::Swapped, [one, two, ..]) = (harm, paths) {
        let aside = one.with_extension("aside");
        fs::rename(one, &aside).expect("a rename");
        fs::rename(two, one).expect("a rename");
        fs::rename(aside, two).expect("a rename");
    }
}

/// Two turns of one conversation.
fn converse(rig: &mut Rig, owner: &str, seed: u64) -> (Vec<Token>, History) {
    let (mut ledger, mut history) = (Vec::new(), History::default());
    for turn in 0..2 {
        ledger.extend(tokens(seed + turn, 330));
        let said = tokens(seed + 10 + turn, 4);
        let (outcome, _) = rig.ask(owner, &ledger, Some(&said), Stop::Never);
        history.follow(&ledger, &outcome.expect("a call"), UBATCH);
        ledger.extend(said);
    }
    (ledger, history)
}

fn kinds(class: Class) -> &'static [&'static str] {
    match class {
        Class::Dense => &["edge"],
        Class::Recurrent => &["node"],
        _ => &["edge", "node"],
    }
}

#[test]
fn a_damaged_file_is_refused_set_aside_and_evaluated_around_on_every_class() {
    for class in Class::ALL {
        for kind in kinds(class) {
            for harm in HARMS {
                let what = format!("{class:?}, {kind}, {harm:?}");
                let home = tempfile::tempdir().expect("a folder");
                let mut rig = Rig::new(class, Some(home.path()));
                let (mut ledger, mut history) = converse(&mut rig, "test", 1);
                let mut rig = rig.restart_after(|| hurt(&files(home.path(), kind), harm));
                ledger.extend(tokens(7, 60));
                let said = tokens(8, 5);
                let (outcome, rows) = rig.say(&ledger, &said);
                let miss = outcome.miss.clone().expect(&what);
                match (&miss.cause, harm) {
                    (Cause::NotStored(_), Harm::Gone) => {}
                    // Of a state that is gone the KV by position is there still.
                    (Cause::Between { .. }, Harm::Gone) if *kind == "node" => {}
                    (Cause::Refused(why), h) if h != Harm::Gone => {
                        assert!(why.contains("refused"), "{what}: {why}");
                        let aside = home.path().join("quarantine");
                        assert!(fs::read_dir(aside).expect("a folder").count() > 0, "{what}");
                        assert!(!rig.store().take_notices().is_empty(), "{what}");
                    }
                    (cause, _) => panic!("{what}: {cause:?}"),
                }
                assert_eq!(outcome.context(), ledger.len() + 4, "{what}");

                // The same list with the same boundaries, in a process without a disk.
                history.follow(&ledger, &outcome, UBATCH);
                assert!(history.is_even(), "{what}");
                let mut whole = history.clone();
                whole.drop_last();
                let mut fresh = Rig::new(class, None);
                whole.replay(&mut fresh);
                assert!(fresh.say(&ledger, &said).1 == rows, "{what}");
                // What was evaluated is stored again.
                let all = history.list.clone();
                let back = rig.restart().rewind(&all);
                assert_eq!((back.restored, back.evaluated), (all.len(), 0), "{what}");
            }
        }
    }
}

#[test]
fn a_switch_to_a_damaged_conversation_fails_over_and_the_way_back_is_exact() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        let (mut two, _) = converse(&mut rig, "two", 50);
        rig.store().flush().expect("a flush");
        for kind in kinds(class) {
            hurt(&files(home.path(), kind), Harm::Payload);
        }
        let (mut one, history) = converse(&mut rig, "one", 1);
        two.extend(tokens(60, 30));
        let (outcome, _) = rig.ask("two", &two, Some(&tokens(61, 3)), Stop::Never);
        let outcome = outcome.expect("a call");
        let refused = outcome
            .miss
            .is_some_and(|m| matches!(m.cause, Cause::Refused(_)));
        assert!(refused && outcome.error.is_none(), "{class:?}");
        assert_eq!(outcome.evaluated, two.len(), "{class:?}");

        one.extend(tokens(62, 30));
        let said = tokens(63, 40);
        let (back, rows) = rig.ask("one", &one, Some(&said), Stop::Never);
        let back = back.expect("a call");
        assert_eq!((back.evaluated, back.miss), (31, None), "{class:?}");
        let mut fresh = Rig::new(class, None);
        history.replay(&mut fresh);
        assert!(fresh.say(&one, &said).1 == rows, "{class:?}");
    }
}

/// Two conversations that begin alike; of the one that is not in the slot all that it has for itself
/// is damaged. What both have stays in the slot, also past the end of a stored segment, and no logit
/// shows that a restore was tried.
#[test]
fn a_damaged_difference_leaves_what_both_conversations_have_in_the_slot_on_every_class() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let all = || [files(home.path(), "edge"), files(home.path(), "node")].concat();
        let go_on = |rig: &mut Rig, owner: &str, ledger: &mut Vec<Token>, seed: u64| {
            // More than an SWA model has places for its window.
            ledger.extend(tokens(seed, 330));
            let said = tokens(seed, 40);
            let (outcome, rows) = rig.ask(owner, ledger, Some(&said), Stop::Never);
            ledger.extend(said);
            (outcome.expect("a call"), rows)
        };
        let talk = |rig: &mut Rig, damage: bool| {
            let (mut one, said) = (tokens(1, 450), tokens(2, 4));
            let (first, _) = rig.ask("one", &one, Some(&said), Stop::Never);
            first.expect("a call");
            one.extend(said);
            go_on(rig, "one", &mut one, 30);
            rig.store().flush().expect("a flush");
            let of_one = if damage { all() } else { Vec::new() };
            let mut two = one[..470].to_vec();
            go_on(rig, "two", &mut two, 20);
            rig.store().flush().expect("a flush");
            go_on(rig, "one", &mut one, 31);
            if damage {
                let alone: Vec<_> = all().into_iter().filter(|f| !of_one.contains(f)).collect();
                hurt(&alone, Harm::Payload);
            }
            go_on(rig, "two", &mut two, 40)
        };
        let mut rig = Rig::new(class, Some(home.path()));
        let (outcome, rows) = talk(&mut rig, true);
        let (without, expected) = talk(&mut Rig::new(class, None), false);
        // Up to the first token that differs, or to the last state before it.
        let both = if class == Class::Dense { 470 } else { 453 };
        let costs = [&outcome, &without].map(|o| (o.kept + o.restored, o.error.is_none()));
        assert_eq!(costs, [(both, true); 2], "{class:?}");
        // A state without positions comes from disk, whoever stored it.
        if class != Class::Recurrent {
            assert_eq!(outcome.kept, both, "{class:?}");
        }
        assert!(rows == expected, "{class:?}: other logits");
        let cause = outcome.miss.map(|miss| miss.cause);
        assert!(
            matches!(cause, Some(Cause::Refused(_))),
            "{class:?}: {cause:?}"
        );
        assert!(!rig.store().take_notices().is_empty(), "{class:?}");
    }
}
