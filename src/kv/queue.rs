//! What waits for the writer thread, bounded by bytes. A crossbeam channel bounds by count, and one
//! segment may be a thousand times another; a mutex and two condition variables say it directly.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

struct State<T> {
    jobs: VecDeque<(T, usize)>,
    /// Bytes waiting or being written.
    bytes: usize,
    /// The most that `bytes` ever was.
    peak: usize,
    /// Callers held back now.
    waiting: usize,
    pushed: u64,
    done: u64,
    /// No more pushes; the writer drains and ends.
    closed: bool,
    /// The writer is gone.
    dead: bool,
    /// When something was last asked of the store.
    stirred: Instant,
}

/// Jobs of some bytes each, from any thread to one.
pub(in crate::kv) struct Queue<T> {
    limit: usize,
    state: Mutex<State<T>>,
    /// Something was pushed, or closed.
    work: Condvar,
    /// Something was done, or the writer died.
    room: Condvar,
}

/// What there is to do.
pub(in crate::kv) enum Next<T> {
    /// A job and its bytes, which count until [`Queue::done`].
    Job(T, usize),
    /// Nothing, and nothing has stirred for as long as the caller had patience.
    Idle,
    /// Nothing, and nothing will come.
    Closed,
}

/// What became of the queue's end of a job.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::kv) enum Ended {
    /// All is done.
    Done,
    /// The writer died before it got there.
    Dead,
}

impl<T> Queue<T> {
    pub(in crate::kv) fn new(limit: usize) -> Queue<T> {
        Queue {
            limit,
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                bytes: 0,
                peak: 0,
                waiting: 0,
                pushed: 0,
                done: 0,
                closed: false,
                dead: false,
                stirred: Instant::now(),
            }),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a job over; blocks while it does not fit. False when there is no writer any more.
    pub(in crate::kv) fn push(&self, job: T, bytes: usize) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        // A job larger than the whole bound must pass some time: alone.
        while !state.dead && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.limit {
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        if state.dead || state.closed {
            return false;
        }
        state.jobs.push_back((job, bytes));
        state.bytes += bytes;
        state.peak = state.peak.max(state.bytes);
        state.pushed += 1;
        state.stirred = Instant::now();
        self.work.notify_one();
        true
    }

    /// Something was asked of the store that is no job: it is not idle.
    pub(in crate::kv) fn stir(&self) {
        self.lock().stirred = Instant::now();
    }

    /// The next job. Waits for one; with `patience` only until nothing has stirred for so long.
    pub(in crate::kv) fn next(&self, patience: Option<Duration>) -> Next<T> {
        let mut state = self.lock();
        loop {
            if let Some((job, bytes)) = state.jobs.pop_front() {
                return Next::Job(job, bytes);
            }
            if state.closed {
                return Next::Closed;
            }
            let Some(patience) = patience else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = patience.saturating_sub(state.stirred.elapsed());
            if left.is_zero() {
                return Next::Idle;
            }
            state = self
                .work
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The job of `bytes` is over, well or not.
    pub(in crate::kv) fn done(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes -= bytes;
        state.done += 1;
        self.room.notify_all();
    }

    /// Waits until all that was pushed before this call is over.
    pub(in crate::kv) fn flush(&self) -> Ended {
        let mut state = self.lock();
        let goal = state.pushed;
        while state.done < goal && !state.dead {
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.dead { Ended::Dead } else { Ended::Done }
    }

    /// Lets the writer end once it has drained.
    pub(in crate::kv) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// The writer is gone: nothing waits for it any more, and what waited is dropped.
    pub(in crate::kv) fn die(&self) {
        let mut state = self.lock();
        state.dead = true;
        state.jobs.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_all();
    }

    /// Callers held back now, and the most bytes that ever waited.
    #[cfg(test)]
    pub(in crate::kv) fn pressure(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting, state.peak)
    }
}
