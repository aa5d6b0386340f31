//! The engine thread: it owns the context and all that changes it, takes one command at a time, and
//! never dies silently. What it holds is in `resident`; how it changes is in the files beside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::again::Compared;
use super::call::{Call, Fork, Outcome};
use super::fork::Side;
use super::idle::IdleWork;
use super::memory::{Class, Memory};
use super::prompt::Rows;
use super::resident::Resident;
use super::save::{Ended, Unsettled};
use super::window::WindowCost;
use super::{SlotError, Times};
use crate::kv::{Changes, Sampled, Store};
use crate::ledger::{Digest, Finish, Mark, Token};
use crate::llama::{Context, ContextOptions, Model};

/// Settings of a slot.
#[derive(Clone, Debug)]
pub struct SlotOptions {
    /// The conversation's limit, in tokens; llama.cpp's context gets a reserve on top, so that a
    /// full conversation can still fork and export.
    pub limit: usize,
    /// The rest; `cells` is computed.
    pub context: ContextOptions,
    /// Bytes of snapshots kept in RAM.
    pub snapshot_budget: usize,
    /// Bytes of proven segments that a restore holds in RAM beside a conversation; what is more is
    /// read twice.
    pub restore_budget: usize,
}

impl SlotOptions {
    /// Cells of the context for a limit: an eighth more, at least 2,048.
    pub fn cells(limit: usize) -> usize {
        limit + (limit / 8).max(2048)
    }
}

/// Tokens between snapshots in a long append, where a state cannot be cut.
pub(super) const STEP: usize = 2048;

/// Tokens between forced segment ends in a long append: at most 2,048, fewer where their KV is more
/// than 8 MiB. What is put back while it is in the processor's cache, written there by the thread
/// that reads and proves, takes two thirds of the time (`scripts/bench kv`). With 4 MiB it is faster
/// still up to 10,000 tokens and no more at 100,000: llama.cpp looks at every cell of the context
/// for each segment.
pub fn segment_tokens(token_bytes: usize) -> usize {
    ((8 << 20) / token_bytes.max(1)).clamp(128, STEP)
}

pub(super) struct Engine {
    pub memory: Memory,
    pub store: Store,
    pub resident: Resident,
    pub model: Arc<Model>,
    pub limit: usize,
    pub ubatch: usize,
    /// [`SlotOptions::restore_budget`].
    pub restore_budget: usize,
    /// [`segment_tokens`] of this memory.
    pub segment: usize,
    /// Length at which an SWA window is in canonical layout already: it was just put back.
    pub canonical: Option<usize>,
    pub rows: Rows,
    /// [`Store::changes`] when the marks of what is stored were last held against it.
    pub changes: Changes,
    /// The last turn's state was stored and has no sample yet.
    pub unsampled: bool,
    /// A state that is in RAM alone, because its turn goes on.
    pub unsettled: Option<Unsettled>,
    /// Bytes of snapshots that were stored between calls; the next outcome counts them.
    pub settled: u64,
    /// Side work that scratch holds.
    pub side: Option<Side>,
}

enum Command {
    Call(Box<Call>, oneshot::Sender<Result<Outcome, SlotError>>),
    Fork(Box<Fork>, oneshot::Sender<Result<Outcome, SlotError>>),
    Row(oneshot::Sender<Option<Vec<f32>>>),
    Held(oneshot::Sender<Vec<Token>>),
    DropSide(oneshot::Sender<Result<(), SlotError>>),
    Window(oneshot::Sender<Option<WindowCost>>),
    Sample(oneshot::Sender<Option<IdleWork>>),
    Rest(oneshot::Sender<Vec<IdleWork>>),
    Settle(oneshot::Sender<u64>),
    Refuse(Option<usize>, oneshot::Sender<bool>),
    Compare(Box<Sampled>, oneshot::Sender<Result<Compared, SlotError>>),
}

/// What a slot is, for people.
#[derive(Clone, Debug)]
pub struct SlotFacts {
    /// Its memory class.
    pub class: Class,
    /// The conversation's limit in tokens.
    pub limit: usize,
    /// Tokens of one decode call.
    pub ubatch: usize,
    /// Bytes of KV per token that segments hold.
    pub token_bytes: usize,
    /// Bytes of one snapshot after the probe's few tokens; 0 on dense models.
    pub snapshot_bytes: usize,
}

/// The running engine; dropping it ends the thread.
pub struct Slot {
    handle: SlotHandle,
    thread: Option<JoinHandle<()>>,
}

/// A way to talk to the engine, for any thread.
#[derive(Clone)]
pub struct SlotHandle {
    commands: Option<Sender<Command>>,
    facts: SlotFacts,
    decodes: Arc<AtomicU64>,
    death: Arc<Mutex<Option<String>>>,
}

impl Slot {
    /// Makes a context, probes its memory class and starts the engine thread.
    ///
    /// # Errors
    /// When no context can be made or the model cannot evaluate a few tokens.
    pub fn start(
        model: &Arc<Model>,
        options: &SlotOptions,
        store: impl FnOnce(&SlotFacts) -> Store,
    ) -> Result<Slot, SlotError> {
        let mut context = options.context.clone();
        context.cells = SlotOptions::cells(options.limit);
        let ctx = Context::new(model, &context)?;
        let limit = options.limit.min(ctx.cells());
        let decodes = ctx.decodes();
        let memory = Memory::probe(ctx)?;
        let facts = SlotFacts {
            class: memory.class(),
            limit,
            ubatch: context.ubatch,
            token_bytes: memory.token_bytes(),
            snapshot_bytes: memory.probed_snapshot(),
        };
        let store = store(&facts);
        if let Some(join) = memory.join() {
            store.merge_with(join);
        }
        let engine = Engine {
            memory,
            resident: Resident::new(store.fingerprint().hard, options.snapshot_budget),
            store,
            model: model.clone(),
            limit,
            ubatch: context.ubatch,
            restore_budget: options.restore_budget,
            segment: segment_tokens(facts.token_bytes),
            canonical: None,
            rows: Rows::default(),
            changes: Changes::default(),
            unsampled: false,
            unsettled: None,
            settled: 0,
            side: None,
        };
        let (commands, inbox) = bounded(16);
        let death = Arc::new(Mutex::new(None));
        let grave = death.clone();
        let thread = std::thread::Builder::new()
            .name("npast-engine".to_owned())
            .spawn(move || run(engine, &inbox, &grave))
            .map_err(|e| SlotError::Dead(format!("its thread did not start: {e}")))?;
        Ok(Slot {
            handle: SlotHandle {
                commands: Some(commands),
                facts,
                decodes,
                death,
            },
            thread: Some(thread),
        })
    }

    /// A handle to it.
    pub fn handle(&self) -> SlotHandle {
        self.handle.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.handle.commands = None;
        if let Some(thread) = self.thread.take() {
            // Other handles may live on; the thread ends when the last one is gone.
            if self.handle.alone() {
                let _ = thread.join();
            }
        }
    }
}

impl SlotHandle {
    fn alone(&self) -> bool {
        Arc::strong_count(&self.death) <= 2
    }

    /// What the slot is.
    pub fn facts(&self) -> &SlotFacts {
        &self.facts
    }

    /// Decode calls that began since the slot was started. For verification.
    pub fn decodes(&self) -> u64 {
        self.decodes.load(Ordering::SeqCst)
    }

    fn send(&self, command: Command) -> Result<(), SlotError> {
        if self.death.lock().is_ok_and(|death| death.is_some()) {
            return Err(self.dead());
        }
        let commands = self.commands.as_ref().ok_or_else(|| self.dead())?;
        commands.send(command).map_err(|_| self.dead())
    }

    fn dead(&self) -> SlotError {
        let said = self.death.lock().ok().and_then(|d| d.clone());
        SlotError::Dead(said.unwrap_or_else(|| "it was shut down".to_owned()))
    }

    /// Starts a call on the conversation; the answer comes when it is done.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn call(&self, call: Call) -> Result<Answer, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Call(Box::new(call), tx))?;
        Ok(Answer {
            rx,
            handle: self.clone(),
        })
    }

    /// Starts side work on scratch.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn fork(&self, fork: Fork) -> Result<Answer, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Fork(Box::new(fork), tx))?;
        Ok(Answer {
            rx,
            handle: self.clone(),
        })
    }

    /// The logits row of the last token the slot holds, where it is held. For verification.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn row(&self) -> Result<Option<Vec<f32>>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Row(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Drops side work that was kept ([`Fork::keep`]), if there is any.
    ///
    /// # Errors
    /// When the conversation's memory cannot be laid out again after it, or the engine is dead.
    pub fn drop_side(&self) -> Result<(), SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::DropSide(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())?
    }

    /// What laying out the SWA window costs at the start of an append; nothing on other classes.
    /// Fills the slot for it, within some seconds, and leaves it empty. For `doctor`.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn window_cost(&self) -> Result<Option<WindowCost>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Window(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Evaluates a stored segment again, as it was evaluated the first time, and compares. What the
    /// slot held is read again by the next call.
    ///
    /// # Errors
    /// When the segment cannot be read or evaluated, or the engine is dead.
    pub fn compare(&self, sampled: Sampled) -> Result<Compared, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Compare(Box::new(sampled), tx))?;
        rx.blocking_recv().map_err(|_| self.dead())?
    }

    /// The end of a turn of several calls ([`Call::step`]): its state goes to disk. Gives the bytes
    /// of snapshots that were handed to the store since the last call ended.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn settle(&self) -> Result<u64, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Settle(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Idle work after a turn: a sample of logits, by which another build or device can tell later
    /// whether the turn's state is right there. Nothing while the turn goes on, and where there is one.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn sample(&self) -> Result<Option<IdleWork>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Sample(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// All idle work: a state that is in memory alone is stored, then [`SlotHandle::sample`]. What was
    /// done; nothing while scratch is in use.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn rest(&self) -> Result<Vec<IdleWork>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Rest(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Has llama.cpp refuse a proven state after it took `after` more, or only asks whether such a
    /// refusal is still to come. For verification.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn refuse(&self, after: Option<usize>) -> Result<bool, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Refuse(after, tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// The exact tokens the slot holds. For verification; costs O(context).
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn held(&self) -> Result<Vec<Token>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Held(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }
}

/// The answer to a call, when it is done.
pub struct Answer {
    rx: oneshot::Receiver<Result<Outcome, SlotError>>,
    handle: SlotHandle,
}

impl Answer {
    /// Waits on this thread.
    ///
    /// # Errors
    /// What the call failed with before it changed anything; a dead engine.
    pub fn wait(self) -> Result<Outcome, SlotError> {
        match self.rx.blocking_recv() {
            Ok(outcome) => outcome,
            Err(_) => Err(self.handle.dead()),
        }
    }
}

fn run(mut engine: Engine, inbox: &Receiver<Command>, death: &Mutex<Option<String>>) {
    while let Some(command) = next(&mut engine, inbox, death) {
        // An answer outlives the panic of its command, so that who waits for it finds the reason.
        let alive = match command {
            Command::Call(call, answer) => give(answer, death, || engine.call(*call)),
            Command::Fork(fork, answer) => give(answer, death, || engine.fork(*fork)),
            Command::Row(answer) => give(answer, death, || engine.resident.row.clone()),
            Command::Held(answer) => give(answer, death, || engine.resident.tokens().to_vec()),
            Command::Compare(sampled, answer) => give(answer, death, || {
                engine.drop_side()?;
                engine.compare(&sampled)
            }),
            Command::Sample(answer) => give(answer, death, || {
                let rests = engine.side.is_none() && engine.unsettled.is_none();
                rests.then(|| engine.sampled_turn()).flatten()
            }),
            Command::Rest(answer) => give(answer, death, || match engine.side {
                None => engine.rest(),
                Some(_) => Vec::new(),
            }),
            Command::Settle(answer) => give(answer, death, || {
                if engine.side.is_none() {
                    engine.settle();
                }
                std::mem::take(&mut engine.settled)
            }),
            Command::Refuse(after, answer) => give(answer, death, || {
                let ctx = engine.memory.ctx();
                after.into_iter().for_each(|n| ctx.refuse_after(n));
                ctx.will_refuse()
            }),
            Command::DropSide(answer) => give(answer, death, || engine.drop_side()),
            Command::Window(answer) => give(answer, death, || {
                engine.drop_side().ok().and_then(|()| engine.window_cost())
            }),
        };
        if !alive {
            break;
        }
    }
    // After a panic the memory may be half changed; nothing more is decoded on it. What waits in the
    // inbox or still comes is dropped here, which fails it: nobody waits for ever.
    drop(engine);
    inbox.iter().for_each(drop);
}

/// The next command. `None` when nobody can send any more, and what waited for idle time is done
/// then; or when that work panicked. While the thread lives, whoever owns the handles knows when
/// nobody waits, and asks for that work ([`SlotHandle::sample`], [`SlotHandle::rest`]).
fn next(
    engine: &mut Engine,
    inbox: &Receiver<Command>,
    death: &Mutex<Option<String>>,
) -> Option<Command> {
    if let Ok(command) = inbox.recv() {
        return Some(command);
    }
    survive(death, || {
        if engine.drop_side().is_ok() {
            engine.rest();
        }
    });
    None
}

/// Does the work and answers; false when it panicked, and then `death` says how.
fn give<T>(
    answer: oneshot::Sender<T>,
    death: &Mutex<Option<String>>,
    work: impl FnOnce() -> T,
) -> bool {
    let done = survive(death, work);
    let alive = done.is_some();
    if let Some(done) = done {
        let _ = answer.send(done);
    }
    alive
}

/// Does the work; nothing when it panicked, and then `death` says how.
fn survive<T>(death: &Mutex<Option<String>>, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "it panicked".to_owned());
            tracing::error!("the engine panicked: {said}");
            if let Ok(mut death) = death.lock() {
                *death = Some(said);
            }
            None
        }
    }
}

/// Milliseconds since an instant.
pub(super) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

pub(super) fn cancelled(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl Engine {
    fn call(&mut self, call: Call) -> Result<Outcome, SlotError> {
        let begun = Instant::now();
        self.drop_side()?;
        self.unsampled = false;
        // Another conversation may take its place.
        if self
            .unsettled
            .as_ref()
            .is_some_and(|u| u.owner != call.owner)
        {
            self.settle();
        }
        let mut saved = super::save::Saved::default();
        self.take_others(&mut saved);
        let goal = self.resolve(&call.target);
        // The caller may change its ledger while the reply is sampled, without a copy.
        drop(call.target);
        let len = goal.len();
        if len > self.limit {
            return Err(SlotError::TooLong {
                tokens: len,
                limit: self.limit,
            });
        }
        if len == 0 && call.reply.is_some() {
            return Err(SlotError::Empty);
        }
        let same_owner = self.resident.owner == call.owner;
        let decoded = match same_owner {
            true => call.decoded.max(goal.common),
            false => call.decoded,
        }
        .min(len);

        let sample = call.reply.is_some();
        let started = self.prepare(&goal, &call.owner, decoded, sample, &call.events);
        self.resident.owner = call.owner.clone();
        let mut times = Times {
            restore: started.ms,
            ..Times::default()
        };

        let lost = std::mem::take(&mut self.resident.lost);
        let tokens = &started.rest;
        let (prefill, before) = (Instant::now(), saved.ms);
        let evaluated = match started.aside {
            false => self.evaluate(tokens, call.head, &call.cancel, &call.events, &mut saved),
            true => self.evaluate_aside(&call.events),
        };
        times.prefill = ms(prefill) - (saved.ms - before);

        // A prefill that was cut short answers for what it reached.
        let reached = started.start + evaluated.tokens;
        let known = decoded.min(reached);
        let mut outcome = Outcome {
            kind: call.kind,
            kept: started.kept,
            restored: started.start - started.kept,
            evaluated: evaluated.tokens,
            appended: reached - known,
            tokens: Vec::new(),
            pending: 0,
            finish: Finish::Interrupted,
            miss: (started.start < known).then(|| started.miss(&goal, lost)),
            restored_bytes: started.bytes,
            saved_bytes: 0,
            snapshot_bytes: 0,
            times,
            mark: Mark::new(0, Digest([0; 32])),
            error: evaluated.error,
        };
        let complete = outcome.error.is_none() && reached == len;
        // A prompt that was held already is sampled from in the layout a restart would give it.
        if complete && sample {
            if tokens.is_empty() {
                outcome.error = self.begin_append().err();
            }
            if outcome.evaluated > 0 && outcome.error.is_none() {
                self.hold_prompt(&mut saved);
            }
            if self.resident.len() < len && outcome.error.is_none() {
                outcome.error = Some(SlotError::Lost);
            }
        }
        if complete
            && outcome.error.is_none()
            && let Some(reply) = call.reply
        {
            self.reply(reply, &call.cancel, &call.events, begun, &mut outcome);
        }
        let whole = complete && (!sample || !outcome.tokens.is_empty());
        let prompt = whole && !outcome.tokens.is_empty();
        let ended = Ended {
            owner: &call.owner,
            whole,
            step: call.step,
            prompt: prompt.then_some(reached),
        };
        self.save_turn(&ended, &mut saved);
        outcome.times.save = saved.ms;
        outcome.saved_bytes = saved.bytes;
        outcome.snapshot_bytes = saved.snapshot_bytes + std::mem::take(&mut self.settled);
        outcome.mark = self.resident.mark();
        Ok(outcome)
    }
}
