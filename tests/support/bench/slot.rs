//! Prefill and decode through the slot against a bare loop over llama.cpp: the same model, prompt,
//! ubatch, threads, context size and greedy choice, and therefore the same tokens. The sides take
//! turns every few ubatches. They stand in one process, each with a team of OpenMP threads, so all of them
//! wait in the kernel ([`npast::llama::Model::load`] says why): the ratios are fair, and the tokens a second
//! are fewer than a process of its own has. `serve` compares processes.

use std::sync::Arc;

use npast::kv::Store;
use npast::ledger::{Mark, Token};
use npast::llama::{Context, ContextOptions, Seq};
use npast::slot::{SlotHandle, SlotOptions, Target};

use super::measure::{UBATCH, Watch, call, greedy, load, median, options, pin, slot, store};
use super::measure::{threads, title, tokens};
use super::model;

/// Tokens of a run's prompt, and how many one side reads before the next one does.
const PROMPT: usize = 1024;
const READ: usize = 512;
/// Tokens of a run's reply, and how many one side writes before the next one does.
const REPLY: usize = 128;
const WRITE: usize = 32;
const RUNS: usize = 10;
/// A bare loop, two slots, another bare loop.
const SIDES: usize = 4;
const LIMIT: usize = 4096;

/// One side of the comparison.
enum Side {
    /// The loop that any program over llama.cpp has.
    Bare { ctx: Box<Context>, pos: usize },
    /// The slot, timed from outside: with channels, digests, planning and the end of each call.
    Slot {
        slot: SlotHandle,
        mark: Option<Mark>,
        ledger: Arc<Vec<Token>>,
        store: Store,
    },
}

impl Side {
    /// Forgets the last run's conversation; nothing of it is of use to the next one.
    fn begin(&mut self) {
        match self {
            Side::Bare { ctx, pos } => {
                ctx.clear(Seq::Main);
                *pos = 0;
            }
            Side::Slot { mark, ledger, .. } => {
                *mark = None;
                Arc::make_mut(ledger).clear();
            }
        }
    }

    /// Evaluates tokens of the prompt.
    fn read(&mut self, tokens: &[Token]) {
        match self {
            Side::Bare { ctx, pos } => {
                let end = *pos + tokens.len();
                for batch in tokens.chunks(UBATCH) {
                    let last = *pos + batch.len() == end;
                    ctx.decode(Seq::Main, *pos, batch, last).expect("a prefill");
                    *pos += batch.len();
                }
                std::hint::black_box(ctx.logits().expect("a row of logits"));
            }
            Side::Slot {
                slot, mark, ledger, ..
            } => {
                Arc::make_mut(ledger).extend_from_slice(tokens);
                let (target, decoded) = match mark {
                    Some(mark) => (Target::after(*mark, ledger.clone()), mark.len()),
                    None => (Target::whole(ledger.clone()), 0),
                };
                let (outcome, _) = call(slot, target, decoded, None);
                assert_eq!((outcome.kept, outcome.evaluated), (decoded, tokens.len()));
                *mark = Some(outcome.mark);
            }
        }
    }

    /// Evaluates `token` and samples `WRITE` tokens after it, of which the last stays undecoded.
    fn write(&mut self, mut token: Token) -> Vec<Token> {
        match self {
            Side::Bare { ctx, pos } => {
                let mut reply = Vec::new();
                while reply.len() < WRITE {
                    let done = ctx.decode(Seq::Main, *pos, &[token], true);
                    done.expect("a decode");
                    *pos += 1;
                    token = argmax(ctx.logits().expect("a row of logits"));
                    reply.push(token);
                }
                reply
            }
            Side::Slot {
                slot, mark, ledger, ..
            } => {
                let before = mark.expect("a prompt was read");
                Arc::make_mut(ledger).push(token);
                let target = Target::after(before, ledger.clone());
                let (outcome, _) = call(slot, target, before.len(), greedy(WRITE));
                assert_eq!((outcome.kept, outcome.evaluated), (before.len(), 1));
                *mark = Some(outcome.mark);
                let held = &outcome.tokens[..outcome.tokens.len() - outcome.pending];
                Arc::make_mut(ledger).extend_from_slice(held);
                outcome.tokens
            }
        }
    }

    /// What is still being written must not slow the next one down.
    fn rest(&self) {
        if let Side::Slot { store, .. } = self {
            store.flush().expect("a flush");
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

/// Milliseconds by the clock, and of CPU where that is known.
#[derive(Clone, Copy, Default)]
struct Took {
    clock: f64,
    cpu: f64,
}

impl Took {
    fn add(&mut self, watch: Watch) {
        let (clock, cpu) = watch.stop();
        self.clock += clock;
        self.cpu += cpu.unwrap_or(f64::NAN);
    }
}

/// What one run of one side took, and what it said.
#[derive(Clone, Default)]
struct Run {
    prefill: Took,
    decode: Took,
    reply: Vec<Token>,
}

/// Runs and prints the comparison.
pub fn run() {
    let threads = threads();
    pin();
    let model = load(&model::bench_model());
    title(&format!(
        "slot against a bare llama.cpp loop: {:.0} million parameters, {PROMPT} + {REPLY} tokens, \
         ubatch {UBATCH}, threads {threads}, {RUNS} interleaved runs",
        model.parameters() as f64 / 1e6,
    ));
    let context = ContextOptions {
        cells: SlotOptions::cells(LIMIT),
        ..options(LIMIT).context
    };
    let home = tempfile::tempdir().expect("a folder");
    // Where a context's memory happens to lie is worth some percent, so every round makes all of
    // them anew, in another order. What the two bare loops differ by is what this machine cannot
    // tell.
    let mut runs = vec![Vec::new(); SIDES];
    // The first round warms up caches and threads, and is not counted.
    for round in 0..=RUNS {
        let mut engines = Vec::new();
        let mut sides: Vec<Option<Side>> = (0..SIDES).map(|_| None).collect();
        for i in (0..SIDES).map(|i| (i + round) % SIDES) {
            sides[i] = Some(match i {
                0 | 3 => Side::Bare {
                    ctx: Box::new(Context::new(&model, &context).expect("a context")),
                    pos: 0,
                },
                _ => {
                    let store = if i == 1 {
                        Store::off()
                    } else {
                        store(home.path())
                    };
                    let engine = slot(&model, LIMIT, store.clone());
                    let handle = engine.handle();
                    engines.push(engine);
                    Side::Slot {
                        slot: handle,
                        mark: None,
                        ledger: Arc::default(),
                        store,
                    }
                }
            });
        }
        let mut sides: Vec<Side> = sides.into_iter().flatten().collect();
        let took = one(&mut sides, round);
        if round > 0 {
            for (runs, run) in runs.iter_mut().zip(took) {
                runs.push(run);
            }
        }
    }
    for other in &runs[1..] {
        let same = other.iter().zip(&runs[0]).all(|(a, b)| a.reply == b.reply);
        assert!(same, "the slot sampled other tokens than the bare loop");
    }
    print(&runs);
}

/// One run of every side on a conversation of its own.
fn one(sides: &mut [Side], round: usize) -> Vec<Run> {
    let count = sides.len();
    let mut runs = vec![Run::default(); count];
    sides.iter_mut().for_each(Side::begin);
    let prompt = tokens(round as u64, PROMPT);
    let pieces = prompt.chunks(READ).map(Some);
    let writes = std::iter::repeat_n(None, REPLY / WRITE);
    for (step, piece) in pieces.chain(writes).enumerate() {
        for turn in 0..count {
            // Who begins changes from step to step.
            let i = (turn + step + round) % count;
            let (side, run) = (&mut sides[i], &mut runs[i]);
            let watch = Watch::start();
            match piece {
                Some(tokens) => {
                    side.read(tokens);
                    run.prefill.add(watch);
                }
                None => {
                    let last = run.reply.last().copied();
                    run.reply.extend(side.write(last.unwrap_or(Token(65))));
                    run.decode.add(watch);
                }
            }
            side.rest();
        }
    }
    runs
}

/// For prefill and decode: tokens per second, and the ratio to both bare loops together by medians,
/// by the best runs (what a quiet machine shows), and by medians of CPU time.
fn print(runs: &[Vec<Run>]) {
    part("prefill", PROMPT, runs, |run| run.prefill);
    part("decode", REPLY, runs, |run| run.decode);
}

fn part(what: &str, tokens: usize, runs: &[Vec<Run>], of: fn(&Run) -> Took) {
    println!(
        "{what:<24}{:>12}{:>9}{:>9}{:>9}",
        "tokens/s", "ratio", "best", "CPU"
    );
    let names = [
        "bare loop",
        "slot, nothing stored",
        "slot, KV stored",
        "another bare loop",
    ];
    let all = |runs: &[Run]| runs.iter().map(|r| of(r).clock).collect::<Vec<f64>>();
    let cpu = |runs: &[Run]| median(runs.iter().map(|r| of(r).cpu).collect());
    let best = |runs: &[Run]| all(runs).into_iter().fold(f64::MAX, f64::min);
    let bare = &[&runs[0][..], &runs[runs.len() - 1][..]].concat()[..];
    for (name, runs) in names.into_iter().zip(runs) {
        let took = median(all(runs));
        println!(
            "  {name:<22}{:>12.1}{:>9.3}{:>9.3}{:>9.3}",
            tokens as f64 / took * 1e3,
            median(all(bare)) / took,
            best(bare) / best(runs),
            cpu(bare) / cpu(runs),
        );
    }
}
