//! Law 10 for a room that may not print: what went wrong is put down here in words, once, and the
//! caller shows it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Something a user should be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// What happened, one sentence.
    pub text: String,
    /// What to do about it, one sentence.
    pub hint: String,
}

/// Untold notices are bounded; a caller that never asks must not make them grow.
const MOST: usize = 64;

#[derive(Default)]
struct State {
    waiting: Vec<Notice>,
    /// Reasons told since the last success, so that a full disk is told once and not once per file.
    told: HashSet<String>,
}

/// The notices of one store.
#[derive(Default)]
pub(super) struct Notices(Mutex<State>);

impl Notices {
    /// Puts a notice down.
    pub(super) fn add(&self, text: String, hint: &str) {
        tracing::warn!(%text, "kv notice");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() < MOST {
            state.waiting.push(Notice {
                text,
                hint: hint.to_string(),
            });
        }
    }

    /// Puts a notice down unless `reason` was told since the last [`Notices::well`].
    pub(super) fn add_once(&self, reason: &str, text: String, hint: &str) {
        let fresh = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.told.insert(reason.to_string())
        };
        if fresh {
            self.add(text, hint);
        }
    }

    /// A write went through: the same trouble, if it comes back, is told again. Not before the user
    /// was shown it: on a full disk small files pass between large ones.
    pub(super) fn well(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            state.told.clear();
        }
    }

    /// Hands over what was not told yet.
    pub(super) fn take(&self) -> Vec<Notice> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.waiting)
    }
}
