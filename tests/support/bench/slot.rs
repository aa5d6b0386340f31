//! Prefill and decode through the slot against a bare loop over llama.cpp: the same model, prompt,
//! ubatch, threads, context size and greedy choice, and therefore the same tokens.

use std::time::Instant;

use npast::kv::Store;
use npast::ledger::Token;
use npast::llama::{Context, ContextOptions, Seq};
use npast::slot::{SlotHandle, SlotOptions, Target};

use super::measure::{UBATCH, title, tokens};
use super::measure::{after, call, greedy, load, median, ms, options, slot, store, threads};
use super::model;

/// Tokens of a run's prompt.
const PROMPT: usize = 1024;
/// Tokens of a run's reply.
const REPLY: usize = 128;
const RUNS: usize = 10;
const LIMIT: usize = 4096;

/// What one side of the comparison took in one run.
struct Run {
    /// Tokens per second of the prompt.
    prefill: f64,
    /// Tokens per second of the reply.
    decode: f64,
    reply: Vec<Token>,
}

impl Run {
    fn new(prefill_ms: f64, decode_ms: f64, reply: Vec<Token>) -> Run {
        Run {
            prefill: PROMPT as f64 / prefill_ms * 1e3,
            decode: REPLY as f64 / decode_ms * 1e3,
            reply,
        }
    }
}

/// The most likely token; the first of equals, as llama.cpp's greedy sampler takes it.
fn argmax(row: &[f32]) -> Token {
    let mut best = 0;
    for (i, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = i;
        }
    }
    Token(best as i32)
}

/// The loop that any program over llama.cpp has: the prompt in ubatches; then one more token and
/// `REPLY` sampled ones, of which the last is not decoded.
fn bare(ctx: &mut Context, prompt: &[Token], more: Token) -> Run {
    ctx.clear(Seq::Main);
    let begun = Instant::now();
    let mut pos = 0;
    for batch in prompt.chunks(UBATCH) {
        let last = pos + batch.len() == prompt.len();
        ctx.decode(Seq::Main, pos, batch, last).expect("a prefill");
        pos += batch.len();
    }
    std::hint::black_box(ctx.logits().expect("a row of logits"));
    let prefill = ms(begun);

    let begun = Instant::now();
    let (mut token, mut reply) = (more, Vec::new());
    while reply.len() < REPLY {
        ctx.decode(Seq::Main, pos, &[token], true)
            .expect("a decode");
        pos += 1;
        token = argmax(ctx.logits().expect("a row of logits"));
        reply.push(token);
    }
    Run::new(prefill, ms(begun), reply)
}

/// The same through the slot: two calls, as a warm-up and a turn would make them, timed from
/// outside, with channels, digests, planning and the end of the call.
fn through(slot: &SlotHandle, prompt: &[Token], more: Token) -> Run {
    let (outcome, prefill) = call(slot, Target::Whole(prompt.to_vec()), 0, None);
    assert_eq!(outcome.evaluated, PROMPT);
    let (outcome, decode) = call(slot, after(outcome.mark, &[more]), PROMPT, greedy(REPLY));
    assert_eq!((outcome.kept, outcome.evaluated), (PROMPT, 1));
    Run::new(prefill, decode, outcome.tokens)
}

/// Runs and prints the comparison.
pub fn run() {
    let model = load(&model::bench_model());
    title(&format!(
        "slot against a bare llama.cpp loop: {:.0} million parameters, {PROMPT} + {REPLY} tokens, \
         ubatch {UBATCH}, {} threads, medians of {RUNS} interleaved runs",
        model.parameters() as f64 / 1e6,
        threads()
    ));
    let context = ContextOptions {
        cells: SlotOptions::cells(LIMIT),
        ..options(LIMIT).context
    };
    let mut ctx = Context::new(&model, &context).expect("a context");
    let home = tempfile::tempdir().expect("a folder");
    let kv = store(home.path());
    let plain = slot(&model, LIMIT, Store::off());
    let stored = slot(&model, LIMIT, kv.clone());
    let (plain, stored) = (plain.handle(), stored.handle());

    let mut sides: [Vec<Run>; 3] = Default::default();
    // The first round warms up caches and threads, and is not counted.
    for round in 0..=RUNS {
        let prompt = tokens(round as u64, PROMPT);
        let more = Token(round as i32);
        for turn in 0..sides.len() {
            // Who begins changes from round to round.
            let side = (turn + round) % sides.len();
            let run = match side {
                0 => bare(&mut ctx, &prompt, more),
                1 => through(&plain, &prompt, more),
                _ => {
                    let run = through(&stored, &prompt, more);
                    // What is still being written must not slow the next one down.
                    kv.flush().expect("a flush");
                    run
                }
            };
            if round > 0 {
                sides[side].push(run);
            }
        }
    }
    for runs in &sides[1..] {
        let same = runs.iter().zip(&sides[0]).all(|(a, b)| a.reply == b.reply);
        assert!(same, "the slot sampled other tokens than the bare loop");
    }
    print(&sides);
}

fn print(sides: &[Vec<Run>; 3]) {
    println!(
        "{:<24}{:>14}{:>8}{:>16}{:>14}{:>8}{:>16}",
        "", "prefill t/s", "ratio", "(each run)", "decode t/s", "ratio", "(each run)"
    );
    let names = ["bare loop", "slot, nothing stored", "slot, KV stored"];
    for (name, runs) in names.into_iter().zip(sides) {
        print!("{name:<24}");
        for of in [|run: &Run| run.prefill, |run: &Run| run.decode] {
            let mine = median(runs.iter().map(of).collect());
            let bare = median(sides[0].iter().map(of).collect());
            let pairs: Vec<f64> = runs
                .iter()
                .zip(&sides[0])
                .map(|(a, b)| of(a) / of(b))
                .collect();
            let low = pairs.iter().copied().fold(f64::MAX, f64::min);
            let high = pairs.iter().copied().fold(0.0, f64::max);
            let spread = format!("({low:.2}-{high:.2})");
            print!("{mine:>14.1}{:>8.3}{spread:>16}", mine / bare);
        }
        println!();
    }
}
