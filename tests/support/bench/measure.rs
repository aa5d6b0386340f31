//! What the benchmarks share: medians, tables, a slot's calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use npast::kv::{Fingerprint, Store, StoreLimits};
use npast::ledger::Token;
use npast::llama::{ContextOptions, Model, ModelOptions, Sampling};
use npast::slot::{
    CallKind, Flow, Outcome, ReplyOptions, Slot, SlotCall, SlotHandle, SlotOptions, Target,
    TokenChoice,
};
use tokio::sync::mpsc::unbounded_channel;

/// Tokens of one decode call: npast's own on a CPU.
pub const UBATCH: usize = 128;

/// Milliseconds since an instant.
pub fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds of `work`, the median of `runs`.
pub fn timed(runs: usize, mut work: impl FnMut()) -> f64 {
    let one = |_| {
        let begun = Instant::now();
        work();
        ms(begun)
    };
    median((0..runs).map(one).collect())
}

/// The middle value; the mean of the two middle ones of an even count. 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

/// `NPAST_THREADS`, else those that the machine has for this process. On a busy machine one thread
/// tells more: several wait for the slowest.
pub fn threads() -> usize {
    let asked = std::env::var("NPAST_THREADS").ok();
    asked
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Keeps this process, with the threads it will start, on as many cores as llama.cpp is given
/// threads. Sides that are compared run in threads of their own, which would otherwise stay on
/// different cores, and the cores of a virtual machine differ by some percent.
#[cfg(target_os = "linux")]
pub fn pin() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut chosen = CpuSet::new();
    let cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    for core in cores.take(threads()) {
        chosen.set(core);
    }
    if let Err(error) = sched_setaffinity(None, &chosen) {
        eprintln!("the sides may run on different cores: {error}");
    }
}

/// Elsewhere a process cannot be kept on a core.
#[cfg(not(target_os = "linux"))]
pub fn pin() {}

/// Milliseconds of CPU that the threads of this process have used, where the kernel says so to the
/// nanosecond. Unlike the clock they do not run while other programs do.
pub fn cpu_ms() -> Option<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(sum / 1e6)
}

/// The clock and the CPU of a piece of work.
#[derive(Clone, Copy)]
pub struct Watch(Instant, Option<f64>);

impl Watch {
    /// Begins now.
    pub fn start() -> Watch {
        let cpu = cpu_ms();
        Watch(Instant::now(), cpu)
    }

    /// Milliseconds by the clock, and of CPU where that is known.
    pub fn stop(self) -> (f64, Option<f64>) {
        let clock = ms(self.0);
        (clock, self.1.and_then(|begun| Some(cpu_ms()? - begun)))
    }
}

/// A title above a table.
pub fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}

/// One line of a table: a name and milliseconds.
pub fn row(name: &str, value: f64) {
    println!("{name:<58}{value:>10.3} ms");
}

/// Loads a model.
pub fn load(path: &Path) -> Arc<Model> {
    let loaded = Model::load(path, &ModelOptions::default(), &mut |_| true);
    Arc::new(loaded.expect("a model made here loads"))
}

/// A slot's settings, with all threads.
pub fn options(limit: usize) -> SlotOptions {
    SlotOptions {
        limit,
        context: ContextOptions {
            ubatch: UBATCH,
            threads: threads(),
            threads_batch: threads(),
            ..ContextOptions::default()
        },
        snapshot_budget: 1 << 30,
        restore_budget: 32 << 20,
    }
}

/// The store of the benchmarks' models in `home`.
pub fn store(home: &Path) -> Store {
    let print = Fingerprint::new(serde_json::json!({"model": "bench"}), serde_json::json!({}));
    Store::open(&home.join("kv"), print, StoreLimits::default())
        .expect("a store in a writable folder")
}

/// A slot, and the store it was given.
pub fn slot(model: &Arc<Model>, limit: usize, store: Store) -> Slot {
    Slot::start(model, &options(limit), |_| store).expect("a slot on a model made here")
}

/// Greedy sampling of `max` tokens; the models made here never sample an end of turn so.
pub fn greedy(max: usize) -> Option<ReplyOptions> {
    let sampling = Sampling {
        temperature: 0.0,
        ..Sampling::default()
    };
    reply(
        TokenChoice::Sample {
            sampling,
            grammar: None,
            recent: Vec::new(),
        },
        max,
    )
}

/// A reply that nobody watches.
pub fn reply(choice: TokenChoice, max_tokens: usize) -> Option<ReplyOptions> {
    Some(ReplyOptions {
        choice,
        max_tokens,
        watch: Box::new(|_| Flow::Continue),
        observe: None,
        odds: None,
    })
}

/// One call, with the milliseconds until its answer.
pub fn call(
    slot: &SlotHandle,
    target: Target,
    decoded: usize,
    reply: Option<ReplyOptions>,
) -> (Outcome, f64) {
    let (events, mut inbox) = unbounded_channel();
    let begun = Instant::now();
    let answer = slot.call(SlotCall {
        kind: CallKind::Turn,
        owner: "bench".to_owned(),
        target,
        head: 0,
        common: 0,
        decoded,
        moved: None,
        reply,
        step: false,
        cancel: Arc::default(),
        events,
    });
    let answer = answer.expect("a live engine");
    while inbox.blocking_recv().is_some() {}
    let outcome = answer.wait().expect("a call that fits");
    let took = ms(begun);
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    (outcome, took)
}

/// Byte tokens, other ones for each seed; the first one tells seeds below 256 apart.
pub fn tokens(seed: u64, n: usize) -> Vec<Token> {
    let mut x = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = |i: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        Token(if i == 0 { seed } else { x } as i32 & 0xff)
    };
    (0..n).map(&mut next).collect()
}
