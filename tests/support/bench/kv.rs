//! What the store costs and gives, side by side in one run: how long saving holds the engine thread,
//! bytes written per new byte of KV, restoring against a plain read of the same files and a copy of
//! as many bytes, switching between conversations that share most of their tokens, and a start with
//! a thousand small segments. On KV rows of real size; medians of interleaved runs.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use npast::kv::{Store, StoredPrefix};
use npast::ledger::Token;
use npast::llama::Model;
use npast::slot::{Outcome, Slot, SlotHandle, Target, segment_tokens};

use super::measure::{call, load, median, ms, slot, store, title, tokens};
use super::model;
use super::rows::{Rows, digest};
use super::store::disk_folder;

/// Tokens of the measured conversations.
const LENGTHS: [usize; 2] = [10_000, 100_000];
/// Tokens that are evaluated for the rows.
const EVALUATED: usize = 2048;
/// Small segments of a conversation of many short turns.
const SMALL: usize = 1000;
const RUNS: usize = 5;
/// Where a run takes long.
const FEW: usize = 3;
/// Room for what is appended in the runs.
const ROOM: usize = 8192;
/// Bytes of the buffers that are copied from and to: more than caches hold of them.
const BUFFER: usize = 256 << 20;
/// Bytes read at a time by the plain read.
const READ: usize = 1 << 20;

/// Runs and prints all of it.
pub fn run() {
    let model = load(&model::rows_model());
    let (rows, each) = rows(&model);
    let mut copy = Copy::new();
    for length in LENGTHS {
        measure(&model, (&rows, each), &mut copy, length);
    }
    println!(
        "\nFor comparison, a server of the usual kind: 0.43 s to save 150 MB (18,000 tokens, 0.35 GB/s), \
         whole and in\nthe foreground at each save, and nothing reused after a restart on sliding-window \
         and hybrid models."
    );
    if let Some(peak) = peak() {
        println!("At most {peak} MiB of memory in this process.");
    }
}

/// Rows of a segment that was really evaluated, and the tokens of one, as a long append is cut.
fn rows(model: &Arc<Model>) -> (Rows, usize) {
    let home = disk_folder();
    let kv = store(home.path());
    let slot = slot(model, 4096, kv.clone());
    let each = segment_tokens(slot.handle().facts().token_bytes);
    let target = tokens(9, EVALUATED);
    call(&slot.handle(), Target::whole(target.clone()), 0, None);
    kv.flush().expect("a flush");
    let found = find(&kv, &target);
    let segment = kv
        .read_segment(&found.edges[0], &target)
        .expect("a segment");
    (Rows::of(segment.payload, segment.p1), each)
}

fn find(kv: &Store, target: &[Token]) -> StoredPrefix {
    let digests = |at: usize| digest(kv, target, at);
    kv.lookup(target, &digests).expect("a lookup")
}

/// A copy between two buffers that are in memory.
struct Copy {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Copy {
    fn new() -> Copy {
        Copy {
            from: vec![1; BUFFER],
            to: vec![2; BUFFER],
        }
    }

    /// Milliseconds of copying so many bytes.
    fn ms(&mut self, bytes: u64) -> f64 {
        let begun = Instant::now();
        let mut left = bytes as usize;
        while left > 0 {
            let part = left.min(BUFFER);
            black_box(&mut self.to)[..part].copy_from_slice(&black_box(&self.from)[..part]);
            left -= part;
        }
        ms(begun)
    }
}

/// The record files of a data folder.
fn files(home: &Path) -> Vec<PathBuf> {
    let models = std::fs::read_dir(home.join("kv/v1")).expect("a store");
    let all = models
        .flatten()
        .flat_map(|m| std::fs::read_dir(m.path()).expect("files"))
        .flatten();
    let records = all.map(|f| f.path());
    records
        .filter(|p| p.extension().is_some_and(|e| e == "edge" || e == "node"))
        .collect()
}

fn size(files: &[PathBuf]) -> u64 {
    let len = |p: &PathBuf| p.metadata().map_or(0, |m| m.len());
    files.iter().map(len).sum()
}

/// Milliseconds of reading files from begin to end into one buffer, as `cat` does.
fn plain_read(files: &[PathBuf]) -> f64 {
    let mut buffer = vec![0; READ];
    let begun = Instant::now();
    for path in files {
        let mut file = File::open(path).expect("a file");
        while file.read(&mut buffer).expect("a read") > 0 {
            black_box(&buffer);
        }
    }
    ms(begun)
}

/// Takes files out of the page cache, where the system listens.
fn forget(files: &[PathBuf]) {
    #[cfg(target_os = "linux")]
    for path in files {
        let file = File::open(path).expect("a file");
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = files;
}

/// Bytes that this process has given to `write`.
fn written() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find_map(|l| l.strip_prefix("wchar: "))?;
    line.parse().ok()
}

/// The most memory that this process ever had, MiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib >> 10)
}

/// Makes the slot hold a conversation; everything of it must be found.
fn hold(slot: &SlotHandle, target: &[Token]) -> Outcome {
    let whole = Target::whole(target.to_vec());
    let (outcome, _) = call(slot, whole, target.len(), None);
    let found = outcome.kept + outcome.restored;
    assert_eq!((found, outcome.evaluated), (target.len(), 0));
    outcome
}

/// What the slot holds before a restore.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// Another conversation, of which nothing is kept.
    Another,
}

/// Takes a conversation out of the slot.
fn leave(slot: &SlotHandle, before: Before) {
    let left = match before {
        Before::Nothing => Vec::new(),
        Before::Another => tokens(200, 8),
    };
    call(slot, Target::whole(left), 0, None);
}

fn rate(bytes: u64, ms: f64) -> f64 {
    bytes as f64 / ms / 1e6
}

fn line(name: &str, ms: f64, bytes: u64, note: &str) {
    println!(
        "{name:<46}{ms:>10.2} ms{:>8.2} GB/s  {note}",
        rate(bytes, ms)
    );
}

fn measure(model: &Arc<Model>, rows: (&Rows, usize), copy: &mut Copy, length: usize) {
    let (rows, each) = rows;
    let home = disk_folder();
    let kv = store(home.path());
    let running = slot(model, length + ROOM, kv.clone());
    let slot = running.handle();
    title(&format!(
        "{length} tokens, {} bytes of KV each (4 layers, 8 KV heads of 128, f16); rows evaluated once \
         and written under all positions",
        slot.facts().token_bytes
    ));
    let one = tokens(1, length);
    rows.fill(&kv, "bench", &one, 0, each);
    restoring(&slot, &kv, home.path(), copy, &one);
    switching(&slot, &kv, (rows, each), &one);
    saving(&slot, &kv, home.path(), copy, &one);
    drop((slot, running, kv, home));
    small(model, (rows, each), length);
}

/// A whole conversation from the disk.
fn restoring(slot: &SlotHandle, kv: &Store, home: &Path, copy: &mut Copy, one: &[Token]) {
    let files = files(home);
    let bytes = size(&files);
    let chain: Vec<_> = find(kv, one)
        .edges
        .into_iter()
        .map(|e| (e.clone(), e.p1))
        .collect();
    let target: Arc<[Token]> = one.into();
    let (mut empty, mut over, mut read, mut copied, mut prove) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..RUNS {
        leave(slot, Before::Nothing);
        empty.push(hold(slot, one).times.restore);
        leave(slot, Before::Another);
        over.push(hold(slot, one).times.restore);
        read.push(plain_read(&files));
        copied.push(copy.ms(bytes));
        let begun = Instant::now();
        let mut reading = kv
            .read_chain(chain.clone(), target.clone())
            .expect("a thread");
        while let Some(segment) = reading.next() {
            reading.give_back(segment.expect("a segment").payload);
        }
        prove.push(ms(begun));
    }
    let [empty, over, read, copied, prove] = [empty, over, read, copied, prove].map(median);
    let slower = read.max(copied);
    let share = |ms: f64| format!("{:.2} of the slower", slower / ms);
    println!(
        "restore of {} MiB in {} files, in the page cache:",
        bytes >> 20,
        files.len()
    );
    line("  plain read of the files", read, bytes, "");
    line("  memcpy of as many bytes", copied, bytes, "");
    line("  restore into an empty slot", empty, bytes, &share(empty));
    line("  restore over a conversation", over, bytes, &share(over));
    line("  read and proven alone", prove, bytes, "");
    let (mut restore, mut read) = (vec![], vec![]);
    for _ in 0..FEW {
        leave(slot, Before::Nothing);
        forget(&files);
        restore.push(hold(slot, one).times.restore);
        forget(&files);
        read.push(plain_read(&files));
    }
    let [restore, read] = [restore, read].map(median);
    let share = format!("{:.2} of the slower", read.max(copied) / restore);
    println!("the same from the disk:");
    line("  plain read of the files", read, bytes, "");
    line("  restore into an empty slot", restore, bytes, &share);
}

/// Two conversations that share nine tenths.
fn switching(slot: &SlotHandle, kv: &Store, rows: (&Rows, usize), one: &[Token]) {
    let (rows, each) = rows;
    let shared = one.len() * 9 / 10 / each * each;
    let two = [&one[..shared], &tokens(2, one.len() - shared)].concat();
    rows.fill(kv, "other", &two, shared, each);
    let (mut there, mut whole) = (vec![], vec![]);
    let (mut part, mut all) = (0, 0);
    for _ in 0..FEW {
        leave(slot, Before::Another);
        let outcome = hold(slot, one);
        (all, _) = (outcome.restored_bytes, whole.push(outcome.times.restore));
        for target in [&two[..], one] {
            let outcome = hold(slot, target);
            assert_eq!(outcome.kept, shared);
            (part, _) = (outcome.restored_bytes, there.push(outcome.times.restore));
        }
    }
    let (there, whole) = (median(there), median(whole));
    let percent = shared as f64 / one.len() as f64 * 100.0;
    println!("switch between two conversations that share {percent:.0} %:");
    line("  switch", there, part, "");
    line("  all of it", whole, all, "");
    println!(
        "  {:.3} of the time for {:.3} of the bytes",
        there / whole,
        part as f64 / all as f64
    );
}

/// Turns at the end of the conversation.
fn saving(slot: &SlotHandle, kv: &Store, home: &Path, copy: &mut Copy, one: &[Token]) {
    let mut mark = hold(slot, one).mark;
    let mut ledger = Arc::new(one.to_vec());
    let per_token = slot.facts().token_bytes;
    println!("saving a turn, at {} tokens:", one.len());
    for new in [32, 128] {
        let (mut stall, mut copied) = (vec![], vec![]);
        let (mut stored, mut wrote, mut bytes) = (vec![], vec![], 0);
        for run in 0..FEW {
            let (before, io) = (size(&files(home)), written());
            let tail = tokens((10 + run) as u64, new);
            Arc::make_mut(&mut ledger).extend_from_slice(&tail);
            let target = Target::after(mark, ledger.clone());
            let (outcome, _) = call(slot, target, mark.len(), None);
            mark = outcome.mark;
            kv.flush().expect("a flush");
            stall.push(outcome.times.save);
            bytes = outcome.saved_bytes;
            copied.push(copy.ms(bytes));
            let own = (new * per_token) as f64;
            stored.push((size(&files(home)) - before) as f64 / own);
            let io = io.and_then(|before| Some(written()? - before));
            wrote.extend(io.map(|b| b as f64 / own));
        }
        let (stall, copied) = (median(stall), median(copied));
        line(
            &format!("  {new} tokens: the engine is held"),
            stall,
            bytes,
            "",
        );
        line("    memcpy of as many bytes", copied, bytes, "");
        println!(
            "    {:.3} bytes of files per new byte of KV; {:.3} with the index",
            median(stored),
            median(wrote)
        );
    }
}

/// A new process on a conversation of a thousand short turns.
fn small(model: &Arc<Model>, rows: (&Rows, usize), length: usize) {
    let (rows, long) = rows;
    println!(
        "cold start, {length} tokens in the page cache (store opened, found, read, put back):"
    );
    let one = tokens(1, length);
    for (name, each) in [("long", long), ("small", length / SMALL)] {
        let home = disk_folder();
        let kv = store(home.path());
        rows.fill(&kv, "bench", &one, 0, each);
        let count = files(home.path()).len();
        drop(kv);
        let bytes = size(&files(home.path()));
        let cold = median((0..FEW).map(|_| start(model, home.path(), &one)).collect());
        line(&format!("  {count} {name} segments"), cold, bytes, "");
        if name == "small" {
            let count = merge(model, home.path(), length);
            let merged = (0..FEW).map(|_| start(model, home.path(), &one));
            let merged = median(merged.collect());
            line(&format!("  {count} after merging"), merged, bytes, "");
        }
    }
}

/// Milliseconds from opening the store until the slot holds the conversation.
fn start(model: &Arc<Model>, home: &Path, target: &[Token]) -> f64 {
    let mut opened = 0.0;
    let open = |_: &_| {
        let begun = Instant::now();
        let kv = store(home);
        opened = ms(begun);
        kv
    };
    let running = Slot::start(model, &super::measure::options(target.len() + ROOM), open);
    let running = running.expect("a slot");
    let restored = hold(&running.handle(), target).times.restore;
    opened + restored
}

/// Merges what is small; how many files are left.
fn merge(model: &Arc<Model>, home: &Path, length: usize) -> usize {
    let kv = store(home);
    let options = super::measure::options(length + ROOM);
    // The slot knows how two states are joined.
    let slot = Slot::start(model, &options, |_| kv.clone()).expect("a slot");
    kv.merge().expect("a merge");
    drop((slot, kv));
    files(home).len()
}
