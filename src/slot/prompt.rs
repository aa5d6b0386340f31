//! The end of a prompt, where a reply begins. npast holds the logits row there, and the state where the
//! memory cannot be cut, so that another reply to the same prompt evaluates nothing.

use std::time::Instant;

use super::engine::{SlotEngine, ms};
use super::prepare::Goal;
use super::resident::Snapshot;
use super::saved::Saved;
use crate::ledger::Digest;

impl SlotEngine {
    /// Holds the end of a prompt that was just evaluated, before anything is sampled after it. A
    /// failure costs an evaluation when it is sampled from again.
    pub fn hold_prompt(&mut self, saved: &mut Saved) {
        let begun = Instant::now();
        let Some(row) = self.resident.row.clone() else {
            return;
        };
        let mark = self.resident.mark();
        let (at, digest) = (mark.len(), mark.digest());
        if !self.memory.shape().snapshots {
            // Rows are found by their tokens alone.
            if !self.resident.is_approximate() {
                self.rows.keep(digest, row);
            }
            return;
        }
        match self.memory.snapshot() {
            Ok(bytes) => {
                if self.take_state(at, digest, &bytes, Some(&row)).is_none() {
                    self.resident.keep(Snapshot {
                        at,
                        bytes,
                        row: Some(row),
                    });
                }
            }
            Err(error) => tracing::warn!("the end of a prompt is not held: {error}"),
        }
        saved.ms += ms(begun);
    }

    /// The row that is stored at the end of a prompt, where memory can be cut.
    pub fn stored_row(&self, prompt: Digest) -> Option<Vec<f32>> {
        let stored = self.store.read_snapshot(&self.store.node(prompt)?).ok()?;
        let own = stored.soft == self.store.soft();
        let row = stored.logits.filter(|_| own)?;
        (row.len() == self.model.vocab().size()).then_some(row)
    }

    /// The row of the last token of a goal, where it is held apart from memory and snapshots.
    pub fn prompt_row(&self, goal: &Goal) -> Option<&Vec<f32>> {
        if self.memory.shape().snapshots {
            return None;
        }
        self.rows.at(goal.digest(&self.resident))
    }
}
