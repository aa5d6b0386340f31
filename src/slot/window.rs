//! The cost of laying out an SWA window: npast copies the window out of the context and back in at the
//! start of every append. How long that takes depends on the model and the device, so it is measured.

use std::time::{Duration, Instant};

use super::engine::{SlotEngine, ms};
use super::memory::MemoryClass;
use crate::llama::Seq;

/// The longest that filling a window for the measurement may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What laying out a window once took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WindowCost {
    /// The model's window, tokens.
    pub window: usize,
    /// Tokens of it that were filled in time.
    pub filled: usize,
    /// Bytes that went out and in again.
    pub bytes: usize,
    /// How long both took.
    pub ms: f64,
}

impl SlotEngine {
    /// Fills the window with ordinary tokens, lays it out, and leaves the slot empty. Nothing on
    /// other classes, or when the model cannot evaluate that.
    pub fn window_cost(&mut self) -> Option<WindowCost> {
        if self.memory.class() != MemoryClass::Swa {
            return None;
        }
        self.memory.clear();
        self.resident.cut(0);
        let cost = self.measure();
        self.memory.clear();
        cost
    }

    fn measure(&mut self) -> Option<WindowCost> {
        let window = self.model.window();
        let vocab = self.model.vocab();
        let plain: Vec<_> = vocab
            .tokens()
            .filter(|t| !vocab.is_control(*t))
            .take(self.ubatch)
            .collect();
        let begun = Instant::now();
        // A running window has turned round: it holds up to a batch more than it needs.
        while self.memory.len() < (window + self.ubatch).min(self.limit)
            && begun.elapsed() < PATIENCE
        {
            let at = self.memory.len();
            let room = (self.limit - at).min(plain.len());
            let decoded = self
                .memory
                .ctx()
                .decode(Seq::Main, at, &plain[..room], false);
            decoded.ok()?;
        }
        let filled = self.memory.len().min(window);
        let begun = Instant::now();
        let bytes = self.memory.relay(None).ok()??.len();
        Some(WindowCost {
            window,
            filled,
            bytes,
            ms: ms(begun),
        })
    }
}
