//! `kv verify --deep`: what is stored comes out again, byte for byte, when it is evaluated the way it
//! was; what the model would not give is found.

use npast::slot::Compared;

use crate::model::Class;
use crate::rig::{Rig, Settings, Stop, UBATCH, tokens};

/// A prompt, replies, a message that was cut short and sent again, one that was taken back.
fn live(rig: &mut Rig, prompt: usize) {
    let mut ledger = tokens(1, prompt);
    for turn in 0..3 {
        let said = tokens(10 + turn, 6);
        rig.say(&ledger, &said);
        ledger.extend(said);
        ledger.extend(tokens(20 + turn, 75));
    }
    let _ = rig.ask("test", &ledger, Some(&tokens(3, 2)), Stop::Prompt(32));
    rig.say(&ledger, &tokens(3, 2));
    ledger.truncate(prompt + 50);
    ledger.extend(tokens(4, 40));
    rig.say(&ledger, &tokens(5, 9));
    rig.say(&tokens(6, 100), &tokens(7, 1));
    // Two appends on one grid of batches, with a layout anew between them.
    rig.rewind(&tokens(8, 13 * UBATCH));
    rig.rewind(&tokens(8, 19 * UBATCH));
}

/// What came of each stored segment: the same, other bytes, not compared.
fn compared(rig: &Rig, most: usize) -> (usize, usize, Vec<String>) {
    let (mut same, mut differ, mut not) = (0, 0, Vec::new());
    rig.store().flush().expect("a flush");
    for one in rig.store().sampled(most).expect("segments") {
        match rig.handle().compare(one).expect("a comparison") {
            Compared::Same => same += 1,
            Compared::Differs { .. } => differ += 1,
            Compared::Not(why) => not.push(why),
        }
    }
    (same, differ, not)
}

#[test]
fn merged_segments_come_out_again_byte_for_byte_on_every_class() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        let mut ledger = tokens(1, 40);
        for turn in 0..24 {
            let said = tokens(30 + turn, 3);
            rig.say(&ledger, &said);
            ledger.extend(said);
            ledger.extend(tokens(60 + turn, 9));
        }
        rig.store().flush().expect("a flush");
        let merged = rig.store().merge().expect("a merge");
        assert!(merged.replaced >= 8, "{class:?}: {merged:?}");
        let rig = rig.restart();
        let (same, differ, not) = compared(&rig, 100);
        assert_eq!(
            (same, differ, not),
            (rig.store().usage().edges as usize, 0, vec![]),
            "{class:?}"
        );
    }
}

#[test]
fn stored_segments_come_out_again_byte_for_byte_and_other_numbers_do_not_on_every_class() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        let home = tempfile::tempdir().expect("a folder");
        let mut rig = Rig::new(class, Some(home.path()));
        // Of two segments, where the second continues a window that nobody laid out anew.
        let prompt = if class == Class::Swa { 2200 } else { 300 };
        live(&mut rig, prompt);
        let rig = rig.restart();
        let files = rig.store().usage();
        let (same, differ, not) = compared(&rig, 100);
        assert_eq!(
            (differ, same + not.len()),
            (0, files.edges as usize),
            "{class:?}"
        );
        // All but what follows the place where a message was taken back.
        let told = |why: &String| why.ends_with("was not kept");
        let few = not.len() <= 1 && not.iter().all(told);
        assert!(same >= 6 && few, "{class:?}: {same}, {not:?}");
        // Looking changes nothing.
        rig.store().flush().expect("a flush");
        assert_eq!(rig.store().usage(), files, "{class:?}");
        assert_eq!(rig.store().take_notices(), [], "{class:?}");

        let wrong = Settings {
            weights: 2,
            ..Settings::A
        };
        let (same, differ, _) = compared(&rig.restart_with(wrong), 3);
        assert!(same == 0 && differ >= 1, "{class:?}: {same} {differ}");
    }
}
