//! What the next receipt has to say beside its numbers. The causes are learned where the ledger changes,
//! and named by the call that pays for them.

use std::borrow::Cow;

use crate::agent::values::outcome::Pruned;

/// Why tokens may have to be evaluated again.
#[derive(Default)]
pub(in crate::agent) struct Causes {
    /// A prefix break made on purpose: the first token that differs, and why. It is named also where
    /// nothing was evaluated twice.
    pub broken: Option<(usize, String)>,
    /// Why the slot may hold something else behind the ledger's end. It is named only if that costs
    /// something.
    pub left: Option<Cow<'static, str>>,
}

/// What a conversation has to say in its next receipt. Each cause is said once.
#[derive(Default)]
pub(in crate::agent) struct NextReceipt {
    causes: Causes,
    pruned: Option<Pruned>,
    /// Bytes of snapshots.
    settled: u64,
}

impl NextReceipt {
    /// The ledger was broken on purpose at token `at`.
    pub fn broke(&mut self, at: usize, why: String) {
        self.causes.broken = Some((at, why));
    }

    /// The same where it was, and otherwise what was said before stays.
    pub fn broke_if(&mut self, broken: Option<(usize, String)>) {
        if broken.is_some() {
            self.causes.broken = broken;
        }
    }

    /// What was broken before is of no account: the ledger was read again.
    pub fn forget_break(&mut self) -> Option<(usize, String)> {
        self.causes.broken.take()
    }

    /// Why the slot may hold something else behind the ledger's end.
    pub fn left(&mut self, why: impl Into<Cow<'static, str>>) {
        self.causes.left = Some(why.into());
    }

    /// The same, if no other reason is known.
    pub fn left_unless_known(&mut self, why: Option<&'static str>) {
        if let Some(why) = why {
            self.causes.left.get_or_insert(why.into());
        }
    }

    /// The causes, which are said now.
    pub fn take_causes(&mut self) -> Causes {
        std::mem::take(&mut self.causes)
    }

    /// Causes that were taken and not said.
    pub fn put_back(&mut self, causes: Causes) {
        self.causes = causes;
    }

    /// Long results became lines; nothing where that is not to be said any more.
    pub fn pruned(&mut self, pruned: Option<Pruned>) {
        self.pruned = pruned;
    }

    /// Whether something is to be said of results that became lines.
    pub fn says_pruned(&self) -> bool {
        self.pruned.is_some()
    }

    /// What is said of results that became lines.
    pub fn take_pruned(&mut self) -> Option<Pruned> {
        self.pruned.take()
    }

    /// So many bytes of snapshots were stored between calls.
    pub fn settled(&mut self, bytes: u64) {
        self.settled += bytes;
    }

    /// The bytes of snapshots that were stored between calls.
    pub fn take_settled(&mut self) -> u64 {
        std::mem::take(&mut self.settled)
    }
}
