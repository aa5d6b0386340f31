//! How a call ended, what saving it cost, and what of its turn is not on disk yet.

use crate::ledger::Digest;

/// What saving cost so far.
#[derive(Default)]
pub(super) struct Saved {
    pub ms: f64,
    /// Of segments.
    pub bytes: u64,
    /// Of snapshots, with their logits rows.
    pub snapshot_bytes: u64,
}

/// How a call ended.
pub(super) struct Ended<'a> {
    pub owner: &'a str,
    /// The call did all of its work, and its state is the owner's present one. After a call that was
    /// cut before its reply the last one stays that: the message may be withdrawn.
    pub whole: bool,
    /// More calls of its turn may follow.
    pub step: bool,
    /// Where a reply begins: the segment ends there, so that another reply stores no more than
    /// itself, and where the memory can be cut its logits row is stored as the turn's snapshot.
    pub prompt: Option<usize>,
}

/// The place in an owner's conversation where a state was taken.
#[derive(Clone)]
pub(super) struct StateEnd {
    pub owner: String,
    /// Tokens before it.
    pub at: usize,
    /// The digest of these tokens.
    pub digest: Digest,
}
