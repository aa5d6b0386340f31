//! Handing KV to the store: copies on the engine thread, everything else on the writer's. What is
//! stored never changes what is computed.

use std::time::Instant;

use super::engine::{Engine, SEGMENT, ms};
use super::memory::Bytes;
use super::resident::Snapshot;
use crate::kv::{PutSegment, PutSnapshot, SnapshotRole};

/// What saving cost so far.
#[derive(Default)]
pub(super) struct Saved {
    pub ms: f64,
    pub bytes: u64,
}

impl Engine {
    /// Stores the KV that is not stored yet: as one segment, or as several where much is missing. A
    /// failure costs a later evaluation.
    pub fn save_segment(&mut self, saved: &mut Saved) {
        if !self.memory.shape().segments || self.store.is_off() {
            return;
        }
        let begun = Instant::now();
        let mut again = self.take_marks_back();
        loop {
            let left = self.resident.len() - self.resident.saved();
            let tokens = if left < 2 * SEGMENT { left } else { SEGMENT };
            if tokens == 0 || !self.save_to(self.resident.saved() + tokens, saved) {
                break;
            }
            // The rest is copied out only when the disk takes something again.
            if std::mem::take(&mut again) && self.take_marks_back() {
                break;
            }
        }
        saved.ms += ms(begun);
    }

    /// Takes back the marks of segments that were handed over and are not stored: a disk was full, a
    /// file was set aside, or a boundary of this conversation is inside of a merged segment now.
    /// What follows them is stored anew with them, since no chain would lead to it. True when there
    /// were such.
    fn take_marks_back(&mut self) -> bool {
        let seen = self.changes;
        let unchanged = self.store.changes() == seen && !self.resident.went_back;
        if unchanged || self.store.flush().is_err() {
            return false;
        }
        self.resident.went_back = false;
        self.changes = self.store.changes();
        let (store, before) = (&self.store, self.resident.saved());
        match self.changes.lost == seen.lost {
            // A merge leaves no holes: no need to walk the chain.
            true => self.resident.unsave(|digest| store.is_end(digest)),
            false => self.resident.unsave(|digest| store.is_whole(digest)),
        }
        self.resident.saved() < before
    }

    /// Stores what is not stored yet up to `p1`; false when it could not be copied out.
    fn save_to(&mut self, p1: usize, saved: &mut Saved) -> bool {
        let p0 = self.resident.saved();
        let (from, to) = (self.resident.digest(p0), self.resident.digest(p1));
        if !self.store.has_segment(from, to) {
            match self.memory.segment(p0, p1) {
                Ok(payload) => {
                    saved.bytes += payload.len() as u64;
                    self.store.put_segment(PutSegment {
                        from,
                        to,
                        p0,
                        p1,
                        tokens: self.resident.tokens()[p0..p1].to_vec(),
                        payload,
                    });
                }
                Err(error) => {
                    tracing::warn!("a segment was not saved: {error}");
                    return false;
                }
            }
        }
        self.resident.saved_to(p1);
        true
    }

    /// Stores a snapshot of this point.
    pub fn save_snapshot(
        &mut self,
        at: usize,
        bytes: Bytes,
        row: Option<Vec<f32>>,
        role: SnapshotRole,
        owner: Option<&str>,
        saved: &mut Saved,
    ) {
        let begun = Instant::now();
        saved.bytes += bytes.len() as u64;
        let tokens = &self.resident.tokens()[..at];
        self.store.put_snapshot(PutSnapshot {
            at,
            digest: self.resident.digest(at),
            tail: tokens[at.saturating_sub(64)..].to_vec(),
            payload: bytes,
            logits: row,
            role,
            owner,
        });
        saved.ms += ms(begun);
    }

    /// The end of a call: what is new is stored, and pinned for its owner. `whole`: it did what was
    /// asked of it, and its state takes the place of the owner's last one. After a call that was cut
    /// before its reply the last one stays beside it: the message may be withdrawn.
    pub fn save_turn(&mut self, owner: &str, whole: bool, saved: &mut Saved) {
        if self.store.is_off() || self.resident.len() == 0 {
            return;
        }
        self.save_segment(saved);
        let at = self.resident.len();
        if self.memory.shape().snapshots {
            let begun = Instant::now();
            let known = self.resident.snapshot(at).map(|s| s.bytes.clone());
            let bytes = match known.map_or_else(|| self.memory.snapshot(), Ok) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!("a snapshot was not saved: {error}");
                    return;
                }
            };
            saved.ms += ms(begun);
            // It serves the next append's start as well: a window's relay, a withdrawn message.
            // The row is held where nothing was sampled after it: a prompt that may be sent again.
            let row = self.resident.row.clone();
            self.resident.keep(Snapshot {
                at,
                bytes: bytes.clone(),
                row: row.clone(),
            });
            let (role, whose) = match whole {
                true => (SnapshotRole::Turn, Some(owner)),
                false => (SnapshotRole::Step, None),
            };
            self.save_snapshot(at, bytes, row, role, whose, saved);
        }
        if whole {
            let digest = self.resident.digest(at);
            self.store.pin(owner, digest);
        }
    }
}
