//! What the slot does when nobody uses it, and what that cost: each piece of it has a receipt.

use std::time::Instant;

use super::engine::{SlotEngine, ms};
use super::saved::Saved;

/// How many times, at most, the end of one turn is handed to the store again.
const TRIES: usize = 4;

/// A piece of idle work that the slot did.
#[derive(Clone, PartialEq, Debug)]
pub struct IdleWork {
    /// `settle`: what was in memory alone was stored. `sample`: logits were sampled for it.
    pub job: &'static str,
    /// Whose state it was.
    pub owner: String,
    /// Tokens that the slot held.
    pub held: usize,
    /// Tokens that were evaluated, on scratch.
    pub evaluated: usize,
    /// Bytes of segments that were handed to the store.
    pub saved_bytes: u64,
    /// Bytes of snapshots that were handed to the store.
    pub snapshot_bytes: u64,
    /// Milliseconds that the engine thread took for it.
    pub ms: f64,
}

impl SlotEngine {
    /// Stores a state that is in memory alone, and what the store did not take of the last turn; then
    /// samples logits for the state. Each is there if it was to be done.
    pub fn rest(&mut self) -> Vec<IdleWork> {
        let begun = Instant::now();
        let mut saved = Saved::default();
        let mut settled = self.settle_into(&mut saved);
        // The writer may not have come to the last of it yet; and a third process may be faster again.
        for _ in 0..TRIES {
            if self.store.flush().is_err() || !self.store_again(&mut saved) {
                break;
            }
            settled = settled.or_else(|| Some(self.resident.owner.clone()));
        }
        let settled = settled.map(|owner| IdleWork {
            job: "settle",
            owner,
            held: self.resident.len(),
            evaluated: 0,
            saved_bytes: saved.bytes,
            snapshot_bytes: saved.snapshot_bytes,
            ms: ms(begun),
        });
        settled.into_iter().chain(self.sampled_turn()).collect()
    }

    /// Samples logits of the last turn's state, if there are none yet.
    pub fn sampled_turn(&mut self) -> Option<IdleWork> {
        let begun = Instant::now();
        let evaluated = self.sample_turn()?;
        Some(IdleWork {
            job: "sample",
            owner: self.resident.owner.clone(),
            held: self.resident.len(),
            evaluated,
            saved_bytes: 0,
            snapshot_bytes: 0,
            ms: ms(begun),
        })
    }
}
