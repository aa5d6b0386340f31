//! Side work that scratch holds.

use crate::ledger::{Mark, RunningDigest};

/// What scratch holds between two pieces of side work.
pub(super) struct ScratchWork {
    /// Tokens that it shares with sequence 0.
    pub base: usize,
    /// All its tokens.
    pub running: RunningDigest,
}

impl ScratchWork {
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn mark(&self) -> Mark {
        Mark::new(self.len(), self.running.digest())
    }

    /// Cells that are its own.
    pub fn own(&self) -> usize {
        self.len() - self.base
    }
}
