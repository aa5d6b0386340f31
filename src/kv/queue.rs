//! A queue of jobs between two threads, bounded by their bytes: what waits for the writer thread, and
//! what the reading thread has ready. A crossbeam channel is bounded by the number of jobs, and one
//! segment may be a thousand times as large as another.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct QueueState<T> {
    jobs: VecDeque<(T, usize)>,
    /// Bytes waiting or being written.
    bytes: usize,
    /// The most that `bytes` ever was.
    peak: usize,
    /// Callers that wait for room now.
    waiting: usize,
    pushed: u64,
    done: u64,
    /// No more jobs are pushed; the thread ends after those that wait.
    closed: bool,
    /// No thread does jobs any more.
    dead: bool,
}

/// Jobs of some bytes each, from any thread to one.
pub(in crate::kv) struct Queue<T> {
    limit: usize,
    state: Mutex<QueueState<T>>,
    /// Signalled when a job is pushed, and at the close.
    work: Condvar,
    /// Signalled when a job is done, and when the thread dies.
    room: Condvar,
}

/// What [`Queue::next`] found.
pub(in crate::kv) enum NextJob<T> {
    /// A job and its bytes, which count until [`Queue::done`].
    Job(T, usize),
    /// No job, and none will come.
    Closed,
}

/// How a flush ended.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::kv) enum Flushed {
    /// All is done.
    Done,
    /// The thread that does the jobs died before.
    Dead,
}

impl<T> Queue<T> {
    pub(in crate::kv) fn new(limit: usize) -> Queue<T> {
        Queue {
            limit,
            state: Mutex::new(QueueState {
                jobs: VecDeque::new(),
                bytes: 0,
                peak: 0,
                waiting: 0,
                pushed: 0,
                done: 0,
                closed: false,
                dead: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job; blocks while it does not fit. False when no thread takes jobs any more.
    pub(in crate::kv) fn push(&self, job: T, bytes: usize) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        // A job larger than the whole bound passes when no other waits.
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
        self.work.notify_one();
        true
    }

    /// The next job. Waits for one.
    pub(in crate::kv) fn next(&self) -> NextJob<T> {
        let mut state = self.lock();
        loop {
            if let Some((job, bytes)) = state.jobs.pop_front() {
                return NextJob::Job(job, bytes);
            }
            if state.closed {
                return NextJob::Closed;
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A job of `bytes` is done, or has failed.
    pub(in crate::kv) fn done(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes -= bytes;
        state.done += 1;
        self.room.notify_all();
    }

    /// Waits until all jobs that were pushed before this call are done.
    pub(in crate::kv) fn flush(&self) -> Flushed {
        let mut state = self.lock();
        let goal = state.pushed;
        while state.done < goal && !state.dead {
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.dead {
            Flushed::Dead
        } else {
            Flushed::Done
        }
    }

    /// Lets the writer end once it has drained.
    pub(in crate::kv) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// The thread that does the jobs has ended: the waiting jobs are dropped, and no caller waits.
    pub(in crate::kv) fn die(&self) {
        let mut state = self.lock();
        state.dead = true;
        state.jobs.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_all();
    }

    /// Callers that wait for room now, and the most bytes that ever waited.
    #[cfg(test)]
    pub(in crate::kv) fn pressure(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting, state.peak)
    }
}
