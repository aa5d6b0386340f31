//! Sixty-four conversations round robin on one slot for a thousand turns, with room on the disk for
//! half of what they are: memory and disk stay bounded, every receipt is honest, and every
//! conversation has exactly the tokens that a plain list has.
//!
//! In a process of its own, so that its memory can be told. By default all classes; `scripts/soak` does
//! more turns: `NPAST_SOAK` names classes, `NPAST_SOAK_TURNS` sets the turns.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use npast::kv::{Fingerprint, Store, StoreLimits};
use npast::ledger::Token;
use npast::llama::{ContextOptions, Model, ModelOptions};
use npast::slot::{CallKind, Cause, Outcome, Slot, SlotCall, SlotOptions, Target};
use tokio::sync::mpsc::unbounded_channel;

use crate::model::{self, Class};
use crate::rig::{script, tokens};

const SESSIONS: usize = 64;
/// Tokens that all conversations begin with.
const HEAD: usize = 40;
/// What memory may grow by once a third of the turns is done. A leak of a snapshot or a segment a
/// turn would be many times that.
const GROWTH: usize = 24 << 20;

/// A conversation as a plain list knows it.
#[derive(Clone, Default)]
struct Talk {
    ledger: Vec<Token>,
    /// Of the ledger, tokens that were decoded.
    decoded: usize,
}

/// What a soak came to.
#[derive(Default)]
struct Sum {
    kept: usize,
    restored: usize,
    evaluated: usize,
    appended: usize,
    misses: usize,
    most_bytes: u64,
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[test]
fn a_thousand_turns_of_64_conversations_stay_within_memory_and_disk() {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", "--ignored", "--nocapture"]);
    let output = command.arg("soak::rounds").output().expect("a run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
}

#[test]
#[ignore = "runs in a process of its own, see the test above"]
fn rounds() {
    let turns = setting("NPAST_SOAK_TURNS").and_then(|n| n.parse().ok());
    let classes: Vec<Class> = match setting("NPAST_SOAK") {
        Some(names) => names.split(',').flat_map(Class::parse).collect(),
        None => Class::ALL.to_vec(),
    };
    assert!(!classes.is_empty(), "NPAST_SOAK names no class");
    for class in classes {
        soak(class, turns.unwrap_or(1000));
    }
}

fn soak(class: Class, turns: usize) {
    let home = tempfile::tempdir().expect("a folder");
    let (slot, store) = open(class, home.path(), None);
    // What one conversation takes at its end says what room half of them would need.
    let mut talks = vec![Talk::default(); SESSIONS];
    let rounds = turns.div_ceil(SESSIONS);
    for round in 0..rounds {
        turn(&slot, &mut talks, 0, round, &mut Sum::default());
    }
    store.flush().expect("a flush");
    // Of a recurrent one most are older states, which go first and are not missed.
    let part = if class == Class::Recurrent { 4 } else { 2 };
    let quota = bytes(home.path()) * SESSIONS as u64 / part;
    drop((slot, store));

    let home = tempfile::tempdir().expect("a folder");
    let (slot, store) = open(class, home.path(), Some(quota));
    let mut talks = vec![Talk::default(); SESSIONS];
    let mut sum = Sum::default();
    let mut warm = 0;
    let begun = Instant::now();
    for i in 0..turns {
        let (at, round) = (i % SESSIONS, i / SESSIONS);
        turn(&slot, &mut talks, at, round, &mut sum);
        store.flush().expect("a flush");
        let used = bytes(home.path());
        assert!(
            used <= quota,
            "{class:?} turn {i}: {used} bytes, {quota} allowed"
        );
        sum.most_bytes = sum.most_bytes.max(used);
        if i == turns / 3 {
            warm = resident();
        }
    }
    let grown = resident().saturating_sub(warm);
    println!(
        "{}: {turns} turns of {SESSIONS} conversations in {:.1} s; {} kept, {} restored, {} read for \
         {} new, {} misses, all named; at most {} of {} KiB on disk; {} KiB more memory since a third",
        class.as_str(),
        begun.elapsed().as_secs_f64(),
        sum.kept,
        sum.restored,
        sum.evaluated,
        sum.appended,
        sum.misses,
        sum.most_bytes >> 10,
        quota >> 10,
        grown >> 10,
    );
    assert!(grown < GROWTH, "{class:?}: memory grew by {grown} bytes");
    // It was a soak: room had to be made, and much was found all the same.
    assert!(
        turns < 1000 || sum.misses > 0,
        "{class:?}: nothing was ever missing"
    );
    assert!(
        sum.restored > sum.appended,
        "{class:?}: hardly anything was stored"
    );
    assert_eq!(store.take_notices(), [], "{class:?}");
}

/// A slot on a store with so much room; without a number, with room for everything.
fn open(class: Class, home: &Path, quota: Option<u64>) -> (Slot, Store) {
    let path = model::tiny_model(class, &model::Options::default());
    let model = Model::load(&path, &ModelOptions::default(), &mut |_| true);
    let options = SlotOptions {
        limit: 4096,
        context: ContextOptions {
            ubatch: 64,
            ..ContextOptions::default()
        },
        // Less than one conversation's: what is kept in memory is bounded by it.
        snapshot_budget: 1 << 20,
        restore_budget: 1 << 20,
    };
    let print = Fingerprint::new(
        serde_json::json!({"soak": class.as_str()}),
        Default::default(),
    );
    let limits = StoreLimits {
        quota_bytes: quota.or(Some(1 << 40)),
        ..StoreLimits::default()
    };
    let store = Store::open(&home.join("kv"), print, limits).expect("a store");
    let model = Arc::new(model.expect("a tiny model"));
    let slot = Slot::start(&model, &options, |_| store.clone()).expect("a slot");
    (slot, store)
}

/// One conversation's next turn, held against its list and against the law of receipts.
fn turn(slot: &Slot, talks: &mut [Talk], at: usize, round: usize, sum: &mut Sum) {
    let talk = &mut talks[at];
    let seed = (at * 1000 + round + 1) as u64;
    if round == 0 {
        talk.ledger = tokens(0, HEAD);
    }
    talk.ledger.extend(tokens(seed, 4 + (at + round) % 9));
    let reply = tokens(seed + 500, 3);
    let (events, _inbox) = unbounded_channel();
    let answer = slot.handle().call(SlotCall {
        kind: CallKind::Turn,
        owner: format!("talk-{at}"),
        target: Target::whole(talk.ledger.clone()),
        head: HEAD,
        common: 0,
        decoded: talk.decoded,
        moved: None,
        reply: Some(script(&reply, Box::new(|_| ()))),
        step: false,
        cancel: Arc::default(),
        events,
    });
    let outcome = answer.expect("a live engine").wait().expect("a call");
    let what = format!("talk {at}, round {round}: {outcome:?}");
    honest(&what, talk, &outcome);
    talk.ledger.extend(&reply);
    talk.decoded = talk.ledger.len() - 1;
    let held = slot.handle().held().expect("a live engine");
    assert!(held == talk.ledger[..talk.decoded], "{what}: other tokens");
    sum.kept += outcome.kept;
    sum.restored += outcome.restored;
    sum.evaluated += outcome.evaluated;
    sum.appended += outcome.appended;
    sum.misses += usize::from(outcome.miss.is_some());
}

fn honest(what: &str, talk: &Talk, outcome: &Outcome) {
    assert!(outcome.error.is_none(), "{what}");
    let prompt = outcome.kept + outcome.restored + outcome.evaluated;
    assert_eq!(prompt, talk.ledger.len(), "{what}");
    // A first turn finds the head that another one has left in the slot.
    let new = talk.ledger.len() - talk.decoded;
    assert!(outcome.appended <= new, "{what}");
    assert!(talk.decoded == 0 || outcome.appended == new, "{what}");
    match &outcome.miss {
        None => assert!(outcome.evaluated <= outcome.appended, "{what}"),
        Some(miss) => {
            assert!(outcome.evaluated > outcome.appended, "{what}");
            let broken = matches!(miss.cause, Cause::Refused(_) | Cause::Lost | Cause::Row);
            assert!(!broken && miss.at < talk.decoded, "{what}");
        }
    }
}

/// Bytes of all stored files.
fn bytes(home: &Path) -> u64 {
    let models = std::fs::read_dir(home.join("kv/v1")).expect("a store");
    let files = models
        .flatten()
        .flat_map(|m| std::fs::read_dir(m.path()).expect("files"));
    let records = files.flatten().filter(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.ends_with(".edge") || name.ends_with(".node")
    });
    records.map(|f| f.metadata().map_or(0, |m| m.len())).sum()
}

/// Bytes of memory that this process has; 0 where nobody says so.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}
