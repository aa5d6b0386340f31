//! Law 3 at lengths where something ends: a batch, the window, a block of cells. And: load and disk
//! change no logits.

use npast::ledger::Token;
use npast::llama::CacheType;

use crate::model::{Class, SWA_WINDOW};
use crate::rig::{Cost, Rig, Rows, Settings, cost, tokens};

/// A prompt of `len` tokens, then an append and a reply, in one process or two.
fn two_turns(rig: Rig, len: usize, restart: bool) -> (Rows, Cost) {
    let mut rig = rig;
    let mut ledger = tokens(len as u64, len);
    rig.say(&ledger, &[Token(5)]);
    if restart {
        rig = rig.restart();
    }
    ledger.push(Token(5));
    ledger.extend(tokens(2, 20));
    let (outcome, rows) = rig.say(&ledger, &tokens(3, 4));
    (rows, cost(&outcome))
}

fn lengths_resume(class: Class, cache: CacheType) {
    // The ubatch is not the window, so that both ends are met.
    let ubatch = 48;
    let window = SWA_WINDOW as usize;
    let ends = [window, ubatch, 128, 256, 512];
    let lengths = ends.into_iter().flat_map(|end| end - 1..=end + 1);
    for len in lengths.chain([1, 2, 130, 2 * window + ubatch, 256 + ubatch]) {
        let settings = Settings {
            ubatch,
            cache,
            limit: 1024,
            ..Settings::default()
        };
        let home = tempfile::tempdir().expect("a folder");
        let (stayed, kept) = two_turns(Rig::with(class, None, settings), len, false);
        let rig = Rig::with(class, Some(home.path()), settings);
        let (came_back, restored) = two_turns(rig, len, true);
        assert_eq!(kept, (len, 0, 21, 21, false), "{class:?}, {len} tokens");
        assert_eq!(restored, (0, len, 21, 21, false), "{class:?}, {len} tokens");
        assert!(stayed == came_back, "{class:?}, {cache:?}: {len} tokens");
    }
}

#[test]
fn every_length_at_an_end_resumes_bit_equal_on_every_class() {
    for class in Class::ALL {
        lengths_resume(class, CacheType::F16);
    }
}

#[test]
fn every_length_at_an_end_resumes_bit_equal_with_a_q8_0_cache() {
    for class in [Class::Dense, Class::Swa, Class::Hybrid] {
        lengths_resume(class, CacheType::Q8_0);
    }
}

/// A prompt of `len` tokens with a reply, then an append with a reply: their rows.
fn long(rig: &mut Rig, len: usize) -> Vec<Rows> {
    let mut ledger = tokens(1, len);
    let said = tokens(2, 4);
    let (_, first) = rig.say(&ledger, &said);
    ledger.extend(said);
    ledger.extend(tokens(3, 300));
    let (outcome, second) = rig.say(&ledger, &tokens(4, 40));
    assert_eq!(cost(&outcome), (len + 3, 0, 301, 301, false));
    vec![first, second]
}

#[test]
fn saving_in_the_middle_of_a_long_prefill_changes_no_logits() {
    let settings = Settings {
        ubatch: 512,
        limit: 16_384,
        ..Settings::default()
    };
    let poor = Settings {
        snapshot_budget: 1,
        ..settings
    };
    for class in Class::ALL {
        // Two segments and some; a step's snapshot and some, with no RAM to keep snapshots in.
        for (len, settings) in [(2 * 2048 + 301, settings), (8192 + 517, poor)] {
            let mut bare = Rig::with(class, None, settings);
            let home = tempfile::tempdir().expect("a folder");
            let mut saving = Rig::with(class, Some(home.path()), settings);
            let saved = long(&mut saving, len);
            assert!(saved == long(&mut bare, len), "{class:?}, {len} tokens");
            let usage = saving.store().usage();
            if class != Class::Recurrent {
                assert!(usage.edges as usize > len / 2048, "{class:?}: {usage:?}");
            }
        }
    }
}
