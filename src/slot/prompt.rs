//! Where a reply begins: the logits row that it is sampled from, and the state there where it cannot
//! be cut to, are held, so that another reply to the same prompt evaluates nothing.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use super::engine::{Engine, ms};
use super::prepare::Goal;
use super::resident::Snapshot;
use super::save::Saved;
use crate::ledger::Digest;

/// Bytes of rows that are held apart from snapshots.
const MOST: usize = 64 << 20;

/// Rows at the ends of prompts, by the prompt's digest; the oldest go first. For memories that can
/// be cut: elsewhere a row stands beside its snapshot.
#[derive(Default)]
pub(super) struct Rows {
    held: VecDeque<(Digest, Vec<f32>)>,
    /// Those that were handed to the store.
    stored: HashSet<Digest>,
}

impl Rows {
    pub fn keep(&mut self, prompt: Digest, row: Vec<f32>) {
        self.held.retain(|(at, _)| *at != prompt);
        self.held.push_back((prompt, row));
        let mut bytes: usize = self.held.iter().map(|h| h.1.len() * 4).sum();
        while bytes > MOST && self.held.len() > 1 {
            if let Some((prompt, row)) = self.held.pop_front() {
                bytes -= row.len() * 4;
                self.stored.remove(&prompt);
            }
        }
    }

    /// Takes note that a row is handed to the store; true when it was before.
    pub fn store(&mut self, prompt: Digest) -> bool {
        !self.stored.insert(prompt)
    }

    /// Whether it was handed to the store.
    pub fn is_stored(&self, prompt: Digest) -> bool {
        self.stored.contains(&prompt)
    }

    /// The store has another row there: what is held is not what a restart is given.
    pub fn forget(&mut self, prompt: Digest) {
        self.held.retain(|(at, _)| *at != prompt);
        self.stored.remove(&prompt);
    }

    pub fn at(&self, prompt: Digest) -> Option<&Vec<f32>> {
        self.held.iter().find(|(at, _)| *at == prompt).map(|h| &h.1)
    }
}

impl Engine {
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
            self.rows.keep(digest, row);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bounded_in_bytes_and_the_latest_stays() {
        let mut rows = Rows::default();
        let name = |n: usize| Digest::of(&n.to_le_bytes());
        let mib = vec![0.5; (1 << 20) / 4];
        for n in 0..100 {
            rows.keep(name(n), mib.clone());
            rows.keep(name(n), mib.clone());
        }
        assert_eq!(rows.held.len(), 64);
        assert!(rows.at(name(35)).is_none() && rows.at(name(36)).is_some());
        rows.keep(name(100), vec![0.5; MOST]);
        assert_eq!(rows.held.len(), 1);
        assert!(rows.at(name(100)).is_some());
    }
}
