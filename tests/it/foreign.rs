//! States that another build, device or thread count made: taken when a stored sample of their
//! logits agrees, refused in words when it does not or when there is none.

use npast::ledger::{RunningDigest, Token};
use npast::slot::{Cause, Outcome};

use crate::history::History;
use crate::model::Class;
use crate::program::Program;
use crate::rig::{Rig, Rows, Settings, UBATCH, tokens};

/// Three turns; the process ends with a sample of the last.
fn talk(class: Class, home: &std::path::Path, settings: Settings) -> (Vec<Token>, History, Rig) {
    let mut rig = Rig::with(class, Some(home), settings);
    let (mut ledger, mut history) = (Vec::new(), History::default());
    for turn in 0..3 {
        ledger.extend(tokens(turn, 150));
        let said = tokens(10 + turn, 5);
        let (outcome, _) = rig.say(&ledger, &said);
        history.follow(&ledger, &outcome, UBATCH);
        ledger.extend(said);
    }
    (ledger, history, rig)
}

/// Tokens of the reply: an SWA model uses the places of its window again.
const NEXT: usize = 300;

fn next(rig: &mut Rig, ledger: &[Token]) -> (Vec<Token>, Outcome, Rows) {
    let target = [ledger, &tokens(20, 40)].concat();
    let (outcome, rows) = rig.say(&target, &tokens(21, NEXT));
    (target, outcome, rows)
}

const OTHER: Settings = Settings {
    machine: "b",
    ..Settings::A
};

const OTHER_BATCHES: Settings = Settings {
    threads: 2,
    ubatch: 3,
    ..OTHER
};

const OTHER_ROPE: Settings = Settings {
    rope_freq_base: Some(11_000.0),
    ..OTHER
};

#[test]
fn a_state_of_another_machine_is_taken_when_its_sample_agrees_on_every_class() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let (ledger, history, rig) = talk(class, home.path(), Settings::A);
        let mut rig = rig.restart_with(OTHER);
        let (target, outcome, rows) = next(&mut rig, &ledger);
        let held = history.list.len();
        assert_eq!(
            (outcome.restored, outcome.evaluated, &outcome.miss),
            (held, target.len() - held, &None),
            "{class:?}"
        );
        let mut running = RunningDigest::new(rig.store().fingerprint().hard);
        running.extend(&target[..held]);
        rig.store().flush().expect("a flush");
        assert!(
            rig.store().agrees(running.digest()),
            "{class:?}: remembered"
        );
        // The comparison leaves no trace: the same numbers as without a restart.
        let mut plain = Rig::new(class, None);
        history.replay(&mut plain);
        assert!(plain.say(&target, &tokens(21, NEXT)).1 == rows, "{class:?}");
    }
}

#[test]
fn numbers_of_other_weights_under_right_checksums_are_refused_on_every_class() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let wrong = Settings {
            weights: 2,
            ..Settings::A
        };
        let (ledger, _, rig) = talk(class, home.path(), wrong);
        let mut rig = rig.restart_with(OTHER);
        let (target, outcome, rows) = next(&mut rig, &ledger);
        assert_eq!(
            (outcome.restored, outcome.evaluated),
            (0, target.len()),
            "{class:?}"
        );
        let miss = outcome.miss.clone().expect("a reason");
        let said = "made with machine a, this run has b, and its numbers are not this run's";
        assert_eq!(miss.cause, Cause::Refused(said.to_owned()), "{class:?}");
        assert_eq!(rig.held()[..target.len()], target, "{class:?}");
        let notices = rig.store().take_notices();
        assert_eq!(notices.len(), 1, "said once: {notices:?}");
        let mut plain = Rig::new(class, None);
        assert!(plain.say(&target, &tokens(21, NEXT)).1 == rows, "{class:?}");
        // What was evaluated is stored again, and is this machine's own.
        let list = rig.held();
        let back = rig.restart_with(OTHER).rewind(&list);
        assert_eq!((back.restored, back.miss), (list.len(), None), "{class:?}");
    }
}

#[test]
fn other_threads_and_batches_are_taken_and_another_rope_base_is_refused() {
    for class in Class::ALL {
        let ways = [
            (OTHER_BATCHES, true),
            // Recurrent models have none.
            (OTHER_ROPE, class == Class::Recurrent),
        ];
        for (settings, taken) in ways {
            let home = tempfile::tempdir().expect("a folder");
            let (ledger, history, rig) = talk(class, home.path(), Settings::A);
            let mut rig = rig.restart_with(settings);
            let (_, outcome, _) = next(&mut rig, &ledger);
            let restored = match taken {
                true => history.list.len(),
                false => 0,
            };
            assert_eq!(outcome.restored, restored, "{class:?}: {outcome:?}");
            assert_eq!(outcome.miss.is_none(), taken, "{class:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_sample_that_is_made_between_turns_leaves_the_next_logits_as_they_were_on_every_class() {
    // Of an SWA model the places of the window are used again and again.
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        let mut plain = Rig::new(class, None);
        let mut ledger = Vec::new();
        for turn in 0..3 {
            ledger.extend(tokens(turn, 150));
            let said = tokens(10 + turn, 300);
            let rows = rig.say(&ledger, &said).1;
            assert!(plain.say(&ledger, &said).1 == rows, "{class:?} turn {turn}");
            ledger.extend(said);
            let before = rig.held();
            rig.handle().rest().expect("a live engine");
            assert_eq!(rig.held(), before);
        }
    }
}

#[test]
fn without_a_sample_a_state_of_another_machine_is_evaluated_again_and_stored_as_its_own() {
    for class in Class::ALL {
        let home = tempfile::tempdir().expect("a folder");
        let (ledger, _, rig) = talk(class, home.path(), Settings::A);
        // Samples are in the index alone.
        let rig = rig.restart_after(|| {
            for name in ["index.db", "index.db-wal", "index.db-shm"] {
                let _ = std::fs::remove_file(home.path().join(name));
            }
        });
        let mut rig = rig.restart_with(OTHER);
        let (target, outcome, _) = next(&mut rig, &ledger);
        assert_eq!(outcome.evaluated, target.len(), "{class:?}");
        let said = "made with machine a, this run has b, and no stored sample shows that its numbers are \
             right here";
        let cause = outcome.miss.expect("a reason").cause;
        assert_eq!(cause, Cause::Refused(said.to_owned()), "{class:?}");
        let list = rig.held();
        let mut rig = rig.restart_with(OTHER);
        let back = rig.rewind(&list);
        assert_eq!((back.restored, back.miss), (list.len(), None), "{class:?}");
        // And the first machine takes it from the second.
        let back = rig.restart_with(Settings::A).rewind(&list);
        assert_eq!((back.restored, back.miss), (list.len(), None), "{class:?}");
    }
}

/// The program names in its soft fingerprint how its llama.cpp was compiled, and which instructions it uses.
#[test]
fn a_build_with_other_flags_or_instructions_is_another_machine() {
    let program = Program::new(Class::Dense);
    program.say("work", "Hello.", None);
    let soft = std::fs::read_dir(program.desk.home.join("kv/v1"))
        .expect("a store")
        .flat_map(|print| std::fs::read_dir(print.expect("a folder").path()).expect("files"))
        .map(|file| file.expect("a file").path())
        .find(|path| path.to_string_lossy().contains("/soft-"))
        .expect("a soft fingerprint");
    let soft = std::fs::read_to_string(soft).expect("a file");
    let facts = [
        env!("NPAST_TARGET_FEATURES"),
        env!("NPAST_LLAMA_FLAGS"),
        npast::llama::system_info(),
    ];
    assert!(!facts[1].is_empty() && !facts[2].is_empty(), "{facts:?}");
    let hash = blake3::hash(facts.join("\n").as_bytes()).to_hex();
    assert!(soft.contains(hash.as_str()), "{soft}");
}
