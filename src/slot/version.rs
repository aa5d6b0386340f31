//! One version of a prefix's KV: what sequence 0 holds is what the store has or will have. Tokens that
//! were evaluated here may be stored already with other bytes: evaluated from another start, in other
//! batches, by another process. Then the slot takes the store's bytes, at the latest when the call
//! ends. So a process that never stopped goes on as one that restarts does, to the bit (law 3).

use std::time::Instant;

use super::SlotError;
use super::engine::{SlotEngine, ms};
use super::memory::{Bytes, MemoryClass};
use super::resident::Snapshot;
use super::sample::{Provenance, Trust};
use super::saved::{Saved, StateEnd};
use crate::kv::{Edge, SnapshotRole};
use crate::ledger::Digest;

/// What came of taking rows from a stored segment.
pub(super) enum TakenRows {
    /// Sequence 0 has its bytes now, or had them before.
    Rows,
    /// The rows stay those of this slot: the segment is another machine's and goes another way after
    /// them.
    Own,
    /// The segment is no longer used: query the store again.
    Gone,
    /// It is not known yet, or sequence 0 could not take it. Nothing more is to be stored.
    Not,
}

impl SlotEngine {
    /// Makes the rows of a stored segment, from its start, which is the end of what is saved, up to
    /// `upto`, those of sequence 0.
    pub fn take_rows(&mut self, edge: &Edge, upto: usize) -> TakenRows {
        if upto <= self.resident.given() {
            return TakenRows::Rows;
        }
        let tokens = &self.resident.tokens()[..upto];
        let segment = match self.store.read_first_rows(edge, upto, tokens) {
            Ok(segment) => segment,
            Err(error) if error.is_damage() => {
                self.store.quarantine_edge(edge, &error.to_string());
                return TakenRows::Gone;
            }
            Err(error) => {
                tracing::warn!("a stored segment was not compared: {error}");
                return TakenRows::Not;
            }
        };
        let made = Provenance {
            to: edge.to,
            soft: segment.soft,
        };
        if !matches!(self.trust(&[made], None), Trust::Known) {
            if upto < edge.p1 && upto < self.resident.len() {
                return TakenRows::Own;
            }
            // A restore could not use it and never will: what was evaluated here takes its place.
            let words = self.store.made_elsewhere(segment.soft);
            let reason =
                format!("{words}, and no stored sample shows that its numbers are right here");
            self.store.refuse(std::slice::from_ref(edge), None, &reason);
            return TakenRows::Gone;
        }
        let rows = match upto < edge.p1 {
            true => self
                .memory
                .rows_of(&segment.payload, (edge.p0, edge.p1), (edge.p0, upto)),
            false => Ok(segment.payload),
        };
        let rows = rows.and_then(|rows| {
            self.memory.prove_segment(&rows, edge.p0, upto)?;
            Ok(rows)
        });
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                self.store.quarantine_edge(edge, &error.to_string());
                return TakenRows::Gone;
            }
        };
        match self.memory.segment(edge.p0, upto) {
            Ok(own) if own == rows => return TakenRows::Rows,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("a segment was not compared: {error}");
                return TakenRows::Not;
            }
        }
        match self.exchange(edge.p0, upto, &rows) {
            Ok(()) => {
                let states = self.memory.shape().snapshots;
                self.resident.took(edge.p0, upto, states);
                TakenRows::Rows
            }
            Err(error) => {
                tracing::warn!("stored rows could not take their place: {error}");
                self.give_up();
                TakenRows::Not
            }
        }
    }

    /// Puts `rows` in the place of positions [p0, upto) of sequence 0; what comes after them, and the
    /// state that cannot be cut, stay as they are.
    fn exchange(&mut self, p0: usize, upto: usize, rows: &[u8]) -> Result<(), SlotError> {
        let len = self.resident.len();
        let after = match upto < len {
            true => Some(self.memory.segment(upto, len)?),
            false => None,
        };
        let state = match self.memory.shape().snapshots {
            true => Some(self.memory.snapshot()?),
            false => None,
        };
        self.canonical = None;
        self.memory.cut_before_import(p0)?;
        self.memory.import_segment(rows, p0, upto)?;
        if let Some(after) = after {
            self.memory.import_segment(&after, upto, len)?;
        }
        if let Some(state) = state {
            self.memory.import_snapshot(&state, len)?;
        }
        self.memory.check(len)
    }

    /// The state at `at`, where the store has one that is not this slot's: that one, with its logits
    /// row if it has one. Sequence 0 takes it where it stands there. `None` where this slot's own is
    /// the one that is stored, or to be stored.
    pub fn take_state(
        &mut self,
        at: usize,
        digest: Digest,
        own: &Bytes,
        row: Option<&Vec<f32>>,
    ) -> Option<(Bytes, Option<Vec<f32>>)> {
        if self.store.is_off() || self.resident.given_state == Some(at) {
            return None;
        }
        let node = self.store.node(digest)?;
        let stored = match self.store.read_snapshot(&node) {
            Ok(stored) => stored,
            Err(error) => {
                if error.is_damage() {
                    self.store.quarantine_node(&node, &error.to_string());
                }
                return None;
            }
        };
        let made = Provenance {
            to: node.digest,
            soft: stored.soft,
        };
        if !matches!(self.trust(&[], Some(made)), Trust::Known) {
            let words = self.store.made_elsewhere(stored.soft);
            let reason =
                format!("{words}, and no stored sample shows that its numbers are right here");
            self.store.refuse(&[], Some(&node), &reason);
            return None;
        }
        if let Err(error) = self.memory.prove_snapshot(&stored.payload, at) {
            self.store.quarantine_node(&node, &error.to_string());
            return None;
        }
        let kept = stored
            .logits
            .filter(|r| r.len() == self.model.vocab().size());
        let row = kept.or_else(|| row.cloned());
        let bytes = Bytes::new(stored.payload);
        if at == self.resident.len() && bytes != *own {
            let taken = self.memory.import_snapshot(&bytes, at);
            self.canonical = None;
            if let Err(error) = taken.and_then(|()| self.memory.check(at)) {
                tracing::warn!("a stored state could not take its place: {error}");
                self.give_up();
                return None;
            }
        }
        if at == self.resident.len() {
            self.resident.row.clone_from(&row);
        }
        self.resident.given_state = Some(at);
        self.resident.keep(Snapshot {
            at,
            bytes: bytes.clone(),
            row: row.clone(),
        });
        Some((bytes, row))
    }

    /// Brings slot and store in line where the store did not take what it was handed: another process had
    /// stored the same tokens in other bytes, which the slot takes now; or the segment before it was gone,
    /// or the disk was full, and it is handed over again. Before anything else is evaluated, and before
    /// the process ends. False where there was nothing to do.
    pub fn store_again(&mut self, saved: &mut Saved) -> bool {
        let now = self.store.changes();
        let taken = now.other == self.changes.other && now.lost == self.changes.lost;
        if taken || self.resident.len() == 0 {
            return false;
        }
        self.save_segment(saved);
        let begun = Instant::now();
        let at = self.resident.len();
        if self.memory.shape().snapshots && self.resident.given_state != Some(at) {
            let digest = self.resident.digest(at);
            if let Ok(own) = self.memory.snapshot() {
                let row = self.resident.row.clone();
                self.take_state(at, digest, &own, row.as_ref());
            }
        }
        saved.ms += ms(begun);
        self.pin_again(saved);
        true
    }

    /// The pin of the last turn did not move to its end, because that end was not stored.
    fn pin_again(&mut self, saved: &mut Saved) {
        let Some(StateEnd { owner, at, digest }) = self.pinned.clone() else {
            return;
        };
        // An owner that was removed in the meantime has no pin, and gets none.
        let held = self.resident.len() >= at && self.resident.digest(at) == digest;
        if !held || !self.store.has_pin(&owner) {
            return;
        }
        if self.memory.shape().snapshots
            && !self.store.has_snapshot(digest)
            && let Some(state) = self.resident.snapshot(at).cloned()
        {
            let role = SnapshotRole::Turn;
            self.save_snapshot(at, state.bytes, state.row, role, Some(&owner), saved);
        }
        self.store.pin(&owner, digest);
    }

    /// Whether rows may be taken in the middle of an append: where the state that cannot be cut was
    /// made with the rows that are here, only at its end or at a point where a state is stored.
    pub fn takes_within(&self) -> bool {
        self.memory.class() == MemoryClass::Dense
    }
}
