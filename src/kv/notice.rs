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
    /// How many did not fit.
    more: usize,
    /// Reasons told since the last success, so that a full disk is told once and not once per file.
    told: HashSet<String>,
}

/// The notices of one store.
#[derive(Default)]
pub(in crate::kv) struct Notices(Mutex<State>);

impl Notices {
    /// Puts a notice down.
    pub(in crate::kv) fn add(&self, text: String, hint: &str) {
        tracing::warn!(%text, "kv notice");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() < MOST {
            state.waiting.push(Notice {
                text,
                hint: hint.to_string(),
            });
        } else {
            state.more += 1;
        }
    }

    /// Puts a notice down unless `reason` was told since the last [`Notices::well`].
    pub(in crate::kv) fn add_once(&self, reason: &str, text: String, hint: &str) {
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
    pub(in crate::kv) fn well(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            state.told.clear();
        }
    }

    /// Hands over what was not told yet; of what was too much, how many.
    pub(in crate::kv) fn take(&self) -> Vec<Notice> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = std::mem::take(&mut state.waiting);
        match std::mem::take(&mut state.more) {
            0 => {}
            more => told.push(Notice {
                text: format!("{more} more notices about stored KV were left out."),
                hint: "They are in the log; `npast kv verify` looks at all files.".to_owned(),
            }),
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_be_told_is_counted_and_counted_once() {
        let notices = Notices::default();
        for i in 0..MOST + 3 {
            notices.add(format!("Notice {i}."), "Nothing to do.");
        }
        let told = notices.take();
        assert_eq!(told.len(), MOST + 1);
        assert!(told[MOST].text.starts_with("3 more"), "{:?}", told[MOST]);
        assert_eq!(notices.take(), []);
        notices.add("Another.".to_owned(), "Nothing to do.");
        assert_eq!(notices.take().len(), 1);
    }
}
