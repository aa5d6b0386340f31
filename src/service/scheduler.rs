//! Who uses the slot, one model call at a time, and what is done when nobody does. It is the only
//! idle clock of the process: samples of logits, merging of stored KV, and states that are in memory alone
//! wait for it. Idle work of an open session (titles, summaries) is done by that session's own thread
//! with passes from here.
//!
//! A pass is taken for one model call and given back while tools run. Something more urgent stops
//! what is less urgent between two decode calls; what was stopped may ask again.

mod queue;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use queue::{CallQueue, Ticket};

use super::book::Book;
use crate::agent::{Passes, Rank, Receipt, SlotPass, Want};
use crate::kv::Store;
use crate::slot::{IdleWork, SlotHandle};

/// Nobody used the slot for so long: a sample of the last turn's state is made.
const SAMPLED: Duration = Duration::from_millis(50);
/// Nobody used the slot for so long: small segments of stored KV are merged, one merge at a time.
const MERGED: Duration = Duration::from_millis(500);
/// Nobody used the slot for so long, and a turn goes on: a state that is in memory alone is stored.
const SETTLED: Duration = Duration::from_secs(1);
/// How often a waiting thread checks whether its call was stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Gives passes for one slot.
pub struct Scheduler {
    shared: Arc<SchedulerShared>,
    idle: Mutex<Option<JoinHandle<()>>>,
}

struct SchedulerShared {
    slot: SlotHandle,
    store: Store,
    book: Arc<Book>,
    state: Mutex<SchedulerState>,
    changed: Condvar,
}

struct SchedulerState {
    queue: CallQueue,
    running: Option<RunningCall>,
    /// The conversation whose call was the slot's last.
    resident: Option<String>,
    /// Idle work that the last call left, in the order in which it is due.
    left: Vec<Left>,
    /// Since when the slot is idle.
    free: Instant,
    /// Idle work is off.
    off: bool,
    closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Sample,
    Merge,
    Rest,
}

struct RunningCall {
    rank: Rank,
    cancel: Arc<AtomicBool>,
    preempted: Arc<AtomicBool>,
}

impl Scheduler {
    /// For a slot that nobody else uses, and the store that it saves to; what idle work cost goes to
    /// `book`. Without `idle` nothing is done when nobody waits; what is in memory alone is then stored at
    /// the end of a turn and when the slot ends.
    pub fn new(slot: SlotHandle, store: Store, book: Arc<Book>, idle: bool) -> Scheduler {
        let shared = Arc::new(SchedulerShared {
            slot,
            store,
            book,
            state: Mutex::new(SchedulerState {
                queue: CallQueue::default(),
                running: None,
                resident: None,
                left: Vec::new(),
                free: Instant::now(),
                off: !idle,
                closing: false,
            }),
            changed: Condvar::new(),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("npast-idle".to_owned());
        let thread = match idle {
            true => thread.spawn(move || own.idle()).ok(),
            false => None,
        };
        Scheduler {
            shared,
            idle: Mutex::new(thread),
        }
    }

    /// Has whoever waits for a pass look at its flag at once.
    pub fn wake(&self) {
        // With the lock: nobody is between its look and its wait.
        let _state = self.shared.state();
        self.shared.changed.notify_all();
    }

    /// Whether anything is done when nobody uses the slot. For verification.
    pub fn has_idle_time(&self) -> bool {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.is_some() && !self.shared.state().off
    }

    /// How many calls wait, besides the one that runs.
    pub fn waiting(&self) -> usize {
        self.shared.state().queue.len()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = idle.take() {
            let _ = thread.join();
        }
    }
}

impl Passes for Scheduler {
    fn take(&self, want: &Want<'_>, place: &mut dyn FnMut(usize)) -> Option<SlotPass> {
        let shared = &self.shared;
        let mut state = shared.state();
        let ticket = state.queue.join(want.owner, want.rank);
        state.preempt();
        let mut told = 0;
        loop {
            if want.cancel.load(Ordering::SeqCst) {
                state.queue.leave(ticket);
                shared.changed.notify_all();
                return None;
            }
            if state.is_next(ticket) {
                return Some(shared.begin(state, want));
            }
            let before = state.before(ticket);
            if before != told {
                told = before;
                // The client's own code runs without the lock.
                drop(state);
                place(before);
                state = shared.state();
                continue;
            }
            state = shared.wait(state, LOOK);
        }
    }

    fn settle(&self, owner: &str) -> u64 {
        let never = Arc::default();
        let want = Want {
            owner,
            rank: Rank::Interactive,
            cancel: &never,
        };
        // Where another conversation used the slot since, its state was stored before.
        if self.shared.state().resident.as_deref() != Some(owner) {
            return 0;
        }
        let Some(pass) = self.take(&want, &mut |_| {}) else {
            return 0;
        };
        pass.slot().settle().unwrap_or_default()
    }

    fn is_resident(&self, owner: &str) -> bool {
        self.shared.state().resident.as_deref() == Some(owner)
    }

    fn renamed(&self, from: &str, to: &str) {
        let mut state = self.shared.state();
        if state.resident.as_deref() == Some(from) {
            state.resident = Some(to.to_owned());
        }
    }
}

impl SchedulerState {
    /// Stops what is less urgent than the most urgent that waits.
    fn preempt(&self) {
        if let (Some(running), Some(urgency)) = (&self.running, self.queue.urgency())
            && running.rank < urgency
        {
            running.preempted.store(true, Ordering::SeqCst);
            running.cancel.store(true, Ordering::SeqCst);
        }
    }

    fn is_next(&self, ticket: Ticket) -> bool {
        self.running.is_none() && self.queue.next(self.resident.as_deref()) == Some(ticket)
    }

    /// How many calls come before this one, with the one that runs.
    fn before(&self, ticket: Ticket) -> usize {
        let running = usize::from(self.running.is_some());
        self.queue.place(ticket, self.resident.as_deref()) + running
    }

    /// The idle work that is due, or how long until it is.
    fn due(&self) -> Result<Left, Option<Duration>> {
        let idle = self.running.is_none() && self.queue.is_empty() && !self.off;
        let Some(left) = self.left.first().filter(|_| idle) else {
            return Err(None);
        };
        let after = match left {
            Left::Sample => SAMPLED,
            Left::Merge => MERGED,
            Left::Rest => SETTLED,
        };
        match after.checked_sub(self.free.elapsed()) {
            None | Some(Duration::ZERO) => Ok(*left),
            Some(wait) => Err(Some(wait)),
        }
    }
}

impl SchedulerShared {
    // The value is consistent between two statements, whichever thread panicked.
    fn state(&self) -> MutexGuard<'_, SchedulerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, SchedulerState>,
        most: Duration,
    ) -> MutexGuard<'a, SchedulerState> {
        let waited = self.changed.wait_timeout(state, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn begin(
        self: &Arc<SchedulerShared>,
        mut state: MutexGuard<'_, SchedulerState>,
        want: &Want<'_>,
    ) -> SlotPass {
        let resident = state.resident.clone();
        state.queue.take(resident.as_deref());
        let preempted: Arc<AtomicBool> = Arc::default();
        state.running = Some(RunningCall {
            rank: want.rank,
            cancel: want.cancel.clone(),
            preempted: preempted.clone(),
        });
        if want.rank == Rank::Interactive {
            state.resident = Some(want.owner.to_owned());
        }
        // Who comes next sees its new place.
        self.changed.notify_all();
        drop(state);
        let back = Back(self.clone());
        SlotPass::new(self.slot.clone(), preempted, Box::new(back))
    }

    /// Does idle work until the scheduler ends.
    fn idle(&self) {
        let mut state = self.state();
        while !state.closing {
            let left = match state.due() {
                Ok(left) => left,
                Err(most) => {
                    state = match most {
                        Some(most) => self.wait(state, most),
                        None => self
                            .changed
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner),
                    };
                    continue;
                }
            };
            if left == Left::Merge {
                // The store's own thread does it: whoever wants the slot has it meanwhile.
                drop(state);
                let merged = self.merge();
                state = self.state();
                if !merged && state.left.first() == Some(&left) {
                    state.left.remove(0);
                }
                continue;
            }
            state.left.remove(0);
            state.running = Some(RunningCall {
                rank: Rank::Idle,
                cancel: Arc::default(),
                preempted: Arc::default(),
            });
            drop(state);
            // A slot that died says so to the next call.
            let done: Vec<IdleWork> = match left {
                Left::Rest => self.slot.rest().unwrap_or_default(),
                _ => self.slot.sample().ok().flatten().into_iter().collect(),
            };
            state = self.state();
            state.running = None;
            self.changed.notify_all();
            drop(state);
            for work in done {
                self.book.enter(&work.owner, &Receipt::of_idle(&work));
            }
            state = self.state();
        }
    }

    /// Does one merge of stored KV; whether there was one to be done.
    fn merge(&self) -> bool {
        let begun = Instant::now();
        // A writer that stopped says so by itself.
        let Some(chain) = self.store.merge_one().ok().flatten() else {
            return false;
        };
        let receipt = Receipt::of_merge(&chain.merged, begun.elapsed());
        self.book.enter(&chain.owner, &receipt);
        true
    }
}

/// Gives a pass back.
struct Back(Arc<SchedulerShared>);

impl Drop for Back {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = None;
        state.free = Instant::now();
        state.left = vec![Left::Sample, Left::Merge, Left::Rest];
        self.0.changed.notify_all();
    }
}
