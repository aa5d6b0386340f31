//! When a turn must end: budgets, the same call with the same result again and again, calls that cannot be
//! run.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::agent::values::outcome::TurnStop;
use crate::chat::message::ToolCall;
use crate::ledger::Digest;

/// What one turn may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Budget {
    /// Replies whose calls are run.
    pub steps: usize,
    /// Sampled tokens, over all replies; looked at between steps.
    pub tokens: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            steps: 50,
            tokens: usize::MAX,
        }
    }
}

/// A call that gave the same result this often gets a note in its result.
const WARN: u32 = 3;
/// A call that gave the same result this often ends the turn.
const STOP: u32 = 5;
/// So many calls in a row that name no tool or have wrong arguments end the turn.
const CHANCES: u32 = 3;

/// What a turn's calls did so far.
#[derive(Debug, Default)]
pub(in crate::agent) struct Rounds {
    budget: Budget,
    replies: usize,
    /// Calls with their results, and how often each came.
    seen: HashMap<Digest, u32>,
    /// Calls that changed something.
    changes: HashSet<Digest>,
    bad: u32,
    stopped: Option<TurnStop>,
}

impl Rounds {
    pub fn new(budget: Budget) -> Rounds {
        Rounds {
            budget,
            ..Rounds::default()
        }
    }

    /// A reply with calls came; `generated` tokens were sampled in the turn so far.
    pub fn reply(&mut self, generated: usize) {
        self.replies += 1;
        if self.replies > self.budget.steps {
            self.stopped = Some(TurnStop::Steps);
        } else if generated >= self.budget.tokens {
            self.stopped = Some(TurnStop::Tokens);
        }
    }

    /// A call that could not be run; the last chance ends the turn.
    pub fn bad(&mut self) {
        self.bad += 1;
        if self.bad >= CHANCES {
            self.stopped = Some(TurnStop::Chances);
        }
    }

    /// A call that was run or denied, and what it gave; `changed` says that it changed something.
    /// Gives what to add to the result.
    pub fn ran(&mut self, call: &ToolCall, changed: bool, text: &str) -> Option<String> {
        self.bad = 0;
        let asked = Digest::of(format!("{}\0{}", call.name, call.arguments).as_bytes());
        // After a change that is new in this turn the same question may have another answer.
        if changed && self.changes.insert(asked) {
            self.seen.clear();
        }
        let gave = Digest::of([&asked.0[..], text.as_bytes()].concat().as_slice());
        let times = self.seen.entry(gave).or_default();
        *times += 1;
        match *times {
            times if times >= STOP => {
                self.stopped = Some(TurnStop::Loop);
                Some(format!(
                    "\n\n[npast: the turn ends here: this call gave this result {times} times.]"
                ))
            }
            times if times >= WARN => Some(format!(
                "\n\n[npast: this call gave this result {times} times in this turn. Do something else, or answer; at {STOP} the turn ends.]"
            )),
            _ => None,
        }
    }

    /// Why the turn has to end, once it has.
    pub fn stopped(&self) -> Option<TurnStop> {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(path: &str) -> ToolCall {
        ToolCall {
            id: String::new(),
            name: "read".into(),
            arguments: json!({"path": path}),
        }
    }

    #[test]
    fn the_same_call_with_the_same_result_is_warned_at_three_and_stopped_at_five() {
        let mut rounds = Rounds::default();
        let mut said = Vec::new();
        for round in 0..5 {
            // Another call in between does not make it less of a loop; another result does.
            rounds.ran(&call("b"), false, &format!("{round}"));
            assert_eq!(rounds.stopped(), None);
            said.push(rounds.ran(&call("a"), false, "x").is_some());
        }
        assert_eq!(said, [false, false, true, true, true]);
        assert_eq!(rounds.stopped(), Some(TurnStop::Loop));
    }

    #[test]
    fn a_new_change_begins_the_count_anew_and_a_repeated_one_does_not() {
        let mut rounds = Rounds::default();
        for round in 0..8 {
            rounds.ran(&call(&format!("edit {round}")), true, "done");
            assert_eq!(rounds.ran(&call("test"), false, "failed"), None);
        }
        for _ in 0..4 {
            rounds.ran(&call("edit 1"), true, "done");
            rounds.ran(&call("test"), false, "failed");
        }
        assert_eq!(rounds.stopped(), Some(TurnStop::Loop));
    }

    #[test]
    fn three_calls_in_a_row_that_cannot_be_run_end_the_turn() {
        let mut rounds = Rounds::default();
        for _ in 0..3 {
            rounds.bad();
            rounds.bad();
            assert_eq!(rounds.stopped(), None);
            rounds.ran(&call("a"), true, "fine");
        }
        (0..3).for_each(|_| rounds.bad());
        assert_eq!(rounds.stopped(), Some(TurnStop::Chances));
    }
}
