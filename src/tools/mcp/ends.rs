//! Ending servers on threads of their own: a server that hangs takes seconds to end, and no other thread
//! should wait for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::process::ServerProcess;

/// The servers that are being ended.
#[derive(Clone, Default)]
pub(super) struct EndingServers {
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl EndingServers {
    /// Begins to end a server, and returns at once.
    fn begin(&self, process: ServerProcess) {
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
    process: Option<ServerProcess>,
    ends: EndingServers,
}

impl Guarded {
    pub fn new(process: ServerProcess, ends: EndingServers) -> Guarded {
        Guarded {
            process: Some(process),
            ends,
        }
    }

    /// The server, for a caller that may wait for its end.
    pub fn release(mut self) -> Option<ServerProcess> {
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
