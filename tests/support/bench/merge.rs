//! A year of short turns: a cold start from a thousand small segments, from the same after merging,
//! and from one long segment; and how fast a chain is read and proven beside a plain read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use npast::kv::{Edge, Fingerprint, PutSegment, Store, StoreLimits};
use npast::ledger::{Digest, RunningDigest, Token};
use npast::llama::{Context, Model, Seq};
use npast::slot::{Slot, SlotMemory, SlotOptions, Target};

use super::measure::{UBATCH, call, greedy, load, median, ms, options, title, tokens};
use super::model;
use super::store::{disk_folder, memory_folder};

/// Segments of the short turns, and tokens of each.
const TURNS: usize = 1000;
const EACH: usize = 4;
const LIMIT: usize = 8192;
const RUNS: usize = 5;

/// What a side's chain is made of.
const SIDES: [&str; 3] = ["1,000 segments", "merged", "one segment"];

/// Runs and prints it.
pub fn run() {
    let model = load(&model::bench_model());
    let target = tokens(1, TURNS * EACH);
    let homes = SIDES.map(|_| memory_folder().unwrap_or_else(disk_folder));
    let bytes = fill(&model, &target, [0, 1, 2].map(|i| homes[i].path()));
    title(&format!(
        "cold start after {TURNS} turns of {EACH} tokens ({} MiB of KV); medians of {RUNS}, files in \
         the page cache",
        bytes >> 20
    ));
    let merging = {
        let slot = Slot::start(&model, &options(LIMIT), |_| store(homes[1].path()));
        let slot = slot.expect("a slot");
        // The slot has told its store how segments are joined; it is the same writer.
        let kv = store(homes[1].path());
        kv.merge_with(join(&model));
        let begun = Instant::now();
        let merged = kv.merge().expect("a writer");
        drop(slot);
        (ms(begun), merged)
    };
    let (took, merged) = merging;
    println!(
        "merging: {} segments into {}, {} MiB written in {took:.0} ms",
        merged.replaced,
        merged.written,
        merged.bytes >> 20
    );
    let mut restore: [Vec<f64>; 3] = Default::default();
    for _ in 0..RUNS {
        for (side, home) in homes.iter().enumerate() {
            restore[side].push(cold(&model, home.path(), &target));
        }
    }
    println!("{:<42}{:>12}", "restore", "ms");
    for (name, times) in SIDES.iter().zip(restore) {
        println!("{name:<42}{:>12.1}", median(times));
    }
    read(homes.each_ref().map(|h| h.path()), &target);
}

/// A store that merges when it is told to.
fn store(home: &Path) -> Store {
    let print = Fingerprint::new(serde_json::json!({"model": "bench"}), serde_json::json!({}));
    Store::open(&home.join("kv"), print, StoreLimits::default())
        .expect("a store in a writable folder")
}

fn memory(model: &Arc<Model>) -> SlotMemory {
    let mut context = options(LIMIT).context;
    context.cells = SlotOptions::cells(LIMIT);
    let ctx = Context::new(model, &context).expect("a context");
    SlotMemory::probe(ctx).expect("a memory")
}

fn join(model: &Arc<Model>) -> Arc<dyn npast::kv::JoinPayloads> {
    memory(model).join().expect("segments")
}

/// D(at) of a target under the store's fingerprint.
fn digest(kv: &Store, target: &[Token], at: usize) -> Digest {
    let mut running = RunningDigest::new(kv.fingerprint().hard);
    running.extend(&target[..at]);
    running.digest()
}

/// Evaluates the target once and stores it as each side has it. Returns the bytes of one side.
fn fill(model: &Arc<Model>, target: &[Token], homes: [&Path; 3]) -> u64 {
    let mut memory = memory(model);
    for (i, batch) in target.chunks(UBATCH).enumerate() {
        let decoded = memory.ctx().decode(Seq::Main, i * UBATCH, batch, false);
        decoded.expect("a decode");
    }
    for (side, home) in homes.into_iter().enumerate() {
        let kv = store(home);
        let step = if side == 2 { target.len() } else { EACH };
        for p0 in (0..target.len()).step_by(step) {
            let p1 = p0 + step;
            kv.put_segment(PutSegment {
                from: digest(&kv, target, p0),
                to: digest(&kv, target, p1),
                p0,
                p1,
                tokens: target[p0..p1].to_vec(),
                payload: memory.segment(p0, p1).expect("a segment"),
            });
        }
        kv.pin("bench", digest(&kv, target, target.len()));
        kv.flush().expect("a writer");
        if side == 2 {
            return kv.usage().bytes;
        }
    }
    0
}

/// Milliseconds until a new slot has restored the target.
fn cold(model: &Arc<Model>, home: &Path, target: &[Token]) -> f64 {
    let slot = Slot::start(model, &options(LIMIT), |_| store(home)).expect("a slot");
    let whole = Target::whole([target, &tokens(2, 8)].concat());
    let (outcome, _) = call(&slot.handle(), whole, target.len(), greedy(1));
    // What an earlier run has stored after it is restored too.
    assert!(outcome.restored >= target.len());
    outcome.times.restore
}

/// Gigabytes per second of reading each side's files in several ways.
fn read(homes: [&Path; 3], target: &[Token]) {
    println!(
        "\n{:<42}{:>12}{:>12}{:>12}",
        "GB/s", SIDES[0], SIDES[1], SIDES[2]
    );
    let mut rows: [[Vec<f64>; 3]; 4] = Default::default();
    let shared: Arc<[Token]> = target.into();
    for _ in 0..RUNS {
        for (side, home) in homes.iter().enumerate() {
            let kv = store(home);
            let found = kv.lookup(target, &|at| digest(&kv, target, at));
            let edges = found.expect("a lookup").edges;
            let bytes: u64 = edges.iter().map(|e| e.bytes).sum();
            let paths = files(home);
            let speed = |work: &mut dyn FnMut()| {
                let begun = Instant::now();
                work();
                bytes as f64 / begun.elapsed().as_secs_f64() / 1e9
            };
            let mut buffer = vec![0u8; bytes as usize];
            rows[0][side].push(speed(&mut || plain(&paths, &mut buffer)));
            let mut copy = vec![1u8; buffer.len()];
            rows[1][side].push(speed(&mut || copy.copy_from_slice(&buffer)));
            rows[2][side].push(speed(&mut || {
                for edge in &edges {
                    kv.read_segment(edge, target).expect("a stored segment");
                }
            }));
            let chain: Vec<(Edge, usize)> = edges.iter().map(|e| (e.clone(), e.p1)).collect();
            rows[3][side].push(speed(&mut || {
                let mut reading = kv
                    .read_chain(chain.clone(), shared.clone())
                    .expect("a thread");
                while let Some(segment) = reading.next() {
                    reading.give_back(segment.expect("a stored segment").payload);
                }
            }));
        }
    }
    let names = [
        "plain read",
        "memcpy",
        "read and proven, one by one",
        "read and proven as a chain",
    ];
    for (name, sides) in names.iter().zip(rows) {
        let [a, b, c] = sides.map(median);
        println!("{name:<42}{a:>12.2}{b:>12.2}{c:>12.2}");
    }
}

fn files(home: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(home.join("kv/v1")).expect("a folder");
    let all = folders.flat_map(|f| std::fs::read_dir(f.expect("it").path()).expect("files"));
    let paths = all.map(|f| f.expect("a file").path());
    paths
        .filter(|p| p.extension().is_some_and(|e| e == "edge"))
        .collect()
}

fn plain(paths: &[PathBuf], buffer: &mut [u8]) {
    let mut at = 0;
    for path in paths {
        let mut file = File::open(path).expect("a file");
        loop {
            // What the slot has stored since is read into the same place.
            let end = buffer.len();
            let from = at.min(end - 1);
            match file.read(&mut buffer[from..]).expect("a read") {
                0 => break,
                n => at = (from + n).min(end - 1),
            }
        }
    }
}
