//! Law 3: after a restart, restore and append give bit-equal logits to a process that never
//! stopped, for the append, for the window and 64 more single decodes, and for a second append.

use npast::ledger::Token;
use npast::llama::CacheType;

use crate::model::{Class, SWA_WINDOW};
use crate::rig::{Cost, Rig, Rows, Settings, UBATCH, cost, tokens};

/// First prompt; reply; append; long reply; second append; what each turn's rows were.
fn conversation(rig: Rig, restart: bool) -> (Vec<Rows>, Vec<Cost>) {
    let singles = SWA_WINDOW as usize + 64;
    let steps: [(usize, usize); 4] = [(613, 5), (41, singles + 1), (77, 9), (200, 3)];
    let (mut ledger, mut rows, mut costs) = (Vec::<Token>::new(), Vec::new(), Vec::new());
    let mut rig = Some(rig);
    for (i, (append, reply)) in steps.into_iter().enumerate() {
        let mut here = rig.take().expect("a rig");
        if restart && i > 0 {
            here = here.restart();
        }
        ledger.extend(tokens(i as u64 * 2 + 1, append));
        let said = tokens(i as u64 * 2 + 2, reply);
        let (outcome, seen) = here.say(&ledger, &said);
        ledger.extend(&said);
        assert_eq!(outcome.context(), ledger.len() - outcome.pending);
        assert_eq!(here.held(), ledger[..ledger.len() - outcome.pending]);
        costs.push(cost(&outcome));
        rows.push(seen);
        rig = Some(here);
    }
    (rows, costs)
}

fn resumes(class: Class, settings: Settings) {
    let home = tempfile::tempdir().expect("a folder");
    let stayed = conversation(Rig::with(class, None, settings), false);
    let came_back = conversation(Rig::with(class, Some(home.path()), settings), true);
    // The pending token of each reply counts as appended to the next prompt.
    let singles = SWA_WINDOW as usize + 64;
    let (a, b, c) = (
        613 + 4,
        613 + 5 + 41 + singles,
        613 + 5 + 41 + singles + 1 + 77 + 8,
    );
    let new = [613, 42, 78, 201];
    assert_eq!(
        stayed.1,
        [
            (0, 0, 613, 613, false),
            (a, 0, new[1], new[1], false),
            (b, 0, new[2], new[2], false),
            (c, 0, new[3], new[3], false)
        ]
    );
    assert_eq!(
        came_back.1,
        [
            (0, 0, 613, 613, false),
            (0, a, new[1], new[1], false),
            (0, b, new[2], new[2], false),
            (0, c, new[3], new[3], false)
        ]
    );
    for (turn, (x, y)) in stayed.0.iter().zip(&came_back.0).enumerate() {
        assert_eq!(x.len(), y.len());
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            assert!(x == y, "{class:?}: turn {turn}, row {i} differs");
        }
    }
}

#[test]
fn restart_on_dense_is_bit_equal_and_evaluates_only_what_is_new() {
    resumes(Class::Dense, Settings::default());
}

#[test]
fn restart_on_swa_is_bit_equal_and_evaluates_only_what_is_new() {
    const { assert!(613 > 2 * SWA_WINDOW as usize + UBATCH) };
    resumes(Class::Swa, Settings::default());
}

#[test]
fn restart_on_hybrid_is_bit_equal_and_evaluates_only_what_is_new() {
    resumes(Class::Hybrid, Settings::default());
}

#[test]
fn restart_on_recurrent_is_bit_equal_and_evaluates_only_what_is_new() {
    resumes(Class::Recurrent, Settings::default());
}

#[test]
fn restart_with_a_q8_0_cache_is_bit_equal_where_there_is_a_cache() {
    let settings = Settings {
        cache: CacheType::Q8_0,
        ..Settings::default()
    };
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        resumes(class, settings);
    }
}
