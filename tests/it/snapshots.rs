//! Snapshots on disk are bounded: what a turn writes, what a long conversation keeps, and what going
//! back in it costs after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use npast::kv::StoredPrefix;
use npast::ledger::{RunningDigest, Token};

use crate::model::Class;
use crate::rig::{Rig, Settings, Stop, load, tokens};

/// What a record has beside KV: header, tokens of a snapshot, what llama.cpp writes once a layer.
const HEADERS: u64 = 600;

/// In memory where there is such a place: two files are made durable in each of many turns.
fn home() -> tempfile::TempDir {
    let shm = tempfile::TempDir::new_in("/dev/shm");
    shm.or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// Bytes of the files of each kind.
fn stored(home: &Path) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    for folder in fs::read_dir(home.join("v1")).expect("a store") {
        for file in fs::read_dir(folder.expect("a folder").path()).expect("files") {
            let path = file.expect("a file").path();
            let kind = path.extension().unwrap_or_default().to_string_lossy();
            *bytes.entry(kind.into_owned()).or_default() += path.metadata().expect("a size").len();
        }
    }
    bytes
}

fn found(rig: &Rig, target: &[Token]) -> StoredPrefix {
    let digest = |at: usize| {
        let mut running = RunningDigest::new(rig.store().fingerprint().hard);
        running.extend(&target[..at]);
        running.digest()
    };
    rig.store().lookup(target, &digest).expect("a lookup")
}

/// Where the turns of a conversation of some length ended, and its tokens.
struct Talk {
    ledger: Vec<Token>,
    ends: Vec<usize>,
}

/// Turns of 20 to 100 tokens, each call held against the bounds on what it writes and what is kept.
fn talk(rig: &mut Rig, home: &Path, turns: u64) -> Talk {
    let (mut ledger, mut ends) = (Vec::new(), Vec::new());
    let token_bytes = rig.handle().facts().token_bytes as f64;
    let row = 4 * load(rig.class, Settings::default().weights).vocab().size() as u64;
    let mut before = 0;
    for turn in 0..turns {
        ledger.extend(tokens(turn, 20 + (turn as usize * 37) % 80));
        let said = tokens(1000 + turn, 4);
        let (outcome, _) = rig.say(&ledger, &said);
        ledger.extend(&said);
        let new = (outcome.context() - before) as f64;
        before = outcome.context();
        ends.push(before);

        let what = format!("{:?} turn {turn}: {outcome:?}", rig.class);
        let most = (1.05 * new * token_bytes) as u64 + HEADERS;
        assert!(outcome.saved_bytes <= most, "{what}: at most {most}");
        assert_eq!(outcome.saved_bytes > 0, token_bytes > 0.0, "{what}");
        let at = found_node(rig, &ledger[..before]);
        match rig.class {
            // The logits row at the prompt's end, and no state.
            Class::Dense => assert_eq!((outcome.snapshot_bytes, at), (row, None), "{what}"),
            _ => {
                let file = at.expect("the present state is stored");
                let bytes = outcome.snapshot_bytes;
                assert!(bytes < file && file < bytes + HEADERS, "{what}: {file}");
                let files = stored(home);
                let nodes = files["node"];
                let quarter = 4 * (nodes - file) <= files.values().sum();
                // Nothing by position: there is nothing to take a quarter of.
                assert!(
                    quarter || rig.class == Class::Recurrent,
                    "{what}: {files:?}"
                );
            }
        }
    }
    Talk { ledger, ends }
}

/// Bytes of the file of the snapshot at the end of `target`.
fn found_node(rig: &Rig, target: &[Token]) -> Option<u64> {
    rig.store().flush().expect("a flush");
    let found = found(rig, target);
    let last = found.nodes.last().filter(|n| n.at == target.len());
    last.map(|n| n.bytes)
}

fn copied(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an entry").path();
            let target = to.join(path.file_name().expect("a name"));
            match path.is_dir() {
                true => copy(&path, &target),
                false => drop(fs::copy(&path, &target).expect("a copy")),
            }
        }
    }
    let to = home();
    copy(from, to.path());
    to
}

/// Turns of one conversation: 32 can be taken back.
const TURNS: usize = 33;

#[test]
fn a_turn_writes_one_snapshot_older_ones_take_a_quarter_and_going_back_costs_the_way_at_most() {
    for class in Class::ALL {
        let home = home();
        let mut rig = Rig::new(class, Some(home.path()));
        let talk = talk(&mut rig, home.path(), TURNS as u64);
        let older = bounded(&rig, home.path(), &talk);
        drop(rig);
        if older > 0 {
            back(class, home.path(), &talk);
        }
    }
}

/// Holds what is on disk against the bounds; gives how many snapshots there are beside the present.
fn bounded(rig: &Rig, home: &Path, talk: &Talk) -> usize {
    let len = talk.ends[TURNS - 1];
    let found = found(rig, &talk.ledger[..len]);
    let files = stored(home);
    let of = |kind| files.get(kind).copied().unwrap_or(0);
    let (edges, nodes) = (of("edge"), of("node"));
    let what = format!("{:?}: {files:?} {:?}", rig.class, found.nodes);
    let older = found.nodes.len().saturating_sub(1);
    match rig.class {
        // One logits row.
        Class::Dense => assert_eq!(found.nodes.len(), 1, "{what}"),
        // Nothing by position: the distances alone bound it.
        Class::Recurrent => {
            assert_eq!(edges, 0, "{what}");
            assert!((5..=2 * 12).contains(&older), "{what}");
        }
        Class::Swa | Class::Hybrid => {
            assert!(older >= 2, "there is room for more than one: {what}");
        }
    }
    // All there is on disk is this way's.
    let own: u64 = found.nodes.iter().map(|n| n.bytes).sum();
    assert_eq!(own, nodes, "{what}");
    older
}

/// In a process of its own each time: 1, 2, 4, … turns are taken back.
fn back(class: Class, home: &Path, talk: &Talk) {
    let head = talk.ends[TURNS - 1];
    for undone in [1, 2, 4, 8, 16, 32] {
        let end = talk.ends[TURNS - 1 - undone];
        let home = copied(home);
        let mut rig = Rig::new(class, Some(home.path()));
        let back = rig.rewind(&talk.ledger[..end]);
        let what = format!("{class:?}: {undone} turns back, {} tokens", head - end);
        assert_eq!(back.restored + back.evaluated, end, "{what}: {back:?}");
        if undone == 1 {
            assert_eq!(back.evaluated, 0, "{what}");
        }
        // A quarter of what a hybrid has here does not hold all of them.
        if class != Class::Hybrid {
            assert!(back.evaluated <= head - end, "{what}: {back:?}");
        }
    }
}

/// A turn of several calls: their states stay in RAM, and one of them goes to disk, at the end of
/// the turn, before another conversation takes the slot, or with the process.
#[test]
fn of_a_turn_of_six_calls_one_state_is_written_on_every_class() {
    for class in [Class::Swa, Class::Hybrid, Class::Recurrent] {
        for end in ["of the turn", "by another conversation", "of the process"] {
            let what = format!("{class:?}, {end}");
            let home = home();
            let mut rig = Rig::new(class, Some(home.path()));
            rig.steps = true;
            let mut ledger = Vec::new();
            for call in 0..6 {
                ledger.extend(tokens(call, 40));
                let said = tokens(100 + call, 4);
                let (outcome, _) = rig.say(&ledger, &said);
                assert_eq!(outcome.snapshot_bytes, 0, "{what}, call {call}");
                assert_eq!(outcome.miss, None, "{what}, call {call}");
                ledger.extend(said);
            }
            let list = rig.held();
            let one = rig.handle().facts().snapshot_bytes as u64;
            match end {
                "of the turn" => {
                    let bytes = rig.handle().settle().expect("a live engine");
                    assert!(bytes >= one, "{what}: {bytes}");
                    let again = rig.handle().settle().expect("a live engine");
                    assert_eq!(again, 0, "{what}");
                }
                "by another conversation" => {
                    rig.steps = false;
                    let other = tokens(50, 100);
                    let (outcome, _) = rig.ask("other", &other, Some(&tokens(51, 4)), Stop::Never);
                    let bytes = outcome.expect("a call").snapshot_bytes;
                    assert!(bytes >= 2 * one, "{what}: {bytes}");
                }
                _ => {}
            }
            let mut rig = rig.restart();
            assert_eq!(found(&rig, &list).nodes.len(), 1, "{what}");
            let back = rig.rewind(&list);
            let cost = (back.restored, back.evaluated, back.miss);
            assert_eq!(cost, (list.len(), 0, None), "{what}");
        }
    }
}

/// A long turn of many calls is kept as it goes: a crash costs about as much as in a long prompt.
#[test]
fn a_long_turn_of_many_calls_is_kept_every_2048_tokens_on_every_class() {
    for class in [Class::Swa, Class::Hybrid, Class::Recurrent] {
        let home = home();
        let mut rig = Rig::new(class, Some(home.path()));
        rig.steps = true;
        let (mut ledger, mut wrote) = (Vec::new(), Vec::new());
        for call in 0..7 {
            ledger.extend(tokens(call, 896));
            let said = tokens(100 + call, 4);
            let (outcome, _) = rig.say(&ledger, &said);
            wrote.push(outcome.snapshot_bytes > 0);
            ledger.extend(said);
            rig.store().flush().expect("a flush");
            let held = rig.held();
            let last = found(&rig, &held).nodes.last().map_or(0, |n| n.at);
            assert!(held.len() - last < 2048, "{class:?}, call {call}: {last}");
        }
        let want = [false, false, true, false, false, true, false];
        assert_eq!(wrote, want, "{class:?}");
    }
}

/// A message that is withdrawn in the middle of such a turn leaves what the turn had on disk.
#[test]
fn a_call_that_is_cut_before_its_reply_stores_the_step_before_it_on_every_class() {
    for class in [Class::Swa, Class::Hybrid, Class::Recurrent] {
        let home = home();
        let mut rig = Rig::new(class, Some(home.path()));
        rig.steps = true;
        let mut ledger = tokens(1, 100);
        let said = tokens(2, 4);
        rig.say(&ledger, &said);
        let list = rig.held();
        ledger.extend(said);
        ledger.extend(tokens(3, 400));
        let (cut, _) = rig.say_until(&ledger, &tokens(4, 4), 64);
        assert!(cut.tokens.is_empty() && cut.snapshot_bytes > 0, "{class:?}");
        let back = rig.restart().rewind(&list);
        let cost = (back.restored, back.evaluated, back.miss);
        assert_eq!(cost, (list.len(), 0, None), "{class:?}");
    }
}
