//! When the store was last used. Merging waits until nobody has used it for a while.

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
    /// The store is used now.
    pub(in crate::kv) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago the last use was.
    pub(in crate::kv) fn idle_for(&self) -> Duration {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}
