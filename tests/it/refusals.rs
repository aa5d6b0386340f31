//! Law 4: a state that was proven and that llama.cpp refuses all the same costs an evaluation. Which
//! one it is must not matter: the n-th is refused, for all n.

use npast::ledger::Token;
use npast::slot::Cause;

use crate::history::History;
use crate::model::Class;
use crate::rig::{Rig, Stop, UBATCH, tokens};

/// Three turns of a conversation, the last one short.
fn converse(rig: &mut Rig, owner: &str, seed: u64) -> (Vec<Token>, History) {
    let (mut ledger, mut history) = (Vec::new(), History::default());
    for (turn, len) in [330, 150, 20].into_iter().enumerate() {
        ledger.extend(tokens(seed + turn as u64, len));
        let said = tokens(seed + 10 + turn as u64, 4);
        let (outcome, _) = rig.ask(owner, &ledger, Some(&said), Stop::Never);
        history.follow(&ledger, &outcome.expect("a call"), UBATCH);
        ledger.extend(said);
    }
    (ledger, history)
}

/// Another turn of a conversation of which the n-th state is refused: how many tokens were found all
/// the same; nothing when fewer states are put back. Logits are those of a process without a disk, and
/// what was refused is refused no second time.
fn refused(
    mut rig: Rig,
    mut ledger: Vec<Token>,
    mut history: History,
    n: usize,
    what: &str,
) -> Option<usize> {
    let class = rig.class;
    let whole = history.list.len();
    rig.handle().refuse(Some(n)).expect("a live engine");
    ledger.extend(tokens(7, 60));
    let said = tokens(8, 40);
    let (outcome, rows) = rig.say(&ledger, &said);
    if rig.handle().refuse(None).expect("a live engine") {
        return None;
    }
    if let Some(error) = outcome.error {
        // The window's layout at the append's start is no restore: that call fails, and says so.
        assert!(class == Class::Swa && n > 0, "{what}: {error}");
        return Some(whole);
    }
    assert_eq!(outcome.context(), ledger.len() + 39, "{what}");
    history.follow(&ledger, &outcome, UBATCH);
    assert!(history.is_even(), "{what}");
    let mut before = history.clone();
    before.drop_last();
    let mut fresh = Rig::new(class, None);
    before.replay(&mut fresh);
    assert!(fresh.say(&ledger, &said).1 == rows, "{what}: other logits");

    let Some(miss) = outcome.miss else {
        // It met the copying out of what this call added: stored with the next one.
        return Some(whole);
    };
    let Cause::Refused(why) = &miss.cause else {
        panic!("{what}: {miss:?}");
    };
    assert!(why.contains("llama.cpp refused a state"), "{what}: {why}");
    let back = rig.restart().rewind(&history.list);
    let cost = (back.restored, back.evaluated);
    assert_eq!(cost, (history.list.len(), 0), "{what}: stored again");
    Some(outcome.kept + outcome.restored)
}

#[test]
fn a_restart_of_which_any_state_is_refused_evaluates_and_goes_on_on_every_class() {
    for class in Class::ALL {
        let mut found = Vec::new();
        loop {
            let home = tempfile::tempdir().expect("a folder");
            let mut rig = Rig::new(class, Some(home.path()));
            let (ledger, history) = converse(&mut rig, "test", 1);
            let n = found.len();
            let what = format!("{class:?}, state {n}");
            let whole = history.list.len();
            let Some(start) = refused(rig.restart(), ledger, history, n, &what) else {
                break;
            };
            found.push(start);
            // It goes to quarantine like a damaged file, and what stands before it is used.
            let aside = std::fs::read_dir(home.path().join("quarantine"));
            let aside = aside.map_or(0, Iterator::count);
            assert_eq!(aside, usize::from(start < whole), "{what}");
        }
        match class {
            // Three prompts and the first replies to them.
            Class::Dense => assert_eq!(found, [0, 330, 333, 484, 487, 508], "{class:?}"),
            Class::Recurrent => assert_eq!(found, [487], "{class:?}"),
            // A segment, or the state at the end.
            _ => assert!(found.contains(&487) && found.is_sorted(), "{found:?}"),
        }
    }
}

#[test]
fn a_switch_of_which_any_state_is_refused_evaluates_and_goes_on_on_every_class() {
    for class in Class::ALL {
        let mut n = 0;
        loop {
            let home = tempfile::tempdir().expect("a folder");
            let mut rig = Rig::new(class, Some(home.path()));
            let (ledger, history) = converse(&mut rig, "test", 1);
            // Another one that begins alike.
            let other = [&ledger[..200], &tokens(40, 300)].concat();
            let (held, _) = rig.ask("other", &other, Some(&tokens(41, 4)), Stop::Never);
            held.expect("a call");
            let what = format!("{class:?}, state {n} of a switch");
            if refused(rig, ledger, history, n, &what).is_none() {
                break;
            }
            n += 1;
        }
        assert!(n > 0, "{class:?}");
    }
}
