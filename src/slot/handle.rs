//! The engine thread and the handles by which other threads use it. The thread does one command at a
//! time. When a command panics, every caller learns why.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::SlotError;
use super::again::Compared;
use super::call::{Fork, Outcome, SlotCall};
use super::engine::SlotEngine;
use super::idle::IdleWork;
use super::memory::{MemoryClass, SlotMemory};
use super::options::SlotOptions;
use super::window::WindowCost;
use crate::kv::{JoinPayloads, SampledSegment, Store};
use crate::ledger::Token;
use crate::llama::{Context, Model};

enum EngineCommand {
    Call(Box<SlotCall>, oneshot::Sender<Result<Outcome, SlotError>>),
    Fork(Box<Fork>, oneshot::Sender<Result<Outcome, SlotError>>),
    Row(oneshot::Sender<Option<Vec<f32>>>),
    Held(oneshot::Sender<Vec<Token>>),
    DropSide(oneshot::Sender<Result<(), SlotError>>),
    Window(oneshot::Sender<Option<WindowCost>>),
    Sample(oneshot::Sender<Option<IdleWork>>),
    Rest(oneshot::Sender<Vec<IdleWork>>),
    Settle(oneshot::Sender<u64>),
    Refuse(Option<usize>, oneshot::Sender<bool>),
    Compare(
        Box<SampledSegment>,
        oneshot::Sender<Result<Compared, SlotError>>,
    ),
}

/// What a slot is, for people.
#[derive(Clone, Debug)]
pub struct SlotFacts {
    /// Its memory class.
    pub class: MemoryClass,
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
    commands: Option<Sender<EngineCommand>>,
    facts: SlotFacts,
    decodes: Arc<AtomicU64>,
    death: Arc<Mutex<Option<String>>>,
}

impl Slot {
    /// Starts the engine thread, which makes a context and probes its memory class.
    ///
    /// Every decode call is made on that thread, the probe's too, so that OpenMP has one team of threads;
    /// [`Model::load`] says what a second team costs.
    ///
    /// # Errors
    /// When no context can be made or the model cannot evaluate a few tokens.
    pub fn start(
        model: &Arc<Model>,
        options: &SlotOptions,
        store: impl FnOnce(&SlotFacts) -> Store,
    ) -> Result<Slot, SlotError> {
        let (commands, inbox) = bounded(16);
        let (ready, opened) = bounded(1);
        let (give_store, given_store) = bounded(1);
        let death = Arc::new(Mutex::new(None));
        let cause_of_death = death.clone();
        let (model, options) = (model.clone(), options.clone());
        let thread = std::thread::Builder::new()
            .name("npast-engine".to_owned())
            .spawn(move || {
                let (memory, limit) = match open(&model, &options) {
                    Ok((memory, opened)) => {
                        let limit = opened.facts.limit;
                        let _ = ready.send(Ok(opened));
                        (memory, limit)
                    }
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // Nobody waits for the slot any more where no store comes.
                let Ok(store) = given_store.recv() else {
                    return;
                };
                let engine = SlotEngine::new(&model, memory, store, &options, limit);
                run(engine, &inbox, &cause_of_death);
            })
            .map_err(|e| SlotError::Dead(format!("its thread did not start: {e}")))?;
        let opened = opened.recv();
        let opened =
            opened.map_err(|_| SlotError::Dead("it panicked at its start".to_owned()))??;
        let store = store(&opened.facts);
        if let Some(join) = opened.join {
            store.merge_with(join);
        }
        let _ = give_store.send(store);
        Ok(Slot {
            handle: SlotHandle {
                commands: Some(commands),
                facts: opened.facts,
                decodes: opened.decodes,
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

    fn send(&self, command: EngineCommand) -> Result<(), SlotError> {
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
    pub fn call(&self, call: SlotCall) -> Result<PendingOutcome, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Call(Box::new(call), tx))?;
        Ok(PendingOutcome {
            rx,
            handle: self.clone(),
        })
    }

    /// Starts side work on scratch.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn fork(&self, fork: Fork) -> Result<PendingOutcome, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Fork(Box::new(fork), tx))?;
        Ok(PendingOutcome {
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
        self.send(EngineCommand::Row(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Drops side work that was kept ([`Fork::keep`]), if there is any.
    ///
    /// # Errors
    /// When the conversation's memory cannot be laid out again after it, or the engine is dead.
    pub fn drop_side(&self) -> Result<(), SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::DropSide(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())?
    }

    /// What laying out the SWA window costs at the start of an append; nothing on other classes.
    /// Fills the slot for it, within some seconds, and leaves it empty. For `doctor`.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn window_cost(&self) -> Result<Option<WindowCost>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Window(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Evaluates a stored segment again, as it was evaluated the first time, and compares. What the
    /// slot held is read again by the next call.
    ///
    /// # Errors
    /// When the segment cannot be read or evaluated, or the engine is dead.
    pub fn compare(&self, sampled: SampledSegment) -> Result<Compared, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Compare(Box::new(sampled), tx))?;
        rx.blocking_recv().map_err(|_| self.dead())?
    }

    /// The end of a turn of several calls ([`SlotCall::step`]): its state goes to disk. Gives the bytes
    /// of snapshots that were handed to the store since the last call ended.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn settle(&self) -> Result<u64, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Settle(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Idle work after a turn: a sample of logits, by which another build or device can tell later
    /// whether the turn's state is right there. Nothing while the turn goes on, and where there is one.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn sample(&self) -> Result<Option<IdleWork>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Sample(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// All idle work: a state that is in memory alone is stored, then [`SlotHandle::sample`].
    /// Gives what was done; nothing while scratch is in use.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn rest(&self) -> Result<Vec<IdleWork>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Rest(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// Has llama.cpp refuse a proven state after it took `after` more, or only says whether such a
    /// refusal is still to come. For verification.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn refuse(&self, after: Option<usize>) -> Result<bool, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Refuse(after, tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }

    /// The exact tokens the slot holds. For verification; costs O(context).
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn held(&self) -> Result<Vec<Token>, SlotError> {
        let (tx, rx) = oneshot::channel();
        self.send(EngineCommand::Held(tx))?;
        rx.blocking_recv().map_err(|_| self.dead())
    }
}

/// The answer to a call, when it is done.
pub struct PendingOutcome {
    rx: oneshot::Receiver<Result<Outcome, SlotError>>,
    handle: SlotHandle,
}

impl PendingOutcome {
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

/// What the engine thread has to say of the memory that it made.
struct OpenedMemory {
    facts: SlotFacts,
    join: Option<Arc<dyn JoinPayloads>>,
    decodes: Arc<AtomicU64>,
}

/// Makes a context and probes its memory class.
fn open(
    model: &Arc<Model>,
    options: &SlotOptions,
) -> Result<(SlotMemory, OpenedMemory), SlotError> {
    let mut context = options.context.clone();
    context.cells = SlotOptions::cells(options.limit);
    let ctx = Context::new(model, &context)?;
    let limit = options.limit.min(ctx.cells());
    let decodes = ctx.decodes();
    let memory = SlotMemory::probe(ctx)?;
    let facts = SlotFacts {
        class: memory.class(),
        limit,
        ubatch: context.ubatch,
        token_bytes: memory.token_bytes(),
        snapshot_bytes: memory.probed_snapshot(),
    };
    let join = memory.join();
    let opened = OpenedMemory {
        facts,
        join,
        decodes,
    };
    Ok((memory, opened))
}

fn run(mut engine: SlotEngine, inbox: &Receiver<EngineCommand>, death: &Mutex<Option<String>>) {
    while let Some(command) = next(&mut engine, inbox, death) {
        // An answer outlives the panic of its command, so that who waits for it finds the reason.
        let alive = match command {
            EngineCommand::Call(call, answer) => give(answer, death, || engine.call(*call)),
            EngineCommand::Fork(fork, answer) => give(answer, death, || engine.fork(*fork)),
            EngineCommand::Row(answer) => give(answer, death, || engine.resident.row.clone()),
            EngineCommand::Held(answer) => {
                give(answer, death, || engine.resident.tokens().to_vec())
            }
            EngineCommand::Compare(sampled, answer) => give(answer, death, || {
                engine.drop_side()?;
                engine.compare(&sampled)
            }),
            EngineCommand::Sample(answer) => give(answer, death, || {
                let rests = engine.side.is_none() && engine.unsettled.is_none();
                rests.then(|| engine.sampled_turn()).flatten()
            }),
            EngineCommand::Rest(answer) => give(answer, death, || match engine.side {
                None => engine.rest(),
                Some(_) => Vec::new(),
            }),
            EngineCommand::Settle(answer) => give(answer, death, || {
                if engine.side.is_none() {
                    engine.settle();
                }
                std::mem::take(&mut engine.settled)
            }),
            EngineCommand::Refuse(after, answer) => give(answer, death, || {
                let ctx = engine.memory.ctx();
                after.into_iter().for_each(|n| ctx.refuse_after(n));
                ctx.will_refuse()
            }),
            EngineCommand::DropSide(answer) => give(answer, death, || engine.drop_side()),
            EngineCommand::Window(answer) => give(answer, death, || {
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
/// nobody waits, and requests that work ([`SlotHandle::sample`], [`SlotHandle::rest`]).
fn next(
    engine: &mut SlotEngine,
    inbox: &Receiver<EngineCommand>,
    death: &Mutex<Option<String>>,
) -> Option<EngineCommand> {
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
