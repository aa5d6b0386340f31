//! Short turns whose segments were merged: in host memory byte for byte what one export gives, and
//! after a restart, a rewind or a full disk the same tokens, costs and logits as ever.

use std::fs;
use std::path::{Path, PathBuf};

use npast::kv::{Merged, PayloadPart};
use npast::llama::{CacheType, Context, ContextOptions, Seq};
use npast::slot::SlotMemory;

use crate::model::Class;
use crate::rig::{Cost, Rig, Rows, Settings, cost, load, tokens};

const CLASSES: [Class; 3] = [Class::Dense, Class::Swa, Class::Hybrid];

#[test]
fn joined_exports_are_the_export_of_the_whole_byte_for_byte() {
    let long = tokens(1, 96);
    for class in CLASSES {
        for cache in [CacheType::F16, CacheType::Q8_0] {
            let options = ContextOptions {
                cells: 256,
                ubatch: 32,
                cache,
                ..ContextOptions::default()
            };
            let ctx = Context::new(&load(class, Settings::default().weights), &options)
                .expect("a context");
            let mut memory = SlotMemory::probe(ctx).expect("a memory");
            for (i, batch) in long.chunks(32).enumerate() {
                let decoded = memory.ctx().decode(Seq::Main, i * 32, batch, false);
                decoded.expect("a decode");
            }
            let join = memory.join().expect("segments");
            for cuts in [
                &[0, 1, 96][..],
                &[0, 32, 64, 96],
                &[5, 6, 7, 8, 40],
                &[63, 64, 65],
                &[17, 31, 33, 90, 95],
            ] {
                let payloads: Vec<Vec<u8>> = cuts
                    .windows(2)
                    .map(|w| memory.segment(w[0], w[1]).expect("a segment"))
                    .collect();
                let mut parts: Vec<PayloadPart<'_>> = cuts
                    .windows(2)
                    .zip(&payloads)
                    .map(|(w, payload)| PayloadPart {
                        p0: w[0],
                        p1: w[1],
                        payload,
                    })
                    .collect();
                let whole = memory.segment(cuts[0], cuts[cuts.len() - 1]);
                let joined = join.join(&parts).expect("neighbours");
                assert!(joined == whole.expect("a segment"), "{class:?} {cuts:?}");
                // Never by guessing: a gap, another order, bytes of another range.
                parts.swap(0, 1);
                assert_eq!(join.join(&parts), None);
                parts.swap(0, 1);
                parts[1].p0 += 1;
                assert_eq!(join.join(&parts), None);
                parts[1].p0 -= 1;
                parts[1].payload = parts[0].payload;
                assert_eq!(join.join(&parts), None);
            }
        }
    }
}

/// Turns of a few tokens each, after a first one.
fn talk(rig: &mut Rig, ledger: &mut Vec<npast::ledger::Token>, turns: std::ops::Range<u64>) {
    for turn in turns {
        let append = if turn == 0 { 40 } else { 3 };
        ledger.extend(tokens(turn * 2 + 1, append));
        let said = tokens(turn * 2 + 2, 3);
        rig.say(ledger, &said);
        ledger.extend(said);
    }
}

/// Twenty turns, a restart, then a longer one: its cost and rows, and what merging did before.
fn resumes(class: Class, merge: bool) -> (Cost, Rows, Merged) {
    let home = tempfile::tempdir().expect("a folder");
    let (mut rig, mut ledger) = (Rig::new(class, Some(home.path())), Vec::new());
    talk(&mut rig, &mut ledger, 0..20);
    let merged = match merge {
        true => rig.store().merge().expect("a writer"),
        false => Merged::default(),
    };
    let mut rig = rig.restart();
    ledger.extend(tokens(99, 30));
    let (outcome, rows) = rig.say(&ledger, &tokens(100, 40));
    assert_eq!(rig.store().take_notices(), []);
    (cost(&outcome), rows, merged)
}

#[test]
fn a_restart_after_merging_costs_and_computes_the_same() {
    for class in CLASSES {
        let (cost, rows, merged) = resumes(class, true);
        let (same_cost, same_rows, _) = resumes(class, false);
        // 43 tokens, then 19 turns of 6; the last one is pending.
        let restored = 43 + 19 * 6 - 1;
        assert_eq!(cost, (0, restored, 31, 31, false), "{class:?}");
        assert_eq!(cost, same_cost);
        assert!(rows == same_rows, "{class:?}: rows differ");
        // Each prompt and each reply is a segment. The first one stays as it is, and nothing is merged
        // over the last prompt's logits row or an older turn's snapshot.
        let parts = match class {
            Class::Dense => 2 * 20 - 2,
            Class::Hybrid => 2 * 20 - 3,
            _ => 2 * 20 - 1,
        };
        assert_eq!((merged.replaced, merged.written), (parts, 1), "{class:?}");
    }
}

#[test]
fn a_conversation_that_goes_back_into_a_merged_segment_is_stored_to_its_end_again() {
    for class in CLASSES {
        let home = tempfile::tempdir().expect("a folder");
        let (mut rig, mut ledger) = (Rig::new(class, Some(home.path())), Vec::new());
        talk(&mut rig, &mut ledger, 0..20);
        rig.store().merge().expect("a writer");
        talk(&mut rig, &mut ledger, 20..22);
        // Back to the end of turn 10 and another way on; its boundary is merged away.
        ledger.truncate(43 + 10 * 6);
        talk(&mut rig, &mut ledger, 30..31);
        let mut rig = rig.restart();
        let held = ledger.len() - 1;
        ledger.extend(tokens(99, 5));
        let (outcome, _) = rig.say(&ledger, &tokens(100, 2));
        assert_eq!(cost(&outcome), (0, held, 6, 6, false), "{class:?}");
        assert_eq!(rig.store().take_notices(), []);
    }
}

/// The folder of the only fingerprint.
fn folder(home: &Path) -> PathBuf {
    let mut folders = fs::read_dir(home.join("v1")).expect("a kv folder");
    folders.next().expect("a fingerprint").expect("it").path()
}

#[test]
fn after_turns_that_could_not_be_stored_the_next_one_that_can_stores_all_of_it() {
    for class in CLASSES {
        let home = tempfile::tempdir().expect("a folder");
        let (mut rig, mut ledger) = (Rig::new(class, Some(home.path())), Vec::new());
        talk(&mut rig, &mut ledger, 0..2);
        rig.store().flush().expect("a writer");
        let place = folder(home.path());
        let away = home.path().join("away");
        // Nothing can be created below a file.
        fs::rename(&place, &away).expect("a rename");
        fs::write(&place, b"in the way").expect("a file");
        talk(&mut rig, &mut ledger, 2..5);
        rig.store().flush().expect("a writer");
        assert_eq!(rig.store().take_notices().len(), 1, "{class:?}: said once");
        fs::remove_file(&place).expect("a removal");
        fs::rename(&away, &place).expect("a rename");
        talk(&mut rig, &mut ledger, 5..6);
        rig.store().flush().expect("a writer");
        assert_eq!(rig.store().take_notices(), [], "{class:?}");
        let mut rig = rig.restart();
        let held = ledger.len() - 1;
        ledger.extend(tokens(99, 5));
        let (outcome, _) = rig.say(&ledger, &tokens(100, 2));
        assert_eq!(cost(&outcome), (0, held, 6, 6, false), "{class:?}");
    }
}

#[test]
fn a_folder_that_vanishes_in_mid_run_is_filled_again_by_the_next_turns() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid, Class::Recurrent] {
        let home = tempfile::tempdir().expect("a folder");
        let (mut rig, mut ledger) = (Rig::new(class, Some(home.path())), Vec::new());
        talk(&mut rig, &mut ledger, 0..4);
        rig.store().flush().expect("a writer");
        fs::remove_dir_all(home.path().join("v1")).expect("a removal");
        talk(&mut rig, &mut ledger, 4..6);
        rig.store().flush().expect("a writer");
        assert_eq!(rig.store().take_notices().len(), 1, "{class:?}: said once");
        let mut rig = rig.restart();
        let held = ledger.len() - 1;
        ledger.extend(tokens(99, 5));
        let (outcome, _) = rig.say(&ledger, &tokens(100, 2));
        assert_eq!(cost(&outcome), (0, held, 6, 6, false), "{class:?}");
    }
}
