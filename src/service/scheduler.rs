//! Which call uses the slot, one model call at a time, and the work of idle time. This is the only
//! idle clock of the process: states that are in memory alone and samples of logits wait for it.
//!
//! A pass is taken for one model call and given back while tools run. Something more urgent stops
//! what is less urgent between two decode calls; what was stopped may ask again.

mod queue;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use queue::{CallQueue, Ticket};

use crate::agent::{Passes, Rank, SlotPass, Want};
use crate::slot::SlotHandle;

/// Nobody used the slot for so long: a sample of the last turn's state is made.
const SAMPLED: Duration = Duration::from_millis(50);
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
    Rest,
}

struct RunningCall {
    rank: Rank,
    cancel: Arc<AtomicBool>,
    preempted: Arc<AtomicBool>,
}

impl Scheduler {
    /// For a slot that nothing else uses. Without `idle` nothing is done when no call waits; what is
    /// in memory alone is then stored at the end of a turn and when the slot ends.
    pub fn new(slot: SlotHandle, idle: bool) -> Scheduler {
        let shared = Arc::new(SchedulerShared {
            slot,
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
            state.left.remove(0);
            state.running = Some(RunningCall {
                rank: Rank::Idle,
                cancel: Arc::default(),
                preempted: Arc::default(),
            });
            drop(state);
            // A slot that died says so to the next call.
            let _ = match left {
                Left::Sample => self.slot.sample(),
                Left::Rest => self.slot.rest(),
            };
            state = self.state();
            state.running = None;
            self.changed.notify_all();
        }
    }
}

/// Gives a pass back.
struct Back(Arc<SchedulerShared>);

impl Drop for Back {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = None;
        state.free = Instant::now();
        state.left = vec![Left::Sample, Left::Rest];
        self.0.changed.notify_all();
    }
}
