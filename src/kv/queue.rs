//! A job queue that is bounded by the bytes of its jobs. Two places use it: the queue of the writer
//! thread (callers push, the writer thread takes), and the queue of the read-ahead thread (that thread
//! pushes segments, the caller takes them). A channel of the standard library or of crossbeam bounds only
//! the number of jobs; one segment can be a thousand times as large as another, so such a channel would
//! not bound the memory. Invariant: the bytes of all jobs that are not done stay within the limit, except
//! for one job that is larger than the limit.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct QueueState<T> {
    jobs: VecDeque<(T, usize)>,
    /// The bytes of all jobs that were pushed and are not done: jobs in the queue, and the job that the
    /// taking thread works on.
    bytes: usize,
    /// The maximum that `bytes` ever had.
    peak: usize,
    /// How many callers of `push` wait for space now.
    waiting: usize,
    /// How many jobs were pushed.
    pushed: u64,
    /// How many jobs are done.
    done: u64,
    /// No more jobs will be pushed. The taking thread does the jobs that are left, and ends.
    closed: bool,
    /// No thread will take jobs any more.
    dead: bool,
}

/// A queue of jobs, from any number of threads to one thread. Each job counts with some bytes.
pub(in crate::kv) struct JobQueue<T> {
    limit: usize,
    state: Mutex<QueueState<T>>,
    /// Signalled when a job is pushed and when the queue is closed.
    work: Condvar,
    /// Signalled when a job is done and when the queue is dead: space may be free.
    room: Condvar,
}

/// The result of [`JobQueue::next`].
pub(in crate::kv) enum NextJob<T> {
    /// A job and its bytes. They count until the taking thread calls [`JobQueue::done`].
    Job(T, usize),
    /// No job, and none will come.
    Closed,
}

/// The result of [`JobQueue::flush`].
#[derive(PartialEq, Eq, Debug)]
pub(in crate::kv) enum Flushed {
    /// All jobs that were pushed before the call are done.
    Done,
    /// The queue was dead before all of them were done.
    Dead,
}

impl<T> JobQueue<T> {
    /// An empty queue; `limit` is in bytes.
    pub(in crate::kv) fn new(limit: usize) -> JobQueue<T> {
        JobQueue {
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

    /// Adds a job of `bytes` bytes, and blocks while the job does not fit. Returns false when the queue
    /// is closed or dead; the job is dropped then.
    pub(in crate::kv) fn push(&self, job: T, bytes: usize) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        // A job that is larger than the limit is accepted when no other job is in the queue.
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

    /// The job of `bytes` bytes that was taken is done, or has failed.
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

    /// Closes the queue: no more jobs will be pushed. The taking thread ends after the jobs that are
    /// left.
    pub(in crate::kv) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// No thread takes jobs any more: jobs that are left are dropped, and no caller waits for space
    /// again.
    pub(in crate::kv) fn die(&self) {
        let mut state = self.lock();
        state.dead = true;
        state.jobs.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_all();
    }

    /// How many callers wait for space now, and the maximum number of bytes that ever counted.
    #[cfg(test)]
    pub(in crate::kv) fn pressure(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting, state.peak)
    }
}
