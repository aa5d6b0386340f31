//! The end of a conversation moves to other positions instead of being evaluated again: after a compression
//! the last turns stand nearer to the start. Their keys are turned (llama.cpp's K-shift), but what they saw
//! before them when they were evaluated stays in them. So they, and all that follows them, are approximate.
//! Approximate rows are never stored, for stored KV is found by its tokens alone, and another conversation
//! never goes on from them.
//!
//! llama.cpp evaluates the tokens of a sequence in the order of their positions. So the end waits on scratch
//! while what stands before it is evaluated on sequence 0.

use std::ops::Range;
use std::time::Instant;

use super::SlotError;
use super::call::{SlotCall, Target};
use super::engine::{SlotEngine, cancelled, ms};
use super::evaluate::Boundaries;
use super::saved::Saved;
use crate::ledger::{Token, common_prefix};

/// Fewer tokens are not worth an approximate state.
const LEAST: usize = 16;

/// What became of an end that was to be moved.
#[derive(Default)]
pub(super) struct MovedEnd {
    /// Tokens that were moved.
    pub tokens: usize,
    /// Tokens before them that were evaluated for it.
    pub evaluated: usize,
    /// Why nothing was moved.
    pub refused: Option<String>,
    /// Milliseconds.
    pub ms: f64,
}

/// The positions of `target` that hold what `held` ends with, when that moves by `by` positions to the
/// start. At least one token stands between it and the first `kept` tokens.
fn place(held: &[Token], target: &[Token], by: usize, kept: usize) -> Option<Range<usize>> {
    let end = target.len().min(held.len().checked_sub(by)?);
    let same = (kept + 1..end).rev();
    let same = same.take_while(|at| held[at + by] == target[*at]).count();
    (by > 0 && same >= LEAST).then_some(end - same..end)
}

impl SlotEngine {
    /// Moves the end of what sequence 0 holds `by` positions to the start, where the target has the same
    /// tokens there, and evaluates what stands before it. Whatever comes of it, sequence 0 holds a beginning
    /// of the target or of what it held, and the call goes on from there.
    pub fn move_end(&mut self, call: &SlotCall, by: usize, saved: &mut Saved) -> MovedEnd {
        if let Some(why) = self.memory.cannot_move() {
            return MovedEnd {
                refused: Some(why.to_owned()),
                ..MovedEnd::default()
            };
        }
        let (held, target) = (self.resident.tokens(), &call.target.tokens);
        let kept = common_prefix(held, target).min(self.resident.in_place());
        let Some(place) = place(held, target, by, kept).filter(|_| kept > 0) else {
            self.leave_moved(&call.owner, &call.target);
            return MovedEnd::default();
        };
        // Before the end is on scratch, which storing needs.
        self.save_segment(saved);
        let begun = Instant::now();
        let mut moved = MovedEnd::default();
        match self.moves(call, by, kept, place.clone()) {
            Ok(true) => {
                moved.tokens = place.len();
                moved.evaluated = place.start - kept;
            }
            // Cut short: what was evaluated stays.
            Ok(false) => moved.evaluated = self.resident.len().saturating_sub(kept),
            Err(error) => {
                tracing::warn!("the end of the conversation was not moved: {error}");
                moved.refused = Some(error.to_string());
                moved.evaluated = self.resident.len().saturating_sub(kept);
            }
        }
        moved.ms = ms(begun);
        moved
    }

    /// True when the end is in its new place; false when the call was cancelled before.
    fn moves(
        &mut self,
        call: &SlotCall,
        by: usize,
        kept: usize,
        place: Range<usize>,
    ) -> Result<bool, SlotError> {
        let from = (place.start + by, place.end + by);
        self.canonical = None;
        let lifted = self.memory.lift(from, by, kept);
        self.resident.cut(kept);
        if let Err(error) = lifted {
            self.give_up();
            return Err(error);
        }
        let target = &call.target.tokens;
        // Nothing is stored meanwhile: it would take scratch.
        let reading = self.store.reading();
        let writing = std::mem::replace(&mut self.store, reading);
        let before = &target[kept..place.start];
        let mut none = Saved::default();
        let heads = Boundaries {
            heads: call.heads(),
            ..Boundaries::default()
        };
        let done = self.evaluate(before, heads, &call.cancel, &call.events, &mut none);
        self.store = writing;
        if self.resident.len() < place.start {
            self.memory.free_scratch();
            return match done.error {
                Some(error) => Err(error),
                None if cancelled(&call.cancel) => Ok(false),
                None => Err(SlotError::Lost),
            };
        }
        if let Err(error) = self.memory.put_down(place.start, place.end) {
            self.give_up();
            return Err(error);
        }
        self.resident.push_moved(&target[place], kept);
        Ok(true)
    }

    /// Before a call: what was moved here stays only while its own conversation goes on from all of it. What
    /// stands before it stays where it did not move; the rest is restored or evaluated.
    pub fn leave_moved(&mut self, owner: &str, target: &Target) {
        if !self.resident.is_approximate() {
            return;
        }
        let common = self.resolve(target).common;
        if self.resident.owner == owner && common > self.resident.exact() {
            return;
        }
        let len = self.resident.in_place();
        match self.memory.cut(len) {
            Ok(()) => self.resident.cut(len),
            Err(_) => self.give_up(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(numbers: impl IntoIterator<Item = i32>) -> Vec<Token> {
        numbers.into_iter().map(Token).collect()
    }

    #[test]
    fn the_end_that_both_have_is_found_behind_at_least_one_token_that_is_evaluated() {
        // 4 stay, 40 go, 30 move; in the target 10 new ones stand before these.
        let held = tokens((0..4).chain(100..140).chain(200..230));
        let target = tokens((0..4).chain(300..310).chain(200..230));
        assert_eq!(place(&held, &target, 30, 4), Some(14..44));
        // The target goes on, or ends earlier than what is held.
        let longer = [&target[..], &tokens([1, 2])].concat();
        assert_eq!(place(&held, &longer, 30, 4), Some(14..44));
        assert_eq!(place(&held, &target[..40], 30, 4), Some(14..40));
        // Moved otherwise nothing is the same; too little is not moved; nothing moves by nothing.
        assert_eq!(place(&held, &target, 29, 4), None);
        assert_eq!(place(&held, &target[..29], 30, 4), None);
        assert_eq!(place(&held, &held, 0, 4), None);
        assert_eq!(place(&held, &target, 100, 4), None);
        // Where all of it is the same, one token is evaluated all the same.
        let same = tokens(std::iter::repeat_n(7, 60));
        assert_eq!(place(&same, &same[..40], 20, 10), Some(11..40));
    }
}
