//! Logits rows at the ends of prompts, so that another reply to the same prompt evaluates nothing.

use std::collections::{HashSet, VecDeque};

use crate::ledger::Digest;

/// Bytes of rows that are held apart from snapshots.
const MOST: usize = 64 << 20;

/// Rows at the ends of prompts, by the prompt's digest; the oldest go first. For memories that can
/// be cut: elsewhere a row stands beside its snapshot.
#[derive(Default)]
pub(super) struct PromptRows {
    held: VecDeque<(Digest, Vec<f32>)>,
    /// Those that were handed to the store.
    stored: HashSet<Digest>,
}

impl PromptRows {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bounded_in_bytes_and_the_latest_stays() {
        let mut rows = PromptRows::default();
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
