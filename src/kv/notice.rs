//! Notices: sentences for the user about what went wrong in kv/. This room may not print, so it collects
//! them, each trouble once, and the caller shows them.

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

/// The most notices that wait: a caller that never takes them must not make them grow.
const MOST: usize = 64;

#[derive(Default)]
struct NoticeState {
    waiting: Vec<Notice>,
    /// How many notices were dropped, because [`MOST`] were waiting.
    more: usize,
    /// Reasons of notices since the last success: a full disk is reported once, and not for every file.
    reported: HashSet<String>,
}

/// The notices of one store.
#[derive(Default)]
pub(in crate::kv) struct Notices(Mutex<NoticeState>);

impl Notices {
    /// Adds a notice.
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

    /// Adds a notice, unless one with this `reason` was added since the last [`Notices::well`].
    pub(in crate::kv) fn add_once(&self, reason: &str, text: String, hint: &str) {
        let fresh = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.reported.insert(reason.to_string())
        };
        if fresh {
            self.add(text, hint);
        }
    }

    /// A write succeeded: if the same trouble comes back, it is reported again. But not before the caller
    /// has taken its first notice: on a full disk small writes succeed between large ones that fail.
    pub(in crate::kv) fn well(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            state.reported.clear();
        }
    }

    /// Takes the notices that wait. A last one says how many were too many to be kept.
    pub(in crate::kv) fn take(&self) -> Vec<Notice> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notices = std::mem::take(&mut state.waiting);
        match std::mem::take(&mut state.more) {
            0 => {}
            more => notices.push(Notice {
                text: format!("{more} more notices about stored KV were left out."),
                hint: "They are in the log; `npast kv verify` looks at all files.".to_owned(),
            }),
        }
        notices
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
