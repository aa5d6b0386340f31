//! What the slot does when nobody uses it, and what that cost: each piece of it has a receipt.

use std::time::Instant;

use super::engine::{SlotEngine, ms};
use super::saved::Saved;

/// A piece of idle work that the slot did.
#[derive(Clone, PartialEq, Debug)]
pub struct IdleWork {
    /// `settle`: a state that was in memory alone was stored. `sample`: logits were sampled for it.
    pub job: &'static str,
    /// Whose state it was.
    pub owner: String,
    /// Tokens that the slot held.
    pub held: usize,
    /// Tokens that were evaluated, on scratch.
    pub evaluated: usize,
    /// Bytes of snapshots that were handed to the store.
    pub snapshot_bytes: u64,
    /// Milliseconds that the engine thread took for it.
    pub ms: f64,
}

impl SlotEngine {
    /// Stores a state that is in memory alone, then samples logits for it. Each is there if it was to be
    /// done.
    pub fn rest(&mut self) -> Vec<IdleWork> {
        let begun = Instant::now();
        let mut saved = Saved::default();
        let settled = self.settle_into(&mut saved).map(|owner| IdleWork {
            job: "settle",
            owner,
            held: self.resident.len(),
            evaluated: 0,
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
            snapshot_bytes: 0,
            ms: ms(begun),
        })
    }
}
