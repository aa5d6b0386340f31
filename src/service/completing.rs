//! How many completions are at work. They belong to no session, so the end of a service stops them and
//! waits for them here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The completions that run or wait.
#[derive(Default)]
pub struct Completing {
    /// What stops each.
    running: Mutex<Vec<Arc<AtomicBool>>>,
    changed: Condvar,
}

/// A completion is at work until this is dropped.
pub struct AtWork {
    all: Arc<Completing>,
    cancel: Arc<AtomicBool>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let other = |cancel: &Arc<AtomicBool>| !Arc::ptr_eq(cancel, &self.cancel);
        self.all.running().retain(other);
        self.all.changed.notify_all();
    }
}

impl Completing {
    // What is held is whole between two statements, whoever panicked.
    fn running(&self) -> MutexGuard<'_, Vec<Arc<AtomicBool>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A completion begins that this flag stops.
    pub fn begin(self: &Arc<Completing>, cancel: &Arc<AtomicBool>) -> AtWork {
        self.running().push(cancel.clone());
        AtWork {
            all: self.clone(),
            cancel: cancel.clone(),
        }
    }

    /// Stops all of them and waits until they have ended.
    pub fn end(&self) {
        let mut running = self.running();
        for cancel in running.iter() {
            cancel.store(true, Ordering::SeqCst);
        }
        while !running.is_empty() {
            let waited = self.changed.wait(running);
            running = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}
