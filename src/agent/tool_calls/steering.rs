//! Lines that a user sends while a turn runs. They reach the model only at the end of the ledger: behind the results of
//! the present step, or as a message after the turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle that can be cloned, for the reader of the user's lines.
#[derive(Clone, Debug, Default)]
pub struct Steering {
    lines: Arc<Mutex<SteeringLines>>,
}

#[derive(Debug, Default)]
struct SteeringLines {
    steer: VecDeque<String>,
    queue: VecDeque<String>,
}

impl Steering {
    /// Said to the model behind the results of the present step; after the turn if there is none.
    pub fn steer(&self, text: impl Into<String>) {
        self.lines().steer.push_back(text.into());
    }

    /// A line that was taken and could not be stored: it is sent before all others.
    pub(in crate::agent) fn steer_again(&self, text: String) {
        self.lines().steer.push_front(text);
    }

    /// Said after the turn.
    pub fn queue(&self, text: impl Into<String>) {
        self.lines().queue.push_back(text.into());
    }

    /// What was steered since the last step, joined.
    pub(in crate::agent) fn take(&self) -> Option<String> {
        let lines: Vec<String> = self.lines().steer.drain(..).collect();
        (!lines.is_empty()).then(|| lines.join("\n\n"))
    }

    /// What could not be steered any more when the turn ended, joined.
    pub fn left(&self) -> Option<String> {
        self.take()
    }

    /// The next line that waited for the end of the turn.
    pub fn next(&self) -> Option<String> {
        self.lines().queue.pop_front()
    }

    // A reader that panicked left whole lines.
    fn lines(&self) -> MutexGuard<'_, SteeringLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steered_lines_come_together_and_queued_ones_one_by_one() {
        let steering = Steering::default();
        let reader = steering.clone();
        reader.queue("then this");
        reader.steer("not there");
        reader.steer("here");
        assert_eq!(steering.take().as_deref(), Some("not there\n\nhere"));
        assert_eq!(steering.take(), None);
        reader.steer("too late");
        assert_eq!(steering.left().as_deref(), Some("too late"));
        reader.queue("and this");
        let left: Vec<String> = std::iter::from_fn(|| steering.next()).collect();
        assert_eq!(left, ["then this", "and this"]);
    }
}
