//! From the start of a process to the first token of a stored session, with its parts, beside the
//! same process without the store, which evaluates everything.

use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use npast::kv::{Store, StoredPrefix};
use npast::ledger::{Finish, RunningDigest, Token};
use npast::slot::{Slot, Target, TokenChoice};

use super::measure::{call, greedy, load, median, ms, options, reply, slot, store, title, tokens};
use super::model;

/// Tokens of the stored conversation: a prompt and a reply.
const PROMPT: usize = 4000;
const REPLY: usize = 96;
/// Tokens of the message after the restart.
const APPEND: usize = 32;
const LIMIT: usize = 8192;
const RUNS: usize = 5;

/// What is measured, in the order a child prints it.
const PARTS: [&str; 8] = [
    "process start",
    "load: weights, mapped",
    "context: made and probed",
    "store: opened",
    "read: found, read and proven",
    "set: put back",
    "append: evaluated",
    "first token, from the process's start",
];

/// The whole conversation; the reply's last token was sampled and not decoded.
fn ledger() -> Vec<Token> {
    let parts = [tokens(1, PROMPT), tokens(2, REPLY), tokens(3, APPEND)];
    parts.concat()
}

/// Runs and prints it.
pub fn run() {
    let path = model::bench_model();
    let home = tempfile::tempdir().expect("a folder");
    let bytes = talk(&path, home.path());
    title(&format!(
        "start to first token: a session of {} tokens ({} MiB of KV), {APPEND} new ones; medians of \
         {RUNS} processes, files in the page cache",
        PROMPT + REPLY,
        bytes >> 20,
    ));
    let mut sides: [Vec<Vec<f64>>; 2] = Default::default();
    for _ in 0..RUNS {
        // Of its own for each process, as the one before stored its message too.
        let copied = tempfile::tempdir().expect("a folder");
        copy(home.path(), copied.path()).expect("a copy of the data folder");
        sides[0].push(start(&path, Some(copied.path())));
        sides[1].push(start(&path, None));
    }
    println!("{:<42}{:>12}{:>16}", "", "stored", "evaluated again");
    for (i, part) in PARTS.iter().enumerate() {
        let of = |side: &Vec<Vec<f64>>| median(side.iter().map(|run| run[i]).collect());
        println!(
            "{part:<42}{:>9.1} ms{:>13.1} ms",
            of(&sides[0]),
            of(&sides[1])
        );
    }
    let total = |side: usize| median(sides[side].iter().map(|r| r[PARTS.len() - 1]).collect());
    println!("{:<42}{:>11.1}x", "anew / stored", total(1) / total(0));
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// The conversation before the restart. Returns the bytes stored.
fn talk(path: &Path, home: &Path) -> u64 {
    let model = load(path);
    let kv = store(home);
    let running = slot(&model, LIMIT, kv.clone());
    let said = tokens(2, REPLY);
    let choice = TokenChoice::Script {
        tokens: said,
        finish: Finish::Length,
    };
    let target = Target::whole(tokens(1, PROMPT));
    let (outcome, _) = call(&running.handle(), target, 0, reply(choice, REPLY));
    kv.flush().expect("a flush");
    outcome.saved_bytes
}

/// A new process; its parts in milliseconds.
fn start(model: &Path, home: Option<&Path>) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .arg("start-child")
        .args([model, home.unwrap_or(Path::new("-"))])
        .arg(now_ms().to_string())
        .output()
        .expect("this program starts again");
    assert!(
        output.status.success(),
        "the process failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let parts: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
    assert_eq!(parts.len(), PARTS.len(), "{text}");
    parts
}

/// Milliseconds since 1970: both processes know this clock.
fn now_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

/// The new process: opens everything, says the next message, samples one token.
pub fn child(model: &str, home: &str, spawned: &str) {
    let spawned: f64 = spawned.parse().expect("a time in milliseconds");
    let born = now_ms() - spawned;

    let begun = Instant::now();
    let model = load(Path::new(model));
    let loaded = ms(begun);

    let begun = Instant::now();
    let (mut opened, mut kv) = (0.0, Store::off());
    let running = Slot::start(&model, &options(LIMIT), |_| {
        let begun = Instant::now();
        if home != "-" {
            kv = store(Path::new(home));
        }
        opened = ms(begun);
        kv.clone()
    });
    let running = running.expect("a slot");
    let context = ms(begun) - opened;

    let target = ledger();
    let decoded = PROMPT + REPLY - 1;
    let whole = Target::whole(target.clone());
    let (outcome, _) = call(&running.handle(), whole, decoded, greedy(1));
    // The answer came with the first token: the reply has only one, and saving comes after it.
    let first = now_ms() - spawned;
    let saved = outcome.times.save;
    match kv.is_off() {
        true => assert_eq!(outcome.evaluated, target.len()),
        false => assert_eq!(
            (outcome.restored, outcome.evaluated, outcome.appended),
            (decoded, APPEND + 1, APPEND + 1)
        ),
    }
    // The slot reports reading and setting as one. Reading again, from the same cached files, says
    // how much of it was reading.
    let read = read(&kv, &target);
    let set = (outcome.times.restore - read).max(0.0);
    let parts = [
        born,
        loaded,
        context,
        opened,
        read,
        set,
        outcome.times.prefill,
        first - saved,
    ];
    println!("{}", parts.map(|p| format!("{p:.3}")).join(" "));
}

/// Milliseconds of finding and reading all that is stored of a target. 0 without a store.
fn read(kv: &Store, target: &[Token]) -> f64 {
    if kv.is_off() {
        return 0.0;
    }
    let begun = Instant::now();
    let root = kv.fingerprint().hard;
    let digest = |at: usize| {
        let mut running = RunningDigest::new(root);
        running.extend(&target[..at]);
        running.digest()
    };
    let found: StoredPrefix = kv.lookup(target, &digest).expect("a lookup");
    for edge in &found.edges {
        kv.read_segment(edge, target).expect("a stored segment");
    }
    for node in &found.nodes {
        kv.read_snapshot(node).expect("a stored snapshot");
    }
    ms(begun)
}
