//! Notices: sentences for the user about failures in the KV store. Library code does not print, so a
//! store collects its notices here, and the caller of `Store::take_notices` or `Folder::take_notices`
//! shows them. At most 64 notices are kept, and a failure with the same reason is added once until a
//! later write succeeds.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// A message for the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvNotice {
    /// What happened, in one sentence.
    pub text: String,
    /// What the user can do about it, in one sentence.
    pub hint: String,
}

/// The maximum number of notices that are kept until a caller takes them. A caller that never takes them
/// must not let the list grow without a bound.
const MOST: usize = 64;

#[derive(Default)]
struct NoticeState {
    /// The notices that no caller has taken yet.
    waiting: Vec<KvNotice>,
    /// How many notices were dropped because [`MOST`] notices were already kept.
    more: usize,
    /// The reasons of the notices that were added since the last [`Notices::well`] that cleared them. So
    /// a full disk is reported once, and not once per file.
    reported: HashSet<String>,
}

/// The notices of one store or folder.
#[derive(Default)]
pub(in crate::kv) struct Notices(Mutex<NoticeState>);

impl Notices {
    /// Adds a notice, and writes it to the log.
    pub(in crate::kv) fn add(&self, text: String, hint: &str) {
        tracing::warn!(%text, "kv notice");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() < MOST {
            state.waiting.push(KvNotice {
                text,
                hint: hint.to_string(),
            });
        } else {
            state.more += 1;
        }
    }

    /// Adds a notice, unless a notice with the same `reason` was added since the last [`Notices::well`]
    /// that cleared the reasons.
    pub(in crate::kv) fn add_once(&self, reason: &str, text: String, hint: &str) {
        let fresh = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.reported.insert(reason.to_string())
        };
        if fresh {
            self.add(text, hint);
        }
    }

    /// A write succeeded, so a failure that happens again is reported again: the remembered reasons are
    /// cleared. They are not cleared while a notice is still waiting for the caller: on a full disk small
    /// writes succeed between large writes that fail, and each failure would be reported again.
    pub(in crate::kv) fn well(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            state.reported.clear();
        }
    }

    /// Takes all notices. If notices were dropped, one more notice at the end gives their number.
    pub(in crate::kv) fn take(&self) -> Vec<KvNotice> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notices = std::mem::take(&mut state.waiting);
        match std::mem::take(&mut state.more) {
            0 => {}
            more => notices.push(KvNotice {
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
