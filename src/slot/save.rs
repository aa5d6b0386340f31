//! Handing KV to the store: copies on the engine thread, everything else on the writer's. What is
//! stored never changes what is computed.

use std::time::Instant;

use super::engine::{Engine, ms};
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
    /// Stores the KV that is not stored yet, as one segment. A failure costs a later evaluation.
    pub fn save_segment(&mut self, saved: &mut Saved) {
        self.save_segment_to(self.resident.len(), saved);
    }

    /// The same up to a position.
    fn save_segment_to(&mut self, p1: usize, saved: &mut Saved) {
        let p0 = self.resident.saved();
        if p0 >= p1 || !self.memory.shape().segments || self.store.is_off() {
            return;
        }
        let begun = Instant::now();
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
                    return;
                }
            }
        }
        self.resident.saved_to(p1);
        saved.ms += ms(begun);
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

    /// Stores the logits row of a prompt's last token, where it needs no state.
    fn save_row(&mut self, prompt: usize, owner: &str, saved: &mut Saved) {
        let digest = self.resident.digest(prompt);
        let Some(row) = self.rows.at(digest).cloned() else {
            return;
        };
        // The store drops one that it has; the writer may not have come to it yet.
        if !self.rows.store(digest) && !self.store.has_snapshot(digest) {
            saved.bytes += row.len() as u64 * 4;
        }
        let begun = Instant::now();
        let tokens = &self.resident.tokens()[..prompt];
        self.store.put_snapshot(PutSnapshot {
            at: prompt,
            digest,
            tail: tokens[prompt.saturating_sub(64)..].to_vec(),
            payload: Bytes::default(),
            logits: Some(row),
            role: SnapshotRole::Row,
            owner: Some(owner),
        });
        saved.ms += ms(begun);
    }

    /// The end of a call: what is new is stored, and pinned for its owner. `whole`: it did what was
    /// asked of it, and its state takes the place of the owner's last one. After a call that was cut
    /// before its reply the last one stays beside it: the message may be withdrawn.
    ///
    /// `prompt` is where a reply begins: the segment ends there, so that another reply stores no more
    /// than itself, and where the memory can be cut its logits row is stored as the turn's snapshot.
    pub fn save_turn(
        &mut self,
        owner: &str,
        whole: bool,
        prompt: Option<usize>,
        saved: &mut Saved,
    ) {
        if self.store.is_off() || self.resident.len() == 0 {
            return;
        }
        if let Some(prompt) = prompt {
            self.save_segment_to(prompt, saved);
            self.save_row(prompt, owner, saved);
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
