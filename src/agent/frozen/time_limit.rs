//! llama.cpp's work on a schema cannot be interrupted, so it is done on a thread of its own that is no
//! longer waited for when its time is over or the user cancels. What the thread is given is bounded, so it
//! ends soon.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long the grammar of a session's tools may take to be made.
pub(in crate::agent) const GRAMMAR_LIMIT: Duration = Duration::from_secs(30);

/// How often the waiting thread looks whether it should end.
const GLANCE: Duration = Duration::from_millis(20);

/// What became of work on another thread.
pub(in crate::agent) enum ThreadResult<T> {
    Done(T),
    Cancelled,
    TooLong,
}

/// Does work on a thread of its own, and waits for it as long as it may take.
pub(in crate::agent) fn within<T: Send + 'static>(
    cancel: &AtomicBool,
    work: impl FnOnce() -> T + Send + 'static,
) -> ThreadResult<T> {
    let until = Instant::now() + GRAMMAR_LIMIT;
    let (send, done) = mpsc::channel();
    let thread = std::thread::Builder::new().name("grammar".to_owned());
    let started = thread.spawn(move || {
        // Nobody listens when it took too long.
        let _ = send.send(work());
    });
    if started.is_err() {
        return ThreadResult::TooLong;
    }
    loop {
        match done.recv_timeout(GLANCE) {
            Ok(result) => return ThreadResult::Done(result),
            Err(RecvTimeoutError::Disconnected) => return ThreadResult::TooLong,
            Err(RecvTimeoutError::Timeout) if cancel.load(Ordering::Relaxed) => {
                return ThreadResult::Cancelled;
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                return ThreadResult::TooLong;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
