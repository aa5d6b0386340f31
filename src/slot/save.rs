//! KV on its way to the store: the engine thread copies it, the writer thread does everything else. Storing
//! KV never changes what is computed.

use std::time::Instant;

use super::engine::{SlotEngine, ms};
use super::memory::Bytes;
use super::options::STEP;
use super::resident::Snapshot;
use super::saved::{Ended, Saved, StateEnd};
use super::version::TakenRows;
use crate::kv::{Past, PutSegment, PutSnapshot, SnapshotRole};

impl SlotEngine {
    /// Stores the KV that is not stored yet: as one segment, or as several where much is missing. What
    /// is stored already comes from there. A failure costs a later evaluation.
    pub fn save_segment(&mut self, saved: &mut Saved) {
        self.save_segment_to(self.resident.len(), true, saved);
    }

    /// The same in the middle of an append.
    pub fn save_within(&mut self, saved: &mut Saved) {
        self.save_segment_to(self.resident.len(), false, saved);
    }

    /// Up to a position; `ends` where a part of an append ends there, and not only a batch.
    fn save_segment_to(&mut self, end: usize, ends: bool, saved: &mut Saved) {
        // Stored KV is found by its tokens alone, so what was moved is not stored.
        let end = end.min(self.resident.exact());
        let off = self.store.is_off() || self.store.is_reading();
        if !self.memory.shape().segments || off {
            return;
        }
        let begun = Instant::now();
        let mut again = self.take_marks_back();
        while let Some(shared) = self.share(end, ends) {
            let p0 = self.resident.saved();
            let left = end.saturating_sub(p0);
            let tokens = match left < 2 * self.segment {
                true => left,
                // Not inside of what another conversation has: one of the two would end there.
                false => self.segment.max(shared - p0 + 1),
            };
            if tokens == 0 || !self.save_to(p0 + tokens, shared, saved) {
                break;
            }
            // The rest is copied out only when the disk takes something again.
            if std::mem::take(&mut again) && self.take_marks_back() {
                break;
            }
        }
        saved.ms += ms(begun);
    }

    /// Takes from the store what it has of the tokens between what is saved and `end`; then the
    /// position up to which they have its bytes. `None` when nothing is to be stored now.
    pub fn share(&mut self, end: usize, ends: bool) -> Option<usize> {
        let mut gone = None;
        loop {
            let p0 = self.resident.saved();
            if p0 >= end {
                return Some(p0);
            }
            let from = self.resident.digest(p0);
            let tokens = &self.resident.tokens()[p0..end];
            let Some((edge, upto)) = self.store.ahead(from, p0, tokens) else {
                return Some(p0);
            };
            if self.resident.is_approximate() && upto > self.resident.given() {
                // Cells behind these are in no order, and could not be put back after an exchange.
                return None;
            }
            let mine = upto <= self.resident.given();
            let whole = upto == edge.p1;
            if !ends && !mine && (!self.takes_within() || (upto == end && !whole)) {
                return None;
            }
            let before = self.resident.given();
            match self.take_rows(&edge, upto) {
                TakenRows::Rows => {}
                TakenRows::Own => return Some(upto),
                // Once: on a disk that takes no change it is there again.
                TakenRows::Gone if gone.replace(edge.id) != Some(edge.id) => continue,
                TakenRows::Gone => return None,
                TakenRows::Not => return None,
            }
            if !ends && self.resident.given() > before {
                // The next batch is evaluated on other rows than those before it.
                self.resident.begin_run();
            }
            if whole {
                self.resident.saved_to(upto);
            } else if upto < end {
                return Some(upto);
            } else if ends {
                // Another conversation goes on from here: both have one segment up to here.
                let middle = self.resident.digest(upto);
                self.store.split(&edge, upto, middle);
                self.resident.saved_to(upto);
            } else {
                return None;
            }
        }
    }

    /// Takes back the marks of segments that were handed over and are not stored: a disk was full, a
    /// file went to quarantine, or a boundary of this conversation is inside of a merged segment now.
    /// What follows them is stored again with them, since no chain would lead to it. True when there
    /// were such segments.
    fn take_marks_back(&mut self) -> bool {
        let seen = self.changes;
        let unchanged = self.store.changes() == seen && !self.resident.went_back;
        if unchanged || self.store.flush().is_err() {
            return false;
        }
        self.resident.went_back = false;
        self.changes = self.store.changes();
        let before = self.resident.saved();
        for digest in self.store.take_others() {
            self.resident.not_given(digest);
            self.rows.forget(digest);
        }
        let store = &self.store;
        match self.changes.lost == seen.lost {
            // A merge leaves no holes: no need to walk the chain.
            true => self.resident.unsave(|digest| store.is_end(digest)),
            false => self.resident.unsave(|digest| store.is_whole(digest)),
        }
        self.resident.saved() < before
    }

    /// Stores what is not stored yet up to `p1`; up to `shared` it has the store's bytes. False when
    /// it could not be copied out.
    fn save_to(&mut self, p1: usize, shared: usize, saved: &mut Saved) -> bool {
        let p0 = self.resident.saved();
        match self.memory.segment(p0, p1) {
            Ok(payload) => {
                saved.bytes += payload.len() as u64;
                let put = PutSegment {
                    from: self.resident.digest(p0),
                    to: self.resident.digest(p1),
                    p0,
                    p1,
                    tokens: self.resident.tokens()[p0..p1].to_vec(),
                    payload,
                };
                let runs = self.resident.runs(p0, p1);
                self.store.put_version(put, runs, shared - p0);
            }
            Err(error) => {
                tracing::warn!("a segment was not saved: {error}");
                return false;
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
        let digest = self.resident.digest(at);
        let (bytes, row) = match self.take_state(at, digest, &bytes, row.as_ref()) {
            Some(stored) => stored,
            None => (bytes, row),
        };
        if self.resident.len() < at {
            return;
        }
        let past = self.past(at);
        // A snapshot that is stored already is not written again; the store takes note of its role and its owner.
        if !self.store.has_snapshot(digest) {
            let row = row.as_ref().map_or(0, |r| 4 * r.len());
            saved.snapshot_bytes += (bytes.len() + row) as u64;
        }
        let tokens = &self.resident.tokens()[..at];
        self.store.put_snapshot(PutSnapshot {
            at,
            digest,
            tail: tokens[at.saturating_sub(64)..].to_vec(),
            payload: bytes,
            logits: row,
            role,
            owner,
            past,
        });
        self.resident.stored_at(at, digest);
        self.resident.given_state = Some(at);
        saved.ms += ms(begun);
    }

    /// Stores the logits row of a prompt's last token, where it needs no state.
    fn save_row(&mut self, prompt: usize, owner: &str, saved: &mut Saved) {
        let digest = self.resident.digest(prompt);
        let Some(mut row) = self.rows.at(digest).cloned() else {
            return;
        };
        if !self.rows.is_stored(digest)
            && let Some(stored) = self.stored_row(digest)
        {
            // Another reply to this prompt is sampled from the same row here and after a restart.
            self.rows.keep(digest, stored.clone());
            row = stored;
        }
        // The store drops one that it has; the writer may not have come to it yet.
        if !self.rows.store(digest) && !self.store.has_snapshot(digest) {
            saved.snapshot_bytes += row.len() as u64 * 4;
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
            past: Past::default(),
        });
        saved.ms += ms(begun);
    }

    /// What this conversation has stored before a snapshot at `at`.
    fn past(&mut self, at: usize) -> Past {
        let store = &self.store;
        // What still waits for the writer is not seen before.
        if self.resident.has_many_stored() && store.flush().is_ok() {
            self.resident
                .check_stored(|digest| store.has_snapshot(digest));
        }
        let before = self.resident.stored().iter().filter(|s| s.0 < at);
        let token_bytes = self.memory.token_bytes() as u64;
        Past {
            nodes: before.copied().collect(),
            kv_bytes: self
                .memory
                .shape()
                .segments
                .then_some(at as u64 * token_bytes),
        }
    }

    /// The end of a call: what is new is stored, and pinned for its owner.
    pub fn save_turn(&mut self, ended: &Ended<'_>, saved: &mut Saved) {
        let (owner, whole) = (ended.owner, ended.whole);
        if self.store.is_off() || self.resident.len() == 0 {
            return;
        }
        // A call that did all of its work takes the place of the call before it.
        match whole {
            true => self.unsettled = None,
            false => self.settle(),
        }
        let at = self.resident.len();
        if let Some(prompt) = ended.prompt {
            self.save_segment_to(prompt, true, saved);
            if self.resident.len() == at && !self.resident.is_approximate() {
                self.save_row(prompt, owner, saved);
            }
        }
        self.save_segment(saved);
        if self.resident.len() < at {
            // Given up when stored rows were to take their place; the next call says so.
            return;
        }
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
            if whole && ended.step {
                let stored = self.resident.stored().last().map_or(0, |s| s.0);
                if at >= stored + STEP {
                    // As in a long append: a crash costs no more than this.
                    let role = SnapshotRole::Step;
                    self.save_snapshot(at, bytes, row, role, Some(owner), saved);
                }
                self.unsettled = Some(StateEnd {
                    owner: owner.to_owned(),
                    at,
                    digest: self.resident.digest(at),
                });
                return;
            }
            let role = match whole {
                true => SnapshotRole::Turn,
                false => SnapshotRole::Step,
            };
            self.save_snapshot(at, bytes, row, role, Some(owner), saved);
        }
        if whole {
            let exact = self.resident.exact();
            let digest = self.resident.digest(exact);
            self.pin(StateEnd {
                owner: owner.to_owned(),
                at: exact,
                digest,
            });
            self.unsampled = exact == at;
        }
    }

    /// Stores and pins the state that is in RAM alone, unless what it holds was taken back. The next call
    /// accounts for it.
    pub fn settle(&mut self) {
        let mut saved = Saved::default();
        self.settle_into(&mut saved);
        self.settled += saved.snapshot_bytes;
    }

    /// The same, accounted for in `saved`; whose state it was.
    pub fn settle_into(&mut self, saved: &mut Saved) -> Option<String> {
        let end = self.unsettled.take()?;
        let (at, digest) = (end.at, end.digest);
        if self.resident.len() < at || self.resident.digest(at) != digest {
            return None;
        }
        let held = self.resident.snapshot(at).cloned()?;
        let role = SnapshotRole::Turn;
        self.save_snapshot(at, held.bytes, held.row, role, Some(&end.owner), saved);
        self.pin(end.clone());
        self.unsampled = self.resident.len() == at;
        Some(end.owner)
    }

    /// Pins what is stored up to here for its owner.
    fn pin(&mut self, end: StateEnd) {
        self.store.pin(&end.owner, end.digest);
        self.pinned = Some(end);
    }
}
