//! The time at which the store was last used. Lookups, reads and puts set it; the writer thread merges
//! segments only after nobody has used the store for some time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time of the last use.
pub(in crate::kv) struct Activity(Mutex<Instant>);

impl Default for Activity {
    fn default() -> Activity {
        Activity(Mutex::new(Instant::now()))
    }
}

impl Activity {
    /// Sets the time of the last use to now.
    pub(in crate::kv) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The time since the last use.
    pub(in crate::kv) fn idle_for(&self) -> Duration {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}
