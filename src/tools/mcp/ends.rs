//! Ends of servers off the threads that serve others: a hung server takes seconds to end, and each
//! gets a thread for that.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::process::Process;

/// The servers that are being ended.
#[derive(Clone, Default)]
pub(super) struct Ends {
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Ends {
    /// Begins to end a server, and returns at once.
    fn begin(&self, process: Process) {
        let named = std::thread::Builder::new().name("mcp-end".to_owned());
        // Where no thread can be had, the process ends as the closure is dropped.
        match named.spawn(move || drop(process)) {
            Ok(thread) => self.lock().push(thread),
            Err(error) => tracing::warn!(%error, "a server was ended without a thread of its own"),
        }
    }

    /// Waits until all of them have ended, each within its own limit.
    pub fn wait(&self) {
        loop {
            // Not under the lock: others may begin meanwhile.
            let threads = std::mem::take(&mut *self.lock());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                let _ = thread.join();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that may be dropped on any thread: its end happens on another.
pub(super) struct Guarded {
    process: Option<Process>,
    ends: Ends,
}

impl Guarded {
    pub fn new(process: Process, ends: Ends) -> Guarded {
        Guarded {
            process: Some(process),
            ends,
        }
    }

    /// The server, for a caller that may wait for its end.
    pub fn release(mut self) -> Option<Process> {
        self.process.take()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            self.ends.begin(process);
        }
    }
}
