//! Counts of what happened to segments and snapshots after the slot had put them. The slot remembers at
//! which boundaries segments are stored, so that it need not ask the index after each model call. When one
//! of these counts has changed, the slot asks for these boundaries again. The writer thread, the
//! quarantine and a rebuild of the index raise the counts. Invariant: a count never decreases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::ledger::Digest;

/// How often each kind of change has happened since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Segments may be missing: a put failed, the segment before it was not stored, a file went to
    /// quarantine or was removed for disk space, a split failed, or the index was rebuilt.
    /// `Store::is_whole` says which chains are complete.
    pub lost: u64,
    /// Segments were merged into a longer one, so a boundary may be inside a segment now; see
    /// `Store::is_end`.
    pub moved: u64,
    /// Another process has stored the same tokens with other bytes in the meantime. `Store::take_others`
    /// returns the digests of these records.
    pub other: u64,
}

/// The counts of one open store.
#[derive(Default)]
pub(in crate::kv) struct ChangeCounts {
    lost: AtomicU64,
    moved: AtomicU64,
    other: AtomicU64,
    /// The digests of records that are stored with other bytes, until a caller takes them.
    others: Mutex<Vec<Digest>>,
}

impl ChangeCounts {
    /// A segment that was put is not stored, or may not be stored any more.
    pub(in crate::kv) fn add_lost(&self) {
        self.lost.fetch_add(1, Ordering::Release);
    }

    /// Segments were merged into a longer one.
    pub(in crate::kv) fn add_moved(&self) {
        self.moved.fetch_add(1, Ordering::Release);
    }

    /// The record that ends at `digest` is stored with other bytes than the ones that were put.
    pub(in crate::kv) fn add_other(&self, digest: Digest) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(digest);
        self.other.fetch_add(1, Ordering::Release);
    }

    /// Whether there are digests of [`ChangeCounts::add_other`] that no caller has taken yet.
    pub(in crate::kv) fn has_others(&self) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        !others.is_empty()
    }

    /// Takes the digests of [`ChangeCounts::add_other`].
    pub(in crate::kv) fn take_others(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The present counts.
    pub(in crate::kv) fn now(&self) -> Changes {
        Changes {
            lost: self.lost.load(Ordering::Acquire),
            moved: self.moved.load(Ordering::Acquire),
            other: self.other.load(Ordering::Acquire),
        }
    }
}
