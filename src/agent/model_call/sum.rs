//! The sums of a turn's receipts while it runs.

use std::time::{Duration, Instant};

use crate::agent::values::event::{Event, On};
use crate::agent::values::outcome::TurnStop;
use crate::agent::values::receipt::{Receipt, TurnSum};

/// The sums of a turn while it runs.
pub(in crate::agent) struct RunningSum {
    begun: Instant,
    /// How long a person was asked.
    waited: Duration,
    pub so_far: Option<TurnSum>,
}

impl RunningSum {
    pub fn begin() -> RunningSum {
        RunningSum {
            begun: Instant::now(),
            waited: Duration::ZERO,
            so_far: None,
        }
    }

    pub fn add(&mut self, receipt: &Receipt) {
        let before = self.so_far.as_ref();
        let sum = |of: fn(&TurnSum) -> usize, more| before.map_or(0, of) + more;
        self.so_far = Some(TurnSum {
            calls: before.map_or(0, |s| s.calls) + 1,
            context: receipt.context,
            kept: sum(|s| s.kept, receipt.kept),
            restored: sum(|s| s.restored, receipt.restored),
            evaluated: sum(|s| s.evaluated, receipt.evaluated),
            appended: sum(|s| s.appended, receipt.appended),
            generated: sum(|s| s.generated, receipt.generated),
            finish: receipt.finish,
            approximate: receipt.approximate || before.is_some_and(|s| s.approximate),
            stopped: None,
            seconds: 0.0,
        });
    }

    /// For so long the turn waited for a person: that is no part of what it took.
    pub fn asked(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// Tokens sampled so far.
    pub fn generated(&self) -> usize {
        self.so_far.as_ref().map_or(0, |s| s.generated)
    }

    /// The `turn` event; a turn without a call has none.
    pub fn show(self, stopped: Option<TurnStop>, on: On<'_>) {
        let took = self.begun.elapsed().saturating_sub(self.waited);
        if let Some(sum) = self.so_far {
            on(Event::Turn(TurnSum {
                stopped,
                seconds: took.as_secs_f64(),
                ..sum
            }));
        }
    }
}
