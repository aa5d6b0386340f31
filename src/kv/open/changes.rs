//! What became of segments after they were handed over. The slot keeps boundaries of stored segments in
//! mind; these counts tell it when to look them up again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::ledger::Digest;

/// Counts of what happened to segments after they were handed over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Not stored after all: a write failed, a file went to quarantine, the segment before it was
    /// missing. `Store::is_whole` says what is left.
    pub lost: u64,
    /// Merged into longer ones: a boundary may be inside of a segment now, see `Store::is_end`.
    pub moved: u64,
    /// Stored by another process meanwhile, with other bytes: `Store::take_others` says where.
    pub other: u64,
}

/// The counts of one open store.
#[derive(Default)]
pub(in crate::kv) struct ChangeCounts {
    lost: AtomicU64,
    moved: AtomicU64,
    other: AtomicU64,
    /// Where other bytes are stored, until a caller takes them.
    others: Mutex<Vec<Digest>>,
}

impl ChangeCounts {
    /// A segment that was handed over is not stored.
    pub(in crate::kv) fn add_lost(&self) {
        self.lost.fetch_add(1, Ordering::Release);
    }

    /// Segments were merged into a longer one.
    pub(in crate::kv) fn add_moved(&self) {
        self.moved.fetch_add(1, Ordering::Release);
    }

    /// At `digest` other bytes are stored than were handed over.
    pub(in crate::kv) fn add_other(&self, digest: Digest) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push(digest);
        self.other.fetch_add(1, Ordering::Release);
    }

    /// Whether there are digests that no caller has taken.
    pub(in crate::kv) fn has_others(&self) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        !others.is_empty()
    }

    /// Takes the digests of [`ChangeCounts::add_other`].
    pub(in crate::kv) fn take_others(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counts now.
    pub(in crate::kv) fn now(&self) -> Changes {
        Changes {
            lost: self.lost.load(Ordering::Acquire),
            moved: self.moved.load(Ordering::Acquire),
            other: self.other.load(Ordering::Acquire),
        }
    }
}
